//! The monitor: one small process per container that can be left. It owns the streams, the log and the
//! exit status. It is no daemon: it lives exactly as long as its container.
//!
//! If it is killed, the container goes on: the program's end of each pipe is open for reading too, so
//! no SIGPIPE comes, and the next `minibox` verb starts a monitor that takes over ([`take_over`]).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use minibox_runtime::state::{self, Lock, ProcessId, State};
use minibox_runtime::sys::{self, Forked};
use minibox_runtime::{Blame, Error, Event, Plan, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::termios::{self, SetArg, Termios};

use crate::explain::Teller;
use crate::log::Log;
use crate::store::{Container, Exit, Record, Store, now};
use crate::supervise::{self, Ended, reap};

/// Most bytes of input or output in one message.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Largest message between monitor and client, in bytes: its kind, a chunk, and a key held back.
pub(crate) const MESSAGE: usize = CHUNK + 2;

/// First byte of a message from the client.
pub(crate) mod to_monitor {
    /// The rest is input.
    pub(crate) const INPUT: u8 = b'i';
    /// There is no more input.
    pub(crate) const INPUT_END: u8 = b'e';
    /// Rows and columns, two bytes each.
    pub(crate) const SIZE: u8 = b'w';
    /// The client leaves, the container stays.
    pub(crate) const DETACH: u8 = b'd';
    /// A signal for PID 1, one byte.
    pub(crate) const SIGNAL: u8 = b's';
}

/// First byte of a message to the client.
pub(crate) mod to_client {
    /// It runs; its pid, four bytes.
    pub(crate) const STARTED: u8 = b'S';
    /// It could not be started; exit code, then the error's text.
    pub(crate) const FAILED: u8 = b'F';
    /// The rest is output.
    pub(crate) const OUTPUT: u8 = b'o';
    /// It has ended; exit code, four bytes, then a note.
    pub(crate) const ENDED: u8 = b'X';
}

/// The monitor's ends of the program's streams.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    outputs: [Option<File>; 2],
    /// Never written to, only held open, so that a program that waits for input is not told of its end.
    input: Option<File>,
}

impl Pipes {
    /// Makes the FIFOs of a container without terminal; the monitor's ends and the program's.
    pub(crate) fn make(folder: &Path, interactive: bool) -> Result<(Pipes, [Option<OwnedFd>; 3])> {
        for name in ["stdin", "stdout", "stderr"] {
            nix::unistd::mkfifo(
                &folder.join(name),
                nix::sys::stat::Mode::from_bits_truncate(0o600),
            )
            .map_err(|errno| {
                Error::new(format!("cannot make {}", folder.join(name).display())).errno(errno)
            })?;
        }
        let pipes = Pipes::open(folder, interactive)?;
        // The program's end is open both ways: it is its own reader when the monitor dies.
        let theirs =
            |name: &str| open_fifo(&folder.join(name), true, 0).map(|file| Some(file.into()));
        let null =
            || File::open("/dev/null").map_err(|e| Error::of_io("open", "/dev/null".as_ref(), &e));
        let stdin: OwnedFd = if interactive {
            // Read only, so that it sees the end of its input; the monitor's end above lets it open.
            File::open(folder.join("stdin")).map_err(|e| Error::of_io("open", folder, &e))?.into()
        } else {
            null()?.into()
        };
        Ok((pipes, [Some(stdin), theirs("stdout")?, theirs("stderr")?]))
    }

    /// Opens the monitor's ends of FIFOs that exist.
    fn open(folder: &Path, interactive: bool) -> Result<Pipes> {
        let read = |name: &str| {
            let path = folder.join(name);
            let mut options = File::options();
            let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(&path);
            file.map(Some).map_err(|e| Error::of_io("open", &path, &e))
        };
        let input = if interactive {
            Some(open_fifo(&folder.join("stdin"), true, libc::O_NONBLOCK)?)
        } else {
            None
        };
        Ok(Pipes { outputs: [read("stdout")?, read("stderr")?], input })
    }
}

fn open_fifo(path: &Path, both_ways: bool, flags: i32) -> Result<File> {
    let opened = File::options().read(true).write(both_ways).custom_flags(flags).open(path);
    opened.map_err(|e| Error::of_io("open", path, &e))
}

