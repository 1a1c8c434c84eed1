//! What engines have really asked for: configurations as podman 4.3, buildah 1.28, docker 20.10, containerd 1.6
//! and its CRI wrote them (engines/recorded), on a machine of whose files and namespaces nothing is left.

use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox, checkout};
use serde_json::{Value, json};

/// Replaces what was that machine's: its root folder, files, network namespaces, and hooks.
fn bring_here(config: &mut Value, sandbox: &Sandbox) {
    config["root"]["path"] = json!(sandbox.rootfs());
    for (number, mount) in config["mounts"].as_array_mut().expect("mounts").iter_mut().enumerate() {
        let source = mount["source"].as_str().unwrap_or_default();
        if source.starts_with('/') && !Path::new(source).exists() {
            // An engine makes a file where it binds one.
            let name = format!("source{number}");
            let path = sandbox.path(&name);
            let last = mount["destination"].as_str().and_then(|path| path.rsplit('/').next());
            let folders = ["shm", "share", "secrets"];
            if last.is_some_and(|last| folders.contains(&last)) {
                sandbox.folder(&name);
            } else {
                fs::write(&path, "").expect("a file");
            }
            mount["source"] = json!(path);
        }
    }
    for namespace in config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
        namespace.as_object_mut().expect("an object").remove("path");
    }
    for hook in config["hooks"]["prestart"].as_array_mut().into_iter().flatten() {
        hook["path"] = json!("/bin/true");
    }
}

/// The sets of capabilities, and the score, that this root has to give.
fn within_my_rights(config: &mut Value) {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    if mask(&status, "CapBnd:") >> SYS_RESOURCE & 1 == 0 {
        let sets = config["process"]["capabilities"].as_object_mut().expect("sets");
        for set in sets.values_mut() {
            set.as_array_mut().expect("a set").retain(|name| name != "CAP_SYS_RESOURCE");
        }
        let score = config["process"]["oomScoreAdj"].as_i64();
        if score.is_some_and(|score| score < 0) {
            config["process"]["oomScoreAdj"] = json!(0);
        }
    }
}

const SYS_RESOURCE: u32 = 24;

/// A line of /proc/PID/status that is a hexadecimal number.
fn mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    u64::from_str_radix(line.trim(), 16).expect("a mask")
}

#[test]
fn the_engines_configurations_run() {
    for caller in Caller::root_only("!the engines' configurations") {
        let folder = checkout().join("tests/engines/recorded");
        let mut files: Vec<_> =
            fs::read_dir(folder).expect("it").flatten().map(|e| e.path()).collect();
        files.sort();
        assert!(files.len() >= 15, "{files:?}");
        for file in files {
            let sandbox = Sandbox::new(caller);
            let program = sandbox.path("minibox-oci");
            std::os::unix::fs::symlink(sandbox.program(), &program).expect("a link");
            let bundle = sandbox.folder("bundle");
            let text = fs::read_to_string(&file).expect("it");
            let mut config: Value = serde_json::from_str(&text).expect("JSON");
            bring_here(&mut config, &sandbox);
            within_my_rights(&mut config);
            let process = &mut config["process"];
            process["terminal"] = json!(false);
            process["args"] = json!(["cat", "/proc/self/status", "/proc/self/cgroup"]);
            let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
            let id = format!("{stem}-{}", std::process::id());
            config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
            fs::write(bundle.join("config.json"), config.to_string()).expect("write");
            let mut command = sandbox.command(&program);
            command.arg("--root").arg(sandbox.path("states")).args(["run", "-b", "bundle", &id]);
            let ran = Ran::of(&command.output().expect("it starts"));
            let status = ran.ok();
            let asked = config["process"]["capabilities"]["bounding"].as_array();
            let count = mask(status, "CapBnd:").count_ones() as usize;
            // What is newer than the engine, or than this kernel, is left out.
            assert_eq!(count, asked.map_or(0, Vec::len), "{stem}: {status}");
            let is_filtered = config["linux"]["seccomp"].is_object();
            assert_eq!(status.contains("Seccomp:\t2"), is_filtered, "{stem}: {status}");
            let no_new_privs = config["process"]["noNewPrivileges"] == true;
            assert_eq!(status.contains("NoNewPrivs:\t1"), no_new_privs, "{stem}: {status}");
            let user = config["process"]["user"]["uid"].as_u64().expect("a uid");
            assert!(status.contains(&format!("Uid:\t{user}\t")), "{stem}: {status}");
            let namespaces = config["linux"]["namespaces"].as_array().expect("a list");
            let has_cgroup_namespace = namespaces.iter().any(|n| n["type"] == "cgroup");
            assert!(
                has_cgroup_namespace || status.contains(&format!(":/{id}\n")),
                "{stem}: {status}"
            );
        }
    }
}
