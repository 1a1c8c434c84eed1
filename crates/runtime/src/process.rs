//! The last part of every container process's way, be it PID 1 or one that joins: limits, user,
//! capabilities, working directory, execve. PARENT plans, CHILD applies.
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libc::AT_FDCWD;
use nix::errno::Errno;

use crate::capabilities::{CapabilitiesPlan, SYS_ADMIN};
use crate::gate::Gate;
use crate::label::Label;
use crate::line::{Line, Told};
use crate::reaper;
use crate::rlimits::RlimitPlan;
use crate::scheduling::Habit;
use crate::seccomp::SeccompPlan;
use crate::step::Step;
use crate::sys::{self, Arguments, Argv, Fault, NumberSet, Sys};

/// Everything about the program itself, decided.
#[derive(Debug)]
pub struct ProcessPlan {
    /// Absolute paths to try, in the order of `PATH`.
    pub candidates: Vec<CString>,
    /// Arguments, `argv[0]` first.
    pub argv: Argv,
    /// Environment, `KEY=value`.
    pub envp: Argv,
    /// Working directory.
    pub cwd: CString,
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups; not touched where `None`: a user namespace with a single id forbids it.
    pub groups: Option<Vec<u32>>,
    /// File mode creation mask, 0o022 where config.json names none.
    pub umask: u32,
    /// The five capability sets.
    pub capabilities: CapabilitiesPlan,
    /// Resource limits.
    pub rlimits: Vec<RlimitPlan>,
    /// How the kernel is to run it.
    pub habits: Vec<Habit>,
    /// Processors of a process that joins: before it is in the container's cgroup, and then.
    pub affinity: [Option<NumberSet>; 2],
    /// It may run wherever its cgroup lets it, whatever the caller is bound to; see also `affinity`.
    pub takes_every_processor: bool,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Which system calls it may make.
    pub seccomp: Option<SeccompPlan>,
    /// A pty of its own, with rows and columns.
    pub terminal: Option<(u16, u16)>,
    /// That pty does not put a carriage return before each newline.
    pub bare_newlines: bool,
    /// What becomes descriptors 0, 1 and 2; `None` leaves the caller's.
    pub stdio: [Option<OwnedFd>; 3],
    /// Descriptors from here on are closed: all but the standard streams, and what the caller hands on.
    pub first_closed: RawFd,
    /// The parent's end is the container's end.
    pub die_with_parent: bool,
    /// How likely the kernel is to kill it when memory runs out, -1000 to 1000; `None` keeps the caller's.
    pub oom_score_adj: Option<CString>,
    /// What security modules are to call the program.
    pub labels: Vec<Label>,
    /// This process stays as an init, and the program is its child; what was written down for the caller's
    /// process is overwritten.
    pub init: Option<Arguments>,
    /// The session keyring stays the caller's.
    pub keep_keyring: bool,
    /// Where it waits to be started, by somebody else than its maker.
    pub gate: Option<Gate>,
}

impl ProcessPlan {
    /// CHILD: a new session, and nothing of the caller's signals and descriptors. What is not needed any
    /// more is closed, not only marked: until execve a link in the container's files could lead through
    /// /proc/self/fd to whatever is open here, the host's folders among it (CVE-2024-21626).
    pub fn detach_from_caller(&self, line: Line, needed: &[RawFd]) -> Result<(), Told> {
        line.at(Step::Setsid, 0, || {
            let given = self.stdio.iter().flatten().map(AsRawFd::as_raw_fd);
            sys::close_all_but(
                self.first_closed,
                &given.chain(needed.iter().copied()).chain([line.socket]).chain(self.at_gate()),
            )?;
            // The caller's mask must not decide who may enter what is made on the way.
            sys::umask(0);
            sys::unblock_signals()?;
            // The shell's `&` and nohup(1) leave signals ignored, Rust's runtime SIGPIPE.
            sys::default_signals();
            sys::setsid()
        })?;
        if self.keep_keyring {
            return Ok(());
        }
        line.at(Step::Keyring, 0, || match sys::join_session_keyring() {
            // The quota is per user, not per container; kernels and sandboxes without keys have none to leak.
            Err(fault) if matches!(fault.errno, Errno::EDQUOT | Errno::ENOSYS | Errno::EPERM) => {
                Ok(())
            }
            result => result,
        })
    }

