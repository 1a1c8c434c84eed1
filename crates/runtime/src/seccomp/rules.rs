//! A profile of config.json → for every number of every architecture, what happens to that call.
//!
//! What the specification leaves open is as in runc and libseccomp: a rule without conditions is above those
//! with conditions, whichever comes first; the first of each kind counts; a rule that does what is done anyway
//! is none; two conditions on the same argument are two rules.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::calls::{self, Architecture, X32_BIT};
use crate::error::{Error, Result};

/// `SECCOMP_RET_*` with its data, seccomp(2).
pub type Verdict = u32;

/// The call fails with ENOSYS, as if the kernel did not have it.
const UNKNOWN: Verdict = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// For calls by an architecture that the profile does not name.
pub const FOREIGN: Verdict = libc::SECCOMP_RET_KILL_PROCESS;

/// A comparison with one of the six arguments, 64 bits wide, unsigned.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// Which argument, from 0 on.
    pub index: usize,
    /// How it is compared.
    pub operator: Operator,
    /// With this; a mask for `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// What is left under the mask.
    pub masked: u64,
}

/// What happens to a call if all conditions hold.
#[derive(Debug)]
pub struct Rule {
    row: usize,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// Then this happens.
    pub verdict: Verdict,
}

/// What happens to the calls of a span of numbers.
#[derive(Debug, Clone, Copy)]
pub enum Fate<'a> {
    /// The same to all.
    Always(Verdict),
    /// The first of these rules that holds, or else the profile's default.
    Depends(&'a [Rule]),
}

/// The numbers of one `seccomp_data.arch`, from 0 to the last: each span begins at its number.
#[derive(Debug)]
pub struct Section<'a> {
    /// `seccomp_data.arch`.
    pub audit: u32,
    /// Which half of an argument comes first.
    pub is_big_endian: bool,
    /// In the order of numbers, the first from 0 on.
    pub spans: Vec<(u32, Fate<'a>)>,
}

/// A profile, understood.
#[derive(Debug)]
pub struct Rules {
    /// What happens to calls without a rule.
    pub default: Verdict,
    /// By call; of one call, in the profile's order.
    all: Vec<Rule>,
    architectures: Vec<&'static Architecture>,
    /// The rows of all calls that the profile names, even in vain.
    named: Vec<usize>,
}

impl Rules {
    /// Understands `profile`.
    pub fn new(profile: &LinuxSeccomp) -> Result<Rules> {
        let default = verdict(profile.default_action(), profile.default_errno_ret())?;
        let mut architectures = vec![Architecture::native().ok_or_else(|| {
            Error::new(
                "linux.seccomp: the system calls of this machine's architecture are not known",
            )
        })?];
        // One without a table is left out, which kills its calls.
        let asked = profile.architectures().iter().flatten();
        for architecture in asked.filter_map(|arch| Architecture::find(*arch)) {
            if !architectures.contains(&architecture) {
                architectures.push(architecture);
            }
        }
        let multiplexes = architectures.iter().any(|one| {
            [Arch::ScmpArchX86, Arch::ScmpArchPpc64le, Arch::ScmpArchS390x].contains(&one.arch)
        });
        let mut rules = Vec::with_capacity(512);
        let mut named = Vec::with_capacity(512);
        for entry in profile.syscalls().iter().flatten() {
            let verdict = verdict(entry.action(), entry.errno_ret())?;
            let conditions = conditions(entry)?;
            for name in entry.names() {
                // A call that this version does not know, no number can be checked for.
                let last = named.last().copied().unwrap_or(0);
                let Some(row) = calls::row_after(last, name) else { continue };
                named.push(row);
                if verdict == default {
                    continue;
                }
                let of = |row, conditions: &[Condition]| Rule {
                    row,
                    conditions: conditions.to_vec(),
                    verdict,
                };
                if shares_an_argument(&conditions) {
                    rules.extend(conditions.iter().map(|one| of(row, std::slice::from_ref(one))));
                } else {
                    rules.push(of(row, &conditions));
                }
                // There the arguments are out of sight, in memory: nothing is let through on their account.
                let sees_enough = conditions.is_empty() || !is_permissive(verdict);
                if multiplexes
                    && sees_enough
                    && let Some((row, door)) = multiplexed(name)
                {
                    rules.push(of(row, &[door]));
                }
            }
        }
        rules.sort_by_key(|rule| rule.row);
        Ok(Rules { default, all: rules, architectures, named })
    }

