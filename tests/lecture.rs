//! The lecture's lab, word for word, with a container: run, `ps -ef`, `ls /proc/PID`, `kill -9`, gone.

use std::path::Path;
use std::process::Command;

use minibox_tests::{Beside, Caller, Ran, Sandbox, has, is_alive, wait_until};

/// The lines of `ps -ef | grep TEXT` on the host, without grep itself.
fn host_ps(text: &str) -> Vec<String> {
    let script = format!("ps -ef | grep -F '{text}' | grep -v grep");
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    Ran::of(&output).stdout.lines().map(str::to_owned).collect()
}

/// A column of a line of `ps -ef`: UID PID PPID C STIME TTY TIME CMD.
fn number(line: &str, column: usize) -> i32 {
    line.split_whitespace().nth(column).expect("a column").parse().expect("a number")
}

/// `kill -9 PID`, typed into the caller's shell.
fn kill_9(sandbox: &Sandbox, pid: i32) {
    let mut shell = sandbox.command("sh".as_ref());
    Ran::of(&shell.args(["-c", &format!("kill -9 {pid}")]).output().expect("a shell")).code(0);
}

/// An argument that no other process has: so many seconds.
fn seconds(test: &str) -> String {
    format!("86400.{}{}", std::process::id(), test.len())
}

#[test]
fn in_the_foreground_as_a_job_of_the_shell() {
    if !has("ps") {
        return minibox_tests::skip(
            "in_the_foreground_as_a_job_of_the_shell",
            "the host has no ps",
        );
    }
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let word = seconds("foreground");
        let mut shell = sandbox.command("sh".as_ref());
        shell.args(["-c", "\"$@\" & echo \"[1] $!\"; wait $!; echo code $?", "sh"]);
        shell.arg(sandbox.program()).args(["run", "--name", "lab", &sandbox.rootfs()]);
        let shell = Beside::spawn(shell.args(["python", "while_loop.py", &word]));
        shell.wait_for("Now I loop");
        let words = shell.printed()[0].clone();
        assert!(words.contains("I am process 1 on host lab.\nMy parent is process 0."), "{words}");
        let job = words.lines().find_map(|line| line.strip_prefix("[1] ")).expect("a job");
        let job: i32 = job.parse().expect("a pid");

        // On the host: minibox, whose PID the shell printed, and the program, a child of its monitor.
        let pid = sandbox.pid("lab");
        let lines = host_ps(&word);
        let of_pid = |pid: i32| lines.iter().find(|line| number(line, 1) == pid);
        assert!(of_pid(job).expect("minibox").contains("minibox run --name lab "), "{lines:#?}");
        let program = of_pid(pid).expect("the program");
        assert!(program.ends_with(&format!(" python while_loop.py {word}")), "{program}");
        let parent = number(program, 2);
        let title = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).expect("its PPID");
        assert_eq!(title.trim_end_matches('\0'), "minibox: lab", "{lines:#?}");
        assert!(Path::new(&format!("/proc/{pid}/status")).exists());

        // The learner kills the PID that the shell printed.
        kill_9(&sandbox, job);
        assert!(shell.end().stdout.ends_with("code 137\n"));
        wait_until("the folder is gone", || !Path::new(&format!("/proc/{pid}")).exists());
        wait_until("nothing of it is left", || host_ps(&word).is_empty());
    }
}

#[test]
fn killing_the_program_itself_ends_minibox_with_137() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let run = sandbox.run_beside(&["--name", "lab"], &["python", "while_loop.py"]);
        run.wait_for("Now I loop");
        let pid = sandbox.pid("lab");
        kill_9(&sandbox, pid);
        run.end().code(137);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(sandbox.call(&["ps", "-a"]).ok().contains("Exited (137)"));
    }
}

#[test]
fn in_the_background_ps_finds_the_program_alone() {
    if !has("ps") {
        return minibox_tests::skip(
            "in_the_background_ps_finds_the_program_alone",
            "the host has no ps",
        );
    }
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let word = seconds("background!");
        sandbox.start(&["--name", "lab"], &["python", "while_loop.py", &word]);
        let (pid, monitor) =
            (sandbox.pid("lab"), sandbox.inspect("lab")["Minibox"]["keeper"].clone());
        let lines = host_ps(&word);
        assert_eq!(lines.len(), 1, "the program alone: {lines:#?}");
        assert_eq!(number(&lines[0], 1), pid);
        assert_eq!(number(&lines[0], 2), monitor.as_i64().expect("a pid") as i32, "its PPID");
        let monitors = host_ps("minibox: lab");
        assert!(
            monitors.iter().any(|line| line.trim_end().ends_with(" minibox: lab")),
            "{monitors:#?}"
        );

        // Inside it is PID 1, and its parent is out of sight.
        let inside = sandbox.call(&["exec", "lab", "ps", "-ef"]).ok().to_owned();
        let columns: Vec<&str> =
            inside.lines().next().expect("a header").split_whitespace().collect();
        assert_eq!(columns, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let first = inside.lines().nth(1).expect("a process");
        assert_eq!((number(first, 1), number(first, 2)), (1, 0), "{inside}");
        assert!(first.ends_with(&format!(" python while_loop.py {word}")), "{inside}");
        assert_eq!(inside.lines().count(), 3, "nobody but it and ps: {inside}");
        let folders = sandbox.call(&["exec", "lab", "sh", "-c", "cd /proc; echo [0-9]*"]);
        assert!(folders.ok().starts_with("1 "), "{folders:?}");

        // kill -9 from any shell, and the folder is gone.
        assert!(Path::new(&format!("/proc/{pid}/ns/pid")).exists());
        kill_9(&sandbox, pid);
        wait_until("the folder is gone", || !Path::new(&format!("/proc/{pid}")).exists());
        wait_until("the end is seen", || sandbox.call(&["ps", "-a"]).ok().contains("Exited (137)"));
        assert!(host_ps(&word).is_empty() && !is_alive(pid));
        let logs = sandbox.call(&["logs", "lab"]).ok().to_owned();
        assert!(logs.starts_with("I am process 1 on host lab.\n"), "{logs}");
    }
}
