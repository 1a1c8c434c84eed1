//! User namespaces by wish: ranges of root's, a plain user's own id inside, and owners of files.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox, wait_until};

/// The lines of /proc/self/uid_map inside, with one blank between numbers.
fn map(ran: &Ran) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    ran.ok().lines().map(words).collect()
}

const LOOK: [&str; 2] = ["cat", "/proc/self/uid_map"];

/// Owner of `path` on the host.
fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).expect("a file");
    (metadata.uid(), metadata.gid())
}

#[test]
fn auto_gives_each_container_of_roots_a_range_of_its_own() {
    for caller in Caller::root_only("--userns auto of root") {
        let sandbox = Sandbox::new(caller);
        let starts: Vec<_> = (0..4)
            .map(|number| {
                let name = format!("c{number}");
                let options = ["-d", "--name", &name, "--userns", "auto"];
                sandbox.run_beside(&options, &["sleep", "1000"])
            })
            .collect();
        for start in starts {
            start.end().ok();
        }
        let mut firsts = HashSet::new();
        for number in 0..4 {
            let name = format!("c{number}");
            let pid = sandbox.pid(&name);
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).expect("Uid");
            let uid: u32 = uid.split('\t').next().and_then(|uid| uid.parse().ok()).expect("a uid");
            assert!(uid >= 65536, "{uid} is somebody's");
            assert!(
                firsts.iter().all(|other: &u32| other.abs_diff(uid) >= 65536),
                "{firsts:?} {uid}"
            );
            firsts.insert(uid);
            let ran = sandbox.call(&["exec", &name, LOOK[0], LOOK[1]]);
            assert_eq!(map(&ran), [format!("0 {uid} 65536")]);
        }
        // What is given back is taken again, and what is kept stays.
        let first = sandbox.inspect("c0")["Minibox"]["idMap"].clone();
        assert!(first["uids"][0]["outside"].is_u64(), "{first}");
        sandbox.call(&["stop", "-t", "0", "c0"]).ok();
        sandbox.call(&["start", "c0"]).ok();
        assert_eq!(sandbox.inspect("c0")["Minibox"]["idMap"], first);
        sandbox.call(&["rm", "-f", "c0"]).ok();
        sandbox.start(&["--name", "next", "--userns", "private"], &["sleep", "1000"]);
        assert_eq!(sandbox.inspect("next")["Minibox"]["idMap"], first);
        let ran = sandbox.run(&["--userns", "auto:size=1000"], &LOOK);
        assert!(map(&ran)[0].ends_with(" 1000"), "{ran:?}");
    }
}

#[test]
fn owners_inside_are_the_owners_on_the_disk() {
    for caller in Caller::root_only("owners in root's user namespaces") {
        let sandbox = Sandbox::new(caller);
        for ids in [&["--userns", "auto"][..], &["--uidmap", "0:70000:2000"]] {
            let volume = sandbox.folder("volume");
            fs::write(volume.join("theirs"), "").expect("write");
            chown(volume.join("theirs"), Some(1000), Some(1001)).expect("chown");
            let script = "id -u; stat -c '%u:%g' /etc/passwd / /etc/hosts /volume/theirs
                touch /volume/own /own; chown 5:6 /own; mkdir /folder; rm /etc/shells 2>/dev/null
                python -c 'import os; os.setgid(1001); os.setuid(1000); open(\"/tmp/theirs\", \"w\"); open(\"/volume/theirs\", \"a\")'";
            let place = format!("{}:/volume", volume.display());
            let options = [ids, &["--name", "c", "-v", &place]].concat();
            let ran = sandbox.sh(&options, script);
            assert_eq!(ran.ok(), "0\n0:0\n0:0\n0:0\n1000:1001", "{ids:?}");
            assert_eq!(owner(&volume.join("own")), (0, 0));
            // The layer, which cp, diff and a run without a user namespace look at.
            let layer =
                sandbox.inspect("c")["Minibox"]["layer"].as_str().expect("a layer").to_owned();
            let upper = Path::new(&layer).join("upper");
            assert_eq!(owner(&upper.join("own")), (5, 6));
            assert_eq!(owner(&upper.join("folder")), (0, 0));
            assert_eq!(owner(&upper.join("tmp/theirs")), (1000, 1001));
            sandbox.call(&["rm", "c"]).ok();
            fs::remove_dir_all(&volume).expect("rm");
        }
    }
}

