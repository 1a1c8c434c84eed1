//! Puts a step into words: the call with its actual arguments, and what a failure means.
//!
//! Only the parent does this, from the same [`Plan`] that the child carries out.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::error::{Blame, Error};
use crate::hints;
use crate::line::Message;
use crate::mounts::{MappedMount, MountPlan, Source};
use crate::namespaces::clone_names;
use crate::plan::{JoinPlan, Plan};
use crate::process::{NOT_FOUND, ProcessPlan};
use crate::root::RootMount;
use crate::step::Step;
use crate::sys::{Fault, MountChange};

/// Whose steps are told: a new container's, or a joining process's.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A new container.
    Container(&'a Plan),
    /// A process that joins one.
    Join(&'a JoinPlan),
}

impl Subject<'_> {
    /// The program.
    pub fn process(&self) -> &ProcessPlan {
        match self {
            Subject::Container(plan) => &plan.process,
            Subject::Join(plan) => &plan.process,
        }
    }

    /// The child waits at first, until the parent has done its part.
    pub fn waits_for_parent(&self) -> bool {
        match self {
            Subject::Container(plan) => plan.waits_for_parent(),
            Subject::Join(plan) => plan.usher.is_some(),
        }
    }
}

fn text(string: &CStr) -> String {
    string.to_string_lossy().into_owned()
}

fn quoted(string: &CStr) -> String {
    format!("{:?}", text(string))
}

/// A list of strings, at most some 200 letters of it: arguments may be a megabyte long.
fn list(strings: &[CString]) -> String {
    let mut text = String::from("[");
    for (index, string) in strings.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        if text.len() > 160 {
            return format!("{text}{comma}… {} in all]", strings.len());
        }
        let word = self::text(string);
        let short: String = word.chars().take(48).collect();
        let cut = if short.len() < word.len() {
            format!("… ({} bytes)", word.len())
        } else {
            String::new()
        };
        let _ = write!(text, "{comma}{short:?}{cut}");
    }
    text + "]"
}

/// The words of mount(8) for attributes.
fn attributes(change: MountChange) -> String {
    let words = [
        (libc::MOUNT_ATTR_RDONLY, "ro"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid"),
        (libc::MOUNT_ATTR_NODEV, "nodev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec"),
        (libc::MOUNT_ATTR_NOATIME, "noatime"),
        (libc::MOUNT_ATTR_STRICTATIME, "strictatime"),
    ];
    let set: Vec<&str> =
        words.iter().filter(|(bit, _)| change.set & bit != 0).map(|(_, word)| *word).collect();
    if set.is_empty() { String::from("rw") } else { set.join(",") }
}

/// The name of a propagation type.
fn propagation(kind: u64) -> Option<&'static str> {
    match kind {
        libc::MS_SHARED => Some("MS_SHARED"),
        libc::MS_UNBINDABLE => Some("MS_UNBINDABLE"),
        _ => None,
    }
}

fn options(pairs: &[(CString, Option<CString>)]) -> String {
    let pair = |(key, value): &(CString, Option<CString>)| match value {
        Some(value) => format!("{}={}", text(key), text(value)),
        None => text(key),
    };
    pairs
        .iter()
        .filter(|(key, _)| key.as_c_str() != c"source")
        .map(pair)
        .collect::<Vec<_>>()
        .join(",")
}

impl MountPlan {
    /// What is mounted, in a few words: `proc`, `tmpfs`, `/home/me/data`.
    pub fn source_name(&self) -> String {
        match &self.source {
            Source::Fresh { fstype, .. } => text(fstype),
            Source::Bind { path, .. }
            | Source::Mapped(MappedMount { path, .. })
            | Source::Opened(MappedMount { path, .. })
            | Source::Inside { path, .. }
            | Source::OfProcess { path, .. } => text(path),
            Source::Place => String::from("what is there"),
        }
    }

