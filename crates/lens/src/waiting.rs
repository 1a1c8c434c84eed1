//! What processes are doing right now, and what those wait for that do nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use serde::Serialize;

use crate::calls::{self, Where};
use crate::guide::text;
use crate::processes::{self, Entry, State};
use crate::tree::{Known, containers};
use crate::{Seen, process};

/// Some processes at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// By age.
    pub processes: Vec<Waiter>,
    /// What its limit of CPU time has cost it; absent where it has none.
    pub throttling: Seen<Throttling>,
    /// How often a process of its cgroup was killed for want of memory.
    pub oom_kills: Seen<u64>,
}

/// One of them: its main thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiter {
    /// Its numbers, from this pid namespace inwards.
    pub pids: Vec<i32>,
    /// The file name of its program.
    pub name: String,
    /// What it was started with.
    pub arguments: Vec<String>,
    /// What it is doing.
    pub state: State,
    /// Who made it, or has inherited it.
    pub parent: i32,
    /// How many threads it has.
    pub threads: u64,
    /// Where its main thread is.
    pub at: Seen<Where>,
    /// The file that it waits for, where its call names one.
    pub file: Option<OpenFile>,
    /// Its children, where it waits for one of them to end.
    pub children: Vec<i32>,
}

/// A descriptor of another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenFile {
    /// Its number.
    pub descriptor: i32,
    /// As /proc/PID/fd has it: a path, `pipe:[…]`, `socket:[…]`.
    pub target: Seen<PathBuf>,
    /// Of a pipe: who is seen to hold its other end. If nobody does, nobody ever will.
    pub others: Vec<i32>,
}

/// cpu.stat, cgroups(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// Periods in which it wanted to run.
    pub periods: u64,
    /// In how many of them it had used up its time.
    pub throttled: u64,
    /// How long it was halted for that, in milliseconds.
    pub throttled_ms: u64,
}

/// Does the first argument of this call name the descriptor that it waits for?
fn takes_a_descriptor(call: &str) -> bool {
    const CALLS: [&str; 22] = [
        "accept",
        "accept4",
        "connect",
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        "fcntl",
        "fdatasync",
        "flock",
        "fsync",
        "io_uring_enter",
        "pread64",
        "pwrite64",
        "read",
        "readv",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "sendmsg",
        "sendto",
        "write",
        "writev",
    ];
    CALLS.contains(&call)
}

/// Of one process, and where it is the first of a container, of all in that.
pub fn of(process: &Process, known: &[Known]) -> Waiting {
    let all = processes::all();
    let pid = process.pid();
    let names = containers(&all, known);
    let is_first = |entry: &Entry| entry.pids.len() > 1 && entry.pids.last() == Some(&1);
    let container = known.iter().find(|known| known.pid == pid).map(|known| &known.name);
    let of_others = || names.get(&pid).filter(|_| all.iter().any(|e| e.pid == pid && is_first(e)));
    let container = container.or_else(of_others);
    let is_meant = |entry: &&Entry| {
        entry.pid == pid || (container.is_some() && names.get(&entry.pid) == container)
    };
    let mut meant: Vec<&Entry> = all.iter().filter(is_meant).collect();
    meant.sort_by_key(|entry| (entry.pid != pid, entry.started, entry.pid));
    Waiting {
        processes: meant.into_iter().filter_map(|entry| waiter(entry, &all)).collect(),
        throttling: throttling(process),
        oom_kills: oom_kills(process),
    }
}

fn waiter(entry: &Entry, all: &[Entry]) -> Option<Waiter> {
    let held = process::open(entry.pid).ok()?;
    let at = calls::of(&held, entry.pid);
    let call = at.known().and_then(Where::call);
    let name = call.and_then(|call| call.name.as_deref()).unwrap_or_default();
    let file = call.filter(|_| takes_a_descriptor(name)).map(|call| {
        // The register is wider than an int.
        let descriptor = call.arguments[0] as i32;
        let target = process::link(&held, &format!("fd/{descriptor}"));
        let pipe = target.known().filter(|path| path.to_string_lossy().starts_with("pipe:["));
        let others =
            pipe.map_or_else(Vec::new, |pipe| other_ends(entry.pid, descriptor, pipe, all));
        OpenFile { descriptor, target, others }
    });
    let children = match name {
        "wait4" | "waitid" => {
            let children = all.iter().filter(|other| other.parent == entry.pid);
            children.map(|child| child.pid).collect()
        }
        _ => Vec::new(),
    };
    Some(Waiter {
        pids: entry.pids.clone(),
        name: entry.name.clone(),
        arguments: entry.arguments.clone(),
        state: entry.state,
        parent: entry.parent,
        threads: entry.threads,
        at,
        file,
        children,
    })
}

