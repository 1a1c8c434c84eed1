//! Limits: memory, CPU, processes and I/O by the cgroup, `--ulimit`, and what `--shm-size` and `--sysctl`
//! set.

use std::collections::HashMap;

use minibox_runtime::{Error, Result, capabilities, idmap};
use nix::sys::resource::{Resource, getrlimit};
use oci_spec::runtime as oci;

use super::{bad, parse_size};
use crate::args::{CreateArgs, LimitArgs};

/// Default of `--pids-limit`: enough for any teaching, too few for a fork bomb.
const PIDS_LIMIT: i64 = 512;

/// The limits that were asked for.
#[derive(Debug)]
pub(crate) struct Limits {
    /// What the cgroup is to enforce.
    pub resources: oci::LinuxResources,
    pub ulimits: Vec<oci::PosixRlimit>,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    pub sysctls: HashMap<String, String>,
}

pub(super) fn understand(args: &CreateArgs) -> Result<Limits> {
    let mut resources = resources(&args.limits, &oci::LinuxResources::default())?;
    if resources.pids().is_none() {
        resources.set_pids(Some(pids(PIDS_LIMIT)));
    }
    // A core dump of a container would land wherever the host's core_pattern says.
    let mut ulimits = vec![ulimit("core=0")?];
    for text in &args.program.ulimits {
        let limit = ulimit(text)?;
        ulimits.retain(|other| other.typ() != limit.typ());
        ulimits.push(limit);
    }
    Ok(Limits {
        resources,
        ulimits,
        shm_size: parse_size("--shm-size", &args.hardware.shm_size)?,
        sysctls: args
            .hardware
            .sysctls
            .iter()
            .map(|text| sysctl(text, args))
            .collect::<Result<_>>()?,
    })
}

/// The flags that need a cgroup, where they were given.
pub(crate) fn given(args: &LimitArgs) -> Vec<&'static str> {
    let given = [
        (args.memory.is_some(), "-m/--memory"),
        (args.memory_swap.is_some(), "--memory-swap"),
        (args.memory_reservation.is_some(), "--memory-reservation"),
        (args.cpus.is_some(), "--cpus"),
        (args.cpu_shares.is_some(), "-c/--cpu-shares"),
        (args.cpu_period.is_some(), "--cpu-period"),
        (args.cpu_quota.is_some(), "--cpu-quota"),
        (args.cpuset_cpus.is_some(), "--cpuset-cpus"),
        (args.cpuset_mems.is_some(), "--cpuset-mems"),
        (args.pids_limit.is_some(), "--pids-limit"),
        (args.blkio_weight.is_some(), "--blkio-weight"),
    ];
    given.into_iter().filter_map(|(is_given, flag)| is_given.then_some(flag)).collect()
}

/// Is CPU time given as a number of CPUs? As it `was` where the flags do not say.
pub(crate) fn counts_cpus(args: &LimitArgs, was: bool) -> bool {
    let in_periods = args.cpu_period.is_some() || args.cpu_quota.is_some();
    !in_periods && (was || args.cpus.is_some())
}

/// Checks the values that would be wrong for every container.
pub(crate) fn check(args: &LimitArgs) -> Result<()> {
    swap(args)?;
    // Which swap is right depends on the memory that a container has.
    let others = LimitArgs { memory_swap: None, ..args.clone() };
    resources(&others, &oci::LinuxResources::default()).map(drop)
}

/// The limits that the flags name, each together with what else stands in its group: memory, CPU,
/// processes, I/O.
pub(crate) fn resources(
    args: &LimitArgs,
    standing: &oci::LinuxResources,
) -> Result<oci::LinuxResources> {
    let mut resources = oci::LinuxResources::default();
    resources.set_memory(memory(args, standing.memory().unwrap_or_default())?);
    resources.set_cpu(cpu(args, standing.cpu().clone().unwrap_or_default())?);
    if let Some(limit) = args.pids_limit {
        if limit == 0 || limit < -1 {
            let right = "a number above 0, or -1 for no limit";
            return Err(bad("--pids-limit", &limit.to_string(), right));
        }
        resources.set_pids(Some(pids(limit)));
    }
    // Docker's 0: as if nothing had been said.
    if let Some(weight) = args.blkio_weight.filter(|weight| *weight != 0) {
        if !(10..=1000).contains(&weight) {
            return Err(bad("--blkio-weight", &weight.to_string(), "10 to 1000"));
        }
        let mut io = standing.block_io().clone().unwrap_or_default();
        io.set_weight(Some(weight));
        resources.set_block_io(Some(io));
    }
    Ok(resources)
}

