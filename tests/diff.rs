//! `diff`: what a container has added, changed and deleted, and nothing that minibox did.

use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Sandbox};

/// A root with something to change, and programs to change it.
fn root(sandbox: &Sandbox) -> std::path::PathBuf {
    let root = sandbox.bare_rootfs("root");
    let script = "cd $0; mkdir -p etc data/a/b data/old data-x other/deep/er
        for file in etc/passwd data/a/b/file data/old/one data/old/two other/deep/er/f; do
            echo as it was > $file
        done";
    let mut command = sandbox.command(Path::new("/bin/sh"));
    assert!(command.args(["-euc", script]).arg(&root).status().expect("sh").success());
    root
}

#[test]
fn lines_are_dockers_and_in_order() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = root(&sandbox);
        for (script, lines) in [
            ("true", &[][..]),
            ("cat /etc/passwd; ls -R /data /other", &[]),
            (
                "mkdir -p /new/er; echo x > /new/f; ln -s f /new/l; mkfifo /new/p",
                &["A /new", "A /new/er", "A /new/f", "A /new/l", "A /new/p"],
            ),
            ("echo x >> /etc/passwd", &["C /etc", "C /etc/passwd"]),
            (
                "chmod 600 /other/deep/er/f",
                &["C /other", "C /other/deep", "C /other/deep/er", "C /other/deep/er/f"],
            ),
            ("chmod 700 /other/deep", &["C /other", "C /other/deep"]),
            ("rm /data/a/b/file", &["C /data", "C /data/a", "C /data/a/b", "D /data/a/b/file"]),
            ("rm -r /data/a", &["C /data", "D /data/a"]),
            ("touch /data-x/f /data/f", &["C /data", "C /data-x", "A /data-x/f", "A /data/f"]),
            // A folder in the place of another: what that had is gone, but for what has the same name.
            (
                "rm -r /data/old; mkdir /data/old; echo n > /data/old/two; echo n > /data/old/new",
                &[
                    "C /data",
                    "C /data/old",
                    "A /data/old/new",
                    "D /data/old/one",
                    "C /data/old/two",
                ],
            ),
            (
                "rm -r /other; mkdir -p /other/deep",
                &["C /other", "C /other/deep", "D /other/deep/er"],
            ),
            ("rm -r /data; echo file > /data", &["C /data"]),
            (
                "rm /etc/passwd; mkdir -p /etc/passwd/x",
                &["C /etc", "C /etc/passwd", "A /etc/passwd/x"],
            ),
            ("echo x > /x; rm /x; mkdir /data/y; rmdir /data/y", &[]),
            ("touch '/two\nlines' '/a\ttab'", &["A /a\\ttab", "A /two\\nlines"]),
        ] {
            sandbox.run_on(&root, &["--name", "c"], &["sh", "-c", script]).ok();
            let ran = sandbox.call(&["diff", "c"]);
            assert_eq!(ran.ok().lines().collect::<Vec<_>>(), lines, "{caller:?} {script}");
            sandbox.call(&["rm", "c"]).ok();
        }
        let before: Vec<_> = fs::read_dir(root.join("data/old")).expect("ls").flatten().collect();
        assert_eq!(before.len(), 2);
    }
}

#[test]
fn places_for_mounts_are_nobodys_change() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = root(&sandbox);
        sandbox.folder("volume");
        let options = [
            "-d",
            "--name",
            "c",
            "-v",
            "./volume:/not/there/yet",
            "-v",
            "./volume:/data/v",
            "--tmpfs",
            "/t/m",
            "-v",
            "/any",
        ];
        let script =
            "echo x > /not/there/yet/x; echo x > /t/m/x; echo x > /any/x; echo x > /dev/shm/x
            echo x > /not/own; exec sleep 1000";
        sandbox.run_on(&root, &options, &["sh", "-c", script]).ok();
        let lines = || {
            let ran = sandbox.call(&["diff", "c"]);
            ran.ok().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        minibox_tests::wait_until("it has written", || lines() == ["A /not", "A /not/own"]);
        sandbox.call(&["stop", "-t", "0", "c"]).ok();
        assert_eq!(lines(), ["A /not", "A /not/own"], "{caller:?}");
        sandbox.call(&["rm", "-v", "c"]).ok();
    }
}

#[test]
fn a_container_that_never_ran_has_changed_nothing_and_one_without_a_layer_cannot_tell() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        sandbox.call(&["create", "--name", "new", "-v", "/x", &rootfs, "true"]).ok();
        assert_eq!(sandbox.call(&["diff", "new"]).ok(), "", "{caller:?}");
        sandbox.call(&["rm", "-v", "new"]).ok();
        let root = root(&sandbox);
        sandbox.run_on(&root, &["--rw", "--name", "rw"], &["touch", "/x"]).ok();
        sandbox.call(&["diff", "rw"]).code(125).says("no layer of its own").says("--rw");
        sandbox.call(&["diff", "none"]).code(125).says("there is no container \"none\"");
    }
}

#[test]
fn what_other_ids_own_is_seen_too() {
    for caller in Caller::all().into_iter().filter(|caller| *caller != Caller::SingleId) {
        let sandbox = Sandbox::new(caller);
        let script = "mkdir -m 700 /secret; echo x > /secret/f; chown -R 33:33 /secret";
        sandbox.sh(&["--name", "c"], script).ok();
        assert_eq!(sandbox.call(&["diff", "c"]).ok(), "A /secret\nA /secret/f", "{caller:?}");
        sandbox.sh(&["--name", "d"], "chown 33 /opt").ok();
        assert_eq!(sandbox.call(&["diff", "d"]).ok(), "C /opt", "{caller:?}");
    }
}

#[test]
fn a_root_put_together_from_parts_is_compared_whole() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let name = format!("minibox-test-{}", std::process::id());
        let script = format!("echo x > /opt/{name}; echo x > /{name}");
        sandbox.run_on(Path::new("/"), &["--name", "c"], &["sh", "-c", &script]).ok();
        let expected = format!("A /{name}\nC /opt\nA /opt/{name}");
        assert_eq!(sandbox.call(&["diff", "c"]).ok(), expected, "{caller:?}");
    }
}
