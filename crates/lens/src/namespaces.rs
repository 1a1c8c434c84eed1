//! The namespaces of a process, namespaces(7): which, with whom, and what there is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use procfs::process::Process;
use serde::Serialize;

use crate::guide::text;
use crate::parallel;
use crate::processes::{self, inode, numbers};
use crate::seen::{must, seen};
use crate::tree::{Known, containers};
use crate::{Error, Result, Seen, sys};

/// What separates system resources when a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Cgroup,
    Ipc,
    Mnt,
    Net,
    Pid,
    Time,
    User,
    Uts,
}

impl Kind {
    /// All that Linux has.
    pub const ALL: [Kind; 8] = [
        Kind::Cgroup,
        Kind::Ipc,
        Kind::Mnt,
        Kind::Net,
        Kind::Pid,
        Kind::Time,
        Kind::User,
        Kind::Uts,
    ];

    /// As /proc/PID/ns has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cgroup => "cgroup",
            Kind::Ipc => "ipc",
            Kind::Mnt => "mnt",
            Kind::Net => "net",
            Kind::Pid => "pid",
            Kind::Time => "time",
            Kind::User => "user",
            Kind::Uts => "uts",
        }
    }
}

/// One of the eight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Which.
    pub kind: Kind,
    /// Two processes are in the same one if this number is the same.
    pub inode: Seen<u64>,
    /// The host's: that of PID 1, or the caller's where PID 1's may not be read.
    pub hosts: Seen<u64>,
    /// How many processes are seen to live in it, this one included.
    pub processes: usize,
    /// The containers among them.
    pub containers: Vec<String>,
    /// How many of them belong to no container.
    pub outside_containers: usize,
    /// How many processes there are of which the caller may not know where they live.
    pub hidden: usize,
}

impl Namespace {
    /// It is not the host's.
    pub fn is_own(&self) -> Option<bool> {
        Some(self.inode.known()? != self.hosts.known()?)
    }
}

/// What there is in the namespaces of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Where it is in the hierarchy that tells most, cgroups(7): as the caller sees it.
    pub cgroup: Seen<String>,
    /// The same as it sees it itself.
    pub cgroup_inside: Seen<String>,
    /// What there is of System V's IPC, sysvipc(7).
    pub ipc: Seen<Ipc>,
    /// How many mounts it sees.
    pub mounts: Seen<usize>,
    /// The filesystem that is its `/`.
    pub root: Seen<Root>,
    /// Its network interfaces.
    pub interfaces: Seen<Vec<Interface>>,
    /// The first process of its pid namespace.
    pub first: Seen<First>,
    /// By how many seconds its clocks since boot differ from the machine's, time_namespaces(7).
    pub offsets: Seen<Offsets>,
    /// Which users it has, user_namespaces(7).
    pub uid_map: Seen<Vec<Range>>,
    /// Which groups.
    pub gid_map: Seen<Vec<Range>>,
    /// What it calls the machine, uname(2).
    pub hostname: Seen<String>,
    /// And its NIS domain.
    pub domain: Seen<String>,
}

/// Objects of sysvipc(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ipc {
    /// Segments of shared memory.
    pub shared_memory: usize,
    /// Sets of semaphores.
    pub semaphores: usize,
    /// Message queues.
    pub queues: usize,
}

/// The mount on `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Kind of filesystem.
    pub filesystem: String,
    /// What is mounted.
    pub source: String,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What it is reached by.
    pub addresses: Vec<String>,
}

/// The first process of a pid namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct First {
    /// Its number here.
    pub pid: i32,
    /// The file name of its program.
    pub name: String,
    /// What it was started with.
    pub arguments: Vec<String>,
}

/// In seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offsets {
    /// Of CLOCK_MONOTONIC.
    pub monotonic: i64,
    /// Of CLOCK_BOOTTIME, which uptime(1) shows.
    pub boottime: i64,
}

/// A line of /proc/PID/uid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first id inside.
    pub inside: u32,
    /// The id that it is to the caller.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

/// Where a process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Namespaces {
    /// In the order of the alphabet.
    pub namespaces: Vec<Namespace>,
    /// What there is in them.
    pub facts: Facts,
    /// What there is in the caller's own.
    pub host: Facts,
}

