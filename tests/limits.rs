//! -m, --cpus and --pids-limit: in the cgroup's files and in effect.

use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Sandbox, cgroup_file, is_alive, wait_until};

/// A limit of a running container: by its name in version 2, or by its controller's and name in version 1.
#[track_caller]
fn limit(pid: i32, controller: &str, v2: &str, v1: &str) -> String {
    let unified = cgroup_file(pid, controller, v2);
    let file = if unified.exists() { unified } else { cgroup_file(pid, controller, v1) };
    fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        .trim()
        .to_owned()
}

fn is_version_2() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    !mounts.contains(" - cgroup ")
}

#[test]
fn limits_stand_in_the_cgroups_files() {
    for caller in Caller::root_only("limits in the cgroup's files") {
        let sandbox = Sandbox::new(caller);
        let options = ["-m", "64m", "--cpus", "0.25", "--pids-limit", "7"];
        let pid = sandbox.pid(&sandbox.start(&options, &["sleep", "1000"]));
        assert_eq!(
            limit(pid, "memory", "memory.max", "memory.limit_in_bytes"),
            (64 << 20).to_string()
        );
        assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "7");
        if is_version_2() {
            assert_eq!(limit(pid, "cpu", "cpu.max", "cpu.max"), "25000 100000");
        } else {
            assert_eq!(limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.cfs_quota_us"), "25000");
            assert_eq!(limit(pid, "cpu", "cpu.cfs_period_us", "cpu.cfs_period_us"), "100000");
        }
    }
}

#[test]
fn without_flags_only_the_number_of_processes_is_limited() {
    for caller in Caller::root_only("the default limits") {
        let sandbox = Sandbox::new(caller);
        let pid = sandbox.pid(&sandbox.start(&[], &["sleep", "1000"]));
        assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "512");
        let memory = limit(pid, "memory", "memory.max", "memory.limit_in_bytes");
        assert!(memory == "max" || memory.parse::<u64>().expect("bytes") > 1 << 62, "{memory}");
        let cpu = if is_version_2() {
            limit(pid, "cpu", "cpu.max", "cpu.max")
        } else {
            limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.cfs_quota_us")
        };
        assert!(cpu.starts_with("max") || cpu == "-1", "{cpu}");
        let pid = sandbox.pid(&sandbox.start(&["--pids-limit", "-1"], &["sleep", "1000"]));
        assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "max");
    }
}

#[test]
fn memory_is_counted_in_dockers_units() {
    for caller in Caller::root_only("units of memory") {
        let sandbox = Sandbox::new(caller);
        for (text, bytes) in [
            ("16777216", 16 << 20),
            ("20480k", 20 << 20),
            ("32MB", 32 << 20),
            ("1g", 1 << 30),
            ("0.5GiB", 1 << 29),
        ] {
            let id = sandbox.start(&["-m", text], &["sleep", "1000"]);
            let limit = limit(sandbox.pid(&id), "memory", "memory.max", "memory.limit_in_bytes");
            assert_eq!(limit, bytes.to_string(), "{text}");
            sandbox.call(&["rm", "-f", &id]).ok();
        }
    }
}

/// Takes ever more memory, and touches it.
const HOG: [&str; 3] =
    ["python", "-c", "all = []\nwhile True: all.append(bytearray(b'x' * (1 << 20)))"];

#[test]
fn who_takes_more_memory_than_allowed_is_killed_and_it_is_said() {
    for caller in Caller::root_only("the memory limit in effect") {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["-m", "32m", "--name", "hog"], &HOG);
        ran.code(137).says("minibox: out of memory: the kernel killed it at its limit of 32 MiB");
        assert_eq!(sandbox.inspect("hog")["exit"]["out_of_memory"], true);

        let id = sandbox.start(&["-m", "32m"], &HOG);
        assert_eq!(sandbox.call(&["wait", &id]).ok(), "137");
        assert_eq!(sandbox.inspect(&id)["exit"]["out_of_memory"], true);
        assert!(sandbox.call(&["ps", "-a"]).ok().contains("exited (137)"));

        // Killed by hand is not for want of memory.
        let id = sandbox.start(&["-m", "32m"], &["sleep", "1000"]);
        sandbox.call(&["kill", &id]).ok();
        assert_eq!(sandbox.inspect(&id)["exit"]["out_of_memory"], false);
    }
}

#[test]
fn a_child_killed_for_want_of_memory_leaves_the_container_running() {
    for caller in Caller::root_only("a child out of memory") {
        let sandbox = Sandbox::new(caller);
        let script = format!("python -c \"{}\"; echo its status was $?; exit 3", HOG[2]);
        let ran = sandbox.sh(&["-m", "32m"], &script);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, "its status was 137\n"), "{ran:?}");
    }
}

#[test]
fn a_cpu_quota_throttles() {
    for caller in Caller::root_only("the cpu quota in effect") {
        let sandbox = Sandbox::new(caller);
        let throttled = |pid| {
            let stat = fs::read_to_string(cgroup_file(pid, "cpu", "cpu.stat")).expect("cpu.stat");
            let count =
                stat.lines().find_map(|l| l.strip_prefix("nr_throttled ")).expect("nr_throttled");
            count.parse::<u64>().expect("a number")
        };
        let busy = ["sh", "-c", "while :; do :; done"];
        let limited = sandbox.pid(&sandbox.start(&["--cpus", "0.05"], &busy));
        wait_until("it is throttled again and again", || throttled(limited) >= 3);
        let free = sandbox.pid(&sandbox.start(&["--cpus", "100"], &busy));
        wait_until("the limited one is throttled on", || throttled(limited) >= 6);
        assert_eq!(throttled(free), 0);
    }
}

