//! Errors word for word: what failed, in which call, at which step, the cause, the hint.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox, skip, write_program};

/// What minibox said, with this machine's paths and the numbers of steps taken out: `BOX` is the
/// sandbox, `ROOTFS` the demo's root filesystem.
fn words(sandbox: &Sandbox, ran: &Ran) -> String {
    let text = ran.stderr.replace(&sandbox.rootfs(), "ROOTFS");
    let text = text.replace(&sandbox.path("").display().to_string(), "BOX/");
    let once = |line: &&str| !line.ends_with("(said once)");
    let unnumbered = |line: &str| match line.rsplit_once(" (") {
        Some((title, _)) if line.starts_with("  step: ") => title.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().filter(once).map(unnumbered).collect::<Vec<_>>().join("\n")
}

/// Checks exit code and words of `minibox run OPTIONS ROOT COMMAND`, and that nothing is left of it.
#[track_caller]
fn refused(sandbox: &Sandbox, run: (&[&str], &str, &[&str]), code: i32, expected: &[&str]) {
    let (options, root, command) = run;
    let ran = sandbox.call(&[&["run"], options, &[root], command].concat());
    let expected = format!("minibox: {}", expected.join("\n  "));
    assert_eq!(words(sandbox, &ran), expected, "{:?}", sandbox.caller);
    ran.code(code);
    assert_eq!(ran.stdout, "");
    let ps = sandbox.call(&["ps", "-a", "-q"]);
    assert_eq!(ps.ok(), "", "a refused container leaves a record");
}

/// The same for the demo's root filesystem, as every caller.
#[track_caller]
fn refused_by_all(options: &[&str], command: &[&str], code: i32, expected: &[&str]) {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        refused(&sandbox, (options, &rootfs, command), code, expected);
    }
}

/// An option with a value that means nothing: found before anything is made.
#[track_caller]
fn not_understood(option: &str, value: &str, expected: &[&str]) {
    refused_by_all(&[option, value], &["true"], 125, expected);
}

/// A root filesystem that holds one file, `/program`, as every caller.
#[track_caller]
fn program_refused(content: &[u8], mode: u32, code: i32, expected: &[&str]) {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        root_with_program(&sandbox, content, mode);
        refused(&sandbox, (&[], "tiny", &["/program"]), code, expected);
    }
}

fn root_with_program(sandbox: &Sandbox, content: &[u8], mode: u32) {
    let program = sandbox.folder("tiny").join("program");
    write_program(&program, content);
    fs::set_permissions(&program, fs::Permissions::from_mode(mode)).expect("chmod");
    sandbox.give(&program);
}

const NO_PROGRAM: &str =
    "cause: there is no such program in the container, or the interpreter it names is missing";
const NO_FORMAT: &str =
    "cause: this is not a program the kernel can run: another architecture, or a script without #!";

// ROOTFS

#[test]
fn a_root_that_does_not_exist() {
    for caller in Caller::all() {
        let expected = [
            r#"cannot use ./nowhere as a root filesystem: open("./nowhere", O_PATH|O_DIRECTORY) = ENOENT (No such file or directory)"#,
            "step: open the root filesystem",
            "cause: there is no such folder",
            "hint: the first word after the options is the root filesystem: a folder with bin, lib, usr …; `make rootfs` fills one",
        ];
        refused(&Sandbox::new(caller), (&[], "./nowhere", &["sh"]), 125, &expected);
    }
}

#[test]
fn a_root_that_is_a_file() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        fs::write(sandbox.path("image.tar"), "").expect("write");
        let expected = [
            r#"cannot use image.tar as a root filesystem: open("image.tar", O_PATH|O_DIRECTORY) = ENOTDIR (Not a directory)"#,
            "step: open the root filesystem",
            "cause: this is a file, not a folder",
            "hint: unpack the archive or image into a folder first",
        ];
        refused(&sandbox, (&[], "image.tar", &["sh"]), 125, &expected);
    }
}

#[test]
fn a_root_that_is_empty() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.folder("empty");
        let expected = [
            r#"executable file not found: "sh": ENOENT (No such file or directory)"#,
            "step: become the program",
            NO_PROGRAM,
            "hint: the root filesystem is empty: fill it first, e.g. with `make rootfs`",
        ];
        refused(&sandbox, (&[], "empty", &["sh"]), 127, &expected);
    }
}

