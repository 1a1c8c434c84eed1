//! What a container goes through: started, listed, looked at, stopped, waited for, removed.

use std::fs;
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Ran, Sandbox, is_alive, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// A program that ends with 3 when it is asked to.
const POLITE: &[&str] = &["sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait"];

/// Starts a container and waits until its program has printed `ready`.
fn start_ready(sandbox: &Sandbox, name: &str, command: &[&str]) -> String {
    let id = sandbox.start(&["--name", name], command);
    wait_until("the program is ready", || sandbox.call(&["logs", name]).stdout == "ready\n");
    id
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

/// The cells of the row of `ps -a` that begins with `name`; columns are at least two spaces apart.
fn row(sandbox: &Sandbox, name: &str) -> Option<Vec<String>> {
    let table = sandbox.call(&["ps", "-a"]).ok().to_owned();
    let rows = table.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()));
    let cells = rows.map(|row| row.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells.into_iter().find(|cells| cells[0] == name)
}

#[test]
fn run_d_prints_the_id_alone_and_tells_name_and_host_pid_beside_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&[], &["true"]).code(0); // What is said once has then been said.
        let ran = sandbox.run(&["-d", "--name", "web"], &["sleep", "1000"]);
        let id = ran.stdout.strip_suffix('\n').expect("a line");
        assert!(is_id(id), "{ran:?}");
        let pid = sandbox.pid("web");
        assert_eq!(
            ran.stderr,
            format!("minibox: [web] {pid}: the program's PID on this host; inside it is PID 1\n")
        );
        assert_eq!(sandbox.inspect("web")["Id"], id);
    }
}

#[test]
fn ps_shows_the_host_pid_of_the_real_process() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web"], &["sleep", "1234"]);
        let table = sandbox.call(&["ps"]).ok().to_owned();
        let header = table.lines().next().expect("a header");
        let columns: Vec<&str> =
            header.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(columns, ["NAME", "ID", "STATUS", "HOST PID", "PID INSIDE", "COMMAND"]);
        let cells = row(&sandbox, "web").expect("a row");
        assert_eq!(cells[1], id[..12]);
        assert!(cells[2].starts_with("Up ") && cells[2].contains("second"), "{cells:?}");
        assert_eq!(cells[4..], ["1", "sleep 1234"]);
        let pid: i32 = cells[3].parse().expect("a pid");
        let cmdline = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a process");
        assert_eq!(cmdline, "sleep\x001234\0");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:")).expect("NSpid");
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        assert_eq!(numbers, [pid.to_string().as_str(), "1"], "its pids, outside and inside");
    }
}

#[test]
fn ps_lists_what_runs_and_with_a_what_has_ended_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(sandbox.call(&["ps", "-q"]).ok(), "");
        assert_eq!(sandbox.call(&["ps"]).ok().lines().count(), 1, "the header alone");
        sandbox.run(&["--name", "over"], &["sh", "-c", "exit 5"]).code(5);
        let id = sandbox.start(&["--name", "on"], &["sleep", "1000"]);
        assert_eq!(sandbox.call(&["ps", "-q"]).stdout, format!("{}\n", &id[..12]));
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok().lines().count(), 2);
        let table = sandbox.call(&["ps"]).ok().to_owned();
        assert!(table.contains("\non ") && !table.contains("over"), "{table}");
        let over = row(&sandbox, "over").expect("a row");
        assert!(over[2].starts_with("Exited (5) ") && over[2].ends_with(" ago"), "{over:?}");
        assert_eq!(over[3..], ["-", "-", "sh -c 'exit 5'"]);
    }
}

