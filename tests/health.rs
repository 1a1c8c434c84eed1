//! --health-cmd: whether a container is well, and what finding that out costs it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What is written down of its health; null where nothing is.
fn health(sandbox: &Sandbox, id: &str) -> Value {
    let text = fs::read(sandbox.path("run").join(id).join("health.json"));
    text.map_or(Value::Null, |text| serde_json::from_slice(&text).expect("JSON"))
}

/// Waits until its health is `status`.
#[track_caller]
fn becomes(sandbox: &Sandbox, id: &str, status: &str) {
    wait_until(status, || health(sandbox, id)["Status"] == status);
}

/// The results of the checks, the newest last.
fn results(sandbox: &Sandbox, id: &str) -> Vec<Value> {
    health(sandbox, id)["Log"].as_array().cloned().unwrap_or_default()
}

/// The processes, on the host, whose command line contains `marker`.
fn processes(marker: &str) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_marker = |pid: &i32| {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        text.starts_with("sleep") && text.contains(marker) && is_alive(*pid)
    };
    pids.filter(has_marker).collect()
}

/// A number of seconds that no other test sleeps.
fn marker(number: u32) -> String {
    format!("9{number}{}", std::process::id())
}

fn keeper(sandbox: &Sandbox, id: &str) -> i32 {
    let text = fs::read(sandbox.path("run").join(id).join("state.json")).expect("a state");
    let state: Value = serde_json::from_slice(&text).expect("JSON");
    state["keeper"]["pid"].as_i64().expect("a pid") as i32
}

/// Starts a container that only waits, checked by `check` every few milliseconds; its id.
fn start(sandbox: &Sandbox, options: &[&str], check: &str) -> String {
    let usual = ["--name", "c", "--health-interval", "40ms", "--health-cmd", check];
    sandbox.start(&[&usual, options].concat(), &["sleep", "1000"])
}

#[test]
fn it_is_starting_then_healthy_then_unhealthy_then_healthy() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("h");
        let volume = format!("{}:/h", folder.display());
        let id = start(&sandbox, &["--health-retries", "3", "-v", &volume], "cat /h/ok");
        // Known from the first moment, before any check.
        assert!(health(&sandbox, &id)["Status"].is_string());
        becomes(&sandbox, &id, "unhealthy");
        assert!(health(&sandbox, &id)["FailingStreak"].as_u64() >= Some(3));
        let last = results(&sandbox, &id).pop().expect("a result");
        assert_eq!(last["ExitCode"], 1);
        assert!(last["Output"].as_str().is_some_and(|text| text.contains("/h/ok")), "{last}");
        assert!(last["Start"].as_str() <= last["End"].as_str());

        for _ in 0..2 {
            fs::write(folder.join("ok"), "all is well\n").expect("write");
            becomes(&sandbox, &id, "healthy");
            assert_eq!(health(&sandbox, &id)["FailingStreak"], 0);
            let last = results(&sandbox, &id).pop().expect("a result");
            assert_eq!((&last["ExitCode"], &last["Output"]), (&0.into(), &"all is well\n".into()));
            fs::remove_file(folder.join("ok")).expect("rm");
            becomes(&sandbox, &id, "unhealthy");
        }
        wait_until("no more than five results are kept", || {
            health(&sandbox, &id)["FailingStreak"].as_u64() > Some(5)
        });
        assert_eq!(results(&sandbox, &id).len(), 5);
        assert_eq!(sandbox.status("c"), "running", "it only tells");
    }
}

#[test]
fn inspect_shows_it_from_the_first_moment_and_nothing_where_nothing_is_checked() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(
            &["--name", "c", "--health-cmd", "true", "--health-interval", "1h"],
            &["sleep", "1000"],
        );
        let expected = serde_json::json!({"Status": "starting", "FailingStreak": 0, "Log": []});
        assert_eq!(sandbox.inspect("c")["State"]["Health"], expected);
        for (name, options) in [("d", &[][..]), ("e", &["--no-healthcheck"])] {
            sandbox.start(&[&["--name", name], options].concat(), &["sleep", "1000"]);
            assert_eq!(sandbox.inspect(name)["State"]["Health"], Value::Null);
        }
    }
}

#[test]
fn failures_before_the_first_success_leave_it_starting_until_there_are_enough() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = start(&sandbox, &["--health-retries", "100000"], "exit 7");
        wait_until("it has failed some times", || {
            health(&sandbox, &id)["FailingStreak"].as_u64() >= Some(3)
        });
        assert_eq!(health(&sandbox, &id)["Status"], "starting");
        assert_eq!(results(&sandbox, &id).pop().expect("a result")["ExitCode"], 7);
    }
}

