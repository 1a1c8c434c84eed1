//! --restart: what is started again, how often, and what ends that; also across a reboot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Sandbox, is_alive, wait_until, write_program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The monitor that is written down for container `id`, without starting a new one.
fn keeper(sandbox: &Sandbox, id: &str) -> i32 {
    let text = fs::read(sandbox.path("run").join(id).join("state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    state["keeper"]["pid"].as_i64().expect("a pid") as i32
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    wait_until("it is gone", || !is_alive(pid));
}

/// Starts `script` in the background; the container's id.
fn start(sandbox: &Sandbox, options: &[&str], script: &str) -> String {
    sandbox.start(&[&["--name", "c"], options].concat(), &["sh", "-c", script])
}

/// How often it has printed a line.
fn lines(sandbox: &Sandbox) -> usize {
    sandbox.call(&["logs", "c"]).code(0).stdout.lines().count()
}

/// Waits until container `id` is in one of its longer pauses between two starts; its monitor.
#[track_caller]
fn in_a_pause(sandbox: &Sandbox, id: &str) -> i32 {
    wait_until("it waits for its next start", || {
        let record = sandbox.record(id);
        record["restarts"].as_u64() >= Some(4)
            && record["is_restarting"] == true
            && sandbox.status("c") == "restarting"
    });
    keeper(sandbox, id)
}

#[test]
fn on_failure_counts_and_gives_up() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = start(&sandbox, &["--restart", "on-failure:2"], "echo run; exit 5");
        // wait waits for the last end.
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "5");
        assert_eq!(lines(&sandbox), 3, "{caller:?}");
        let record = sandbox.record(&id);
        assert_eq!((&record["restarts"], &record["exit"]["code"]), (&2.into(), &5.into()));
        assert_eq!(sandbox.status("c"), "exited");

        // Somebody's start begins anew, attached or not.
        sandbox.call(&["start", "c"]).code(0);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "5");
        assert_eq!(lines(&sandbox), 6);
    }
}

#[test]
fn a_success_is_not_repeated_and_no_means_no() {
    for caller in Caller::all() {
        for (options, script, runs) in [
            (&["--restart", "on-failure"][..], "echo run; exit 0", 1),
            (&["--restart=on-failure"], "echo run; echo x >> /x; [ $(wc -l < /x) = 3 ]", 3),
            (&["--restart", "no"], "echo run; exit 1", 1),
            (&[], "echo run; exit 1", 1),
        ] {
            let sandbox = Sandbox::new(caller);
            start(&sandbox, options, script);
            let code = i32::from(runs == 1 && options.len() < 2 || options.contains(&"no"));
            assert_eq!(sandbox.call(&["wait", "c"]).ok(), code.to_string(), "{options:?}");
            assert_eq!(lines(&sandbox), runs, "{options:?}");
        }
    }
}

#[test]
fn always_is_always_and_stop_is_an_end() {
    for caller in Caller::all() {
        for policy in ["always", "unless-stopped"] {
            let sandbox = Sandbox::new(caller);
            let script = "trap 'exit 0' TERM; echo run; [ -e /stay ] || { touch /stay; exit 0; }
                echo ready; while :; do sleep 0.02; done";
            let id = start(&sandbox, &["--restart", policy], script);
            wait_until("it is started again", || {
                sandbox.call(&["logs", "c"]).stdout == "run\nrun\nready\n"
            });
            let (first, monitor) = (sandbox.pid("c"), keeper(&sandbox, &id));
            // Whoever kills its program from outside has not asked minibox.
            kill_9(first);
            wait_until("once more", || lines(&sandbox) == 5);
            assert_eq!(keeper(&sandbox, &id), monitor, "by the same monitor");
            assert_eq!(sandbox.record(&id)["restarts"], 2);

            sandbox.call(&["stop", "c"]).code(0);
            wait_until("its monitor ends", || !is_alive(monitor));
            assert_eq!(sandbox.status("c"), "exited");
            assert_eq!((lines(&sandbox), &sandbox.record(&id)["halted"]), (5, &"user".into()));
        }
    }
}

