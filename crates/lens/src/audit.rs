//! How well a process is isolated from this host: what is read live, weighed. What an attacker could make of a
//! finding, and what mends it, is for whoever shows it to say.
//!
//! Whoever is audited is taken for hostile. What it says of itself is not asked: all is the kernel's word. Its
//! files are reached below its root alone (openat2(2), RESOLVE_IN_ROOT), never opened, and no walk goes on
//! without end.

mod bpf;
mod calls;
mod descriptors;
mod devices;
mod ebpf;
mod files;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::Read;

use procfs::process::Process;
use serde::Serialize;

use crate::capabilities::{self, Capabilities};
use crate::cgroup::{self, Folders};
use crate::guide::text;
use crate::mounts::{self, Mount};
use crate::namespaces::{self, Kind};
use crate::processes::{hosts, inode};
use crate::seen::{must, seen};
use crate::{Result, Seen};

/// What was found out about one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// 100 less the points of all findings, and not below 0.
    pub score: u32,
    /// The weightiest first.
    pub findings: Vec<Finding>,
    /// What was taken from what the kernel says of it, and could not be tried.
    pub believed: Vec<Id>,
    /// What the caller may not see; it costs no points.
    pub hidden: Vec<Id>,
}

/// A weakness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which.
    pub id: Id,
    /// How much it gives away.
    pub weight: Weight,
    /// What it costs of 100.
    pub points: u32,
    /// Where it was seen: files, fields, names. Some are the audited one's own words.
    pub evidence: Vec<String>,
}

/// How much a weakness gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// A wall less, before others that stand.
    Small,
    /// One error elsewhere is enough.
    Notable,
    /// Next to no wall: the host, or a good part of it, is in reach.
    Serious,
}

impl Weight {
    /// Of 100.
    fn points(self) -> u32 {
        match self {
            Weight::Small => 3,
            Weight::Notable => 8,
            Weight::Serious => 20,
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Id {
    /// Its root, or whatever it can become, is root of the host: user_namespaces(7).
    HostRoot,
    /// Capabilities that command the machine.
    MightyCapabilities,
    /// Others that most programs never need.
    Capabilities,
    /// Programs can give more rights: no_new_privs of prctl(2) is not set.
    NewPrivileges,
    /// No filter looks at its system calls: seccomp(2).
    SeccompOff,
    /// The filter lets calls through that kernel bugs are found behind again and again.
    SeccompGaps,
    /// It sees the host's mounts.
    SharedMounts,
    /// It sees the host's processes.
    SharedProcesses,
    /// It is on the host's network.
    SharedNetwork,
    /// It sees the host's shared memory, semaphores, message queues.
    SharedIpc,
    /// It can rename the host.
    SharedHostname,
    /// It sees the host's cgroups.
    SharedCgroups,
    /// Files of the kernel's, for the whole machine, can be written, or are not hidden.
    KernelFiles,
    /// A container engine listens within its reach.
    EngineSocket,
    /// Folders that the host lives in are mounted in it.
    HostFolders,
    /// Other folders of the host's can be written by its root, who is the host's.
    WritableFolders,
    /// It holds files open that lie outside its root.
    OutsideDescriptors,
    /// As many processes as it likes.
    PidsLimit,
    /// As much RAM as there is.
    MemoryLimit,
    /// Device nodes beyond those that every container has.
    DeviceNodes,
    /// No rule keeps it from devices whose nodes it has or makes.
    DeviceRules,
    /// Environment variables that look like secrets.
    Secrets,
    /// The kernel was built more than a year ago.
    OldKernel,
}

/// The eleven that a container's root needs to be one: docker's without AUDIT_WRITE, MKNOD, NET_RAW.
const USUAL: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const MIGHTY: [&str; 13] = [
    "CAP_BPF",
    "CAP_DAC_READ_SEARCH",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_NET_ADMIN",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
];

/// What all checks look at.
struct Subject<'a> {
    process: &'a Process,
    may: Capabilities,
    /// All that it has or can get: without no_new_privs what bounds it too.
    powers: Vec<String>,
    /// Its user namespace is the host's.
    users_are_hosts: bool,
    /// It is root there, or has some of root's powers.
    is_hosts_root: bool,
    /// What lies on top in its tree of mounts; empty where that is hidden, or the host's own.
    mounts: Vec<Mount>,
    /// Numbers of all mounts that it sees, those below others too.
    mount_ids: HashSet<i32>,
    folders: Folders,
}

impl Subject<'_> {
    fn has(&self, power: &str) -> bool {
        self.powers.iter().any(|known| known == power)
    }
}

impl Audit {
    /// Nothing without evidence is a finding; some of much is enough.
    fn find(&mut self, id: Id, weight: Weight, mut evidence: Vec<String>) {
        evidence.truncate(20);
        if !evidence.is_empty() {
            self.findings.push(Finding { id, weight, points: weight.points(), evidence });
        }
    }

