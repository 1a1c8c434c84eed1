//! `minibox exec`: another program into a running container.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use minibox_runtime::plan::{JoinPlan, plan_process};
use minibox_runtime::sys::{self, Forked};
use minibox_runtime::user;
use minibox_runtime::{Error, Result, Running, capabilities, join, spec};
use oci_spec::runtime as oci;

use crate::args::ExecArgs;
use crate::config;
use crate::explain::Teller;
use crate::living;
use crate::monitor;
use crate::output;
use crate::store::Store;
use crate::supervise::{self, Streams};
use crate::terminal;

/// Runs it; the exit code for the caller's shell.
pub(crate) fn exec(store: &Store, args: &ExecArgs) -> Result<u8> {
    // Before its program runs it has no root of its own.
    let container = living::find_started(store, &args.container)?;
    let (pid, pidfd) = container.hold_running()?;
    let spec = spec::load(&store.folder(&container.record.id))?;
    let first =
        spec.process().as_ref().ok_or_else(|| Error::new("its config.json has no process"))?;

    let root = format!("/proc/{pid}/root");
    let root =
        std::fs::File::open(&root).map_err(|e| Error::of_io("look into", root.as_ref(), &e))?;
    let asked = args
        .process
        .user
        .clone()
        .unwrap_or_else(|| format!("{}:{}", first.user().uid(), first.user().gid()));
    let user = user::resolve(root.as_fd(), &asked)?;
    let hostname = spec.hostname().clone().unwrap_or_default();

    let mut process = oci::Process::default();
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.process.tty));
    process
        .set_cwd(args.process.workdir.as_ref().map_or_else(|| first.cwd().clone(), PathBuf::from));
    process.set_user(config::oci_user(&user));
    process.set_env(Some(merged_env(
        first,
        config::environment(&args.process, &user.home, &hostname)?,
        &args.process.env,
    )));
    process.set_no_new_privileges(first.no_new_privileges());
    process.set_rlimits(first.rlimits().clone());
    let bounding =
        first.capabilities().as_ref().and_then(|c| c.bounding().clone()).unwrap_or_default();
    let set = if args.privileged {
        (0..64)
            .filter(|number| capabilities::grantable() & (1 << number) != 0)
            .filter_map(capabilities::name)
            .filter_map(|n| n.trim_start_matches("CAP_").parse().ok())
            .collect()
    } else {
        bounding
    };
    process.set_capabilities(Some(config::capability_sets(&set, user.uid)));
    if args.privileged {
        output::note("--privileged: this one process has every capability inside the container");
    }

    terminal::check(args.process.interactive && args.process.tty)?;
    let mut teller = Teller::new(args.explain, false);
    let mut streams =
        if args.process.tty { Streams::default() } else { Streams::new(args.process.interactive)? };
    let single_id =
        container.record.id_map.as_ref().is_some_and(minibox_runtime::idmap::IdMap::is_single);
    let size = args.process.tty.then(|| terminal::size().unwrap_or((0, 0)));
    let detached = args.detach;
    let stdio = if detached { null_streams()? } else { std::mem::take(&mut streams.theirs) };
    let program = plan_process(&process, single_id, stdio, size, !detached)?;
    let plan = JoinPlan::new(pid, pidfd, container.cgroup().as_ref(), program)?;
    let signals = supervise::catch_signals()?;
    let mut start = || {
        let running =
            join::start(&plan, teller.listening(), crate::trial::fail_at()?, &mut |event| {
                teller.hear(event)
            })?;
        teller.finish();
        Ok(running)
    };
    if args.detach {
        return in_background(&container.record.name, start);
    }
    let running = start()?;
    drop(plan);
    let ended = supervise::stay(&running, streams, &signals, args.process.interactive, None)?;
    Ok(ended.code as u8)
}

/// Starts the process from a process of its own, which stays to collect it: PID 1 of the container
/// seldom collects strangers, and `ps` would show a zombie for ever.
fn in_background(name: &str, start: impl FnOnce() -> Result<Running>) -> Result<u8> {
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
            Some((code, text)) => Err(monitor::error_of(*code, text)),
            None => Err(Error::new("the process that starts the program was killed")),
        };
    }
    let _ = sys::setsid();
    match start() {
        Ok(running) => {
            supervise::write_all(theirs.as_raw_fd(), &[0]);
            monitor::become_quiet(name, &[running.pidfd.as_raw_fd()]);
            let _ = sys::wait_pidfd(running.pidfd.as_raw_fd(), true);
            sys::exit_now(0)
        }
        Err(error) => {
            let word = [&[error.blame.exit_code()], error.to_string().as_bytes()].concat();
            supervise::write_all(theirs.as_raw_fd(), &word);
            sys::exit_now(1)
        }
    }
}

/// The container's own environment, then what was given for this process.
fn merged_env(first: &oci::Process, own: Vec<String>, asked: &[String]) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let named: Vec<String> = asked.iter().map(|wish| key(wish)).collect();
    let mut env = first.env().clone().unwrap_or_default();
    for entry in own {
        let is_default =
            !named.contains(&key(&entry)) && key(&entry) != "HOME" && key(&entry) != "TERM";
        if is_default && env.iter().any(|e| key(e) == key(&entry)) {
            continue;
        }
        env.retain(|e| key(e) != key(&entry));
        env.push(entry);
    }
    env
}

fn null_streams() -> Result<[Option<std::os::fd::OwnedFd>; 3]> {
    let null = || {
        let file = std::fs::File::options().read(true).write(true).open("/dev/null");
        file.map(|f| Some(f.into())).map_err(|e| Error::of_io("open", "/dev/null".as_ref(), &e))
    };
    Ok([null()?, null()?, null()?])
}
