//! The command line: help, version, both names, where options end, where the store lies.

use std::fs;
use std::path::Path;

use minibox_tests::{Caller, Ran, Sandbox, on_a_terminal, remove_cgroup_parents};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Each verb with every option of its own.
const VERBS: [(&str, &[&str]); 11] = [
    (
        "run",
        &[
            "-i, --interactive",
            "-t, --tty",
            "-e, --env",
            "-w, --workdir",
            "-u, --user",
            "-d, --detach",
            "--rm",
            "--name",
            "-h, --hostname",
            "-v, --volume",
            "--tmpfs",
            "--net",
            "-m, --memory",
            "--cpus",
            "--pids-limit",
            "--cap-add",
            "--cap-drop",
            "--security-opt",
            "--privileged",
            "--rw",
            "--read-only",
            "--explain",
            "--dry-run",
            "--step",
        ],
    ),
    (
        "exec",
        &[
            "-i, --interactive",
            "-t, --tty",
            "-e, --env",
            "-w, --workdir",
            "-u, --user",
            "-d, --detach",
            "--privileged",
            "--explain",
        ],
    ),
    ("ps", &["-a, --all", "-q, --quiet"]),
    ("inspect", &[]),
    ("logs", &["-f, --follow"]),
    ("stop", &["-t, --time"]),
    ("kill", &["-s, --signal"]),
    ("wait", &[]),
    ("rm", &["-f, --force"]),
    ("gc", &["-f, --force"]),
    ("version", &[]),
];

fn somebody() -> Sandbox {
    Sandbox::new(Caller::all()[0])
}

#[test]
fn help_lists_every_verb_and_how_to_begin() {
    let sandbox = somebody();
    let ran = sandbox.call(&["--help"]);
    let help = ran.ok();
    for (verb, _) in VERBS {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))),
            "{verb}: {help}"
        );
    }
    assert!(help.contains("minibox run -it ./rootfs sh"), "{help}");
    assert!(!help.contains("steps "), "a verb for make docs alone: {help}");
    assert!(!help.contains('\x1b'));
    assert_eq!(sandbox.call(&["help"]).ok(), help);
    let ran = sandbox.call(&["--debug", "volume"]);
    ran.code(125).says("Usage: minibox volume [OPTIONS] <COMMAND>");
    // Without any word it is an error, and the help all the same.
    let ran = sandbox.call::<&str>(&[]);
    ran.code(125)
        .says("Usage: minibox [OPTIONS] <COMMAND>")
        .says("  exec        Run another program");
}

#[test]
fn help_of_each_verb_is_complete_and_has_no_colour() {
    let sandbox = somebody();
    for (verb, options) in VERBS {
        let ran = sandbox.call(&[verb, "--help"]);
        let help = ran.ok();
        for option in options {
            let (first, long) = option.split_once(", ").unwrap_or((option, ""));
            let at = line_of(help, first);
            let row = help.lines().nth(at).unwrap_or_default();
            assert!(row.contains(long), "{verb} {option}: {row:?}");
            let shared = line_of(help, "--run-dir");
            assert!(at < shared, "{verb}: its own options come first: {help}");
        }
        assert!(help.starts_with(char::is_uppercase), "it begins with what it does: {help}");
        assert!(help.contains(&format!("Usage: minibox {verb}")), "{help}");
        assert!(!help.contains('\x1b'));
    }
}

#[test]
fn help_of_every_verb_shows_how_it_is_used() {
    let sandbox = somebody();
    for verb in minibox_tests::verbs(sandbox.call(&["--help"]).ok()) {
        let ran = sandbox.call(&[&verb, "--help"]);
        let help = ran.ok();
        assert!(help.starts_with(char::is_uppercase), "it begins with what it does: {help}");
        assert!(help.contains(&format!("Usage: minibox {verb}")), "{help}");
        let has_none = ["container", "version"].contains(&verb.as_str());
        assert!(
            has_none
                || help.contains(&format!("Examples:\n  minibox {verb}"))
                || verb == "completion",
            "{help}"
        );
        let last = help.lines().position(|line| line == "With every verb:").expect("it is there");
        let examples = help.lines().position(|line| line == "Examples:").unwrap_or(usize::MAX);
        assert!(last < examples, "{help}");
        assert_eq!(sandbox.call(&["help", &verb]).ok(), help);
    }
}

