//! Capabilities: five sets of bits, capabilities(7).

use caps::Capability;
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use crate::error::{Error, Result};
use crate::sys::{self, Sys};

/// The eleven that a program run as root usually needs, Docker's without MKNOD, NET_RAW and
/// AUDIT_WRITE: the first makes device nodes, the second forges packets, the third writes the audit log.
pub const DEFAULT: [&str; 11] = [
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

/// The bit of CAP_SYS_ADMIN.
pub const SYS_ADMIN: u64 = 1 << 21;

/// The five sets, one bit per capability number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitiesPlan {
    /// What can never be regained once dropped.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a file with inheritable capabilities may pass on.
    pub inheritable: u64,
    /// What survives execve of an ordinary program by a non-root user.
    pub ambient: u64,
    /// The highest number this kernel knows.
    pub last: u8,
}

/// The highest capability number of this kernel, /proc/sys/kernel/cap_last_cap.
fn last_cap() -> u8 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(40)
}

/// What the caller can grant: root what he has himself, a plain user everything, since he is root of
/// the user namespace that the container gets.
pub fn grantable() -> u64 {
    if !nix::unistd::Uid::effective().is_root() {
        return u64::MAX;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    permitted.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// The number of the capability called `name`, with or without `CAP_`, in any case.
pub fn number(name: &str) -> Result<u8> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    full.parse::<Capability>().map(|cap| cap.index()).map_err(|_| {
        Error::new(format!("unknown capability {name:?}"))
            .hint("names stand in capabilities(7), e.g. NET_ADMIN")
    })
}

/// The full name of capability `number`.
pub fn name(number: u8) -> Option<String> {
    caps::all().into_iter().find(|cap| cap.index() == number).map(|cap| cap.to_string())
}

fn bits(set: Option<&Capabilities>) -> Result<u64> {
    let mut bits = 0;
    for cap in set.into_iter().flatten() {
        bits |= 1 << number(&cap.to_string())?;
    }
    Ok(bits)
}

/// Decides the sets; where config.json says nothing, none is granted.
pub fn plan(asked: Option<&LinuxCapabilities>) -> Result<CapabilitiesPlan> {
    let last = last_cap();
    let known = u64::MAX >> (63 - u32::from(last.min(63)));
    let set = |set: fn(&LinuxCapabilities) -> &Option<Capabilities>| -> Result<u64> {
        Ok(bits(asked.and_then(|a| set(a).as_ref()))? & known)
    };
    Ok(CapabilitiesPlan {
        bounding: set(LinuxCapabilities::bounding)?,
        effective: set(LinuxCapabilities::effective)?,
        permitted: set(LinuxCapabilities::permitted)?,
        inheritable: set(LinuxCapabilities::inheritable)?,
        ambient: set(LinuxCapabilities::ambient)?,
        last,
    })
}

impl CapabilitiesPlan {
    /// Leaves out, with a warning, what cannot be granted: what is not in `granted`, and what the sets
    /// themselves rule out. The specification wants no failure of it.
    pub fn limit_to(&mut self, granted: u64) {
        let leave = |set: &mut u64, most: u64, name: &str| {
            let over = *set & !most;
            for number in (0..=63).filter(|number| over & (1 << number) != 0) {
                let capability = self::name(number).unwrap_or_default();
                if name == "ambient" {
                    tracing::warn!(
                        "can't raise ambient capability {capability}: it is not permitted and inheritable as well"
                    );
                } else {
                    tracing::warn!(
                        "{capability} is left out of the {name} set: it cannot be granted"
                    );
                }
            }
            *set &= most;
        };
        leave(&mut self.bounding, granted, "bounding");
        leave(&mut self.permitted, granted, "permitted");
        leave(&mut self.inheritable, granted, "inheritable");
        leave(&mut self.effective, self.permitted, "effective");
        leave(&mut self.ambient, self.permitted & self.inheritable, "ambient");
    }

    /// CHILD: shrinks the bounding set.
    pub fn bound(&self) -> Sys<()> {
        for cap in 0..=self.last {
            if self.bounding & (1 << cap) == 0 {
                sys::capbset_drop(cap)?;
            }
        }
        Ok(())
    }

    /// CHILD: sets effective, permitted and inheritable; of the first two also what is `kept` for a while.
    pub fn set(&self, kept: u64) -> Sys<()> {
        sys::capset(self.effective | kept, self.permitted | kept, self.inheritable)
    }

    /// CHILD: the same, and ambient last, since it must be within permitted and inheritable.
    pub fn apply(&self, kept: u64) -> Sys<()> {
        self.set(kept)?;
        for cap in 0..=self.last {
            if self.ambient & (1 << cap) != 0 {
                sys::ambient_raise(cap)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_in_every_spelling() {
        assert_eq!(number("CAP_CHOWN").unwrap(), 0);
        assert_eq!(number("net_admin").unwrap(), 12);
        assert_eq!(name(21).as_deref(), Some("CAP_SYS_ADMIN"));
        let error = number("CAP_EVERYTHING").unwrap_err().to_string();
        assert!(error.contains("unknown capability \"CAP_EVERYTHING\""), "{error}");
    }

    #[test]
    fn what_cannot_be_granted_is_left_out() {
        let mut plan = plan(None).unwrap();
        (plan.bounding, plan.permitted, plan.inheritable) = (0b1111, 0b0111, 0b1011);
        (plan.effective, plan.ambient) = (0b1111, 0b1111);
        plan.limit_to(0b1101);
        assert_eq!((plan.bounding, plan.permitted, plan.inheritable), (0b1101, 0b0101, 0b1001));
        assert_eq!((plan.effective, plan.ambient), (0b0101, 0b0001));
    }

    #[test]
    fn nothing_asked_nothing_granted() {
        let plan = plan(None).unwrap();
        assert_eq!(
            plan.bounding | plan.effective | plan.permitted | plan.inheritable | plan.ambient,
            0
        );
    }
}
