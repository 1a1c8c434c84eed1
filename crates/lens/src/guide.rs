//! A walk through /proc/PID, proc(5): which file answers which question, and what it says now.

use std::io::Read;

use procfs::process::Process;
use serde::Serialize;

use crate::processes::numbers;
use crate::seen::{must, seen};
use crate::{Result, Seen};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum About {
    CommandLine,
    Executable,
    Name,
    State,
    Parent,
    Started,
    Environment,
    CpuTime,
    Processor,
    Nice,
    Threads,
    AddressSpace,
    Resident,
    Proportional,
    Swapped,
    OomScore,
    WorkingDirectory,
    Root,
    OpenFiles,
    Read,
    Written,
    Mounts,
    Namespaces,
    Pids,
    UidMap,
    User,
    Capabilities,
    Seccomp,
    FileLimit,
    StackLimit,
    Cgroup,
    SystemCall,
}

impl About {
    /// All questions, in the order of a walk.
    pub const ALL: [About; 32] = [
        About::CommandLine,
        About::Executable,
        About::Name,
        About::State,
        About::Parent,
        About::Started,
        About::Environment,
        About::CpuTime,
        About::Processor,
        About::Nice,
        About::Threads,
        About::AddressSpace,
        About::Resident,
        About::Proportional,
        About::Swapped,
        About::OomScore,
        About::WorkingDirectory,
        About::Root,
        About::OpenFiles,
        About::Read,
        About::Written,
        About::Mounts,
        About::Namespaces,
        About::Pids,
        About::UidMap,
        About::User,
        About::Capabilities,
        About::Seccomp,
        About::FileLimit,
        About::StackLimit,
        About::Cgroup,
        About::SystemCall,
    ];

    /// The file or folder below /proc/PID that knows, and the name or number of the field in it.
    pub fn place(self) -> (&'static str, Option<&'static str>) {
        match self {
            About::CommandLine => ("cmdline", None),
            About::Executable => ("exe", None),
            About::Name => ("comm", None),
            About::State => ("status", Some("State")),
            About::Parent => ("status", Some("PPid")),
            About::Started => ("stat", Some("22")),
            About::Environment => ("environ", None),
            About::CpuTime => ("stat", Some("14,15")),
            About::Processor => ("stat", Some("39")),
            About::Nice => ("stat", Some("19")),
            About::Threads => ("task", None),
            About::AddressSpace => ("status", Some("VmSize")),
            About::Resident => ("smaps_rollup", Some("Rss")),
            About::Proportional => ("smaps_rollup", Some("Pss")),
            About::Swapped => ("smaps_rollup", Some("Swap")),
            About::OomScore => ("oom_score", None),
            About::WorkingDirectory => ("cwd", None),
            About::Root => ("root", None),
            About::OpenFiles => ("fd", None),
            About::Read => ("io", Some("rchar")),
            About::Written => ("io", Some("wchar")),
            About::Mounts => ("mountinfo", None),
            About::Namespaces => ("ns", None),
            About::Pids => ("status", Some("NSpid")),
            About::UidMap => ("uid_map", None),
            About::User => ("status", Some("Uid")),
            About::Capabilities => ("status", Some("CapEff")),
            About::Seccomp => ("status", Some("Seccomp")),
            About::FileLimit => ("limits", Some("Max open files")),
            About::StackLimit => ("limits", Some("Max stack size")),
            About::Cgroup => ("cgroup", None),
            About::SystemCall => ("syscall", None),
        }
    }
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What was asked.
    pub about: About,
    /// Below /proc/PID.
    pub file: &'static str,
    /// In that file: the name that its line begins with, or the numbers of words.
    pub field: Option<&'static str>,
    /// As it stands there, word by word or line by line.
    pub value: Seen<Vec<String>>,
}

/// All answers. Of environment variables the names only, unless `with_values`: values are often secrets.
pub fn of(process: &Process, with_values: bool) -> Result<Vec<Answer>> {
    must(process.pid(), "status", process.status())?;
    let answer = |about: About| {
        let (file, field) = about.place();
        Answer { about, file, field, value: value(process, about, with_values) }
    };
    Ok(About::ALL.map(answer).to_vec())
}

