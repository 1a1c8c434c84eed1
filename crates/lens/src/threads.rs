//! The threads of a process: what they share, and what each has for itself.

use std::path::PathBuf;

use procfs::process::{MMapPath, Process, Task};
use serde::Serialize;

use crate::calls::{self, Where};
use crate::processes::State;
use crate::seen::{must, seen};
use crate::{Result, Seen};

/// A process as the container of its threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// What all of them have in common.
    pub shared: Shared,
    /// The main thread first, then by age.
    pub threads: Vec<Thread>,
}

/// What there is once for all threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Bytes of the address space that are reserved.
    pub virtual_memory: u64,
    /// Bytes of it that are in RAM, by the kernel's approximate count.
    pub resident: u64,
    /// How many files are open.
    pub files: Seen<usize>,
    /// Its working directory.
    pub cwd: Seen<PathBuf>,
    /// The program that it executes.
    pub exe: Seen<PathBuf>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Numbers of the signals that the program has a handler for.
    pub handled_signals: Vec<u32>,
    /// Numbers of those that it ignores.
    pub ignored_signals: Vec<u32>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Thread {
    /// Its numbers, from this pid namespace inwards.
    pub pids: Vec<i32>,
    /// What it is called, at most 15 bytes.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// How long CPUs have worked for it, in milliseconds.
    pub cpu_ms: u64,
    /// How long it has lived.
    pub lived_ms: u64,
    /// The CPU that it is on, or was on last.
    pub processor: Option<i32>,
    /// Where its stack lies; nobody can tell while it runs.
    pub stack: Seen<Stack>,
    /// Where it is.
    pub at: Seen<Where>,
    /// How often it has given its CPU away since it had to wait.
    pub voluntary_switches: Option<u64>,
    /// How often its CPU was taken from it.
    pub involuntary_switches: Option<u64>,
    /// Numbers of the signals that it does not want to hear now.
    pub blocked_signals: Vec<u32>,
}

/// A thread's stack: the mapping that its stack pointer points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Its lowest address.
    pub start: u64,
    /// The address behind its highest one, from which it grows downwards.
    pub end: u64,
    /// Bytes between that and the stack pointer.
    pub used: Option<u64>,
}

/// Numbers of the set bits, signal(7).
fn signals(set: u64) -> Vec<u32> {
    (1..=64).filter(|number| set >> (number - 1) & 1 == 1).collect()
}

/// Of this process, as it is now.
pub fn of(process: &Process) -> Result<Threads> {
    let pid = process.pid();
    let status = must(pid, "status", process.status())?;
    let sizes = must(pid, "statm", process.statm())?;
    let shared = Shared {
        virtual_memory: sizes.size * procfs::page_size(),
        resident: sizes.resident * procfs::page_size(),
        files: seen(process.fd_count()),
        cwd: seen(process.cwd()),
        exe: seen(process.exe()),
        uid: status.euid,
        gid: status.egid,
        handled_signals: signals(status.sigcgt),
        ignored_signals: signals(status.sigign),
    };
    let stacks = stacks(process);
    let uptime_ms = uptime_ms();
    let tasks = must(pid, "task", process.tasks())?.flatten();
    let mut threads: Vec<(u64, Thread)> =
        tasks.filter_map(|task| thread(process, &task, &stacks, uptime_ms)).collect();
    threads.sort_by_key(|(started, thread)| (thread.pids[0] != pid, *started, thread.pids[0]));
    Ok(Threads { shared, threads: threads.into_iter().map(|(_, thread)| thread).collect() })
}

/// Every mapping that may be a stack, and whether it is the main thread's.
fn stacks(process: &Process) -> Seen<Vec<(u64, u64, bool)>> {
    seen(process.maps()).map(|maps| {
        let stack = |map: &procfs::process::MemoryMap| {
            let is_main = map.pathname == MMapPath::Stack;
            Some((map.address.0, map.address.1, is_main))
        };
        maps.iter().filter_map(stack).collect()
    })
}

fn uptime_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    seconds.map_or(0, |seconds| (seconds * 1000.0) as u64)
}

fn thread(
    process: &Process,
    task: &Task,
    stacks: &Seen<Vec<(u64, u64, bool)>>,
    uptime_ms: u64,
) -> Option<(u64, Thread)> {
    let (stat, status) = (task.stat().ok()?, task.status().ok()?);
    let at = calls::of(process, task.tid);
    let pointer = at.known().and_then(Where::stack_pointer);
    let stack = match (stacks, &at) {
        (Seen::Known(stacks), at) => {
            let holds = |(start, end, is_main): &(u64, u64, bool)| match pointer {
                Some(pointer) => (*start..*end).contains(&pointer),
                None => *is_main && task.tid == task.pid,
            };
            match (stacks.iter().find(|stack| holds(stack)), at) {
                (Some((start, end, _)), _) => {
                    let used = pointer.map(|pointer| end - pointer);
                    Seen::Known(Stack { start: *start, end: *end, used })
                }
                (None, Seen::Denied) => Seen::Denied,
                (None, _) => Seen::Absent,
            }
        }
        (Seen::Denied, _) => Seen::Denied,
        (Seen::Absent, _) => Seen::Absent,
    };
    let per_tick = 1000 / procfs::ticks_per_second().max(1);
    let thread = Thread {
        pids: status.nspid.unwrap_or_else(|| vec![task.tid]),
        name: stat.comm,
        state: State::of(stat.state),
        cpu_ms: (stat.utime + stat.stime) * per_tick,
        lived_ms: uptime_ms.saturating_sub(stat.starttime * per_tick),
        processor: stat.processor,
        stack,
        at,
        voluntary_switches: status.voluntary_ctxt_switches,
        involuntary_switches: status.nonvoluntary_ctxt_switches,
        blocked_signals: signals(status.sigblk),
    };
    Some((stat.starttime, thread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_numbered_from_one() {
        assert_eq!(signals(0b1_0000_0101), [1, 3, 9]);
        assert_eq!(signals(1 << 63), [64]);
    }

    #[test]
    fn a_sleeping_thread_tells_its_call_and_its_stack() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::Builder::new().name("sleeper".into());
        let sleeper = sleeper.spawn(move || wait.recv().is_err()).unwrap();
        let myself = crate::process::open(std::process::id() as i32).unwrap();
        let found = loop {
            let found = of(&myself).unwrap();
            let thread = found.threads.into_iter().find(|thread| thread.name == "sleeper");
            match thread {
                Some(thread) if thread.state == State::Sleeping => break thread,
                _ => std::thread::yield_now(),
            }
        };
        let at = found.at.known().unwrap();
        assert_eq!(at.call().unwrap().name.as_deref(), Some("futex"));
        let stack = found.stack.known().unwrap();
        assert!(stack.used.unwrap() < stack.end - stack.start);
        drop(go);
        sleeper.join().unwrap();
    }
}
