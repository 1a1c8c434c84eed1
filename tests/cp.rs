//! `cp`: docker's rules, both ways, for containers that run and containers that have ended; and that nothing
//! in a container leads it anywhere else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use minibox_tests::{Caller, Ran, Sandbox, is_full_run, on_a_terminal, wait_until};

/// Two containers in which `script` has been run: `run`, which goes on, and `end`, which has ended.
fn containers(sandbox: &Sandbox, options: &[&str], script: &str) -> [&'static str; 2] {
    sandbox.sh(&[&["--name", "end"], options].concat(), script).ok();
    let script = format!("{script}\ntouch /tmp/ready; exec sleep 1000");
    sandbox.start(&[&["--name", "run"], options].concat(), &["sh", "-c", &script]);
    wait_until("it is ready", || {
        sandbox.call(&["exec", "run", "test", "-e", "/tmp/ready"]).code == 0
    });
    ["run", "end"]
}

/// What is below `folder`: contents of files, targets of links.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, at: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("ls").flatten() {
            let (path, name) = (entry.path(), format!("{at}{}", entry.file_name().display()));
            let kind = entry.file_type().expect("a type");
            let text = if kind.is_dir() {
                walk(&path, &format!("{name}/"), found);
                String::from("a folder")
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).expect("a link").display())
            } else if kind.is_file() {
                fs::read_to_string(&path).expect("readable")
            } else {
                String::from("something else")
            };
            found.insert(name, text);
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

