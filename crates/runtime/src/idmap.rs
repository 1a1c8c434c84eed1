//! User namespaces: which ids inside stand for which outside, user_namespaces(7).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use oci_spec::runtime::LinuxIdMapping;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::step::Step;
use crate::sys::{self, Forked};

/// What to try where a container has a single id and more are asked for.
pub const MORE_IDS: &str = "give this user subordinate ids in /etc/subuid and /etc/subgid";

/// One line of a map: `size` ids from `inside` on stand for those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First id in the container.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

impl Range {
    /// A mapping of config.json.
    pub fn of_spec(mapping: &LinuxIdMapping) -> Range {
        Range { inside: mapping.container_id(), outside: mapping.host_id(), size: mapping.size() }
    }
}

/// The two maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// /proc/PID/uid_map.
    pub uids: Vec<Range>,
    /// /proc/PID/gid_map.
    pub gids: Vec<Range>,
}

/// Does this process lack the power to make mounts and namespaces of its own?
pub fn needs_user_namespace() -> bool {
    !Uid::effective().is_root()
}

/// Is this process in the user namespace that the machine began with, where root is the machine's own?
/// user_namespaces(7).
pub fn in_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The subordinate ranges of whoever is called one of `owners` in `file` (/etc/subuid or /etc/subgid,
/// subuid(5)), each as it would be mapped behind an id of one's own.
pub fn subordinate(file: &str, owners: &[&str]) -> Vec<Range> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        if !owners.contains(&fields.next()?) {
            return None;
        }
        let (outside, size) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (size > 0).then_some(Range { inside: 1, outside, size })
    };
    text.lines().filter_map(range).collect()
}

/// The caller's name: from /etc/passwd, else what his session says (he may come from a directory
/// service). Never from getpwuid(3), which loads libraries and so cannot work in a static binary; and
/// newuidmap(1) checks for itself.
fn caller_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|l| l.split(':').nth(2) == Some(uid.to_string().as_str()));
    let listed = line.and_then(|l| l.split(':').next()).map(str::to_owned);
    listed.or_else(|| std::env::var("USER").ok())
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

impl IdMap {
    /// The map for a plain user: himself as root, and his subordinate ids behind, where
    /// newuidmap(1) and /etc/subuid offer them; otherwise himself alone, and the reason.
    pub fn for_caller() -> (IdMap, Option<String>) {
        let (uid, gid) = (Uid::effective(), Gid::effective());
        let own = |outside| vec![Range { inside: 0, outside, size: 1 }];
        let mut map = IdMap { uids: own(uid.as_raw()), gids: own(gid.as_raw()) };
        let (name, number) = (caller_name(uid.as_raw()), uid.to_string());
        let owners = [name.as_deref().unwrap_or(&number), &number];
        let first = |file| subordinate(file, &owners).first().copied();
        let why = match (first("/etc/subuid"), first("/etc/subgid")) {
            (Some(uids), Some(gids)) if in_path("newuidmap") && in_path("newgidmap") => {
                map.uids.push(uids);
                map.gids.push(gids);
                return (map, None);
            }
            (Some(_), Some(_)) => "newuidmap is not installed (package uidmap, or shadow-utils)",
            _ => "/etc/subuid and /etc/subgid list no range for this user",
        };
        (map, Some(String::from(why)))
    }

    /// The maps of the user namespace that process `pid` lives in, as they look from the caller's.
    pub fn of_process(pid: i32) -> Result<IdMap> {
        let ranges = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            let text = std::fs::read_to_string(&path);
            text.map(|text| parse(&text)).map_err(|e| Error::of_io("read", path.as_ref(), &e))
        };
        Ok(IdMap { uids: ranges("uid_map")?, gids: ranges("gid_map")? })
    }

    /// One user and one group are mapped.
    pub fn is_single(&self) -> bool {
        let is_one = |ranges: &[Range]| matches!(ranges, [range] if range.size == 1);
        is_one(&self.uids) && is_one(&self.gids)
    }

    /// PARENT: a plain user has mapped nobody but himself, so that groups cannot be changed inside.
    pub fn denies_groups(&self) -> bool {
        self.is_single() && needs_user_namespace()
    }

    /// There is an id 0 inside.
    pub fn has_root(&self) -> bool {
        [&self.uids, &self.gids].iter().all(|ranges| IdMap::outside(ranges, 0).is_some())
    }

    /// The host's id for `inside` in `ranges`.
    pub fn outside(ranges: &[Range], inside: u32) -> Option<u32> {
        ranges
            .iter()
            .find(|r| inside >= r.inside && inside - r.inside < r.size)
            .map(|r| r.outside + (inside - r.inside))
    }

    /// The container's id for `outside` in `ranges`.
    pub fn inside(ranges: &[Range], outside: u32) -> Option<u32> {
        ranges
            .iter()
            .find(|r| outside >= r.outside && outside - r.outside < r.size)
            .map(|r| r.inside + (outside - r.outside))
    }

    /// PARENT: writes both maps for process `pid`, through newuidmap(1) where more than the caller's
    /// own id is mapped and he is not root.
    pub fn write(&self, pid: i32) -> Result<()> {
        let root = Uid::effective().is_root();
        if !root && !self.is_single() {
            helper("newuidmap", pid, &self.uids)?;
            return helper("newgidmap", pid, &self.gids);
        }
        if !root {
            // An unprivileged process must first give up dropping groups: a group may deny access
            // (CVE-2014-8989).
            proc_write(pid, "setgroups", "deny")?;
        }
        proc_write(pid, "gid_map", &lines(&self.gids))?;
        proc_write(pid, "uid_map", &lines(&self.uids))
    }
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.size)).collect()
}

