//! How the kernel is to run the program: on which processors, how soon, from which memory, and as what kind
//! of machine. PARENT plans, CHILD applies.

use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process,
    Scheduler,
};

use crate::error::{Error, Result};
use crate::sys::{self, NumberSet, SchedAttr, Sys};

/// One wish, decided.
#[derive(Debug)]
pub enum Habit {
    /// `process.scheduler`.
    Scheduler(SchedAttr),
    /// `process.ioPriority`: class and level, as ioprio_set(2) has them in one number.
    IoPriority(u32),
    /// `linux.memoryPolicy`: mode with its flags, and the nodes of memory.
    Memory(u32, NumberSet),
    /// `linux.personality`: the domain.
    Personality(u64),
}

impl std::fmt::Display for Habit {
    /// The call.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Habit::Scheduler(attr) => write!(
                f,
                "sched_setattr(policy {}, nice {}, priority {})",
                attr.policy, attr.nice, attr.priority
            ),
            Habit::IoPriority(number) => {
                write!(f, "ioprio_set(class {}, level {})", number >> CLASS_SHIFT, number & 7)
            }
            Habit::Memory(mode, _) => write!(f, "set_mempolicy({mode:#x})"),
            Habit::Personality(domain) => write!(f, "personality({domain:#x})"),
        }
    }
}

impl Habit {
    /// CHILD.
    pub fn apply(&self) -> Sys<()> {
        match self {
            Habit::Scheduler(attr) => sys::sched_setattr(attr),
            Habit::IoPriority(number) => sys::ioprio_set(*number),
            Habit::Memory(mode, nodes) => sys::set_mempolicy(*mode, nodes),
            Habit::Personality(domain) => sys::personality(*domain),
        }
    }
}

/// Those of the process, and those of `linux`.
pub fn plan(process: &Process, linux: Option<&Linux>) -> Result<Vec<Habit>> {
    let mut habits = Vec::new();
    if let Some(scheduler) = process.scheduler() {
        habits.push(Habit::Scheduler(sched_attr(scheduler)));
    }
    if let Some(priority) = process.io_priority() {
        habits.push(Habit::IoPriority(io_priority(priority)?));
    }
    if let Some(policy) = linux.and_then(|linux| linux.memory_policy().as_ref()) {
        let nodes = policy.nodes().as_deref().unwrap_or_default();
        let nodes = set("invalid memory policy nodes: linux.memoryPolicy.nodes", nodes)?;
        let takes_none = matches!(
            policy.mode(),
            MemoryPolicyModeType::MpolDefault | MemoryPolicyModeType::MpolLocal
        );
        let count = (0..NumberSet::END).filter(|number| nodes.has(*number)).count();
        if takes_none && count > 0 {
            return Err(Error::new(format!(
                "config.json: linux.memoryPolicy: this mode requires 0 nodes but got {count}"
            )));
        }
        habits.push(Habit::Memory(memory_mode(policy), nodes));
    }
    if let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) {
        habits.push(Habit::Personality(match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        }));
    }
    Ok(habits)
}

/// The processors of `process.execCPUAffinity`: before the process is in the container's cgroup, and then.
pub fn affinity(process: &Process) -> Result<[Option<NumberSet>; 2]> {
    let Some(affinity) = process.exec_cpu_affinity() else { return Ok([None, None]) };
    let set = |field: &str, text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(|text| set(&format!("process.execCPUAffinity.{field}"), text)).transpose()
    };
    Ok([set("initial", affinity.initial())?, set("final", affinity.cpu_affinity_final())?])
}

fn sched_attr(scheduler: &Scheduler) -> SchedAttr {
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    SchedAttr {
        policy: match scheduler.policy() {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => 4,
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => 6,
        },
        flags: scheduler.flags().iter().flatten().map(flag).fold(0, |all, one| all | one),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}

const CLASS_SHIFT: u32 = 13;

fn io_priority(asked: &LinuxIOPriority) -> Result<u32> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(asked.priority()) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => Err(Error::new(format!(
            "config.json: process.ioPriority.priority {} is not between 0 and 7",
            asked.priority()
        ))),
    }
}

/// MPOL_* and MPOL_F_* of linux/mempolicy.h.
fn memory_mode(policy: &LinuxMemoryPolicy) -> u32 {
    let mode = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
    };
    policy.flags().iter().flatten().map(flag).fold(mode, |all, one| all | one)
}

/// The numbers of a list such as `0-3,7`.
fn set(field: &str, text: &str) -> Result<NumberSet> {
    let wrong = || {
        Error::new(format!(
            "config.json: {field} {text:?} is no list of numbers below {} such as 0-3,7",
            NumberSet::END
        ))
    };
    let mut set = NumberSet::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= NumberSet::END {
            return Err(wrong());
        }
        (first..=last).for_each(|number| set.add(number));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        let numbers = |text: &str| {
            let set = set("field", text).unwrap();
            (0..NumberSet::END).filter(|number| set.has(*number)).collect::<Vec<_>>()
        };
        assert_eq!(numbers("0-3, 7,64"), [0, 1, 2, 3, 7, 64]);
        assert!(numbers("").is_empty());
        for text in ["3-1", "a", "1024", "-1", "1-"] {
            let error = set("field", text).unwrap_err().to_string();
            assert!(error.contains("config.json: field"), "{error}");
        }
    }

    #[test]
    fn the_kernels_numbers() {
        let process = r#"{"args":["a"],"cwd":"/","user":{},
            "ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":7},
            "scheduler":{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_RECLAIM"],"runtime":1,"deadline":2,"period":3}}"#;
        let linux = r#"{"personality":{"domain":"LINUX32"},
            "memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES"]}}"#;
        let linux: Linux = serde_json::from_str(linux).unwrap();
        let habits = plan(&serde_json::from_str(process).unwrap(), Some(&linux)).unwrap();
        let calls: Vec<String> = habits.iter().map(Habit::to_string).collect();
        let expected = [
            "sched_setattr(policy 6, nice 0, priority 0)",
            "ioprio_set(class 3, level 7)",
            "set_mempolicy(0x8002)",
            "personality(0x8)",
        ];
        assert_eq!(calls, expected);
    }
}