#[test]
fn in_the_start_period_failures_do_not_count() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("h");
        let volume = format!("{}:/h", folder.display());
        let options = ["--health-start-period", "1h", "--health-start-interval", "40ms"];
        let id = sandbox.start(
            &[
                &["--name", "c", "--health-retries", "1", "--health-interval", "50ms"][..],
                &["--health-cmd", "test -e /h/ok", "-v", &volume],
                &options[..],
            ]
            .concat(),
            &["sleep", "1000"],
        );
        wait_until("it has failed some times", || results(&sandbox, &id).len() >= 3);
        let now = health(&sandbox, &id);
        assert_eq!((&now["Status"], &now["FailingStreak"]), (&"starting".into(), &0.into()));
        // A success ends the period.
        fs::write(folder.join("ok"), "").expect("write");
        becomes(&sandbox, &id, "healthy");
        fs::remove_file(folder.join("ok")).expect("rm");
        becomes(&sandbox, &id, "unhealthy");
    }
}

#[test]
fn a_check_that_takes_too_long_is_ended_with_all_that_it_started() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let marker = marker(1);
        let check = format!("echo begun; sleep {marker} & sleep {marker}; echo never");
        let id = start(&sandbox, &["--health-timeout", "150ms", "--health-retries", "1"], &check);
        becomes(&sandbox, &id, "unhealthy");
        let first = results(&sandbox, &id).remove(0);
        assert_eq!(first["ExitCode"], -1);
        assert_eq!(first["Output"], "Health check exceeded timeout (150ms): begun\n");
        wait_until("there were more", || results(&sandbox, &id).len() >= 4);
        wait_until("those of at most one check are there", || processes(&marker).len() <= 2);
        let monitor = keeper(&sandbox, &id);
        let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"));
        // Its program, and one check.
        assert!(children.expect("children").split_whitespace().count() <= 2);
    }
}

#[test]
fn the_first_4096_bytes_of_its_output_are_kept() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let check =
            "head -c 4000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' y >&2";
        let id = start(&sandbox, &[], check);
        becomes(&sandbox, &id, "healthy");
        let output = results(&sandbox, &id)[0]["Output"].as_str().expect("text").to_owned();
        assert_eq!(output, "x".repeat(4000) + &"y".repeat(96));
    }
}

#[test]
fn every_last_word_of_a_check_is_heard() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options = ["--name", "c", "--health-interval", "1ms", "--health-cmd", "printf last"];
        let id = sandbox.start(&options, &["sleep", "1000"]);
        let mut seen = 0;
        let mut newest = String::new();
        wait_until("a hundred checks", || {
            for result in results(&sandbox, &id) {
                assert_eq!(result["Output"], "last", "{caller:?}: after {seen} checks: {result}");
            }
            let last =
                results(&sandbox, &id).pop().map_or_else(String::new, |r| r["End"].to_string());
            if last != newest {
                newest = last;
                seen += 1;
            }
            seen >= 100
        });
    }
}

#[test]
fn a_check_that_prints_for_ever_keeps_nobody_from_anything() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(
            &[
                &["--name", "c", "--health-interval", "10ms", "--health-timeout", "1h"][..],
                &["--health-cmd", "echo begun > /begun; yes"],
            ]
            .concat(),
            &[
                "sh",
                "-c",
                "while [ ! -e /begun ]; do sleep 0.02; done; seq 1 20000; exec sleep 1000",
            ],
        );
        wait_until("the program's output is logged", || {
            sandbox.call(&["logs", "-n", "1", "c"]).stdout == "20000\n"
        });
        assert_eq!(results(&sandbox, &id).len(), 0, "the first check is still at it");
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
    }
}

#[test]
fn it_runs_as_the_program_does() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let user = if caller == Caller::SingleId { "0" } else { "1000:1001" };
        let check = "id -u; id -g; hostname; echo $FOO; pwd; readlink /proc/self/ns/pid; \
                     grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status; cat";
        let options =
            ["-u", user, "-h", "name", "-e", "FOO=bar", "-w", "/usr/bin", "--cap-drop", "CHOWN"];
        let id = start(&sandbox, &options, check);
        becomes(&sandbox, &id, "healthy");
        let output = results(&sandbox, &id)[0]["Output"].as_str().expect("text").to_owned();
        let pid = sandbox.pid("c");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = |name| status.lines().find(|l| l.starts_with(name)).expect("a line").to_owned();
        let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a namespace");
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let expected = [
            uid.into(),
            gid.into(),
            "name".into(),
            "bar".into(),
            "/usr/bin".into(),
            namespace.display().to_string(),
            line("CapBnd"),
            line("NoNewPrivs"),
        ];
        assert_eq!(output.lines().collect::<Vec<_>>(), expected, "{caller:?}");
    }
}

#[test]
fn when_the_container_ends_during_a_check_nothing_is_left() {
    for caller in Caller::all() {
        for by_stop in [true, false] {
            let sandbox = Sandbox::new(caller);
            let marker = marker(2);
            let id = start(&sandbox, &[], &format!("sleep {marker} & sleep {marker}"));
            wait_until("a check runs", || processes(&marker).len() == 2);
            let (program, monitor) = (sandbox.pid("c"), keeper(&sandbox, &id));
            if by_stop {
                sandbox.call(&["stop", "-t", "0", "c"]).code(0);
            } else {
                kill(Pid::from_raw(program), Signal::SIGKILL).expect("kill");
            }
            wait_until("its monitor ends", || !is_alive(monitor));
            assert_eq!(processes(&marker), [0; 0]);
            assert_eq!(sandbox.status("c"), "exited");
            assert_eq!(sandbox.call(&["wait", "c"]).ok(), "137");
        }
    }
}

