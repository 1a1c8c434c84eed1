//! The table of steps: everything that happens between `minibox run` and the program's first
//! instruction, in the order in which it happens.
//!
//! The enum's order *is* the order of execution. `--explain`, `--step`, error messages, injected
//! failures and docs/steps.md are all read from this one table.

use nix::errno::Errno;

/// Who takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that was called `minibox`.
    Parent,
    /// The process that becomes PID 1 of the container.
    Child,
}

/// What the table knows of a step.
#[derive(Debug)]
pub struct About {
    /// Short name, for `MINIBOX_FAIL_AT` and documentation links.
    pub name: &'static str,
    /// Who takes it.
    pub side: Side,
    /// What is done, as an infinitive: "mount /proc".
    pub title: &'static str,
    /// Why it is done at all, and why here.
    pub why: &'static str,
    /// Where to read on.
    pub man: &'static str,
    /// What usually lies behind a failure.
    pub causes: &'static [(Errno, &'static str)],
}

macro_rules! steps {
    ($($step:ident $name:literal $side:ident $title:literal $why:literal $man:literal
       [$($errno:ident => $cause:literal),* $(,)?])*) => {
        /// One step on the way from nothing to a running container.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Step { $(#[doc = $title] $step),* }

        impl Step {
            /// Every step, in the order of execution.
            pub const ALL: &'static [Step] = &[$(Step::$step),*];

            /// The row of the table.
            pub const fn about(self) -> &'static About {
                match self {
                    $(Step::$step => &About {
                        name: $name, side: Side::$side, title: $title, why: $why, man: $man,
                        causes: &[$((Errno::$errno, $cause)),*],
                    }),*
                }
            }
        }
    };
}

