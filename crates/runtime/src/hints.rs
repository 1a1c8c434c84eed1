//! What to try: looks at the machine after a failure and says what lies behind it here.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::Blame;
use crate::idmap::{self, IdMap, Range};
use crate::mounts::MountPlan;
use crate::plan::Plan;
use crate::process::ProcessPlan;
use crate::step::Step;
use crate::sys;
use crate::user::{exists_in_root, open_in_root, reopen};

fn sysctl(name: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned())
}

const APPARMOR: &str = "AppArmor keeps plain users from user namespaces on this Ubuntu: install minibox by `sudo make install` or a package, which bring a profile that allows it; or run as root; or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`";

/// What a profile of system calls must not refuse.
pub const BY_FILTER: &str = "the seccomp profile must allow write and execve: minibox still makes these calls when its filter stands";

/// Why this user may not make a user namespace, where a known switch is off.
pub fn user_namespaces(errno: Errno) -> Option<String> {
    if sysctl("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some("this Debian keeps plain users from user namespaces: run as root, or `sudo sysctl kernel.unprivileged_userns_clone=1`".into());
    }
    if sysctl("user/max_user_namespaces").as_deref() == Some("0") {
        return Some("user namespaces are switched off: run as root, or `sudo sysctl user.max_user_namespaces=15000`".into());
    }
    if sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return Some(APPARMOR.into());
    }
    let inside = matches!(errno, Errno::EPERM | Errno::EACCES);
    inside.then(|| "inside another container? It must be allowed to make namespaces: `--privileged`, or a seccomp profile that permits clone3 and unshare".into())
}

/// A hint for a failed step of a container.
pub fn step_failed(plan: &Plan, step: Step, index: usize, errno: Errno) -> Option<String> {
    let denied = matches!(errno, Errno::EACCES | Errno::EPERM);
    if let Some(map) = &plan.id_map {
        if denied && sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1")
        {
            return Some(APPARMOR.into());
        }
        if matches!(errno, Errno::EOVERFLOW | Errno::EACCES | Errno::EPERM)
            && let Some(hint) = unmapped_owner(
                plan,
                map,
                plan.mounts
                    .get(index)
                    .map(|m| Path::new(OsStr::from_bytes(m.place.path.to_bytes()))),
            )
        {
            return Some(hint);
        }
    }
    match (step, errno) {
        (Step::AttachMounts, Errno::ELOOP) => Some("this root filesystem brings a link: proc, sysfs and /dev must be mounted on ordinary directory; such images try to reach the host".into()),
        (Step::TakeRoot, Errno::EINVAL) if !plan.root.mapped.is_empty() => Some("an overlay of mapped layers needs Linux 5.19; --rw needs no overlay".into()),
        (Step::TakeRoot, Errno::EINVAL) => Some("try --rw to use the folder itself, without an overlay".into()),
        (Step::User, Errno::EINVAL) if plan.keep_groups => Some(idmap::MORE_IDS.into()),
        (Step::Hostname, Errno::EINVAL) => Some("choose a shorter one with -h NAME".into()),
        (Step::TakeMounts, Errno::EPERM)
            if plan.mounts.get(index).is_some_and(MountPlan::is_of_process) =>
        {
            Some("it belongs to a container in another user namespace; what it shares, only containers in that one can use".into())
        }
        (Step::TakeMounts, Errno::ENODEV) => plan.mounts.get(index).map(|m| format!("is the {} module loaded?", m.source_name())),
        _ => of_step(step, errno),
    }
}

/// A hint that needs no look at the plan.
pub fn of_step(step: Step, errno: Errno) -> Option<String> {
    match step {
        Step::Workdir if errno != Errno::EXDEV => Some("choose another with -w FOLDER".into()),
        Step::Seccomp => Some("--security-opt seccomp=unconfined runs it without a filter".into()),
        _ => None,
    }
}

