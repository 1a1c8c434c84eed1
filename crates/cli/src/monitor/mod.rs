//! The monitor: one small process per container that can be left. It owns the streams, the log, the
//! exit status and the restarts. It is no daemon: it lives exactly as long as its container.
//!
//! If it is killed, the container goes on: the program's end of each pipe is open both ways, so no SIGPIPE
//! comes and no end of its input (but where the end of a client's input is that), and the next `minibox` verb starts a monitor that takes over ([`take_over`]).
//!
//! Nothing in it ever waits for one side alone: what a side does not take at once is kept. Only for whoever
//! started it and stayed (`run`, `start -a`) does it hold the program back, as a pipe would; visitors that
//! are too slow miss some of the output, and are told so.

pub(crate) mod health;
mod pipes;
pub(crate) mod words;

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::cgroup::oom::Alarm;
use minibox_runtime::line::Listening;
use minibox_runtime::state::{self, Lock, ProcessId};
use minibox_runtime::sys::{self, Forked};
use minibox_runtime::{Error, Event, Plan, Result, Running};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, accept4, getsockopt, recv, socketpair,
};
use nix::sys::termios::{self, SetArg, Termios};

use crate::birth;
use crate::ending::{self, Ended, reap};
use crate::explain::Teller;
use crate::log::Log;
use crate::quiet::become_quiet;
use crate::signals;
use crate::store::{Container, Halted, Record, Status, Store};
use crate::supervise;

use health::Checks;
pub(crate) use pipes::Pipes;
use words::{CHUNK, MESSAGE, message, offer, to_client, to_monitor};

/// Most bytes that wait for a visitor.
const PATIENCE: usize = 1 << 20;

/// How long one that was stopped, by Ctrl-Z for example, is waited for to take its last words.
const STANDSTILL: Duration = Duration::from_secs(60);

/// How long nobody is let in where there is no descriptor left.
const CROWDED: Duration = Duration::from_millis(100);

/// Most bytes in a pipe, pipe(7).
const PIPE: usize = 1 << 20;

/// Docker's pauses between a container's end and its next start.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One that has run this long is not in trouble: the pauses begin anew.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// Who is with a container from its start, and misses nothing of what it prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    Nobody,
    /// Somebody who may go.
    Client,
    /// Somebody whose end without a word is the container's end too.
    Owner,
}

/// Everything a monitor begins with.
pub(crate) struct Birth<'a> {
    pub store: &'a Store,
    pub record: Record,
    pub lock: Lock,
    pub plan: Plan,
    pub pipes: Pipes,
    pub teller: Teller,
    pub company: Company,
    /// A container that cannot be started is not kept.
    pub is_new: bool,
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

