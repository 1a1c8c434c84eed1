//! CHILD: `--init`, a PID 1 that does what init(1) must and nothing else.
//!
//! A program that was not written to be PID 1 is badly off there: the kernel throws away the signals it has
//! no handler for, and every orphan of the container becomes its child, a zombie for as long as nobody
//! waits for it. So this process stays PID 1, and the program becomes its child: signals are passed on, the
//! dead are collected, and the program's end is the end, with its exit status.
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::os::fd::RawFd;

use crate::sys::{self, Arguments, Death, Sys};

/// Returns in the child, which is to become the program, with nothing but its pid changed. The child leads
/// a process group, as a shell's jobs do, and the terminal listens to that, where there is one as standard
/// input: Ctrl-C reaches the program and what it started, and never PID 1.
pub fn divide(arguments: Arguments, terminal: bool) -> Sys<()> {
    // Before there is a child, so that none of its ends is missed. Blocked for good, and not waited for with
    // sigwait(2), which unblocks them: a signal that is neither caught nor blocked never reaches a PID 1.
    sys::block_signals()?;
    let signals = sys::signalfd()?;
    match sys::fork()? {
        None => {
            sys::lead_process_group()?;
            if terminal {
                // In the background still, but SIGTTOU is blocked.
                sys::take_foreground(0)?;
            }
            sys::close(signals);
            sys::unblock_signals()
        }
        Some(pid) => stay(pid, signals, arguments),
    }
}

fn stay(program: libc::pid_t, signals: RawFd, arguments: Arguments) -> ! {
    // The streams of the program, and the line, must be nobody's but the program's.
    let _ = sys::close_all_but(0, &std::iter::once(signals));
    // What the caller's process was called with, and its environment, are none of the container's business.
    arguments.overwrite(b"init");
    sys::set_name(c"init");
    // Now that there is nothing to see, it may be looked at as any program may: exec looks up its namespaces.
    let _ = sys::set_dumpable(true);
    // In a pid namespace of its own orphans come here anyway.
    let _ = sys::set_child_subreaper();
    loop {
        match sys::next_signal(signals) {
            Ok(libc::SIGCHLD) => {
                while let Some((pid, death)) = sys::wait_any() {
                    if pid == program {
                        sys::exit_now(match death {
                            Death::Exited(code) => code,
                            Death::Signaled(signal) => 128 + signal,
                        });
                    }
                }
            }
            // One that comes after the program's end finds nobody.
            Ok(signal) => drop(sys::kill(program, signal)),
            Err(_) => {}
        }
    }
}
