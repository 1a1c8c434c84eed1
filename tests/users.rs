//! -u: who the program runs as, by the container's own /etc/passwd and /etc/group.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use minibox_tests::{Caller, Ran, Sandbox, wait_until};

/// Callers whose containers have more users than root.
fn with_several_ids() -> impl Iterator<Item = Caller> {
    Caller::all().into_iter().filter(|c| matches!(c, Caller::Root | Caller::SubordinateIds))
}

/// A root filesystem with this passwd and group.
fn root_with(sandbox: &Sandbox, passwd: &str, group: &str) -> PathBuf {
    let root = sandbox.bare_rootfs("root");
    fs::create_dir(root.join("etc")).expect("mkdir");
    sandbox.give(&root.join("etc"));
    fs::write(root.join("etc/passwd"), passwd).expect("write");
    fs::write(root.join("etc/group"), group).expect("write");
    root
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
# a comment, and lines that are none
learner:x:1000:1001:a plain user:/home/learner:/bin/sh
homeless:x:1002:1002::relative:/bin/sh
12345:x:7:7::/:/bin/sh
broken:x:many:1::/:/bin/sh
:x:0:0::/:/bin/sh
";
const GROUP: &str = "root:x:0:
tty:x:5:other,learner
audio:x:29:learner
learner:x:1001:
99:x:9:
";

/// uid, gid, supplementary groups and home as the program itself sees them.
const WHO: [&str; 3] = [
    "sh",
    "-c",
    "while read key ids; do case $key in Uid:|Gid:|Groups:) echo $ids;; esac; done </proc/self/status; echo $HOME",
];

#[track_caller]
fn who(sandbox: &Sandbox, root: &Path, options: &[&str]) -> String {
    let ran = sandbox.run_on(root, options, &WHO);
    let lines: Vec<&str> = ran.ok().lines().collect();
    let [uids, gids, groups, home] = lines[..] else { panic!("{ran:?}") };
    let one = |ids: &str| {
        let ids: Vec<&str> = ids.split_whitespace().collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "real, effective, saved and file id: {ids:?}");
        ids[0].to_owned()
    };
    format!("{}:{} [{groups}] {home}", one(uids), one(gids))
}

#[test]
fn by_name_by_number_and_with_a_group() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let root = root_with(&sandbox, PASSWD, GROUP);
        for (asked, expected) in [
            ("root", "0:0 [0] /root"),
            ("0", "0:0 [0] /root"),
            ("learner", "1000:1001 [5 29 1001] /home/learner"),
            ("1000", "1000:1001 [5 29 1001] /home/learner"),
            ("learner:tty", "1000:5 [5] /home/learner"),
            ("learner:6", "1000:6 [6] /home/learner"),
            ("1000:audio", "1000:29 [29] /home/learner"),
            ("homeless", "1002:1002 [1002] /"),
            ("4321", "4321:0 [0] /"),
            ("4321:8765", "4321:8765 [8765] /"),
            ("00077:011", "77:11 [11] /"),
            // Digits are a number, whatever passwd and group call so.
            ("12345", "12345:0 [0] /"),
            ("5:99", "5:99 [99] /"),
        ] {
            assert_eq!(who(&sandbox, &root, &["-u", asked]), expected, "{caller:?} -u {asked}");
        }
        assert_eq!(who(&sandbox, &root, &[]), "0:0 [0] /root");
    }
}

#[test]
fn a_root_without_passwd_knows_numbers_only() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        assert_eq!(who(&sandbox, &root, &["-u", "1000:1000"]), "1000:1000 [1000] /", "{caller:?}");
        assert_eq!(who(&sandbox, &root, &[]), "0:0 [0] /");
        let refused = sandbox.run_on(&root, &["-u", "root"], &["true"]);
        refused.code(125).says("there is no user \"root\" in the container: it has no /etc/passwd");
    }
}

/// The error alone, without what is said once.
#[track_caller]
fn refusal(sandbox: &Sandbox, asked: &str) -> String {
    let ran = sandbox.run(&[&format!("--user={asked}")], &["true"]).code(125).clone();
    assert_eq!(ran.stdout, "");
    ran.stderr.lines().filter(|line| !line.ends_with("(said once)")).collect::<Vec<_>>().join("\n")
}

