//! What a plain caller gets without being root: root inside, himself outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox};

fn with_subordinate_ids() -> impl Iterator<Item = Caller> {
    Caller::all().into_iter().filter(|caller| *caller == Caller::SubordinateIds)
}

fn with_one_id() -> impl Iterator<Item = Caller> {
    Caller::all().into_iter().filter(|caller| *caller == Caller::SingleId)
}

#[test]
fn he_is_root_inside_and_himself_outside() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(sandbox.sh(&[], "id -u; id -g; whoami").ok(), "0\n0\nroot", "{caller:?}");
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let status = fs::metadata(format!("/proc/{}", sandbox.pid(&id))).expect("it runs");
        assert_eq!(status.uid(), sandbox.uid());
        // What he has outside is all that he has: the host's shadow stays closed, through a volume too.
        let ran = sandbox.run(&["-v", "/etc:/host"], &["cat", "/host/shadow"]);
        ran.code(1).says("Permission denied");
    }
}

#[test]
fn what_he_writes_to_a_volume_belongs_to_him() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        sandbox.sh(&["-v", "./folder:/data"], "mkdir /data/made && touch /data/made/file").ok();
        for path in ["made", "made/file"] {
            let metadata = fs::metadata(folder.join(path)).expect("on the host");
            let group = fs::metadata(&folder).expect("it").gid();
            assert_eq!(
                (metadata.uid(), metadata.gid()),
                (sandbox.uid(), group),
                "{caller:?} {path}"
            );
        }
        // And so do the layer and all that minibox itself writes.
        sandbox.sh(&["--name", "writer"], "touch /file").ok();
        let layer =
            sandbox.inspect("writer")["Minibox"]["layer"].as_str().expect("a layer").to_owned();
        assert_eq!(fs::metadata(layer + "/upper/file").expect("it").uid(), sandbox.uid());
    }
}

#[test]
fn with_subordinate_ids_there_are_other_users() {
    for caller in with_subordinate_ids() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        let script = "touch /data/file && chown 1000:1001 /data/file && stat -c %u:%g /data/file";
        let ran = sandbox.sh(&["-v", "./folder:/data"], script);
        assert_eq!(ran.ok(), "1000:1001");
        assert!(!ran.stderr.contains("only your own id"), "{ran:?}");
        // Ids from 1 on stand for those from 300000 on.
        let metadata = fs::metadata(folder.join("file")).expect("on the host");
        assert_eq!((metadata.uid(), metadata.gid()), (300_999, 301_000));
        assert_eq!(
            sandbox.sh(&["-u", "learner"], "id -u; id -g").ok(),
            "1000:1000".replace(':', "\n")
        );
        // The last one that is mapped, and the first that is not.
        sandbox.sh(&[], "touch /tmp/x; chown 65536 /tmp/x").ok();
        sandbox.sh(&[], "touch /tmp/x; chown 65537 /tmp/x").code(1).says("Invalid argument");
        let pid = sandbox.pid(&sandbox.start(&["-u", "learner"], &["sleep", "1000"]));
        assert_eq!(fs::metadata(format!("/proc/{pid}")).expect("it runs").uid(), 300_999);
    }
}

#[test]
fn with_one_id_there_are_no_other_users_and_this_is_said_once() {
    for caller in with_one_id() {
        let sandbox = Sandbox::new(caller);
        let script = "touch /tmp/file && chown 1000 /tmp/file";
        let ran = sandbox.sh(&[], script);
        ran.code(1).says("Invalid argument").says(
            "minibox: only your own id is mapped into containers, as their root: \
             /etc/subuid and /etc/subgid list no range for this user (said once)\n",
        );
        let again = sandbox.sh(&[], "true");
        again.ok();
        assert_eq!(again.stderr, "", "{again:?}");
        // chown to root, that is to himself, is nothing new.
        sandbox.sh(&[], "touch /tmp/file && chown 0:0 /tmp/file").ok();
        sandbox
            .sh(&["-u", "1000"], "true")
            .code(125)
            .says("cannot become the container's user")
            .says("hint: give this user subordinate ids in /etc/subuid and /etc/subgid");
    }
}