#[test]
fn a_root_that_this_user_may_not_reach() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        sandbox.folder("closed/root");
        let closed =
            |mode| fs::set_permissions(sandbox.path("closed"), fs::Permissions::from_mode(mode));
        closed(0).expect("chmod");
        let expected = [
            r#"cannot use closed/root as a root filesystem: open("closed/root", O_PATH|O_DIRECTORY) = EACCES (Permission denied)"#,
            "step: open the root filesystem",
            "cause: you may not enter this folder, or one above it",
        ];
        refused(&sandbox, (&[], "closed/root", &["sh"]), 125, &expected);
        closed(0o755).expect("chmod");
    }
}

#[test]
fn a_root_that_belongs_to_somebody_else_and_is_closed() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        if caller == Caller::Myself {
            skip("a root that belongs to somebody else and is closed", "needs root to make one");
            continue;
        }
        fs::create_dir(sandbox.path("theirs")).expect("mkdir");
        fs::set_permissions(sandbox.path("theirs"), fs::Permissions::from_mode(0o700))
            .expect("chmod");
        let ran = sandbox.call(&["run", "theirs", "sh"]);
        let said = words(&sandbox, &ran);
        let hint = "hint: BOX/theirs belongs to uid 0 of the host, which is not mapped into this container; run as root, or make it yours with chown";
        assert!(said.contains(hint), "{said}");
        ran.code(125).says("EACCES (Permission denied)");
    }
}

// The program

#[test]
fn a_program_that_is_nowhere_in_the_search_path() {
    let expected = [
        r#"executable file not found: "pyhton": ENOENT (No such file or directory)"#,
        "step: become the program",
        NO_PROGRAM,
        "hint: looked in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; another folder? give the whole path, or -e PATH=…",
    ];
    refused_by_all(&[], &["pyhton"], 127, &expected);
    refused_by_all(&["-d"], &["pyhton"], 127, &expected);
    refused_by_all(&["-t"], &["pyhton"], 127, &expected);
}

#[test]
fn the_search_path_is_the_containers() {
    let expected = [
        r#"executable file not found: "sh": ENOENT (No such file or directory)"#,
        "step: become the program",
        NO_PROGRAM,
        "hint: looked in /opt /srv; another folder? give the whole path, or -e PATH=…",
    ];
    refused_by_all(&["-e", "PATH=/opt:/srv"], &["sh"], 127, &expected);
}

#[test]
fn a_path_to_a_program_that_does_not_exist() {
    let expected = [
        r#"executable file not found: "/bin/pyhton": ENOENT (No such file or directory)"#,
        "step: become the program",
        NO_PROGRAM,
        "hint: the path is the container's own; look what there is with `ls` under ROOTFS",
    ];
    refused_by_all(&[], &["/bin/pyhton"], 127, &expected);
}

#[test]
fn a_program_without_execute_permission() {
    let expected = [
        r#"cannot execute /program: execve("/program", ["/program"]) = EACCES (Permission denied)"#,
        "step: become the program",
        "cause: the file is not executable for this user",
        "hint: the file has no execute permission: chmod +x it, or name its interpreter, e.g. `python /program`",
    ];
    program_refused(b"print('hi')\n", 0o644, 126, &expected);
}

#[test]
fn a_program_that_only_its_owner_may_execute() {
    for caller in Caller::root_only("a program that only its owner may execute") {
        let sandbox = Sandbox::new(caller);
        root_with_program(&sandbox, b"#!/bin/sh\n", 0o700);
        let expected = [
            r#"cannot execute /program: execve("/program", ["/program"]) = EACCES (Permission denied)"#,
            "step: become the program",
            "cause: the file is not executable for this user",
            "hint: uid 1000 of the container may not execute it (mode 700), or it lies on a mount with noexec",
        ];
        refused(&sandbox, (&["-u", "1000"], "tiny", &["/program"]), 126, &expected);
    }
}

