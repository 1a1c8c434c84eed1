//! What a control group has used, cgroups(7), version 1 and 2: the files below its folders.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use serde::Serialize;

use crate::process::read;
use crate::sys::Instruction;
use crate::{Result, Seen, sys};

/// What the processes of a control group have used together, those that have ended included. Of version 1 and
/// 2 alike; each controller may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time, in nanoseconds: cpuacct.usage; usage_usec of cpu.stat.
    pub cpu: Seen<u64>,
    /// RAM, in bytes, files that are kept in it included: memory.usage_in_bytes; memory.current.
    pub memory: Seen<u64>,
    /// Of it: files that nobody has used lately, which the kernel may drop at any time.
    pub inactive_file: Seen<u64>,
    /// How much RAM it may have, in bytes; absent: as much as there is.
    pub memory_limit: Seen<u64>,
    /// Processes and threads: pids.current.
    pub pids: Seen<u64>,
    /// How many it may have; absent: as many as the host.
    pub pids_limit: Seen<u64>,
    /// Bytes read from block devices.
    pub read: Seen<u64>,
    /// Bytes written to block devices.
    pub written: Seen<u64>,
    /// How long its processes have waited for something, PSI: version 2 only.
    pub pressure: Pressures,
}

/// What may be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pressures {
    /// A CPU that is free.
    pub cpu: Seen<Pressure>,
    /// Memory that must be freed first.
    pub memory: Seen<Pressure>,
    /// Disks.
    pub io: Seen<Pressure>,
}

/// Time in which at least one process waited, in hundredths of a percent: the line `some` of cpu.pressure,
/// Documentation/accounting/psi.rst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Of the last ten seconds.
    pub avg10: u64,
    /// Of the last minute.
    pub avg60: u64,
    /// Of the last five minutes.
    pub avg300: u64,
}

/// What decides about devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeviceRules {
    /// Version 1, lines of devices.list: `a *:* rwm` is all.
    List(String),
    /// Version 2: programs that must all agree.
    Programs(Vec<Vec<Instruction>>),
}

/// The folders of a control group: of each controller of version 1, and "" of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders(BTreeMap<String, PathBuf>);

/// Those of this process.
pub fn folders(process: &Process) -> Result<Folders> {
    let Seen::Known(groups) = read(process, "cgroup")? else {
        return Ok(Folders(BTreeMap::new()));
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(Folders(join(&groups, &mounts)))
}

/// Where each hierarchy of /proc/PID/cgroup is mounted, proc_pid_mountinfo(5).
fn join(groups: &str, mounts: &str) -> BTreeMap<String, PathBuf> {
    // Controllers; the part of the hierarchy that is mounted; where.
    let mounts: Vec<(Vec<&str>, &str, &str)> = mounts
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, place) = (left.next()?, left.next()?);
            let right: Vec<&str> = right.split(' ').collect();
            let names = match *right.first()? {
                "cgroup" => right.get(2)?.split(',').collect(),
                "cgroup2" => vec![""],
                _ => return None,
            };
            Some((names, root, place))
        })
        .collect();
    let mut all = BTreeMap::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        // Beside version 1 nobody need have moved it out of version 2's top, which counts the whole host.
        if controllers.is_empty() && path == "/" && !all.is_empty() {
            continue;
        }
        for name in controllers.split(',') {
            let mount = mounts.iter().find(|(names, _, _)| names.contains(&name));
            let Some((_, root, place)) = mount else { continue };
            // A path above what is mounted here cannot be reached.
            let below = Path::new(path).strip_prefix(root);
            if let Some(below) = below.ok().filter(|_| !path.contains("/..")) {
                all.insert(name.to_owned(), Path::new(place).join(below));
            }
        }
    }
    all
}

impl Folders {
    /// A file: `v1` of this controller where it is mounted so, else `v2`.
    fn file(&self, controller: &str, v1: &str, v2: &str) -> Seen<String> {
        let path = match (self.0.get(controller), self.0.get("")) {
            (Some(folder), _) if !v1.is_empty() => folder.join(v1),
            (_, Some(folder)) => folder.join(v2),
            _ => return Seen::Absent,
        };
        match fs::read_to_string(path) {
            Ok(text) => Seen::Known(text),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Seen::Denied,
            Err(_) => Seen::Absent,
        }
    }

    fn number(&self, controller: &str, v1: &str, v2: &str) -> Seen<u64> {
        self.file(controller, v1, v2).filter_map(|text| text.trim().parse().ok())
    }

