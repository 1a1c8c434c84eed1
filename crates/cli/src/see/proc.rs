//! `minibox proc`: a guided walk through /proc/PID, the folder that holds what the kernel knows of a process.

use minibox_lens::Seen;
use minibox_lens::guide::{self, About, Answer, Line};
use minibox_runtime::{Error, Result};
use serde::Serialize;

use super::{Canvas, Style, Target, fault, find, look};
use crate::args::ProcArgs;
use crate::language::say;
use crate::output;
use crate::size;
use crate::store::Store;

/// The walk, or one file.
#[derive(Serialize)]
struct Seeing {
    answers: Option<Vec<Answer>>,
    file: Option<File>,
}

#[derive(Serialize)]
struct File {
    name: String,
    lines: Seen<Vec<Line>>,
}

/// `minibox proc`.
pub(crate) fn proc(store: &Store, args: &ProcArgs) -> Result<u8> {
    let target = find(store, &args.target)?;
    if let Some(name) = args.file.as_ref().filter(|name| !guide::FILES.contains(&name.as_str())) {
        return Err(Error::new(format!("{name:?} is no file of /proc/PID that is explained here"))
            .hint(guide::FILES.join(" ")));
    }
    let see = || {
        let fault = |error| fault(&error);
        Ok(match &args.file {
            None => {
                let answers = guide::of(&target.process, args.values).map_err(fault)?;
                Seeing { answers: Some(answers), file: None }
            }
            Some(name) => {
                let lines = guide::file(&target.process, name, args.values).map_err(fault)?;
                Seeing { answers: None, file: Some(File { name: name.clone(), lines }) }
            }
        })
    };
    look(&args.look, "proc/1", &target, see, |seen, canvas| match &seen.file {
        Some(file) => draw_file(&target, file, canvas),
        None => draw(&target, seen.answers.as_deref().unwrap_or_default(), canvas),
    })
}

/// The chapter that a question belongs to, and how a learner asks it.
fn question(about: About) -> (&'static str, &'static str) {
    const PROCESS: &str = "Program and process";
    const CPU: &str = "CPU";
    const THREADS: &str = "Threads";
    const MEMORY: &str = "Memory";
    const FILES: &str = "Files, input and output";
    const NAMESPACES: &str = "Namespaces";
    const RIGHTS: &str = "What it may do and have";
    const CALLS: &str = "System calls";
    match about {
        About::CommandLine => (PROCESS, "What was it started with?"),
        About::Executable => (PROCESS, "Which program does it execute?"),
        About::Name => (PROCESS, "What is it called for short?"),
        About::State => (PROCESS, "What is it doing?"),
        About::Parent => (PROCESS, "Who is its parent?"),
        About::Started => (PROCESS, "When did it begin?"),
        About::Environment => (PROCESS, "What is in its environment?"),
        About::CpuTime => (CPU, "How long have CPUs worked for it?"),
        About::Processor => (CPU, "On which CPU was it last?"),
        About::Nice => (CPU, "How nice is it to others?"),
        About::Threads => (THREADS, "Which threads does it hold?"),
        About::AddressSpace => (MEMORY, "How large is its address space?"),
        About::Resident => (MEMORY, "How much of that is in RAM?"),
        About::Proportional => (MEMORY, "And if what is shared is divided?"),
        About::Swapped => (MEMORY, "How much lies on the disk instead?"),
        About::OomScore => (MEMORY, "How soon is it killed if RAM is out?"),
        About::WorkingDirectory => (FILES, "In which folder does it stand?"),
        About::Root => (FILES, "Which folder is its /?"),
        About::OpenFiles => (FILES, "Which files has it open?"),
        About::Read => (FILES, "How much has it read?"),
        About::Written => (FILES, "How much has it written?"),
        About::Mounts => (FILES, "What is mounted for it?"),
        About::Namespaces => (NAMESPACES, "Which namespaces is it in?"),
        About::Pids => (NAMESPACES, "Which numbers has it?"),
        About::UidMap => (NAMESPACES, "Who are its users outside?"),
        About::User => (RIGHTS, "Whose is it?"),
        About::Capabilities => (RIGHTS, "Which powers of root has it?"),
        About::Seccomp => (RIGHTS, "Are system calls filtered?"),
        About::FileLimit => (RIGHTS, "How many files may it open?"),
        About::StackLimit => (RIGHTS, "How large may its stack become?"),
        About::Cgroup => (RIGHTS, "Where are its limits counted?"),
        About::SystemCall => (CALLS, "In which call is it?"),
    }
}

