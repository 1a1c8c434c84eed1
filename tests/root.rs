//! The root filesystem: the old root is out of reach, ROOTFS stays as it is, and its layer is its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox};

/// Every file below `folder` with all that a write to it would change.
fn snapshot(folder: &Path) -> String {
    let facts = "%P %y %m %U:%G %s %T@ %C@ %l\n";
    let output = Command::new("find").arg(folder).args(["-printf", facts]).output();
    let listing = Ran::of(&output.expect("find")).ok().to_owned();
    let mut lines: Vec<&str> = listing.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The layer's folder of what was written, from the record.
fn upper(sandbox: &Sandbox, name: &str) -> PathBuf {
    let record = sandbox.inspect(name);
    Path::new(record["Minibox"]["layer"].as_str().expect("a layer")).join("upper")
}

#[test]
fn nothing_mounted_inside_is_the_hosts() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mounts = sandbox.run(&[], &["cat", "/proc/self/mountinfo"]).ok().to_owned();
        let places: Vec<&str> = mounts.lines().filter_map(|l| l.split(' ').nth(4)).collect();
        for place in &places {
            let own =
                ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/", "/proc", "/dev", "/sys"];
            let below = ["/proc/", "/dev/", "/sys/"];
            let known = own.contains(place) || below.iter().any(|top| place.starts_with(top));
            assert!(known, "{caller:?}: {place} in\n{mounts}");
        }
        // The old root is not even buried below the new one.
        assert_eq!(places.iter().filter(|place| **place == "/").count(), 1, "{mounts}");
        assert!(
            mounts.lines().all(|line| !line.contains(" shared:") && !line.contains(" master:"))
        );
    }
}

#[test]
fn the_old_root_is_out_of_reach() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let secret = sandbox.folder("secret");
        let script = format!(
            "stat -c %d:%i / /.. /../../.. /proc/1/root/. /proc/self/root/.
             cd /usr; cd ../../../..; pwd; ls -d {} {}",
            secret.display(),
            env!("CARGO_MANIFEST_DIR"),
        );
        let ran = sandbox.sh(&[], &script);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 6, "{ran:?}");
        assert!(lines[1..5].iter().all(|line| *line == lines[0]), "{ran:?}");
        assert_eq!(lines[5], "/");
        let host = fs::metadata("/").expect("a root");
        assert_ne!(lines[0], format!("{}:{}", host.dev(), host.ino()));
        assert_eq!(ran.stderr.matches("No such file or directory").count(), 2, "{ran:?}");
    }
}

#[test]
fn a_second_chroot_does_not_lead_out() {
    // The classic: chroot below the working directory, then climb. CAP_SYS_CHROOT is among the defaults.
    let escape = "
import os
os.mkdir('/cell')
os.chroot('/cell')
for _ in range(99): os.chdir('..')
os.chroot('.')
print(sorted(os.listdir('/')) == sorted(os.listdir('/proc/self/root')), os.path.exists('/cell'))
print(os.path.exists('SECRET'))";
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let secret = sandbox.folder("secret").display().to_string();
        let ran = sandbox.run(&[], &["python", "-c", &escape.replace("SECRET", &secret)]);
        assert_eq!(ran.ok(), "True True\nFalse", "{caller:?}");
    }
}

#[test]
fn what_it_writes_goes_to_a_layer_and_the_root_folder_stays_as_it_was() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let before = snapshot(&root);
        let script = "echo new > /new && echo more >> /usr/bin/env && rm /usr/bin/python &&
            mkdir -p /a/b && chmod 700 /usr && mv /usr/share /usr/moved && cat /new";
        let ran = sandbox.run_on(&root, &["--name", "writer"], &["sh", "-c", script]);
        assert_eq!(ran.ok(), "new", "{ran:?}");
        assert_eq!(snapshot(&root), before, "{caller:?}");

        let upper = upper(&sandbox, "writer");
        assert_eq!(fs::read_to_string(upper.join("new")).expect("in the layer"), "new\n");
        assert!(upper.join("a/b").is_dir());
        sandbox.call(&["rm", "writer"]).ok();
        assert!(!upper.parent().expect("the layer").exists(), "the layer goes with the container");
    }
}

