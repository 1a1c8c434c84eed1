//! CHILD: `tmpcopyup`, which fills a new tmpfs with what lies in the folder that it is going to cover.
//!
//! The folder is the container's, so nothing in it is trusted: everything is opened by its name in an open
//! folder, without following a link, and a tree that is too deep is an error.
#![deny(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::sys::{self, Fault, Stat, Sys};

/// How deep a tree may be: each folder on the way is open, and has a buffer on the stack.
const DEEPEST: usize = 64;

/// Copies all that lies in the folder `from` into the empty folder `to`, with owners, permissions and times.
pub fn copy(from: RawFd, to: RawFd) -> Sys<()> {
    copy_folder(from, to, 0)
}

fn copy_folder(from: RawFd, to: RawFd, depth: usize) -> Sys<()> {
    if depth > DEEPEST {
        return Err(Fault::new("tmpcopyup", Errno::ENAMETOOLONG));
    }
    // What was opened with O_PATH cannot be read.
    let from = open(from, c".", libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut buffer = sys::Entries::new();
    let done = loop {
        match buffer.read(from) {
            Ok(0) => break Ok(()),
            Err(fault) => break Err(fault),
            Ok(_) => {}
        }
        let mut names = buffer.names().filter(|name| *name != c"." && *name != c"..");
        if let Some(fault) = names.find_map(|name| copy_entry(from, to, name, depth).err()) {
            break Err(fault);
        }
    };
    sys::close(from);
    done
}

fn open(folder: RawFd, name: &CStr, flags: i32) -> Sys<RawFd> {
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    sys::openat2(folder, name, flags, 0, resolve)
}

fn copy_entry(from: RawFd, to: RawFd, name: &CStr, depth: usize) -> Sys<()> {
    let stat = sys::fstatat(from, name)?;
    match stat.mode & libc::S_IFMT {
        libc::S_IFDIR => {
            sys::mkdirat(to, name, 0o700)?;
            let (below, made) = (open(from, name, libc::O_PATH)?, open(to, name, libc::O_RDONLY)?);
            let done = copy_folder(below, made, depth + 1);
            sys::close(below);
            sys::close(made);
            done?;
        }
        libc::S_IFREG => copy_file(from, to, name)?,
        libc::S_IFLNK => {
            let mut target = [0; libc::PATH_MAX as usize];
            let target = sys::readlinkat(from, name, &mut target)?;
            sys::symlinkat(target, to, name)?;
        }
        _ => match sys::mknodat(to, name, stat.mode, stat.rdev) {
            // A device node, in a user namespace: it would open nothing there.
            Err(fault) if fault.errno == Errno::EPERM => return Ok(()),
            made => made?,
        },
    }
    keep_properties(to, name, &stat)
}

fn copy_file(from: RawFd, to: RawFd, name: &CStr) -> Sys<()> {
    // Should it have become a FIFO meanwhile, nobody waits for it.
    let source = open(from, name, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    let target = sys::openat2(to, name, flags, 0o600, libc::RESOLVE_BENEATH)?;
    let done = loop {
        match sys::sendfile(target, source, 1 << 20) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(fault) => break Err(fault),
        }
    };
    sys::close(source);
    sys::close(target);
    done
}

/// The owner first, since a change of it takes set-user-ID bits away.
fn keep_properties(to: RawFd, name: &CStr, stat: &Stat) -> Sys<()> {
    sys::fchownat(to, name, stat.uid, stat.gid)?;
    if stat.mode & libc::S_IFMT != libc::S_IFLNK {
        sys::fchmodat(to, name, stat.mode & 0o7777)?;
    }
    sys::utimensat(to, name, stat.times)
}