#[test]
fn who_is_unknown_is_refused_word_for_word() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let hint = "\n  hint: give a number instead, or a name that the file lists";
        for name in ["stranger", "Root", "-1", "0x0", " 0", "1000 ", "+1", "1e3", "../root"] {
            assert_eq!(
                refusal(&sandbox, name),
                format!(
                    "minibox: there is no user {name:?} in the container: its /etc/passwd does not list it{hint}"
                )
            );
        }
        for group in ["strangers", "-1", "1 "] {
            assert_eq!(
                refusal(&sandbox, &format!("root:{group}")),
                format!("minibox: there is no group {group:?} in the container's /etc/group{hint}")
            );
        }
        for text in ["1:", ":", ":5", "root:"] {
            let hint = "\n  hint: write NAME, UID, NAME:GROUP or UID:GID";
            assert_eq!(refusal(&sandbox, text), format!("minibox: {text:?} is not a user{hint}"));
        }
        // Nothing was started, and nothing is left.
        assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    }
}

#[test]
fn numbers_out_of_range_never_become_root() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for id in ["4294967295", "4294967296", "18446744073709551616", "99999999999999999999999999"]
        {
            let words = format!(
                "minibox: the id {id} is out of range\n  hint: ids go from 0 to 4294967294"
            );
            assert_eq!(refusal(&sandbox, id), words);
            assert_eq!(refusal(&sandbox, &format!("0:{id}")), words);
        }
        // The same in the image's own files.
        let passwd = "big:x:4294967296:0::/:/bin/sh\nmost:x:4294967295:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\n";
        let root = root_with(&sandbox, passwd, "big:x:4294967296:\nmost:x:4294967295:\n");
        for asked in ["big", "most", "minus", "0:big", "0:most"] {
            let ran = sandbox.run_on(&root, &["-u", asked], &["id", "-u"]);
            assert_eq!((ran.code, ran.stdout.as_str()), (125, ""), "{caller:?} {asked} {ran:?}");
        }
    }
}

#[test]
fn an_id_that_is_not_mapped_gives_an_error_that_says_so() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let id = if caller == Caller::SubordinateIds { "70000" } else { "1000" };
        let ran = sandbox.run(&["-u", id], &["true"]);
        ran.code(125).says(id).says("not mapped");
        if caller == Caller::SingleId {
            ran.says("/etc/subuid");
        }
    }
}

#[test]
fn the_users_of_the_host_mean_nothing() {
    // Whoever runs this test has a name here that no container knows.
    for caller in [Caller::SingleId, Caller::SubordinateIds] {
        if Caller::all().contains(&caller) {
            let words = refusal(&Sandbox::new(caller), "minibox-plain");
            assert!(words.contains("its /etc/passwd does not list it"), "{words}");
        }
    }
}

#[test]
fn a_user_may_reopen_his_own_output() {
    let script = "echo to the link > /dev/stdout && echo to the other > /dev/stderr &&
        echo by descriptor > /proc/self/fd/1 && id -un";
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let expected = "to the link\nby descriptor\nlearner\n";
        // Through pipes of the caller's own: those of the test belong to the test.
        let pipes = "{ \"$@\" 2>&1 1>&3 | cat >&2; } 3>&1 | cat";
        let rootfs = sandbox.rootfs();
        let mut command = sandbox.command(Path::new("sh"));
        command.args(["-c", pipes, "sh"]).arg(sandbox.program());
        command.args(["run", "-u", "learner", &rootfs, "sh", "-c", script]);
        let ran = Ran::of(&command.output().expect("sh"));
        assert_eq!(ran.ok(), expected.trim(), "{caller:?} {ran:?}");
        assert_eq!(ran.stderr, "to the other\n", "{caller:?}");

        let id = sandbox.run(&["-d", "-u", "learner"], &["sh", "-c", script]).ok().to_owned();
        assert_eq!(sandbox.call(&["wait", &id]).ok(), "0");
        wait_until("all is logged", || sandbox.call(&["logs", &id]).stdout.contains("learner"));
        let logs = sandbox.call(&["logs", &id]);
        assert_eq!(
            (logs.stdout.as_str(), logs.stderr.as_str()),
            (expected, "to the other\n"),
            "{caller:?}"
        );

        let ran = sandbox.sh(
            &["-t", "-u", "learner"],
            "echo typed > /dev/tty && echo shown > /dev/stdout && tty",
        );
        assert_eq!(ran.ok().replace('\r', ""), "typed\nshown\n/dev/pts/0", "{caller:?}");
    }
}

