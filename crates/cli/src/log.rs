//! A container's output, one line each: time, stream, `F`ull or `P`artial, text. The format of the
//! Kubernetes CRI, which is binary-safe and read by many tools. A file that has grown too large becomes
//! log.1, that one log.2, and so on.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::statvfs::fstatvfs;

use crate::settings::LogLimits;

/// Bytes of the disk that a log leaves alone: how a container has ended must still be written down.
const ROOM: u64 = 1 << 20;

/// The writing end.
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    limits: LogLimits,
    /// The last line may be half a line: the disk was full.
    is_torn: bool,
}

/// The log `number` times before the present one.
pub(crate) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(if number == 0 { String::from("log") } else { format!("log.{number}") })
}

impl Log {
    pub(crate) fn open(folder: &Path, limits: LogLimits) -> Log {
        let path = path(folder, 0);
        let file = File::options().append(true).create(true).mode(0o600).open(&path).ok();
        let size = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Log { path, file, size, limits, is_torn: false }
    }

    /// The file that is written to.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// A full disk loses lines; it never blocks the container.
    pub(crate) fn write(&mut self, stream: &str, bytes: &[u8]) {
        let time = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        let mut text = Vec::with_capacity(bytes.len() + 64);
        if self.is_torn {
            text.push(b'\n');
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (tag, line) = line.strip_suffix(b"\n").map_or(("P", line), |line| ("F", line));
            text.extend_from_slice(format!("{time} {stream} {tag} ").as_bytes());
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if self.size > 0 && self.size.saturating_add(text.len() as u64) > self.limits.max_size {
            self.turn_over();
        }
        let Some(file) = self.file.as_mut().filter(|file| has_room(file)) else { return };
        self.is_torn = file.write_all(&text).is_err();
        if !self.is_torn {
            self.size += text.len() as u64;
        }
    }

    /// Begins a new file; the oldest goes.
    fn turn_over(&mut self) {
        let folder = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let last = self.limits.max_file.saturating_sub(1);
        if last == 0 {
            let _ = fs::remove_file(&self.path);
        }
        let free = (1..last).find(|number| !path(&folder, *number).exists()).unwrap_or(last);
        for number in (0..free).rev() {
            let _ = fs::rename(path(&folder, number), path(&folder, number + 1));
        }
        *self = Log::open(&folder, self.limits);
    }
}

fn has_room(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|fs| fs.blocks_available() * fs.fragment_size() >= ROOM)
}

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// RFC 3339 with nanoseconds, in UTC: times compare as texts do.
    pub time: &'a str,
    pub is_error: bool,
    /// The line ends here; otherwise more of it follows.
    pub is_full: bool,
    pub text: &'a [u8],
}

impl Entry<'_> {
    /// Reads one, which ends with a newline.
    pub(crate) fn parse(line: &[u8]) -> Option<Entry<'_>> {
        let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let (stream, tag) = (parts.next()?, parts.next()?);
        Some(Entry {
            time,
            is_error: stream == b"stderr",
            is_full: tag == b"F",
            text: parts.next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_turn_over_and_lines_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), LogLimits { max_size: 100, max_file: 3 });
        for number in 0..8 {
            log.write("stdout", format!("line {number}\n").as_bytes());
        }
        let read = |number| fs::read(path(folder.path(), number)).unwrap();
        assert!(!path(folder.path(), 3).exists());
        let last = [read(2), read(1), read(0)].concat();
        let texts: Vec<_> = last
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(Entry::parse(line).unwrap().text).into_owned())
            .collect();
        assert_eq!(texts, ["line 2", "line 3", "line 4", "line 5", "line 6", "line 7"]);
    }
}
