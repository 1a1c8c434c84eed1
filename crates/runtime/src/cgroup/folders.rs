//! The hierarchies that are mounted, and a container's folder in each: made, entered, read, removed.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::mountinfo::{self, Mounted};
use crate::mounts::c_string;
use crate::sys::{self, Sys};
use crate::systemd::Unit;

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
    /// The version 2 hierarchy; the one with the controllers only where there is no version 1.
    pub v2: Option<PathBuf>,
}

impl Layout {
    /// Reads /proc/self/mountinfo, proc_pid_mountinfo(5).
    pub fn detect() -> Layout {
        Layout::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(text: &str) -> Layout {
        let mut layout = Layout::default();
        let mut mounts = mountinfo::parse(text);
        while let Some(mount) = mounts.next() {
            // What is mounted on the same place later hides it.
            let is_it = |later: Mounted<'_>| later.escaped_place == mount.escaped_place;
            if !mount.fstype.starts_with("cgroup") || mounts.clone().any(is_it) {
                continue;
            }
            if mount.fstype == "cgroup2" && layout.v2.is_none() {
                layout.v2 = Some(mount.place());
            } else if mount.fstype == "cgroup" {
                let generic = [
                    "rw",
                    "ro",
                    "xattr",
                    "clone_children",
                    "noprefix",
                    "cpuset_v2_mode",
                    "favordynmods",
                ];
                let controllers: Vec<String> = mount
                    .options
                    .split(',')
                    .filter(|word| !generic.contains(word) && !word.starts_with("release_agent"))
                    .map(str::to_owned)
                    .collect();
                if !layout.v1.iter().any(|h| h.controllers == controllers) {
                    layout.v1.push(Hierarchy { mount: mount.place(), controllers });
                }
            }
        }
        layout
    }

    /// Version 2 alone, the unified hierarchy.
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty() && self.v2.is_some()
    }

    /// The hierarchies that containers are put into: those of version 1, then the one of version 2, which beside
    /// them has no controllers and still tells who belongs together.
    pub fn hierarchies(&self) -> Vec<Hierarchy> {
        let unified = self.v2.iter();
        let unified =
            unified.map(|mount| Hierarchy { mount: mount.clone(), controllers: Vec::new() });
        self.v1.iter().cloned().chain(unified).collect()
    }
}

/// What is written down of a cgroup, to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Path below each hierarchy's mount, `minibox/ID`.
    pub path: String,
    /// Whose cgroup it is, where systemd makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Address {
    /// The cgroup that is there, or will be.
    pub fn cgroup(&self) -> Result<Cgroup> {
        Ok(Cgroup::at(&Layout::detect(), &self.path)?.belonging_to(self.unit.clone()))
    }
}

/// A container's cgroup: one folder in each hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// Path below each hierarchy's mount, `minibox/ID`.
    pub path: String,
    /// See [`Address`].
    pub unit: Option<Unit>,
    pub(super) folders: Vec<(Hierarchy, PathBuf)>,
    /// Version 2 alone.
    pub(super) unified: bool,
}

impl Layout {
    /// The folders of the caller's own cgroup, proc_pid_cgroup(5), in the order of the hierarchies.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let path_in = |hierarchy: &Hierarchy| {
            let mut fields = text.lines().map(|line| line.splitn(3, ':').skip(1));
            let found = fields.find_map(|mut fields| {
                let controllers = fields.next()?;
                let is_it = controllers == hierarchy.controllers.join(",");
                fields.next().filter(|_| is_it)
            });
            found.unwrap_or_default().trim_matches('/').to_owned()
        };
        self.hierarchies().into_iter().map(|h| h.mount.join(path_in(&h))).collect()
    }
}

