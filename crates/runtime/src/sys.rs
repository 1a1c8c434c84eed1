//! The kernel's calls, one thin function each: the only `unsafe` of this crate.
//!
//! A function makes the call its name says, takes what its man page takes and returns a [`Fault`] that
//! names the call. But for the few marked PARENT nothing here allocates, locks or panics, so it may be
//! used between clone3(2) and execve(2). File descriptors are plain numbers: the child owns a copy of the
//! parent's table and must not run destructors on it.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long, c_uint};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{gid_t, pid_t, uid_t};
use nix::errno::Errno;

/// A failed system call: its name and errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The call's name as section 2 of the manual has it.
    pub call: &'static str,
    /// Why the kernel refused.
    pub errno: Errno,
    /// Which of several, where the call was one of many.
    pub item: u16,
}

impl Fault {
    /// A fault that our own check found, reported as if `call` had returned `errno`.
    pub const fn new(call: &'static str, errno: Errno) -> Fault {
        Fault { call, errno, item: 0 }
    }
}

/// What every call here returns.
pub type Sys<T> = Result<T, Fault>;

fn check(call: &'static str, ret: c_long) -> Sys<c_long> {
    if ret == -1 { Err(Fault::new(call, Errno::last())) } else { Ok(ret) }
}

macro_rules! syscall {
    ($name:literal, $($arg:expr),+ $(,)?) => {
        // SAFETY: every pointer passed lives across the call and has the type the man page asks for;
        // a wrong number can only make the kernel answer with an errno.
        check($name, unsafe { libc::syscall($($arg),+) })
    };
}

// ---- processes -----------------------------------------------------------------------------------

/// Which side of clone3 one is on.
#[derive(Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the caller, with the child's pid as the caller sees it and a pidfd for it.
    Parent {
        /// Process id in the caller's pid namespace.
        pid: pid_t,
        /// Refers to the child for ever, even after its number is given to another process.
        pidfd: OwnedFd,
    },
}

/// clone3(2) without a stack: returns twice, like fork(2), always with `CLONE_PIDFD`.
///
/// `flags` are CLONE_* bits; `into_cgroup` a directory descriptor for `CLONE_INTO_CGROUP`. The
/// process must have one thread only, which holds for every minibox process: none is ever started.
pub fn clone3(flags: u64, into_cgroup: Option<RawFd>) -> Sys<Forked> {
    let mut pidfd: c_int = -1;
    // SAFETY: clone_args is plain integers; all zero is its documented empty state.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // A sibling takes the exit signal that its maker has, and clone3 insists that none is given.
    args.exit_signal =
        if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(dir) = into_cgroup {
        // libc's constant is an int that this bit does not fit.
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir as u64;
    }
    let pid = syscall!("clone3", libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has just stored a new descriptor there, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: pid as pid_t, pidfd })
}

/// clone(2) without any flag: fork(2), as a raw call. Seccomp filters let it through where they refuse clone3(2),
/// whose flags lie in memory.
pub fn fork() -> Sys<Option<pid_t>> {
    let (first, second) =
        if cfg!(target_arch = "s390x") { (0, libc::SIGCHLD) } else { (libc::SIGCHLD, 0) };
    let pid = syscall!("clone", libc::SYS_clone, first, second, 0, 0, 0)?;
    Ok((pid != 0).then_some(pid as pid_t))
}

/// execve(2) with arrays made beforehand; returns only on failure.
pub fn execve(path: &CStr, argv: &Argv, envp: &Argv) -> Fault {
    // SAFETY: an Argv is a null-terminated array of pointers to strings that it owns.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Fault::new("execve", Errno::last())
}

/// execveat(2) of the file that `fd` refers to; returns only on failure.
pub fn execveat(fd: RawFd, argv: &Argv, envp: &Argv) -> Fault {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    let flags = libc::AT_EMPTY_PATH;
    let tried = syscall!("execveat", libc::SYS_execveat, fd, c"".as_ptr(), argv, envp, flags);
    tried.err().unwrap_or(Fault::new("execveat", Errno::UnknownErrno))
}

/// A null-terminated array of C strings, as execve(2) wants it, built in the parent.
#[derive(Debug)]
pub struct Argv {
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl Argv {
    /// Takes the strings over; their heap buffers never move again.
    pub fn new(strings: Vec<std::ffi::CString>) -> Argv {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Argv { strings, pointers }
    }

    /// The strings, in order.
    pub fn strings(&self) -> &[std::ffi::CString] {
        &self.strings
    }
}

/// _exit(2): no atexit handlers, no flushing of buffers inherited from the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// setsid(2).
pub fn setsid() -> Sys<()> {
    syscall!("setsid", libc::SYS_setsid).map(drop)
}

/// pidfd_open(2).
pub fn pidfd_open(pid: pid_t) -> Sys<OwnedFd> {
    let fd = syscall!("pidfd_open", libc::SYS_pidfd_open, pid, 0)?;
    // SAFETY: a new descriptor that only we know.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: RawFd, signal: c_int) -> Sys<()> {
    syscall!(
        "pidfd_send_signal",
        libc::SYS_pidfd_send_signal,
        pidfd,
        signal,
        std::ptr::null::<u8>(),
        0
    )
    .map(drop)
}

/// The wait status of a process that has ended, once its parent has collected it; `None` until then.
/// `PIDFD_GET_INFO`, Linux 6.15; an older kernel answers ENOTTY or EINVAL.
pub fn pidfd_exit_status(pidfd: RawFd) -> Sys<Option<i32>> {
    /// `struct pidfd_info` of linux/pidfd.h, first published size.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroupid: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(PIDFS_IOCTL_MAGIC 0xFF, 11, struct pidfd_info)
    let request = (3_u64 << 30) | ((size_of::<PidfdInfo>() as u64) << 16) | (0xff << 8) | 0x0b;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    match syscall!("ioctl(PIDFD_GET_INFO)", libc::SYS_ioctl, pidfd, request, &raw mut info) {
        // 6.13 and 6.14 know the call, but look for a living process.
        Err(fault) if fault.errno == Errno::ESRCH => Ok(None),
        Err(fault) => Err(fault),
        Ok(_) => Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)),
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// With this exit status.
    Exited(i32),
    /// By this signal, real-time ones included.
    Signaled(i32),
}

