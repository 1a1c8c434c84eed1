//! -t: a terminal of the container's own, shown on the caller's, which is as before when all is over.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use minibox_tests::{Beside, Caller, Sandbox, Terminal, is_alive, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A shell with an easy prompt.
const SHELL: &[&str] = &["-it", "--name", "c", "-e", "PS1=> "];

#[test]
fn the_first_thing_a_learner_types_is_a_shell_on_a_terminal_of_its_own() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
        terminal.shows("> ");
        assert!(terminal.is_raw(), "the keys are the container's");
        terminal.types("tty; ls -l /dev/console; test -t 2 && echo also-2 > /dev/tty\r");
        terminal.shows("/dev/pts/0\r\ncrw");
        terminal.shows("/dev/console\r\nalso-2\r\n");
        terminal.types("stty size; echo $TERM\r");
        terminal.shows("24 80\r\nxterm\r\n");
        terminal.resize(33, 101);
        terminal.has_size_inside("33 101");
        terminal.types("exit 42\r");
        assert_eq!(terminal.end(), 42);
        assert!(!terminal.text().contains("can't access tty"), "{}", terminal.text());
        assert!(!terminal.text().contains("job control"), "{}", terminal.text());
    }
}

#[test]
fn ctrl_c_and_ctrl_z_are_for_the_program_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
        terminal.shows("> ");
        terminal.types("sh -c 'echo sta\"\"rt; exec sleep 1000'\r");
        terminal.shows("start\r\n");
        terminal.types("\u{3}");
        terminal.shows("^C");
        terminal.types("echo code $?\r");
        terminal.shows("code 130\r\n");
        // Job control: stop, list, go on in the foreground, interrupt.
        terminal.types("sh -c 'echo aga\"\"in; exec sleep 1001'\r");
        terminal.shows("again\r\n");
        terminal.types("\u{1a}");
        terminal.shows("Stopped");
        terminal.types("jobs; fg\r");
        wait_until("it goes on", || terminal.text().matches("exec sleep 1001").count() >= 4);
        terminal.types("\u{3}");
        terminal.types("\recho do''ne; exit\r");
        terminal.shows("done\r\n");
        terminal.end();
        assert!(!terminal.text().contains("second Ctrl-C"), "{}", terminal.text());
    }
}

#[test]
fn kill_9_of_the_client_ends_the_container_and_restores_the_terminal() {
    for caller in Caller::all() {
        for signal in [Signal::SIGKILL, Signal::SIGHUP] {
            let sandbox = Sandbox::new(caller);
            let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
            terminal.shows("> ");
            let pid = sandbox.pid("c");
            assert!(terminal.is_raw());
            kill(Pid::from_raw(terminal.child.id() as i32), signal).expect("kill");
            wait_until("the client has ended", || {
                terminal.child.try_wait().expect("a child").is_some()
            });
            wait_until(&format!("{signal}: PID 1 is gone"), || !is_alive(pid));
            wait_until(&format!("{caller:?}, {signal}: restored"), || terminal.is_as_before());
            let exit = || sandbox.inspect("c")["State"]["ExitCode"].clone();
            wait_until("the end is written down", || exit().is_i64());
            terminal.end();
        }
    }
}

#[test]
fn when_the_callers_terminal_goes_away_the_container_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        // script(1) is the terminal's window here: its death closes the terminal.
        let mut command = sandbox.command("script".as_ref());
        let typed =
            format!("{} run -it --name c {rootfs} sh -c 'sleep 1000'", sandbox.program().display());
        command.args(["-qec", &typed, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut window = command.spawn().expect("script");
        wait_until("it runs", || sandbox.call(&["ps", "-q"]).stdout.len() == 13);
        let pid = sandbox.pid("c");
        window.kill().expect("kill");
        window.wait().expect("a child");
        wait_until("PID 1 is gone", || !is_alive(pid));
    }
}

#[test]
fn ctrl_p_ctrl_q_leaves_the_container_running() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, SHELL, &["sh"]);
        terminal.shows("> ");
        let pid = sandbox.pid("c");
        terminal.types("\u{10}\u{11}");
        assert_eq!(terminal.end(), 0);
        terminal.shows(
            "minibox: left c running; `minibox attach c` comes back, `minibox stop c` ends it",
        );
        assert!(is_alive(pid));
        let table = sandbox.call(&["ps"]).ok().to_owned();
        assert!(table.contains("\nc ") && table.contains(&format!(" {pid} ")), "{table}");
        assert!(!table.contains("terminal lost"), "{table}");
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
        assert!(!is_alive(pid));
    }
}