/// Everything a monitor begins with.
pub(crate) struct Birth<'a> {
    pub store: &'a Store,
    pub record: Record,
    pub lock: Lock,
    pub plan: Plan,
    pub pipes: Pipes,
    pub teller: Teller,
    /// The caller stays with it: its end without a word is the container's end.
    pub has_owner: bool,
}

/// Starts the monitor, which starts the container; the caller's end of the line to it.
pub(crate) fn start(birth: Birth<'_>) -> Result<OwnedFd> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| Error::new("cannot make a socket pair").errno(errno))?;
    match sys::clone3(0, None)
        .map_err(|fault| Error::of_fault("cannot start the monitor", fault))?
    {
        Forked::Child => {
            drop(ours);
            be_the_monitor(birth, theirs)
        }
        Forked::Parent { .. } => {
            birth.lock.leave_to_the_other();
            Ok(ours)
        }
    }
}

pub(crate) fn tell(client: &OwnedFd, kind: u8, rest: &[u8]) {
    let mut message = Vec::with_capacity(1 + rest.len());
    message.push(kind);
    message.extend_from_slice(rest);
    let _ = send(client.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
}

/// Sends a message if it is taken at once; else gives it back.
pub(crate) fn offer(socket: &OwnedFd, message: Vec<u8>) -> Option<Vec<u8>> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    match send(socket.as_raw_fd(), &message, flags) {
        Err(Errno::EAGAIN | Errno::EINTR) => Some(message),
        _ => None,
    }
}

/// An error that another process has already put into words.
pub(crate) fn error_of(code: u8, text: &[u8]) -> Error {
    let blames = [Blame::NotExecutable, Blame::NotFound];
    let blame = blames.into_iter().find(|blame| blame.exit_code() == code);
    Error::new(String::from_utf8_lossy(text)).blame(blame.unwrap_or(Blame::Minibox))
}

fn be_the_monitor(birth: Birth<'_>, client: OwnedFd) -> ! {
    let Birth { store, mut record, lock, plan, pipes, mut teller, has_owner } = birth;
    // A session of its own: neither Ctrl-C nor the end of the caller's terminal concerns it.
    let _ = sys::setsid();
    // Before the client makes it raw.
    let terminal = if has_owner { SavedTerminal::take() } else { None };
    let started = minibox_runtime::spawn::start(&plan, &mut |event| {
        if let Event::Born { pid } = event {
            write_down_start(store, &mut record, *pid)?;
        }
        teller.hear(event)
    });
    drop(plan);
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            let _ = store.remove(&record);
            let mut text = vec![error.blame.exit_code()];
            text.extend_from_slice(error.to_string().as_bytes());
            tell(&client, to_client::FAILED, &text);
            sys::exit_now(1)
        }
    };
    teller.finish();
    drop(lock);
    tell(&client, to_client::STARTED, &running.pid.to_ne_bytes());
    let monitor = Monitor {
        log: Log::open(&store.folder(&record.id)),
        pid: running.pid,
        pidfd: running.pidfd,
        is_our_child: true,
        console: running.console.map(File::from),
        pipes,
        owner: has_owner.then(|| Owner { socket: client, terminal }),
        unsent: None,
        untyped: Vec::new(),
    };
    become_quiet(&record.name, &monitor.descriptors());
    monitor.watch(store, &record.id)
}

/// Writes down that the child `pid` of this process is a container's PID 1. Before its program runs, so
/// that whatever the program does finds it known.
pub(crate) fn write_down_start(store: &Store, record: &mut Record, pid: i32) -> Result<()> {
    record.started = Some(now());
    let gone = || Error::new(format!("the new process {pid} vanished"));
    write_state(store, &record.id, ProcessId::of(pid).ok_or_else(gone)?)?;
    store.save(record)
}

fn write_state(store: &Store, id: &str, init: ProcessId) -> Result<()> {
    let gone = || Error::new("/proc does not show this very process");
    let state = State {
        init,
        boot_id: state::boot_id(),
        keeper: ProcessId::of(std::process::id() as i32).ok_or_else(gone)?,
    };
    state::save(&store.run_folder(id).join("state.json"), &state)
}

