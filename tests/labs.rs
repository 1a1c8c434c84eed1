//! Every lesson, played on a real terminal in both languages: what its text tells to type is typed, and what
//! must not be taken for done is typed first.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use minibox_tests::{Caller, Sandbox, Terminal, checkout, is_full_run};

/// One step, as the test sees it.
#[derive(Debug, Default)]
struct Step {
    title: String,
    /// What is typed, a line each.
    shell: Vec<String>,
    play: Vec<String>,
    wrong: Vec<String>,
    task: Option<String>,
    /// Has it only to be read by whoever may not set limits?
    needs_limits: bool,
}

fn lessons(language: &str) -> Vec<PathBuf> {
    let folder = checkout().join("docs/labs").join(language);
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder).expect("lessons").flatten().map(|entry| entry.path()).collect();
    // One alone, while it is being written.
    if let Ok(only) = std::env::var("MINIBOX_LAB_ONLY") {
        all.retain(|path| name(path) == only);
    }
    all.sort();
    all
}

fn name(path: &std::path::Path) -> String {
    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
    stem.split_once('-').expect("a number and a name").1.to_owned()
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_code = None;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            in_code = in_code.is_none().then(|| kind.to_owned());
            continue;
        }
        if let (None, Some(title)) = (&in_code, line.strip_prefix("### ")) {
            steps.push(Step { title: title.to_owned(), ..Step::default() });
        }
        let Some(step) = steps.last_mut() else { continue };
        if in_code.as_deref() == Some("sh") {
            step.shell.push(line.to_owned());
        }
        let comment = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        match comment.and_then(|comment| comment.split_once(": ")) {
            Some(("play", what)) => step.play.push(what.to_owned()),
            Some(("wrong", what)) => step.wrong.push(what.to_owned()),
            Some(("needs", "limits")) => step.needs_limits = true,
            Some(("needs", _)) | None => {}
            Some((task, _)) => step.task = Some(task.to_owned()),
        }
    }
    steps
}

/// Waits for a prompt, and presses Enter now and then, as one does who waits for something to happen.
fn until_shown(terminal: &mut Terminal, prompt: &str, what: &str) {
    let begin = Instant::now();
    let mut pressed = 0;
    while !terminal.text().contains(prompt) {
        let seconds = begin.elapsed().as_secs();
        assert!(seconds < 40, "{what}: no {prompt:?} in\n{}", terminal.text());
        if seconds > pressed {
            pressed = seconds;
            terminal.types("\n");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does the whole lesson as `caller`; the prompt tells at which step one is.
fn play(caller: Caller, language: &str, path: &std::path::Path) {
    let sandbox = Sandbox::new(caller);
    let (name, steps) = (name(path), steps(&fs::read_to_string(path).expect("a lesson")));
    let rootfs = format!("--rootfs={}", sandbox.rootfs());
    let mut terminal =
        Terminal::of_size(&sandbox, (50, 100), &["--lang", language, "lab", &rootfs, &name]);
    let prompt = |step: usize| format!("{name} {}/{} $ ", step + 1, steps.len());
    terminal.shows(&prompt(0));
    for (number, step) in steps.iter().enumerate() {
        let is_to_read = step.task.is_none() || (step.needs_limits && !caller.has_limits());
        let what = format!("{language} {name} {}. {} as {caller:?}", number + 1, step.title);
        for line in &step.wrong {
            terminal.forget();
            terminal.types(&format!("{line}\n"));
            terminal.shows(&prompt(number));
        }
        terminal.forget();
        let lines = match (is_to_read, step.play.is_empty()) {
            (true, _) => vec![String::from("next")],
            (false, true) => step.shell.clone(),
            (false, false) => step.play.clone(),
        };
        assert!(!lines.is_empty(), "{what}: nothing to type");
        // All on one line: each prompt asks whether the step is done.
        let keys = lines.join("; ").replace("&;", "&") + "\n";
        terminal.types(&keys);
        let next =
            if number + 1 == steps.len() { format!("{name} $ ") } else { prompt(number + 1) };
        until_shown(&mut terminal, &next, &what);
    }
    terminal.types("exit\n");
    assert_eq!(terminal.end(), 0, "{language} {name}");
    let list = sandbox.call(&["lab"]);
    assert!(list.ok().contains("done"), "{list:?}");
}

#[test]
fn every_lesson_can_be_done_in_both_languages() {
    let callers = Caller::all();
    let play_all = |turn: usize, language: &str| {
        let mut lessons: Vec<(usize, PathBuf)> =
            lessons(language).into_iter().enumerate().collect();
        // The languages at once, since a lesson is mostly waiting, but never both at the same lesson: the first
        // wants a CPU for itself.
        if turn == 1 {
            lessons.reverse();
        }
        for (number, path) in lessons {
            // One caller after the other, since each takes half a minute; in a full run all of them.
            let one = [callers[(number + turn) % callers.len()]];
            for caller in if is_full_run() { &callers[..] } else { &one } {
                play(*caller, language, &path);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| play_all(1, "ko"));
        play_all(0, "en");
    });
}

#[test]
fn a_part_whose_beginning_is_gone_begins_anew() {
    for caller in Caller::all() {
        let sandbox = Sandbox::new(caller);
        let rootfs = format!("--rootfs={}", sandbox.rootfs());
        let mut terminal =
            Terminal::of_size(&sandbox, (50, 100), &["lab", rootfs.as_str(), "by-hand"]);
        terminal.shows("by-hand 1/14 $ ");
        terminal.types("unshare -rmpniu --fork sh +m\n");
        terminal.shows("by-hand 2/14 $ ");
        // Or what is typed next, as root, would be done to this computer.
        terminal.forget();
        terminal.types("exit\n");
        terminal.shows("begins anew");
        terminal.shows("by-hand 1/14 $ ");
        terminal.types("exit\n");
        assert_eq!(terminal.end(), 0, "{caller:?}");
    }
}

#[test]
fn the_languages_have_the_same_lessons_with_the_same_steps() {
    let (english, korean) = (lessons("en"), lessons("ko"));
    let names = |all: &[PathBuf]| all.iter().map(|path| name(path)).collect::<Vec<_>>();
    assert_eq!(names(&english), names(&korean));
    for (en, ko) in english.iter().zip(&korean) {
        let tasks = |path: &PathBuf| {
            let text = fs::read_to_string(path).expect("a lesson");
            let task = |line: &&str| line.starts_with("<!-- until") || line.starts_with("<!-- ask");
            text.lines().filter(task).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(tasks(en), tasks(ko), "{}", en.display());
    }
}
