//! PARENT: clone3, id maps, cgroup, release the child, collect its reports.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, send, shutdown, socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, Uid};

use crate::cgroup::Cgroup;
use crate::describe::{self, Subject};
use crate::error::{Error, Result};
use crate::hints;
use crate::idmap::{self, IdMap};
use crate::init;
use crate::line::{Kind, Line, Listening, Message, WIRE, receive};
use crate::middle;
use crate::mounts::Mapping;
use crate::namespaces::clone_names;
use crate::net_devices;
use crate::plan::Plan;
use crate::step::Step;
use crate::sys::{self, Forked};

/// A process that has become its program.
#[derive(Debug)]
pub struct Running {
    /// Its pid on the host (in the caller's pid namespace).
    pub pid: i32,
    /// Refers to it for ever.
    pub pidfd: OwnedFd,
    /// The master side of its terminal.
    pub console: Option<OwnedFd>,
}

/// What a watcher hears.
#[derive(Debug)]
pub enum Event<'a> {
    /// The process exists and waits; `pid` is the host's.
    Born {
        /// Its pid on the host.
        pid: i32,
    },
    /// The namespaces are there, and the child waits for the hooks; `pid` is the host's.
    Hooks {
        /// Its pid on the host.
        pid: i32,
    },
    /// A step is about to be done; the child waits until the watcher returns.
    Before {
        /// Which.
        step: Step,
        /// The call with its arguments.
        call: &'a str,
    },
    /// A step is done.
    Done {
        /// Which.
        step: Step,
        /// The call with its arguments.
        call: &'a str,
        /// How long it took, in microseconds.
        micros: u64,
    },
}

/// Somebody who hears the events of a start. An error from it ends the start.
pub type Watch<'a> = dyn FnMut(&Event<'_>) -> Result<()> + 'a;

/// The process that a line leads to.
#[derive(Debug)]
pub enum Child {
    /// A child of ours.
    Ours {
        /// Its pid on the host.
        pid: i32,
        /// Refers to it.
        pidfd: OwnedFd,
    },
    /// One that the middle process with this pid makes, a child of ours by `CLONE_PARENT`.
    OfMiddle(i32),
}

/// Makes the container and starts its program. After an error nothing is left of it.
pub fn start(plan: &Plan, watch: &mut Watch<'_>) -> Result<Running> {
    parent_step(plan, Step::OpenRoot, watch, || Ok(()))?;
    if let Some(class) = &plan.resctrl {
        class.make()?;
        let started = give_cgroup(plan, watch);
        if started.is_err() {
            let _ = class.remove();
        }
        return started;
    }
    give_cgroup(plan, watch)
}

fn give_cgroup(plan: &Plan, watch: &mut Watch<'_>) -> Result<Running> {
    if let Some(cgroup) = &plan.cgroup {
        let made = if cgroup.is_scope() { Ok(()) } else { make_cgroup(plan, cgroup, None, watch) };
        let started = made.and_then(|()| give_birth(plan, watch));
        if started.is_err() {
            // The first error is the one to tell.
            let _ = cgroup.remove();
        }
        return started;
    }
    give_birth(plan, watch)
}