    /// The nearest mount(8) command, without the target.
    pub fn as_mount_command(&self) -> (String, Vec<String>) {
        match &self.source {
            Source::Fresh { fstype, options: pairs } => {
                let data = options(pairs);
                let comma = if data.is_empty() { "" } else { "," };
                let all = format!("{}{comma}{data}", attributes(self.change));
                (text(fstype), vec![String::from("-t"), text(fstype), String::from("-o"), all])
            }
            Source::Bind { path, recursive }
            | Source::Mapped(MappedMount { path, recursive, .. })
            | Source::Opened(MappedMount { path, recursive, .. }) => {
                let word = if *recursive { "--rbind" } else { "--bind" };
                (text(path), vec![String::from(word)])
            }
            Source::Inside { path, .. } | Source::OfProcess { path, .. } => {
                (text(path), vec![String::from("--bind")])
            }
            Source::Place => {
                let words = format!("remount,bind,{}", attributes(self.change));
                (text(&self.place.path), vec![String::from("-o"), words])
            }
        }
    }

    /// The option that fsconfig(2) has refused.
    fn refused_option(&self, message: &Message) -> Option<String> {
        match &self.source {
            Source::Fresh { options: pairs, .. } if message.call() == "fsconfig" => {
                pairs.get(message.value as usize).map(|pair| options(std::slice::from_ref(pair)))
            }
            _ => None,
        }
    }

    /// Is it a bind that becomes read-only?
    pub fn is_readonly_bind(&self) -> bool {
        !matches!(self.source, Source::Fresh { .. })
            && (self.change.set | self.below.set) & libc::MOUNT_ATTR_RDONLY != 0
    }
}

fn take(mount: &MountPlan) -> String {
    match &mount.source {
        Source::Fresh { fstype, options: pairs } => {
            format!(
                "fsmount({}, {:?}, {})",
                quoted(fstype),
                options(pairs),
                attributes(mount.change)
            )
        }
        Source::Bind { path, recursive } => {
            let flags = if *recursive { "OPEN_TREE_CLONE|AT_RECURSIVE" } else { "OPEN_TREE_CLONE" };
            format!(
                "open_tree({}, {flags}); mount_setattr({})",
                quoted(path),
                attributes(mount.change)
            )
        }
        Source::Mapped(mapped) | Source::Opened(mapped) => {
            format!("mount_setattr({}, {})", quoted(&mapped.path), attributes(mount.change))
        }
        Source::OfProcess { path, .. } => {
            format!("setns(its mount namespace); open_tree({}); setns(back)", quoted(path))
        }
        Source::Inside { .. } => String::from("nothing: it is in the new root"),
        Source::Place => String::from("nothing: it is changed where it is"),
    }
}

/// The call of item `index` of `step`, with its arguments.
pub fn call(subject: Subject<'_>, step: Step, index: usize) -> String {
    match subject {
        Subject::Container(plan) => call_of_container(plan, step, index),
        Subject::Join(plan) => call_of_join(plan, step),
    }
}

fn call_of_join(plan: &JoinPlan, step: Step) -> String {
    match step {
        Step::Join => format!("setns(pidfd, {})", clone_names(plan.namespaces as u64).join("|")),
        Step::EnterCgroup => plan
            .doors
            .iter()
            .map(|d| format!("write({}, \"0\")", quoted(d)))
            .collect::<Vec<_>>()
            .join("; "),
        Step::Clone => String::from("clone3()"),
        step => call_of_process(&plan.process, step, 0),
    }
}

