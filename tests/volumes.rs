//! What is mounted on request: -v, --tmpfs, and -w, the folder to start in.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox, write_program};

/// The flags of the mount at `place`, from the container's mountinfo.
fn flags<'a>(mountinfo: &'a str, place: &str) -> Vec<&'a str> {
    let line = mountinfo.lines().find(|line| line.split(' ').nth(4) == Some(place));
    let line = line.unwrap_or_else(|| panic!("{place} is not in\n{mountinfo}"));
    line.split(' ').nth(5).expect("flags").split(',').collect()
}

#[test]
fn a_folder_is_seen_and_written_through() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        fs::write(folder.join("given"), "from the host\n").expect("write");
        let volume = format!("{}:/data", folder.display());
        let script =
            "cat /data/given; echo from the container > /data/made; stat -c %u:%g /data/made";
        assert_eq!(sandbox.sh(&["-v", &volume], script).ok(), "from the host\n0:0", "{caller:?}");
        let made = folder.join("made");
        assert_eq!(fs::read_to_string(&made).expect("on the host"), "from the container\n");
        assert_eq!(fs::metadata(&made).expect("on the host").uid(), sandbox.uid(), "{caller:?}");
        // `rw` is the default, and may be said.
        let volume = volume + ":rw";
        sandbox.sh(&["-v", &volume], "touch /data/again").ok();
        assert!(folder.join("again").exists());
    }
}

#[test]
fn a_file_is_the_same_file() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let file = sandbox.path("file");
        fs::write(&file, "one\n").expect("write");
        sandbox.give(&file);
        let volume = format!("{}:/some/where/file", file.display());
        let script = "stat -c %F:%i /some/where/file; echo two >> /some/where/file";
        let inode = fs::metadata(&file).expect("it").ino();
        assert_eq!(sandbox.sh(&["-v", &volume], script).ok(), format!("regular file:{inode}"));
        assert_eq!(fs::read_to_string(&file).expect("it"), "one\ntwo\n", "{caller:?}");
    }
}

#[test]
fn ro_means_read_only_for_files_too_and_for_what_lies_below() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        fs::write(folder.join("file"), "as it was").expect("write");
        sandbox.give(&folder.join("file"));
        let whole = format!("{}:/data:ro", folder.display());
        let single = format!("{}:/single:ro", folder.join("file").display());
        let script = "echo x > /data/new; echo x > /data/file; echo x > /single; rm /data/file; chmod 0 /single; true";
        let ran = sandbox.sh(&["-v", &whole, "-v", &single], script);
        assert_eq!(ran.stderr.matches("Read-only file system").count(), 5, "{caller:?} {ran:?}");
        assert_eq!(fs::read_to_string(folder.join("file")).expect("it"), "as it was");
        // The volume is the only thing that is read-only.
        sandbox.sh(&["-v", &whole], "touch /free").ok();
    }
    for caller in Caller::root_only("a read-only volume with a mount below it") {
        let sandbox = Sandbox::new(caller);
        fs::create_dir_all(sandbox.folder("folder").join("below")).expect("mkdir");
        let script = r#"mount -t tmpfs tmpfs folder/below; touch folder/below/seen
            "$@" run --rm -v ./folder:/data:ro "$ROOTFS" sh -c 'ls /data/below; touch /data/below/x 2>&1'"#;
        let wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-uc", script, "sh"];
        let ran = Ran::of(
            &sandbox.wrapped(&wrapper, &[]).env("ROOTFS", sandbox.rootfs()).output().expect("sh"),
        );
        assert!(
            ran.stdout.starts_with("seen\n") && ran.stdout.contains("Read-only file system"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_missing_source_becomes_an_empty_folder() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let missing = sandbox.folder("own").join("not/yet/there");
        let volume = format!("{}:/data", missing.display());
        assert_eq!(sandbox.sh(&["-v", &volume], "ls -A /data; touch /data/x; echo ok").ok(), "ok");
        assert_eq!(fs::metadata(&missing).expect("made").uid(), sandbox.uid(), "{caller:?}");
        assert!(missing.join("x").exists());
    }
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let ran = sandbox.run(&["-v", "/usr/not-there/x:/data"], &["true"]);
        ran.code(125)
            .says("/usr/not-there")
            .says("EACCES")
            .says("the source of a volume is a path on the host");
    }
}

