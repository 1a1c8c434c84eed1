//! What a docker user's fingers expect: one script of everyday commands gets the same answers from podman and
//! from minibox, as root and as a plain user, but where it says otherwise; and docs/docker-compat.md, made from
//! compat/flags.rs and from that script, is true.

#[allow(clippy::needless_raw_string_hashes)] // a script may come to need them
#[path = "compat/cases.rs"]
mod cases;
#[path = "compat/flags.rs"]
mod flags;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minibox_tests::{Caller, Ran, Sandbox, checkout, has, skip, wait_until};

use cases::CASES;
use flags::{ABSENT_VERBS, VERBS, Verb, Verdict};

/// A few commands that belong together.
#[derive(Debug)]
struct Case {
    name: &'static str,
    /// Shell commands; compat/lane says what the words of its own mean.
    script: &'static str,
}

impl Case {
    fn lines(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.script.lines().map(str::trim)
    }
}

/// What one engine answered to one question.
#[derive(Debug, Default)]
struct Answer {
    /// The command, and what came back.
    text: String,
    /// Why minibox's answer must be another one than podman's, where it must.
    differs: Option<String>,
}

/// The answers of one engine to every question of every case.
type Answers = Vec<Vec<Answer>>;

/// A file of this test's.
fn own(name: &str) -> PathBuf {
    checkout().join("tests/compat").join(name)
}

fn who(caller: Caller) -> &'static str {
    match caller {
        Caller::Root => "root",
        Caller::SingleId => "single-id",
        Caller::SubordinateIds => "subordinate-ids",
        Caller::Myself => "myself",
    }
}

/// Plays the script to `engine` as the sandbox's caller; `prepare` has the last word on the command. Where
/// the engine does not run at all: what it said.
fn play(
    sandbox: &Sandbox,
    engine: &Path,
    prepare: impl FnOnce(Command) -> Command,
) -> Result<Answers, Ran> {
    let [scripts, answers, temp] = ["scripts", "answers", "temp"].map(|name| sandbox.folder(name));
    for (number, case) in CASES.iter().enumerate() {
        fs::write(scripts.join(format!("{number:03}")), case.script).expect("write");
    }
    // A checkout may be closed to a plain user.
    fs::copy(own("lane"), sandbox.path("lane")).expect("copy");
    // Read by a shell: to execute it is ETXTBSY as long as a child of another thread has it open as we had.
    let mut lane = sandbox.command(Path::new("sh"));
    lane.arg(sandbox.path("lane"));
    lane.arg(who(sandbox.caller)).arg(engine).arg(sandbox.rootfs()).arg(&scripts).arg(&answers);
    lane.env("TMPDIR", &temp).env("TERM", "xterm");
    let ran = Ran::of(&prepare(lane).output().expect("a shell"));
    if ran.code != 0 {
        return Err(ran);
    }
    let read = |number: usize| {
        let bytes = fs::read(answers.join(format!("{number:03}"))).expect("answers");
        let text = String::from_utf8_lossy(&bytes).replace(&sandbox.rootfs(), "ROOT");
        answers_of(&plain(&text.replace("image-of-root", "ROOT"), &temp.display().to_string()))
    };
    Ok((0..CASES.len()).map(read).collect())
}

fn minibox(caller: Caller) -> Result<Answers, Ran> {
    let sandbox = Sandbox::new(caller);
    play(&sandbox, &sandbox.program(), |lane| lane)
}

fn podman(caller: Caller) -> Result<Answers, Ran> {
    let sandbox = Sandbox::new(caller);
    let apart = own("apart").display().to_string();
    let around = "unshare --mount --net --pid --fork --kill-child --mount-proc --";
    let around: Vec<&str> = around.split(' ').chain([apart.as_str()]).collect();
    fs::copy(own("containers.conf"), sandbox.path("containers.conf")).expect("copy");
    play(&sandbox, Path::new("podman"), |mut lane| {
        lane.env("CONTAINERS_CONF", sandbox.path("containers.conf"));
        lane.env("XDG_RUNTIME_DIR", sandbox.folder("runtime"));
        // A plain user's default copies the whole root filesystem for each container.
        lane.env("STORAGE_DRIVER", "overlay");
        sandbox.around(&around, &lane)
    })
}

