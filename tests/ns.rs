//! `minibox ns`: what lsns, /proc and a look from inside say.

use std::fs;
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox};
use serde_json::Value;

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

fn json(ran: &Ran) -> Value {
    serde_json::from_str(ran.ok()).expect("JSON")
}

fn of<'a>(seen: &'a Value, kind: &str) -> &'a Value {
    let all = seen["namespaces"].as_array().expect("a list");
    all.iter().find(|namespace| namespace["kind"] == kind).expect("each kind")
}

fn inode(pid: i32, kind: &str) -> u64 {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a link");
    let digits = link.to_string_lossy().replace([':', '[', ']'], "");
    digits.trim_start_matches(kind).parse().expect("a number")
}

/// PID 1's, where this process may know it.
fn hosts(kind: &str) -> u64 {
    let of_first = fs::metadata(format!("/proc/1/ns/{kind}"));
    inode(if of_first.is_ok() { 1 } else { std::process::id() as i32 }, kind)
}

#[test]
fn the_eight_are_the_kernels_and_facts_are_those_from_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options = ["--name", "web", "--hostname", "pinguin", "--net", "none"];
        sandbox.start(&options, &["sleep", "1000"]);
        let pid = sandbox.pid("web");
        let seen = json(&sandbox.call(&["ns", "--format", "json", "web"]));
        for kind in KINDS {
            let namespace = of(&seen, kind);
            assert_eq!(namespace["inode"], inode(pid, kind), "{caller:?} {kind}");
            let is_own = kind != "time" && (kind != "user" || caller != Caller::Root);
            assert_eq!(inode(pid, kind) != hosts(kind), is_own, "{kind}");
            if is_own {
                assert_eq!(namespace["containers"], serde_json::json!(["web"]), "{kind}");
                assert_eq!(namespace["processes"], 1);
            }
            if caller == Caller::Root {
                assert_eq!(namespace["hosts"], hosts(kind));
            }
        }
        let facts = &seen["facts"];
        let inside =
            |command: &[&str]| sandbox.call(&[&["exec", "web"], command].concat()).ok().to_owned();
        assert_eq!(facts["hostname"], inside(&["hostname"]), "{caller:?}");
        assert_eq!(facts["hostname"], "pinguin");
        let mounts = inside(&["cat", "/proc/self/mountinfo"]).lines().count();
        assert_eq!(facts["mounts"], mounts);
        assert_eq!(facts["interfaces"][0]["name"], "lo");
        assert_eq!(facts["interfaces"][0]["addresses"][0], "127.0.0.1");
        assert_eq!(facts["first"]["pid"], pid);
        let ipc = serde_json::json!({"shared_memory": 0, "semaphores": 0, "queues": 0});
        assert_eq!(facts["ipc"], ipc);
        let map = inside(&["cat", "/proc/self/uid_map"]);
        let lines = facts["uid_map"].as_array().expect("a map").len();
        assert_eq!(map.lines().count(), lines);
        assert_eq!(facts["cgroup_inside"], "/");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        assert_eq!(seen["host"]["hostname"], host.trim());

        let text = sandbox.call(&["ns", "web"]);
        let said = text.ok().split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = format!("It calls this machine pinguin; the host calls it {}.", host.trim());
        assert!(said.contains(&sentence), "{said}");
        assert!(said.contains(&format!("number 1 is sleep 1000, on this host {pid}.")), "{said}");
    }
}

