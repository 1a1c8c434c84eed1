//! Volumes: with a name and without, filled at first, in use, and removed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use minibox_tests::{Beside, Caller, Ran, Sandbox, wait_until};
use nix::sys::signal::Signal;

fn data(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.path("data/volumes").join(name).join("_data")
}

/// The names of all volumes.
fn names(sandbox: &Sandbox) -> Vec<String> {
    sandbox.call(&["volume", "ls", "-q"]).ok().lines().map(str::to_owned).collect()
}

#[test]
fn volumes_are_made_listed_shown_and_removed() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(sandbox.call(&["volume", "ls"]).ok(), "DRIVER    VOLUME NAME");
        for name in ["web", "db.1_x-y"] {
            assert_eq!(sandbox.call(&["volume", "create", name]).ok(), name);
        }
        // Again is no error, and changes nothing.
        assert_eq!(sandbox.call(&["volume", "create", "web", "--label", "a=b"]).ok(), "web");
        let labelled = ["volume", "create", "--label", "a=b", "--label", "alone", "labelled"];
        sandbox.call(&labelled).ok();
        let anonymous = sandbox.call(&["volume", "create"]).ok().to_owned();
        assert!(anonymous.len() == 64 && anonymous.bytes().all(|b| b.is_ascii_hexdigit()));
        let listed = sandbox.call(&["volume", "ls"]);
        assert_eq!(listed.ok().lines().count(), 5);
        assert!(listed.ok().lines().any(|line| line == "local     web"), "{listed:?}");
        for (filter, found) in [
            ("name=web", &["web"][..]),
            ("name=e", &["labelled", "web"]),
            ("label=a", &["labelled"]),
            ("label=a=b", &["labelled"]),
            ("label=a=c", &[]),
            ("dangling=false", &[]),
        ] {
            let ran = sandbox.call(&["volume", "ls", "-q", "--filter", filter]);
            let mut names: Vec<&str> = ran.ok().lines().collect();
            names.retain(|name| *name != anonymous);
            assert_eq!(names, found, "{filter}");
        }
        for filter in ["colour=red", "name", "dangling=maybe"] {
            sandbox.call(&["volume", "ls", "--filter", filter]).code(125).says(filter);
        }
        let shown = sandbox.call(&["volume", "inspect", "labelled", "web"]);
        let shown: serde_json::Value = serde_json::from_str(shown.ok()).expect("JSON");
        assert_eq!(shown[0]["Name"], "labelled");
        assert_eq!(shown[0]["Labels"], serde_json::json!({"a": "b", "alone": ""}));
        assert_eq!(shown[0]["Driver"], "local");
        assert_eq!(shown[0]["Scope"], "local");
        assert_eq!(shown[1]["Mountpoint"], data(&sandbox, "web").display().to_string());
        assert_eq!(fs::metadata(data(&sandbox, "web")).expect("it").uid(), sandbox.uid());
        let none = sandbox.call(&["volume", "inspect", "none", "web"]);
        none.code(1).says("there is no volume \"none\"");
        assert!(none.stdout.contains("\"web\""), "{none:?}");

        sandbox.call(&["volume", "rm", "none"]).code(1).says("there is no volume \"none\"");
        assert_eq!(sandbox.call(&["volume", "rm", "-f", "none"]).ok(), "");
        let removed = sandbox.call(&["volume", "rm", "web", "none", "db.1_x-y"]).code(1).clone();
        assert_eq!(removed.stdout, "web\ndb.1_x-y\n", "{removed:?}");
        for name in ["labelled", &anonymous] {
            sandbox.call(&["volume", "remove", name]).ok();
        }
        assert_eq!(fs::read_dir(sandbox.path("data/volumes")).expect("ls").count(), 0);
    }
}

