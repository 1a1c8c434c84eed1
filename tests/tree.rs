//! `minibox tree`: the host's processes and the containers' are the same, and ps agrees.

use std::fs;
use std::process::Command;

use minibox_tests::{Beside, Caller, Ran, Sandbox, on_a_terminal_of, wait_until};
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

fn processes(seen: &Value) -> &[Value] {
    seen["processes"].as_array().expect("a list")
}

fn of(seen: &Value, pid: i64) -> &Value {
    let found = processes(seen).iter().find(|process| process["pid"] == pid);
    found.unwrap_or_else(|| panic!("{pid} is not in {seen}"))
}

/// A line of proc_pid_status(5).
fn status(pid: i64, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the line");
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn one_process_has_a_number_on_the_host_and_one_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sh", "-c", "sleep 1000 & sleep 1001"]);
        sandbox.call(&["exec", "-d", "web", "sleep", "1002"]).code(0);
        let web = i64::from(sandbox.pid("web"));
        let inside = || {
            let seen = json(&sandbox.call(&["tree", "--format", "json", "web"]));
            assert_eq!((&seen["pid"], &seen["container"]), (&web.into(), &"web".into()));
            let members = processes(&seen).iter().filter(|p| p["container"] == "web");
            (members.cloned().collect::<Vec<_>>(), seen)
        };
        wait_until("the container's programs", || {
            let (members, _) = inside();
            let has = |word: &str| members.iter().any(|p| p["arguments"][1] == word);
            members.len() == 4 && has("1000") && has("1001") && has("1002")
        });
        let (members, seen) = inside();
        for member in &members {
            let pid = member["pid"].as_i64().expect("a pid");
            let pids: Vec<String> =
                status(pid, "NSpid").split_whitespace().map(str::to_owned).collect();
            let said: Vec<String> =
                member["pids"].as_array().expect("pids").iter().map(Value::to_string).collect();
            assert_eq!(said, pids, "{caller:?}");
            assert_eq!(member["parent"].to_string(), status(pid, "PPid"));
        }
        assert_eq!(of(&seen, web)["pids"][1], 1);
        assert_eq!(seen["levels"], 2);
        // Above it stands whoever leads there, up to the host's PID 1, and nobody else.
        let mut above = of(&seen, web)["parent"].as_i64().expect("a pid");
        while above != 0 && processes(&seen).iter().any(|p| p["pid"] == above) {
            assert_eq!(of(&seen, above)["container"], Value::Null);
            above = of(&seen, above)["parent"].as_i64().expect("a pid");
        }
        let ours = i64::from(std::process::id());
        assert!(processes(&seen).iter().all(|p| p["pid"] != ours));

        let text = sandbox.call(&["tree", "web"]);
        let line = text.ok().lines().find(|line| line.trim_start().starts_with(&web.to_string()));
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[0], words[1], words[4]), (&*web.to_string(), "1", "web"), "{line}");
        assert!(line.ends_with("sh -c 'sleep 1000 & sleep 1001'"), "{line}");
        let said = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = format!("{web} on this host and 1 inside are one and the same process.");
        assert!(said.contains(&sentence), "{said}");
    }
}