#[test]
fn exec_has_a_terminal_of_its_own_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let mut terminal = Terminal::start(&sandbox, &["exec", "-it", "-e", "PS1=> ", "c", "sh"]);
        terminal.shows("> ");
        assert!(terminal.is_raw());
        terminal.types("tty; stty size\r");
        terminal.shows("/dev/pts/0\r\n24 80\r\n");
        terminal.resize(40, 120);
        terminal.has_size_inside("40 120");
        terminal.types("sh -c 'echo sta\"\"rt; exec sleep 1000'\r");
        terminal.shows("start\r\n");
        terminal.types("\u{3}");
        terminal.types("\recho aft''er; exit 7\r");
        terminal.shows("after");
        assert_eq!(terminal.end(), 7);
        assert!(!terminal.text().contains("can't access tty"), "{}", terminal.text());
        assert!(is_alive(sandbox.pid("c")), "the container goes on");
    }
}

#[test]
fn a_terminal_without_i_takes_no_keys() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "tty; trap 'echo got-it; exit 9' INT; echo rea''dy; while :; do sleep 0.05; done";
        let mut terminal = Terminal::run(&sandbox, &["-t"], &["sh", "-c", script]);
        terminal.shows("/dev/pts/0\r");
        terminal.shows("\nready\r");
        assert!(!terminal.is_raw(), "the keys are still the caller's");
        // Ctrl-C on the caller's terminal is a signal for minibox, which passes it on.
        terminal.types("\u{3}");
        terminal.shows("got-it");
        assert_eq!(terminal.end(), 9);
    }
}

#[test]
fn without_t_the_callers_terminal_is_out_of_reach() {
    let script =
        "for n in 0 1 2; do readlink /proc/self/fd/$n; done; tty; (: < /dev/tty) 2>&1; ls /dev/pts";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for options in [&[][..], &["-i"]] {
            let mut terminal = Terminal::run(&sandbox, options, &["sh", "-c", script]);
            terminal.shows("not a tty");
            terminal.end();
            let text = terminal.text();
            assert!(!text.contains("/dev/pts/"), "{options:?}: {text}");
            assert!(text.matches("/stdout").count() == 1, "{options:?}: {text}");
            assert!(text.contains("/dev/tty"), "its own /dev/tty cannot be opened: {text}");
        }
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let mut terminal = Terminal::start(&sandbox, &["exec", "c", "sh", "-c", script]);
        terminal.shows("not a tty");
        terminal.end();
        assert!(!terminal.text().contains("/dev/pts/"), "{}", terminal.text());
    }
}

#[test]
fn what_is_typed_arrives_with_i_alone() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(
            &sandbox,
            &["-i"],
            &["sh", "-c", "echo rea''dy; read line; echo \"<$line>\"; cat"],
        );
        terminal.shows("ready");
        assert!(!terminal.is_raw());
        terminal.types("hello\r");
        terminal.shows("<hello>");
        terminal.types("\u{4}");
        assert_eq!(terminal.end(), 0);
    }
}

#[test]
fn a_pipe_is_no_terminal_and_i_and_t_together_need_one() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        let rootfs = sandbox.rootfs();
        for args in [&["run", "-it", &rootfs, "cat"], &["exec", "-it", "c", "cat"]] {
            let ran = Beside::spawn(sandbox.minibox(args).stdin(Stdio::piped())).end();
            ran.code(125).says("minibox: -it: standard input is not a terminal");
        }
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok().lines().count(), 1, "nothing was made");
    }
}

#[test]
fn much_output_of_a_terminal_arrives_whole() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut terminal = Terminal::run(&sandbox, &["-it"], &["sh", "-c", "seq 1 100000; exit 4"]);
        assert_eq!(terminal.end(), 4);
        let expected: String = (1..=100_000).map(|n| format!("{n}\r\n")).collect();
        wait_until("all of it is shown", || terminal.text().len() >= expected.len());
        assert!(terminal.text().ends_with(&expected));
    }
}

#[test]
fn much_pasted_at_a_program_that_does_not_read_blocks_nobody() {
    for caller in Caller::all() {
        for verb in ["run", "exec"] {
            let sandbox = Sandbox::new(caller);
            let script = "stty raw -echo; echo ready; sleep 1000";
            let mut terminal = if verb == "run" {
                Terminal::run(&sandbox, &["-it", "--name", "c"], &["sh", "-c", script])
            } else {
                sandbox.start(&["--name", "c"], &["sleep", "1000"]);
                Terminal::start(&sandbox, &["exec", "-it", "c", "sh", "-c", script])
            };
            terminal.shows("ready");
            // More than every buffer on the way holds; a terminal that is full takes no more.
            let mut paste = terminal.master.try_clone().expect("a copy");
            std::thread::spawn(move || {
                let _ = paste.write_all(&vec![b'x'; 1 << 20]);
            });
            wait_until("minibox has taken what it can", || {
                sandbox.call(&["ps", "-q"]).ok().lines().count() == 1
            });
            std::thread::sleep(Duration::from_millis(200));
            let pid = sandbox.pid("c");
            kill(Pid::from_raw(terminal.child.id() as i32), Signal::SIGKILL).expect("kill");
            if verb == "run" {
                wait_until("PID 1 ends with its client", || !is_alive(pid));
            }
            assert_eq!(sandbox.call(&["rm", "-f", "c"]).ok(), "c");
            let _ = terminal.child.wait();
        }
    }
}
