//! Which namespaces are new, and which exist and are joined; namespaces(7).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::Uid;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, LinuxTimeOffset, Spec};

use crate::error::{Error, Result};
use crate::idmap::{self, IdMap, Range};
use crate::spec;
use crate::step::Step;
use crate::sys;

/// A namespace that exists and is joined.
#[derive(Debug)]
pub struct Join {
    /// Its kind.
    pub kind: LinuxNamespaceType,
    /// The CLONE_NEW* flag of that kind.
    pub flag: i32,
    /// Where config.json says it is.
    pub path: PathBuf,
    /// The namespace itself.
    pub namespace: OwnedFd,
}

/// The kinds of namespace, with their CLONE_* flags and names.
const KINDS: [(LinuxNamespaceType, i32, &str); 8] = [
    (LinuxNamespaceType::User, libc::CLONE_NEWUSER, "CLONE_NEWUSER"),
    (LinuxNamespaceType::Mount, libc::CLONE_NEWNS, "CLONE_NEWNS"),
    (LinuxNamespaceType::Pid, libc::CLONE_NEWPID, "CLONE_NEWPID"),
    (LinuxNamespaceType::Network, libc::CLONE_NEWNET, "CLONE_NEWNET"),
    (LinuxNamespaceType::Ipc, libc::CLONE_NEWIPC, "CLONE_NEWIPC"),
    (LinuxNamespaceType::Uts, libc::CLONE_NEWUTS, "CLONE_NEWUTS"),
    (LinuxNamespaceType::Cgroup, libc::CLONE_NEWCGROUP, "CLONE_NEWCGROUP"),
    (LinuxNamespaceType::Time, sys::CLONE_NEWTIME, "CLONE_NEWTIME"),
];

/// The CLONE_NEW* names of `flags`.
pub fn clone_names(flags: u64) -> Vec<&'static str> {
    let set = KINDS.iter().filter(|(_, flag, _)| flags & *flag as u64 != 0);
    set.map(|(.., name)| *name).collect()
}

/// CLONE_NEW* of clone3(2), of those that `spec` wants new.
pub fn clone_flags(spec: &Spec) -> u64 {
    // Two come later: see init.rs.
    let later = [LinuxNamespaceType::Cgroup, LinuxNamespaceType::Time];
    let of_clone = KINDS.iter().filter(|(kind, ..)| !later.contains(kind));
    let new = of_clone.filter(|(kind, ..)| spec::has_new_namespace(spec, *kind));
    new.fold(0, |all, (_, flag, _)| all | *flag as u64)
}

/// Opens the namespaces that are to be joined, and checks that they are what they are said to be.
pub fn joins(linux: &Linux) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    for namespace in linux.namespaces().iter().flatten() {
        let (Some(path), kind) = (namespace.path(), namespace.typ()) else { continue };
        let Some((_, flag, _)) = KINDS.iter().find(|row| row.0 == kind) else { continue };
        let failed = |call: &str, errno: Errno| {
            Error::new(format!("cannot join the {kind} namespace {}", path.display()))
                .step(Step::Join)
                .call(call)
                .errno(errno)
        };
        let file = std::fs::File::open(path)
            .map_err(|e| failed("open", Errno::from_raw(e.raw_os_error().unwrap_or(0))))?;
        match sys::namespace_kind(file.as_raw_fd()) {
            Ok(real) if real == *flag => {}
            Ok(real) => {
                let real = KINDS.iter().find(|row| row.1 == real);
                let real = real.map_or_else(|| String::from("new"), |row| row.0.to_string());
                return Err(Error::new(format!(
                    "{} is a {real} namespace, and not a {kind} namespace",
                    path.display()
                ))
                .step(Step::Join));
            }
            Err(fault) => return Err(failed(fault.call, fault.errno)),
        }
        joins.push(Join { kind, flag: *flag, path: path.clone(), namespace: file.into() });
    }
    // A plain user has no power over any of them before he is in their user namespace; root might lose
    // his over the others when he enters it.
    let is_user = |join: &Join| join.kind == LinuxNamespaceType::User;
    joins.sort_by_key(|join| is_user(join) == Uid::effective().is_root());
    Ok(joins)
}

/// CLONE_NEW* of the namespaces in which process `pid` differs from the caller.
pub fn foreign(pid: i32) -> Result<i32> {
    let mut namespaces = 0;
    for (kind, flag, _) in KINDS {
        let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
        // A kind that this kernel does not have is no other.
        let Ok(own) = link("self") else { continue };
        let theirs = link(&pid.to_string()).map_err(|error| {
            Error::of_io("read", format!("/proc/{pid}/ns/{kind}").as_ref(), &error).step(Step::Join)
        })?;
        if own != theirs {
            namespaces |= flag;
        }
    }
    Ok(namespaces)
}

/// The maps of the user namespace: a joined one has its own.
pub fn id_map(linux: &Linux, joins: &[Join], is_new: bool) -> Result<Option<IdMap>> {
    if let Some(join) = joins.iter().find(|join| join.kind == LinuxNamespaceType::User) {
        let what = format!("cannot join the user namespace {}", join.path.display());
        let maps = idmap::of_namespace(&join.namespace);
        return maps.map(Some).map_err(|e| Error { what, step: Some(Step::Join), ..e });
    }
    Ok(is_new.then(|| IdMap {
        uids: ranges(linux.uid_mappings().as_deref()),
        gids: ranges(linux.gid_mappings().as_deref()),
    }))
}

fn ranges(mappings: Option<&[LinuxIdMapping]>) -> Vec<Range> {
    mappings.unwrap_or_default().iter().map(Range::of_spec).collect()
}

/// Lines of /proc/PID/timens_offsets, time_namespaces(7).
pub fn time_offsets(linux: &Linux) -> Vec<u8> {
    let offsets = linux.time_offsets().iter().flatten();
    let line = |(clock, offset): (&String, &LinuxTimeOffset)| {
        format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
    };
    let mut lines: Vec<String> = offsets.map(line).collect();
    lines.sort();
    lines.concat().into_bytes()
}
