//! `minibox exec`: another program into a running container.

use std::io::Read;
use std::os::fd::AsRawFd;

use minibox_runtime::sys::{self, Forked};
use minibox_runtime::{Error, Result, Running, join};

use crate::args::ExecArgs;
use crate::ending::Ended;
use crate::explain::Teller;
use crate::joining::{self, Wish};
use crate::living;
use crate::monitor::words::error_of;
use crate::names;
use crate::output;
use crate::quiet::become_quiet;
use crate::store::Store;
use crate::supervise::{self, Streams};
use crate::terminal;
use crate::wishes::process::environment;

/// Runs it; the exit code for the caller's shell.
pub(crate) fn exec(store: &Store, args: &ExecArgs) -> Result<u8> {
    let process = &args.process;
    let env = environment(process)?;
    terminal::check(process.interactive && process.tty)?;
    // Before its program runs it has no root of its own.
    let container = living::find_started(store, &args.container)?;
    if container.is_paused() {
        let name = &container.record.name;
        return Err(Error::new(format!("container {name} is paused"))
            .hint(format!("wake it first: `minibox unpause {name}`")));
    }
    let wish = Wish {
        command: &args.command,
        user: process.user.as_deref(),
        workdir: process.workdir.as_deref(),
        env: &env,
        tty: process.tty,
        privileged: args.privileged,
    };
    if args.privileged {
        output::note("--privileged: this one process has every capability inside the container");
    }
    let mut teller = Teller::new(args.explain, false);
    let mut streams =
        if process.tty { Streams::default() } else { Streams::new(process.interactive)? };
    let size = process.tty.then(|| terminal::size().unwrap_or((0, 0)));
    let stdio = if args.detach {
        [Some(joining::null()?), Some(joining::null()?), Some(joining::null()?)]
    } else {
        std::mem::take(&mut streams.theirs)
    };
    let plan = joining::plan(store, &container, &wish, stdio, size, !args.detach)?;
    let (exec, command) = (names::new_id(), output::shell_words(&args.command));
    let tell = |action: &str, more: &[(&str, &str)]| {
        store.tell(&container.record, action, &[&[("execID", exec.as_str())], more].concat());
    };
    tell(&format!("exec_create: {command}"), &[]);
    let signals = supervise::catch_signals(true)?;
    let mut start = || {
        let running =
            join::start(&plan, teller.listening(), crate::trial::fail_at()?, &mut |event| {
                teller.hear(event)
            })?;
        teller.finish();
        tell(&format!("exec_start: {command}"), &[]);
        Ok(running)
    };
    let tell_end = |code: i32| tell("exec_die", &[("exitCode", &code.to_string())]);
    if args.detach {
        return in_background(&container.record.name, start, tell_end);
    }
    let running = start()?;
    drop(plan);
    let ended = supervise::stay(&running, streams, &signals, process.interactive, None)?;
    tell_end(ended.code);
    Ok(ended.code as u8)
}

/// Starts the process from a process of its own, which stays to collect it: PID 1 of the container
/// seldom collects strangers, and `ps` would show a zombie for ever.
fn in_background(
    name: &str,
    start: impl FnOnce() -> Result<Running>,
    tell_end: impl FnOnce(i32),
) -> Result<u8> {
    let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| Error::new("cannot make a pipe").errno(errno))?;
    let forked = sys::clone3(0, None).map_err(|f| Error::of_fault("cannot fork", f))?;
    if let Forked::Parent { .. } = forked {
        drop(theirs);
        let mut word = Vec::new();
        std::fs::File::from(ours)
            .read_to_end(&mut word)
            .map_err(|error| Error::new(format!("cannot hear the new process: {error}")))?;
        return match word.split_first() {
            Some((0, _)) => Ok(0),
            Some((code, text)) => Err(error_of(*code, text)),
            None => Err(Error::new("the process that starts the program was killed")),
        };
    }
    let _ = sys::setsid();
    match start() {
        Ok(running) => {
            supervise::write_all(theirs.as_raw_fd(), &[0]);
            become_quiet(name, &[running.pidfd.as_raw_fd()]);
            let death = sys::wait_pidfd(running.pidfd.as_raw_fd(), true).ok().flatten();
            tell_end(death.map_or(255, |death| Ended::of(death).code));
            sys::exit_now(0)
        }
        Err(error) => {
            let word = [&[error.blame.exit_code()], error.to_string().as_bytes()].concat();
            supervise::write_all(theirs.as_raw_fd(), &word);
            sys::exit_now(1)
        }
    }
}
