//! What a lesson wants to be true: asked of the kernel and of the store, never of what was typed.
//!
//! A condition is `SUBJECT [not] PREDICATE [VALUE]`, a question `SUBJECT FACT [VALUE]`, where a subject is
//!
//! - `job WORD`: every process that was started in the lesson's shell, with WORD on its command line; one of
//!   them is enough;
//! - `box NAME`: a container that was made in it, and its first process;
//! - `file NAME`: a file in the lesson's folder;
//! - `shell`: the lesson's shell itself;
//! - `machine`: this computer.
//!
//! `A or B` holds where one of them does, for what not every user can bring about.
//!
//! Predicates of a container's record: `ended`, `code N`, `oom`, `cpus N` as asked for. Of processes: `runs`
//! and `ended`, `state LETTER`, `children N`, at least so many `threads N`, at least so much `rss`, `size`
//! (address space), `heap`, `stack`, capabilities that it `has` and `lacks`, namespaces that are its `own` or
//! that it `shares`, a `memory` limit, a `file` that it sees, a `text FILE WORD` that is in one, its folder
//! `cwd`, a file that it `maps` or has `open`, by a part of its name; does it have a place `mounted` or
//! `readonly`, is its program `native` to its root, is it `bound` by `no_new_privs`, are its system calls `filtered`, `listens` it on a TCP port?
//! Of a file: it `says WORD`.
//!
//! Facts: `pid`, `ppid`, `inside [THREAD]` (the number in its own pid namespace), `tid THREAD` (by name),
//! `threads`, `children`, `code`, `ns NAME`, `state`, `cwd`, `exe`, `uid`, network
//! `interfaces`; of the machine `cpus`, `memory` (kB),
//! `kernel`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use minibox_lens::{Process, capabilities, process};
use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::{Error, Result};
use nix::sched::CpuSet;
use nix::sys::utsname::uname;
use nix::unistd::Pid;

use crate::birth;
use crate::store::{Container, Status, Store};
use crate::wishes::parse_size;

/// Where a lesson is done.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    pub store: &'a Store,
    /// The lesson's own folder, which is in the environment of all that its shell starts.
    pub folder: &'a Path,
}

/// Names this folder to whatever the lesson's shell starts.
pub(crate) const MARK: &str = "MINIBOX_LAB";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Job(String),
    Box(String),
    File(String),
    Shell,
    Machine,
}

/// Something that can be so or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    subject: Subject,
    is_negated: bool,
    predicate: String,
    value: String,
    /// What will do as well.
    or: Option<Box<Condition>>,
}

/// Something that can be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// One of these words.
    Word(Vec<String>),
    /// A number or a name that the kernel knows.
    Fact { subject: Subject, fact: String, value: String },
}

const PREDICATES: [&str; 29] = [
    "runs", "ended", "state", "threads", "children", "rss", "size", "heap", "stack", "has",
    "lacks", "own", "shares", "code", "oom", "cpus", "memory", "file", "text", "cwd", "maps",
    "open", "says", "listens", "mounted", "native", "readonly", "bound", "filtered",
];
const FACTS: [&str; 16] = [
    "pid",
    "ppid",
    "inside",
    "tid",
    "threads",
    "children",
    "code",
    "ns",
    "state",
    "cwd",
    "exe",
    "cpus",
    "memory",
    "kernel",
    "uid",
    "interfaces",
];

/// A subject, and what stands behind.
fn subject(text: &str) -> Result<(Subject, &str)> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (name, behind) = rest.split_once(' ').unwrap_or((rest, ""));
    Ok(match kind {
        "job" => (Subject::Job(name.to_owned()), behind),
        "box" => (Subject::Box(name.to_owned()), behind),
        "file" => (Subject::File(name.to_owned()), behind),
        "shell" => (Subject::Shell, rest),
        "machine" => (Subject::Machine, rest),
        _ => {
            return Err(Error::new(format!(
                "{text:?} begins with no `job WORD`, `box NAME`, `file NAME`, `shell`, `machine`"
            )));
        }
    })
}

