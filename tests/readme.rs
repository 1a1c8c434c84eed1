//! The READMEs tell the truth: their commands are run in order, and print what is printed there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use minibox_tests::{Caller, Ran, Sandbox, checkout, verbs};

/// The PID that the READMEs print.
const THEIR_PID: &str = "25514";

/// A fenced block: `sh` is typed, `text` is what it prints, `console` is typed and printed inside.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    kind: String,
    lines: Vec<String>,
}

fn blocks(name: &str) -> Vec<Block> {
    let text = fs::read_to_string(checkout().join(name)).expect("a README");
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(kind) => {
                inside = true;
                blocks.push(Block { kind: kind.to_owned(), lines: Vec::new() });
            }
            None if inside => blocks.last_mut().expect("a block").lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(!inside && blocks.len() > 10, "{name}");
    blocks
}

/// The recipe of a task in the Makefile.
fn recipe(task: &str) -> Vec<String> {
    let makefile = fs::read_to_string(checkout().join("Makefile")).expect("Makefile");
    let mut lines = makefile.lines().skip_while(|line| !line.starts_with(&format!("{task}:")));
    assert!(lines.next().is_some(), "the Makefile has no {task}");
    lines.map_while(|line| line.strip_prefix('\t')).map(str::to_owned).collect()
}