#[test]
fn who_lives_there_is_what_lsns_counts() {
    for caller in Caller::root_only("lsns of everybody") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sh", "-c", "sleep 1000 & sleep 1001"]);
        let web = sandbox.pid("web");
        let seen = || json(&sandbox.call(&["ns", "--format", "json", "web"]));
        minibox_tests::wait_until("both", || of(&seen(), "pid")["processes"] == 3);
        let arguments = ["-p", &web.to_string(), "-no", "TYPE,NPROCS,NS"];
        let listed = Ran::of(&Command::new("lsns").args(arguments).output().expect("lsns"));
        let seen = seen();
        let mut compared = 0;
        for line in listed.ok().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let namespace = of(&seen, words[0]);
            assert_eq!(namespace["inode"].to_string(), words[2], "{line}");
            if namespace["inode"] != namespace["hosts"] {
                assert_eq!(namespace["processes"].to_string(), words[1], "{line}");
                compared += 1;
            }
        }
        assert!(compared >= 5, "{listed:?}");
    }
}

#[test]
fn objects_and_names_of_a_foreign_namespace_are_told() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "import ctypes, time
libc = ctypes.CDLL(None)
for size in (4096, 8192): libc.shmget(0, size, 0o1600)
libc.msgget(0, 0o1600)
print('made', flush=True)
time.sleep(1000)";
        sandbox.start(&["--name", "web"], &["python", "-c", script]);
        minibox_tests::wait_until("the objects", || {
            sandbox.call(&["logs", "web"]).stdout.contains("made")
        });
        let seen = json(&sandbox.call(&["ns", "--format", "json", "web"]));
        let ipc = serde_json::json!({"shared_memory": 2, "semaphores": 0, "queues": 1});
        assert_eq!(seen["facts"]["ipc"], ipc, "{caller:?}");
    }
}

#[test]
fn two_are_compared() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "a", "--hostname", "one"], &["sleep", "1000"]);
        let options =
            ["--name", "b", "--net", "container:a", "--uts", "container:a", "--pid", "container:a"];
        sandbox.start(&options, &["sleep", "1001"]);
        let seen = json(&sandbox.call(&["ns", "--format", "json", "a", "b"]));
        let (a, b) = (sandbox.pid("a"), sandbox.pid("b"));
        let shared: Vec<&str> =
            KINDS.into_iter().filter(|kind| inode(a, kind) == inode(b, kind)).collect();
        assert_eq!(seen["other"]["shared"], serde_json::json!(shared), "{caller:?}");
        assert_eq!(seen["other"]["pid"], b);
        let text = sandbox.call(&["ns", "a", "b"]);
        let said = text.ok().split_whitespace().collect::<Vec<_>>().join(" ");
        for sentence in [
            "They reach each other on 127.0.0.1, and cannot both listen on one port.",
            "They see each other's processes under the same numbers, and may send them signals.",
            "Both are called one;",
            "Neither finds shared memory",
        ] {
            assert!(said.contains(sentence), "{caller:?} {sentence}: {said}");
        }
        let host = sandbox.call(&["ns", "self", "a"]);
        let said = host.ok().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("sees the processes of a under numbers of this host"), "{said}");
    }
}

#[test]
fn a_name_that_belongs_to_another_user_namespace_is_told_all_the_same() {
    for caller in Caller::root_only("--userns auto") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "a", "--hostname", "one"], &["sleep", "1000"]);
        let options = ["--name", "b", "--userns", "auto", "--uts", "container:a"];
        sandbox.start(&options, &["sleep", "1000"]);
        let seen = json(&sandbox.call(&["ns", "--format", "json", "b"]));
        assert_eq!(seen["facts"]["hostname"], "one");
        assert_eq!(seen["facts"]["cgroup_inside"], "/");
    }
}

#[test]
fn what_may_not_be_known_is_said_to_be_hidden() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let mut sleep = Command::new("sleep");
        let sleep = minibox_tests::Beside::spawn(sleep.arg("1000"));
        if caller == Caller::Myself {
            continue;
        }
        let seen = json(&sandbox.call(&["ns", "--format", "json", &sleep.pid().to_string()]));
        for kind in KINDS {
            assert_eq!(of(&seen, kind)["inode"]["denied"], true, "{kind}");
        }
        assert_eq!(seen["facts"]["hostname"]["denied"], true);
        assert!(seen["facts"]["mounts"].is_u64());
    }
}