fn as_tree(text: &[(&str, &str)]) -> BTreeMap<String, String> {
    text.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// One copy: options, source, destination, and what is to be there afterwards, or the words of an error.
type Case<'a> = (&'a [&'a str], &'a str, &'a str, Result<&'a [(&'a str, &'a str)], &'a str>);

const SOURCE: &str =
    "mkdir -p DIR/d/sub; cd DIR; echo a > d/a; echo b > d/sub/b; ln -s a d/l; echo f > f
    ln -s d to-d; ln -s nowhere dangling";
const PLACE: &str =
    "mkdir -p DIR/dir DIR/merge/d; cd DIR; echo old > file; echo kept > merge/d/kept
    echo old > merge/d/a; ln -s dir to-dir; ln -s file to-file; ln -s not-yet to-nothing";

/// Docker's table. `S` stands for the folder of sources, `D` for that of destinations.
fn cases() -> Vec<Case<'static>> {
    vec![
        // A file.
        (&[], "S/f", "D/new", Ok(&[("new", "f\n")])),
        (&[], "S/f", "D/dir", Ok(&[("dir/f", "f\n")])),
        (&[], "S/f", "D/dir/", Ok(&[("dir/f", "f\n")])),
        (&[], "S/f", "D/dir/.", Ok(&[("dir/f", "f\n")])),
        (&[], "S/f", "D/file", Ok(&[("file", "f\n")])),
        (&[], "S/f", "D/to-dir", Ok(&[("dir/f", "f\n"), ("to-dir", "-> dir")])),
        (&[], "S/f", "D/to-file", Ok(&[("file", "f\n"), ("to-file", "-> file")])),
        (&[], "S/f", "D/to-nothing", Ok(&[("not-yet", "f\n"), ("to-nothing", "-> not-yet")])),
        (&[], "S/f", "D/none/", Err("no folder none")),
        (&[], "S/f", "D/no/where", Err("ENOENT")),
        (&[], "S/f", "D/file/x", Err("ENOTDIR")),
        (&[], "S/f", "D/file/", Err("ENOTDIR")),
        (&[], "S/f/", "D/new", Err("ENOTDIR")),
        (&[], "S/f/.", "D/new", Err("ENOTDIR")),
        (&[], "S/none", "D/new", Err("ENOENT")),
        // A link is copied as a link, unless it is to be followed.
        (&[], "S/d/l", "D/new", Ok(&[("new", "-> a")])),
        (&[], "S/d/l", "D/dir", Ok(&[("dir/l", "-> a")])),
        (&["-L"], "S/d/l", "D/new", Ok(&[("new", "a\n")])),
        (&["--follow-link"], "S/d/l", "D/dir", Ok(&[("dir/l", "a\n")])),
        (&[], "S/to-d", "D/new", Ok(&[("new", "-> d")])),
        (&[], "S/to-d/.", "D/dir", Ok(&[("dir/a", "a\n"), ("dir/sub/b", "b\n")])),
        (&[], "S/to-d/", "D/dir", Ok(&[("dir/to-d/a", "a\n")])),
        (&["-L"], "S/to-d", "D/new", Ok(&[("new/a", "a\n"), ("new/l", "-> a")])),
        (&[], "S/dangling", "D/new", Ok(&[("new", "-> nowhere")])),
        (&["-L"], "S/dangling", "D/new", Err("ENOENT")),
        // A folder.
        (&[], "S/d", "D/new", Ok(&[("new/a", "a\n"), ("new/l", "-> a"), ("new/sub/b", "b\n")])),
        (&[], "S/d", "D/new/", Ok(&[("new/a", "a\n"), ("new/sub/b", "b\n")])),
        (&[], "S/d/", "D/new", Ok(&[("new/a", "a\n")])),
        (&[], "S/d/.", "D/new", Ok(&[("new/a", "a\n"), ("new/sub/b", "b\n")])),
        (&[], "S/d", "D/dir", Ok(&[("dir/d/a", "a\n"), ("dir/d/sub/b", "b\n")])),
        (&[], "S/d/", "D/dir", Ok(&[("dir/d/a", "a\n")])),
        (&[], "S/d/.", "D/dir", Ok(&[("dir/a", "a\n"), ("dir/l", "-> a")])),
        (&[], "S/x/../d/.//", "D/./dir/", Ok(&[("dir/a", "a\n")])),
        (&[], "S/d", "D/merge", Ok(&[("merge/d/a", "a\n"), ("merge/d/kept", "kept\n")])),
        (&[], "S/d", "D/file", Err("cannot copy a folder over the file")),
        (&[], "S/d/.", "D/file", Err("cannot copy a folder over the file")),
        (&[], "S/d", "D/no/where", Err("ENOENT")),
        // Neither takes the place of the other.
        (&[], "S/d/a", "D/merge/d/sub", Ok(&[("merge/d/sub", "a\n")])),
        (&[], "S/f", "D/merge/d", Ok(&[("merge/d/f", "f\n")])),
    ]
}

/// Looks at `place` after the copy of `case`.
fn check(ran: &Ran, case: &Case<'_>, place: &Path, what: &str) {
    let found = tree(place);
    match case.3 {
        Ok(expected) => {
            assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, "", ""), "{what} {case:?}");
            for (name, text) in as_tree(expected) {
                assert_eq!(found.get(&name), Some(&text), "{what} {case:?} {found:?}");
            }
        }
        Err(words) => {
            ran.code(125).says(words);
            assert_eq!(found.len(), 9, "{what} {case:?} {found:?}");
            assert_eq!(found["merge/d/a"], "old\n", "{what} {case:?}");
        }
    }
}

/// Runs a script on the host, as the caller, in his home folder.
fn at_home(sandbox: &Sandbox, script: &str) -> Ran {
    let script = format!("cd home; {script}");
    let mut command = sandbox.command(Path::new("/bin/sh"));
    Ran::of(&command.args(["-euc", &script]).output().expect("sh"))
}

#[test]
fn files_come_out_by_dockers_rules() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for container in containers(&sandbox, &[], &SOURCE.replace("DIR", "/s")) {
            for case in cases() {
                at_home(&sandbox, &PLACE.replace("DIR", "place")).ok();
                // Every path in a container begins at its root.
                let from = format!("{container}:{}", case.1.replacen('S', "s", 1));
                let to = case.2.replacen('D', "home/place", 1);
                let ran = sandbox.call(&[&["cp"], case.0, &[&from, &to]].concat());
                check(&ran, &case, &sandbox.path("home/place"), &format!("{caller:?} {container}"));
                at_home(&sandbox, "rm -r place").ok();
            }
        }
    }
}

