//! The client of a monitor: the caller's terminal or pipes on one side, the container on the other.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use minibox_runtime::{Result, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, recv};

use crate::monitor::words::{CHUNK, MESSAGE, error_of, tell, to_client, to_monitor};
use crate::output;
use crate::supervise::{explain_and_send, write_all};
use crate::terminal;
use crate::wishes::bad;

/// How a client is with a container.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    pub name: &'a str,
    /// Its PID 1 on the host.
    pub pid: i32,
    /// It has a terminal.
    pub tty: bool,
    /// Input is passed on.
    pub interactive: bool,
    /// Signals are passed on.
    pub sig_proxy: bool,
    pub keys: DetachKeys,
    /// It ends where this client ends without a word.
    pub is_owner: bool,
    /// It ran before this client came.
    pub is_guest: bool,
}

/// How a client's time with a container ended.
#[derive(Debug)]
pub(crate) enum Attended {
    /// With this code, and a note or nothing.
    Ended(i32, String),
    Left,
    MonitorGone,
    /// By a signal to this process; SIGHUP says that the caller's terminal is gone.
    Signaled(Signal),
    /// Whoever read the output is gone.
    ReaderGone,
}

/// Stays until the container ends or the caller leaves it.
pub(crate) fn attend(
    socket: &OwnedFd,
    mut visit: Visit<'_>,
    signals: &SignalFd,
) -> Result<Attended> {
    let mut buffer = vec![0; MESSAGE];
    let raw = if visit.interactive && visit.tty { terminal::RawMode::enter() } else { None };
    let send_size = |more: u16| {
        if let Some((rows, columns)) = terminal::size() {
            let size = [rows.saturating_add(more).to_ne_bytes(), columns.to_ne_bytes()];
            tell(socket, to_monitor::SIZE, &size.concat());
        }
    };
    if visit.is_guest {
        // A change, so that a full-screen program shows itself anew.
        send_size(1);
    }
    send_size(0);
    let stdin = std::io::stdin();
    let mut reading = visit.interactive;
    // The program takes what was sent last; until then no more is read, but output still is.
    let mut is_taken = true;
    let mut second_chance: Option<Instant> = None;
    loop {
        let mut polled = vec![
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if reading && is_taken {
            polled.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        if poll(&mut polled, PollTimeout::NONE).is_err() {
            continue;
        }
        let ready: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(false)).collect();
        if ready[0]
            && let Some(end) = hear(socket, &mut buffer, visit.name, &mut is_taken)?
        {
            return Ok(end);
        }
        while let Ok(Some(info)) = signals.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
            match signal {
                Signal::SIGWINCH => send_size(0),
                // An owner who leaves without a word ends the container.
                Signal::SIGHUP if visit.tty || !visit.is_owner => {
                    return Ok(Attended::Signaled(signal));
                }
                signal if !visit.sig_proxy => return Ok(Attended::Signaled(signal)),
                signal => {
                    let send = |signal| tell(socket, to_monitor::SIGNAL, &[signal as u8]);
                    explain_and_send(visit.pid, signal, &mut second_chance, visit.name, send);
                }
            }
        }
        if ready.get(2) == Some(&true) {
            let count = match sys::read(libc::STDIN_FILENO, &mut buffer[..CHUNK]) {
                Err(fault) if matches!(fault.errno, Errno::EINTR | Errno::EAGAIN) => continue,
                Ok(0) | Err(_) => {
                    reading = false;
                    tell(socket, to_monitor::INPUT_END, &[]);
                    continue;
                }
                Ok(count) => count,
            };
            let is_typed = visit.tty && stdin.is_terminal();
            let (bytes, leave) = visit.keys.filter(&buffer[..count], is_typed);
            if !bytes.is_empty() {
                tell(socket, to_monitor::INPUT, &bytes);
                is_taken = false;
            }
            if leave {
                tell(socket, to_monitor::DETACH, &[]);
                drop(raw);
                output::print("\n");
                let name = visit.name;
                output::note(&format!(
                    "left {name} running; `minibox attach {name}` comes back, `minibox stop {name}` ends it"
                ));
                return Ok(Attended::Left);
            }
        }
    }
}

