//! -m, --cpus and --pids-limit: in the cgroup's files and in effect.

use std::fs;
use std::path::Path;

use minibox_tests::{
    Caller, Ran, Sandbox, cgroup_file, is_alive, is_version_2, limit, skip, wait_until,
};

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
        assert_eq!(sandbox.inspect("hog")["State"]["OOMKilled"], true);

        let id = sandbox.start(&["-m", "32m"], &HOG);
        assert_eq!(sandbox.call(&["wait", &id]).ok(), "137");
        assert_eq!(sandbox.inspect(&id)["State"]["OOMKilled"], true);
        assert!(sandbox.call(&["ps", "-a"]).ok().contains("Exited (137)"));

        // Killed by hand is not for want of memory.
        let id = sandbox.start(&["-m", "32m"], &["sleep", "1000"]);
        sandbox.call(&["kill", &id]).ok();
        assert_eq!(sandbox.inspect(&id)["State"]["OOMKilled"], false);
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
        assert_eq!(sandbox.inspect(&id)["State"]["Status"], "running");
    }
}

#[test]
fn a_plain_user_hears_in_one_line_that_limits_have_no_effect() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        if Path::new(&format!("/run/user/{}/bus", sandbox.uid())).exists() {
            skip("limits without effect", "this user has a systemd of his own");
            continue;
        }
        let lines = |options: &[&str]| {
            let ran = sandbox.run(options, &["true"]).code(0).clone();
            ran.stderr
                .lines()
                .filter(|l| l.contains("no effect"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let [one] = &lines(&["-m", "64m"])[..] else { panic!("one line") };
        assert!(one.starts_with("minibox: -m/--memory: no effect, "), "{one}");
        // Where systemd runs, his own manager could make him a cgroup: tests/systemd.rs.
        let runs = is_version_2() && Path::new("/run/systemd/system").exists();
        let advice =
            if runs { "`loginctl enable-linger` as root" } else { "run as root for limits" };
        assert!(one.ends_with(advice), "{one}");
        let [all] = &lines(&["-m", "64m", "--cpus", "1", "--pids-limit", "9"])[..] else {
            panic!("one line")
        };
        assert!(
            all.starts_with("minibox: -m/--memory, --cpus, --pids-limit: no effect, "),
            "{all}"
        );
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

#[test]
fn every_limit_of_the_cgroup_has_its_flag() {
    for caller in Caller::root_only("every limit") {
        let sandbox = Sandbox::new(caller);
        let flags = "-m 64m --memory-swap 96m --memory-reservation 32m --cpu-period 50000 \
            --cpu-quota 20000 -c 512 --cpuset-cpus 0 --cpuset-mems 0 --blkio-weight 300";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let pid = sandbox.pid(&sandbox.start(&flags, &["sleep", "1000"]));
        assert_eq!(limit(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        assert_eq!(limit(pid, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
        if is_version_2() {
            let read = |file: &str| limit(pid, file.split('.').next().unwrap_or(""), file, file);
            // Swap alone, and docker's 512 shares in the kernel's weights.
            assert_eq!(read("memory.swap.max"), (32 << 20).to_string());
            assert_eq!(read("memory.low"), (32 << 20).to_string());
            assert_eq!(read("cpu.max"), "20000 50000");
            assert_eq!(read("cpu.weight"), "59");
            let weights = ["io.bfq.weight", "io.weight"].map(|file| cgroup_file(pid, "io", file));
            let weights = weights.iter().filter_map(|file| fs::read_to_string(file).ok());
            let weights: Vec<String> = weights.collect();
            assert!(
                weights.iter().any(|w| w == "default 300\n" || w == "default 2930\n"),
                "{weights:?}"
            );
        } else {
            let read = |controller, file| limit(pid, controller, file, file);
            let both = read("memory", "memory.memsw.limit_in_bytes");
            assert_eq!(both, (96 << 20).to_string());
            assert_eq!(read("memory", "memory.soft_limit_in_bytes"), (32 << 20).to_string());
            assert_eq!(read("cpu", "cpu.cfs_period_us"), "50000");
            assert_eq!(read("cpu", "cpu.cfs_quota_us"), "20000");
            assert_eq!(read("cpu", "cpu.shares"), "512");
            assert_eq!(read("blkio", "blkio.bfq.weight"), "300");
        }
    }
}

#[test]
fn swap_is_as_much_again_where_nothing_is_said() {
    for caller in Caller::root_only("the limit of swap") {
        let sandbox = Sandbox::new(caller);
        let swap = |options: &[&str]| {
            let pid = sandbox.pid(&sandbox.start(options, &["sleep", "1000"]));
            limit(pid, "memory", "memory.swap.max", "memory.memsw.limit_in_bytes")
        };
        let both =
            |bytes: u64| (if is_version_2() { bytes } else { bytes + (64 << 20) }).to_string();
        assert_eq!(swap(&["-m", "64m"]), both(64 << 20));
        assert_eq!(swap(&["-m", "64m", "--memory-swap", "64m"]), both(0));
        let unlimited = swap(&["-m", "64m", "--memory-swap", "-1"]);
        assert!(unlimited == "max" || unlimited.parse::<u64>().expect("bytes") > 1 << 62);
    }
}

#[test]
fn a_cpuset_is_what_the_program_sees() {
    for caller in Caller::root_only("cpusets in effect") {
        let sandbox = Sandbox::new(caller);
        let script = "import os; print(os.sched_getaffinity(0))";
        let ran = sandbox.run(&["--cpuset-cpus", "0"], &["python", "-c", script]);
        assert_eq!(ran.ok(), "{0}");
    }
}

#[test]
fn ulimits_are_those_of_the_program() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "
from resource import *
for limit in RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_STACK, RLIMIT_CORE: print(*getrlimit(limit))";
        let flags = ["--ulimit", "nofile=50", "--ulimit", "nofile=100:200", "--ulimit"];
        let flags = [&flags[..], &["fsize=1000000:2000000", "--ulimit", "stack=1048576"]].concat();
        let ran = sandbox.run(&flags, &["python", "-c", script]);
        let lines: Vec<&str> = ran.ok().lines().collect();
        assert_eq!(lines, ["100 200", "1000000 2000000", "1048576 1048576", "0 0"], "{caller:?}");
        // A further program has them too.
        let id = sandbox.start(&flags, &["sleep", "1000"]);
        let exec = sandbox.call(&["exec", &id, "sh", "-c", "ulimit -n"]);
        assert_eq!(exec.ok(), "100");
    }
}

#[test]
fn shared_memory_has_its_size() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let size = |options: &[&str]| {
            let script = "df -k /dev/shm | tail -1 | awk '{ print $2 }'";
            sandbox.sh(options, script).ok().to_owned()
        };
        assert_eq!(size(&[]), "65536", "{caller:?}");
        assert_eq!(size(&["--shm-size", "3m"]), "3072", "{caller:?}");
    }
}

#[test]
fn kernel_parameters_of_its_namespaces() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let read =
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_unprivileged_port_start";
        let flags = ["--sysctl", "net.ipv4.ip_forward=1"];
        assert_eq!(sandbox.sh(&flags, read).ok(), "1\n0", "{caller:?}");
        let other = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=80"];
        assert_eq!(sandbox.sh(&other, read).ok(), "0\n80", "{caller:?}");
    }
    for caller in Caller::root_only("kernel parameters of ipc") {
        let sandbox = Sandbox::new(caller);
        let flags = ["--sysctl", "kernel.shmmax=123456", "--sysctl", "fs.mqueue.msg_max=20"];
        let read = "cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max";
        assert_eq!(sandbox.sh(&flags, read).ok(), "123456\n20");
    }
}

#[test]
fn parameters_of_the_whole_machine_are_refused() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for key in ["kernel.panic", "vm.swappiness", "kernel.hostname", "fs.file-max"] {
            let ran = sandbox.run(&["--sysctl", &format!("{key}=1")], &["true"]);
            ran.code(125)
                .says(&format!("--sysctl {key}: this is a parameter of the whole machine"));
        }
        let host = sandbox.run(&["--net", "host", "--sysctl", "net.ipv4.ip_forward=0"], &["true"]);
        host.code(125)
            .says("--sysctl net.ipv4.ip_forward would change this host")
            .says("--net host");
        assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    }
}

