//! What a lesson wants to be true: asked of the kernel and of the store, never of what was typed.
//!
//! A condition is `SUBJECT PREDICATE [VALUE]`, a question `SUBJECT FACT`, where a subject is
//!
//! - `job WORD`: a process that was started in the lesson's shell, with WORD on its command line;
//! - `box NAME`: a container that was made in it, and its first process.

use std::fs;
use std::path::Path;

use minibox_lens::{Process, capabilities, process};
use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::{Error, Result};

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
enum Subject {
    Job(String),
    Box(String),
}

/// Something that can be so or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    subject: Subject,
    is_negated: bool,
    predicate: String,
    value: String,
}

/// Something that can be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// One of these words.
    Word(Vec<String>),
    /// A number or a name that the kernel knows.
    Fact { subject: SubjectName, fact: String, value: String },
}

/// A subject as a question names it.
pub(crate) type SubjectName = (bool, String);

const PREDICATES: [&str; 16] = [
    "runs", "ended", "state", "threads", "rss", "heap", "stack", "has", "lacks", "own", "shares",
    "code", "oom", "cpus", "memory", "file",
];
const FACTS: [&str; 7] = ["pid", "ppid", "inside", "threads", "code", "ns", "state"];

/// `job WORD …` or `box NAME …`, and what stands behind.
fn subject(text: &str) -> Result<(Subject, &str)> {
    let wrong = || Error::new(format!("{text:?} begins with no `job WORD` and no `box NAME`"));
    let mut words = text.splitn(3, ' ');
    let (kind, name) = (words.next().unwrap_or_default(), words.next().ok_or_else(wrong)?);
    let subject = match kind {
        "job" => Subject::Job(name.to_owned()),
        "box" => Subject::Box(name.to_owned()),
        _ => return Err(wrong()),
    };
    Ok((subject, words.next().unwrap_or_default()))
}

impl Condition {
    /// As a lesson writes it.
    pub(crate) fn parse(text: &str) -> Result<Condition> {
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
        Ok(Condition { subject, is_negated, predicate, value })
    }

    /// Is it so now?
    pub(crate) fn holds(&self, room: &Room<'_>) -> bool {
        self.is_negated != self.is_so(room).unwrap_or(false)
    }

    fn is_so(&self, room: &Room<'_>) -> Option<bool> {
        let container = match &self.subject {
            Subject::Box(name) => room.container(name),
            Subject::Job(_) => None,
        };
        let number = || self.value.parse::<i64>().ok();
        let bytes = || parse_size("", &self.value).ok();
        // What needs no living process.
        match self.predicate.as_str() {
            "ended" => {
                return match (&self.subject, container) {
                    (Subject::Box(_), container) => Some(container?.status() == Status::Exited),
                    (Subject::Job(word), _) => Some(room.jobs(word).is_empty()),
                };
            }
            "code" => return Some(i64::from(container?.record.exit?.code?) == number()?),
            "oom" => return Some(container?.record.exit?.out_of_memory),
            _ => {}
        }
        let process = room.process(&self.subject)?;
        let pid = process.pid();
        let is_own = || {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/{}", self.value)).ok()?;
            let ours = fs::read_link(format!("/proc/self/ns/{}", self.value)).ok()?;
            Some(theirs != ours)
        };
        let cgroup = || container.as_ref()?.record.cgroup();
        Some(match self.predicate.as_str() {
            "runs" => true,
            "state" => process.stat().ok()?.state.to_string() == self.value,
            "threads" => process.stat().ok()?.num_threads >= number()?,
            "rss" => process.status().ok()?.vmrss? as i64 * 1024 >= bytes()?,
            "heap" => mapped(pid, "[heap]")? >= bytes()?,
            "stack" => mapped(pid, "[stack]")? >= bytes()?,
            "has" => capabilities::of(&process).ok()?.effective.contains(&self.value),
            "lacks" => !capabilities::of(&process).ok()?.effective.contains(&self.value),
            "own" => is_own()?,
            "shares" => !is_own()?,
            "cpus" => millicpus(room, &container?)? == thousandths(&self.value)?,
            "memory" => cgroup().as_ref().and_then(Cgroup::memory_limit)? as i64 == bytes()?,
            "file" => Path::new(&format!("/proc/{pid}/root{}", self.value)).exists(),
            _ => false,
        })
    }
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

/// `0.25` is 250.
fn thousandths(text: &str) -> Option<i64> {
    Some((text.parse::<f64>().ok()? * 1000.0).round() as i64)
}

/// Thousandths of a CPU that it may use, as it was asked for.
fn millicpus(room: &Room<'_>, container: &Container) -> Option<i64> {
    let spec = birth::load_spec(room.store, &container.record).ok()?;
    let cpu = spec.linux().as_ref()?.resources().as_ref()?.cpu().clone()?;
    cpu.quota()?.checked_mul(1000)?.checked_div(i64::try_from(cpu.period()?).ok()?)
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
        let subject = match subject {
            Subject::Job(word) => (false, word),
            Subject::Box(name) => (true, name),
        };
        Ok(Question::Fact { subject, fact: fact.to_owned(), value: value.to_owned() })
    }

    /// Is this the answer, now?
    pub(crate) fn is_answered_by(&self, answer: &str, room: &Room<'_>) -> bool {
        let answer = answer.trim().to_lowercase();
        match self {
            Question::Word(words) => words.contains(&answer),
            Question::Fact { subject: (is_box, name), fact, value } => {
                let name = name.clone();
                let subject = if *is_box { Subject::Box(name) } else { Subject::Job(name) };
                room.facts(&subject, fact, value).contains(&answer)
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

    fn process(&self, subject: &Subject) -> Option<Process> {
        let pid = match subject {
            Subject::Job(word) => *self.jobs(word).first()?,
            Subject::Box(name) => self.container(name)?.hold().ok()??.0,
        };
        process::open(pid).ok()
    }

    /// What is right to say of it.
    fn facts(&self, subject: &Subject, fact: &str, value: &str) -> Vec<String> {
        let one = || -> Option<String> {
            if let ("code", Subject::Box(name)) = (fact, subject) {
                return Some(self.container(name)?.record.exit?.code?.to_string());
            }
            let process = self.process(subject)?;
            let status = process.status().ok()?;
            Some(match fact {
                "pid" => process.pid().to_string(),
                "ppid" => status.ppid.to_string(),
                "inside" => status.nspid?.last()?.to_string(),
                "threads" => status.threads.to_string(),
                "state" => process.stat().ok()?.state.to_string().to_lowercase(),
                "ns" => {
                    let link = fs::read_link(format!("/proc/{}/ns/{value}", process.pid())).ok()?;
                    let link = link.to_string_lossy().into_owned();
                    link.split(['[', ']']).nth(1)?.to_owned()
                }
                _ => return None,
            })
        };
        one().into_iter().collect()
    }
}
