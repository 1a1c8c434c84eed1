//! systemd's cgroup driver: scopes of the machine's systemd and of a plain user's own. tests/guest has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minibox_tests::{Caller, Ran, Sandbox, has, is_version_2, skip, wait_until};
use serde_json::{Value, json};

/// Whoever runs the tests, where systemd runs for him: root of the machine, or a plain user.
fn callers() -> Vec<Caller> {
    let caller = Caller::all()[0];
    let bus = match caller {
        Caller::Root => PathBuf::from("/run/dbus/system_bus_socket"),
        _ => PathBuf::from(format!("/run/user/{}/bus", nix::unistd::Uid::effective())),
    };
    if Path::new("/run/systemd/system").exists() && bus.exists() && is_version_2() {
        return vec![caller];
    }
    skip("systemd's cgroups", "no systemd with cgroups of version 2 runs here");
    Vec::new()
}

/// What systemd shows of a unit, as `NAME=VALUE` lines.
fn show(caller: Caller, unit: &str, properties: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    if caller != Caller::Root {
        let folder = format!("/run/user/{}", nix::unistd::Uid::effective());
        command.arg("--user").env("XDG_RUNTIME_DIR", folder);
    }
    command.args(["show", unit]).args(properties.iter().map(|name| format!("--property={name}")));
    Ran::of(&command.output().expect("systemctl")).ok().to_owned()
}

fn is_gone(caller: Caller, unit: &str) -> bool {
    show(caller, unit, &["LoadState"]) == "LoadState=not-found"
}

/// The cgroup of a process on version 2, as a folder.
fn cgroup(pid: i64) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("version 2");
    Path::new("/sys/fs/cgroup").join(path)
}

fn file(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(name));
    text.unwrap_or_else(|e| panic!("{name}: {e}")).trim().to_owned()
}

/// `minibox-oci --systemd-cgroup`, and a bundle of its own.
struct Engine {
    sandbox: Sandbox,
    program: PathBuf,
}

impl Engine {
    fn new(caller: Caller) -> Engine {
        let sandbox = Sandbox::new(caller);
        let program = sandbox.path("minibox-oci");
        std::os::unix::fs::symlink(sandbox.program(), &program).expect("a link");
        sandbox.folder("bundle");
        let engine = Engine { sandbox, program };
        let rootless: &[&str] = if caller == Caller::Root { &[] } else { &["--rootless"] };
        engine.call(&[&["spec", "-b", "bundle"], rootless].concat()).ok();
        let rootfs = engine.sandbox.rootfs();
        engine.config(|config| {
            config["root"]["path"] = json!(rootfs);
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["sleep", "1000"]);
        });
        engine
    }

    fn config(&self, change: impl FnOnce(&mut Value)) {
        let path = self.sandbox.path("bundle/config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).expect("it")).expect("JSON");
        change(&mut config);
        fs::write(&path, config.to_string()).expect("write");
    }

    fn call(&self, args: &[&str]) -> Ran {
        let mut command = self.sandbox.command(&self.program);
        command.arg("--systemd-cgroup").arg("--root").arg(self.sandbox.path("states")).args(args);
        // A container has the streams of whoever makes it: they must not be pipes that are waited for.
        let errors = self.sandbox.path("errors");
        let said = self.sandbox.path("said");
        command.stdout(Stdio::from(fs::File::create(&said).expect("a file")));
        command.stderr(Stdio::from(fs::File::create(&errors).expect("a file")));
        let code = command.status().expect("it starts").code().unwrap_or(-1);
        let read = |path: &Path| fs::read_to_string(path).expect("it");
        Ran { code, stdout: read(&said), stderr: read(&errors) }
    }

    fn pid(&self, id: &str) -> i64 {
        let state: Value = serde_json::from_str(self.call(&["state", id]).ok()).expect("JSON");
        state["pid"].as_i64().expect("a pid")
    }
}

#[test]
fn a_container_is_a_scope() {
    for caller in callers() {
        let engine = Engine::new(caller);
        let id = format!("test-{}", std::process::id());
        engine.config(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("mini-test.slice:pre:{id}"));
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
            config["linux"]["resources"]["pids"] = json!({"limit": 77});
            config["linux"]["resources"]["cpu"] =
                json!({"quota": 50000, "period": 100_000, "idle": 1});
            config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7"});
        });
        engine.call(&["run", "-d", "-b", "bundle", &id]).ok();
        let unit = format!("pre-{id}.scope");
        let shown = show(
            caller,
            &unit,
            &["MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "TimeoutStopUSec", "Slice"],
        );
        for line in [
            "MemoryMax=67108864",
            "TasksMax=77",
            "CPUQuotaPerSecUSec=500ms",
            "TimeoutStopUSec=7s",
            "Slice=mini-test.slice",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        let folder = cgroup(engine.pid(&id));
        assert!(folder.ends_with(format!("mini.slice/mini-test.slice/{unit}")), "{folder:?}");
        assert_eq!(file(&folder, "cpu.max"), "50000 100000");

        // What joins is in it.
        let exec = ["exec", "-d", "--pid-file", "pid", &id, "sleep", "1000"];
        engine.call(&exec).ok();
        let joined = fs::read_to_string(engine.sandbox.path("pid")).expect("a pid");
        assert_eq!(cgroup(joined.parse().expect("a number")), folder);

        // systemd knows what is changed, and keeps it.
        engine.call(&["update", "--memory", "134217728", "--pids-limit", "88", &id]).ok();
        assert_eq!(show(caller, &unit, &["MemoryMax"]), "MemoryMax=134217728");
        assert_eq!(
            (file(&folder, "memory.max"), file(&folder, "pids.max")),
            ("134217728".into(), "88".into())
        );
        assert_eq!(file(&folder, "cpu.idle"), "1");
        for (option, value, left) in [
            // systemd counts in hundredths, and would at the next reload.
            ("--cpu-period", "90000", "50400 90000"),
            ("--cpu-quota", "-1", "max 90000"),
        ] {
            engine.call(&["update", option, value, &id]).ok();
            assert_eq!(file(&folder, "cpu.max"), left);
        }
        engine.call(&["pause", &id]).ok();
        assert_eq!(file(&folder, "cgroup.freeze"), "1");
        engine.call(&["delete", "--force", &id]).ok();
        assert!(!folder.exists());
        wait_until("the end of the unit", || is_gone(caller, &unit));
    }
}