fn pids(limit: i64) -> oci::LinuxPids {
    let mut pids = oci::LinuxPids::default();
    pids.set_limit(limit);
    pids
}

fn size(flag: &str, text: Option<&String>) -> Result<Option<i64>> {
    text.map(|text| parse_size(flag, text)).transpose()
}

/// `--memory-swap`; -1: without limit.
fn swap(args: &LimitArgs) -> Result<Option<i64>> {
    match args.memory_swap.as_deref() {
        Some("-1") => Ok(Some(-1)),
        _ => size("--memory-swap", args.memory_swap.as_ref()),
    }
}

fn memory(args: &LimitArgs, mut memory: oci::LinuxMemory) -> Result<Option<oci::LinuxMemory>> {
    let limit = size("--memory", args.memory.as_ref())?;
    let low = size("--memory-reservation", args.memory_reservation.as_ref())?;
    let both = swap(args)?;
    if limit.or(low).or(both).is_none() {
        return Ok(None);
    }
    memory.set_limit(limit.or(memory.limit()));
    memory.set_reservation(low.or(memory.reservation()));
    memory.set_swap(both.or(memory.swap()));
    let Some(limit) = memory.limit() else {
        if both.is_some() {
            return Err(Error::new("--memory-swap needs -m/--memory beside it")
                .hint("it is the limit of memory and swap together"));
        }
        return Ok(Some(memory));
    };
    // Docker's default: as much swap again.
    let both = memory.swap().unwrap_or(limit.saturating_mul(2));
    memory.set_swap(Some(both));
    if 0 <= both && both < limit {
        return Err(Error::new(format!(
            "--memory-swap {both} is less than --memory {limit}: it is the limit of memory and swap together"
        ))
        .hint("give both; the same size for no swap, -1 for no limit of swap"));
    }
    match memory.reservation() {
        Some(low) if low > limit => Err(Error::new(format!(
            "--memory-reservation {low} is more than --memory {limit}"
        ))
        .hint(
            "it is the part of the limit that is left to the container when the host runs short",
        )),
        _ => Ok(Some(memory)),
    }
}

fn cpu(args: &LimitArgs, mut cpu: oci::LinuxCpu) -> Result<Option<oci::LinuxCpu>> {
    if let Some(text) = &args.cpus {
        cpu.set_period(Some(100_000));
        cpu.set_quota(Some(parse_cpus(text)?));
    }
    if let Some(period) = args.cpu_period {
        if !(1_000..=1_000_000).contains(&period) {
            return Err(bad("--cpu-period", &period.to_string(), "1000 to 1000000 microseconds"));
        }
        cpu.set_period(Some(period));
    }
    if let Some(quota) = args.cpu_quota {
        if quota != -1 && quota < 1_000 {
            let right = "microseconds in each period, 1000 or more; -1 for no limit";
            return Err(bad("--cpu-quota", &quota.to_string(), right));
        }
        cpu.set_quota(Some(quota));
    }
    if let Some(shares) = args.cpu_shares {
        if !(2..=262_144).contains(&shares) {
            return Err(bad("--cpu-shares", &shares.to_string(), "2 to 262144; 1024 is the usual"));
        }
        cpu.set_shares(Some(shares));
    }
    if let Some(list) = &args.cpuset_cpus {
        check_list("--cpuset-cpus", list, "/sys/devices/system/cpu/online")?;
        cpu.set_cpus(Some(list.clone()));
    }
    if let Some(list) = &args.cpuset_mems {
        check_list("--cpuset-mems", list, "/sys/devices/system/node/online")?;
        cpu.set_mems(Some(list.clone()));
    }
    let is_asked = [
        args.cpus.is_some(),
        args.cpu_period.is_some(),
        args.cpu_quota.is_some(),
        args.cpu_shares.is_some(),
        args.cpuset_cpus.is_some(),
        args.cpuset_mems.is_some(),
    ];
    Ok(is_asked.contains(&true).then_some(cpu))
}