/// Of this process, as it is now.
pub fn of(process: &Process, known: &[Known]) -> Result<Namespaces> {
    let pid = process.pid();
    if must(pid, "status", process.status())?.state.starts_with('Z') {
        let what = format!("process {pid} has ended, and a zombie is in hardly any namespace");
        return Err(Error::Unreadable(what));
    }
    let all = processes::all_in_short();
    let names = containers(&all, known);
    let links = parallel::each(&all, |entry| {
        Kind::ALL.map(|kind| match (kind, &entry.mount_namespace) {
            (Kind::Mnt, known @ (Seen::Known(_) | Seen::Denied)) => known.clone(),
            _ => inode(entry.pid, kind.name()),
        })
    });
    let of_kind = |(number, kind)| {
        let links = links.iter().map(|links: &[Seen<u64>; 8]| &links[number]);
        namespace(pid, kind, all.iter().map(|entry| names.get(&entry.pid)).zip(links))
    };
    let namespaces = Kind::ALL.into_iter().enumerate().map(of_kind).collect();
    let myself = must(std::process::id() as i32, "/proc", Process::new(std::process::id() as i32))?;
    let found = Namespaces { namespaces, facts: facts(process), host: facts(&myself) };
    // What was read by number counts only where the number is still the held process's.
    must(pid, "status", process.status())?;
    Ok(found)
}

/// `others` are all processes, each with the container it belongs to and the namespace it is in.
fn namespace<'a>(
    pid: i32,
    kind: Kind,
    others: impl Iterator<Item = (Option<&'a String>, &'a Seen<u64>)>,
) -> Namespace {
    let theirs = inode(pid, kind.name());
    let hosts = processes::hosts(kind.name());
    let (mut containers, mut processes, mut outside_containers, mut hidden) =
        (BTreeSet::new(), 0, 0, 0);
    for (container, link) in others {
        match link {
            Seen::Denied => hidden += 1,
            Seen::Known(_) if *link == theirs => {
                processes += 1;
                match container {
                    Some(name) => drop(containers.insert(name.clone())),
                    None => outside_containers += 1,
                }
            }
            _ => {}
        }
    }
    let containers = containers.into_iter().collect();
    Namespace { kind, inode: theirs, hosts, processes, containers, outside_containers, hidden }
}

/// What there is in the namespaces of a process.
fn facts(process: &Process) -> Facts {
    let file = |name: &str| text(process, name);
    let mounts = seen(process.mountinfo());
    let root = mounts.and_then(|mounts| {
        // The last one lies on top.
        let root = mounts.iter().rfind(|mount| mount.mount_point.as_os_str() == "/");
        root.map_or(Seen::Absent, |root| {
            let source = root.mount_source.clone().unwrap_or_default();
            Seen::Known(Root { filesystem: root.fs_type.clone(), source })
        })
    });
    let inside = inside(process);
    let cgroups = file("cgroup").map(|text| cgroups(&text));
    let place = cgroups.and_then(|all| {
        let most = all.iter().max_by_key(|(_, path)| path.len());
        most.map_or(Seen::Absent, |(name, path)| Seen::Known((name.clone(), path.clone())))
    });
    let cgroup_inside = place.and_then(|(name, _)| {
        inside.cgroups.and_then(|all| all.get(name).cloned().map_or(Seen::Absent, Seen::Known))
    });
    Facts {
        cgroup: place.map(|(_, path)| path),
        cgroup_inside,
        ipc: inside.ipc,
        mounts: mounts.map(|mounts| mounts.0.len()),
        root,
        interfaces: interfaces(&file),
        first: first(process),
        offsets: file("timens_offsets").map(|text| offsets(&text)),
        uid_map: file("uid_map").map(|text| ranges(&text)),
        gid_map: file("gid_map").map(|text| ranges(&text)),
        hostname: inside.hostname,
        domain: inside.domain,
    }
}

/// What can only be told from inside.
struct Inside {
    hostname: Seen<String>,
    domain: Seen<String>,
    ipc: Seen<Ipc>,
    cgroups: Seen<BTreeMap<String, String>>,
}