/// Hears one message and shows what it says; how it ended, where it has.
fn hear(
    socket: &OwnedFd,
    buffer: &mut [u8],
    name: &str,
    is_taken: &mut bool,
) -> Result<Option<Attended>> {
    let count = match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        // A monitor that ends with words of ours unread resets the line; its own last words come yet.
        Err(Errno::EINTR | Errno::EAGAIN | Errno::ECONNRESET) => return Ok(None),
        Ok(0) | Err(_) => return Ok(Some(Attended::MonitorGone)),
        Ok(count) => count,
    };
    let (kind, rest) = (buffer[0], &buffer[1..count]);
    match kind {
        to_client::OUTPUT if !write_all(libc::STDOUT_FILENO, rest) => {
            return Ok(Some(Attended::ReaderGone));
        }
        to_client::TAKEN => *is_taken = true,
        to_client::ERROR => drop(write_all(libc::STDERR_FILENO, rest)),
        to_client::LOST => {
            let lost = rest.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            output::note(&format!(
                "{lost} bytes of output went by while nobody took them here; `minibox logs {name}` has them"
            ));
        }
        to_client::ENDED => {
            let Some((code, note)) = rest.split_first_chunk() else { return Ok(None) };
            return Ok(Some(Attended::Ended(
                i32::from_ne_bytes(*code),
                String::from_utf8_lossy(note).into_owned(),
            )));
        }
        to_client::FAILED => {
            let (code, text) = rest.split_first().unwrap_or((&125, &[]));
            return Err(error_of(*code, text));
        }
        _ => {}
    }
    Ok(None)
}

/// The exit code for the caller's shell, and a word on an end that has one.
pub(crate) fn exit_code(attended: Attended, name: &str) -> u8 {
    match attended {
        Attended::Ended(code, note) => {
            if !note.is_empty() {
                output::note(&note);
            }
            code as u8
        }
        Attended::Left => 0,
        Attended::Signaled(signal) => 128 + signal as u8,
        Attended::ReaderGone => 141,
        // The container's record must stay: it may still run.
        Attended::MonitorGone => {
            output::note(&format!(
                "the monitor of {name} is gone; `minibox ps -a` shows what became of it"
            ));
            125
        }
    }
}

/// The keys for leaving. Those that begin like them are held back until it is clear what they are.
#[derive(Debug, Clone)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them have been typed.
    typed: usize,
}

impl DetachKeys {
    /// Reads docker's spelling: letters and `ctrl-X`, parted by commas; empty for none.
    pub(crate) fn parse(text: &str) -> Result<DetachKeys> {
        let wrong = || {
            bad("--detach-keys", text, "letters and ctrl-LETTER, parted by commas: ctrl-p,ctrl-q")
        };
        let key =
            |word: &str| match (word.strip_prefix("ctrl-").map(str::as_bytes), word.as_bytes()) {
                (Some([letter @ b'a'..=b'z']), _) => Ok(letter - b'a' + 1),
                (Some(b"@"), _) => Ok(0),
                (Some([letter @ (b'[' | b'\\' | b']' | b'^' | b'_')]), _) => Ok(letter - b'@'),
                (None, [letter]) if letter.is_ascii_graphic() => Ok(*letter),
                _ => Err(wrong()),
            };
        let words = text.split(',').filter(|_| !text.is_empty());
        Ok(DetachKeys { keys: words.map(key).collect::<Result<_>>()?, typed: 0 })
    }

    /// What is to be passed on of `input`, and whether the keys were typed.
    fn filter(&mut self, input: &[u8], is_typed: bool) -> (Vec<u8>, bool) {
        if !is_typed || self.keys.is_empty() {
            return (input.to_vec(), false);
        }
        let mut bytes = Vec::with_capacity(input.len() + self.typed);
        for &byte in input {
            if byte != self.keys[self.typed] {
                bytes.extend_from_slice(&self.keys[..self.typed]);
                self.typed = 0;
            }
            if byte == self.keys[self.typed] {
                self.typed += 1;
            } else {
                bytes.push(byte);
            }
            if self.typed == self.keys.len() {
                self.typed = 0;
                return (bytes, true);
            }
        }
        (bytes, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_p_ctrl_q_leaves_and_nothing_else_is_lost() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        let fresh = keys.clone();
        assert_eq!(keys.filter(b"ab\x10", true), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c", true), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"d\x10\x10\x11", true), (b"d\x10".to_vec(), true));
        assert_eq!(fresh.clone().filter(b"\x10\x11", false), (b"\x10\x11".to_vec(), false));
    }

    #[test]
    fn keys_as_docker_spells_them() {
        assert_eq!(DetachKeys::parse("ctrl-a,x").unwrap().keys, [1, b'x']);
        assert_eq!(DetachKeys::parse("ctrl-@,ctrl-[,ctrl-_").unwrap().keys, [0, 27, 31]);
        assert!(DetachKeys::parse("").unwrap().keys.is_empty());
        for wrong in ["ctrl-", "ctrl-1", "ab", "ctrl-a,,b", "한"] {
            assert!(DetachKeys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