/// waitid(2) of our child by pidfd; `None` where it lives and `wait` is false.
pub fn wait_pidfd(pidfd: RawFd, wait: bool) -> Sys<Option<Death>> {
    // SAFETY: siginfo_t is plain data and filled by the kernel; zero means "nobody has ended".
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | if wait { 0 } else { libc::WNOHANG };
    // SAFETY: writes one siginfo_t that lives here.
    let ret = unsafe { libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &raw mut info, flags) };
    check("waitid", c_long::from(ret))?;
    // SAFETY: for a child's end these fields are the ones that are filled.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(match info.si_code {
        libc::CLD_EXITED => Death::Exited(status),
        _ => Death::Signaled(status),
    }))
}

/// waitid(2) of any child that has ended, without waiting: its pid and how it ended.
pub fn wait_any() -> Option<(pid_t, Death)> {
    // SAFETY: siginfo_t is plain data and filled by the kernel; zero means "nobody has ended".
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG;
    // SAFETY: writes one siginfo_t that lives here.
    let ret = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
    // SAFETY: for a child's end these fields are the ones that are filled.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (ret == 0 && pid != 0).then_some(match info.si_code {
        libc::CLD_EXITED => (pid, Death::Exited(status)),
        _ => (pid, Death::Signaled(status)),
    })
}

/// kill(2).
pub fn kill(pid: pid_t, signal: c_int) -> Sys<()> {
    syscall!("kill", libc::SYS_kill, pid, signal).map(drop)
}

/// setpgid(2): a process group of its own.
pub fn lead_process_group() -> Sys<()> {
    syscall!("setpgid", libc::SYS_setpgid, 0, 0).map(drop)
}

/// tcsetpgrp(3): this process's group is the one that `terminal` listens to.
pub fn take_foreground(terminal: RawFd) -> Sys<()> {
    // SAFETY: cannot fail and touches no memory.
    let group: pid_t = unsafe { libc::getpgrp() };
    syscall!("ioctl(TIOCSPGRP)", libc::SYS_ioctl, terminal, libc::TIOCSPGRP, &raw const group)
        .map(drop)
}

/// ioctl(2) `NS_GET_NSTYPE`: the CLONE_NEW* flag of the namespace that `fd` refers to; ENOTTY where it
/// refers to something else.
pub fn namespace_kind(fd: RawFd) -> Sys<c_int> {
    syscall!("ioctl(NS_GET_NSTYPE)", libc::SYS_ioctl, fd, libc::NS_GET_NSTYPE)
        .map(|kind| kind as c_int)
}

/// The flag of time namespaces, clone(2); libc has none for every C library.
pub const CLONE_NEWTIME: c_int = 0x80;

/// setns(2).
pub fn setns(fd: RawFd, flags: c_int) -> Sys<()> {
    syscall!("setns", libc::SYS_setns, fd, flags).map(drop)
}

/// unshare(2).
pub fn unshare(flags: c_int) -> Sys<()> {
    syscall!("unshare", libc::SYS_unshare, flags).map(drop)
}

/// PARENT. ioctl(2) `NS_GET_PARENT`: the pid or user namespace that the namespace `fd` was made in; EPERM
/// where that is not below the caller's own. ioctl_nsfs(2).
pub fn parent_namespace(fd: RawFd) -> Sys<OwnedFd> {
    const NS_GET_PARENT: u64 = 0xb702;
    syscall!("ioctl(NS_GET_PARENT)", libc::SYS_ioctl, fd, NS_GET_PARENT).map(|fd| own(fd as RawFd))
}

fn prctl(call: &'static str, option: c_int, arg2: u64, arg3: u64) -> Sys<c_long> {
    // SAFETY: only options whose arguments are numbers are passed below.
    check(call, c_long::from(unsafe { libc::prctl(option, arg2, arg3, 0, 0) }))
}

/// prctl(2) `PR_SET_PDEATHSIG`: `signal` arrives when the parent thread ends. Forgotten by the kernel
/// whenever the ids or capabilities change.
pub fn set_pdeathsig(signal: c_int) -> Sys<()> {
    prctl("prctl(PR_SET_PDEATHSIG)", libc::PR_SET_PDEATHSIG, signal as u64, 0).map(drop)
}

/// prctl(2) `PR_SET_DUMPABLE`: false hides this process from ptrace(2) and /proc of its peers.
pub fn set_dumpable(dumpable: bool) -> Sys<()> {
    prctl("prctl(PR_SET_DUMPABLE)", libc::PR_SET_DUMPABLE, u64::from(dumpable), 0).map(drop)
}

