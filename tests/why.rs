//! `minibox why`: how it ended, or what it waits for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use minibox_tests::{Beside, Caller, Ran, Sandbox, wait_until, write_program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

fn why(sandbox: &Sandbox, target: &str) -> Value {
    json(&sandbox.call(&["why", "--format", "json", target]))
}

/// What is said, on one line.
#[track_caller]
fn says(sandbox: &Sandbox, target: &str, sentence: &str) {
    let ran = sandbox.call(&["why", target]);
    let said = ran.ok().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(sentence), "{sentence}: {said}");
}

#[test]
fn ends_have_causes() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (name, script, cause, sentence) in [
            ("done", "true", "done", "ended by itself with exit code 0"),
            ("failed", "exit 3", "failed", "exit code 3, which is for the program to explain"),
            ("typo", "nonsense", "failed", "a shell in it did not find a command"),
            ("fault", "kill -SEGV $$; exit 139", "signal", "touched memory that is not its own"),
            ("other", "exit 143", "signal", "SIGTERM ended it"),
        ] {
            sandbox.run(&["--name", name], &["sh", "-c", script]);
            assert_eq!(why(&sandbox, name)["cause"], cause, "{caller:?} {name}");
            says(&sandbox, name, sentence);
        }
        sandbox.create(&["--name", "new"], &["true"]);
        assert_eq!(why(&sandbox, "new")["cause"], "never_started");
        says(&sandbox, "new", "`minibox start new` starts it");
    }
}

#[test]
fn a_start_that_fails_tells_what_is_missing() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        for (name, text, mode, cause) in [
            ("script", "#!/bin/nothere\n", 0o755, "the root filesystem has no /bin/nothere"),
            ("plain", "text", 0o644, "the file has no execute permission"),
        ] {
            write_program(&root.join(name), text);
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
            sandbox.give(&root.join(name));
            let root = root.display().to_string();
            sandbox.call(&["create", "--name", name, &root, &format!("/{name}")]).code(0);
            assert_ne!(sandbox.call(&["start", name]).code, 0);
            let seen = why(&sandbox, name);
            assert_eq!(seen["cause"], "could_not_start", "{caller:?} {seen}");
            says(&sandbox, name, cause);
        }
    }
}

#[test]
fn signals_of_minibox_are_told_from_others() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let trap = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";
        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
        for (name, script) in [("killed", deaf), ("asked", trap), ("late", deaf), ("shot", deaf)] {
            sandbox.start(&["--name", name], &["sh", "-c", script]);
            wait_until("the trap", || sandbox.call(&["logs", name]).stdout.contains("ready"));
        }
        sandbox.call(&["kill", "killed"]).code(0);
        sandbox.call(&["stop", "asked"]).code(0);
        sandbox.call(&["stop", "-t", "0", "late"]).code(0);
        kill(Pid::from_raw(sandbox.pid("shot")), Signal::SIGKILL).expect("kill");
        for (name, cause, signals) in [
            ("killed", "signal_of_minibox", &[9][..]),
            ("asked", "asked", &[15]),
            ("late", "stop_timeout", &[15, 9]),
            ("shot", "signal", &[]),
        ] {
            wait_until("its end", || sandbox.status(name) == "exited");
            let seen = why(&sandbox, name);
            assert_eq!(seen["cause"], cause, "{caller:?} {seen}");
            let sent = seen["signals"].as_array().expect("a list");
            let sent: Vec<i64> = sent.iter().filter_map(|sent| sent["signal"].as_i64()).collect();
            assert_eq!(sent, signals, "{caller:?} {name}");
        }
        says(&sandbox, "shot", "minibox did not send that");
        // What was sent before the last start has nothing to do with its end.
        sandbox.call(&["start", "killed"]).code(0);
        assert_eq!(why(&sandbox, "killed")["signals"], serde_json::json!([]));
    }
}

#[test]
fn the_lack_of_memory_is_told() {
    for caller in Caller::root_only("a limit of memory") {
        let sandbox = Sandbox::new(caller);
        let script = "a = []
while True: a.append(bytearray(1 << 20))";
        sandbox.run(&["--name", "web", "-m", "32m"], &["python", "-c", script]).code(137);
        assert_eq!(why(&sandbox, "web")["cause"], "out_of_memory");
        says(&sandbox, "web", "It ran out of memory");
    }
}

#[test]
fn what_the_living_wait_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "parent"], &["sh", "-c", "sleep 1000; true"]);
        let pid = sandbox.pid("parent");
        let doing = || why(&sandbox, "parent")["doing"]["processes"].clone();
        wait_until("both sleep", || {
            let names =
                [&doing()[0]["at"]["name"], &doing()[1]["at"]["name"]].map(Value::to_string);
            names[0].contains("wait") && names[1].contains("nanosleep")
        });
        let seen = doing();
        assert_eq!(seen[0]["pids"], serde_json::json!([pid, 1]));
        assert_eq!(seen[0]["children"][0], seen[1]["pids"][0], "{caller:?}");
        assert_eq!(why(&sandbox, "parent")["cause"], "waiting");
        says(&sandbox, "parent", &format!("a child to end: {}", seen[1]["pids"][0]));

        sandbox.start(&["--name", "busy"], &["sh", "-c", "while :; do :; done"]);
        wait_until("it runs", || why(&sandbox, "busy")["cause"] == "busy");
        sandbox.call(&["pause", "busy"]).code(0);
        assert_eq!(why(&sandbox, "busy")["cause"], "paused", "{caller:?}");
        says(&sandbox, "busy", "`minibox unpause busy`");
        sandbox.call(&["unpause", "busy"]).code(0);
    }
}

#[test]
fn a_limit_of_cpu_time_is_told() {
    for caller in Caller::root_only("a limit of CPU time") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web", "--cpus", "0.05"], &["sh", "-c", "while :; do :; done"]);
        wait_until("it is throttled", || why(&sandbox, "web")["cause"] == "throttled");
        says(&sandbox, "web", "Its limit of CPU time has halted it in");
    }
}

#[test]
fn any_process_will_do() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let cat = Beside::spawn(Command::new("cat").stdin(Stdio::piped()));
        let pid = cat.pid().to_string();
        let seen = || why(&sandbox, &pid)["doing"]["processes"][0].clone();
        if matches!(caller, Caller::SingleId | Caller::SubordinateIds) {
            assert_eq!(seen()["at"]["denied"], true);
            says(&sandbox, &pid, "(hidden)");
        } else {
            wait_until("it reads", || seen()["at"]["name"] == "read");
            let link = fs::read_link(format!("/proc/{pid}/fd/0")).expect("a link");
            assert_eq!(seen()["file"]["target"], link.to_str().expect("text"));
            let others = seen()["file"]["others"].clone();
            let others = others.as_array().expect("a list");
            assert!(others.contains(&std::process::id().into()), "{others:?}");
            says(&sandbox, &pid, &format!("something to read: file 0, {}", link.display()));
        }
        cat.signal(Signal::SIGSTOP);
        wait_until("it stands", || why(&sandbox, &pid)["cause"] == "stopped");
        cat.signal(Signal::SIGKILL);
        wait_until("a zombie", || why(&sandbox, &pid)["cause"] == "zombie");
        says(&sandbox, &pid, &format!("its parent, process {},", std::process::id()));
        drop(cat);
        sandbox.call(&["why", &pid]).code(125);
        sandbox.call(&["why", "nobody"]).code(125).says("there is no container \"nobody\"");
    }
}