/// Who has this pipe open in the other direction: the link in /proc/PID/fd may be read by its owner if the
/// descriptor may, and written likewise.
fn other_ends(pid: i32, descriptor: i32, pipe: &Path, all: &[Entry]) -> Vec<i32> {
    let direction = |link: &Path| link.symlink_metadata().ok().map(|link| link.mode() & 0o600);
    let Some(ours) = direction(Path::new(&format!("/proc/{pid}/fd/{descriptor}"))) else {
        return Vec::new();
    };
    let holds = |entry: &&Entry| {
        let links = std::fs::read_dir(format!("/proc/{}/fd", entry.pid)).into_iter().flatten();
        links.flatten().any(|link| {
            let link = link.path();
            std::fs::read_link(&link).is_ok_and(|target| target == pipe)
                && direction(&link).is_some_and(|theirs| theirs | ours == 0o600 && theirs != ours)
        })
    };
    all.iter().filter(holds).map(|entry| entry.pid).collect()
}

/// A file of the cgroup of a process: of version 1's `controller` where that is mounted so, otherwise of
/// version 2.
fn cgroup_file(process: &Process, controller: &str, v2: &str, v1: &str) -> Option<String> {
    let cgroups = text(process, "cgroup");
    let path = |wanted: &str| {
        cgroups.known()?.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            names.split(',').any(|name| name == wanted).then(|| path.to_owned())
        })
    };
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    let find = |kind: &str, wanted: &str, path: &str, file: &str| {
        let is_right = |mount: &&procfs::process::MountInfo| {
            mount.fs_type == kind && (kind == "cgroup2" || mount.super_options.contains_key(wanted))
        };
        let mount = mounts.iter().find(is_right)?;
        // The hierarchy may be mounted from a cgroup below its root on.
        let below = path.strip_prefix(mount.root.trim_end_matches('/'))?.trim_start_matches('/');
        std::fs::read_to_string(mount.mount_point.join(below).join(file)).ok()
    };
    path(controller)
        .and_then(|path| find("cgroup", controller, &path, v1))
        .or_else(|| find("cgroup2", "", &path("")?, v2))
}

fn throttling(process: &Process) -> Seen<Throttling> {
    let Some(text) = cgroup_file(process, "cpu", "cpu.stat", "cpu.stat") else {
        return Seen::Absent;
    };
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    // Version 1 counts nanoseconds.
    let ms = value("throttled_usec").map(|us| us / 1000);
    let ms = ms.or_else(|| value("throttled_time").map(|ns| ns / 1_000_000));
    match (value("nr_periods"), value("nr_throttled"), ms) {
        (Some(periods @ 1..), Some(throttled), Some(throttled_ms)) => {
            Seen::Known(Throttling { periods, throttled, throttled_ms })
        }
        _ => Seen::Absent,
    }
}

fn oom_kills(process: &Process) -> Seen<u64> {
    let text = cgroup_file(process, "memory", "memory.events", "memory.oom_control");
    let line = text.as_deref().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    });
    line.map_or(Seen::Absent, Seen::Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_a_pipe_and_its_pipe_are_found() {
        let mut cat = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let held = process::open(cat.id() as i32).unwrap();
        let found = loop {
            let found = of(&held, &[]).processes.remove(0);
            if found.file.is_some() {
                break found;
            }
            std::thread::yield_now();
        };
        let file = found.file.unwrap();
        assert_eq!((file.descriptor, found.threads), (0, 1));
        assert!(file.others.contains(&(std::process::id() as i32)), "{file:?}");
        assert!(file.target.known().unwrap().to_string_lossy().starts_with("pipe:["));
        cat.kill().unwrap();
        cat.wait().unwrap();
    }
}