/// The line on which `option` is explained.
#[track_caller]
fn line_of(help: &str, option: &str) -> usize {
    let starts = |line: &str| line.trim_start().split([' ', '[', ',']).next() == Some(option);
    help.lines().position(starts).unwrap_or_else(|| panic!("{option}: {help}"))
}

#[test]
fn the_version_has_three_lines() {
    let sandbox = somebody();
    let ran = sandbox.call(&["version"]);
    let lines: Vec<&str> = ran.ok().lines().collect();
    let [first, commit, spec] = lines[..] else { panic!("{ran:?}") };
    assert_eq!(first, format!("minibox {VERSION}"));
    assert!(commit.starts_with("commit: "), "{ran:?}");
    assert_eq!(spec, "spec: 1.3.0");
    assert_eq!(sandbox.call(&["--version"]).ok(), first);
    assert_eq!(sandbox.call(&["-V"]).ok(), first);
}

/// Called by another name.
fn called(sandbox: &Sandbox, name: &str, args: &[&str]) -> Ran {
    let link = sandbox.path(name);
    if !link.exists() {
        std::os::unix::fs::symlink(fs::canonicalize(sandbox.program()).expect("minibox"), &link)
            .expect("a link");
    }
    Ran::of(&sandbox.command(&link).args(args).output().expect("it starts"))
}

#[test]
fn the_engines_name_answers_its_version_in_three_lines() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        for name in ["minibox-oci", "runc", "crun"] {
            let ran = called(&sandbox, name, &["--version"]);
            let lines: Vec<&str> = ran.ok().lines().collect();
            assert_eq!(lines.len(), 3, "{ran:?}");
            assert_eq!(lines[0], format!("minibox-oci version {VERSION}"));
            assert!(lines[1].starts_with("commit: "), "{ran:?}");
            assert_eq!(lines[2], "spec: 1.3.0");
            assert_eq!(ran.stdout.matches("version").count(), 1, "engines look for this word");
        }
    }
}

#[test]
fn options_end_at_the_root_and_what_follows_is_the_programs() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let ran =
            sandbox.run(&[], &["echo", "--help", "-d", "--rm", "--net", "bridge", "--", "-V"]);
        assert_eq!(ran.ok(), "--help -d --rm --net bridge -- -V");
        let ran = sandbox.sh(&["--"], "echo $#$0");
        assert_eq!(ran.ok(), "0sh", "a `--` does no harm");
        let id = sandbox.start(&[], &["sleep", "1000"]);
        let ran = sandbox.call(&["exec", &id, "echo", "--help", "-d", "-it"]);
        assert_eq!(ran.ok(), "--help -d -it");
    }
}

// Colour

#[test]
fn colour_is_for_terminals_and_no_color_is_respected() {
    let sandbox = somebody();
    let rootfs = sandbox.rootfs();
    let explain = || {
        let mut command = sandbox.minibox(&["run", "--explain", &rootfs, "true"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command
    };
    assert!(on_a_terminal(&mut explain()).stdout.contains("\x1b["), "a terminal gets colours");
    for (key, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = on_a_terminal(explain().env(key, value)).stdout;
        assert!(shown.contains("pivot_root"), "{shown}");
        assert!(!shown.contains('\x1b'), "{key}={value}: {shown}");
    }
    let piped = Ran::of(&explain().output().expect("minibox starts"));
    assert!(!piped.stderr.contains('\x1b'), "{piped:?}");
}

// The store

#[test]
fn the_places_can_be_chosen_and_a_flag_beats_the_environment() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = sandbox.rootfs();
        let exists = |name: &str| sandbox.path(name).exists();
        let name = |folder: &str| sandbox.path("home").join(folder).display().to_string();
        let run_dir = format!("--run-dir={}", name("run"));
        let data_dir = format!("--data-dir={}", name("data"));
        let id = sandbox
            .call(&["run", &run_dir, &data_dir, "-d", &rootfs, "sleep", "1000"])
            .ok()
            .to_owned();
        assert!(exists(&format!("home/run/{id}/state.json")), "{caller:?}");
        assert!(exists(&format!("home/data/containers/{id}/container.json")), "{caller:?}");
        assert_eq!(sandbox.call(&["ps", "-q"]).ok(), "", "the other store knows nothing of it");
        // The options may stand before the verb too.
        assert_eq!(sandbox.call(&[&run_dir, &data_dir, "ps", "-q"]).ok().len(), 12);
        sandbox.call(&["rm", "-f", &run_dir, &data_dir, &id]).ok();
        assert!(
            !exists(&format!("home/run/{id}")) && !exists(&format!("home/data/containers/{id}"))
        );
        remove_cgroup_parents(name("data").as_ref());
    }
}