/// The command of a shell that shows the same.
fn command(pid: i32, answer: &Answer) -> String {
    let path = format!("/proc/{pid}/{}", answer.file);
    match (answer.about, answer.field) {
        (About::CommandLine, _) => format!("tr '\\0' ' ' < {path}"),
        (About::Environment, _) => format!("tr '\\0' '\\n' < {path} | cut -d= -f1"),
        (About::Executable | About::WorkingDirectory | About::Root, _) => {
            format!("readlink {path}")
        }
        (About::Threads, _) => format!("ls {path}"),
        (About::OpenFiles | About::Namespaces, _) => format!("ls -l {path}"),
        (_, Some(numbers)) if answer.file == "stat" => format!("cut -d' ' -f{numbers} {path}"),
        (_, Some(field)) => format!("grep '^{field}' {path}"),
        (_, None) => format!("cat {path}"),
    }
}

/// The answer as a person would give it.
fn words(answer: &Answer) -> String {
    let words = match &answer.value {
        Seen::Known(words) => words,
        Seen::Denied => return say("(hidden from you)"),
        Seen::Absent => return say("(nothing)"),
    };
    let first = words.first().map_or("", String::as_str);
    let number = first.parse::<u64>().ok();
    let kilobytes = || number.map_or_else(|| first.to_owned(), |n| size::binary(n * 1024));
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let seconds = |ticks: u64| ticks / per_second.unwrap_or(100).max(1) as u64;
    let few = |words: &[String]| words.join("  ");
    let text = match answer.about {
        _ if words.is_empty() => say("(nothing)"),
        About::CommandLine => output::shell_words(words),
        About::State | About::Cgroup | About::Environment => few(words),
        About::UidMap => {
            let line = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
            words.iter().map(line).collect::<Vec<_>>().join(", ")
        }
        About::Parent if first == "0" => say("0: nobody who can be seen from here"),
        About::Started => say(&format!("{} s after the machine", seconds(number.unwrap_or(0)))),
        About::CpuTime => {
            let ticks = |at: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(0);
            let (own, kernel) = (seconds(ticks(0)), seconds(ticks(1)));
            say(&format!("{own} s on its own code, {kernel} s in the kernel for it"))
        }
        About::Nice => say(&format!("{first}  (-20 takes most, 19 gives most)")),
        About::Threads => format!("{}: {}", words.len(), words.join(" ")),
        About::AddressSpace | About::Resident | About::Proportional | About::Swapped => kilobytes(),
        About::OomScore => say(&format!("{first}  (the highest goes first)")),
        About::OpenFiles => format!("{}: {}", words.len(), few(words)),
        About::Read | About::Written => size::binary(number.unwrap_or(0)),
        About::Mounts => {
            say(&format!("{} mounts, the last on {}", words.len(), mounted(words.last())))
        }
        About::Pids if words.len() > 1 => {
            say(&format!("{first} here, {} to itself", words.last().map_or("", String::as_str)))
        }
        About::User => say(&format!("user {first}, acting as {}", words.get(1).map_or("?", |w| w))),
        About::Capabilities => say(&format!("{first}  (minibox caps spells them out)")),
        About::Seccomp => match first {
            "0" => say("0: no"),
            "1" => say("1: only read, write, exit and sigreturn"),
            _ => say(&format!("{first}: by a filter")),
        },
        About::FileLimit => {
            say(&format!("{first}, and {} if it asks", words.get(1).map_or("?", |w| w)))
        }
        About::StackLimit => kilo(first),
        _ => words.join(" "),
    };
    output::on_one_line(&text)
}

fn kilo(bytes: &str) -> String {
    bytes.parse().map_or_else(|_| bytes.to_owned(), size::binary)
}

/// Where the mount of a line of proc_pid_mountinfo(5) is.
fn mounted(line: Option<&String>) -> &str {
    line.and_then(|line| line.split(' ').nth(4)).unwrap_or("?")
}