fn be_the_monitor(birth: Birth<'_>, client: OwnedFd) -> ! {
    let Birth { store, mut record, lock, plan, pipes, mut teller, company, is_new } = birth;
    // A session of its own: neither Ctrl-C nor the end of the caller's terminal concerns it.
    let _ = sys::setsid();
    let is_owner = company == Company::Owner;
    if teller.listening() == Listening::Halts
        && let Ok(leash) = client.try_clone()
    {
        teller.tie(leash);
    }
    // Before the client makes it raw.
    let terminal = if is_owner { SavedTerminal::take() } else { None };
    let started = words::open_door(&store.run_folder(&record.id)).and_then(|door| {
        let running = minibox_runtime::spawn::start(&plan, &mut |event| {
            if let Event::Born { pid } = event {
                birth::write_down_start(store, &mut record, *pid)?;
            }
            teller.hear(event)
        })?;
        Ok((door, running))
    });
    drop(plan);
    let (door, running) = match started {
        Ok(started) => started,
        Err(error) => {
            let _ = if is_new {
                store.remove(&record)
            } else {
                store.end(&mut record, ending::not_started(&error))
            };
            let text = message(error.blame.exit_code(), error.to_string().as_bytes());
            words::tell(&client, to_client::FAILED, &text);
            sys::exit_now(1)
        }
    };
    teller.finish();
    drop(lock);
    store.tell(&record, "start", &[]);
    let pid = running.pid;
    let mut monitor = Monitor::new(store, &record, door, pipes);
    monitor.adopt(store, &record.id, running);
    words::tell(&client, to_client::STARTED, &pid.to_ne_bytes());
    if company != Company::Nobody {
        monitor.clients.push(Client {
            is_attached: true,
            is_patient: true,
            is_owner,
            terminal,
            ..Client::new(client)
        });
    }
    become_quiet(&record.name, &monitor.descriptors());
    monitor.live(store, &record.id)
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

struct Client {
    socket: OwnedFd,
    /// It asked for the output.
    is_attached: bool,
    /// It misses nothing: where it is slow, the program waits.
    is_patient: bool,
    is_owner: bool,
    /// Some of its input has not been taken yet.
    is_typing: bool,
    /// Its last words wait to be taken.
    is_parting: bool,
    /// It has left, or hung up.
    is_gone: bool,
    terminal: Option<SavedTerminal>,
    /// Messages that it has not taken yet, and the size of what they carry.
    unsent: VecDeque<Vec<u8>>,
    waiting: usize,
    /// Bytes of output that it has missed.
    lost: u64,
}

impl Client {
    fn new(socket: OwnedFd) -> Client {
        Client {
            socket,
            is_attached: false,
            is_patient: false,
            is_owner: false,
            is_typing: false,
            is_parting: false,
            is_gone: false,
            terminal: None,
            unsent: VecDeque::new(),
            waiting: 0,
            lost: 0,
        }
    }

    /// Sends it some output.
    fn hand(&mut self, kind: u8, bytes: &[u8]) {
        if !self.is_patient && self.waiting > PATIENCE {
            self.lost += bytes.len() as u64;
            return;
        }
        self.own_up();
        self.say(kind, bytes);
    }

    /// Tells it how much it has missed.
    fn own_up(&mut self) {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost).to_ne_bytes();
            self.say(to_client::LOST, &lost);
        }
    }

    fn say(&mut self, kind: u8, bytes: &[u8]) {
        self.waiting += bytes.len();
        self.unsent.push_back(message(kind, bytes));
        self.send_on();
    }

    /// Passes on what it has not taken yet.
    fn send_on(&mut self) {
        while let Some(message) = self.unsent.pop_front() {
            let size = message.len() - 1;
            if let Some(message) = offer(&self.socket, message) {
                self.unsent.push_front(message);
                return;
            }
            self.waiting -= size;
        }
        self.is_gone |= self.is_parting;
    }

    /// Was its process stopped by a signal?
    fn is_stopped(&self) -> bool {
        let peer = getsockopt(&self.socket, PeerCredentials);
        peer.is_ok_and(|peer| state::letter(peer.pid()) == Some('T'))
    }

    /// The last words. It may take its time: everything is written down by then, and what comes of it does
    /// not matter any more.
    fn part(&mut self, code: i32, note: &str) {
        (self.is_attached, self.is_patient, self.is_owner) = (false, false, false);
        self.terminal = None;
        self.is_parting = true;
        self.own_up();
        self.say(to_client::ENDED, &[&code.to_ne_bytes(), note.as_bytes()].concat());
    }
}

struct Monitor {
    log: Log,
    /// The program; none between two starts.
    pidfd: Option<OwnedFd>,
    pid: i32,
    cgroup: Option<Cgroup>,
    alarm: Option<Alarm>,
    is_our_child: bool,
    born: Instant,
    console: Option<File>,
    /// Its other side, so that a terminal that nobody has open for a while is not at its end.
    console_peer: Option<OwnedFd>,
    pipes: Pipes,
    run_folder: PathBuf,
    door: OwnedFd,
    /// Nobody is let in until then.
    shut_until: Option<Instant>,
    clients: Vec<Client>,
    /// The owner has hung up, or somebody has sent a signal to end it: it is not wanted any more.
    is_abandoned: bool,
    checks: Checks,
    /// Input that the program has not taken yet, and whether there will be no more.
    untyped: Vec<u8>,
    input_ended: bool,
    /// Input ends with that of a client.
    stdin_once: bool,
    /// Until the next start.
    pause: Duration,
    /// The record says something new.
    should_look: bool,
}

/// What a descriptor that is waited for is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Program,
    Door,
    Check,
    Input,
    /// The console (0), stdout (1) or stderr (2).
    Output(usize),
    Client(usize),
}

