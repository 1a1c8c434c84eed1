//! The capability sets of a process, capabilities(7), from proc_pid_status(5).

use procfs::process::Process;
use serde::Serialize;

use crate::seen::must;
use crate::{Result, Seen};

/// The five sets, and what bounds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// What the kernel checks when it does something.
    pub effective: Vec<String>,
    /// What it may switch on.
    pub permitted: Vec<String>,
    /// What survives execve(2) of files that have the same in theirs.
    pub inheritable: Vec<String>,
    /// What no execve(2) can ever give it back once it is missing here.
    pub bounding: Vec<String>,
    /// What survives execve(2) of any file.
    pub ambient: Seen<Vec<String>>,
    /// Every one that the kernel knows, capabilities(7), "/proc/sys/kernel/cap_last_cap".
    pub known: Vec<String>,
    /// no_new_privs, prctl(2): setuid programs and file capabilities give nothing.
    pub no_new_privileges: Seen<bool>,
    /// Its effective user id, as the caller sees it.
    pub uid: u32,
    /// Its user namespace is the caller's. If not, its capabilities count only for what that one owns.
    pub in_callers_user_namespace: Seen<bool>,
}

/// Names of the set bits, in the kernel's order; `cap_41` where it has one that has no name here.
fn names(set: u64) -> Vec<String> {
    let all = caps::all();
    let name = |bit: u8| {
        let known = all.iter().find(|capability| capability.index() == bit);
        known.map_or_else(|| format!("CAP_{bit}"), ToString::to_string)
    };
    (0..64).filter(|bit| set >> bit & 1 == 1).map(name).collect()
}

/// Of this process, as it is now.
pub fn of(process: &Process) -> Result<Capabilities> {
    let status = must(process.pid(), "status", process.status())?;
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap");
    let last = last.ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(40);
    Ok(Capabilities {
        effective: names(status.capeff),
        permitted: names(status.capprm),
        inheritable: names(status.capinh),
        bounding: names(status.capbnd.unwrap_or(0)),
        ambient: status.capamb.map_or(Seen::Absent, |set| Seen::Known(names(set))),
        known: names(u64::MAX >> (63 - last.min(63))),
        no_new_privileges: status.nonewprivs.map_or(Seen::Absent, |bit| Seen::Known(bit == 1)),
        uid: status.euid,
        in_callers_user_namespace: crate::process::link(process, "ns/user").map(|theirs| {
            std::fs::read_link("/proc/self/ns/user").is_ok_and(|ours| ours == theirs)
        }),
    })
}