fn draw(target: &Target, answers: &[Answer], canvas: &Canvas) -> String {
    let pid = target.pid;
    let title = format!("/proc/{pid}: all that the kernel tells of {}", target.title());
    let mut text = canvas.heading(&title);
    let mut last = "";
    for answer in answers {
        let (chapter, question) = question(answer.about);
        if chapter != last {
            text += &("\n".to_owned() + &canvas.heading(chapter));
            last = chapter;
        }
        let line = format!("  {} {}", output::pad(&say(question), 37), words(answer));
        text += &(output::shorten(&line, canvas.width) + "\n");
        let shown = output::shorten(&format!("      {}", command(pid, answer)), canvas.width);
        text += &(canvas.paint(Style::Dim, &shown) + "\n");
    }
    text.push('\n');
    text + &canvas.wrap("", &format!("None of this lies on a disk: the kernel writes it when it is read. The folder /proc/{pid} goes with the process."))
}

fn draw_file(target: &Target, file: &File, canvas: &Canvas) -> String {
    let title = format!("/proc/{}/{} of {}", target.pid, file.name, target.title());
    let mut text = canvas.heading(&title);
    if let Some(about) = about_file(&file.name) {
        text += &canvas.wrap("", about);
    }
    text.push('\n');
    let lines = match &file.lines {
        Seen::Known(lines) => lines,
        Seen::Denied => {
            return text
                + &canvas.wrap("", "It is hidden from you: only its owner and root may read it.");
        }
        Seen::Absent => {
            return text + &canvas.wrap(
                "",
                "There is nothing to read: this kernel has no such file, or the process has ended.",
            );
        }
    };
    for line in lines {
        let value = output::on_one_line(&line.value);
        let (name, meaning) = field(&file.name, line.field.as_deref());
        let shown = match name {
            None => value,
            Some(name) => format!("{:<22} {value}", output::on_one_line(&name)),
        };
        text += &(output::shorten(&shown, canvas.width) + "\n");
        if let Some(meaning) = meaning {
            let wrapped = canvas.wrap("    ", meaning);
            for line in wrapped.lines() {
                text += &(canvas.paint(Style::Dim, line) + "\n");
            }
        }
    }
    text
}

/// What a file is for.
fn about_file(name: &str) -> Option<&'static str> {
    Some(match name {
        "autogroup" => "The group of processes that shares CPU time as one, sched(7).",
        "cgroup" => {
            "Where its limits are counted: hierarchy, controllers, path. One line with version 2."
        }
        "cmdline" => "What it was started with, word by word; each ends with a zero byte.",
        "comm" => "Its name for short, at most 15 letters; it may change it.",
        "environ" => {
            "Its environment when it began. Values are shown with --values: they may be secrets."
        }
        "gid_map" => "Groups: the first inside, the one that it is here, how many.",
        "uid_map" => "Users: the first inside, the one that it is here, how many.",
        "io" => "What went through its read and write calls, and what of it reached a disk.",
        "limits" => "What it may have at most: now, and if it asks for more.",
        "loginuid" => "The user who logged in, whoever it became since; 4294967295 is nobody.",
        "maps" => {
            "Its address space, from low to high: addresses, permissions, offset, device, inode, file."
        }
        "mountinfo" => {
            "Its mounts: number, parent, device, what of it, where, options, kind, source."
        }
        "oom_score" => "The higher, the sooner it is killed when RAM is out.",
        "oom_score_adj" => "What is added to that: -1000 is never, 1000 is first.",
        "sched" => "What the scheduler counts about its main thread.",
        "schedstat" => {
            "Of its main thread: time on CPUs, time waiting for one (both in ns), turns."
        }
        "sessionid" => "The audit session it belongs to; 4294967295 is none.",
        "smaps_rollup" => "How much of its address space is in RAM, and how: the exact count.",
        "stat" => "The same as status for programs: one line of numbers, proc_pid_stat(5).",
        "statm" => "Its memory in pages.",
        "status" => "Its state for people, one line each.",
        "syscall" => "The call it is in: number, six arguments, stack pointer, program counter.",
        "timens_offsets" => {
            "What its clocks differ by from the machine's: seconds and nanoseconds."
        }
        "wchan" => {
            "The function of the kernel that it sleeps in; 0 where it does not, or is hidden."
        }
        _ => return None,
    })
}