fn give_birth(plan: &Plan, watch: &mut Watch<'_>) -> Result<Running> {
    if plan.mapped().next().is_some() {
        parent_step(plan, Step::MapMounts, watch, || map_mounts(plan))?;
    }
    if let Some(map) = &plan.id_map
        && Uid::effective().is_root()
        && let Some(uid) = IdMap::outside(&map.uids, plan.process.uid)
    {
        // The child cannot: who has no id inside gives nothing away there.
        plan.process.give_pipes_to(uid);
    }
    let parents = Parents::new(plan.listening, plan.fail_at)?;
    let made = plan.cgroup.as_ref().filter(|cgroup| !cgroup.is_scope());
    let folder = made.and_then(Cgroup::unified_folder);
    let folder = folder
        .map(std::fs::File::open)
        .transpose()
        .map_err(|e| Error::new(format!("cannot open the cgroup: {e}")))?;
    let into_cgroup = folder.as_ref().map(AsRawFd::as_raw_fd);
    // Made here because the child must not allocate.
    let mut taken: Vec<RawFd> = vec![-1; plan.mounts.len()];

    let direct = plan.joins.is_empty();
    let (pid, pidfd) = parent_step(plan, Step::Clone, watch, || {
        let forked = sys::clone3(if direct { plan.clone_flags } else { 0 }, into_cgroup);
        match forked {
            Ok(Forked::Child) => {
                let line = parents.childs_line();
                if direct {
                    crate::trial::entered_child();
                    init::run(plan, line, &mut taken)
                }
                let join = || init::join(plan, line);
                middle::run(line, plan.clone_flags, join, || init::run(plan, line, &mut taken))
            }
            Ok(Forked::Parent { pid, pidfd }) => Ok((pid, pidfd)),
            Err(fault) => Err(describe::clone_failed(plan, fault)),
        }
    })?;
    // Here and below runc's names of the moments are in it too: who reads its log finds his way in ours.
    tracing::debug!(pid, flags = ?clone_names(plan.clone_flags), "nsexec container setup: cloned");
    let child = if direct { Child::Ours { pid, pidfd } } else { Child::OfMiddle(pid) };
    // Meanwhile the child is at work, as far as it can come without ids.
    let prepare = |pid: i32, watch: &mut Watch<'_>| {
        watch(&Event::Born { pid })?;
        plan.resctrl.as_ref().map_or(Ok(()), |class| class.enter(pid))?;
        if let Some(map) = &plan.id_map
            && plan.maps_ids()
        {
            parent_step(plan, Step::MapIds, watch, || map.write(pid))?;
        }
        if let Some(scope) = plan.cgroup.as_ref().filter(|cgroup| cgroup.is_scope()) {
            make_cgroup(plan, scope, Some(pid), watch)?;
        }
        if plan.net_devices.is_empty() {
            return Ok(());
        }
        parent_step(plan, Step::NetDevices, watch, || {
            net_devices::hand_over(&plan.net_devices, pid)
        })
    };
    parents.collect(Subject::Container(plan), child, prepare, watch)
}

/// Before there is a child; a scope of systemd's only around one, which waits meanwhile.
fn make_cgroup(
    plan: &Plan,
    cgroup: &Cgroup,
    pid: Option<i32>,
    watch: &mut Watch<'_>,
) -> Result<()> {
    parent_step(plan, Step::MakeCgroup, watch, || {
        cgroup.start_unit(pid, &plan.unit_properties)?;
        cgroup.create(plan.resources.as_ref(), pid)?;
        // A plain user gives nothing away.
        let own = Uid::effective();
        let owner = plan.cgroup_owner.filter(|_| own.is_root());
        owner.map_or(Ok(()), |uid| cgroup.give_to(uid))
    })
}

/// Maps the owners of what the plan has opened for that.
fn map_mounts(plan: &Plan) -> Result<()> {
    let mut namespaces: Vec<(&IdMap, OwnedFd)> = Vec::new();
    for mapped in plan.mapped() {
        let Some(map) = plan.map_of(&mapped.mapping) else { continue };
        if !namespaces.iter().any(|(known, _)| *known == map) {
            namespaces.push((map, idmap::user_namespace(map)?));
        }
        for (_, namespace) in namespaces.iter().filter(|(known, _)| *known == map) {
            map_owners(&mapped.mount, &mapped.path, &mapped.mapping, namespace)?;
        }
    }
    Ok(())
}

/// Maps the owners of a mount that was made inside, where only the child could find its source.
fn map_mount_inside(subject: Subject<'_>, index: usize, mount: Option<&OwnedFd>) -> Result<()> {
    let Subject::Container(plan) = subject else { return Ok(()) };
    let planned = plan.mounts.get(index).and_then(|planned| {
        let mapping = planned.mapping()?;
        Some((&planned.place.path, mapping, plan.map_of(mapping)?))
    });
    let (Some((place, mapping, map)), Some(mount)) = (planned, mount) else { return Ok(()) };
    map_owners(mount, place, mapping, &idmap::user_namespace(map)?)
}

/// Maps the owners of the mount that `path` names as `namespace` does.
fn map_owners(mount: &OwnedFd, path: &CStr, mapping: &Mapping, namespace: &OwnedFd) -> Result<()> {
    sys::map_mount(mount.as_raw_fd(), mapping.below, namespace.as_raw_fd())
        .map_err(|fault| describe::map_failed(path, fault))
}