impl Condition {
    /// Several, with `; ` between them.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Condition>> {
        text.split("; ").map(Condition::parse).collect()
    }

    /// As a lesson writes it.
    pub(crate) fn parse(text: &str) -> Result<Condition> {
        let (text, or) = match text.split_once(" or ") {
            Some((text, or)) => (text, Some(Box::new(Condition::parse(or)?))),
            None => (text, None),
        };
        let (subject, rest) = subject(text)?;
        let (is_negated, rest) = match rest.strip_prefix("not ") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (predicate, value) = rest.split_once(' ').unwrap_or((rest, ""));
        if !PREDICATES.contains(&predicate) {
            return Err(Error::new(format!("{predicate:?} is none of {}", PREDICATES.join(", "))));
        }
        let (predicate, value) = (predicate.to_owned(), value.to_owned());
        Ok(Condition { subject, is_negated, predicate, value, or })
    }

    /// Is it so now?
    pub(crate) fn holds(&self, room: &Room<'_>) -> bool {
        self.is_negated != self.is_so(room).unwrap_or(false)
            || self.or.as_ref().is_some_and(|or| or.holds(room))
    }

    fn is_so(&self, room: &Room<'_>) -> Option<bool> {
        let container = match &self.subject {
            Subject::Box(name) => Some(room.container(name)?),
            _ => None,
        };
        let exit = || container.as_ref()?.record.exit.as_ref();
        // What needs no living process.
        Some(match self.predicate.as_str() {
            "ended" => match &container {
                Some(container) => container.status() == Status::Exited,
                None => room.processes_of(&self.subject).is_empty(),
            },
            "says" => room.read(&self.subject)?.contains(&self.value),
            "code" => i64::from(exit()?.code?) == self.number()?,
            "oom" => exit()?.out_of_memory,
            "cpus" => {
                (cpus(room, container.as_ref()?)? - self.value.parse::<f64>().ok()?).abs() < 0.001
            }
            "memory" => {
                let cgroup = container.as_ref()?.record.cgroup();
                cgroup.as_ref().and_then(Cgroup::memory_limit)? as i64 == self.bytes()?
            }
            _ => {
                let all = room.processes_of(&self.subject);
                all.iter().any(|process| self.is_so_of(process, room).unwrap_or(false))
            }
        })
    }

    /// Is it so of this process?
    fn is_so_of(&self, process: &Process, room: &Room<'_>) -> Option<bool> {
        let (pid, value) = (process.pid(), self.value.as_str());
        let is_own = || {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/{value}")).ok()?;
            let ours = fs::read_link(format!("/proc/self/ns/{value}")).ok()?;
            Some(theirs != ours)
        };
        let sees = |path: &str| format!("/proc/{pid}/root{path}");
        Some(match self.predicate.as_str() {
            "runs" => true,
            "state" => process.stat().ok()?.state.to_string() == value,
            "threads" => process.stat().ok()?.num_threads >= self.number()?,
            "children" => room.children(pid).len() as i64 == self.number()?,
            "rss" => process.status().ok()?.vmrss? as i64 * 1024 >= self.bytes()?,
            "size" => process.stat().ok()?.vsize as i64 >= self.bytes()?,
            "heap" => mapped(pid, "[heap]")? >= self.bytes()?,
            "stack" => mapped(pid, "[stack]")? >= self.bytes()?,
            "has" => capabilities::of(process).ok()?.effective.contains(&self.value),
            "lacks" => !capabilities::of(process).ok()?.effective.contains(&self.value),
            "own" => is_own()?,
            "shares" => !is_own()?,
            "file" => Path::new(&sees(value)).exists(),
            "text" => {
                let (path, text) = value.split_once(' ')?;
                fs::read_to_string(sees(path)).ok()?.contains(text)
            }
            "listens" => is_listening(pid)?,
            "mounted" => {
                // What does not begin with `/` lies in the lesson's folder.
                let path = fs::canonicalize(room.folder).ok()?.join(value);
                mount_at(pid, &path)?.0 == path.to_str()?
            }
            "native" => is_native(pid)?,
            "readonly" => mount_at(pid, value.as_ref())?.1,
            // Nothing that it executes can get more rights.
            "bound" => says(pid, "NoNewPrivs:\t1")?,
            "filtered" => says(pid, "Seccomp:\t2")?,
            "cwd" => process.cwd().ok()? == Path::new(value),
            "maps" => fs::read_to_string(format!("/proc/{pid}/maps")).ok()?.contains(value),
            "open" => fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().any(|entry| {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                target.to_string_lossy().contains(value)
            }),
            _ => false,
        })
    }

    fn number(&self) -> Option<i64> {
        self.value.parse().ok()
    }

    fn bytes(&self) -> Option<i64> {
        parse_size("", &self.value).ok()
    }
}

