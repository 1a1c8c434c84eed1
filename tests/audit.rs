//! `minibox audit`: the container of defaults has no serious weakness, a privileged one next to no walls; and
//! whatever single setting is weakened, exactly that is found.

use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use minibox_tests::{Beside, Caller, Ran, Sandbox, checkout, has, skip, wait_until};
use serde_json::Value;

fn audits(ran: &Ran) -> Vec<Value> {
    let document: Value = serde_json::from_str(ran.ok()).expect("JSON");
    document["audits"].as_array().expect("a list").clone()
}

fn audit(sandbox: &Sandbox, target: &str) -> Value {
    audits(&sandbox.call(&["audit", "--format", "json", target])).remove(0)
}

fn ids(audit: &Value, weight: &str) -> BTreeSet<String> {
    let all = audit["findings"].as_array().expect("a list").iter();
    let of_weight = all.filter(|found| weight.is_empty() || found["weight"] == weight);
    of_weight.map(|found| found["id"].as_str().expect("text").to_owned()).collect()
}

fn found<'a>(audit: &'a Value, id: &str) -> &'a Value {
    let all = audit["findings"].as_array().expect("a list");
    all.iter().find(|found| found["id"] == id).unwrap_or_else(|| panic!("no {id} in {audit}"))
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_well_isolated_and_privileged_is_not() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "web"], &["sleep", "1000"]);
        sandbox.start(&["--name", "open", "--privileged"], &["sleep", "1000"]);
        let web = audit(&sandbox, "web");
        assert_eq!((&web["container"], &web["pid"]), (&"web".into(), &sandbox.pid("web").into()));
        let allowed: &[&str] = match caller {
            Caller::Root => &["host_root", "memory_limit", "old_kernel"],
            // Without systemd a plain user's container has no limits.
            _ => &["pids_limit", "memory_limit", "old_kernel"],
        };
        assert!(ids(&web, "").is_subset(&set(allowed)), "{caller:?}: {web}");
        assert!(ids(&web, "serious").is_empty() && web["score"].as_u64() >= Some(80), "{web}");
        // Only root may halt it to read its filter.
        let believed = if caller == Caller::Root { vec![] } else { vec!["seccomp_gaps"] };
        assert_eq!(web["believed"], serde_json::json!(believed), "{caller:?}");
        assert_eq!(web["hidden"], serde_json::json!([]), "{caller:?}: {web}");

        let open = audit(&sandbox, "open");
        let score = open["score"].as_u64();
        if caller == Caller::Root {
            let walls = ["mighty_capabilities", "seccomp_off", "kernel_files", "device_nodes"];
            assert!(ids(&open, "serious").is_superset(&set(&walls)), "{open}");
            assert_eq!(score, Some(0));
        } else {
            // What the kernel still refuses him for lack of rights of his own.
            assert!(score < Some(60), "{caller:?}: {open}");
        }

        // All of them, the weakest first; and by their worst.
        let all = audits(&sandbox.call(&["audit", "--format", "json"]));
        let ours = all.iter().filter_map(|one| one["container"].as_str());
        let ours: Vec<&str> = ours.filter(|name| ["open", "web"].contains(name)).collect();
        assert_eq!(ours, ["open", "web"], "{caller:?}");
        let table = sandbox.call(&["audit"]);
        assert!(table.ok().lines().any(|line| line.contains("  open  ")), "{table:?}");
        sandbox.call(&["audit", "--fail-under", "60", "open"]).code(1);
        sandbox.call(&["audit", "--fail-under", "60", "web"]).code(0);
        sandbox.call(&["audit", "--fail-under", "60"]).code(1);
        sandbox.call(&["audit", "--fail-under", "101"]).code(125).says("--fail-under");
        sandbox.call(&["audit", "nobody"]).code(125).says("there is no container \"nobody\"");
        let text = sandbox.call(&["audit", "web"]);
        assert!(text.ok().starts_with("How well container web, process "), "{text:?}");
    }
}

/// Flags, and the one thing that is found with them and not without.
const WEAKENED: [(&[&str], &str); 11] = [
    (&["--cap-add", "SYS_PTRACE"], "mighty_capabilities"),
    (&["--cap-add", "NET_RAW"], "capabilities"),
    (&["--security-opt", "no-new-privileges=false"], "new_privileges"),
    (&["--security-opt", "seccomp=unconfined"], "seccomp_off"),
    (&["--security-opt", "systempaths=unconfined"], "kernel_files"),
    (&["--pid", "host"], "shared_processes"),
    (&["--net", "host"], "shared_network"),
    (&["--ipc", "host"], "shared_ipc"),
    (&["--uts", "host"], "shared_hostname"),
    (&["-v", "/etc:/of-host:ro"], "host_folders"),
    (&["-e", "DB_PASSWORD=swordfish"], "secrets"),
];

