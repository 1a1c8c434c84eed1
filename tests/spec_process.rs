//! `process` and what else config.json says of the program, as the runtime-spec has it.

use std::fs;
use std::path::Path;
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox, has, on_a_terminal, skip};
use serde_json::{Value, json};

/// Runs `command` with the values that stand at these JSON pointers.
#[track_caller]
fn with(sandbox: &Sandbox, values: &[(&str, Value)], command: &[&str]) -> Ran {
    sandbox.run_configured(&[], command, |config| put(config, values))
}

fn put(config: &mut Value, values: &[(&str, Value)]) {
    for (path, value) in values {
        let (parent, key) = path.rsplit_once('/').expect("a pointer");
        config.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}"))[key] = value.clone();
    }
}

fn namespaces(config: &mut Value, namespace: Value) {
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(namespace);
}

#[test]
fn the_terminal_has_the_size_that_is_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.configure(&["-it"], &["stty", "size"], |config| {
            config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        });
        let ran = on_a_terminal(&mut sandbox.minibox(&["start", "-ai", &id]));
        assert!(ran.stdout.contains("33 77"), "{caller:?}: {ran:?}");
        let too_much = [
            ("/process/terminal", json!(true)),
            ("/process/consoleSize", json!({"height": 70000, "width": 1})),
        ];
        with(&sandbox, &too_much, &["true"]).code(125).says("process.consoleSize: 70000 is above");
    }
}

#[test]
fn user_groups_and_umask() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let one =
            [("/process/user", json!({"uid": 0, "gid": 0, "umask": 0o77, "additionalGids": [0]}))];
        let script = "umask; touch /tmp/x; stat -c %a /tmp/x";
        assert_eq!(with(&sandbox, &one, &["sh", "-c", script]).ok(), "0077\n600", "{caller:?}");
        let several = [("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]}))];
        let ran = with(&sandbox, &several, &["sh", "-c", "id -u; id -G"]);
        if caller == Caller::SingleId {
            ran.code(125).says("supplementary groups need more than the one id");
        } else {
            assert_eq!(ran.ok(), "5\n6 7 8", "{caller:?}");
        }
        let missing = [("/process/user", Value::Null)];
        assert_eq!(with(&sandbox, &missing, &["id", "-u"]).ok(), "0", "{caller:?}");
    }
}

#[test]
fn all_five_sets_of_capabilities_are_as_given() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let sets = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_OF_TOMORROW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_SETUID"],
        });
        let values =
            [("/process/capabilities", sets), ("/process/user", json!({"uid": 0, "gid": 0}))];
        let ran = with(&sandbox, &values, &["grep", "Cap", "/proc/self/status"]);
        let bits = |name: &str| {
            let line = ran.ok().lines().find(|line| line.starts_with(name)).expect("a line");
            u64::from_str_radix(line.split_whitespace().nth(1).expect("a number"), 16).expect("hex")
        };
        // CHOWN 0, KILL 5, SETUID 7, which is not permitted, so it cannot be ambient.
        assert_eq!(
            (bits("CapBnd"), bits("CapInh"), bits("CapAmb")),
            (0b1010_0001, 1 << 5, 1 << 5),
            "{caller:?}"
        );
        if caller == Caller::SingleId {
            continue;
        }
        let values = [values[0].clone(), ("/process/user", json!({"uid": 5, "gid": 5}))];
        let ran = with(&sandbox, &values, &["grep", "Cap", "/proc/self/status"]);
        let line = |name: &str| {
            ran.ok().lines().find(|line| line.starts_with(name)).expect("a line").to_owned()
        };
        for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(line(name).ends_with("0000000000000020"), "{caller:?}: {ran:?}");
        }
    }
}

