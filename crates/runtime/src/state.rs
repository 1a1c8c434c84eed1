//! What is known of a living container: state.json, written atomically, and the lock around it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sys;

/// A process that cannot be mistaken for another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid on the host.
    pub pid: i32,
    /// Clock ticks after boot, field 22 of proc_pid_stat(5).
    pub start_time: u64,
}

impl ProcessId {
    /// The process `pid` as it is now; `None` where there is none.
    pub fn of(pid: i32) -> Option<ProcessId> {
        Some(ProcessId { pid, start_time: start_time(pid)? })
    }

    /// Is it still there, and not merely a zombie?
    pub fn is_alive(self) -> bool {
        matches!(stat(self.pid), Some((state, start)) if start == self.start_time && state != 'Z' && state != 'X')
    }
}

/// The state of a running container, in its folder below /run: gone with the machine's power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its PID 1.
    pub init: ProcessId,
    /// Of the boot it was started in, random(4): tells a reboot.
    pub boot_id: String,
    /// Who looks after it: the monitor, or the process in the foreground.
    pub keeper: ProcessId,
}

/// Process state letter and start time of `pid`.
fn stat(pid: i32) -> Option<(char, u64)> {
    // In one read: whoever lists a thousand containers asks this of each more than once.
    let mut buffer = [0; 1024];
    let count = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..count]);
    // The name stands in parentheses and may itself contain some.
    let mut rest = text.rsplit_once(") ")?.1.split(' ');
    let state = rest.next()?.chars().next()?;
    Some((state, rest.nth(18)?.parse().ok()?))
}

/// What `pid` is doing: the state letter of proc_pid_stat(5), T where it was stopped by a signal; `None`
/// where there is no such process.
pub fn letter(pid: i32) -> Option<char> {
    stat(pid).map(|(letter, _)| letter)
}

/// Start time of `pid` in clock ticks after boot; `None` where there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|(_, start)| start)
}

/// Opens a pidfd for `id`, and makes sure that it is that very process: `None` where it has ended.
pub fn hold(id: ProcessId) -> Result<Option<OwnedFd>> {
    let pidfd = match sys::pidfd_open(id.pid) {
        Ok(pidfd) => pidfd,
        Err(fault) if matches!(fault.errno, Errno::ESRCH | Errno::EINVAL) => return Ok(None),
        Err(fault) => {
            return Err(Error::of_fault(format!("cannot hold process {}", id.pid), fault));
        }
    };
    // Read after the descriptor was opened: it can no longer be another process's.
    Ok((start_time(id.pid) == Some(id.start_time)).then_some(pidfd))
}

/// The id of this boot.
pub fn boot_id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    });
    &ID
}

/// Writes `value` as JSON so that a reader sees the old file or the new one, never half of one. On a full
/// disk it goes where [`keep_room`] has kept room for it.
pub fn save<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(format!("cannot write {}: {e}", path.display())))?;
    let is_full = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            && spare(path).exists()
    };
    let written = match write_anew(path, &text) {
        Err(error) if is_full(&error) => write_into_spare(path, text),
        written => written,
    };
    written.map_err(|error| Error::of_io("write", path, &error))
}

fn write_anew(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.as_file_mut().write_all(text)?;
    file.persist(path)?;
    Ok(())
}

/// The file that may take the place of the one at `path`.
fn spare(path: &Path) -> PathBuf {
    path.with_extension("spare")
}

/// Keeps room on the disk for a later [`save`] of a little more than stands in the file at `path` now. Where
/// there is none, or the filesystem knows no fallocate(2), nothing is kept. The caller holds a lock.
pub fn keep_room(path: &Path) {
    const BLOCK: u64 = 4096;
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let room = length(path).next_multiple_of(BLOCK) + BLOCK;
    if length(&spare(path)) >= room {
        return;
    }
    let mut options = File::options();
    options.create(true).write(true).truncate(false).mode(0o600);
    if let Ok(file) = options.open(spare(path)) {
        let _ = fallocate(&file, FallocateFlags::empty(), 0, room as i64);
    }
}

/// Without taking a block or an inode: the two files change places, each keeping what it has.
fn write_into_spare(path: &Path, mut text: Vec<u8>) -> io::Result<()> {
    let spare = spare(path);
    let mut file = File::options().write(true).open(&spare)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    // Over whatever stood there: blanks at the end are no part of the JSON.
    text.resize(text.len().max(length), b' ');
    file.write_all(&text)?;
    sys::exchange(&spare, path).map_err(|fault| io::Error::from(fault.errno))
}

/// Reads JSON from `path`; `None` where there is no such file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::of_io("read", path, &error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::new(format!("{} is damaged: {error}", path.display()))
            .hint("`minibox gc --force` clears away what cannot be read")
    })
}

/// A lock on a container's folder; other processes wait, and it ends with its holder.
#[derive(Debug)]
pub struct Lock {
    held: Flock<File>,
}

impl Lock {
    /// Waits for the lock of `folder`. `None` where the folder is, or has meanwhile been, removed.
    pub fn wait(folder: &Path) -> Result<Option<Lock>> {
        Lock::take(folder, FlockArg::LockExclusive)
    }

    /// The lock of `folder` if nobody holds it.
    pub fn try_now(folder: &Path) -> Result<Option<Lock>> {
        Lock::take(folder, FlockArg::LockExclusiveNonblock)
    }

    fn take(folder: &Path, how: FlockArg) -> Result<Option<Lock>> {
        let file = match File::open(folder) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::of_io("open", folder, &error)),
        };
        let held = match Flock::lock(file, how) {
            Ok(held) => held,
            Err((_, Errno::EAGAIN)) => return Ok(None),
            Err((_, errno)) => {
                return Err(Error::new(format!("cannot lock {}", folder.display())).errno(errno));
            }
        };
        // Whoever held it before may have removed the folder.
        Ok(folder.exists().then_some(Lock { held }))
    }

    /// The open file behind it: a process that inherits it holds the lock as long as it keeps that open, unless
    /// this one unlocks it.
    pub fn descriptor(&self) -> RawFd {
        self.held.as_raw_fd()
    }

    /// After a fork, in the process that does not keep the lock: to unlock it here would unlock it for
    /// the other process too, since both hold one open file. Only this process's descriptor is closed.
    pub fn leave_to_the_other(self) {
        let descriptor = self.held.as_raw_fd();
        std::mem::forget(self.held);
        sys::close(descriptor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_time: me.start_time + 1, ..me }.is_alive());
        assert!(ProcessId::of(i32::MAX).is_none());
    }

    #[test]
    fn damaged_state_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert!(read::<State>(&path).unwrap().is_none());
        for torn in ["", "{", "null", "{\"init\":{\"pid\":1"] {
            fs::write(&path, torn).unwrap();
            let error = read::<State>(&path).unwrap_err().to_string();
            assert!(error.contains("state.json is damaged"), "{error}");
        }
    }

    #[test]
    fn the_lock_of_a_removed_folder_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("c");
        fs::create_dir(&folder).unwrap();
        let lock = Lock::wait(&folder).unwrap().unwrap();
        assert!(Lock::try_now(&folder).unwrap().is_none());
        fs::remove_dir(&folder).unwrap();
        drop(lock);
        assert!(Lock::wait(&folder).unwrap().is_none());
    }
}