    /// CHILD: tells the kernel how expendable it is, and what confines the program. Before it hides from
    /// ptrace(2), which would take its own /proc/self away from a plain user.
    pub fn write_about_itself(&self, line: Line) -> Result<(), Told> {
        if let Some(score) = &self.oom_score_adj {
            line.at(Step::OomScore, 0, || {
                sys::write_file(c"/proc/self/oom_score_adj", score.to_bytes())
            })?;
        }
        for (index, label) in self.labels.iter().enumerate() {
            line.at(Step::Label, index, || sys::write_file(&label.file, label.word.to_bytes()))?;
        }
        Ok(())
    }

    /// CHILD: opens a pty in the container's /dev/pts and hands its master side over; the terminal side.
    pub fn open_console(&self, line: Line) -> Result<Option<RawFd>, Told> {
        let Some((rows, columns)) = self.terminal else {
            return Ok(None);
        };
        line.at(Step::Console, 0, || {
            let master = sys::openat2(
                AT_FDCWD,
                c"/dev/pts/ptmx",
                libc::O_RDWR | libc::O_NOCTTY,
                0,
                libc::RESOLVE_NO_SYMLINKS,
            )?;
            sys::unlock_pty(master)?;
            if self.bare_newlines {
                sys::leave_newlines(master)?;
            }
            let terminal = sys::pty_peer(master)?;
            if rows > 0 && columns > 0 {
                sys::set_winsize(master, rows, columns)?;
            }
            if self.uid != 0 {
                // Programs reopen /dev/tty and /dev/stdout under the user's own rights.
                sys::fchown(terminal, self.uid, u32::MAX)?;
            }
            sys::set_controlling_terminal(terminal)?;
            line.hand_over_console(master)?;
            sys::close(master);
            Ok(Some(terminal))
        })
    }

    /// CHILD: from root of the container to the program; returns only on failure.
    pub fn become_program(&self, line: Line, terminal: Option<RawFd>) -> Told {
        match self.shed_and_exec(line, terminal) {
            Ok(never) => match never {},
            Err(told) => told,
        }
    }