#[test]
fn files_go_in_by_dockers_rules() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        at_home(&sandbox, &SOURCE.replace("DIR", "s")).ok();
        let places: Vec<String> =
            (0..cases().len()).map(|n| PLACE.replace("DIR", &format!("/p{n}"))).collect();
        for container in containers(&sandbox, &[], &places.join("\n")) {
            for (n, case) in cases().into_iter().enumerate() {
                let from = case.1.replacen('S', "./home/s", 1);
                let to = format!("{container}:{}", case.2.replacen('D', &format!("/p{n}"), 1));
                let ran = sandbox.call(&[&["cp"], case.0, &[&from, &to]].concat());
                let place = format!("{container}:/p{n}");
                let found = sandbox.path("home/found");
                sandbox.call(&["cp", &place, "home/found"]).ok();
                check(&ran, &case, &found, &format!("{caller:?} {container}"));
                at_home(&sandbox, "rm -r found").ok();
            }
        }
    }
}

#[test]
fn what_is_no_copy_is_refused() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let [run, _] = containers(&sandbox, &[], "true");
    let two = "between a container and the host, not between containers";
    let one = "one of the two paths must be a container's";
    for (from, to, words) in [
        ("run:/etc", "end:/x", two),
        ("/etc", "/x", one),
        ("./run:/etc", "x", one),
        ("/run:/etc", "x", one),
        ("-", "-", one),
        ("none:/etc", "x", "there is no container \"none\""),
        (":/etc", "x", "there is no container \"\""),
        ("run:/proc/version", "x", "the kernel's own"),
        ("run:/sys", "x", "the kernel's own"),
        ("run:/etc", "/dev/null", "neither a folder nor a file"),
        ("/etc/passwd", "run:/dev/null", "neither a folder nor a file"),
        ("-", "run:/etc/passwd", "unpacked into a folder"),
        ("-", "run:/none", "unpacked into a folder"),
    ] {
        sandbox.call(&["cp", from, to]).code(125).says(words);
    }
    assert!(!sandbox.path("x").exists());
    sandbox.call(&["cp", "run:/etc"]).code(125);
    // A colon in a name of the host, and one in a container's.
    fs::write(sandbox.path("a:b"), "colons\n").expect("write");
    sandbox.call(&["cp", "./a:b", "run:/x:y"]).ok();
    sandbox.call(&["cp", "run:x:y", "./c:d"]).ok();
    assert_eq!(fs::read_to_string(sandbox.path("c:d")).expect("copied"), "colons\n");
    // No archive is read from, or written to, a terminal.
    let archive = on_a_terminal(&mut sandbox.minibox(&["cp", "run:/etc", "-"]));
    assert!(
        archive.code == 125 && archive.stdout.contains("nothing for a terminal"),
        "{archive:?}"
    );
    let archive = on_a_terminal(&mut sandbox.minibox(&["cp", "-", "run:/etc"]));
    assert!(
        archive.code == 125 && archive.stdout.contains("nothing for a terminal"),
        "{archive:?}"
    );
    sandbox.call(&["stop", "-t", "0", run]).ok();
}