#[test]
fn the_callers_files_keep_their_owner() {
    // Standard output is a file of the host here: it must not be given to the container's user.
    use std::os::unix::fs::MetadataExt;
    use std::process::Stdio;
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let path = sandbox.path("output");
        let file = fs::File::create(&path).expect("create");
        let rootfs = sandbox.rootfs();
        let mut command = sandbox.minibox(&["run", "-u", "1000", &rootfs, "echo", "written"]);
        let status = command.stdout(Stdio::from(file)).stderr(Stdio::null()).status();
        assert!(status.expect("minibox").success());
        assert_eq!(fs::read_to_string(&path).expect("it"), "written\n");
        assert_eq!(fs::metadata(&path).expect("it").uid(), 0, "{caller:?}");
    }
}

#[test]
fn a_user_can_not_do_what_root_can() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let script = "cat /etc/hosts >/dev/null && touch /tmp/mine && ! touch /mine && ! chown 0 /tmp/mine && ! kill -0 1x";
        let ran = sandbox.sh(&["-u", "learner"], script);
        ran.code(0).says("Permission denied").says("Operation not permitted");
    }
}

#[test]
fn exec_takes_a_user_too_and_by_default_the_first_ones() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let id = sandbox.start(&["-u", "learner"], &["sleep", "1000"]);
        let who = |options: &[&str]| {
            let ran =
                sandbox.call(&[&["exec"], options, &[&id, "sh", "-c", "id -u; id -g"]].concat());
            ran.ok().replace('\n', ":")
        };
        assert_eq!(who(&[]), "1000:1000", "{caller:?}");
        assert_eq!(who(&["-u", "root"]), "0:0");
        assert_eq!(who(&["-u", "nobody:tty"]), "65534:5");
        let ran = sandbox.call(&["exec", "-u", "stranger", &id, "true"]);
        ran.code(125).says("there is no user \"stranger\" in the container");
    }
}

#[test]
fn a_fifo_a_device_or_a_giant_as_passwd_does_not_hang() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let root = root_with(&sandbox, PASSWD, GROUP);
        for file in ["etc/passwd", "etc/group"] {
            let path = root.join(file);
            let text = fs::read_to_string(&path).expect("it");
            let asked = if file == "etc/passwd" { "learner" } else { "0:audio" };
            let refused = |why: &str| {
                let ran = sandbox.run_on(&root, &["-u", asked], &["true"]);
                ran.code(125)
                    .says(&format!("/{file} of the container is {why}"))
                    .says("give numbers instead");
                // Numbers need no file, and need not suffer from one.
                sandbox.run_on(&root, &["-u", "7:8"], &["true"]).ok();
                sandbox.run_on(&root, &[], &["true"]).ok();
            };
            fs::remove_file(&path).expect("rm");
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666))
                .expect("mkfifo");
            refused("a FIFO");
            fs::remove_file(&path).expect("rm");
            fs::create_dir(&path).expect("mkdir");
            refused("not a regular file");
            fs::remove_dir(&path).expect("rmdir");
            fs::File::create(&path).expect("create").set_len(1 << 40).expect("a sparse file");
            refused("larger than 8 MiB");
            fs::write(&path, text).expect("write");
        }
    }
}

#[test]
fn a_link_as_passwd_stays_inside_the_root() {
    for caller in with_several_ids() {
        let sandbox = Sandbox::new(caller);
        let root = root_with(&sandbox, "", GROUP);
        let path = root.join("etc/passwd");
        let outside = sandbox.path("outside");
        fs::write(&outside, "intruder:x:0:0::/:/bin/sh\n").expect("write");
        let up = format!("../../../../../../../..{}", outside.display());
        for target in [outside.to_str().expect("text"), &up, "/proc/self/root/etc/passwd", "passwd"]
        {
            fs::remove_file(&path).expect("rm");
            symlink(target, &path).expect("symlink");
            for asked in ["intruder", "minibox-plain"] {
                let ran = sandbox.run_on(&root, &["-u", asked], &["true"]);
                assert_eq!(
                    (ran.code, ran.stdout.as_str()),
                    (125, ""),
                    "{caller:?} {target} {ran:?}"
                );
            }
            sandbox.run_on(&root, &["-u", "7"], &["true"]).ok();
        }
        // One that stays inside is followed, absolute or not.
        fs::write(root.join("usr/accounts"), PASSWD).expect("write");
        for target in ["/usr/accounts", "../usr/accounts"] {
            fs::remove_file(&path).expect("rm");
            symlink(target, &path).expect("symlink");
            assert!(who(&sandbox, &root, &["-u", "learner"]).starts_with("1000:1001 "), "{target}");
        }
    }
}
