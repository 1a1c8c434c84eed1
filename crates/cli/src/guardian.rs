//! The guardian: a container in the foreground ends with its `minibox` process, kill -9 included.
//!
//! PR_SET_PDEATHSIG alone does not hold that promise: the kernel forgets it when the program changes
//! its user, as many entry points do, and the program may clear it itself. So a second process waits
//! for the end of the first. It is made while the container is still being born, and costs its start no time.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use minibox_runtime::state::Lock;
use minibox_runtime::sys::{self, Forked};
use minibox_runtime::{Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::quiet;
use crate::signals;
use crate::store::{Exit, Record, Store, now};

/// Starts the guardian of a container whose PID 1 is the caller's child `pid`.
pub(crate) fn start(store: &Store, record: &Record, pid: i32) -> Result<()> {
    let hold = |pid| {
        sys::pidfd_open(pid).map_err(|fault| Error::of_fault(format!("cannot hold {pid}"), fault))
    };
    let (container, keeper) = (hold(pid)?, hold(std::process::id() as i32)?);
    match sys::clone3(0, None).map_err(|f| Error::of_fault("cannot start the guardian", f))? {
        Forked::Parent { .. } => Ok(()),
        Forked::Child => guard(store, record, &container, &keeper),
    }
}

fn guard(store: &Store, record: &Record, container: &OwnedFd, keeper: &OwnedFd) -> ! {
    let _ = sys::setsid();
    quiet::become_quiet(&record.name, &[container.as_raw_fd(), keeper.as_raw_fd()]);
    wait_for(keeper);
    signals::kill(container, record.cgroup().as_ref());
    wait_for(container);
    let _ = write_down(store, &record.id);
    sys::exit_now(0)
}

fn wait_for(process: &OwnedFd) {
    let mut end = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    while poll(&mut end, PollTimeout::NONE).is_err() {}
}

/// Where its keeper has not: he may have been killed at any point, its last breath included. Somebody may
/// have started it again meanwhile.
fn write_down(store: &Store, id: &str) -> Result<()> {
    let Some(_lock) = Lock::wait(&store.folder(id))? else { return Ok(()) };
    let Some(mut container) = store.load(id)? else { return Ok(()) };
    if container.record.exit.is_some() || container.is_kept() {
        return Ok(());
    }
    let note = String::from("its minibox process in the foreground was killed, and so it was too");
    let exit = Exit { code: Some(137), out_of_memory: false, finished: now(), note: Some(note) };
    store.end(&mut container.record, exit)
}
