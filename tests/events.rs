//! What happens to containers is written down, in docker's words, and shown as it happens.

use std::fs;

use minibox_tests::{Beside, Caller, Sandbox, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// What has happened so far, oldest first.
fn events(sandbox: &Sandbox, options: &[&str]) -> Vec<Value> {
    let ran = sandbox.call(&[&["events", "--until", "0s"], options].concat());
    ran.ok().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["Action"].as_str()).collect()
}

#[test]
fn a_life_is_told_from_its_making_to_its_removal() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web", "-l", "a=1"], &["sleep", "1000"]);
        sandbox.call(&["exec", "web", "sh", "-c", "exit 3"]).code(3);
        sandbox.call(&["rename", "web", "db"]).code(0);
        sandbox.call(&["stop", "-t", "0", "db"]).code(0);
        sandbox.call(&["start", "db"]).code(0);
        sandbox.call(&["kill", "db"]).code(0);
        sandbox.call(&["rm", "db"]).code(0);
        let all = events(&sandbox, &[]);
        let wanted = [
            "create",
            "start",
            "exec_create: sh -c 'exit 3'",
            "exec_start: sh -c 'exit 3'",
            "exec_die",
            "rename",
            "kill",
            "kill",
            "die",
            "stop",
            "start",
            "kill",
            "die",
            "destroy",
        ];
        assert_eq!(actions(&all), wanted);
        for event in &all {
            assert_eq!((&event["Type"], &event["scope"]), (&"container".into(), &"local".into()));
            assert_eq!(
                (&event["id"], &event["Actor"]["ID"]),
                (&id.as_str().into(), &id.as_str().into())
            );
            assert_eq!(event["status"], event["Action"]);
            assert_eq!(event["from"], sandbox.rootfs());
            let nanoseconds = event["timeNano"].as_u64().expect("a number");
            assert_eq!(event["time"].as_u64(), Some(nanoseconds / 1_000_000_000));
        }
        let attribute =
            |number: usize, name: &str| all[number]["Actor"]["Attributes"][name].clone();
        assert_eq!((attribute(0, "name"), attribute(0, "a")), ("web".into(), "1".into()));
        assert_eq!(attribute(4, "exitCode"), "3");
        assert_eq!(attribute(2, "execID"), attribute(4, "execID"));
        assert_eq!((attribute(5, "name"), attribute(5, "oldName")), ("db".into(), "web".into()));
        assert_eq!((attribute(6, "signal"), attribute(7, "signal")), ("15".into(), "9".into()));
        assert_eq!(attribute(8, "exitCode"), "137");
    }
}

#[test]
fn a_container_in_the_foreground_is_told_too_and_a_failed_start() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--rm"], &["sh", "-c", "exit 5"]).code(5);
        assert_eq!(actions(&events(&sandbox, &[])), ["create", "start", "die", "destroy"]);
        sandbox.run(&["--rm"], &["no-such-program"]).code(127);
        assert_eq!(actions(&events(&sandbox, &[]))[4..], ["create", "destroy"]);
    }
}

#[test]
fn a_pause_an_update_and_a_volume_are_told_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web", "-v", "data:/data"], &["sleep", "1000"]);
        sandbox.call(&["pause", "web"]).code(0);
        assert_eq!(
            sandbox.call(&["ps", "-f", "status=paused", "--format", "{{.State}}"]).ok(),
            "paused"
        );
        assert!(sandbox.call(&["ps", "--format", "{{.Status}}"]).ok().ends_with(" (Paused)"));
        assert_eq!(sandbox.inspect("web")["State"]["Paused"], true);
        sandbox.call(&["unpause", "web"]).code(0);
        sandbox.call(&["rm", "-f", "web"]).code(0);
        sandbox.call(&["volume", "rm", "data"]).code(0);
        let all = events(&sandbox, &[]);
        let of = |kind: &str| {
            let of_kind: Vec<Value> = all.iter().filter(|e| e["Type"] == kind).cloned().collect();
            actions(&of_kind).join(" ")
        };
        assert_eq!(of("container"), "create start pause unpause kill die destroy");
        assert_eq!(of("volume"), "create destroy");
        assert_eq!(actions(&events(&sandbox, &["-f", "volume=data"])), ["create", "destroy"]);
    }
}