/// Cuts what a lane has written down for one case into answers.
fn answers_of(text: &str) -> Vec<Answer> {
    let mut answers = vec![Answer::default()];
    let mut differs = None;
    for line in text.lines() {
        if let Some(why) = line.strip_prefix("# differs: ") {
            differs = Some(why.to_owned());
            continue;
        }
        if line.starts_with("$ box") {
            answers.push(Answer { text: String::new(), differs: differs.take() });
        }
        let answer = answers.last_mut().expect("one at least");
        answer.text.extend([line, "\n"]);
    }
    answers
}

/// `text` with words instead of ids, and of the folder below `temp` that the case was played in.
fn plain(text: &str, temp: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/.-".contains(c);
    let mut plain = String::new();
    for word in text.split_inclusive(|c| !is_part(c)) {
        let body = word.trim_end_matches(|c| !is_part(c));
        let is_hex = body.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        match (body.len(), body.strip_prefix(temp)) {
            (64, _) if is_hex => plain += "ID",
            (12, _) if is_hex => plain += "SHORT-ID",
            (_, Some(rest)) => {
                let below = rest.trim_start_matches('/').split_once('/');
                plain += "HERE";
                plain.extend(below.into_iter().flat_map(|(_, path)| ["/", path]));
            }
            _ => plain += body,
        }
        plain += &word[body.len()..];
    }
    plain
}

/// Where minibox's answers are not what the script says of them.
fn problems(caller: Caller, podman: &Answers, minibox: &Answers) -> String {
    let mut problems = String::new();
    for ((case, podman), minibox) in CASES.iter().zip(podman).zip(minibox) {
        let title = format!("==== {}, as {}", case.name, who(caller));
        let both = |podman: &str, minibox: &str| {
            format!("{title}\n--- podman\n{podman}--- minibox\n{minibox}")
        };
        if podman.len() != minibox.len() {
            problems += &both(&format!("{podman:#?}\n"), &format!("{minibox:#?}\n"));
            continue;
        }
        for (podman, minibox) in podman.iter().zip(minibox) {
            match (&minibox.differs, podman.text == minibox.text) {
                (None, false) => problems += &both(&podman.text, &minibox.text),
                (Some(why), true) => {
                    let _ = write!(problems, "{title}\nno difference: {why}\n{}", minibox.text);
                }
                _ => {}
            }
        }
    }
    problems
}

