//! `linux.resources`, as the runtime-spec has it: what stands in the cgroup's files.

use minibox_tests::{Caller, Ran, Sandbox, cgroup_file, is_version_2, skip};
use serde_json::{Value, json};

/// What stands in `file` of `controller` while a container with these resources runs.
#[track_caller]
fn files(sandbox: &Sandbox, resources: &Value, files: &[(&str, &str)]) -> Vec<String> {
    let id = sandbox.configure(&[], &["sleep", "1000"], |config| {
        let all = config["linux"]["resources"].as_object_mut().expect("resources");
        for (key, value) in resources.as_object().expect("resources") {
            all.insert(key.clone(), value.clone());
        }
    });
    sandbox.call(&["start", &id]).code(0);
    let pid = sandbox.pid(&id);
    let read = |(controller, file): &(&str, &str)| {
        let path = cgroup_file(pid, controller, file);
        let text = std::fs::read_to_string(&path);
        text.unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    };
    let all = files.iter().map(read).collect();
    sandbox.call(&["rm", "-f", &id]).code(0);
    all
}

#[track_caller]
fn refused(sandbox: &Sandbox, resources: &Value) -> Ran {
    let ran = sandbox.run_configured(&[], &["true"], |config| {
        config["linux"]["resources"] = resources.clone();
    });
    ran.code(125).clone()
}

#[test]
fn memory_and_processors() {
    for caller in Caller::root_only("limits of config.json") {
        let sandbox = Sandbox::new(caller);
        let cpu = json!({"shares": 512, "quota": 40000, "period": 80000, "burst": 10000, "cpus": "0", "mems": "0"});
        if is_version_2() {
            let memory = json!({"limit": 67_108_864, "reservation": 33_554_432, "kernel": 1, "checkBeforeUpdate": true});
            let resources = json!({"memory": memory, "cpu": cpu, "pids": {"limit": 77}, "unified": {"memory.high": "60817408"}});
            let names = [
                "memory.max",
                "memory.low",
                "memory.high",
                "cpu.weight",
                "cpu.max",
                "cpu.max.burst",
                "cpuset.cpus",
                "pids.max",
            ];
            let expected =
                ["67108864", "33554432", "60817408", "59", "40000 80000", "10000", "0", "77"];
            assert_eq!(files(&sandbox, &resources, &names.map(|name| ("", name))), expected);
            continue;
        }
        let memory = json!({"limit": 67_108_864, "reservation": 33_554_432, "swappiness": 7, "disableOOMKiller": true, "useHierarchy": true, "kernel": 1, "kernelTCP": 1});
        let resources = json!({"memory": memory, "cpu": cpu, "pids": {"limit": 77}});
        let names = [
            ("memory", "memory.limit_in_bytes"),
            ("memory", "memory.soft_limit_in_bytes"),
            ("memory", "memory.swappiness"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpu", "cpu.cfs_period_us"),
            ("cpu", "cpu.cfs_burst_us"),
            ("cpuset", "cpuset.cpus"),
            ("pids", "pids.max"),
        ];
        let expected = ["67108864", "33554432", "7", "512", "40000", "80000", "10000", "0", "77"];
        assert_eq!(files(&sandbox, &resources, &names), expected);
        let oom = files(&sandbox, &resources, &[("memory", "memory.oom_control")]);
        assert!(oom[0].starts_with("oom_kill_disable 1"), "{oom:?}");
    }
}

#[test]
fn an_idle_container() {
    for caller in Caller::root_only("an idle cgroup") {
        let sandbox = Sandbox::new(caller);
        let idle = json!({"cpu": {"idle": 1, "shares": 2}});
        assert_eq!(files(&sandbox, &idle, &[("cpu", "cpu.idle")]), ["1"]);
    }
}

#[test]
fn real_time_is_given_where_there_is_some() {
    const TEST: &str = "real-time in a cgroup";
    for caller in Caller::root_only(TEST) {
        let sandbox = Sandbox::new(caller);
        let resources = json!({"cpu": {"realtimePeriod": 500_000}});
        if is_version_2() {
            refused(&sandbox, &resources).says("cpu.realtimePeriod exists with version 1");
        } else if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_period_us").exists() {
            assert_eq!(files(&sandbox, &resources, &[("cpu", "cpu.rt_period_us")]), ["500000"]);
        } else {
            skip(TEST, "this kernel has no real-time in cgroups");
        }
    }
}

#[test]
fn what_this_machine_lacks_is_an_error_that_names_it() {
    for caller in Caller::root_only("limits that this machine lacks") {
        let sandbox = Sandbox::new(caller);
        let says = |resources: Value, words: &str| {
            refused(&sandbox, &resources).says(words);
        };
        says(json!({"blockIO": {"leafWeight": 10}}), "linux.resources.blockIO.leafWeight");
        says(json!({"memory": {"useHierarchy": false}}), "linux.resources.memory.useHierarchy");
        says(json!({"hugepageLimits": [{"pageSize": "2", "limit": 1}]}), "is no size such as");
        says(json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), "rdma.max");
        if is_version_2() {
            says(json!({"network": {"classID": 5}}), "exists with version 1");
            says(json!({"unified": {"no.such": "5"}}), "no.such");
        } else {
            says(
                json!({"unified": {"memory.high": "5"}}),
                "linux.resources.unified exists with version 2",
            );
        }
    }
}

#[test]
fn nothing_is_said_by_nought() {
    for caller in Caller::root_only("limits that are 0") {
        let sandbox = Sandbox::new(caller);
        // As docker 20.10 writes them.
        let resources = json!({
            "memory": {"limit": 0, "swap": 0, "disableOOMKiller": false},
            "cpu": {"shares": 0, "quota": 0, "period": 0}, "blockIO": {"weight": 0}, "pids": {},
        });
        let ran = sandbox.run_configured(&[], &["true"], |config| {
            config["linux"]["resources"] = resources;
        });
        ran.code(0);
    }
}

#[test]
fn a_share_of_caches_wants_a_filesystem_of_its_own() {
    for caller in Caller::root_only("linux.intelRdt") {
        if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
            skip("linux.intelRdt where there is no resctrl", "there is one");
            continue;
        }
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run_configured(&[], &["true"], |config| {
            config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=f"});
        });
        ran.code(125).says("resctrl filesystem is not mounted");
    }
}
