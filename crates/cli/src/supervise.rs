//! The process in the foreground: passes signals and streams on, and learns how the program ended.
//!
//! Used by `run` without a terminal and by `exec`. It never reads what it need not: streams that are
//! files or pipes of the caller are handed to the program as they are.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use minibox_runtime::sys;
use minibox_runtime::{Error, Result, Running};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::ending::{Ended, reap};
use crate::output;
use crate::signals::{self, reaches};
use crate::store::Record;
use crate::terminal::{self, RawMode};

/// Bytes that are copied at a time.
const CHUNK: usize = 16 * 1024;

/// Signals that are passed on. Not those that stop and continue: job control of the caller's shell
/// concerns minibox alone, the container has a session of its own.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Blocks the forwarded signals and opens a descriptor that delivers them. Before the program is
/// started, so that none is lost in between. Without `all` only changes of the terminal's size are caught.
pub(crate) fn catch_signals(all: bool) -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGWINCH);
    for signal in FORWARDED.into_iter().filter(|_| all) {
        set.add(signal);
    }
    let failed = |errno| Error::new("cannot catch signals").errno(errno);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// The program's streams, and our ends of those that we relay.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// For the program; `None` hands on the caller's.
    pub theirs: [Option<OwnedFd>; 3],
    /// Our end of its stdin.
    input: Option<OwnedFd>,
    /// Our ends of its stdout and stderr.
    outputs: [Option<OwnedFd>; 2],
}

impl Streams {
    /// Decides which streams are handed on and which are relayed.
    ///
    /// A terminal is never handed on: it is open for reading too, and whoever holds it can read what
    /// the caller types (and on some kernels type for him).
    pub(crate) fn new(interactive: bool) -> Result<Streams> {
        let failed = |errno| Error::new("cannot make a pipe").errno(errno);
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed);
        let mut streams = Streams::default();
        if !interactive {
            let null = std::fs::File::open("/dev/null")
                .map_err(|e| Error::of_io("open", "/dev/null".as_ref(), &e))?;
            streams.theirs[0] = Some(null.into());
        } else if std::io::stdin().is_terminal() {
            let (read, write) = pipe()?;
            streams.theirs[0] = Some(read);
            streams.input = Some(write);
        }
        for (number, is_terminal) in
            [std::io::stdout().is_terminal(), std::io::stderr().is_terminal()]
                .into_iter()
                .enumerate()
        {
            if is_terminal {
                let (read, write) = pipe()?;
                streams.theirs[number + 1] = Some(write);
                streams.outputs[number] = Some(read);
            }
        }
        Ok(streams)
    }
}

/// Stays with the program until it ends. `container` is the one whose PID 1 it is; none for a program that has joined one, to which signals do what they always do.
pub(crate) fn stay(
    running: &Running,
    mut streams: Streams,
    signals: &SignalFd,
    interactive: bool,
    container: Option<&Record>,
) -> Result<Ended> {
    // Our copies of the program's ends would keep its pipes open for ever.
    streams.theirs = [None, None, None];
    let console = running.console.as_ref();
    let raw = (console.is_some() && interactive).then(RawMode::enter).flatten();
    if let Some(console) = console {
        terminal::copy_size(console.as_fd());
        streams.outputs[0] = Some(console.try_clone().map_err(|e| Error::new(e.to_string()))?);
        streams.input = interactive
            .then(|| console.try_clone())
            .transpose()
            .map_err(|e| Error::new(e.to_string()))?;
    }
    let mut second_chance: Option<Instant> = None;
    let mut ended = None;
    let (mut untyped, mut input_ended) = (Vec::new(), false);
    if let Some(input) = &streams.input {
        let _ = sys::set_nonblocking(input.as_raw_fd());
    }
    loop {
        let mut polled = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let mut watch = |fd: Option<RawFd>, flags: PollFlags| {
            fd.map(|fd| {
                polled.push(PollFd::new(sys::borrow(fd), flags));
                polled.len() - 1
            })
        };
        let living = ended.is_none();
        let at_pid = watch(living.then(|| running.pidfd.as_raw_fd()), PollFlags::POLLIN);
        let outputs = [0, 1].map(|n: usize| streams.outputs[n].as_ref().map(AsRawFd::as_raw_fd));
        let at_out = outputs.map(|fd| watch(fd, PollFlags::POLLIN));
        // What the program has not taken yet comes first; only then more is read.
        let input = streams.input.as_ref().map(AsRawFd::as_raw_fd).filter(|_| living);
        let at_type = watch(input.filter(|_| !untyped.is_empty()), PollFlags::POLLOUT);
        let from = input.filter(|_| untyped.is_empty()).map(|_| libc::STDIN_FILENO);
        let at_in = watch(from, PollFlags::POLLIN);
        match poll(&mut polled, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Error::new("cannot wait for the program").errno(errno)),
            Ok(_) => {}
        }
        let ready = |at: Option<usize>| at.is_some_and(|at| polled[at].any().unwrap_or(false));
        let (in_ready, type_ready, pid_ready) = (ready(at_in), ready(at_type), ready(at_pid));
        let out_ready = at_out.map(ready);
        while let Ok(Some(signal)) = signals.read_signal() {
            let Ok(signal) = Signal::try_from(signal.ssi_signo as i32) else {
                continue;
            };
            match (console, signal) {
                (Some(console), Signal::SIGWINCH) => terminal::copy_size(console.as_fd()),
                (None, Signal::SIGWINCH) => {}
                _ => match container {
                    Some(record) => forward(running, signal, &mut second_chance, record),
                    None => drop(sys::pidfd_send_signal(running.pidfd.as_raw_fd(), signal as i32)),
                },
            }
        }
        for (number, is_ready) in out_ready.into_iter().enumerate() {
            if is_ready {
                let to = if number == 0 { libc::STDOUT_FILENO } else { libc::STDERR_FILENO };
                let from = streams.outputs[number].as_ref().map_or(-1, AsRawFd::as_raw_fd);
                if !pass_on(from, to) {
                    streams.outputs[number] = None;
                }
            }
        }
        if in_ready && !read_more(&mut untyped) {
            match console {
                // End of a piped input: what Ctrl-D is to a terminal.
                Some(_) => untyped.push(0x04),
                None => streams.input = None,
            }
            input_ended = true;
        }
        if let (true, Some(input)) = (in_ready || type_ready, &streams.input) {
            let is_gone = !type_on(input.as_raw_fd(), &mut untyped);
            if is_gone || (input_ended && untyped.is_empty()) {
                streams.input = None;
            }
        }
        if pid_ready {
            ended = reap(running.pidfd.as_fd());
        }
        if let Some(ended) = ended {
            // What it wrote last is still in the pipes; they end with the last process that holds them.
            drain(&mut streams);
            drop(raw);
            return Ok(ended);
        }
    }
}

