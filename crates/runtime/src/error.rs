//! The one error type: what failed, at which step, in which call, why, and what to try.

use std::fmt;

use nix::errno::Errno;

use crate::step::Step;
use crate::sys::Fault;

/// How a failure is to be reported to the caller's shell, docker's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// minibox or its environment failed: exit status 125.
    Minibox,
    /// The program was found but cannot be executed: 126.
    NotExecutable,
    /// The program was not found: 127.
    NotFound,
}

impl Blame {
    /// The exit status that says so.
    pub const fn exit_code(self) -> u8 {
        match self {
            Blame::Minibox => 125,
            Blame::NotExecutable => 126,
            Blame::NotFound => 127,
        }
    }
}

/// A failure with everything a person needs to mend it.
#[derive(Debug, Clone)]
pub struct Error {
    /// One clause, no capital, no full stop: "cannot mount /proc".
    pub what: String,
    /// The step that failed, where it was one of the table's.
    pub step: Option<Step>,
    /// The call with its arguments.
    pub call: Option<String>,
    /// What the kernel answered.
    pub errno: Option<Errno>,
    /// What to try.
    pub hint: Option<String>,
    /// Whose fault it is.
    pub blame: Blame,
}

/// What everything in this crate returns that can fail in the parent.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that says `what` failed; add to it with the methods below.
    pub fn new(what: impl Into<String>) -> Error {
        Error {
            what: what.into(),
            step: None,
            call: None,
            errno: None,
            hint: None,
            blame: Blame::Minibox,
        }
    }

    /// The step it belongs to.
    #[must_use]
    pub fn step(mut self, step: Step) -> Error {
        self.step = Some(step);
        self
    }

    /// The call that failed, with its arguments.
    #[must_use]
    pub fn call(mut self, call: impl Into<String>) -> Error {
        self.call = Some(call.into());
        self
    }

    /// The errno it failed with.
    #[must_use]
    pub fn errno(mut self, errno: Errno) -> Error {
        self.errno = Some(errno);
        self
    }

    /// What to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Whose fault it is, if not minibox's.
    #[must_use]
    pub fn blame(mut self, blame: Blame) -> Error {
        self.blame = blame;
        self
    }

    /// A failed call in the parent, which has no step of its own.
    pub fn of_fault(what: impl Into<String>, fault: Fault) -> Error {
        Error::new(what).call(fault.call).errno(fault.errno)
    }

    /// A failed operation of the standard library on `path`.
    pub fn of_io(what: impl fmt::Display, path: &std::path::Path, error: &std::io::Error) -> Error {
        let made = Error::new(format!("cannot {what} {}", path.display()));
        match error.raw_os_error() {
            Some(number) => made.errno(Errno::from_raw(number)),
            None => made.hint(error.to_string()),
        }
    }
}

impl fmt::Display for Error {
    /// One line with the facts, then one each for the reason and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match (&self.call, self.errno) {
            (Some(call), Some(errno)) => write!(f, ": {call} = {errno:?} ({})", errno.desc())?,
            (Some(call), None) => write!(f, ": {call}")?,
            (None, Some(errno)) => write!(f, ": {errno:?} ({})", errno.desc())?,
            (None, None) => {}
        }
        if let Some(step) = self.step {
            write!(
                f,
                "\n  step: {} ({} of {})",
                step.about().title,
                step as usize + 1,
                Step::ALL.len()
            )?;
            if let Some(cause) = self.errno.and_then(|errno| step.cause(errno)) {
                write!(f, "\n  cause: {cause}")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