/// Is this a line of its status, `proc_pid_status(5)`?
fn says(pid: i32, line: &str) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().any(|one| one == line))
}

/// Bytes of the part of the address space that has this name, proc_pid_maps(5).
fn mapped(pid: i32, name: &str) -> Option<i64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let size = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let number = |text| i64::from_str_radix(text, 16).ok();
        Some(number(end)? - number(start)?)
    };
    Some(maps.lines().filter(|line| line.ends_with(name)).filter_map(size).sum())
}

/// Does it wait for somebody to come on a TCP port? Its sockets are those of its network namespace's list
/// that stand among its descriptors, `proc_pid_net(5)`.
fn is_listening(pid: i32) -> Option<bool> {
    let list = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let listening = list.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(3);
        (fields.next()? == "0A").then(|| fields.nth(5))?
    });
    let listening: Vec<String> = listening.map(|inode| format!("socket:[{inode}]")).collect();
    let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    Some(descriptors.any(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|link| listening.iter().any(|socket| link.as_os_str() == socket.as_str()))
    }))
}

/// The mount that a path of its lies on, and whether nothing can be written there, `proc_pid_mountinfo(5)`.
fn mount_at(pid: i32, path: &Path) -> Option<(String, bool)> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let (place, options) = (fields.next()?, fields.next()?);
        let is_read_only = options.split(',').any(|option| option == "ro");
        path.starts_with(place).then(|| (place.to_owned(), is_read_only))
    });
    // Of those at one place the last lies on top.
    mounts.max_by_key(|(place, _)| place.len())
}

/// Is its program a file of its own root filesystem, and not one that it brought along?
fn is_native(pid: i32) -> Option<bool> {
    let exe = format!("/proc/{pid}/exe");
    let path = fs::read_link(&exe).ok()?;
    let theirs = fs::metadata(format!("/proc/{pid}/root{}", path.display())).ok()?;
    let running = fs::metadata(exe).ok()?;
    Some((theirs.dev(), theirs.ino()) == (running.dev(), running.ino()))
}

/// How many CPUs it may use, as it was asked for.
fn cpus(room: &Room<'_>, container: &Container) -> Option<f64> {
    let spec = birth::load_spec(room.store, &container.record).ok()?;
    let cpu = spec.linux().as_ref()?.resources().as_ref()?.cpu().clone()?;
    let (quota, period) = (i32::try_from(cpu.quota()?).ok()?, u32::try_from(cpu.period()?).ok()?);
    Some(f64::from(quota) / f64::from(period))
}

impl Question {
    /// As a lesson writes it: `word yes|y`, or what to know of whom.
    pub(crate) fn parse(text: &str) -> Result<Question> {
        if let Some(words) = text.strip_prefix("word ") {
            return Ok(Question::Word(words.split('|').map(str::to_lowercase).collect()));
        }
        let (subject, rest) = subject(text)?;
        let (fact, value) = rest.split_once(' ').unwrap_or((rest, ""));
        if !FACTS.contains(&fact) {
            return Err(Error::new(format!("{fact:?} is none of {}", FACTS.join(", "))));
        }
        Ok(Question::Fact { subject, fact: fact.to_owned(), value: value.to_owned() })
    }

