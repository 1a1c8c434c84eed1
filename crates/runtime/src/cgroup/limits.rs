//! How much a container may use: memory, CPU time, processes, I/O. Kernel documentation,
//! admin-guide/cgroup-v1 and cgroup-v2.
//!
//! config.json speaks the language of version 1; version 2 counts some things otherwise and weighs on
//! other scales, and the translations stand here.

use nix::errno::Errno;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::folders::Cgroup;
use crate::error::{Error, Result};

impl Cgroup {
    /// Writes the limits that `resources` names, and leaves the others as they are: for a new cgroup and
    /// for one in use. Units are bytes, microseconds and processes; -1 is no limit.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(pids) = resources.pids() {
            self.write("pids", "pids.max", &number(pids.limit()))?;
        }
        if let Some(memory) = resources.memory() {
            self.limit_memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.limit_cpu(cpu)?;
        }
        resources.block_io().as_ref().map_or(Ok(()), |io| self.limit_io(io))
    }

    fn limit_memory(&self, memory: &LinuxMemory) -> Result<()> {
        let limit = memory.limit();
        // Without a word about swap, memory without limit is swap without limit too.
        let both = memory.swap().or(limit.filter(|limit| *limit < 0));
        if let (Some(limit), Some(both)) = (limit, both)
            && 0 <= both
            && both < limit
        {
            let what = format!(
                "the limit of memory and swap together, {both}, is below memory's, {limit}"
            );
            return Err(Error::new(what));
        }
        if self.unified {
            if let Some(both) = both {
                // Version 2 counts swap alone.
                let memory = limit.or_else(|| self.memory_limit().map(|bytes| bytes as i64));
                let swap = if both < 0 { both } else { both - memory.unwrap_or(0).clamp(0, both) };
                self.write_if_there("memory", "memory.swap.max", &number(swap))?;
            }
            if let Some(limit) = limit {
                self.write("memory", "memory.max", &number(limit))?;
            }
            if let Some(low) = memory.reservation() {
                self.write("memory", "memory.low", &number(low))?;
            }
            return Ok(());
        }
        let write_limit = || limit.map_or(Ok(()), |limit| self.write_memory_v1(limit));
        let write_both = || {
            let file = "memory.memsw.limit_in_bytes";
            both.map_or(Ok(()), |both| self.write_if_there("memory", file, &both.to_string()))
        };
        // At every moment memory alone must not exceed both together: what grows, grows from there.
        let now = self.memory_limit().unwrap_or(u64::MAX);
        if both.is_some_and(|both| both < 0 || now < both as u64) {
            write_both()?;
            write_limit()?;
        } else {
            write_limit()?;
            write_both()?;
        }
        if let Some(low) = memory.reservation() {
            self.write("memory", "memory.soft_limit_in_bytes", &low.to_string())?;
        }
        Ok(())
    }

    fn write_memory_v1(&self, limit: i64) -> Result<()> {
        let written = self.write("memory", "memory.limit_in_bytes", &limit.to_string());
        written.map_err(|error| match (error.errno, self.read("memory", "memory.usage_in_bytes")) {
            (Some(Errno::EBUSY), Some(usage)) => error.hint(format!(
                "it uses {usage} bytes now, and the kernel could not take them away"
            )),
            _ => error,
        })
    }

    fn limit_cpu(&self, cpu: &LinuxCpu) -> Result<()> {
        if let Some(shares) = cpu.shares() {
            if self.unified {
                self.write("cpu", "cpu.weight", &weight_of_shares(shares).to_string())?;
            } else {
                self.write("cpu", "cpu.shares", &shares.to_string())?;
            }
        }
        let (quota, period) = (cpu.quota(), cpu.period());
        if self.unified && (quota.is_some() || period.is_some()) {
            // One file for both: what is not named stays.
            let now = self.read("cpu", "cpu.max").unwrap_or_default();
            let (old_quota, old_period) = now.split_once(' ').unwrap_or(("max", "100000"));
            let quota = quota.map_or(old_quota.to_owned(), number);
            let period = period.map_or(old_period.to_owned(), |period| period.to_string());
            self.write("cpu", "cpu.max", &format!("{quota} {period}"))?;
        } else {
            if quota.is_some() && period.is_some() {
                // The old quota might be too much for the new period, by a limit of the parent cgroup's.
                self.write("cpu", "cpu.cfs_quota_us", "-1")?;
            }
            if let Some(period) = period {
                self.write("cpu", "cpu.cfs_period_us", &period.to_string())?;
            }
            if let Some(quota) = quota {
                self.write("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        if let Some(cpus) = cpu.cpus() {
            self.write("cpuset", "cpuset.cpus", cpus)?;
        }
        if let Some(mems) = cpu.mems() {
            self.write("cpuset", "cpuset.mems", mems)?;
        }
        Ok(())
    }

    fn limit_io(&self, io: &LinuxBlockIo) -> Result<()> {
        let controller = if self.unified { "io" } else { "blkio" };
        if let Some(weight) = io.weight() {
            let weight = u64::from(weight);
            let files = if self.unified {
                [("io.bfq.weight", weight), ("io.weight", weight_of_io(weight))]
            } else {
                [("blkio.weight", weight), ("blkio.bfq.weight", weight)]
            };
            let Some((file, weight)) = files.iter().find(|(file, _)| self.has(controller, file))
            else {
                return Err(Error::new("cannot weigh I/O: no I/O scheduler of this kernel does")
                    .hint("the one that does is bfq: `modprobe bfq`"));
            };
            self.write(controller, file, &weight.to_string())?;
        }
        let lists: [(&Option<Vec<LinuxThrottleDevice>>, &str, &str); 4] = [
            (io.throttle_read_bps_device(), "blkio.throttle.read_bps_device", "rbps="),
            (io.throttle_write_bps_device(), "blkio.throttle.write_bps_device", "wbps="),
            (io.throttle_read_iops_device(), "blkio.throttle.read_iops_device", "riops="),
            (io.throttle_write_iops_device(), "blkio.throttle.write_iops_device", "wiops="),
        ];
        for (devices, file, key) in lists {
            let (file, key) = if self.unified { ("io.max", key) } else { (file, "") };
            for device in devices.iter().flatten() {
                let (major, minor, rate) = (device.major(), device.minor(), device.rate());
                self.write(controller, file, &format!("{major}:{minor} {key}{rate}"))?;
            }
        }
        Ok(())
    }

    /// Swap may not be counted on this kernel, which docker only warns about.
    fn write_if_there(&self, controller: &str, file: &str, value: &str) -> Result<()> {
        if self.has(controller, file) { self.write(controller, file, value) } else { Ok(()) }
    }

    /// How often the kernel killed a process of it for want of memory: `oom_kill` of memory.events or
    /// memory.oom_control.
    pub fn oom_kills(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = self.read("memory", file).unwrap_or_default();
        text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// The memory limit in bytes, where one is set.
    pub fn memory_limit(&self) -> Option<u64> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        // Version 1 spells "none" as a number near 2^63.
        self.read("memory", file)?.parse().ok().filter(|limit| *limit < 1 << 62)
    }
}

/// A limit as version 2 writes it.
fn number(limit: i64) -> String {
    if limit < 0 { String::from("max") } else { limit.to_string() }
}

/// cpu.weight for `cpu.shares`: as runc (1.3.2) and crun (1.23) count since 2025, so that the least, the
/// default and the most, 2, 1024 and 262144, become 1, 100 and 10000. The older formula made 39 of 1024.
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = f64::from(shares as u32).log2();
            10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// io.weight, 1 to 10000, for a `blkio.weight` of 10 to 1000.
fn weight_of_io(weight: u64) -> u64 {
    1 + (weight.clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cgroup::{Hierarchy, Layout};

    /// A cgroup of plain files that have these contents already.
    fn cgroup(folder: &tempfile::TempDir, unified: bool, files: &[(&str, &str)]) -> Cgroup {
        let mount = folder.path().to_owned();
        let controllers = ["memory", "cpu", "cpuset", "pids", "blkio"].map(str::to_owned).to_vec();
        let layout = if unified {
            Layout { v1: Vec::new(), v2: Some(mount) }
        } else {
            Layout { v1: vec![Hierarchy { mount, controllers }], v2: None }
        };
        fs::create_dir(folder.path().join("c")).unwrap();
        for (file, text) in files {
            fs::write(folder.path().join("c").join(file), text).unwrap();
        }
        Cgroup::at(&layout, "c").unwrap()
    }

    #[track_caller]
    fn limit(unified: bool, files: &[(&str, &str)], resources: &str) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = cgroup(&folder, unified, files);
        cgroup.limit(&serde_json::from_str(resources).unwrap()).unwrap();
        let mut all: Vec<(String, String)> = fs::read_dir(folder.path().join("c"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    #[track_caller]
    fn check(unified: bool, files: &[(&str, &str)], resources: &str, expected: &[(&str, &str)]) {
        let written = limit(unified, files, resources);
        let written: Vec<(&str, &str)> = written.iter().map(|(f, t)| (&**f, &**t)).collect();
        assert_eq!(written, expected, "{resources}");
    }

    #[test]
    fn version_2_counts_swap_alone() {
        let swap = [("memory.swap.max", "")];
        for (memory, max, swap_max) in [
            (r#"{"limit": 100, "swap": 250}"#, "100", "150"),
            (r#"{"limit": 100, "swap": 100}"#, "100", "0"),
            (r#"{"limit": 100, "swap": -1}"#, "100", "max"),
            (r#"{"limit": -1}"#, "max", "max"),
            (r#"{"limit": -1, "swap": 7}"#, "max", "7"),
        ] {
            let expected = [("memory.max", max), ("memory.swap.max", swap_max)];
            check(true, &swap, &format!(r#"{{"memory": {memory}}}"#), &expected);
        }
        // The memory limit that stands is the one to subtract.
        let standing = [("memory.max", "100\n"), ("memory.swap.max", "")];
        let expected = [("memory.max", "100\n"), ("memory.swap.max", "50")];
        check(true, &standing, r#"{"memory": {"swap": 150}}"#, &expected);
        // Swap that this kernel does not count.
        let memory = r#"{"memory": {"limit": 100, "swap": 250, "reservation": 5}}"#;
        check(true, &[], memory, &[("memory.low", "5"), ("memory.max", "100")]);
    }

    #[test]
    fn both_together_are_never_less_than_memory() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = cgroup(&folder, true, &[]);
        let resources = serde_json::from_str(r#"{"memory": {"limit": 100, "swap": 99}}"#).unwrap();
        assert!(cgroup.limit(&resources).unwrap_err().to_string().contains("99"));
    }

    #[test]
    fn version_2_has_one_file_for_quota_and_period() {
        for (now, cpu, max) in [
            ("max 100000\n", r#"{"quota": 5000}"#, "5000 100000"),
            ("5000 20000\n", r#"{"quota": -1}"#, "max 20000"),
            ("5000 20000\n", r#"{"period": 50000}"#, "5000 50000"),
            ("5000 20000\n", r#"{"quota": 7000, "period": 10000}"#, "7000 10000"),
        ] {
            let resources = format!(r#"{{"cpu": {cpu}}}"#);
            check(true, &[("cpu.max", now)], &resources, &[("cpu.max", max)]);
        }
    }

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (3, 2),
            (100, 17),
            (512, 59),
            (1024, 100),
            (2000, 170),
            (131_072, 5_478),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        check(true, &[], r#"{"cpu": {"shares": 2000}}"#, &[("cpu.weight", "170")]);
        check(false, &[], r#"{"cpu": {"shares": 2000}}"#, &[("cpu.shares", "2000")]);
    }

    #[test]
    fn weights_of_io_go_where_a_scheduler_has_them() {
        let io = r#"{"blockIO": {"weight": 500}}"#;
        check(true, &[("io.weight", "")], io, &[("io.weight", "4950")]);
        let both = [("io.bfq.weight", ""), ("io.weight", "")];
        check(true, &both, io, &[("io.bfq.weight", "500"), ("io.weight", "")]);
        check(false, &[("blkio.bfq.weight", "")], io, &[("blkio.bfq.weight", "500")]);
        assert_eq!((weight_of_io(10), weight_of_io(1000)), (1, 10_000));
        let folder = tempfile::tempdir().unwrap();
        let cgroup = cgroup(&folder, true, &[]);
        let error = cgroup.limit(&serde_json::from_str(io).unwrap()).unwrap_err().to_string();
        assert!(error.contains("bfq"), "{error}");
    }

    #[test]
    fn throttled_devices() {
        let io =
            r#"{"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 30}]}}"#;
        check(true, &[], io, &[("io.max", "8:16 wiops=30")]);
        check(false, &[], io, &[("blkio.throttle.write_iops_device", "8:16 30")]);
    }
}