#[test]
fn a_folder_as_command() {
    let expected = [
        r#"cannot execute /etc: execve("/etc", ["/etc"]) = EACCES (Permission denied)"#,
        "step: become the program",
        "cause: the file is not executable for this user",
        "hint: /etc is a folder",
    ];
    refused_by_all(&[], &["/etc"], 126, &expected);
}

#[test]
fn an_empty_word_as_command() {
    let expected =
        ["the command is empty", "hint: give the name of a program in the root filesystem"];
    refused_by_all(&[], &[""], 125, &expected);
}

fn format_error(hint: &str) -> [&str; 4] {
    let what = r#"cannot execute /program: execve("/program", ["/program"]) = ENOEXEC (Exec format error)"#;
    [what, "step: become the program", NO_FORMAT, hint]
}

#[test]
fn a_script_without_its_first_line() {
    let hint = "hint: it is neither an ELF binary nor a script that begins with #!: name its interpreter, e.g. `sh FILE`";
    program_refused(b"echo hi\n", 0o755, 126, &format_error(hint));
}

#[test]
fn an_empty_file() {
    program_refused(b"", 0o755, 126, &format_error("hint: /program is empty"));
}

#[test]
fn a_program_of_another_architecture() {
    let (machine, name) = match std::env::consts::ARCH {
        "aarch64" => (62_u8, "x86_64"),
        _ => (183, "aarch64 (ARM, 64 bit)"),
    };
    // The header of elf(5): 64 bits, little endian, an executable, no segments.
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    (header[16], header[18], header[20]) = (2, machine, 1);
    (header[52], header[54]) = (64, 56);
    let here = std::env::consts::ARCH;
    let hint = format!("hint: it is a program for {name}, and this computer is {here}");
    program_refused(&header, 0o755, 126, &format_error(&hint));
}

fn missing_part(hint: &str) -> [&str; 4] {
    let what = r#"cannot execute /program: execve("/program", ["/program"]) = ENOENT (No such file or directory)"#;
    [what, "step: become the program", NO_PROGRAM, hint]
}

#[test]
fn a_script_whose_interpreter_is_absent() {
    let hint =
        "hint: it is a script for /usr/bin/perl, and the root filesystem has no /usr/bin/perl";
    program_refused(b"#! /usr/bin/perl -w\n", 0o755, 127, &missing_part(hint));
}

#[test]
fn a_script_from_windows() {
    let hint = r"hint: its first line ends with a carriage return (a file from Windows): `sed -i 's/\r$//'` it";
    program_refused(b"#!/bin/sh\r\necho hi\r\n", 0o755, 127, &missing_part(hint));
}

#[test]
fn a_dynamic_binary_whose_loader_is_absent() {
    let binary = fs::read("/bin/true").expect("a program of the host");
    let text = String::from_utf8_lossy(&binary[..4096]).into_owned();
    let Some(loader) =
        text.split('\0').find(|word| word.starts_with("/lib") && word.contains("ld-"))
    else {
        return skip(
            "a dynamic binary whose loader is absent",
            "this machine's /bin/true is static",
        );
    };
    let hint = format!(
        "hint: it needs the dynamic loader {loader}, which the root filesystem does not have: copy it and the libraries too, or use a static binary"
    );
    program_refused(&binary, 0o755, 127, &missing_part(&hint));
}

#[test]
fn more_arguments_than_the_kernel_takes_are_an_error_that_can_be_read() {
    let Some(caller) = Caller::all().into_iter().next() else { return };
    let sandbox = Sandbox::new(caller);
    // With a small stack the limit is 128 KiB. The kernel adds a script's own words to its arguments:
    // so there is a length with which minibox starts and the script does not.
    root_with_program(&sandbox, format!("#!/bin/sh {}\n", "-".repeat(240)).as_bytes(), 0o755);
    let script = "ulimit -s 512; exec \"$0\" run tiny /program \"$1\"";
    let attempt = |length: usize| {
        let mut command = sandbox.command(Path::new("/bin/sh"));
        command.env_clear();
        command.env("MINIBOX_RUN_DIR", sandbox.path("run"));
        command.env("MINIBOX_DATA_DIR", sandbox.path("data"));
        command.arg("-c").arg(script).arg(sandbox.program()).arg("x".repeat(length));
        Ran::of(&command.output().expect("sh starts"))
    };
    let lengths = (0..40).map(|n| 131_000 - 40 * n);
    let ran = lengths
        .map(attempt)
        .find(|ran| ran.stderr.starts_with("minibox: "))
        .expect("minibox starts");
    let said = words(&sandbox, &ran);
    assert!(said.len() < 2000, "{} bytes", said.len());
    assert!(
        said.starts_with(
            "minibox: cannot execute /program: execve(\"/program\", [\"/program\", \"xxx"
        ),
        "{said}"
    );
    let rest = "= E2BIG (Argument list too long)\n  step: become the program\n  cause: arguments and environment are too long together";
    assert!(said.ends_with(rest), "{said}");
    ran.code(126);
}

