//! The seal: no process in a container may ever hold a way to write this very binary.
//!
//! A root filesystem can ask for `/proc/self/exe` to be executed, as its program or behind `#!`, and
//! then minibox itself runs inside, where a neighbour may open `/proc/1/exe` and, once that has ended,
//! write to it: the next `minibox` of root on the host is the attacker's (CVE-2019-5736). So before it
//! makes a process that will live in a container, minibox executes itself once more from a place where
//! its file cannot be written: a read-only mount of its own, or where that is not permitted a sealed
//! copy in memory. Nothing is done where it is so already, or where the file belongs to somebody whom
//! the container does not know.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use minibox_runtime::idmap;
use minibox_runtime::sys::{self, Argv, Fault, MountChange};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::Uid;

use crate::output;

/// Returns only in a process whose binary is safe, or after having said why it is not.
pub(crate) fn ensure() {
    let Ok(exe) = File::open("/proc/self/exe") else { return };
    if is_sealed(&exe) || belongs_to_a_stranger(&exe) {
        // Executed by descriptor, older kernels call the process by the descriptor's number.
        sys::set_name(c"minibox");
        return;
    }
    let fault = match read_only_mount(&exe).or_else(|_| sealed_copy(exe)) {
        Ok(safe) => execute(&safe),
        Err(fault) => fault,
    };
    output::note(&format!(
        "goes on unsealed ({} = {:?}): do not run what you do not trust",
        fault.call, fault.errno
    ));
}

fn is_sealed(exe: &File) -> bool {
    let read_only = fstatvfs(exe).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    let seals = fcntl(exe, FcntlArg::F_GET_SEALS).unwrap_or(0);
    read_only || SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)
}

/// In a plain user's container only his own ids exist: what belongs to root, nobody there can write.
fn belongs_to_a_stranger(exe: &File) -> bool {
    let Ok(metadata) = exe.metadata() else { return false };
    let others_write = metadata.mode() & 0o022 != 0;
    idmap::needs_user_namespace() && metadata.uid() != Uid::effective().as_raw() && !others_write
}

fn read_only_mount(exe: &File) -> Result<OwnedFd, Fault> {
    let mount = sys::own(sys::open_tree_clone(exe.as_raw_fd(), c"", false)?);
    let read_only = MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() };
    sys::mount_setattr(mount.as_raw_fd(), c"", false, read_only)?;
    Ok(mount)
}

fn sealed_copy(mut exe: File) -> Result<OwnedFd, Fault> {
    let failed = |errno| Fault::new("memfd_create", errno);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let memory = memfd_create(c"minibox", flags | executable)
        // Linux before 6.3 does not know the flag, and needs none.
        .or_else(|_| memfd_create(c"minibox", flags))
        .map_err(failed)?;
    let io = |error: std::io::Error| {
        Fault::new("copy_file_range", Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    };
    let mut copy = File::from(memory);
    exe.rewind().map_err(io)?;
    std::io::copy(&mut exe, &mut copy).map_err(io)?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| Fault::new("fcntl", errno))?;
    // Open for reading only: a file that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    nix::fcntl::open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .map_err(|errno| Fault::new("open", errno))
}

fn execute(safe: &OwnedFd) -> Fault {
    let c_strings = |strings: Vec<Vec<u8>>| {
        Argv::new(strings.into_iter().filter_map(|s| std::ffi::CString::new(s).ok()).collect())
    };
    let argv = c_strings(std::env::args_os().map(OsStringExt::into_vec).collect());
    let entry = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        [key.into_vec(), b"=".to_vec(), value.into_vec()].concat()
    };
    let envp = c_strings(std::env::vars_os().map(entry).collect());
    sys::execveat(safe.as_fd().as_raw_fd(), &argv, &envp)
}