fn call_of_container(plan: &Plan, step: Step, index: usize) -> String {
    match step {
        Step::OpenRoot => format!("open({}, O_PATH|O_DIRECTORY)", quoted(&plan.root.lower)),
        Step::MakeCgroup => {
            let path = plan.cgroup.as_ref().map_or("", |c| &c.path);
            format!("mkdir(\"{path}\") in each hierarchy, then write its limits and device list")
        }
        Step::MapMounts => {
            let names: Vec<String> = plan.mapped().map(|mapped| text(&mapped.path)).collect();
            format!("mount_setattr({}, MOUNT_ATTR_IDMAP)", names.join(" "))
        }
        Step::Clone => {
            let mut flags = clone_names(plan.clone_flags);
            if plan.joins.is_empty() {
                return format!("clone3({})", flags.join("|"));
            }
            flags.push("CLONE_PARENT");
            format!("clone3(), and there, after joining, clone3({})", flags.join("|"))
        }
        Step::Join => plan.joins.get(index).map_or(String::new(), |join| {
            let path = join.path.display().to_string();
            format!("setns({path:?}, {})", clone_names(join.flag as u64).join("|"))
        }),
        Step::MapIds => plan.id_map.as_ref().map_or(String::new(), |map| {
            let ranges: Vec<String> =
                map.uids.iter().map(|r| format!("{} {} {}", r.inside, r.outside, r.size)).collect();
            format!(
                "write(\"/proc/PID/uid_map\", {:?}), and the same for gid_map",
                ranges.join("; ")
            )
        }),
        Step::NetDevices => {
            let moved = plan.net_devices.iter().map(|d| format!("{} as {}", d.name, d.inside));
            format!("RTM_NEWLINK({}, IFLA_NET_NS_FD)", moved.collect::<Vec<_>>().join(", "))
        }
        Step::Release if plan.waits_for_parent() => String::from("read(line)"),
        Step::EnterCgroup => {
            let doors = plan.cgroup_doors.len();
            let enter = if doors > 0 {
                format!("write(\"…/tasks\", \"0\") × {doors}; ")
            } else {
                String::new()
            };
            let unshare = if plan.new_cgroup_namespace { "unshare(CLONE_NEWCGROUP)" } else { "" };
            format!("{enter}{unshare}")
        }
        Step::TimeNamespace => {
            let offsets = plan.new_time_namespace.as_deref().unwrap_or_default();
            let offsets = String::from_utf8_lossy(offsets);
            format!(
                "unshare(CLONE_NEWTIME); write(\"/proc/self/timens_offsets\", {offsets:?}); setns(CLONE_NEWTIME)"
            )
        }
        Step::PrivateMounts => String::from("mount_setattr(\"/\", AT_RECURSIVE, MS_SLAVE)"),
        Step::TakeRoot => match &plan.root.mount {
            RootMount::Overlay { options: pairs, .. } => {
                format!("fsmount(\"overlay\", {:?})", options(pairs))
            }
            RootMount::Folder { .. } => {
                format!("open_tree({}, OPEN_TREE_CLONE)", quoted(&plan.root.lower))
            }
        },
        Step::TakeMounts => plan.mounts.get(index).map_or(String::new(), take),
        Step::PivotRoot if plan.root.laid_over.is_some() => String::from(
            "move_mount(the root, \"/\"); umount2(/proc and /sys of the host, MNT_DETACH); chroot(\".\")",
        ),
        Step::PivotRoot => format!(
            "move_mount(the root, {}); pivot_root(\".\", \".\"); umount2(\".\", MNT_DETACH)",
            quoted(&plan.root.attach_at)
        ),
        Step::AttachMounts => match plan.mounts.get(index) {
            Some(m) => format!("move_mount({}, {})", m.source_name(), quoted(&m.place.path)),
            None => format!("mkdir({}), where it is missing", quoted(&plan.process.cwd)),
        },
        Step::Devices if index == 1 => {
            let names: Vec<String> = plan.devices.iter().map(|node| text(node.path())).collect();
            format!("mknodat({})", names.join(" "))
        }
        Step::Devices => String::from("symlinkat(\"/dev\", fd stdin stdout stderr ptmx)"),
        Step::Hostname if index == 0 => {
            format!("sethostname({})", plan.hostname.as_deref().map(quoted).unwrap_or_default())
        }
        Step::Hostname => {
            format!("setdomainname({})", plan.domainname.as_deref().map(quoted).unwrap_or_default())
        }
        Step::Sysctls => plan.sysctls.get(index).map_or(String::new(), |(path, value)| {
            format!("write(\"/proc/{}\", {})", text(path), quoted(value))
        }),
        Step::Console if index == 1 => String::from("move_mount(the terminal, \"/dev/console\")"),
        Step::HidePaths => hide_path(plan, index),
        Step::ReadonlyRoot => plan.at_last.get(index).map_or(String::new(), |(path, change)| {
            let what = propagation(change.propagation).unwrap_or("MOUNT_ATTR_RDONLY");
            format!("mount_setattr({}, {what})", quoted(path))
        }),
        step => call_of_process(&plan.process, step, index),
    }
}

