//! User namespaces: which ids inside stand for which outside, user_namespaces(7).

use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::step::Step;
use crate::sys::{self, Forked};

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

/// The first subordinate range of the caller in `file` (/etc/subuid or /etc/subgid, subuid(5)).
fn subordinate(file: &str, name: Option<&str>, uid: u32) -> Option<Range> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner != uid.to_string() {
            return None;
        }
        let (outside, size) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (size > 0).then_some(Range { inside: 1, outside, size })
    })
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
        let name = caller_name(uid.as_raw());
        let uids = subordinate("/etc/subuid", name.as_deref(), uid.as_raw());
        let gids = subordinate("/etc/subgid", name.as_deref(), uid.as_raw());
        let why = match (uids, gids) {
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

    /// Only one id is mapped, so that changing groups is not allowed inside.
    pub fn is_single(&self) -> bool {
        self.uids.iter().map(|r| r.size).sum::<u32>() == 1
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
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().map_err(|e| Error::new(e.to_string()))?;
    let failed = |errno: Errno| Error::new("cannot work inside a user namespace").errno(errno);
    let what = "cannot make a user namespace";
    match sys::clone3(libc::CLONE_NEWUSER as u64, None)
        .map_err(|fault| Error::of_fault(what, fault).step(Step::Clone))?
    {
        Forked::Child => {
            use std::io::Read;
            drop(ours);
            // One thread, so malloc is usable here; this child never runs a container's program.
            let released = (&theirs).read_exact(&mut [0]).is_ok();
            let done = released && sys::setgid(0).and_then(|()| sys::setuid(0)).is_ok();
            let errno = if done {
                work().err().map_or(0, |errno| errno as i32)
            } else {
                Errno::EPERM as i32
            };
            sys::exit_now(errno)
        }
        Forked::Parent { pid, pidfd: _ } => {
            use std::io::Write;
            drop(theirs);
            let mapped = map.write(pid);
            if mapped.is_ok() {
                let _ = (&ours).write_all(b".");
            }
            drop(ours);
            let status =
                nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).map_err(failed)?;
            mapped?;
            match status {
                nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
                nix::sys::wait::WaitStatus::Exited(_, errno) => Err(failed(Errno::from_raw(errno))),
                _ => Err(failed(Errno::EINTR)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
