//! The only `unsafe` of this crate: fork(2), which nobody makes safe, and calls that nix lacks. What a namespace
//! holds may be told by whoever is in it alone, and this process stays where it is.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{self, sock_filter};
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use syscalls::Sysno;

use crate::Seen;

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
            unsafe { libc::_exit(0) }
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

/// Of linux/ptrace.h, which libc lacks.
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;

/// As many instructions as a filter may have: BPF_MAXINSNS.
const MOST: usize = 4096;

/// The filters of a thread, seccomp(2), as root may read them while it is halted: PTRACE_SECCOMP_GET_FILTER of
/// ptrace(2). A process of its own halts it, and lets go of it by ending, whatever happens. Nothing where it
/// cannot be halted, which is not waited for longer than a second, or where this caller or kernel may not.
pub(crate) fn filters(thread: i32) -> Option<Vec<Vec<sock_filter>>> {
    let mut room = vec![sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; MOST];
    let bytes = from_inside(&[], |_, answer| {
        let none = std::ptr::null_mut::<libc::c_void>();
        let Some(signal) = halt(thread) else { return };
        let mut answer: &File = answer;
        for number in 0_usize.. {
            // SAFETY: `room` holds the longest filter that there is.
            let length = unsafe {
                libc::ptrace(
                    PTRACE_SECCOMP_GET_FILTER,
                    thread,
                    number as *mut libc::c_void,
                    room.as_mut_ptr(),
                )
            };
            let Ok(length) = usize::try_from(length) else { break };
            // SAFETY: the kernel has written this many, which have no padding.
            let filter =
                unsafe { std::slice::from_raw_parts(room.as_ptr().cast::<u8>(), length * 8) };
            let written = answer.write_all(&(length as u64).to_ne_bytes());
            if written.and_then(|()| answer.write_all(filter)).is_err() {
                break;
            }
        }
        if Errno::last_raw() == libc::ENOENT {
            let _ = answer.write_all(&u64::MAX.to_ne_bytes());
        }
        // SAFETY: nothing of this process is touched; the signal that halted it is delivered.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, thread, none, signal) };
    })?;
    let mut rest = bytes.as_slice();
    let mut all = Vec::new();
    loop {
        let (length, behind) = rest.split_first_chunk::<8>()?;
        let length = u64::from_ne_bytes(*length);
        if length == u64::MAX {
            return Some(all);
        }
        let (filter, behind) = behind.split_at_checked(usize::try_from(length).ok()? * 8)?;
        let steps = filter.chunks_exact(8).map(|step| sock_filter {
            code: u16::from_ne_bytes([step[0], step[1]]),
            jt: step[2],
            jf: step[3],
            k: u32::from_ne_bytes([step[4], step[5], step[6], step[7]]),
        });
        all.push(steps.collect());
        rest = behind;
    }
}

/// Halts a thread; the signal that it was about to get, 0 for none.
fn halt(thread: i32) -> Option<usize> {
    // SAFETY: these calls have numbers for arguments, and `status` is there.
    unsafe {
        if libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0) != 0
            || libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0) != 0
        {
            return None;
        }
        let mut status = 0;
        for _ in 0..1000 {
            match libc::waitpid(thread, &raw mut status, libc::__WALL | libc::WNOHANG) {
                0 => drop(libc::usleep(1000)),
                _ if !libc::WIFSTOPPED(status) => return None,
                _ if status >> 16 == 0 => return Some(libc::WSTOPSIG(status) as usize),
                _ => return Some(0),
            }
        }
    }
    None
}

/// Does a process like this one get through to what the call does? One of its own tries it, with arguments
/// that make it harmless: any error but those that filters give is the call's own.
pub(crate) fn gets_through(call: Sysno, arguments: &[u64; 6]) -> bool {
    // SAFETY: the child makes system calls and is no more.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let all = arguments;
            let number = i64::from(call.id());
            // SAFETY: the caller has chosen arguments that make it harmless.
            let done =
                unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
            let refusals = [libc::EPERM, libc::EACCES, libc::ENOSYS];
            let is_refused = done == -1 && refusals.contains(&Errno::last_raw());
            // SAFETY: ends this process at once; nothing of the parent's is run or flushed.
            unsafe { libc::_exit(i32::from(is_refused)) }
        }
        Ok(ForkResult::Parent { child }) => {
            waitpid(child, None).is_ok_and(|status| status == WaitStatus::Exited(child, 0))
        }
        Err(_) => false,
    }
}

