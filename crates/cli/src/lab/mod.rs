//! `minibox lab`: lessons that are done in a terminal, with real commands.
//!
//! The student types into an ordinary shell, started here in a folder of the lesson's own. Whenever that
//! shell is about to show its prompt it asks this process, which looks whether the step is done and then shows
//! the next one. So nothing stands between the student and the commands, and what is checked is the machine.
//!
//! They talk through two named pipes that the shell holds open, and with the shell's own words only: so it
//! works just the same in a shell that has gone into namespaces of its own and swapped its root.

mod checks;
mod lesson;
mod page;

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use minibox_runtime::cgroup::{self, Layout};
use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result, sys};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde::{Deserialize, Serialize};

use crate::args::LabArgs;
use crate::generate;
use crate::language::{self, Language, say};
use crate::lifecycle;
use crate::output;
use crate::see::{Canvas, Style};
use crate::store::{Store, make_private};
use checks::{Condition, MARK, Room};
use lesson::{Lesson, Step};

/// The lessons: name, English, Korean.
const LESSONS: [(&str, &str, &str); 8] = [
    (
        "cpu-and-ram",
        include_str!("../../../../docs/labs/en/1-cpu-and-ram.md"),
        include_str!("../../../../docs/labs/ko/1-cpu-and-ram.md"),
    ),
    (
        "kernel-and-shell",
        include_str!("../../../../docs/labs/en/2-kernel-and-shell.md"),
        include_str!("../../../../docs/labs/ko/2-kernel-and-shell.md"),
    ),
    (
        "process",
        include_str!("../../../../docs/labs/en/3-process.md"),
        include_str!("../../../../docs/labs/ko/3-process.md"),
    ),
    (
        "threads",
        include_str!("../../../../docs/labs/en/4-threads.md"),
        include_str!("../../../../docs/labs/ko/4-threads.md"),
    ),
    (
        "memory",
        include_str!("../../../../docs/labs/en/5-memory.md"),
        include_str!("../../../../docs/labs/ko/5-memory.md"),
    ),
    (
        "namespaces",
        include_str!("../../../../docs/labs/en/6-namespaces.md"),
        include_str!("../../../../docs/labs/ko/6-namespaces.md"),
    ),
    (
        "by-hand",
        include_str!("../../../../docs/labs/en/7-by-hand.md"),
        include_str!("../../../../docs/labs/ko/7-by-hand.md"),
    ),
    (
        "break-it",
        include_str!("../../../../docs/labs/en/8-break-it.md"),
        include_str!("../../../../docs/labs/ko/8-break-it.md"),
    ),
];

/// Programs that lie in a lesson's folder.
const FILES: [(&str, &str); 9] = [
    ("while_loop.py", include_str!("../../../../rootfs/while_loop.py")),
    ("board.py", include_str!("../../../../docs/labs/files/board.py")),
    ("count.py", include_str!("../../../../docs/labs/files/count.py")),
    ("crew.py", include_str!("../../../../docs/labs/files/crew.py")),
    ("fork_bomb.py", include_str!("../../../../docs/labs/files/fork_bomb.py")),
    ("greeter.py", include_str!("../../../../docs/labs/files/greeter.py")),
    ("memory.py", include_str!("../../../../docs/labs/files/memory.py")),
    ("share.py", include_str!("../../../../docs/labs/files/share.py")),
    ("whiteboard.py", include_str!("../../../../docs/labs/files/whiteboard.py")),
];

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

/// Where the student's shell asks, and where it hears.
const PIPES: [&str; 2] = ["questions", "replies"];
/// What ends the teacher.
const END: &str = "end";

/// The student's shell, and beside it the teacher whom it asks before each prompt.
fn run_shell(store: &Store, lesson: &Lesson, folder: &Path) -> Result<()> {
    let own = generate::own_path()?;
    for name in PIPES {
        let path = folder.join(name);
        let _ = fs::remove_file(&path);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| Error::of_io("make", &path, &e.into()))?;
    }
    let rc = folder.join("shell");
    fs::write(&rc, SHELL).map_err(|e| Error::of_io("write", &rc, &e))?;
    let [mut questions, replies] =
        [open_pipe(folder, PIPES[0], 0)?, open_pipe(folder, PIPES[1], libc::O_NONBLOCK)?];
    let heard = questions.try_clone().map_err(|e| Error::of_io("open", folder, &e))?;
    let has_bash = Path::new("/bin/bash").exists();
    let mut shell = Command::new(if has_bash { "/bin/bash" } else { "/bin/sh" });
    if has_bash {
        shell.arg("--rcfile").arg(&rc);
    }
    shell.arg("-i").current_dir(folder).env("ENV", &rc).env(MARK, folder);
    shell.env("HISTFILE", "/dev/null").env_remove("MINIBOX_LAB_OPEN");
    shell.env("MINIBOX_LANG", language::chosen().name());
    // Where minibox was not found by PATH, the lessons' commands are to find it all the same.
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    folders.extend(own.parent().map(Path::to_owned));
    // Where pivot_root(8) lies, which a plain user's PATH may leave out.
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    if let Ok(path) = std::env::join_paths(folders) {
        shell.env("PATH", path);
    }
    shell.env("MINIBOX_RUN_DIR", &store.run).env("MINIBOX_DATA_DIR", &store.data);
    // A terminal that is closed ends the shell, and then there is something left to do here.
    sys::outlive_signal(libc::SIGHUP);
    std::thread::scope(|scope| {
        scope.spawn(|| teach(&Room { store, folder }, lesson, heard, replies));
        // The shell takes the terminal for itself and gives it back at its end, so Ctrl-C never comes here.
        let ran = shell.status().map_err(|e| Error::of_io("start", "/bin/sh".as_ref(), &e));
        let _ = writeln!(questions, "{END}");
        ran.map(drop)
    })
}

