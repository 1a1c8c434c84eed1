//! `minibox volume`: create, ls, inspect, rm, prune.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use minibox_runtime::{Error, Result};
use serde_json::json;

use crate::args::{
    VolumeCreateArgs, VolumeInspectArgs, VolumeLsArgs, VolumePruneArgs, VolumeRmArgs, VolumeVerb,
};
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

fn list(store: &Store, args: &VolumeLsArgs) -> Result<u8> {
    let filters = Filters::read(&args.filters, &["name", "label", "dangling", "driver"])?;
    let mut found = Vec::new();
    for name in volumes::names(store) {
        let volume = volumes::load(store, &name)?;
        found.extend(volume.filter(|volume| filters.pass(store, volume)));
    }
    if args.quiet {
        let names: String = found.iter().map(|volume| format!("{}\n", volume.name)).collect();
        output::print(&names);
        return Ok(0);
    }
    match args.format.format.as_deref() {
        None | Some("table") => {
            let heading = ["DRIVER", "VOLUME NAME"].map(str::to_owned).to_vec();
            let rows = found.into_iter().map(|volume| vec![String::from("local"), volume.name]);
            let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
            output::print(&output::table(&rows));
        }
        Some("json") => {
            let lines = found.iter().map(|volume| format!("{}\n", document(store, volume)));
            output::print(&lines.collect::<String>());
        }
        Some(other) => return Err(bad("--format", other, "table or json")),
    }
    Ok(0)
}

/// What `inspect` says of a volume, docker's fields.
fn document(store: &Store, volume: &Volume) -> serde_json::Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volumes::data(store, &volume.name),
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    })
}

fn inspect(store: &Store, args: &VolumeInspectArgs) -> Result<u8> {
    let mut found = Vec::new();
    let code = output::for_each(&args.volumes, |name| {
        let volume = volumes::load(store, name)?.ok_or_else(|| no_such(name))?;
        found.push(document(store, &volume));
        Ok(())
    });
    let text = serde_json::to_string_pretty(&found).map_err(|e| Error::new(e.to_string()))?;
    output::print(&(text + "\n"));
    Ok(code)
}

fn no_such(name: &str) -> Error {
    Error::new(format!("there is no volume {name:?}")).hint("`minibox volume ls` lists all")
}

fn remove(store: &Store, args: &VolumeRmArgs) -> u8 {
    output::for_each(&args.volumes, |name| {
        if !volumes::is_name(name) || !volumes::remove(store, name)? {
            return if args.force { Ok(()) } else { Err(no_such(name)) };
        }
        output::print(&format!("{name}\n"));
        Ok(())
    })
}

fn prune(store: &Store, args: &VolumePruneArgs) -> Result<u8> {
    let filters = Filters::read(&args.filters, &["label"])?;
    let which = if args.all { "all" } else { "anonymous" };
    let question = format!(
        "WARNING! This will remove {which} local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] "
    );
    if !args.force && !agrees(&question) {
        output::note("nothing is removed");
        return Ok(0);
    }
    let (mut removed, mut bytes) = (Vec::new(), 0);
    let names = volumes::names(store);
    let code = output::for_each(&names, |name| {
        let Some(volume) = volumes::load(store, name)? else { return Ok(()) };
        let wanted = (args.all || volume.anonymous) && filters.pass(store, &volume);
        if wanted && volumes::users(store, name).is_empty() {
            let size = size_of(&volumes::data(store, name));
            if volumes::remove(store, name)? {
                bytes += size;
                removed.push(name.to_owned());
            }
        }
        Ok(())
    });
    if !removed.is_empty() {
        output::print(&format!("Deleted Volumes:\n{}\n\n", removed.join("\n")));
    }
    output::print(&format!("Total reclaimed space: {}\n", size::decimal(bytes, 4)));
    Ok(code)
}

/// Asks; anything but yes is no.
fn agrees(question: &str) -> bool {
    output::print(question);
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let heard = std::io::stdin().lock().read_line(&mut answer);
    heard.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Bytes in the files below `folder`.
fn size_of(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { size_of(&entry.path()) } else { metadata.len() })
        })
        .sum()
}

/// `--filter`.
struct Filters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Filters<'a> {
    fn read(asked: &'a [String], known: &[&str]) -> Result<Filters<'a>> {
        let right = known.iter().map(|key| format!("{key}=…")).collect::<Vec<_>>().join(", ");
        let pair = |text: &'a String| match text.split_once('=') {
            Some(("dangling", value)) if !["true", "false", "1", "0"].contains(&value) => {
                Err(bad("--filter", text, "dangling=true or dangling=false"))
            }
            Some((key, value)) if known.contains(&key) => Ok((key, value)),
            _ => Err(bad("--filter", text, &right)),
        };
        asked.iter().map(pair).collect::<Result<_>>().map(Filters)
    }

    /// Names are alternatives; of everything else all must be so.
    fn pass(&self, store: &Store, volume: &Volume) -> bool {
        let mut names = self.0.iter().filter(|(key, _)| *key == "name").peekable();
        let named = names.peek().is_none() || names.any(|(_, part)| volume.name.contains(part));
        named
            && self.0.iter().all(|(key, value)| match *key {
                "label" => match value.split_once('=') {
                    Some((key, value)) => volume.labels.get(key).is_some_and(|v| v == value),
                    None => volume.labels.contains_key(*value),
                },
                "dangling" => {
                    let dangles = volumes::users(store, &volume.name).is_empty();
                    dangles == matches!(*value, "true" | "1")
                }
                "driver" => *value == "local",
                _ => true,
            })
    }
}