#[test]
fn a_new_monitor_goes_on_where_the_old_one_was_killed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("h");
        let volume = format!("{}:/h", folder.display());
        let marker = marker(3);
        // The first two succeed, the third never ends.
        let check =
            format!("echo x >> /h/x; [ $(wc -l < /h/x) -gt 2 ] && exec sleep {marker}; true");
        let id = start(&sandbox, &["-v", &volume], &check);
        wait_until("the third runs", || processes(&marker).len() == 1);
        kill(Pid::from_raw(keeper(&sandbox, &id)), Signal::SIGKILL).expect("kill");
        wait_until("the check ends with its monitor", || processes(&marker).is_empty());
        let before = health(&sandbox, &id);
        assert_eq!(before["Status"], "healthy");
        sandbox.call(&["ps"]).code(0);
        wait_until("the next check", || processes(&marker).len() == 1);
        assert_eq!(health(&sandbox, &id), before);
    }
}

#[test]
fn after_a_restart_it_is_starting_again() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(
            &[
                &["--name", "c", "--restart", "always", "--health-retries", "100000"][..],
                &["--health-interval", "40ms", "--health-cmd", "test ! -e /ran && touch /ran"],
            ]
            .concat(),
            &["sh", "-c", "exec sleep 1000"],
        );
        becomes(&sandbox, &id, "healthy");
        kill(Pid::from_raw(sandbox.pid("c")), Signal::SIGKILL).expect("kill");
        becomes(&sandbox, &id, "starting");
        wait_until("it is checked again", || results(&sandbox, &id).len() >= 2);
        assert_eq!(health(&sandbox, &id)["Status"], "starting");
    }
}

#[test]
fn its_last_results_outlive_it_until_the_next_start() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = start(
            &sandbox,
            &[
                "--health-start-period",
                "1h",
                "--health-start-interval",
                "40ms",
                "--health-interval",
                "1h",
            ],
            "echo well",
        );
        let of = || sandbox.inspect("c")["State"]["Health"].clone();
        // However it ends: with its monitor, or after it.
        for kill_monitor in [false, true] {
            wait_until("it is checked", || !results(&sandbox, &id).is_empty());
            let log = of()["Log"].clone();
            assert_eq!((&of()["Status"], &log[0]["Output"]), (&"healthy".into(), &"well\n".into()));
            if kill_monitor {
                let program = sandbox.pid("c");
                for pid in [keeper(&sandbox, &id), program] {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
                    wait_until("it is gone", || !is_alive(pid));
                }
            } else {
                sandbox.call(&["stop", "-t", "0", "c"]).code(0);
            }
            assert_eq!((&of()["Status"], &of()["Log"]), (&"unhealthy".into(), &log));
            assert!(sandbox.call(&["ps", "-aqf", "health=unhealthy"]).ok().len() > 5);
            sandbox.call(&["start", "c"]).code(0);
            let [before, now] = [&log, &of()["Log"]].map(|log| log[0]["Start"].clone());
            assert_ne!(before, now, "it begins anew");
        }
    }
}

#[test]
fn the_end_of_input_does_not_wait_for_a_check() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let marker = marker(4);
        let check = format!("sleep {marker}");
        let rootfs = sandbox.rootfs();
        // It is checked with --rm in the foreground too.
        let options = ["run", "-i", "--rm", "--health-interval", "10ms", "--health-cmd", &check];
        let mut command =
            sandbox.minibox(&[&options[..], &[&rootfs, "sh", "-c", "cat; exit 4"]].concat());
        let mut run = Beside::spawn(command.stdin(Stdio::piped()));
        let mut input = run.stdin();
        wait_until("a check runs", || processes(&marker).len() == 1);
        input.write_all(b"hello\n").expect("input");
        drop(input);
        assert_eq!(run.end().code(4).stdout, "hello\n");
    }
}

#[test]
fn its_flags_are_checked() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (flag, value) in [
            ("--health-interval", "0"),
            ("--health-interval", "often"),
            ("--health-interval", "10000000000years"),
            ("--health-timeout", "0s"),
            ("--health-start-interval", "-1s"),
            ("--health-start-period", "x"),
            ("--health-retries", "0"),
        ] {
            let flag_and_value = format!("{flag}={value}");
            let ran = sandbox.run(&["--health-cmd", "true", &flag_and_value], &["true"]);
            ran.code(125).says(flag).says(value);
        }
        sandbox.run(&["--health-cmd", "true", "--no-healthcheck"], &["true"]).code(125);
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "");
    }
}