#[test]
fn two_containers_on_one_root_do_not_see_each_others_files() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&[], &["sh", "-c", "touch /mine; exec sleep 1000"]);
        minibox_tests::wait_until("it has written", || upper(&sandbox, &id).join("mine").exists());
        sandbox.sh(&[], "cat /mine").code(1).says("No such file or directory");
    }
}

#[test]
fn the_root_folder_keeps_its_mode_and_owner_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .expect("chmod");
        assert_eq!(sandbox.run_on(&root, &[], &["stat", "-c", "%a %u %g", "/"]).ok(), "711 0 0");
    }
}

#[test]
fn a_layer_with_files_of_subordinate_ids_is_removed() {
    for caller in Caller::all().into_iter().filter(|c| *c == Caller::SubordinateIds) {
        let sandbox = Sandbox::new(caller);
        let script = "mkdir -p /deep/er && touch /deep/er/file && chown -R 1000:1000 /deep && chmod 700 /deep";
        sandbox.sh(&["--name", "owner"], script).ok();
        let upper = upper(&sandbox, "owner");
        assert_eq!(fs::metadata(upper.join("deep/er")).expect("in the layer").uid(), 300_999);
        sandbox.call(&["rm", "owner"]).ok();
        assert!(!upper.exists());
        sandbox.sh(&["--rm"], script).ok();
        assert_eq!(fs::read_dir(sandbox.path("data/containers")).expect("the store").count(), 0);
    }
}

#[test]
fn rw_writes_into_the_folder_itself() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let script = "echo written > /file && rm /usr/bin/python";
        sandbox.run_on(&root, &["--rw", "--name", "writer"], &["sh", "-c", script]).ok();
        assert_eq!(fs::read_to_string(root.join("file")).expect("in the folder"), "written\n");
        assert_eq!(fs::metadata(root.join("file")).expect("in the folder").uid(), sandbox.uid());
        assert!(!root.join("usr/bin/python").exists());
        assert_eq!(sandbox.inspect("writer")["Minibox"]["layer"], serde_json::Value::Null);
    }
}

#[test]
fn read_only_writes_nowhere() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let before = snapshot(&root);
        let script = "touch /dev/shm/free && for f in /x /usr/x /etc/x; do touch $f; done";
        let ran =
            sandbox.run_on(&root, &["--read-only", "--name", "reader"], &["sh", "-c", script]);
        assert_eq!(ran.stderr.matches("Read-only file system").count(), 3, "{caller:?} {ran:?}");
        assert_eq!(snapshot(&root), before, "{caller:?}: not even a mount's folder");
        if sandbox.inspect("reader")["Minibox"]["layer"].is_string() {
            let written = snapshot(&upper(&sandbox, "reader"));
            assert!(!written.contains("/x "), "{written}");
        }
        let both = sandbox.run_on(&root, &["--read-only", "--rw"], &["true"]);
        both.code(125).says("--rw").says("--read-only");
    }
}

#[test]
fn slash_works_as_a_root_filesystem_and_its_submounts_are_not_seen() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let marker = format!("/minibox-test-{}", std::process::id());
        let script =
            format!("echo written > {marker}; cat {marker}; ls -A /dev/shm; ls -d /usr/bin");
        let ran = sandbox.run_on(Path::new("/"), &[], &["sh", "-c", &script]);
        assert_eq!(ran.ok(), "written\n/usr/bin", "{caller:?} {ran:?}");
        assert!(!Path::new(&marker).exists(), "the host's root is not written to");
        let said = "not seen inside";
        assert_eq!(ran.stderr.matches(said).count(), 1, "{ran:?}");
        assert!(ran.stderr.contains("(said once)"));
        let again = sandbox.run_on(Path::new("/"), &[], &["true"]);
        assert!(!again.stderr.contains(said), "{again:?}");
    }
}

