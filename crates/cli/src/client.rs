//! The client of a monitor: the caller's terminal on one side, the container's on the other.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use minibox_runtime::{Result, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, recv};

use crate::monitor::{CHUNK, MESSAGE, offer, tell, to_client, to_monitor};
use crate::output;
use crate::supervise::write_all;
use crate::terminal;

/// Stays until the container ends or the caller leaves it.
pub(crate) fn attend(
    socket: &OwnedFd,
    interactive: bool,
    name: &str,
    signals: &SignalFd,
) -> Result<Attended> {
    let mut buffer = vec![0; MESSAGE];
    let raw = if interactive { terminal::RawMode::enter() } else { None };
    let send_size = || {
        if let Some((rows, columns)) = terminal::size() {
            tell(socket, to_monitor::SIZE, &[rows.to_ne_bytes(), columns.to_ne_bytes()].concat());
        }
    };
    send_size();
    let stdin = std::io::stdin();
    let mut reading = interactive;
    // Input that the monitor has not taken yet; until then no more is read, but output still is.
    let mut unsent: Option<Vec<u8>> = None;
    let mut keys = DetachKeys::default();
    loop {
        let mut to_socket = PollFlags::POLLIN;
        to_socket.set(PollFlags::POLLOUT, unsent.is_some());
        let mut polled = vec![
            PollFd::new(socket.as_fd(), to_socket),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if reading && unsent.is_none() {
            polled.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        if poll(&mut polled, PollTimeout::NONE).is_err() {
            continue;
        }
        let ready: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(false)).collect();
        if let Some(message) = unsent.take() {
            unsent = offer(socket, message);
        }
        if ready[0] {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                // A monitor that ends with words of ours unread resets the line; its own last words come yet.
                Err(Errno::EINTR | Errno::EAGAIN | Errno::ECONNRESET) => {}
                Ok(0) | Err(_) => return Ok(Attended::MonitorGone),
                Ok(count) => match buffer[0] {
                    to_client::OUTPUT => {
                        write_all(libc::STDOUT_FILENO, &buffer[1..count]);
                    }
                    to_client::ENDED if count >= 5 => {
                        let code = i32::from_ne_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]);
                        drop(raw);
                        let note = String::from_utf8_lossy(&buffer[5..count]);
                        if !note.is_empty() {
                            output::note(&note);
                        }
                        return Ok(Attended::Ended(code));
                    }
                    _ => {}
                },
            }
        }
        while let Ok(Some(info)) = signals.read_signal() {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGWINCH) => send_size(),
                // The terminal is gone: leaving without a word ends the container.
                Ok(Signal::SIGHUP) => return Ok(Attended::HungUp),
                Ok(signal) => tell(socket, to_monitor::SIGNAL, &[signal as u8]),
                Err(_) => {}
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
            let (bytes, leave) = keys.filter(&buffer[..count], stdin.is_terminal());
            if !bytes.is_empty() {
                unsent = offer(socket, [&[to_monitor::INPUT], &bytes[..]].concat());
            }
            if leave {
                tell(socket, to_monitor::DETACH, &[]);
                drop(raw);
                output::print("\n");
                output::note(&format!(
                    "left {name} running; `minibox ps` shows it, `minibox stop {name}` ends it"
                ));
                return Ok(Attended::Left);
            }
        }
    }
}

/// How a client's time with a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attended {
    Ended(i32),
    Left,
    MonitorGone,
    HungUp,
}

/// Ctrl-P Ctrl-Q, docker's keys for leaving. A Ctrl-P alone is passed on with what follows it.
#[derive(Debug, Default)]
struct DetachKeys {
    held: bool,
}

impl DetachKeys {
    fn filter(&mut self, input: &[u8], is_terminal: bool) -> (Vec<u8>, bool) {
        const FIRST: u8 = 0x10;
        const SECOND: u8 = 0x11;
        if !is_terminal {
            return (input.to_vec(), false);
        }
        let mut bytes = Vec::with_capacity(input.len() + 1);
        for &byte in input {
            if std::mem::take(&mut self.held) {
                if byte == SECOND {
                    return (bytes, true);
                }
                bytes.push(FIRST);
            }
            if byte == FIRST {
                self.held = true;
            } else {
                bytes.push(byte);
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
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ab\x10", true), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c", true), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"d\x10\x10\x11", true), (b"d\x10".to_vec(), true));
        assert_eq!(DetachKeys::default().filter(b"\x10\x11", false), (b"\x10\x11".to_vec(), false));
    }
}
