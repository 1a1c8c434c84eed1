//! `minibox why`: why a container ended, or what it is waiting for.

use minibox_lens::Seen;
use minibox_lens::calls::Where;
use minibox_lens::processes::State;
use minibox_lens::tree::Known;
use minibox_lens::waiting::{self, Waiter, Waiting};
use minibox_runtime::{Error, Result};
use serde::Serialize;

use super::columns::columns;
use super::tree::word;
use super::{Canvas, Target, calls, find_process, known, look};
use crate::args::LookTargetArgs;
use crate::events::{self, Tail};
use crate::language::say;
use crate::living;
use crate::output;
use crate::signals;
use crate::store::{Container, Record, Status, Store};

/// The short answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    /// It was made, and nobody has started it.
    NeverStarted,
    /// Its program could not be executed, or something before that failed.
    CouldNotStart,
    /// Nobody was there to see it.
    Unknown,
    /// It needed more memory than it may have.
    OutOfMemory,
    /// It ended by itself, with 0.
    Done,
    /// It ended by itself, with another code.
    Failed,
    /// It ended when `stop` asked it to.
    Asked,
    /// It did not end in time when `stop` asked it to, and was killed.
    StopTimeout,
    /// By a signal that minibox sent.
    SignalOfMinibox,
    /// By a signal of somebody else.
    Signal,
    /// By `pause`.
    Paused,
    /// By a signal such as SIGSTOP.
    Stopped,
    /// A debugger holds it.
    Traced,
    /// It has ended, and its parent has not asked how.
    Zombie,
    /// It wants more CPU time than it may have.
    Throttled,
    /// It computes.
    Busy,
    /// It waits for a disk.
    Disk,
    /// It waits for something else.
    Waiting,
}

#[derive(Serialize)]
struct Why {
    container: Option<String>,
    /// Of one that lives.
    pid: Option<i32>,
    cause: Cause,
    exit: Option<Exit>,
    /// What minibox has sent since it was started.
    signals: Vec<Sent>,
    /// How often its restart policy has started it.
    restarts: u32,
    doing: Option<Waiting>,
}

