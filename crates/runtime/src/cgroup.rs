//! Control groups, version 1 and 2: a folder per container, what it may use, and its end. cgroups(7).
//!
//! The folder's path follows from the container's id alone, so that whatever was made can be found
//! again by whoever cleans up, even if its maker was killed a moment later.
//!
//! Version 1 has a hierarchy per controller, version 2 one for all; what differs between them is decided
//! in the files below this one, each about one concern: [`folders`] the folders themselves, [`limits`] how
//! much may be used, [`devices`] which devices (by [`device_rules`], through a [`device_filter`]),
//! [`freezer`] a pause, [`oom`] an alarm.

pub mod device_filter;
pub mod device_rules;
pub mod devices;
pub mod folders;
pub mod freezer;
pub mod limits;
pub mod oom;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;

pub use self::folders::{Address, Cgroup, Hierarchy, Layout, children, enter, is_writable};
use crate::error::{Error, Result};
use crate::step::Step;
use crate::sys;
use crate::systemd::Unit;
use crate::systemd::bus::Value;

impl Cgroup {
    /// PARENT: the unit it belongs to, where systemd makes it: around process `pid`, but for a slice. `more` are
    /// properties beside its own.
    pub fn start_unit(&self, pid: Option<i32>, more: &[(String, Value)]) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        unit.start(pid.filter(|_| !unit.is_slice()), more).map_err(|e| e.step(Step::MakeCgroup))
    }

    /// PARENT: makes the folders and writes what `resources` limits, all before the process exists, or the
    /// program that it will be: then process `pid`, around which systemd has made its unit, is moved in.
    pub fn create(&self, resources: Option<&LinuxResources>, pid: Option<i32>) -> Result<()> {
        let create = || {
            self.make()?;
            if let Some(pid) = pid.filter(|_| !self.unified) {
                // Of version 1 systemd has a part, and what is empty it clears away while it is told of limits.
                self.take_in(pid)?;
            }
            if let Some(resources) = resources {
                self.limit(resources)?;
                self.restrict_devices(resources.devices().as_deref().unwrap_or_default())?;
            }
            Ok(())
        };
        create().map_err(|error: Error| error.step(Step::MakeCgroup))
    }

    /// Sends `signal` to every process in it. Version 2 kills them at one stroke, so that none forks on.
    pub fn signal(&self, signal: i32) {
        if signal == libc::SIGKILL && self.unified && self.write("", "cgroup.kill", "1").is_ok() {
            return;
        }
        for pid in self.processes() {
            // In between it may have ended.
            if let Ok(pidfd) = sys::pidfd_open(pid) {
                let _ = sys::pidfd_send_signal(pidfd.as_raw_fd(), signal);
            }
        }
    }

    /// Ends whatever is still in it and removes the folders; nothing there is success.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut pause = Duration::from_micros(500);
        loop {
            let folders =
                self.folders.iter().map(|(hierarchy, _)| hierarchy.mount.join(&self.path));
            let mut failed = folders.filter_map(|f| remove_folder(&f).err().map(|e| (f, e)));
            let busy = failed.next();
            let Some((folder, error)) = busy else {
                return self.unit.as_ref().map_or(Ok(()), Unit::stop);
            };
            if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() > deadline {
                return Err(Error::of_io("remove the cgroup", &folder, &error)
                    .hint("processes in it do not end; look at its cgroup.procs"));
            }
            // A process that has just ended may still be counted; one that runs on is ended, and one that
            // is frozen must run to end.
            self.signal(libc::SIGKILL);
            let _ = self.thaw();
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// rmdir(2) of a cgroup and, first, of those below it.
fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            for child in folders::folders_in(folder) {
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
