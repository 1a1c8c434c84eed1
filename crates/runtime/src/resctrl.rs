//! PARENT: a share of caches and memory bandwidth, `linux.intelRdt`: a folder of the resctrl filesystem, made,
//! entered, removed. Linux's Documentation/filesystems/resctrl.rst.
//!
//! Few machines have it; here it is tried on plain folders.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::error::{Error, Result};
use crate::mountinfo;

/// The class of service that a container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// `closID`; the container's own is made for it, and goes with it.
    name: Option<String>,
    id: String,
    /// The lines for `schemata`, in the order in which they are written.
    schemata: Vec<String>,
    is_monitored: bool,
}

impl Class {
    /// What `spec` asks for the container called `id`.
    pub fn of(spec: &Spec, id: &str) -> Result<Option<Class>> {
        let asked = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref());
        let Some(asked) = asked else { return Ok(None) };
        let wrong = |field: &str, what: &str| {
            Err(Error::new(format!("config.json: linux.intelRdt.{field}: {what}")))
        };
        let name = asked.clos_id().clone();
        if name.as_ref().is_some_and(|name| name != "/" && !is_file_name(name)) {
            return wrong("closID", "it is the name of a folder, or \"/\"");
        }
        if asked.mem_bw_schema().as_ref().is_some_and(|line| !line.starts_with("MB:")) {
            return wrong("memBwSchema", "it begins with \"MB:\"");
        }
        let lines = asked.l3_cache_schema().iter().chain(asked.mem_bw_schema());
        let schemata: Vec<_> =
            lines.chain(asked.schemata().iter().flatten()).map(|line| line.trim().into()).collect();
        if schemata.iter().any(|line: &String| line.contains('\n')) {
            return wrong("schemata", "each is one line");
        }
        let is_monitored = asked.enable_monitoring().unwrap_or(false);
        Ok(Some(Class { name, id: id.to_owned(), schemata, is_monitored }))
    }

    /// Makes what is to be made, before the container exists.
    pub fn make(&self) -> Result<()> {
        let mount = mounted().ok_or_else(|| {
            Error::new("linux.intelRdt: the resctrl filesystem is not mounted")
                .hint("where the processor has it: mount -t resctrl resctrl /sys/fs/resctrl")
        })?;
        self.make_below(&mount)
    }

    fn make_below(&self, mount: &Path) -> Result<()> {
        let folder = self.folder(mount);
        let is_new = match fs::create_dir(&folder) {
            // Who gives no lines wants a class that somebody has prepared.
            Ok(()) if self.name.is_some() && self.schemata.is_empty() => {
                let _ = fs::remove_dir(&folder);
                return Err(Error::new(format!("there is no {}", folder.display()))
                    .hint("linux.intelRdt.closID without schemata names a class that exists"));
            }
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.name.is_some() => false,
            Err(error) => return Err(Error::of_io("make", &folder, &error)),
        };
        let filled = self.fill(mount, &folder, is_new);
        if filled.is_err() && is_new {
            let _ = fs::remove_dir(&folder);
        }
        filled
    }

    fn fill(&self, mount: &Path, folder: &Path, is_new: bool) -> Result<()> {
        let file = folder.join("schemata");
        if is_new && !self.schemata.is_empty() {
            let lines: String = self.schemata.iter().map(|line| format!("{line}\n")).collect();
            fs::write(&file, lines).map_err(|error| Error::of_io("write", &file, &error))?;
        } else if !self.schemata.is_empty() {
            let there = fs::read_to_string(&file);
            let there = there.map_err(|error| Error::of_io("read", &file, &error))?;
            let has = |line: &&String| there.lines().any(|there| there.trim() == line.as_str());
            if let Some(line) = self.schemata.iter().find(|line| !has(line)) {
                return Err(Error::new(format!(
                    "linux.intelRdt: {} exists, without {line:?} in its schemata",
                    folder.display()
                )));
            }
        }
        if self.is_monitored {
            let group = self.monitors(mount);
            fs::create_dir(&group).map_err(|error| Error::of_io("make", &group, &error))?;
        }
        Ok(())
    }

    /// Puts the process called `pid` in, and with it whatever that will fork.
    pub fn enter(&self, pid: i32) -> Result<()> {
        mounted().map_or(Ok(()), |mount| self.enter_below(&mount, pid))
    }

    fn enter_below(&self, mount: &Path, pid: i32) -> Result<()> {
        let monitors = self.is_monitored.then(|| self.monitors(mount));
        [Some(self.folder(mount)), monitors].into_iter().flatten().try_for_each(|folder| {
            let tasks = folder.join("tasks");
            fs::write(&tasks, pid.to_string()).map_err(|e| Error::of_io("write", &tasks, &e))
        })
    }

    /// Removes what was made for this container alone; nothing there is success.
    pub fn remove(&self) -> Result<()> {
        mounted().map_or(Ok(()), |mount| self.remove_below(&mount))
    }

    fn remove_below(&self, mount: &Path) -> Result<()> {
        let monitors = self.is_monitored.then(|| self.monitors(mount));
        let own = self.name.is_none().then(|| self.folder(mount));
        [monitors, own].into_iter().flatten().try_for_each(|folder| match fs::remove_dir(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::of_io("remove", &folder, &error))
            }
            _ => Ok(()),
        })
    }

    fn folder(&self, mount: &Path) -> PathBuf {
        match self.name.as_deref() {
            Some("/") => mount.to_owned(),
            name => mount.join(name.unwrap_or(&self.id)),
        }
    }

    fn monitors(&self, mount: &Path) -> PathBuf {
        self.folder(mount).join("mon_groups").join(&self.id)
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/')
}

