//! What of the host's and of the kernel's files is in reach, by the kernel's list of mounts; and which of its
//! own programs give more rights.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::{self, DirEntry, OpenOptions, ReadDir};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc::{major, minor};

use super::{Audit, Id, Subject, Weight};
use crate::mounts::{Mount, below};
use crate::sys;

/// How many files are looked at for rights of their own.
const MOST: usize = 20_000;

/// Of the kernel's settings, those for the whole machine.
const SETTINGS: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// What tells of the whole machine, and is hidden from containers.
const SECRETS: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Where engines listen.
const SOCKETS: [&str; 5] = [
    "/run/buildkit/buildkitd.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
];

/// Whoever writes below these is the host's root soon.
const SYSTEM: [&str; 11] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/root",
    "/sbin",
    "/usr",
    "/var/lib/docker",
    "/var/spool/cron",
];

/// And these hold such folders.
const WHOLE: [&str; 6] = ["/", "/home", "/run", "/var", "/var/lib", "/var/log"];

/// Files that engines make for each container.
const ENGINES_OWN: [&str; 5] =
    ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets"];

pub(super) fn check(subject: &Subject<'_>, audit: &mut Audit) {
    let weight = if subject.is_hosts_root { Weight::Serious } else { Weight::Small };
    audit.find(Id::KernelFiles, weight, kernel_files(&subject.mounts));
    audit.find(Id::EngineSocket, Weight::Serious, sockets(&subject.mounts));
    folders(subject, audit);
}

/// The mount that holds `path`.
fn holder<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let all = mounts.iter().filter(|mount| below(path, &mount.mount_point).is_some());
    all.max_by_key(|mount| mount.mount_point.len())
}

fn kernel_files(mounts: &[Mount]) -> Vec<String> {
    let is_there = |path: &str| Path::new(path).exists();
    let mut found = Vec::new();
    for mount in mounts.iter().filter(|mount| !mount.has("ro")) {
        let place = &mount.mount_point;
        match mount.fs_type.as_str() {
            "proc" if mount.root == "/" => {
                for name in SETTINGS.iter().filter(|name| is_there(&format!("/proc/{name}"))) {
                    let path = format!("{place}/{name}");
                    let is_open = holder(mounts, &path)
                        .is_some_and(|mount| mount.fs_type == "proc" && !mount.has("ro"));
                    found.extend(is_open.then(|| format!("{path} rw")));
                }
            }
            "binfmt_misc" | "bpf" | "cgroup" | "cgroup2" | "configfs" | "debugfs" | "efivarfs"
            | "proc" | "pstore" | "securityfs" | "sysfs" | "tracefs" => {
                found.push(format!("{place} ({}) rw", mount.fs_type));
            }
            _ => {}
        }
    }
    let is_bare = |path: &&&str| {
        let holder = holder(mounts, path);
        holder.is_some_and(|mount| matches!(mount.fs_type.as_str(), "proc" | "sysfs"))
    };
    let bare = SECRETS.iter().filter(|path| is_there(path)).filter(is_bare);
    found.extend(bare.map(|path| (*path).to_owned()));
    found
}

/// Sockets of the host's engines that are mounted, or lie in what is.
fn sockets(mounts: &[Mount]) -> Vec<String> {
    let is_socket = |path: &str, mount: &Mount| {
        let about = fs::symlink_metadata(path);
        about.is_ok_and(|about| {
            let device = format!("{}:{}", major(about.dev()), minor(about.dev()));
            about.file_type().is_socket() && device == mount.device
        })
    };
    let mut found = Vec::new();
    for mount in mounts {
        let Some(source) = &mount.callers_path else { continue };
        if is_sockets_name(source) && is_socket(source, mount) {
            found.push(format!("{} ({source})", mount.mount_point));
            continue;
        }
        for known in SOCKETS.iter().filter(|known| is_socket(known, mount)) {
            if let Some(rest) = below(known, source) {
                found.push(format!("{}/{rest} ({known})", mount.mount_point));
            }
        }
    }
    found
}

fn is_sockets_name(path: &str) -> bool {
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    SOCKETS.iter().any(|known| name(known) == name(path))
}

