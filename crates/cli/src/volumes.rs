//! `minibox volume`: create, ls, inspect, rm, prune.

use std::collections::BTreeMap;

use minibox_runtime::idmap::IdMap;
use minibox_runtime::{Error, Result};
use serde_json::{Value, json};

use crate::args::{
    VolumeCreateArgs, VolumeInspectArgs, VolumeLsArgs, VolumePruneArgs, VolumeRmArgs, VolumeVerb,
};
use crate::filter::Filter;
use crate::format::{Format, Row};
use crate::language::say;
use crate::names;
use crate::output;
use crate::size;
use crate::store::Store;
use crate::store::volumes::{self, Volume};
use crate::wishes::bad;

/// `minibox volume`.
pub(crate) fn volume(store: &Store, verb: &VolumeVerb) -> Result<u8> {
    match verb {
        VolumeVerb::Create(args) => create(store, args),
        VolumeVerb::Ls(args) => list(store, args),
        VolumeVerb::Inspect(args) => inspect(store, args),
        VolumeVerb::Rm(args) => Ok(remove(store, args)),
        VolumeVerb::Prune(args) => prune(store, args),
    }
}

fn create(store: &Store, args: &VolumeCreateArgs) -> Result<u8> {
    if args.driver != "local" {
        return Err(bad("--driver", &args.driver, "local: folders below the data folder"));
    }
    if let Some(option) = args.options.first() {
        return Err(Error::new(format!("--opt {option}: volumes here are plain folders"))
            .hint("for another filesystem mount it on the host, and its folder with -v"));
    }
    if let Some(name) = args.name.as_ref().filter(|name| !volumes::is_name(name)) {
        let right =
            "letters, digits, `_`, `.` and `-`, at least two, beginning with a letter or digit";
        return Err(bad("the name", name, right));
    }
    let pair = |label: &String| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.to_owned())
    };
    let labels: BTreeMap<String, String> = args.labels.iter().map(pair).collect();
    let name = args.name.clone().unwrap_or_else(names::new_id);
    volumes::take(store, &name, &labels, args.name.is_none())?;
    output::print(&format!("{name}\n"));
    Ok(0)
}

/// Docker's headings for the fields of a row.
fn headings() -> Value {
    json!({
        "Driver": "DRIVER",
        "Labels": "LABELS",
        "Mountpoint": "MOUNTPOINT",
        "Name": "VOLUME NAME",
        "Scope": "SCOPE",
    })
}

fn list(store: &Store, args: &VolumeLsArgs) -> Result<u8> {
    let filter = Filter::parse(&args.filters, &["name", "label", "dangling", "driver"])?;
    filter.check("dangling", &["true", "1", "false", "0"])?;
    let text = args.format.format.as_deref().filter(|text| *text != "table");
    let format = Format::of_list(Some(text.unwrap_or("table {{.Driver}}\t{{.Name}}")))?;
    let mut rows = Vec::new();
    for name in volumes::names(store) {
        let Some(volume) = volumes::load(store, &name)? else { continue };
        let dangles = || volumes::users(store, &name).is_empty();
        let is_meant = filter.finds("name", &name)
            && filter.labels("label", &volume.labels)
            && filter.any("driver", |driver| driver == "local")
            && filter.any("dangling", |value| dangles() == matches!(value, "true" | "1"));
        if is_meant {
            rows.push(row(store, volume));
        }
    }
    let text = if args.quiet {
        rows.iter().filter_map(|row| Some(format!("{}\n", row.fields["Name"].as_str()?))).collect()
    } else {
        format.list(&headings(), &rows)?
    };
    output::print(&text);
    Ok(0)
}

fn row(store: &Store, volume: Volume) -> Row {
    let labels: Vec<String> =
        volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let fields = json!({
        "Driver": "local",
        "Labels": labels.join(","),
        "Mountpoint": volumes::data(store, &volume.name),
        "Name": volume.name,
        "Scope": "local",
    });
    Row { fields, labels: volume.labels }
}

/// What `inspect` says of a volume, docker's fields.
pub(crate) fn document(store: &Store, name: &str) -> Result<Value> {
    let volume = volumes::load(store, name)?.ok_or_else(|| no_such(store, name))?;
    Ok(json!({
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volumes::data(store, &volume.name),
        "Name": volume.name,
        "Options": {},
        "Scope": "local",
    }))
}

fn inspect(store: &Store, args: &VolumeInspectArgs) -> Result<u8> {
    let format = Format::of_document(args.format.format.as_deref())?;
    format.documents(&args.volumes, |name| document(store, name))
}

fn no_such(store: &Store, name: &str) -> Error {
    let hint = names::hint(name, &volumes::names(store), "`minibox volume ls`");
    Error::new(format!("there is no volume {name:?}")).hint(hint)
}

fn remove(store: &Store, args: &VolumeRmArgs) -> u8 {
    output::for_each(&args.volumes, |name| {
        if !volumes::is_name(name) || !volumes::remove(store, name)? {
            return if args.force { Ok(()) } else { Err(no_such(store, name)) };
        }
        output::print(&format!("{name}\n"));
        Ok(())
    })
}

fn prune(store: &Store, args: &VolumePruneArgs) -> Result<u8> {
    let filter = Filter::parse(&args.filters, &["label", "label!"])?;
    let which = if args.all { "all" } else { "anonymous" };
    let warning = format!(
        "WARNING! This will remove {which} local volumes not used by at least one container."
    );
    if !args.force && !output::confirm(&warning) {
        return Ok(0);
    }
    let pruned = prune_unused(store, &filter, args.all);
    output::print(&pruned.text());
    let reclaimed = size::decimal(pruned.bytes, 4);
    output::print(&say(&format!("Total reclaimed space: {reclaimed}\n")));
    Ok(pruned.code)
}

/// What a pruning has removed.
pub(crate) struct Pruned {
    names: Vec<String>,
    pub bytes: u64,
    /// Exit code.
    pub code: u8,
}

impl Pruned {
    /// Docker's words for it; none where nothing was removed.
    pub(crate) fn text(&self) -> String {
        if self.names.is_empty() {
            return String::new();
        }
        format!("{}\n{}\n\n", say("Deleted Volumes:"), self.names.join("\n"))
    }
}

/// Removes the volumes that no container uses; those with a name only where `all`.
pub(crate) fn prune_unused(store: &Store, filter: &Filter, all: bool) -> Pruned {
    let (mut names, mut bytes) = (Vec::new(), 0);
    let code = output::for_each(&volumes::names(store), |name| {
        let Some(volume) = volumes::load(store, name)? else { return Ok(()) };
        let is_meant = (all || volume.anonymous)
            && filter.labels("label", &volume.labels)
            && filter.without_labels("label!", &volume.labels);
        if is_meant && volumes::users(store, name).is_empty() {
            let map = IdMap::for_caller().0;
            let size = size::of_folder(&volumes::data(store, name), Some(&map));
            if volumes::remove(store, name)? {
                bytes += size;
                names.push(name.to_owned());
            }
        }
        Ok(())
    });
    Pruned { names, bytes, code }
}
