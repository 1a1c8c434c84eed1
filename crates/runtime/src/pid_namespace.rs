//! Every process of a pid namespace, found and signalled from outside: the way to pause a container that
//! has no cgroup. pid_namespaces(7).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::state;
use crate::sys::{self, Fault};

/// How long a process may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops every process of the namespace whose PID 1 is `init` on the host, those of namespaces below it
/// included: SIGSTOP to each, again and again until nobody is left who could make another. After an error
/// all run on.
pub fn stop(init: i32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let namespace = Namespace::of(init)?;
    let mut was_still = false;
    loop {
        // Who is older comes first: a shell that saw its child stop would take it for Ctrl-Z.
        let mut running = namespace.processes();
        // Stopped by a signal or a debugger, or ended.
        running.retain(|pid| !matches!(state::letter(*pid), None | Some('T' | 't' | 'Z' | 'X')));
        let sent = running.iter().try_for_each(|pid| namespace.signal(*pid, libc::SIGSTOP));
        let failed = match sent {
            Ok(()) if running.is_empty() && was_still => return Ok(()),
            Ok(()) if running.is_empty() || Instant::now() < deadline => {
                // A fork that had begun when the signal came is finished before it is heard, and its child
                // was missed: all must be found still once more.
                was_still = running.is_empty();
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            Ok(()) => {
                let seconds = PATIENCE.as_secs();
                Error::new(format!("process {} does not stop within {seconds} s", running[0]))
            }
            Err(fault) => Error::of_fault("cannot stop a process", fault),
        };
        let _ = go_on(init);
        return Err(failed);
    }
}

/// Lets every process of that namespace run on, the youngest first.
pub fn go_on(init: i32) -> Result<()> {
    let namespace = Namespace::of(init)?;
    let mut done = Ok(());
    for pid in namespace.processes().into_iter().rev() {
        done = done.and(namespace.signal(pid, libc::SIGCONT));
    }
    done.map_err(|fault| Error::of_fault("cannot let a process run on", fault))
}

/// Every process of the namespace whose PID 1 is `init` on the host, the oldest first.
pub fn processes(init: i32) -> Result<Vec<i32>> {
    Ok(Namespace::of(init)?.processes())
}

/// A pid namespace, as the device and inode numbers of its file in /proc tell it from others.
struct Namespace((u64, u64));

impl Namespace {
    /// That of the process `init`, which must be its PID 1: otherwise others than its own live there too.
    fn of(init: i32) -> Result<Namespace> {
        let path = format!("/proc/{init}/status");
        let status = std::fs::read_to_string(&path)
            .map_err(|e| Error::of_io("read", Path::new(&path), &e))?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or("");
        if numbers.split_whitespace().last() != Some("1") || init == 1 {
            return Err(shared());
        }
        Namespace::below_ours(init)
    }

    /// That of the process `init`; never the caller's own, whatever else is said of it: it is the machine's.
    fn below_ours(init: i32) -> Result<Namespace> {
        let read = |who: &str| {
            let path = format!("/proc/{who}/ns/pid");
            let identity = File::open(&path).and_then(|file| identity(&file));
            identity.map_err(|e| Error::of_io("read", Path::new(&path), &e))
        };
        let identity = read(&init.to_string())?;
        if identity == read("self")? { Err(shared()) } else { Ok(Namespace(identity)) }
    }

    /// Its processes, the oldest first.
    fn processes(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut all: Vec<(u64, i32)> = pids
            .filter(|pid| self.has(*pid))
            .filter_map(|pid| Some((state::start_time(pid)?, pid)))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Does process `pid` live in it, or in a namespace below it? Not if the caller may not know.
    fn has(&self, pid: i32) -> bool {
        let mut next = File::open(format!("/proc/{pid}/ns/pid")).ok();
        while let Some(file) = next {
            if identity(&file).is_ok_and(|found| found == self.0) {
                return true;
            }
            // Ends at the caller's own: what lies above it is not shown to him.
            next = sys::parent_namespace(file.as_raw_fd()).ok().map(File::from);
        }
        false
    }

    /// Sends a signal to one of its processes; none to one that has ended, or to another with its number.
    fn signal(&self, pid: i32, signal: i32) -> std::result::Result<(), Fault> {
        let Ok(pidfd) = sys::pidfd_open(pid) else { return Ok(()) };
        if !self.has(pid) {
            return Ok(());
        }
        match sys::pidfd_send_signal(pidfd.as_raw_fd(), signal) {
            Err(fault) if fault.errno != nix::errno::Errno::ESRCH => Err(fault),
            _ => Ok(()),
        }
    }
}

fn shared() -> Error {
    Error::new("its processes cannot be told from others, since it has no pid namespace of its own")
}

fn identity(file: &File) -> std::io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_shares_its_namespace_is_not_paused_with_all_its_neighbours() {
        let error = stop(std::process::id() as i32).unwrap_err().to_string();
        assert!(error.contains("pid namespace"), "{error}");
        assert!(go_on(1).is_err());
        assert!(Namespace::below_ours(std::process::id() as i32).is_err());
    }
}