/// "Owned by an id that is not mapped": said of the root folder, or of what lies on the way to `place`.
fn unmapped_owner(plan: &Plan, map: &IdMap, place: Option<&Path>) -> Option<String> {
    let inside = place.and_then(|place| place.strip_prefix("/").ok()).unwrap_or(Path::new(""));
    let mut ancestors: Vec<PathBuf> =
        inside.ancestors().map(|a| plan.root.path.join(a).components().collect()).collect();
    ancestors.reverse();
    ancestors.into_iter().find_map(|path| {
        let uid = std::fs::symlink_metadata(&path).ok()?.uid();
        // On a mapped mount the ids are the container's own.
        let first = |r: &Range| if plan.root.mapped.is_empty() { r.outside } else { r.inside };
        let mapped = map.uids.iter().any(|r| uid >= first(r) && uid - first(r) < r.size);
        (!mapped).then(|| {
            let path = path.display();
            format!("{path} belongs to uid {uid} of the host, which is not mapped into this container; run as root, or make it yours with chown")
        })
    })
}

/// The root folder of process `pid`, as it sees it; `None` where that is not ours to see.
pub fn root_of(pid: i32) -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = format!("/proc/{pid}/root");
    nix::fcntl::open(path.as_str(), flags, nix::sys::stat::Mode::empty()).ok()
}

/// The program of this plan, where its file would give it privileges that no_new_privs denies.
pub fn denied_privileges(plan: &Plan) -> Option<String> {
    let candidates = plan.process.candidates.iter().filter(|_| plan.process.no_new_privs);
    let mut paths = candidates.map(|path| path.to_string_lossy().into_owned());
    let folder = plan.root.folder.as_fd();
    let open = |path: &String| open_in_root(folder, path, OFlag::O_PATH).ok();
    let (path, file) = paths.find_map(|path| open(&path).map(|file| (path, file)))?;
    let setuid = nix::sys::stat::fstat(&file).is_ok_and(|s| s.st_mode & 0o6000 != 0);
    (setuid || sys::has_file_capabilities(&file)).then_some(path)
}

/// Is there neither /bin nor /usr/bin in this root folder?
pub fn has_no_programs(folder: &OwnedFd) -> bool {
    !["bin", "usr/bin"].iter().any(|path| exists_in_root(folder.as_fd(), path))
}

/// Is there nothing in this folder?
pub fn is_empty_folder(folder: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    entries.is_ok_and(|mut entries| entries.next().is_none())
}

/// Why a program that exists cannot be executed, and whose fault that is.
pub fn not_executable(
    root: Option<&OwnedFd>,
    path: &str,
    process: &ProcessPlan,
    errno: Errno,
) -> (Blame, Option<String>) {
    let blame = if errno == Errno::ENOENT { Blame::NotFound } else { Blame::NotExecutable };
    let Some(root) = root else {
        return (blame, None);
    };
    let full = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", process.cwd.to_string_lossy())
    };
    let Ok(file) = open_in_root(root.as_fd(), &full, OFlag::O_PATH).map(std::fs::File::from) else {
        return (blame, None);
    };
    let Ok(metadata) = file.metadata() else {
        return (blame, None);
    };
    let hint = match errno {
        Errno::EACCES | Errno::EISDIR if metadata.is_dir() => Some(format!("{path} is a folder")),
        Errno::EACCES if metadata.mode() & 0o111 == 0 => Some(format!(
            "the file has no execute permission: chmod +x it, or name its interpreter, e.g. `python {path}`"
        )),
        Errno::EACCES => Some(format!(
            "uid {} of the container may not execute it (mode {:o}), or it lies on a mount with noexec",
            process.uid,
            metadata.mode() & 0o7777
        )),
        Errno::EPERM | Errno::ENOSYS if process.seccomp.is_some() => Some(String::from(BY_FILTER)),
        Errno::ENOENT | Errno::ENOEXEC => what_file(root, &file, metadata.is_file(), path),
        _ => None,
    };
    (blame, hint)
}