    fn see(&mut self, id: Id, weight: Weight, evidence: Seen<Vec<String>>) {
        match evidence {
            Seen::Known(evidence) => self.find(id, weight, evidence),
            Seen::Denied => self.hidden.push(id),
            Seen::Absent => {}
        }
    }
}

/// Of this process, as it is now. To read its filters the kernel wants it halted, for less than a millisecond.
pub fn of(process: &Process) -> Result<Audit> {
    let tree = mounts::of(process)?;
    let mounts_are_hosts = is_hosts(process, Kind::Mnt);
    let may = capabilities::of(process)?;
    let mut powers = [&may.effective[..], &may.permitted, &may.inheritable].concat();
    if may.no_new_privileges != Seen::Known(true) {
        powers.extend_from_slice(&may.bounding);
    }
    let users_are_hosts = is_hosts(process, Kind::User);
    let users_are_hosts = users_are_hosts.known().copied().unwrap_or_else(|| maps_all(process));
    let is_root = may.uid == 0 || !may.effective.is_empty() || !may.permitted.is_empty();
    let is_hidden = tree.mounts == Seen::Denied;
    let all = tree.mounts.known().into_iter().flatten();
    let mount_ids = all.map(|mount| mount.id).collect();
    let on_top = tree.mounts.known().cloned().unwrap_or_default().into_iter();
    let on_top = on_top.filter(|mount| mount.hidden_by.is_none());
    let subject = Subject {
        process,
        is_hosts_root: users_are_hosts && is_root,
        users_are_hosts,
        powers,
        may,
        mounts: if mounts_are_hosts == Seen::Known(true) { Vec::new() } else { on_top.collect() },
        mount_ids,
        folders: cgroup::folders(process)?,
    };
    let mut audit = Audit { score: 0, findings: Vec::new(), believed: Vec::new(), hidden: vec![] };
    rights(&subject, &mut audit);
    calls::check(&subject, &mut audit);
    shared(process, &mut audit);
    if is_hidden {
        audit.hidden.extend([Id::KernelFiles, Id::EngineSocket, Id::HostFolders]);
    }
    files::check(&subject, &mut audit);
    descriptors::check(&subject, &mut audit);
    limits(&subject.folders, &mut audit);
    devices::check(&subject, &mut audit);
    audit.see(Id::Secrets, Weight::Notable, secrets(process));
    audit.find(Id::OldKernel, Weight::Notable, old_kernel());
    // What was read by number counts only where the number is still the held process's.
    must(process.pid(), "status", process.status())?;
    audit.findings.sort_by_key(|finding| (Reverse(finding.weight), finding.id));
    let points: u32 = audit.findings.iter().map(|finding| finding.points).sum();
    audit.score = 100_u32.saturating_sub(points);
    Ok(audit)
}

/// Is this namespace of its the host's?
fn is_hosts(process: &Process, kind: Kind) -> Seen<bool> {
    let hosts = hosts(kind.name());
    inode(process.pid(), kind.name()).map(|inode| Seen::Known(inode) == hosts)
}

/// Is whoever it names the one that the host names so, as in the host's own user namespace?
fn maps_all(process: &Process) -> bool {
    let all = namespaces::ranges(&text(process, "uid_map").known().cloned().unwrap_or_default());
    all.iter().any(|range| range.inside == range.outside && range.count == u32::MAX)
}

/// Users, capabilities, no_new_privs.
fn rights(subject: &Subject<'_>, audit: &mut Audit) {
    let map = text(subject.process, "uid_map").map(|text| {
        let all = namespaces::ranges(&text);
        let holds_root = all.iter().any(|range| range.outside == 0);
        if holds_root && (subject.is_hosts_root || !subject.users_are_hosts) {
            all.iter().map(|r| format!("uid_map: {} {} {}", r.inside, r.outside, r.count)).collect()
        } else {
            Vec::new()
        }
    });
    audit.see(Id::HostRoot, Weight::Notable, map);
    let among = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let known = subject.may.known.iter();
        known.filter(|name| subject.powers.contains(name) && wanted(name)).cloned().collect()
    };
    let mighty = among(&|name| MIGHTY.contains(&name));
    let weight = if subject.users_are_hosts { Weight::Serious } else { Weight::Notable };
    audit.find(Id::MightyCapabilities, weight, mighty);
    let others = among(&|name| !MIGHTY.contains(&name) && !USUAL.contains(&name));
    audit.find(Id::Capabilities, Weight::Small, others);
    if subject.may.no_new_privileges == Seen::Known(false) {
        let mut evidence = vec![String::from("NoNewPrivs: 0")];
        evidence.extend(files::privileged_programs(subject));
        audit.find(Id::NewPrivileges, Weight::Notable, evidence);
    }
}