// The working directory and the host name

#[test]
fn a_working_directory_that_does_not_exist_is_made_by_run_and_not_by_exec() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        assert_eq!(sandbox.run(&["-w", "/made/for/me"], &["pwd"]).ok(), "/made/for/me");
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let ran = sandbox.call(&["exec", "-w", "/work", &id, "true"]);
        let expected = "\
minibox: cannot enter the working directory /work: chdir(\"/work\") = ENOENT (No such file or directory)
  step: enter the working directory
  cause: there is no such folder in the container
  hint: choose another with -w FOLDER";
        assert_eq!(words(&sandbox, &ran), expected, "{caller:?}");
        ran.code(125);
    }
}

#[test]
fn a_working_directory_that_is_a_file() {
    let expected = [
        r#"cannot enter the working directory /etc/passwd: chdir("/etc/passwd") = ENOTDIR (Not a directory)"#,
        "step: enter the working directory",
        "cause: it is not a folder",
        "hint: choose another with -w FOLDER",
    ];
    refused_by_all(&["-w", "/etc/passwd"], &["true"], 125, &expected);
}

#[test]
fn a_working_directory_that_is_relative() {
    let expected =
        [r#"--workdir "etc" is not understood"#, "hint: an absolute path in the container"];
    not_understood("-w", "etc", &expected);
}

#[test]
fn a_host_name_that_is_too_long() {
    let name = "a".repeat(65);
    let first = format!("--hostname \"{name}\" is not understood");
    not_understood("-h", &name, &[&first, "hint: 1 to 64 bytes"]);
}

// Options

#[test]
fn an_unknown_capability() {
    for option in ["--cap-add", "--cap-drop"] {
        let expected = [
            r#"unknown capability "NET_ADMN""#,
            "hint: names stand in capabilities(7), e.g. NET_ADMIN",
        ];
        not_understood(option, "NET_ADMN", &expected);
    }
}

#[test]
fn a_size_that_is_none() {
    for size in ["lots", "0", "-5m", "64x"] {
        let first = format!("--memory \"{size}\" is not understood");
        let option = format!("--memory={size}");
        let hint = "hint: a number of bytes, or with k, m or g: 64m";
        refused_by_all(&[&option], &["true"], 125, &[&first, hint]);
    }
}

#[test]
fn cpus_that_are_none() {
    for cpus in ["many", "0", "-1"] {
        let first = format!("--cpus \"{cpus}\" is not understood");
        let option = format!("--cpus={cpus}");
        let hint = "hint: a number of CPUs from 0.01 on, such as 0.5 or 2";
        refused_by_all(&[&option], &["true"], 125, &[&first, hint]);
    }
}

#[test]
fn a_pids_limit_of_nothing() {
    let expected =
        [r#"--pids-limit "0" is not understood"#, "hint: a number above 0, or -1 for no limit"];
    not_understood("--pids-limit", "0", &expected);
}

#[test]
fn a_volume_that_is_none() {
    let hint = "hint: SRC:DST or SRC:DST:ro, or VOLUME:DST, or DST alone; DST begins with /";
    for volume in ["data", "./data:data", "./data:/", ":/data", "a:b:c:d"] {
        let first = format!("--volume \"{volume}\" is not understood");
        not_understood("-v", volume, &[&first, hint]);
    }
    let expected = [
        r#"--volume option "readonly" is not understood"#,
        "hint: ro, rw, nosuid, nodev, noexec, rslave, rshared, and nocopy for a volume",
    ];
    not_understood("-v", "./data:/data:readonly", &expected);
    let expected = [
        r#"--volume: "da ta" is no name for a volume"#,
        "hint: letters, digits, `_`, `.` and `-`, at least two; for a folder write its path: ./da ta",
    ];
    not_understood("-v", "da ta:/data", &expected);
}

#[test]
fn a_folder_over_a_file_and_a_file_over_a_folder() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.folder("folder");
        fs::write(sandbox.path("file"), "").expect("write");
        let rootfs = sandbox.rootfs();
        let expected = [
            r#"cannot mount BOX/folder on /etc/passwd: openat2, in move_mount(BOX/folder, "/etc/passwd") = ENOTDIR (Not a directory)"#,
            "step: attach the mounts, each at its place",
            "cause: the place is a file, but a folder is to be mounted",
        ];
        refused(&sandbox, (&["-v", "./folder:/etc/passwd"], &rootfs, &["true"]), 125, &expected);
        let ran = sandbox.run(&["-v", "./file:/etc"], &["true"]);
        let said = words(&sandbox, &ran);
        assert!(said.starts_with("minibox: cannot mount BOX/file on /etc: "), "{said}");
        assert!(said.contains("\n  cause: "), "nothing explains it: {said}");
        ran.code(125);
    }
}