/// prctl(2) `PR_SET_CHILD_SUBREAPER`: orphans among this process's descendants become its children.
pub fn set_child_subreaper() -> Sys<()> {
    prctl("prctl(PR_SET_CHILD_SUBREAPER)", libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// prctl(2) `PR_SET_NO_NEW_PRIVS`.
pub fn set_no_new_privs() -> Sys<()> {
    prctl("prctl(PR_SET_NO_NEW_PRIVS)", libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`; the listener where `SECCOMP_FILTER_FLAG_NEW_LISTENER` is among `flags`.
pub fn seccomp_filter(flags: u64, program: &[libc::sock_filter]) -> Sys<RawFd> {
    let filter = program.as_ptr().cast_mut();
    let program = libc::sock_fprog { len: program.len() as _, filter };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    syscall!("seccomp", libc::SYS_seccomp, operation, flags, &raw const program)
        .map(|fd| fd as RawFd)
}

/// seccomp(2) without a filter, which fails: with EFAULT where the kernel knows all of `flags`.
pub fn probe_seccomp_flags(flags: u64) -> bool {
    let nothing = std::ptr::null::<libc::sock_fprog>();
    let called =
        syscall!("seccomp", libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing);
    called.is_err_and(|failed| failed.errno == Errno::EFAULT)
}

/// prctl(2) `PR_SET_KEEPCAPS`: permitted capabilities survive setresuid(2).
pub fn set_keepcaps() -> Sys<()> {
    prctl("prctl(PR_SET_KEEPCAPS)", libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

/// prctl(2) `PR_CAPBSET_DROP` of capability number `cap`.
pub fn capbset_drop(cap: u8) -> Sys<()> {
    prctl("prctl(PR_CAPBSET_DROP)", libc::PR_CAPBSET_DROP, u64::from(cap), 0).map(drop)
}

/// prctl(2) `PR_CAP_AMBIENT_RAISE` of capability number `cap`.
pub fn ambient_raise(cap: u8) -> Sys<()> {
    prctl(
        "prctl(PR_CAP_AMBIENT_RAISE)",
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as u64,
        u64::from(cap),
    )
    .map(drop)
}

/// prctl(2) `PR_SET_NAME`: the name that ps(1) shows for the thread, 15 bytes at most.
pub fn set_name(name: &CStr) {
    // SAFETY: reads at most 16 bytes of a terminated string; cannot fail.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// PARENT. Overwrites the arguments of this process, so that ps(1) shows `title`. A title longer than they
/// were runs on into the environment, which therefore moves first.
pub fn set_title(title: &str) {
    if let Some(area) = Arguments::find() {
        move_environment();
        area.overwrite(title.as_bytes());
    }
}

/// Where the arguments of this process lie, and behind them the environment it was executed with:
/// what /proc/PID/cmdline and /proc/PID/environ show.
#[derive(Debug, Clone, Copy)]
pub struct Arguments {
    start: usize,
    end: usize,
}

impl Arguments {
    /// PARENT. Looks them up; a forked process has them in the same place.
    pub fn find() -> Option<Arguments> {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').skip(45);
        let ends: Vec<usize> = fields.filter_map(|field| field.trim().parse().ok()).collect();
        // arg_start, arg_end, env_start and env_end: fields 48 to 51 of proc_pid_stat(5).
        let [start, arg_end, env_start, end, ..] = ends[..] else { return None };
        let is_one_piece =
            start != 0 && arg_end > start && env_start == arg_end && end >= env_start;
        is_one_piece.then_some(Arguments { start, end })
    }

    /// Puts `title` in their place, and nothing in place of the rest. Neither arguments nor environment
    /// are read by this process afterwards.
    pub fn overwrite(self, title: &[u8]) {
        // SAFETY: this is the writable copy of arguments and environment at the top of this process's
        // stack, and nobody reads either any more.
        let area =
            unsafe { std::slice::from_raw_parts_mut(self.start as *mut u8, self.end - self.start) };
        let length = title.len().min(area.len() - 1);
        area.fill(0);
        area[..length].copy_from_slice(&title[..length]);
    }
}

unsafe extern "C" {
    /// environ(7).
    static mut environ: *mut *mut c_char;
}

/// Gives libc a copy of the environment on the heap.
fn move_environment() {
    use std::os::unix::ffi::OsStringExt;
    let entry = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        let bytes = [key.into_vec(), b"=".to_vec(), value.into_vec()].concat();
        std::ffi::CString::new(bytes).ok().map(std::ffi::CString::into_raw)
    };
    let mut entries: Vec<*mut c_char> = std::env::vars_os().filter_map(entry).collect();
    entries.push(std::ptr::null_mut());
    // SAFETY: one thread; the array and its strings are never freed.
    unsafe { environ = entries.leak().as_mut_ptr() };
}

/// capset(2), version 3, with one bit per capability.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Sys<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data = [
        [low(effective), low(permitted), low(inheritable)],
        [high(effective), high(permitted), high(inheritable)],
    ];
    syscall!("capset", libc::SYS_capset, &raw const header, &raw const data).map(drop)
}

/// setgroups(2).
pub fn setgroups(groups: &[gid_t]) -> Sys<()> {
    syscall!("setgroups", libc::SYS_setgroups, groups.len(), groups.as_ptr()).map(drop)
}

/// setresgid(2), all three the same.
pub fn setgid(gid: gid_t) -> Sys<()> {
    syscall!("setresgid", libc::SYS_setresgid, gid, gid, gid).map(drop)
}

/// setresuid(2), all three the same.
pub fn setuid(uid: uid_t) -> Sys<()> {
    syscall!("setresuid", libc::SYS_setresuid, uid, uid, uid).map(drop)
}

/// umask(2).
pub fn umask(mask: u32) {
    // SAFETY: changes a number in the kernel and cannot fail.
    unsafe { libc::umask(mask) };
}

/// prlimit(2) of the calling process; `resource` is a RLIMIT_* number.
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Sys<()> {
    let limit = [soft, hard];
    syscall!("prlimit", libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null::<u8>())
        .map(drop)
}

/// Some of the numbers below [`NumberSet::END`], as the kernel wants sets of processors and of memory nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NumberSet([u64; NumberSet::END / 64]);

impl NumberSet {
    /// The first number that does not fit.
    pub const END: usize = 1024;
    /// Every number.
    pub const ALL: NumberSet = NumberSet([u64::MAX; NumberSet::END / 64]);

    /// Adds one, which is below the end.
    pub fn add(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// The first 64 as bits.
    pub fn first(&self) -> u64 {
        self.0[0]
    }

    /// Is it in the set?
    pub fn has(&self, number: usize) -> bool {
        self.0[number / 64] & (1 << (number % 64)) != 0
    }
}

/// sched_setaffinity(2) of the calling process.
pub fn sched_setaffinity(processors: &NumberSet) -> Sys<()> {
    let (size, set) = (size_of::<NumberSet>(), processors.0.as_ptr());
    syscall!("sched_setaffinity", libc::SYS_sched_setaffinity, 0, size, set).map(drop)
}

/// `struct sched_attr` of linux/sched/types.h, but for its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99, of SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds, of SCHED_DEADLINE.
    pub runtime: u64,
    /// The same.
    pub deadline: u64,
    /// The same.
    pub period: u64,
}

/// sched_setattr(2) of the calling process.
pub fn sched_setattr(attr: &SchedAttr) -> Sys<()> {
    #[repr(C)]
    struct Kernels {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        times: [u64; 3],
    }
    let kernels = Kernels {
        size: size_of::<Kernels>() as u32,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        times: [attr.runtime, attr.deadline, attr.period],
    };
    syscall!("sched_setattr", libc::SYS_sched_setattr, 0, &raw const kernels, 0).map(drop)
}

/// ioprio_set(2) of the calling process: class and level in one number.
pub fn ioprio_set(priority: u32) -> Sys<()> {
    const WHO_PROCESS: c_int = 1;
    syscall!("ioprio_set", libc::SYS_ioprio_set, WHO_PROCESS, 0, priority).map(drop)
}

/// set_mempolicy(2): `mode` is one of MPOL_* with MPOL_F_* flags.
pub fn set_mempolicy(mode: u32, nodes: &NumberSet) -> Sys<()> {
    let nothing = *nodes == NumberSet::default();
    let mask = if nothing { std::ptr::null() } else { nodes.0.as_ptr() };
    // The kernel looks at one bit less than it is told of.
    let count = if nothing { 0 } else { NumberSet::END + 1 };
    syscall!("set_mempolicy", libc::SYS_set_mempolicy, mode, mask, count).map(drop)
}

/// personality(2): PER_LINUX or PER_LINUX32.
pub fn personality(domain: u64) -> Sys<()> {
    syscall!("personality", libc::SYS_personality, domain).map(drop)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING` with a new anonymous keyring.
pub fn join_session_keyring() -> Sys<()> {
    syscall!("keyctl", libc::SYS_keyctl, 1, std::ptr::null::<u8>()).map(drop)
}

/// rt_sigaction(2) of one signal to `SIG_DFL`.
pub fn default_signal(signal: c_int) {
    // The kernel's own struct sigaction, large enough for every architecture; all zero is SIG_DFL.
    let default = [0_u64; 4];
    let null = std::ptr::null::<u8>();
    // SIGKILL and SIGSTOP answer EINVAL: they cannot be anything but default.
    let _ =
        syscall!("rt_sigaction", libc::SYS_rt_sigaction, signal, default.as_ptr(), null, 8_usize);
}

/// The same for every signal, the two that libc keeps for itself included.
pub fn default_signals() {
    (1..=64).for_each(default_signal);
}

/// sigaction(2) of one signal to a handler that does nothing. PARENT: unlike `SIG_IGN` it is not inherited by
/// what is executed.
pub fn outlive_signal(signal: c_int) {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: all zero is a sigaction without flags, mask and restorer.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` lives across the call, and its handler may run at any moment, since it does nothing.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// sigaction(2) of one signal to a handler that ends the process, until it executes a program. CHILD: to PID 1 of
/// a namespace the kernel gives only what it has handlers for.
pub fn end_at_signal(signal: c_int) {
    extern "C" fn end(signal: c_int) {
        exit_now(128 + signal)
    }
    // SAFETY: all zero is a sigaction without flags, mask and restorer.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = end as *const () as usize;
    // SAFETY: `action` lives across the call, and its handler may run at any moment, since it only ends.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

fn set_blocked(mask: u64) -> Sys<()> {
    syscall!(
        "rt_sigprocmask",
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const mask,
        std::ptr::null::<u8>(),
        8_usize
    )
    .map(drop)
}

/// sigprocmask(2): no signal is blocked any more.
pub fn unblock_signals() -> Sys<()> {
    set_blocked(0)
}

/// sigprocmask(2): every signal that can be is blocked.
pub fn block_signals() -> Sys<()> {
    set_blocked(u64::MAX)
}

/// signalfd(2) of every signal that is blocked.
pub fn signalfd() -> Sys<RawFd> {
    let any = u64::MAX;
    let flags = libc::SFD_CLOEXEC;
    syscall!("signalfd", libc::SYS_signalfd4, -1, &raw const any, 8_usize, flags)
        .map(|fd| fd as RawFd)
}

/// read(2) of a signalfd: waits for the next signal, and gives its number.
pub fn next_signal(signalfd: RawFd) -> Sys<c_int> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    read(signalfd, &mut info)?;
    // `ssi_signo` is the first field.
    Ok(c_int::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

/// sethostname(2).
pub fn sethostname(name: &[u8]) -> Sys<()> {
    syscall!("sethostname", libc::SYS_sethostname, name.as_ptr(), name.len()).map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: &[u8]) -> Sys<()> {
    syscall!("setdomainname", libc::SYS_setdomainname, name.as_ptr(), name.len()).map(drop)
}

/// Microseconds of `CLOCK_MONOTONIC`.
pub fn now_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

// ---- eBPF ----------------------------------------------------------------------------------------

/// One instruction of an eBPF program: `struct bpf_insn` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What is done, and to what kind of operand.
    pub code: u8,
    registers: u8,
    /// Of a jump in instructions, of a load in bytes.
    pub offset: i16,
    /// The operand, where it is a number.
    pub number: i32,
}

impl Instruction {
    /// With the register that is written to or looked at, and the one that is read.
    pub const fn new(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
        // Two fields of four bits, the first one where this machine's compilers put it.
        let registers =
            if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Instruction { code, registers, offset, number }
    }

    /// The two registers, as they were given.
    pub const fn registers(&self) -> (u8, u8) {
        let (high, low) = (self.registers >> 4, self.registers & 0xf);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }
}

/// PARENT. bpf(2) `BPF_PROG_LOAD` of a `BPF_PROG_TYPE_CGROUP_DEVICE`.
pub fn load_device_filter(program: &[Instruction]) -> Sys<OwnedFd> {
    /// The first fields of `union bpf_attr`, as this command has them.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    const PROG_LOAD: c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    let attr = Load {
        kind: CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    loop {
        // The kernel's check of the program gives way to a signal.
        match syscall!(
            "bpf(PROG_LOAD)",
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attr,
            size_of::<Load>()
        ) {
            Err(fault) if fault.errno == Errno::EAGAIN => {}
            loaded => return loaded.map(|fd| own(fd as RawFd)),
        }
    }
}

/// PARENT. bpf(2) `BPF_PROG_ATTACH` of such a program to a version 2 cgroup, beside those that stand there.
pub fn attach_device_filter(cgroup: &std::fs::File, program: &OwnedFd) -> Sys<()> {
    const PROG_ATTACH: c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    // target_fd, attach_bpf_fd, attach_type, attach_flags
    let attr = [cgroup.as_raw_fd() as u32, program.as_raw_fd() as u32, CGROUP_DEVICE, ALLOW_MULTI];
    syscall!("bpf(PROG_ATTACH)", libc::SYS_bpf, PROG_ATTACH, attr.as_ptr(), size_of_val(&attr))
        .map(drop)
}

// ---- time ----------------------------------------------------------------------------------------

/// PARENT: local time's offset from UTC, and what that is called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds east of UTC.
    pub offset: i64,
    /// Such as `CET`.
    pub zone: String,
}

/// PARENT: local time at `seconds` since 1970, localtime(3); `None` for a year beyond all calendars.
pub fn local_time(seconds: i64) -> Option<LocalTime> {
    // SAFETY: all zeros is a tm; its pointer is only read where localtime_r has set it.
    let mut broken: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: reads one number and writes one tm that live here.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut broken) }.is_null() {
        return None;
    }
    // SAFETY: localtime_r sets it to a string that lives as long as the time zone is not changed, and
    // nothing here changes it.
    let zone = unsafe { CStr::from_ptr(broken.tm_zone) };
    Some(LocalTime { offset: broken.tm_gmtoff, zone: zone.to_string_lossy().into_owned() })
}

// ---- files ---------------------------------------------------------------------------------------

/// openat2(2); `resolve` are RESOLVE_* bits. The descriptor is close-on-exec.
pub fn openat2(dir: RawFd, path: &CStr, flags: c_int, mode: u32, resolve: u64) -> Sys<RawFd> {
    // SAFETY: open_how is plain integers; all zero is its documented empty state.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    syscall!(
        "openat2",
        libc::SYS_openat2,
        dir,
        path.as_ptr(),
        &raw const how,
        size_of::<libc::open_how>()
    )
    .map(|fd| fd as RawFd)
}

/// close(2).
pub fn close(fd: RawFd) {
    // SAFETY: closes a number; the callers own it and never use it again.
    unsafe { libc::close(fd) };
}

/// close_range(2) of everything from `first` on but the descriptors in `keep`.
pub fn close_all_but(first: RawFd, keep: &(impl Iterator<Item = RawFd> + Clone)) -> Sys<()> {
    let mut first = first as c_uint;
    while let Some(fd) = keep.clone().map(|fd| fd as c_uint).filter(|fd| *fd >= first).min() {
        if fd > first {
            syscall!("close_range", libc::SYS_close_range, first, fd - 1, 0_u32)?;
        }
        first = fd + 1;
    }
    syscall!("close_range", libc::SYS_close_range, first, c_uint::MAX, 0_u32).map(drop)
}

/// fstatfs(2): is it a pipe without a name, pipe(7)?
pub fn is_anonymous_pipe(fd: RawFd) -> bool {
    const PIPEFS_MAGIC: i64 = 0x5049_5045;
    // SAFETY: statfs is plain integers and filled by the kernel.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: writes one statfs structure that lives here.
    let ret = unsafe { libc::fstatfs(fd, &raw mut stat) };
    ret == 0 && stat.f_type as i64 == PIPEFS_MAGIC
}

/// dup3(2) without flags: `to` stays open across execve.
pub fn dup2(from: RawFd, to: RawFd) -> Sys<()> {
    if from == to {
        // dup3 refuses that; what is wanted is only that it survives execve.
        return syscall!("fcntl", libc::SYS_fcntl, from, libc::F_SETFD, 0_u64).map(drop);
    }
    syscall!("dup3", libc::SYS_dup3, from, to, 0).map(drop)
}

/// fcntl(2) `F_SETFL`: reads and writes of this open file no longer wait.
pub fn set_nonblocking(fd: RawFd) -> Sys<()> {
    let flags = syscall!("fcntl", libc::SYS_fcntl, fd, libc::F_GETFL, 0_u64)?;
    let flags = flags as u64 | libc::O_NONBLOCK as u64;
    syscall!("fcntl", libc::SYS_fcntl, fd, libc::F_SETFL, flags).map(drop)
}

/// write(2), once.
pub fn write(fd: RawFd, bytes: &[u8]) -> Sys<usize> {
    syscall!("write", libc::SYS_write, fd, bytes.as_ptr(), bytes.len()).map(|n| n as usize)
}

/// Writes to a file that is there: one word, in one write(2).
pub fn write_file(path: &CStr, word: &[u8]) -> Sys<()> {
    write_and_close(openat2(libc::AT_FDCWD, path, libc::O_WRONLY, 0, 0)?, word)
}

/// The same to one that is open, and that nobody needs any more.
pub fn write_and_close(file: RawFd, word: &[u8]) -> Sys<()> {
    let done = write(file, word);
    close(file);
    done.map(drop)
}

/// read(2), once.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Sys<usize> {
    syscall!("read", libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len()).map(|n| n as usize)
}

/// mkdirat(2).
pub fn mkdirat(dir: RawFd, path: &CStr, mode: u32) -> Sys<()> {
    syscall!("mkdirat", libc::SYS_mkdirat, dir, path.as_ptr(), mode).map(drop)
}

/// mknodat(2).
pub fn mknodat(dir: RawFd, path: &CStr, mode: u32, device: u64) -> Sys<()> {
    syscall!("mknodat", libc::SYS_mknodat, dir, path.as_ptr(), mode, device).map(drop)
}

/// fchownat(2) with `AT_SYMLINK_NOFOLLOW`.
pub fn fchownat(dir: RawFd, path: &CStr, uid: uid_t, gid: gid_t) -> Sys<()> {
    syscall!(
        "fchownat",
        libc::SYS_fchownat,
        dir,
        path.as_ptr(),
        uid,
        gid,
        libc::AT_SYMLINK_NOFOLLOW
    )
    .map(drop)
}

/// fchown(2).
pub fn fchown(fd: RawFd, uid: uid_t, gid: gid_t) -> Sys<()> {
    syscall!("fchown", libc::SYS_fchown, fd, uid, gid).map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dir: RawFd, path: &CStr) -> Sys<()> {
    syscall!("symlinkat", libc::SYS_symlinkat, target.as_ptr(), dir, path.as_ptr()).map(drop)
}

/// What fstat(2) tells that the child needs.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// File type and permission bits.
    pub mode: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Owner.
    pub uid: uid_t,
    /// Group.
    pub gid: gid_t,
    /// Seconds and nanoseconds of the last access and the last change.
    pub times: [(i64, i64); 2],
}

impl Stat {
    fn of(stat: &libc::stat) -> Stat {
        Stat {
            mode: stat.st_mode,
            rdev: stat.st_rdev,
            uid: stat.st_uid,
            gid: stat.st_gid,
            times: [(stat.st_atime, stat.st_atime_nsec), (stat.st_mtime, stat.st_mtime_nsec)],
        }
    }
}

/// fstat(2).
pub fn fstat(fd: RawFd) -> Sys<Stat> {
    // SAFETY: stat is plain integers and filled by the kernel.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: writes one stat structure that lives here.
    let ret = unsafe { libc::fstat(fd, &raw mut stat) };
    check("fstat", c_long::from(ret))?;
    Ok(Stat::of(&stat))
}

/// fstatat(2) with `AT_SYMLINK_NOFOLLOW`.
pub fn fstatat(dir: RawFd, path: &CStr) -> Sys<Stat> {
    // SAFETY: stat is plain integers and filled by the kernel.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: reads a terminated string and writes one stat structure that lives here.
    let ret = unsafe { libc::fstatat(dir, path.as_ptr(), &raw mut stat, flags) };
    check("fstatat", c_long::from(ret))?;
    Ok(Stat::of(&stat))
}

/// fchmod(2).
pub fn fchmod(fd: RawFd, mode: u32) -> Sys<()> {
    syscall!("fchmod", libc::SYS_fchmod, fd, mode).map(drop)
}

/// fchmodat(2); follows a link.
pub fn fchmodat(dir: RawFd, path: &CStr, mode: u32) -> Sys<()> {
    syscall!("fchmodat", libc::SYS_fchmodat, dir, path.as_ptr(), mode).map(drop)
}

/// utimensat(2) with `AT_SYMLINK_NOFOLLOW`; seconds and nanoseconds of access and change.
pub fn utimensat(dir: RawFd, path: &CStr, times: [(i64, i64); 2]) -> Sys<()> {
    let times = times.map(|(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec });
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    syscall!("utimensat", libc::SYS_utimensat, dir, path.as_ptr(), times.as_ptr(), flags).map(drop)
}

/// readlinkat(2) into `buffer`, which must have room for one byte more.
pub fn readlinkat<'a>(dir: RawFd, path: &CStr, buffer: &'a mut [u8]) -> Sys<&'a CStr> {
    let (room, start) = (buffer.len() - 1, buffer.as_mut_ptr());
    let length = syscall!("readlinkat", libc::SYS_readlinkat, dir, path.as_ptr(), start, room)?;
    buffer[length as usize] = 0;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Fault::new("readlinkat", Errno::EINVAL))
}

/// sendfile(2) from where `from` stands; 0 at its end.
pub fn sendfile(to: RawFd, from: RawFd, count: usize) -> Sys<usize> {
    let null = std::ptr::null::<u8>();
    syscall!("sendfile", libc::SYS_sendfile, to, from, null, count).map(|n| n as usize)
}

/// Some entries of a folder, getdents64(2).
#[derive(Debug)]
pub struct Entries {
    /// `struct linux_dirent64`, one after the other.
    bytes: [u64; 512],
    filled: usize,
}

impl Entries {
    /// None yet.
    #[allow(clippy::new_without_default)] // 4 KiB that are made in one place.
    pub fn new() -> Entries {
        Entries { bytes: [0; 512], filled: 0 }
    }

    /// Reads the next ones; 0 at the end.
    pub fn read(&mut self, folder: RawFd) -> Sys<usize> {
        let (start, room) = (self.bytes.as_mut_ptr(), size_of_val(&self.bytes));
        let read = syscall!("getdents64", libc::SYS_getdents64, folder, start, room)?;
        self.filled = read as usize;
        Ok(self.filled)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &CStr> {
        // SAFETY: the array lives as long as the slice, and any bytes are bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), size_of_val(&self.bytes))
        };
        let mut at = 0;
        std::iter::from_fn(move || {
            // d_ino and d_off, 8 bytes each, d_reclen, d_type, then the name.
            let entry = bytes.get(at..self.filled)?;
            let length = u16::from_ne_bytes([*entry.get(16)?, *entry.get(17)?]);
            at += usize::from(length.max(1));
            CStr::from_bytes_until_nul(entry.get(19..)?).ok()
        })
    }
}

/// faccessat(2) with `F_OK`: does `path` exist?
pub fn exists(path: &CStr) -> bool {
    syscall!("faccessat", libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::F_OK).is_ok()
}

/// renameat2(2) with `RENAME_EXCHANGE`: two files change places. PARENT.
pub fn exchange(one: &std::path::Path, other: &std::path::Path) -> Sys<()> {
    let c_string = |path: &std::path::Path| {
        let bytes = path.as_os_str().as_encoded_bytes();
        std::ffi::CString::new(bytes).map_err(|_| Fault::new("renameat2", Errno::EINVAL))
    };
    let (one, other) = (c_string(one)?, c_string(other)?);
    syscall!(
        "renameat2",
        libc::SYS_renameat2,
        libc::AT_FDCWD,
        one.as_ptr(),
        libc::AT_FDCWD,
        other.as_ptr(),
        libc::RENAME_EXCHANGE
    )
    .map(drop)
}

/// chdir(2).
pub fn chdir(path: &CStr) -> Sys<()> {
    syscall!("chdir", libc::SYS_chdir, path.as_ptr()).map(drop)
}

/// fchdir(2).
pub fn fchdir(fd: RawFd) -> Sys<()> {
    syscall!("fchdir", libc::SYS_fchdir, fd).map(drop)
}

/// getcwd(2): does the current directory lie under the process's root? The kernel answers a path
/// that begins with "(unreachable)" where it does not (CVE-2024-21626).
pub fn cwd_is_inside() -> Sys<bool> {
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    syscall!("getcwd", libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len())?;
    Ok(buffer[0] == b'/')
}

// ---- mounts --------------------------------------------------------------------------------------

/// fsopen(2): a context for a new filesystem of type `name`.
pub fn fsopen(name: &CStr) -> Sys<RawFd> {
    syscall!("fsopen", libc::SYS_fsopen, name.as_ptr(), 1).map(|fd| fd as RawFd)
}

/// fsconfig(2): `key=value`, or the flag `key` where there is no value.
pub fn fsconfig(context: RawFd, key: &CStr, value: Option<&CStr>) -> Sys<()> {
    const SET_FLAG: c_uint = 0;
    const SET_STRING: c_uint = 1;
    let (command, value) = value.map_or((SET_FLAG, std::ptr::null()), |v| (SET_STRING, v.as_ptr()));
    syscall!("fsconfig", libc::SYS_fsconfig, context, command, key.as_ptr(), value, 0).map(drop)
}

/// fsconfig(2) `FSCONFIG_CMD_CREATE`, then fsmount(2): the filesystem on a detached mount, with
/// `attributes` (MOUNT_ATTR_*). Closes the context.
pub fn fsmount(context: RawFd, attributes: u64) -> Sys<RawFd> {
    const CMD_CREATE: c_uint = 6;
    let null = std::ptr::null::<u8>();
    let created =
        syscall!("fsconfig(CREATE)", libc::SYS_fsconfig, context, CMD_CREATE, null, null, 0);
    let mounted = created
        .and_then(|_| syscall!("fsmount", libc::SYS_fsmount, context, 1, attributes as c_uint));
    close(context);
    mounted.map(|fd| fd as RawFd)
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`, with all below it
/// where `recursive`.
pub fn open_tree_clone(dir: RawFd, path: &CStr, recursive: bool) -> Sys<RawFd> {
    let mut flags =
        libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as c_uint | libc::AT_EMPTY_PATH as c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as c_uint;
    }
    syscall!("open_tree", libc::SYS_open_tree, dir, path.as_ptr(), flags).map(|fd| fd as RawFd)
}

/// move_mount(2) of a detached mount onto the place that the descriptor `target` refers to.
pub fn move_mount(mount: RawFd, target: RawFd) -> Sys<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    syscall!("move_mount", libc::SYS_move_mount, mount, c"".as_ptr(), target, c"".as_ptr(), flags)
        .map(drop)
}

/// mount_setattr(2) on the mount that `fd` (with an empty path) or `path` names.
pub fn mount_setattr(fd: RawFd, path: &CStr, recursive: bool, change: MountChange) -> Sys<()> {
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    set_attributes(fd, path, recursive, attr)
}

/// mount_setattr(2) `MOUNT_ATTR_IDMAP`: the detached mount `fd` shows owners as the user namespace `map`
/// maps them: what is written as its id 0 belongs to the id that 0 stands for.
pub fn map_mount(fd: RawFd, recursive: bool, map: RawFd) -> Sys<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: map as u64,
    };
    set_attributes(fd, c"", recursive, attr)
}

fn set_attributes(fd: RawFd, path: &CStr, recursive: bool, attr: libc::mount_attr) -> Sys<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    syscall!(
        "mount_setattr",
        libc::SYS_mount_setattr,
        fd,
        path.as_ptr(),
        flags,
        &raw const attr,
        size_of::<libc::mount_attr>()
    )
    .map(drop)
}

