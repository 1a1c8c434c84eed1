//! What a container in the background prints is kept, to the last byte, and shown again.

use std::process::Output;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until};

/// What `logs c` prints, as bytes.
fn logs(sandbox: &Sandbox) -> Output {
    sandbox.minibox(&["logs", "c"]).output().expect("minibox starts")
}

/// Runs `script` in the background, as `c`, and waits for its end.
fn run_to_the_end(sandbox: &Sandbox, options: &[&str], script: &str) {
    sandbox.start(&[&["--name", "c"], options].concat(), &["sh", "-c", script]);
    sandbox.call(&["wait", "c"]).code(0);
}

#[test]
fn the_two_streams_stay_apart() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], "echo one; echo two >&2; echo three; echo four >&2");
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!(ran.stdout, "one\nthree\n");
        assert_eq!(ran.stderr, "two\nfour\n");
        sandbox.call(&["logs", "nobody"]).code(125).says("there is no container \"nobody\"");
    }
}

#[test]
fn a_line_without_an_end_is_shown_as_it_is() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "printf 'a b'; sleep 0.1; printf '  c\\n\\nd '; printf e >&2; sleep 0.1; printf 'f'";
        run_to_the_end(&sandbox, &[], script);
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a b  c\n\nd f", "e"));
    }
}

#[test]
fn every_byte_survives() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)";
        sandbox.start(&["--name", "c"], &["python", "-c", program]);
        sandbox.call(&["wait", "c"]).code(0);
        let all: Vec<u8> = (0..=255).collect();
        assert!(logs(&sandbox).stdout == all.repeat(300));
    }
}

#[test]
fn five_megabytes_are_complete_and_nobody_had_to_wait() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], "seq 1 700000");
        let output = logs(&sandbox);
        let expected: String = (1..=700_000).map(|n| format!("{n}\n")).collect();
        assert!(output.stdout == expected.as_bytes(), "{} bytes", output.stdout.len());
        let followed = sandbox.call(&["logs", "-f", "c"]);
        assert!(followed.stdout == expected, "{} bytes", followed.stdout.len());
    }
}

#[test]
fn a_program_that_prints_for_ever_is_never_held_up() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "trap 'exit 5' TERM; while :; do echo 0123456789012345678901234567890123456789; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        wait_until("much more than a pipe holds is in the log", || {
            logs(&sandbox).stdout.len() > 300_000
        });
        sandbox.call(&["stop", "c"]).code(0);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "5");
    }
}

#[test]
fn with_f_it_follows_until_the_container_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'echo bye; exit 0' TERM; echo one; echo problem >&2
            trap 'echo two' USR1; while :; do sleep 0.02; done";
        sandbox.start(&["--name", "c"], &["sh", "-c", script]);
        let mut following = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        following.wait_for("one");
        sandbox.call(&["kill", "-s", "USR1", "c"]).code(0);
        following.wait_for("two");
        assert!(!following.has_ended());
        sandbox.call(&["stop", "c"]).code(0);
        let ran = following.end();
        assert_eq!((ran.ok(), ran.stderr.as_str()), ("one\ntwo\nbye", "problem\n"));
        assert_eq!(sandbox.call(&["logs", "-f", "c"]).ok(), "one\ntwo\nbye", "after the end");
    }
}

#[test]
fn following_ends_when_the_container_is_removed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "c", "--rm"], &["sh", "-c", "echo one; exec sleep 1000"]);
        let following = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        following.wait_for("one");
        let pid = sandbox.pid("c");
        sandbox.call(&["rm", "-f", "c"]).code(0);
        following.end().code(0);
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_terminals_output_is_logged_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &["-t"], "echo one; echo two >&2");
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\r\ntwo\r\n", ""));
    }
}

#[test]
fn in_the_foreground_a_log_is_kept_but_with_rm() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--name", "c"], "echo hello; echo oh >&2").code(0);
        let ran = sandbox.call(&["logs", "c"]);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hello\n", "oh\n"));
        let run = sandbox
            .run_beside(&["--name", "r", "--rm"], &["sh", "-c", "echo ready; exec sleep 1000"]);
        run.wait_for("ready");
        sandbox
            .call(&["logs", "r"])
            .code(125)
            .says("minibox: r runs in the foreground with --rm: what it prints goes to the terminal it was started from")
            .says("hint: every other container keeps a log");
    }
}

#[test]
fn a_torn_last_line_of_the_log_is_no_error() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        run_to_the_end(&sandbox, &[], "echo one");
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        let path = sandbox.path("data/containers").join(id).join("log");
        for torn in ["2026-01-01T00:00:00Z stdo", "\n \n\u{0}\n", "2026 stdout F"] {
            let before = std::fs::read_to_string(&path).expect("a log");
            std::fs::write(&path, before + torn).expect("write");
            assert!(sandbox.call(&["logs", "c"]).code(0).stdout.starts_with("one\n"));
        }
    }
}
