//! The only `unsafe` of this crate: fork(2), which nobody makes safe. What a namespace holds may be told by
//! whoever is in it alone, and this process stays where it is.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

/// What `work` writes into its pipe, done by a process of its own that has entered the namespaces of `files`
/// one after the other, as far as it may. `work` may neither allocate nor panic: the caller may have threads,
/// one of which may hold the allocator right now. It is told which it has entered, a bit each.
pub(crate) fn from_inside(files: &[File], work: impl FnOnce(u32, &File)) -> Option<Vec<u8>> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).ok()?;
    // SAFETY: the child makes system calls on what is prepared here, and ends without unwinding.
    match unsafe { fork() }.ok()? {
        ForkResult::Child => {
            drop(reader);
            let mut entered = 0;
            // Nobody in there is to look into this process, or to stop it.
            let _ = nix::sys::prctl::set_dumpable(false);
            for (bit, file) in files.iter().enumerate() {
                if setns(file.as_fd(), CloneFlags::empty()).is_ok() {
                    entered |= 1 << bit;
                }
            }
            work(entered, &File::from(writer));
            // SAFETY: ends this process at once; nothing of the parent's is run or flushed.
            unsafe { nix::libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut answer = Vec::new();
            let read = File::from(reader).read_to_end(&mut answer);
            let _ = waitpid(child, None);
            read.ok().map(|_| answer)
        }
    }
}
