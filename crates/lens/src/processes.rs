//! Every process of the host at one moment: /proc, read once, from proc_pid_stat(5) and its neighbours.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use std::path::Path;

use procfs::process::Process;
use serde::Serialize;

use crate::Seen;
use crate::parallel;

/// A process, or one of its threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number here; a thread's own.
    pub pid: i32,
    /// The process that a thread belongs to.
    pub thread_of: Option<i32>,
    /// Who made it, or has inherited it; 0 where that is nobody whom one can see from here.
    pub parent: i32,
    /// Its numbers, from this pid namespace inwards: `pid` first, last the one that it knows itself.
    pub pids: Vec<i32>,
    /// The file name of its program, at most 15 bytes; threads can have names of their own.
    pub name: String,
    /// What it was started with. The kernel's own threads, and who has ended, have none.
    pub arguments: Vec<String>,
    /// What it is doing.
    pub state: State,
    /// How long CPUs have worked for it, in milliseconds.
    pub cpu_ms: u64,
    /// When it began, in clock ticks after boot.
    pub started: u64,
    /// How many threads it has.
    pub threads: u64,
    /// It is a thread of the kernel's.
    pub is_kernels: bool,
    /// The 64 hexadecimal digits by which container runtimes name cgroups, where it is in such a one.
    pub cgroup_id: Option<String>,
    /// Inode of its mount namespace.
    pub mount_namespace: Seen<u64>,
}

/// What a process is doing, by its letter in proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// R: on a CPU, or waiting for one.
    Running,
    /// S: waiting for something, and may be woken by a signal.
    Sleeping,
    /// D: waiting for something that no signal cuts short, mostly a disk.
    DiskSleep,
    /// T: by a signal.
    Stopped,
    /// t: by a debugger.
    Tracing,
    /// Z: it has ended, and its parent has not asked for its exit code.
    Zombie,
    /// X: ending.
    Dead,
    /// I: a thread of the kernel's with nothing to do.
    Idle,
    /// Anything else.
    Other,
}

impl State {
    /// From its letter.
    pub fn of(letter: char) -> State {
        match letter {
            'R' => State::Running,
            'S' => State::Sleeping,
            'D' => State::DiskSleep,
            'T' => State::Stopped,
            't' => State::Tracing,
            'Z' => State::Zombie,
            'X' | 'x' => State::Dead,
            'I' => State::Idle,
            _ => State::Other,
        }
    }
}

/// All processes, in the order of their numbers; without their threads.
pub fn all() -> Vec<Entry> {
    read_all(true)
}

/// The same for half the time: without their arguments, and with `pid` alone in `pids`.
pub(crate) fn all_in_short() -> Vec<Entry> {
    read_all(false)
}

fn read_all(in_full: bool) -> Vec<Entry> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let hosts_files = hosts("mnt");
    let entries = parallel::each(&pids, |pid| read(*pid, &hosts_files, in_full));
    entries.into_iter().flatten().collect()
}

/// `None` where it has ended meanwhile.
fn read(pid: i32, hosts_files: &Seen<u64>, in_full: bool) -> Option<Entry> {
    let buffer = &mut vec![0; 8192];
    let process = Process::new(pid).ok()?;
    let stat = Stat::parse(&text(&process, "stat", buffer)?)?;
    let mut entry = Entry {
        pid,
        thread_of: None,
        parent: stat.parent,
        pids: vec![pid],
        name: stat.name,
        arguments: Vec::new(),
        state: stat.state,
        cpu_ms: stat.cpu_ms,
        started: stat.started,
        threads: stat.threads,
        is_kernels: stat.is_kernels,
        cgroup_id: None,
        mount_namespace: Seen::Absent,
    };
    if entry.is_kernels {
        return Some(entry);
    }
    entry.mount_namespace = inode(pid, "mnt");
    // A container's files are never the host's.
    if entry.mount_namespace != *hosts_files {
        entry.cgroup_id = text(&process, "cgroup", buffer).and_then(|text| cgroup_id(&text));
    }
    if !in_full {
        return Some(entry);
    }
    entry.arguments =
        text(&process, "cmdline", buffer).map(|text| arguments(&text)).unwrap_or_default();
    // Last, since it fails where the number is another process's by now.
    entry.pids = text(&process, "status", buffer).and_then(|status| numbers(&status))?;
    Some(entry)
}

/// The threads of a process but for its first, which is the process's own entry.
pub fn threads(of: &Entry) -> Vec<Entry> {
    let mut buffer = vec![0; 8192];
    let Ok(process) = Process::new(of.pid) else { return Vec::new() };
    let tasks = process.tasks().into_iter().flatten().flatten();
    let mut threads: Vec<Entry> = tasks
        .filter(|task| task.tid != of.pid)
        .filter_map(|task| {
            let path = |name: &str| format!("task/{}/{name}", task.tid);
            let pids = numbers(&text(&process, &path("status"), &mut buffer)?)?;
            let stat = Stat::parse(&text(&process, &path("stat"), &mut buffer)?)?;
            Some(Entry {
                pid: task.tid,
                thread_of: Some(of.pid),
                pids,
                name: stat.name,
                arguments: Vec::new(),
                state: stat.state,
                cpu_ms: stat.cpu_ms,
                started: stat.started,
                ..of.clone()
            })
        })
        .collect();
    threads.sort_by_key(|thread| (thread.started, thread.pid));
    threads
}

