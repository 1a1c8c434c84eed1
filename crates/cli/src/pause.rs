//! `minibox pause` and `unpause`: every process of a container sleeps, as it is, until it is woken.

use minibox_runtime::{Error, Result, pid_namespace};

use crate::args::PauseArgs;
use crate::living;
use crate::output;
use crate::store::{Record, Store};

/// `minibox pause`.
pub(crate) fn pause(store: &Store, args: &PauseArgs) -> u8 {
    output::for_each(&args.names.containers, |name| {
        let container = living::find_started(store, name)?;
        let (pid, _held) = container.hold_running()?;
        if container.is_paused() {
            return Err(Error::new(format!("container {name} is already paused")));
        }
        let failed =
            |error: Error| Error { what: format!("cannot pause {name}: {}", error.what), ..error };
        if let Some(cgroup) = container.record.cgroup() {
            cgroup.freeze().map_err(failed)?;
        } else {
            output::note(&format!(
                "{name} has no cgroup that could be frozen, so each of its processes is stopped by SIGSTOP"
            ));
            pid_namespace::stop(pid).map_err(failed)?;
        }
        store.tell(&container.record, "pause", &[]);
        output::print(&format!("{name}\n"));
        Ok(())
    })
}

/// `minibox unpause`.
pub(crate) fn unpause(store: &Store, args: &PauseArgs) -> u8 {
    output::for_each(&args.names.containers, |name| {
        let container = living::find_started(store, name)?;
        let (pid, _held) = container.hold_running()?;
        if !container.is_paused() {
            return Err(Error::new(format!("container {name} is not paused")));
        }
        wake(&container.record, pid)?;
        store.tell(&container.record, "unpause", &[]);
        output::print(&format!("{name}\n"));
        Ok(())
    })
}

/// Wakes the container whose PID 1 is `pid`, where it is paused.
pub(crate) fn wake(record: &Record, pid: i32) -> Result<()> {
    match record.cgroup() {
        Some(cgroup) => cgroup.thaw(),
        None => pid_namespace::go_on(pid),
    }
}