#[test]
fn a_source_may_be_relative_and_hold_any_letter_but_a_colon() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for name in ["plain", "two words", "a,b=c\\d", "폴더"] {
            fs::write(sandbox.folder(name).join("file"), "seen\n").expect("write");
            // Commands of a sandbox start in its folder.
            let volume = format!("./{name}:/in side/{name}");
            let ran = sandbox.run(&["-v", &volume], &["cat", &format!("/in side/{name}/file")]);
            assert_eq!(ran.ok(), "seen", "{caller:?} {name}");
        }
    }
}

#[test]
fn what_lies_below_another_is_seen_in_whatever_order_they_are_given() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for name in ["top", "middle", "bottom"] {
            fs::write(sandbox.folder(name).join(name), "").expect("write");
        }
        let options = ["./top:/a", "./middle:/a/b", "./bottom:/a/b/c"];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let flags: Vec<&str> = order.iter().flat_map(|&i| ["-v", options[i]]).collect();
            let found = sandbox.sh(&flags, "ls /a/top /a/b/middle /a/b/c/bottom").ok().to_owned();
            assert_eq!(found.lines().count(), 3, "{caller:?} {order:?} {found}");
        }
        // A tmpfs above or below a volume, likewise.
        sandbox.sh(&["-v", "./top:/t/v", "--tmpfs", "/t"], "ls /t/v/top && touch /t/x").ok();
        sandbox.sh(&["--tmpfs", "/a/t", "-v", "./top:/a"], "ls /a/top && touch /a/t/x").ok();
        assert!(!sandbox.path("top/t/x").exists());
    }
}

#[test]
fn two_on_one_place_are_refused() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.folder("one");
    sandbox.folder("two");
    let ran = sandbox.run(&["-v", "./one:/data", "-v", "./two:/data/"], &["true"]);
    ran.code(125).says("/data");
}

#[test]
fn its_destination_is_made_in_the_layer_and_not_in_the_root_folder() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let root = sandbox.bare_rootfs("root");
        sandbox.folder("folder");
        let options = ["-v", "./folder:/not/there/yet", "--tmpfs", "/nor/here"];
        let ran = sandbox.run_on(
            &root,
            &options,
            &["stat", "-c", "%F %a %u", "/not", "/not/there", "/nor"],
        );
        assert_eq!(ran.ok(), ["directory 755 0"; 3].join("\n"), "{caller:?}");
        assert!(!root.join("not").exists() && !root.join("nor").exists());
        // With --read-only too: the mounts come first.
        let options = [&["--read-only"][..], &options].concat();
        sandbox.run_on(&root, &options, &["touch", "/not/there/yet/file", "/nor/here/file"]).ok();
        assert!(sandbox.path("folder/file").exists() && !root.join("not").exists());
    }
}

#[test]
fn a_file_over_a_folder_or_the_reverse_is_refused() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.path("file"), "").expect("write");
        sandbox.folder("folder");
        sandbox.run(&["-v", "./file:/tmp"], &["true"]).code(125).says("/tmp");
        sandbox.run(&["-v", "./folder:/etc/passwd"], &["true"]).code(125).says("/etc/passwd");
    }
}

