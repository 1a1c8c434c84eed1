//! Limits: memory, CPU, processes, and what the hardware offers.

use minibox_runtime::Result;

use super::{bad, parse_size};
use crate::args::{CreateArgs, LimitArgs};

/// Default of `--pids-limit`: enough for any teaching, too few for a fork bomb.
pub(crate) const PIDS_LIMIT: i64 = 512;

/// The limits that were asked for.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Bytes.
    pub memory: Option<i64>,
    /// Microseconds of every 100 000.
    pub cpu_quota: Option<i64>,
    pub pids: i64,
}

pub(super) fn understand(args: &CreateArgs) -> Result<Limits> {
    let limits = &args.limits;
    super::not_yet(&[
        ("--memory-swap", limits.memory_swap.is_some()),
        ("--memory-reservation", limits.memory_reservation.is_some()),
        ("--cpu-shares", limits.cpu_shares.is_some()),
        ("--cpu-period", limits.cpu_period.is_some()),
        ("--cpu-quota", limits.cpu_quota.is_some()),
        ("--cpuset-cpus", limits.cpuset_cpus.is_some()),
        ("--cpuset-mems", limits.cpuset_mems.is_some()),
        ("--blkio-weight", limits.blkio_weight.is_some()),
        ("--ulimit", !args.program.ulimits.is_empty()),
        ("--shm-size", args.hardware.shm_size != "64m"),
        ("--sysctl", !args.hardware.sysctls.is_empty()),
        ("--device", !args.hardware.devices.is_empty()),
        ("--device-cgroup-rule", !args.hardware.device_rules.is_empty()),
    ])?;
    let pids = limits.pids_limit.unwrap_or(PIDS_LIMIT);
    if pids == 0 || pids < -1 {
        let right = "a number above 0, or -1 for no limit";
        return Err(bad("--pids-limit", &pids.to_string(), right));
    }
    let size = |text: &String| parse_size("--memory", text);
    Ok(Limits {
        memory: limits.memory.as_ref().map(size).transpose()?,
        cpu_quota: limits.cpus.as_deref().map(parse_cpus).transpose()?,
        pids,
    })
}

/// The flags that need a cgroup, where they were given.
pub(crate) fn given(args: &LimitArgs) -> Vec<&'static str> {
    let given = [
        (args.memory.is_some(), "-m/--memory"),
        (args.cpus.is_some(), "--cpus"),
        (args.pids_limit.is_some(), "--pids-limit"),
    ];
    given.into_iter().filter_map(|(is_given, flag)| is_given.then_some(flag)).collect()
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
}
