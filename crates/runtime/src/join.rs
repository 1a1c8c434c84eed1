//! A second process into a living container: `exec`. Two sides in one file, PARENT above, CHILD below.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::cgroup::{self, Cgroup};
use crate::error::{Error, Result};
use crate::init::become_root;
use crate::line::{Line, Listening, Told};
use crate::process::ProcessPlan;
use crate::spawn::{Event, Parents, Running, Subject};
use crate::step::Step;
use crate::sys::{self, Forked};

/// The kinds of namespace that can be joined by pidfd, with the names of /proc/PID/ns.
const KINDS: [(&str, i32); 7] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
];

/// Everything about a process that joins, decided.
#[derive(Debug)]
pub struct JoinPlan {
    /// The container's PID 1.
    pub target: OwnedFd,
    /// Its pid on the host.
    pub pid: i32,
    /// CLONE_NEW* of the namespaces in which it differs from the caller.
    pub namespaces: i32,
    /// Only one id is mapped inside.
    pub single_id: bool,
    /// Version 1 cgroup files to write "0" into.
    pub doors: Vec<CString>,
    /// Version 2 cgroup folder for `CLONE_INTO_CGROUP`.
    pub cgroup_folder: Option<std::fs::File>,
    /// The program.
    pub process: ProcessPlan,
}

impl JoinPlan {
    /// Decides how to join the container whose PID 1 is `pid`, held by `target`.
    pub fn new(
        pid: i32,
        target: OwnedFd,
        cgroup: Option<&Cgroup>,
        process: ProcessPlan,
    ) -> Result<JoinPlan> {
        let mut namespaces = 0;
        for (name, flag) in KINDS {
            let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{name}"));
            let theirs = link(&pid.to_string()).map_err(|error| {
                Error::of_io("read", format!("/proc/{pid}/ns/{name}").as_ref(), &error)
                    .step(Step::Join)
            })?;
            if link("self").ok() != Some(theirs) {
                namespaces |= flag;
            }
        }
        let open = |path: &std::path::Path| {
            std::fs::File::open(path).map_err(|e| Error::of_io("open", path, &e))
        };
        Ok(JoinPlan {
            target,
            pid,
            namespaces,
            single_id: process.groups.is_none(),
            doors: cgroup.map(Cgroup::doors).transpose()?.unwrap_or_default(),
            cgroup_folder: cgroup.and_then(Cgroup::unified_folder).map(open).transpose()?,
            process,
        })
    }

    /// PARENT: the container's root, to look into after a failure.
    pub fn open_root(&self) -> Option<OwnedFd> {
        use nix::fcntl::{OFlag, open};
        let path = format!("/proc/{}/root", self.pid);
        open(
            path.as_str(),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .ok()
    }

    /// PARENT: makes the process. Its pid namespace must be entered before it is born, by its maker.
    pub fn start(
        &self,
        listening: Listening,
        watch: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Running> {
        let parents = Parents::new(listening, None)?;
        let failed = |fault| Error::of_fault("cannot make the process", fault).step(Step::Clone);
        let cgroup = self.cgroup_folder.as_ref().map(AsRawFd::as_raw_fd);
        if self.namespaces & libc::CLONE_NEWUSER != 0 {
            // A middle process enters the user namespace: the parent must keep its own.
            return match sys::clone3(0, cgroup).map_err(failed)? {
                Forked::Child => self.be_the_middle(parents.childs_line()),
                Forked::Parent { pid, pidfd: _ } => {
                    parents.collect_of_middle(Subject::Join(self), pid, watch)
                }
            };
        }
        let pid_ns = self.namespaces & libc::CLONE_NEWPID;
        let own = std::fs::File::open("/proc/self/ns/pid")
            .map_err(|e| Error::of_io("open", "/proc/self/ns/pid".as_ref(), &e))?;
        let enter = |fd: RawFd| {
            if pid_ns == 0 { Ok(()) } else { sys::setns(fd, pid_ns) }
        };
        let joined = |fault| Error::of_fault("cannot join the container", fault).step(Step::Join);
        enter(self.target.as_raw_fd()).map_err(joined)?;
        let forked = sys::clone3(0, cgroup);
        if let Ok(Forked::Child) = forked {
            self.run(parents.childs_line(), self.namespaces & !libc::CLONE_NEWPID);
        }
        // Undone at once: whatever is forked next must not be born in there.
        enter(own.as_raw_fd()).map_err(joined)?;
        match forked.map_err(failed)? {
            Forked::Parent { pid, pidfd } => {
                parents.collect(Subject::Join(self), pid, pidfd, watch)
            }
            Forked::Child => unreachable!("the child never returns"),
        }
    }

    /// CHILD: the middle process, which joins everything and makes a sibling that is born inside.
    fn be_the_middle(&self, line: Line) -> ! {
        let made = line.at(Step::Join, 0, || {
            sys::set_dumpable(false)?;
            cgroup::enter(&self.doors)?;
            sys::setns(self.target.as_raw_fd(), self.namespaces)?;
            sys::clone3(libc::CLONE_PARENT as u64, None)
        });
        match made {
            Ok(Forked::Child) => self.run(line, 0),
            Ok(Forked::Parent { pid, pidfd }) => {
                line.born(pid);
                std::mem::forget(pidfd);
                sys::exit_now(0)
            }
            Err(Told) => sys::exit_now(125),
        }
    }

    /// CHILD: joins `namespaces` and becomes the program.
    fn run(&self, line: Line, namespaces: i32) -> ! {
        let Err(Told) = self.be_born(line, namespaces);
        sys::exit_now(125)
    }

    fn be_born(&self, line: Line, namespaces: i32) -> std::result::Result<Infallible, Told> {
        if self.process.die_with_parent {
            line.at(Step::Release, 0, || sys::set_pdeathsig(libc::SIGKILL))?;
        }
        if namespaces != 0 {
            // By the host's paths, so before the mount namespace changes.
            line.at(Step::EnterCgroup, 0, || cgroup::enter(&self.doors))?;
            line.at(Step::Join, 0, || {
                sys::set_dumpable(false)?;
                sys::setns(self.target.as_raw_fd(), namespaces)
            })?;
        }
        if self.namespaces & libc::CLONE_NEWUSER != 0 {
            line.at(Step::BecomeRoot, 0, || become_root(self.single_id))?;
        }
        self.process.detach_from_caller(line)?;
        let terminal = self.process.open_console(line)?;
        Err(self.process.become_program(line, terminal))
    }
}

/// Opens a pidfd for `pid` and makes sure that it is the process that started at `start_time`
/// (clock ticks after boot, field 22 of proc_pid_stat(5)): `None` where that one has ended.
pub fn hold(pid: i32, start_time: u64) -> Result<Option<OwnedFd>> {
    let pidfd = match sys::pidfd_open(pid) {
        Ok(pidfd) => pidfd,
        Err(fault) if matches!(fault.errno, Errno::ESRCH | Errno::EINVAL) => return Ok(None),
        Err(fault) => return Err(Error::of_fault(format!("cannot hold process {pid}"), fault)),
    };
    // Read after the descriptor was opened: it can no longer be another process's.
    Ok((crate::state::start_time(pid) == Some(start_time)).then_some(pidfd))
}
