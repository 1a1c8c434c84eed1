//! Signals by name and number, signal(7).

use std::os::fd::{AsRawFd, OwnedFd};

use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::{Error, Result, sys};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// A signal by name (with or without SIG) or number.
pub(crate) fn parse(flag: &str, text: &str) -> Result<i32> {
    let wrong = || {
        Error::new(format!("{flag} {text:?} is not a signal"))
            .hint("names and numbers stand in signal(7): KILL, TERM, HUP, 9 …")
    };
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<Signal>().map(|signal| signal as i32).map_err(|_| wrong())
}

/// Does `signal` reach `pid`? The PID 1 of a pid namespace gets only what it catches or has blocked, to
/// wait for it in another way: SigCgt and SigBlk of proc_pid_status(5).
pub(crate) fn reaches(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let has = |name| {
        let mask = field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        // Unreadable means unknown, and then nothing is claimed.
        mask.is_none_or(|mask| mask & (1 << (signal - 1)) != 0)
    };
    has("SigCgt:") || has("SigBlk:") || pid_inside(pid) != Some(1)
}

/// The number of process `pid` in the pid namespace it lives in.
pub(crate) fn pid_inside(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().last()?.parse().ok()
}

/// Kills the process that `pidfd` holds. In a frozen `cgroup` of version 1 not even SIGKILL is heard before
/// it is thawed.
pub(crate) fn kill(pidfd: &OwnedFd, cgroup: Option<&Cgroup>) {
    let _ = sys::pidfd_send_signal(pidfd.as_raw_fd(), libc::SIGKILL);
    if let Some(cgroup) = cgroup {
        let _ = cgroup.thaw();
    }
}

/// Lets the signals that end a program do so while `wait` waits.
pub(crate) fn mortal<T>(wait: impl FnOnce() -> T) -> T {
    let mut deadly = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        deadly.add(signal);
    }
    let mut before = SigSet::empty();
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&deadly), Some(&mut before));
    let waited = wait();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    waited
}

/// Its name, or its number where it has none.
pub(crate) fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_number() {
        for (text, number) in [("KILL", 9), ("sigterm", 15), ("SIGHUP", 1), ("9", 9), ("64", 64)] {
            assert_eq!(parse("--signal", text).unwrap(), number);
        }
        for text in ["", "0", "65", "-9", "NOPE", "SIG"] {
            assert!(parse("--signal", text).is_err(), "{text}");
        }
    }
}