/// What a field is called, and what it means.
fn field(file: &str, name: Option<&str>) -> (Option<String>, Option<&'static str>) {
    let Some(name) = name else { return (None, None) };
    let find = |table: &[(&str, &'static str)]| {
        table.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning)
    };
    let numbered = |table: &[(&str, &'static str)]| {
        let entry = name.parse::<usize>().ok().and_then(|n| table.get(n.checked_sub(1)?).copied());
        let label =
            entry.map_or_else(|| name.to_owned(), |(label, _)| format!("{name:>2} {label}"));
        (Some(label), entry.map(|(_, meaning)| meaning).filter(|meaning| !meaning.is_empty()))
    };
    match file {
        "stat" => numbered(&STAT),
        "statm" => numbered(&STATM),
        "status" => (Some(name.to_owned()), find(&STATUS)),
        "io" => (Some(name.to_owned()), find(&IO)),
        "smaps_rollup" => (Some(name.to_owned()), find(&ROLLUP)),
        "limits" => (Some(name.to_owned()), find(&LIMITS)),
        _ => (Some(name.to_owned()), None),
    }
}

/// proc_pid_status(5).
const STATUS: [(&str, &str); 47] = [
    ("Name", "what it is called for short"),
    ("Umask", "permissions that files it makes do not get"),
    ("State", "R runs, S sleeps, D waits for a disk, T is stopped, Z has ended"),
    ("Tgid", "the process: all of its threads have this number in common"),
    ("Pid", "the thread: of the main one the same number"),
    ("PPid", "its parent"),
    ("TracerPid", "the debugger that holds it, or 0"),
    ("Uid", "its user: real, effective, saved, for files"),
    ("Gid", "its group: real, effective, saved, for files"),
    ("FDSize", "room in its table of open files"),
    ("Groups", "its further groups"),
    ("NStgid", "the process's number in each pid namespace, from here inwards"),
    ("NSpid", "the thread's number in each pid namespace, from here inwards"),
    ("Kthread", "1 for threads of the kernel's own"),
    ("VmPeak", "the largest its address space has been"),
    ("VmSize", "its address space: reserved, not used"),
    ("VmLck", "memory that may not be swapped out"),
    ("VmHWM", "the most RAM it has had (approximate)"),
    ("VmRSS", "the RAM it has (approximate; smaps_rollup is exact)"),
    ("RssAnon", "of that: its own, such as heap and stack"),
    ("RssFile", "of that: pages of files, which others may use too"),
    ("RssShmem", "of that: shared memory"),
    ("VmData", "reserved for data, heap and the like"),
    ("VmStk", "its stack"),
    ("VmExe", "its code"),
    ("VmLib", "code of libraries"),
    ("VmPTE", "tables that translate its addresses"),
    ("VmSwap", "what lies on the disk instead of in RAM"),
    ("Threads", "how many threads it holds"),
    ("SigQ", "signals that wait, and how many may"),
    ("SigPnd", "signals that wait for this thread, a bit each"),
    ("ShdPnd", "signals that wait for the process"),
    ("SigBlk", "signals that it does not want to hear now"),
    ("SigIgn", "signals that it ignores"),
    ("SigCgt", "signals that it has a handler for"),
    ("CapInh", "inheritable capabilities"),
    ("CapPrm", "permitted capabilities"),
    ("CapEff", "effective capabilities: what the kernel looks at"),
    ("CapBnd", "what is missing here never comes back"),
    ("CapAmb", "ambient capabilities"),
    ("NoNewPrivs", "1: nothing that it executes gets more rights"),
    ("Seccomp", "0 all system calls, 1 four of them, 2 by a filter"),
    ("Seccomp_filters", "how many filters lie on top of each other"),
    ("Cpus_allowed_list", "the CPUs it may use"),
    ("Mems_allowed_list", "the memory nodes it may use"),
    ("voluntary_ctxt_switches", "how often it gave its CPU away since it had to wait"),
    ("nonvoluntary_ctxt_switches", "how often its CPU was taken from it"),
];

/// proc_pid_io(5).
const IO: [(&str, &str); 7] = [
    ("rchar", "bytes that read calls gave it, wherever from"),
    ("wchar", "bytes that it gave to write calls"),
    ("syscr", "how many read calls"),
    ("syscw", "how many write calls"),
    ("read_bytes", "bytes that came from a disk for it"),
    ("write_bytes", "bytes that go to a disk for it"),
    ("cancelled_write_bytes", "of these, what it threw away before they got there"),
];

/// proc_pid_smaps(5).
const ROLLUP: [(&str, &str); 10] = [
    ("Rss", "in RAM, what it shares with others included"),
    ("Pss", "in RAM, what is shared divided among all who share it"),
    ("Pss_Anon", "of that: its own, such as heap and stack"),
    ("Pss_File", "of that: pages of files"),
    ("Shared_Clean", "shared, and the same as in the file"),
    ("Private_Clean", "its own, and the same as in the file"),
    ("Private_Dirty", "its own, and changed: what its end would give back"),
    ("Referenced", "touched lately"),
    ("Anonymous", "of no file: heap, stack"),
    ("Swap", "on the disk instead of in RAM"),
];

/// getrlimit(2).
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds of CPU, then it is killed"),
    ("Max file size", "how large a file it may write"),
    ("Max data size", "data and heap"),
    ("Max stack size", "the stack of its main thread; endless recursion ends here"),
    ("Max core file size", "what is kept of it when it crashes"),
    ("Max resident set", "not heeded by kernels of today"),
    ("Max processes", "processes and threads of its user"),
    ("Max open files", "the highest number of an open file, and one"),
    ("Max locked memory", "memory that may not be swapped out"),
    ("Max address space", "its address space"),
    ("Max file locks", "not heeded by kernels of today"),
    ("Max pending signals", "signals that may wait"),
    ("Max msgqueue size", "bytes in POSIX message queues"),
    ("Max nice priority", "how unfriendly it may become"),
    ("Max realtime priority", "how far before all others it may go"),
    ("Max realtime timeout", "microseconds it may keep a CPU then"),
];