#[derive(Serialize)]
struct Exit {
    code: Option<i32>,
    /// What a code above 128 stands for.
    signal: Option<i32>,
    finished: String,
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Sent {
    /// Seconds since 1970.
    time: u64,
    signal: i32,
}

/// `minibox why`.
pub(crate) fn why(store: &Store, args: &LookTargetArgs) -> Result<u8> {
    let see = || see(store, &args.target);
    look(&args.look, "why/1", None::<&Target>, see, |why, canvas| draw(&args.target, why, canvas))
}

/// The same, for another screen.
pub(crate) fn picture(store: &Store, asked: &str, canvas: &Canvas) -> Result<String> {
    Ok(draw(asked, &see(store, asked)?, canvas))
}

fn see(store: &Store, asked: &str) -> Result<Why> {
    if let Some(target) = find_process(store, asked)? {
        let doing = waiting::of(&target.process, &known(store));
        let gone = || Error::new(format!("there is no process {}", target.pid));
        let cause = cause_of_living(&doing).ok_or_else(gone)?;
        let (pid, doing) = (Some(target.pid), Some(doing));
        let (exit, signals) = (None, Vec::new());
        return Ok(Why { container: None, pid, cause, exit, signals, restarts: 0, doing });
    }
    let container = living::find(store, asked)?;
    let record = &container.record;
    let (signals, is_stopped) = history(store, record);
    let name = Some(record.name.clone());
    let restarts = record.restarts;
    if let Some((pid, _held)) = container.hold()? {
        let process = minibox_lens::process::open(pid).map_err(|error| super::fault(&error))?;
        let this = Known { pid, name: record.name.clone(), id: record.id.clone() };
        let doing = waiting::of(&process, &[this]);
        let living = cause_of_living(&doing).unwrap_or(Cause::Waiting);
        let cause = if container.is_paused() { Cause::Paused } else { living };
        let (pid, doing) = (Some(pid), Some(doing));
        return Ok(Why { container: name, pid, cause, exit: None, signals, restarts, doing });
    }
    let cause = cause_of_end(&container, &signals, is_stopped);
    let exit = record.exit.as_ref().map(|exit| Exit {
        code: exit.code,
        signal: exit.code.and_then(signal_of),
        finished: exit.finished.clone(),
        note: exit.note.clone(),
    });
    Ok(Why { container: name, pid: None, cause, exit, signals, restarts, doing: None })
}

/// Of an exit status as a shell would see it.
fn signal_of(code: i32) -> Option<i32> {
    Some(code - 128).filter(|signal| (1..=64).contains(signal))
}

/// What minibox has sent since the last start, and whether that was to stop it.
fn history(store: &Store, record: &Record) -> (Vec<Sent>, bool) {
    let (mut sent, mut is_stopped) = (Vec::new(), false);
    for path in [events::earlier(&store.data), events::current(&store.data)] {
        if !path.exists() {
            continue;
        }
        let Ok(mut tail) = Tail::open(&path) else { continue };
        while let Some(event) = tail.next() {
            if event.kind != "container" || event.actor.id != record.id {
                continue;
            }
            let signal = event.actor.attributes.get("signal");
            match (event.action.as_str(), signal.and_then(|text| text.parse().ok())) {
                ("start", _) => (sent, is_stopped) = (Vec::new(), false),
                ("kill", Some(signal)) => sent.push(Sent { time: event.time, signal }),
                ("stop" | "restart", _) => is_stopped = true,
                _ => {}
            }
        }
    }
    (sent, is_stopped)
}

fn cause_of_end(container: &Container, sent: &[Sent], is_stopped: bool) -> Cause {
    let record = &container.record;
    let Some(exit) = &record.exit else {
        let is_new = container.status() == Status::Created;
        return if is_new { Cause::NeverStarted } else { Cause::Unknown };
    };
    let failed = exit.note.as_deref().is_some_and(|note| note.starts_with("it could not be"));
    let code = match exit.code {
        _ if exit.out_of_memory => return Cause::OutOfMemory,
        _ if failed => return Cause::CouldNotStart,
        None => return Cause::Unknown,
        Some(code) => code,
    };
    let was_sent = |signal: i32| sent.iter().any(|sent| sent.signal == signal);
    let stop_signal = record.settings.stop_signal;
    match (code, signal_of(code)) {
        (_, Some(libc::SIGKILL))
            if is_stopped && was_sent(stop_signal) && was_sent(libc::SIGKILL) =>
        {
            Cause::StopTimeout
        }
        (_, signal) if is_stopped && signal.is_none_or(was_sent) => Cause::Asked,
        (_, Some(signal)) if was_sent(signal) => Cause::SignalOfMinibox,
        (_, Some(_)) => Cause::Signal,
        (0, None) => Cause::Done,
        (_, None) => Cause::Failed,
    }
}

/// By its first process, and whoever is busiest.
fn cause_of_living(doing: &Waiting) -> Option<Cause> {
    let first = doing.processes.first()?;
    let is = |state: State| doing.processes.iter().any(|process| process.state == state);
    Some(match first.state {
        State::Zombie | State::Dead => Cause::Zombie,
        State::Stopped => Cause::Stopped,
        State::Tracing => Cause::Traced,
        _ if is(State::Running) => match &doing.throttling {
            Seen::Known(throttling) if throttling.throttled * 2 > throttling.periods => {
                Cause::Throttled
            }
            _ => Cause::Busy,
        },
        _ if is(State::DiskSleep) => Cause::Disk,
        _ => Cause::Waiting,
    })
}

fn draw(asked: &str, why: &Why, canvas: &Canvas) -> String {
    let name = why.container.as_deref().unwrap_or(asked);
    let title = match (&why.container, why.pid) {
        (Some(name), Some(pid)) => format!("Container {name}, process {pid}, lives"),
        (Some(name), None) if why.cause == Cause::NeverStarted => {
            format!("Container {name} was never started")
        }
        (Some(name), None) => format!("Container {name} has ended"),
        (None, pid) => format!("Process {} lives", pid.unwrap_or(0)),
    };
    let mut text = canvas.heading(&title);
    text += &canvas.wrap("", &sentence(name, why));
    if let Some(exit) = &why.exit {
        let finished = &exit.finished;
        text += &canvas.wrap("", &format!("It ended at {finished}."));
        if let Some(note) = &exit.note {
            text += &canvas.wrap("", &format!("Written down then: {}", output::on_one_line(note)));
        }
    }
    if !why.signals.is_empty() {
        let names = why.signals.iter().map(|sent| signals::name(sent.signal));
        let names = names.collect::<Vec<_>>().join(", ");
        text += &canvas
            .wrap("", &format!("Signals that minibox has sent it since its start: {names}."));
    }
    if why.restarts > 0 {
        let count = why.restarts;
        text +=
            &canvas.wrap("", &format!("Its restart policy has started it again; times: {count}."));
    }
    if let Some(doing) = &why.doing {
        text.push('\n');
        text += &table(doing, canvas);
        text += &limits(doing, canvas);
    }
    text
}

/// The answer in a sentence or two.
fn sentence(name: &str, why: &Why) -> String {
    let code = why.exit.as_ref().and_then(|exit| exit.code).unwrap_or(255);
    let signal = signals::name(signal_of(code).unwrap_or(0));
    match why.cause {
        Cause::NeverStarted => {
            format!("It was made and is waiting: `minibox start {name}` starts it.")
        }
        Cause::CouldNotStart => match code {
            127 => String::from(
                "It could not be started, exit code 127: its program, or the interpreter that the program names, is not among its files.",
            ),
            126 => String::from(
                "It could not be started, exit code 126: its program is there, and may not or cannot be executed.",
            ),
            code => format!("It could not be started, exit code {code}: its program never ran."),
        },
        Cause::Unknown => {
            String::from("Nobody was there to see how it ended: its exit code is lost.")
        }
        Cause::OutOfMemory => String::from(
            "It ran out of memory: it wanted more RAM than its limit allows, and the kernel killed it (SIGKILL, exit code 137). Give it more with -m, or find out what grows with `minibox mem`.",
        ),
        Cause::Done => String::from(
            "It has done what it was to do: its program ended by itself with exit code 0.",
        ),
        Cause::Failed => match code {
            125 => String::from(
                "Exit code 125: its program says so, as minibox does where it cannot make a container.",
            ),
            126 => String::from(
                "Exit code 126: a shell in it found a command, and could not execute it.",
            ),
            127 => String::from("Exit code 127: a shell in it did not find a command."),
            code => format!(
                "Its program ended by itself with exit code {code}, which is for the program to explain: `minibox logs {name}` has its last words."
            ),
        },
        Cause::Asked => format!(
            "Somebody asked it to end (minibox stop), and it did so, with exit code {code}."
        ),
        Cause::StopTimeout => String::from(
            "Somebody asked it to end (minibox stop), it did not do so in time, and minibox killed it (SIGKILL, exit code 137). PID 1 hears only signals that it has a handler for: --init helps.",
        ),
        Cause::SignalOfMinibox => format!(
            "minibox sent it {signal} (minibox kill), and it ended: exit code {code} is 128 and the signal's number."
        ),
        Cause::Signal => match signal_of(code).unwrap_or(0) {
            libc::SIGSEGV => format!(
                "{signal}, exit code {code}: its program touched memory that is not its own. Endless recursion, which overflows the stack, ends like this too."
            ),
            libc::SIGABRT => {
                format!("{signal}, exit code {code}: its program gave up itself, as abort(3) does.")
            }
            libc::SIGSYS => format!(
                "{signal}, exit code {code}: it made a system call that its filter kills for, one of another architecture perhaps, as 32-bit programs do. `minibox seccomp` shows the filters of containers that run; --security-opt seccomp=unconfined takes it away."
            ),
            libc::SIGILL | libc::SIGFPE | libc::SIGBUS => format!(
                "{signal}, exit code {code}: the CPU or the kernel could not do what its program asked for."
            ),
            _ => format!(
                "{signal} ended it (exit code {code} is 128 and the signal's number). minibox did not send that: a process of this host, or one inside, or the terminal did. The kernel keeps no record of who."
            ),
        },
        Cause::Paused => {
            format!("It is paused: all of its processes sleep until `minibox unpause {name}`.")
        }
        Cause::Stopped => String::from(
            "It was stopped by a signal such as SIGSTOP, or Ctrl-Z on its terminal; SIGCONT lets it go on.",
        ),
        Cause::Traced => String::from("A debugger holds it, and lets it go on."),
        Cause::Zombie => {
            let parent = why.doing.as_ref().and_then(|doing| doing.processes.first());
            let parent = parent.map_or(0, |process| process.parent);
            format!(
                "It has ended: only its exit code is left, and its parent, process {parent}, has not asked for it yet (a zombie)."
            )
        }
        Cause::Throttled => String::from(
            "It computes, and wants more CPU time than its limit gives it: in most periods it is halted before the end.",
        ),
        Cause::Busy => {
            String::from("It does not hang: it computes, or waits for its turn on a CPU.")
        }
        Cause::Disk => String::from(
            "It waits for a disk or the like; no signal, not even SIGKILL, reaches it before that has answered.",
        ),
        Cause::Waiting => String::from(
            "It sleeps: none of its processes wants a CPU before what they wait for has come.",
        ),
    }
}

fn table(doing: &Waiting, canvas: &Canvas) -> String {
    let depth = doing.processes.iter().map(|process| process.pids.len()).max().unwrap_or(1);
    let mut heading = vec!["HOST PID".to_owned()];
    if depth > 1 {
        heading.push("INSIDE".to_owned());
    }
    heading.extend(["STATE", "IN", "PROCESS"].map(str::to_owned));
    let mut rows = vec![heading];
    for process in &doing.processes {
        let mut row = vec![process.pids[0].to_string()];
        if depth > 1 {
            let inside = process.pids.last().filter(|_| process.pids.len() > 1);
            row.push(inside.map(ToString::to_string).unwrap_or_default());
        }
        let command = match process.arguments.as_slice() {
            [] => format!("[{}]", process.name),
            arguments => output::shell_words(arguments),
        };
        row.push(word(process.state));
        row.push(match &process.at {
            Seen::Known(Where::Running) => say("its own code"),
            Seen::Known(Where::Halted { .. }) => say("halted"),
            Seen::Known(Where::InCall(call)) => {
                call.name.clone().unwrap_or_else(|| say(&format!("call {}", call.number)))
            }
            Seen::Denied => say("(hidden)"),
            Seen::Absent => "-".to_owned(),
        });
        row.push(output::on_one_line(&command));
        rows.push(row);
    }
    let least = [("STATE", 7), ("IN", 15)];
    let mut text = String::new();
    let lines = columns(&rows, &["HOST PID", "INSIDE"], &least, canvas.width);
    for (number, line) in lines.iter().enumerate() {
        text += &(line.clone() + "\n");
        let process = number.checked_sub(1).and_then(|at| doing.processes.get(at));
        if let Some(what) = process.map(waits_for).filter(|what| !what.is_empty()) {
            text += &canvas.wrap("          ", &what);
        }
    }
    text
}

/// What its call waits for, with today's values.
fn waits_for(process: &Waiter) -> String {
    let call = process.at.known().and_then(Where::call);
    let name = call.and_then(|call| call.name.as_deref()).unwrap_or_default();
    let Some(what) = calls::waits_for(name) else { return String::new() };
    let children = process.children.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match (&process.file, children.as_str()) {
        (Some(file), _) => {
            let target = match &file.target {
                Seen::Known(target) => output::on_one_line(&target.to_string_lossy()),
                Seen::Denied => say("(hidden)"),
                Seen::Absent => say("(closed)"),
            };
            let others = file.others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let number = file.descriptor;
            match others.as_str() {
                "" => format!("It waits for {what}: file {number}, {target}."),
                others => format!(
                    "It waits for {what}: file {number}, {target} of which {others} holds the other end."
                ),
            }
        }
        (None, "") => format!("It waits for {what}."),
        (None, children) => format!("It waits for {what}: {children}."),
    }
}

fn limits(doing: &Waiting, canvas: &Canvas) -> String {
    let mut text = String::new();
    if let Seen::Known(throttling) = &doing.throttling
        && throttling.throttled > 0
    {
        let (throttled, periods) = (throttling.throttled, throttling.periods);
        let seconds = throttling.throttled_ms / 1000;
        text += &canvas.wrap("", &format!("Its limit of CPU time has halted it in {throttled} of {periods} periods, for {seconds} s in all."));
    }
    if let Seen::Known(kills @ 1..) = doing.oom_kills {
        text += &canvas.wrap(
            "",
            &format!("Processes of it that the kernel has killed for want of memory: {kills}."),
        );
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}