    /// `key value` in a file of such lines.
    fn entry(&self, controller: &str, v1: (&str, &str), v2: (&str, &str)) -> Seen<u64> {
        let key = if self.0.contains_key(controller) { v1.1 } else { v2.1 };
        self.file(controller, v1.0, v2.0).filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
        })
    }

    /// Bytes of all devices together: `8:0 Read 4096`, or `8:0 rbytes=4096 …`.
    fn bytes(&self, v1: &str, v2: &str) -> Seen<u64> {
        let file = self.file("blkio", "blkio.throttle.io_service_bytes_recursive", "io.stat");
        let of_line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = match words.as_slice() {
                [_, kind, number] if *kind == v1 => number,
                words => words.iter().find_map(|word| word.strip_prefix(v2)?.strip_prefix('='))?,
            };
            number.parse::<u64>().ok()
        };
        file.map(|text| text.lines().filter_map(of_line).sum())
    }

    fn pressure(&self, what: &str) -> Seen<Pressure> {
        self.file("", "", &format!("{what}.pressure")).filter_map(|text| some(&text))
    }

    /// Is there a limit to its processes, and to its memory, here or further up?
    pub(crate) fn has_limits(&self) -> (bool, bool) {
        let has = |controller: &str, v1: &str, v2: &str| {
            let (folder, file) = match (self.0.get(controller), self.0.get("")) {
                (Some(folder), _) => (folder, v1),
                (_, Some(folder)) => (folder, v2),
                _ => return false,
            };
            folder.ancestors().any(|folder| {
                let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
                // Version 1 has no word for "max" of memory.
                text.trim().parse::<u64>().is_ok_and(|limit| limit < i64::MAX as u64 / 2)
            })
        };
        (has("pids", "pids.max", "pids.max"), has("memory", "memory.limit_in_bytes", "memory.max"))
    }

    /// Which devices its rules let it use.
    pub(crate) fn device_rules(&self) -> Seen<DeviceRules> {
        match (self.file("devices", "devices.list", ""), self.0.get("")) {
            (Seen::Known(list), _) if self.0.contains_key("devices") => {
                Seen::Known(DeviceRules::List(list))
            }
            (Seen::Denied, _) => Seen::Denied,
            (_, Some(folder)) => sys::device_programs(folder).map(DeviceRules::Programs),
            _ => Seen::Absent,
        }
    }

    /// What it has used.
    pub fn usage(&self) -> Usage {
        let cpu = match self.number("cpuacct", "cpuacct.usage", "") {
            Seen::Absent => {
                let micros = self.entry("", ("cpu.stat", "usage_usec"), ("cpu.stat", "usage_usec"));
                micros.map(|micros| micros * 1000)
            }
            v1 => v1,
        };
        Usage {
            cpu,
            memory: self.number("memory", "memory.usage_in_bytes", "memory.current"),
            inactive_file: self.entry(
                "memory",
                ("memory.stat", "total_inactive_file"),
                ("memory.stat", "inactive_file"),
            ),
            memory_limit: self
                .number("memory", "memory.limit_in_bytes", "memory.max")
                // Version 1 has no word for "max".
                .filter_map(|bytes| Some(bytes).filter(|bytes| *bytes < i64::MAX as u64 / 2)),
            pids: self.number("pids", "pids.current", "pids.current"),
            pids_limit: self.number("pids", "pids.max", "pids.max"),
            read: self.bytes("Read", "rbytes"),
            written: self.bytes("Write", "wbytes"),
            pressure: Pressures {
                cpu: self.pressure("cpu"),
                memory: self.pressure("memory"),
                io: self.pressure("io"),
            },
        }
    }
}

/// The line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn some(text: &str) -> Option<Pressure> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = |key: &str| {
        let (whole, hundredths) = line
            .split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?
            .split_once('.')?;
        Some(whole.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?)
    };
    Some(Pressure { avg10: value("avg10")?, avg60: value("avg60")?, avg300: value("avg300")? })
}

/// What this process alone has used, for whoever has no control group of his own: its CPU time and what it
/// read and wrote; its part of the RAM that it shares with others; its threads.
pub fn of_process(process: &Process) -> Result<Usage> {
    let stat = crate::seen::must(process.pid(), "stat", process.stat())?;
    let pss = read(process, "smaps_rollup")?.filter_map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    });
    let io = read(process, "io")?;
    let number = |key: &str| {
        io.clone().filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        })
    };
    let ticks = stat.utime + stat.stime;
    Ok(Usage {
        cpu: Seen::Known(ticks * (1_000_000_000 / procfs::ticks_per_second())),
        memory: pss,
        inactive_file: Seen::Absent,
        memory_limit: Seen::Absent,
        pids: Seen::Known(stat.num_threads.max(0) as u64),
        pids_limit: Seen::Absent,
        read: number("read_bytes:"),
        written: number("write_bytes:"),
        pressure: Pressures { cpu: Seen::Absent, memory: Seen::Absent, io: Seen::Absent },
    })
}

