//! `mounts` and what else config.json says of mounts, as the runtime-spec has it.

use std::fs;
use std::path::Path;
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox};
use serde_json::{Value, json};

/// Runs `command` with one more mount.
#[track_caller]
fn with(sandbox: &Sandbox, mounts: &[Value], command: &[&str]) -> Ran {
    sandbox.run_configured(&[], command, |config| {
        config["mounts"].as_array_mut().expect("mounts").extend_from_slice(mounts);
    })
}

fn tmpfs(place: &str, options: &[&str]) -> Value {
    json!({"destination": place, "type": "tmpfs", "source": "memory", "options": options})
}

/// The fields of the mountinfo line of `place`: its own options, what stands before the `-`, those of its
/// filesystem.
fn mountinfo(text: &str, place: &str) -> [String; 3] {
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some(place));
    let line = line.unwrap_or_else(|| panic!("{place} is no mount: {text}"));
    let (left, right) = line.split_once(" - ").expect("two halves");
    let left: Vec<&str> = left.split(' ').collect();
    let of_filesystem = right.rsplit_once(' ').expect("options").1;
    [left[5].to_owned(), left[6..].join(" "), of_filesystem.to_owned()]
}

#[test]
fn words_reach_the_mount_and_the_filesystem() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let words = ["nosuid", "noatime", "nosymfollow", "shared", "silent", "sync", "size=64k"];
        let mounts = [
            tmpfs("/some/where", &words),
            tmpfs("/again", &["rro", "unbindable"]),
            json!({"destination": "/again", "type": "none", "options": ["remount", "rw", "noexec"]}),
            tmpfs("/strict", &["strictatime"]),
            json!({"destination": "/strict", "type": "none", "options": ["remount", "atime"]}),
        ];
        let ran = with(&sandbox, &mounts, &["cat", "/proc/self/mountinfo"]);
        let [own, optional, filesystem] = mountinfo(ran.ok(), "/some/where");
        assert_eq!(own, "rw,nosuid,noatime,nosymfollow", "{caller:?}");
        assert!(optional.starts_with("shared:"), "{optional:?}");
        assert!(filesystem.contains("sync") && filesystem.contains("size=64k"), "{filesystem}");
        let [own, optional, _] = mountinfo(ran.ok(), "/again");
        assert_eq!((&*own, &*optional), ("rw,noexec,relatime", "unbindable"), "{caller:?}");
        assert_eq!(mountinfo(ran.ok(), "/strict")[0], "rw,relatime", "{caller:?}");
    }
}

#[test]
fn an_option_that_a_filesystem_does_not_know_is_named() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran = with(&sandbox, &[tmpfs("/x", &["size=1m", "colour=red"])], &["true"]);
        ran.code(125).says("tmpfs on /x: it does not take the option \"colour=red\"");
        let bind =
            json!({"destination": "/x", "source": "/tmp", "options": ["bind", "colour=red"]});
        with(&sandbox, &[bind], &["true"]).code(125).says("unknown option \"colour=red\"");
        let proc = json!({"destination": "/x", "type": "proc", "options": ["tmpcopyup"]});
        with(&sandbox, &[proc], &["true"]).code(125).says("tmpcopyup is for tmpfs alone");
        let mut half = json!({"destination": "/x", "source": "/tmp", "options": ["bind"]});
        half["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        with(&sandbox, &[half], &["true"]).code(125).says("one of uidMappings and gidMappings");
    }
}

/// Everything below a folder: type and permissions, owner, size of files, target of links, time of change.
const LISTING: &str = "
import os, sys
for top, folders, files in os.walk(sys.argv[1]):
    for name in sorted(folders + files):
        path = os.path.join(top, name)
        stat = os.lstat(path)
        link = os.readlink(path) if os.path.islink(path) else ''
        size = 0 if os.path.isdir(path) else stat.st_size
        print(path, oct(stat.st_mode), stat.st_uid, stat.st_gid, size, stat.st_mtime_ns, link)
    folders.sort()
print(oct(os.stat(sys.argv[1]).st_mode))";