#[test]
fn what_cannot_be_granted_is_left_out() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let all: Vec<String> = ["CHOWN", "SYS_RESOURCE", "MAC_ADMIN", "CHECKPOINT_RESTORE", "KILL"]
            .map(|name| format!("CAP_{name}"))
            .to_vec();
        let sets = json!({"bounding": all, "permitted": all, "effective": all});
        let ran = with(
            &sandbox,
            &[("/process/capabilities", sets)],
            &["grep", "CapBnd", "/proc/self/status"],
        );
        let bits =
            u64::from_str_radix(ran.ok().split_whitespace().nth(1).expect("hex"), 16).expect("hex");
        assert_eq!(bits & 0b10_0001, 0b10_0001, "CHOWN and KILL, {caller:?}");
    }
}

#[test]
fn limits_and_expendability() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let values = [
            (
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
            ),
            ("/process/oomScoreAdj", json!(500)),
        ];
        let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj";
        assert_eq!(
            with(&sandbox, &values, &["sh", "-c", script]).ok(),
            "50\n60\n0\n500",
            "{caller:?}"
        );
        let twice = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        with(&sandbox, &[("/process/rlimits", twice)], &["true"])
            .code(125)
            .says("RLIMIT_CORE is set twice");
    }
}

#[test]
fn scheduler_disk_and_memory() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let values = [
            (
                "/process/scheduler",
                json!({"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            ),
            ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6})),
            ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"})),
        ];
        // Policy and nice value of the very process; ionice(1) tells its own.
        let script = "
import ctypes, os, subprocess
print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
print(ctypes.CDLL(None).syscall(252, 1, 0))
print('bind:0' in open('/proc/self/numa_maps').read())";
        let ran = with(&sandbox, &values, &["python", "-c", script]);
        let reset_on_fork = 0x4000_0000;
        let ioprio = 2 << 13 | 6;
        let expected = format!("{} 7\n{ioprio}\nTrue", 3 | reset_on_fork);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(ran.ok(), expected, "{caller:?}");
        }
        for (path, value, words) in [
            (
                "/process/ioPriority",
                json!({"class": "IOPRIO_CLASS_RT", "priority": 8}),
                "8 is not between 0 and 7",
            ),
            (
                "/process/scheduler",
                json!({"policy": "SCHED_OTHER", "priority": 4}),
                "sched_setattr",
            ),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_BIND", "nodes": "x"}),
                "linux.memoryPolicy.nodes \"x\"",
            ),
            ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "900"}), "set_mempolicy"),
        ] {
            with(&sandbox, &[(path, value)], &["true"]).code(125).says(words);
        }
    }
}

#[test]
fn a_32_bit_machine_is_seen() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let own = sandbox.run(&[], &["uname", "-m"]).ok().to_owned();
        let uname = |domain: &str| {
            with(&sandbox, &[("/linux/personality", json!({"domain": domain}))], &["uname", "-m"])
        };
        assert_eq!(uname("LINUX").ok(), own, "{caller:?}");
        assert_ne!(uname("LINUX32").ok(), own, "{caller:?}");
        let flags = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
        with(&sandbox, &[("/linux/personality", flags)], &["true"])
            .code(125)
            .says("linux.personality.flags");
    }
}