fn value(process: &Process, about: About, with_values: bool) -> Seen<Vec<String>> {
    let (file, field) = about.place();
    let one = |link: procfs::ProcResult<std::path::PathBuf>| {
        seen(link).map(|path| vec![path.to_string_lossy().into_owned()])
    };
    match (about, field) {
        (About::Executable, _) => one(process.exe()),
        (About::WorkingDirectory, _) => one(process.cwd()),
        (About::Root, _) => one(process.root()),
        (About::CommandLine, _) => text(process, file).map(|text| by_zeros(&text)),
        (About::Environment, _) => text(process, file).map(|text| {
            let all = by_zeros(&text).into_iter().filter(|word| !word.is_empty());
            let name = |word: String| word.split('=').next().unwrap_or_default().to_owned();
            if with_values { all.collect() } else { all.map(name).collect() }
        }),
        (About::Threads, _) => seen(process.tasks()).map(|tasks| {
            let mut all: Vec<i32> = tasks.flatten().map(|task| task.tid).collect();
            all.sort_unstable();
            all.iter().map(ToString::to_string).collect()
        }),
        (About::OpenFiles, _) => {
            let pid = process.pid();
            let mut all: Vec<i32> = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
                Ok(entries) => entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                    .collect(),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Seen::Denied;
                }
                Err(_) => return Seen::Absent,
            };
            all.sort_unstable();
            let target = |fd: i32| {
                let path = crate::process::link(process, &format!("fd/{fd}"));
                Some(format!("{fd} {}", path.known()?.to_string_lossy()))
            };
            Seen::Known(all.into_iter().filter_map(target).collect())
        }
        (About::Namespaces, _) => {
            let links = crate::namespaces::Kind::ALL
                .map(|kind| crate::process::link(process, &format!("ns/{}", kind.name())));
            if links.contains(&Seen::Denied) {
                return Seen::Denied;
            }
            let links = links.iter().filter_map(Seen::known);
            Seen::Known(links.map(|link| link.to_string_lossy().into_owned()).collect())
        }
        (About::Pids, _) => text(process, file).and_then(|text| {
            let numbers = numbers(text).map(|pids| pids.iter().map(ToString::to_string).collect());
            numbers.map_or(Seen::Absent, Seen::Known)
        }),
        (_, None) => text(process, file).map(|text| text.lines().map(str::to_owned).collect()),
        (_, Some(field)) if file == "stat" => text(process, file).and_then(|text| {
            let words = field.split(',').filter_map(|number| {
                stat_fields(text).into_iter().nth(number.parse::<usize>().ok()?.checked_sub(1)?)
            });
            Seen::Known(words.collect())
        }),
        (_, Some(field)) => text(process, file).and_then(|text| {
            let rest = text.lines().find_map(|line| line.strip_prefix(field));
            let words = |rest: &str| {
                rest.trim_start_matches(':').split_whitespace().map(str::to_owned).collect()
            };
            rest.map_or(Seen::Absent, |rest| Seen::Known(words(rest)))
        }),
    }
}

fn by_zeros(text: &str) -> Vec<String> {
    let text = text.trim_end_matches('\0');
    if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() }
}

/// The fields of proc_pid_stat(5), of which the second may contain blanks and parentheses.
fn stat_fields(text: &str) -> Vec<String> {
    let Some((name, rest)) = text.trim_end().rsplit_once(") ") else { return Vec::new() };
    let (pid, name) = name.split_once(" (").unwrap_or((name, ""));
    let mut all = vec![pid.to_owned(), format!("({name})")];
    all.extend(rest.split(' ').map(str::to_owned));
    all
}

/// A file of text below /proc/PID.
pub(crate) fn text(process: &Process, name: &str) -> Seen<String> {
    let mut bytes = Vec::new();
    let read = process.open_relative(name).and_then(|mut file| Ok(file.read_to_end(&mut bytes)?));
    seen(read).map(|_| String::from_utf8_lossy(&bytes).into_owned())
}