/// Lets go of everything of the caller's: streams, folder, signals, every descriptor but those in
/// `keep`, and the program's name, so that `ps -ef | grep while_loop` finds the program alone.
pub(crate) fn become_quiet(name: &str, keep: &[RawFd]) {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for stream in 0..3 {
            let _ = sys::dup2(null.as_raw_fd(), stream);
        }
    }
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for fd in open.collect::<Vec<RawFd>>() {
        if fd > 2 && !keep.contains(&fd) {
            sys::close(fd);
        }
    }
    let _ = std::env::set_current_dir("/");
    // A write to a stream that has ended says so; no signal has any business with it.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    sys::set_name(c"minibox");
    sys::set_title(&format!("minibox: {name}"));
}

/// The settings of the caller's terminal: restored when he vanishes without a word, for then nobody
/// else can.
struct SavedTerminal {
    terminal: OwnedFd,
    settings: Termios,
}

impl SavedTerminal {
    fn take() -> Option<SavedTerminal> {
        let stdin = std::io::stdin();
        let settings = termios::tcgetattr(&stdin).ok()?;
        Some(SavedTerminal { terminal: stdin.as_fd().try_clone_to_owned().ok()?, settings })
    }
}

struct Owner {
    socket: OwnedFd,
    terminal: Option<SavedTerminal>,
}

struct Monitor {
    log: Log,
    pid: i32,
    pidfd: OwnedFd,
    is_our_child: bool,
    console: Option<File>,
    pipes: Pipes,
    owner: Option<Owner>,
    /// A message that the owner has not taken yet.
    unsent: Option<Vec<u8>>,
    /// Input that the program has not taken yet.
    untyped: Vec<u8>,
}

/// The number of a descriptor that may not be there.
fn raw<T: AsRawFd>(file: Option<&T>) -> Option<RawFd> {
    file.map(AsRawFd::as_raw_fd)
}

impl Monitor {
    /// Everything it holds.
    fn descriptors(&self) -> Vec<RawFd> {
        let files = [&self.console, &self.log.file, &self.pipes.input];
        let files = files.into_iter().chain(&self.pipes.outputs).flatten().map(AsRawFd::as_raw_fd);
        let owner = self.owner.iter().flat_map(|owner| {
            let terminal = owner.terminal.iter().map(|saved| saved.terminal.as_raw_fd());
            terminal.chain([owner.socket.as_raw_fd()])
        });
        files.chain(owner).chain([self.pidfd.as_raw_fd()]).collect()
    }