#[test]
fn inspect_tells_everything_as_json() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web", "--rm"], &["sleep", "1000"]);
        let seen = sandbox.inspect(&id);
        assert_eq!(seen["Id"], id.as_str());
        assert_eq!(seen["Name"], "web");
        assert_eq!(seen["State"]["Status"], "running");
        assert_eq!(seen["Minibox"]["pidInside"], 1);
        assert_eq!(seen["Minibox"]["rootfs"], sandbox.rootfs());
        assert_eq!((&seen["Path"], &seen["Args"]), (&json!("sleep"), &json!(["1000"])));
        assert_eq!(seen["HostConfig"]["AutoRemove"], true);
        assert_eq!(seen["Minibox"]["exit"], json!(null));
        assert_eq!(seen["Minibox"]["cgroup"].is_string(), caller.has_limits());
        assert_eq!(seen["Minibox"]["idMap"].is_object(), caller != Caller::Root, "{seen}");
        assert_eq!(seen["Minibox"]["config"]["process"]["args"], json!(["sleep", "1000"]));
        assert!(is_alive(seen["Minibox"]["keeper"].as_i64().expect("a pid") as i32));
        assert!(is_alive(seen["State"]["Pid"].as_i64().expect("a pid") as i32));

        sandbox.sh(&["--name", "over"], "exit 7").code(7);
        let seen = sandbox.inspect("over");
        assert_eq!(seen["State"]["Status"], "exited");
        assert_eq!(seen["State"]["Pid"], 0);
        assert_eq!(seen["State"]["ExitCode"], 7);
        assert!(seen["State"]["FinishedAt"].as_str() >= seen["State"]["StartedAt"].as_str());
        assert!(seen["State"]["StartedAt"].as_str() >= seen["Created"].as_str());

        let both = sandbox.call(&["inspect", "web", "over"]);
        let both: serde_json::Value = serde_json::from_str(both.ok()).expect("one JSON text");
        assert_eq!(both.as_array().map(Vec::len), Some(2));
        let none = sandbox.call(&["inspect", "nobody"]);
        none.code(1).says("there is no container \"nobody\"");
        assert_eq!(none.stdout, "[]\n");
    }
}

#[test]
fn names_are_given_or_made_up_and_never_shared() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let made_up = sandbox.inspect(&id)["Name"].as_str().expect("a name").to_owned();
        assert_eq!(made_up.split('-').filter(|word| word.len() > 1).count(), 2, "{made_up}");
        sandbox
            .run(&["--name", &made_up], &["true"])
            .code(125)
            .says(&format!("minibox: the name {made_up:?} is taken\n  hint: "))
            .says(&format!("`minibox rm {made_up}`"));
        for wrong in ["", "-x", "a/b", "a b", ".hidden", "é"] {
            let name = format!("--name={wrong}");
            sandbox.run(&[&name], &["true"]).code(125).says("--name");
        }
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok().lines().count(), 1, "nothing was made");
        // Free again when its container is gone.
        sandbox.call(&["rm", "-f", &made_up]).code(0);
        sandbox.run(&["--name", &made_up], &["true"]).code(0);
    }
}

#[test]
fn ids_may_be_shortened_as_long_as_they_are_clear() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut ids: Vec<String> = Vec::new();
        let shared = loop {
            sandbox.sh(&[], "exit 4").code(4);
            let all = sandbox.call(&["ps", "-aq"]).ok().to_owned();
            let newest = all.lines().next().expect("an id").to_owned();
            if let Some(other) = ids.iter().find(|id| id[..1] == newest[..1]) {
                break other[..1].to_owned();
            }
            ids.push(newest);
        };
        for id in &ids {
            assert_eq!(sandbox.inspect(&id[..8])["State"]["ExitCode"], 4);
        }
        sandbox.call(&["inspect", &shared]).code(1).says(&format!(
            "{shared:?} is the beginning of 2 ids\n  hint: give more digits, or the name"
        ));
        for strange in ["", "..", ".", "a/b", "../names/x", "zz"] {
            sandbox.call(&["rm", "--", strange]).code(1).says("there is no container");
        }
    }
}

#[test]
fn stop_asks_first_and_passes_the_answer_on() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        start_ready(&sandbox, "polite", POLITE);
        let ran = sandbox.call(&["stop", "polite"]);
        assert_eq!((ran.ok(), ran.stderr.as_str()), ("polite", ""), "nothing had to be killed");
        assert_eq!(sandbox.inspect("polite")["State"]["ExitCode"], 3);
        sandbox.call(&["stop", "polite"]).code(0);
        sandbox.call(&["stop", "nobody"]).code(1).says("there is no container \"nobody\"");
    }
}