/// What the student's shell reads first, and every `sh` that is started in it: by a descriptor, so that it is
/// in reach wherever the root is.
const SHELL: &str = include_str!("shell");

/// For both directions, so that neither opening nor reading waits for, or ends with, the other side.
fn open_pipe(folder: &Path, name: &str, flags: i32) -> Result<fs::File> {
    let path = folder.join(name);
    let mut options = fs::OpenOptions::new();
    let opened = options.read(true).write(true).custom_flags(flags).open(&path);
    opened.map_err(|e| Error::of_io("open", &path, &e))
}

/// Hears what the shell asks, a line each, and replies with a line.
fn teach(room: &Room<'_>, lesson: &Lesson, questions: fs::File, mut replies: fs::File) {
    for line in BufReader::new(questions).lines().map_while(std::result::Result::ok) {
        if line == END {
            break;
        }
        let (word, answer) = line.split_once(' ').unwrap_or((&line, ""));
        let reply = reply(room, lesson, word, answer).unwrap_or_else(|error| {
            output::error(&error);
            String::new()
        });
        // Whoever pressed Ctrl-C has not heard the last one.
        while replies.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
        let _ = writeln!(replies, "{reply}");
    }
}

/// What the shell's words do, and its prompt.
fn reply(room: &Room<'_>, lesson: &Lesson, word: &str, answer: &str) -> Result<String> {
    let folder = room.folder;
    let mut progress = load(folder).unwrap_or_default();
    let canvas = Canvas::of_stderr();
    let Some(step) = lesson.steps.get(progress.step) else {
        if word != "prompt" {
            tell(&say("the lesson is done; `exit` leaves"));
            return Ok(String::new());
        }
        return Ok(prompt(lesson, &progress));
    };
    let are_so =
        |all: &[Condition]| is_soon(room, || all.iter().all(|condition| condition.holds(room)));
    match word {
        "prompt" => {
            if step.ask.is_none() && !is_to_read(step) && are_so(&step.until) {
                advance(lesson, &mut progress, folder, &canvas)?;
            } else if !are_so(&step.needs) {
                tell(&say("what this part had made is gone, so it begins anew"));
                progress =
                    Progress { step: lesson.start_of_part(progress.step), ..Progress::default() };
                save(folder, &progress)?;
                show(lesson, progress.step, &canvas);
            }
            return Ok(prompt(lesson, &progress));
        }
        "answer" => match step.ask.as_ref().filter(|_| !is_to_read(step)) {
            None => tell(&say("there is no question here; `again` repeats the step")),
            Some(_) if answer.is_empty() => tell(&say("`answer WORD`: give the word too")),
            Some(question) if !is_soon(room, || question.is_answered_by(answer, room)) => tell(
                &say(&format!("{answer:?} is not it; `hint` helps, `again` repeats the question")),
            ),
            Some(_) if !are_so(&step.until) => {
                tell(&say("that is right, but something is to be done first; `again` repeats it"));
            }
            Some(_) => advance(lesson, &mut progress, folder, &canvas)?,
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
            save(folder, &progress)?;
        }
        "again" => show(lesson, progress.step, &canvas),
        "next" if is_to_read(step) => advance(lesson, &mut progress, folder, &canvas)?,
        "next" => tell(&say("this step wants something to be done first; `hint` helps")),
        _ => {}
    }
    Ok(String::new())
}

/// Is there nothing to be done, or nothing that this user can do?
fn is_to_read(step: &Step) -> bool {
    (step.until.is_empty() && step.ask.is_none()) || (step.needs_limits && !may_limit())
}

fn may_limit() -> bool {
    cgroup::is_writable(&Layout::detect())
}

/// Is it so, or will it be in a moment? What was typed has just been done, and a process changes its state;
/// one that was just started needs a little longer.
fn is_soon(room: &Room<'_>, is_so: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !is_so() {
        let millis = begin.elapsed().as_millis();
        if millis >= 2000 || (millis >= 250 && !room.is_something_new()) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    if begin.elapsed().as_millis() >= 25 {
        // It may be about to say something, which is to be read first.
        std::thread::sleep(Duration::from_millis(150));
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
        let end = say(
            "That was the whole lesson. Look around as long as you like; `exit` leaves, and takes away what was started.",
        );
        tell(&page::page(&end, canvas));
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
    let Some(step) = lesson.steps.get(number) else { return };
    let Step { opening, title, text, ask, .. } = step;
    let mut shown = String::from("\n");
    if !opening.is_empty() {
        shown += &(page::page(opening, canvas) + "\n");
    }
    let title = canvas.paint(Style::Bold, &format!("{}. {title}", number + 1));
    shown += &format!("{title}\n\n{}", page::page(text, canvas));
    let what_now = match ask {
        _ if is_to_read(step) && step.needs_limits => say(
            "(this user may not set limits on this machine, so this step is only to be read; `next` goes on)",
        ),
        _ if is_to_read(step) => say("(`next` goes on)"),
        Some(_) => say("(`answer WORD` answers)"),
        None => String::new(),
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