impl Monitor {
    fn new(store: &Store, record: &Record, door: OwnedFd, pipes: Pipes) -> Monitor {
        Monitor {
            log: Log::open(&store.folder(&record.id), record.settings.log),
            pidfd: None,
            pid: 0,
            cgroup: record.cgroup(),
            alarm: None,
            is_our_child: false,
            born: Instant::now(),
            console: None,
            console_peer: None,
            pipes,
            run_folder: store.run_folder(&record.id),
            door,
            shut_until: None,
            clients: Vec::new(),
            is_abandoned: false,
            checks: Checks::new(record.settings.health.as_ref()),
            untyped: Vec::new(),
            input_ended: false,
            stdin_once: record.settings.stdin_once,
            pause: FIRST_PAUSE,
            should_look: false,
        }
    }

    /// Everything it holds.
    fn descriptors(&self) -> Vec<RawFd> {
        let files = [self.console.as_ref(), self.log.file(), self.pipes.input.as_ref()];
        let peer = self.console_peer.iter().map(AsRawFd::as_raw_fd);
        let outputs = self.pipes.outputs.iter().map(Option::as_ref);
        let files = files.into_iter().chain(outputs).flatten().map(AsRawFd::as_raw_fd);
        let clients = self.clients.iter().flat_map(|client| {
            let terminal = client.terminal.iter().map(|saved| saved.terminal.as_raw_fd());
            terminal.chain([client.socket.as_raw_fd()])
        });
        let program = self.pidfd.iter().map(AsRawFd::as_raw_fd);
        let alarm = self.alarm.iter().map(|alarm| alarm.as_fd().as_raw_fd());
        files
            .chain(peer)
            .chain(clients)
            .chain(program)
            .chain(alarm)
            .chain([self.door.as_raw_fd()])
            .collect()
    }

    /// From a start to the end, and from one start to the next.
    fn live(mut self, store: &Store, id: &str) -> ! {
        loop {
            self.watch(store, id);
            if !self.end(store, id) || !self.start_again(store, id) {
                break;
            }
        }
        let mut buffer = vec![0; MESSAGE];
        let mut deadline = Instant::now() + STANDSTILL;
        while !self.clients.is_empty() {
            self.turn(Some(deadline), &mut buffer);
            if Instant::now() >= deadline {
                // Whoever is only slow is waited for.
                self.clients.retain(|client| !client.is_stopped());
                deadline += STANDSTILL;
            }
        }
        sys::exit_now(0)
    }

    /// Until the program ends.
    fn watch(&mut self, store: &Store, id: &str) {
        if let Some(console) = &self.console {
            let _ = sys::set_nonblocking(console.as_raw_fd());
        }
        let mut buffer = vec![0; MESSAGE];
        while !self.turn(self.checks.deadline(), &mut buffer) {
            self.checks.go_on(store, id);
        }
    }

    /// Waits for somebody to do something, at most until `deadline`, and does its part. Has the program
    /// ended?
    fn turn(&mut self, deadline: Option<Instant>, buffer: &mut [u8]) -> bool {
        let mut ended = false;
        for source in self.wait(deadline) {
            match source {
                Source::Program => ended = true,
                Source::Door => self.welcome(),
                Source::Input => self.type_on(),
                Source::Output(number) if !self.is_held_back() => {
                    self.read_output(number, buffer);
                }
                Source::Client(number) => self.serve(number, buffer),
                Source::Output(_) | Source::Check => {}
            }
        }
        self.clients.retain(|client| !client.is_gone);
        ended
    }