#[test]
fn cp_diff_and_export_see_what_the_container_saw() {
    for caller in Caller::root_only("files of root's user namespaces") {
        let sandbox = Sandbox::new(caller);
        let script = "touch /own; chown 5:6 /own; rm -r /home; mkdir -p /home/new; sleep 1000";
        let id = sandbox.start(&["--userns", "auto", "--init"], &["sh", "-c", script]);
        let made = || sandbox.call(&["exec", &id, "test", "-e", "/home/new"]).code == 0;
        wait_until("it is made", made);
        let source = sandbox.path("source");
        fs::write(&source, "").expect("write");
        chown(&source, Some(1000), Some(1001)).expect("chown");
        for running in [true, false] {
            if !running {
                sandbox.call(&["stop", "-t", "0", &id]).ok();
            }
            let place = sandbox.path("copied");
            let copy = |from: &str, to: &str| sandbox.call(&["cp", "-a", from, to]);
            copy(&format!("{id}:/own"), &place.display().to_string()).ok();
            assert_eq!(owner(&place), (5, 6), "running: {running}");
            let name = format!("/tmp/in-{running}");
            copy(&source.display().to_string(), &format!("{id}:{name}")).ok();
            let layer =
                sandbox.inspect(&id)["Minibox"]["layer"].as_str().expect("a layer").to_owned();
            assert_eq!(owner(&Path::new(&layer).join("upper").join(&name[1..])), (1000, 1001));
            let folder = sandbox.path("folder");
            copy(&format!("{id}:/home"), &folder.display().to_string()).ok();
            let names =
                fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").file_name());
            assert_eq!(names.collect::<Vec<_>>(), ["new"], "what was removed stays so");
            fs::remove_dir_all(&folder).expect("rm");
            fs::remove_file(&place).expect("rm");
            let diff = sandbox.call(&["diff", &id]);
            assert!(diff.ok().contains("A /own\n"), "{diff:?}");
        }
        sandbox.call(&["start", &id]).ok();
        let ran = sandbox.call(&[
            "exec",
            &id,
            "stat",
            "-c",
            "%u:%g",
            "/own",
            "/tmp/in-true",
            "/tmp/in-false",
        ]);
        assert_eq!(ran.ok(), "5:6\n1000:1001\n1000:1001");
    }
}

#[test]
fn the_folder_itself_keeps_its_owners_with_rw() {
    for caller in Caller::root_only("--rw in root's user namespaces") {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let options = ["--rw", "--userns", "auto"];
        let script = ["sh", "-c", "touch /new; chown 7:8 /new; stat -c %u /usr; id -u"];
        assert_eq!(sandbox.run_on(&root, &options, &script).ok(), "0\n0");
        assert_eq!(owner(&root.join("new")), (7, 8));
    }
}

#[test]
fn nothing_of_the_host_stays_mounted_below_a_mapped_root() {
    for caller in Caller::root_only("mounts below a mapped root") {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/volume", sandbox.folder("volume").display());
        for options in [&["--userns", "auto"][..], &["--userns", "auto", "-v", &volume]] {
            let ran = sandbox.run(options, &["cat", "/proc/self/mountinfo"]);
            let points: Vec<&str> =
                ran.ok().lines().map(|line| line.split(' ').nth(4).expect("a place")).collect();
            assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{ran:?}");
            let parents: HashSet<&str> =
                ran.stdout.lines().map(|line| line.split(' ').next().expect("an id")).collect();
            let orphans = ran
                .stdout
                .lines()
                .filter(|line| !parents.contains(line.split(' ').nth(1).expect("a parent")));
            assert_eq!(orphans.count(), 1, "one mount has its parent outside, the root: {ran:?}");
        }
    }
}

/// As systemd has it; a folder that is opened there is a peer of the host's, and pivot_root(2) wants none.
#[test]
fn a_host_that_shares_its_mounts_gets_none_of_the_containers() {
    for caller in Caller::root_only("mapped roots on a host that shares its mounts") {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root").display().to_string();
        let script = r#"cat /proc/self/mountinfo > before; "$@"; cmp /proc/self/mountinfo before"#;
        let wrapper = ["unshare", "--mount", "--propagation", "shared", "sh", "-euc", script, "sh"];
        for options in [&["--userns", "auto"][..], &["--userns", "auto", "--rw"], &["--rw"], &[]] {
            let words = [&["run", "--rm"], options, &[&root, "true"]].concat();
            Ran::of(&sandbox.wrapped(&wrapper, &words).output().expect("unshare")).ok();
        }
    }
}

