//! `pause` and `unpause`: by the freezer of the cgroup for root, by SIGSTOP for a plain user.

use std::fs;

use minibox_tests::{Caller, Ran, Sandbox, cgroup_file, is_alive, wait_until};

/// Two processes that count, each into a file of its own.
const COUNT: &str = "count() { n=0; while :; do n=$((n+1)); echo $n > /data/$1; done; }
    count one & count two";

/// A container that does so.
struct Counting {
    sandbox: Sandbox,
    id: String,
}

impl Counting {
    #[track_caller]
    fn new(caller: Caller, options: &[&str]) -> Counting {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/data", sandbox.folder("data").display());
        let id = sandbox.start(&[options, &["-v", &volume]].concat(), &["sh", "-c", COUNT]);
        let counting = Counting { sandbox, id };
        counting.wait_for_progress();
        counting
    }

    fn paused(caller: Caller) -> Counting {
        let counting = Counting::new(caller, &[]);
        counting.call(&["pause"]).ok();
        counting
    }

    #[track_caller]
    fn call(&self, verb: &[&str]) -> Ran {
        self.sandbox.call(&[verb, &[&self.id]].concat())
    }

    fn counts(&self) -> [u64; 2] {
        ["one", "two"].map(|name| {
            // Empty for the moment between opening and writing.
            let text = fs::read_to_string(self.sandbox.path("data").join(name));
            text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        })
    }

    #[track_caller]
    fn wait_for_progress(&self) {
        let before = self.counts();
        wait_until("both processes count on", || {
            let now = self.counts();
            now[0] > before[0] && now[1] > before[1]
        });
    }

    /// The kernel's word that nothing in it runs.
    fn is_still(&self) -> bool {
        let pid = self.sandbox.pid(&self.id);
        if !self.sandbox.caller.has_limits() {
            return letters(pid) == "TT";
        }
        let read = |file| fs::read_to_string(cgroup_file(pid, "freezer", file)).unwrap_or_default();
        read("freezer.state") == "FROZEN\n" || read("cgroup.events").contains("frozen 1")
    }
}

/// The state letters of the processes in the pid namespace of `pid`, as the host sees them.
fn letters(pid: i32) -> String {
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("it runs");
    let lives_there = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join("ns/pid")).is_ok_and(|found| found == namespace)
    };
    let letter = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    entries.filter(lives_there).filter_map(letter).collect()
}

#[test]
fn nothing_in_a_paused_container_runs_until_it_is_unpaused() {
    for caller in Caller::all() {
        let counting = Counting::new(caller, &[]);
        let paused = counting.call(&["pause"]);
        assert_eq!(paused.ok(), counting.id);
        let how =
            "has no cgroup that could be frozen, so each of its processes is stopped by SIGSTOP";
        assert_eq!(paused.stderr.contains(how), !caller.has_limits(), "{paused:?}");
        assert!(counting.is_still(), "{caller:?}");
        let before = counting.counts();
        assert_eq!(counting.sandbox.inspect(&counting.id)["State"]["Status"], "paused");
        let ps = counting.sandbox.call(&["ps"]);
        assert!(ps.ok().contains(" (Paused)"), "{ps:?}");
        assert_eq!(counting.counts(), before, "{caller:?}");

        assert_eq!(counting.call(&["unpause"]).ok(), counting.id);
        counting.wait_for_progress();
        assert_eq!(counting.sandbox.inspect(&counting.id)["State"]["Status"], "running");
        assert!(!counting.sandbox.call(&["ps"]).ok().contains("Paused"));
    }
}