impl Usage {
    /// Both together; what is known of one of them counts.
    #[must_use]
    pub fn plus(self, other: Usage) -> Usage {
        let add = |one: Seen<u64>, two: Seen<u64>| match (one, two) {
            (Seen::Known(one), Seen::Known(two)) => Seen::Known(one + two),
            (Seen::Known(one), _) | (_, Seen::Known(one)) => Seen::Known(one),
            (one, _) => one,
        };
        Usage {
            cpu: add(self.cpu, other.cpu),
            memory: add(self.memory, other.memory),
            pids: add(self.pids, other.pids),
            read: add(self.read, other.read),
            written: add(self.written, other.written),
            ..self
        }
    }
}

/// CPU time of the whole host since it started, in nanoseconds, idle time included: /proc/stat.
pub fn host_cpu() -> Seen<u64> {
    let Ok(text) = fs::read_to_string("/proc/stat") else { return Seen::Denied };
    // As docker counts them: of the ten, what was stolen and what guests used is left out.
    let ticks = text.lines().next().map(|line| {
        let numbers = line.split_whitespace().skip(1).take(7);
        numbers.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>()
    });
    let ticks = ticks.unwrap_or(0);
    Seen::Known(ticks * (1_000_000_000 / procfs::ticks_per_second()))
}

/// CPUs that run.
pub fn host_cpus() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let is_one = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    text.lines().filter(is_one).count().max(1) as u64
}

/// RAM of the host, in bytes.
pub fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Bytes that have come in and gone out over all interfaces but `lo` of the process's network.
pub fn network(process: &Process) -> Result<Seen<(u64, u64)>> {
    Ok(read(process, "net/dev")?.map(|text| {
        let (mut received, mut sent) = (0, 0);
        for line in text.lines() {
            let Some((name, numbers)) = line.split_once(':') else { continue };
            let numbers: Vec<u64> =
                numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            if let (false, [bytes_in, .., bytes_out, _, _, _, _, _, _, _]) =
                (name.trim() == "lo", numbers.as_slice())
            {
                received += bytes_in;
                sent += bytes_out;
            }
        }
        (received, sent)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_has_its_folder() {
        let mounts = "\
1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpuacct,cpu
2 0 0:2 /docker /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
3 0 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
4 0 0:4 / / rw - ext4 /dev/sda rw
";
        let all = join("3:cpu,cpuacct:/a/b\n2:memory:/docker/x\n1:pids:/a\n0::/c:d\n", mounts);
        let path = |name: &str| all.get(name).and_then(|path| path.to_str());
        assert_eq!(path("cpuacct"), Some("/sys/fs/cgroup/cpu/a/b"));
        assert_eq!(path("memory"), Some("/sys/fs/cgroup/memory/x"));
        assert_eq!((path("pids"), path("")), (None, Some("/sys/fs/cgroup/unified/c:d")));
        assert_eq!(join("2:memory:/docker/x\n0::/\n", mounts).len(), 1);
        assert_eq!(join("0::/../x", mounts), BTreeMap::new());
    }

    #[test]
    fn pressure_is_exact() {
        let text = "some avg10=1.05 avg60=96.91 avg300=0.00 total=97\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0";
        assert_eq!(some(text), Some(Pressure { avg10: 105, avg60: 9691, avg300: 0 }));
        assert_eq!(some(""), None);
    }

    /// A group of version 2, as files.
    #[test]
    fn version_2_has_the_same_in_other_files() {
        let folder = std::env::temp_dir().join(format!("minibox-lens-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 12\nuser_usec 5\n"),
            ("memory.current", "4096\n"),
            ("memory.stat", "anon 1\ninactive_file 1024\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            ("pids.max", "20\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let usage = Folders([(String::new(), folder.clone())].into()).usage();
        fs::remove_dir_all(folder).unwrap();
        assert_eq!((usage.cpu, usage.memory), (Seen::Known(12_000), Seen::Known(4096)));
        assert_eq!((usage.inactive_file, usage.memory_limit), (Seen::Known(1024), Seen::Absent));
        assert_eq!((usage.pids, usage.pids_limit), (Seen::Known(3), Seen::Known(20)));
        assert_eq!((usage.read, usage.written), (Seen::Known(11), Seen::Known(22)));
    }
}