#[test]
fn what_does_not_start_leaves_no_unit() {
    for caller in callers() {
        let engine = Engine::new(caller);
        let id = format!("fails-{}", std::process::id());
        engine.config(|config| config["process"]["args"] = json!(["/nowhere"]));
        engine.call(&["run", "-b", "bundle", &id]).code(1).says("no such file");
        // A path in the other driver's words.
        engine.config(|config| config["linux"]["cgroupsPath"] = json!("/a/b"));
        engine.call(&["create", "-b", "bundle", &id]).code(1).says("SLICE:PREFIX:NAME");
        engine.config(|config| config["linux"]["cgroupsPath"] = Value::Null);
        // Refused by the kernel when the scope stands already.
        engine.config(|config| {
            config["linux"]["resources"]["unified"] = json!({"memory.none": "1"});
        });
        engine.call(&["create", "-b", "bundle", &id]).code(1).says("memory.none");
        wait_until("the end of the unit", || is_gone(caller, &format!("minibox-{id}.scope")));
    }
}

#[test]
fn one_that_was_killed_is_made_again_under_its_name() {
    for caller in callers() {
        let engine = Engine::new(caller);
        let id = format!("again-{}", std::process::id());
        for _ in 0..2 {
            engine.call(&["run", "-d", "-b", "bundle", &id]).ok();
            let pid = engine.pid(&id) as i32;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL)
                .expect("a process");
            wait_until("its end", || engine.call(&["state", &id]).stdout.contains("stopped"));
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
        let folder = cgroup(i64::from(sandbox.pid(&id)));
        assert_eq!(
            (file(&folder, "memory.max"), file(&folder, "pids.max")),
            ("67108864".into(), "50".into())
        );
        sandbox.call(&["update", "-m", "96m", &id]).ok();
        assert_eq!(file(&folder, "memory.max"), "100663296");
        sandbox.call(&["pause", &id]).ok();
        assert_eq!(file(&folder, "cgroup.freeze"), "1");
        sandbox.call(&["unpause", &id]).ok();
        let before = file(&folder, "pids.peak");
        sandbox.call(&["exec", &id, "true"]).ok();
        assert_ne!(file(&folder, "pids.peak"), before, "what joins is counted");
        let hungry = ["tail", "/dev/zero"];
        for _ in 0..3 {
            sandbox.run(&["--rm", "-m", "20m"], &hungry).code(137).says("out of memory");
        }
        let monitored = sandbox.run(&["--name", "hungry", "-m", "20m"], &hungry);
        monitored.code(137).says("out of memory");
        assert_eq!(sandbox.inspect("hungry")["State"]["OOMKilled"], true);
        // Started again it gets its limits again.
        sandbox.call(&["restart", "-t", "0", &id]).ok();
        let folder = cgroup(i64::from(sandbox.pid(&id)));
        assert_eq!(file(&folder, "memory.max"), "100663296");
        sandbox.call(&["rm", "-f", &id]).ok();
        assert!(!folder.exists());
        // Of one whose record is torn the name of its unit is known all the same.
        let torn = sandbox.start(&["-m", "64m"], &["sleep", "1000"]);
        let folder = cgroup(i64::from(sandbox.pid(&torn)));
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
    let engine = Engine::new(Caller::all()[0]);
    let words = if is_version_2() { "cannot ask systemd" } else { "version 2 only" };
    engine
        .call(&["create", "-b", "bundle", "c"])
        .code(1)
        .says(words)
        .says("--cgroup-manager cgroupfs");
}

/// An engine of its machine, as it comes: podman asks for systemd's cgroups wherever systemd runs.
#[test]
fn podman_and_systemd_agree() {
    for caller in callers() {
        if !has("podman") {
            skip("podman with systemd's cgroups", "podman is not installed");
            continue;
        }
        let engine = Engine::new(caller);
        let path = |name: &str| engine.sandbox.folder(name).display().to_string();
        let (root, run) = (path("root"), path("runroot"));
        let runtime = engine.program.display().to_string();
        let podman = |args: &[&str]| {
            let mut command = engine.sandbox.command(Path::new("podman"));
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
        let folder = cgroup(pid.trim().parse().expect("a pid"));
        let unit = folder.file_name().expect("a unit").to_string_lossy().into_owned();
        assert!(unit.starts_with("libpod-") && unit.contains(".scope"), "{unit}");
        assert_eq!(show(caller, &unit, &["MemoryMax"]), "MemoryMax=67108864");
        assert_eq!(file(&folder, "pids.max"), "50");
        assert!(podman(&["exec", "c1", "sh", "-c", "echo joined"]).contains("joined"));
        podman(&["update", "--memory=96m", "c1"]);
        assert_eq!(file(&folder, "memory.max"), "100663296");
        podman(&["rm", "--force", "--time=0", "c1"]);
        wait_until("the end of the unit", || is_gone(caller, &unit) && !folder.exists());
    }
}
