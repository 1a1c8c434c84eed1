//! An alarm that rings when a cgroup runs out of memory. Kernel documentation, admin-guide/cgroup-v1/memory,
//! "OOM Control"; admin-guide/cgroup-v2, "memory.events".

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::folders::Cgroup;
use crate::error::{Error, Result};

/// Readable when something has happened; then ask [`Alarm::heard`].
#[derive(Debug)]
pub struct Alarm {
    cgroup: Cgroup,
    bell: Bell,
    /// How often it had rung before.
    kills: std::cell::Cell<u64>,
}

#[derive(Debug)]
enum Bell {
    /// Version 1 signals it, and needs the file to be open.
    Event(EventFd, #[allow(dead_code)] File),
    /// Version 2 changes a file.
    Change(Inotify),
}

impl Cgroup {
    /// Sets an alarm.
    pub fn oom_alarm(&self) -> Result<Alarm> {
        let failed = |errno: Errno| Error::new("cannot watch for want of memory").errno(errno);
        let missing = || Error::new("cannot watch for want of memory: no memory controller");
        let folder = self.folder_of("memory").ok_or_else(missing)?;
        let bell = if self.unified {
            let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
            let bell = Inotify::init(flags).map_err(failed)?;
            let changes = AddWatchFlags::IN_MODIFY;
            bell.add_watch(&folder.join("memory.events"), changes).map_err(failed)?;
            Bell::Change(bell)
        } else {
            let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(failed)?;
            let path = folder.join("memory.oom_control");
            let control = File::open(&path).map_err(|e| Error::of_io("open", &path, &e))?;
            let words = format!("{} {}", bell.as_fd().as_raw_fd(), control.as_raw_fd());
            let door = folder.join("cgroup.event_control");
            fs::write(&door, words).map_err(|e| Error::of_io("write", &door, &e))?;
            Bell::Event(bell, control)
        };
        Ok(Alarm { cgroup: self.clone(), bell, kills: self.oom_kills().into() })
    }
}

impl Alarm {
    /// After it has become readable: has memory run out since it was last asked? Version 1 rings once more
    /// when the cgroup goes.
    pub fn heard(&self) -> bool {
        match &self.bell {
            Bell::Event(bell, _) => drop(bell.read()),
            Bell::Change(bell) => drop(bell.read_events()),
        }
        let kills = self.cgroup.oom_kills();
        if !self.cgroup.exists() {
            return false;
        }
        let is_more = kills > self.kills.replace(kills);
        // Version 1 rings before the kernel has chosen its victim.
        is_more || !self.cgroup.unified
    }

    /// Version 2, and the cgroup is gone: had there been anything to hear? Who makes cgroups may take one away, as
    /// systemd does, before anybody could ask it how its processes ended.
    pub fn has_rung(&self) -> bool {
        let Bell::Change(bell) = &self.bell else { return false };
        let events = bell.read_events().unwrap_or_default();
        events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_MODIFY))
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.bell {
            Bell::Event(bell, _) => bell.as_fd(),
            Bell::Change(bell) => bell.as_fd(),
        }
    }
}
