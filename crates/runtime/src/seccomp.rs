//! Which system calls the program may make: `linux.seccomp` of config.json, seccomp(2).
//!
//! [`plan`] compiles the profile, in the parent: [`rules`] says what happens to which call, with the numbers of
//! [`calls`], and [`bpf`] writes the program for it. The child only hands it to the kernel.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag, Spec, State};

use crate::error::Result;
use crate::sys::{self, Sys};

pub mod agent;
pub mod bpf;
pub mod calls;
pub mod rules;
#[cfg(test)]
mod tests;

use agent::Agent;
use rules::{Fate, Rules};

/// A filter, ready for the kernel.
pub struct SeccompPlan {
    /// What the kernel runs at each call.
    pub program: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
    /// Who decides on calls with `SCMP_ACT_NOTIFY`.
    agent: Option<Agent>,
}

impl std::fmt::Debug for SeccompPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |i: &sock_filter| (i.code, i.jt, i.jf, i.k);
        let program: Vec<_> = self.program.iter().map(line).collect();
        let mut plan = f.debug_struct("SeccompPlan");
        plan.field("program", &program).field("flags", &self.flags);
        plan.field("agent", &self.agent).finish()
    }
}

/// Compiles `profile`; `container` is what an agent hears of the container.
pub fn plan(profile: &LinuxSeccomp, container: &State) -> Result<SeccompPlan> {
    let program = bpf::compile(&Rules::new(profile)?)?;
    let mut flags = flags(profile);
    let agent = Agent::of(profile, container)?;
    if agent.is_some() {
        flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    } else {
        // It is about the wait for an agent, and the kernel takes it for nothing else.
        flags &= !libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    }
    tracing::debug!("seccomp filter flags: {flags}");
    Ok(SeccompPlan { program, flags, agent })
}

/// Without a word about flags runc takes this one: the program's own memory is not to be made slower.
fn flags(profile: &LinuxSeccomp) -> u64 {
    let Some(flags) = profile.flags() else { return libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW };
    flags.iter().fold(0, |all, flag| all | bit(*flag))
}

fn bit(flag: Flag) -> u64 {
    match flag {
        Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Flag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        // There is one thread only.
        Flag::SeccompFilterFlagTsync => 0,
    }
}

/// Does this machine's kernel know `flag`? It looks at the flags before it looks at the filter, of which there
/// is none here.
pub fn is_supported(flag: Flag) -> bool {
    let mut flags = bit(flag);
    if flag == Flag::SeccompFilterFlagWaitKillableRecv {
        flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    }
    sys::probe_seccomp_flags(flags)
}

/// The profile of `spec`, compiled: the same for every process of a container.
pub fn of_spec(spec: &Spec, id: &str, bundle: &Path) -> Result<Option<SeccompPlan>> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(None);
    };
    let mut container = State::default();
    container.set_version(spec.version().clone());
    container.set_id(id.to_owned());
    container.set_bundle(bundle.to_owned());
    container.set_annotations(spec.annotations().clone());
    plan(profile, &container).map(Some)
}

/// What a profile says to this machine's own calls, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// They fail, or kill, whatever the arguments.
    pub refused: Vec<&'static str>,
    /// It depends on their arguments.
    pub depends: Vec<&'static str>,
}

/// What `profile` says to calls.
pub fn outlook(profile: &LinuxSeccomp) -> Result<Outlook> {
    let rules = Rules::new(profile)?;
    let mut outlook = Outlook::default();
    for (name, fate) in rules.native_calls() {
        match fate {
            Fate::Always(verdict) if rules::is_permissive(verdict) => {}
            // What an agent will do, nobody knows.
            Fate::Always(libc::SECCOMP_RET_USER_NOTIF) | Fate::Depends(_) => {
                outlook.depends.push(name);
            }
            Fate::Always(_) => outlook.refused.push(name),
        }
    }
    Ok(outlook)
}

impl SeccompPlan {
    /// CHILD: filters this process from here on; the descriptor that an agent listens on, where there is one.
    pub fn install(&self) -> Sys<Option<RawFd>> {
        let fd = sys::seccomp_filter(self.flags, &self.program)?;
        Ok(self.agent.is_some().then_some(fd))
    }

    /// PARENT: hands the agent its descriptor of process `pid`. `init` is the container's PID 1.
    pub fn tell_agent(&self, listener: &OwnedFd, pid: i32, init: i32) -> Result<()> {
        self.agent.as_ref().map_or(Ok(()), |agent| agent.tell(listener, pid, init))
    }
}