/// What mount_setattr(2) is to change: MOUNT_ATTR_* to set and to clear, and one of MS_SHARED,
/// MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountChange {
    /// Attributes to add.
    pub set: u64,
    /// Attributes to take away.
    pub clear: u64,
    /// New propagation type, 0 to keep it.
    pub propagation: u64,
}

/// pivot_root(".", "."): the current directory becomes the root, and the old root lies over it.
pub fn pivot_root_here() -> Sys<()> {
    syscall!("pivot_root", libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()).map(drop)
}

/// umount2(2) with `MNT_DETACH`; a link at the end of `path` is not followed.
pub fn detach(path: &CStr) -> Sys<()> {
    let flags = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    syscall!("umount2", libc::SYS_umount2, path.as_ptr(), flags).map(drop)
}

/// chroot(2) into the current directory.
pub fn chroot_here() -> Sys<()> {
    syscall!("chroot", libc::SYS_chroot, c".".as_ptr()).map(drop)
}

// ---- network and terminal ------------------------------------------------------------------------

/// Brings the loopback interface up: ioctl(2) `SIOCSIFFLAGS`, netdevice(7).
pub fn loopback_up() -> Sys<()> {
    #[repr(C)]
    struct Ifreq {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let socket = syscall!(
        "socket",
        libc::SYS_socket,
        libc::AF_INET,
        libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
        0
    )?;
    let mut request =
        Ifreq { name: [0; libc::IFNAMSIZ], flags: libc::IFF_UP as libc::c_short, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    let done = syscall!(
        "ioctl(SIOCSIFFLAGS)",
        libc::SYS_ioctl,
        socket,
        libc::SIOCSIFFLAGS,
        &raw const request
    );
    close(socket as RawFd);
    done.map(drop)
}

/// unlockpt(3): ioctl(2) `TIOCSPTLCK` 0 on a pty master.
pub fn unlock_pty(master: RawFd) -> Sys<()> {
    let unlock: c_int = 0;
    syscall!("ioctl(TIOCSPTLCK)", libc::SYS_ioctl, master, libc::TIOCSPTLCK, &raw const unlock)
        .map(drop)
}

/// Takes ONLCR from a pty, termios(3): what a program writes comes out as it is.
pub fn leave_newlines(master: RawFd) -> Sys<()> {
    // SAFETY: plain data, for which zeros are a value.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: it lives across both calls.
    check("tcgetattr", unsafe { libc::tcgetattr(master, &raw mut termios) }.into())?;
    termios.c_oflag &= !libc::ONLCR;
    // SAFETY: see above.
    let set = unsafe { libc::tcsetattr(master, libc::TCSANOW, &raw const termios) };
    check("tcsetattr", set.into()).map(drop)
}

/// The terminal side of a pty master, by ioctl(2) `TIOCGPTPEER`: no path that could be swapped
/// (CVE-2025-52565).
pub fn pty_peer(master: RawFd) -> Sys<RawFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    syscall!("ioctl(TIOCGPTPEER)", libc::SYS_ioctl, master, libc::TIOCGPTPEER, flags)
        .map(|fd| fd as RawFd)
}

/// ioctl(2) `TIOCSCTTY`: `terminal` becomes the controlling terminal of this new session.
pub fn set_controlling_terminal(terminal: RawFd) -> Sys<()> {
    syscall!("ioctl(TIOCSCTTY)", libc::SYS_ioctl, terminal, libc::TIOCSCTTY, 0).map(drop)
}

/// ioctl(2) `TIOCSWINSZ`, in character cells.
pub fn set_winsize(terminal: RawFd, rows: u16, columns: u16) -> Sys<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    syscall!("ioctl(TIOCSWINSZ)", libc::SYS_ioctl, terminal, libc::TIOCSWINSZ, &raw const size)
        .map(drop)
}

