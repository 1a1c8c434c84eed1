//! Without -d a container lives and ends with its minibox, and uses the caller's streams.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use minibox_tests::{Beside, Caller, Ran, Sandbox, is_alive, wait_until};
use nix::sys::signal::Signal;

const READY: &[&str] = &["sh", "-c", "sleep 1000 & echo ready; wait"];

/// The pids of every process whose command line contains `marker`.
fn processes(marker: &str) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_marker = |pid: &i32| {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&cmdline).contains(marker) && is_alive(*pid)
    };
    pids.filter(has_marker).collect()
}

#[test]
fn kill_9_of_minibox_ends_the_container() {
    for caller in Caller::all() {
        for options in [&[][..], &["-i"], &["-t"], &["--rm"], &["--privileged"]] {
            let sandbox = Sandbox::new(caller);
            let run = sandbox.run_beside(&[&["--name", "c"], options].concat(), READY);
            run.wait_for("ready");
            let pid = sandbox.pid("c");
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let child: i32 = children.expect("children").trim().parse().expect("one child");
            run.signal(Signal::SIGKILL);
            run.end().code(137);
            wait_until(&format!("{caller:?} {options:?}: PID 1 is gone"), || !is_alive(pid));
            wait_until("its child is gone", || !is_alive(child));
            if options != ["--rm"] {
                sandbox.call(&["ps"]).code(0);
                assert_eq!(sandbox.inspect("c")["State"]["Status"], "exited");
            }
        }
    }
}

#[test]
fn a_program_that_changed_its_user_ends_with_minibox_too() {
    // The kernel forgets the wish to die with one's parent when a process changes its user.
    for caller in Caller::root_only("a_program_that_changed_its_user_ends_with_minibox_too") {
        let sandbox = Sandbox::new(caller);
        let program = "import os, time; os.setuid(1); print('ready', flush=True); time.sleep(1000)";
        let run = sandbox.run_beside(&["--name", "c"], &["python", "-c", program]);
        run.wait_for("ready");
        let pid = sandbox.pid("c");
        run.signal(Signal::SIGKILL);
        wait_until("PID 1 is gone", || !is_alive(pid));
    }
}

#[test]
fn hangup_and_termination_of_minibox_end_the_container() {
    for caller in Caller::all() {
        for signal in [Signal::SIGHUP, Signal::SIGTERM] {
            let sandbox = Sandbox::new(caller);
            let script = "trap 'exit 0' TERM; sleep 1000 & echo ready; wait";
            let run = sandbox.run_beside(&["--name", "c"], &["sh", "-c", script]);
            run.wait_for("ready");
            let pid = sandbox.pid("c");
            run.signal(signal);
            let code = if signal == Signal::SIGTERM { 0 } else { 137 };
            run.end().code(code);
            assert!(!is_alive(pid));
        }
    }
}

#[test]
fn killed_at_any_moment_of_the_start_nothing_survives() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for round in 0..30 {
            let marker = format!("77{}{round}", std::process::id());
            let options: &[&str] = if round % 3 == 2 { &["-t"] } else { &[] };
            let run = sandbox.run_beside(options, &["sleep", &marker]);
            // Not to wait for something, but to hit another moment each time.
            let late = if caller == Caller::Root { 0 } else { 10 };
            thread::sleep(Duration::from_millis(late) + Duration::from_micros(round * 700));
            run.signal(Signal::SIGKILL);
            wait_until(&format!("round {round}: all are gone"), || processes(&marker).is_empty());
        }
        sandbox.call(&["gc", "--force"]).code(0);
        assert_eq!(sandbox.call(&["gc"]).ok(), "");
        assert_eq!(sandbox.call(&["ps", "-q"]).ok(), "");
    }
}

#[test]
fn a_background_job_of_a_shell_ends_with_the_pid_that_the_shell_printed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut shell = sandbox.command("sh".as_ref());
        shell.args(["-c", "\"$@\" & echo job $!; wait $!; echo code $?", "sh"]);
        shell.arg(sandbox.program()).args(["run", "--name", "c", &sandbox.rootfs()]).args(READY);
        let shell = Beside::spawn(&mut shell);
        shell.wait_for("ready");
        let pid = sandbox.pid("c");
        let printed = shell.printed()[0].clone();
        let job = printed.lines().find_map(|l| l.strip_prefix("job ")).expect("a pid");
        let job: i32 = job.parse().expect("a pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(job), Signal::SIGKILL).expect("kill");
        let ran = shell.end();
        assert!(ran.stdout.ends_with("code 137\n"), "{ran:?}");
        wait_until("PID 1 is gone", || !is_alive(pid));
    }
}

#[test]
fn with_i_the_input_of_a_pipe_arrives_whole_and_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let bytes: Vec<u8> =
            (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut command = sandbox.minibox(&["run", "-i", &sandbox.rootfs(), "cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("minibox starts");
        let (mut stdin, sent) = (child.stdin.take().expect("stdin"), bytes.clone());
        let writer = thread::spawn(move || stdin.write_all(&sent).expect("write"));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("the writer");
        assert!(output.status.success(), "{:?}", Ran::of(&output).stderr);
        assert!(output.stdout == bytes, "{} of {} bytes", output.stdout.len(), bytes.len());
    }
}

#[test]
fn without_i_the_input_is_dev_null() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "readlink /proc/self/fd/0; cat; echo end";
        let mut command = sandbox.minibox(&["run", &sandbox.rootfs(), "sh", "-c", script]);
        let mut run = Beside::spawn(command.stdin(Stdio::piped()));
        let _ = run.stdin().write_all(b"not for it\n");
        assert_eq!(run.end().ok(), "/dev/null\nend");
    }
}

#[test]
fn with_rm_output_goes_to_the_callers_own_file() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let path = sandbox.path("output");
        let script = "stat -L -c %i /proc/self/fd/1; echo error >&2";
        let rootfs = sandbox.rootfs();
        let mut command = sandbox.minibox(&["run", "--rm", &rootfs, "sh", "-c", script]);
        command.stdout(File::create(&path).expect("a file"));
        let output = command.output().expect("minibox starts");
        let inode = fs::metadata(&path).expect("a file").ino();
        assert_eq!(fs::read_to_string(&path).expect("a file"), format!("{inode}\n"));
        assert!(String::from_utf8_lossy(&output.stderr).ends_with("error\n"));
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_that_writes() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let (script, rootfs) = ("while echo y; do :; done 2>/dev/null; exit 6", sandbox.rootfs());
        // With --rm the pipe is the program's own; else minibox ends as SIGPIPE would have it, and the
        // container with it.
        for (options, code) in [(&["--rm"][..], 6), (&["--name", "c"], 141)] {
            let args = [&["run"], options, &[&rootfs, "sh", "-c", script]].concat();
            let mut command = sandbox.minibox(&args);
            let mut child =
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
            let mut stdout = child.stdout.take().expect("stdout");
            stdout.read_exact(&mut [0; 2]).expect("a line");
            drop(stdout);
            Ran::of(&child.wait_with_output().expect("it ends")).code(code);
        }
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "137");
    }
}

#[test]
fn a_shell_without_i_gets_a_hint() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let hint = "minibox: a shell without -i has no input and ends at once; \
                    `minibox run -it ROOTFS sh` gives you one to type into\n";
        sandbox.run(&[], &["sh"]).code(0).says(hint);
        sandbox.run(&[], &["/bin/sh"]).code(0).says(hint);
        assert!(!sandbox.run(&["-i"], &["sh"]).code(0).stderr.contains("hint"));
        assert!(!sandbox.sh(&[], "true").code(0).stderr.contains("without -i"));
    }
}
