//! `generate systemd`: units that systemd takes, with command lines that do what they say.

use std::fs;
use std::path::Path;
use std::process::Command;

use minibox_tests::{Beside, Caller, Ran, Sandbox, has, skip};

/// The command lines of a unit, such as all `ExecStart=`.
fn commands(unit: &str, key: &str) -> Vec<Vec<String>> {
    let start = format!("{key}=");
    unit.lines().filter_map(|line| line.strip_prefix(&start)).map(words).collect()
}

/// Reads a command line as systemd.service(5) says.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' if !quoted => words.extend(word.take()),
            '"' => {
                quoted = !quoted;
                let _ = word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().push(match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                other => other.expect("a letter"),
            }),
            '%' | '$' => {
                assert_eq!(letters.next(), Some(letter), "a specifier or variable: {line}");
                word.get_or_insert_default().push(letter);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// A command of a unit, with nothing of the caller's environment but what a service has.
fn as_systemd(sandbox: &Sandbox, words: &[String], folder: &Path) -> Command {
    let mut command = sandbox.command(words[0].as_ref());
    command.env_remove("MINIBOX_RUN_DIR").env_remove("MINIBOX_DATA_DIR");
    command.args(&words[1..]).current_dir(folder);
    command
}

/// The value of `key` in a unit.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let start = format!("{key}=");
    unit.lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("{key}: {unit}"))
}

fn check_by_systemd(unit: &str) {
    if !has("systemd-analyze") {
        return skip("units as systemd reads them", "systemd-analyze is not installed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("container-web.service");
    fs::write(&path, unit).expect("write");
    let ran = Ran::of(
        &Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("it starts"),
    );
    let of_the_unit: Vec<_> =
        ran.stderr.lines().filter(|line| !line.contains("Command 'man ")).collect();
    assert!(of_the_unit.is_empty(), "{of_the_unit:?}: {unit}");
}

#[test]
fn a_unit_starts_the_container_that_is_there_and_ends_with_it() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let rootfs = sandbox.rootfs();
        let id = sandbox.call(&["create", "--name", "web", &rootfs, "sh", "-c", script]);
        let unit =
            sandbox.call(&["generate", "systemd", "--name", "-t", "7", "web"]).ok().to_owned();
        assert!(unit.starts_with("# container-web.service\n"), "{unit}");
        assert_eq!(value(&unit, "TimeoutStopSec"), "67");
        assert_eq!(value(&unit, "Restart"), "on-failure");
        assert_eq!(unit.contains("network-online.target"), caller == Caller::Root);
        check_by_systemd(&unit);

        let [start] = &commands(&unit, "ExecStart")[..] else { panic!("{unit}") };
        let [stop] = &commands(&unit, "ExecStop")[..] else { panic!("{unit}") };
        let main = Beside::spawn(&mut as_systemd(&sandbox, start, Path::new("/")));
        main.wait_for("ready");
        assert!(id.ok().starts_with(sandbox.call(&["ps", "-q"]).ok()));
        Ran::of(&as_systemd(&sandbox, stop, Path::new("/")).output().expect("it starts")).ok();
        assert_eq!(main.end().code, 3, "systemd is told how the program ended");
        // Once more, after the end: what systemd does where it knows of nothing that runs.
        let [last] = &commands(&unit, "ExecStopPost")[..] else { panic!("{unit}") };
        Ran::of(&as_systemd(&sandbox, last, Path::new("/")).output().expect("it starts")).ok();
    }
}

#[test]
fn a_unit_that_makes_the_container_anew_repeats_its_command_line() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let odd = "two words, \"quotes\", 100%, $HOME, back\\slash\nand a line";
        let rootfs = sandbox.rootfs();
        let made = sandbox.folder("home/made-here");
        sandbox.folder("home/made-here/site");
        fs::write(sandbox.path("home/made-here/site/page"), "a page").expect("write");
        let options =
            ["-dv", "./site:/site", "--restart=always", "--label", odd, "-eKEY", "-e", "EMPTY="];
        let script =
            ["sh", "-c", "cat /site/page; printf '|%s|%s|%s' \"$KEY\" \"$EMPTY\" \"$1\"", "-", odd];
        let words = [&["run", "--name", "web"], &options[..], &[&rootfs], &script].concat();
        let mut run = sandbox.minibox(&words);
        Ran::of(&run.env("KEY", odd).current_dir(&made).output().expect("minibox starts")).ok();
        let unit = sandbox.call(&["generate", "systemd", "--new", "--name", "web"]).ok().to_owned();
        check_by_systemd(&unit);

        let folder = value(&unit, "WorkingDirectory").to_owned();
        let [start] = &commands(&unit, "ExecStart")[..] else { panic!("{unit}") };
        let [before] = &commands(&unit, "ExecStartPre")[..] else { panic!("{unit}") };
        for gone in ["--detach", "--restart=always"] {
            assert!(!start.contains(&gone.to_owned()), "{start:?}");
        }
        for _ in ["the first start", "after a crash of the machine"] {
            Ran::of(&as_systemd(&sandbox, before, folder.as_ref()).output().expect("it starts"))
                .ok();
            let ran =
                Ran::of(&as_systemd(&sandbox, start, folder.as_ref()).output().expect("it starts"));
            assert_eq!(ran.ok(), format!("a page|{odd}||{odd}"), "{caller:?}: {ran:?}");
        }
        assert_eq!(sandbox.call(&["ps", "-aq"]).ok(), "", "each leaves nothing");
    }
}

#[test]
fn units_are_refused_that_could_not_work() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        sandbox.start(&["--rm", "--name", "once"], &["sleep", "1000"]);
        sandbox.start(&["--restart", "always", "--name", "twice"], &["sleep", "1000"]);
        let generate = |words: &[&str]| sandbox.call(&[&["generate", "systemd"], words].concat());
        generate(&["once"]).code(125).says("once was made with --rm").says("hint: with --new");
        generate(&["--new", "once"]).ok();
        generate(&["twice"]).says("`minibox update --restart no twice` leaves it to the unit").ok();
        let ran = generate(&["--restart-policy", "sometimes", "twice"]);
        ran.code(125).says(r#"--restart-policy "sometimes" is not understood"#).says("on-failure");
        generate(&["nobody"]).code(125).says("there is no container");
        sandbox.call(&["rm", "-f", "twice"]).ok();

        let home = sandbox.path("home");
        let mut files = sandbox.minibox(&["generate", "systemd", "-nf", "--new", "once"]);
        let path = home.join("container-once.service");
        let said = Ran::of(&files.current_dir(&home).output().expect("minibox starts"));
        assert_eq!(said.ok(), path.display().to_string());
        assert!(fs::read_to_string(path).expect("a unit").contains("\n[Install]\n"));
    }
}