#[test]
fn every_wrong_value_is_named_before_anything_is_made() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (flag, values) in [
            ("--memory-swap", &["", "-2", "64x"][..]),
            ("--memory-reservation", &["0", "much"]),
            ("--cpu-period", &["999", "1000001"]),
            ("--cpu-quota", &["0", "999", "-2"]),
            ("--cpu-shares", &["0", "1", "262145"]),
            ("--cpuset-cpus", &["", "a", "1-0", "0,"]),
            ("--cpuset-mems", &["", "0-"]),
            ("--blkio-weight", &["9", "1001"]),
            ("--shm-size", &["0", "", "-1", "1x"]),
            ("--ulimit", &["nofile", "files=1", "nofile=-2", "nofile=1:2:3", "nofile="]),
            ("--sysctl", &["", "net.ipv4.ip_forward", "net..x=1", "../x=1"]),
            ("--device", &["", "fuse", "/dev/null:x", "/dev/null:/dev/x:rr", "/dev/null:/../x"]),
            ("--device-cgroup-rule", &["", "c 1:3", "x 1:3 rwm", "c 1:3 rwx", "c 1 r"]),
        ] {
            for value in values {
                let ran = sandbox.run(&[&format!("{flag}={value}")], &["true"]);
                ran.code(125)
                    .says(&format!("minibox: {flag} {value:?} is not understood\n  hint: "));
            }
        }
        for (flags, says) in [
            (&["--memory-swap", "1g"][..], "--memory-swap needs -m/--memory"),
            (&["-m", "64m", "--memory-swap", "32m"], "is less than --memory"),
            (&["-m", "64m", "--memory-reservation", "65m"], "is more than --memory"),
            (&["--cpus", "1", "--cpu-quota", "5000"], "--cpu-quota"),
            (&["--cpuset-cpus", "100000"], "this machine has 0"),
            (&["--ulimit", "nofile=6:5"], "the soft limit is above the hard one"),
            (&["--device", "/dev/no-such-thing"], "there is no device /dev/no-such-thing"),
            (&["--device", "/etc/passwd"], "there is no device /etc/passwd"),
        ] {
            sandbox.run(flags, &["true"]).code(125).says(says);
        }
        assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    }
}

#[test]
fn more_than_ones_own_hard_limit_is_refused() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let wrapper = ["sh", "-c", "ulimit -n 1000; exec \"$@\"", "sh"];
        let rootfs = sandbox.rootfs();
        let args = ["run", "--ulimit", "nofile=1001", &rootfs, "true"];
        let ran = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("it starts"));
        ran.code(125).says("--ulimit nofile=1001: your own hard limit is 1000");
    }
}