#[test]
fn clocks_begin_where_they_are_told_to() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "cut -d. -f1 /proc/uptime; python -c 'import time; print(int(time.monotonic()))'; readlink /proc/self/ns/time";
        let own: u64 = {
            let text = fs::read_to_string("/proc/uptime").expect("uptime");
            text.split('.').next().expect("seconds").parse().expect("a number")
        };
        let (day, year) = (86_400, 31_536_000);
        let id = sandbox.configure(&["--name", "late"], &["sleep", "1000"], |config| {
            namespaces(config, json!({"type": "time"}));
            config["linux"]["timeOffsets"] =
                json!({"boottime": {"secs": year, "nanosecs": 5}, "monotonic": {"secs": day}});
        });
        sandbox.call(&["start", &id]).code(0);
        // What joins sees the same.
        let ran = sandbox.call(&["exec", &id, "sh", "-c", script]);
        let lines: Vec<&str> = ran.ok().lines().collect();
        let near = |text: &str, offset: u64| {
            let seconds: u64 = text.parse().expect("seconds");
            (own + offset..own + offset + 600).contains(&seconds)
        };
        assert!(near(lines[0], year) && near(lines[1], day), "{caller:?}: {ran:?}, {own}");
        let link = fs::read_link(format!("/proc/{}/ns/time", sandbox.pid(&id))).expect("a link");
        assert_eq!(link.to_string_lossy(), lines[2], "{caller:?}");
        assert_ne!(Some(link), fs::read_link("/proc/self/ns/time").ok());

        // The same namespace, joined by path.
        let path = format!("/proc/{}/ns/time", sandbox.pid(&id));
        let ran = sandbox.run_configured(&[], &["readlink", "/proc/self/ns/time"], |config| {
            namespaces(config, json!({"type": "time", "path": path}));
        });
        if caller == Caller::Root {
            assert_eq!(ran.ok(), lines[2], "{caller:?}");
        } else {
            // It belongs to another container's user namespace.
            ran.code(125).says("cannot join the time namespace");
        }

        let offsets = [("/linux/timeOffsets", json!({"boottime": {"secs": 1}}))];
        with(&sandbox, &offsets, &["true"]).code(125).says("there is no new time namespace");
        for (clock, secs, words) in [
            ("tomorrow", 1, "neither monotonic nor boottime"),
            ("boottime", -99_i64 * 31_536_000, "ERANGE"),
        ] {
            let ran = sandbox.run_configured(&[], &["true"], |config| {
                namespaces(config, json!({"type": "time"}));
                config["linux"]["timeOffsets"][clock] = json!({"secs": secs});
            });
            ran.code(125).says(words);
        }
    }
}

#[test]
fn namespaces_are_asked_for_in_words_that_are_checked() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run_configured(&[], &["true"], |config| {
            let all = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            all.retain(|namespace| namespace["type"] != "mount");
        });
        ran.code(125).says("linux.namespaces without a new mount namespace");
        let ran = sandbox.run_configured(&[], &["true"], |config| {
            namespaces(config, json!({"type": "time", "path": "/proc/self/ns/uts"}));
        });
        ran.code(125).says("/proc/self/ns/uts is a uts namespace, and not a time namespace");
        if caller == Caller::Root {
            let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
            let ran = with(&sandbox, &[("/linux/uidMappings", map)], &["true"]);
            ran.code(125).says("there is no user namespace");
        }
        let version = |text: &str| with(&sandbox, &[("/ociVersion", json!(text))], &["true"]);
        for old_and_new in ["0.5.0-dev", "1.0.2-dev", "1.3.0", "1.99.0"] {
            version(old_and_new).code(0);
        }
        version("2.0.0").code(125).says("ociVersion \"2.0.0\"");
        with(&sandbox, &[("/future", json!({"field": 1}))], &["true"]).code(0);
    }
}

#[test]
fn kernel_parameters_belong_to_a_namespace_of_the_containers() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let sysctl = |key: &str, value: &str| {
            with(
                &sandbox,
                &[("/linux/sysctl", json!({key: value}))],
                &["cat", "/proc/sys/net/ipv4/ip_default_ttl"],
            )
        };
        assert_eq!(sysctl("net.ipv4.ip_default_ttl", "33").ok(), "33", "{caller:?}");
        assert_eq!(sysctl("net/ipv4/ip_default_ttl", "34").ok(), "34", "{caller:?}");
        sysctl("vm.swappiness", "1").code(125).says("vm.swappiness belongs to the whole machine");
        // One's own namespace by its path is the host's, whatever is written.
        let ran = sandbox.run_configured(&[], &["true"], |config| {
            let all = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            let uts = all.iter_mut().find(|n| n["type"] == "uts").expect("uts");
            uts["path"] = json!("/proc/self/ns/uts");
        });
        ran.code(125).says("hostname belongs to the uts namespace");
    }
}