impl Cgroup {
    /// Its folders, in the order of the hierarchies.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|(_, folder)| folder.clone()).collect()
    }

    /// The cgroup at `path` below each hierarchy, whether or not it exists.
    pub fn at(layout: &Layout, path: &str) -> Result<Cgroup> {
        if path.split('/').any(|part| part == "..") {
            return Err(Error::new(format!("the cgroup path {path:?} contains `..`")));
        }
        let path = path.trim_matches('/').to_owned();
        let folders =
            layout.hierarchies().into_iter().map(|h| (h.clone(), h.mount.join(&path))).collect();
        Ok(Cgroup { path, unit: None, folders, unified: layout.is_unified() })
    }

    /// The cgroup of `unit`. Of version 1 systemd hands none to a plain user.
    pub fn of_unit(unit: Unit) -> Result<Cgroup> {
        if unit.is_user && !Layout::detect().is_unified() {
            return Err(Error::new("systemd hands cgroups of version 1 to root alone")
                .hint("`minibox info` says how this machine gets version 2; --cgroup-manager disabled does without"));
        }
        Address { path: unit.cgroup_path()?, unit: Some(unit) }.cgroup()
    }

    /// The same, where systemd makes it. On version 1 systemd writes the device list of its unit anew at each
    /// `daemon-reload`, and in words that know fewer rules; what is below its unit it leaves alone, so there the
    /// list is.
    fn belonging_to(mut self, unit: Option<Unit>) -> Cgroup {
        if unit.is_some() && !self.unified {
            let is_device_list = |h: &Hierarchy| h.controllers.iter().any(|c| c == "devices");
            let lists = self.folders.iter_mut().filter(|(h, _)| is_device_list(h));
            lists.for_each(|(_, folder)| folder.push("container"));
        }
        self.unit = unit;
        self
    }

    /// What to write down of it.
    pub fn address(&self) -> Address {
        Address { path: self.path.clone(), unit: self.unit.clone() }
    }

    /// Where a process that joins process `pid` may be: where that is, if this cgroup is gone, or takes none since
    /// it hands controllers down, as one in which cgroups are made below may do. Both on version 2 alone.
    pub fn for_newcomers(&self, pid: i32) -> Result<Cgroup> {
        let Some(folder) = self.unified_folder() else { return Ok(self.clone()) };
        let is_gone = !folder.exists();
        if !is_gone && !hands_down(folder) {
            return Ok(self.clone());
        }
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let its = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let its = its.filter(|path| is_gone || path.starts_with(&self.path)).unwrap_or(&self.path);
        Address { path: its.to_owned(), unit: self.unit.clone() }.cgroup()
    }

    /// Does systemd make it around a process that exists already?
    pub fn is_scope(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| !unit.is_slice())
    }

    /// Cgroups below it that exist, as `exec --cgroup` names them: `PATH`, or `CONTROLLER,…:PATH` for those of
    /// version 1 whose processes are to be elsewhere than the others'.
    pub fn below(mut self, asked: &[String]) -> Result<Cgroup> {
        for word in asked {
            let wrong = |what: &str| Error::new(format!("--cgroup {word}: {what}"));
            let (names, path) =
                word.split_once(':').map_or((None, word.as_str()), |(names, path)| {
                    (Some(names.split(',').collect::<Vec<_>>()), path)
                });
            if path.split('/').any(|part| part == "..") {
                return Err(wrong("bad sub cgroup path: it leads out of the container's cgroup"));
            }
            let is_one = |hierarchy: &Hierarchy, name: &str| {
                hierarchy.controllers.iter().any(|c| c.strip_prefix("name=").unwrap_or(c) == name)
            };
            let mut unknown = names.iter().flatten();
            if let Some(name) = unknown
                .find(|name| !self.folders.iter().any(|(hierarchy, _)| is_one(hierarchy, name)))
            {
                return Err(wrong(&format!("unknown controller {name}")));
            }
            for (hierarchy, folder) in &mut self.folders {
                if names.as_ref().is_none_or(|n| n.iter().any(|name| is_one(hierarchy, name))) {
                    folder.push(path.trim_matches('/'));
                    if !folder.is_dir() {
                        let what =
                            "adding pid of the new process to cgroups: no such file or directory";
                        return Err(wrong(&format!("{what}: {}", folder.display())));
                    }
                    if self.unified && hands_down(folder) {
                        let what =
                            "adding pid of the new process to cgroups: device or resource busy";
                        return Err(
                            wrong(what).hint("it hands controllers down: name one below it")
                        );
                    }
                }
            }
        }
        Ok(self)
    }

    /// PARENT: makes the folders.
    pub(super) fn make(&self) -> Result<()> {
        tracing::debug!(path = self.path, unified = self.unified, "making the cgroup");
        for (hierarchy, folder) in &self.folders {
            if self.unified {
                hand_down_controllers(&hierarchy.mount, &self.path);
            }
            fs::create_dir_all(folder)
                .map_err(|error| Error::of_io("make the cgroup", folder, &error))?;
            if hierarchy.controllers.iter().any(|c| c == "cpuset") {
                inherit_cpuset(&hierarchy.mount, &self.path)?;
            }
        }
        Ok(())
    }

    /// Gives version 2's folder, and those of its files that are meant for it, to `uid`: a container that may
    /// write its cgroup filesystem then makes cgroups below its own. runtime-spec, "Cgroup ownership".
    pub fn give_to(&self, uid: u32) -> Result<()> {
        let Some(folder) = self.unified_folder() else { return Ok(()) };
        let listed = fs::read_to_string("/sys/kernel/cgroup/delegate");
        let files = listed.unwrap_or_else(|_| {
            String::from("cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n")
        });
        for path in std::iter::once(folder.to_owned()).chain(files.lines().map(|f| folder.join(f)))
        {
            match std::os::unix::fs::chown(&path, Some(uid), None) {
                // Which of them there are depends on the controllers.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::of_io("change the owner of", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Is it of version 2?
    pub fn is_unified(&self) -> bool {
        self.unified
    }

    /// Is there such a cgroup, in any hierarchy?
    pub fn exists(&self) -> bool {
        self.folders.iter().any(|(_, folder)| folder.exists())
    }

    pub(super) fn folder_of(&self, controller: &str) -> Option<&PathBuf> {
        let has = |h: &Hierarchy| self.unified || h.controllers.iter().any(|c| c == controller);
        self.folders.iter().find(|(h, _)| has(h)).map(|(_, folder)| folder)
    }

    /// Is there such a file? Some belong to parts that a kernel may lack.
    pub(super) fn has(&self, controller: &str, file: &str) -> bool {
        self.folder_of(controller).is_some_and(|folder| folder.join(file).exists())
    }

    /// What stands in a file, where it can be read.
    pub fn read(&self, controller: &str, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder_of(controller)?.join(file)).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// Writes one value into a file of `controller`, in one call, as the kernel wants it.
    pub(super) fn write(&self, controller: &str, file: &str, value: &str) -> Result<()> {
        let Some(folder) = self.folder_of(controller) else {
            return Err(Error::new(format!("cannot set {file}: this machine has no {controller} cgroup controller"))
                .hint("see /proc/cgroups; a kernel parameter such as cgroup_enable=memory may switch it on"));
        };
        let path = folder.join(file);
        fs::write(&path, value).map_err(|error| {
            let made = Error::of_io("write", &path, &error)
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

    /// PARENT: moves a process into each folder.
    pub(super) fn take_in(&self, pid: i32) -> Result<()> {
        self.folders.iter().map(|(_, folder)| folder.join("cgroup.procs")).try_for_each(|door| {
            fs::write(&door, pid.to_string()).map_err(|e| Error::of_io("write", &door, &e))
        })
    }

    /// The files a version 1 process writes "0" into to move itself; none on version 2, where
    /// `CLONE_INTO_CGROUP` serves.
    pub fn doors(&self) -> Result<Vec<CString>> {
        if self.unified {
            return Ok(Vec::new());
        }
        let door = |(hierarchy, folder): &(Hierarchy, PathBuf)| {
            let file = if hierarchy.controllers.is_empty() { "cgroup.procs" } else { "tasks" };
            c_string(folder.join(file).into_os_string().into_encoded_bytes(), "a cgroup's path")
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
}

/// May this process make cgroups here? Not where there are none, as a plain user, or where cgroupfs is
/// read-only, as inside another container.
pub fn is_writable(layout: &Layout) -> bool {
    use nix::unistd::{AccessFlags, access};
    let hierarchies = layout.hierarchies();
    let writable = |h: &Hierarchy| access(&h.mount, AccessFlags::W_OK).is_ok();
    !hierarchies.is_empty() && hierarchies.iter().all(writable)
}

/// Version 2: a cgroup that hands controllers down takes no processes itself.
fn hands_down(folder: &Path) -> bool {
    fs::read_to_string(folder.join("cgroup.subtree_control"))
        .is_ok_and(|text| !text.trim().is_empty())
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

/// Version 2: a controller exists in a cgroup only if its parent hands it down. What cannot be handed
/// down is missed when a limit needs it, with an error that names it.
fn hand_down_controllers(mount: &Path, path: &str) {
    let mut folder = mount.to_path_buf();
    for part in path.split('/') {
        let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let given = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        let given: Vec<&str> = given.split_whitespace().collect();
        // Those that limits or figures are asked of; the rest is systemd's or nobody's.
        let wanted = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"];
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
                let path = folder.join(file);
                fs::write(&path, value.trim()).map_err(|e| Error::of_io("write", &path, &e))?;
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

pub(super) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
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
        assert_eq!(controllers, ["cpu,cpuacct", "name=systemd", ""]);
    }

    #[test]
    fn of_a_unit_systemd_does_not_see_the_device_list() {
        let devices =
            "29 24 0:27 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n";
        let layout = Layout::parse(&format!("{HYBRID}{devices}"));
        let unit = Unit { name: "a.scope".into(), slice: "b.slice".into(), is_user: false };
        let folders = |unit| Cgroup::at(&layout, "b.slice/a.scope").unwrap().belonging_to(unit);
        let deeper = Path::new("/sys/fs/cgroup/devices/b.slice/a.scope/container");
        let named = |cgroup: Cgroup, folder| cgroup.folders().iter().any(|path| path == folder);
        assert!(named(folders(Some(unit.clone())), deeper));
        assert!(named(folders(Some(unit)), Path::new("/sys/fs/cgroup/cpu/b.slice/a.scope")));
        assert!(!named(folders(None), deeper));
    }

    #[test]
    fn a_hierarchy_that_is_hidden_is_none() {
        let hidden = format!("{HYBRID}29 27 0:99 / /sys/fs/cgroup/unified rw - tmpfs none rw\n");
        let layout = Layout::parse(&hidden);
        assert_eq!((layout.v1.len(), layout.v2), (2, None));
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

    #[test]
    fn files_of_version_2_are_given_away() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { v1: Vec::new(), v2: Some(folder.path().to_owned()) };
        let cgroup = Cgroup::at(&layout, "some").unwrap();
        let path = folder.path().join("some");
        fs::create_dir(&path).unwrap();
        for file in ["cgroup.procs", "memory.max"] {
            fs::write(path.join(file), "").unwrap();
        }
        let own = fs::metadata(&path).unwrap().uid();
        if own != 0 {
            return; // Only root gives anything away.
        }
        cgroup.give_to(1234).unwrap();
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        assert_eq!((owner(&path), owner(&path.join("cgroup.procs"))), (1234, 1234));
        assert_eq!(owner(&path.join("memory.max")), own);
    }
}