    /// Waits for any of its sources, at most until `deadline`.
    fn wait(&self, deadline: Option<Instant>) -> Vec<Source> {
        let (read, write) = (PollFlags::POLLIN, PollFlags::POLLOUT);
        let mut wanted = Vec::new();
        let shut_until = self.shut_until.filter(|until| Instant::now() < *until);
        if shut_until.is_none() {
            wanted.push((Source::Door, self.door.as_raw_fd(), read));
        }
        wanted.extend(self.pidfd.as_ref().map(|fd| (Source::Program, fd.as_raw_fd(), read)));
        wanted.extend(self.checks.descriptors().map(|fd| (Source::Check, fd, read)));
        if !self.is_held_back() {
            let [stdout, stderr] = &self.pipes.outputs;
            let outputs = [&self.console, stdout, stderr].into_iter().enumerate();
            let open = |(number, file): (usize, &Option<File>)| {
                file.as_ref().map(|file| (Source::Output(number), file.as_raw_fd(), read))
            };
            wanted.extend(outputs.filter_map(open));
        }
        let input = self.input().filter(|_| !self.untyped.is_empty());
        wanted.extend(input.map(|file| (Source::Input, file.as_raw_fd(), write)));
        for (number, client) in self.clients.iter().enumerate() {
            let mut flags = read;
            flags.set(write, !client.unsent.is_empty());
            wanted.push((Source::Client(number), client.socket.as_raw_fd(), flags));
        }
        let pollfd =
            |&(_, fd, flags): &(Source, RawFd, PollFlags)| PollFd::new(sys::borrow(fd), flags);
        let mut polled: Vec<PollFd<'_>> = wanted.iter().map(pollfd).collect();
        let deadline = deadline.into_iter().chain(shut_until).min();
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        if poll(&mut polled, timeout).is_err() {
            return Vec::new();
        }
        let ready = polled.iter().map(|polled| polled.any().unwrap_or(false));
        wanted
            .iter()
            .zip(ready)
            .filter_map(|(&(source, ..), ready)| ready.then_some(source))
            .collect()
    }

    /// Is there somebody who must not miss anything, and has not taken all yet?
    fn is_held_back(&self) -> bool {
        self.clients.iter().any(|client| client.is_patient && !client.unsent.is_empty())
    }

    /// Where input goes.
    fn input(&self) -> Option<&File> {
        self.console.as_ref().or(self.pipes.input.as_ref())
    }

    /// Passes on to the program what it has not taken yet.
    fn type_on(&mut self) {
        let taken = match self.input().map(AsRawFd::as_raw_fd) {
            Some(input) => supervise::type_on(input, &mut self.untyped),
            None => false,
        };
        if !taken {
            self.untyped.clear();
        }
        if self.untyped.len() < CHUNK {
            for client in self.clients.iter_mut().filter(|client| client.is_typing) {
                client.is_typing = false;
                client.say(to_client::TAKEN, &[]);
            }
        }
        if self.untyped.is_empty() && self.input_ended {
            self.pipes.input = None;
        }
    }

    /// Reads one bufferful of the console (0), stdout (1) or stderr (2); false at its end.
    fn read_output(&mut self, number: usize, buffer: &mut [u8]) -> bool {
        let slot =
            if number == 0 { &mut self.console } else { &mut self.pipes.outputs[number - 1] };
        let Some(file) = slot else { return false };
        let bytes = match sys::read(file.as_raw_fd(), &mut buffer[..CHUNK]) {
            Err(fault) if fault.errno == Errno::EAGAIN => return false,
            Err(fault) if fault.errno == Errno::EINTR => return true,
            // A console answers EIO when its last process has gone.
            Ok(0) | Err(_) => {
                *slot = None;
                return false;
            }
            Ok(count) => &buffer[..count],
        };
        let (name, kind) =
            if number == 2 { ("stderr", to_client::ERROR) } else { ("stdout", to_client::OUTPUT) };
        self.log.write(name, bytes);
        for client in self.clients.iter_mut().filter(|client| client.is_attached) {
            client.hand(kind, bytes);
        }
        true
    }

    fn send_signal(&self, signal: i32) {
        match &self.pidfd {
            Some(pidfd) if signal == libc::SIGKILL => signals::kill(pidfd, self.cgroup.as_ref()),
            Some(pidfd) => drop(sys::pidfd_send_signal(pidfd.as_raw_fd(), signal)),
            None => {}
        }
    }

    /// Lets a new client in.
    fn welcome(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        match accept4(self.door.as_raw_fd(), flags) {
            Ok(socket) => self.clients.push(Client::new(sys::own(socket))),
            Err(_) => self.shut_until = Some(Instant::now() + CROWDED),
        }
    }

