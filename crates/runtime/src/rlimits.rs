//! Resource limits of a process, prlimit(2).

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

use crate::error::{Error, Result};
use crate::sys::{self, Sys};

/// One limit, decided; units are the resource's own, getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitPlan {
    /// Its name in config.json.
    pub kind: PosixRlimitType,
    /// RLIMIT_* number.
    pub resource: u32,
    /// What the kernel enforces.
    pub soft: u64,
    /// How far the process itself may raise it.
    pub hard: u64,
}

fn number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// Decides the limits of config.json.
pub fn plan(asked: &[PosixRlimit]) -> Result<Vec<RlimitPlan>> {
    let mut plans: Vec<RlimitPlan> = Vec::new();
    for limit in asked {
        let plan = RlimitPlan {
            kind: limit.typ(),
            resource: number(limit.typ()),
            soft: limit.soft(),
            hard: limit.hard(),
        };
        if plan.soft > plan.hard {
            return Err(Error::new(format!(
                "{}: the soft limit {} is above the hard limit {}",
                limit.typ(),
                plan.soft,
                plan.hard
            )));
        }
        if plans.iter().any(|p| p.resource == plan.resource) {
            return Err(Error::new(format!("{} is set twice", limit.typ())));
        }
        plans.push(plan);
    }
    Ok(plans)
}

impl std::fmt::Display for RlimitPlan {
    /// The call that sets it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "prlimit({}, {}, {})", self.kind, self.soft, self.hard)
    }
}

impl RlimitPlan {
    /// CHILD: sets it.
    pub fn apply(self) -> Sys<()> {
        sys::setrlimit(self.resource, self.soft, self.hard)
    }
}