fn hide_path(plan: &Plan, index: usize) -> String {
    let readonly = plan.readonly_paths.len();
    match plan.readonly_paths.get(index) {
        Some(path) => format!("mount_setattr({}, MOUNT_ATTR_RDONLY)", quoted(path)),
        None => plan
            .masked_paths
            .get(index - readonly)
            .map_or(String::new(), |p| format!("move_mount(nothing, {})", quoted(p))),
    }
}

fn call_of_process(process: &ProcessPlan, step: Step, index: usize) -> String {
    match step {
        Step::Release | Step::Guard => String::from("prctl(PR_SET_PDEATHSIG, SIGKILL)"),
        Step::BecomeRoot => String::from("setresgid(0, 0, 0); setresuid(0, 0, 0)"),
        Step::Setsid => String::from(
            "close_range(…) of all that is not needed; sigaction(…, SIG_DFL); setsid()",
        ),
        Step::Keyring => String::from("keyctl(KEYCTL_JOIN_SESSION_KEYRING)"),
        Step::Loopback => String::from("ioctl(SIOCSIFFLAGS, lo, IFF_UP)"),
        Step::Console => {
            String::from("open(\"/dev/pts/ptmx\"); ioctl(TIOCGPTPEER); ioctl(TIOCSCTTY)")
        }
        Step::Scheduling => {
            process.habits.get(index).map_or(String::new(), std::string::ToString::to_string)
        }
        Step::Rlimits => {
            process.rlimits.get(index).map_or(String::new(), std::string::ToString::to_string)
        }
        Step::BoundCapabilities => {
            let kept = (0..=process.capabilities.last)
                .filter(|cap| process.capabilities.bounding & (1 << cap) != 0)
                .count();
            format!("prctl(PR_CAPBSET_DROP, …), all but {kept}")
        }
        Step::User => {
            let groups =
                process.groups.as_ref().map_or(String::new(), |g| format!("setgroups({g:?}); "));
            format!(
                "{groups}setresgid({gid}); setresuid({uid})",
                gid = process.gid,
                uid = process.uid
            )
        }
        Step::Capabilities => {
            let set = process.capabilities;
            format!(
                "capset(effective {:#x}, permitted {:#x}, inheritable {:#x})",
                set.effective, set.permitted, set.inheritable
            )
        }
        Step::Workdir => format!("chdir({})", quoted(&process.cwd)),
        Step::NoNewPrivileges => String::from("prctl(PR_SET_NO_NEW_PRIVS, 1)"),
        Step::Seccomp => process.seccomp.as_ref().map_or_else(String::new, |filter| {
            let (flags, length) = (filter.flags, filter.program.len());
            format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {length} instructions)")
        }),
        Step::OomScore => format!(
            "write(\"/proc/self/oom_score_adj\", {})",
            process.oom_score_adj.as_deref().map(quoted).unwrap_or_default()
        ),
        Step::Label => process.labels.get(index).map_or_else(String::new, |label| {
            format!("write({}, {})", quoted(&label.file), quoted(&label.word))
        }),
        Step::Init => String::from("clone(SIGCHLD); setpgid(0, 0)"),
        Step::Hooks => String::from("read(line)"),
        Step::Gate => String::from("accept(gate)"),
        Step::Stdio => String::from("dup3(…, 0); dup3(…, 1); dup3(…, 2)"),
        Step::Exec => {
            format!("execve({}, {})", program(process, index), list(process.argv.strings()))
        }
        _ => String::new(),
    }
}

/// The path that is executed; where several are tried, `index` is the one that failed.
fn program(process: &ProcessPlan, index: usize) -> String {
    match (process.candidates.as_slice(), process.argv.strings().first()) {
        ([_, _, ..], Some(name)) if index == 0 => format!("the first {} of PATH", quoted(name)),
        (candidates, _) => candidates.get(index).map(|path| quoted(path)).unwrap_or_default(),
    }
}

