//! A process that stays behind: it lets go of everything of its caller's.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use minibox_runtime::sys;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Lets go of everything of the caller's: streams, folder, signals, every descriptor but those in
/// `keep`, and the program's name, so that `ps -ef | grep while_loop` finds the program alone.
pub(crate) fn become_quiet(name: &str, keep: &[RawFd]) {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for stream in 0..3 {
            let _ = sys::dup2(null.as_raw_fd(), stream);
        }
    }
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for fd in open.collect::<Vec<RawFd>>() {
        if fd > 2 && !keep.contains(&fd) {
            sys::close(fd);
        }
    }
    let _ = std::env::set_current_dir("/");
    // A write to a stream that has ended says so; no signal has any business with it.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    sys::set_name(c"minibox");
    sys::set_title(&format!("minibox: {name}"));
}
