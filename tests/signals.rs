//! Signals to the minibox in the foreground reach the program, and its answer is passed on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until};
use nix::sys::signal::Signal;

/// State letter of a process, proc_pid_stat(5).
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn each_signal_reaches_pid_1_and_its_exit_code_comes_back() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (number, signal) in
            ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT", "ALRM"].into_iter().enumerate()
        {
            let code = 41 + number as i32;
            let script = format!(
                "trap 'echo got {signal}; exit {code}' {signal}; echo ready; sleep 1000 & wait"
            );
            let run = sandbox.run_beside(&["--rm"], &["sh", "-c", &script]);
            run.wait_for("ready");
            run.signal(format!("SIG{signal}").parse().expect("a signal"));
            let ran = run.end();
            assert_eq!(ran.code(code).stdout, format!("ready\ngot {signal}\n"));
            assert!(!ran.stderr.contains("handler"), "{ran:?}");
        }
    }
}

#[test]
fn a_program_without_a_handler_goes_on_and_minibox_says_why() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let run =
            sandbox.run_beside(&["--name", "c"], &["sh", "-c", "echo ready; exec sleep 1000"]);
        run.wait_for("ready");
        let pid = sandbox.pid("c");
        for signal in ["TERM", "USR1"] {
            run.signal(format!("SIG{signal}").parse().expect("a signal"));
            run.wait_for(&format!(
                "minibox: the program is PID 1 of its namespace and has no handler for SIG{signal}, \
                 so the kernel throws the signal away"
            ));
        }
        run.wait_for(&format!("`minibox stop c` or kill -9 {pid} ends it"));
        assert!(is_alive(pid) && is_alive(run.pid()));
        sandbox.call(&["kill", "c"]).code(0);
        run.end().code(137);
    }
}

#[test]
fn a_second_ctrl_c_kills_a_program_without_a_handler() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let run = sandbox.run_beside(&[], &["sh", "-c", "echo ready; exec sleep 1000"]);
        run.wait_for("ready");
        run.signal(Signal::SIGINT);
        run.wait_for("Ctrl-C once more within two seconds kills it");
        run.signal(Signal::SIGINT);
        run.end().code(137).says("second Ctrl-C: the container is killed");
    }
}

#[test]
fn a_program_with_a_handler_gets_every_ctrl_c() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "n=0; trap 'n=$((n+1)); echo int $n' INT; echo ready
            while [ $n -lt 3 ]; do sleep 0.02; done; exit 7";
        let run = sandbox.run_beside(&[], &["sh", "-c", script]);
        run.wait_for("ready");
        for n in 1..=3 {
            run.signal(Signal::SIGINT);
            wait_until("it arrives, or all is over", || {
                run.printed()[0].contains(&format!("int {n}")) || !is_alive(run.pid())
            });
            if !is_alive(run.pid()) {
                break;
            }
        }
        assert_eq!(run.end().code(7).stdout, "ready\nint 1\nint 2\nint 3\n");
    }
}

#[test]
fn the_end_of_the_callers_terminal_ends_a_program_without_a_handler() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let run =
            sandbox.run_beside(&["--name", "c"], &["sh", "-c", "echo ready; exec sleep 1000"]);
        run.wait_for("ready");
        let pid = sandbox.pid("c");
        run.signal(Signal::SIGHUP);
        run.end().code(137);
        assert!(!is_alive(pid));
    }
}

#[test]
fn ctrl_z_stops_minibox_and_not_the_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let script = "while echo tick; do sleep 0.02; done";
        let args = ["run", "--name", "c", &rootfs, "sh", "-c", script];
        // A process group of its own, as a shell makes: in an orphaned one SIGTSTP does nothing.
        let run = Beside::spawn(sandbox.minibox(&args).process_group(0).stdin(Stdio::null()));
        run.wait_for("tick");
        let pid = sandbox.pid("c");
        run.signal(Signal::SIGTSTP);
        wait_until("minibox has stopped", || state(run.pid()) == Some('T'));
        let logged = || sandbox.call(&["logs", "c"]).stdout.len();
        let before = logged();
        wait_until("the container goes on", || logged() > before + 50);
        assert_ne!(state(pid), Some('T'));
        run.signal(Signal::SIGCONT);
        wait_until("minibox goes on", || state(run.pid()) != Some('T'));
        sandbox.call(&["kill", "c"]).code(0);
        run.end().code(137);
    }
}

#[test]
fn a_signal_ends_the_whole_container_with_its_pid_1() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "trap 'exit 0' TERM; (trap '' TERM HUP INT; exec sleep 1000) & echo $! ready; wait";
        let run = sandbox.run_beside(&["--name", "c"], &["sh", "-c", script]);
        run.wait_for("ready");
        let pid = sandbox.pid("c");
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
        let child: i32 = children.trim().parse().expect("one child");
        run.signal(Signal::SIGTERM);
        run.end().code(0);
        wait_until("the child of PID 1 is gone", || !is_alive(child));
    }
}