/// Asks a process of our own that goes there. Root may at once; a plain user has to enter a container's user
/// namespace first, which may cost root what belongs to another one: so it comes after the first attempt.
fn inside(process: &Process) -> Inside {
    const KINDS: [&str; 7] = ["uts", "ipc", "cgroup", "user", "uts", "ipc", "cgroup"];
    let pid = process.pid();
    let own = std::process::id() as i32;
    let open = |kind: &&str| File::open(format!("/proc/{pid}/ns/{kind}"));
    let denied = || Inside {
        hostname: Seen::Denied,
        domain: Seen::Denied,
        ipc: Seen::Denied,
        cgroups: Seen::Denied,
    };
    let Ok(files) = KINDS.iter().map(open).collect::<std::io::Result<Vec<File>>>() else {
        return denied();
    };
    // Where one is already needs no leave.
    let shared = |kind: &str| inode(pid, kind) == inode(own, kind);
    let shared = [shared("uts"), shared("ipc"), shared("cgroup")];
    let paths = ["/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"];
    let paths = paths.map(|path| CString::new(path).unwrap_or_default());
    let cgroup = CString::new(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let answer = sys::from_inside(&files, |entered, mut to| {
        let entered = [0, 1, 2].map(|at| shared[at] || entered & (0b1_0001 << at) != 0);
        let _ = to.write_all(&entered.map(u8::from));
        let mut lines = [0_u32; 3];
        for (path, lines) in paths.iter().zip(&mut lines) {
            copy(path, |bytes| {
                *lines += bytes.split(|byte| *byte == b'\n').count() as u32 - 1;
            });
        }
        for count in lines {
            let _ = to.write_all(&count.to_ne_bytes());
        }
        let mut name = [0_u8; 65 * 2];
        if let Ok(uname) = nix::sys::utsname::uname() {
            let names = [uname.nodename(), uname.domainname()];
            for (at, text) in names.into_iter().enumerate() {
                let bytes = text.as_encoded_bytes();
                let length = bytes.len().min(65);
                name[at * 65..at * 65 + length].copy_from_slice(&bytes[..length]);
            }
        }
        let _ = to.write_all(&name);
        copy(&cgroup, |bytes| drop(to.write_all(bytes)));
    });
    let Some(answer) = answer.filter(|answer| answer.len() >= 3 + 12 + 130) else {
        return denied();
    };
    let if_entered = |at: usize| if answer[at] == 1 { Seen::Known(()) } else { Seen::Denied };
    let line = |at: usize| {
        let bytes = answer[3 + at * 4..][..4].try_into().unwrap_or_default();
        (u32::from_ne_bytes(bytes) as usize).saturating_sub(1)
    };
    let name = |at: usize| {
        let bytes = &answer[15 + at * 65..][..65];
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(65);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    Inside {
        hostname: if_entered(0).map(|()| name(0)),
        domain: if_entered(0).map(|()| name(1)),
        ipc: if_entered(1).map(|()| Ipc {
            shared_memory: line(0),
            semaphores: line(1),
            queues: line(2),
        }),
        cgroups: if_entered(2).map(|()| cgroups(&String::from_utf8_lossy(&answer[145..]))),
    }
}

/// Gives the bytes of a file to `take`, piece by piece and without allocating.
fn copy(path: &CString, mut take: impl FnMut(&[u8])) {
    let flags = nix::fcntl::OFlag::O_RDONLY;
    let opened = nix::fcntl::open(path.as_c_str(), flags, nix::sys::stat::Mode::empty());
    let Ok(mut file) = opened.map(File::from) else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = file.read(&mut buffer) {
        take(&buffer[..count]);
    }
}

/// Paths by their hierarchies, cgroups(7).
fn cgroups(text: &str) -> BTreeMap<String, String> {
    let fields = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    text.lines().filter_map(fields).collect()
}

/// The process with number 1 in the pid namespace of `process`.
fn first(process: &Process) -> Seen<First> {
    let Ok(Some(levels)) = process.status().map(|status| status.nspid.map(|pids| pids.len()))
    else {
        return Seen::Absent;
    };
    let theirs = inode(process.pid(), "pid");
    if theirs == Seen::Denied {
        return Seen::Denied;
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_first = |pid: i32| {
        (levels == 1) == (pid == 1)
            && inode(pid, "pid") == theirs
            && std::fs::read_to_string(format!("/proc/{pid}/status"))
                .ok()
                .and_then(|status| numbers(&status))
                .is_some_and(|pids| pids.len() == levels && pids.last() == Some(&1))
    };
    let found = pids.find(|pid| is_first(*pid)).and_then(|pid| Process::new(pid).ok());
    found.map_or(Seen::Absent, |first| {
        let name = first.stat().map(|stat| stat.comm).unwrap_or_default();
        let arguments = first.cmdline().unwrap_or_default();
        Seen::Known(First { pid: first.pid(), name, arguments })
    })
}

fn offsets(text: &str) -> Offsets {
    let of = |clock: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(clock));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Offsets { monotonic: of("monotonic"), boottime: of("boottime") }
}

pub(crate) fn ranges(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        Some(Range { inside: next()?, outside: next()?, count: next()? })
    };
    text.lines().filter_map(range).collect()
}

/// From net/dev, net/fib_trie, net/route and net/if_inet6, which are of the namespace of the process.
fn interfaces(file: &impl Fn(&str) -> Seen<String>) -> Seen<Vec<Interface>> {
    let or_none = |name| file(name).known().cloned().unwrap_or_default();
    file("net/dev").map(|devices| {
        let names = devices.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()));
        let mut all: Vec<Interface> =
            names.map(|name| Interface { name: name.to_owned(), addresses: Vec::new() }).collect();
        let routes = routes(&or_none("net/route"));
        for address in local_addresses(&or_none("net/fib_trie")) {
            let behind = routes.iter().filter(|route| u32::from(address) & route.mask == route.to);
            let route = behind.filter(|route| route.mask != 0).max_by_key(|route| route.mask);
            let name = match route {
                _ if address.is_loopback() => "lo",
                Some(route) => &route.interface,
                None => continue,
            };
            if let Some(interface) = all.iter_mut().find(|interface| interface.name == name) {
                interface.addresses.push(IpAddr::from(address).to_string());
            }
        }
        for line in or_none("net/if_inet6").lines() {
            let mut words = line.split_whitespace();
            let bits = words.next().and_then(|word| u128::from_str_radix(word, 16).ok());
            let (Some(bits), Some(name)) = (bits, words.last()) else { continue };
            if let Some(interface) = all.iter_mut().find(|interface| interface.name == name) {
                interface.addresses.push(Ipv6Addr::from(bits).to_string());
            }
        }
        all
    })
}