#[test]
fn what_is_no_volume_is_refused() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for name in ["a", "a/b", "..", ".x", "-x", "한글", "a b", ""] {
        let ran = sandbox.call(&["volume", "create", "--", name]).code(125).clone();
        assert!(ran.stderr.contains("at least two"), "{name}: {ran:?}");
        sandbox.call(&["volume", "rm", "--", name]).code(1);
        sandbox.call(&["volume", "inspect", "--", name]).code(1);
    }
    sandbox.call(&["volume", "create", "-d", "nfs", "xx"]).code(125).says("--driver \"nfs\"");
    let option = sandbox.call(&["volume", "create", "-o", "type=tmpfs", "xx"]).code(125).clone();
    assert!(option.stderr.contains("--opt type=tmpfs"), "{option:?}");
    for volume in ["x:/data", "a b:/data", "-x:/data"] {
        let volume = format!("--volume={volume}");
        sandbox.run(&[&volume], &["true"]).code(125).says("no name for a volume");
    }
    assert!(!sandbox.path("data/volumes").exists());
}

#[test]
fn a_volume_outlives_its_containers_and_is_shared_by_them() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--rm", "-v", "web:/data"], "echo kept > /data/f; touch /data/$(id -u)").ok();
        assert_eq!(fs::read_to_string(data(&sandbox, "web").join("f")).expect("it"), "kept\n");
        sandbox.start(&["--name", "one", "-v", "web:/data"], &["sleep", "1000"]);
        let read = sandbox.run(&["--rm", "-v", "web:/elsewhere:ro"], &["cat", "/elsewhere/f"]);
        assert_eq!(read.ok(), "kept", "{caller:?}");
        let write = sandbox.sh(&["--rm", "-v", "web:/x:ro"], "echo x > /x/f");
        assert!(write.stderr.contains("Read-only file system"), "{write:?}");
        sandbox.call(&["exec", "one", "sh", "-c", "echo more >> /data/f"]).ok();
        let read = sandbox.run(&["--rm", "--mount", "src=web,dst=/x"], &["cat", "/x/f"]);
        assert_eq!(read.ok(), "kept\nmore");

        // In use, running and ended, and only then.
        let id = sandbox.inspect("one")["Id"].as_str().map(str::to_owned);
        let used = sandbox.call(&["volume", "rm", "web"]).code(1).clone();
        if let Some(id) = id {
            assert!(used.stderr.contains(&format!("volume is in use - [{id}]")), "{used:?}");
        }
        used.says("remove web: volume is in use");
        sandbox.call(&["stop", "-t", "0", "one"]).ok();
        sandbox.call(&["volume", "rm", "-f", "web"]).code(1).says("volume is in use");
        let dangling = |value: &str| {
            let filter = format!("dangling={value}");
            sandbox.call(&["volume", "ls", "-q", "--filter", &filter]).ok().to_owned()
        };
        assert_eq!((&*dangling("true"), &*dangling("false")), ("", "web"));
        // Even with -v, since it has a name.
        sandbox.call(&["rm", "-v", "one"]).ok();
        assert_eq!((&*dangling("true"), &*dangling("false")), ("web", ""));
        sandbox.call(&["volume", "rm", "web"]).ok();
        assert_eq!(names(&sandbox).len(), 0);
    }
}

#[test]
fn a_volume_without_a_name_goes_with_its_container_where_that_is_asked() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "echo x > /one/x; echo x > /two/x";
        let options = ["-v", "/one", "--mount", "type=volume,dst=/two"];
        sandbox.sh(&[&["--rm"], &options[..]].concat(), script).ok();
        assert_eq!(names(&sandbox).len(), 0, "{caller:?}: --rm");
        sandbox.sh(&[&["--name", "kept"], &options[..]].concat(), script).ok();
        let kept = names(&sandbox);
        assert!(kept.len() == 2 && kept.iter().all(|name| name.len() == 64), "{kept:?}");
        sandbox.call(&["rm", "kept"]).ok();
        assert_eq!(names(&sandbox), kept, "{caller:?}: rm leaves them");
        sandbox.sh(&[&["--name", "gone"], &options[..]].concat(), script).ok();
        sandbox.call(&["rm", "-v", "gone"]).ok();
        assert_eq!(names(&sandbox), kept, "{caller:?}: rm -v takes them");
        // Nor does a container that could not be made, or started, leave any.
        sandbox.run(&options, &["/not/there"]).code(127);
        sandbox.run(&["-v", "/one", "-v", "/nowhere/at/all:/etc/passwd/x"], &["true"]).code(125);
        assert_eq!(names(&sandbox), kept, "{caller:?}: after a failure");
        // As long as another container has it, it stays.
        sandbox.sh(&["--name", "first", "-v", "/one"], "echo x > /one/x").ok();
        sandbox.start(&["--name", "second", "--volumes-from", "first"], &["sleep", "1000"]);
        sandbox.call(&["rm", "-v", "first"]).ok();
        assert_eq!(sandbox.call(&["exec", "second", "cat", "/one/x"]).ok(), "x", "{caller:?}");
        sandbox.call(&["rm", "-f", "-v", "second"]).ok();
        assert_eq!(names(&sandbox), kept);
        let pruned = sandbox.call(&["volume", "prune", "-f"]);
        let text = format!("Deleted Volumes:\n{}\n\nTotal reclaimed space: 4B", kept.join("\n"));
        assert_eq!(pruned.ok(), text, "{caller:?}");
    }
}

