//! `events`: what a container uses, in runc's shape, and when it runs out of memory.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use minibox_runtime::cgroup::Cgroup;
use minibox_runtime::container::Container;
use minibox_runtime::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Map, Value, json};

use super::args::EventsArgs;
use super::show;
use crate::output;
use crate::wishes::bad;

/// `minibox-oci events`.
pub(super) fn events(root: &Path, args: &EventsArgs) -> Result<u8> {
    let right = "a time, as in 5s or 1m";
    let interval = humantime::parse_duration(&args.interval)
        .map_err(|_| bad("--interval", &args.interval, right))?;
    if interval.is_zero() {
        return Err(bad("--interval", &args.interval, "more than nothing"));
    }
    let container = Container::find(root, &args.id)?;
    let stopped = || Error::new("container not running");
    let (_, pidfd) = container.hold()?.ok_or_else(stopped)?;
    let no_cgroup = || Error::new("the container has no cgroup, and so no figures");
    let cgroup = container.cgroup()?.ok_or_else(no_cgroup)?;
    let tell_stats = || tell(&args.id, "stats", Some(stats(&cgroup)));
    if args.stats {
        tell_stats();
        return Ok(0);
    }
    let alarm = cgroup.oom_alarm()?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let fds = [alarm.as_fd(), pidfd.as_fd()];
        let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, left) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Error::new("cannot wait for events").errno(errno)),
            Ok(_) => {}
        }
        let [is_alarm, is_end] = polled.each_ref().map(|fd| fd.any().unwrap_or(false));
        if is_alarm && alarm.heard() {
            tell(&args.id, "oom", None);
        }
        if is_end || show::is_stopped(&container) {
            return Ok(0);
        }
        if next <= Instant::now() {
            tell_stats();
            next = Instant::now() + interval;
        }
    }
}

fn tell(id: &str, kind: &str, data: Option<Value>) {
    let mut event = json!({ "type": kind, "id": id });
    if let (Some(map), Some(data)) = (event.as_object_mut(), data) {
        map.insert(String::from("data"), data);
    }
    output::print(&format!("{event}\n"));
}

/// One cgroup's figures, asked for by the file of version 1 or of version 2.
struct Figures<'a>(&'a Cgroup);

impl Figures<'_> {
    fn text(&self, controller: &str, v1: &str, v2: &str) -> String {
        self.0.read(controller, if self.0.is_unified() { v2 } else { v1 }).unwrap_or_default()
    }

    /// 0 where there is no such file, or no limit.
    fn number(&self, controller: &str, v1: &str, v2: &str) -> u64 {
        self.text(controller, v1, v2).parse().unwrap_or(0)
    }

    /// Without a limit of memory it is the greatest number that there is, about as in version 1.
    fn limit(&self, v1: &str, v2: &str) -> u64 {
        let text = self.text("memory", v1, v2);
        if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
    }

    /// Files of lines with a name and a number.
    fn table(&self, controller: &str, v1: &str, v2: &str) -> BTreeMap<String, u64> {
        let text = self.text(controller, v1, v2);
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?))).collect()
    }

    /// What runc calls a memory entry: `v1` and `v2` are what the files' names begin with.
    fn memory(&self, v1: &str, v2: &str) -> Value {
        let of = |v1_end: &str, v2_end: &str| {
            self.number("memory", &format!("{v1}.{v1_end}"), &format!("{v2}.{v2_end}"))
        };
        json!({
            "limit": self.limit(&format!("{v1}.limit_in_bytes"), &format!("{v2}.max")),
            "usage": of("usage_in_bytes", "current"),
            "max": of("max_usage_in_bytes", "peak"),
            "failcnt": of("failcnt", ""),
        })
    }

    /// How long tasks have waited, `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; version 2 alone tells.
    fn pressure(&self, file: &str) -> Value {
        let mut lines = Map::new();
        for line in self.text("", "", file).lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            let pairs = words.filter_map(|word| word.split_once('='));
            let numbers = pairs.map(|(key, number)| {
                let number = if key == "total" {
                    json!(number.parse::<u64>().unwrap_or(0))
                } else {
                    json!(number.parse::<f64>().unwrap_or(0.0))
                };
                (key.to_owned(), number)
            });
            lines.insert(name.to_owned(), numbers.collect());
        }
        if lines.is_empty() { Value::Null } else { lines.into() }
    }

    /// By the size of the pages, as the files' names have it: 2MB.
    fn huge_pages(&self) -> Map<String, Value> {
        let of = |size: &String| {
            let file = |end: &str| format!("hugetlb.{size}.{end}");
            let number = |v1: &str, v2: &str| self.number("hugetlb", &file(v1), &file(v2));
            let is_counted = !self.text("hugetlb", &file("failcnt"), &file("events")).is_empty();
            let events = self.table("hugetlb", "", &file("events"));
            is_counted.then(|| {
                json!({
                    "usage": number("usage_in_bytes", "current"),
                    "max": number("max_usage_in_bytes", ""),
                    "failcnt": events.get("max").copied().unwrap_or_else(|| number("failcnt", "")),
                })
            })
        };
        let sizes = huge_page_sizes();
        sizes.into_iter().filter_map(|size| of(&size).map(|figures| (size, figures))).collect()
    }

    /// `major:minor Operation number` of version 1; `major:minor key=number …` of version 2.
    fn devices(&self, v1: &str, keys: [(&str, &str); 2]) -> Vec<Value> {
        let mut entries = Vec::new();
        for line in self.text("blkio", v1, "io.stat").lines() {
            let mut words = line.split_whitespace();
            let Some((major, minor)) = words.next().and_then(|word| word.split_once(':')) else {
                continue;
            };
            let mut entry = |operation: &str, value: &str| {
                let number = |text: &str| text.parse::<u64>().unwrap_or(0);
                entries.push(json!({
                    "major": number(major), "minor": number(minor),
                    "op": operation, "value": number(value),
                }));
            };
            let rest: Vec<&str> = words.collect();
            if let [operation, value] = rest[..] {
                entry(operation, value);
                continue;
            }
            for (key, operation) in keys {
                let found = rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
                if let Some(value) = found {
                    entry(operation, value);
                }
            }
        }
        entries
    }
}