/// The files that [`file`] takes apart. No others: some answer nothing before somebody writes, and what lies
/// below `root` and `fd` is not the kernel's word.
pub const FILES: [&str; 24] = [
    "autogroup",
    "cgroup",
    "cmdline",
    "comm",
    "environ",
    "gid_map",
    "io",
    "limits",
    "loginuid",
    "maps",
    "mountinfo",
    "oom_score",
    "oom_score_adj",
    "sched",
    "schedstat",
    "sessionid",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
    "syscall",
    "timens_offsets",
    "uid_map",
    "wchan",
];

/// A line, or a word, of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is called: the name that it begins with; in stat and statm its number, from 1.
    pub field: Option<String>,
    /// What it says.
    pub value: String,
}

/// One of [`FILES`], piece by piece.
pub fn file(process: &Process, name: &str, with_values: bool) -> Result<Seen<Vec<Line>>> {
    must(process.pid(), "status", process.status())?;
    Ok(text(process, name).map(|text| {
        let numbered = |words: Vec<String>| {
            let line =
                |(at, value): (usize, String)| Line { field: Some((at + 1).to_string()), value };
            words.into_iter().enumerate().map(line).collect()
        };
        match name {
            "stat" => numbered(stat_fields(&text)),
            "statm" | "schedstat" | "syscall" => {
                numbered(text.split_whitespace().map(str::to_owned).collect())
            }
            "cmdline" => numbered(by_zeros(&text)),
            "environ" => {
                let line = |word: String| match word.split_once('=') {
                    Some((name, value)) => {
                        let value = if with_values { value.to_owned() } else { String::new() };
                        Line { field: Some(name.to_owned()), value }
                    }
                    None => Line { field: None, value: String::new() },
                };
                by_zeros(&text).into_iter().map(line).collect()
            }
            "limits" => text.lines().skip(1).map(limit).collect(),
            "status" | "io" | "smaps_rollup" | "sched" => text.lines().map(named).collect(),
            _ => {
                let line = |line: &str| Line { field: None, value: line.to_owned() };
                text.lines().map(line).collect()
            }
        }
    }))
}

/// `VmRSS:     1234 kB`
fn named(line: &str) -> Line {
    match line.split_once(':') {
        Some((field, value)) if !field.contains('-') => {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            Line { field: Some(field.trim().to_owned()), value }
        }
        _ => Line { field: None, value: line.trim().to_owned() },
    }
}

/// `Max open files            1024                 524288               files`
fn limit(line: &str) -> Line {
    let (field, value) = line.split_at_checked(26).unwrap_or((line, ""));
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    Line { field: Some(field.trim().to_owned()), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_asked_once_and_answered_of_this_process() {
        let myself = crate::process::open(std::process::id() as i32).unwrap();
        let all = of(&myself, false).unwrap();
        for answer in &all {
            assert_eq!(all.iter().filter(|other| other.about == answer.about).count(), 1);
            // Without a swap the kernel may lack its line, and the call that reads is no call of others.
            assert!(answer.value.known().is_some(), "{answer:?}");
        }
        let of =
            |about| all.iter().find(|answer| answer.about == about).unwrap().value.known().unwrap();
        assert_eq!(of(About::Pids)[0], std::process::id().to_string());
        assert!(of(About::Environment).iter().all(|name| !name.contains('=')));
    }

    #[test]
    fn files_are_taken_apart() {
        let myself = crate::process::open(std::process::id() as i32).unwrap();
        let of = |name| file(&myself, name, false).unwrap();
        let stat = of("stat").known().unwrap().clone();
        assert_eq!(stat[0].value, std::process::id().to_string());
        assert!(stat.len() >= 52 && stat[1].value.starts_with('('));
        let limits = of("limits").known().unwrap().clone();
        assert!(limits.iter().any(|line| line.field.as_deref() == Some("Max open files")));
        for name in FILES {
            let _ = of(name);
        }
    }
}
