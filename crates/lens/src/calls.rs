//! Where a thread is: in which system call, and with which arguments, from proc_pid_syscall(5).

use procfs::process::{Process, Syscall};
use serde::Serialize;
use syscalls::Sysno;

use crate::Seen;
use crate::seen::seen;

/// Where a thread is at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Where {
    /// On a CPU, or waiting for one: registers are not to be had.
    Running,
    /// In the kernel, and the kernel goes on with it later.
    InCall(Call),
    /// Halted elsewhere: by a page that is being fetched, a signal, a debugger.
    Halted {
        /// Its stack pointer.
        stack_pointer: u64,
    },
}

/// A system call that has not returned, syscalls(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Its name, where this machine's table has the number.
    pub name: Option<String>,
    /// By which the program asked for it.
    pub number: i64,
    /// The six registers that arguments are passed in, needed or not.
    pub arguments: [u64; 6],
    /// Where its stack ends.
    pub stack_pointer: u64,
}

impl Where {
    /// The call it is in.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Where::InCall(call) => Some(call),
            Where::Running | Where::Halted { .. } => None,
        }
    }

    /// Where its stack ends, unless it runs.
    pub fn stack_pointer(&self) -> Option<u64> {
        match self {
            Where::Running => None,
            Where::InCall(call) => Some(call.stack_pointer),
            Where::Halted { stack_pointer } => Some(*stack_pointer),
        }
    }
}

/// Of thread `tid` of a process. Only who may trace it is told.
pub fn of(process: &Process, tid: i32) -> Seen<Where> {
    seen(process.read::<_, Syscall>(format!("task/{tid}/syscall"))).map(|read| match read {
        Syscall::Blocked { syscall_number: -1, stack_pointer, .. } => {
            Where::Halted { stack_pointer }
        }
        Syscall::Blocked { syscall_number, argument_registers, stack_pointer, .. } => {
            let known = usize::try_from(syscall_number).ok().and_then(Sysno::new);
            Where::InCall(Call {
                name: known.map(|known| known.name().to_owned()),
                number: syscall_number,
                arguments: argument_registers,
                stack_pointer,
            })
        }
        _ => Where::Running,
    })
}
