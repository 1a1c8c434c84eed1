//! `minibox lab`: lessons that are done in a terminal, with real commands.
//!
//! The student types into an ordinary shell, started here in a folder of the lesson's own. Whenever that
//! shell is about to show its prompt it calls this program back, which looks whether the step is done and
//! then shows the next one. So nothing stands between the student and the commands, and what is checked is
//! the machine.

mod checks;
mod lesson;
mod page;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::args::LabArgs;
use crate::generate;
use crate::language::{self, Language, say};
use crate::lifecycle;
use crate::output;
use crate::see::{Canvas, Style};
use crate::store::{Store, make_private};
use checks::{MARK, Room};
use lesson::{Lesson, Step, Task};

/// The lessons: name, English, Korean.
const LESSONS: [(&str, &str, &str); 1] = [(
    "process",
    include_str!("../../../../docs/labs/en/3-process.md"),
    include_str!("../../../../docs/labs/ko/3-process.md"),
)];

/// Programs that lie in a lesson's folder.
const FILES: [(&str, &str); 1] =
    [("while_loop.py", include_str!("../../../../rootfs/while_loop.py"))];

/// How far somebody has come, in the lesson's folder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    step: usize,
    /// Hints that were shown of this step.
    hints: usize,
    is_finished: bool,
}

/// `minibox lab`.
pub(crate) fn lab(store: &Store, args: &LabArgs) -> Result<u8> {
    if let Some(word) = &args.tell {
        let answer: Vec<&str> = args.lesson.iter().chain(&args.words).map(String::as_str).collect();
        return inside(store, word, &answer.join(" "));
    }
    let Some(asked) = &args.lesson else {
        output::print(&list(store)?);
        return Ok(0);
    };
    let lesson = find(asked)?;
    let folder = place(store, lesson.name);
    if args.restart {
        let _ = fs::remove_file(folder.join(PROGRESS));
    }
    do_lesson(store, &lesson, &folder, args)
}

fn all() -> Result<Vec<Lesson>> {
    let parse = |(name, english, korean): (&'static str, &str, &str)| {
        let text = if language::chosen() == Language::Ko { korean } else { english };
        Lesson::parse(name, text)
    };
    LESSONS.into_iter().map(parse).collect()
}

/// By its name, or by its number.
fn find(asked: &str) -> Result<Lesson> {
    let all = all()?;
    let is_it =
        |lesson: &Lesson| lesson.name == asked || lesson.title.split('.').next() == Some(asked);
    let names: Vec<&str> = LESSONS.iter().map(|(name, ..)| *name).collect();
    all.into_iter().find(is_it).ok_or_else(|| {
        Error::new(format!("there is no lesson {asked:?}"))
            .hint(format!("`minibox lab` lists them: {}", names.join(", ")))
    })
}

fn place(store: &Store, name: &str) -> PathBuf {
    store.data.join("labs").join(name)
}

/// All lessons, and how far one has come.
fn list(store: &Store) -> Result<String> {
    let mut rows = Vec::new();
    for lesson in all()? {
        let progress = load(&place(store, lesson.name));
        let state = match &progress {
            Some(progress) if progress.is_finished => say("done"),
            Some(progress) => {
                say(&format!("at step {} of {}", progress.step + 1, lesson.steps.len()))
            }
            None => say(&format!("{} steps", lesson.steps.len())),
        };
        rows.push(vec![format!("minibox lab {}", lesson.name), lesson.title, state]);
    }
    Ok(output::table(&rows))
}

const PROGRESS: &str = "progress.json";

fn load(folder: &Path) -> Option<Progress> {
    serde_json::from_slice(&fs::read(folder.join(PROGRESS)).ok()?).ok()
}

fn save(folder: &Path, progress: &Progress) -> Result<()> {
    let path = folder.join(PROGRESS);
    let text = serde_json::to_vec(progress).map_err(|e| Error::new(e.to_string()))?;
    fs::write(&path, text).map_err(|e| Error::of_io("write", &path, &e))
}