/// Namespaces that are the host's.
fn shared(process: &Process, audit: &mut Audit) {
    for (kind, id, weight) in [
        (Kind::Mnt, Id::SharedMounts, Weight::Serious),
        (Kind::Pid, Id::SharedProcesses, Weight::Serious),
        (Kind::Net, Id::SharedNetwork, Weight::Notable),
        (Kind::Ipc, Id::SharedIpc, Weight::Notable),
        (Kind::Uts, Id::SharedHostname, Weight::Small),
        (Kind::Cgroup, Id::SharedCgroups, Weight::Small),
    ] {
        let name = kind.name();
        let evidence = is_hosts(process, kind).map(|is_hosts| {
            let inode = inode(process.pid(), name).known().copied().unwrap_or(0);
            if is_hosts { vec![format!("{name}:[{inode}]")] } else { Vec::new() }
        });
        audit.see(id, weight, evidence);
    }
}

fn limits(folders: &Folders, audit: &mut Audit) {
    let (pids, memory) = folders.has_limits();
    let lacking = |has: bool, name: &str| if has { vec![] } else { vec![format!("{name}: max")] };
    audit.find(Id::PidsLimit, Weight::Notable, lacking(pids, "pids.max"));
    audit.find(Id::MemoryLimit, Weight::Small, lacking(memory, "memory.max"));
}

/// Names of environment variables that look like secrets, and never their values.
fn secrets(process: &Process) -> Seen<Vec<String>> {
    const WORDS: [&str; 8] = [
        "APIKEY",
        "CREDENTIAL",
        "CREDENTIALS",
        "PASSPHRASE",
        "PASSWD",
        "PASSWORD",
        "SECRET",
        "TOKEN",
    ];
    const PAIRS: [&str; 3] = ["ACCESS_KEY", "API_KEY", "PRIVATE_KEY"];
    let is_secret = |name: &str| {
        let upper = name.to_ascii_uppercase();
        // PGPASSWORD, but not TOKENIZERS; and not where a secret lies.
        let has_word =
            || upper.split('_').any(|part| WORDS.iter().any(|word| part.ends_with(word)));
        !upper.ends_with("_FILE") && (PAIRS.iter().any(|pair| upper.contains(pair)) || has_word())
    };
    // It may say that its environment is as long as it likes.
    let mut bytes = Vec::new();
    let read = process.open_relative("environ");
    let read = read.and_then(|file| Ok(file.take(1 << 20).read_to_end(&mut bytes)?));
    seen(read).map(|_| {
        let text = String::from_utf8_lossy(&bytes);
        let names = text.split('\0').filter_map(|entry| entry.split_once('='));
        let names = names.filter(|(name, value)| !value.is_empty() && is_secret(name));
        names.map(|(name, _)| name.to_owned()).collect()
    })
}

/// When this kernel was built, where that is more than a year ago: `#1 SMP Tue Oct 14 12:00:00 UTC 2025`, or
/// Debian's `(2025-10-14)`.
fn old_kernel() -> Vec<String> {
    let version = std::fs::read_to_string("/proc/version").unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let days_now = now.map_or(0, |now| now.as_secs() / 86400);
    let is_old = built(&version).is_some_and(|days| days + 365 < days_now);
    if is_old { vec![version.trim().to_owned()] } else { Vec::new() }
}

/// Days from 1970 to a date in the text, leap days by and by: a year is what is meant.
fn built(version: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = |year: u64, month: u64, day: u64| {
        let whole = (1971..3000).contains(&year).then(|| (year - 1970) * 1461 / 4)?;
        Some(whole + (month.clamp(1, 12) - 1) * 30 + day)
    };
    let words: Vec<&str> = version.split_whitespace().collect();
    let iso = words.iter().rev().find_map(|word| {
        let mut parts = word.trim_matches(['(', ')']).split('-').map(str::parse::<u64>);
        let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        days(year, month, day)
    });
    let long = || {
        let at = words.iter().rposition(|word| MONTHS.contains(word))?;
        let month = MONTHS.iter().position(|month| *month == words[at])? as u64 + 1;
        days(words.last()?.parse().ok()?, month, words.get(at + 1)?.parse().ok()?)
    };
    iso.or_else(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_kernels_are_read() {
        let debian =
            "Linux version 6.1.0-13-amd64 (x) #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)";
        let long = "Linux version 6.1.0 (x) #1 SMP Fri Sep 29 12:00:00 UTC 2023";
        assert_eq!(built(debian), built(long));
        assert_eq!(built(debian).unwrap() / 366, 53);
        assert_eq!(built("Linux version 6.18.44 #1 SMP PREEMPT_DYNAMIC @0"), None);
    }

    #[test]
    fn this_process_is_audited() {
        let audit = of(&Process::myself().unwrap()).unwrap();
        let points: u32 = audit.findings.iter().map(|finding| finding.points).sum();
        assert_eq!(audit.score, 100_u32.saturating_sub(points));
        assert!(audit.findings.iter().any(|finding| finding.id == Id::SharedMounts));
    }
}