/// The same of what only root's containers have.
const WEAKENED_BY_ROOT: [(&[&str], &str); 7] = [
    (&["--cap-add", "SYS_ADMIN"], "mighty_capabilities"),
    (&["--cap-add", "MKNOD"], "capabilities"),
    (&["--cgroupns", "host"], "shared_cgroups"),
    (&["-v", "/etc:/of-host"], "host_folders"),
    (&["--pids-limit", "-1"], "pids_limit"),
    (&["--device", "/dev/kmsg"], "device_nodes"),
    (&["--device-cgroup-rule", "a *:* rwm"], "device_rules"),
];

#[track_caller]
fn exactly(
    sandbox: &Sandbox,
    base: &Value,
    flags: &[&str],
    more: &[&str],
    fewer: &[&str],
) -> Value {
    sandbox.start(&[&["--name", "weak"], flags].concat(), &["sleep", "1000"]);
    let weak = audit(sandbox, "weak");
    let (base, now) = (ids(base, ""), ids(&weak, ""));
    let new: BTreeSet<String> = now.difference(&base).cloned().collect();
    let gone: BTreeSet<String> = base.difference(&now).cloned().collect();
    assert_eq!((new, gone), (set(more), set(fewer)), "{:?} {flags:?}: {weak}", sandbox.caller);
    let shown = sandbox.call(&["audit", "weak"]);
    assert!(!shown.ok().contains("swordfish") && !weak.to_string().contains("swordfish"));
    sandbox.call(&["rm", "-f", "weak"]).code(0);
    weak
}

#[test]
fn what_is_weakened_is_found_and_nothing_else() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "base"], &["sleep", "1000"]);
        let base = audit(&sandbox, "base");
        let is_root = caller == Caller::Root;
        let of_root = WEAKENED_BY_ROOT.iter().filter(|_| is_root);
        for (flags, id) in WEAKENED.iter().chain(of_root) {
            let weak = exactly(&sandbox, &base, flags, &[id], &[]);
            let score = weak["score"].as_u64().expect("a number");
            assert_eq!(score + found(&weak, id)["points"].as_u64().expect("points"), base["score"]);
        }
        let socket = sandbox.folder("engine").join("docker.sock");
        let _listens = UnixListener::bind(&socket).expect("a socket");
        let volume = format!("{}:/run/docker.sock", socket.display());
        exactly(&sandbox, &base, &["-v", &volume], &["engine_socket"], &[]);
        let folder = format!("{}:/data", sandbox.folder("data-of-host").display());
        let writable: &[&str] = if is_root { &["writable_folders"] } else { &[] };
        exactly(&sandbox, &base, &["-v", &folder], writable, &[]);
        exactly(&sandbox, &base, &["-v", &format!("{folder}:ro")], &[], &[]);
        if is_root {
            exactly(&sandbox, &base, &["-m", "64m"], &[], &["memory_limit"]);
            exactly(&sandbox, &base, &["-u", "1000"], &[], &["host_root"]);
            exactly(&sandbox, &base, &["--userns", "auto"], &[], &["host_root"]);
        }
    }
}

/// A filter is judged by what it does: two that lie on top of each other let through what both do.
#[test]
fn filters_are_read_and_not_believed() {
    for caller in Caller::root_only("!audit of filters") {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--name", "base"], &["sleep", "1000"]);
        let base = audit(&sandbox, "base");
        let profile = sandbox.path("profile.json");
        let native =
            if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
        let text = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": [native],
            "syscalls": [
                {"names": ["add_key", "keyctl", "request_key", "io_uring_setup", "perf_event_open",
                    "userfaultfd", "socket"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["unshare"], "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000,
                        "op": "SCMP_CMP_MASKED_EQ"}]},
            ],
        });
        std::fs::write(&profile, text.to_string()).expect("write");
        let option = format!("seccomp={}", profile.display());
        let weak = exactly(&sandbox, &base, &["--security-opt", &option], &["seccomp_gaps"], &[]);
        let evidence = serde_json::json!(["bpf"]);
        assert_eq!(found(&weak, "seccomp_gaps")["evidence"], evidence);
        // It goes on as if nothing had happened.
        sandbox.call(&["exec", "base", "true"]).code(0);
        assert_eq!(ids(&audit(&sandbox, "base"), ""), ids(&base, ""));
    }
}