/// From where one has left it to where one leaves it again.
fn do_lesson(store: &Store, lesson: &Lesson, folder: &Path, args: &LabArgs) -> Result<u8> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Error::new("a lesson needs a terminal to type in")
            .hint("to read it: docs/labs in the sources"));
    }
    make_private(folder)?;
    let _lock = Lock::try_now(folder)?.ok_or_else(|| {
        Error::new(format!("lesson {} is being done in another terminal", lesson.name))
    })?;
    let room = Room { store, folder };
    clean(&room);
    let rootfs = std::path::absolute(&args.rootfs).unwrap_or_else(|_| args.rootfs.clone());
    if !rootfs.is_dir() {
        return Err(Error::new(format!("there is no root filesystem {}", rootfs.display()))
            .hint("`make rootfs` fills one; --rootfs DIR names another"));
    }
    furnish(folder, &rootfs)?;
    let mut progress = load(folder).unwrap_or_default();
    if progress.is_finished {
        progress = Progress::default();
    }
    // What was begun in a part is gone: it begins anew.
    progress = Progress { step: lesson.start_of_part(progress.step), ..Progress::default() };
    save(folder, &progress)?;
    let canvas = Canvas::of_stdout();
    output::print(&heading(lesson, &canvas));
    if progress.step == 0 {
        output::print(&(page::page(&lesson.about, &canvas) + "\n"));
    }
    output::print(&page::page(&how_it_works(), &canvas));
    show(lesson, progress.step, &canvas);
    run_shell(store, lesson, folder)?;
    clean(&room);
    let progress = load(folder).unwrap_or_default();
    if progress.is_finished {
        output::note(&format!("lesson {} is done, and what it started is gone", lesson.name));
    } else {
        output::note(&format!(
            "you left lesson {} at step {} of {}; what it started is gone, and `minibox lab {}` resumes it",
            lesson.name,
            progress.step + 1,
            lesson.steps.len(),
            lesson.name
        ));
    }
    Ok(0)
}

fn heading(lesson: &Lesson, canvas: &Canvas) -> String {
    let line = canvas.glyph("━", "=").repeat(canvas.width.min(60));
    format!("{line}\n{}\n{line}\n\n", canvas.paint(Style::Bold, &lesson.title))
}

fn how_it_works() -> String {
    say(
        "This is a real shell: type the commands, and look at what they say. Each step is checked on the machine itself. `hint` helps, `again` repeats the step, `answer WORD` answers a question, `next` goes on where there was only something to read, `exit` leaves the lesson.",
    )
}

/// Programs, and the root filesystem, in the lesson's folder.
fn furnish(folder: &Path, rootfs: &Path) -> Result<()> {
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| Error::of_io("write", &path, &e))?;
    }
    let link = folder.join("rootfs");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(rootfs, &link).map_err(|e| Error::of_io("make", &link, &e))
}

/// The student's shell. It is told whom to call before each prompt.
fn run_shell(store: &Store, lesson: &Lesson, folder: &Path) -> Result<()> {
    let own = generate::own_path()?;
    let rc = folder.join("shell");
    let call = format!("command {} lab --tell", output::shell_word(&own.to_string_lossy()));
    let script = format!(
        "PS1='$({call} prompt)'\n\
         answer() {{ {call} answer \"$@\"; }}\nhint() {{ {call} hint; }}\nagain() {{ {call} again; }}\n\
         next() {{ {call} next; }}\nunset PROMPT_COMMAND\n"
    );
    fs::write(&rc, script).map_err(|e| Error::of_io("write", &rc, &e))?;
    let has_bash = Path::new("/bin/bash").exists();
    let mut shell = Command::new(if has_bash { "/bin/bash" } else { "/bin/sh" });
    if has_bash {
        shell.arg("--rcfile").arg(&rc);
    }
    shell.arg("-i").current_dir(folder).env("ENV", &rc).env(MARK, folder);
    shell.env("MINIBOX_LAB_LESSON", lesson.name).env("HISTFILE", "/dev/null");
    shell.env("MINIBOX_LANG", language::chosen().name());
    // Where minibox was not found by PATH, the lessons' commands are to find it all the same.
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    folders.extend(own.parent().map(Path::to_owned));
    if let Ok(path) = std::env::join_paths(folders) {
        shell.env("PATH", path);
    }
    shell.env("MINIBOX_RUN_DIR", &store.run).env("MINIBOX_DATA_DIR", &store.data);
    // The shell takes the terminal for itself and gives it back at its end, so Ctrl-C never comes here.
    shell.status().map(drop).map_err(|e| Error::of_io("start", "/bin/sh".as_ref(), &e))
}

