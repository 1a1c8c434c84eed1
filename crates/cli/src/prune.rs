//! `minibox prune`: removes all containers that have ended.

use std::io::{BufRead, Write};
use std::time::SystemTime;

use minibox_runtime::Result;
use minibox_runtime::state::Lock;

use crate::args::PruneArgs;
use crate::clock;
use crate::filter::Filter;
use crate::living;
use crate::output;
use crate::size;
use crate::store::{Container, Status, Store};

const KEYS: [&str; 3] = ["label", "label!", "until"];

/// Removes them, and says what and how much.
pub(crate) fn prune(store: &Store, args: &PruneArgs) -> Result<u8> {
    let filter = Filter::parse(&args.filters, &KEYS)?;
    let until = filter.values("until").last();
    let until =
        until.map(|text| clock::moment("--filter until", text, SystemTime::now())).transpose()?;
    if !args.force && !confirm("This will remove all stopped containers.") {
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
    let code = output::for_each(&all, |id| {
        let Some(container) = store.load(id)? else { return Ok(()) };
        let Some(container) = living::up_to_date(store, container)? else { return Ok(()) };
        if !is_meant(&container) {
            return Ok(());
        }
        // Somebody starts it right now: then it is not stopped.
        let Some(_lock) = Lock::try_now(&store.folder(id))? else { return Ok(()) };
        let Some(container) = store.load(id)?.filter(is_meant) else { return Ok(()) };
        let record = &container.record;
        let layer = record.layer.as_ref();
        bytes += layer.map_or(0, |layer| size::of_folder(layer, record.id_map.as_ref()));
        store.remove(record)?;
        removed.push(id.to_owned());
        Ok(())
    });
    if !removed.is_empty() {
        output::print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")));
    }
    output::print(&format!("Total reclaimed space: {}\n", size::decimal(bytes, 4)));
    Ok(code)
}

/// Asks; whoever answers nothing means no.
fn confirm(warning: &str) -> bool {
    output::print(&format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).unwrap_or(0);
    if read == 0 {
        output::print("\n");
        output::note("nothing is removed: nobody answered; -f asks nobody");
    }
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
