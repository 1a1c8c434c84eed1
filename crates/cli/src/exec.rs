//! `minibox exec`: another program into a running container.

use std::os::fd::AsFd;
use std::path::PathBuf;

use minibox_runtime::plan::{JoinPlan, plan_process};
use minibox_runtime::user;
use minibox_runtime::{Error, Result, capabilities, join, spec};
use oci_spec::runtime as oci;

use crate::args::ExecArgs;
use crate::config;
use crate::explain::Teller;
use crate::living;
use crate::output;
use crate::store::Store;
use crate::supervise::{self, Streams};
use crate::terminal;

/// Runs it; the exit code for the caller's shell.
pub(crate) fn exec(store: &Store, args: &ExecArgs) -> Result<u8> {
    let container = living::find(store, &args.container)?;
    let (pid, pidfd) = container.hold()?;
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
    let running = join::start(&plan, teller.listening(), &mut |event| teller.hear(event))?;
    teller.finish();
    drop(plan);
    if detached {
        return Ok(0);
    }
    let ended = supervise::stay(&running, streams, &signals, args.process.interactive, None)?;
    Ok(ended.code as u8)
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
