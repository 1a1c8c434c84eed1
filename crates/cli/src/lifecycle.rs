//! The verbs that end things: stop, kill, wait, rm.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use minibox_runtime::state::{self, Lock};
use minibox_runtime::{Error, Result, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::args::{KillArgs, Names, RmArgs, StopArgs};
use crate::living;
use crate::output;
use crate::store::{Container, Status, Store};
use crate::supervise::has_handler;

/// Does `work` for each name and goes on after an error; the exit code, 1 if any failed.
fn for_each(names: &Names, mut work: impl FnMut(&str) -> Result<()>) -> u8 {
    let mut failed = false;
    for name in &names.containers {
        if let Err(error) = work(name) {
            output::error(&error);
            failed = true;
        }
    }
    u8::from(failed)
}

/// Waits until the process has ended, at most `limit`; did it?
fn wait_for_end(pidfd: &OwnedFd, limit: Option<Duration>) -> bool {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let timeout = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(0) if deadline.is_some_and(|d| Instant::now() >= d) => return false,
            Ok(count) if count > 0 => return true,
            _ => {}
        }
    }
}

/// Waits until the container's keeper has written down its end and given back what lived with it; settles
/// it where there is no keeper.
fn wait_for_record(store: &Store, id: &str) -> Result<Option<Container>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    if let Some(keeper) = store.load(id)?.and_then(|c| c.state).map(|state| state.keeper)
        && let Ok(Some(keeper)) = state::hold(keeper)
    {
        // One that was stopped by Ctrl-Z would keep it to itself.
        let _ = sys::pidfd_send_signal(keeper.as_raw_fd(), libc::SIGCONT);
    }
    loop {
        let Some(container) = store.load(id)? else {
            return Ok(None);
        };
        if container.record.exit.is_some() {
            // Its cgroup and run folder go a moment later, under its lock.
            drop(Lock::wait(&store.folder(id))?);
            return store.load(id);
        }
        if !container.is_kept() {
            store.settle(&container)?;
        }
        if Instant::now() > deadline {
            return Err(Error::new(format!(
                "nobody writes down how {} ended",
                id.get(..12).unwrap_or(id)
            ))
            .hint("`minibox gc --force` does"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal; one that comes after the end is no error.
fn send(pidfd: &OwnedFd, signal: i32, name: &str) -> Result<()> {
    match sys::pidfd_send_signal(pidfd.as_raw_fd(), signal) {
        Err(fault) if fault.errno != Errno::ESRCH => {
            Err(Error::of_fault(format!("cannot send a signal to {name}"), fault))
        }
        _ => Ok(()),
    }
}

/// `minibox stop`: SIGTERM, patience, SIGKILL.
pub(crate) fn stop(store: &Store, args: &StopArgs) -> u8 {
    for_each(&args.names, |name| {
        let container = living::find_started(store, name)?;
        if let Some((pid, pidfd)) = container.hold()? {
            let deaf = !has_handler(pid, Signal::SIGTERM);
            send(&pidfd, Signal::SIGTERM as i32, name)?;
            if !wait_for_end(&pidfd, Some(Duration::from_secs(args.time.into()))) {
                let why = if deaf {
                    "PID 1 of a pid namespace receives only signals it has a handler for, and this program has none for SIGTERM"
                } else {
                    "the program caught SIGTERM and went on"
                };
                output::note(&format!(
                    "{name} did not end within {} s, so it is killed: {why}",
                    args.time
                ));
                send(&pidfd, Signal::SIGKILL as i32, name)?;
                wait_for_end(&pidfd, None);
            }
        }
        if container.status() != Status::Created {
            wait_for_record(store, &container.record.id)?;
        }
        output::print(&format!("{name}\n"));
        Ok(())
    })
}

/// A signal by name (with or without SIG) or number.
pub(crate) fn parse_signal(text: &str) -> Result<i32> {
    let wrong = || {
        Error::new(format!("--signal {text:?} is not a signal"))
            .hint("names and numbers stand in signal(7): KILL, TERM, HUP, 9 …")
    };
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<Signal>().map(|signal| signal as i32).map_err(|_| wrong())
}

/// `minibox kill`.
pub(crate) fn kill(store: &Store, args: &KillArgs) -> Result<u8> {
    let signal = parse_signal(&args.signal)?;
    Ok(for_each(&args.names, |name| {
        let container = living::find_started(store, name)?;
        let (pid, pidfd) = container.hold_running()?;
        send(&pidfd, signal, name)?;
        let named = Signal::try_from(signal).ok();
        match named {
            Some(Signal::SIGKILL) => {
                wait_for_end(&pidfd, Some(Duration::from_secs(10)));
                wait_for_record(store, &container.record.id)?;
            }
            Some(signal)
                if signal != Signal::SIGSTOP
                    && signal != Signal::SIGCONT
                    && !has_handler(pid, signal) =>
            {
                output::note(&format!(
                    "{name} has no handler for {signal}, and PID 1 of a pid namespace receives only signals it handles: nothing happens"
                ));
            }
            _ => {}
        }
        output::print(&format!("{name}\n"));
        Ok(())
    }))
}

/// `minibox wait`.
pub(crate) fn wait(store: &Store, names: &Names) -> u8 {
    for_each(names, |name| {
        let container = living::find(store, name)?;
        if let Some((_, pidfd)) = container.hold()? {
            wait_for_end(&pidfd, None);
        }
        let ended = wait_for_record(store, &container.record.id)?;
        let exit = ended.and_then(|c| c.record.exit);
        if exit.is_none() {
            return Err(Error::new(format!(
                "{name} was removed when it ended, and its exit code with it"
            )));
        }
        let code = exit.and_then(|e| e.code).unwrap_or(255);
        output::print(&format!("{code}\n"));
        Ok(())
    })
}

/// `minibox rm`.
pub(crate) fn rm(store: &Store, args: &RmArgs) -> u8 {
    for_each(&args.names, |name| {
        let container = match living::find(store, name) {
            Ok(container) => container,
            Err(_) if args.force && store.find(name).is_err() => {
                return store.wait_for_removal(name);
            }
            Err(error) => return Err(error),
        };
        if let Some((_, pidfd)) = container.hold()? {
            if !args.force {
                return Err(Error::new(format!("{name} is running"))
                    .hint(format!("`minibox stop {name}` first, or `minibox rm -f {name}`")));
            }
            send(&pidfd, Signal::SIGKILL as i32, name)?;
            wait_for_end(&pidfd, Some(Duration::from_secs(10)));
        }
        let id = &container.record.id;
        // Its keeper first writes down the end, and with --rm removes it.
        if container.status() != Status::Created {
            wait_for_record(store, id)?;
        }
        if let Some(_lock) = Lock::wait(&store.folder(id))?
            && let Some(container) = store.load(id)?
        {
            store.remove(&container.record)?;
        }
        output::print(&format!("{name}\n"));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("KILL", 9), ("sigterm", 15), ("SIGHUP", 1), ("9", 9), ("64", 64)] {
            assert_eq!(parse_signal(text).unwrap(), number);
        }
        for text in ["", "0", "65", "-9", "NOPE", "SIG"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
