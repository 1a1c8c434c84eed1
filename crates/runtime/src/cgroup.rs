//! Control groups, version 1 and 2: a folder per container, its limits, and its end. cgroups(7).
//!
//! The folder's path follows from the container's id alone, so that whatever was made can be found
//! again by whoever cleans up, even if its maker was killed a moment later.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;

use crate::error::{Error, Result};
use crate::mounts::c_string;
use crate::step::Step;
use crate::sys::{self, Sys};

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Version 1: its controllers, or `name=…`; version 2: empty, see `cgroup.controllers`.
    pub controllers: Vec<String>,
}

/// What this machine has mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Version 1 hierarchies, in the order of mountinfo.
    pub v1: Vec<Hierarchy>,
    /// The version 2 hierarchy; the one in use only where there is no version 1.
    pub v2: Option<PathBuf>,
}

impl Layout {
    /// Reads /proc/self/mountinfo, proc_pid_mountinfo(5).
    pub fn detect() -> Layout {
        Layout::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Layout {
        let mut layout = Layout::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut right = right.split(' ');
            let fields = (left.split(' ').nth(4), right.next(), right.nth(1));
            let (Some(mount), Some(fstype), Some(options)) = fields else {
                continue;
            };
            if fstype == "cgroup2" && layout.v2.is_none() {
                layout.v2 = Some(PathBuf::from(mount));
            } else if fstype == "cgroup" {
                let generic = [
                    "rw",
                    "ro",
                    "xattr",
                    "clone_children",
                    "noprefix",
                    "cpuset_v2_mode",
                    "favordynmods",
                ];
                let controllers: Vec<String> = options
                    .split(',')
                    .filter(|word| !generic.contains(word) && !word.starts_with("release_agent"))
                    .map(str::to_owned)
                    .collect();
                if !layout.v1.iter().any(|h| h.controllers == controllers) {
                    layout.v1.push(Hierarchy { mount: PathBuf::from(mount), controllers });
                }
            }
        }
        layout
    }

    /// Version 2 alone, the unified hierarchy.
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty() && self.v2.is_some()
    }

    /// The hierarchies that containers are put into.
    pub fn hierarchies(&self) -> Vec<Hierarchy> {
        if self.v1.is_empty() {
            self.v2
                .iter()
                .map(|mount| Hierarchy { mount: mount.clone(), controllers: Vec::new() })
                .collect()
        } else {
            self.v1.clone()
        }
    }
}

/// A container's cgroup: one folder in each hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// Path below each hierarchy's mount, `minibox/ID`.
    pub path: String,
    folders: Vec<(Hierarchy, PathBuf)>,
    unified: bool,
}

impl Cgroup {
    /// The cgroup at `path` below each hierarchy, whether or not it exists.
    pub fn at(layout: &Layout, path: &str) -> Result<Cgroup> {
        if path.split('/').any(|part| part == "..") {
            return Err(Error::new(format!("the cgroup path {path:?} contains `..`"))
                .step(Step::MakeCgroup));
        }
        let path = path.trim_matches('/').to_owned();
        let folders =
            layout.hierarchies().into_iter().map(|h| (h.clone(), h.mount.join(&path))).collect();
        Ok(Cgroup { path, folders, unified: layout.is_unified() })
    }

    /// PARENT: makes the folders and writes the limits, all before the process exists.
    pub fn create(&self, resources: Option<&LinuxResources>) -> Result<()> {
        tracing::debug!(path = self.path, unified = self.unified, "making the cgroup");
        for (hierarchy, folder) in &self.folders {
            if self.unified {
                hand_down_controllers(&hierarchy.mount, &self.path);
            }
            make_folder(folder)?;
            if hierarchy.controllers.iter().any(|c| c == "cpuset") {
                inherit_cpuset(&hierarchy.mount, &self.path)?;
            }
        }
        match resources {
            Some(resources) => self.limit(resources),
            None => Ok(()),
        }
    }