#[test]
fn copies_belong_to_whoever_they_come_to_unless_they_keep_their_owners() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // With a single id there is nobody but root in a container.
        let owner = if caller == Caller::SingleId { "0:0" } else { "7:8" };
        let script = format!(
            "mkdir -m 1750 /s; echo x > /s/f; mkfifo -m 640 /s/p; ln -s f /s/l
            chown -h {owner} /s/f /s/l /s/p /s; chmod 4751 /s/f; touch -d @1000000000 /s/f /s"
        );
        let own = sandbox.uid();
        for container in containers(&sandbox, &[], &script) {
            let source = format!("{container}:/s");
            sandbox.call(&["cp", &source, "home/mine"]).ok();
            let stat = |name: &str| fs::symlink_metadata(sandbox.path(name)).expect("stat");
            for name in ["", "/f", "/p", "/l"] {
                let stat = stat(&format!("home/mine{name}"));
                assert_eq!((stat.uid(), stat.gid()), (own, own), "{caller:?} {container} {name}");
            }
            assert!(stat("home/mine/p").file_type().is_fifo());
            assert_eq!(stat("home/mine").mode() & 0o7777, 0o1750);
            // A program of the container's that would run as the caller, whoever starts it.
            assert_eq!(stat("home/mine/f").mode() & 0o7777, 0o751, "{caller:?}");
            assert_eq!(
                (stat("home/mine/f").mtime(), stat("home/mine").mtime()),
                (1_000_000_000, 1_000_000_000)
            );

            // Back again: the container's root, or whoever stands for the owner inside.
            let inside = |options: &[&str], name: &str| {
                let place = format!("{container}:/{name}");
                sandbox.call(&[&["cp"], options, &["home/mine", &place]].concat()).ok();
                let listed = sandbox.minibox(&["cp", &place, "-"]).output().expect("cp").stdout;
                list(&listed)
            };
            for line in inside(&[], "rooted") {
                assert!(line.contains(" 0/0 "), "{caller:?} {line}");
            }
            let kept = inside(&["-a"], "kept");
            // A plain user is his container's root; root is the same there.
            assert!(kept.iter().all(|line| line.contains(" 0/0 ")), "{caller:?} {kept:?}");
            at_home(&sandbox, "rm -r mine").ok();
        }
        if caller == Caller::Root {
            sandbox.call(&["cp", "-a", "run:/s", "home/kept"]).ok();
            let stat = fs::metadata(sandbox.path("home/kept/f")).expect("stat");
            assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (7, 8, 0o4751));
            sandbox.call(&["cp", "--archive", "home/kept", "run:/again"]).ok();
            let listed = sandbox.call(&["exec", "run", "stat", "-c", "%u:%g %a", "/again/f"]);
            assert_eq!(listed.ok(), "7:8 4751");
        } else if caller == Caller::SubordinateIds {
            let ran = sandbox.call(&["cp", "-a", "run:/s", "home/kept"]);
            ran.code(125).says("EPERM").says("only root gives files to others");
            // What is nobody's in the container stays outside.
            let ran = sandbox.call(&["cp", "-a", "/etc/passwd", "run:/x"]);
            ran.code(125).says("uid 0, for which the container has no number");
        }
    }
}

