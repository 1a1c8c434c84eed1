//! `minibox caps`: what is shown is what the kernel says, of containers and of any other process.

use std::fs;
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox};
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

/// A set of capabilities as proc_pid_status(5) has it.
fn mask(pid: i32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the line");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a number")
}

#[test]
fn the_sets_are_those_of_the_kernel() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web", "--cap-drop", "KILL"], &["sleep", "1000"]);
        let pid = sandbox.pid("web");
        let seen = json(&sandbox.call(&["caps", "--format", "json", "web"]));
        assert_eq!(seen["pid"], pid, "{caller:?}");
        assert_eq!(seen["container"], "web");
        let known: Vec<&str> =
            seen["known"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        for (field, key) in [
            ("effective", "CapEff"),
            ("permitted", "CapPrm"),
            ("inheritable", "CapInh"),
            ("bounding", "CapBnd"),
            ("ambient", "CapAmb"),
        ] {
            let names = seen[field].as_array().expect("a list");
            let bit = |name: &Value| known.iter().position(|k| *k == name.as_str().unwrap());
            let bits = names.iter().map(|name| 1_u64 << bit(name).expect("known")).sum::<u64>();
            assert_eq!(bits, mask(pid, key), "{caller:?}: {field}");
        }
        assert!(!seen["effective"].to_string().contains("CAP_KILL"));
        assert_eq!(seen["no_new_privileges"], true);
        assert_eq!(seen["in_callers_user_namespace"], caller == Caller::Root, "{caller:?}");

        let text = sandbox.call(&["caps", "web"]);
        let line = |name: &str| text.ok().lines().find(|line| line.starts_with(name));
        assert!(line("CAP_CHOWN").expect("a line").ends_with("give files to another owner"));
        assert!(line("CAP_KILL").is_none() && line("CAP_SYS_ADMIN").is_none());
        let by_pid = sandbox.call(&["caps", &pid.to_string()]);
        assert!(by_pid.ok().starts_with(&format!("What process {pid} may do\n")));
    }
}

#[test]
fn any_process_will_do_and_self() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut sleep = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let pid = sleep.id() as i32;
        let seen = json(&sandbox.call(&["caps", "--format", "json", &pid.to_string()]));
        assert_eq!((&seen["pid"], &seen["container"]), (&pid.into(), &Value::Null));
        // Whose user namespace it is may be known by whoever may trace it, and by nobody else.
        let denied = seen["in_callers_user_namespace"]["denied"] == true;
        assert_eq!(denied, caller != Caller::Root, "{caller:?}: {seen}");
        sleep.kill().expect("kill");
        sleep.wait().expect("wait");
        sandbox.call(&["caps", &pid.to_string()]).code(125).says("there is no process");
        let myself = json(&sandbox.call(&["caps", "--format", "json", "self"]));
        assert_ne!(myself["pid"], pid);
        sandbox.call(&["caps", "nobody"]).code(125).says("there is no container \"nobody\"");
        sandbox
            .call(&["caps", "--watch", "--interval", "0", "self"])
            .code(125)
            .says("--interval 0");
    }
}

#[test]
fn it_is_watched_until_it_ends() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let args =
            ["caps", "-w", "--interval", "0.05", "--format", "{{.pid}} {{.container}}", "web"];
        let watch = minibox_tests::Beside::spawn(&mut sandbox.minibox(&args));
        let line = format!("{} web\n", sandbox.pid("web"));
        watch.wait_for(&line.repeat(3));
        sandbox.call(&["kill", "web"]).code(0);
        watch.end().code(0).says("there is no process");
    }
}