    fn shed_and_exec(
        &self,
        line: Line,
        terminal: Option<RawFd>,
    ) -> Result<std::convert::Infallible, Told> {
        for (index, habit) in self.habits.iter().enumerate() {
            line.at(Step::Scheduling, index, || habit.apply())?;
        }
        for (index, limit) in self.rlimits.iter().enumerate() {
            line.at(Step::Rlimits, index, || limit.apply())?;
        }
        // As whoever it is now, and again as the user: the folder may be closed to the one or the other.
        let was_entered = sys::chdir(&self.cwd).is_ok();
        line.at(Step::BoundCapabilities, 0, || self.capabilities.bound())?;
        line.at(Step::User, 0, || self.become_user())?;
        // Without no_new_privs a filter is a privilege, and so is kept until it stands: as few calls as can be
        // are then to be made under it.
        let kept = match self.seccomp {
            Some(_) if !self.no_new_privs => SYS_ADMIN,
            _ => 0,
        };
        line.at(Step::Capabilities, 0, || self.capabilities.apply(kept))?;
        line.at(Step::Stdio, 0, || self.place_stdio(line, terminal))?;
        line.at(Step::Workdir, 0, || self.enter_cwd(was_entered))?;
        if self.gate.is_some() {
            // Whoever makes it is to hear what can be known before it is tried.
            self.look_for_program().map_err(|(index, fault)| exec_failed(line, index, fault))?;
        }
        if self.no_new_privs {
            line.at(Step::NoNewPrivileges, 0, sys::set_no_new_privs)?;
        }
        if self.die_with_parent {
            line.at(Step::Guard, 0, || {
                sys::set_pdeathsig(libc::SIGKILL)?;
                if sys::hung_up(line.socket) {
                    Err(Fault::new("poll", Errno::EPIPE))
                } else {
                    Ok(())
                }
            })?;
        }
        let line = match &self.gate {
            None => line,
            Some(gate) => {
                // Whoever makes it has written everything down.
                if !line.ready() {
                    return Err(Told);
                }
                line.at(Step::Gate, 0, || gate.pass(line))?
            }
        };
        if let Some(filter) = &self.seccomp {
            line.at(Step::Seccomp, 0, || {
                if let Some(listener) = filter.install()? {
                    line.hand_over_listener(listener)?;
                    sys::close(listener);
                }
                if kept == 0 { Ok(()) } else { self.capabilities.set(0) }
            })?;
        }
        if let Some(arguments) = self.init {
            line.at(Step::Init, 0, || reaper::divide(arguments, terminal.is_some()))?;
        }
        // Counts as done before it is: a successful execve leaves nobody to say so.
        line.at(Step::Exec, 0, || Ok(()))?;
        // The parent lets it go on when everything is written down; where it is gone, so are we.
        if self.gate.is_none() && !line.ready() {
            return Err(Told);
        }
        let (index, fault) = self.exec();
        Err(exec_failed(line, index, fault))
    }

    fn at_gate(&self) -> impl Iterator<Item = RawFd> + Clone {
        self.gate.as_ref().into_iter().flat_map(Gate::descriptors)
    }

    fn become_user(&self) -> Sys<()> {
        sys::umask(self.umask);
        if self.uid != 0 {
            self.give_pipes_to(self.uid);
        }
        if let Some(groups) = &self.groups {
            set_groups(groups, self.gid)?;
        }
        sys::setgid(self.gid)?;
        // Without this a change away from uid 0 clears the permitted set before it can be narrowed.
        sys::set_keepcaps()?;
        sys::setuid(self.uid)
    }

    /// A program may reopen /dev/stdout only if it owns what is behind it. Pipes can be given to it, for
    /// nobody else reopens those; what has a name on the host keeps its owner. `uid` is the caller's id for it.
    pub fn give_pipes_to(&self, uid: u32) {
        for (number, stream) in self.stdio.iter().enumerate() {
            let is_ours = stream.as_ref().is_some_and(|fd| is_fifo(fd.as_raw_fd()));
            let stream = stream.as_ref().map_or(number as RawFd, AsRawFd::as_raw_fd);
            if is_ours || sys::is_anonymous_pipe(stream) {
                // A pipe of an owner outside the user namespace stays his.
                let _ = sys::fchown(stream, uid, u32::MAX);
            }
        }
    }

    /// CHILD: leaves its cgroup to decide on which processors it runs, where nothing else was asked for.
    pub fn take_processors(&self) {
        if self.takes_every_processor {
            // What is not there is left out by the kernel. One that refuses has decided.
            let _ = sys::sched_setaffinity(&NumberSet::ALL);
        }
    }

    fn enter_cwd(&self, was_entered: bool) -> Sys<()> {
        match sys::chdir(&self.cwd) {
            Err(fault) if fault.errno == Errno::EACCES && was_entered => {}
            result => result?,
        }
        if sys::cwd_is_inside()? { Ok(()) } else { Err(Fault::new("getcwd", Errno::EXDEV)) }
    }

