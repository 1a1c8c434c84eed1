//! `info`: what this machine offers, found out by trying, and nothing of the trials stays.

use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox};
use serde_json::Value;

fn info(sandbox: &Sandbox) -> Value {
    serde_json::from_str(sandbox.call(&["info", "--format", "json"]).ok()).expect("JSON")
}

/// State and detail of one feature.
fn feature(info: &Value, name: &str) -> (String, String) {
    let all = info["Minibox"]["Features"].as_array().expect("a list");
    let one = all.iter().find(|feature| feature["Name"] == name);
    let one = one.unwrap_or_else(|| panic!("{name} is not in {all:?}"));
    let text = |field: &str| one[field].as_str().expect("a text").to_owned();
    (text("State"), text("Detail"))
}

#[test]
fn what_works_is_found_to_work() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // The proof that it does.
        sandbox.run(&["--rm"], &["true"]).code(0);
        let info = info(&sandbox);
        for name in ["kernel", "namespaces", "user namespaces", "overlay", "pidfd"] {
            let (state, detail) = feature(&info, name);
            assert_eq!(state, "yes", "{caller:?}: {name}: {detail}");
        }
        assert_eq!(info["Minibox"]["Rootless"], caller != Caller::Root);
        assert_eq!(info["Minibox"]["DataDir"], sandbox.path("data").display().to_string());
        match caller {
            Caller::SubordinateIds => {
                assert_eq!(
                    feature(&info, "subordinate ids"),
                    ("yes".into(), "65536 ids beside your own".into())
                );
            }
            Caller::SingleId => {
                let (state, detail) = feature(&info, "subordinate ids");
                assert!(state == "partly" && detail.contains("only your own id"), "{detail}");
            }
            Caller::Root => assert_eq!(feature(&info, "idmapped mounts").0, "yes"),
            Caller::Myself => {}
        }
    }
}

#[test]
fn containers_are_counted_by_what_they_do() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&[], &["sleep", "1000"]);
        sandbox.run(&[], &["true"]).code(0);
        sandbox.call(&["create", &sandbox.rootfs(), "true"]).code(0);
        let info = info(&sandbox);
        let counts = ["Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped"];
        assert_eq!(counts.map(|field| info[field].as_i64().expect("a number")), [3, 1, 0, 2]);
        let text = sandbox.call(&["info"]);
        assert!(
            text.ok().contains("Containers: 3\n Running: 1\n Paused: 0\n Stopped: 2\n"),
            "{text:?}"
        );
    }
}

/// Namespaces, mounts, files: as before.
#[test]
fn trials_leave_nothing_behind() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.call(&["info"]).code(0);
        let files = || {
            let find = std::process::Command::new("find").arg(sandbox.path("")).output();
            Ran::of(&find.expect("find")).ok().to_owned()
        };
        let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let before = (files(), mounts());
        sandbox.call(&["info"]).code(0);
        assert_eq!((files(), mounts()), before);
    }
}

/// A user whom the kernel allows no user namespace is told so, with the commands for it.
#[test]
fn what_is_switched_off_is_told_with_its_commands() {
    for caller in Caller::root_only("advice for a plain user without user namespaces") {
        let sandbox = Sandbox::new(caller);
        // In a user namespace of its own the test may lower the limit for everybody below it.
        let script = r#"
            mkfifo go
            lower='echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --reuid 1 --regid 1 --clear-groups --inh-caps=-all "$@"'
            unshare --user sh -euc 'read x < go; exec sh -euc "$@"' sh "$lower" sh "$@" &
            until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do :; done
            echo 0 0 2 > /proc/$!/uid_map
            echo 0 0 2 > /proc/$!/gid_map
            echo > go
            wait $!"#;
        let wrapper = ["sh", "-euc", script, "sh"];
        let folder = sandbox.folder("theirs");
        std::os::unix::fs::chown(&folder, Some(1), Some(1)).expect("chown");
        let mut command = sandbox.wrapped(&wrapper, &["info", "--advice"]);
        command
            .env("MINIBOX_RUN_DIR", folder.join("run"))
            .env("MINIBOX_DATA_DIR", folder.join("data"));
        let ran = Ran::of(&command.output().expect("unshare"));
        let advice = ran.ok();
        assert!(
            advice.contains("# user namespaces: switched off: user.max_user_namespaces is 0\n"),
            "{ran:?}"
        );
        assert!(advice.contains("echo 'user.max_user_namespaces = 15000' | sudo tee -a /etc/sysctl.d/90-minibox.conf\nsudo sysctl --system\n"), "{ran:?}");
        // A script: every line a comment, a command or nothing.
        let check = std::process::Command::new("sh").args(["-n", "-c", advice]).status();
        assert!(check.expect("sh").success());
    }
}

#[test]
fn devices_are_named_where_they_are() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let info = info(&sandbox);
    for (name, path) in [("network tunnels", "/dev/net/tun"), ("FUSE", "/dev/fuse")] {
        let wanted = if Path::new(path).exists() { "yes" } else { "no" };
        assert_eq!(feature(&info, name).0, wanted);
    }
}
