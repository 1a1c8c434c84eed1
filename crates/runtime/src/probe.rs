//! What this kernel lets this caller do, found out by doing it, in a process of its own for each question:
//! whatever it makes is gone with it.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use crate::error::{Error, Result};
use crate::idmap::{self, IdMap, Range};
use crate::sys::{self, Forked, Sys};

/// Only the caller himself, as root.
fn own_id() -> IdMap {
    let one = |outside| vec![Range { inside: 0, outside, size: 1 }];
    IdMap { uids: one(Uid::effective().as_raw()), gids: one(Gid::effective().as_raw()) }
}

/// May the caller make a user namespace, and has he any power in it?
pub fn user_namespace() -> Result<()> {
    // AppArmor may let him make it and then deny every capability in it.
    idmap::in_user_namespace(&own_id(), || {
        sys::unshare(libc::CLONE_NEWUTS).map_err(|fault| fault.errno)
    })
}

/// May the caller make a user namespace with all ids that are his?
pub fn subordinate_ids(map: &IdMap) -> Result<()> {
    idmap::in_user_namespace(map, || Ok(()))
}

/// Can the caller mount an overlay, as his containers' root is one? `folder` is any folder of his; nothing
/// is written into it.
pub fn overlay(folder: &Path) -> Result<()> {
    let path = |below: &str| {
        CString::new(format!("{}{below}", folder.display()))
            .map_err(|_| Error::new(format!("{} contains a zero byte", folder.display())))
    };
    let paths = [path("")?, path("/lower")?, path("/upper")?, path("/work")?];
    let in_user_namespace = idmap::needs_user_namespace();
    let work = || mount_overlay(&paths, in_user_namespace).map_err(|fault| fault.errno);
    if in_user_namespace {
        return idmap::in_user_namespace(&own_id(), work);
    }
    in_a_process(work)
}

/// Can root give the files on the filesystem of `folder` other owners in a container, by an idmapped mount?
pub fn idmapped_mount(folder: &Path) -> Result<()> {
    let path = CString::new(folder.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::new(format!("{} contains a zero byte", folder.display())))?;
    let ids = idmap::user_namespace(&own_id())?;
    let mapped = sys::open_tree_clone(libc::AT_FDCWD, &path, false)
        .map(sys::own)
        .and_then(|mount| sys::map_mount(mount.as_raw_fd(), false, ids.as_raw_fd()));
    mapped.map_err(|fault| Error::of_fault("cannot map the owners of a mount", fault))
}

/// CHILD: in a mount namespace of its own covers the folder with memory, and puts the overlay together there.
fn mount_overlay(paths: &[CString; 4], in_user_namespace: bool) -> Sys<()> {
    let [folder, lower, upper, work] = paths;
    sys::unshare(libc::CLONE_NEWNS)?;
    let private = sys::MountChange { propagation: libc::MS_PRIVATE, ..Default::default() };
    sys::mount_setattr(libc::AT_FDCWD, c"/", true, private)?;
    let memory = sys::fsmount(sys::fsopen(c"tmpfs")?, 0)?;
    let place = sys::openat2(libc::AT_FDCWD, folder, libc::O_PATH, 0, 0)?;
    sys::move_mount(memory, place)?;
    for part in [lower, upper, work] {
        sys::mkdirat(libc::AT_FDCWD, part, 0o700)?;
    }
    let overlay = sys::fsopen(c"overlay")?;
    for (key, value) in [(c"lowerdir", lower), (c"upperdir", upper), (c"workdir", work)] {
        sys::fsconfig(overlay, key, Some(value))?;
    }
    if in_user_namespace {
        sys::fsconfig(overlay, c"userxattr", None)?;
    }
    sys::fsmount(overlay, 0).map(sys::close)
}

/// Does `work` in a process of its own.
fn in_a_process(work: impl FnOnce() -> std::result::Result<(), Errno>) -> Result<()> {
    let failed = |errno: Errno| Error::new("a trial failed").errno(errno);
    match sys::clone3(0, None).map_err(|fault| Error::of_fault("cannot fork", fault))? {
        Forked::Child => sys::exit_now(work().err().map_or(0, |errno| errno as i32)),
        Forked::Parent { pid, pidfd: _ } => match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            Ok(WaitStatus::Exited(_, errno)) => Err(failed(Errno::from_raw(errno))),
            _ => Err(failed(Errno::EINTR)),
        },
    }
}