fn proc_write(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::write(&path, text).map_err(|error| {
        Error::of_io("write", Path::new(&path), &error)
            .step(Step::MapIds)
            .call(format!("write({path:?}, {:?})", text.trim_end().replace('\n', "; ")))
    })
}

fn helper(program: &str, pid: i32, ranges: &[Range]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for range in ranges {
        command.args([range.inside, range.outside, range.size].map(|n| n.to_string()));
    }
    let failed = |why: String| {
        Error::new(format!("{program} could not map the ids")).step(Step::MapIds).call(why)
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        .hint("check that /etc/subuid and /etc/subgid give this user ranges, and that newuidmap is setuid or has cap_setuid"))
}

/// Runs `work` as root of a new user namespace with `map`, in a process of its own, and returns what
/// it returned: the way to remove files that belong to subordinate ids.
pub fn in_user_namespace(
    map: &IdMap,
    work: impl FnOnce() -> std::result::Result<(), Errno>,
) -> Result<()> {
    let inside = |line: &UnixStream| {
        // Where nobody is root inside, the process still has all capabilities.
        let become_root =
            || !map.has_root() || sys::setgid(0).and_then(|()| sys::setuid(0)).is_ok();
        if hear(line) && become_root() {
            work().err().map_or(0, |errno| errno as i32)
        } else {
            Errno::EPERM as i32
        }
    };
    beside(libc::CLONE_NEWUSER, inside, |pid, line| {
        map.write(pid)?;
        say(line);
        Ok(())
    })
}

/// A user namespace with `map` and nobody in it, for mounts whose owners it is to map.
pub fn user_namespace(map: &IdMap) -> Result<OwnedFd> {
    let inside = |line: &UnixStream| {
        hear(line);
        0
    };
    beside(libc::CLONE_NEWUSER, inside, |pid, _| {
        map.write(pid)?;
        let path = format!("/proc/{pid}/ns/user");
        let namespace = File::open(&path).map_err(|e| Error::of_io("open", path.as_ref(), &e))?;
        Ok(namespace.into())
    })
}

/// The maps of an existing user namespace, as they look from the caller's.
pub fn of_namespace(namespace: &OwnedFd) -> Result<IdMap> {
    let inside = |line: &UnixStream| {
        if let Err(fault) = sys::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) {
            return fault.errno as i32;
        }
        say(line);
        hear(line);
        0
    };
    beside(0, inside, |pid, line| {
        // Where it could not join, its answer tells why.
        hear(line);
        IdMap::of_process(pid)
    })
}

/// The lines of /proc/PID/uid_map.
fn parse(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        Some(Range { inside: fields.next()??, outside: fields.next()??, size: fields.next()?? })
    };
    text.lines().filter_map(range).collect()
}

/// Waits for a word from the other side; false where it is gone.
fn hear(mut line: &UnixStream) -> bool {
    line.read_exact(&mut [0]).is_ok()
}

fn say(mut line: &UnixStream) {
    let _ = line.write_all(b".");
}

/// Makes a process with `flags` (CLONE_NEW*) for a moment: it does `inside` and answers with an errno,
/// the caller meanwhile does `outside`, and the line between them closes when either is done.
///
/// One thread, so the process may allocate; it never runs a container's program.
fn beside<T>(
    flags: i32,
    inside: impl FnOnce(&UnixStream) -> i32,
    outside: impl FnOnce(i32, &UnixStream) -> Result<T>,
) -> Result<T> {
    let failed = |errno: Errno| Error::new("cannot work inside a user namespace").errno(errno);
    let (ours, theirs) = UnixStream::pair().map_err(|e| Error::new(e.to_string()))?;
    let what = "cannot make a user namespace";
    match sys::clone3(flags as u64, None)
        .map_err(|fault| Error::of_fault(what, fault).step(Step::Clone))?
    {
        Forked::Child => {
            drop(ours);
            sys::exit_now(inside(&theirs))
        }
        Forked::Parent { pid, pidfd: _ } => {
            drop(theirs);
            let done = outside(pid, &ours);
            drop(ours);
            match (done, waitpid(Pid::from_raw(pid), None).map_err(failed)?) {
                (done, WaitStatus::Exited(_, 0)) | (done @ Err(_), _) => done,
                (Ok(_), WaitStatus::Exited(_, errno)) => Err(failed(Errno::from_raw(errno))),
                (Ok(_), _) => Err(failed(Errno::EINTR)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_as_the_kernel_writes_them() {
        let text = "         0       1000          1\n         1     100000      65536\n";
        let ranges = parse(text);
        assert_eq!(ranges[1], Range { inside: 1, outside: 100_000, size: 65536 });
        assert_eq!((ranges.len(), parse(&lines(&ranges))), (2, ranges));
        assert!(parse("0 1\n").is_empty());
    }

    #[test]
    fn ids_are_translated_range_by_range() {
        let ranges = [
            Range { inside: 0, outside: 1000, size: 1 },
            Range { inside: 1, outside: 100_000, size: 65536 },
        ];
        assert_eq!(IdMap::outside(&ranges, 0), Some(1000));
        assert_eq!(IdMap::outside(&ranges, 1), Some(100_000));
        assert_eq!(IdMap::outside(&ranges, 65536), Some(165_535));
        assert_eq!(IdMap::outside(&ranges, 65537), None);
        for (inside, outside) in [(0, 1000), (1, 100_000), (65536, 165_535)] {
            assert_eq!(IdMap::inside(&ranges, outside), Some(inside));
        }
        assert_eq!(IdMap::inside(&ranges, 0), None);
    }
}
