//! A container's output, one line each: time, stream, `F`ull or `P`artial, text. The format of the
//! Kubernetes CRI, which is binary-safe and read by many tools.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// The writing end.
pub(crate) struct Log {
    pub file: Option<File>,
}

impl Log {
    pub(crate) fn open(folder: &Path) -> Log {
        Log {
            file: File::options()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(folder.join("log"))
                .ok(),
        }
    }

    /// A full disk loses lines; it never blocks the container.
    pub(crate) fn write(&mut self, stream: &str, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let time = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (tag, line) = line.strip_suffix(b"\n").map_or(("P", line), |line| ("F", line));
            text.extend_from_slice(format!("{time} {stream} {tag} ").as_bytes());
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        let _ = file.write_all(&text);
    }
}

/// Prints one entry to the stream it came from; false where the reader is gone.
pub(crate) fn print_entry(line: &[u8]) -> bool {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (Some(_time), Some(stream), Some(tag), Some(text)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return true;
    };
    let text = if tag == b"P" { &text[..text.len().saturating_sub(1)] } else { text };
    let written = if stream == b"stderr" {
        std::io::stderr().write_all(text)
    } else {
        std::io::stdout().write_all(text)
    };
    written.and_then(|()| std::io::stdout().flush()).is_ok()
}