#[test]
fn a_layer_in_memory_that_a_reboot_took_is_made_anew() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let create = ["create", "--name", "c", "/", "ls", "-d", "/usr/bin", "/root"];
        sandbox.call(&create).code(0);
        let layer = sandbox.inspect("c")["Minibox"]["layer"].as_str().expect("a path").to_owned();
        let start = || sandbox.call(&["start", "-a", "c"]).ok().to_owned();
        assert_eq!(start(), "/root\n/usr/bin");
        fs::remove_dir_all(&layer).expect("rm");
        assert_eq!(start(), "/root\n/usr/bin", "{caller:?}");
        fs::remove_dir_all(&layer).expect("rm");
        let copied = sandbox.call(&["cp", "c:/usr/bin/env", "-"]);
        assert!(copied.code(0).stdout.starts_with("env"), "{caller:?}");
    }
}

#[test]
fn mounts_below_the_root_folder_are_seen_with_rw_only_and_otherwise_missed_aloud() {
    for caller in Caller::all().into_iter().filter(|caller| *caller != Caller::Myself) {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        fs::create_dir(root.join("mnt")).expect("mkdir");
        let script = r#"mount -t tmpfs -o mode=755 tmpfs root/mnt; touch root/mnt/seen
            for option in --rw --read-only --rm; do
                echo $option: $("$@" run $option root ls -A /mnt)
            done"#;
        let wrapper =
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"];
        let ran = Ran::of(&sandbox.wrapped(&wrapper, &[]).output().expect("unshare"));
        assert_eq!(ran.ok(), "--rw: seen\n--read-only:\n--rm:", "{caller:?}");
        assert_eq!(ran.stderr.matches("not seen inside").count(), 1, "{caller:?} {ran:?}");
        ran.says("mnt");
    }
}

