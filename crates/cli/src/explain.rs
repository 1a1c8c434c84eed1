//! `--explain` and `--step`: the birth of a container, told as it happens.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};

use minibox_runtime::line::Listening;
use minibox_runtime::step::Side;
use minibox_runtime::{Error, Event, Result, Step, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::language::say;
use crate::output;
use crate::signals;

/// Tells the steps of one start on stderr.
#[derive(Debug)]
pub(crate) struct Teller {
    listening: Listening,
    colours: bool,
    told: Option<Step>,
    pid: i32,
    total: u64,
    /// Leads to whoever asked for this, where that is another process: when it goes, a halt is over.
    leash: Option<OwnedFd>,
}

impl Teller {
    /// A teller for the two flags.
    pub(crate) fn new(explain: bool, step: bool) -> Teller {
        let listening = match (step, explain) {
            (true, _) => Listening::Halts,
            (false, true) => Listening::Steps,
            (false, false) => Listening::Quiet,
        };
        Teller {
            listening,
            colours: output::colours(&std::io::stderr()),
            told: None,
            pid: 0,
            total: 0,
            leash: None,
        }
    }

    /// Ties it to whoever holds the other end of `leash`.
    pub(crate) fn tie(&mut self, leash: OwnedFd) {
        self.leash = Some(leash);
    }

    /// What the runtime should report.
    pub(crate) fn listening(&self) -> Listening {
        self.listening
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Hears one event.
    pub(crate) fn hear(&mut self, event: &Event<'_>) -> Result<()> {
        let mut text = String::new();
        match event {
            Event::Born { pid } => self.pid = *pid,
            // Engines alone have any.
            Event::Hooks { .. } => {}
            Event::Before { step, call } => {
                // Not known yet while a process in between joins namespaces.
                let look = match self.pid {
                    0 => String::new(),
                    pid => format!(
                        "; from another shell: ls -l /proc/{pid}/ns; cat /proc/{pid}/mountinfo"
                    ),
                };
                text = format!(
                    "{}     {}: {}\n     {}{} ",
                    self.heading(*step),
                    say("next"),
                    self.paint("36", &say(call)),
                    say("[Enter] goes on, Ctrl-D stops"),
                    self.paint("2", &say(&look))
                );
            }
            Event::Done { step, call, micros } => {
                self.total += micros;
                if self.listening == Listening::Halts && step.about().side == Side::Child {
                    return Ok(());
                }
                let took = self.paint("2", &format!("{micros} µs"));
                text = format!(
                    "{}     {}  {took}\n",
                    self.heading(*step),
                    self.paint("36", &say(call))
                );
            }
        }
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
        drop(stderr);
        match event {
            Event::Before { step, .. } => halt(*step, self.leash.as_ref()),
            _ => Ok(()),
        }
    }

    /// Number, title and reason, once per step.
    fn heading(&mut self, step: Step) -> String {
        if self.told == Some(step) {
            return String::new();
        }
        self.told = Some(step);
        let about = step.about();
        let side = if about.side == Side::Parent { "parent" } else { "child" };
        format!(
            "{:>3}. {}  {}\n     {}\n",
            step as usize + 1,
            self.paint("1", &say(about.title)),
            self.paint("2", &format!("({}; {})", say(side), about.man)),
            say(about.why)
        )
    }

    /// The last line.
    pub(crate) fn finish(&self) {
        if self.listening != Listening::Quiet {
            output::note(&format!(
                "the program runs now, as PID {} on the host; all steps together took {} µs",
                self.pid, self.total
            ));
        }
    }
}

/// Until Enter. The end of the input, Ctrl-D, ends the start; Ctrl-C ends whoever asked for it, and that
/// ends the start.
fn halt(step: Step, leash: Option<&OwnedFd>) -> Result<()> {
    let stdin = std::io::stdin();
    let mut polled = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    polled.extend(leash.map(|leash| PollFd::new(leash.as_fd(), PollFlags::empty())));
    let goes_on = signals::mortal(|| {
        while poll(&mut polled, PollTimeout::NONE).is_err() {}
        let is_asked_for = polled.get(1).is_none_or(|leash| leash.any() != Some(true));
        is_asked_for && read_line()
    });
    if !stdin.is_terminal() {
        let _ = writeln!(std::io::stderr());
    }
    if goes_on {
        return Ok(());
    }
    Err(Error::new(format!("stopped before the step {:?}", say(step.about().title))))
}

/// Reads one line, and not a byte more: the next is for the next halt. False at the end of the input.
fn read_line() -> bool {
    let mut byte = [0];
    while byte != *b"\n" {
        match sys::read(libc::STDIN_FILENO, &mut byte) {
            Err(fault) if fault.errno == Errno::EINTR => {}
            Ok(1..) => {}
            _ => return false,
        }
    }
    true
}
