//! Which system calls get through to the kernel, and not which are said to: the filters themselves are read and
//! run; of this very process the calls are tried.

use nix::libc::{self, sock_filter};
use procfs::process::Process;
use syscalls::Sysno;

use super::bpf;
use super::{Audit, Id, Subject, Weight};
use crate::Seen;
use crate::seccomp::{self, Mode};
use crate::sys;

/// A call that kernel bugs are found behind again and again, and that programs do without. TIOCSTI is not among
/// them: without a terminal from outside, which is looked for among descriptors, there is none to type into.
struct Probe {
    name: &'static str,
    call: Sysno,
    /// Such that it does nothing where it gets through.
    arguments: [u64; 6],
    /// Who has one of these has it anyway.
    unless: &'static [&'static str],
}

const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
/// No descriptor.
const NONE: u64 = u64::MAX;

fn probes() -> Vec<Probe> {
    let probe = |name, call, arguments: &[u64], unless| {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        Probe { name, call, arguments: all, unless }
    };
    vec![
        probe("add_key", Sysno::add_key, &[], &[]),
        probe("bpf", Sysno::bpf, &[NONE], &["CAP_BPF", "CAP_SYS_ADMIN"]),
        probe("io_uring_setup", Sysno::io_uring_setup, &[], &[]),
        probe("keyctl", Sysno::keyctl, &[], &[]),
        probe(
            "perf_event_open",
            Sysno::perf_event_open,
            &[0, 0, NONE, NONE],
            &["CAP_PERFMON", "CAP_SYS_ADMIN"],
        ),
        probe("request_key", Sysno::request_key, &[], &[]),
        probe("socket AF_ALG", Sysno::socket, &[38, 5], &[]),
        probe("socket AF_RXRPC", Sysno::socket, &[33, 2, 2], &[]),
        probe("socket AF_VSOCK", Sysno::socket, &[40, 1], &[]),
        probe("unshare CLONE_NEWUSER", Sysno::unshare, &[NEW_USER], &["CAP_SYS_ADMIN"]),
        probe("userfaultfd", Sysno::userfaultfd, &[], &[]),
    ]
}

/// The kernel's number for this machine's calls, and for its calls of 32 bits with that of getpid(2):
/// linux/audit.h.
const ARCHITECTURE: Option<(u32, Option<u32>)> = if cfg!(target_arch = "x86_64") {
    Some((0xc000_003e, Some(0x4000_0003)))
} else if cfg!(target_arch = "aarch64") {
    Some((0xc000_00b7, Some(0x4000_0028)))
} else if cfg!(target_arch = "riscv64") {
    Some((0xc000_00f3, None))
} else if cfg!(target_arch = "s390x") {
    Some((0x8000_0016, Some(0x0000_0016)))
} else {
    None
};

/// The same number on all of these.
const GETPID_OF_32_BITS: u32 = 20;

pub(super) fn check(subject: &Subject<'_>, audit: &mut Audit) {
    let Ok(seen) = seccomp::of(subject.process) else { return };
    match seen.mode {
        Seen::Known(Mode::Strict) => return,
        Seen::Known(Mode::Filter) => {}
        Seen::Known(Mode::Disabled) | Seen::Absent => {
            return audit.find(Id::SeccompOff, Weight::Serious, vec![String::from("Seccomp: 0")]);
        }
        Seen::Denied => return audit.hidden.push(Id::SeccompOff),
    }
    let is_worth = |probe: &Probe| !probe.unless.iter().any(|power| subject.has(power));
    let probes: Vec<Probe> = probes().into_iter().filter(is_worth).collect();
    let gaps = if subject.process.pid() == std::process::id() as i32 {
        let tried = probes.iter().filter(|probe| sys::gets_through(probe.call, &probe.arguments));
        Some(tried.map(|probe| probe.name.to_owned()).collect())
    } else {
        weakest_thread(subject.process).and_then(sys::filters).and_then(|all| gaps(&probes, &all))
    };
    match gaps {
        Some(gaps) => audit.find(Id::SeccompGaps, Weight::Notable, gaps),
        None => audit.believed.push(Id::SeccompGaps),
    }
}

/// The one with the fewest filters: whoever hides something behind a thread that has more is seen through.
fn weakest_thread(process: &Process) -> Option<i32> {
    let tasks = process.tasks().ok()?.flatten();
    let filters = |tid: i32| {
        let status = crate::guide::text(process, &format!("task/{tid}/status"));
        seccomp::filters(&status).known().copied().unwrap_or(0)
    };
    tasks.map(|task| task.tid).min_by_key(|tid| filters(*tid))
}

/// What all of the filters let through. Nothing where one of them is not understood.
fn gaps(probes: &[Probe], filters: &[Vec<sock_filter>]) -> Option<Vec<String>> {
    let (architecture, of_32_bits) = ARCHITECTURE?;
    let get_through = |data: bpf::Data| {
        filters.iter().try_fold(true, |all, filter| Some(all & bpf::lets_through(filter, &data)?))
    };
    let mut gaps = Vec::new();
    for probe in probes {
        let data = bpf::data(probe.call.id() as u32, architecture, probe.arguments);
        if get_through(data)? {
            gaps.push(probe.name.to_owned());
        }
    }
    if let Some(architecture) = of_32_bits
        && get_through(bpf::data(GETPID_OF_32_BITS, architecture, [0; 6]))?
    {
        gaps.push(String::from("32-bit getpid"));
    }
    Some(gaps)
}