#[test]
fn the_working_directory_is_made_and_names_are_set() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let values = [
            ("/process/cwd", json!("/not/there/yet")),
            ("/hostname", json!("box")),
            ("/domainname", json!("example.org")),
        ];
        let script = "pwd; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname";
        let ran = with(&sandbox, &values, &["sh", "-c", script]);
        assert_eq!(ran.ok(), "/not/there/yet\nbox\nexample.org", "{caller:?}");
    }
}

#[test]
fn a_process_that_joins_runs_on_the_processors_that_are_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.configure(&[], &["sleep", "1000"], |config| {
            config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
            config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 9});
        });
        sandbox.call(&["start", &id]).code(0);
        let script =
            "import os; print(os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0))";
        let ran = sandbox.call(&["exec", &id, "python", "-c", script]);
        assert_eq!(ran.ok(), "{0} 9", "{caller:?}");
        let status = format!("/proc/{}/status", sandbox.pid(&id));
        let status = fs::read_to_string(status).expect("a status");
        let own = fs::read_to_string("/proc/self/status").expect("a status");
        let allowed = |text: &str| {
            text.lines().find(|l| l.starts_with("Cpus_allowed_list")).map(str::to_owned)
        };
        assert_eq!(allowed(&status), allowed(&own), "not meant for the first process");
    }
}

#[test]
fn network_devices_of_the_host_move_in() {
    const TEST: &str = "network devices that move";
    if !has("ip") {
        return skip(TEST, "ip(8) is not installed");
    }
    for caller in Caller::root_only(TEST) {
        let sandbox = Sandbox::new(caller);
        // In a network namespace of its own, so that the host's stays as it is.
        let ip = |args: &str| format!("ip {args}");
        let prepare = [
            ip("link add mbtest0 type veth peer name mbtest1"),
            ip("addr add 192.0.2.7/24 dev mbtest0"),
            ip("addr add 2001:db8::7/64 dev mbtest0 nodad"),
            ip("link set mbtest0 mtu 1400 up"),
        ]
        .join(" && ");
        let Ok(probe) = Command::new("unshare").args(["--net", "sh", "-c", &prepare]).output()
        else {
            return skip(TEST, "unshare is not installed");
        };
        if !probe.status.success() {
            return skip(TEST, "this kernel has no veth devices");
        }
        let run = |devices: Value, command: &[&str]| {
            let id = sandbox.configure(&[], command, |config| {
                config["linux"]["netDevices"] = devices;
            });
            let script = format!("{prepare} && exec \"$0\" start --attach {id}");
            let mut inner = sandbox.command(Path::new("sh"));
            inner.args(["-c", &script]).arg(sandbox.program());
            Ran::of(&sandbox.around(&["unshare", "--net"], &inner).output().expect("unshare"))
        };
        let look = ["sh", "-c", "ip -o addr show; cat /sys/class/net/*/mtu"];
        for (name, shown) in [("inside", "inside"), ("net%d", "net0"), ("", "mbtest0")] {
            let ran = run(json!({"mbtest0": {"name": name}}), &look);
            for words in [shown, "192.0.2.7/24", "2001:db8::7/64", "1400"] {
                assert!(ran.code(0).stdout.contains(words), "{words}: {ran:?}");
            }
        }
        let up = run(json!({"mbtest0": {}}), &["cat", "/sys/class/net/mbtest0/flags"]);
        let flags = u32::from_str_radix(up.ok().trim_start_matches("0x"), 16).expect("hex");
        assert_eq!(flags & 1, 1, "it is up");
        run(json!({"nowhere": {}}), &["true"])
            .code(125)
            .says("network device nowhere into the container");
        run(json!({"mbtest0": {"name": "lo"}}), &["true"])
            .code(125)
            .says("has a device of that name already");
        run(json!({"a/b": {}}), &["true"]).code(125).says("is no name of a network device");
        let id = sandbox.configure(&["--net", "host"], &["true"], |config| {
            config["linux"]["netDevices"] = json!({"lo": {}});
        });
        sandbox
            .call(&["start", "-a", &id])
            .code(125)
            .says("no network namespace of the container's own");
    }
}