/// Does one step of the parent's, with the same report and the same injected failures as the child's.
fn parent_step<T>(
    plan: &Plan,
    step: Step,
    watch: &mut Watch<'_>,
    run: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if let Some((at, errno)) = plan.fail_at
        && at == step
    {
        return Err(Error::new(format!("cannot {}", step.about().title))
            .step(step)
            .call("injected")
            .errno(errno));
    }
    let began = Instant::now();
    let value = run()?;
    if plan.listening != Listening::Quiet {
        let call = describe::call(Subject::Container(plan), step, 0);
        watch(&Event::Done { step, call: &call, micros: began.elapsed().as_micros() as u64 })?;
    }
    Ok(value)
}

/// The parent's end of the line, and the child's until it is born.
#[derive(Debug)]
pub struct Parents {
    ours: OwnedFd,
    theirs: OwnedFd,
    listening: Listening,
    fail_at: Option<(Step, Errno)>,
}

impl Parents {
    /// Opens a line.
    pub fn new(listening: Listening, fail_at: Option<(Step, Errno)>) -> Result<Parents> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| {
                    Error::new("cannot make a socket pair").step(Step::Clone).errno(errno)
                })?;
        Ok(Parents { ours, theirs, listening, fail_at })
    }

    /// What the child needs of it; the child also closes the parent's end.
    pub fn childs_line(&self) -> Line {
        sys::close(self.ours.as_raw_fd());
        Line { socket: self.theirs.as_raw_fd(), listening: self.listening, fail_at: self.fail_at }
    }

    /// Hears the child out until it has become its program. `prepare` is the parent's own part, once there
    /// is a child: where it fails, the child gets no word to go on.
    pub fn collect(
        self,
        subject: Subject<'_>,
        child: Child,
        mut prepare: impl FnMut(i32, &mut Watch<'_>) -> Result<()>,
        watch: &mut Watch<'_>,
    ) -> Result<Running> {
        let Parents { ours, theirs, .. } = self;
        drop(theirs);
        let word = || {
            let _ = send(ours.as_raw_fd(), b".", MsgFlags::MSG_NOSIGNAL);
        };
        let no_word = || {
            let _ = shutdown(ours.as_raw_fd(), Shutdown::Write);
        };
        let mut prepare = |pid: i32, watch: &mut Watch<'_>| {
            prepare(pid, watch)?;
            if subject.waits_for_parent() {
                word();
            }
            Ok(())
        };
        let mut own_failure = None;
        let (mut child, middle) = match child {
            Child::Ours { pid, pidfd } => {
                if let Err(error) = prepare(pid, watch) {
                    own_failure = Some(error);
                    no_word();
                }
                (Some((pid, pidfd)), None)
            }
            Child::OfMiddle(middle) => (None, Some(middle)),
        };
        let (mut console, mut listener, mut failure) = (None, None, None);
        let (mut hooks_are_due, mut ready, mut is_open) = (false, false, false);
        let mut wire = [0; WIRE];
        while let Some((message, fd)) = hear(&ours, &mut wire)? {
            let (step, index) = (message.step, usize::from(message.index));
            let heard = match message.kind {
                Kind::Before => {
                    watch(&Event::Before { step, call: &describe::call(subject, step, index) })
                        .map(|()| word())
                }
                Kind::Done => watch(&Event::Done {
                    step,
                    call: &describe::call(subject, step, index),
                    micros: u64::from(message.value),
                }),
                Kind::Console | Kind::Listener | Kind::Hooks | Kind::Ready => {
                    match message.kind {
                        Kind::Console => console = fd,
                        Kind::Listener => listener = fd,
                        Kind::Hooks => hooks_are_due = true,
                        _ => ready = true,
                    }
                    Ok(())
                }
                Kind::Map => map_mount_inside(subject, index, fd.as_ref()).map(|()| word()),
                Kind::Failed => {
                    let pid = child.as_ref().map(|(pid, _)| *pid).or(middle).unwrap_or(0);
                    // A child that got no word only echoes what failed here.
                    let echo = own_failure.is_some() && message.errno == Errno::EPIPE;
                    if !echo {
                        failure = Some(describe::failure(subject, &message, pid));
                    }
                    // It waits, so that one could look at the container as it sees it.
                    word();
                    Ok(())
                }
                Kind::Born => {
                    // Our own child by CLONE_PARENT: its number is its own until we wait for it.
                    let pid = message.value as i32;
                    sys::pidfd_open(pid)
                        .map(|pidfd| child = Some((pid, pidfd)))
                        .map_err(|fault| Error::of_fault("cannot hold the process", fault))
                        .and_then(|()| prepare(pid, watch))
                }
            };
            // A child of the middle process may have said all this before that one says who it is.
            let heard = heard.and_then(|()| {
                let Some((pid, _)) = &child else { return Ok(()) };
                if std::mem::take(&mut hooks_are_due) {
                    watch(&Event::Hooks { pid: *pid })?;
                    word();
                }
                if let Some(listener) = listener.take() {
                    tell_agent(subject, &listener, *pid)?;
                }
                // The gate: all that had to be written down has been, so it may become its program.
                if ready && !std::mem::replace(&mut is_open, true) {
                    word();
                }
                Ok(())
            });
            if let Err(error) = heard {
                own_failure = Some(error);
                no_word();
            }
        }
        if let Some(middle) = middle {
            let _ = waitpid(Pid::from_raw(middle), None);
        }
        let Some((pid, pidfd)) = child else {
            let gone = || Error::new("the process that joins the container was killed on the way");
            return Err(failure.or(own_failure).unwrap_or_else(gone));
        };
        if failure.is_none() && own_failure.is_none() && ready {
            log_end(subject, pid, console.is_some());
            return Ok(Running { pid, pidfd, console });
        }
        let is_filtered = subject.process().seccomp.is_some();
        Err(why_nothing_began(pid, is_filtered, failure, own_failure))
    }
}