#[test]
fn in_the_pause_before_a_start_stop_kill_and_rm_end_it() {
    for caller in Caller::all() {
        for args in [&["stop", "c"][..], &["kill", "c"], &["kill", "-s", "TERM", "c"]] {
            let sandbox = Sandbox::new(caller);
            let id = start(&sandbox, &["--restart", "always"], "echo run; exit 5");
            let monitor = in_a_pause(&sandbox, &id);
            assert!(sandbox.call(&["ps"]).ok().contains('c'), "it is still there");
            let ran = sandbox.call(args);
            assert_eq!((ran.ok(), ran.stderr.as_str()), ("c", ""), "{args:?}");
            assert_eq!(sandbox.status("c"), "exited");
            wait_until("its monitor ends", || !is_alive(monitor));
            let record = sandbox.record(&id);
            assert_eq!(record["exit"]["code"], 5, "the last exit code stays");
            let starts = record["restarts"].as_u64().expect("a number") as usize;
            assert_eq!(lines(&sandbox), starts, "{args:?}: the last one was not started");
            assert!(!sandbox.path("run").join(&id).exists());
        }
        let sandbox = Sandbox::new(caller);
        let id = start(&sandbox, &["--restart", "always"], "exit 5");
        let monitor = in_a_pause(&sandbox, &id);
        sandbox.call(&["rm", "c"]).code(1).says("c is about to be started again");
        sandbox.call(&["start", "c"]).code(1).says("c is about to be started again by its policy");
        sandbox.call(&["attach", "c"]).code(125);
        assert_eq!(sandbox.call(&["rm", "-f", "c"]).ok(), "c");
        wait_until("its monitor ends", || !is_alive(monitor));
    }
}

#[test]
fn stop_meets_it_at_any_moment() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = start(&sandbox, &["--restart", "always"], "exit 5");
        for round in 0..15 {
            if round > 0 {
                sandbox.call(&["start", "c"]).code(0);
            }
            let monitor = fs::read(sandbox.path("run").join(&id).join("state.json")).ok();
            // Not to wait for something, but to hit another moment each time.
            std::thread::sleep(std::time::Duration::from_millis(round * 13));
            let ran = sandbox.call(&["stop", "c"]);
            assert_eq!((ran.ok(), ran.stderr.as_str()), ("c", ""), "{caller:?}, round {round}");
            assert_eq!(sandbox.status("c"), "exited", "{caller:?}, round {round}");
            let state = monitor.and_then(|text| serde_json::from_slice(&text).ok());
            let state: serde_json::Value = state.unwrap_or_default();
            if let Some(pid) = state["keeper"]["pid"].as_i64() {
                wait_until("its monitor ends", || !is_alive(pid as i32));
            }
            assert_eq!(sandbox.status("c"), "exited", "{caller:?}, round {round}");
        }
    }
}

#[test]
fn in_the_foreground_the_first_end_is_told_and_the_container_goes_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let run = sandbox.sh(&["--name", "c", "--restart", "always"], "echo run; exit 5");
        run.code(5).says("c ended, and its restart policy starts it again; `minibox stop c` ends");
        assert_eq!(run.stdout, "run\n");
        wait_until("it is started again", || lines(&sandbox) > 1);
        sandbox.call(&["stop", "c"]).code(0);
    }
}

#[test]
fn ctrl_c_in_the_foreground_is_an_end() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'exit 6' INT; echo ready; while :; do sleep 0.02; done";
        let options = ["--name", "c", "--restart", "unless-stopped"];
        let run = sandbox.run_beside(&options, &["sh", "-c", script]);
        run.wait_for("ready");
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        let monitor = keeper(&sandbox, &id);
        run.signal(Signal::SIGINT);
        let ran = run.end();
        assert!(ran.code(6).stderr.lines().all(|line| !line.contains("policy")), "{ran:?}");
        wait_until("its monitor ends", || !is_alive(monitor));
        assert_eq!((sandbox.status("c").as_str(), lines(&sandbox)), ("exited", 1));
        assert_eq!(sandbox.record(&id)["halted"], "user");

        // So is the end of its client.
        let mut command = sandbox.minibox(&["start", "-a", "c"]);
        let attached = Beside::spawn(command.stdin(Stdio::null()));
        wait_until("it runs", || lines(&sandbox) == 2);
        drop(attached);
        assert_eq!(sandbox.status("c"), "running", "but only that of the one who made it");
        sandbox.call(&["rm", "-f", "c"]).code(0);
        let run = sandbox.run_beside(&options, &["sh", "-c", script]);
        run.wait_for("ready");
        let id = sandbox.inspect("c")["Id"].as_str().expect("an id").to_owned();
        run.signal(Signal::SIGKILL);
        wait_until("it has ended", || sandbox.status("c") == "exited");
        assert_eq!(sandbox.record(&id)["halted"], "user");
    }
}

