//! Whom a verb is to look at.

use minibox_lens::tree::Known;
use minibox_lens::{Process, process};
use minibox_runtime::Result;

use super::fault;
use crate::living;
use crate::store::{Container, Record, Status, Store};

/// A process, and the container that it is the first of.
#[derive(Debug)]
pub(crate) struct Target {
    /// On this host.
    pub pid: i32,
    /// Its name, where minibox started it.
    pub container: Option<String>,
    /// Held: its number may be given to another process, and this stays the one that was found.
    pub process: Process,
}

impl Target {
    /// What it is called in a heading.
    pub(crate) fn title(&self) -> String {
        match &self.container {
            Some(name) => format!("container {name}, process {}", self.pid),
            None => format!("process {}", self.pid),
        }
    }
}

/// A container by its name, any process of this host by its PID, `self`, or a container by the beginning of
/// its id. In this order: ids may look like numbers, but nobody types so much of one.
pub(crate) fn find(store: &Store, asked: &str) -> Result<Target> {
    if let Some(target) = find_process(store, asked)? {
        return Ok(target);
    }
    let container = living::find(store, asked)?;
    let (pid, _held) = container.hold_running()?;
    let process = process::open(pid).map_err(|error| fault(&error))?;
    Ok(Target { pid, container: Some(container.record.name), process })
}

/// The containers that run, by their first processes.
pub(crate) fn known(store: &Store) -> Vec<Known> {
    let all = store.all().into_iter().filter(|container| container.status() == Status::Running);
    let known = |container: Container| {
        let Record { name, id, .. } = container.record;
        Some(Known { pid: container.state?.init.pid, name, id })
    };
    all.filter_map(known).collect()
}

/// The process, where one is asked for and no container.
pub(crate) fn find_process(store: &Store, asked: &str) -> Result<Option<Target>> {
    let is_a_name = || store.find(asked).is_ok_and(|container| container.record.name == asked);
    let pid = match asked {
        "self" => Some(std::process::id() as i32),
        _ => asked.parse::<i32>().ok().filter(|_| !is_a_name()),
    };
    let Some(pid) = pid else { return Ok(None) };
    match process::open(pid) {
        Ok(process) => Ok(Some(Target { pid, container: None, process })),
        Err(error) if store.find(asked).is_err() => Err(fault(&error)),
        Err(_) => Ok(None),
    }
}
