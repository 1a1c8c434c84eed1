//! What happens to containers, one line of JSON each, in docker's form.
//!
//! There is no daemon to ask, so whoever does something writes it down, in DATA/events.ndjson. At
//! [`LARGEST`] that file becomes events.1, and a new one begins. A writer holds a shared lock, the one who
//! renames an exclusive one: nobody ever writes to a file that has been renamed, so that a reader who has
//! come to its end can let go of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::filter::Filter;

/// Bytes at which a file of events is put aside.
const LARGEST: u64 = 1024 * 1024;

/// One event, as docker's API has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// The action of a container once more; so too the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The root filesystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `container` or `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    pub scope: String,
    /// Seconds since 1970.
    pub time: u64,
    #[serde(rename = "timeNano")]
    pub time_nano: u64,
}

/// What it happened to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Actor {
    /// A container's id, a volume's name.
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// Keys of `--filter` that [`Event::passes`] knows.
pub(crate) const KEYS: [&str; 6] = ["container", "event", "image", "label", "type", "volume"];

/// The file that is written to.
pub(crate) fn current(data: &Path) -> PathBuf {
    data.join("events.ndjson")
}

/// The one before it.
pub(crate) fn earlier(data: &Path) -> PathBuf {
    data.join("events.1")
}

/// Is `path` the name of this open file?
pub(crate) fn is_named(file: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().ok().map(id) == path.metadata().ok().map(id)
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).append(true).create(true).mode(0o600).open(path)
}

impl Event {
    /// What has just happened to a container, or to a volume.
    pub(crate) fn now(kind: &str, action: &str, actor: Actor) -> Event {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_container = kind == "container";
        let of_container = |text: &str| is_container.then(|| text.to_owned());
        Event {
            status: of_container(action),
            id: of_container(&actor.id),
            from: of_container(actor.attributes.get("image").map_or("", String::as_str)),
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor,
            scope: String::from("local"),
            time: now.as_secs(),
            time_nano: now.as_nanos() as u64,
        }
    }

    /// Appends it to the events below `data`, in one write. It has happened: a failure here is nobody's error.
    /// Waits for nobody for long, since a container's monitor comes by here.
    pub(crate) fn write(&self, data: &Path) {
        let path = current(data);
        let Ok(line) = serde_json::to_string(self) else { return };
        for _ in 0..100 {
            let Ok(file) = open(&path) else { return };
            match Flock::lock(file, FlockArg::LockSharedNonblock) {
                Ok(mut file) if is_named(&file, &path) => {
                    let _ = file.write_all((line + "\n").as_bytes());
                    let size = file.metadata().map_or(0, |metadata| metadata.len());
                    drop(file);
                    if size >= LARGEST {
                        put_aside(data);
                    }
                    return;
                }
                // Somebody puts the file aside right now, or just has.
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    pub(crate) fn moment(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.time_nano)
    }

    /// Is it asked for?
    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        let attribute = |name: &str| self.actor.attributes.get(name).map_or("", String::as_str);
        let is_container = self.kind == "container";
        let named =
            |value: &str| self.actor.id.starts_with(value) || attribute("name").starts_with(value);
        // What follows a colon is a detail: `exec_start: ls -l`, `health_status: healthy`.
        let action = self.action.split(": ").next().unwrap_or_default();
        filter.any("type", |value| value == self.kind)
            && filter.any("event", |value| value == action || value == self.action)
            && filter.any("container", |value| is_container && named(value))
            && filter.any("volume", |value| !is_container && self.actor.id == value)
            && filter.any("image", |value| is_container && attribute("image") == value)
            && filter.labels("label", &self.actor.attributes)
    }
}

/// Makes the file the earlier one, unless somebody is just writing: then the next one will.
fn put_aside(data: &Path) {
    let path = current(data);
    let Ok(file) = open(&path) else { return };
    if let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        let is_large = file.metadata().is_ok_and(|metadata| metadata.len() >= LARGEST);
        if is_large && is_named(&file, &path) {
            let _ = std::fs::rename(&path, earlier(data));
        }
    }
}

/// Reads a file of events as it grows.
#[derive(Debug)]
pub(crate) struct Tail {
    pub file: File,
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl Tail {
    /// From the beginning of the file at `path`, which is made where it is missing.
    pub(crate) fn open(path: &Path) -> std::io::Result<Tail> {
        let file = open(path)?;
        Ok(Tail { reader: BufReader::new(file.try_clone()?), file, line: Vec::new() })
    }

    /// The next event that is written in full; what is none is passed over.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            self.reader.read_until(b'\n', &mut self.line).ok()?;
            if self.line.last() != Some(&b'\n') {
                return None;
            }
            let event = serde_json::from_slice(&self.line).ok();
            self.line.clear();
            if event.is_some() {
                return event;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str) -> Event {
        let attributes = [("name", "web"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Event::now("container", action, Actor { id: "9fc9".into(), attributes: attributes.into() })
    }

    #[test]
    fn a_full_file_is_put_aside_and_no_event_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let data = data.to_owned();
                std::thread::spawn(move || {
                    for number in 0..600 {
                        let mut event = event(&format!("{writer}-{number}"));
                        event.from = Some("x".repeat(500));
                        event.write(&data);
                    }
                })
            })
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        let mut tail = Tail::open(&current(data)).unwrap();
        loop {
            let over = writers.iter().all(std::thread::JoinHandle::is_finished);
            let is_renamed = !is_named(&tail.file, &current(data));
            while let Some(event) = tail.next() {
                assert!(seen.insert(event.action));
            }
            if is_renamed {
                tail = Tail::open(&current(data)).unwrap();
            } else if over {
                break;
            }
        }
        assert_eq!(seen.len(), 2400);
        assert!(earlier(data).exists());
        assert!(current(data).metadata().unwrap().len() < LARGEST);
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = current(folder.path());
        std::fs::write(&path, "garbage\n{\"Type\":1}\n").unwrap();
        event("start").write(folder.path());
        let mut file = open(&path).unwrap();
        file.write_all(b"{\"half").unwrap();
        let mut tail = Tail::open(&path).unwrap();
        assert_eq!(tail.next().unwrap().action, "start");
        assert_eq!(tail.next(), None);
        file.write_all(b"\":1}\n").unwrap();
        assert_eq!(tail.next(), None);
    }

    #[test]
    fn filters_are_docker_s() {
        let passes = |event: &Event, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            event.passes(&Filter::parse(&words, &KEYS).unwrap())
        };
        let exec = event("exec_start: ls");
        assert!(passes(
            &exec,
            &["event=exec_start", "container=9f", "label=a=1", "type=container"]
        ));
        assert!(
            passes(&exec, &["container=we"]) && passes(&exec, &["event=die", "event=exec_start"])
        );
        assert!(!passes(&exec, &["event=start"]) && !passes(&exec, &["type=volume"]));
        assert!(!passes(&exec, &["container=x"]) && !passes(&exec, &["volume=9fc9"]));
    }
}