    /// Hears one message of a client, and passes on to it what it has not taken yet.
    fn serve(&mut self, number: usize, buffer: &mut [u8]) {
        let client = &mut self.clients[number];
        client.send_on();
        let count = match recv(client.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR | Errno::EAGAIN) => return,
            Ok(0) | Err(_) => {
                client.is_gone = true;
                if let Some(saved) = &client.terminal {
                    let _ = termios::tcsetattr(&saved.terminal, SetArg::TCSANOW, &saved.settings);
                }
                if client.is_owner {
                    // Without -d a container never outlives its caller.
                    self.is_abandoned = true;
                    self.send_signal(libc::SIGKILL);
                }
                return;
            }
            Ok(count) => count,
        };
        match (buffer[0], &buffer[1..count]) {
            _ if client.is_parting => {}
            (to_monitor::ATTACH, _) if self.pidfd.is_some() => {
                client.is_attached = true;
                client.say(to_client::STARTED, &self.pid.to_ne_bytes());
            }
            (to_monitor::ATTACH, _) => {
                client.say(to_client::FAILED, &message(125, b"the container has just ended"));
            }
            (to_monitor::INPUT, bytes) => {
                client.is_typing = true;
                self.untyped.extend_from_slice(bytes);
                self.type_on();
            }
            (to_monitor::INPUT_END, _) if self.stdin_once => {
                if self.console.is_some() {
                    // What Ctrl-D is to a terminal.
                    self.untyped.push(0x04);
                }
                self.input_ended = true;
                Pipes::end_input(&self.run_folder);
                self.type_on();
            }
            (to_monitor::SIZE, &[a, b, c, d]) => {
                if let Some(console) = &self.console {
                    let (rows, columns) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
                    let _ = sys::set_winsize(console.as_raw_fd(), rows, columns);
                }
            }
            (to_monitor::SIGNAL, &[signal]) => {
                let signal = i32::from(signal);
                self.is_abandoned |= is_deadly(signal);
                self.send_signal(signal);
            }
            (to_monitor::DETACH, _) => client.is_gone = true,
            (to_monitor::LOOK, _) => self.should_look = true,
            _ => {}
        }
    }

    /// Looks after a program that was just started.
    fn adopt(&mut self, store: &Store, id: &str, running: Running) {
        self.pid = running.pid;
        self.pidfd = Some(running.pidfd);
        self.alarm = ending::oom_alarm(self.cgroup.as_ref());
        self.is_our_child = true;
        let peer = running.console.as_ref().map(|console| sys::pty_peer(console.as_raw_fd()));
        self.console_peer = peer.and_then(std::result::Result::ok).map(sys::own);
        self.console = running.console.map(File::from);
        self.born = Instant::now();
        self.input_ended = false;
        self.untyped.clear();
        self.checks.begin(store, id, None);
    }

    /// The program has ended: what it wrote last, its status, its record, the clients' last words. Will
    /// it be started again?
    fn end(&mut self, store: &Store, id: &str) -> bool {
        let (ended, note) = self.collect();
        let mut buffer = vec![0; CHUNK];
        for number in 0..3 {
            // No more than a pipe may hold: what outlives it could go on writing for ever.
            (0..PIPE / CHUNK).all(|_| self.read_output(number, &mut buffer));
        }
        (self.console, self.console_peer) = (None, None);
        self.checks.stop();
        let written = self.write_down_end(store, id, ended, note);
        let (note, again) = written.unwrap_or_default();
        let code = ended.map_or(255, |ended| ended.code);
        for client in self.clients.iter_mut().filter(|client| client.is_attached) {
            client.part(code, &note);
        }
        self.clients.retain(|client| !client.is_gone);
        again
    }

    /// The exit status, or why it is not known.
    fn collect(&mut self) -> (Option<Ended>, Option<String>) {
        let Some(pidfd) = self.pidfd.take() else { return (None, None) };
        if self.is_our_child {
            return (reap(pidfd.as_fd()), None);
        }
        let why = match exit_of_a_strangers_child(&pidfd) {
            Ok(Some(ended)) => return (Some(ended), None),
            Ok(None) => "its new parent does not collect its status",
            Err(_) => "this kernel (before 6.15) tells its status to nobody else",
        };
        (None, Some(format!("its first monitor was killed, and {why}")))
    }

    /// The words on the end for whoever is there, and whether it will be started again.
    fn write_down_end(
        &self,
        store: &Store,
        id: &str,
        ended: Option<Ended>,
        note: Option<String>,
    ) -> Result<(String, bool)> {
        let Some(_lock) = Lock::wait(&store.folder(id))? else { return Ok(Default::default()) };
        let Some(Container { mut record, .. }) = store.load(id)? else {
            return Ok(Default::default());
        };
        if self.is_abandoned {
            record.halted = Some(Halted::User);
        }
        let exit = ending::describe(&record, ended, note, self.alarm.as_ref());
        let mut note = exit.note.clone().unwrap_or_default();
        let again =
            record.halted.is_none() && record.settings.restart.again(exit.code, record.restarts);
        if again {
            store.end_for_now(&mut record, exit)?;
            note = format!(
                "{0} ended, and its restart policy starts it again; `minibox stop {0}` ends that",
                record.name
            );
        } else {
            store.end(&mut record, exit)?;
        }
        Ok((note, again))
    }

    /// After a pause starts the container once more; false where nobody wants that any more, or where
    /// it fails.
    fn start_again(&mut self, store: &Store, id: &str) -> bool {
        if self.born.elapsed() >= LONG_LIFE {
            self.pause = FIRST_PAUSE;
        }
        let deadline = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let mut buffer = vec![0; MESSAGE];
        self.should_look = false;
        while Instant::now() < deadline && !self.should_look {
            self.turn(Some(deadline), &mut buffer);
        }
        let Ok(Some(_lock)) = Lock::wait(&store.folder(id)) else { return false };
        let Ok(Some(Container { mut record, .. })) = store.load(id) else { return false };
        if record.halted.is_none() {
            match self.start_once_more(store, &mut record) {
                Ok(()) => return true,
                Err(error) => record.exit = Some(ending::not_started(&error)),
            }
        }
        record.is_restarting = false;
        let _ = store.save(&record).and_then(|()| store.release(&record));
        false
    }

    fn start_once_more(&mut self, store: &Store, record: &mut Record) -> Result<()> {
        let spec = birth::load_spec(store, record)?;
        let mut choices = birth::choices(store, record, Listening::Quiet)?;
        if !record.terminal {
            let folder = store.run_folder(&record.id);
            let (pipes, theirs) = Pipes::make(&folder, &record.settings)?;
            self.pipes = pipes;
            choices.stdio = theirs;
        }
        let plan = birth::plan(store, record, &spec, choices)?;
        let running = minibox_runtime::spawn::start(&plan, &mut |event| match event {
            Event::Born { pid } => birth::write_down_start(store, record, *pid),
            _ => Ok(()),
        })?;
        store.tell(record, "start", &[]);
        self.adopt(store, &record.id, running);
        Ok(())
    }
}