/// `tar tv` of an archive.
fn list(archive: &[u8]) -> Vec<String> {
    let mut tar = Command::new("tar")
        .args(["-tv", "--numeric-owner", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar");
    let mut stdin = tar.stdin.take().expect("a pipe");
    let archive = archive.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&archive));
    let output = tar.wait_with_output().expect("tar");
    writer.join().expect("a thread").expect("written");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// minibox with `archive` on its standard input.
fn feed(sandbox: &Sandbox, args: &[&str], archive: &[u8]) -> Ran {
    let path = sandbox.path("fed");
    fs::write(&path, archive).expect("write");
    let stdin = fs::File::open(&path).expect("open");
    Ran::of(&sandbox.minibox(args).stdin(stdin).output().expect("minibox"))
}

#[test]
fn archives_go_both_ways_as_streams() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let many = sandbox.folder("many");
        let long = "long-name-".repeat(20);
        fs::create_dir_all(many.join(&long).join(&long)).expect("mkdir");
        fs::write(many.join(&long).join(&long).join("file"), "deep\n").expect("write");
        fs::write(many.join("two\nlines"), "").expect("write");
        fs::hard_link(many.join("two\nlines"), many.join("linked")).expect("link");
        symlink("/".to_owned() + &long.repeat(3), many.join("link")).expect("symlink");
        symlink("a//b/./../c/", many.join("odd")).expect("symlink");
        for kind in ["gnu", "posix", "ustar"] {
            // ustar has no room for the longest of them.
            let exclude = if kind == "ustar" { "--exclude=l*" } else { "--exclude=none" };
            let tar = Command::new("tar")
                .args([exclude, "-c", "-H", kind, "-C"])
                .arg(sandbox.path(""))
                .arg("many")
                .output()
                .expect("tar");
            assert!(tar.status.success(), "{tar:?}");
            for container in
                containers(&sandbox, &["--rm"][..0], "mkdir -p /s /usr/lib/x; ln -s usr/lib/x /x")
            {
                let into = |place: &str| format!("{container}:{place}");
                feed(&sandbox, &["cp", "-", &into("/s")], &tar.stdout).ok();
                let back = sandbox.minibox(&["cp", &into("/s/many"), "-"]).output().expect("cp");
                let out = sandbox.folder("out");
                let mut extract = Command::new("tar");
                extract.args(["-x", "-C"]).arg(&out).stdin(Stdio::piped());
                let mut tar = extract.spawn().expect("tar");
                tar.stdin.take().expect("a pipe").write_all(&back.stdout).expect("written");
                assert!(tar.wait().expect("tar").success());
                let found = tree(&out.join("many"));
                if kind == "ustar" {
                    assert_eq!(found["odd"], "-> a//b/./../c/");
                } else {
                    assert_eq!(found, tree(&many), "{caller:?} {container} {kind}");
                    let inode = |name| fs::metadata(out.join("many").join(name)).expect("it").ino();
                    assert_eq!(inode("linked"), inode("two\nlines"));
                }
                fs::remove_dir_all(out).expect("rm");
                sandbox.call(&["rm", "-f", container]).ok();
            }
        }
    }
}

#[test]
fn what_is_no_archive_is_refused_and_one_that_leads_out_does_not() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for container in containers(&sandbox, &[], "mkdir /s /t; ln -s /t /s/away") {
            let place = format!("{container}:/s");
            let args = ["cp", "-", &place];
            feed(&sandbox, &args, b"this is not an archive")
                .code(125)
                .says("ends before it is complete");
            feed(&sandbox, &args, &[b'x'; 2048]).code(125).says("not a tar archive");
            feed(&sandbox, &args, b"\x1f\x8b\x08 and so on").code(125).says("gzip -dc");
            feed(&sandbox, &args, b"").ok();
            let tar = |words: &[&str]| {
                let made = Command::new("tar").args(words).current_dir(sandbox.path("")).output();
                made.expect("tar").stdout
            };
            fs::write(sandbox.path("f"), vec![b'x'; 100_000]).expect("write");
            let whole = tar(&["-c", "f"]);
            let ran = feed(&sandbox, &args, &whole[..50_000]);
            ran.code(125).says("ends before it is complete");
            let up = tar(&["-cP", "--transform", "s,^f$,../../up,", "f"]);
            feed(&sandbox, &args, &up).code(125).says("leads out of it");
            // An absolute name is one below the destination; a link in it is the container's own.
            feed(&sandbox, &args, &tar(&["-cP", "--transform", "s,^f$,/abs/f,", "f"])).ok();
            feed(&sandbox, &args, &tar(&["-c", "--transform", "s,^f$,away/f,", "f"])).ok();
            let all =
                sandbox.minibox(&["cp", &format!("{container}:/"), "-"]).output().expect("cp");
            let names = list(&all.stdout);
            let has = |name: &str| names.iter().any(|line| line.ends_with(&format!(" {name}")));
            assert!(has("s/abs/f") && has("t/f") && !has("up") && !has("s/f"), "{caller:?}");
        }
        assert!(!Path::new("/abs").exists() && !Path::new("/up").exists());
    }
}