#[test]
fn without_newuidmap_the_note_names_it() {
    for caller in with_subordinate_ids() {
        let sandbox = Sandbox::new(caller);
        // Everything of the search path but the two programs.
        let bin = sandbox.folder("bin");
        for name in ["unshare", "sh", "mount", "setpriv", "cat"] {
            let path = Ran::of(
                &std::process::Command::new("sh")
                    .args(["-c", &format!("command -v {name}")])
                    .output()
                    .expect("sh"),
            );
            std::os::unix::fs::symlink(path.ok(), bin.join(name)).expect("symlink");
        }
        let rootfs = sandbox.rootfs();
        let mut command = sandbox.minibox(&["run", &rootfs, "cat", "/proc/self/uid_map"]);
        let ran = Ran::of(&command.env("PATH", &bin).output().expect("minibox"));
        assert_eq!(ran.ok().split_whitespace().collect::<Vec<_>>(), ["0", "23456", "1"]);
        ran.says("newuidmap is not installed (package uidmap, or shadow-utils) (said once)");
    }
}

#[test]
fn a_root_filesystem_of_somebody_else_is_readable_like_any_folder() {
    for caller in with_one_id().chain(with_subordinate_ids()) {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        // Everything that a container needs is there; all of it belongs to root of the host.
        for folder in ["proc", "sys", "dev", "etc"] {
            fs::create_dir(root.join(folder)).expect("mkdir");
        }
        for file in ["hosts", "hostname", "resolv.conf"] {
            fs::write(root.join("etc").join(file), "").expect("write");
        }
        let chown =
            std::process::Command::new("chown").args(["-R", "-h", "0:0"]).arg(&root).status();
        assert!(chown.expect("chown").success());
        let ran = sandbox.run_on(&root, &[], &["stat", "-c", "%u", "/", "/usr"]);
        // Whoever is not mapped is nobody.
        assert!(ran.ok().ends_with("65534"), "{caller:?} {ran:?}");
    }
}

#[test]
fn what_belongs_to_an_unmapped_id_gives_an_error_that_says_so() {
    for caller in with_one_id().chain(with_subordinate_ids()) {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        // The folder itself, closed to all but its owner.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).expect("chmod");
        std::os::unix::fs::chown(&root, Some(0), Some(0)).expect("chown");
        let ran = sandbox.run_on(&root, &[], &["true"]);
        ran.code(125).says("belongs to uid 0 of the host, which is not mapped into this container");
        // A folder in it where something must be mounted.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("chmod");
        sandbox.give(&root);
        fs::create_dir(root.join("etc")).expect("mkdir");
        let ran = sandbox.run_on(&root, &[], &["true"]);
        ran.code(125)
            .says("etc belongs to uid 0 of the host, which is not mapped into this container");
        assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    }
}

#[test]
fn exec_joins_as_the_same_root() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let script = "id -u; cat /proc/self/uid_map; touch /file; for n in user pid net ipc mnt uts cgroup; do
            [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo another $n; done";
        let ran = sandbox.call(&["exec", &id, "sh", "-c", script]);
        let words: Vec<&str> = ran.ok().split_whitespace().collect();
        assert_eq!(words[..4], ["0", "0", &sandbox.uid().to_string(), "1"], "{caller:?} {ran:?}");
        assert!(!ran.stdout.contains("another"), "{ran:?}");
        if caller == Caller::SubordinateIds {
            let ran = sandbox.call(&[
                "exec",
                "-u",
                "learner",
                &id,
                "sh",
                "-c",
                "id -u; touch /tmp/own; touch /x",
            ]);
            ran.code(1).says("Permission denied");
            assert_eq!(ran.stdout, "1000\n");
        }
    }
}

#[test]
fn signals_logs_and_removal_need_no_more_rights() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let script =
            "trap 'echo told to go; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
        let id = sandbox.start(&[], &["sh", "-c", script]);
        minibox_tests::wait_until("it is ready", || {
            sandbox.call(&["logs", &id]).stdout.contains("ready")
        });
        sandbox.call(&["stop", &id]).ok();
        assert_eq!(sandbox.call(&["logs", &id]).ok(), "ready\ntold to go", "{caller:?}");
        assert_eq!(sandbox.inspect(&id)["State"]["ExitCode"], 7);
        sandbox.call(&["rm", &id]).ok();
        assert!(!sandbox.path("data/containers").join(&id).exists());
    }
}