    /// Writes the limits that `resources` names; units are bytes, microseconds and processes.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        let number = |n: i64, unlimited: &str| {
            if n < 0 { unlimited.to_owned() } else { n.to_string() }
        };
        if let Some(pids) = resources.pids() {
            self.write("pids", "pids.max", &number(pids.limit(), "max"))?;
        }
        if let Some(memory) = resources.memory() {
            let (limit, swap) = (memory.limit(), memory.swap());
            if self.unified {
                if let Some(limit) = limit {
                    self.write("memory", "memory.max", &number(limit, "max"))?;
                }
                if let Some(swap) = swap {
                    // Version 1 counts memory and swap together, version 2 swap alone.
                    let swap =
                        if swap < 0 { swap } else { (swap - limit.unwrap_or(0).max(0)).max(0) };
                    self.write_if_there("memory", "memory.swap.max", &number(swap, "max"))?;
                }
                if let Some(low) = memory.reservation() {
                    self.write("memory", "memory.low", &number(low, "max"))?;
                }
            } else {
                if let Some(limit) = limit {
                    self.write("memory", "memory.limit_in_bytes", &limit.to_string())?;
                }
                if let Some(swap) = swap {
                    self.write_if_there(
                        "memory",
                        "memory.memsw.limit_in_bytes",
                        &swap.to_string(),
                    )?;
                }
                if let Some(low) = memory.reservation() {
                    self.write("memory", "memory.soft_limit_in_bytes", &low.to_string())?;
                }
            }
        }
        if let Some(cpu) = resources.cpu() {
            let period = cpu.period().unwrap_or(100_000);
            if self.unified {
                if let Some(quota) = cpu.quota() {
                    self.write("cpu", "cpu.max", &format!("{} {period}", number(quota, "max")))?;
                }
                if let Some(shares) = cpu.shares() {
                    // The kernel's own translation of 2..262144 to 1..10000.
                    let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
                    self.write("cpu", "cpu.weight", &weight.to_string())?;
                }
            } else {
                if let Some(quota) = cpu.quota() {
                    self.write("cpu", "cpu.cfs_period_us", &period.to_string())?;
                    self.write("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
                }
                if let Some(shares) = cpu.shares() {
                    self.write("cpu", "cpu.shares", &shares.to_string())?;
                }
            }
            if let Some(cpus) = cpu.cpus() {
                self.write("cpuset", "cpuset.cpus", cpus)?;
            }
            if let Some(mems) = cpu.mems() {
                self.write("cpuset", "cpuset.mems", mems)?;
            }
        }
        Ok(())
    }

    fn folder_of(&self, controller: &str) -> Option<&PathBuf> {
        let has = |h: &Hierarchy| self.unified || h.controllers.iter().any(|c| c == controller);
        self.folders.iter().find(|(h, _)| has(h)).map(|(_, folder)| folder)
    }

    fn write(&self, controller: &str, file: &str, value: &str) -> Result<()> {
        let Some(folder) = self.folder_of(controller) else {
            return Err(Error::new(format!("cannot limit {controller}: this machine has no {controller} cgroup controller"))
                .step(Step::MakeCgroup)
                .hint("see /proc/cgroups; a kernel parameter such as cgroup_enable=memory may switch it on"));
        };
        let path = folder.join(file);
        fs::write(&path, value).map_err(|error| {
            let made = Error::of_io("write", &path, &error)
                .step(Step::MakeCgroup)
                .call(format!("write({:?}, {value:?})", path.display().to_string()));
            if error.kind() == ErrorKind::NotFound {
                return made.hint(format!(
                    "the {controller} controller is not handed down to {}",
                    folder.display()
                ));
            }
            made
        })
    }

    /// Swap may not be counted on this kernel, which docker only warns about.
    fn write_if_there(&self, controller: &str, file: &str, value: &str) -> Result<()> {
        match self.folder_of(controller) {
            Some(folder) if folder.join(file).exists() => self.write(controller, file, value),
            _ => Ok(()),
        }
    }

    /// The files a version 1 process writes "0" into to move itself; none on version 2, where
    /// `CLONE_INTO_CGROUP` serves.
    pub fn doors(&self) -> Result<Vec<CString>> {
        if self.unified {
            return Ok(Vec::new());
        }
        let door = |(_, folder): &(Hierarchy, PathBuf)| {
            c_string(folder.join("tasks").into_os_string().into_encoded_bytes(), "a cgroup's path")
        };
        self.folders.iter().map(door).collect()
    }

    /// The folder for `CLONE_INTO_CGROUP`, on version 2 alone.
    pub fn unified_folder(&self) -> Option<&Path> {
        if self.unified { self.folders.first().map(|(_, folder)| folder.as_path()) } else { None }
    }

    /// Every process in it and below, as this process's pid namespace numbers them.
    pub fn processes(&self) -> Vec<i32> {
        let mut all = Vec::new();
        for (_, folder) in &self.folders {
            collect_processes(folder, &mut all);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// How often the kernel killed a process of it for want of memory: `oom_kill` of memory.events or
    /// memory.oom_control.
    pub fn oom_kills(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        self.folder_of("memory")
            .and_then(|folder| fs::read_to_string(folder.join(file)).ok())
            .and_then(|text| {
                text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
            })
            .unwrap_or(0)
    }

    /// The memory limit in bytes, where one is set.
    pub fn memory_limit(&self) -> Option<u64> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        let text = fs::read_to_string(self.folder_of("memory")?.join(file)).ok()?;
        // Version 1 spells "none" as a number near 2^63.
        text.trim().parse().ok().filter(|limit| *limit < 1 << 62)
    }

    /// Ends whatever is still in it and removes the folders; nothing there is success.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut pause = Duration::from_micros(500);
        loop {
            let busy = self
                .folders
                .iter()
                .find_map(|(_, folder)| remove_folder(folder).err().map(|e| (folder, e)));
            let Some((folder, error)) = busy else {
                return Ok(());
            };
            if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() > deadline {
                return Err(Error::of_io("remove the cgroup", folder, &error)
                    .hint("processes in it do not end; look at its cgroup.procs"));
            }
            // A process that has just ended may still be counted; one that runs on is ended.
            for pid in self.processes() {
                if let Ok(pidfd) = sys::pidfd_open(pid) {
                    use std::os::fd::AsRawFd;
                    let _ = sys::pidfd_send_signal(pidfd.as_raw_fd(), libc::SIGKILL);
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// May this process make cgroups here? Not where there are none, as a plain user, or where cgroupfs is
/// read-only, as inside another container.
pub fn is_writable(layout: &Layout) -> bool {
    use nix::unistd::{AccessFlags, access};
    let hierarchies = layout.hierarchies();
    let writable = |h: &Hierarchy| access(&h.mount, AccessFlags::W_OK).is_ok();
    !hierarchies.is_empty() && hierarchies.iter().all(writable)
}

/// CHILD: moves the calling process through each door.
pub fn enter(doors: &[CString]) -> Sys<()> {
    for door in doors {
        let file = sys::openat2(libc::AT_FDCWD, door, libc::O_WRONLY, 0, 0)?;
        let done = sys::write(file, b"0");
        sys::close(file);
        done?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|error| Error::of_io("make the cgroup", folder, &error).step(Step::MakeCgroup))
}

/// Version 2: a controller exists in a cgroup only if its parent hands it down. What cannot be handed
/// down is missed when a limit needs it, with an error that names it.
fn hand_down_controllers(mount: &Path, path: &str) {
    let mut folder = mount.to_path_buf();
    for part in path.split('/') {
        let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let given = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        let given: Vec<&str> = given.split_whitespace().collect();
        // Those that limits or figures are asked of; the rest is systemd's or nobody's.
        let wanted = ["cpu", "cpuset", "io", "memory", "pids"];
        let offered = offered.split_whitespace().filter(|c| wanted.contains(c));
        for controller in offered.filter(|c| !given.contains(c)) {
            let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        folder.push(part);
        let _ = fs::create_dir(&folder);
    }
}

/// Version 1: a new cpuset is empty, and no process may enter an empty one.
fn inherit_cpuset(mount: &Path, path: &str) -> Result<()> {
    let mut folder = mount.to_path_buf();
    for part in path.split('/') {
        let parent = folder.clone();
        folder.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(folder.join(file)).unwrap_or_default();
            if own.trim().is_empty() {
                let value = fs::read_to_string(parent.join(file)).unwrap_or_default();
                fs::write(folder.join(file), value.trim()).map_err(|e| {
                    Error::of_io("write", &folder.join(file), &e).step(Step::MakeCgroup)
                })?;
            }
        }
    }
    Ok(())
}

fn collect_processes(folder: &Path, all: &mut Vec<i32>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for child in folders_in(folder) {
        collect_processes(&child, all);
    }
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// rmdir(2) of a cgroup and, first, of those below it.
fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            for child in folders_in(folder) {
                remove_folder(&child)?;
            }
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The names of all cgroups below `parent`, for cleaning up.
pub fn children(layout: &Layout, parent: &str) -> Vec<String> {
    let mut ids: Vec<String> = layout
        .hierarchies()
        .iter()
        .flat_map(|h| folders_in(&h.mount.join(parent)))
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
28 24 0:23 / /mnt/again rw,relatime - cgroup cgroup rw,cpu,cpuacct
";

    #[test]
    fn hybrid_machines_use_version_1() {
        let layout = Layout::parse(HYBRID);
        assert!(!layout.is_unified());
        let controllers: Vec<_> =
            layout.hierarchies().into_iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(controllers, ["cpu,cpuacct", "name=systemd"]);
    }

    #[test]
    fn version_2_alone_is_unified() {
        let layout = Layout::parse(
            "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert!(layout.is_unified());
        let cgroup = Cgroup::at(&layout, "/minibox/x").unwrap();
        assert_eq!(cgroup.unified_folder(), Some(Path::new("/sys/fs/cgroup/minibox/x")));
        assert!(cgroup.doors().unwrap().is_empty());
    }

    #[test]
    fn a_path_cannot_climb_out() {
        assert!(Cgroup::at(&Layout::parse(HYBRID), "/a/../../b").is_err());
    }
}
