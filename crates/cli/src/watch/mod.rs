//! `minibox watch`: containers and what is inside them, on the whole screen, as it changes.
//!
//! The pictures are those of `tree`, `ns`, `mem` and `threads`; here they stand beside the list of containers
//! and their meters, and keys do what verbs do. What a key starts is minibox itself, as one would type it.

mod keys;
mod screen;

use std::collections::{HashMap, VecDeque};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use minibox_runtime::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::read;

use crate::args::WatchArgs;
use crate::generate;
use crate::language::say;
use crate::output;
use crate::see::{Canvas, Target, find, interval, mem, ns, stats, threads, tree, why};
use crate::store::{Container, Status, Store};
use keys::{Key, keys};

/// Readings of a meter that are kept: as many as are ever drawn.
const HISTORY: usize = 60;

/// Lines below a view from which on the next one is shown there, too.
const ROOM_FOR_ANOTHER: usize = 16;

/// What is shown of the chosen container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Tree,
    Namespaces,
    Memory,
    Threads,
}

const VIEWS: [(View, &str); 4] = [
    (View::Tree, "tree"),
    (View::Namespaces, "ns"),
    (View::Memory, "mem"),
    (View::Threads, "threads"),
];

/// One container of the list.
#[derive(Debug)]
struct Line {
    name: String,
    status: &'static str,
    /// Millionths of one CPU.
    cpu: Option<u64>,
    memory: Option<u64>,
    limit: u64,
    pids: Option<u64>,
}

/// All that is on the screen.
struct Watch<'a> {
    store: &'a Store,
    lines: Vec<Line>,
    last: HashMap<String, stats::Sample>,
    /// By container: of its CPU and its memory, the newest last.
    history: HashMap<String, VecDeque<(u64, u64)>>,
    chosen: usize,
    view: View,
    /// The picture on the right, and its first line that is seen.
    picture: String,
    memory: mem::Before,
    scroll: u16,
    /// What the last key came to.
    said: String,
    /// A container that is to be killed, once that is confirmed.
    to_kill: Option<String>,
}

/// What a key asks for beside a new screen.
enum Wish {
    Nothing,
    Leave,
    /// This command in the foreground, with the terminal as it was.
    Run(Vec<String>),
}

/// `minibox watch`.
pub(crate) fn watch(store: &Store, args: &WatchArgs) -> Result<u8> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Error::new("watch needs a terminal")
            .hint("`minibox stats` and `minibox ps` print to files and pipes"));
    }
    let interval = interval(args.interval)?;
    let mut watch = Watch {
        store,
        lines: Vec::new(),
        last: HashMap::new(),
        history: HashMap::new(),
        chosen: 0,
        view: View::Tree,
        picture: String::new(),
        memory: None,
        scroll: 0,
        said: String::new(),
        to_kill: None,
    };
    watch.look()?;
    if let Some(name) = &args.container {
        let name = store.find(name)?.record.name;
        watch.chosen = watch.lines.iter().position(|line| line.name == name).unwrap_or(0);
    }
    let signals = ask_for_signals()?;
    // Restores the terminal on a panic, too.
    let mut terminal = ratatui::try_init()
        .map_err(|error| Error::of_io("take over", "/dev/tty".as_ref(), &error))?;
    let ended = watch.stay(&mut terminal, &signals, interval);
    ratatui::restore();
    ended.map(|()| 0)
}

/// Waits for keys, a signal or the end of `time`. A terminal that is gone is left.
fn read_keys(signals: &SignalFd, time: Duration) -> Result<Vec<Key>> {
    let stdin = std::io::stdin();
    let mut fds = [stdin.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    // Rounded up, or the last part of a millisecond would be spent asking.
    let millis = time.as_micros().div_ceil(1000);
    let waited = poll(&mut fds, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX));
    if !waited.is_ok_and(|count| count > 0) || fds[0].any() != Some(true) {
        return Ok(Vec::new());
    }
    let mut buffer = [0; 1024];
    match read(stdin.as_fd(), &mut buffer) {
        Ok(0) | Err(Errno::EIO) => Ok(vec![Key::CtrlC]),
        Ok(count) => Ok(keys(&buffer[..count])),
        Err(Errno::EINTR | Errno::EAGAIN) => Ok(Vec::new()),
        Err(errno) => Err(Error::new("cannot read from the terminal").errno(errno)),
    }
}