#[test]
fn a_tmpfs_is_empty_and_takes_options() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let sized = "/sized:size=1m,mode=700";
        let script = "ls -A /var /sized; stat -c %a /var /sized; cat /proc/self/mountinfo
            dd if=/dev/zero of=/sized/big bs=1M count=2 2>&1 | grep -o 'No space left on device'";
        let ran = sandbox.sh(&["--tmpfs", "/var", "--tmpfs", sized], script);
        let lines: Vec<&str> = ran.ok().lines().collect();
        assert_eq!(
            lines[..6],
            ["/sized:", "", "/var:", "1777", "700", lines[5]],
            "{caller:?} {ran:?}"
        );
        assert_eq!(lines.last(), Some(&"No space left on device"));
        let all = flags(&ran.stdout, "/var");
        assert!(
            ["nosuid", "nodev", "noexec", "rw"].iter().all(|flag| all.contains(flag)),
            "{all:?}"
        );
        let ran = sandbox.sh(&["--tmpfs", "/t:exec,ro"], "cat /proc/self/mountinfo");
        let all = flags(ran.ok(), "/t");
        assert!(
            all.contains(&"ro") && all.contains(&"nosuid") && !all.contains(&"noexec"),
            "{all:?}"
        );
        sandbox.run(&["--tmpfs", "/t:size=much"], &["true"]).code(125).says("/t").says("size=much");
        sandbox.run(&["--tmpfs", "/t:nonsense"], &["true"]).code(125).says("nonsense");
    }
}

#[test]
fn what_is_no_volume_is_refused_word_for_word() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.folder("folder");
    let right = "\n  hint: SRC:DST or SRC:DST:ro, or VOLUME:DST, or DST alone; DST begins with /\n";
    for text in [
        "",
        "data",
        "/",
        ":/data",
        "./folder:",
        "./folder:data",
        "./folder:/",
        "./folder:/a:ro:x",
        "./folder://",
    ] {
        let ran = sandbox.run(&["-v", text], &["true"]).code(125).clone();
        assert_eq!(ran.stderr, format!("minibox: --volume {text:?} is not understood{right}"));
    }
    let option = sandbox.run(&["-v", "./folder:/a:rw,fast"], &["true"]).code(125).clone();
    assert!(
        option.stderr.starts_with("minibox: --volume option \"fast\" is not understood\n  hint: "),
        "{option:?}"
    );
    for text in ["", "data", "/", ":size=1m"] {
        sandbox
            .run(&["--tmpfs", text], &["true"])
            .code(125)
            .says(&format!("--tmpfs {text:?} is not understood"));
    }
    // Refused before anything was made: no container is left, and no folder.
    assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    assert_eq!(fs::read_dir(sandbox.path("folder")).expect("it").count(), 0);
}

#[test]
fn flags_of_a_volume_are_applied() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        write_program(&folder.join("script"), "#!/bin/sh\necho ran\n");
        assert_eq!(sandbox.run(&["-v", "./folder:/data"], &["/data/script"]).ok(), "ran");
        let ran = sandbox.run(&["-v", "./folder:/data:noexec,nosuid,nodev,z"], &["/data/script"]);
        ran.code(126).says("EACCES").says("noexec");
        let mounts =
            sandbox.run(&["-v", "./folder:/data:nosuid,nodev"], &["cat", "/proc/self/mountinfo"]);
        let all = flags(mounts.ok(), "/data");
        assert!(
            all.contains(&"nosuid") && all.contains(&"nodev") && !all.contains(&"noexec"),
            "{all:?}"
        );
    }
}

#[test]
fn the_files_in_etc_can_be_replaced() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.path("hosts"), "10.1.2.3 elsewhere\n").expect("write");
        let ran = sandbox.run(&["-v", "./hosts:/etc/hosts:ro"], &["cat", "/etc/hosts"]);
        assert_eq!(ran.ok(), "10.1.2.3 elsewhere", "{caller:?}");
        // Or the whole of /etc.
        let etc = sandbox.folder("etc");
        fs::write(etc.join("passwd"), "root:x:0:0::/:/bin/sh\n").expect("write");
        let ran = sandbox.sh(&["-v", "./etc:/etc", "-h", "name"], "cat /etc/passwd");
        assert_eq!(ran.ok(), "root:x:0:0::/:/bin/sh", "{caller:?}");
    }
}