#[test]
fn he_cannot_reach_more_of_the_kernel_than_before() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let script = "mount -t tmpfs tmpfs /mnt; chroot / true && echo chroot; unshare -m true; mknod /disk b 8 0; hostname x";
        let ran = sandbox.sh(&[], script);
        assert_eq!(ran.stdout, "chroot\n", "{caller:?} {ran:?}");
        assert!(
            ran.stderr.to_lowercase().matches("not permitted").count()
                + ran.stderr.matches("ermission denied").count()
                >= 4,
            "{ran:?}"
        );
        assert!(Path::new("/proc/self").exists());
    }
}

#[test]
fn the_store_of_one_user_is_closed_to_another() {
    for caller in with_one_id() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--name", "mine"], "true").ok();
        for folder in ["data/containers", "data/names"] {
            let mode = fs::metadata(sandbox.path(folder)).expect("it").mode();
            assert_eq!(mode & 0o077, 0, "{folder} {mode:o}");
        }
        // Root's minibox does not work on a folder that he could change under its hands.
        let root = Sandbox::new(Caller::Root);
        let ran = Ran::of(
            &root
                .minibox(&["ps"])
                .env("MINIBOX_DATA_DIR", sandbox.path("data"))
                .output()
                .expect("minibox"),
        );
        ran.code(125).says("belongs to uid 23456, not to you");
    }
}

/// Cron jobs, `su` and the like know nothing of the session's XDG_RUNTIME_DIR.
#[test]
fn a_session_and_whoever_has_none_see_the_same_containers() {
    for caller in Caller::plain() {
        for begins_in_session in [true, false] {
            let sandbox = Sandbox::new(caller);
            let (session, none) = (sandbox.folder("s"), sandbox.folder("n"));
            let call = |in_session: bool, args: &[&str]| {
                let mut command = sandbox.minibox(args);
                command.env_remove("MINIBOX_RUN_DIR").env("TMPDIR", &none);
                if in_session {
                    command.env("XDG_RUNTIME_DIR", &session);
                }
                Ran::of(&command.output().expect("minibox"))
            };
            let words = ["run", "-d", "--name", "c", &sandbox.rootfs(), "sleep", "1000"];
            call(begins_in_session, &words).ok();
            assert_eq!(call(!begins_in_session, &["exec", "c", "echo", "in"]).ok(), "in");
            call(!begins_in_session, &["rm", "-f", "c"]).ok();
            // Where nothing lives any more, the next begins anew.
            call(!begins_in_session, &words).ok();
            let place = if begins_in_session { &none } else { &session };
            let chosen = fs::read_dir(place).expect("a folder").count();
            assert_eq!(chosen, 1, "{caller:?} {begins_in_session}");
            call(begins_in_session, &["rm", "-f", "c"]).ok();
        }
    }
}

#[test]
fn root_of_a_user_namespace_is_no_root_of_the_machine() {
    // What an engine of a plain user is, and a container in a container. A node cannot be made there, and from
    // the pid namespace of what one joins there is no way back.
    for caller in Caller::root_only("!root of a user namespace") {
        let sandbox = Sandbox::new(caller);
        let inside =
            "unshare --user --map-root-user --mount --pid --fork --kill-child --mount-proc";
        let script = r#"
            "$0" run -d --name c "$1" sleep 1000 >&2
            "$0" exec c sh -c 'touch /made; test -c /dev/null && cat /proc/1/comm'
            "$0" diff c
            "$0" rm -f c"#;
        let mut command = sandbox.command(Path::new("sh"));
        command.args(["-euc", script]).arg(sandbox.program()).arg(sandbox.rootfs());
        let around: Vec<&str> = inside.split(' ').collect();
        let ran = Ran::of(&sandbox.around(&around, &command).output().expect("unshare starts"));
        assert_eq!(ran.ok(), "sleep\nA /made\nc");
    }
}
