//! systemd's cgroup driver: scopes of the machine's systemd and, on version 2, of a plain user's own. tests/guest has
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minibox_tests::{
    Caller, Engine, Ran, Sandbox, cgroup_file, has, is_version_2, limit, skip, wait_until,
};
use serde_json::{Value, json};

/// Whoever runs the tests, where systemd runs for him: root of the machine, or a plain user.
fn callers() -> Vec<Caller> {
    let caller = Caller::all()[0];
    let bus = match caller {
        Caller::Root => PathBuf::from("/run/dbus/system_bus_socket"),
        _ => PathBuf::from(format!("/run/user/{}/bus", nix::unistd::Uid::effective())),
    };
    let has_cgroups = caller == Caller::Root || is_version_2();
    if Path::new("/run/systemd/system").exists() && bus.exists() && has_cgroups {
        return vec![caller];
    }
    skip("systemd's cgroups", "no systemd that has cgroups for this user runs here");
    Vec::new()
}

/// `systemctl`, of the caller's own systemd.
fn systemctl(caller: Caller, args: &[&str]) -> Ran {
    let mut command = Command::new("systemctl");
    if caller != Caller::Root {
        let folder = format!("/run/user/{}", nix::unistd::Uid::effective());
        command.arg("--user").env("XDG_RUNTIME_DIR", folder);
    }
    Ran::of(&command.args(args).output().expect("systemctl"))
}

/// What systemd shows of a unit, as `NAME=VALUE` lines.
fn show(caller: Caller, unit: &str, properties: &[&str]) -> String {
    let properties = properties.iter().map(|name| format!("--property={name}"));
    let words: Vec<String> = properties.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    systemctl(caller, &[&["show", unit], &words[..]].concat()).ok().to_owned()
}

fn is_gone(caller: Caller, unit: &str) -> bool {
    show(caller, unit, &["LoadState"]) == "LoadState=not-found"
}

/// What systemd calls the limit on memory.
fn memory() -> &'static str {
    if is_version_2() { "MemoryMax" } else { "MemoryLimit" }
}

/// The cgroups of a process, each as proc_pid_cgroup(5) has it.
fn cgroups(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process");
    text.lines().map(str::to_owned).collect()
}

fn memory_limit(pid: i32) -> String {
    limit(pid, "memory", "memory.max", "memory.limit_in_bytes")
}

fn processes(pid: i32) -> String {
    limit(pid, "pids", "pids.max", "pids.max")
}

/// Quota and period.
fn cpu_time(pid: i32) -> String {
    let quota = limit(pid, "cpu", "cpu.max", "cpu.cfs_quota_us");
    if is_version_2() {
        return quota;
    }
    let quota = if quota == "-1" { "max".into() } else { quota };
    format!("{quota} {}", limit(pid, "cpu", "cpu.max", "cpu.cfs_period_us"))
}

fn is_frozen(pid: i32) -> bool {
    ["1", "FROZEN"].contains(&&*limit(pid, "freezer", "cgroup.freeze", "freezer.state"))
}

/// `minibox-oci --systemd-cgroup`, and a bundle of its own.
fn engine(caller: Caller) -> Engine {
    let mut engine = Engine::new(caller);
    engine.options.push("--systemd-cgroup");
    engine.program(&["sleep", "1000"]);
    engine
}

#[test]
fn a_container_is_a_scope() {
    for caller in callers() {
        let engine = engine(caller);
        let id = engine.id("scope");
        engine.config(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("mini-test.slice:pre:{id}"));
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
            config["linux"]["resources"]["pids"] = json!({"limit": 77});
            config["linux"]["resources"]["cpu"] =
                json!({"quota": 50000, "period": 100_000, "idle": 1});
            config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7"});
        });
        engine.quietly(&["run", "-d", "-b", "bundle", &id]).ok();
        let unit = format!("pre-{id}.scope");
        let shown = show(
            caller,
            &unit,
            &[memory(), "TasksMax", "CPUQuotaPerSecUSec", "TimeoutStopUSec", "Slice"],
        );
        for line in [
            &format!("{}=67108864", memory()),
            "TasksMax=77",
            "CPUQuotaPerSecUSec=500ms",
            "TimeoutStopUSec=7s",
            "Slice=mini-test.slice",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        let pid = engine.pid(&id);
        let place = format!("mini.slice/mini-test.slice/{unit}");
        assert!(cgroups(pid).iter().all(|line| line.contains(&place)), "{:?}", cgroups(pid));
        assert_eq!(cpu_time(pid), "50000 100000");

        // What joins is in it.
        let exec = ["exec", "-d", "--pid-file", "out/pid", &id, "sleep", "1000"];
        engine.quietly(&exec).ok();
        let joined = fs::read_to_string(engine.path("out/pid")).expect("a pid");
        assert_eq!(cgroups(joined.parse().expect("a number")), cgroups(pid));
        let events = engine.call(&["events", "--stats", &id]);
        let events: Value = serde_json::from_str(events.ok()).expect("JSON");
        assert_eq!(events["data"]["pids"]["current"], 2, "{events}");

        // systemd knows what is changed, and keeps it.
        engine.call(&["update", "--memory", "134217728", "--pids-limit", "88", &id]).ok();
        let shown = show(caller, &unit, &[memory()]);
        assert_eq!(shown, format!("{}=134217728", memory()));
        assert_eq!((&*memory_limit(pid), &*processes(pid)), ("134217728", "88"));
        assert_eq!(limit(pid, "cpu", "cpu.idle", "cpu.idle"), "1");
        for (option, value, left) in [
            // systemd counts in hundredths, and would at the next reload.
            ("--cpu-period", "90000", "50400 90000"),
            ("--cpu-quota", "-1", "max 90000"),
        ] {
            engine.call(&["update", option, value, &id]).ok();
            assert_eq!(cpu_time(pid), left);
        }
        engine.call(&["pause", &id]).ok();
        assert!(is_frozen(pid));
        let folder = cgroup_file(pid, "pids", "");
        engine.call(&["delete", "--force", &id]).ok();
        assert!(!folder.exists());
        wait_until("the end of the unit", || is_gone(caller, &unit));
    }
}