#[test]
fn the_whole_host_is_what_ps_says() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        let ps = || {
            let output = Command::new("ps").args(["-eo", "pid=,ppid=,comm="]).output();
            Ran::of(&output.expect("ps")).ok().to_owned()
        };
        let (before, seen, after) =
            (ps(), json(&sandbox.call(&["tree", "--all", "--format", "json"])), ps());
        // Those that were there before and after.
        let lines = before.lines().filter(|line| after.lines().any(|other| other == *line));
        let mut count = 0;
        for line in lines {
            let mut words = line.split_whitespace();
            let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
            let (pid, parent) = (number().expect("a pid"), number().expect("a parent"));
            assert_eq!(of(&seen, pid)["parent"], parent, "{line}");
            let name = of(&seen, pid)["name"].as_str().expect("a name");
            // ps adds to the names of those that have ended; the kernel's workers change theirs all the time.
            assert!(line.contains(name) || parent == 2, "{name}: {line}");
            count += 1;
        }
        assert!(count > 3, "{before}");
        // Whoever has a parent here stands below it, one step further in.
        let all = processes(&seen);
        for (at, process) in all.iter().enumerate() {
            let depth = process["depth"].as_u64().expect("a depth");
            let above = all[..at].iter().rfind(|p| p["depth"].as_u64() < Some(depth));
            let parent = above.map_or(&Value::Null, |above| &above["pid"]);
            assert!(depth == 0 || *parent == process["parent"], "{process}");
        }
        let web = i64::from(sandbox.pid("web"));
        assert_eq!(of(&seen, web)["container"], "web");
        let without = json(&sandbox.call(&["tree", "--format", "json"]));
        let kernels =
            |seen: &Value| processes(seen).iter().filter(|p| p["is_kernels"] == true).count();
        assert_eq!(kernels(&without), 0);
    }
}

#[test]
fn namespaces_in_namespaces_have_a_column_each() {
    for caller in Caller::root_only("nested pid namespaces") {
        let sandbox = Sandbox::new(caller);
        let script = "unshare --pid --fork sleep 1000";
        sandbox.start(&["--name", "outer", "--privileged"], &["sh", "-c", script]);
        let seen = || json(&sandbox.call(&["tree", "--format", "json", "outer"]));
        wait_until("the inner one", || seen()["levels"] == 3);
        let text = sandbox.call(&["tree", "outer"]);
        assert!(text.stdout.contains("INSIDE 1  INSIDE 2"), "{text:?}");
        let seen = seen();
        let inner = processes(&seen).iter().find(|p| p["arguments"][0] == "sleep").expect("sleep");
        assert_eq!((&inner["pids"][2], &inner["container"]), (&1.into(), &"outer".into()));
    }
}

#[test]
fn threads_are_shown_on_request() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "import threading, time
for number in range(2): threading.Thread(target=time.sleep, args=[1000]).start()";
        sandbox.start(&["--name", "web"], &["python", "-c", script]);
        let threads = || {
            let seen = json(&sandbox.call(&["tree", "--threads", "--format", "json", "web"]));
            let threads = processes(&seen).iter().filter(|p| p["thread_of"] != Value::Null);
            threads.cloned().collect::<Vec<_>>()
        };
        wait_until("two threads", || threads().len() == 2);
        let web = sandbox.pid("web");
        for thread in threads() {
            let tid = thread["pid"].as_i64().expect("a tid");
            assert!(fs::metadata(format!("/proc/{web}/task/{tid}")).is_ok());
            assert_eq!((&thread["thread_of"], &thread["container"]), (&web.into(), &"web".into()));
            assert_eq!(
                thread["pids"][1].to_string(),
                status(tid, "NSpid").split_whitespace().nth(1).expect("inside")
            );
        }
        let without = json(&sandbox.call(&["tree", "--format", "json", "web"]));
        assert!(processes(&without).iter().all(|p| p["thread_of"] == Value::Null));
    }
}

#[test]
fn what_a_program_calls_itself_does_not_speak_to_the_terminal() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut sleep = Command::new("bash");
        sleep.args(["-c", "exec -a \"$0\" sleep 1000", "\x1b[31m\n가나다"]);
        let sleep = Beside::spawn(&mut sleep);
        let pid = sleep.pid().to_string();
        let arguments = || {
            let seen = json(&sandbox.call(&["tree", "--format", "json", &pid]));
            of(&seen, sleep.pid().into())["arguments"].to_string()
        };
        wait_until("the program", || arguments().contains("가나다"));
        let shown = on_a_terminal_of(300, &mut sandbox.minibox(&["tree", &pid]));
        assert!(!shown.stdout.contains("\x1b[31m"), "{shown:?}");
        assert!(shown.stdout.contains(r"\u{1b}[31m\n가나다"), "{shown:?}");
        drop(sleep);
        sandbox.call(&["tree", &pid]).code(125).says("there is no process");
        sandbox.call(&["tree", "--all", "web"]).code(125);
    }
}