#[test]
fn a_tmpfs_an_environment_and_a_user_that_are_none() {
    let expected = [
        r#"--tmpfs "data" is not understood"#,
        "hint: DST or DST:size=64m,mode=1777 with DST beginning with /",
    ];
    not_understood("--tmpfs", "data", &expected);
    let expected =
        [r#"--env "=value" is not understood"#, "hint: KEY=VALUE, or KEY to pass yours on"];
    not_understood("-e", "=value", &expected);
    let expected = [
        r#"there is no user "somebody" in the container: its /etc/passwd does not list it"#,
        "hint: give a number instead, or a name that the file lists",
    ];
    not_understood("-u", "somebody", &expected);
    let expected = [r#""1:" is not a user"#, "hint: write NAME, UID, NAME:GROUP or UID:GID"];
    not_understood("-u", "1:", &expected);
}

#[test]
fn a_name_that_is_none() {
    let expected = [
        r#"--name "a/b" is not understood"#,
        "hint: letters, digits, `_`, `.` and `-`, beginning with a letter or digit",
    ];
    not_understood("--name", "a/b", &expected);
}

#[test]
fn networks_that_there_are_none_of_yet() {
    not_understood(
        "--net",
        "mine",
        &[r#"--net "mine" is not understood"#, "hint: none, host or container:NAME"],
    );
    let expected = [
        "--net bridge: there is no network bridge in this version",
        "hint: today: --net none (loopback only) or --net host (the host's network)",
    ];
    not_understood("--net", "bridge", &expected);
    not_understood("--network", "bridge", &expected);
    let expected = [
        "-p 8080:80: publishing ports needs a network bridge, which this version does not have",
        "hint: with --net host the program listens on the host's own ports",
    ];
    not_understood("-p", "8080:80", &expected);
}

// The command line itself

#[test]
fn what_only_engines_use_names_the_other_command() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for option in ["--bundle", "--console-socket", "--pid-file", "--no-pivot", "--rootless"] {
        let ran = sandbox.run(&[option], &["true"]);
        let expected = format!(
            "minibox: {option} belongs to the engines' command line: call minibox-oci for that\n"
        );
        assert_eq!(ran.code(125).stderr, expected);
    }
    for (verb, word) in [("create", "--bundle"), ("start", "--bundle"), ("state", "state")] {
        let ran = sandbox.call(&[verb, "--bundle", ".", "x"]);
        let expected = format!(
            "minibox: {word} belongs to the engines' command line: call minibox-oci for that\n"
        );
        assert_eq!(ran.code(125).stderr, expected);
    }
}

#[test]
fn a_slip_of_the_finger_gets_a_suggestion() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    sandbox.start(&["--name", "web"], &["sleep", "1000"]);
    let slips: [(&[&str], &str, &str); 6] = [
        (&["exce"], r#"there is no verb "exce""#, "did you mean `exec`? `minibox --help` lists"),
        (&["volume", "crate"], r#"volume has no verb "crate""#, "did you mean `create`?"),
        (
            &["run", "--detatch", ".", "x"],
            "run has no option --detatch",
            "did you mean `--detach`?",
        ),
        (&["--debgu", "ps"], "there is no option --debgu", "did you mean `--debug`?"),
        (
            &["stop", "wbe"],
            r#"there is no container "wbe""#,
            r#"did you mean "web"? `minibox ps -a`"#,
        ),
        (
            &["stop", "nothing"],
            r#"there is no container "nothing""#,
            "hint: `minibox ps -a` lists all",
        ),
    ];
    for (words, what, hint) in slips {
        let ran = sandbox.call(words);
        ran.says(&format!("minibox: {what}")).says(hint);
        let (code, lines) = (if words[0] == "stop" { 1 } else { 125 }, ran.stderr.lines().count());
        assert!(ran.code == code && lines <= 2, "{words:?}: {ran:?}");
    }
}

#[test]
fn words_of_docker_that_are_none_here_say_what_to_do_instead() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    let words: [(&[&str], &str); 7] = [
        (&["images"], "a root filesystem is a folder"),
        (&["pull", "alpine"], "`make rootfs` fills one"),
        (&["build", "."], "`minibox run --rw ROOTFS sh` changes a root filesystem"),
        (&["network", "ls"], "run --net none, host or container:NAME"),
        (&["compose", "up"], "containers are started one by one"),
        (&["ls"], "`minibox ps` lists containers"),
        (&["ps", "aux"], "`minibox top CONTAINER` lists a container's processes"),
    ];
    for (words, instead) in words {
        let ran = sandbox.call(words);
        ran.code(125).says("  hint: ").says(instead);
        assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
    }
}

#[test]
fn dockers_long_forms_are_the_same_verbs() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        sandbox.call(&["container", "run", "-d", "--name", "web", &rootfs, "sleep", "1000"]).ok();
        for words in [&["container", "ls", "-q"][..], &["container", "ps", "-q"], &["ps", "-q"]] {
            assert_eq!(sandbox.call(words).ok().len(), 12, "{words:?}");
        }
        let other = sandbox.path("home/other").display().to_string();
        let words = ["--data-dir", &other, "container", "list", "-aq"];
        assert_eq!(sandbox.call(&words).ok(), "", "an option before it holds too");
        sandbox.call(&["container", "rm", "-f", "web"]).ok();
        sandbox.call(&["container", "volume"]).code(125).says(r#"container has no verb "volume""#);
    }
}

#[test]
fn options_that_exclude_each_other() {
    let ran = Sandbox::new(Caller::all()[0]).run(&["--rw", "--read-only"], &["true"]);
    ran.code(125).says("--rw cannot be used with --read-only");
}

// The machine

#[test]
fn user_namespaces_switched_off() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        // In a user namespace of one's own the switch is one's own too.
        let script = "echo 0 > /proc/sys/user/max_user_namespaces
            exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";
        let mut command = sandbox.command(Path::new("unshare"));
        command.args(["--user", "--map-user", "1000", "--keep-caps", "sh", "-euc", script, "sh"]);
        command.arg(sandbox.program()).args(["run", &sandbox.rootfs(), "true"]);
        let ran = Ran::of(&command.output().expect("unshare starts"));
        let expected = "\
minibox: cannot make a process with namespaces of its own: clone3(CLONE_NEWUSER|CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWNET|CLONE_NEWIPC|CLONE_NEWUTS) = ENOSPC (No space left on device)
  step: make the process, with its namespaces
  cause: too many namespaces: see /proc/sys/user/max_*_namespaces
  hint: user namespaces are switched off: run as root, or `sudo sysctl user.max_user_namespaces=15000`";
        assert_eq!(words(&sandbox, &ran), expected, "{caller:?}");
        ran.code(125);
    }
}

#[test]
fn a_memory_limit_too_small_to_start() {
    for caller in Caller::root_only("a memory limit too small to start") {
        let expected = [
            "the new process was killed by SIGKILL before it could start the program",
            "hint: a memory limit may be too small even for starting: raise -m/--memory",
        ];
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        refused(&sandbox, (&["-m", "100k"], &rootfs, &["true"]), 125, &expected);
    }
}
