//! What a monitor and its clients say to each other: messages on a `SOCK_SEQPACKET` socket, unix(7), one
//! byte for the kind, then the rest. The socket lies in the container's run folder, which only its owner
//! may enter.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use minibox_runtime::{Blame, Error, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv,
    send, socket,
};

/// Most bytes of input or output in one message.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Largest message, in bytes: its kind, a chunk, and keys held back.
pub(crate) const MESSAGE: usize = CHUNK + 256;

/// First byte of a message from a client.
pub(crate) mod to_monitor {
    /// It wants to see the output from now on.
    pub(crate) const ATTACH: u8 = b'a';
    /// The rest is input. Once sent, the next waits for the monitor's word: what a program does not take must
    /// not stand in the way of signals.
    pub(crate) const INPUT: u8 = b'i';
    /// There is no more input.
    pub(crate) const INPUT_END: u8 = b'e';
    /// Rows and columns, two bytes each.
    pub(crate) const SIZE: u8 = b'w';
    /// The client leaves, the container stays.
    pub(crate) const DETACH: u8 = b'd';
    /// A signal for PID 1, one byte.
    pub(crate) const SIGNAL: u8 = b's';
    /// The record says something new: whether it is to be started again.
    pub(crate) const LOOK: u8 = b'l';
}

/// First byte of a message to a client.
pub(crate) mod to_client {
    /// It runs; its pid, four bytes.
    pub(crate) const STARTED: u8 = b'S';
    /// It could not be started; exit code, then the error's text.
    pub(crate) const FAILED: u8 = b'F';
    /// The rest is standard output, or a terminal's.
    pub(crate) const OUTPUT: u8 = b'o';
    /// The rest is standard error.
    pub(crate) const ERROR: u8 = b'r';
    /// The input that it has sent is taken: it may send more.
    pub(crate) const TAKEN: u8 = b't';
    /// The client was too slow; how many bytes it has missed, eight bytes.
    pub(crate) const LOST: u8 = b'L';
    /// It has ended; exit code, four bytes, then a note.
    pub(crate) const ENDED: u8 = b'X';
}

/// One message.
pub(crate) fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + rest.len());
    message.push(kind);
    message.extend_from_slice(rest);
    message
}

/// Sends a message; one to somebody who has gone is lost.
pub(crate) fn tell(to: &OwnedFd, kind: u8, rest: &[u8]) {
    let _ = send(to.as_raw_fd(), &message(kind, rest), MsgFlags::MSG_NOSIGNAL);
}

/// Sends a message if it is taken at once; else gives it back.
pub(crate) fn offer(to: &OwnedFd, message: Vec<u8>) -> Option<Vec<u8>> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    match send(to.as_raw_fd(), &message, flags) {
        Err(Errno::EAGAIN | Errno::EINTR) => Some(message),
        _ => None,
    }
}

/// Waits for the monitor's first word: the pid on the host. `None` where it hangs up without one.
pub(crate) fn wait_for_start(from: &OwnedFd) -> Result<Option<i32>> {
    let mut buffer = vec![0; MESSAGE];
    let count = loop {
        match recv(from.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            Err(_) => break 0,
            Ok(count) => break count,
        }
    };
    match (count, buffer[0]) {
        (5.., to_client::STARTED) => {
            Ok(Some(i32::from_ne_bytes([buffer[1], buffer[2], buffer[3], buffer[4]])))
        }
        (2.., to_client::FAILED) => Err(error_of(buffer[1], &buffer[2..count])),
        _ => Ok(None),
    }
}

/// An error that another process has already put into words.
pub(crate) fn error_of(code: u8, text: &[u8]) -> Error {
    let blames = [Blame::NotExecutable, Blame::NotFound];
    let blame = blames.into_iter().find(|blame| blame.exit_code() == code);
    Error::new(String::from_utf8_lossy(text)).blame(blame.unwrap_or(Blame::Minibox))
}

/// Opens the place where a monitor hears new clients.
pub(super) fn open_door(run_folder: &Path) -> Result<OwnedFd> {
    let failed = |errno| Error::new("cannot open the monitor's socket").errno(errno);
    let _ = std::fs::remove_file(run_folder.join("monitor"));
    let door = new_socket(SockFlag::SOCK_NONBLOCK).map_err(failed)?;
    with_address(run_folder, |address| bind(door.as_raw_fd(), address))?;
    listen(&door, Backlog::MAXCONN).map_err(failed)?;
    Ok(door)
}

/// Goes to the monitor of the container with this run folder.
pub(crate) fn visit(run_folder: &Path) -> Result<OwnedFd> {
    let failed = |errno| Error::new("cannot reach the container's monitor").errno(errno);
    let socket = new_socket(SockFlag::empty()).map_err(failed)?;
    with_address(run_folder, |address| connect(socket.as_raw_fd(), address))?;
    Ok(socket)
}

fn new_socket(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}

/// By the folder's descriptor: an address has room for 108 bytes, and the path may be longer.
fn with_address(folder: &Path, act: impl FnOnce(&UnixAddr) -> nix::Result<()>) -> Result<()> {
    let open = File::open(folder).map_err(|error| Error::of_io("open", folder, &error))?;
    let path = format!("/proc/self/fd/{}/monitor", open.as_raw_fd());
    UnixAddr::new(path.as_str()).and_then(|address| act(&address)).map_err(|errno| {
        Error::new("cannot reach the container's monitor").errno(errno).hint(
            "a container whose monitor was killed gets a new one with the next verb: try again",
        )
    })
}