    /// Until the container ends; then writes down how.
    ///
    /// Nothing here ever waits for one side alone: what a side does not take at once is kept, and the
    /// other is not read from until it has been taken.
    fn watch(mut self, store: &Store, id: &str) -> ! {
        if let Some(console) = &self.console {
            let _ = sys::set_nonblocking(console.as_raw_fd());
        }
        let mut buffer = vec![0; MESSAGE];
        loop {
            let flags = |read: bool, write: bool| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::POLLIN, read);
                flags.set(PollFlags::POLLOUT, write);
                flags
            };
            let may_read = self.unsent.is_none();
            let may_hear = self.untyped.len() < CHUNK;
            let wishes = [
                (Some(self.pidfd.as_raw_fd()), flags(true, false)),
                (raw(self.console.as_ref()), flags(may_read, !self.untyped.is_empty())),
                (raw(self.pipes.outputs[0].as_ref()), flags(may_read, false)),
                (raw(self.pipes.outputs[1].as_ref()), flags(may_read, false)),
                (
                    raw(self.owner.as_ref().map(|o| &o.socket)),
                    flags(may_hear, !may_read) | PollFlags::POLLHUP,
                ),
            ];
            // One without a wish is left out: it might have hung up, and say so for ever.
            let mut polled = wishes.map(|(fd, flags)| match fd.filter(|_| !flags.is_empty()) {
                Some(fd) => PollFd::new(sys::borrow(fd), flags),
                None => PollFd::new(sys::borrow(self.pidfd.as_raw_fd()), PollFlags::empty()),
            });
            if poll(&mut polled, PollTimeout::NONE).is_err() {
                continue;
            }
            let state = |at: usize| {
                let there = wishes[at].0.is_some() && !wishes[at].1.is_empty();
                polled[at].revents().filter(|_| there).unwrap_or(PollFlags::empty())
            };
            let (ended, owner) = (!state(0).is_empty(), state(4));
            let readable = [1, 2, 3].map(|at| !(state(at) - PollFlags::POLLOUT).is_empty());
            if state(1).contains(PollFlags::POLLOUT) {
                self.type_on();
            }
            if owner.contains(PollFlags::POLLOUT) {
                self.send_on();
            }
            for (source, is_readable) in readable.into_iter().enumerate() {
                if is_readable && self.unsent.is_none() {
                    self.read_output(source, &mut buffer);
                }
            }
            if !(owner - PollFlags::POLLOUT).is_empty() {
                self.hear_owner(&mut buffer);
            }
            if ended {
                self.finish(store, id, &mut buffer);
            }
        }
    }

    /// Passes on to the program what it has not taken yet.
    fn type_on(&mut self) {
        let Some(console) = &self.console else {
            self.untyped.clear();
            return;
        };
        if !supervise::type_on(console.as_raw_fd(), &mut self.untyped) {
            self.untyped.clear();
        }
    }

    /// Passes on to the owner what he has not taken yet.
    fn send_on(&mut self) {
        if let (Some(owner), Some(message)) = (&self.owner, self.unsent.take()) {
            self.unsent = offer(&owner.socket, message);
        }
    }

    /// Reads one bufferful of the console (0), stdout (1) or stderr (2); false at its end.
    fn read_output(&mut self, source: usize, buffer: &mut [u8]) -> bool {
        let slot =
            if source == 0 { &mut self.console } else { &mut self.pipes.outputs[source - 1] };
        let Some(file) = slot else { return false };
        let count = match sys::read(file.as_raw_fd(), &mut buffer[..CHUNK]) {
            Err(fault) if fault.errno == Errno::EAGAIN => return false,
            Err(fault) if fault.errno == Errno::EINTR => return true,
            // A console answers EIO when its last process has gone.
            Ok(0) | Err(_) => {
                *slot = None;
                return false;
            }
            Ok(count) => count,
        };
        self.log.write(if source == 2 { "stderr" } else { "stdout" }, &buffer[..count]);
        if self.owner.is_some() {
            if let Some(earlier) = &mut self.unsent {
                earlier.extend_from_slice(&buffer[..count]);
            } else {
                self.unsent = Some([&[to_client::OUTPUT], &buffer[..count]].concat());
                self.send_on();
            }
        }
        true
    }

    fn hear_owner(&mut self, buffer: &mut [u8]) {
        let Some(owner) = &self.owner else { return };
        let count = match recv(owner.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR | Errno::EAGAIN) => return,
            Ok(0) | Err(_) => {
                // Gone without a word: without -d a container never outlives its caller.
                let _ = sys::pidfd_send_signal(self.pidfd.as_raw_fd(), libc::SIGKILL);
                if let Some(saved) = &owner.terminal {
                    let _ = termios::tcsetattr(&saved.terminal, SetArg::TCSANOW, &saved.settings);
                }
                self.owner = None;
                self.unsent = None;
                return;
            }
            Ok(count) => count,
        };
        match (buffer[0], &buffer[1..count]) {
            (to_monitor::INPUT, bytes) => {
                self.untyped.extend_from_slice(bytes);
                self.type_on();
            }
            (to_monitor::INPUT_END, _) => {
                self.untyped.push(0x04);
                self.type_on();
            }
            (to_monitor::SIZE, &[a, b, c, d]) => {
                if let Some(console) = &self.console {
                    let (rows, columns) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
                    let _ = sys::set_winsize(console.as_raw_fd(), rows, columns);
                }
            }
            (to_monitor::SIGNAL, &[signal]) => {
                let _ = sys::pidfd_send_signal(self.pidfd.as_raw_fd(), i32::from(signal));
            }
            (to_monitor::DETACH, _) => {
                self.owner = None;
                self.unsent = None;
            }
            _ => {}
        }
    }

    /// The container has ended: what it wrote last, its status, its record, the caller's word.
    fn finish(&mut self, store: &Store, id: &str, buffer: &mut [u8]) -> ! {
        let (ended, mut note) = if self.is_our_child {
            (reap(self.pidfd.as_fd()), None)
        } else {
            let first = "its first monitor was killed, and";
            match exit_of_a_strangers_child(&self.pidfd) {
                Ok(Some(ended)) => (Some(ended), None),
                Ok(None) => {
                    (None, Some(format!("{first} its new parent does not collect its status")))
                }
                Err(_) => (
                    None,
                    Some(format!(
                        "{first} this kernel (before 6.15) tells its status to nobody else"
                    )),
                ),
            }
        };
        for source in 0..3 {
            while self.read_output(source, buffer) {}
        }
        let folder = store.folder(id);
        if let (Ok(Some(_lock)), Ok(Some(Container { mut record, .. }))) =
            (Lock::wait(&folder), store.load(id))
        {
            let exit = describe_end(&record, ended, note.take());
            note.clone_from(&exit.note);
            let _ = store.end(&mut record, exit);
        }
        if let Some(owner) = &self.owner {
            // Only now may it take its time: everything is written down.
            for part in self.unsent.take().iter().flat_map(|m| m[1..].chunks(CHUNK)) {
                tell(&owner.socket, to_client::OUTPUT, part);
            }
            let mut message = ended.map_or(255, |e| e.code).to_ne_bytes().to_vec();
            message.extend_from_slice(note.unwrap_or_default().as_bytes());
            tell(&owner.socket, to_client::ENDED, &message);
        }
        sys::exit_now(0)
    }
}

