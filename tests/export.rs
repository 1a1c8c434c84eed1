//! `export`: a container's root as a tar archive.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use minibox_tests::{Caller, Sandbox, on_a_terminal};

/// Exports `name` and unpacks it, as whoever runs the tests.
fn unpack(sandbox: &Sandbox, name: &str) -> std::path::PathBuf {
    let archive = sandbox.path("archive.tar");
    let output = sandbox.minibox(&["export", name]).output().expect("minibox");
    assert!(output.status.success(), "{output:?}");
    fs::write(&archive, output.stdout).expect("write");
    let folder = sandbox.folder(&format!("root-of-{name}"));
    let mut tar = Command::new("tar");
    tar.args(["-xp", "--numeric-owner", "-f"]).arg(&archive).current_dir(&folder);
    let status = tar.status();
    assert!(status.expect("tar").success());
    folder
}

#[test]
fn the_root_is_exported_without_what_is_mounted_in_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.folder("volume").join("outside"), "").expect("write");
        let owner = if caller == Caller::SingleId { 0 } else { 33 };
        let script = format!(
            "echo new > /new; chown {owner} /new; chmod 640 /new; rm -r /srv; echo x >> /etc/passwd
            echo x > /tmp/x; echo x > /v/x; ln /new /linked; ln -s /new /link; touch /tmp/ready"
        );
        let options = ["-v", "./volume:/v", "-v", "./volume:/not/there", "--tmpfs", "/run"];
        sandbox.sh(&[&["--name", "end"], &options[..]].concat(), &script).ok();
        let script = format!("{script}; exec sleep 1000");
        sandbox.start(&[&["--name", "run"], &options[..]].concat(), &["sh", "-c", &script]);
        minibox_tests::wait_until("it has written", || {
            sandbox.call(&["exec", "run", "test", "-e", "/tmp/ready"]).code == 0
        });
        for name in ["run", "end"] {
            let root = unpack(&sandbox, name);
            let stat = fs::metadata(root.join("new")).expect("it");
            assert_eq!(stat.permissions().mode() & 0o7777, 0o640, "{caller:?} {name}");
            if sandbox.uid() == 0 || caller != Caller::Myself {
                assert_eq!(stat.uid(), owner, "{caller:?}: ids are those inside");
            }
            assert_eq!(stat.ino(), fs::metadata(root.join("linked")).expect("it").ino());
            assert_eq!(
                fs::read_link(root.join("link")).expect("a link"),
                std::path::Path::new("/new")
            );
            assert!(!root.join("srv").exists() && root.join("tmp/x").exists());
            assert!(fs::read_to_string(root.join("etc/passwd")).expect("it").ends_with("x\n"));
            for empty in ["proc", "sys", "dev", "v", "not/there", "run"] {
                let count = fs::read_dir(root.join(empty)).expect("a folder").count();
                assert_eq!(count, 0, "{caller:?} {name} {empty}");
            }
            for empty in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
                assert_eq!(fs::read(root.join(empty)).expect("a file"), b"", "{empty}");
            }
            // What comes out can be run again.
            sandbox.give(&root);
            if caller == Caller::Root {
                let ran = sandbox.run_on(&root, &["--rm"], &["cat", "/new", "/link", "/linked"]);
                assert_eq!(ran.ok(), "new\nnew\nnew");
            }
        }
    }
}

#[test]
fn an_archive_goes_to_a_file_or_a_pipe_but_not_to_a_terminal() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--name", "c"], "true").ok();
        let shown = on_a_terminal(&mut sandbox.minibox(&["export", "c"]));
        assert!(shown.code == 125 && shown.stdout.contains("with -o"), "{shown:?}");
        let straight = sandbox.minibox(&["export", "c"]).output().expect("minibox").stdout;
        for flag in ["-o", "--output"] {
            let ran = sandbox.call(&["export", flag, "home/archive.tar", "c"]);
            assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, "", ""));
            assert_eq!(fs::read(sandbox.path("home/archive.tar")).expect("it"), straight);
        }
        let left: Vec<_> = fs::read_dir(sandbox.path("home")).expect("ls").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        sandbox.call(&["export", "-o", "none/archive.tar", "c"]).code(125).says("none/archive.tar");
        sandbox.call(&["export", "-o", "/dev/null", "c"]).ok();
        assert!(fs::metadata("/dev/null").expect("stat").file_type().is_char_device());
        sandbox.call(&["export", "none"]).code(125).says("there is no container \"none\"");
    }
}

#[test]
fn a_root_of_its_own_and_one_put_together_are_exported_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        sandbox.run_on(&root, &["--rw", "--name", "rw"], &["touch", "/made"]).ok();
        assert!(unpack(&sandbox, "rw").join("made").exists(), "{caller:?}");
    }
}