#[test]
fn tmpcopyup_begins_with_what_the_folder_holds() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let list = ["python", "-c", LISTING, "/usr/lib/python3"];
        let list = if sandbox.sh(&[], "[ -d /usr/lib/python3 ]").code == 0 {
            list
        } else {
            ["python", "-c", LISTING, "/usr/share"]
        };
        let plain = sandbox.run(&[], &list);
        assert!(plain.ok().lines().count() > 5, "too little to copy: {plain:?}");
        let filled = with(&sandbox, &[tmpfs(list[3], &["tmpcopyup"])], &list);
        assert_eq!(filled.ok(), plain.ok(), "{caller:?}");
        let etc = [tmpfs("/etc", &["tmpcopyup", "mode=711"])];
        let script = "cat /etc/passwd > /dev/null && echo x > /etc/passwd && stat -c %a /etc; stat -f -c %T /etc";
        assert_eq!(with(&sandbox, &etc, &["sh", "-c", script]).ok(), "711\ntmpfs", "{caller:?}");
    }
}

#[test]
fn a_tmpfs_has_the_permissions_of_the_folder_it_covers() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let modes = ["stat", "-c", "%a", "/root", "/usr"];
        let plain = sandbox.run(&[], &modes);
        let covered = with(&sandbox, &[tmpfs("/root", &[]), tmpfs("/usr/share", &[])], &modes);
        assert_eq!(covered.ok(), plain.ok(), "{caller:?}");
    }
}

#[test]
fn the_root_has_the_propagation_that_is_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for (word, expected) in
            [("private", ""), ("rshared", "shared:"), ("unbindable", "unbindable"), ("slave", "")]
        {
            let ran = sandbox.run_configured(&[], &["cat", "/proc/self/mountinfo"], |config| {
                config["linux"]["rootfsPropagation"] = json!(word);
            });
            let [_, optional, _] = mountinfo(ran.ok(), "/");
            assert!(
                if expected.is_empty() {
                    optional.is_empty()
                } else {
                    optional.starts_with(expected)
                },
                "{word}: {optional:?}, {caller:?}"
            );
            assert_eq!(mountinfo(ran.ok(), "/dev")[1], "", "{word}, {caller:?}");
        }
        let ran = sandbox.run_configured(&[], &["true"], |config| {
            config["linux"]["rootfsPropagation"] = json!("everywhere");
        });
        ran.code(125).says("rootfsPropagation \"everywhere\" is none of");
    }
}

/// Runs `script` as root with mounts of its own; `$1` is a folder, `$2` minibox, what follows `args`.
#[track_caller]
fn in_own_mounts(sandbox: &Sandbox, script: &str, folder: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", script, "sh"]);
    command.arg(folder).arg(sandbox.program()).args(args);
    for (name, value) in sandbox.minibox(&[""; 0]).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    Ran::of(&command.output().expect("unshare"))
}

#[test]
fn read_only_alone_is_the_topmost_mounts_and_rro_all() {
    for caller in Caller::root_only("recursive options of binds") {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("volume");
        for (word, below) in [("ro", "rw"), ("rro", "ro"), ("rnosuid", "rw,nosuid")] {
            let id = sandbox.configure(&[], &["cat", "/proc/self/mountinfo"], |config| {
                config["mounts"].as_array_mut().expect("mounts").push(json!({
                    "destination": "/v", "source": folder, "options": ["rbind", word]
                }));
            });
            let script = "mount -t tmpfs t $1; mkdir $1/below; mount -t tmpfs b $1/below; \"$2\" start -a \"$3\"";
            let ran = in_own_mounts(&sandbox, script, &folder, &[&id]);
            let [own, ..] = mountinfo(ran.ok(), "/v/below");
            assert_eq!(own.trim_end_matches(",relatime"), below, "{word}");
            let [own, ..] = mountinfo(ran.ok(), "/v");
            assert_ne!(own.trim_end_matches(",relatime"), "rw", "{word}");
        }
    }
}