/// Where it is mounted.
fn mounted() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mountinfo::parse(&text).find(|mount| mount.fstype == "resctrl").map(|mount| mount.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(intel_rdt: &str) -> Result<Class> {
        let text = format!(r#"{{"ociVersion": "1.3.0", "linux": {{"intelRdt": {intel_rdt}}}}}"#);
        Class::of(&serde_json::from_str(&text).unwrap(), "box").map(Option::unwrap)
    }

    /// A folder such as the kernel would show: one that exists has these files.
    fn prepare(folder: &Path, schemata: &str) {
        fs::create_dir_all(folder.join("mon_groups")).unwrap();
        fs::write(folder.join("schemata"), schemata).unwrap();
    }

    #[test]
    fn without_a_name_the_class_is_the_containers_own() {
        let mount = tempfile::tempdir().unwrap();
        let class = class(r#"{"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=10"}"#).unwrap();
        class.make_below(mount.path()).unwrap();
        let folder = mount.path().join("box");
        assert_eq!(fs::read_to_string(folder.join("schemata")).unwrap(), "L3:0=f\nMB:0=10\n");
        class.enter_below(mount.path(), 77).unwrap();
        assert_eq!(fs::read_to_string(folder.join("tasks")).unwrap(), "77");
        // A second container of this name would take it away from the first.
        assert!(class.make_below(mount.path()).unwrap_err().to_string().contains("EEXIST"));
        // The kernel's files go with their folder.
        fs::remove_file(folder.join("schemata")).unwrap();
        fs::remove_file(folder.join("tasks")).unwrap();
        class.remove_below(mount.path()).unwrap();
        class.remove_below(mount.path()).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_named_class_is_shared_and_stays() {
        let mount = tempfile::tempdir().unwrap();
        let shared = class(r#"{"closID": "gold", "schemata": ["L3:0=f"]}"#).unwrap();
        let bare = class(r#"{"closID": "gold", "enableMonitoring": true}"#).unwrap();
        assert!(bare.make_below(mount.path()).unwrap_err().to_string().contains("there is no"));
        assert!(!mount.path().join("gold").exists());
        prepare(&mount.path().join("gold"), "    L3:0=f\n    MB:0=100\n");
        shared.make_below(mount.path()).unwrap();
        let other = class(r#"{"closID": "gold", "schemata": ["L3:0=3"]}"#).unwrap();
        let error = other.make_below(mount.path()).unwrap_err().to_string();
        assert!(error.contains("L3:0=3"), "{error}");
        bare.make_below(mount.path()).unwrap();
        bare.enter_below(mount.path(), 78).unwrap();
        let monitors = mount.path().join("gold/mon_groups/box");
        assert_eq!(fs::read_to_string(monitors.join("tasks")).unwrap(), "78");
        fs::remove_file(monitors.join("tasks")).unwrap();
        bare.remove_below(mount.path()).unwrap();
        assert!(!monitors.exists() && mount.path().join("gold").exists());
    }

    #[test]
    fn the_default_class_is_the_mount() {
        let mount = tempfile::tempdir().unwrap();
        prepare(mount.path(), "L3:0=f\n");
        let class = class(r#"{"closID": "/"}"#).unwrap();
        class.make_below(mount.path()).unwrap();
        class.enter_below(mount.path(), 79).unwrap();
        assert_eq!(fs::read_to_string(mount.path().join("tasks")).unwrap(), "79");
    }

    #[test]
    fn bad_words_are_named() {
        for (text, field) in [
            (r#"{"closID": "a/b"}"#, "closID"),
            (r#"{"closID": ".."}"#, "closID"),
            (r#"{"memBwSchema": "L3:0=f"}"#, "memBwSchema"),
            (r#"{"schemata": ["L3:0=f\nMB:0=1"]}"#, "schemata"),
        ] {
            let error = class(text).unwrap_err().to_string();
            assert!(error.contains(&format!("linux.intelRdt.{field}")), "{error}");
        }
    }
}
