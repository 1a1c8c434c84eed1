//! `inspect`: docker's document, with what minibox has beside it.

use minibox_tests::{Caller, Sandbox};
use serde_json::{Value, json};

#[test]
fn what_was_asked_for_is_told_in_dockers_names() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let shared = sandbox.folder("shared").display().to_string();
        let options = [
            "--name",
            "web",
            "-h",
            "box",
            "-l",
            "a=1",
            "-e",
            "X=1",
            "-w",
            "/tmp",
            "--entrypoint",
            "sleep",
            "--restart",
            "on-failure:2",
            "--stop-signal",
            "INT",
            "--stop-timeout",
            "3",
            "--read-only",
            "--cap-add",
            "NET_ADMIN",
            "--cap-add",
            "SYS_NICE",
            "--cap-drop",
            "KILL",
            "--cap-drop",
            "CHOWN",
            "--tmpfs",
            "/scratch:size=1m",
            "-v",
            &format!("{shared}:/shared:ro"),
            "--health-cmd",
            "true",
            "--health-retries",
            "2",
            "--log-opt",
            "max-size=1m",
        ];
        sandbox.start(&options, &["1000"]);
        let seen = sandbox.inspect("web");
        assert_eq!((&seen["Path"], &seen["Args"]), (&json!("sleep"), &json!(["1000"])));
        let config = &seen["Config"];
        assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["sleep"]), &json!(["1000"])));
        assert_eq!((&config["Hostname"], &config["WorkingDir"]), (&json!("box"), &json!("/tmp")));
        assert_eq!((&config["StopSignal"], &config["StopTimeout"]), (&json!("SIGINT"), &json!(3)));
        assert_eq!(config["Labels"], json!({"a": "1"}));
        assert!(config["Env"].as_array().expect("a list").contains(&json!("X=1")));
        assert_eq!(config["Healthcheck"]["Test"], json!(["CMD-SHELL", "true"]));
        assert_eq!(config["Healthcheck"]["Interval"], 30_000_000_000_u64);
        let host = &seen["HostConfig"];
        assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 2}));
        assert_eq!(host["CapAdd"], json!(["CAP_NET_ADMIN", "CAP_SYS_NICE"]));
        assert_eq!(host["CapDrop"], json!(["CAP_CHOWN", "CAP_KILL"]));
        assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"]), (&json!(true), &json!(false)));
        assert_eq!(host["Binds"], json!([format!("{shared}:/shared:ro")]));
        assert_eq!(host["LogConfig"]["Config"]["max-size"], "1048576");
        assert_eq!(host["ShmSize"], 64 << 20);
        let own = if caller == Caller::Root { "host" } else { "private" };
        assert_eq!((&host["PidMode"], &host["UsernsMode"]), (&json!("private"), &json!(own)));
        assert_eq!(seen["Mounts"].as_array().map(Vec::len), Some(2), "{}", seen["Mounts"]);
        assert_eq!(seen["Mounts"][0]["Source"], shared);
        assert_eq!(seen["Mounts"][0]["RW"], false);
        assert_eq!(seen["Mounts"][1]["Destination"], "/scratch");
        // The same at every look, and in the order of the alphabet.
        let capabilities = &seen["Minibox"]["config"]["process"]["capabilities"]["bounding"];
        let mut sorted: Vec<&str> =
            capabilities.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        sorted.sort_unstable();
        assert_eq!(capabilities, &json!(sorted));
    }
}

#[test]
fn limits_are_told_in_dockers_units() {
    for caller in Caller::root_only("limits as inspect tells them") {
        let sandbox = Sandbox::new(caller);
        let options = ["--name", "web", "-m", "32m", "--cpus", "0.5", "--pids-limit", "20"];
        sandbox.start(&options, &["sleep", "1000"]);
        let host = sandbox.inspect("web")["HostConfig"].clone();
        assert_eq!((&host["Memory"], &host["PidsLimit"]), (&json!(32 << 20), &json!(20)));
        // What was asked for, and not what it is to the kernel.
        let cpu =
            |keys: [&str; 3]| keys.map(|key| sandbox.inspect("web")["HostConfig"][key].clone());
        let cpu = || cpu(["NanoCpus", "CpuQuota", "CpuPeriod"]);
        assert_eq!(cpu(), [json!(500_000_000), json!(0), json!(0)]);
        for (flags, expected) in [
            (&["--cpu-quota", "20000"][..], [0, 20_000, 100_000]),
            (&["--cpus", "1.5"], [1_500_000_000, 0, 0]),
            (&["--pids-limit", "30"], [1_500_000_000, 0, 0]),
        ] {
            sandbox.call(&[&["update"], flags, &["web"]].concat()).ok();
            assert_eq!(cpu(), expected.map(Value::from), "{flags:?}");
        }
    }
}