#[test]
fn a_slave_hears_of_the_hosts_mounts_and_a_private_one_does_not() {
    for caller in Caller::root_only("propagation into a container") {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("volume");
        for (word, heard) in [("rslave", "hi\n"), ("rshared", "hi\nback\n"), ("rprivate", "")] {
            let volume = format!("{}:/v:{word}", folder.display());
            let script = "mount -t tmpfs t $1; mount --make-shared $1; mkdir $1/below
                id=$(\"$2\" run -d --security-opt seccomp=unconfined -v \"$3\" \"$4\" sleep 1000)
                mount -t tmpfs u $1/below; echo hi > $1/below/file
                \"$2\" exec $id cat /v/below/file 2>/dev/null || true
                mkdir $1/back; \"$2\" exec --privileged $id mount -t tmpfs w /v/back
                grep -q \"$1/back \" /proc/self/mountinfo && echo back
                \"$2\" rm -f $id > /dev/null";
            let ran = in_own_mounts(&sandbox, script, &folder, &[&volume, &sandbox.rootfs()]);
            assert_eq!(ran.code(0).stdout, heard, "{word}");
        }
        // The root folder itself.
        let root = sandbox.folder("root");
        let id = sandbox.configure(&["--rw"], &["sleep", "1000"], |config| {
            config["root"]["path"] = json!(root);
            config["linux"]["rootfsPropagation"] = json!("slave");
        });
        let script = "mount --rbind \"$4\" $1; mount --make-shared $1
            \"$2\" start $3 > /dev/null
            mount -t tmpfs u $1/mnt; echo hi > $1/mnt/file
            \"$2\" exec $3 cat /mnt/file
            \"$2\" rm -f $3 > /dev/null";
        let ran = in_own_mounts(&sandbox, script, &root, &[&id, &sandbox.rootfs()]);
        assert_eq!(ran.ok(), "hi");
    }
}

#[test]
fn a_mount_shows_the_owners_that_its_own_mappings_say() {
    for caller in Caller::root_only("mounts with mappings of their own") {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("volume");
        fs::write(folder.join("file"), "").expect("written");
        let map = json!([{"containerID": 0, "hostID": 70000, "size": 10}]);
        for options in [json!(["bind", "idmap"]), json!(["rbind", "ridmap"]), json!(["bind"])] {
            let mount = json!({
                "destination": "/v", "type": "none", "source": folder, "options": options,
                "uidMappings": map, "gidMappings": map,
            });
            let ran = with(&sandbox, &[mount], &["stat", "-c", "%u %g", "/v/file"]);
            assert_eq!(ran.ok(), "70000 70000", "{options}");
        }
        let mount = json!({"destination": "/v", "source": folder, "options": ["bind", "idmap"]});
        with(&sandbox, &[mount], &["true"]).code(125).says("there are no ids to map to");
    }
}

#[test]
fn devices_stand_where_they_are_asked_for() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let devices = json!([
            {"path": "/opt/deep/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/pipe", "type": "p"},
            {"path": "/dev/zero", "type": "u", "major": 1, "minor": 5},
        ]);
        let root = caller == Caller::Root;
        let ran = sandbox.run_configured(
            &[],
            &["stat", "-c", "%F %a %u", "/dev/pipe", "/dev/zero", "/opt/deep/null"],
            |config| {
                // A plain user is shown the host's node, and the host has none there.
                let all = devices.as_array().expect("devices");
                config["linux"]["devices"] = json!(all[usize::from(!root)..]);
            },
        );
        let printed: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(printed[0], "fifo 666 0", "{caller:?}: {ran:?}");
        assert!(printed[1].starts_with("character special file 666"), "{caller:?}: {ran:?}");
        if root {
            assert_eq!(printed[2], "character special file 640 7");
        }
    }
    for caller in Caller::root_only("a node that is there already") {
        let sandbox = Sandbox::new(caller);
        let node = |path: &str, minor: u32| json!([{"path": path, "type": "c", "major": 1, "minor": minor}]);
        let run = |devices: Value| {
            sandbox.run_configured(&[], &["true"], |config| config["linux"]["devices"] = devices)
        };
        run(node("/etc/passwd", 3)).code(125).says("mknodat");
        // /dev as the host has it is not ours to fill.
        let ran =
            sandbox.run_configured(&[], &["sh", "-c", "[ -e /dev/mine ] || echo none"], |config| {
                let mounts = config["mounts"].as_array_mut().expect("mounts");
                mounts.retain(|mount| {
                    !mount["destination"].as_str().expect("one").starts_with("/dev")
                });
                mounts.insert(
                    0,
                    json!({"destination": "/dev", "source": "/dev", "options": ["rbind"]}),
                );
                config["linux"]["devices"] = node("/dev/mine", 3);
            });
        assert_eq!(ran.ok(), "none");
        assert!(!Path::new("/dev/mine").exists());
    }
}