/// struct bpf_insn, as the kernel has it in memory.
pub(crate) type Instruction = [u8; 8];

/// The programs that decide about devices for this cgroup of version 2, its own and those from further up, all of
/// which must agree. BPF_PROG_QUERY, BPF_PROG_GET_FD_BY_ID and BPF_OBJ_GET_INFO_BY_FD of bpf(2).
pub(crate) fn device_programs(cgroup: &Path) -> Seen<Vec<Vec<Instruction>>> {
    const BPF_PROG_QUERY: i32 = 16;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_QUERY_EFFECTIVE: u32 = 1;
    /// As many as a cgroup and those above it may have in the end.
    const MOST: usize = 512;
    let Ok(folder) = File::open(cgroup) else { return Seen::Absent };
    let mut ids = [0_u32; MOST];
    let place = words(ids.as_mut_ptr() as u64);
    // target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt: union bpf_attr.
    let query = [folder.as_raw_fd() as u32, BPF_CGROUP_DEVICE, BPF_F_QUERY_EFFECTIVE, 0];
    let answer = bpf(BPF_PROG_QUERY, &[&query, &place[..], &[MOST as u32]].concat());
    let known = match answer {
        Ok((_, attributes)) => ids.get(..attributes[6] as usize),
        Err(Errno::EPERM | Errno::EACCES) => None,
        Err(_) => return Seen::Absent,
    };
    let programs = known.map(|ids| ids.iter().map(|id| instructions(*id)).collect::<Option<_>>());
    programs.flatten().map_or(Seen::Denied, Seen::Known)
}

/// What the kernel shows of a program; nothing where it does not.
fn instructions(id: u32) -> Option<Vec<Instruction>> {
    const BPF_PROG_GET_FD_BY_ID: i32 = 13;
    const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
    let (program, _) = bpf(BPF_PROG_GET_FD_BY_ID, &[id]).ok()?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let program = unsafe { OwnedFd::from_raw_fd(program as i32) };
    let look = |list: &mut [Instruction]| {
        // struct bpf_prog_info: xlated_prog_len in the sixth word, xlated_prog_insns in the ninth.
        let mut info = [0_u32; 64];
        info[5] = size_of_val(list) as u32;
        info[8..10].copy_from_slice(&words(list.as_mut_ptr() as u64));
        let place = words(info.as_mut_ptr() as u64);
        let asked = [program.as_raw_fd() as u32, size_of_val(&info) as u32];
        bpf(BPF_OBJ_GET_INFO_BY_FD, &[&asked[..], &place].concat()).ok()?;
        // Where constants are blinded nothing is shown.
        (list.is_empty() || info[8..10] != [0, 0]).then_some(info[5] as usize / 8)
    };
    let mut list = vec![[0; 8]; look(&mut [])?];
    (look(&mut list)? == list.len() && !list.is_empty()).then_some(list)
}

/// An address in two words of a union bpf_attr.
fn words(address: u64) -> [u32; 2] {
    let bytes = address.to_ne_bytes();
    let half =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [half(0), half(4)]
}

/// bpf(2), with the first words of its union; what it returns, and the union after it.
fn bpf(command: i32, attributes: &[u32]) -> Result<(i64, [u32; 16]), Errno> {
    let mut union = [0_u32; 16];
    union[..attributes.len()].copy_from_slice(attributes);
    // SAFETY: the kernel writes within `union`, whose size it is told, and where the words that callers put there
    // lead, which is memory of theirs as long as they say.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, union.as_mut_ptr(), size_of_val(&union)) };
    Errno::result(done).map(|done| (done, union))
}

/// Mode and device number of a file, stat(2), by what the kernel remembers: no filesystem is asked, which may
/// be its owner's own program and answer never.
pub(crate) fn remembered(path: &CStr) -> Option<(u32, u32, u32)> {
    // SAFETY: all bytes zero is a statx, which the kernel fills.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_STATX_DONT_SYNC;
    let wanted = libc::STATX_TYPE;
    // SAFETY: `path` ends with NUL, and `found` is as large as the kernel expects.
    let done = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, wanted, &raw mut found) };
    let mode = u32::from(found.stx_mode);
    (done == 0).then_some((mode, found.stx_rdev_major, found.stx_rdev_minor))
}

/// Has this file capabilities of its own, capabilities(7)? A link is not followed.
pub(crate) fn has_capabilities(path: &CStr) -> bool {
    let name = c"security.capability";
    // SAFETY: both end with NUL; a length of 0 asks for nothing but the size.
    unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) > 0 }
}