/// Signals that end a process, and what says that the window changed, told in a file instead: the terminal is to
/// be given back first.
fn ask_for_signals() -> Result<SignalFd> {
    let set: SigSet =
        [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGWINCH].into_iter().collect();
    let failed = |errno| Error::new("cannot catch signals").errno(errno);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

impl Watch<'_> {
    fn stay(
        &mut self,
        terminal: &mut ratatui::DefaultTerminal,
        signals: &SignalFd,
        interval: Duration,
    ) -> Result<()> {
        let failed =
            |error: std::io::Error| Error::new(format!("cannot use the terminal: {error}"));
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                self.look()?;
                next = Instant::now() + interval;
            }
            while let Ok(Some(signal)) = signals.read_signal() {
                // A new size of the window is known when it is drawn.
                if signal.ssi_signo != Signal::SIGWINCH as u32 {
                    return Ok(());
                }
            }
            let canvas = Canvas::of_stdout();
            self.picture = self.draw_picture(&screen::right_of(&canvas));
            terminal.draw(|frame| screen::draw(self, &canvas, frame)).map_err(failed)?;
            // All that has come by now, before it is drawn anew.
            for key in read_keys(signals, next.saturating_duration_since(Instant::now()))? {
                match self.hear(key) {
                    Wish::Nothing => {}
                    Wish::Leave => return Ok(()),
                    Wish::Run(words) => {
                        ratatui::restore();
                        self.said = run(&words);
                        *terminal = ratatui::try_init().map_err(failed)?;
                        next = Instant::now();
                    }
                }
            }
        }
    }

    /// Reads everything anew.
    fn look(&mut self) -> Result<()> {
        let name = self.name();
        let readings = stats::readings(self.store, &mut self.last)?;
        self.lines = readings.into_iter().map(Line::of).collect();
        for line in &self.lines {
            let history = self.history.entry(line.name.clone()).or_default();
            history.push_back((line.cpu.unwrap_or(0), line.memory.unwrap_or(0)));
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
        let is_there =
            |name: &String, _: &mut VecDeque<_>| self.lines.iter().any(|l| l.name == *name);
        self.history.retain(is_there);
        // The one that was chosen stays so wherever it stands now.
        let at = name.and_then(|name| self.lines.iter().position(|line| line.name == name));
        self.chosen = at.unwrap_or(self.chosen).min(self.lines.len().saturating_sub(1));
        Ok(())
    }

    /// The chosen container's name.
    fn name(&self) -> Option<String> {
        Some(self.lines.get(self.chosen)?.name.clone())
    }

    fn draw_picture(&mut self, canvas: &Canvas) -> String {
        let Some(name) = self.name() else {
            return canvas.wrap("", &say("There is no container yet. In another terminal: minibox run -d --name loop ./rootfs python while_loop.py"));
        };
        let is_alive = self.lines[self.chosen].cpu.is_some();
        let drawn = if is_alive {
            find(self.store, &name).and_then(|target| self.draw_views(&target, canvas))
        } else {
            why::picture(self.store, &name, canvas)
        };
        drawn.unwrap_or_else(|error| canvas.wrap("", &say(&error.what)))
    }

    /// The chosen view, and where it leaves room the next ones below it.
    fn draw_views(&mut self, target: &Target, canvas: &Canvas) -> Result<String> {
        let first = VIEWS.iter().position(|(view, _)| *view == self.view).unwrap_or(0);
        let mut text = String::new();
        for (view, name) in VIEWS.iter().cycle().skip(first).take(VIEWS.len()) {
            let room = canvas.height.saturating_sub(text.lines().count());
            if !text.is_empty() {
                if room < ROOM_FOR_ANOTHER {
                    break;
                }
                text += &screen::rule(name, canvas);
            }
            let canvas = &Canvas { height: room.saturating_sub(1), ..*canvas };
            text += &match view {
                View::Tree => tree::picture(self.store, target, canvas),
                View::Namespaces => ns::picture(self.store, target, canvas)?,
                View::Memory => mem::picture(target, &mut self.memory, canvas)?,
                View::Threads => threads::picture(target, canvas)?,
            };
        }
        Ok(text)
    }

    fn hear(&mut self, key: Key) -> Wish {
        if let Some(name) = self.to_kill.take() {
            self.said.clear();
            if matches!(key, Key::Letter('y' | 'Y' | 'K')) {
                self.said = do_it(&["kill", &name]);
            }
            return Wish::Nothing;
        }
        self.said.clear();
        let last = self.lines.len().saturating_sub(1);
        match key {
            Key::CtrlC | Key::Escape | Key::Letter('q') => return Wish::Leave,
            Key::Up | Key::Letter('k') => self.choose(self.chosen.saturating_sub(1)),
            Key::Down | Key::Letter('j') => self.choose((self.chosen + 1).min(last)),
            Key::Home => self.choose(0),
            Key::End => self.choose(last),
            Key::PageDown | Key::Letter(' ') => self.scroll = self.scroll.saturating_add(10),
            Key::PageUp => self.scroll = self.scroll.saturating_sub(10),
            Key::Tab | Key::Right => self.turn(1),
            Key::BackTab | Key::Left => self.turn(VIEWS.len() - 1),
            Key::Letter(digit @ '1'..='4') => {
                self.show(VIEWS[digit as usize - '1' as usize].0);
            }
            Key::Letter(letter) => return self.act(letter),
        }
        Wish::Nothing
    }

    fn choose(&mut self, line: usize) {
        self.chosen = line;
        self.scroll = 0;
    }

    fn turn(&mut self, by: usize) {
        let at = VIEWS.iter().position(|(view, _)| *view == self.view).unwrap_or(0);
        self.show(VIEWS[(at + by) % VIEWS.len()].0);
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.scroll = 0;
    }

    /// What a key does to the chosen container.
    fn act(&mut self, letter: char) -> Wish {
        let Some(name) = self.name() else { return Wish::Nothing };
        let Ok(container) = self.store.find(&name) else { return Wish::Nothing };
        match letter {
            'p' if container.is_paused() => self.said = do_it(&["unpause", &name]),
            'p' => self.said = do_it(&["pause", &name]),
            's' => self.said = do_it(&["stop", "-t", "2", &name]),
            'r' => self.said = do_it(&["start", &name]),
            'K' => {
                self.said = say(&format!("kill -9 {name}? y kills it, any other key does not"));
                self.to_kill = Some(name);
            }
            'x' => return Wish::Run(["exec", "-it", &name, "sh"].map(str::to_owned).to_vec()),
            'l' => return Wish::Run(["logs", "-f", &name].map(str::to_owned).to_vec()),
            'b' => return Wish::Run(birth(&container)),
            _ => {}
        }
        Wish::Nothing
    }
}

