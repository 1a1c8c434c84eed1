//! How far something has come that takes longer than a second: one line on stderr, redrawn, and gone at the
//! end. Nothing at all in a pipe.

use std::io::{IsTerminal, Read, Result, Write};
use std::time::{Duration, Instant};

use crate::language;
use crate::output;
use crate::size;

/// Nothing is shown before.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two drawings.
const BETWEEN: Duration = Duration::from_millis(100);

/// Counts the bytes that pass through a reader or a writer.
#[derive(Debug)]
pub(crate) struct Progress<T> {
    inner: T,
    /// What is being done; `None` where nobody watches.
    title: Option<String>,
    bytes: u64,
    next: Instant,
    drawn: bool,
}

impl<T> Progress<T> {
    /// Shows `title` and how much has passed.
    pub(crate) fn new(inner: T, title: &str) -> Progress<T> {
        let watched = !output::is_quiet() && std::io::stderr().is_terminal();
        let title = watched.then(|| output::on_one_line(&language::say(title)));
        Progress { inner, title, bytes: 0, next: Instant::now() + PATIENCE, drawn: false }
    }

    fn add(&mut self, count: usize) {
        self.bytes += count as u64;
        let Some(title) = self.title.as_ref().filter(|_| Instant::now() >= self.next) else {
            return;
        };
        let line = format!("\r\x1b[K{title}: {}", size::decimal(self.bytes, 3));
        let _ = std::io::stderr().write_all(line.as_bytes());
        (self.drawn, self.next) = (true, Instant::now() + BETWEEN);
    }
}

impl<T> Drop for Progress<T> {
    fn drop(&mut self) {
        if self.drawn {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl<T: Read> Read for Progress<T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.inner.read(buffer)?;
        self.add(count);
        Ok(count)
    }
}

impl<T: Write> Write for Progress<T> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        let count = self.inner.write(buffer)?;
        self.add(count);
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}