#[test]
fn what_is_written_to_a_volume_outlives_the_container() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let folder = sandbox.folder("folder");
        sandbox
            .sh(&["--rm", "-v", "./folder:/data"], "mkdir -p /data/a/b; echo kept > /data/a/b/c")
            .ok();
        assert_eq!(fs::read_to_string(folder.join("a/b/c")).expect("kept"), "kept\n");
        let id = sandbox.start(&["-v", "./folder:/data"], &["sleep", "1000"]);
        sandbox.call(&["rm", "-f", &id]).ok();
        assert!(folder.join("a/b/c").exists(), "{caller:?}");
    }
}

#[test]
fn it_starts_in_the_root_or_where_w_says() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.folder("folder");
        assert_eq!(sandbox.run(&[], &["pwd"]).ok(), "/");
        assert_eq!(
            sandbox.run(&["-w", "/usr/../etc/./"], &["/bin/sh", "-c", "pwd -P"]).ok(),
            "/etc"
        );
        assert_eq!(
            sandbox.run(&["-v", "./folder:/data/x", "-w", "/data/x"], &["pwd"]).ok(),
            "/data/x"
        );
        // As docker does, a missing one is made.
        assert_eq!(
            sandbox.sh(&["-w", "/new/folder"], "pwd; stat -c %a:%u .").ok(),
            "/new/folder\n755:0"
        );
        sandbox
            .run(&["-w", "/etc/passwd"], &["true"])
            .code(125)
            .says("/etc/passwd")
            .says("ENOTDIR");
        let ran = sandbox.run(&["-w", "relative"], &["true"]).code(125).clone();
        assert_eq!(
            ran.stderr.lines().filter(|l| !l.contains("(said once)")).collect::<Vec<_>>(),
            [
                "minibox: --workdir \"relative\" is not understood",
                "  hint: an absolute path in the container"
            ]
        );
    }
}

#[test]
fn the_working_directory_cannot_lie_outside() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        // A descriptor of the caller that leads out (CVE-2024-21626).
        let wrapper = ["sh", "-c", "exec 7</ 8<. 9</; exec \"$@\"", "sh"];
        for number in 3..15 {
            for form in ["/proc/self/fd/N", "/proc/self/fd/N/..", "/proc/1/fd/N/."] {
                let cwd = form.replace('N', &number.to_string());
                let args = [
                    "run",
                    "--rm",
                    "-w",
                    &cwd,
                    &rootfs,
                    "sh",
                    "-c",
                    "ls -d home/../../..; cat etc/hostname",
                ];
                let ran = Ran::of(&sandbox.wrapped(&wrapper, &args).output().expect("sh"));
                assert_ne!(ran.code, 0, "{caller:?} {cwd} {ran:?}");
                assert_eq!(ran.stdout, "", "{caller:?} {cwd}");
            }
        }
        assert!(Path::new(&rootfs).is_dir());
    }
}

#[test]
fn a_source_may_be_a_link_a_socket_or_a_device() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.folder("folder").join("file"), "behind a link\n").expect("write");
        std::os::unix::fs::symlink("folder", sandbox.path("link")).expect("symlink");
        let ran = sandbox.run(&["-v", "./link:/data"], &["cat", "/data/file"]);
        assert_eq!(ran.ok(), "behind a link", "{caller:?}");

        let path = sandbox.path("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        sandbox.give(&path);
        let script = "
import socket
client = socket.socket(socket.AF_UNIX)
client.connect('/run/socket')
client.sendall(b'hello')";
        sandbox.run(&["-v", "./socket:/run/socket"], &["python", "-c", script]).ok();
        let mut hello = [0; 5];
        let mut server = listener.accept().expect("a client").0;
        std::io::Read::read_exact(&mut server, &mut hello).expect("five bytes");
        assert_eq!(&hello, b"hello", "{caller:?}");

        let ran = sandbox.sh(&["-v", "/dev/zero:/zero"], "head -c 3 /zero | od -An -tx1");
        assert_eq!(ran.ok(), "00 00 00", "{caller:?}");
    }
}

