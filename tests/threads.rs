//! `minibox threads`: each of them, as /proc/PID/task has it.

use std::fs;
use std::process::Command;

use minibox_tests::{Beside, Caller, Ran, Sandbox, on_a_terminal_of, wait_until};
use serde_json::Value;

const PROGRAM: &str = "import threading, time, signal
signal.signal(signal.SIGUSR1, lambda *_: None)
def spin():
    while True: pass
threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
threading.Thread(target=spin, daemon=True).start()
threading.Event().wait()";

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

fn threads(seen: &Value) -> &[Value] {
    seen["threads"].as_array().expect("a list")
}

#[test]
fn each_is_where_the_kernel_says() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["python", "-c", PROGRAM]);
        let web = sandbox.pid("web");
        let see = || json(&sandbox.call(&["threads", "--format", "json", "web"]));
        wait_until("three threads, one of them busy", || {
            let seen = see();
            let busy = |thread: &Value| thread["cpu_ms"].as_u64() > Some(200);
            threads(&seen).len() == 3 && threads(&seen).iter().any(busy)
        });
        let mut calls = Vec::new();
        wait_until("two that sleep", || {
            calls = threads(&see()).iter().map(|t| t["at"]["name"].clone()).collect();
            calls.iter().filter(|name| name.is_string()).count() >= 2
        });
        let sleeps = |name: &Value| name.as_str().is_some_and(|name| name.contains("nanosleep"));
        assert!(calls.iter().any(|name| name == "futex"), "{caller:?} {calls:?}");
        assert!(calls.iter().any(|name| sleeps(name) || name == "select"), "{calls:?}");
        let seen = see();
        assert_eq!(threads(&seen)[0]["pids"], serde_json::json!([web, 1]), "{caller:?}");
        let maps = fs::read_to_string(format!("/proc/{web}/maps")).expect("maps");
        let mut stacks = Vec::new();
        for thread in threads(&seen) {
            let tid = &thread["pids"][0];
            let task = |file: &str| {
                fs::read_to_string(format!("/proc/{web}/task/{tid}/{file}")).expect("a thread")
            };
            assert_eq!(thread["name"], task("comm").trim());
            if let Some(start) = thread["stack"]["start"].as_u64() {
                let end = thread["stack"]["end"].as_u64().expect("an end");
                let line = format!("{start:08x}-{end:08x} rw");
                assert!(maps.contains(&line), "{line} is not in {maps}");
                stacks.push(start);
            }
        }
        let count = stacks.len();
        stacks.sort_unstable();
        stacks.dedup();
        assert!(count >= 2 && stacks.len() == count, "each has a stack of its own: {seen}");
        let handled = seen["shared"]["handled_signals"].as_array().expect("a list");
        assert!(handled.contains(&10.into()), "SIGUSR1: {handled:?}");
        assert_eq!(
            seen["shared"]["files"],
            fs::read_dir(format!("/proc/{web}/fd")).expect("fd").count()
        );

        let text = sandbox.call(&["threads", "web"]);
        let busiest = text.ok().lines().last().expect("a sentence");
        assert!(text.stdout.contains("USR1"), "{text:?}");
        assert!(busiest.starts_with("Thread ") || text.stdout.contains("\nThread "), "{text:?}");
        let wide = on_a_terminal_of(160, &mut sandbox.minibox(&["threads", "web"]));
        assert!(wide.stdout.contains("FORCED") && !text.stdout.contains("FORCED"), "{wide:?}");
    }
}

#[test]
fn what_may_not_be_read_is_hidden() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let sleep = Beside::spawn(Command::new("sleep").arg("1000"));
        let pid = sleep.pid().to_string();
        let see = || json(&sandbox.call(&["threads", "--format", "json", &pid]));
        if matches!(caller, Caller::SingleId | Caller::SubordinateIds) {
            let seen = see();
            assert_eq!(seen["threads"][0]["at"]["denied"], true);
            assert_eq!(seen["threads"][0]["stack"]["denied"], true);
            assert_eq!(seen["shared"]["cwd"]["denied"], true);
            assert!(sandbox.call(&["threads", &pid]).ok().contains("(hidden)"));
        } else {
            wait_until("its sleep", || see()["threads"][0]["at"]["name"] == "clock_nanosleep");
            let text = sandbox.call(&["threads", &pid]);
            assert!(text.ok().contains("What it waits for: time to pass"), "{text:?}");
        }
    }
}
