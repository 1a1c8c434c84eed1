//! How much a container may use: memory, CPU time, processes, I/O. Kernel documentation,
//! admin-guide/cgroup-v1 and cgroup-v2.
//!
//! config.json speaks the language of version 1; version 2 counts some things otherwise and weighs on
//! other scales, and the translations stand here.

use nix::errno::Errno;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
};

use super::folders::Cgroup;
use crate::error::{Error, Result};
use crate::systemd::bus::Value;

impl Cgroup {
    /// Writes the limits that `resources` names, and leaves the others as they are: for a new cgroup and
    /// for one in use. Units are bytes, microseconds and processes; -1 is no limit, and 0, but for
    /// processes, or an empty list says nothing, as with runc.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        let Some(unit) = &self.unit else { return self.write_limits(resources) };
        let before = self.as_properties();
        self.write_limits(resources)?;
        // What systemd is not told it would write anew as it believes it to be, at the next `daemon-reload`.
        let mut changed = self.as_properties();
        changed.retain(|property| !before.contains(property));
        if changed.is_empty() {
            return Ok(());
        }
        let time = self.cpu_time().filter(|(quota, _)| ["max", "-1"].contains(&quota.as_str()));
        unit.tell(changed)?;
        // Without a quota systemd thinks nothing of a period.
        self.limit_cpu_time(None, time.and_then(|(_, period)| period.parse().ok()))
    }

    fn write_limits(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(pids) = resources.pids() {
            self.write("pids", "pids.max", &number(pids.limit()))?;
        }
        if let Some(memory) = resources.memory() {
            self.limit_memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.limit_cpu(cpu)?;
        }
        if let Some(io) = resources.block_io() {
            self.limit_io(io)?;
        }
        for limit in resources.hugepage_limits().iter().flatten() {
            self.limit_huge_pages(limit.page_size(), limit.limit())?;
        }
        if let Some(network) = resources.network() {
            self.mark_packets(network)?;
        }
        for (device, limit) in resources.rdma().iter().flatten() {
            let word = |name, value: Option<u32>| value.map(|value| format!(" {name}={value}"));
            let handles = word("hca_handle", limit.hca_handles());
            let objects = word("hca_object", limit.hca_objects());
            let words = [handles, objects].into_iter().flatten().collect::<String>();
            self.write("rdma", "rdma.max", &format!("{device}{words}"))?;
        }
        let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
        if unified.contains(&(&String::from("cpu.idle"), &String::from("1"))) {
            let all = unified.len();
            unified.retain(|(file, _)| *file != "cpu.weight");
            let has_shares = resources.cpu().as_ref().and_then(LinuxCpu::shares).is_some();
            if has_shares || unified.len() < all {
                warn_of_weight();
            }
        }
        unified.into_iter().try_for_each(|(file, text)| self.set(file, text))
    }

    /// What stands in the files, as properties of systemd's, systemd.resource-control(5).
    fn as_properties(&self) -> Vec<(String, Value)> {
        let number = |text: &str| match text {
            "max" | "-1" => Some(u64::MAX),
            // Version 1 spells "none" as a number near 2^63.
            text => text.parse().ok().map(|n| if n < 1 << 62 { n } else { u64::MAX }),
        };
        let numbers: &[(&str, &str, &str)] = if self.unified {
            &[
                ("memory", "memory.max", "MemoryMax"),
                ("memory", "memory.high", "MemoryHigh"),
                ("memory", "memory.low", "MemoryLow"),
                ("memory", "memory.min", "MemoryMin"),
                ("memory", "memory.swap.max", "MemorySwapMax"),
                ("pids", "pids.max", "TasksMax"),
                ("cpu", "cpu.weight", "CPUWeight"),
            ]
        } else {
            &[
                ("memory", "memory.limit_in_bytes", "MemoryLimit"),
                ("pids", "pids.max", "TasksMax"),
                ("cpu", "cpu.shares", "CPUShares"),
                ("blkio", "blkio.weight", "BlockIOWeight"),
                ("blkio", "blkio.bfq.weight", "BlockIOWeight"),
            ]
        };
        let mut properties: Vec<(String, Value)> = Vec::new();
        let mut add = |name: &str, value| properties.push((name.to_owned(), value));
        let is_idle = self.read("cpu", "cpu.idle").as_deref() == Some("1");
        for (controller, file, name) in numbers {
            let found = self.read(controller, file).and_then(|text| number(&text));
            let found = match *name {
                // Whatever weight an idle cgroup shows, systemd's word for it is 0; of version 1 it has none.
                "CPUWeight" if is_idle => Some(0),
                "CPUShares" if is_idle => None,
                _ => found,
            };
            if let Some(found) = found {
                add(name, Value::U64(found));
            }
        }
        if let Some((quota, period)) = self.cpu_time()
            && let (Some(quota), Some(period @ 1..)) = (number(&quota), number(&period))
        {
            // In whole hundredths: systemd knows no smaller parts.
            let per_second = quota
                .checked_mul(1_000_000)
                .map_or(u64::MAX, |quota| (quota / period).next_multiple_of(10_000));
            add("CPUQuotaPerSecUSec", Value::U64(per_second));
            add("CPUQuotaPeriodUSec", Value::U64(period));
        }
        if !self.unified {
            return properties;
        }
        let weight = self.read("io", "io.weight").unwrap_or_default();
        if let Some(weight) =
            weight.lines().find_map(|line| line.strip_prefix("default ")?.parse().ok())
        {
            add("IOWeight", Value::U64(weight));
        }
        for (file, name) in [("cpuset.cpus", "AllowedCPUs"), ("cpuset.mems", "AllowedMemoryNodes")]
        {
            let list = self.read("cpuset", file).unwrap_or_default();
            add(name, Value::Bytes(bits_of_list(&list)));
        }
        properties.retain(|(_, value)| *value != Value::Bytes(Vec::new()));
        properties
    }

    /// Quota and period, as they stand in the files.
    fn cpu_time(&self) -> Option<(String, String)> {
        if self.unified {
            let both = self.read("cpu", "cpu.max")?;
            return both.split_once(' ').map(|(quota, period)| (quota.into(), period.into()));
        }
        self.read("cpu", "cpu.cfs_quota_us").zip(self.read("cpu", "cpu.cfs_period_us"))
    }

    /// One entry of `unified`: a file of version 2 and its lines, each of which the kernel wants in a call.
    fn set(&self, file: &str, text: &str) -> Result<()> {
        if !self.unified {
            return Err(only("unified", 2));
        }
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            return Err(Error::new(format!(
                "config.json: linux.resources.unified: {file:?} is no CONTROLLER.FILE"
            )));
        };
        if file == "cpu.weight" {
            self.end_idleness()?;
        }
        text.lines().try_for_each(|line| self.write(controller, file, line))
    }

    /// An idle cgroup takes no weight, and one with a weight is not idle.
    fn end_idleness(&self) -> Result<()> {
        if self.read("cpu", "cpu.idle").as_deref() == Some("1") {
            self.write("cpu", "cpu.idle", "0")?;
        }
        Ok(())
    }

    fn limit_memory(&self, memory: &LinuxMemory) -> Result<()> {
        let limit = set(memory.limit());
        let reservation = set(memory.reservation());
        // Without a word about swap, memory without limit is swap without limit too.
        let both = set(memory.swap()).or(limit.filter(|limit| *limit < 0));
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
            for (is_set, field) in [
                (memory.swappiness().is_some(), "memory.swappiness"),
                (memory.disable_oom_killer() == Some(true), "memory.disableOOMKiller"),
            ] {
                if is_set {
                    return Err(only(field, 1));
                }
            }
            if memory.check_before_update() == Some(true) {
                self.check_usage(limit, both)?;
            }
            if let Some(both) = both {
                // Version 2 counts swap alone.
                let memory = limit.or_else(|| self.memory_limit().map(|bytes| bytes as i64));
                let swap = if both < 0 { both } else { both - memory.unwrap_or(0).clamp(0, both) };
                self.write_if_there("memory", "memory.swap.max", &number(swap))?;
            }
            if let Some(limit) = limit {
                self.write("memory", "memory.max", &number(limit))?;
            }
            if let Some(low) = reservation {
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
        if let Some(low) = reservation {
            self.write("memory", "memory.soft_limit_in_bytes", &low.to_string())?;
        }
        if let Some(swappiness) = memory.swappiness() {
            self.write("memory", "memory.swappiness", &swappiness.to_string())?;
        }
        if memory.disable_oom_killer() == Some(true) {
            self.write("memory", "memory.oom_control", "1")?;
        }
        Ok(())
    }

    /// Version 2 would make room for a limit below what is used, and kill for it; version 1 refuses itself.
    fn check_usage(&self, limit: Option<i64>, both: Option<i64>) -> Result<()> {
        let usage = self.read("memory", "memory.current").and_then(|text| text.parse::<i64>().ok());
        let Some(usage) = usage else { return Ok(()) };
        for (what, limit) in [("memory+swap", both), ("memory", limit)] {
            if let Some(limit) = limit.filter(|limit| (0..=usage).contains(limit)) {
                return Err(Error::new(format!(
                    "rejecting {what} limit {limit}: {usage} bytes are in use"
                ))
                .errno(Errno::EBUSY));
            }
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
        let shares = cpu.shares().filter(|shares| *shares != 0);
        if shares.is_some() && cpu.idle() == Some(1) {
            warn_of_weight();
        }
        if let Some(shares) = shares {
            self.end_idleness()?;
            if self.unified {
                self.write("cpu", "cpu.weight", &weight_of_shares(shares).to_string())?;
            } else {
                self.write("cpu", "cpu.shares", &shares.to_string())?;
            }
        }
        if let Some(idle) = cpu.idle() {
            self.write("cpu", "cpu.idle", &idle.to_string())?;
        }
        // A burst is never above the quota, so the greater of old and new quota must stand when it is set.
        let write_burst = || {
            let file = if self.unified { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
            cpu.burst().map_or(Ok(()), |burst| self.write("cpu", file, &burst.to_string()))
        };
        let is_written = write_burst().is_ok();
        self.limit_cpu_time(set(cpu.quota()), cpu.period().filter(|period| *period != 0))?;
        if !is_written {
            write_burst()?;
        }
        self.limit_realtime(cpu)?;
        if let Some(cpus) = cpu.cpus().as_deref().filter(|list| !list.is_empty()) {
            self.write("cpuset", "cpuset.cpus", cpus)?;
        }
        if let Some(mems) = cpu.mems().as_deref().filter(|list| !list.is_empty()) {
            self.write("cpuset", "cpuset.mems", mems)?;
        }
        Ok(())
    }

    fn limit_cpu_time(&self, quota: Option<i64>, period: Option<u64>) -> Result<()> {
        if self.unified && (quota.is_some() || period.is_some()) {
            // One file for both: what is not named stays.
            let old = self.cpu_time();
            let (old_quota, old_period) = old.unwrap_or_else(|| ("max".into(), "100000".into()));
            let quota = quota.map_or(old_quota, number);
            let period = period.map_or(old_period, |period| period.to_string());
            return self.write("cpu", "cpu.max", &format!("{quota} {period}"));
        }
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
        Ok(())
    }

    /// Version 2 has no such limit.
    fn limit_realtime(&self, cpu: &LinuxCpu) -> Result<()> {
        let runtime = set(cpu.realtime_runtime());
        let period = cpu.realtime_period().filter(|period| *period != 0);
        for (is_set, field) in
            [(runtime.is_some(), "cpu.realtimeRuntime"), (period.is_some(), "cpu.realtimePeriod")]
        {
            if is_set && self.unified {
                return Err(only(field, 1));
            }
        }
        // The old runtime may be more than the new period has.
        let write_period = || {
            period
                .map_or(Ok(()), |period| self.write("cpu", "cpu.rt_period_us", &period.to_string()))
        };
        let is_written = write_period().is_ok();
        if let Some(runtime) = runtime {
            self.write("cpu", "cpu.rt_runtime_us", &runtime.to_string())?;
        }
        if is_written { Ok(()) } else { write_period() }
    }

    fn limit_io(&self, io: &LinuxBlockIo) -> Result<()> {
        let controller = if self.unified { "io" } else { "blkio" };
        if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
            let (file, weight) = self.io_weight(weight)?;
            self.write(controller, file, &weight.to_string())?;
        }
        for device in io.weight_device().iter().flatten() {
            let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
            let (file, weight) = self.io_weight(weight)?;
            let file = if self.unified { file.to_owned() } else { format!("{file}_device") };
            let (major, minor) = (device.major(), device.minor());
            self.write(controller, &file, &format!("{major}:{minor} {weight}"))?;
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

    /// The file that takes a `blkio.weight`, and what it is there.
    fn io_weight(&self, weight: u16) -> Result<(&'static str, u64)> {
        let weight = u64::from(weight);
        let (controller, files) = if self.unified {
            ("io", [("io.bfq.weight", weight), ("io.weight", weight_of_io(weight))])
        } else {
            ("blkio", [("blkio.weight", weight), ("blkio.bfq.weight", weight)])
        };
        files.into_iter().find(|(file, _)| self.has(controller, file)).ok_or_else(|| {
            Error::new("cannot weigh I/O: no I/O scheduler of this kernel does")
                .hint("the one that does is bfq: `modprobe bfq`")
        })
    }

    /// What is reserved and what is used: the kernel counts both, reservations since 5.7.
    fn limit_huge_pages(&self, size: &str, limit: i64) -> Result<()> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !size
            .strip_suffix('B')
            .and_then(|s| s.strip_suffix(['K', 'M', 'G']))
            .is_some_and(is_number)
        {
            return Err(Error::new(format!(
                "config.json: linux.resources.hugepageLimits: {size:?} is no size such as 64KB, 2MB, 1GB"
            )));
        }
        let name = if self.unified { "max" } else { "limit_in_bytes" };
        self.write("hugetlb", &format!("hugetlb.{size}.{name}"), &limit.to_string())?;
        self.write_if_there("hugetlb", &format!("hugetlb.{size}.rsvd.{name}"), &limit.to_string())
    }

    fn mark_packets(&self, network: &LinuxNetwork) -> Result<()> {
        let class = network.class_id().filter(|class| *class != 0);
        let priorities = network.priorities().as_deref().unwrap_or_default();
        if self.unified && (class.is_some() || !priorities.is_empty()) {
            return Err(only("network", 1));
        }
        if let Some(class) = class {
            self.write("net_cls", "net_cls.classid", &class.to_string())?;
        }
        priorities.iter().try_for_each(|one| {
            let line = format!("{} {}", one.name(), one.priority());
            self.write("net_prio", "net_prio.ifpriomap", &line)
        })
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

/// An idle cgroup takes no weight.
fn warn_of_weight() {
    tracing::warn!("unable to apply both cpu.idle and a weight, ignoring the weight");
}

/// `0-3,7` as a mask, the lowest byte first.
fn bits_of_list(list: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { continue };
        for bit in first..=last {
            let byte = usize::from(bit / 8);
            mask.resize(mask.len().max(byte + 1), 0);
            mask[byte] |= 1 << (bit % 8);
        }
    }
    mask
}

/// 0 says nothing.
fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// What only the other version of cgroups has.
fn only(field: &str, version: u8) -> Error {
    Error::new(format!(
        "config.json: invalid configuration: linux.resources.{field} exists with version {version} of cgroups alone, which this machine does not use"
    ))
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
        let controllers = "memory cpu cpuset pids blkio hugetlb net_cls net_prio rdma";
        let controllers = controllers.split(' ').map(str::to_owned).collect();
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
    fn systemd_has_words_for_both_versions() {
        let told = |unified, files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            cgroup(&folder, unified, files).as_properties()
        };
        let is = |properties: Vec<(String, Value)>, expected: &[(&str, u64)]| {
            let expected = expected.iter().map(|(name, n)| ((*name).to_owned(), Value::U64(*n)));
            assert_eq!(properties, expected.collect::<Vec<_>>());
        };
        let v2 = [("memory.max", "100\n"), ("pids.max", "max\n"), ("cpu.max", "max 20000\n")];
        let time = [("CPUQuotaPerSecUSec", u64::MAX), ("CPUQuotaPeriodUSec", 20000)];
        is(told(true, &v2), &[("MemoryMax", 100), ("TasksMax", u64::MAX), time[0], time[1]]);
        let v1 = [
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids.max", "7\n"),
            ("cpu.shares", "512\n"),
            ("blkio.bfq.weight", "500\n"),
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.cfs_period_us", "20000\n"),
        ];
        let numbers = [
            ("MemoryLimit", u64::MAX),
            ("TasksMax", 7),
            ("CPUShares", 512),
            ("BlockIOWeight", 500),
        ];
        is(told(false, &v1), &[&numbers[..], &time].concat());
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

    #[track_caller]
    fn refused(unified: bool, files: &[(&str, &str)], resources: &str, word: &str) {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = cgroup(&folder, unified, files);
        let error = cgroup.limit(&serde_json::from_str(resources).unwrap()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }

    #[test]
    fn what_one_version_lacks_is_refused_by_name_there() {
        for (resources, field) in [
            (r#"{"memory": {"swappiness": 5}}"#, "memory.swappiness"),
            (r#"{"memory": {"disableOOMKiller": true}}"#, "memory.disableOOMKiller"),
            (r#"{"cpu": {"realtimeRuntime": 5}}"#, "cpu.realtimeRuntime"),
            (r#"{"cpu": {"realtimePeriod": 5}}"#, "cpu.realtimePeriod"),
            (r#"{"network": {"classID": 5}}"#, "network"),
            (r#"{"network": {"priorities": [{"name": "lo", "priority": 1}]}}"#, "network"),
        ] {
            refused(
                true,
                &[],
                resources,
                &format!("linux.resources.{field} exists with version 1"),
            );
        }
        let unified = r#"{"unified": {"memory.high": "5"}}"#;
        refused(false, &[], unified, "linux.resources.unified exists with version 2");
    }

    #[test]
    fn nought_says_nothing() {
        let nothing = r#"{"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": false},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0}, "network": {"classID": 0}}"#;
        check(true, &[], nothing, &[]);
        check(false, &[], nothing, &[]);
        check(true, &[], r#"{"pids": {"limit": 0}}"#, &[("pids.max", "0")]);
    }

    #[test]
    fn memory_of_version_1() {
        let memory = r#"{"memory": {"swappiness": 0, "disableOOMKiller": true, "kernel": 7}}"#;
        check(false, &[], memory, &[("memory.oom_control", "1"), ("memory.swappiness", "0")]);
    }

    #[test]
    fn a_limit_below_what_is_used_is_refused_where_that_is_asked_for() {
        let used = [("memory.current", "5000\n")];
        for memory in [r#""limit": 5000"#, r#""limit": -1, "swap": 4000"#] {
            let asked = format!(r#"{{"memory": {{{memory}, "checkBeforeUpdate": true}}}}"#);
            refused(true, &used, &asked, ": 5000 bytes are in use");
            limit(true, &used, &asked.replace("true", "false"));
        }
        let enough = r#"{"memory": {"limit": 5001, "checkBeforeUpdate": true}}"#;
        check(true, &used, enough, &[used[0], ("memory.max", "5001")]);
    }

    #[test]
    fn burst_idle_and_realtime() {
        let cpu = r#"{"cpu": {"burst": 100, "quota": 5000, "idle": 1, "shares": 2}}"#;
        let expected = [
            ("cpu.idle", "1"),
            ("cpu.max", "5000 100000"),
            ("cpu.max.burst", "100"),
            ("cpu.weight", "1"),
        ];
        check(true, &[], cpu, &expected);
        let expected = [
            ("cpu.cfs_burst_us", "100"),
            ("cpu.cfs_quota_us", "5000"),
            ("cpu.idle", "1"),
            ("cpu.shares", "2"),
        ];
        check(false, &[], cpu, &expected);
        let cpu = r#"{"cpu": {"realtimeRuntime": 900, "realtimePeriod": 1000}}"#;
        check(false, &[], cpu, &[("cpu.rt_period_us", "1000"), ("cpu.rt_runtime_us", "900")]);
    }

    #[test]
    fn weights_of_single_devices() {
        let io = r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 16, "weight": 500}]}}"#;
        check(true, &[("io.weight", "")], io, &[("io.weight", "8:16 4950")]);
        check(true, &[("io.bfq.weight", "")], io, &[("io.bfq.weight", "8:16 500")]);
        let bfq = ("blkio.bfq.weight", "");
        check(false, &[bfq], io, &[bfq, ("blkio.bfq.weight_device", "8:16 500")]);
    }

    #[test]
    fn huge_pages_packets_and_rdma() {
        let pages = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}"#;
        check(true, &[], pages, &[("hugetlb.2MB.max", "4096")]);
        let reserved = [("hugetlb.2MB.rsvd.limit_in_bytes", "")];
        let both =
            [("hugetlb.2MB.limit_in_bytes", "4096"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4096")];
        check(false, &reserved, pages, &both);
        refused(true, &[], &pages.replace("2MB", "../2MB"), "is no size");
        let network =
            r#"{"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}}"#;
        let expected = [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "lo 5")];
        check(false, &[], network, &expected);
        let rdma = r#"{"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}"#;
        let line = [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000")];
        check(true, &[], rdma, &line);
        check(false, &[], rdma, &line);
    }

    #[test]
    fn files_of_version_2_by_name() {
        let unified = r#"{"unified": {"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 rbps=2"}}"#;
        check(true, &[], unified, &[("io.max", "8:16 rbps=2"), ("memory.high", "5")]);
        refused(true, &[], r#"{"unified": {"../memory.max": "5"}}"#, "is no CONTROLLER.FILE");
        refused(true, &[], r#"{"unified": {"memory": "5"}}"#, "is no CONTROLLER.FILE");
    }
}
