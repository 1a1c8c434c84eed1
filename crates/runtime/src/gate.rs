//! The gate of a container that is made but not started: its process waits in it for a later `start`, from
//! another process than the one that made it, and tells that one how it went.
//!
//! The gate is a listening socket in the container's folder, which the waiting process holds. So the kernel
//! itself knows whether anybody waits: whoever knocks at a gate whose process has become its program, or has
//! ended, is refused. The connection of the one who opens it is the line over which a failed execve(2) is
//! told; that it closes without a word is success, as in [`crate::line`].
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, send,
    socket,
};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::line::{Kind, Line, Listening, Message, WIRE, receive};
use crate::sys::{self, Sys};

/// The socket's name in the container's folder.
const NAME: &str = "gate";
/// What is said to open the gate; whoever only looks whether somebody waits says nothing.
const WORD: u8 = b'!';

/// What the waiting process holds.
#[derive(Debug)]
pub struct Gate {
    listener: OwnedFd,
    /// The lock on the container's folder. The process keeps it until it waits, so that nobody takes the
    /// container for abandoned who finds only its maker dead.
    lock: RawFd,
}

impl Gate {
    /// PARENT: makes the gate in `folder`, which `lock` locks.
    pub fn new(folder: &Path, lock: RawFd) -> Result<Gate> {
        let failed = |errno| Error::new("cannot make the start gate").errno(errno);
        let listener = open_socket(SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        with_address(folder, |address| bind(listener.as_raw_fd(), address))
            .and_then(|()| listen(&listener, Backlog::MAXALLOWABLE))
            .map_err(failed)?;
        Ok(Gate { listener, lock })
    }

    /// The descriptors that must stay open until the process waits.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.listener.as_raw_fd(), self.lock]
    }

    /// CHILD: lets go of the maker, and waits until somebody opens the gate; the line to that one.
    pub fn pass(&self, maker: Line) -> Sys<Line> {
        sys::close(self.lock);
        sys::close(maker.socket);
        // Whoever does not want it any more need not know that it has not started.
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            sys::end_at_signal(signal);
        }
        loop {
            let socket = match sys::accept(self.listener.as_raw_fd()) {
                Err(fault) if matches!(fault.errno, Errno::EINTR | Errno::ECONNABORTED) => continue,
                result => result?,
            };
            let line = Line { socket, listening: Listening::Quiet, ..maker };
            if line.wait() {
                // Whoever knocks from now on is to hear that nobody waits.
                sys::close(self.listener.as_raw_fd());
                return Ok(line);
            }
            sys::close(socket);
        }
    }
}

/// PARENT: does a process wait at the gate in `folder`?
pub fn is_waited_at(folder: &Path) -> bool {
    knock(folder, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
        .is_ok_and(|knocked| knocked.is_ok() || matches!(knocked, Err(Errno::EAGAIN)))
}

/// PARENT: opens the gate in `folder`; why the process could not become its program, where it could not.
/// `tell_agent` gets what the agent of its filter listens on. An error where nobody waits.
pub fn open(folder: &Path, tell_agent: impl Fn(OwnedFd) -> Result<()>) -> Result<Option<Message>> {
    let failed = |errno| Error::new("cannot open the start gate").errno(errno);
    let socket = knock(folder, SockFlag::SOCK_CLOEXEC)?.map_err(failed)?;
    send(socket.as_raw_fd(), &[WORD], MsgFlags::MSG_NOSIGNAL).map_err(failed)?;
    let mut wire = [0; WIRE];
    // Reset: it was killed with our word unread.
    while let Some((message, fd)) = receive(&socket, &mut wire).map_err(failed)? {
        match (message.kind, fd) {
            (Kind::Listener, Some(listener)) => tell_agent(listener)?,
            _ => return Ok(Some(message)),
        }
    }
    Ok(None)
}

/// A connection to whoever waits in `folder`.
fn knock(folder: &Path, flags: SockFlag) -> Result<nix::Result<OwnedFd>> {
    let failed = |errno| Error::new("cannot knock at the start gate").errno(errno);
    let socket = open_socket(flags).map_err(failed)?;
    let knocked = with_address(folder, |address| connect(socket.as_raw_fd(), address));
    Ok(knocked.map(|()| socket))
}

fn open_socket(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// The folder's path may be longer than a socket's address: it is named by a descriptor.
fn with_address<T>(
    folder: &Path,
    work: impl FnOnce(&UnixAddr) -> nix::Result<T>,
) -> nix::Result<T> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = nix::fcntl::open(folder, flags, Mode::empty())?;
    #[allow(clippy::disallowed_macros)] // PARENT.
    let path = format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd());
    work(&UnixAddr::new(path.as_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_whether_anybody_waits() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_waited_at(folder.path()));
        let gate = Gate::new(folder.path(), -1).unwrap();
        assert!(is_waited_at(folder.path()));
        assert!(is_waited_at(folder.path()));
        drop(gate);
        assert!(!is_waited_at(folder.path()));
        assert!(open(folder.path(), |_| Ok(())).unwrap_err().to_string().contains("ECONNREFUSED"));
    }
}