/// Reads the first bytes as the kernel would: `#!`, or an ELF header with its interpreter.
fn what_file(root: &OwnedFd, file: &std::fs::File, regular: bool, path: &str) -> Option<String> {
    if !regular {
        return Some(format!("{path} is not a regular file"));
    }
    let file = reopen(file).ok()?;
    let mut head = Vec::new();
    file.take(4096).read_to_end(&mut head).ok()?;
    if head.is_empty() {
        return Some(format!("{path} is empty"));
    }
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
        if line.ends_with(b"\r") {
            return Some("its first line ends with a carriage return (a file from Windows): `sed -i 's/\\r$//'` it".into());
        }
        let interpreter =
            String::from_utf8_lossy(line).split_whitespace().next().unwrap_or_default().to_owned();
        return (!exists_in_root(root.as_fd(), &interpreter)).then(|| {
            format!(
                "it is a script for {interpreter}, and the root filesystem has no {interpreter}"
            )
        });
    }
    if !head.starts_with(b"\x7fELF") {
        return Some("it is neither an ELF binary nor a script that begins with #!: name its interpreter, e.g. `sh FILE`".into());
    }
    let elf = Elf::parse(&head)?;
    if elf.machine != native_machine() {
        return Some(format!(
            "it is a program for {}, and this computer is {}",
            machine_name(elf.machine),
            std::env::consts::ARCH
        ));
    }
    let loader = elf.interpreter?;
    (!exists_in_root(root.as_fd(), &loader)).then(|| {
        format!("it needs the dynamic loader {loader}, which the root filesystem does not have: copy it and the libraries too, or use a static binary")
    })
}

/// The two facts of an ELF header that matter here, elf(5).
struct Elf {
    machine: u16,
    interpreter: Option<String>,
}

impl Elf {
    fn parse(head: &[u8]) -> Option<Elf> {
        let wide = *head.get(4)? == 2;
        let little = *head.get(5)? == 1;
        let number = |at: usize, size: usize| -> Option<usize> {
            let bytes = head.get(at..at.checked_add(size)?)?;
            let fold = |all: usize, byte: &u8| all << 8 | usize::from(*byte);
            Some(if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
        };
        let machine = number(18, 2)? as u16;
        let (table, entry, count) = if wide {
            (number(32, 8)?, number(54, 2)?, number(56, 2)?)
        } else {
            (number(28, 4)?, number(42, 2)?, number(44, 2)?)
        };
        let interpreter = (0..count.min(64)).find_map(|index| {
            const PT_INTERP: usize = 3;
            let at = table.checked_add(index.checked_mul(entry)?)?;
            if number(at, 4)? != PT_INTERP {
                return None;
            }
            let (offset, size) = if wide {
                (number(at + 8, 8)?, number(at + 32, 8)?)
            } else {
                (number(at + 4, 4)?, number(at + 16, 4)?)
            };
            let name = head.get(offset..offset.checked_add(size)?)?;
            Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
        });
        Some(Elf { machine, interpreter })
    }
}

/// e_machine of elf(5) and how people call it.
const MACHINES: [(u16, &str, &str); 6] = [
    (3, "x86", "x86 (32 bit)"),
    (40, "arm", "ARM (32 bit)"),
    (62, "x86_64", "x86_64"),
    (183, "aarch64", "aarch64 (ARM, 64 bit)"),
    (243, "riscv64", "RISC-V"),
    (22, "s390x", "s390x"),
];

fn native_machine() -> u16 {
    MACHINES
        .iter()
        .find(|(_, arch, _)| *arch == std::env::consts::ARCH)
        .map_or(0, |(number, ..)| *number)
}

fn machine_name(machine: u16) -> String {
    let known = MACHINES.iter().find(|(number, ..)| *number == machine);
    known.map_or_else(
        || format!("another machine (e_machine {machine})"),
        |(.., name)| (*name).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_very_program() {
        let head = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::parse(&head[..4096]).unwrap();
        assert_eq!(elf.machine, native_machine());
    }

    #[test]
    fn broken_headers_are_no_panic() {
        for length in 0..64 {
            let mut head = b"\x7fELF\x02\x01".to_vec();
            head.resize(length.max(6), 0xff);
            let _ = Elf::parse(&head);
        }
    }
}