/// Does one send it to end a program?
fn is_deadly(signal: i32) -> bool {
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGKILL].contains(&signal)
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

/// Starts a monitor for a container that runs without one. Called by the next verb that meets it.
pub(crate) fn take_over(store: &Store, container: &Container) -> Result<()> {
    let id = &container.record.id;
    // Others may be at it, too: then theirs is there when the lock is free.
    let Some(lock) = Lock::wait(&store.folder(id))? else { return Ok(()) };
    let is_alone = |c: &Container| c.status() == Status::Running && !c.is_kept();
    let Some(now) = store.load(id)?.filter(is_alone) else { return Ok(()) };
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
        let (pid, pidfd) = now.hold_running()?;
        let init = now.state.as_ref().map_or(ProcessId { pid, start_time: 0 }, |state| state.init);
        let folder = store.run_folder(id);
        let door = words::open_door(&folder)?;
        birth::write_state(store, id, init)?;
        let record = now.record;
        // A terminal is gone for good: the kernel hung it up with the first monitor's death.
        let pipes = if record.terminal {
            Pipes::default()
        } else {
            Pipes::open(&folder, &record.settings)?
        };
        let mut monitor = Monitor::new(store, &record, door, pipes);
        (monitor.pid, monitor.pidfd) = (pid, Some(pidfd));
        monitor.checks.begin(store, id, health::Report::read(store, id));
        Ok::<_, Error>((monitor, record.name))
    })();
    let Ok((monitor, name)) = taken else { sys::exit_now(1) };
    drop(lock);
    drop(theirs);
    become_quiet(&name, &monitor.descriptors());
    tracing::debug!(pid = monitor.pid, "taken over");
    monitor.live(store, id)
}