#[test]
fn what_happens_is_shown_as_it_happens() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "before"], &["sleep", "1000"]);
        let mut format =
            sandbox.minibox(&["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
        let follower = Beside::spawn(&mut format);
        // Only what happens from its start on; so something happens until it is seen.
        let mut number = 0;
        wait_until("the first event", || {
            number += 1;
            sandbox.call(&["rename", "before", &format!("name-{number}")]).code(0);
            sandbox.call(&["rename", &format!("name-{number}"), "before"]).code(0);
            !follower.printed()[0].is_empty()
        });
        sandbox.run(&["--rm", "--name", "web"], &["true"]).code(0);
        follower.wait_for("destroy web");
        assert!(!follower.printed()[0].contains("start before"), "{:?}", follower.printed());
        // Not SIGINT, which a shell without job control lets its background jobs ignore.
        follower.signal(Signal::SIGTERM);
        follower.end().code(143);
    }
}

#[test]
fn times_and_filters_choose() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--name", "web", "-l", "a=1"], &["sleep", "1000"]);
        let middle = events(&sandbox, &[])[1]["timeNano"].as_u64().expect("a number") + 1;
        let middle = format!("{}.{:09}", middle / 1_000_000_000, middle % 1_000_000_000);
        sandbox.run(&["--name", "db"], &["sh", "-c", "exit 4"]).code(4);
        let some = |options: &[&str]| {
            let all = events(&sandbox, options);
            let name =
                |event: &Value| event["Actor"]["Attributes"]["name"].as_str().map(str::to_owned);
            all.iter()
                .map(|e| {
                    format!("{} {}", name(e).expect("a name"), e["Action"].as_str().expect("one"))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(some(&["--since", &middle]), ["db create", "db start", "db die"]);
        assert_eq!(some(&["--since", "1h"]).len(), 5);
        assert_eq!(some(&["-f", "container=web"]), ["web create", "web start"]);
        assert_eq!(some(&["-f", &format!("container={}", &id[..12])]).len(), 2);
        assert_eq!(
            some(&["-f", "event=die", "-f", "event=create"]),
            ["web create", "db create", "db die"]
        );
        assert_eq!(some(&["-f", "label=a=1", "-f", "event=start"]), ["web start"]);
        assert_eq!(some(&["-f", "type=volume"]).len(), 0);
        let until = sandbox.call(&["events", "--since", "1h", "--until", &middle]);
        assert_eq!(until.ok().lines().count(), 2);
        sandbox.call(&["events", "-f", "type=image"]).code(125).says("container, volume");
        sandbox.call(&["events", "-f", "x=y"]).code(125).says("there is no filter \"x\"");
        sandbox.call(&["events", "--since", "soon"]).code(125).says("--since \"soon\"");
        let text =
            sandbox.call(&["events", "--until", "0s", "--format", "table", "-f", "event=die"]);
        let text = text.ok();
        assert!(
            text.contains(" container die ")
                && text.ends_with(&format!(" (exitCode=4, image={}, name=db)", sandbox.rootfs())),
            "{text}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_not_waited_for() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let mut command = sandbox.minibox(&["events"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    wait_until("its end", || child.try_wait().expect("a child").is_some());
    assert!(child.wait().expect("its end").success());
}

#[test]
fn the_file_never_grows_beyond_bounds_and_survives_damage() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.run(&["--name", "web"], &["true"]).code(0);
        let file = sandbox.path("data/events.ndjson");
        let mut text = fs::read_to_string(&file).expect("events");
        text.push_str("this is no event\n");
        let line = text.lines().next().expect("one").to_owned() + "\n";
        while text.len() < 1024 * 1024 {
            text.push_str(&line);
        }
        fs::write(&file, &text).expect("write");
        sandbox.call(&["rename", "web", "db"]).code(0);
        assert!(sandbox.path("data/events.1").exists());
        sandbox.call(&["rename", "db", "web"]).code(0);
        assert!(fs::metadata(&file).expect("a new file").len() < 10_000);
        let all = events(&sandbox, &[]);
        assert_eq!(actions(&all)[all.len() - 2..], ["rename", "rename"]);
        assert!(all.len() > 1000, "the earlier file is read too");
    }
}