/// clone3 itself failed.
pub fn clone_failed(plan: &Plan, fault: Fault) -> Error {
    let error = Error::new("cannot make a process with namespaces of its own")
        .step(Step::Clone)
        .call(call(Subject::Container(plan), Step::Clone, 0))
        .errno(fault.errno);
    match hints::user_namespaces(fault.errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A mount could not be mapped.
pub fn map_failed(path: &CStr, fault: Fault) -> Error {
    Error::new(format!("cannot map the owners of {}", text(path)))
        .step(Step::MapMounts)
        .call(format!("{}({}, MOUNT_ATTR_IDMAP)", fault.call, quoted(path)))
        .errno(fault.errno)
        .hint("without a user namespace of its own (--userns host) the container needs no map")
}

/// What a report of failure by the child `pid` means; that child is still there.
pub fn failure(subject: Subject<'_>, message: &Message, pid: i32) -> Error {
    let (step, index, errno) = (message.step, usize::from(message.index), message.errno);
    let process = subject.process();
    if step == Step::Exec {
        // As the child sees it, volumes included; where it may not be looked into, the bare folder.
        let bare = match subject {
            Subject::Container(plan) => plan.root.folder.try_clone().ok(),
            Subject::Join(plan) => hints::root_of(plan.pid),
        };
        let lack = bare.as_ref().and_then(|folder| {
            let is_empty = hints::is_empty_folder(folder).then_some("is empty");
            is_empty.or(hints::has_no_programs(folder).then_some("holds no programs"))
        });
        let root = hints::root_of(pid).or(bare);
        return exec_failed(process, root.as_ref(), lack, message);
    }
    if let (Step::Clone, Subject::Container(plan)) = (step, subject) {
        return clone_failed(plan, Fault::new("clone3", errno));
    }
    let described = call(subject, step, index);
    let failed = message.call();
    let call =
        if described.starts_with(failed) { described } else { format!("{failed}, in {described}") };
    let what = match (subject, step) {
        (Subject::Container(plan), Step::TakeMounts | Step::AttachMounts)
            if index < plan.mounts.len() =>
        {
            let mount = &plan.mounts[index];
            let (source, place) = (mount.source_name(), text(&mount.place.path));
            match mount.refused_option(message) {
                None => format!("cannot mount {source} on {place}"),
                Some(option) => {
                    format!(
                        "cannot mount {source} on {place}: it does not take the option {option:?}"
                    )
                }
            }
        }
        (Subject::Container(plan), Step::Join) if index < plan.joins.len() => {
            let join = &plan.joins[index];
            format!("cannot join the {} namespace {}", join.kind, join.path.display())
        }
        (_, Step::OomScore) => {
            let score = process.oom_score_adj.as_deref().map(text).unwrap_or_default();
            format!("cannot set oom_score_adj to {score}")
        }
        (_, Step::Workdir) => format!("cannot enter the working directory {}", text(&process.cwd)),
        _ => format!("cannot {}", step.about().title),
    };
    let error = Error::new(what).step(step).call(call).errno(errno);
    let hint = match subject {
        Subject::Container(plan) => hints::step_failed(plan, step, index, errno),
        Subject::Join(_) => hints::of_step(step, errno),
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn exec_failed(
    process: &ProcessPlan,
    root: Option<&OwnedFd>,
    lack: Option<&str>,
    message: &Message,
) -> Error {
    let name = process.argv.strings().first().map(|s| text(s)).unwrap_or_default();
    let index = usize::from(message.index);
    if message.call() == NOT_FOUND {
        let looked: Vec<String> = process
            .candidates
            .iter()
            .filter_map(|c| text(c).strip_suffix(&format!("/{name}")).map(str::to_owned))
            .map(|folder| if folder.is_empty() { String::from("/") } else { folder })
            .collect();
        let error = Error::new(format!("executable file not found: {name:?}"))
            .step(Step::Exec)
            .blame(Blame::NotFound);
        return error.errno(Errno::ENOENT).hint(if let Some(lack) = lack {
            format!("the root filesystem {lack}: fill it first, e.g. with `make rootfs`")
        } else if name.contains('/') {
            String::from(
                "the path is the container's own; look what there is with `ls` under ROOTFS",
            )
        } else {
            format!(
                "looked in {}; another folder? give the whole path, or -e PATH=…",
                looked.join(" ")
            )
        });
    }
    let path = process.candidates.get(index).map(|p| text(p)).unwrap_or_default();
    let (blame, hint) = hints::not_executable(root, &path, process, message.errno);
    let call = format!("execve({path:?}, {})", list(process.argv.strings()));
    let error = Error::new(format!("cannot execute {path}"))
        .step(Step::Exec)
        .call(call)
        .errno(message.errno)
        .blame(blame);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