/// The cgroups of podman's containers, deepest first; it never removes those above them.
fn cgroups_of_podman() -> Vec<String> {
    let find = ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/libpod_parent*"];
    let found = Command::new("find").args(find).output().expect("find");
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn podman_and_minibox_answer_alike_but_where_the_script_says_otherwise() {
    const TEST: &str = "!the same answers as podman's";
    if Caller::root_only(TEST).is_empty() {
        return;
    }
    if !has("podman") || !has("newuidmap") {
        return skip(TEST, "podman or newuidmap is not installed");
    }
    let version = Command::new("podman").arg("--version").output().expect("podman");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if !version.contains(" 4.3.") {
        return skip(TEST, &format!("the script knows podman 4.3, and this is {version}"));
    }
    let there_before = cgroups_of_podman();
    let callers = [Caller::Root, Caller::SingleId, Caller::SubordinateIds];
    let (podman, minibox) = std::thread::scope(|scope| {
        let play = |engine: fn(Caller) -> Result<Answers, Ran>, caller| {
            scope.spawn(move || engine(caller))
        };
        // A plain user with a single id is held against podman with more: it needs them.
        let podman = [Caller::Root, Caller::SubordinateIds].map(|caller| play(podman, caller));
        let minibox = callers.map(|caller| play(minibox, caller));
        let ended = |lane: std::thread::ScopedJoinHandle<'_, _>| lane.join().expect("a lane");
        (podman.map(ended), minibox.map(ended))
    });
    wait_until("the end of podman's cgroups", || {
        let left: Vec<_> =
            cgroups_of_podman().into_iter().filter(|path| !there_before.contains(path)).collect();
        for path in &left {
            let _ = fs::remove_dir(path);
        }
        left.is_empty()
    });
    let [as_root, as_user] = match podman {
        [Ok(root), Ok(user)] => [root, user],
        [Err(ran), _] | [_, Err(ran)] => {
            return skip(TEST, &format!("podman does not run: {}", ran.stderr));
        }
    };
    let podman = [&as_root, &as_user, &as_user];
    let mut found = String::new();
    for ((caller, podman), minibox) in callers.into_iter().zip(podman).zip(&minibox) {
        found += &problems(caller, podman, minibox.as_ref().expect("minibox runs"));
    }
    assert!(found.is_empty(), "{found}");
}

/// A difference that the script names.
struct Difference {
    case: &'static str,
    command: &'static str,
    why: &'static str,
    /// Empty: everybody.
    whom: &'static str,
}

fn differences() -> Vec<Difference> {
    let difference = |case: &'static Case, line: &'static str| {
        let (how, command) = line.trim().strip_prefix("differs")?.split_once(" box ")?;
        let (whom, why) = how.split_once(" '").expect("a reason in quotes");
        Some(Difference {
            case: case.name,
            command,
            why: why.trim_end_matches('\''),
            whom: whom.trim_start_matches("_for "),
        })
    };
    let of_case = |case| Case::lines(case).filter_map(move |line| difference(case, line));
    CASES.iter().flat_map(of_case).collect()
}

/// docs/docker-compat.md.
fn document() -> String {
    let mut text = String::from(include_str!("compat/introduction.md"));
    let cell = |text: &str| text.replace('|', "\\|");
    for verb in VERBS {
        let _ = write!(text, "\n### {}\n\n", verb.name);
        if verb.docker != verb.name {
            let _ = write!(text, "docker's {}.\n\n", verb.docker);
        }
        if verb.flags.is_empty() {
            text += "It has no flags.\n";
            continue;
        }
        text += "| flag | | | shown by |\n|---|---|---|---|\n";
        for (flag, verdict, proof) in verb.flags {
            let (word, why) = match verdict {
                Verdict::Same => ("same", ""),
                Verdict::Differs(why) => ("different", *why),
                Verdict::Absent(why) => ("not applicable", *why),
                Verdict::Ours(why) => ("not docker's", *why),
            };
            let _ = writeln!(text, "| `{flag}` | {word} | {} | {} |", cell(why), cell(proof));
        }
    }
    text += "\n## Verbs that are not here\n\n| docker's verbs | why |\n|---|---|\n";
    for (verbs, why) in ABSENT_VERBS {
        let _ = writeln!(text, "| `{}` | {why} |", verbs.join("`, `"));
    }
    text += "\n## Where the script says that answers differ\n\n";
    text += "| case | command | what minibox does instead | for |\n|---|---|---|---|\n";
    for Difference { case, command, why, whom } in differences() {
        let whom = if whom.is_empty() { "all" } else { whom };
        let _ = writeln!(text, "| {case} | `{}` | {why} | {whom} |", cell(command));
    }
    text
}

#[test]
fn the_document_is_made_from_the_tables() {
    let path = checkout().join("docs/docker-compat.md");
    if std::env::var_os("MINIBOX_WRITE_DOCS").is_some() {
        return fs::write(path, document()).expect("write");
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    assert!(there == document(), "docs/docker-compat.md is old: run make docs");
}

/// The flags that the help of `verb` lists, but for those of every verb.
fn flags_of(sandbox: &Sandbox, verb: &str) -> BTreeSet<String> {
    let help = sandbox.call(&verb.split(' ').chain(["--help"]).collect::<Vec<_>>());
    let is_flag = |word: &&str| word.starts_with('-') && word.len() > 1;
    let mut flags = BTreeSet::new();
    for line in help.ok().lines() {
        // Deeper lies the text of what stands above.
        let listed = line.strip_prefix("      ").or(line.strip_prefix("  ")).unwrap_or_default();
        let listed = listed.split("  ").next().filter(|text| text.starts_with('-'));
        let words = listed.into_iter().flat_map(|text| text.split([' ', ',', '[']));
        let words: Vec<&str> = words.filter(is_flag).collect();
        if !words.contains(&"--help") {
            flags.extend(words.into_iter().map(str::to_owned));
        }
    }
    let joined = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for aliases in joined.split("[alias").skip(1) {
        let list = aliases.split(']').next().unwrap_or_default();
        flags.extend(list.split([' ', ',']).filter(is_flag).map(str::to_owned));
    }
    for common in ["--run-dir", "--data-dir", "--debug", "--lang"] {
        assert!(flags.remove(common), "{common} of {verb}");
    }
    flags
}

/// The names of the flags in the table that minibox has.
fn in_table(verb: &Verb) -> BTreeSet<String> {
    let is_here = |verdict: &Verdict| !matches!(verdict, Verdict::Absent(_));
    let here = verb.flags.iter().filter(|(flag, verdict, _)| is_here(verdict) && *flag != "--help");
    here.flat_map(|(flag, ..)| flag.split(", ")).map(str::to_owned).collect()
}

#[test]
fn the_table_holds_every_flag_and_none_that_is_not_there() {
    let sandbox = Sandbox::new(Caller::all()[0]);
    for verb in VERBS {
        assert_eq!(in_table(verb), flags_of(&sandbox, verb.name), "{}", verb.name);
    }
    let of_run = flags_of(&sandbox, "run");
    let of_create = flags_of(&sandbox, "create");
    let further = "--detach --detach-keys --dry-run --explain --preserve-fds --sig-proxy --step -d";
    let further: Vec<&str> = further.split(' ').collect();
    assert_eq!(of_run.symmetric_difference(&of_create).collect::<Vec<_>>(), further);
    for verb in ABSENT_VERBS.iter().flat_map(|(verbs, _)| *verbs) {
        let ran = sandbox.call(&[verb]);
        assert!(ran.code == 125 && ran.stdout.is_empty(), "{verb}: {ran:?}");
    }
}

/// Does `text` hold one of the flag's names as a word?
fn mentions(text: &str, flag: &str) -> bool {
    let is_end = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-');
    flag.split(", ").any(|name| {
        text.match_indices(name).any(|(at, _)| {
            let after = text[at + name.len()..].chars().next();
            is_end(text[..at].chars().next_back()) && is_end(after)
        })
    })
}

#[test]
fn every_flag_is_used_where_the_table_says() {
    for verb in VERBS {
        for (flag, verdict, proof) in verb.flags {
            let text = match (verdict, proof.split_once("::")) {
                (Verdict::Absent(_), _) => continue,
                (_, Some((file, function))) => {
                    let text = fs::read_to_string(checkout().join(format!("tests/{file}.rs")));
                    let text = text.unwrap_or_else(|error| panic!("{proof}: {error}"));
                    assert!(text.contains(&format!("\nfn {function}()")), "there is no {proof}");
                    text
                }
                (_, None) => {
                    let case = CASES.iter().find(|case| case.name == *proof);
                    let case = case.unwrap_or_else(|| panic!("{} {flag}: no {proof:?}", verb.name));
                    // `create` takes what `run` takes.
                    let verbs = [verb.name, if verb.name == "run" { "create" } else { verb.name }];
                    let asks =
                        |line: &&str| verbs.iter().any(|verb| line.contains(&format!(" {verb} ")));
                    case.lines().filter(asks).collect::<Vec<_>>().join("\n")
                }
            };
            assert!(mentions(&text, flag), "{} {flag} is not in {proof}", verb.name);
        }
    }
}