#[test]
fn root_inside_is_nobody_outside() {
    for caller in Caller::root_only("root of a user namespace") {
        let sandbox = Sandbox::new(caller);
        let secret = sandbox.folder("secret");
        chown(&secret, Some(0), Some(0)).expect("chown");
        fs::write(secret.join("file"), "").expect("write");
        let ran = sandbox.run(&["--userns", "auto", "--pid", "host"], &["kill", "-0", "1"]);
        ran.code(1).says("not permitted");
        // Its streams are its own all the same.
        let ran =
            sandbox.sh(&["--userns", "auto"], "echo one > /dev/stdout; echo two > /dev/stderr");
        assert_eq!((ran.ok(), ran.stderr.contains("two")), ("one", true), "{ran:?}");
        let ran = sandbox.sh(&["--rm", "--userns", "auto"], "echo one > /dev/stdout");
        assert_eq!(ran.ok(), "one");
        let ran =
            sandbox.sh(&["--rm", "--userns", "auto", "-u", "learner"], "echo one > /dev/stdout");
        assert_eq!(ran.ok(), "one");
        // No group of the caller's has come along.
        let options = ["--uidmap", "0:70000:1"];
        assert_eq!(sandbox.run(&options, &["id", "-G"]).ok(), "0");
        let id = sandbox.start(&options, &["sleep", "1000"]);
        let groups = |pid: i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            status
                .lines()
                .find_map(|l| l.strip_prefix("Groups:"))
                .expect("Groups")
                .trim()
                .to_owned()
        };
        assert_eq!(groups(sandbox.pid(&id)), "70000", "its own");
    }
}

#[test]
fn exec_users_and_limits_work_in_them() {
    for caller in Caller::root_only("exec in root's user namespaces") {
        let sandbox = Sandbox::new(caller);
        let options = ["--userns", "auto", "-m", "64m", "--init"];
        let id = sandbox.start(&options, &["sleep", "1000"]);
        let ran = sandbox.call(&[
            "exec",
            "-u",
            "learner",
            &id,
            "sh",
            "-c",
            "id -un; touch /tmp/x; stat -c %U /tmp/x",
        ]);
        assert_eq!(ran.ok(), "learner\nlearner");
        let ran = sandbox.call(&[
            "exec",
            &id,
            "sh",
            "-c",
            "id -un; touch /x; stat -c %U /x; cat /proc/self/cgroup",
        ]);
        assert!(ran.ok().starts_with("root\nroot\n"), "{ran:?}");
        let options = ["--userns", "auto", "--read-only", "--tmpfs", "/scratch", "-w", "/scratch"];
        assert_eq!(
            sandbox.sh(&options, "touch x && ls; touch /x 2>&1 | grep -c Read-only").ok(),
            "x\n1"
        );
    }
}

#[test]
fn a_filesystem_that_cannot_map_owners_is_named() {
    for caller in Caller::root_only("a filesystem without maps") {
        let sandbox = Sandbox::new(caller);
        let volume = format!("{}:/volume", sandbox.folder("ram").display());
        let script =
            r#"mount -t ramfs ramfs ram; exec "$@" run --userns auto -v "$0" "$ROOTFS" true"#;
        let wrapper =
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, &volume];
        let mut command = sandbox.wrapped(&wrapper, &[]);
        let ran = Ran::of(&command.env("ROOTFS", sandbox.rootfs()).output().expect("sh"));
        ran.code(125).says(&format!("cannot map the owners of {}", sandbox.path("ram").display()));
        ran.says("step: map the owners of mounts").says("cause: this filesystem cannot map owners");
    }
}

#[test]
fn keep_id_is_the_same_number_inside_and_outside() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let uid = sandbox.uid();
        let volume = sandbox.folder("volume");
        let place = format!("{}:/volume", volume.display());
        let options = ["--userns", "keep-id", "-v", &place];
        let ran = sandbox
            .sh(&options, "id -u; id -g; touch /volume/own /new; stat -c %u /volume/own /new");
        assert_eq!(ran.ok(), format!("{uid}\n{uid}\n{uid}\n{uid}"), "{caller:?}");
        assert_eq!(owner(&volume.join("own")).0, uid);
        let has = |line: String| {
            let ran = sandbox.run(&["--userns", "keep-id"], &LOOK);
            assert!(map(&ran).contains(&line), "{caller:?}: {ran:?}");
        };
        has(format!("{uid} {uid} 1"));
        if caller == Caller::SubordinateIds {
            has(format!("0 300000 {uid}"));
            has(format!("{} {} {}", uid + 1, 300_000 + uid, 65536 - uid));
            let ran = sandbox.sh(
                &["--userns", "keep-id", "-u", "root"],
                "id -u; touch /root/x; stat -c %u /root/x",
            );
            assert_eq!(ran.ok(), "0\n0");
        }
        let other = ["--userns", "keep-id:uid=1000,gid=1000"];
        assert_eq!(sandbox.sh(&other, "id -u; id -g; id -un").ok(), "1000\n1000\nlearner");
        // What joins it, in either way.
        sandbox.start(&["--name", "donor", "--userns", "keep-id"], &["sleep", "1000"]);
        assert_eq!(sandbox.call(&["exec", "donor", "id", "-u"]).ok(), uid.to_string());
        sandbox.run(&["--net", "container:donor"], &LOOK).ok();
        sandbox.call(&["stop", "-t", "0", "donor"]).ok();
        sandbox.call(&["start", "donor"]).ok();
        assert_eq!(sandbox.call(&["exec", "donor", "id", "-u"]).ok(), uid.to_string());
    }
    for caller in Caller::root_only("keep-id of root") {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["--userns", "keep-id"], &["true"]);
        ran.code(125).says("--userns keep-id is for plain users");
    }
}