/// After the end: passes on what is there, and does not wait for processes that outlive an `exec`: at
/// most what a pipe holds, since they may go on writing.
fn drain(streams: &mut Streams) {
    const PIPE: usize = 64 * 1024;
    for (number, output) in streams.outputs.iter_mut().enumerate() {
        let Some(fd) = output.take() else { continue };
        let to = if number == 0 { libc::STDOUT_FILENO } else { libc::STDERR_FILENO };
        for _ in 0..PIPE / CHUNK {
            let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            let any = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|n| n > 0);
            if !any || !pass_on(fd.as_raw_fd(), to) {
                break;
            }
        }
    }
}

/// Reads one bufferful of our standard input; false at its end.
fn read_more(untyped: &mut Vec<u8>) -> bool {
    let mut buffer = [0_u8; CHUNK];
    match sys::read(libc::STDIN_FILENO, &mut buffer) {
        Err(fault) if matches!(fault.errno, Errno::EINTR | Errno::EAGAIN) => true,
        Ok(0) | Err(_) => false,
        Ok(count) => {
            untyped.extend_from_slice(&buffer[..count]);
            true
        }
    }
}

/// Gives the program what it takes at once; false where it takes nothing any more.
pub(crate) fn type_on(to: RawFd, untyped: &mut Vec<u8>) -> bool {
    match sys::write(to, untyped) {
        Ok(count) => drop(untyped.drain(..count)),
        Err(fault) if matches!(fault.errno, Errno::EINTR | Errno::EAGAIN) => {}
        Err(_) => return false,
    }
    true
}

/// Copies one bufferful; false at the end or where the other side is gone.
fn pass_on(from: i32, to: i32) -> bool {
    let mut buffer = [0_u8; CHUNK];
    let count = loop {
        match sys::read(from, &mut buffer) {
            Err(fault) if fault.errno == Errno::EINTR => {}
            Err(fault) if fault.errno == Errno::EAGAIN => return true,
            Ok(0) | Err(_) => return false,
            Ok(count) => break count,
        }
    };
    write_all(to, &buffer[..count])
}

/// Writes everything; false where the other side is gone.
pub(crate) fn write_all(to: i32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match sys::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(fault) if fault.errno == Errno::EINTR => {}
            Err(fault) if fault.errno == Errno::EAGAIN => {
                let mut polled = [PollFd::new(sys::borrow(to), PollFlags::POLLOUT)];
                let _ = poll(&mut polled, PollTimeout::NONE);
            }
            Err(_) => return false,
        }
    }
    true
}

/// Passes a signal on to PID 1, and explains the kernel where it will be thrown away.
fn forward(
    running: &Running,
    signal: Signal,
    second_chance: &mut Option<Instant>,
    record: &Record,
) {
    let send = |signal: Signal| match signal {
        Signal::SIGKILL => signals::kill(&running.pidfd, record.cgroup().as_ref()),
        _ => drop(sys::pidfd_send_signal(running.pidfd.as_raw_fd(), signal as i32)),
    };
    explain_and_send(running.pid, signal, second_chance, &record.name, send);
}

/// The same, however it is sent: what a signal to a PID 1 without a handler comes to.
pub(crate) fn explain_and_send(
    pid: i32,
    signal: Signal,
    second_chance: &mut Option<Instant>,
    name: &str,
    send: impl Fn(Signal),
) {
    let again = second_chance.is_some_and(|first| first.elapsed() < Duration::from_secs(2));
    let heard = reaches(pid, signal as i32);
    if signal == Signal::SIGINT && again && !heard {
        output::note("second Ctrl-C: the container is killed");
        return send(Signal::SIGKILL);
    }
    send(signal);
    if signal == Signal::SIGINT {
        *second_chance = Some(Instant::now());
    }
    if heard {
        return;
    }
    match signal {
        Signal::SIGINT => output::note(
            "the program is PID 1 of its namespace and has no handler for SIGINT, so the kernel throws the signal away; Ctrl-C once more within two seconds kills it",
        ),
        // The terminal is gone, and nobody could ever end it from there again.
        Signal::SIGHUP => send(Signal::SIGKILL),
        signal => output::note(&format!(
            "the program is PID 1 of its namespace and has no handler for {signal}, so the kernel throws the signal away; `minibox stop {name}` or kill -9 {pid} ends it"
        )),
    }
}
