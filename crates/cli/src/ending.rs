//! How a container has ended, in words.

use std::os::fd::{AsRawFd, BorrowedFd};

use minibox_runtime::Error;
use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::cgroup::oom::Alarm;
use minibox_runtime::sys::{self, Death};

use crate::store::{Exit, Record, now};

/// How a program ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// As a shell sees it: 128 + n for signal n.
    pub code: i32,
    /// It was killed by SIGKILL.
    pub killed: bool,
}

impl Ended {
    /// From what waitid(2) says.
    pub(crate) fn of(death: Death) -> Ended {
        match death {
            Death::Exited(code) => Ended { code, killed: false },
            Death::Signaled(signal) => {
                Ended { code: 128 + signal, killed: signal == libc::SIGKILL }
            }
        }
    }

    /// From the number that wait(2) stores.
    pub(crate) fn of_raw(status: i32) -> Ended {
        if libc::WIFSIGNALED(status) {
            return Ended::of(Death::Signaled(libc::WTERMSIG(status)));
        }
        Ended::of(Death::Exited(libc::WEXITSTATUS(status)))
    }
}

/// Collects the exit status of our child; `None` while it lives.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    match sys::wait_pidfd(pidfd.as_raw_fd(), false) {
        Ok(death) => death.map(Ended::of),
        Err(_) => Some(Ended { code: 255, killed: false }),
    }
}

/// Set where the cgroup may be gone before its end can be described: systemd takes an empty one away.
pub(crate) fn oom_alarm(cgroup: Option<&Cgroup>) -> Option<Alarm> {
    cgroup.filter(|cgroup| cgroup.is_scope())?.oom_alarm().ok()
}

/// The record of an end, with the reason where the kernel gives one.
pub(crate) fn describe(
    record: &Record,
    ended: Option<Ended>,
    note: Option<String>,
    alarm: Option<&Alarm>,
) -> Exit {
    let cgroup = record.cgroup();
    let kills = cgroup.as_ref().map_or(0, Cgroup::oom_kills);
    let is_gone = || !cgroup.as_ref().is_some_and(Cgroup::exists);
    let ran_out = kills > 0 || (is_gone() && alarm.is_some_and(Alarm::has_rung));
    // An init tells its program's end in a shell's way.
    let out_of_memory = ran_out && ended.is_none_or(|e| e.killed || e.code == 137);
    let limit = cgroup.as_ref().and_then(Cgroup::memory_limit);
    let memory = limit.map_or_else(String::new, |bytes| format!(" of {} MiB", bytes >> 20));
    let note = note.or_else(|| {
        out_of_memory.then(|| format!("out of memory: the kernel killed it at its limit{memory}"))
    });
    Exit { code: ended.map(|e| e.code), out_of_memory, finished: now(), note }
}

/// The record of a start that came to nothing.
pub(crate) fn not_started(error: &Error) -> Exit {
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default();
    let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    let note = format!("it could not be started: {what}") + &hint;
    Exit {
        code: Some(error.blame.exit_code().into()),
        out_of_memory: false,
        finished: now(),
        note: Some(note),
    }
}