    /// Is this the answer, now?
    pub(crate) fn is_answered_by(&self, answer: &str, room: &Room<'_>) -> bool {
        let answer = answer.trim().to_lowercase();
        match self {
            Question::Word(words) => words.contains(&answer),
            Question::Fact { subject, fact, value } => {
                let facts = room.facts(subject, fact, value);
                facts.iter().any(|fact| fact.to_lowercase() == answer)
            }
        }
    }
}

impl Room<'_> {
    /// A container of this lesson.
    fn container(&self, name: &str) -> Option<Container> {
        self.store.find(name).ok().filter(|found| self.made(found))
    }

    /// Was it made in this lesson's folder?
    pub(crate) fn made(&self, container: &Container) -> bool {
        container.record.typed.folder.starts_with(self.folder)
    }

    /// All processes that the lesson's shell has started, and it itself; not this one.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}\0", self.folder.display());
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            *pid != std::process::id() as i32
                && fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|text| String::from_utf8_lossy(&text).contains(&mark))
        };
        let mut all: Vec<i32> = pids.filter(is_ours).collect();
        all.sort_unstable();
        all
    }

    /// Was a process started just now, that may need a moment?
    pub(crate) fn is_something_new(&self) -> bool {
        const PF_FORKNOEXEC: u32 = 0x40;
        let stat = |pid: i32| process::open(pid).ok()?.stat().ok();
        // The shell is not, nor what it makes of itself to ask for its prompt.
        let shell = self.shell().and_then(stat);
        let is_shell = |name: &str| shell.as_ref().is_some_and(|shell| shell.comm == name);
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let now: Option<u64> =
            uptime.split(' ').next().and_then(|text| text.replace('.', "").parse().ok());
        let is_new = |pid: i32| {
            let stat = stat(pid)?;
            let is_asking = stat.flags & PF_FORKNOEXEC != 0 && is_shell(&stat.comm);
            // Both are hundredths of a second: so for every program on Linux, proc_pid_stat(5).
            Some(now? < stat.starttime + 150 && !is_asking)
        };
        let shell = shell.as_ref().map(|shell| shell.pid);
        let mut others = self.processes().into_iter().filter(|pid| Some(*pid) != shell);
        others.any(|pid| is_new(pid).unwrap_or(false))
    }

    /// Those with this word on their command line.
    fn jobs(&self, word: &str) -> Vec<i32> {
        let has_word = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&line);
            // A shell that is told of it, or a grep that looks for it, is not it.
            words.split('\0').any(|arg| arg == word || arg.rsplit('/').next() == Some(word))
        };
        self.processes().into_iter().filter(has_word).collect()
    }

    /// The lesson's shell, which this process has started.
    fn shell(&self) -> Option<i32> {
        self.children(std::process::id() as i32).first().copied()
    }

    /// Those that it has started and that still run.
    fn children(&self, pid: i32) -> Vec<i32> {
        let is_child = |child: &i32| {
            let stat = process::open(*child).ok().and_then(|child| child.stat().ok());
            stat.is_some_and(|stat| stat.ppid == pid)
        };
        self.processes().into_iter().filter(is_child).collect()
    }

    fn processes_of(&self, subject: &Subject) -> Vec<Process> {
        let pids = match subject {
            Subject::Job(word) => self.jobs(word),
            Subject::Box(name) => {
                let first = self.container(name).and_then(|found| found.hold().ok()?);
                first.map(|(pid, ..)| pid).into_iter().collect()
            }
            Subject::Shell => self.shell().into_iter().collect(),
            Subject::File(_) | Subject::Machine => Vec::new(),
        };
        pids.into_iter().filter_map(|pid| process::open(pid).ok()).collect()
    }

    /// What stands in a file of the lesson's folder.
    fn read(&self, subject: &Subject) -> Option<String> {
        let Subject::File(name) = subject else { return None };
        fs::read_to_string(self.folder.join(name)).ok()
    }

    /// What is right to say of it.
    fn facts(&self, subject: &Subject, fact: &str, value: &str) -> Vec<String> {
        match (fact, subject) {
            ("code", Subject::Box(name)) => {
                let code = || self.container(name)?.record.exit?.code;
                code().map(|code| code.to_string()).into_iter().collect()
            }
            (_, Subject::Machine) => of_machine(fact).into_iter().collect(),
            _ => {
                let all = self.processes_of(subject);
                let facts = all.iter().filter_map(|process| self.facts_of(process, fact, value));
                facts.flatten().collect()
            }
        }
    }

    fn facts_of(&self, process: &Process, fact: &str, value: &str) -> Option<Vec<String>> {
        let (pid, status) = (process.pid(), process.status().ok()?);
        Some(vec![match fact {
            "pid" => pid.to_string(),
            "ppid" => status.ppid.to_string(),
            "inside" if value.is_empty() => status.nspid?.last()?.to_string(),
            "inside" => {
                let path = format!("/proc/{pid}/task/{}/status", thread(pid, value)?);
                let text = fs::read_to_string(path).ok()?;
                let ids = text.lines().find(|line| line.starts_with("NSpid:"))?;
                ids.split_whitespace().last()?.to_owned()
            }
            "tid" => thread(pid, value)?,
            "threads" => status.threads.to_string(),
            "children" => self.children(pid).len().to_string(),
            "state" => process.stat().ok()?.state.to_string(),
            "uid" => status.euid.to_string(),
            // Two lines of headings stand above them.
            "interfaces" => {
                let list = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
                list.lines().skip(2).count().to_string()
            }
            "ns" => {
                let link = fs::read_link(format!("/proc/{pid}/ns/{value}")).ok()?;
                link.to_string_lossy().split(['[', ']']).nth(1)?.to_owned()
            }
            "cwd" => process.cwd().ok()?.display().to_string(),
            "exe" => {
                let path = process.exe().ok()?;
                // Or its name alone.
                return Some(vec![
                    path.display().to_string(),
                    path.file_name()?.to_string_lossy().into_owned(),
                ]);
            }
            _ => return None,
        }])
    }
}