/// The status of a process that is somebody else's child: there once its parent, the host's init, has
/// collected it, which some do only every few seconds. An error where this kernel does not tell.
fn exit_of_a_strangers_child(pidfd: &OwnedFd) -> std::result::Result<Option<Ended>, sys::Fault> {
    for _ in 0..1000 {
        if let Some(status) = sys::pidfd_exit_status(pidfd.as_raw_fd())? {
            return Ok(Some(Ended::of_raw(status)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

/// The record of an end, with the reason where the kernel gives one.
pub(crate) fn describe_end(record: &Record, ended: Option<Ended>, note: Option<String>) -> Exit {
    let container = Container { record: record.clone(), state: None, state_is_damaged: false };
    let cgroup = container.cgroup();
    let kills = cgroup.as_ref().map_or(0, minibox_runtime::cgroup::Cgroup::oom_kills);
    let out_of_memory = kills > 0 && ended.is_none_or(|e| e.killed);
    let limit = cgroup.as_ref().and_then(minibox_runtime::cgroup::Cgroup::memory_limit);
    let memory = limit.map_or_else(String::new, |bytes| format!(" of {} MiB", bytes >> 20));
    let note = note.or_else(|| {
        out_of_memory.then(|| format!("out of memory: the kernel killed it at its limit{memory}"))
    });
    Exit { code: ended.map(|e| e.code), out_of_memory, finished: now(), note }
}

/// Starts a monitor for a container that runs without one. Called by the next verb that meets it.
pub(crate) fn take_over(store: &Store, container: &Container) -> Result<()> {
    let id = &container.record.id;
    let Some(lock) = Lock::try_now(&store.folder(id))? else {
        return Ok(());
    };
    let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| Error::new("cannot make a pipe").errno(errno))?;
    let forked =
        sys::clone3(0, None).map_err(|fault| Error::of_fault("cannot start a monitor", fault))?;
    if let Forked::Parent { .. } = forked {
        lock.leave_to_the_other();
        drop(theirs);
        // Until the new monitor is in the state file, or has given up.
        let _ = sys::read(ours.as_raw_fd(), &mut [0]);
        return Ok(());
    }
    drop(ours);
    let _ = sys::setsid();
    let taken = (|| {
        let now = store
            .load(id)?
            .filter(|c| !c.is_kept())
            .ok_or_else(|| Error::new("somebody else was first"))?;
        let (pid, pidfd) = now.hold_running()?;
        let init = now.state.as_ref().map_or(ProcessId { pid, start_time: 0 }, |state| state.init);
        write_state(store, id, init)?;
        let folder = store.run_folder(id);
        let pipes =
            if now.record.terminal { Pipes::default() } else { Pipes::open(&folder, false)? };
        Ok::<_, Error>((
            Monitor {
                log: Log::open(&store.folder(id)),
                pid,
                pidfd,
                is_our_child: false,
                console: None,
                pipes,
                owner: None,
                unsent: None,
                untyped: Vec::new(),
            },
            now.record.name,
        ))
    })();
    let Ok((monitor, name)) = taken else { sys::exit_now(1) };
    drop(lock);
    drop(theirs);
    become_quiet(&name, &monitor.descriptors());
    tracing::debug!(pid = monitor.pid, "taken over");
    monitor.watch(store, id)
}