/// Calls are tried by whoever looks at himself.
#[test]
fn whoever_looks_at_himself_tries() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mine = audits(&sandbox.call(&["audit", "--self", "--format", "json"])).remove(0);
        assert!(ids(&mine, "serious").contains("shared_mounts"), "{mine}");
        assert_eq!(mine["container"], Value::Null);
        assert_eq!(mine["believed"], serde_json::json!([]), "{mine}");
        // The same in a container, which has no minibox but that of this host.
        let program = format!("{}:/minibox:ro", sandbox.program().display());
        let inside = sandbox.run(
            &["-v", &program],
            &["/minibox", "--data-dir", "/tmp", "audit", "self", "--format", "json"],
        );
        let inside = audits(&inside).remove(0);
        assert!(!ids(&inside, "").contains("seccomp_gaps"), "{inside}");
        assert_eq!(inside["believed"], serde_json::json!([]), "{inside}");
    }
}

#[test]
fn what_is_hostile_is_only_looked_at() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let work = "mkfifo /dev/pipe; ln -s / /dev/out; mkdir /dev/deep; cd /dev/deep
            i=0; while [ $i -lt 300 ]; do mkdir d && cd d; i=$((i + 1)); done
            touch /tmp/ready; exec env \"$(printf 'A\\033[31mTOKEN')=x\" sleep 1000";
        sandbox.start(
            &["--name", "web", "--security-opt", "no-new-privileges=false"],
            &["sh", "-c", work],
        );
        wait_until("its files", || {
            sandbox.call(&["exec", "web", "test", "-e", "/tmp/ready"]).code == 0
        });
        wait_until("its name", || ids(&audit(&sandbox, "web"), "").contains("secrets"));
        let shown = sandbox.call(&["audit", "web"]);
        assert!(shown.ok().contains("TOKEN") && !shown.stdout.contains('\x1b'), "{shown:?}");
        assert!(!ids(&audit(&sandbox, "web"), "").contains("device_nodes"));
    }
}

/// What was open before the root was swapped leads outside.
#[test]
fn what_leads_outside_is_found() {
    for caller in Caller::root_only("audit of descriptors") {
        let sandbox = Sandbox::new(caller);
        let mut shell = Command::new("sh");
        let inner = ["unshare", "--mount", "--", "sh", "-c", "exec 9</etc; exec sleep 1000"];
        shell.args(["-c", "exec \"$@\" 7</ 8</etc/passwd", "sh"]).args(inner);
        let outside = Beside::spawn(shell.stdin(Stdio::null()));
        let pid = outside.pid().to_string();
        wait_until("its descriptors", || {
            let seen = audit(&sandbox, &pid).to_string();
            // The last was opened on its own mounts.
            seen.contains("\"fd 7: /\",\"fd 8: /etc/passwd\"") && !seen.contains("fd 9:")
        });
    }
}

fn is_podman_4() -> bool {
    let told = Command::new("podman").arg("--version").output().expect("podman");
    String::from_utf8_lossy(&told.stdout).starts_with("podman version 4.")
}

/// Containers of others, told by their cgroups.
fn engine(name: &str, programs: &[&str]) {
    let test = format!("audit of {name}'s containers");
    for caller in Caller::root_only(&test) {
        if let Some(program) = programs.iter().find(|program| !has(program)) {
            return skip(&test, &format!("{program} is not installed"));
        }
        let sandbox = Sandbox::new(caller);
        let here = checkout().join("tests/engines");
        let mut script = sandbox.command(&here.join("audited"));
        script.arg(name).env("RUNTIME", "runc").env("MINIBOX", sandbox.program());
        script.env("ROOT", sandbox.rootfs()).env("HERE", &here);
        let apart = checkout().join("tests/compat/apart").display().to_string();
        let around = "unshare --mount --net --pid --fork --kill-child --mount-proc --";
        let around: Vec<&str> = around.split(' ').chain([apart.as_str()]).collect();
        let ran = Ran::of(&sandbox.around(&around, &script).output().expect("it starts"));
        let all = audits(&ran);
        let [open, plain] = all.as_slice() else { panic!("two containers: {ran:?}") };
        // With / come /proc and /sys.
        let walls = [
            "mighty_capabilities",
            "seccomp_off",
            "shared_processes",
            "host_folders",
            "kernel_files",
        ];
        assert_eq!(ids(open, "serious"), set(&walls), "{open}");
        assert_eq!(open["score"], 0, "{open}");
        assert!(ids(plain, "serious").is_empty(), "{plain}");
        let mut gaps = set(&["host_root", "new_privileges", "seccomp_gaps"]);
        // Of capabilities podman gives as few as minibox, since version 5.
        if name != "podman" || is_podman_4() {
            gaps.insert("capabilities".into());
        }
        assert!(plain["score"].as_u64() > Some(40) && ids(plain, "").is_superset(&gaps), "{plain}");
    }
}

#[test]
fn podmans_containers() {
    engine("podman", &["podman", "conmon", "runc"]);
}

#[test]
fn dockers_containers() {
    engine("docker", &["docker", "dockerd", "containerd", "runc"]);
}