#[test]
fn stop_kills_who_does_not_listen_and_says_why() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let deaf = "this program has none for SIGTERM";
        let stubborn = "the program caught SIGTERM and went on";
        let again = "trap : TERM; echo ready; while :; do sleep 0.1; done";
        for (name, command, why) in [
            ("deaf", &["sh", "-c", "echo ready; exec sleep 1000"], deaf),
            ("ignoring", &["sh", "-c", "trap '' TERM; echo ready; sleep 1000"], deaf),
            ("stubborn", &["sh", "-c", again], stubborn),
        ] {
            start_ready(&sandbox, name, command);
            let ran = sandbox.call(&["stop", "-t", "1", name]);
            assert_eq!(ran.ok(), name);
            ran.says(&format!("minibox: {name} did not end within 1 s, so it is killed: "))
                .says(why);
            assert_eq!(sandbox.inspect(name)["State"]["ExitCode"], 137);
        }
    }
}

#[test]
fn all_that_are_to_stop_are_asked_before_one_is_waited_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let shared = sandbox.folder("shared");
        let volume = format!("{}:/shared", shared.display());
        // Each has been asked, and ends only once the other has been asked too.
        for (own, other) in [("one", "other"), ("other", "one")] {
            let script = format!(
                "trap 'touch /shared/{own}; until [ -e /shared/{other} ]; do :; done; exit 0' TERM
                touch /shared/{own}-listens; while :; do sleep 0.01; done"
            );
            sandbox.start(&["--name", own, "-v", &volume], &["sh", "-c", &script]);
            wait_until("it listens", || shared.join(format!("{own}-listens")).exists());
        }
        assert_eq!(sandbox.call(&["stop", "-t", "60", "one", "other"]).ok(), "one\nother");
        assert_eq!(sandbox.call(&["wait", "one", "other"]).ok(), "0\n0");
    }
}

#[test]
fn kill_sends_signals_by_name_and_number() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script =
            "trap 'echo one' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done";
        start_ready(&sandbox, "c", &["sh", "-c", script]);
        let mut expected = String::from("ready\n");
        for (signal, word) in
            [("USR1", "one"), ("SIGUSR1", "one"), ("usr1", "one"), ("10", "one"), ("sighup", "hup")]
        {
            let ran = sandbox.call(&["kill", "-s", signal, "c"]);
            assert_eq!((ran.ok(), ran.stderr.as_str()), ("c", ""));
            expected.extend([word, "\n"]);
            wait_until(&format!("{signal} arrives"), || {
                sandbox.call(&["logs", "c"]).stdout == expected
            });
        }
        for wrong in ["NOPE", "0", "65", "-1", ""] {
            let ran = sandbox.call(&["kill", &format!("--signal={wrong}"), "c"]);
            ran.code(125).says(&format!("--signal {wrong:?} is not a signal\n  hint: "));
        }
        sandbox.call(&["kill", "-s", "USR2", "c"]).code(0).says("c has no handler for SIGUSR2");
        assert!(is_alive(sandbox.pid("c")));
        let pid = sandbox.pid("c");
        assert_eq!(sandbox.call(&["kill", "c"]).ok(), "c");
        assert!(!is_alive(pid));
        assert_eq!(sandbox.inspect("c")["State"]["ExitCode"], 137);
        sandbox.call(&["kill", "c"]).code(1).says("minibox: container c is not running\n  hint: ");
    }
}