/// sendmsg(2) of `bytes` with one descriptor as `SCM_RIGHTS`, unix(7).
pub fn send_with_fd(socket: RawFd, bytes: &[u8], fd: RawFd) -> Sys<()> {
    #[repr(C, align(8))]
    struct Control {
        header: libc::cmsghdr,
        fd: c_int,
    }
    // SAFETY: cmsghdr and msghdr are plain integers and pointers; zero is a valid empty state.
    let (mut control, mut message): (Control, libc::msghdr) = unsafe { std::mem::zeroed() };
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    // CMSG_LEN: the header and the descriptor, without trailing padding.
    control.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<c_int>()) as _;
    control.fd = fd;
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    syscall!("sendmsg", libc::SYS_sendmsg, socket, &raw const message, libc::MSG_NOSIGNAL).map(drop)
}

/// accept4(2): waits for the next connection. It is close-on-exec.
pub fn accept(listener: RawFd) -> Sys<RawFd> {
    let null = std::ptr::null::<u8>();
    syscall!("accept", libc::SYS_accept4, listener, null, null, libc::SOCK_CLOEXEC)
        .map(|fd| fd as RawFd)
}

/// faccessat2(2) of the effective ids with `X_OK`: could this process execute the file?
pub fn may_execute(path: &CStr) -> Sys<()> {
    let flags = libc::AT_EACCESS;
    let (dir, path) = (libc::AT_FDCWD, path.as_ptr());
    syscall!("faccessat2", libc::SYS_faccessat2, dir, path, libc::X_OK, flags).map(drop)
}

