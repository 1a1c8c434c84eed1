//! A program that joins a running container, for `exec` and health checks: what it inherits from the
//! container's first process, and what is its own.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use minibox_runtime::idmap::IdMap;
use minibox_runtime::plan::JoinPlan;
use minibox_runtime::program;
use minibox_runtime::{Error, Result, capabilities, seccomp, user};
use oci_spec::runtime as oci;

use crate::birth;
use crate::config;
use crate::store::{Container, Store};

/// What is wanted beside what the container has.
#[derive(Debug, Default)]
pub(crate) struct Wish<'a> {
    pub command: &'a [String],
    /// `-u`; none: the first process's.
    pub user: Option<&'a str>,
    /// `-w`; none: the first process's.
    pub workdir: Option<&'a str>,
    /// `KEY=VALUE`, or `KEY` for one that is not to be set.
    pub env: &'a [String],
    pub tty: bool,
    /// Every capability.
    pub privileged: bool,
}

/// Decides how it joins: `size` is that of its terminal.
pub(crate) fn plan(
    store: &Store,
    container: &Container,
    wish: &Wish<'_>,
    stdio: [Option<OwnedFd>; 3],
    size: Option<(u16, u16)>,
    die_with_parent: bool,
) -> Result<JoinPlan> {
    let (pid, pidfd) = container.hold_running()?;
    let spec = birth::load_spec(store, &container.record)?;
    let first =
        spec.process().as_ref().ok_or_else(|| Error::new("its config.json has no process"))?;
    let root = format!("/proc/{pid}/root");
    let root = File::open(&root).map_err(|e| Error::of_io("look into", root.as_ref(), &e))?;
    let own_user = || format!("{}:{}", first.user().uid(), first.user().gid());
    let mut user = user::resolve(root.as_fd(), wish.user.unwrap_or(&own_user()))?;
    if wish.user.is_none() {
        user.groups = first.user().additional_gids().clone().unwrap_or_default();
    }
    let hostname = spec.hostname().clone().unwrap_or_default();

    let mut process = oci::Process::default();
    process.set_args(Some(wish.command.to_vec()));
    process.set_terminal(Some(wish.tty));
    process.set_cwd(wish.workdir.map_or_else(|| first.cwd().clone(), PathBuf::from));
    process.set_user(config::oci_user(&user));
    let own = config::environment(wish.tty, wish.env, &user.home, &hostname);
    process.set_env(Some(merged_env(first, own, wish.env)));
    process.set_no_new_privileges(first.no_new_privileges());
    process.set_rlimits(first.rlimits().clone());
    process.set_oom_score_adj(first.oom_score_adj());
    process.set_apparmor_profile(first.apparmor_profile().clone());
    process.set_scheduler(first.scheduler().clone());
    process.set_io_priority(*first.io_priority());
    process.set_exec_cpu_affinity(first.exec_cpu_affinity().clone());
    let bounding =
        first.capabilities().as_ref().and_then(|c| c.bounding().clone()).unwrap_or_default();
    let set = if wish.privileged {
        (0..64)
            .filter(|number| capabilities::grantable() & (1 << number) != 0)
            .filter_map(capabilities::name)
            .filter_map(|n| n.trim_start_matches("CAP_").parse().ok())
            .collect()
    } else {
        bounding
    };
    process.set_capabilities(Some(config::capability_sets(&set, user.uid)));
    let single_id = container.record.id_map.as_ref().is_some_and(IdMap::denies_groups);
    let (id, folder) = (&container.record.id, store.folder(&container.record.id));
    let filter = seccomp::of_spec(&spec, id, &folder)?;
    let program = program::plan(&process, filter, single_id, stdio, size, die_with_parent)?;
    let cgroup = container.record.cgroup().map(|cgroup| cgroup.for_newcomers(pid)).transpose()?;
    JoinPlan::new(pid, pidfd, cgroup.as_ref(), program)
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

/// /dev/null, for a stream.
pub(crate) fn null() -> Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/null");
    file.map(OwnedFd::from).map_err(|e| Error::of_io("open", "/dev/null".as_ref(), &e))
}
