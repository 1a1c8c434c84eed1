//! Finds a container and brings what is written down in line with the machine. Every verb comes by here.

use minibox_runtime::{Error, Result};

use crate::monitor;
use crate::store::{Container, Status, Store};

/// Finds a container by its name, its id, or the beginning of its id, as it is now.
pub(crate) fn find(store: &Store, asked: &str) -> Result<Container> {
    let gone = || Error::new(format!("container {asked:?} has just been removed"));
    up_to_date(store, store.find(asked)?)?.ok_or_else(gone)
}

/// A container as it is after whatever the machine did to it: ends are written down, and a container
/// whose monitor was killed gets a new one. `None` where it is gone.
pub(crate) fn up_to_date(store: &Store, container: Container) -> Result<Option<Container>> {
    if container.record.exit.is_some() || container.is_kept() {
        return Ok(Some(container));
    }
    let id = container.record.id.clone();
    if container.status() == Status::Running {
        if container.record.monitored {
            monitor::take_over(store, &container)?;
        }
    } else {
        store.settle(&container)?;
    }
    store.load(&id)
}