/// The number of the thread that has this name.
fn thread(pid: i32, name: &str) -> Option<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let mut tasks = tasks.filter(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    Some(tasks.next()?.file_name().to_string_lossy().into_owned())
}

/// What is known of this computer.
fn of_machine(fact: &str) -> Option<String> {
    Some(match fact {
        // Those that this process may run on, as nproc(1) counts them.
        "cpus" => {
            let set = nix::sched::sched_getaffinity(Pid::from_raw(0)).ok()?;
            let is_in = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
            (0..CpuSet::count()).filter(is_in).count().to_string()
        }
        "memory" => {
            let text = fs::read_to_string("/proc/meminfo").ok()?;
            text.lines().next()?.split_whitespace().nth(1)?.to_owned()
        }
        "kernel" => uname().ok()?.release().to_string_lossy().into_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_questions_name_what_there_is() {
        let condition = Condition::parse("job a.py not open (deleted) b").unwrap();
        assert_eq!(condition.subject, Subject::Job(String::from("a.py")));
        assert!(condition.is_negated);
        assert_eq!((condition.predicate.as_str(), &*condition.value), ("open", "(deleted) b"));
        assert_eq!(
            Question::parse("shell exe").unwrap(),
            Question::Fact {
                subject: Subject::Shell,
                fact: String::from("exe"),
                value: String::new()
            }
        );
        assert!(Condition::parse("box a walks").is_err());
        assert!(Question::parse("machine colour").is_err());
        assert!(Question::parse("nobody pid").is_err());
    }

    #[test]
    fn the_machine_knows_itself() {
        let cpus: usize = of_machine("cpus").unwrap().parse().unwrap();
        assert!(cpus >= 1);
        let kilobytes: u64 = of_machine("memory").unwrap().parse().unwrap();
        assert!(kilobytes > 1024);
        assert_eq!(of_machine("colour"), None);
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let name = fs::read_to_string("/proc/thread-self/comm").unwrap();
        let own = fs::read_link("/proc/thread-self").unwrap();
        let found = thread(std::process::id() as i32, name.trim_end()).unwrap();
        assert!(own.ends_with(&found));
        assert_eq!(thread(std::process::id() as i32, "nobody"), None);
    }
}