#[test]
fn the_state_follows_the_life() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let never = "0001-01-01T00:00:00Z";
        sandbox
            .call(&["create", "--name", "web", &sandbox.rootfs(), "sh", "-c", "sleep 1000"])
            .code(0);
        let state = || sandbox.inspect("web")["State"].clone();
        let new = state();
        assert_eq!(
            (&new["Status"], &new["Running"], &new["Pid"]),
            (&json!("created"), &json!(false), &json!(0))
        );
        assert_eq!((&new["StartedAt"], &new["FinishedAt"]), (&json!(never), &json!(never)));
        sandbox.call(&["start", "web"]).code(0);
        let on = state();
        assert_eq!((&on["Status"], &on["Running"]), (&json!("running"), &json!(true)));
        assert!(on["Pid"].as_i64() > Some(1) && on["StartedAt"].as_str() > Some(never));
        sandbox.call(&["kill", "web"]).code(0);
        let over = state();
        assert_eq!((&over["Status"], &over["ExitCode"]), (&json!("exited"), &json!(137)));
        assert_eq!(
            (&over["Running"], &over["Pid"], &over["Error"]),
            (&json!(false), &json!(0), &json!(""))
        );
        assert!(over["FinishedAt"].as_str() >= over["StartedAt"].as_str());
        assert_eq!(over["Health"], Value::Null);
    }
}

#[test]
fn sizes_are_told_when_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "mkdir -p /a/b; head -c 5000 /dev/zero > /a/b/file; ln /a/b/file /a/same; ln -s / /a/root";
        sandbox.run(&["--name", "web"], &["sh", "-c", script]).code(0);
        assert_eq!(sandbox.inspect("web").get("SizeRw"), None);
        let size = |field: &str| {
            let format = format!("{{{{.{field}}}}}");
            sandbox
                .call(&["inspect", "-s", "-f", &format, "web"])
                .ok()
                .parse::<u64>()
                .expect("a number")
        };
        assert_eq!(size("SizeRw"), 5001, "each file once, no link followed");
        assert!(size("SizeRootFs") > 1_000_000);
    }
}

/// In subordinate ids' hands, and closed to the caller.
#[test]
fn what_others_inside_have_written_counts_too() {
    for caller in Caller::all() {
        if caller == Caller::SingleId {
            continue;
        }
        let sandbox = Sandbox::new(caller);
        let script =
            "mkdir -m 700 /mine; head -c 4000 /dev/zero > /mine/file; chown -R 1000:1000 /mine";
        sandbox.run(&["--name", "web"], &["sh", "-c", script]).code(0);
        assert_eq!(sandbox.call(&["inspect", "-s", "-f", "{{.SizeRw}}", "web"]).ok(), "4000");
    }
}

#[test]
fn what_is_not_there_does_not_hide_the_rest() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.run(&["--name", "web"], &["true"]).code(0);
    let ran = sandbox.call(&["inspect", "nobody", "web"]);
    ran.code(1).says("there is no container \"nobody\"");
    let all: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(1));
    let ran = sandbox.call(&["inspect", "-f", "{{.Name}}", "nobody", "web"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "web\n"));
    // Whatever has the name, or the one that is meant.
    sandbox.call(&["volume", "create", "web"]).code(0);
    sandbox.call(&["volume", "create", "data"]).code(0);
    assert_eq!(
        sandbox.call(&["inspect", "-f", "{{.Driver}}", "web", "data"]).ok(),
        "overlay\nlocal"
    );
    let volume = sandbox.call(&["inspect", "--type", "volume", "-f", "{{.Driver}}", "web"]);
    assert_eq!(volume.ok(), "local");
    sandbox.call(&["inspect", "--type", "image", "web"]).code(1).says("container or volume");
    assert_eq!(
        sandbox.call(&["inspect", "--type", "container", "-f", "{{.Name}}", "web"]).ok(),
        "web"
    );
}