#[test]
fn wait_prints_the_exit_code_of_each() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "a"], &["sh", "-c", "sleep 0.3; exit 11"]);
        sandbox.start(&["--name", "b"], &["sh", "-c", "exit 12"]);
        assert_eq!(sandbox.call(&["wait", "a", "b"]).ok(), "11\n12");
        assert_eq!(sandbox.call(&["wait", "b"]).ok(), "12", "it has already ended");
        sandbox.create(&["--name", "new"], &["true"]);
        assert_eq!(sandbox.call(&["wait", "new"]).ok(), "0", "it does not run");
        let ran = sandbox.call(&["wait", "nobody", "a"]);
        assert_eq!(ran.code(1).says("there is no container \"nobody\"").stdout, "11\n");

        start_ready(&sandbox, "c", POLITE);
        let waiting = Beside::spawn(&mut sandbox.minibox(&["wait", "c"]));
        let held =
            || fs::read_dir(format!("/proc/{}/fd", waiting.pid())).into_iter().flatten().flatten();
        wait_until("it holds the process it waits for", || {
            held().any(|fd| {
                fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("anon_inode:[pidfd]"))
            })
        });
        sandbox.call(&["rm", "-f", "c"]).code(0);
        let ran = waiting.end();
        assert!(
            ran.stdout == "137\n" || ran.code == 1 && ran.stderr.contains("removed"),
            "{ran:?}"
        );
    }
}

#[test]
fn verbs_that_meet_a_container_at_its_very_end() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for round in 0..30 {
            let script = format!("sleep 0.0{round:02}; exit 6");
            let id = sandbox.start(&[], &["sh", "-c", &script]);
            match round % 3 {
                0 => assert_eq!(sandbox.call(&["wait", &id]).ok(), "6"),
                1 => assert_eq!(sandbox.call(&["stop", "-t", "0", &id]).ok(), id),
                _ => assert_eq!(sandbox.call(&["rm", "-f", &id]).ok(), id),
            }
        }
    }
}

#[test]
fn rm_removes_what_has_ended_and_with_f_what_runs() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "on"], &["sleep", "1000"]);
        let pid = sandbox.pid("on");
        let refused = sandbox.call(&["rm", "on"]);
        refused.code(1).says("minibox: on is running\n  hint: `minibox stop on` first");
        assert!(is_alive(pid) && refused.stdout.is_empty());
        assert_eq!(sandbox.call(&["rm", "-f", "on"]).ok(), "on");
        assert!(!is_alive(pid));
        sandbox.call(&["rm", "on"]).code(1).says("there is no container \"on\"");
        let ran = sandbox.call(&["rm", "-f", "on"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));

        sandbox.run(&["--name", "over"], &["touch", "/made"]).code(0);
        let folder = sandbox.path("data/containers");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1);
        sandbox.run(&["--name", "over2"], &["true"]).code(0);
        // One that is missing does not keep the others.
        let ran = sandbox.call(&["rm", "over", "nobody", "over2"]);
        assert_eq!(ran.code(1).says("\"nobody\"").stdout, "over\nover2\n");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0);
    }
}

#[test]
fn with_rm_nothing_is_left_when_it_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "echo hello > /made; mkdir /closed; touch /closed/x; chmod 0 /closed; exit 9";
        let empty =
            |folder: &str| fs::read_dir(sandbox.path(folder)).expect("a folder").next().is_none();
        let nothing = || empty("data/containers") && empty("data/names") && empty("run");
        sandbox.sh(&["--rm"], script).code(9);
        assert!(nothing(), "after the foreground");
        sandbox.run(&["--rm"], &["no-such-program"]).code(127);
        assert!(nothing(), "after an error");
        sandbox.start(&["--rm"], &["sh", "-c", script]);
        wait_until("the monitor removes it", nothing);
        sandbox.start(&["--rm", "--name", "killed"], &["sleep", "1000"]);
        sandbox.call(&["kill", "killed"]);
        wait_until("the monitor removes it", nothing);
    }
}