#[test]
fn prune_asks_and_takes_what_has_no_name_unless_told_otherwise() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.call(&["volume", "create"]).ok();
        sandbox.call(&["volume", "create", "--label", "keep", "named"]).ok();
        sandbox.call(&["volume", "create", "other"]).ok();
        let answered = |answer: &str, args: &[&str]| {
            let mut command = sandbox.minibox(&[&["volume", "prune"], args].concat());
            let mut ran = Beside::spawn(command.stdin(Stdio::piped()));
            std::io::Write::write_all(&mut ran.stdin(), answer.as_bytes()).expect("answered");
            ran.end()
        };
        for no in ["n\n", "", "\n", "no\n"] {
            let ran = answered(no, &[]);
            assert!(ran.ok().starts_with("WARNING! This will remove anonymous local volumes"));
            assert_eq!(names(&sandbox).len(), 3, "{no:?}");
        }
        assert!(answered("y\n", &[]).ok().contains("Deleted Volumes:\n"));
        assert_eq!(names(&sandbox), ["named", "other"], "{caller:?}");
        assert_eq!(sandbox.call(&["volume", "prune", "-f"]).ok(), "Total reclaimed space: 0B");
        sandbox.call(&["volume", "prune", "-f", "-a", "--filter", "label=keep"]).ok();
        assert_eq!(names(&sandbox), ["other"]);
        sandbox.start(&["--name", "c", "-v", "other:/x"], &["sleep", "1000"]);
        sandbox.call(&["volume", "prune", "-fa"]).ok();
        assert_eq!(names(&sandbox), ["other"], "one that is in use stays");
        sandbox.call(&["rm", "-f", "c"]).ok();
        sandbox.call(&["volume", "prune", "-fa"]).ok();
        assert_eq!(names(&sandbox).len(), 0);
    }
}