#[test]
fn auto_of_a_plain_user_takes_of_his_subordinate_ids() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        if caller != Caller::SubordinateIds {
            if caller == Caller::SingleId {
                let ran = sandbox.run(&["--userns", "auto"], &["true"]);
                ran.code(125).says("--userns auto needs subordinate ids: ");
            }
            continue;
        }
        let (one, two) = ("300000", "301024");
        for (name, first) in [("one", one), ("two", two)] {
            sandbox.start(&["--name", name, "--userns", "auto"], &["sleep", "1000"]);
            let ran = sandbox.call(&["exec", name, LOOK[0], LOOK[1]]);
            assert_eq!(map(&ran), [format!("0 {first} 1024"), format!("1024 {} 1", sandbox.uid())]);
            let ran =
                sandbox.call(&["exec", name, "sh", "-c", "touch /x /etc/x; stat -c %u /x /etc/x"]);
            assert_eq!(ran.ok(), "0\n0");
        }
        let ran = sandbox.run(&["--userns", "auto:size=65536"], &["true"]);
        ran.code(125).says("of your subordinate ids no 65536 in a row are free");
    }
}

#[test]
fn maps_are_podmans() {
    for caller in Caller::root_only("root's own maps") {
        let sandbox = Sandbox::new(caller);
        let script = "cat /proc/self/uid_map /proc/self/gid_map";
        let options = ["--uidmap", "0:70000:10", "--uidmap", "10:80000", "--gidmap", "0:90000:20"];
        let ran = sandbox.sh(&options, script);
        assert_eq!(map(&ran), ["0 70000 10", "10 80000 1", "0 90000 20"]);
        let ran = sandbox.sh(&["--uidmap", "0:70000:10"], script);
        assert_eq!(map(&ran), ["0 70000 10", "0 70000 10"]);
    }
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let uid = sandbox.uid();
        let ran = sandbox.run(&["--uidmap", "0:0:1"], &LOOK);
        assert_eq!(map(&ran), [format!("0 {uid} 1")], "{caller:?}");
        if caller == Caller::SubordinateIds {
            let options = ["--uidmap", "0:1:100", "--uidmap", "100:0:1"];
            assert_eq!(
                map(&sandbox.run(&options, &LOOK)),
                ["0 300000 100".to_owned(), format!("100 {uid} 1")]
            );
            let options = ["--uidmap", "0:0:2", "--gidmap", "0:0:1"];
            assert_eq!(
                map(&sandbox.run(&options, &LOOK)),
                [format!("0 {uid} 1"), "1 300000 1".to_owned()]
            );
            sandbox
                .run(&["--uidmap", "0:1:100"], &["true"])
                .code(125)
                .says("maps everybody but you");
        }
        sandbox
            .run(&["--uidmap", "0:0:100000"], &["true"])
            .code(125)
            .says("names ids that are not yours");
    }
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (options, says) in [
            (&["--uidmap", "0:1:0"][..], "--uidmap \"0:1:0\" is not understood"),
            (&["--gidmap", "x"], "--gidmap \"x\" is not understood"),
            (&["--uidmap", "0:1:10", "--uidmap", "9:50:1"], "--uidmap 0:1:10 and 9:50:1 overlap"),
            (&["--uidmap", "1:0:1"], "--uidmap does not say which id is root inside"),
            (&["--userns", "what"], "--userns \"what\" is not understood"),
            (&["--userns", "auto:size=0"], "--userns \"auto:size=0\" is not understood"),
            (&["--userns", "auto:uid=1"], "--userns \"auto:uid=1\" is not understood"),
            (&["--userns", "container:nobody"], "--userns container:nobody: there is no container"),
        ] {
            sandbox.run(options, &["true"]).code(125).says(&format!("minibox: {says}"));
        }
        let ran = sandbox.run(&["--userns", "auto", "--uidmap", "0:0:1"], &["true"]);
        ran.says("cannot be used with");
        assert_ne!(ran.code, 0);
    }
}

#[test]
fn host_is_what_there_is_without_a_wish() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let usual = map(&sandbox.run(&[], &LOOK));
        assert_eq!(map(&sandbox.run(&["--userns", "host"], &LOOK)), usual, "{caller:?}");
    }
}