/// At a daemon-reload systemd writes anew what it believes a cgroup's limits to be.
#[test]
fn systemd_that_loads_anew_changes_nothing() {
    for caller in callers() {
        let engine = engine(caller);
        let id = engine.id("reload");
        engine.config(|config| {
            let capabilities = &mut config["process"]["capabilities"];
            for set in ["bounding", "effective", "permitted"] {
                capabilities[set].as_array_mut().expect("a list").push(json!("CAP_MKNOD"));
            }
            config["linux"]["resources"] = json!({
                "devices": [
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 10, "access": "r"},
                ],
                "memory": {"limit": 64 << 20},
                "pids": {"limit": 77},
                "cpu": {"shares": 512, "quota": 50000, "period": 50000},
            });
        });
        engine.quietly(&["run", "-d", "-b", "bundle", &id]).ok();
        engine.call(&["update", "--pids-limit", "88", &id]).ok();
        let pid = engine.pid(&id);
        let limits = || {
            let weight = limit(pid, "cpu", "cpu.weight", "cpu.shares");
            [memory_limit(pid), processes(pid), cpu_time(pid), weight]
        };
        // A device that is denied before the kernel sees that nobody drives it; /dev/null and what the rule names are
        // not.
        let devices = || {
            let script =
                "rm -f /dev/denied /dev/other; mknod /dev/denied c 99 9; mknod /dev/other c 10 250
                for file in denied null other; do (: </dev/$file) 2>&1 | sed 's/.*: //'; echo; done";
            engine.call(&["exec", &id, "sh", "-c", script]).stdout
        };
        let (before, opened) = (limits(), devices());
        assert_eq!((&*before[0], &*before[1]), ("67108864", "88"));
        if caller == Caller::Root {
            assert!(opened.starts_with("Operation not permitted\n\n\nNo such device"), "{opened}");
        }
        let unit = format!("minibox-{id}.scope");
        systemctl(caller, &["daemon-reload"]).ok();
        // What it has no word for it would allow, once it writes the device list anew.
        systemctl(caller, &["set-property", "--runtime", &unit, "DevicePolicy=auto"]).ok();
        assert_eq!((limits(), devices()), (before, opened));
    }
}

#[test]
fn what_does_not_start_leaves_no_unit() {
    for caller in callers() {
        let engine = engine(caller);
        let id = engine.id("fails");
        engine.program(&["/nowhere"]);
        engine.call(&["run", "-b", "bundle", &id]).code(1).says("no such file");
        // A path in the other driver's words.
        engine.config(|config| config["linux"]["cgroupsPath"] = json!("/a/b"));
        engine.create(&id).code(1).says("SLICE:PREFIX:NAME");
        engine.config(|config| config["linux"]["cgroupsPath"] = Value::Null);
        // Refused by the kernel when the scope stands already.
        engine.config(|config| {
            config["linux"]["resources"]["hugepageLimits"] =
                json!([{"pageSize": "3MB", "limit": 0}]);
        });
        engine.create(&id).code(1).says("hugetlb.3MB");
        wait_until("the end of the unit", || is_gone(caller, &format!("minibox-{id}.scope")));
    }
}

#[test]
fn one_that_was_killed_is_made_again_under_its_name() {
    for caller in callers() {
        let engine = engine(caller);
        let id = engine.id("again");
        for _ in 0..2 {
            engine.quietly(&["run", "-d", "-b", "bundle", &id]).ok();
            let pid = nix::unistd::Pid::from_raw(engine.pid(&id));
            nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).expect("a process");
            engine.wait_for(&id, "stopped");
            engine.call(&["delete", &id]).ok();
        }
        assert!(is_gone(caller, &format!("minibox-{id}.scope")));
    }
}