#[test]
fn every_option_of_all_verbs_has_a_variable() {
    let sandbox = somebody();
    let help = sandbox.call(&["version", "--help"]);
    let shared: Vec<_> = help.ok().lines().skip_while(|line| *line != "With every verb:").collect();
    let options = shared.iter().filter(|line| line.contains("--")).count();
    assert_eq!(shared.concat().matches("[env: MINIBOX_").count(), options, "{help:?}");
    let ps = |variable: &str, value: &str| {
        Ran::of(&sandbox.minibox(&["ps"]).env(variable, value).output().expect("minibox starts"))
    };
    for (value, said) in [("1", true), ("yes", true), ("0", false), ("false", false), ("", false)] {
        let mut command = sandbox.minibox(&["run", "--rm", &sandbox.rootfs(), "true"]);
        let ran = Ran::of(&command.env("MINIBOX_DEBUG", value).output().expect("minibox starts"));
        ran.ok();
        assert_eq!(ran.stderr.contains("DEBUG"), said, "MINIBOX_DEBUG={value}: {ran:?}");
    }
    ps("MINIBOX_RUN_DIR", sandbox.path("home/there").to_str().expect("text")).ok();
    assert!(sandbox.path("home/there").is_dir());
    sandbox.call(&["--run-dir=", "ps"]).code(125).says("--run-dir needs a value");
}

#[test]
fn a_plain_users_store_lies_in_the_home_and_the_runtime_folder() {
    for caller in Caller::plain() {
        let sandbox = Sandbox::new(caller);
        let temporary = sandbox.folder("temporary");
        let ps = |environment: &[(&str, &str)]| {
            let mut command = sandbox.minibox(&["ps"]);
            command
                .env("MINIBOX_RUN_DIR", "") // which is as if it were not set
                .env_remove("MINIBOX_DATA_DIR")
                .env("TMPDIR", &temporary);
            for (key, folder) in environment {
                command.env(key, sandbox.folder(folder));
            }
            Ran::of(&command.output().expect("minibox starts")).ok();
        };
        let exists = |name: &str| sandbox.path(name).is_dir();
        ps(&[]);
        assert!(exists("home/.local/share/minibox"), "{caller:?}");
        assert!(exists(&format!("temporary/minibox-{}", sandbox.uid())), "{caller:?}");
        ps(&[("XDG_RUNTIME_DIR", "runtime"), ("XDG_DATA_HOME", "share")]);
        assert!(exists("runtime/minibox") && exists("share/minibox"), "{caller:?}");
    }
}

#[test]
fn roots_store_lies_in_run_and_var_lib() {
    for caller in Caller::root_only("root's store lies in /run and /var/lib") {
        let sandbox = Sandbox::new(caller);
        // A /run and /var/lib of its own: the machine's are not the test's to fill.
        let script = "mount -t tmpfs none /run; mount -t tmpfs none /var/lib
            unset MINIBOX_RUN_DIR MINIBOX_DATA_DIR; export XDG_RUNTIME_DIR=/nowhere
            \"$0\" ps; stat -c '%n %a' /run/minibox /var/lib/minibox";
        let mut command = sandbox.command(Path::new("unshare"));
        command
            .args(["--mount", "--propagation", "private", "sh", "-euc", script])
            .arg(sandbox.program());
        let ran = Ran::of(&command.output().expect("unshare starts"));
        assert!(ran.ok().ends_with("\n/run/minibox 700\n/var/lib/minibox 700"), "{ran:?}");
    }
}

#[test]
fn a_store_of_somebody_else_is_not_used() {
    for caller in [Caller::SingleId, Caller::SubordinateIds] {
        if !Caller::all().contains(&caller) {
            continue;
        }
        let sandbox = Sandbox::new(caller);
        // Anybody may make /tmp/minibox-1000 before the user with this number does.
        let trap = sandbox.path(&format!("minibox-{}", sandbox.uid()));
        fs::create_dir(&trap).expect("mkdir");
        let mut command = sandbox.minibox(&["run", &sandbox.rootfs(), "true"]);
        command.env_remove("MINIBOX_RUN_DIR").env("TMPDIR", sandbox.path(""));
        let ran = Ran::of(&command.output().expect("minibox starts"));
        ran.code(125)
            .says("belongs to uid 0, not to you")
            .says("hint: choose another with --run-dir or --data-dir");
    }
}