#[test]
fn mounts_can_be_spelled_out() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.folder("folder").join("file"), "seen\n").expect("write");
        let folder = sandbox.path("folder").display().to_string();
        for (spelled, flag) in [
            (format!("type=bind,source={folder},target=/data"), "rw"),
            (format!("type=bind,src={folder},dst=/data,readonly"), "ro"),
            (String::from("type=bind,src=./folder,destination=/data,ro=1"), "ro"),
            (String::from("\"type=bind\",src=folder,dst=/data,bind-propagation=rslave"), "rw"),
        ] {
            let ran = sandbox.sh(&["--mount", &spelled], "cat /data/file /proc/self/mountinfo");
            assert!(ran.ok().starts_with("seen\n"), "{caller:?} {spelled} {ran:?}");
            assert!(flags(&ran.stdout, "/data").contains(&flag), "{caller:?} {spelled}");
        }
        let spelled = "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700";
        let script = "stat -c %a /t; df -k /t | tail -1; cat /proc/self/mountinfo";
        let ran = sandbox.sh(&["--mount", spelled], script);
        assert!(ran.ok().starts_with("700\ntmpfs") && ran.ok().contains(" 1024 "), "{ran:?}");
        assert!(flags(&ran.stdout, "/t").contains(&"nosuid"));
        // A missing source is made by -v alone, or where it is asked for.
        let ran = sandbox.run(&["--mount", "type=bind,src=home/none,dst=/x"], &["true"]);
        ran.code(125).says("the source home/none does not exist").says("-v makes");
        assert!(!sandbox.path("home/none").exists());
        let asked = "type=bind,src=home/none,dst=/x,bind-create-src";
        sandbox.run(&["--mount", asked], &["true"]).ok();
        assert!(sandbox.path("home/none").is_dir());
    }
}

#[test]
fn a_mount_that_is_spelled_wrong_is_refused_word_for_word() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.folder("folder");
    for (spelled, words) in [
        ("", "\"\" has no value"),
        ("type=bind,src=folder", "it has no destination"),
        ("type=bind,src=folder,dst=x", "it has no destination"),
        ("type=bind,src=folder,dst=/", "it has no destination"),
        ("type=bind,dst=/x", "a bind needs a source"),
        ("type=nfs,dst=/x", "type=nfs is not understood\n  hint: bind, volume or tmpfs"),
        ("type=bind,src=folder,dst=/x,colour=red", "there is no key \"colour\""),
        ("type=bind,src=folder,dst=/x,ro=perhaps", "ro=perhaps\n  hint: write true or false"),
        ("type=bind,src=folder,dst=/x,volume-nocopy", "volume-nocopy belongs to type=volume"),
        ("type=volume,src=vol,dst=/x,tmpfs-size=1m", "tmpfs-size belongs to type=tmpfs"),
        ("type=tmpfs,src=folder,dst=/x", "a tmpfs is empty"),
        ("type=tmpfs,dst=/x,tmpfs-mode=rwx", "an octal mode"),
        ("type=tmpfs,dst=/x,tmpfs-size=big", "tmpfs-size"),
        ("src=./folder,dst=/x", "\"./folder\" is no name for a volume"),
        ("src=vol,dst=/x,volume-opt=type=nfs", "volume-opt is not part of this version"),
        ("src=vol,dst=/x,volume-driver=nfs", "hint: local"),
    ] {
        sandbox.run(&["--mount", spelled], &["true"]).code(125).says("--mount").says(words);
    }
    let twice = ["--mount", "type=tmpfs,dst=/x", "-v", "./folder:/x/"];
    sandbox.run(&twice, &["true"]).code(125).says("two mounts for the same place: /x");
    assert_eq!(sandbox.call(&["ps", "-a", "-q"]).ok(), "");
    assert!(!sandbox.path("data/volumes").exists());
}
