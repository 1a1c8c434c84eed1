//! `minibox prune`: removes all containers that have ended.

use std::time::SystemTime;

use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result};

use crate::args::PruneArgs;
use crate::clock;
use crate::filter::Filter;
use crate::language::say;
use crate::living;
use crate::output;
use crate::size;
use crate::store::{Container, Status, Store};
use crate::volumes;

const KEYS: [&str; 3] = ["label", "label!", "until"];

/// Removes them, and says what and how much.
pub(crate) fn prune(store: &Store, args: &PruneArgs) -> Result<u8> {
    let filter = Filter::parse(&args.filters, &KEYS)?;
    if args.volumes && filter.has("until") {
        return Err(Error::new("--filter until=… says nothing about volumes")
            .hint("prune containers and volumes one after the other"));
    }
    let until = filter.values("until").last();
    let until =
        until.map(|text| clock::moment("--filter until", text, SystemTime::now())).transpose()?;
    let warning = if args.volumes {
        "WARNING! This will remove:\n  - all stopped containers\n  - all anonymous volumes not used by at least one container\n"
    } else {
        "WARNING! This will remove all stopped containers."
    };
    if !args.force && !output::confirm(warning) {
        return Ok(0);
    }
    let is_meant = |container: &Container| {
        let record = &container.record;
        matches!(container.status(), Status::Created | Status::Exited)
            && until.is_none_or(|until| clock::of_record(&record.created) < until)
            && filter.labels("label", &record.settings.labels)
            && filter.without_labels("label!", &record.settings.labels)
    };
    let (mut removed, mut bytes) = (Vec::new(), 0);
    let all: Vec<String> = store.all().into_iter().map(|container| container.record.id).collect();
    let mut code = output::for_each(&all, |id| {
        let Some(container) = store.load(id)? else { return Ok(()) };
        let Some(container) = living::up_to_date(store, container)? else { return Ok(()) };
        if !is_meant(&container) {
            return Ok(());
        }
        // Somebody starts it right now: then it is not stopped.
        let Some(_lock) = Lock::try_now(&store.folder(id))? else { return Ok(()) };
        let Some(mut container) = store.load(id)?.filter(is_meant) else { return Ok(()) };
        // Volumes stay, even those without a name, unless they are asked for too.
        container.record.mounts.clear();
        let record = &container.record;
        let layer = record.layer.as_ref();
        bytes += layer.map_or(0, |layer| size::of_folder(layer, record.id_map.as_ref()));
        store.remove(record)?;
        removed.push(id.to_owned());
        Ok(())
    });
    if !removed.is_empty() {
        let heading = say("Deleted Containers:");
        output::print(&format!("{heading}\n{}\n\n", removed.join("\n")));
    }
    if args.volumes {
        let pruned = volumes::prune_unused(store, &filter, false);
        output::print(&pruned.text());
        bytes += pruned.bytes;
        code = code.max(pruned.code);
    }
    output::print(&say(&format!("Total reclaimed space: {}\n", size::decimal(bytes, 4))));
    Ok(code)
}
