//! `minibox update`: other limits, or another restart policy, for containers that are there already, running or not.

use minibox_runtime::state::{self, Lock};
use minibox_runtime::{Error, Result, spec};

use crate::args::{LimitArgs, UpdateArgs};
use crate::living;
use crate::output;
use crate::settings::Restart;
use crate::store::{Container, Store};
use crate::wishes::{limits, policy};

/// `minibox update`.
pub(crate) fn update(store: &Store, args: &UpdateArgs) -> Result<u8> {
    let restart = args.restart.as_deref().map(policy::restart).transpose()?;
    let has_limits = !limits::given(&args.limits).is_empty();
    if !has_limits && restart.is_none() {
        return Err(Error::new("nothing to change")
            .hint("`minibox update --help` lists the limits that can be changed"));
    }
    limits::check(&args.limits)?;
    Ok(output::for_each(&args.names.containers, |name| {
        let id = living::find(store, name)?.record.id;
        let gone = || Error::new(format!("container {name:?} has just been removed"));
        let _lock = Lock::wait(&store.folder(&id))?.ok_or_else(gone)?;
        let mut container = store.load(&id)?.ok_or_else(gone)?;
        if container.record.auto_remove && restart.is_some_and(|policy| policy != Restart::No) {
            return Err(Error::new(format!("--restart: {name} is removed when it ends (--rm)")));
        }
        if has_limits {
            set_limits(store, &container, &args.limits)?;
        }
        let settings = &mut container.record.settings;
        settings.counts_cpus = limits::counts_cpus(&args.limits, settings.counts_cpus);
        // Its monitor reads it at the next end.
        settings.restart = restart.unwrap_or(settings.restart);
        store.save(&container.record)?;
        store.tell(&container.record, "update", &[]);
        output::print(&format!("{name}\n"));
        Ok(())
    }))
}

/// First the kernel, which may refuse, then config.json, by which it is started again.
fn set_limits(store: &Store, container: &Container, args: &LimitArgs) -> Result<()> {
    let (name, folder) = (&container.record.name, store.folder(&container.record.id));
    let cgroup = container.record.cgroup().ok_or_else(|| {
        Error::new(format!("{name} has no cgroup, and so no limits"))
            .hint("a plain user's container has one where it was made with a limit, such as -m, and systemd runs")
    })?;
    let mut spec = spec::load(&folder)?;
    let lacking = || Error::new(format!("the config.json of {name} has no linux part"));
    let linux = spec.linux_mut().as_mut().ok_or_else(lacking)?;
    let all = linux.resources_mut().get_or_insert_default();
    let changed = limits::resources(args, all)?;
    if container.hold()?.is_some() {
        cgroup.limit(&changed)?;
    }
    all.set_memory(changed.memory().or(*all.memory()));
    all.set_cpu(changed.cpu().clone().or(all.cpu().clone()));
    all.set_pids(changed.pids().or(*all.pids()));
    all.set_block_io(changed.block_io().clone().or(all.block_io().clone()));
    state::save(&folder.join("config.json"), &spec)
}