/// All of a file of /proc that the kernel writes at once: a read that fills the buffer not is the last.
fn text<'a>(process: &Process, name: &str, buffer: &'a mut Vec<u8>) -> Option<Cow<'a, str>> {
    let mut file = process.open_relative(name).ok()?;
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer[length..]).ok()?;
        length += count;
        if length < buffer.len() {
            return Some(String::from_utf8_lossy(&buffer[..length]));
        }
        buffer.resize(buffer.len() * 2, 0);
    }
}

/// The id by which a container runtime has named the cgroup of this process, where it has.
pub fn container_id(process: &Process) -> Option<String> {
    cgroup_id(&text(process, "cgroup", &mut vec![0; 8192])?)
}

/// Inode of a namespace of process `pid`, namespaces(7): the link reads `mnt:[4026531841]`.
pub(crate) fn inode(pid: i32, kind: &str) -> Seen<u64> {
    let digits = |link: &Path| {
        let text = link.to_string_lossy();
        text.trim_end_matches(']').rsplit('[').next()?.parse().ok()
    };
    match std::fs::read_link(format!("/proc/{pid}/ns/{kind}")) {
        Ok(link) => digits(&link).map_or(Seen::Absent, Seen::Known),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Seen::Denied,
        Err(_) => Seen::Absent,
    }
}

/// That of PID 1, or the caller's where PID 1's may not be read.
pub(crate) fn hosts(kind: &str) -> Seen<u64> {
    match inode(1, kind) {
        Seen::Denied => inode(std::process::id() as i32, kind),
        of_first => of_first,
    }
}

/// Is its network the host's, or may that not be known?
pub fn is_on_hosts_network(process: &Process) -> bool {
    let theirs = inode(process.pid(), "net");
    theirs.known().is_none() || theirs == hosts("net")
}

/// NSpid of proc_pid_status(5).
pub(crate) fn numbers(status: &str) -> Option<Vec<i32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

fn arguments(text: &str) -> Vec<String> {
    // Programs that write a title over their arguments leave blanks behind it.
    let text = text.trim_end_matches('\0');
    if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() }
}

/// `…/docker-9fc9….scope`, `…/libpod-9fc9…`, `…/minibox/9fc9…`; but not conmon's, which stays outside.
fn cgroup_id(text: &str) -> Option<String> {
    let names = text.lines().flat_map(|line| line.split('/').skip(1));
    let mut ids = names.filter(|name| !name.contains("conmon")).filter_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let id = name.rsplit('-').next().unwrap_or(name);
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    });
    ids.next().map(str::to_owned)
}

/// What is used of proc_pid_stat(5).
struct Stat {
    name: String,
    state: State,
    parent: i32,
    cpu_ms: u64,
    started: u64,
    threads: u64,
    is_kernels: bool,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        const PF_KTHREAD: u64 = 0x0020_0000;
        // The name stands in parentheses and may itself contain some.
        let (name, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Stat {
            name: name.split_once('(')?.1.to_owned(),
            state: State::of(fields[0].chars().next()?),
            parent: fields.get(1)?.parse().ok()?,
            cpu_ms: (number(14)? + number(15)?) * 1000 / procfs::ticks_per_second(),
            started: number(22)?,
            threads: number(20)?,
            is_kernels: number(9)? & PF_KTHREAD != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_recognised_by_their_cgroups() {
        let id = "9fc9".repeat(16);
        let found = |text: &str| cgroup_id(&text.replace("ID", &id));
        for text in [
            "0::/system.slice/docker-ID.scope\n",
            "5:devices:/docker/ID\n0::/\n",
            "0::/machine.slice/libpod-ID.scope/container\n",
            "0::/libpod_parent/libpod-ID\n",
            "4:memory:/minibox/ID\n0::/\n",
        ] {
            assert_eq!(found(text), Some(id.clone()), "{text}");
        }
        assert_eq!(found("0::/machine.slice/libpod-conmon-ID.scope\n"), None);
        assert_eq!(found("0::/user.slice/user-1000.slice\n"), None);
    }

    #[test]
    fn a_name_may_look_like_the_end_of_a_name() {
        let rest = "S 7 1 1 0 -1 4194560 0 0 0 0 100 50 0 0 20 0 3 0 999 0 0";
        let stat = Stat::parse(&format!("12 (a) S 1) {rest}")).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent), ("a) S 1", State::Sleeping, 7));
        assert_eq!((stat.threads, stat.started, stat.is_kernels), (3, 999, false));
    }

    #[test]
    fn this_process_is_there_with_its_threads() {
        std::thread::scope(|scope| {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let (tell, told) = std::sync::mpsc::channel();
            scope.spawn(move || {
                tell.send(()).unwrap();
                let _ = wait.recv();
            });
            told.recv().unwrap();
            let all = all();
            let me = all.iter().find(|entry| entry.pid == std::process::id() as i32).unwrap();
            assert!(
                me.arguments[0].contains("minibox_lens") && me.mount_namespace.known().is_some()
            );
            let threads = threads(me);
            assert!(!threads.is_empty() && threads.iter().all(|t| t.thread_of == Some(me.pid)));
            drop(go);
        });
    }
}