#[test]
fn volumes_are_seen_and_what_is_read_only_stays_so() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let (volume, fixed) = (sandbox.folder("volume"), sandbox.folder("fixed"));
        fs::write(volume.join("there"), "seen\n").expect("write");
        let options =
            ["-v", "./volume:/v", "-v", "./fixed:/fixed:ro", "--read-only", "--tmpfs", "/tmp"];
        for container in containers(&sandbox, &options, "true") {
            let at = |path: &str| format!("{container}:{path}");
            sandbox.call(&["cp", &at("/v/there"), "home/seen"]).ok();
            assert_eq!(fs::read_to_string(sandbox.path("home/seen")).expect("it"), "seen\n");
            sandbox.call(&["cp", "home/seen", &at("/v/new")]).ok();
            let stat = fs::metadata(volume.join("new")).expect("in the volume");
            assert_eq!(stat.uid(), sandbox.uid(), "{caller:?}");
            for place in ["/fixed/x", "/x", "/etc/passwd"] {
                let ran = sandbox.call(&["cp", "home/seen", &at(place)]);
                ran.code(125).says("EROFS").says("--read-only");
            }
            fs::remove_file(volume.join("new")).expect("rm");
        }
        assert_eq!(tree(&fixed).len(), 0);
        // A mounted file cannot be replaced, docker's rule too.
        sandbox.start(&["--name", "c"], &["sleep", "1000"]);
        sandbox.call(&["cp", "home/seen", "c:/etc/hosts"]).code(125).says("EBUSY").says("mounted");
    }
}

#[test]
fn what_ids_of_a_container_hide_from_the_host_is_copied_too() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let owner = if caller == Caller::SingleId { "0" } else { "33" };
        let script =
            format!("mkdir -m 700 /s; echo secret > /s/f; chmod 600 /s/f; chown -R {owner} /s");
        for container in containers(&sandbox, &[], &script) {
            sandbox.call(&["cp", &format!("{container}:/s"), "home/s"]).ok();
            assert_eq!(at_home(&sandbox, "cat s/f; rm -r s").ok(), "secret", "{caller:?}");
            sandbox.call(&["cp", "/etc/passwd", &format!("{container}:/s/new")]).ok();
        }
    }
}

#[test]
fn a_root_put_together_from_parts_is_seen_whole() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let script = "echo new > /opt/new; echo x > /x";
        sandbox.run_on(Path::new("/"), &["--name", "c"], &["sh", "-c", script]).ok();
        sandbox.call(&["cp", "c:/opt/new", "home/new"]).ok();
        sandbox.call(&["cp", "c:/x", "home/x"]).ok();
        sandbox.call(&["cp", "home/new", "c:/opt/again"]).ok();
        sandbox.call(&["cp", "c:/opt/again", "home/again"]).ok();
        assert_eq!(at_home(&sandbox, "cat new x again").ok(), "new\nx\nnew", "{caller:?}");
    }
}

#[test]
fn device_nodes_are_for_root_who_asks() {
    for caller in Caller::root_only("device nodes in a copy") {
        let sandbox = Sandbox::new(caller);
        sandbox
            .sh(&["--name", "c", "--cap-add", "MKNOD"], "mkdir /s; mknod -m 666 /s/null c 1 3")
            .ok();
        let ran = sandbox.call(&["cp", "c:/s", "home/s"]);
        ran.says("left out").says("s/null").ok();
        assert_eq!(tree(&sandbox.path("home/s")).len(), 0);
        sandbox.call(&["cp", "-a", "c:/s", "home/kept"]).ok();
        let stat = fs::metadata(sandbox.path("home/kept/null")).expect("it");
        assert!(stat.file_type().is_char_device() && stat.rdev() == 0x103);
        // Into a container they go, where they open nothing.
        sandbox.call(&["cp", "home/kept/null", "c:/again"]).ok();
        let archive = sandbox.minibox(&["cp", "c:/again", "-"]).output().expect("cp").stdout;
        assert!(list(&archive)[0].starts_with("crw-rw-rw- 0/0"), "{:?}", list(&archive));
    }
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--name", "c"], "true").ok();
        sandbox.call(&["cp", "/dev/null", "c:/null"]).says("left out").says("null").ok();
    }
}

