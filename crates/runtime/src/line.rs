//! The line between parent and child: one `SOCK_SEQPACKET` pair, unix(7), that closes at execve.
//!
//! The child says little: nothing where nobody listens, otherwise the number of the step it did, and
//! on failure the step, the call and the errno. The parent holds the same [`Plan`](crate::Plan) and so can spell
//! out the arguments; the child never formats a string.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::step::Step;
use crate::sys::{self, Fault, Sys};

/// How much the parent wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listening {
    /// Failures only.
    #[default]
    Quiet,
    /// Every step once it is done (`--explain`).
    Steps,
    /// Every step before it is done, and the child waits for the word (`--step`).
    Halts,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The step is about to be done; the child waits for one byte.
    Before,
    /// The step is done.
    Done,
    /// The step failed; the child ends.
    Failed,
    /// The terminal's master side travels with this message.
    Console,
    /// The next thing is execve; the child waits for one byte. An end of the line after it is success.
    Ready,
    /// What an agent listens on travels with this message.
    Listener,
    /// A middle process tells the pid of the process it made, in `value`.
    Born,
    /// It is time for the hooks; the child waits for one byte.
    Hooks,
    /// A mount whose owners are to be mapped travels with this message; the child waits for one byte.
    Map,
}

const KINDS: [Kind; 9] = [
    Kind::Before,
    Kind::Done,
    Kind::Failed,
    Kind::Console,
    Kind::Ready,
    Kind::Listener,
    Kind::Born,
    Kind::Hooks,
    Kind::Map,
];

/// One message, 64 bytes on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// What it is about.
    pub kind: Kind,
    /// Which step.
    pub step: Step,
    /// Which item of the step: the third mount, the fifth path tried.
    pub index: u16,
    /// What went wrong, for [`Kind::Failed`].
    pub errno: Errno,
    /// How long the step took; the pid for [`Kind::Born`]; [`Fault::item`] for [`Kind::Failed`].
    pub value: u32,
    call: [u8; MAX_CALL],
}

const MAX_CALL: usize = 40;
/// Size of a message on the wire, in bytes.
pub const WIRE: usize = 64;

impl Message {
    fn new(kind: Kind, step: Step, index: u16, value: u32) -> Message {
        Message { kind, step, index, errno: Errno::UnknownErrno, value, call: [0; MAX_CALL] }
    }

    /// The name of the call that failed.
    pub fn call(&self) -> &str {
        let end = self.call.iter().position(|b| *b == 0).unwrap_or(MAX_CALL);
        std::str::from_utf8(&self.call[..end]).unwrap_or("?")
    }

    fn to_wire(self) -> [u8; WIRE] {
        let mut wire = [0; WIRE];
        wire[0] = self.kind as u8;
        wire[1] = self.step as u8;
        wire[2..4].copy_from_slice(&self.index.to_ne_bytes());
        wire[4..8].copy_from_slice(&(self.errno as i32).to_ne_bytes());
        wire[8..12].copy_from_slice(&self.value.to_ne_bytes());
        wire[12..12 + MAX_CALL].copy_from_slice(&self.call);
        wire
    }

    /// Reads a message from the wire; `None` where it is not one.
    pub fn from_wire(wire: &[u8; WIRE]) -> Option<Message> {
        let number = |from: usize| {
            u32::from_ne_bytes([wire[from], wire[from + 1], wire[from + 2], wire[from + 3]])
        };
        let mut call = [0; MAX_CALL];
        call.copy_from_slice(&wire[12..12 + MAX_CALL]);
        Some(Message {
            kind: *KINDS.get(usize::from(wire[0]))?,
            step: Step::from_number(wire[1])?,
            index: u16::from_ne_bytes([wire[2], wire[3]]),
            errno: Errno::from_raw(number(4) as i32),
            value: number(8),
            call,
        })
    }
}

/// Injected in place of an errno: the child allocates, which the test build must not survive.
pub const ALLOCATE: Errno = Errno::UnknownErrno;

/// The failure has been told to the parent; nothing is left but to end.
#[derive(Debug)]
pub struct Told;

/// The child's end of the line.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The socket.
    pub socket: RawFd,
    /// What the parent wants to hear.
    pub listening: Listening,
    /// Test builds: fail at this step with this errno.
    pub fail_at: Option<(Step, Errno)>,
}