    /// Where each `seccomp_data.arch` leads, this machine's own first.
    pub fn sections(&self) -> Vec<Section<'_>> {
        let mut sections: Vec<Section<'_>> = Vec::new();
        for architecture in &self.architectures {
            let audit = architecture.audit;
            if !sections.iter().any(|section| section.audit == audit) {
                let both = self.architectures.iter().filter(|one| one.audit == audit);
                let is_big_endian = architecture.is_big_endian;
                sections.push(Section { audit, is_big_endian, spans: self.spans(both) });
            }
        }
        sections
    }

    /// What happens to each call that this machine has, by name.
    pub fn native_calls(&self) -> impl Iterator<Item = (&'static str, Fate<'_>)> {
        let native = self.architectures[0];
        let spans = self.spans([native].iter());
        calls::names().enumerate().filter_map(move |(row, name)| {
            let number = native.number(row)?;
            let after = spans.partition_point(|(begun, _)| *begun <= number);
            Some((name, spans[after - 1].1))
        })
    }

    fn spans<'a, 'b>(
        &'a self,
        sharing_an_audit_number: impl Iterator<Item = &'b &'static Architecture>,
    ) -> Vec<(u32, Fate<'a>)> {
        let mut tables: Vec<_> = sharing_an_audit_number.copied().collect();
        tables.sort_by_key(|architecture| architecture.bit);
        let mut spans = Spans(Vec::with_capacity(self.all.len()));
        spans.begin(0, Fate::Always(FOREIGN));
        for architecture in &tables {
            self.add_table(architecture, &mut spans);
        }
        if tables.iter().all(|one| one.arch == Arch::ScmpArchX86_64) && !tables.is_empty() {
            // x32's; but for -1, by which a debugger says that the call is not to be made.
            spans.begin(X32_BIT, Fate::Always(FOREIGN));
            spans.begin(u32::MAX, Fate::Always(self.default));
        }
        spans.0
    }

    fn add_table<'a>(&'a self, architecture: &Architecture, spans: &mut Spans<'a>) {
        let default = Fate::Always(self.default);
        let groups = self.all.chunk_by(|one, next| one.row == next.row);
        let numbered = groups.filter_map(|rules| Some((architecture.number(rules[0].row)?, rules)));
        let mut calls: Vec<(u32, &[Rule])> = numbered.collect();
        calls.sort_unstable_by_key(|(number, _)| *number);
        // A program that tries a new call and hears EPERM gives up; hearing ENOSYS it takes an older one. So
        // for what is newer than the profile, runc's rule.
        let newest = self.named.iter().filter_map(|row| architecture.number(*row)).max();
        let newest = newest.filter(|_| !is_permissive(self.default));
        spans.begin(architecture.bit, default);
        if newest.is_some() && architecture.arch == Arch::ScmpArchS390x {
            // Number 0 stands there for all calls that the kernel does not know.
            spans.begin(0, Fate::Always(UNKNOWN));
            spans.begin(1, default);
        }
        for (number, rules) in calls {
            let unconditional = rules.iter().find(|rule| rule.conditions.is_empty());
            let fate = unconditional.map_or(Fate::Depends(rules), |r| Fate::Always(r.verdict));
            spans.begin(number, fate);
            spans.begin(number + 1, default);
        }
        if let Some(newest) = newest {
            spans.begin(newest + 1, Fate::Always(UNKNOWN));
        }
    }
}

/// Spans without two neighbours of the same fate.
struct Spans<'a>(Vec<(u32, Fate<'a>)>);

impl<'a> Spans<'a> {
    fn begin(&mut self, number: u32, fate: Fate<'a>) {
        if self.0.last().is_some_and(|(begun, _)| *begun == number) {
            self.0.pop();
        }
        if let (Some((_, Fate::Always(before))), Fate::Always(now)) = (self.0.last(), fate)
            && *before == now
        {
            return;
        }
        self.0.push((number, fate));
    }
}