/// Runs `script` as the README's reader, in a folder that looks like his checkout.
fn type_in(sandbox: &Sandbox, folder: &Path, script: &str, input: &str) -> Ran {
    let mut command = sandbox.command(Path::new("sh"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display())).current_dir(folder);
    command.args(["-c", &format!("exec 2>&1\n{script}")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = command.spawn().expect("sh starts");
    // A command that reads nothing may have ended before all is written.
    let _ = shell.stdin.take().expect("a pipe").write_all(input.as_bytes());
    Ran::of(&shell.wait_with_output().expect("sh ends"))
}

/// What stays of a line when names, numbers, times and ids are taken out.
fn shape(line: &str) -> String {
    let line = line.replace("Less than a second", "0 seconds");
    let words = line.split_whitespace().map(|word| {
        if word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return "ID".to_owned();
        }
        match word {
            "137" | THEIR_PID => return word.to_owned(),
            "root" | "learner" | "minibox+" | "minibox-plain" | "23456" => return "USER".into(),
            "seconds" => return "second".into(),
            _ => {}
        }
        let mut shape = String::new();
        for letter in word.chars() {
            match letter {
                '0'..='9' | ',' if shape.ends_with('0') => {}
                '0'..='9' => shape.push('0'),
                other => shape.push(other),
            }
        }
        shape
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `…` stands for anything.
fn matches(expected: &str, line: &str) -> bool {
    let mut rest = line;
    let mut pieces = expected.split('…').peekable();
    let first = pieces.next().unwrap_or_default();
    if !rest.starts_with(first) {
        return false;
    }
    rest = &rest[first.len()..];
    while let Some(piece) = pieces.next() {
        let found = if pieces.peek().is_none() && rest.ends_with(piece) {
            Some(rest.len() - piece.len())
        } else {
            rest.find(piece)
        };
        let Some(at) = found else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty() || expected.ends_with('…')
}

/// Checks that `expected` is what was printed; a line `…` stands for any number of lines.
#[track_caller]
fn assert_printed(expected: &[String], printed: &str, whose: &str) {
    let lines = printed.lines().filter(|line| !line.ends_with("(said once)"));
    let lines = lines.map(|line| line.replace("Less than a second", "0 seconds"));
    // The made-up name of the demo's container.
    let shaped: Vec<String> = lines.map(|line| shape(&any_host(&line))).collect();
    let (mut at, mut anywhere) = (0, true);
    for line in expected {
        if line == "…" {
            anywhere = true;
            continue;
        }
        let wanted = shape(&any_host(line));
        let found = shaped[at.min(shaped.len())..].iter().position(|line| matches(&wanted, line));
        let Some(skipped) = found.filter(|skipped| anywhere || *skipped == 0) else {
            panic!(
                "{whose}: {wanted:?} ({line:?}) is not next in {:#?}\n{printed}",
                &shaped[at.min(shaped.len())..]
            );
        };
        (at, anywhere) = (at + skipped + 1, false);
    }
    assert!(anywhere || at == shaped.len(), "{whose}: there is more: {:?}", &shaped[at..]);
}

/// `I am process 1 on host calm-otter.` with any host.
fn any_host(line: &str) -> String {
    match line.split_once(" on host ") {
        Some((start, _)) => format!("{start} on host HOST."),
        None => line.to_owned(),
    }
}

/// A folder with what the reader's checkout has after `make demo`.
fn readers_folder(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.folder("checkout");
    symlink(sandbox.rootfs(), folder.join("rootfs")).expect("a link");
    symlink(fs::canonicalize(sandbox.program()).expect("minibox"), folder.join("minibox"))
        .expect("a link");
    folder
}

/// Without a terminal of its own, and without sudo where it is root who reads.
fn typed(line: &str, pid: &str) -> String {
    line.replace(" -it ", " -i ").replace(THEIR_PID, pid).trim_start_matches("sudo ").to_owned()
}

fn run_the_commands_of(readme: &str, caller: Caller) {
    let sandbox = Sandbox::new(caller);
    let folder = readers_folder(&sandbox);
    let blocks = blocks(readme);
    let mut pid = THEIR_PID.to_owned();
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block.kind == "sh") {
        let whose = format!("{readme}, {:?}, as {caller:?}", block.lines);
        let answer = blocks.get(at + 1).filter(|next| next.kind != "sh");
        let mut lines = Vec::new();
        for line in &block.lines {
            if line.starts_with("sudo ") && caller != Caller::Root {
                continue;
            }
            match line.trim_start_matches("sudo ").strip_prefix("make ") {
                // What is built is here already; the rest of the recipe is done as make does it.
                Some("demo") => {
                    lines.extend(recipe("demo").iter().map(|l| format!("echo '{l}'\n{l}")));
                }
                Some(task) => drop(recipe(task)),
                None => lines.push(typed(line, &pid)),
            }
        }
        if lines.is_empty() {
            continue;
        }
        let inside = answer.filter(|answer| answer.kind == "console");
        let (input, expected) = match inside {
            Some(console) => {
                let (typed, shown): (Vec<_>, Vec<_>) =
                    console.lines.iter().cloned().partition(|line| line.starts_with("# "));
                (typed.iter().map(|line| format!("{}\n", &line[2..])).collect(), shown)
            }
            None => (String::new(), answer.map(|answer| answer.lines.clone()).unwrap_or_default()),
        };
        let ran = type_in(&sandbox, &folder, &lines.join("\n"), &input);
        if let Some((_, rest)) = ran.stdout.split_once("minibox: [loop] ") {
            rest.split(':').next().expect("a PID").clone_into(&mut pid);
        }
        let printed = ran.stdout.replace(&pid, THEIR_PID);
        if answer.is_some() {
            assert_printed(&expected, &printed, &whose);
        }
        let is_error =
            expected.iter().any(|line| line.starts_with("minibox: ") && !line.contains("[loop]"));
        assert_eq!(ran.code != 0, is_error, "{whose}: {ran:?}");
    }
    // The rest of the page is true of this folder only if nothing was written into it.
    assert!(!Path::new(&sandbox.rootfs()).join("greeting").exists());
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    for caller in Caller::all() {
        run_the_commands_of("README.md", caller);
    }
}

#[test]
fn the_korean_readme_has_the_same_commands_and_answers() {
    assert_eq!(blocks("README.ko.md"), blocks("README.md"));
}

#[test]
fn every_task_and_file_that_the_documents_name_is_there() {
    for name in ["README.md", "README.ko.md", "CHANGELOG.md", "docs/kernel-features.md"] {
        let path = checkout().join(name);
        let text = fs::read_to_string(&path).expect("a document");
        for (_, rest) in text.match_indices("](").map(|(at, mark)| text.split_at(at + mark.len())) {
            let link = rest.split(')').next().expect("a link");
            let target = path.parent().expect("a folder").join(link);
            let is_heading = |line: &str| {
                let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                line.starts_with('#') && link == format!("#{heading}")
            };
            let is_there = target.exists() || text.lines().any(is_heading);
            assert!(link.starts_with("https://") || is_there, "{name}: {link}");
        }
        for (_, rest) in
            text.match_indices("make ").map(|(at, mark)| text.split_at(at + mark.len()))
        {
            let task: String =
                rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            // In code, that is: `make demo`, not "to make a pair".
            if rest[task.len()..].starts_with(['`', '\n']) && !task.is_empty() {
                let _ = recipe(&task);
            }
        }
    }
}

#[test]
fn both_readmes_list_every_verb() {
    for verb in verbs(Sandbox::new(Caller::all()[0]).call(&["--help"]).ok()) {
        for readme in ["README.md", "README.ko.md"] {
            let text = fs::read_to_string(checkout().join(readme)).expect("a README");
            let listed = |line: &str| {
                line.starts_with("| `")
                    && line.split(" | ").next().is_some_and(|cell| {
                        cell.split('`').any(|code| code.split(' ').next() == Some(&verb))
                    })
            };
            assert!(text.lines().any(listed), "{readme} does not list {verb}");
        }
    }
}