#[test]
fn a_plain_users_limits_are_real() {
    for caller in callers() {
        if caller == Caller::Root {
            skip("limits of a plain user with a systemd of his own", "root runs the tests");
            continue;
        }
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["-m", "64m", "--pids-limit", "50"], &["sleep", "1000"]);
        let pid = sandbox.pid(&id);
        assert_eq!((&*memory_limit(pid), &*processes(pid)), ("67108864", "50"));
        sandbox.call(&["update", "-m", "96m", &id]).ok();
        assert_eq!(memory_limit(pid), "100663296");
        sandbox.call(&["pause", &id]).ok();
        assert!(is_frozen(pid));
        sandbox.call(&["unpause", &id]).ok();
        let peak = || limit(pid, "pids", "pids.peak", "");
        let before = peak();
        sandbox.call(&["exec", &id, "true"]).ok();
        assert_ne!(peak(), before, "what joins is counted");
        let hungry = ["tail", "/dev/zero"];
        for _ in 0..3 {
            sandbox.run(&["--rm", "-m", "20m"], &hungry).code(137).says("out of memory");
        }
        let monitored = sandbox.run(&["--name", "hungry", "-m", "20m"], &hungry);
        monitored.code(137).says("out of memory");
        assert_eq!(sandbox.inspect("hungry")["State"]["OOMKilled"], true);
        // Started again it gets its limits again.
        sandbox.call(&["restart", "-t", "0", &id]).ok();
        let pid = sandbox.pid(&id);
        assert_eq!(memory_limit(pid), "100663296");
        let folder = cgroup_file(pid, "pids", "");
        sandbox.call(&["rm", "-f", &id]).ok();
        assert!(!folder.exists());
        // Of one whose record is torn the name of its unit is known all the same.
        let torn = sandbox.start(&["-m", "64m"], &["sleep", "1000"]);
        let folder = cgroup_file(sandbox.pid(&torn), "pids", "");
        let record = sandbox.path("data/containers").join(&torn).join("container.json");
        assert!(record.exists(), "{record:?}");
        fs::write(record, "{").expect("write");
        sandbox.call(&["gc", "--force"]).ok();
        wait_until("the end of its unit", || !folder.exists());
        // Without a limit nobody is asked, and there is no cgroup of its own.
        let free = sandbox.start(&[], &["sleep", "1000"]);
        assert!(sandbox.inspect(&free)["Minibox"]["cgroup"].is_null());
    }
}

#[test]
fn without_systemd_it_is_said() {
    if Path::new("/run/systemd/system").exists() {
        return skip("the words where no systemd runs", "systemd runs here");
    }
    for caller in Caller::all() {
        let engine = engine(caller);
        let (words, hint) = match caller {
            Caller::Root => ("cannot ask systemd", "--cgroup-manager cgroupfs"),
            _ if is_version_2() => ("cannot ask systemd", "loginctl enable-linger"),
            _ => ("version 1 to root alone", "--cgroup-manager disabled"),
        };
        engine.create(&engine.id("c")).code(1).says(words).says(hint);
    }
}

/// An engine of its machine, as it comes: podman asks for systemd's cgroups wherever systemd runs.
#[test]
fn podman_and_systemd_agree() {
    for caller in callers() {
        if !has("podman") {
            skip("podman with systemd's cgroups", "podman is not installed");
            continue;
        }
        let engine = engine(caller);
        let path = |name: &str| engine.sandbox.folder(name).display().to_string();
        let (root, run) = (path("root"), path("runroot"));
        let runtime = engine.program.display().to_string();
        let podman = |args: &[&str]| {
            let mut command = engine.sandbox.command(Path::new("podman"));
            command.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
            if caller != Caller::Root {
                let folder = format!("/run/user/{}", nix::unistd::Uid::effective());
                command.env("XDG_RUNTIME_DIR", folder);
            }
            command.args(["--root", &root, "--runroot", &run, "--runtime", &runtime]).args(args);
            let said = fs::File::create(engine.sandbox.path("said")).expect("a file");
            command.stdout(said.try_clone().expect("a file")).stderr(said);
            let code = command.status().expect("podman").code().unwrap_or(-1);
            let text = fs::read_to_string(engine.sandbox.path("said")).expect("it");
            assert_eq!(code, 0, "{args:?}: {text}");
            text
        };
        let rootfs = engine.sandbox.rootfs();
        let limits = ["--memory=64m", "--pids-limit=50", "--network=none"];
        let run = ["run", "--detach", "--name=c1", "--rootfs", &rootfs, "sleep", "1000"];
        podman(&[&run[..3], &limits, &run[3..]].concat());
        let pid = podman(&["inspect", "--format={{.State.Pid}}", "c1"]);
        let pid = pid.trim().parse().expect("a pid");
        let folder = cgroup_file(pid, "pids", "");
        let unit = folder.file_name().expect("a unit").to_string_lossy().into_owned();
        assert!(unit.starts_with("libpod-") && unit.contains(".scope"), "{unit}");
        assert_eq!(show(caller, &unit, &[memory()]), format!("{}=67108864", memory()));
        assert_eq!(processes(pid), "50");
        assert!(podman(&["exec", "c1", "sh", "-c", "echo joined"]).contains("joined"));
        podman(&["update", "--memory=96m", "c1"]);
        assert_eq!(memory_limit(pid), "100663296");
        podman(&["rm", "--force", "--time=0", "c1"]);
        wait_until("the end of the unit", || is_gone(caller, &unit) && !folder.exists());
    }
}