/// Another container of the same program, step by step.
fn birth(container: &Container) -> Vec<String> {
    let record = &container.record;
    let mut words = ["run", "--rm", "-it", "--step"].map(str::to_owned).to_vec();
    words.push(record.rootfs.display().to_string());
    words.extend(record.command.iter().cloned());
    words
}

fn minibox(words: &[String]) -> Result<Command> {
    let mut command = Command::new(generate::own_path()?);
    command.args(words);
    Ok(command)
}

/// Does it without a word, or says what went wrong.
fn do_it(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let done = minibox(&words).map(|mut command| command.stdin(Stdio::null()).output());
    match done {
        Ok(Ok(output)) if output.status.success() => format!("minibox {}", words.join(" ")),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            output::on_one_line(said.lines().next().unwrap_or_default())
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.what,
    }
}

/// Does it on the terminal, and waits for Enter so that what it said can be read.
fn run(words: &[String]) -> String {
    output::print(&format!("$ minibox {}\n", output::shell_words(words)));
    let status = match minibox(words) {
        Ok(mut command) => command.status(),
        Err(error) => return error.what,
    };
    output::print(&format!("\n{}\n", say("Enter goes back to watch.")));
    let _ = std::io::stdin().read_line(&mut String::new());
    match status {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

impl Line {
    fn of(reading: stats::Reading) -> Line {
        let stats::Reading { name, status, is_paused, cpu, memory, limit, pids } = reading;
        let status = match status {
            Status::Created => "new",
            Status::Running if is_paused => "paused",
            Status::Running => "runs",
            Status::Restarting => "restarts",
            Status::Exited => "ended",
        };
        Line { name, status, cpu, memory, limit, pids }
    }
}