steps! {
    OpenRoot "open-root" Parent
        "open the root filesystem"
        "The folder that will be the container's `/` is looked at once, before anything is made, so that a wrong path costs nothing."
        "open(2), path_resolution(7)"
        [ENOENT => "there is no such folder", ENOTDIR => "this is a file, not a folder", EACCES => "you may not enter this folder, or one above it"]
    MakeCgroup "make-cgroup" Parent
        "make the cgroup and set its limits"
        "Limits, and the list of devices, must stand before the first instruction runs; a process moved in later would already have used what it must not."
        "cgroups(7)"
        [EACCES => "this user may not make cgroups here", EROFS => "cgroupfs is mounted read-only, as inside another container", EBUSY => "the parent cgroup holds processes itself, so it cannot hand controllers down", EINVAL => "the kernel refuses the value of a limit", EPERM => "the cgroup above denies a device that is to be allowed"]
    MapMounts "map-mounts" Parent
        "map the owners of mounts"
        "Where root makes a user namespace, the owners written on a filesystem mean other ids outside than inside. A mapped mount translates: what belongs to 0 on disk belongs to 0 inside. Only who rules the filesystem may do that, so it is done here and handed to the child."
        "mount_setattr(2) MOUNT_ATTR_IDMAP"
        [EINVAL => "this filesystem cannot map owners; ext4, xfs, btrfs, f2fs can, tmpfs since Linux 6.3, overlayfs and most network filesystems cannot", EPERM => "only root of the host may map owners, and none twice", ENOSYS => "this kernel is older than Linux 5.12, which minibox needs"]
    Clone "clone" Parent
        "make the process, with its namespaces"
        "One clone3(2) makes the new process and gives it its own view of process ids, mounts, network, names and message queues. From here on there are two processes."
        "clone3(2), namespaces(7)"
        [EPERM => "making namespaces needs root or a user namespace", ENOSPC => "too many namespaces: see /proc/sys/user/max_*_namespaces", EUSERS => "user namespaces are nested too deeply, or none may be made: see /proc/sys/user/max_user_namespaces", ENOSYS => "this kernel is older than Linux 5.12, which minibox needs", EINVAL => "this kernel lacks one of the namespaces", EAGAIN => "a limit on processes is reached: ulimit -u, or pids.max of this cgroup", ENOMEM => "the kernel has no memory or process id left", EACCES => "a security module forbids user namespaces to this program", EBUSY => "the cgroup cannot take processes: it hands controllers down"]
    MapIds "map-ids" Parent
        "map user and group ids"
        "A new user namespace knows no ids: until this is written everyone inside is nobody. Only the parent may map more than one id."
        "user_namespaces(7), newuidmap(1)"
        [EPERM => "the ids are not this user's to map: see /etc/subuid and /etc/subgid", EINVAL => "the map overlaps itself or names an id the caller does not have"]
    NetDevices "net-devices" Parent
        "move network devices into the container"
        "A device of the host's belongs to one network namespace at a time, and only who rules the one it leaves may send it away. Its addresses do not travel with it, so they are given to it anew."
        "rtnetlink(7), network_namespaces(7)"
        [ENODEV => "this host has no network device of that name", EEXIST => "the container has a device of that name already", EPERM => "only root of the host may give its devices away", EINVAL => "the kernel does not let this kind of device leave its namespace", EOPNOTSUPP => "the kernel does not let this kind of device leave its namespace"]
    Release "release" Child
        "wait until the parent has finished its part"
        "The child may go on only once its ids mean something. From here on it dies with its parent where nobody else would look after it."
        "socketpair(2), PR_SET_PDEATHSIG(2const)"
        []
    Setsid "setsid" Child
        "leave the caller's session"
        "A new session has no controlling terminal, so nothing in the container can type into yours, and Ctrl-C reaches the container only as a signal that minibox forwards."
        "setsid(2), credentials(7)"
        []
    Keyring "keyring" Child
        "take a new session keyring"
        "Keys held by the caller's session (Kerberos tickets, disk keys) are in no namespace: without this the container inherits them."
        "keyctl(2), session-keyring(7)"
        []
    OomScore "oom-score" Child
        "set how expendable it is when memory runs out"
        "While it may still write about itself in the host's /proc."
        "proc_pid_oom_score_adj(5)"
        [EACCES => "lowering the value below the caller's needs CAP_SYS_RESOURCE", EPERM => "lowering the value below the caller's needs CAP_SYS_RESOURCE", EINVAL => "the value must lie between -1000 and 1000"]
    Label "label" Child
        "name the security profile of the program"
        "An AppArmor profile or an SELinux label, which the kernel puts on at the next execve(2). Written as early, for it is the host's /proc that takes it."
        "proc_pid_attr(5), apparmor(7)"
        [ENOENT => "no profile of this name is loaded: `sudo aa-status` lists them, `sudo apparmor_parser -r FILE` loads one", EINVAL => "the loaded policy has no such label", EACCES => "what confines minibox itself does not let it change to this", EPERM => "what confines minibox itself does not let it change to this"]
    EnterCgroup "enter-cgroup" Child
        "enter the cgroup, then hide the ones above it"
        "The process moves itself, since a process may always move itself cheaply. The cgroup namespace comes after, because its root is wherever the process is when it is made."
        "cgroups(7), cgroup_namespaces(7)"
        [ENOSPC => "the cpuset of the parent cgroup is empty", EBUSY => "the cgroup hands controllers down and so takes no processes"]
    TimeNamespace "time-namespace" Child
        "take clocks of its own"
        "A time namespace: how long the machine has been up may be counted from elsewhere. Its offsets can be written only until somebody is in it, so it is made first, then they are written, then it is entered; by the host's /proc, and before the ids change."
        "time_namespaces(7), unshare(2), setns(2)"
        [EPERM => "making one needs root or a user namespace, and offsets CAP_SYS_TIME there", EACCES => "offsets need CAP_SYS_TIME", ERANGE => "the clock would stand before the machine's start, or too far in the future", EINVAL => "this kernel has no time namespaces", ENOENT => "this kernel has no time namespaces"]
    Join "join" Child
        "join namespaces of another container"
        "`exec` takes this one step instead of making anything, and a container that shares a namespace takes it for that one: every later step then happens inside. Hidden from ptrace(2) first, since processes in there can see it from here on. Where a user namespace is joined, or a container shares any, a process in between does it, first of all."
        "setns(2), pidfd_open(2)"
        [ESRCH => "the container has just ended", ENOENT => "the process whose namespace it is has ended", ENOTTY => "this file is no namespace", EACCES => "the namespace belongs to another user's process", EPERM => "the namespace belongs to a user namespace in which this process has no power", EINVAL => "the namespace is no descendant of this process's own, or this kernel cannot join by pidfd (before Linux 5.8)"]
    BecomeRoot "become-root" Child
        "become root of the user namespace"
        "Mapped or not, the process still carries the caller's ids; inside its own user namespace it may now take id 0, which has power there and nowhere else."
        "setresuid(2), user_namespaces(7)"
        [EINVAL => "id 0 is not in the map"]
    PrivateMounts "private-mounts" Child
        "cut the mounts off from the host's"
        "The mount namespace is a copy, but shared mounts would still pass changes on in both directions. It comes before the first mount, and pivot_root(2) demands it. They still hear of the host's, for volumes that are meant to."
        "mount_namespaces(7), mount_setattr(2)"
        [ENOSYS => "this kernel is older than Linux 5.12, which minibox needs"]
    Hooks "hooks" Child
        "let the hooks do their part"
        "Only for engines, whose config.json may name programs of the host that add to a container: the namespaces exist, and nothing of the root has been taken yet, so what a hook mounts there is taken too."
        "runtime-spec, config.md#posix-platform-hooks"
        []
    TakeRoot "take-root" Child
        "take the root filesystem as a mount"
        "pivot_root(2) wants a mount, not a folder. An overlay shows the folder as it is and catches every change in a layer of the container's own."
        "fsopen(2), open_tree(2), overlayfs"
        [EINVAL => "the kernel refuses these layers: the layer's folder may lie on a filesystem that cannot hold one (overlayfs, NFS), or mounts lie below the folder that this user may not leave out", ENODEV => "this kernel has no overlay filesystem: modprobe overlay", EPERM => "this kernel (before 5.11) lets no plain user mount an overlay, or a security module forbids it", EACCES => "a security module forbids mounting here, or a folder above the root may not be entered", ENOENT => "the folder vanished in the meantime"]
    TakeMounts "take-mounts" Child
        "take everything else as detached mounts"
        "All that comes from the host, volumes and fresh filesystems, is opened while the host can still be seen, and attached to nothing yet."
        "open_tree(2), fsmount(2)"
        [ENOENT => "there is no such file or folder on this host", EPERM => "the kernel refuses this mount inside a user namespace; for /proc and /sys that means parts of the host's own are hidden, as inside another container", ENODEV => "this kernel does not know this filesystem type", EINVAL => "an option of this mount is wrong, or mounts lie below the source that this user may not leave out (add rbind)", EACCES => "this user may not reach the source"]
    PivotRoot "pivot-root" Child
        "swap the root, and let the old one go"
        "Now `/` is the container's and the host's filesystem is nowhere: no link, no `..`, no race in the container's files can lead back to it. That is why everything after this step may use paths."
        "pivot_root(2), umount2(2)"
        [EINVAL => "the current root is the initial ramdisk's, which cannot be swapped: switch_root(8) first, or give minibox-oci --no-pivot", EPERM => "pivot_root(2) is forbidden by a seccomp filter or security module"]
    AttachMounts "attach-mounts" Child
        "attach the mounts, each at its place"
        "Only now, inside the new root: a link in the container's files can at worst lead to another of its files. /proc, /sys and /dev must be real folders."
        "move_mount(2), openat2(2)"
        [ELOOP => "the place is a symbolic link, which is not allowed for /proc, /sys and /dev", ENOTDIR => "the place is a file, but a folder is to be mounted", EINVAL => "a file can be mounted only on a file, and a folder only on a folder", EACCES => "the place does not exist and may not be made", EOVERFLOW => "the place belongs to an id that is not mapped into the container", EROFS => "the place does not exist and the filesystem is read-only", ENOSPC => "the disk under the container's layer is full"]
    Devices "devices" Child
        "fill /dev"
        "Six harmless nodes, a few links, and what was asked for of the host's devices. They come after /dev is mounted and before anything is masked with /dev/null."
        "mknod(2), null(4), random(4), pts(4)"
        [EPERM => "this process may not make device nodes", EEXIST => "the root filesystem brings something else under this name"]
    Hostname "hostname" Child
        "set the host name"
        "It has its own uts namespace, so this renames the container and not the computer."
        "sethostname(2), uts_namespaces(7)"
        [EINVAL => "the name is longer than 64 bytes"]
    Loopback "loopback" Child
        "switch the loopback interface on"
        "A new network namespace holds one interface, lo, and it is down."
        "netdevice(7), network_namespaces(7)"
        []
    Sysctls "sysctls" Child
        "set kernel parameters of the namespaces"
        "Only parameters that a namespace has its own copy of. Before /proc/sys becomes read-only."
        "proc(5), sysctl(8)"
        [ENOENT => "this kernel has no such parameter", EACCES => "the parameter belongs to a namespace that the container shares with the host", EINVAL => "the kernel refuses this value", EPERM => "the parameter belongs to a namespace that the container shares with the host"]
    Console "console" Child
        "open the container's own terminal"
        "The pty is made in the container's /dev/pts, so that its name is true inside, and its other end is handed to minibox. The caller's terminal stays outside."
        "pty(7), pts(4), TIOCGPTPEER(2const)"
        [EIO => "the pty's other side is gone", ENOSPC => "no pty is left: see /proc/sys/kernel/pty/max"]
    HidePaths "hide-paths" Child
        "make kernel files read-only, mask others"
        "/proc and /sys are windows into the one kernel that all containers share; root in the container must not turn its knobs or read its memory."
        "proc(5), mount_setattr(2)"
        []
    ReadonlyRoot "readonly-root" Child
        "make the root read-only, or shared"
        "Last of the mounts: until here places to mount on may have to be made, and what is attached to a shared mount would be shared too."
        "mount_setattr(2)"
        []
    Scheduling "scheduling" Child
        "set how the kernel runs it"
        "Its scheduler, its turn at the disk, the memory it is given and the machine it sees. Before the ids change, since a better place than the caller's needs privilege."
        "sched_setattr(2), ioprio_set(2), set_mempolicy(2), personality(2)"
        [EPERM => "a better place than the caller's needs CAP_SYS_NICE; a real-time one also a cgroup with real-time left to give; with SCHED_DEADLINE a process scheduler can't be used together with AllowedCPUs, linux.resources.cpu.cpus", EINVAL => "the kernel refuses these values, or one that belongs to another policy", EBUSY => "the processors have no such time left"]
    Rlimits "rlimits" Child
        "set resource limits of the process"
        "Before the ids change, since raising a hard limit needs privilege."
        "prlimit(2)"
        [EPERM => "a hard limit may be raised only with CAP_SYS_RESOURCE", EINVAL => "the soft limit is above the hard limit"]
    BoundCapabilities "bound-capabilities" Child
        "drop what no program may ever regain"
        "The bounding set caps what even a setuid-root program could get. Before the ids change, since dropping needs CAP_SETPCAP."
        "capabilities(7)"
        []
    User "user" Child
        "become the container's user"
        "Groups first, then gid, then uid: each needs a privilege that the next one gives away."
        "setgroups(2), setresgid(2), setresuid(2)"
        [EINVAL => "this id is not mapped into the container's user namespace", EPERM => "changing groups is forbidden in a user namespace with a single id"]
    Capabilities "capabilities" Child
        "keep only the granted capabilities"
        "After the ids change, since that clears the sets, and before the program, which must start with exactly these."
        "capset(2), capabilities(7)"
        [EPERM => "a capability is asked for that this process does not have itself"]
    Stdio "stdio" Child
        "put standard input, output and error in place"
        "And every other descriptor is closed, before any path is followed for the last time: /proc/self/fd must lead nowhere."
        "dup2(2), close_range(2)"
        []
    Workdir "workdir" Child
        "enter the working directory"
        "As the container's user, who must be able to enter it; the kernel is then asked whether we are really inside the root."
        "chdir(2), getcwd(3)"
        [ENOENT => "there is no such folder in the container", EACCES => "the container's user may not enter it", ENOTDIR => "it is not a folder"]
    NoNewPrivileges "no-new-privileges" Child
        "forbid gaining privileges"
        "From here on setuid and file-capability bits have no effect, in this process and all it starts."
        "PR_SET_NO_NEW_PRIVS(2const)"
        []
    Guard "guard" Child
        "tie its life to the parent's"
        "The kernel forgets this wish whenever ids or capabilities change, so it is made once more at the end, and the parent is checked to be there still."
        "PR_SET_PDEATHSIG(2const)"
        []
    Gate "gate" Child
        "wait to be started"
        "Only for engines, which make a container with one command and start it with another: everything is done but the filter and the last call, and whoever made it may go."
        "unix(7), runtime-spec, runtime.md#lifecycle"
        []
    Seccomp "seccomp" Child
        "filter system calls"
        "From here on the kernel asks a small program about every call, before anything else of it is looked at. So late because minibox's own calls are then filtered too. Without no_new_privs only CAP_SYS_ADMIN may do this, and is kept until here."
        "seccomp(2)"
        [EACCES => "without no_new_privs a filter needs CAP_SYS_ADMIN", EINVAL => "this kernel was built without CONFIG_SECCOMP_FILTER, or does not know a flag: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs Linux 5.19", ENOSYS => "this kernel has no seccomp", ENOMEM => "all filters of this process together are too long", EBUSY => "minibox itself runs under a filter with an agent, and there can be but one", EPERM => "the filter refuses what minibox itself must still do: capset, sendmsg"]
    Init "init" Child
        "stay as a small init, with the program as a child"
        "Only with `--init`. PID 1 must collect orphans and gets no signal it has no handler for; most programs expect neither. Here, because whoever starts the program should be as confined as the program."
        "fork(2), waitid(2), pid_namespaces(7)"
        [EAGAIN => "a limit on processes is reached: --pids-limit must leave room for two"]
    Exec "exec" Child
        "become the program"
        "The process stays, with its PID, namespaces and limits; its memory is replaced by the program's: code, data, heap and stack begin anew."
        "execve(2)"
        [ENOENT => "there is no such program in the container, or the interpreter it names is missing", EACCES => "the file is not executable for this user", ENOEXEC => "this is not a program the kernel can run: another architecture, or a script without #!", E2BIG => "arguments and environment are too long together", ENOMEM => "the memory limit leaves no room for the program", EPERM => "a security module forbids it", ELOOP => "too many symbolic links", ENOTDIR => "a part of the path is not a folder", EISDIR => "the path is a folder", EINVAL => "the program's file is broken"]
}