/// What the shell's words do, and its prompt: called in the lesson's shell.
fn inside(store: &Store, word: &str, answer: &str) -> Result<u8> {
    let name = std::env::var("MINIBOX_LAB_LESSON").unwrap_or_default();
    let lesson = find(&name)?;
    let folder = place(store, lesson.name);
    let room = Room { store, folder: &folder };
    let mut progress = load(&folder).unwrap_or_default();
    let canvas = Canvas::of_stderr();
    let Some(step) = lesson.steps.get(progress.step) else {
        match word {
            "prompt" => output::print(&prompt(&lesson, &progress)),
            _ => tell(&say("the lesson is done; `exit` leaves")),
        }
        return Ok(0);
    };
    match word {
        "prompt" => {
            if let Task::Until(all) = &step.task
                && is_soon(|| all.iter().all(|condition| condition.holds(&room)))
            {
                advance(&lesson, &mut progress, &folder, &canvas)?;
            }
            output::print(&prompt(&lesson, &progress));
        }
        "answer" => match &step.task {
            Task::Ask(question) if is_soon(|| question.is_answered_by(answer, &room)) => {
                advance(&lesson, &mut progress, &folder, &canvas)?;
            }
            Task::Ask(_) if answer.is_empty() => tell(&say("`answer WORD`: give the word too")),
            Task::Ask(_) => tell(&say(&format!(
                "{answer:?} is not it; `hint` helps, `again` repeats the question"
            ))),
            Task::Until(_) | Task::Read => {
                tell(&say("there is no question here; `again` repeats the step"));
            }
        },
        "hint" => {
            match step.hints.get(progress.hints) {
                Some(hint) => tell(&page::page(hint, &canvas)),
                None if step.hints.is_empty() => {
                    tell(&say("there is no hint for this step; `again` repeats it"));
                }
                None => tell(&say("that was the last hint; here they are from the first again")),
            }
            progress.hints = (progress.hints + 1) % (step.hints.len() + 1);
            save(&folder, &progress)?;
        }
        "again" => show(&lesson, progress.step, &canvas),
        "next" => match step.task {
            Task::Read => advance(&lesson, &mut progress, &folder, &canvas)?,
            Task::Until(_) | Task::Ask(_) => {
                tell(&say("this step wants something to be done first; `hint` helps"));
            }
        },
        _ => {}
    }
    Ok(0)
}

/// Is it so, or will it be in a moment? What was typed has just been done, and a process changes its state.
fn is_soon(is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_millis(250);
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    true
}

/// To the next step, or to the end.
fn advance(lesson: &Lesson, progress: &mut Progress, folder: &Path, canvas: &Canvas) -> Result<()> {
    let well_done = format!("{} {}", canvas.glyph("✔", "*"), say("Done."));
    tell(&canvas.paint(Style::Green, &well_done));
    *progress = Progress { step: progress.step + 1, ..Progress::default() };
    progress.is_finished = progress.step == lesson.steps.len();
    save(folder, progress)?;
    if progress.is_finished {
        tell(&say(
            "That was the whole lesson. Look around as long as you like; `exit` leaves, and takes away what was started.",
        ));
    } else {
        show(lesson, progress.step, canvas);
    }
    Ok(())
}

/// `lab 3/12 $ `; after the end only a dollar.
fn prompt(lesson: &Lesson, progress: &Progress) -> String {
    if progress.is_finished {
        return format!("{} $ ", lesson.name);
    }
    format!("{} {}/{} $ ", lesson.name, progress.step + 1, lesson.steps.len())
}

/// On the terminal; standard output may be the prompt.
fn tell(text: &str) {
    eprintln!("{}", text.trim_end());
}

/// A step's text.
fn show(lesson: &Lesson, number: usize, canvas: &Canvas) {
    let Some(Step { opening, title, text, task, .. }) = lesson.steps.get(number) else { return };
    let mut shown = String::from("\n");
    if !opening.is_empty() {
        shown += &(page::page(opening, canvas) + "\n");
    }
    let title = canvas.paint(Style::Bold, &format!("{}. {title}", number + 1));
    shown += &format!("{title}\n\n{}", page::page(text, canvas));
    let what_now = match task {
        Task::Read => say("(`next` goes on)"),
        Task::Ask(_) => say("(`answer WORD` answers)"),
        Task::Until(_) => String::new(),
    };
    if !what_now.is_empty() {
        shown += &format!("\n{}\n", canvas.paint(Style::Dim, &what_now));
    }
    tell(&shown);
    eprintln!();
}

/// Takes away what the lesson's shell has started: containers, then processes.
fn clean(room: &Room<'_>) {
    for container in room.store.all().iter().filter(|container| room.made(container)) {
        let _ = lifecycle::remove(room.store, &container.record.id, true, true);
    }
    for pid in room.processes() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
