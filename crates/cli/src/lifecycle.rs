//! The verbs that end things: stop, kill, wait, rm.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use minibox_runtime::state::{self, Lock};
use minibox_runtime::{Error, Result, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::args::{KillArgs, Names, RestartArgs, RmArgs, StopArgs};
use crate::living;
use crate::monitor::Company;
use crate::monitor::words::{self, to_monitor};
use crate::output;
use crate::pause;
use crate::signals::{self, reaches};
use crate::start;
use crate::store::{Container, Halted, Record, Status, Store};

/// Waits until the process has ended, at most `limit`; did it?
fn wait_for_end(pidfd: &OwnedFd, limit: Option<Duration>) -> bool {
    // Longer than any clock counts is for ever.
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
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
/// it where there is no keeper. One that its policy starts again is not waited for any longer, unless
/// somebody has asked for its end.
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
        match container.status() {
            Status::Exited if container.record.exit.is_some() => {
                // Its cgroup and run folder go a moment later, under its lock.
                drop(Lock::wait(&store.folder(id))?);
                return store.load(id);
            }
            Status::Running | Status::Restarting if container.record.halted.is_none() => {
                return Ok(Some(container));
            }
            _ => {}
        }
        if container.is_forsaken() {
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

/// Writes down that somebody wants its end, so that no policy starts it again, and tells its monitor; the
/// container as it is now, which may be another than a moment ago.
fn halt(store: &Store, id: &str, who: Halted) -> Result<Option<Container>> {
    let Some(_lock) = Lock::wait(&store.folder(id))? else { return Ok(None) };
    let Some(mut container) = store.load(id)? else { return Ok(None) };
    let status = container.status();
    // One that has just ended may be about to be started again.
    let is_over = status == Status::Exited && container.record.exit.is_some();
    if is_over || status == Status::Created {
        return Ok(Some(container));
    }
    if container.record.halted != Some(Halted::User) {
        container.record.halted = Some(who);
    }
    // A disk that takes nothing keeps nobody from ending it.
    let _ = store.save(&container.record);
    if status == Status::Restarting
        && let Ok(monitor) = words::visit(&store.run_folder(id))
    {
        words::tell(&monitor, to_monitor::LOOK, &[]);
    }
    Ok(Some(container))
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

/// Sends one to a container's program, and writes that down.
fn send_to(store: &Store, record: &Record, pidfd: &OwnedFd, signal: i32) -> Result<()> {
    // First, or its end might be written down before.
    store.tell(record, "kill", &[("signal", &signal.to_string())]);
    send(pidfd, signal, &record.name)
}

/// The same for a signal that is to end it: one that is paused must wake to hear it.
fn send_and_wake(
    store: &Store,
    container: &Container,
    pid: i32,
    pidfd: &OwnedFd,
    signal: i32,
) -> Result<()> {
    let is_paused = container.is_paused();
    send_to(store, &container.record, pidfd, signal)?;
    if is_paused {
        // It may have ended by now.
        let _ = pause::wake(&container.record, pid);
    }
    Ok(())
}

/// How `stop` and `restart` ask.
struct Asking {
    /// Seconds; below 0: for ever. None: as the container was made.
    time: Option<i64>,
    signal: Option<i32>,
    who: Halted,
}

impl Asking {
    fn new(time: Option<i64>, signal: Option<&str>, who: Halted) -> Result<Asking> {
        let signal = signal.map(|text| signals::parse("--signal", text)).transpose()?;
        Ok(Asking { time, signal, who })
    }

    /// Asks for the end; `None` where there is nothing to end.
    fn ask(&self, store: &Store, name: &str) -> Result<Option<Asked>> {
        let container = living::find_started(store, name)?;
        let was_up = matches!(container.status(), Status::Running | Status::Restarting);
        if container.status() == Status::Created {
            return Ok(None);
        }
        let Some(container) = halt(store, &container.record.id, self.who)? else {
            return Ok(None);
        };
        let seconds = self.time.unwrap_or(container.record.settings.stop_timeout);
        let signal = self.signal.unwrap_or(container.record.settings.stop_signal);
        let held = container.hold()?;
        let mut is_deaf = false;
        if let Some((pid, pidfd)) = &held {
            is_deaf = !reaches(*pid, signal) && signal != libc::SIGKILL;
            send_and_wake(store, &container, *pid, pidfd, signal)?;
        }
        let limit = u64::try_from(seconds).ok().map(Duration::from_secs);
        Ok(Some(Asked {
            record: container.record,
            who: self.who,
            was_up,
            held: held.map(|(_, pidfd)| pidfd),
            is_deaf,
            signal,
            seconds,
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
        }))
    }
}

/// A container that was asked to end.
struct Asked {
    record: Record,
    who: Halted,
    was_up: bool,
    /// Its program, where it ran.
    held: Option<OwnedFd>,
    /// It has no handler for the signal.
    is_deaf: bool,
    signal: i32,
    seconds: i64,
    /// None: for ever.
    deadline: Option<Instant>,
}

impl Asked {
    /// Waits, kills; returns when all is written down.
    fn wait(self, store: &Store) -> Result<()> {
        let left = self.deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if let Some(pidfd) = &self.held
            && !wait_for_end(pidfd, left)
        {
            let (name, signal) = (&self.record.name, signals::name(self.signal));
            let why = if self.is_deaf {
                format!(
                    "PID 1 of a pid namespace receives only signals it has a handler for, and this program has none for {signal}"
                )
            } else {
                format!("the program caught {signal} and went on")
            };
            output::note(&format!(
                "{name} did not end within {} s, so it is killed: {why}",
                self.seconds
            ));
            send_to(store, &self.record, pidfd, libc::SIGKILL)?;
            wait_for_end(pidfd, None);
        }
        if let Some(container) = wait_for_record(store, &self.record.id)?
            && container.status() == Status::Restarting
            && container.record.halted.is_none()
        {
            // What could not be written down when it was asked can be by now.
            halt(store, &self.record.id, self.who)?;
            wait_for_record(store, &self.record.id)?;
        }
        if self.was_up {
            store.tell(&self.record, "stop", &[]);
        }
        Ok(())
    }
}

/// `minibox stop`.
pub(crate) fn stop(store: &Store, args: &StopArgs) -> Result<u8> {
    let who = if args.at_shutdown { Halted::Shutdown } else { Halted::User };
    let asking = Asking::new(args.time, args.signal.as_deref(), who)?;
    let mut names = args.containers.clone();
    if args.at_shutdown {
        let is_up = |c: &Container| matches!(c.status(), Status::Running | Status::Restarting);
        names.extend(store.all().into_iter().filter(is_up).map(|c| c.record.name));
    }
    // All are asked before one is waited for: they end side by side.
    let asked: Vec<_> = names.iter().map(|name| asking.ask(store, name)).collect();
    let mut asked = asked.into_iter();
    Ok(output::for_each(&names, |name| {
        if let Some(asked) = asked.next().transpose()?.flatten() {
            asked.wait(store)?;
        }
        output::print(&format!("{name}\n"));
        Ok(())
    }))
}

/// `minibox restart`.
pub(crate) fn restart(store: &Store, args: &RestartArgs) -> Result<u8> {
    let asking = Asking::new(args.time, args.signal.as_deref(), Halted::Restart)?;
    Ok(output::for_each(&args.names.containers, |name| {
        let container = living::find_started(store, name)?;
        if let Some(asked) = asking.ask(store, name)? {
            asked.wait(store)?;
        }
        start::begin(store, name, Company::Nobody)?;
        store.tell(&container.record, "restart", &[]);
        output::print(&format!("{name}\n"));
        Ok(())
    }))
}

/// `minibox kill`.
pub(crate) fn kill(store: &Store, args: &KillArgs) -> Result<u8> {
    let signal = signals::parse("--signal", &args.signal)?;
    Ok(output::for_each(&args.names.containers, |name| {
        let mut container = living::find_started(store, name)?;
        let id = container.record.id.clone();
        let is_for_good =
            signal == libc::SIGKILL || signal == container.record.settings.stop_signal;
        if is_for_good && container.status() != Status::Created {
            let gone = || Error::new(format!("{name} has just been removed"));
            container = halt(store, &id, Halted::User)?.ok_or_else(gone)?;
            if container.status() == Status::Restarting {
                wait_for_record(store, &id)?;
                output::print(&format!("{name}\n"));
                return Ok(());
            }
        }
        let (pid, pidfd) = container.hold_running()?;
        if is_for_good {
            send_and_wake(store, &container, pid, &pidfd, signal)?;
        } else {
            send_to(store, &container.record, &pidfd, signal)?;
        }
        match signal {
            libc::SIGKILL => {
                wait_for_end(&pidfd, Some(Duration::from_secs(10)));
                wait_for_record(store, &id)?;
            }
            libc::SIGSTOP | libc::SIGCONT => {}
            _ if reaches(pid, signal) => {}
            _ => output::note(&format!(
                "{name} has no handler for {}, and PID 1 of a pid namespace receives only signals it handles: nothing happens",
                signals::name(signal)
            )),
        }
        output::print(&format!("{name}\n"));
        Ok(())
    }))
}

/// `minibox wait`.
pub(crate) fn wait(store: &Store, names: &Names) -> u8 {
    output::for_each(&names.containers, |name| {
        let mut container = living::find_started(store, name)?;
        let id = container.record.id.clone();
        // Docker's answer for what does not run, and never has.
        if container.status() == Status::Created {
            output::print("0\n");
            return Ok(());
        }
        let removed =
            || Error::new(format!("{name} was removed when it ended, and its exit code with it"));
        // One that is started again and again is waited for, too.
        let exit = loop {
            match container.hold()? {
                Some((_, pidfd)) => drop(wait_for_end(&pidfd, None)),
                None if container.status() == Status::Exited => {
                    let ended = wait_for_record(store, &id)?.ok_or_else(removed)?;
                    if ended.status() == Status::Exited {
                        break ended.record.exit;
                    }
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
            let now = store.load(&id)?.ok_or_else(removed)?;
            container = living::up_to_date(store, now)?.ok_or_else(removed)?;
        };
        let code = exit.and_then(|e| e.code).unwrap_or(255);
        output::print(&format!("{code}\n"));
        Ok(())
    })
}

/// Only what has ended can be removed.
fn must_be_over(container: &Container) -> Result<()> {
    let name = &container.record.name;
    let what = match container.status() {
        Status::Running => format!("{name} is running"),
        Status::Restarting => format!("{name} is about to be started again"),
        Status::Created | Status::Exited => return Ok(()),
    };
    Err(Error::new(what).hint(format!("`minibox stop {name}` first, or `minibox rm -f {name}`")))
}

/// `minibox rm`.
pub(crate) fn rm(store: &Store, args: &RmArgs) -> u8 {
    output::for_each(&args.names.containers, |name| {
        if remove(store, name, args.force, args.volumes)? {
            output::print(&format!("{name}\n"));
        }
        Ok(())
    })
}

/// Removes a container, and ends it first where `force`; false where somebody else has, or there is none.
pub(crate) fn remove(store: &Store, name: &str, force: bool, volumes: bool) -> Result<bool> {
    let mut container = match living::find(store, name) {
        Ok(container) => container,
        Err(_) if force && store.find(name).is_err() => {
            return store.wait_for_removal(name).map(|()| false);
        }
        Err(error) => return Err(error),
    };
    if !force {
        must_be_over(&container)?;
    } else if container.status() != Status::Created {
        match halt(store, &container.record.id, Halted::User)? {
            Some(now) => container = now,
            None => return store.wait_for_removal(name).map(|()| false),
        }
    }
    if let Some((pid, pidfd)) = container.hold()? {
        send_and_wake(store, &container, pid, &pidfd, libc::SIGKILL)?;
        wait_for_end(&pidfd, Some(Duration::from_secs(10)));
    }
    let id = &container.record.id;
    // Its keeper first writes down the end, and with --rm removes it.
    if container.status() != Status::Created {
        let written = wait_for_record(store, id);
        if written.is_err() && force {
            // One that hangs is not waited for any longer.
            let keeper = container.state.as_ref().map(|state| state::hold(state.keeper));
            if let Some(keeper) = keeper.transpose()?.flatten() {
                send(&keeper, libc::SIGKILL, name)?;
                wait_for_end(&keeper, Some(Duration::from_secs(10)));
            }
        } else {
            written?;
        }
    }
    if let Some(_lock) = Lock::wait(&store.folder(id))?
        && let Some(mut container) = store.load(id)?
    {
        // Somebody may have started it meanwhile.
        if !force {
            must_be_over(&container)?;
        }
        if !volumes && !container.record.auto_remove {
            // They stay, and `volume prune` finds them.
            container.record.mounts.clear();
        }
        store.remove(&container.record)?;
    } else {
        // Its keeper removes it, or another rm.
        store.wait_for_removal(&container.record.name)?;
    }
    Ok(true)
}