#[test]
fn an_empty_volume_gets_what_the_root_has_in_its_place() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let folder = root.join("var/lib/app");
        fs::create_dir_all(folder.join("sub")).expect("mkdir");
        fs::write(folder.join("config"), "from the root\n").expect("write");
        fs::write(folder.join("sub/secret"), "secret\n").expect("write");
        std::os::unix::fs::symlink("config", folder.join("link")).expect("symlink");
        std::os::unix::fs::symlink("lib/app", root.join("var/to-app")).expect("symlink");
        // Whoever comes through a link finds the root's own, whatever lies there on the host.
        std::os::unix::fs::symlink("/etc", root.join("var/out")).expect("symlink");
        let mode = |mode| fs::Permissions::from_mode(mode);
        for place in ["", "sub", "sub/secret", "config"] {
            sandbox.give(&folder.join(place));
        }
        fs::set_permissions(folder.join("sub/secret"), mode(0o4711)).expect("chmod");
        let owner = if caller == Caller::Root { 33 } else { sandbox.uid() };
        if caller == Caller::Root {
            std::os::unix::fs::chown(&folder, Some(33), Some(34)).expect("chown");
            std::os::unix::fs::chown(folder.join("sub"), Some(33), Some(34)).expect("chown");
        }
        fs::set_permissions(&folder, mode(0o1770)).expect("chmod");
        let run = |options: &[&str], script: &str| {
            let options = [&["--rm"], options].concat();
            sandbox.run_on(&root, &options, &["sh", "-c", script])
        };
        let look = "cat /var/lib/app/config /var/lib/app/link; stat -c %a /var/lib/app /var/lib/app/sub/secret";
        let ran = run(
            &["-v", "app:/var/lib/app"],
            &format!("{look}; echo changed > /var/lib/app/config"),
        );
        assert_eq!(ran.ok(), "from the root\nfrom the root\n1770\n4711", "{caller:?}");
        let stat = fs::metadata(data(&sandbox, "app")).expect("it");
        assert_eq!(stat.uid(), owner, "{caller:?}");
        assert_eq!(stat.permissions().mode() & 0o7777, 0o1770, "{caller:?}");
        // Once; and never over what is there.
        assert_eq!(run(&["-v", "app:/var/lib/app"], "cat /var/lib/app/config").ok(), "changed");
        assert_eq!(run(&["-v", "app:/var"], "ls /var").ok(), "config\nlink\nsub");
        // Without a name, read-only, through links, spelled out: the same.
        for options in [
            &["-v", "/var/lib/app"][..],
            &["-v", "ro-1:/var/lib/app:ro"],
            &["--mount", "dst=/var/lib/app"],
            &["--mount", "type=volume,src=spelled,dst=/var/lib/app,readonly"],
        ] {
            assert!(
                run(options, look).ok().starts_with("from the root\n"),
                "{caller:?} {options:?}"
            );
        }
        assert_eq!(
            run(&["-v", "linked:/var/to-app"], "cat /var/to-app/config").ok(),
            "from the root"
        );
        assert_eq!(run(&["-v", "away:/var/out"], "ls -A /var/out").ok(), "");
        for options in [
            &["-v", "none-1:/var/lib/app:nocopy"][..],
            &["--mount", "src=none-2,dst=/var/lib/app,volume-nocopy"],
            &["--mount", "src=none-3,dst=/var/lib/app,volume-nocopy=true"],
            &["-v", "none-4:/not/there"],
            &["-v", "none-5:/usr/bin/env"],
        ] {
            let place = options[1].rsplit(['=', ':']).find(|word| word.starts_with('/'));
            let place = place.unwrap_or("/var/lib/app,").split(',').next().expect("a word");
            let ran = run(options, &format!("ls -A {place}"));
            if !options[1].contains("env") {
                assert_eq!(ran.ok(), "", "{caller:?} {options:?}");
            }
        }
        // A folder of the host stays as it is.
        sandbox.folder("empty");
        assert_eq!(run(&["-v", "./empty:/var/lib/app"], "ls /var/lib/app").ok(), "");
        sandbox.call(&["volume", "prune", "-fa"]).ok();
    }
}

#[test]
fn a_filling_that_was_cut_short_is_found_and_begun_again() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.call(&["volume", "create", "half"]).ok();
        let json = sandbox.path("data/volumes/half/volume.json");
        let text = fs::read_to_string(&json).expect("it");
        let cut = text.replace("\"is_filling\": false", "\"is_filling\": true");
        assert_ne!(text, cut);
        let break_it = || {
            fs::write(&json, &cut).expect("write");
            fs::write(data(&sandbox, "half").join("half"), "").expect("write");
        };
        break_it();
        sandbox.sh(&["--rm", "-v", "half:/etc"], "test -e /etc/passwd && test ! -e /etc/half").ok();
        break_it();
        for name in [".new-0", ".removed-0"] {
            let folder = sandbox.path("data/volumes").join(name);
            fs::create_dir_all(folder.join("_data")).expect("mkdir");
            sandbox.give(&folder);
            sandbox.give(&folder.join("_data"));
        }
        let found = sandbox.call(&["gc"]);
        assert_eq!(found.ok().lines().count(), 3, "{caller:?} {found:?}");
        sandbox.call(&["gc", "--force"]).ok();
        assert_eq!(sandbox.call(&["gc"]).ok(), "");
        assert_eq!(names(&sandbox), ["half"]);
        assert_eq!(fs::read_dir(data(&sandbox, "half")).expect("ls").count(), 0);
    }
}

