//! `minibox threads`: a process is a container of threads; what they share, and what each has for itself.

use minibox_lens::Seen;
use minibox_lens::calls::Where;
use minibox_lens::processes::State;
use minibox_lens::threads::{self, Shared, Thread, Threads};
use minibox_runtime::Result;
use nix::sys::signal::Signal;

use super::columns::columns;
use super::tree::{clock, word};
use super::{Canvas, Target, calls, fault, find, look};
use crate::args::LookTargetArgs;
use crate::language::say;
use crate::output;
use crate::size;
use crate::store::Store;

/// Columns that stand to the right, and the room that others need.
const NUMBERS: [&str; 7] = ["HOST TID", "INSIDE", "CPU", "TIME", "ON", "WAITED", "FORCED"];
const LEAST: [(&str, usize); 7] = [
    ("STATE", 7),
    ("CPU", 4),
    ("TIME", 6),
    ("STACK", 15),
    ("IN", 15),
    ("WAITED", 6),
    ("FORCED", 6),
];

/// `minibox threads`.
pub(crate) fn threads(store: &Store, args: &LookTargetArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    let see = || threads::of(&target.process).map_err(|error| fault(&error));
    look(&args.look, "threads/1", &target, see, |seen, canvas| draw(&target, seen, canvas))
}

/// The same, for another screen.
pub(crate) fn picture(target: &Target, canvas: &Canvas) -> Result<String> {
    let seen = threads::of(&target.process).map_err(|error| fault(&error))?;
    Ok(draw(target, &seen, canvas))
}

fn names(signals: &[u32]) -> String {
    let name = |number: &u32| match Signal::try_from(*number as i32) {
        Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
        Err(_) => number.to_string(),
    };
    match signals {
        [] => say("(none)"),
        signals => signals.iter().map(name).collect::<Vec<_>>().join(" "),
    }
}

/// Percent of one CPU since it began.
fn share(thread: &Thread) -> u64 {
    (thread.cpu_ms * 100).checked_div(thread.lived_ms).unwrap_or(0)
}

fn draw(target: &Target, seen: &Threads, canvas: &Canvas) -> String {
    let title = format!("The threads of {}", target.title());
    let mut text = canvas.heading(&title);
    text += &canvas.wrap("", "A process is a container of threads. All of its threads share:");
    for (what, value) in shared(&seen.shared) {
        text += &(output::shorten(&format!("  {}  {value}", output::pad(&what, 9)), canvas.width)
            + "\n");
    }
    text += &canvas.wrap("", "Each has for itself a stack, registers, a signal mask and errno:");
    let (is_wide, has_time) = (canvas.width >= 120, canvas.width >= 100);
    let depth = seen.threads.iter().map(|thread| thread.pids.len()).max().unwrap_or(1);
    let mut heading = vec!["HOST TID".to_owned()];
    heading.extend((1..depth).map(|_| "INSIDE".to_owned()));
    let numbers = heading.len();
    heading.extend(["NAME", "STATE", "CPU"].map(str::to_owned));
    if has_time {
        heading.push("TIME".to_owned());
    }
    heading.extend(["ON", "STACK", "IN"].map(str::to_owned));
    if is_wide {
        heading.extend(["WAITED", "FORCED", "STACK'S TOP", "BLOCKED"].map(str::to_owned));
    }
    let mut rows = vec![heading];
    for thread in &seen.threads {
        let mut row: Vec<String> = thread.pids.iter().map(ToString::to_string).collect();
        row.resize(numbers, String::new());
        row.push(output::shorten(&output::on_one_line(&thread.name), 15));
        row.push(word(thread.state));
        row.push(format!("{}%", share(thread)));
        if has_time {
            row.push(clock(thread.cpu_ms));
        }
        row.push(thread.processor.map_or_else(|| "?".to_owned(), |cpu| cpu.to_string()));
        row.push(stack(thread));
        row.push(place(thread));
        if is_wide {
            let count =
                |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |n| n.to_string());
            row.extend([count(thread.voluntary_switches), count(thread.involuntary_switches)]);
            let end = thread.stack.known().map(|stack| format!("{:#x}", stack.end));
            row.push(end.unwrap_or_default());
            row.push(names(&thread.blocked_signals));
        }
        rows.push(row);
    }
    for line in columns(&rows, &NUMBERS, &LEAST, canvas.width) {
        text += &(line + "\n");
    }
    text.push('\n');
    text + &canvas.wrap("", &explain(seen))
}

fn shared(shared: &Shared) -> Vec<(String, String)> {
    let path = |path: &Seen<std::path::PathBuf>| match path {
        Seen::Known(path) => output::on_one_line(&path.to_string_lossy()),
        Seen::Denied => say("(hidden)"),
        Seen::Absent => say("(none)"),
    };
    let files = match shared.files {
        Seen::Known(count) => say(&format!("{count} open; what one closes is closed for all")),
        Seen::Denied => say("(hidden)"),
        Seen::Absent => say("(none)"),
    };
    vec![
        (
            say("memory"),
            say(&format!(
                "one address space: {} reserved, {} of it in RAM",
                size::binary(shared.virtual_memory),
                size::binary(shared.resident)
            )),
        ),
        (say("program"), path(&shared.exe)),
        (say("files"), files),
        (say("folder"), path(&shared.cwd)),
        (say("user"), format!("uid {}, gid {}", shared.uid, shared.gid)),
        (say("handlers"), say(&format!("of the signals {}", names(&shared.handled_signals)))),
        (say("ignored"), say(&format!("the signals {}", names(&shared.ignored_signals)))),
    ]
}

fn stack(thread: &Thread) -> String {
    match &thread.stack {
        Seen::Known(stack) => {
            let size = size::binary(stack.end - stack.start);
            match stack.used {
                // To the next page: what it has touched is counted in pages.
                Some(used) => say(&format!("{}KiB of {size}", used.div_ceil(4096) * 4)),
                None => size,
            }
        }
        Seen::Denied => say("(hidden)"),
        Seen::Absent => say("(it runs)"),
    }
}

fn place(thread: &Thread) -> String {
    match &thread.at {
        Seen::Known(Where::Running) => say("its own code"),
        Seen::Known(Where::InCall(call)) => {
            call.name.clone().unwrap_or_else(|| say("unknown call"))
        }
        Seen::Known(Where::Halted { .. }) => say("halted"),
        Seen::Denied => say("(hidden)"),
        Seen::Absent => String::from("-"),
    }
}

/// One of them, in a sentence.
fn explain(seen: &Threads) -> String {
    let Some(busiest) = seen.threads.iter().max_by_key(|thread| thread.cpu_ms) else {
        return String::new();
    };
    let count = seen.threads.len();
    let (tid, name) = (busiest.pids[0], output::on_one_line(&busiest.name));
    let (share, cpu) = (share(busiest), busiest.processor.unwrap_or(0));
    if busiest.state == State::Running {
        return format!(
            "Thread {tid} ({name}) is on CPU {cpu}, and has used {share} % of one since it began."
        );
    }
    let call = busiest.at.known().and_then(Where::call).and_then(|call| call.name.as_deref());
    match (call, call.and_then(calls::waits_for)) {
        (Some(call), Some(what)) => format!(
            "Thread {tid} ({name}) sleeps in the system call {call}. What it waits for: {what}. Threads seen: {count}."
        ),
        _ => format!(
            "Thread {tid} ({name}) was on CPU {cpu} last, and has used {share} % of one since it began. Threads seen: {count}."
        ),
    }
}