    fn place_stdio(&self, line: Line, terminal: Option<RawFd>) -> Sys<()> {
        for target in 0..3 {
            let given = self.stdio[target as usize].as_ref().map(AsRawFd::as_raw_fd);
            if let Some(source) = terminal.or(given) {
                sys::dup2(source, target)?;
            }
            if is_null_device(target) {
                // The host's node would let root in here change its mode and owner for everybody.
                let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_NOCTTY;
                let resolve = libc::RESOLVE_NO_SYMLINKS;
                if let Ok(own) = sys::openat2(AT_FDCWD, c"/dev/null", flags, 0, resolve) {
                    if is_null_device(own) {
                        sys::dup2(own, target)?;
                    }
                    sys::close(own);
                }
            }
        }
        sys::close_all_but(self.first_closed, &std::iter::once(line.socket).chain(self.at_gate()))
    }

    /// Is there a program that could be executed? Otherwise what [`ProcessPlan::exec`] would answer.
    fn look_for_program(&self) -> Result<(), (u16, Fault)> {
        let mut worst = None;
        for (index, path) in self.candidates.iter().enumerate() {
            match sys::may_execute(path) {
                Ok(()) if !sys::is_folder(path) => return Ok(()),
                Ok(()) => worst = worst.or(Some((index as u16, Errno::EACCES))),
                Err(fault) if matches!(fault.errno, Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(fault) => worst = worst.or(Some((index as u16, fault.errno))),
            }
        }
        let (index, errno) = worst.unwrap_or((0, Errno::ENOENT));
        Err((index, Fault::new(if worst.is_some() { "execve" } else { NOT_FOUND }, errno)))
    }

    /// Tries one candidate after the other; the failure that tells most, with the number of its path.
    fn exec(&self) -> (u16, Fault) {
        let mut worst = (0, Fault::new("execve", Errno::ENOENT));
        let mut found = false;
        for (index, path) in self.candidates.iter().enumerate() {
            let fault = sys::execve(path, &self.argv, &self.envp);
            let missing =
                matches!(fault.errno, Errno::ENOENT | Errno::ENOTDIR) && !sys::exists(path);
            if missing {
                continue;
            }
            if !found {
                worst = (index as u16, fault);
                found = true;
            }
            // Like execvp(3): what may not be executed here may stand further down the path.
            if fault.errno != Errno::EACCES {
                break;
            }
        }
        if !found {
            worst.1.call = NOT_FOUND;
        }
        worst
    }
}

fn exec_failed(line: Line, index: u16, fault: Fault) -> Told {
    let told = line.fail(Step::Exec, index, fault);
    // Until the parent has looked at the root as it is from here, to say what is missing.
    line.wait();
    told
}

/// CHILD: setgroups(2). That nobody may call it in this user namespace is no failure to have none beside
/// the primary one.
pub fn set_groups(groups: &[u32], primary: u32) -> Sys<()> {
    let has_none = || groups.iter().all(|group| *group == primary);
    match sys::setgroups(groups) {
        Err(fault) if fault.errno == Errno::EPERM && has_none() && groups_are_denied() => Ok(()),
        result => result,
    }
}

/// Does /proc/self/setgroups say so, user_namespaces(7)?
fn groups_are_denied() -> bool {
    let Ok(file) = sys::openat2(AT_FDCWD, c"/proc/self/setgroups", libc::O_RDONLY, 0, 0) else {
        return false;
    };
    let mut word = [0; 4];
    let read = sys::read(file, &mut word);
    sys::close(file);
    read == Ok(4) && word == *b"deny"
}

/// Is it a FIFO? Among the given streams those are minibox's own.
fn is_fifo(fd: RawFd) -> bool {
    sys::fstat(fd).is_ok_and(|stat| stat.mode & libc::S_IFMT == libc::S_IFIFO)
}

/// Is it null(4)?
fn is_null_device(fd: RawFd) -> bool {
    sys::fstat(fd).is_ok_and(|stat| {
        stat.mode & libc::S_IFMT == libc::S_IFCHR && stat.rdev == libc::makedev(1, 3)
    })
}

/// Reported in place of "execve" where none of the candidates exists.
pub const NOT_FOUND: &str = "search";
