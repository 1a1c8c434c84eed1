//! `update`: other limits, for what runs and for what will run again.

use std::fs;

use minibox_tests::{Caller, Sandbox, is_version_2, limit};
use serde_json::json;

#[test]
fn a_running_container_gets_other_limits() {
    for caller in Caller::root_only("update of limits") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["-m", "64m", "--name", "it"], &["sleep", "1000"]);
        let pid = sandbox.pid(&id);
        let update = |flags: &[&str]| sandbox.call(&[&["update"], flags, &["it"]].concat());
        let memory = || limit(pid, "memory", "memory.max", "memory.limit_in_bytes");

        let flags = ["--cpus", "0.25", "--pids-limit", "9", "--cpuset-cpus", "0", "-c", "512"];
        assert_eq!(update(&flags).ok(), "it");
        assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "9");
        assert_eq!(limit(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        if is_version_2() {
            assert_eq!(limit(pid, "cpu", "cpu.max", "cpu.max"), "25000 100000");
            assert_eq!(limit(pid, "cpu", "cpu.weight", "cpu.weight"), "59");
        } else {
            assert_eq!(limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.cfs_quota_us"), "25000");
            assert_eq!(limit(pid, "cpu", "cpu.shares", "cpu.shares"), "512");
        }
        assert_eq!(memory(), (64 << 20).to_string(), "what was not named stays");

        // Up beyond the old limit of both together, and down again below all that stood.
        for (memory_flag, swap, bytes) in [("1g", "2g", 1 << 30), ("32m", "48m", 32 << 20)] {
            update(&["-m", memory_flag, "--memory-swap", swap]).ok();
            assert_eq!(memory(), bytes.to_string());
        }
        update(&["--pids-limit", "-1"]).ok();
        assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "max");
        update(&["--memory-swap", "-1"]).ok();
        assert_eq!(memory(), (32 << 20).to_string());

        let resources = &sandbox.inspect("it")["Minibox"]["config"]["linux"]["resources"];
        assert_eq!(resources["memory"], json!({"limit": 32 << 20, "swap": -1}));
        assert_eq!(resources["cpu"]["quota"], 25_000);
        assert_eq!(resources["cpu"]["shares"], 512);
        assert_eq!(resources["pids"]["limit"], -1);
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    for caller in Caller::root_only("refused updates") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["-m", "64m"], &["sleep", "1000"]);
        let config = || sandbox.inspect(&id)["Minibox"]["config"]["linux"]["resources"].clone();
        let before = config();
        // Wrong for this one, wrong for any.
        for (flags, code, says) in [
            (["-m", "200m"], 1, "--memory-swap"),
            (["--memory-swap", "32m"], 1, "--memory-swap"),
            (["--memory-swap", "none"], 125, "--memory-swap \"none\""),
            (["--cpus", "none"], 125, "--cpus \"none\""),
            (["--pids-limit", "0"], 125, "--pids-limit \"0\""),
            (["--cpuset-cpus", "100000"], 125, "--cpuset-cpus 100000"),
        ] {
            let ran = sandbox.call(&[&["update"], &flags[..], &[id.as_str()]].concat());
            ran.code(code).says(says);
        }
        sandbox.call(&["update", &id]).code(125).says("nothing to change");
        sandbox.call(&["update", "-m", "1g", "nobody"]).code(1).says("\"nobody\"");
        assert_eq!(config(), before);
        let pid = sandbox.pid(&id);
        let memory = limit(pid, "memory", "memory.max", "memory.limit_in_bytes");
        assert_eq!(memory, (64 << 20).to_string());
    }
}

#[test]
fn a_stopped_container_will_have_them() {
    for caller in Caller::root_only("update of what is stopped") {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        sandbox.call(&["kill", &id]).ok();
        sandbox.call(&["update", "--pids-limit", "23", "-m", "48m", &id]).ok();
        sandbox.call(&["start", &id]).ok();
        let pid = sandbox.pid(&id);
        assert_eq!(limit(pid, "pids", "pids.max", "pids.max"), "23");
        let memory = limit(pid, "memory", "memory.max", "memory.limit_in_bytes");
        assert_eq!(memory, (48 << 20).to_string());
    }
}

#[test]
fn memory_in_use_cannot_be_taken_away() {
    for caller in Caller::root_only("update below what is in use") {
        if is_version_2() {
            // There the kernel takes it, and kills where it must.
            minibox_tests::skip("update below what is in use", "cgroup version 2 lets it happen");
            continue;
        }
        let sandbox = Sandbox::new(caller);
        let hog = "all = b'x' * (64 << 20); print('full', flush=True)
import time; time.sleep(1000)";
        let options = ["-m", "128m", "--memory-swap", "128m"];
        let id = sandbox.start(&options, &["python", "-c", hog]);
        minibox_tests::wait_until("it is full", || !sandbox.call(&["logs", &id]).stdout.is_empty());
        let ran = sandbox.call(&["update", "-m", "16m", "--memory-swap", "16m", &id]);
        ran.code(1).says("memory.limit_in_bytes").says("bytes now");
        assert_eq!(sandbox.inspect(&id)["State"]["Status"], "running");
        let swap =
            &sandbox.inspect(&id)["Minibox"]["config"]["linux"]["resources"]["memory"]["limit"];
        assert_eq!(swap, 128 << 20);
    }
}

#[test]
fn a_plain_user_hears_that_there_is_nothing_to_limit() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let ran = sandbox.call(&["update", "-m", "63m", &id]);
        ran.code(1).says("has no cgroup, and so no limits").says("with a limit");
        let config =
            fs::read_to_string(sandbox.path("data/containers").join(&id).join("config.json"));
        assert!(!config.expect("it").contains("66060288"));
    }
}

#[test]
fn a_restart_policy_can_be_changed_while_it_runs() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["--restart", "always"], &["sleep", "1000"]);
        sandbox.call(&["update", "--restart", "never", &id]).code(125).says("unless-stopped");
        sandbox.call(&["update", "--restart", "no", &id]).ok();
        let name =
            sandbox.call(&["inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", &id]);
        assert_eq!(name.ok(), "no");
        let pid = sandbox.pid(&id);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL)
            .expect("a signal");
        assert_eq!(sandbox.call(&["wait", &id]).ok(), "137");
        sandbox.call(&["rm", &id]).ok();
        let id = sandbox.start(&["--rm"], &["sleep", "1000"]);
        sandbox.call(&["update", "--restart", "always", &id]).code(1).says("--rm");
    }
}
