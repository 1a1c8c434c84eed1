//! A second process into a living container: `exec`. Two sides in one file, PARENT above, CHILD below.
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::convert::Infallible;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

use crate::cgroup;
use crate::describe::Subject;
use crate::error::{Error, Result};
use crate::idmap::IdMap;
use crate::init::become_root;
use crate::line::{Line, Listening, Told};
use crate::middle;
use crate::plan::JoinPlan;
use crate::spawn::{Child, Event, Parents, Running, Watch};
use crate::step::Step;
use crate::sys::{self, Fault, Forked, Sys};
use crate::trial;

/// PARENT: makes the process. Its pid namespace must be entered before it is born, by its maker.
pub fn start(
    plan: &JoinPlan,
    listening: Listening,
    fail_at: Option<(Step, Errno)>,
    watch: &mut Watch<'_>,
) -> Result<Running> {
    if let Some((Step::Clone, errno)) = fail_at {
        return Err(Error::new("cannot make the process").step(Step::Clone).errno(errno));
    }
    let parents = Parents::new(listening, fail_at)?;
    tracing::debug!(pid = plan.pid, "nsexec container setup: joining");
    if let [Some(before), _] = &plan.process.affinity {
        tracing::debug!("nsexec: affinity: {:#x}", before.first());
    }
    let failed = |fault: Fault| Error::of_fault("cannot make the process", fault).step(Step::Clone);
    let cgroup = plan.cgroup_folder.as_ref().map(AsRawFd::as_raw_fd);
    let attend = |pid: i32, watch: &mut Watch<'_>| attend(plan, pid, watch);
    let Some(way_back) = &plan.way_back else {
        // A middle process enters, and nobody comes back.
        return match sys::clone3(0, cgroup).map_err(failed)? {
            Forked::Child => {
                let line = parents.childs_line();
                middle::run(line, 0, || join_from_the_middle(plan, line), || run(plan, line, 0))
            }
            Forked::Parent { pid, pidfd: _ } => {
                parents.collect(Subject::Join(plan), Child::OfMiddle(pid), attend, watch)
            }
        };
    };
    let pid_ns = plan.namespaces & libc::CLONE_NEWPID;
    let enter = |namespace: RawFd| {
        if pid_ns == 0 { Ok(()) } else { sys::setns(namespace, pid_ns) }
    };
    let joined =
        |fault: Fault| Error::of_fault("cannot join the container", fault).step(Step::Join);
    enter(plan.target.as_raw_fd()).map_err(joined)?;
    let forked = sys::clone3(0, cgroup);
    if let Ok(Forked::Child) = forked {
        run(plan, parents.childs_line(), plan.namespaces & !libc::CLONE_NEWPID);
    }
    // Undone at once: whatever is forked next must not be born in there.
    enter(way_back.as_raw_fd()).map_err(joined)?;
    match forked.map_err(failed)? {
        Forked::Parent { pid, pidfd } => {
            parents.collect(Subject::Join(plan), Child::Ours { pid, pidfd }, attend, watch)
        }
        Forked::Child => unreachable!("the child never returns"),
    }
}

/// PARENT: once there is a process, which waits where systemd has to move it.
fn attend(plan: &JoinPlan, pid: i32, watch: &mut Watch<'_>) -> Result<()> {
    watch(&Event::Born { pid })?;
    let Some((unit, below)) = &plan.usher else { return Ok(()) };
    unit.attach(below, pid).map_err(|error| error.step(Step::EnterCgroup))
}

/// CHILD: the middle process's part.
fn join_from_the_middle(plan: &JoinPlan, line: Line) -> std::result::Result<(), Told> {
    plan.process.write_about_itself(line)?;
    line.at(Step::Join, 0, || {
        sys::set_dumpable(false)?;
        enter_cgroup(plan)?;
        sys::setns(plan.target.as_raw_fd(), plan.namespaces)
    })
}

/// CHILD: with the processors that are asked for before and after, since a cgroup may bring its own.
fn enter_cgroup(plan: &JoinPlan) -> Sys<()> {
    let [before, after] = &plan.process.affinity;
    before.as_ref().map_or(Ok(()), sys::sched_setaffinity)?;
    cgroup::enter(&plan.doors)?;
    if before.is_none() && after.is_none() {
        plan.process.take_processors();
    }
    after.as_ref().map_or(Ok(()), sys::sched_setaffinity)
}

/// CHILD: joins `namespaces` and becomes the program.
fn run(plan: &JoinPlan, line: Line, namespaces: i32) -> ! {
    trial::entered_child();
    let Err(Told) = be_born(plan, line, namespaces);
    sys::exit_now(125)
}

fn be_born(plan: &JoinPlan, line: Line, namespaces: i32) -> std::result::Result<Infallible, Told> {
    if plan.usher.is_some() {
        line.at(Step::Release, 0, || {
            if line.wait() { Ok(()) } else { Err(Fault::new("recv", Errno::EPIPE)) }
        })?;
    }
    if plan.process.die_with_parent {
        line.at(Step::Release, 0, || sys::set_pdeathsig(libc::SIGKILL))?;
    }
    plan.process.detach_from_caller(line, &[plan.target.as_raw_fd()])?;
    if namespaces != 0 {
        plan.process.write_about_itself(line)?;
        // By the host's paths, so before the mount namespace changes.
        line.at(Step::EnterCgroup, 0, || enter_cgroup(plan))?;
        line.at(Step::Join, 0, || {
            sys::set_dumpable(false)?;
            sys::setns(plan.target.as_raw_fd(), namespaces)
        })?;
    }
    if plan.id_map.as_ref().is_some_and(IdMap::has_root) {
        line.at(Step::BecomeRoot, 0, || become_root(plan.keep_groups))?;
    }
    let terminal = plan.process.open_console(line)?;
    Err(plan.process.become_program(line, terminal))
}