#[test]
fn a_file_that_grows_or_shrinks_meanwhile_breaks_no_archive() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "
import os
with open('/s', 'wb') as file:
    os.close(os.open('/ready', os.O_CREAT))
    while True:
        file.seek(0); file.truncate(0); file.write(b'x' * 3000000); file.flush()";
        sandbox.start(&["--name", "c"], &["python", "-c", script]);
        wait_until("it writes", || sandbox.call(&["exec", "c", "test", "-e", "/ready"]).code == 0);
        for _ in 0..10 {
            sandbox.call(&["cp", "c:/s", "home/s"]).ok();
            let whole = sandbox.minibox(&["cp", "c:/s", "-"]).output().expect("cp").stdout;
            assert_eq!(list(&whole).len(), 1, "{caller:?}");
        }
    }
}

#[test]
fn nobody_starts_or_hangs_on_a_copy_that_is_cut_off() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for container in containers(&sandbox, &[], "head -c 3000000 /dev/zero > /s") {
            let program = sandbox.program();
            let cut = format!("{} cp {container}:/s - | head -c 10 | wc -c", program.display());
            assert_eq!(at_home(&sandbox, &cut).ok(), "10", "{caller:?}");
            // A disk that is full.
            let full = format!("{} cp {container}:/s - > /dev/full", program.display());
            at_home(&sandbox, &full).code(125).says("ENOSPC");
        }
    }
}

#[test]
fn no_link_and_no_race_leads_out_of_a_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let outside = sandbox.folder("outside");
        fs::write(outside.join("secret"), "of the host").expect("write");
        sandbox.give(&outside.join("secret"));
        // The same path in the container, so that every copy finds something there.
        let script = format!(
            "
import os, itertools
outside = {:?}
os.makedirs(outside); os.makedirs('/real')
for folder in (outside, '/real'):
    open(folder + '/secret', 'w').write('of the container')
os.symlink(outside, '/link'); os.mkdir('/work'); os.symlink('/proc/1/root' + outside, '/magic')
os.mkdir('/work/x'); open('/work/x/secret', 'w').write('of the container')
os.close(os.open('/ready', os.O_CREAT))
while True:
    for other in ('/link', '/magic'):
        os.rename('/work/x', '/work/y'); os.rename(other, '/work/x')
        os.rename('/work/x', other); os.rename('/work/y', '/work/x')",
            outside.display().to_string()
        );
        sandbox.start(&["--name", "c"], &["python", "-c", &script]);
        wait_until("it swaps", || sandbox.call(&["exec", "c", "test", "-e", "/ready"]).code == 0);
        fs::write(sandbox.path("new"), "copied in").expect("write");
        for round in 0..if is_full_run() { 500 } else { 15 } {
            // Either way may fail: the folder is not always there.
            sandbox.call(&["cp", "new", "c:/work/x/new"]);
            sandbox.call(&["cp", "outside/.", "c:/work/x"]);
            sandbox.call(&["cp", "-L", "c:/work/x", &format!("home/{round}")]);
            sandbox.call(&["cp", "c:/work/x/secret", &format!("home/{round}-secret")]);
            sandbox.call(&["cp", "c:/work", &format!("home/{round}-work")]);
            let all = tree(&outside);
            assert_eq!(all, as_tree(&[("secret", "of the host")]), "{caller:?} {round}");
            let inside = sandbox.minibox(&["cp", "c:/work/x/.", "-"]).output().expect("cp").stdout;
            drop(inside);
        }
        for (name, text) in tree(&sandbox.path("home")) {
            // What was copied in just now may come out again, but was never read outside.
            let ours = ["a folder", "of the container", "copied in", "of the host"];
            assert!(ours.contains(&text.as_str()) || text.starts_with("-> "), "{name}: {text}");
        }
    }
}