impl Step {
    /// The step with number `number` (its place in [`Step::ALL`]).
    pub fn from_number(number: u8) -> Option<Step> {
        Step::ALL.get(usize::from(number)).copied()
    }

    /// The step called `name` in the table.
    pub fn from_name(name: &str) -> Option<Step> {
        Step::ALL.iter().copied().find(|step| step.about().name == name)
    }

    /// What usually lies behind `errno` at this step.
    pub fn cause(self, errno: Errno) -> Option<&'static str> {
        self.about().causes.iter().find(|(e, _)| *e == errno).map(|(_, cause)| *cause)
    }
}

/// docs/steps.md: the whole table as Markdown.
pub fn to_markdown() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# The steps of a run\n\nMade from the step table by `make docs`; do not edit. `minibox run --explain` prints them with the actual calls,\n`--step` halts before each of the child's.\n\n| # | who | step | why here | read |\n|---|---|---|---|---|\n",
    );
    for (number, step) in Step::ALL.iter().enumerate() {
        let about = step.about();
        let side = if about.side == Side::Parent { "parent" } else { "child" };
        let _ = writeln!(
            text,
            "| {} | {side} | **{}**: {} | {} | {} |",
            number + 1,
            about.name,
            about.title,
            about.why,
            about.man
        );
    }
    text.push_str("\n## When a step fails\n\n| step | errno | usual cause |\n|---|---|---|\n");
    for step in Step::ALL {
        for (errno, cause) in step.about().causes {
            let _ = writeln!(text, "| {} | {errno:?} | {cause} |", step.about().name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_numbers_and_names_agree() {
        for (number, step) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, number);
            assert_eq!(Step::from_number(number as u8), Some(*step));
            assert_eq!(Step::from_name(step.about().name), Some(*step));
        }
        assert!(Step::from_number(Step::ALL.len() as u8).is_none());
    }

    #[test]
    fn the_parent_is_done_before_the_child_begins() {
        let first_child = Step::ALL.iter().position(|s| s.about().side == Side::Child).unwrap();
        assert!(Step::ALL[first_child..].iter().all(|s| s.about().side == Side::Child));
    }
}