#[test]
fn a_fork_bomb_stops_at_the_limit_and_can_be_killed() {
    let bomb = "
import errno, os, time
children = 0
while True:
    try:
        if os.fork() == 0: time.sleep(1000)
        children += 1
    except OSError as error:
        print(children, errno.errorcode[error.errno], flush=True)
        time.sleep(1000)";
    for caller in Caller::root_only("a fork bomb") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--pids-limit", "20"], &["python", "-c", bomb]);
        wait_until("fork fails", || !sandbox.call(&["logs", &id]).stdout.is_empty());
        assert_eq!(sandbox.call(&["logs", &id]).ok(), "19 EAGAIN");
        let pid = sandbox.pid(&id);
        assert_eq!(limit(pid, "pids", "pids.current", "pids.current"), "20");
        sandbox.call(&["rm", "-f", &id]).ok();
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_real_fork_bomb_does_not_take_the_machine_with_it() {
    for caller in Caller::root_only("a real fork bomb") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(
            &["--pids-limit", "50"],
            &["sh", "-c", "bomb() { bomb | bomb & }; bomb; while :; do :; done"],
        );
        let file = cgroup_file(sandbox.pid(&id), "pids", "pids.events");
        let is_hit =
            || fs::read_to_string(&file).is_ok_and(|text| !text.trim_end().ends_with("max 0"));
        wait_until("the limit is hit", is_hit);
        sandbox.call(&["rm", "-f", &id]).ok();
        wait_until("its cgroup is gone", || !file.exists());
    }
}

#[test]
fn its_cgroup_ends_with_it() {
    for caller in Caller::root_only("the end of the cgroup") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["-m", "64m"], &["sh", "-c", "sleep 1000 & exec sleep 1000"]);
        let pid = sandbox.pid(&id);
        let folders: Vec<_> = ["memory", "pids", "cpu"]
            .map(|controller| {
                cgroup_file(pid, controller, "cgroup.procs").parent().expect("a folder").to_owned()
            })
            .into();
        assert!(
            folders.iter().all(|folder| folder.is_dir() && folder != Path::new("/sys/fs/cgroup"))
        );
        let procs = fs::read_to_string(folders[0].join("cgroup.procs")).expect("it");
        assert!(procs.lines().any(|line| line == pid.to_string()), "{procs}");
        sandbox.call(&["kill", &id]).ok();
        assert!(
            folders.iter().all(|folder| !folder.exists()),
            "gone with its processes, before rm"
        );
    }
}

#[test]
fn exec_counts_within_the_limits() {
    for caller in Caller::root_only("limits of exec") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["-m", "64m"], &["sleep", "1000"]);
        let hogged = sandbox.call(&[&["exec", &id][..], &HOG].concat());
        hogged.code(137);
        assert_eq!(sandbox.inspect(&id)["status"], "running");
    }
}

#[test]
fn a_plain_user_hears_in_one_line_that_limits_have_no_effect() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let lines = |options: &[&str]| {
            let ran = sandbox.run(options, &["true"]).code(0).clone();
            ran.stderr
                .lines()
                .filter(|l| l.contains("no effect"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let [one] = &lines(&["-m", "64m"])[..] else { panic!("one line") };
        assert!(one.starts_with("minibox: -m/--memory has no effect: "), "{one}");
        assert!(one.ends_with("run as root for limits"), "{one}");
        let [all] = &lines(&["-m", "64m", "--cpus", "1", "--pids-limit", "9"])[..] else {
            panic!("one line")
        };
        assert!(all.starts_with("minibox: -m/--memory, --cpus, --pids-limit ha"), "{all}");
        assert_eq!(lines(&[]), [""; 0]);
    }
}

#[test]
fn wrong_values_are_refused_with_flag_and_value() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for text in
            ["", "much", "64x", "-64m", "0", "1e400", "nan", "99999999999999999999g", "64 m"]
        {
            let ran = sandbox.run(&[&format!("--memory={text}")], &["true"]);
            ran.code(125).says(&format!("minibox: --memory {text:?} is not understood\n  hint: "));
        }
        for text in ["", "half", "0", "-1", "inf", "nan", "0.001"] {
            let ran = sandbox.run(&[&format!("--cpus={text}")], &["true"]);
            ran.code(125).says(&format!("minibox: --cpus {text:?} is not understood\n  hint: "));
        }
        for text in ["0", "-2"] {
            let ran = sandbox.run(&[&format!("--pids-limit={text}")], &["true"]);
            ran.code(125)
                .says(&format!("minibox: --pids-limit {text:?} is not understood\n  hint: "));
        }
        for text in ["", "many", "1.5", "99999999999999999999"] {
            sandbox
                .run(&[&format!("--pids-limit={text}")], &["true"])
                .code(125)
                .says("--pids-limit")
                .says(text);
        }
        assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    }
}

#[test]
fn a_limit_too_small_to_start_with_says_so() {
    for caller in Caller::root_only("a tiny memory limit") {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["-m", "4k"], &["true"]);
        ran.code(125).says("-m");
        assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    }
}
