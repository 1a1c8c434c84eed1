//! The caller's terminal: raw while a container's terminal is shown on it, and restored whatever happens.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Mutex;

use minibox_runtime::{Error, Result, sys};
use nix::sys::termios::{self, SetArg, Termios};

/// The settings before they were changed.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal is raw as long as this lives.
#[derive(Debug)]
pub(crate) struct RawMode;

fn restore() {
    // Taken, so that it is restored once; a panic while it is held leaves nothing better to do.
    let before = BEFORE.try_lock().ok().and_then(|mut before| before.take());
    if let Some(before) = before {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &before);
    }
}

/// A panic aborts the process without dropping anything: restores the terminal then too.
pub(crate) fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

impl RawMode {
    /// Makes standard input raw; `None` where it is no terminal.
    pub(crate) fn enter() -> Option<RawMode> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        *BEFORE.lock().ok()? = Some(before);
        Some(RawMode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Is there somebody who could type?
pub(crate) fn is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// `-it` shows the container's terminal on the caller's, so there must be one.
pub(crate) fn check(wanted: bool) -> Result<()> {
    if !wanted || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Error::new("-it: standard input is not a terminal")
        .hint("to pass a file or a pipe in, leave -t out: `minibox run -i …`"))
}

/// Rows and columns of the caller's terminal; `None` where there is none, or it does not know.
pub(crate) fn size() -> Option<(u16, u16)> {
    [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO]
        .into_iter()
        .find_map(sys::winsize)
        .filter(|(rows, columns)| *rows > 0 && *columns > 0)
}

/// Gives a container's terminal the size of the caller's.
pub(crate) fn copy_size(console: BorrowedFd<'_>) {
    if let Some((rows, columns)) = size() {
        let _ = sys::set_winsize(console.as_fd().as_raw_fd(), rows, columns);
    }
}