/// Does it let the call happen? A tracer decides itself, runc's reading.
pub fn is_permissive(verdict: Verdict) -> bool {
    let action = verdict & libc::SECCOMP_RET_ACTION_FULL;
    [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG, libc::SECCOMP_RET_TRACE].contains(&action)
}

fn verdict(action: Action, errno: Option<u32>) -> Result<Verdict> {
    let data = match (action, errno) {
        (Action::ScmpActErrno | Action::ScmpActTrace, errno) => errno.unwrap_or(libc::EPERM as u32),
        (_, None) => 0,
        (_, Some(_)) => {
            return Err(Error::new(format!(
                "linux.seccomp: {action} returns no errno, and one is given"
            )));
        }
    };
    if data > libc::SECCOMP_RET_DATA {
        return Err(Error::new(format!("linux.seccomp: {data} is no errno")));
    }
    Ok(data
        | match action {
            Action::ScmpActKill | Action::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
            Action::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Action::ScmpActTrap => libc::SECCOMP_RET_TRAP,
            Action::ScmpActErrno => libc::SECCOMP_RET_ERRNO,
            Action::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
            Action::ScmpActTrace => libc::SECCOMP_RET_TRACE,
            Action::ScmpActLog => libc::SECCOMP_RET_LOG,
            Action::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        })
}

fn conditions(entry: &LinuxSyscall) -> Result<Vec<Condition>> {
    let understand = |arg: &LinuxSeccompArg| {
        if arg.index() > 5 {
            let first = entry.names().first().map_or("", String::as_str);
            return Err(Error::new(format!(
                "linux.seccomp: a rule for {first} looks at argument {}, but they are numbered 0 to 5",
                arg.index()
            )));
        }
        Ok(Condition {
            index: arg.index(),
            operator: arg.op(),
            value: arg.value(),
            masked: arg.value_two().unwrap_or(0),
        })
    };
    entry.args().iter().flatten().map(understand).collect()
}

fn shares_an_argument(conditions: &[Condition]) -> bool {
    conditions
        .iter()
        .enumerate()
        .any(|(place, one)| conditions[..place].iter().any(|other| other.index == one.index))
}

/// Older architectures have one call for many, socketcall(2) or ipc(2), beside the calls themselves: its row, and
/// the first argument that stands for the call called `name`.
pub fn multiplexed(name: &str) -> Option<(usize, Condition)> {
    let is = |row: &&(&str, &str, u64)| row.0 == name;
    let (_, door, value) = MULTIPLEXED.iter().find(is)?;
    let condition = Condition { index: 0, operator: Operator::ScmpCmpEq, value: *value, masked: 0 };
    Some((calls::row(door)?, condition))
}

/// linux/net.h and linux/ipc.h.
const MULTIPLEXED: [(&str, &str, u64); 32] = [
    ("socket", "socketcall", 1),
    ("bind", "socketcall", 2),
    ("connect", "socketcall", 3),
    ("listen", "socketcall", 4),
    ("accept", "socketcall", 5),
    ("getsockname", "socketcall", 6),
    ("getpeername", "socketcall", 7),
    ("socketpair", "socketcall", 8),
    ("send", "socketcall", 9),
    ("recv", "socketcall", 10),
    ("sendto", "socketcall", 11),
    ("recvfrom", "socketcall", 12),
    ("shutdown", "socketcall", 13),
    ("setsockopt", "socketcall", 14),
    ("getsockopt", "socketcall", 15),
    ("sendmsg", "socketcall", 16),
    ("recvmsg", "socketcall", 17),
    ("accept4", "socketcall", 18),
    ("recvmmsg", "socketcall", 19),
    ("sendmmsg", "socketcall", 20),
    ("semop", "ipc", 1),
    ("semget", "ipc", 2),
    ("semctl", "ipc", 3),
    ("semtimedop", "ipc", 4),
    ("msgsnd", "ipc", 11),
    ("msgrcv", "ipc", 12),
    ("msgget", "ipc", 13),
    ("msgctl", "ipc", 14),
    ("shmat", "ipc", 21),
    ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23),
    ("shmctl", "ipc", 24),
];