/// In runc's words too: its last two steps.
fn log_end(subject: Subject<'_>, pid: i32, console: bool) {
    let last = match subject {
        Subject::Container(_) => "init: closing the pipe to signal completion",
        Subject::Join(_) => "setns_init: about to exec",
    };
    tracing::debug!(pid, console, "child process in init() has done all it can; {last}");
}

/// It has closed its line without becoming anything: it ends, and no zombie may stay.
fn why_nothing_began(
    pid: i32,
    is_filtered: bool,
    its_word: Option<Error>,
    ours: Option<Error>,
) -> Error {
    let status = waitpid(Pid::from_raw(pid), None);
    let crashed = matches!(status, Ok(WaitStatus::Signaled(..)));
    match (its_word, ours) {
        (Some(its_word), _) => its_word,
        (None, Some(ours)) if !crashed => ours,
        (None, _) => died_early(status, is_filtered),
    }
}

/// Hands the agent of a filter what it listens on.
fn tell_agent(subject: Subject<'_>, listener: &OwnedFd, pid: i32) -> Result<()> {
    let init = match subject {
        Subject::Container(_) => pid,
        Subject::Join(plan) => plan.pid,
    };
    let filter = subject.process().seccomp.as_ref();
    filter.map_or(Ok(()), |filter| filter.tell_agent(listener, pid, init))
}

/// The next message, and what came with it.
fn hear(socket: &OwnedFd, wire: &mut [u8; WIRE]) -> Result<Option<(Message, Option<OwnedFd>)>> {
    loop {
        match receive(socket, wire) {
            // What the child had said before is still to be read.
            Err(Errno::ECONNRESET) => {}
            heard => return heard.map_err(|e| Error::new("cannot hear the new process").errno(e)),
        }
    }
}

/// The child ended without a word of its own.
fn died_early(status: nix::Result<WaitStatus>, is_filtered: bool) -> Error {
    let how = match status {
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
        Ok(WaitStatus::Exited(_, code)) => format!("gone, with exit status {code},"),
        other => format!("gone ({other:?})"),
    };
    let error = Error::new(format!("the new process was {how} before it could start the program"));
    match status {
        Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => {
            error.hint("a memory limit may be too small even for starting: raise -m/--memory")
        }
        _ if is_filtered => error.hint(hints::BY_FILTER),
        _ => error,
    }
}
