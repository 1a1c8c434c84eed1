//! `top`: the processes of a container, and of nothing else.

use std::fs;

use minibox_tests::{Caller, Sandbox, has, skip, wait_until};

#[test]
fn it_shows_what_lives_in_the_container_and_nothing_else() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sh", "-c", "sleep 1234 & sleep 1000"]);
        sandbox.start(&["--name", "other"], &["sleep", "4321"]);
        wait_until("both sleep", || sandbox.call(&["top", "web"]).ok().lines().count() == 4);
        // Another way in: not a child of PID 1, but in its namespaces.
        sandbox.call(&["exec", "-d", "web", "sleep", "777"]).code(0);
        wait_until("the third sleeps", || sandbox.call(&["top", "web"]).ok().contains("sleep 777"));
        let table = sandbox.call(&["top", "web"]).ok().to_owned();
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0].join(" "), "UID PID PID INSIDE PPID C STIME TTY TIME CMD");
        assert_eq!(rows.len(), 5, "{table}");
        assert!(!table.contains("4321"), "{table}");
        let init = rows.iter().find(|row| row[2] == "1").expect("PID 1");
        assert_eq!(init[1], sandbox.pid("web").to_string());
        assert_eq!(init[8..].join(" "), "sh -c sleep 1234 & sleep 1000");
        for row in &rows[1..] {
            let status = fs::read_to_string(format!("/proc/{}/status", row[1])).expect("it lives");
            let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            assert_eq!(inside.and_then(|pids| pids.split_whitespace().last()), Some(row[2]));
        }
    }
}

#[test]
fn containers_that_share_process_ids_are_told_apart() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "one"], &["sleep", "1111"]);
        sandbox.start(&["--name", "two", "--pid", "container:one"], &["sleep", "2222"]);
        let commands = |name: &str| {
            let table = sandbox.call(&["top", name]).ok().to_owned();
            table
                .lines()
                .skip(1)
                .map(|line| line.rsplit_once("  ").expect("columns").1.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(commands("one"), ["sleep 1111"]);
        assert_eq!(commands("two"), ["sleep 2222"]);
        // Not every program is the first of its pid namespace.
        let inside = sandbox.call(&["ps", "--format", "{{.Names}} {{.PidInside}}"]);
        assert!(!inside.ok().contains("two 1\n") && inside.ok().ends_with("one 1"), "{inside:?}");
        assert_ne!(sandbox.inspect("two")["Minibox"]["pidInside"], 1);
    }
}

/// A pid namespace inside: on the host three numbers, and it is the container's that counts.
#[test]
fn processes_with_a_pid_namespace_of_their_own_belong_to_it_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "unshare --pid --fork sleep 1234";
        sandbox.start(&["--name", "web", "--privileged"], &["sh", "-c", script]);
        wait_until("it sleeps", || sandbox.call(&["top", "web"]).ok().contains(" sleep 1234"));
        let table = sandbox.call(&["top", "web"]).ok().to_owned();
        let sleeper = table.lines().find(|line| line.contains("  sleep 1234")).expect("a row");
        let cells: Vec<&str> = sleeper.split_whitespace().collect();
        let status = fs::read_to_string(format!("/proc/{}/status", cells[1])).expect("it lives");
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
        let pids: Vec<&str> = pids.split_whitespace().collect();
        assert_eq!((pids.len(), pids[1]), (3, cells[2]), "{caller:?}: {status}");
    }
}

#[test]
fn options_are_those_of_the_hosts_ps() {
    if !has("ps") {
        skip("top with options", "ps is not installed");
        return;
    }
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1234"]);
        let pid = sandbox.pid("web").to_string();
        for options in [&["-o", "pid,comm"][..], &["aux"], &["-ef"], &["-eo", "comm,pid"]] {
            let ran = sandbox.call(&[&["top", "web"], options].concat());
            let lines: Vec<&str> = ran.ok().lines().collect();
            assert_eq!(lines.len(), 2, "{options:?}: {ran:?}");
            assert!(lines[0].contains("PID") && lines[1].contains(&pid), "{ran:?}");
            assert!(lines[1].contains("sleep"), "{ran:?}");
        }
        let ran = sandbox.call(&["top", "web", "-o", "comm"]);
        ran.code(125).says("there is no column PID").says("-o pid,comm");
        sandbox.call(&["top", "web", "--nonsense"]).code(125).says("ps --nonsense: ");
    }
}

#[test]
fn what_a_program_calls_itself_does_not_speak_to_the_terminal() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sh", "-c", "sleep 1000 # \u{1b}[2J\nroot 1 1"]);
        let ran = sandbox.call(&["top", "web"]);
        assert!(!ran.ok().contains('\u{1b}'), "{ran:?}");
        assert!(
            ran.ok().lines().all(|line| line.starts_with("UID") || !line.starts_with("root 1 1"))
        );
    }
}

#[test]
fn a_container_that_does_not_run_has_no_processes() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "over"], &["true"]).code(0);
        sandbox.call(&["top", "over"]).code(125).says("container over is not running");
        sandbox.call(&["top", "nobody"]).code(125).says("there is no container \"nobody\"");
    }
}