/// proc_pid_statm(5).
const STATM: [(&str, &str); 7] = [
    ("size", "its address space"),
    ("resident", "in RAM (approximate)"),
    ("shared", "of that: files and shared memory"),
    ("text", "its code"),
    ("lib", "always 0"),
    ("data", "data and stack"),
    ("dt", "always 0"),
];

/// proc_pid_stat(5).
const STAT: [(&str, &str); 52] = [
    ("pid", "its number"),
    ("comm", "its name, in parentheses, since it may contain blanks"),
    ("state", "R runs, S sleeps, D waits for a disk, T is stopped, Z has ended"),
    ("ppid", "its parent"),
    ("pgrp", "its process group: what Ctrl-C reaches together"),
    ("session", "its session: all of one login"),
    ("tty_nr", "its terminal, as a device number"),
    ("tpgid", "the process group that has the terminal"),
    ("flags", "the kernel's own marks"),
    ("minflt", "pages that it got without a disk"),
    ("cminflt", "the same of its children that ended"),
    ("majflt", "pages that had to come from a disk"),
    ("cmajflt", "the same of its children that ended"),
    ("utime", "CPU time on its own code, in ticks of 1/100 s"),
    ("stime", "CPU time in the kernel for it"),
    ("cutime", "utime of its children that ended"),
    ("cstime", "stime of its children that ended"),
    ("priority", "as the scheduler sees it: 20 and its niceness"),
    ("nice", "-20 takes most, 19 gives most"),
    ("num_threads", "how many threads it holds"),
    ("itrealvalue", "always 0"),
    ("starttime", "when it began, in ticks after the machine"),
    ("vsize", "its address space, in bytes"),
    ("rss", "pages in RAM (approximate)"),
    ("rsslim", "not heeded by kernels of today"),
    ("startcode", "where its code begins"),
    ("endcode", "where its code ends"),
    ("startstack", "where its stack begins, from which it grows downwards"),
    ("kstkesp", "0 unless it is ending"),
    ("kstkeip", "0 unless it is ending"),
    ("signal", "old; see SigPnd in status"),
    ("blocked", "old; see SigBlk in status"),
    ("sigignore", "old; see SigIgn in status"),
    ("sigcatch", "old; see SigCgt in status"),
    ("wchan", "1 where it sleeps"),
    ("nswap", "always 0"),
    ("cnswap", "always 0"),
    ("exit_signal", "what its parent hears when it ends: 17 is CHLD"),
    ("processor", "the CPU it was on last"),
    ("rt_priority", "0 for all ordinary processes"),
    ("policy", "how it is scheduled: 0 is the ordinary way"),
    ("delayacct_blkio_ticks", "time it waited for disks, in ticks"),
    ("guest_time", "CPU time it gave to a virtual machine"),
    ("cguest_time", "the same of its children that ended"),
    ("start_data", "where its data begin"),
    ("end_data", "where its data end"),
    ("start_brk", "where its heap begins, from which it grows upwards"),
    ("arg_start", "where the words it was started with lie"),
    ("arg_end", "where they end"),
    ("env_start", "where its environment lies"),
    ("env_end", "where that ends"),
    ("exit_code", "how it ended, as waitpid(2) has it"),
];