/// As hugetlb's files are named: 2MB, 1GB.
fn huge_page_sizes() -> Vec<String> {
    let folders = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let sizes = folders.filter_map(|folder| {
        let name = folder.file_name().into_string().ok()?;
        let mut size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let mut units = ["KB", "MB", "GB"].into_iter();
        let mut unit = units.next();
        while size >= 1024 {
            (size, unit) = (size / 1024, units.next());
        }
        Some(format!("{size}{}", unit?))
    });
    sizes.collect()
}

/// What runc prints as `data`.
fn stats(cgroup: &Cgroup) -> Value {
    let figures = Figures(cgroup);
    let cpu = figures.table("cpu", "cpu.stat", "cpu.stat");
    let get = |table: &BTreeMap<String, u64>, key: &str| table.get(key).copied().unwrap_or(0);
    let unified = cgroup.is_unified();
    let (total, kernel, user) = if unified {
        let micros = |key| get(&cpu, key) * 1000;
        (micros("usage_usec"), micros("system_usec"), micros("user_usec"))
    } else {
        let number = |file| figures.number("cpuacct", file, "");
        (number("cpuacct.usage"), number("cpuacct.usage_sys"), number("cpuacct.usage_user"))
    };
    let per_cpu: Vec<u64> = figures
        .text("cpuacct", "cpuacct.usage_percpu", "")
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let throttled =
        if unified { get(&cpu, "throttled_usec") * 1000 } else { get(&cpu, "throttled_time") };
    let memory = figures.table("memory", "memory.stat", "memory.stat");
    let cache = if unified { get(&memory, "file") } else { get(&memory, "cache") };
    json!({
        "cpu": {
            "usage": { "total": total, "percpu": per_cpu, "kernel": kernel, "user": user },
            "throttling": {
                "periods": get(&cpu, "nr_periods"),
                "throttledPeriods": get(&cpu, "nr_throttled"),
                "throttledTime": throttled,
            },
            "psi": figures.pressure("cpu.pressure"),
        },
        "memory": {
            "cache": cache,
            "usage": figures.memory("memory", "memory"),
            "swap": figures.memory("memory.memsw", "memory.swap"),
            "kernel": figures.memory("memory.kmem", ""),
            "kernelTCP": figures.memory("memory.kmem.tcp", ""),
            "raw": memory,
            "psi": figures.pressure("memory.pressure"),
        },
        "pids": {
            "current": figures.number("pids", "pids.current", "pids.current"),
            "limit": figures.number("pids", "pids.max", "pids.max"),
        },
        "blkio": {
            "ioServiceBytesRecursive": figures.devices(
                "blkio.throttle.io_service_bytes_recursive",
                [("rbytes", "Read"), ("wbytes", "Write")],
            ),
            "ioServicedRecursive": figures.devices(
                "blkio.throttle.io_serviced_recursive",
                [("rios", "Read"), ("wios", "Write")],
            ),
            "psi": figures.pressure("io.pressure"),
        },
        "hugetlb": figures.huge_pages(),
    })
}