/// A line of net/route, of IPv4.
struct Route {
    interface: String,
    to: u32,
    mask: u32,
}

fn routes(text: &str) -> Vec<Route> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // In the byte order of the machine.
        let number = |at: usize| {
            let value = u32::from_str_radix(words.get(at)?, 16).ok()?;
            Some(u32::from_be_bytes(value.to_ne_bytes()))
        };
        Some(Route { interface: (*words.first()?).to_owned(), to: number(1)?, mask: number(7)? })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// The addresses that this machine takes for its own.
fn local_addresses(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut last: Option<Ipv4Addr> = None;
    let mut all = BTreeSet::new();
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.trim() == "/32 host LOCAL" {
            all.extend(last);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_their_interfaces() {
        let file = |name: &str| {
            Seen::Known(String::from(match name {
                "net/dev" => "Inter-|\n face |\n    lo: 0 0\n  eth0: 0 0\ndocker0: 0 0\n",
                "net/route" => {
                    "Iface\tDestination\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                }
                "net/fib_trie" => {
                    "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
                     |-- 192.168.1.7\n        /32 host LOCAL\n     |-- 192.168.1.255\n        /32 link BROADCAST\n"
                }
                _ => "00000000000000000000000000000001 01 80 10 80       lo\n",
            }))
        };
        let found = interfaces(&file);
        let found: Vec<_> = found
            .known()
            .unwrap()
            .iter()
            .map(|i| (i.name.as_str(), i.addresses.join(" ")))
            .collect();
        let want = [("lo", "127.0.0.1 ::1"), ("eth0", "192.168.1.7"), ("docker0", "")];
        assert_eq!(found, want.map(|(name, all)| (name, all.to_owned())));
    }

    #[test]
    fn of_this_process_everything_is_known() {
        let myself = crate::process::open(std::process::id() as i32).unwrap();
        let found = of(&myself, &[]).unwrap();
        assert_eq!(found.facts.hostname, found.host.hostname);
        assert!(found.facts.ipc.known().is_some() && found.facts.hostname.known().is_some());
        let mine = |kind: Kind| found.namespaces.iter().find(|n| n.kind == kind).unwrap();
        assert!(mine(Kind::Pid).processes > 0 && mine(Kind::Uts).inode.known().is_some());
    }
}
