//! One process, held: /proc/PID, proc(5).

use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use procfs::ProcError;
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
    let is_process = must(pid, "status", process.status())?.tgid == pid;
    if is_process { Ok(process) } else { Err(Error::Gone(pid)) }
}

/// A whole file below /proc/PID, as text: what is none becomes U+FFFD.
pub(crate) fn read(process: &Process, name: &str) -> Result<Seen<String>> {
    let mut bytes = Vec::new();
    // The kernel checks when it is opened, or only when it is read.
    let read = process.open_relative(name).and_then(|mut file| Ok(file.read_to_end(&mut bytes)?));
    match read {
        Ok(_) => Ok(Seen::Known(String::from_utf8_lossy(&bytes).into_owned())),
        Err(ProcError::PermissionDenied(_)) => Ok(Seen::Denied),
        Err(ProcError::Io(error, _)) if error.kind() == ErrorKind::PermissionDenied => {
            Ok(Seen::Denied)
        }
        // It has ended and was not collected: no namespaces, EINVAL.
        Err(ProcError::Io(error, _)) if error.kind() == ErrorKind::InvalidInput => Ok(Seen::Absent),
        Err(ProcError::NotFound(_)) if process.is_alive() => Ok(Seen::Absent),
        Err(error) => must(process.pid(), name, Err(error)),
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