/// stat(2): is `path` a folder?
pub fn is_folder(path: &CStr) -> bool {
    openat2(libc::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY, 0, 0).map(close).is_ok()
}

/// poll(2) without waiting: has the other side of `socket` gone?
pub fn hung_up(socket: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives here.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Takes ownership of a descriptor number that a call has just returned.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a descriptor that was made for them and that nobody else closes.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Looks at a descriptor number without owning it; it must stay open while the answer is used.
pub fn borrow<'a>(fd: RawFd) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: callers own the descriptor or name a standard stream, and outlive the borrow.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

/// ioctl(2) `TIOCGWINSZ`: rows and columns; `None` where `fd` is no terminal.
pub fn winsize(fd: RawFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    syscall!("ioctl(TIOCGWINSZ)", libc::SYS_ioctl, fd, libc::TIOCGWINSZ, &raw mut size).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// PARENT. getxattr(2) of `security.capability`: would executing this file give capabilities?
pub fn has_file_capabilities(file: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
    let (name, null) = (c"security.capability", std::ptr::null_mut::<u8>());
    syscall!("getxattr", libc::SYS_getxattr, path.as_ptr(), name.as_ptr(), null, 0_usize).is_ok()
}

/// PARENT. fgetxattr(2): the value's bytes that fit into `buffer`; `None` where there is no such attribute.
pub fn fgetxattr<'a>(file: &OwnedFd, name: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let (fd, room) = (file.as_raw_fd(), buffer.len());
    let count =
        syscall!("fgetxattr", libc::SYS_fgetxattr, fd, name.as_ptr(), buffer.as_mut_ptr(), room);
    buffer.get(..usize::try_from(count.ok()?).ok()?)
}