/// The containers of the tests below: how each is made, and whether a reboot brings it back.
const MACHINE: [(&str, &[&str], bool); 7] = [
    ("plain", &[], false),
    ("no", &["--restart", "no"], false),
    ("failure", &["--restart", "on-failure"], false),
    ("always", &["--restart", "always"], true),
    ("always-stopped", &["--restart", "always"], true),
    ("unless", &["--restart", "unless-stopped"], true),
    ("unless-stopped", &["--restart", "unless-stopped"], false),
];

/// Starts all of them, stops those that are named so, and makes one that is never started.
fn a_machine(sandbox: &Sandbox) -> Vec<String> {
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    let ids = MACHINE.map(|(name, options, _)| {
        sandbox.start(&[&["--name", name], options].concat(), &["sh", "-c", script])
    });
    for (name, ..) in MACHINE {
        wait_until("it is ready", || sandbox.call(&["logs", name]).stdout == "ready\n");
    }
    sandbox.call(&["stop", "always-stopped", "unless-stopped"]).code(0);
    sandbox.create(&["--name", "never", "--restart", "always"], &["true"]);
    ids.to_vec()
}

#[track_caller]
fn comes_back(sandbox: &Sandbox) {
    let ran = sandbox.call(&["start", "--at-boot"]);
    let expected: String =
        MACHINE.iter().filter(|m| m.2).map(|(name, ..)| format!("{name}\n")).collect();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected.as_str(), ""));
    for (name, _, comes_back) in MACHINE {
        let status = if comes_back { "running" } else { "exited" };
        assert_eq!(sandbox.status(name), status, "{name}");
    }
    assert_eq!(sandbox.status("never"), "created", "what never ran is not started");
    let ran = sandbox.call(&["start", "--at-boot"]);
    assert_eq!((ran.ok(), ran.stderr.as_str()), ("", ""), "what runs is left alone");
    // And one after the other, as they were made and will be made again.
    let ran = sandbox.call(&["stop", "--at-shutdown"]);
    let mut stopped: Vec<&str> = ran.ok().lines().collect();
    stopped.sort_unstable();
    assert_eq!(stopped, ["always", "always-stopped", "unless"]);
}

#[test]
fn a_shutdown_and_a_boot() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ids = a_machine(&sandbox);
        sandbox.call(&["stop", "--at-shutdown"]).code(0);
        assert_eq!(sandbox.call(&["ps", "-q"]).ok(), "");
        for (id, (name, ..)) in ids.iter().zip(MACHINE) {
            let record = sandbox.record(id);
            assert_eq!(record["exit"]["code"], 3, "{name}: the exit code is kept");
            let who = if name.ends_with("-stopped") { "user" } else { "shutdown" };
            assert_eq!(record["halted"], who, "{name}");
        }
        comes_back(&sandbox);
    }
}

#[test]
fn a_power_cut_and_a_boot() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ids = a_machine(&sandbox);
        // All at once, before anybody can write anything down.
        let running: Vec<(i32, i32)> = ids
            .iter()
            .zip(MACHINE)
            .filter(|(_, (name, ..))| !name.ends_with("-stopped"))
            .map(|(id, (name, ..))| (keeper(&sandbox, id), sandbox.pid(name)))
            .collect();
        for (monitor, _) in &running {
            kill_9(*monitor);
        }
        for (_, program) in running {
            kill_9(program);
        }
        // What lives with the processes is gone with the power.
        fs::remove_dir_all(sandbox.path("run")).expect("rm");
        fs::create_dir(sandbox.path("run")).expect("mkdir");
        fs::set_permissions(sandbox.path("run"), fs::Permissions::from_mode(0o700)).expect("chmod");
        sandbox.give(&sandbox.path("run"));
        // And it was started before the machine was, which only this can play.
        let path = sandbox.path(&format!("data/containers/{}/container.json", ids[0]));
        let mut record = sandbox.record(&ids[0]);
        record["started"] = "2000-01-01T00:00:00.000Z".into();
        fs::write(&path, record.to_string()).expect("write");
        comes_back(&sandbox);
        assert_eq!(sandbox.record(&ids[0])["exit"]["note"], "the machine was restarted");
    }
}

