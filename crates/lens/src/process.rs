//! One process, held: /proc/PID, proc(5).

use std::io::ErrorKind;
use std::path::PathBuf;

use procfs::process::Process;

use crate::seen::must;
use crate::{Error, Result, Seen};

/// Holds a process of the host by its number. Threads have numbers too, and are not meant.
pub fn open(pid: i32) -> Result<Process> {
    if pid <= 0 {
        return Err(Error::Gone(pid));
    }
    let process = must(pid, "/proc", Process::new(pid))?;
    // /proc/TID is there without being listed.
    match must(pid, "status", process.status())?.tgid == pid {
        true => Ok(process),
        false => Err(Error::Gone(pid)),
    }
}

/// Where the link `name` below /proc/PID leads to.
pub(crate) fn link(process: &Process, name: &str) -> Seen<PathBuf> {
    let path = format!("/proc/{}/{name}", process.pid());
    let target = std::fs::read_link(path);
    // Read by number: it counts only where the number is still the held process's.
    match target {
        Ok(target) if process.is_alive() => Seen::Known(target),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Seen::Denied,
        _ => Seen::Absent,
    }
}
