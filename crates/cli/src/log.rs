//! A container's output, one line each: time, stream, `F`ull or `P`artial, text. The format of the
//! Kubernetes CRI, which is binary-safe and read by many tools. A file that has grown too large is followed
//! by the next, log.1 by log.2: none is ever renamed, so a reader knows where to go on.

use std::ffi::OsString;
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
    folder: PathBuf,
    /// The file that is written to.
    number: u32,
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    limits: LogLimits,
    /// The last line may be half a line: the disk was full.
    is_torn: bool,
}

/// The `number`th file of a log.
pub(crate) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("log.{number}"))
}

/// The numbers of the files that are there, the oldest first.
pub(crate) fn numbers(folder: &Path) -> Vec<u32> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let number = |name: &OsString| name.to_str()?.strip_prefix("log.")?.parse().ok();
    let mut numbers: Vec<u32> = names.filter_map(|name| number(&name)).collect();
    numbers.sort_unstable();
    numbers
}

impl Log {
    /// Goes on where the log in `folder` ends.
    pub(crate) fn open(folder: &Path, limits: LogLimits) -> Log {
        let number = numbers(folder).pop().unwrap_or(1);
        let file = append(&path(folder, number));
        let size = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Log { folder: folder.to_owned(), number, file, size, limits, is_torn: false }
    }

    /// The file that is written to.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// A full disk loses lines; it never blocks the container.
    pub(crate) fn write(&mut self, stream: &str, bytes: &[u8]) {
        let time = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (tag, line) = line.strip_suffix(b"\n").map_or(("P", line), |line| ("F", line));
            text.extend_from_slice(format!("{time} {stream} {tag} ").as_bytes());
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if self.size > 0 && self.size.saturating_add(text.len() as u64) > self.limits.max_size {
            self.turn_over();
        }
        if self.file.is_none() {
            self.file = append(&path(&self.folder, self.number));
        }
        if self.is_torn {
            text.insert(0, b'\n');
        }
        let Some(file) = self.file.as_mut().filter(|file| has_room(file)) else { return };
        self.is_torn = file.write_all(&text).is_err();
        if !self.is_torn {
            self.size += text.len() as u64;
        }
    }

    /// Begins a new file; the oldest goes. Where that cannot be, the one that there is grows.
    fn turn_over(&mut self) {
        let next = self.number.saturating_add(1);
        let Some(file) = append(&path(&self.folder, next)) else { return };
        (self.number, self.file, self.size, self.is_torn) = (next, Some(file), 0, false);
        let oldest = next.saturating_sub(self.limits.max_file.saturating_sub(1));
        for number in numbers(&self.folder).into_iter().take_while(|number| *number < oldest) {
            let _ = fs::remove_file(path(&self.folder, number));
        }
    }
}

fn append(path: &Path) -> Option<File> {
    File::options().append(true).create(true).mode(0o600).open(path).ok()
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
        assert_eq!(numbers(folder.path()), [2, 3, 4]);
        let last = [read(2), read(3), read(4)].concat();
        let texts: Vec<_> = last
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(Entry::parse(line).unwrap().text).into_owned())
            .collect();
        assert_eq!(texts, ["line 2", "line 3", "line 4", "line 5", "line 6", "line 7"]);
    }
}