fn folders(subject: &Subject<'_>, audit: &mut Audit) {
    let (mut weight, mut hosts) = (Weight::Notable, Vec::new());
    let (mut places, mut writable) = (Vec::new(), Vec::new());
    for mount in &subject.mounts {
        let Some(source) = mount.callers_path.as_deref() else { continue };
        let place = mount.mount_point.as_str();
        let is_kernels = matches!(mount.fs_type.as_str(), "cgroup" | "cgroup2" | "proc" | "sysfs");
        let is_engines = ENGINES_OWN.contains(&place)
            || ["/dev/", "/proc/", "/sys/"].iter().any(|above| place.starts_with(above));
        if is_kernels || is_engines || is_sockets_name(source) || (place == "/" && source != "/") {
            continue;
        }
        let is_system = SYSTEM.iter().any(|known| below(source, known).is_some());
        let is_whole = WHOLE.contains(&source) || ["/dev", "/etc", "/root"].contains(&source);
        match (mount.has("ro"), is_system || is_whole) {
            (false, true) => {
                hosts.push(format!("{place} ({source}) rw"));
                places.push(place);
                if subject.is_hosts_root {
                    weight = Weight::Serious;
                }
            }
            (true, true) if is_whole => hosts.push(format!("{place} ({source}) ro")),
            (false, false) if subject.is_hosts_root => writable.push((place, source)),
            _ => {}
        }
    }
    // What is mounted below such a folder came with it.
    let came_with = |place: &str| places.iter().any(|above| below(place, above).is_some());
    let writable = writable.into_iter().filter(|(place, _)| !came_with(place));
    let writable = writable.map(|(place, source)| format!("{place} ({source})")).collect();
    audit.find(Id::HostFolders, weight, hosts);
    audit.find(Id::WritableFolders, Weight::Small, writable);
}

/// Are files there had from a program that may answer never?
pub(super) fn is_asked_of_a_program(mount: &Mount) -> bool {
    mount.fs_type.starts_with("fuse") || mount.fs_type == "9p" || mount.fs_type.starts_with("nfs")
}

impl Subject<'_> {
    /// Its root, where that is a mount on which files can be looked at without waiting for anybody.
    pub(super) fn root(&self) -> Option<OwnedFd> {
        let mount = self.mounts.iter().find(|mount| mount.mount_point == "/")?;
        if is_asked_of_a_program(mount) {
            return None;
        }
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let root = format!("/proc/{}/root", self.process.pid());
        let root = OpenOptions::new().read(true).custom_flags(flags).open(root).ok()?;
        self.process.is_alive().then(|| root.into())
    }
}

/// The entries below a folder, those nearer to it first: of one filesystem, without following links, and not
/// more than so many.
pub(super) struct Walk {
    top: OwnedFd,
    /// Folders that were not read yet.
    folders: VecDeque<PathBuf>,
    /// The one that is being read, and what keeps it open.
    now: Option<(PathBuf, ReadDir, OwnedFd)>,
    left: usize,
}

impl Walk {
    pub(super) fn below(root: &OwnedFd, folder: &str, most: usize) -> Option<Walk> {
        let top = open(root, Path::new(folder), ResolveFlag::RESOLVE_NO_SYMLINKS)?;
        Some(Walk { top, folders: VecDeque::from([PathBuf::new()]), now: None, left: most })
    }
}

fn open(top: &OwnedFd, path: &Path, resolve: ResolveFlag) -> Option<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | resolve);
    openat2(top, path, how).ok()
}

impl Iterator for Walk {
    /// Its path below the top, and the entry, whose metadata is that of a link itself.
    type Item = (PathBuf, DirEntry);

    fn next(&mut self) -> Option<(PathBuf, DirEntry)> {
        loop {
            if self.left == 0 {
                return None;
            }
            let Some((folder, entries, _)) = &mut self.now else {
                let folder = self.folders.pop_front()?;
                let here = ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
                self.now = open(&self.top, &folder, here).and_then(|held| {
                    let entries = fs::read_dir(format!("/proc/self/fd/{}", held.as_raw_fd()));
                    Some((folder, entries.ok()?, held))
                });
                continue;
            };
            let Some(entry) = entries.next() else {
                self.now = None;
                continue;
            };
            self.left -= 1;
            let Ok(entry) = entry else { continue };
            let path = folder.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.folders.push_back(path.clone());
            }
            return Some((path, entry));
        }
    }
}

/// Programs below its root that give rights to whoever executes them: set-user-ID, set-group-ID, or with
/// capabilities of their own.
pub(super) fn privileged_programs(subject: &Subject<'_>) -> Vec<String> {
    let walk = subject.root().and_then(|root| Walk::below(&root, ".", MOST));
    let programs = walk.into_iter().flatten().filter_map(|(path, entry)| {
        let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let by_owner = about.mode() & 0o6000 != 0 && about.mode() & 0o111 != 0;
        let by_itself = || {
            let path = CString::new(entry.path().as_os_str().as_bytes());
            path.is_ok_and(|path| sys::has_capabilities(&path))
        };
        (by_owner || by_itself()).then(|| format!("/{}", path.display()))
    });
    programs.take(10).collect()
}
