//! PARENT: clone3, id maps, cgroup, release the child, collect its reports.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::describe::{self, Subject};
use crate::error::{Error, Result};
use crate::init;
use crate::line::{Kind, Line, Listening, Message, WIRE};
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

/// Makes the container and starts its program. After an error nothing is left of it.
pub fn start(plan: &Plan, watch: &mut dyn FnMut(&Event<'_>)) -> Result<Running> {
    parent_step(plan, Step::OpenRoot, watch, || Ok(()))?;
    if let Some(cgroup) = &plan.cgroup {
        let made =
            parent_step(plan, Step::MakeCgroup, watch, || cgroup.create(plan.resources.as_ref()));
        let started = made.and_then(|()| give_birth(plan, watch));
        if started.is_err() {
            // The first error is the one to tell.
            let _ = cgroup.remove();
        }
        return started;
    }
    give_birth(plan, watch)
}

fn give_birth(plan: &Plan, watch: &mut dyn FnMut(&Event<'_>)) -> Result<Running> {
    let parents = Parents::new(plan.listening, plan.fail_at)?;
    let folder = plan.cgroup.as_ref().and_then(crate::cgroup::Cgroup::unified_folder);
    let folder = folder
        .map(std::fs::File::open)
        .transpose()
        .map_err(|e| Error::new(format!("cannot open the cgroup: {e}")))?;
    let into_cgroup = folder.as_ref().map(AsRawFd::as_raw_fd);
    // Made here because the child must not allocate.
    let mut taken: Vec<RawFd> = vec![-1; plan.mounts.len()];

    let (pid, pidfd) = parent_step(plan, Step::Clone, watch, || {
        let forked = sys::clone3(plan.clone_flags, into_cgroup);
        if let Ok(Forked::Child) = forked {
            crate::trial::entered_child();
            init::run(plan, parents.childs_line(), &mut taken);
        }
        match forked {
            Ok(Forked::Parent { pid, pidfd }) => Ok((pid, pidfd)),
            Ok(Forked::Child) => unreachable!("the child never returns"),
            Err(fault) => Err(describe::clone_failed(plan, fault)),
        }
    })?;
    watch(&Event::Born { pid });
    if let Some(map) = &plan.id_map
        && let Err(error) = parent_step(plan, Step::MapIds, watch, || map.write(pid))
    {
        // The child waits for a word; the end of the line is one.
        drop(parents);
        let _ = waitpid(Pid::from_raw(pid), None);
        return Err(error);
    }
    parents.collect(Subject::Container(plan), pid, pidfd, watch)
}

/// Does one step of the parent's, with the same report and the same injected failures as the child's.
fn parent_step<T>(
    plan: &Plan,
    step: Step,
    watch: &mut dyn FnMut(&Event<'_>),
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
        watch(&Event::Done { step, call: &call, micros: began.elapsed().as_micros() as u64 });
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

    /// Like [`Parents::collect`], for a process made by the middle process `middle`.
    pub fn collect_of_middle(
        self,
        subject: Subject<'_>,
        middle: i32,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Running> {
        let mut wire = [0; WIRE];
        let born = loop {
            let Some((message, _)) = receive(&self.ours, &mut wire)? else {
                break None;
            };
            match message.kind {
                Kind::Born => break Some(message.value as i32),
                Kind::Failed => {
                    let _ = waitpid(Pid::from_raw(middle), None);
                    return Err(describe::failure(subject, &message, middle));
                }
                _ => {}
            }
        };
        let _ = waitpid(Pid::from_raw(middle), None);
        let pid = born.ok_or_else(|| {
            Error::new("the process that joins the container was killed on the way")
        })?;
        // Our own child by CLONE_PARENT: its number cannot be another's until we wait for it.
        let pidfd = sys::pidfd_open(pid)
            .map_err(|fault| Error::of_fault("cannot hold the process", fault))?;
        self.collect(subject, pid, pidfd, watch)
    }

    /// Hears the child out until it has become its program.
    pub fn collect(
        self,
        subject: Subject<'_>,
        pid: i32,
        pidfd: OwnedFd,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Running> {
        let Parents { ours, theirs, .. } = self;
        drop(theirs);
        let (mut console, mut ready, mut failure) = (None, false, None);
        let word = |ours: &OwnedFd| {
            let _ = send(ours.as_raw_fd(), b".", MsgFlags::MSG_NOSIGNAL);
        };
        // The word that the ids are mapped; a child without maps does not wait for it.
        if matches!(subject, Subject::Container(plan) if plan.id_map.is_some()) {
            word(&ours);
        }
        let mut wire = [0; WIRE];
        while let Some((message, fd)) = receive(&ours, &mut wire)? {
            let (step, index) = (message.step, usize::from(message.index));
            match message.kind {
                Kind::Before => {
                    watch(&Event::Before { step, call: &describe::call(subject, step, index) });
                    word(&ours);
                }
                Kind::Done => {
                    let call = describe::call(subject, step, index);
                    watch(&Event::Done { step, call: &call, micros: u64::from(message.value) });
                }
                Kind::Console => console = fd,
                Kind::Ready => ready = true,
                Kind::Failed => {
                    failure = Some(describe::failure(subject, &message, pid));
                    // It waits, so that one could look at the container as it sees it.
                    word(&ours);
                }
                Kind::Born => {}
            }
        }
        if failure.is_none() && ready {
            return Ok(Running { pid, pidfd, console });
        }
        // It will not become anything any more; wait for it so that no zombie stays.
        let _ = sys::pidfd_send_signal(pidfd.as_raw_fd(), libc::SIGKILL);
        let status = waitpid(Pid::from_raw(pid), None);
        Err(failure.unwrap_or_else(|| {
            let how = match status {
                Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
                status => format!("gone ({status:?})"),
            };
            Error::new(format!("the new process was {how} before it could start the program"))
                .hint("a memory limit may be too small even for starting: raise -m/--memory")
        }))
    }
}

fn receive(socket: &OwnedFd, wire: &mut [u8; WIRE]) -> Result<Option<(Message, Option<OwnedFd>)>> {
    let mut space = nix::cmsg_space!(RawFd);
    loop {
        let mut parts = [IoSliceMut::new(&mut wire[..])];
        let received = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let (bytes, fd) = match received {
            // A child that is gone with unread words of ours in its queue resets the line.
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Error::new("cannot hear the new process").errno(errno)),
            Ok(message) => {
                let mut fd = None;
                for control in message.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        fd = fds.first().map(|fd| sys::own(*fd));
                    }
                }
                (message.bytes, fd)
            }
        };
        if bytes == 0 {
            return Ok(None);
        }
        return match Message::from_wire(wire) {
            Some(message) => Ok(Some((message, fd))),
            None => Err(Error::new("the new process sent a message that is none")),
        };
    }
}
