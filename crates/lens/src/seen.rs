//! What looking comes to: a value, or why there is none.

use std::fmt;

use procfs::ProcError;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A value that not everybody may see, and not every kernel has.
///
/// As JSON: the value; `{"denied": true}`; null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is this.
    Known(T),
    /// The caller may not read it (EACCES, EPERM).
    Denied,
    /// There is no such thing here: the kernel lacks it, or this process does.
    Absent,
}

impl<T> Seen<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Seen::Known(value) => Some(value),
            Seen::Denied | Seen::Absent => None,
        }
    }

    /// The same of what may be made of the value, else absent.
    pub fn filter_map<U>(self, f: impl FnOnce(T) -> Option<U>) -> Seen<U> {
        match self.map(f) {
            Seen::Known(Some(value)) => Seen::Known(value),
            Seen::Known(None) | Seen::Absent => Seen::Absent,
            Seen::Denied => Seen::Denied,
        }
    }

    /// The same of what is made of the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Seen::Known(value) => Seen::Known(f(value)),
            Seen::Denied => Seen::Denied,
            Seen::Absent => Seen::Absent,
        }
    }

    /// What is seen by means of the value, where it is known.
    pub fn and_then<U>(&self, f: impl FnOnce(&T) -> Seen<U>) -> Seen<U> {
        match self {
            Seen::Known(value) => f(value),
            Seen::Denied => Seen::Denied,
            Seen::Absent => Seen::Absent,
        }
    }
}

impl<T: Serialize> Serialize for Seen<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Seen::Known(value) => value.serialize(serializer),
            Seen::Denied => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("denied", &true)?;
                map.end()
            }
            Seen::Absent => serializer.serialize_none(),
        }
    }
}

/// Why nothing can be told at all.
#[derive(Debug)]
pub enum Error {
    /// There is no process of this number, or not any more.
    Gone(i32),
    /// The kernel's answer is none: what was asked, and what it said.
    Unreadable(String),
}

/// What everything in this crate returns that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Gone(pid) => write!(f, "there is no process {pid}"),
            Error::Unreadable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// Is this how reading of a process fails that has ended? ESRCH comes from files that were opened before.
fn is_gone(error: &ProcError) -> bool {
    match error {
        ProcError::NotFound(_) => true,
        ProcError::Io(io, _) => io.raw_os_error() == Some(3),
        _ => false,
    }
}

/// What every process has, or it is gone: `what` names it for the error.
pub(crate) fn must<T>(pid: i32, what: &str, read: procfs::ProcResult<T>) -> Result<T> {
    read.map_err(|error| {
        if is_gone(&error) {
            return Error::Gone(pid);
        }
        Error::Unreadable(format!("cannot read {what} of process {pid}: {error}"))
    })
}

/// What not every process has, and not everybody may read.
pub(crate) fn seen<T>(read: procfs::ProcResult<T>) -> Seen<T> {
    match read {
        Ok(value) => Seen::Known(value),
        Err(ProcError::PermissionDenied(_)) => Seen::Denied,
        Err(ProcError::Io(error, _)) if matches!(error.raw_os_error(), Some(1 | 13)) => {
            Seen::Denied
        }
        Err(_) => Seen::Absent,
    }
}
