//! Finds a container and brings what is written down in line with the machine. Every verb comes by here.

use std::time::{Duration, Instant};

use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result};

use crate::monitor;
use crate::store::{Container, Status, Store};

/// Finds a container by its name, its id, or the beginning of its id, as it is now.
pub(crate) fn find(store: &Store, asked: &str) -> Result<Container> {
    let gone = || Error::new(format!("container {asked:?} has just been removed"));
    up_to_date(store, store.find(asked)?)?.ok_or_else(gone)
}

/// The same, once its start is over: whoever starts it holds its lock until its program runs, and a signal
/// that came before would make a failed start of it. Not for ever, since `--step` may halt a start.
pub(crate) fn find_started(store: &Store, asked: &str) -> Result<Container> {
    let id = store.find(asked)?.record.id;
    let deadline = Instant::now() + Duration::from_secs(5);
    while store.folder(&id).exists()
        && Lock::try_now(&store.folder(&id))?.is_none()
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    find(store, asked)
}

/// A container as it is after whatever the machine did to it: ends are written down, and a container
/// whose monitor was killed gets a new one. `None` where it is gone.
pub(crate) fn up_to_date(store: &Store, container: Container) -> Result<Option<Container>> {
    let id = container.record.id.clone();
    if container.is_forsaken() {
        if store.settle(&container).is_err() {
            // A full disk hides no container, and keeps nobody from removing it.
            return Ok(Some(container));
        }
    } else if container.status() == Status::Running
        && !container.is_kept()
        && container.record.monitored
    {
        monitor::take_over(store, &container)?;
    } else {
        return Ok(Some(container));
    }
    store.load(&id)
}
