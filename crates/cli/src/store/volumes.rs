//! Volumes: folders with a name, which outlive the containers that use them.
//!
//! ```text
//! DATA/volumes/NAME/volume.json   what it is
//!                   _data         what containers see
//! ```
//!
//! A volume is made under another name and renamed when it is whole, and renamed before it is removed, so
//! that one with its own name is always complete. Its folder is its lock.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use minibox_runtime::idmap::IdMap;
use minibox_runtime::state::{self, Lock};
use minibox_runtime::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Store, make_private, now, remove_tree};
use crate::events::{Actor, Event};
use crate::names;

/// volume.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub name: String,
    /// RFC 3339.
    pub created: String,
    pub labels: BTreeMap<String, String>,
    /// Nobody gave it a name.
    pub anonymous: bool,
    /// What a root filesystem has in its place is being copied into it.
    pub is_filling: bool,
}

/// Writes down what has happened to a volume.
fn tell(store: &Store, action: &str, name: &str) {
    let attributes = [("driver".to_owned(), "local".to_owned())].into();
    let actor = Actor { id: name.to_owned(), attributes };
    Event::now("volume", action, actor).write(&store.data);
}

/// The folders of all volumes.
fn top(store: &Store) -> PathBuf {
    store.data.join("volumes")
}

fn folder(store: &Store, name: &str) -> PathBuf {
    top(store).join(name)
}

/// What containers see of it.
pub(crate) fn data(store: &Store, name: &str) -> PathBuf {
    folder(store, name).join("_data")
}

/// Docker's rule for names of volumes, which also tells them from paths.
pub(crate) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && (2..=255).contains(&text.len())
        && letters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// One volume; `None` where there is none of that name.
pub(crate) fn load(store: &Store, name: &str) -> Result<Option<Volume>> {
    if !is_name(name) {
        return Ok(None);
    }
    state::read(&folder(store, name).join("volume.json"))
}

/// The names of all volumes, in order.
pub(crate) fn names(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(top(store)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_name(name)).collect();
    names.sort();
    names
}

/// The ids of the containers that use a volume, running or not. By the bare text of their records, so that
/// one that a newer minibox made counts too.
pub(crate) fn users(store: &Store, name: &str) -> Vec<String> {
    let uses = |id: &String| {
        let record: Option<serde_json::Value> =
            state::read(&store.folder(id).join("container.json")).ok().flatten();
        let mounts = record.as_ref().and_then(|record| record["mounts"].as_array());
        mounts.into_iter().flatten().any(|mount| mount["kind"]["volume"]["name"] == name)
    };
    store.ids().into_iter().filter(uses).collect()
}

/// Locks a volume, made first where there is none.
pub(crate) fn take(
    store: &Store,
    name: &str,
    labels: &BTreeMap<String, String>,
    anonymous: bool,
) -> Result<(Volume, Lock)> {
    loop {
        if let Some(lock) = Lock::wait(&folder(store, name))? {
            let unreadable = || Error::new(format!("the volume {name} has no volume.json"));
            return Ok((load(store, name)?.ok_or_else(unreadable)?, lock));
        }
        make_private(&top(store))?;
        let new = top(store).join(format!(".new-{}", names::new_id()));
        make_private(&new)?;
        let Some(lock) = Lock::wait(&new)? else { continue };
        let volume = Volume {
            name: name.to_owned(),
            created: now(),
            labels: labels.clone(),
            anonymous,
            is_filling: false,
        };
        let made = state::save(&new.join("volume.json"), &volume)
            .and_then(|()| make_data(&new.join("_data")));
        match made.map(|()| fs::rename(&new, folder(store, name))) {
            Ok(Ok(())) => {
                tell(store, "create", name);
                return Ok((volume, lock));
            }
            failed => {
                remove_tree(&new, None)?;
                match failed {
                    // Somebody else was first.
                    Ok(Err(error))
                        if matches!(
                            error.kind(),
                            ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty
                        ) => {}
                    Ok(Err(error)) => return Err(Error::of_io("make the volume", &new, &error)),
                    Ok(Ok(())) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

fn make_data(data: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().mode(0o755).create(data);
    made.map_err(|error| Error::of_io("make the folder", data, &error))
}

/// Makes a volume ready for a container: it is there, and the first time `fill` has had its chance to put
/// something into it.
pub(crate) fn prepare(
    store: &Store,
    name: &str,
    labels: &BTreeMap<String, String>,
    anonymous: bool,
    fill: Option<impl FnOnce(&Path) -> Result<()>>,
) -> Result<()> {
    let (mut volume, _lock) = take(store, name, labels, anonymous)?;
    let (folder, data) = (folder(store, name), data(store, name));
    let Some(fill) = fill else { return Ok(()) };
    if volume.is_filling {
        empty(&data)?;
    }
    // One that cannot be read belongs to somebody inside: then there is something in it.
    let is_empty = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return Ok(());
    }
    volume.is_filling = true;
    state::save(&folder.join("volume.json"), &volume)?;
    fill(&data)?;
    volume.is_filling = false;
    state::save(&folder.join("volume.json"), &volume)
}

/// Takes away what a filling left that was cut short.
fn empty(data: &Path) -> Result<()> {
    remove_tree(data, Some(&IdMap::for_caller().0))?;
    make_data(data)
}

/// Removes a volume that no container uses; was there one?
pub(crate) fn remove(store: &Store, name: &str) -> Result<bool> {
    let place = folder(store, name);
    let Some(_lock) = Lock::wait(&place)? else { return Ok(false) };
    let users = users(store, name);
    if !users.is_empty() {
        let hint = "remove the container first: `minibox rm CONTAINER`";
        return Err(Error::new(format!(
            "remove {name}: volume is in use - [{}]",
            users.join(", ")
        ))
        .hint(hint));
    }
    let gone = top(store).join(format!(".removed-{}", names::new_id()));
    fs::rename(&place, &gone).map_err(|error| Error::of_io("remove", &place, &error))?;
    remove_tree(&gone, Some(&IdMap::for_caller().0))?;
    tell(store, "destroy", name);
    Ok(true)
}

/// Removes a volume that nobody gave a name, once its last container is gone.
pub(super) fn remove_anonymous(store: &Store, name: &str) -> Result<()> {
    match remove(store, name) {
        Err(_) if !users(store, name).is_empty() => Ok(()),
        result => result.map(drop),
    }
}

/// What a crash left behind, in words; taken away where `clear`.
pub(crate) fn sweep(store: &Store, clear: bool, found: &mut dyn FnMut(&str)) -> Result<()> {
    let mut failed = None;
    for entry in fs::read_dir(top(store)).into_iter().flatten().flatten() {
        // What cannot be cleared keeps nothing else.
        if let Err(error) = sweep_one(store, &entry.path(), clear, found) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn sweep_one(store: &Store, path: &Path, clear: bool, found: &mut dyn FnMut(&str)) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Locked: somebody is at work on it.
    let Some(_lock) = Lock::try_now(path)? else { return Ok(()) };
    if name.starts_with(".new-") || name.starts_with(".removed-") {
        found(&format!("a half-made or half-removed volume: {}", path.display()));
        if clear {
            remove_tree(path, Some(&IdMap::for_caller().0))?;
        }
    } else if let Ok(Some(mut volume)) = load(store, &name)
        && volume.is_filling
    {
        found(&format!("a volume whose first filling was cut short: {name}"));
        if clear {
            empty(&data(store, &name))?;
            volume.is_filling = false;
            state::save(&path.join("volume.json"), &volume)?;
        }
    }
    Ok(())
}
