//! `minibox top`: the processes of a container, with their numbers on the host and inside.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use minibox_runtime::{Error, Result};
use nix::unistd::{SysconfVar, sysconf};

use crate::args::TopArgs;
use crate::clock;
use crate::living;
use crate::output;
use crate::store::Store;

/// What /proc/PID/stat and its neighbours say of one process, proc_pid_stat(5).
#[derive(Debug)]
struct Process {
    pid: i32,
    parent: i32,
    terminal: u64,
    /// CPU time, in clock ticks.
    ticks: u64,
    /// After boot, in clock ticks.
    started: u64,
    uid: u32,
    /// Its numbers, from this pid namespace inwards.
    pids: Vec<i32>,
    command: String,
}

impl Process {
    /// `None` where it has ended meanwhile.
    fn read(pid: i32) -> Option<Process> {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let text =
            |name: &str| file(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let stat = text("stat")?;
        // The name stands in parentheses and may itself contain some.
        let (name, rest) = stat.rsplit_once(") ")?;
        let name = name.split_once('(').map_or("", |(_, name)| name);
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let status = text("status")?;
        let line = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(
                value.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>(),
            )
        };
        let arguments = file("cmdline").unwrap_or_default();
        let arguments = String::from_utf8_lossy(arguments.trim_ascii_end()).replace('\0', " ");
        let command = match arguments.trim_end() {
            "" => format!("[{name}]"),
            arguments => arguments.to_owned(),
        };
        Some(Process {
            pid,
            parent: i32::try_from(number(4)?).ok()?,
            terminal: number(7)?,
            ticks: number(14)? + number(15)?,
            started: number(22)?,
            uid: *line("Uid:")?.first()? as u32,
            pids: line("NSpid:")?,
            // It is the container that chooses these letters, and they go to the caller's terminal.
            command: command.replace(char::is_control, "?"),
        })
    }
}

/// The mount namespace: no two containers share one, as they may share process ids.
fn files_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

/// All processes of the container with this PID 1, in the order of their numbers: those that see its files,
/// and whatever those have started.
fn processes(init: i32) -> Vec<Process> {
    let files = files_of(init);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<Process> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect();
    all.sort_by_key(|process| process.pid);
    let lives_there = |pid: i32| pid == init || (files.is_some() && files_of(pid) == files);
    let mut members: Vec<i32> =
        all.iter().map(|process| process.pid).filter(|&pid| lives_there(pid)).collect();
    loop {
        let count = members.len();
        for process in &all {
            if members.contains(&process.parent) && !members.contains(&process.pid) {
                members.push(process.pid);
            }
        }
        if members.len() == count {
            break;
        }
    }
    all.retain(|process| members.contains(&process.pid));
    all
}

/// The numbers of all processes of the container with this PID 1.
pub(crate) fn members(init: i32) -> Vec<i32> {
    processes(init).iter().map(|process| process.pid).collect()
}

/// `minibox top`.
pub(crate) fn top(store: &Store, args: &TopArgs) -> Result<u8> {
    let container = living::find(store, &args.container)?;
    let (init, _held) = container.hold_running()?;
    let processes = processes(init);
    let text = if args.options.is_empty() {
        own_table(init, &processes)
    } else {
        from_ps(&args.options, &processes)?
    };
    output::print(&text);
    Ok(0)
}

/// The columns of `ps -ef`, and the number inside.
fn own_table(init: i32, processes: &[Process]) -> String {
    let heading = ["UID", "PID", "PID INSIDE", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let depth = processes.iter().find(|process| process.pid == init).map_or(0, |p| p.pids.len());
    let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as u64;
    let boot = clock::boot();
    let names = names();
    for process in processes {
        let started = boot + Duration::from_millis(process.started * 1000 / hertz);
        let lived = SystemTime::now().duration_since(started).unwrap_or_default().as_secs();
        let seconds = process.ticks / hertz;
        let share = (seconds * 100).checked_div(lived).unwrap_or(0).min(99);
        rows.push(vec![
            names.get(&process.uid).cloned().unwrap_or_else(|| process.uid.to_string()),
            process.pid.to_string(),
            process.pids.get(depth.wrapping_sub(1)).map_or("-".into(), ToString::to_string),
            process.parent.to_string(),
            share.to_string(),
            clock::short(started),
            terminal(process.terminal),
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            process.command.clone(),
        ]);
    }
    output::table(&rows)
}

/// The host's names of its users.
fn names() -> HashMap<u32, String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    passwd.lines().filter_map(entry).collect()
}

/// Field tty_nr, proc_pid_stat(5): of the terminals that a container can have, only pts have numbers.
fn terminal(device: u64) -> String {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    match (device, major) {
        (0, _) => String::from("?"),
        // UNIX98_PTY_SLAVE_MAJOR and the seven that follow.
        (_, 136..=143) => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

/// What the host's ps says with these options, of these processes only.
fn from_ps(options: &[String], processes: &[Process]) -> Result<String> {
    let pids: Vec<String> = processes.iter().map(|process| process.pid.to_string()).collect();
    let ps = |more: &[String]| {
        let output = Command::new("ps").args(options).args(more).output();
        output.map_err(|error| {
            Error::of_io("run", Path::new("ps"), &error)
                .hint("package procps; `minibox top CONTAINER` alone does without")
        })
    };
    // Named ones are shown whatever the options select; but some options do not go with that.
    let mut output = ps(&[format!("-q{}", pids.join(","))])?;
    if !output.status.success() {
        output = ps(&[])?;
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
        return Err(Error::new(format!("ps {}: {said}", options.join(" "))));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let (heading, lines) = text.split_once('\n').unwrap_or((&text, ""));
    let column = heading.split_whitespace().position(|title| title == "PID").ok_or_else(|| {
        Error::new(format!(
            "ps {}: there is no column PID, so that nobody can tell whose line is whose",
            options.join(" ")
        ))
        .hint("add it, such as with `-o pid,comm`")
    })?;
    let is_ours = |line: &&str| {
        line.split_whitespace().nth(column).is_some_and(|pid| pids.iter().any(|ours| ours == pid))
    };
    let ours = lines.lines().filter(is_ours).map(|line| format!("{line}\n"));
    Ok(format!("{heading}\n") + &ours.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_names() {
        let device = |major, minor| nix::sys::stat::makedev(major, minor);
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(device(136, 3)), "pts/3");
        assert_eq!(terminal(device(137, 1)), "pts/257");
        assert_eq!(terminal(device(4, 1)), "4:1");
    }

    #[test]
    fn this_process_is_found_and_its_parent_is_not() {
        let me = std::process::id() as i32;
        let read = Process::read(me).unwrap();
        assert!(read.pids.contains(&me) || !read.pids.is_empty());
        assert_eq!(read.parent, nix::unistd::getppid().as_raw());
        assert!(Process::read(i32::MAX).is_none());
    }
}