#[test]
fn with_the_state_folder_on_an_overlay_the_layer_is_in_memory_and_this_is_said_once() {
    for caller in Caller::root_only("state folder on an overlay").into_iter().chain(Caller::plain())
    {
        if caller == Caller::Myself {
            continue; // Making an overlay of the host takes root.
        }
        let sandbox = Sandbox::new(caller);
        for name in ["upper", "work"] {
            sandbox.folder(name);
        }
        let script = r#"
            mount -t overlay overlay -o lowerdir=data,upperdir=upper,workdir=work data
            mount -t tmpfs -o mode=1777 tmpfs /dev/shm
            "$@" run --name one "$ROOTFS" sh -c 'echo written > /file'
            cat /dev/shm/minibox-*/*/upper/file
            "$@" inspect one | grep '"layer"'
            "$@" rm one
            "$@" run --rm "$ROOTFS" true
            ls /dev/shm/minibox-*"#;
        let wrapper =
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"];
        let mut command = sandbox.wrapped(&wrapper, &[]);
        let ran = Ran::of(&command.env("ROOTFS", sandbox.rootfs()).output().expect("unshare"));
        let lines: Vec<&str> = ran.ok().lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "written", "one"), "{ran:?}");
        assert!(lines[1].contains(&format!("\"/dev/shm/minibox-{}-", sandbox.uid())), "{ran:?}");
        let said =
            "lies on an overlay filesystem, so what containers write goes to memory (/dev/shm/";
        assert_eq!(ran.stderr.matches(said).count(), 1, "{ran:?}");
        assert_eq!(ran.stderr.matches("is gone at a reboot (said once)").count(), 1, "{ran:?}");
    }
}

/// A root filesystem whose path has these bytes in it serves as any other.
#[track_caller]
fn serves(sandbox: &Sandbox, root: &Path) {
    let ran = sandbox.run_on(root, &["--rm"], &["sh", "-c", "echo written > /file && cat /file"]);
    assert_eq!(ran.ok(), "written", "{:?} {}", sandbox.caller, root.display());
    assert!(!root.join("file").exists());
}

#[test]
fn the_path_of_a_root_filesystem_may_have_any_letters() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let mut root = sandbox.bare_rootfs("root");
        for name in [
            "two words",
            "a:b",
            "a::b:",
            "a,b=c",
            "a\\b",
            "a\\:b\\",
            "\"q'",
            "new\nline",
            "뿌리",
            "%s$HOME*",
        ] {
            let renamed = sandbox.path(name);
            fs::rename(&root, &renamed).expect("rename");
            root = renamed;
            serves(&sandbox, &root);
        }
    }
}

#[test]
fn a_path_that_is_no_text_works_or_says_why() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.path("x").with_file_name(OsStr::from_bytes(b"not \xff text"));
        fs::rename(sandbox.bare_rootfs("root"), &root).expect("rename");
        let ran = sandbox.run_on(&root, &["--rm"], &["echo", "it works"]);
        if ran.code != 0 {
            ran.code(125).says("minibox: ").says("UTF-8");
        }
    }
}

#[test]
fn the_path_of_a_root_filesystem_may_be_long() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let mut deep = sandbox.path("deep");
        for _ in 0..5 {
            deep.push("d".repeat(200));
        }
        fs::create_dir_all(&deep).expect("mkdir");
        deep.push("root");
        fs::rename(root, &deep).expect("rename");
        serves(&sandbox, &deep);
    }
}

#[test]
fn the_path_of_a_root_filesystem_may_be_relative_a_link_or_end_in_a_slash() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        symlink("root", sandbox.path("link")).expect("symlink");
        // Commands of a sandbox start in its folder.
        for path in
            ["root", "./root", "root/", "root//", "link", "link/", "root/../link/.", "root/usr/.."]
        {
            let ran = sandbox.run_on(Path::new(path), &["--rm"], &["stat", "-c", "%F", "/usr"]);
            assert_eq!(ran.ok(), "directory", "{caller:?} {path}");
        }
        let mut dot = sandbox.minibox(&["run", "--rm", ".", "ls", "-d", "/usr"]);
        assert_eq!(Ran::of(&dot.current_dir(&root).output().expect("minibox")).ok(), "/usr");
    }
}

#[test]
fn what_is_no_root_filesystem_is_refused_and_named() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.path("file"), "").expect("write");
        fs::create_dir(sandbox.path("empty")).expect("mkdir");
        symlink("loop", sandbox.path("loop")).expect("symlink");
        let refused = |path: &str| sandbox.run_on(Path::new(path), &[], &["true"]);
        refused("missing").code(125).says("cannot use missing as a root filesystem").says("ENOENT");
        refused("file").code(125).says("cannot use file as a root filesystem").says("ENOTDIR");
        refused("loop").code(125).says("cannot use loop as a root filesystem").says("ELOOP");
        refused("").code(125).says("ROOTFS");
        // An empty folder is usable, but there is no program in it.
        refused("empty").code(127).says("empty");
        assert_eq!(fs::read_dir(sandbox.path("empty")).expect("still there").count(), 0);
    }
}

#[test]
fn a_root_without_the_usual_folders_gets_them_in_its_layer() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let script = "cd /; ls -d /proc/self /dev/null /dev/pts/ptmx /sys/kernel /etc/hosts; stat -c '%a %u' /etc /proc/..";
        let ran = sandbox.run_on(&root, &[], &["sh", "-c", script]);
        assert_eq!(
            ran.ok().lines().take(5).collect::<Vec<_>>(),
            ["/dev/null", "/dev/pts/ptmx", "/etc/hosts", "/proc/self", "/sys/kernel"]
        );
        assert!(ran.stdout.ends_with("755 0\n755 0\n"), "{caller:?} {ran:?}");
        let mut names: Vec<_> =
            fs::read_dir(&root).expect("it").flatten().map(|e| e.file_name()).collect();
        names.sort();
        assert_eq!(names, ["bin", "lib", "lib64", "usr"]);
    }
}

#[test]
fn a_link_in_place_of_proc_sys_or_dev_is_refused_and_leads_nowhere() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let victim = sandbox.folder("victim");
        let up = format!("../../../../../../../..{}", victim.display());
        for name in ["proc", "sys", "dev"] {
            for target in
                [victim.to_str().expect("text"), &up, "usr", "/", ".", "/proc/self/cwd", name]
            {
                symlink(target, root.join(name)).expect("symlink");
                for options in
                    [&["--rm"][..], &["--rm", "--rw"], &["--rm", "-t"], &["--rm", "--privileged"]]
                {
                    let ran = sandbox.run_on(&root, options, &["true"]);
                    ran.code(125).says(&format!("/{name}")).says("link");
                }
                assert_eq!(
                    fs::read_dir(&victim).expect("it").count(),
                    0,
                    "{caller:?} {name} -> {target}"
                );
                fs::remove_file(root.join(name)).expect("still a link");
                for made in ["proc", "sys", "dev"] {
                    let _ = fs::remove_dir_all(root.join(made)); // What --rw made before it was refused.
                }
            }
        }
    }
}

#[test]
fn a_file_in_place_of_proc_sys_or_dev_is_refused() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for name in ["proc", "sys", "dev"] {
            let root = sandbox.bare_rootfs(name);
            fs::write(root.join(name), "").expect("write");
            let ran = sandbox.run_on(&root, &["--rm"], &["true"]);
            ran.code(125).says(&format!("/{name}")).says("ENOTDIR");
        }
    }
}

#[test]
fn links_in_etc_lead_no_mount_out_of_the_root() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let victim = sandbox.folder("victim");
        fs::write(victim.join("hosts"), "the host's own\n").expect("write");
        let before = snapshot(&victim);
        let root = sandbox.bare_rootfs("root");
        let up = format!("../../../../../../../..{}", victim.display());
        for target in [victim.to_str().expect("text"), up.as_str()] {
            symlink(target, root.join("etc")).expect("symlink");
            // Whether it is refused or lands inside: never outside.
            sandbox.run_on(&root, &["--rm"], &["true"]);
            assert_eq!(snapshot(&victim), before, "{caller:?} {target}");
            fs::remove_file(root.join("etc")).expect("still a link");
        }
        // The same for a single file; through procfs it would be the runtime itself (CVE-2019-5736).
        fs::create_dir(root.join("etc")).expect("mkdir");
        sandbox.give(&root.join("etc"));
        let hosts = root.join("etc/hosts");
        let there = victim.join("hosts").display().to_string();
        let new = victim.join("new/hosts").display().to_string();
        let targets = [&there, &new, &format!("../{up}/hosts"), "/proc/self/exe", "/proc/1/cwd/x"];
        for target in targets {
            symlink(target, &hosts).expect("symlink");
            for options in [&["--rm"][..], &["--rm", "--rw"]] {
                let ran = sandbox.run_on(&root, options, &["true"]);
                assert_eq!(snapshot(&victim), before, "{caller:?} {target}");
                if target.starts_with("/proc") {
                    ran.code(125).says("/etc/hosts");
                }
            }
            fs::remove_file(&hosts).expect("still a link");
        }
        fs::remove_dir_all(root.join("etc")).expect("rm");
        // A link that stays inside is followed, as many distributions have one for resolv.conf.
        fs::create_dir_all(root.join("etc")).expect("mkdir");
        fs::create_dir_all(root.join("run/stub")).expect("mkdir");
        fs::write(root.join("run/stub/resolv.conf"), "the image's\n").expect("write");
        symlink("../run/stub/resolv.conf", root.join("etc/resolv.conf")).expect("symlink");
        sandbox.give(&root.join("etc"));
        let ran = sandbox.run_on(&root, &["--rm"], &["cat", "/etc/resolv.conf"]);
        assert!(ran.ok().starts_with("# This container"), "{ran:?}");
        // One that leads nowhere, too: systemd-resolved is not there yet in a fresh image.
        fs::remove_dir_all(root.join("run")).expect("rm");
        let ran = sandbox.run_on(&root, &["--rm"], &["true"]);
        ran.ok();
    }
}

#[test]
fn a_volume_through_a_link_of_the_image_stays_inside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let victim = sandbox.folder("victim");
        let folder = sandbox.folder("folder");
        fs::write(folder.join("file"), "from the volume\n").expect("write");
        let root = sandbox.bare_rootfs("root");
        fs::create_dir(root.join("inner")).expect("mkdir");
        sandbox.give(&root.join("inner"));
        symlink("/inner", root.join("inside")).expect("symlink");
        symlink(&victim, root.join("outside")).expect("symlink");
        let volume = |destination: &str| format!("{}:{destination}", folder.display());

        let ran = sandbox.run_on(&root, &["-v", &volume("/inside")], &["cat", "/inner/file"]);
        assert_eq!(ran.ok(), "from the volume");
        for destination in ["/outside", "/outside/new", "/../../outside/new"] {
            sandbox.run_on(&root, &["-v", &volume(destination)], &["true"]);
            assert_eq!(fs::read_dir(&victim).expect("it").count(), 0, "{caller:?} {destination}");
        }
    }
}
