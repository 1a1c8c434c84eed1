//! `minibox proc`: what it says is what the files say, and what the commands show that it names.

use std::fs;
use std::process::Command;

use minibox_tests::{Beside, Caller, Ran, Sandbox, wait_until};
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

fn value<'a>(seen: &'a Value, about: &str) -> &'a Value {
    let all = seen["answers"].as_array().expect("a list");
    &all.iter().find(|answer| answer["about"] == about).expect("an answer")["value"]
}

#[test]
fn answers_are_those_of_the_files() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options = ["--name", "web", "-e", "SECRET=tiger", "-w", "/tmp"];
        sandbox.start(&options, &["sleep", "1000"]);
        let web = sandbox.pid("web");
        let see = || json(&sandbox.call(&["proc", "--format", "json", "web"]));
        wait_until("its sleep", || value(&see(), "state")[0] == "S");
        let seen = see();
        assert_eq!(value(&seen, "command_line"), &serde_json::json!(["sleep", "1000"]));
        assert_eq!(value(&seen, "pids"), &serde_json::json!([web.to_string(), "1"]), "{caller:?}");
        assert_eq!(value(&seen, "name")[0], "sleep");
        let link = |name: &str| fs::read_link(format!("/proc/{web}/{name}")).expect("a link");
        assert_eq!(value(&seen, "executable")[0], link("exe").to_str().expect("a path"));
        assert_eq!(value(&seen, "working_directory")[0], link("cwd").to_str().expect("a path"));
        let mounts = fs::read_to_string(format!("/proc/{web}/mountinfo")).expect("mounts");
        assert_eq!(value(&seen, "mounts").as_array().expect("lines").len(), mounts.lines().count());
        let files = value(&seen, "open_files").as_array().expect("files");
        assert_eq!(files.len(), fs::read_dir(format!("/proc/{web}/fd")).expect("fd").count());
        let names = value(&seen, "environment").to_string();
        assert!(names.contains("SECRET") && !names.contains("tiger"), "{names}");
        let values = sandbox.call(&["proc", "--values", "--format", "json", "web"]);
        assert!(values.ok().contains("SECRET=tiger"), "{values:?}");
        assert_eq!(value(&seen, "system_call").as_array().expect("a line").len(), 1);
    }
}

#[test]
fn the_commands_show_what_was_answered() {
    for caller in Caller::root_only("commands on anybody's process") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let text = sandbox.call(&["proc", "web"]);
        let web = sandbox.pid("web");
        let path = format!("/proc/{web}/");
        let commands: Vec<&str> = text.ok().lines().filter(|line| line.contains(&path)).collect();
        let commands = &commands[1..];
        assert!(commands.len() > 30, "{text:?}");
        for command in commands.iter().filter(|command| command.starts_with("      ")) {
            let ran = Command::new("sh").args(["-c", command]).output().expect("sh");
            let ran = Ran::of(&ran);
            assert!(!ran.ok().is_empty(), "{command}");
        }
        let said = |question: &str| {
            let line = text.stdout.lines().find(|line| line.trim_start().starts_with(question));
            line.expect("a line").trim_start()[question.len()..].trim().to_owned()
        };
        assert_eq!(said("What was it started with?"), "sleep 1000");
        assert_eq!(said("Which numbers has it?"), format!("{web} here, 1 to itself"));
        assert_eq!(said("Are system calls filtered?"), "2: by a filter");
    }
}

#[test]
fn a_file_is_explained_line_by_line() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let sleep = Beside::spawn(Command::new("sleep").arg("1000"));
        let pid = sleep.pid().to_string();
        let text = sandbox.call(&["proc", &pid, "status"]);
        let lines: Vec<&str> = text.ok().lines().collect();
        let at = lines.iter().position(|line| line.starts_with("Pid ")).expect("Pid");
        assert!(lines[at].ends_with(&pid), "{}", lines[at]);
        assert!(lines[at + 1].contains("the thread: of the main one the same number"));
        let stat = json(&sandbox.call(&["proc", "--format", "json", &pid, "stat"]));
        assert_eq!(stat["file"]["lines"][0]["value"], pid.as_str());
        assert_eq!(
            (&stat["answers"], &stat["file"]["lines"][1]["field"]),
            (&Value::Null, &"2".into())
        );
        let wrong = sandbox.call(&["proc", &pid, "../1/environ"]);
        wrong.code(125).says("is no file of /proc/PID that is explained here");
        let environment = sandbox.call(&["proc", &pid, "environ"]);
        if matches!(caller, Caller::SingleId | Caller::SubordinateIds) {
            assert!(environment.ok().contains("It is hidden from you"), "{environment:?}");
            let seen = json(&sandbox.call(&["proc", "--format", "json", &pid]));
            assert_eq!(value(&seen, "environment")["denied"], true);
            assert_eq!(value(&seen, "open_files")["denied"], true);
        } else {
            assert!(environment.ok().contains("\nPATH "), "{environment:?}");
        }
        // Whatever else can be asked for is answered.
        for file in wrong.stderr.split_whitespace().filter(|word| word.contains("map")) {
            sandbox.call(&["proc", &pid, file]).code(0);
        }
    }
}