#[test]
fn a_monitor_killed_in_the_pause_leaves_what_can_be_started() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = start(
            &sandbox,
            &["--restart", "always"],
            "echo run; [ -e /stay ] && sleep 1000; exit 5",
        );
        kill_9(in_a_pause(&sandbox, &id));
        assert_eq!(sandbox.status("c"), "exited");
        let before = lines(&sandbox);
        assert_eq!(sandbox.record(&id)["exit"]["code"], 5);
        assert_eq!(sandbox.call(&["gc"]).ok(), "");
        sandbox.call(&["start", "c"]).code(0);
        wait_until("it is started, and again by its new monitor", || lines(&sandbox) > before + 1);
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);

        // One that nobody has looked at meanwhile.
        sandbox.call(&["start", "c"]).code(0);
        kill_9(in_a_pause(&sandbox, &id));
        sandbox.call(&["rm", "c"]).code(0);
    }
}

#[test]
fn a_monitor_that_took_over_starts_it_again_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = start(&sandbox, &["--restart", "always"], "echo run; exec sleep 1000");
        let program = sandbox.pid("c");
        kill_9(keeper(&sandbox, &id));
        sandbox.call(&["ps"]).code(0);
        let second = keeper(&sandbox, &id);
        kill_9(program);
        wait_until("it runs again", || sandbox.status("c") == "running" && lines(&sandbox) == 2);
        assert_eq!(keeper(&sandbox, &id), second);
        assert_ne!(sandbox.pid("c"), program);
    }
}

#[test]
fn what_cannot_be_started_again_is_given_up() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("programs");
        let program = folder.join("once");
        write_program(&program, "#!/bin/sh\necho run; rm \"$0\"; exit 5\n");
        sandbox.give(&program);
        let volume = format!("{}:/programs", folder.display());
        let options = ["--name", "c", "--restart", "always", "-v", &volume];
        let id = sandbox.start(&options, &["/programs/once"]);
        assert_eq!(sandbox.call(&["wait", "c"]).ok(), "127");
        let exit = sandbox.record(&id)["exit"].clone();
        assert!(exit["note"].as_str().is_some_and(|n| n.starts_with("it could not be started")));
        assert_eq!(sandbox.status("c"), "exited");
        assert_eq!(sandbox.call(&["gc"]).ok(), "");
    }
}

#[test]
fn logs_follow_across_restarts_and_attach_stays_for_one() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/go", sandbox.folder("go").display());
        let script = "echo run; while [ ! -e /go/on ]; do echo tick; sleep 0.02; done
            rm /go/on; echo bye; exit 5";
        let options = ["--restart", "on-failure", "-v", &volume];
        start(&sandbox, &options, script);
        let follow = Beside::spawn(&mut sandbox.minibox(&["logs", "-f", "c"]));
        let runs = |printed: &str| printed.matches("run\n").count();
        for round in 1..=3 {
            wait_until("it is up", || {
                runs(&follow.printed()[0]) == round && sandbox.status("c") == "running"
            });
            let attached = Beside::spawn(&mut sandbox.minibox(&["attach", "c"]));
            attached.wait_for("tick");
            fs::write(sandbox.path("go/on"), "").expect("write");
            let ran = attached.end();
            ran.code(5).says("its restart policy starts it again");
            assert!(ran.stdout.ends_with("tick\nbye\n"), "round {round}: {ran:?}");
        }
        wait_until("it is up", || runs(&follow.printed()[0]) == 4);
        sandbox.call(&["stop", "-t", "0", "c"]).code(0);
        let followed = follow.end().ok().to_owned();
        assert_eq!((runs(&followed), followed.matches("bye\n").count()), (4, 3));
        assert_eq!(followed, sandbox.call(&["logs", "c"]).ok());
    }
}

#[test]
fn a_policy_is_spelled_as_docker_does() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for wrong in ["never", "always:3", "on-failure:-1", "on-failure:x", "on-failure:"] {
            let ran = sandbox.run(&["--restart", wrong], &["true"]);
            ran.code(125).says(&format!("--restart \"{wrong}\"")).says("unless-stopped");
        }
        let ran = sandbox.run(&["--rm", "--restart", "always"], &["true"]);
        ran.code(125).says("minibox: --rm and --restart always exclude each other");
        sandbox.run(&["--rm", "--restart", "no"], &["true"]).code(0);
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "");
    }
}
