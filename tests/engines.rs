//! Debian's engines with minibox below them: the scripts in engines/, step by step.
//!
//! `MINIBOX_ENGINES_RUNTIME=runc` plays them with another runtime, to see what fails with that one too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use minibox_tests::{Caller, Ran, Sandbox, checkout, copy_program, has, skip, wait_until};

/// They are heavy, and some make cgroups of the same name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The cgroups there are. Engines leave those above a container's own.
fn cgroups(folder: &Path, all: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.insert(entry.path());
            cgroups(&entry.path(), all);
        }
    }
}

/// What cri.py imports.
const GRPC: &str = "/usr/lib/python3/dist-packages/grpc/__init__.py";

fn play(caller: Caller, engine: &str, programs: &[&str], least: usize) {
    let test = format!("!{engine} on minibox");
    for _ in Caller::root_only(&test) {
        let lacking = programs.iter().find(|program| !has(program));
        if let Some(program) = lacking {
            return skip(&test, &format!("{program} is not installed"));
        }
        let _alone = ONE_AT_A_TIME.lock();
        let sandbox = Sandbox::new(caller);
        let program = sandbox.path("minibox-oci");
        copy_program(&sandbox.program(), &program);
        let here = checkout().join("tests/engines");
        let mut there_before = BTreeSet::new();
        cgroups(Path::new("/sys/fs/cgroup"), &mut there_before);
        let mut script = sandbox.command(&here.join(engine));
        let other = std::env::var_os("MINIBOX_ENGINES_RUNTIME");
        script.env("RUNTIME", other.map_or(program, PathBuf::from));
        script.env("ROOT", sandbox.rootfs()).env("HERE", &here);
        let apart = checkout().join("tests/compat/apart").display().to_string();
        let around = "unshare --mount --net --pid --fork --kill-child --mount-proc --";
        let around: Vec<&str> = around.split(' ').chain([apart.as_str()]).collect();
        let ran = Ran::of(&sandbox.around(&around, &script).output().expect("it starts"));
        let said = &ran.stdout;
        let steps = said.lines().filter(|line| line.starts_with("ok: ")).count();
        println!("{engine}: {steps} steps");
        assert!(!said.contains("FAILED") && said.ends_with("done\n"), "{ran:?}");
        assert!(steps >= least, "{steps} of {least} steps: {ran:?}");
        wait_until("the end of its cgroups", || {
            let mut there = BTreeSet::new();
            cgroups(Path::new("/sys/fs/cgroup"), &mut there);
            let new = there.difference(&there_before);
            let ours: Vec<_> = new.filter(|path| is_of(engine, path)).collect();
            // The deepest first; whatever still holds a process stays.
            ours.iter().rev().all(|path| fs::remove_dir(path).is_ok())
        });
    }
}

/// Other tests make cgroups meanwhile.
fn is_of(engine: &str, cgroup: &Path) -> bool {
    let path = cgroup.display().to_string();
    let parents: &[&str] = match engine {
        "podman" | "buildah" => &["libpod_parent", "buildah", "machine"],
        "docker" => &["/docker", "minibox-engines"],
        _ => &["/default", "minibox-engines"],
    };
    parents.iter().any(|parent| path.contains(parent))
}

#[test]
fn podman() {
    play(Caller::Root, "podman", &["podman", "conmon"], 36);
}

#[test]
fn podman_of_a_plain_user() {
    let programs = ["podman", "conmon", "newuidmap"];
    play(Caller::SubordinateIds, "podman-rootless", &programs, 27);
}

#[test]
fn buildah() {
    play(Caller::Root, "buildah", &["buildah", "podman"], 5);
}

#[test]
fn containerd() {
    play(Caller::Root, "containerd", &["containerd", "ctr", "podman"], 20);
}

#[test]
fn kubelet() {
    play(Caller::Root, "cri", &["containerd", "ctr", "podman", "/usr/lib/cni/ptp", GRPC], 33);
}

#[test]
fn docker() {
    play(Caller::Root, "docker", &["dockerd", "docker", "containerd", "docker-compose"], 47);
}

/// The script that docs/engines.md shows, word for word.
#[test]
fn swarm() {
    let test = "!a docker swarm on minibox";
    for _ in Caller::root_only(test) {
        if let Some(program) = ["dockerd", "docker", "ip"].iter().find(|program| !has(program)) {
            return skip(test, &format!("{program} is not installed"));
        }
        let _alone = ONE_AT_A_TIME.lock();
        let sandbox = Sandbox::new(Caller::Root);
        let mut script = sandbox.command(&checkout().join("scripts/swarm"));
        script.env("MINIBOX_BIN", sandbox.program()).env("MINIBOX_ROOTFS", sandbox.rootfs());
        script.env("TMPDIR", sandbox.path(""));
        let ran = Ran::of(&script.output().expect("it starts"));
        let parts: Vec<&str> = ran.stdout.split("\n\n").collect();
        let has = |part: usize, words: &[&str]| words.iter().all(|word| parts[part].contains(word));
        assert_eq!((ran.code, parts.len()), (0, 6), "{ran:?}");
        assert!(has(0, &["node1: minibox", "node2: minibox", "node3: minibox"]), "{ran:?}");
        assert!(has(2, &["1 node1", "1 node2", "1 node3"]), "{ran:?}");
        assert!(has(3, &["3 node1", "3 node2", "3 node3"]), "{ran:?}");
        assert!(has(4, &["node3 Down"]) && !parts[4].contains(" node3\n"), "{ran:?}");
        let talk = parts[5].lines().filter(|line| line.contains("| My parent is process 0."));
        assert_eq!(talk.count(), 9, "{ran:?}");
        let left = fs::read_dir(sandbox.path("")).expect("a folder").flatten();
        assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().contains("swarm")));
    }
}