#[test]
fn of_twenty_with_the_same_name_exactly_one_wins() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let runs =
            (0..20).map(|_| sandbox.run_beside(&["-d", "--name", "one"], &["sleep", "1000"]));
        let runs: Vec<Ran> = runs.collect::<Vec<_>>().into_iter().map(Beside::end).collect();
        let (won, lost): (Vec<Ran>, Vec<Ran>) = runs.into_iter().partition(|ran| ran.code == 0);
        assert_eq!(won.len(), 1, "{won:?}");
        for ran in lost {
            ran.code(125).says("the name \"one\" is taken");
        }
        assert_eq!(sandbox.inspect("one")["Id"], won[0].ok());
        assert_eq!(fs::read_dir(sandbox.path("data/containers")).expect("a folder").count(), 1);
    }
}

#[test]
fn twenty_parallel_removals_of_one_all_succeed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (name, command) in [("on", "sleep 1000"), ("over", "exit 0")] {
            sandbox.start(&["--name", name], &["sh", "-c", command]);
            let removals =
                (0..20).map(|_| Beside::spawn(&mut sandbox.minibox(&["rm", "-f", name])));
            for removal in removals.collect::<Vec<_>>() {
                let ran = removal.end();
                assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{caller:?} {name}");
            }
            assert_eq!(fs::read_dir(sandbox.path("data/containers")).expect("a folder").count(), 0);
        }
    }
}

#[test]
fn a_damaged_record_hides_nobody_else_and_gc_removes_it() {
    for caller in Caller::all() {
        for damage in ["", "{", "null", "[]", "{\"version\":1}", "\u{0}\u{1}"] {
            let sandbox = Sandbox::new(caller);
            let good = sandbox.start(&["--name", "good"], &["sleep", "1000"]);
            let bad = sandbox.run(&["--name", "bad"], &["true"]);
            bad.code(0);
            let id = sandbox.inspect("bad")["Id"].as_str().expect("an id").to_owned();
            let record = sandbox.path("data/containers").join(&id).join("container.json");
            fs::write(record, damage).expect("write");

            let ps = sandbox.call(&["ps", "-aq"]);
            assert!(ps.ok().contains(&good[..12]), "{damage:?}: {ps:?}");
            sandbox.call(&["ps"]).code(0);
            let found = sandbox.call(&["gc"]).ok().to_owned();
            assert!(found.contains("a container without a readable record") && found.contains(&id));
            sandbox.call(&["gc", "--force"]).code(0);
            assert_eq!(sandbox.call(&["gc"]).ok(), "", "{damage:?}");
            assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), &good[..12]);
            sandbox.run(&["--name", "bad"], &["true"]).code(0);
        }
    }
}

#[test]
fn a_damaged_state_of_a_running_container_leaves_no_process_behind() {
    for caller in Caller::all() {
        for damage in ["", "{", "null", "{\"init\":{\"pid\":1"] {
            let sandbox = Sandbox::new(caller);
            let good = sandbox.start(&["--name", "good"], &["sleep", "1000"]);
            let id = sandbox.start(&["--name", "bad"], &["sleep", "1000"]);
            let pid = sandbox.pid("bad");
            fs::write(sandbox.path("run").join(&id).join("state.json"), damage).expect("write");

            let ps = sandbox.call(&["ps", "-aq"]);
            assert!(ps.ok().contains(&good[..12]) && ps.ok().contains(&id[..12]), "{ps:?}");
            sandbox.call(&["gc", "--force"]).code(0);
            sandbox.call(&["rm", "-f", "bad"]).code(0);
            let left = is_alive(pid);
            let _ = left.then(|| kill(Pid::from_raw(pid), Signal::SIGKILL));
            assert!(!left, "{caller:?}, {damage:?}: its program is still there");
            assert!(is_alive(sandbox.pid("good")));
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "c"], &["echo", "hello"]).code(0);
        for args in [
            &["ps", "-a"][..],
            &["ps", "-aq"],
            &["inspect", "c"],
            &["gc"],
            &["version"],
            &["wait", "c"],
        ] {
            let mut child = sandbox
                .minibox(args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            drop(child.stdout.take());
            let ran = Ran::of(&child.wait_with_output().expect("it ends"));
            assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
            assert!(!ran.stderr.contains("panic"), "{ran:?}");
        }
    }
}