/// `--cpus 0.5` as microseconds of every 100 000.
fn parse_cpus(text: &str) -> Result<i64> {
    let wrong = || bad("--cpus", text, "a number of CPUs from 0.01 on, such as 0.5 or 2");
    let cpus: f64 = text.parse().map_err(|_| wrong())?;
    if !cpus.is_finite() || !(0.01..=100_000.0).contains(&cpus) {
        return Err(wrong());
    }
    Ok((cpus * 100_000.0) as i64)
}

/// A list of CPUs or memory nodes, of which all must be in `online`, a file of sysfs.
fn check_list(flag: &str, text: &str, online: &str) -> Result<()> {
    // A kernel without NUMA has one node, and no file.
    let online = std::fs::read_to_string(online).unwrap_or_else(|_| String::from("0"));
    let here = parse_list(online.trim()).unwrap_or_default();
    let asked =
        parse_list(text).ok_or_else(|| bad(flag, text, "numbers and ranges, such as 0-2,4"))?;
    let is_here = |&(first, last): &(u32, u32)| {
        here.iter().any(|&(start, end)| start <= first && last <= end)
    };
    if asked.iter().all(is_here) {
        return Ok(());
    }
    Err(Error::new(format!("{flag} {text}: not all of them are there"))
        .hint(format!("this machine has {}", online.trim())))
}

/// Ranges, as cpuset(7) writes them: `0-2,4`.
fn parse_list(text: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (first <= last).then_some((first, last))
    };
    text.split(',').map(range).collect()
}

/// Docker's names of the limits of getrlimit(2).
const ULIMITS: [(&str, oci::PosixRlimitType, Resource); 15] = {
    use oci::PosixRlimitType as Type;
    [
        ("core", Type::RlimitCore, Resource::RLIMIT_CORE),
        ("cpu", Type::RlimitCpu, Resource::RLIMIT_CPU),
        ("data", Type::RlimitData, Resource::RLIMIT_DATA),
        ("fsize", Type::RlimitFsize, Resource::RLIMIT_FSIZE),
        ("locks", Type::RlimitLocks, Resource::RLIMIT_LOCKS),
        ("memlock", Type::RlimitMemlock, Resource::RLIMIT_MEMLOCK),
        ("msgqueue", Type::RlimitMsgqueue, Resource::RLIMIT_MSGQUEUE),
        ("nice", Type::RlimitNice, Resource::RLIMIT_NICE),
        ("nofile", Type::RlimitNofile, Resource::RLIMIT_NOFILE),
        ("nproc", Type::RlimitNproc, Resource::RLIMIT_NPROC),
        ("rss", Type::RlimitRss, Resource::RLIMIT_RSS),
        ("rtprio", Type::RlimitRtprio, Resource::RLIMIT_RTPRIO),
        ("rttime", Type::RlimitRttime, Resource::RLIMIT_RTTIME),
        ("sigpending", Type::RlimitSigpending, Resource::RLIMIT_SIGPENDING),
        ("stack", Type::RlimitStack, Resource::RLIMIT_STACK),
    ]
};

/// `NAME=SOFT[:HARD]`; without HARD both are the same.
fn ulimit(text: &str) -> Result<oci::PosixRlimit> {
    let wrong = || {
        let names: Vec<&str> = ULIMITS.iter().map(|(name, ..)| *name).collect();
        let right = format!(
            "NAME=SOFT or NAME=SOFT:HARD, numbers, -1 for no limit; the names are {}",
            names.join(", ")
        );
        bad("--ulimit", text, &right)
    };
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (_, kind, resource) =
        ULIMITS.into_iter().find(|(known, ..)| *known == name).ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(number @ 0..) => Ok(number as u64),
        _ => Err(wrong()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(Error::new(format!("--ulimit {text}: the soft limit is above the hard one"))
            .hint("SOFT is what is enforced, HARD how far the program may raise it"));
    }
    if let (false, Ok((_, own))) = (may_raise_limits(), getrlimit(resource))
        && hard > own
    {
        return Err(Error::new(format!("--ulimit {text}: your own hard limit is {own}"))
            .hint("only root with CAP_SYS_RESOURCE may give more than he has"));
    }
    let limit = oci::PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard);
    limit.build().map_err(|error| Error::new(error.to_string()))
}