#[test]
fn what_cannot_be_paused_or_unpaused_is_said() {
    for caller in Caller::all() {
        let counting = Counting::new(caller, &["--name", "counting"]);
        let call = |verb: &str| counting.sandbox.call(&[verb, "counting"]);
        call("unpause").code(1).says("container counting is not paused");
        call("pause").ok();
        call("pause").code(1).says("container counting is already paused");
        let exec = counting.sandbox.call(&["exec", "counting", "true"]);
        exec.code(125).says("container counting is paused").says("unpause");
        call("start").code(1).says("counting is paused");
        call("unpause").ok();
        counting.sandbox.call(&["exec", "counting", "true"]).ok();
        counting.sandbox.call(&["kill", "counting"]).ok();
        call("pause").code(1).says("container counting is not running");
        call("unpause").code(1).says("container counting is not running");
        let ran = counting.sandbox.call(&["pause", "nobody", "counting"]);
        ran.code(1).says("\"nobody\"").says("not running");
    }
}

#[test]
fn a_paused_container_can_be_stopped_killed_and_removed() {
    for caller in Caller::all() {
        let handler = "trap 'exit 3' TERM; touch /data/ready; while :; do sleep 0.05; done";
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/data", sandbox.folder("data").display());
        let id = sandbox.start(&["-v", &volume], &["sh", "-c", handler]);
        wait_until("it listens", || sandbox.path("data/ready").exists());
        sandbox.call(&["pause", &id]).ok();
        let stopped = sandbox.call(&["stop", "-t", "100", &id]);
        assert_eq!(stopped.ok(), id, "{caller:?}");
        assert_eq!(sandbox.inspect(&id)["State"]["ExitCode"], 3, "{caller:?}");

        for verb in [&["kill"][..], &["rm", "-f"], &["stop", "-t", "0"]] {
            let counting = Counting::paused(caller);
            let pid = counting.sandbox.pid(&counting.id);
            assert_eq!(counting.call(verb).ok(), counting.id, "{caller:?} {verb:?}");
            assert!(!is_alive(pid), "{caller:?} {verb:?}");
        }
    }
}

#[test]
fn a_paused_container_ends_with_its_minibox_process() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let options = ["--rm", "--name", "front"];
        let beside = sandbox.run_beside(&options, &["sh", "-c", "echo up; exec sleep 1000"]);
        beside.wait_for("up");
        let pid = sandbox.pid("front");
        sandbox.call(&["pause", "front"]).ok();
        beside.signal(nix::sys::signal::Signal::SIGKILL);
        wait_until("the container is gone", || !is_alive(pid));
    }
}

#[test]
fn those_who_are_being_born_are_stopped_too() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let script = "echo up; while :; do true & sleep 0 & wait; done";
        let id = sandbox.start(&[], &["sh", "-c", script]);
        let pid = sandbox.pid(&id);
        for _ in 0..10 {
            sandbox.call(&["pause", &id]).ok();
            let letters = letters(pid);
            // Who has ended and was not collected yet is a zombie.
            assert!(letters.contains('T') && !letters.contains(['R', 'S', 'D']), "{letters}");
            sandbox.call(&["unpause", &id]).ok();
        }
    }
}

#[test]
fn containers_in_a_container_are_paused_with_it() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let nested =
            "unshare -U -r -p -f sh -c 'echo deep > /data/deep; while :; do sleep 0.01; done'";
        let volume = format!("{}:/data", sandbox.folder("data").display());
        let options = ["-v", &volume, "--security-opt", "seccomp=unconfined"];
        let id = sandbox.start(&options, &["sh", "-c", nested]);
        wait_until("the nested one runs", || sandbox.path("data/deep").exists());
        let pid = sandbox.pid(&id);
        let deep = || {
            // Its number two levels down is 1.
            let entries = fs::read_dir("/proc").expect("proc").flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
            let numbers = |pid: i32| {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
                line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            };
            let mounts = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
            let (level, ours) = (numbers(pid).expect("it runs").len() + 1, mounts(pid));
            let mut found = pids.filter(|pid| {
                let is_first =
                    numbers(*pid).is_some_and(|n| n.len() == level && n[level - 1] == "1");
                is_first && mounts(*pid) == ours
            });
            found.next().expect("the nested one")
        };
        let deep = deep();
        sandbox.call(&["pause", &id]).ok();
        assert_eq!(&letters(deep)[..1], "T", "{caller:?}");
        sandbox.call(&["unpause", &id]).ok();
        assert!(!letters(deep).contains('T'));
    }
}