impl Line {
    /// Does one step: the only instrumentation on the way to execve.
    ///
    /// `index` tells which item of a step with several (mounts, limits) this is.
    pub fn at<T>(&self, step: Step, index: usize, run: impl FnOnce() -> Sys<T>) -> Result<T, Told> {
        let index = index as u16;
        if self.listening == Listening::Halts && index == 0 {
            self.send(Message::new(Kind::Before, step, index, 0));
            if !self.wait() {
                return Err(Told);
            }
        }
        let quiet = self.listening == Listening::Quiet;
        let began = if quiet { 0 } else { sys::now_micros() };
        let done = match self.fail_at {
            Some((at, ALLOCATE)) if at == step => {
                crate::trial::allocate();
                run()
            }
            Some((at, errno)) if at == step => Err(Fault::new("injected", errno)),
            _ => run(),
        };
        match done {
            Ok(value) => {
                if !quiet {
                    let took = sys::now_micros() - began;
                    self.send(Message::new(Kind::Done, step, index, took as u32));
                }
                Ok(value)
            }
            Err(fault) => Err(self.fail(step, index, fault)),
        }
    }

    /// Tells a failure.
    pub fn fail(&self, step: Step, index: u16, fault: Fault) -> Told {
        let mut message = Message::new(Kind::Failed, step, index, u32::from(fault.item));
        message.errno = fault.errno;
        let name = fault.call.as_bytes();
        let length = name.len().min(MAX_CALL);
        message.call[..length].copy_from_slice(&name[..length]);
        self.send(message);
        Told
    }

    /// Tells that the next thing is execve, and waits for the word; false where the parent is gone.
    pub fn ready(&self) -> bool {
        self.send(Message::new(Kind::Ready, Step::Exec, 0, 0));
        self.wait()
    }

    /// Asks for the hooks, and waits until they have done their part; false where one failed.
    pub fn after_hooks(&self) -> bool {
        self.send(Message::new(Kind::Hooks, Step::Hooks, 0, 0));
        self.wait()
    }

    /// Tells the pid of the process that this middle process made.
    pub fn born(&self, pid: libc::pid_t) {
        self.send(Message::new(Kind::Born, Step::Clone, 0, pid as u32));
    }

    /// Hands the terminal's master side to the parent.
    pub fn hand_over_console(&self, master: RawFd) -> Sys<()> {
        sys::send_with_fd(
            self.socket,
            &Message::new(Kind::Console, Step::Console, 0, 0).to_wire(),
            master,
        )
    }

    /// Hands what an agent listens on to the parent.
    pub fn hand_over_listener(&self, listener: RawFd) -> Sys<()> {
        let message = Message::new(Kind::Listener, Step::Seccomp, 0, 0);
        sys::send_with_fd(self.socket, &message.to_wire(), listener)
    }

    /// Has the parent map the owners of mount `index` of its plan.
    pub fn have_mapped(&self, index: usize, mount: RawFd) -> Sys<()> {
        let message = Message::new(Kind::Map, Step::AttachMounts, index as u16, 0);
        sys::send_with_fd(self.socket, &message.to_wire(), mount)?;
        if self.wait() { Ok(()) } else { Err(Fault::new("recv", Errno::EPIPE)) }
    }

    /// Waits for the parent's word; false where the parent is gone.
    pub fn wait(&self) -> bool {
        let mut byte = [0];
        loop {
            match sys::read(self.socket, &mut byte) {
                Err(fault) if fault.errno == Errno::EINTR => {}
                result => return result == Ok(1),
            }
        }
    }

    fn send(&self, message: Message) {
        // A parent that is gone is noticed at the Guard step; here there is nobody left to tell.
        let _ = sys::write(self.socket, &message.to_wire());
    }
}

/// PARENT: the next message, with the descriptor that came with it; `None` where the line is closed. EBADMSG
/// where it is no message, ECONNRESET where the child is gone with unread words of ours in its queue.
pub fn receive(
    socket: &OwnedFd,
    wire: &mut [u8; WIRE],
) -> nix::Result<Option<(Message, Option<OwnedFd>)>> {
    let mut space = nix::cmsg_space!(RawFd);
    let (bytes, fd) = loop {
        let mut parts = [IoSliceMut::new(&mut wire[..])];
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        match recvmsg::<()>(fd, &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                let mut fd = None;
                for control in message.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        fd = fds.first().map(|fd| sys::own(*fd));
                    }
                }
                break (message.bytes, fd);
            }
        }
    };
    if bytes == 0 {
        return Ok(None);
    }
    Message::from_wire(wire).map(|message| Some((message, fd))).ok_or(Errno::EBADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            let mut message = Message::new(kind, Step::PivotRoot, 7, 1234);
            message.errno = Errno::EPERM;
            message.call[..5].copy_from_slice(b"clone");
            let read = Message::from_wire(&message.to_wire()).unwrap();
            assert_eq!(
                (read.kind, read.step, read.index, read.value),
                (kind, Step::PivotRoot, 7, 1234)
            );
            assert_eq!((read.errno, read.call()), (Errno::EPERM, "clone"));
        }
        assert!(Message::from_wire(&[255; WIRE]).is_none());
    }
}