/// Power over the whole machine, which the root of a user namespace does not have.
fn may_raise_limits() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    !idmap::needs_user_namespace() && capabilities::grantable() & CAP_SYS_RESOURCE != 0
}

/// `KEY=VALUE`, of a parameter that a namespace of the container's own has its own copy of.
fn sysctl(text: &str, args: &CreateArgs) -> Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| key.split('.').all(|part| !part.is_empty()) && !key.contains('/'))
        .ok_or_else(|| bad("--sysctl", text, "KEY=VALUE, such as net.ipv4.ip_forward=1"))?;
    let begins = |names: &[&str]| names.iter().any(|name| key.starts_with(name));
    let (flag, mode) = if begins(&["net."]) {
        ("--net", &args.namespaces.net)
    } else if begins(&["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."]) {
        ("--ipc", &args.namespaces.ipc)
    } else {
        return Err(Error::new(format!(
            "--sysctl {key}: this is a parameter of the whole machine"
        ))
        .hint(
            "a container has its own net.*, kernel.msg*, kernel.sem, kernel.shm* and fs.mqueue.*",
        ));
    };
    if mode == "host" {
        return Err(Error::new(format!("--sysctl {key} would change this host, by {flag} host"))
            .hint(format!("leave {flag} host out, or set it on the host with sysctl(8)")));
    }
    if mode.starts_with("container:") {
        let what = format!("--sysctl {key} would change another container, by {flag} {mode}");
        return Err(Error::new(what).hint("make that one with it"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_a_share_of_time() {
        assert_eq!(parse_cpus("0.5").unwrap(), 50_000);
        assert_eq!(parse_cpus("2").unwrap(), 200_000);
        for text in ["0", "-1", "x", "inf", ""] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_list("0-2,4").unwrap(), [(0, 2), (4, 4)]);
        for text in ["", "2-1", "0,", "a", "-1", "0--1", "0 1"] {
            assert!(parse_list(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ulimits_as_docker_writes_them() {
        let limits = |text| ulimit(text).map(|limit| (limit.soft(), limit.hard())).unwrap();
        assert_eq!(limits("nofile=5"), (5, 5));
        assert_eq!(limits("nofile=5:6"), (5, 6));
        assert_eq!(limits("fsize=0:-1").0, 0);
        for text in
            ["nofile", "nofile=", "nofile=6:5", "files=5", "nofile=-2", "nofile=1:2:3", "=1"]
        {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }

    fn merged(flags: &[&str], standing: &str) -> Result<serde_json::Value> {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            limits: LimitArgs,
        }
        let line: Line = clap::Parser::parse_from([&["update"], flags].concat());
        let resources = resources(&line.limits, &serde_json::from_str(standing).unwrap())?;
        Ok(serde_json::to_value(resources).unwrap())
    }

    #[test]
    fn what_is_asked_for_joins_what_stands() {
        let standing = r#"{"memory": {"limit": 100, "swap": 200}, "cpu": {"shares": 7}}"#;
        for (flags, expected) in [
            (&["-m", "150"][..], r#"{"memory": {"limit": 150, "swap": 200}}"#),
            (&["--memory-swap", "-1"], r#"{"memory": {"limit": 100, "swap": -1}}"#),
            (
                &["-m", "300", "--memory-swap", "400", "--memory-reservation", "50"],
                r#"{"memory": {"limit": 300, "swap": 400, "reservation": 50}}"#,
            ),
            (&["--cpu-quota", "5000"], r#"{"cpu": {"shares": 7, "quota": 5000}}"#),
            (&["--pids-limit", "-1"], r#"{"pids": {"limit": -1}}"#),
            (&[], "{}"),
        ] {
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            assert_eq!(merged(flags, standing).unwrap(), expected, "{flags:?}");
        }
        for flags in
            [&["-m", "300"][..], &["--memory-swap", "99"], &["--memory-reservation", "101"]]
        {
            assert!(merged(flags, standing).is_err(), "{flags:?}");
        }
        assert!(merged(&["--memory-swap", "99"], "{}").is_err());
        let doubled: serde_json::Value =
            serde_json::from_str(r#"{"memory": {"limit": 8, "swap": 16}}"#).unwrap();
        assert_eq!(merged(&["-m", "8"], "{}").unwrap(), doubled);
    }
}