#[test]
fn a_process_of_the_host_in_sight_is_no_way_out() {
    for caller in Caller::root_only("a container that sees the host's processes") {
        let sandbox = Sandbox::new(caller);
        let outside = sandbox.folder("outside");
        fs::write(outside.join("secret"), "of the host").expect("write");
        let path = outside.display();
        let root = format!("/host/{}/root", std::process::id());
        let script = format!("mkdir -p {path}; ln -s {root} /door; ln -s /door{path} /to");
        for container in containers(&sandbox, &["-v", "/proc:/host"], &script) {
            let at = |path: &str| format!("{container}:{path}");
            for door in [at("/to"), at(&format!("/door{path}")), at(&format!("{root}{path}"))] {
                sandbox.call(&["cp", &format!("{door}/secret"), "home/x"]).code(125).says("ELOOP");
                sandbox.call(&["cp", "-L", &format!("{door}/."), "home/x"]).code(125).says("ELOOP");
                sandbox.call(&["cp", "/etc/passwd", &door]).code(125).says("ELOOP");
                feed(&sandbox, &["cp", "-", &door], b"").code(125).says("ELOOP");
            }
            assert_eq!(tree(&outside), as_tree(&[("secret", "of the host")]));
            assert!(!sandbox.path("home/x").exists());
        }
    }
}

/// minibox with standard error on a terminal, and what it has shown there.
fn watched(
    sandbox: &Sandbox,
    args: &[&str],
) -> (std::process::Child, std::sync::Arc<std::sync::Mutex<String>>) {
    let pty = nix::pty::openpty(None, None).expect("a pty");
    let mut command = sandbox.minibox(args);
    let child = command.stdin(Stdio::piped()).stderr(pty.slave).spawn().expect("minibox");
    drop(command);
    let shown = std::sync::Arc::default();
    let shared = std::sync::Arc::clone(&shown);
    std::thread::spawn(move || {
        let (mut master, mut buffer) = (fs::File::from(pty.master), [0; 4096]);
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            let text: &std::sync::Mutex<String> = &shared;
            text.lock().expect("a lock").push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    (child, shown)
}

#[test]
fn a_long_copy_shows_on_a_terminal_how_far_it_has_come() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.sh(&["--name", "one"], "true").ok();
        sandbox.sh(&["--name", "two"], "true").ok();
        fs::File::create(sandbox.path("big")).expect("it").set_len(1 << 40).expect("grow");
        let mut tar = Command::new("tar")
            .args(["-c", "-C"])
            .arg(sandbox.path(""))
            .arg("big")
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let mut archive = tar.stdout.take().expect("a pipe");
        let (mut loud, shown) = watched(&sandbox, &["cp", "-", "one:/tmp"]);
        let (mut quiet, silence) = watched(&sandbox, &["cp", "-q", "-", "two:/tmp"]);
        let mut inputs = [&mut loud, &mut quiet].map(|child| child.stdin.take().expect("a pipe"));
        wait_until("it shows how far it is", || {
            let mut chunk = [0; 4096];
            archive.read_exact(&mut chunk).expect("there is more");
            for input in &mut inputs {
                input.write_all(&chunk).expect("it reads");
            }
            shown.lock().expect("a lock").contains("\r\x1b[Kcopying to one: ")
        });
        drop(inputs);
        for child in [&mut loud, &mut quiet] {
            assert_eq!(child.wait().expect("it ends").code(), Some(125));
        }
        let is_told = |text: &str| text.contains("ends before it is complete");
        wait_until("both have said their last", || {
            [&shown, &silence].iter().all(|text| is_told(&text.lock().expect("a lock")))
        });
        let shown = shown.lock().expect("a lock").clone();
        assert!(shown.contains("B\r\x1b[Kminibox: "), "{caller:?}: cleared first: {shown:?}");
        assert!(!silence.lock().expect("a lock").contains("copying"), "{silence:?}");
        let _ = tar.kill();
        let _ = tar.wait();
    }
}
