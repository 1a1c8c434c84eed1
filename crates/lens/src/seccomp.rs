//! Which system calls a process may make: seccomp(2), and the capabilities that stand before the mighty ones.

use procfs::process::Process;
use serde::Serialize;

use crate::capabilities::{self, Capabilities};
use crate::guide::text;
use crate::seen::must;
use crate::{Result, Seen};

/// How calls are filtered, PR_GET_SECCOMP(2const).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not at all.
    Disabled,
    /// read, write, _exit and sigreturn alone.
    Strict,
    /// By programs that look at each call.
    Filter,
}

/// What is known of filters, and of what they leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seccomp {
    /// Of its main thread. Null where the kernel has no seccomp.
    pub mode: Seen<Mode>,
    /// How many filters lie on top of each other. What is in them the kernel tells only who halts the process
    /// as its debugger, PTRACE_SECCOMP_GET_FILTER of ptrace(2): that is [`crate::audit`]'s.
    pub filters: Seen<u32>,
    /// Numbers of the threads that are filtered in another way: each has filters of its own.
    pub other_threads: Vec<i32>,
    /// no_new_privs, prctl(2): what a plain user must set before he may filter.
    pub no_new_privileges: Seen<bool>,
    /// Mighty calls, and whether capabilities let it make them.
    pub calls: Vec<Call>,
}

/// A system call that needs a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Its name, syscalls(2).
    pub name: &'static str,
    /// What it needs, capabilities(7).
    pub capability: &'static str,
    /// The capability must be of the host's user namespace; one of a namespace of its own is not enough.
    pub of_host: bool,
    /// It has that. Null where the caller may not know.
    pub permitted: Option<bool>,
}

/// Name, capability, of the host. Only such that get nowhere at all without it.
const CALLS: [(&str, &str, bool); 12] = [
    ("acct", "CAP_SYS_PACCT", true),
    ("chroot", "CAP_SYS_CHROOT", false),
    ("init_module", "CAP_SYS_MODULE", true),
    ("kexec_load", "CAP_SYS_BOOT", true),
    ("mount", "CAP_SYS_ADMIN", false),
    ("pivot_root", "CAP_SYS_ADMIN", false),
    ("reboot", "CAP_SYS_BOOT", false),
    ("setdomainname", "CAP_SYS_ADMIN", false),
    ("sethostname", "CAP_SYS_ADMIN", false),
    ("setns", "CAP_SYS_ADMIN", false),
    ("settimeofday", "CAP_SYS_TIME", true),
    ("swapon", "CAP_SYS_ADMIN", true),
];

/// Of this process, as it is now.
pub fn of(process: &Process) -> Result<Seccomp> {
    let status = must(process.pid(), "status", process.status())?;
    let may = capabilities::of(process)?;
    let read = |tid: i32| text(process, &format!("task/{tid}/status"));
    let main = read(process.pid());
    let mode = mode(&main);
    let tasks = process.tasks().into_iter().flatten().flatten();
    let others = tasks.map(|task| task.tid).filter(|tid| {
        let text = read(*tid);
        text.known().is_some()
            && (self::mode(&text), filters(&text)) != (mode.clone(), filters(&main))
    });
    Ok(Seccomp {
        filters: filters(&main),
        other_threads: others.collect(),
        mode,
        no_new_privileges: status.nonewprivs.map_or(Seen::Absent, |bit| Seen::Known(bit == 1)),
        calls: CALLS.map(|call| judge(call, &may)).to_vec(),
    })
}

fn line(status: &Seen<String>, key: &str) -> Seen<u32> {
    status.and_then(|text| {
        let rest = text.lines().find_map(|line| line.strip_prefix(key));
        rest.and_then(|rest| rest.trim().parse().ok()).map_or(Seen::Absent, Seen::Known)
    })
}

fn mode(status: &Seen<String>) -> Seen<Mode> {
    line(status, "Seccomp:").map(|mode| match mode {
        0 => Mode::Disabled,
        1 => Mode::Strict,
        _ => Mode::Filter,
    })
}

pub(crate) fn filters(status: &Seen<String>) -> Seen<u32> {
    line(status, "Seccomp_filters:")
}

fn judge(call: (&'static str, &'static str, bool), may: &Capabilities) -> Call {
    let (name, capability, of_host) = call;
    let has = may.effective.iter().any(|effective| effective == capability);
    let counts = match (of_host, &may.in_callers_user_namespace) {
        (false, _) => Some(true),
        // The caller of minibox may himself be in a user namespace, and then this is as near as one can see.
        (true, Seen::Known(is_callers)) => Some(*is_callers),
        (true, _) => None,
    };
    let permitted = if has { counts } else { Some(false) };
    Call { name, capability, of_host, permitted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_a_namespace_of_its_own_do_not_count_for_the_host() {
        let mut may = Capabilities {
            effective: vec!["CAP_SYS_ADMIN".into()],
            permitted: Vec::new(),
            inheritable: Vec::new(),
            bounding: Vec::new(),
            ambient: Seen::Absent,
            known: Vec::new(),
            no_new_privileges: Seen::Absent,
            uid: 0,
            in_callers_user_namespace: Seen::Known(false),
        };
        let mount = ("mount", "CAP_SYS_ADMIN", false);
        let swapon = ("swapon", "CAP_SYS_ADMIN", true);
        assert_eq!(judge(mount, &may).permitted, Some(true));
        assert_eq!(judge(swapon, &may).permitted, Some(false));
        may.in_callers_user_namespace = Seen::Denied;
        assert_eq!(judge(swapon, &may).permitted, None);
        assert_eq!(judge(("chroot", "CAP_SYS_CHROOT", false), &may).permitted, Some(false));
    }

    #[test]
    fn what_status_says_is_taken_apart() {
        let status = Seen::Known("Seccomp:\t2\nSeccomp_filters:\t3\n".to_owned());
        assert_eq!((mode(&status), filters(&status)), (Seen::Known(Mode::Filter), Seen::Known(3)));
        assert_eq!(mode(&Seen::Known(String::new())), Seen::Absent);
    }
}