#[test]
fn one_killed_while_it_fills_leaves_what_gc_finds() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        let big = root.join("big");
        fs::create_dir(&big).expect("mkdir");
        // Sparse: nothing on the disk, and much to read.
        for n in 0..64 {
            fs::File::create(big.join(n.to_string())).expect("it").set_len(64 << 20).expect("grow");
        }
        let root_path = root.display().to_string();
        let args = ["run", "-v", "slow:/big", &root_path, "true"];
        let run = Beside::spawn(&mut sandbox.minibox(&args));
        wait_until("it fills", || data(&sandbox, "slow").join("0").exists());
        run.signal(Signal::SIGKILL);
        run.end();
        wait_until("its helpers are gone", || {
            let found = sandbox.call(&["gc"]);
            found.stdout.contains("a volume whose first filling was cut short: slow")
        });
        sandbox.call(&["gc", "--force"]).ok();
        assert_eq!(fs::read_dir(data(&sandbox, "slow")).expect("ls").count(), 0, "{caller:?}");
        let ids = sandbox.call(&["ps", "-aq"]).ok().to_owned();
        assert_eq!(sandbox.call(&["rm", &ids]).ok(), ids);
        sandbox.call(&["volume", "rm", "slow"]).ok();
    }
}

#[test]
fn many_at_once_fill_a_volume_once() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let script = "test -e /etc/passwd && echo x >> /etc/count && test $(ls /etc | wc -l) -gt 3";
        let args = ["run", "--rm", "-v", "shared:/etc", &rootfs, "sh", "-c", script];
        let all: Vec<Beside> = (0..6).map(|_| Beside::spawn(&mut sandbox.minibox(&args))).collect();
        for run in all {
            let ran: Ran = run.end();
            assert_eq!(ran.code, 0, "{caller:?} {ran:?}");
        }
        let count = fs::read_to_string(data(&sandbox, "shared").join("count")).expect("it");
        assert_eq!(count, "x\n".repeat(6), "{caller:?}");
    }
}

#[test]
fn volumes_from_another_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.folder("folder").join("f"), "of the host\n").expect("write");
        let options = [
            "--name",
            "first",
            "-v",
            "web:/web",
            "-v",
            "./folder:/folder:ro",
            "--tmpfs",
            "/memory",
            "-v",
            "/own",
        ];
        sandbox.sh(&options, "echo x > /web/x; echo x > /own/x").ok();
        let script =
            "cat /web/x /folder/f /own/x; echo y > /web/y; echo y > /folder/y; ls -d /memory";
        let ran = sandbox.sh(&["--rm", "--volumes-from", "first"], script);
        assert_eq!(ran.stdout, "x\nof the host\nx\n", "{caller:?} {ran:?}");
        assert!(ran.stderr.contains("/memory") && ran.stderr.contains("Read-only file system"));
        let ran = sandbox.sh(&["--rm", "--volumes-from", "first:ro"], "echo y > /web/y");
        assert!(ran.stderr.contains("Read-only file system"), "{caller:?} {ran:?}");
        let ran = sandbox.sh(&["--rm", "--volumes-from", "first:rw"], "echo y > /folder/y");
        assert_eq!(
            (ran.code, fs::read_to_string(sandbox.path("folder/y")).expect("it")),
            (0, "y\n".into())
        );
        // What is said for it counts more.
        let mine = ["--rm", "--volumes-from", "first", "-v", "mine:/web"];
        assert_eq!(sandbox.sh(&mine, "ls /web; cat /folder/f").ok(), "of the host");
        sandbox.run(&["--volumes-from", "none"], &["true"]).code(125).says("\"none\"");
        sandbox.run(&["--volumes-from", "first:z,ro"], &["true"]).code(125).says("--volumes-from");
        // Removed with --rm, it takes none of them along.
        assert_eq!(names(&sandbox).len(), 3, "{:?}", names(&sandbox));
        sandbox.call(&["rm", "-v", "first"]).ok();
        assert_eq!(names(&sandbox), ["mine", "web"], "{caller:?}");
        assert!(Path::new(&sandbox.path("folder/f")).exists());
    }
}
