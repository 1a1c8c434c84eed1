//! The address space of a process, proc_pid_maps(5): which addresses it may use, and how much RAM is behind
//! them.

use std::collections::HashSet;

use procfs::process::{LimitValue, Process, Stat, Status};
use serde::{Serialize, Serializer};

use crate::process::read;
use crate::seen::must;
use crate::{Result, Seen};

/// What a process has of memory. All amounts are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The name of its program, at most 15 bytes: comm of proc_pid_stat(5).
    pub name: String,
    /// One letter, proc_pid_stat(5): `Z` is a zombie, whose memory has been given back.
    pub state: char,
    /// A thread of the kernel's own: it has no address space.
    pub kernel_thread: bool,
    /// 32 or 64: how long its addresses are.
    pub bits: Seen<u8>,
    /// Where the kernel's half begins.
    pub kernel_starts_at: Seen<Address>,
    /// All mappings together, exactly: proc_pid_smaps(5), "smaps_rollup".
    pub totals: Seen<Amounts>,
    /// What everybody may see: proc_pid_status(5). The kernel counts these per CPU, and is late by some pages.
    pub counters: Seen<Counters>,
    /// From the lowest address up.
    pub mappings: Seen<Vec<Mapping>>,
    /// Where the kernel laid what when it loaded the program.
    pub marks: Seen<Marks>,
    /// How far the main thread's stack may grow, getrlimit(2), "RLIMIT_STACK"; absent: without end.
    pub stack_limit: Seen<u64>,
}

/// An address; as text hexadecimal, as in /proc/PID/maps: JSON has no numbers of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:x}", self.0))
    }
}

/// Addresses that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// The first.
    pub start: Address,
    /// The first that does not belong to it any more.
    pub end: Address,
    /// `rwxp` or `rwxs`: read, write, execute, private or shared.
    pub permissions: String,
    /// What it is for.
    pub kind: Kind,
    /// The thread whose stack it is, where it can be told.
    pub tid: Option<i32>,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file behind it, or the kernel's name for it: `[heap]`. As the process's namespace has it.
    pub name: Option<String>,
    /// How much of it is where, proc_pid_smaps(5).
    pub amounts: Seen<Amounts>,
}

impl Mapping {
    /// How many bytes of addresses it has.
    pub fn size(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    fn holds(&self, address: u64) -> bool {
        (self.start.0..self.end.0).contains(&address)
    }

    /// Memory that nobody may touch: a guard, or addresses kept for later.
    fn is_closed(&self) -> bool {
        self.name.is_none() && self.permissions == "---p"
    }
}

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A page of the kernel's, for old programs.
    Vsyscall,
    /// Code and data that the kernel lends to every process, vdso(7).
    Vdso,
    /// The main thread's.
    Stack,
    /// Another thread's, with the page below it that must not be touched: it holds the thread's stack
    /// pointer, or such a page lies below it.
    ThreadStack,
    /// A file with code, and not the program's.
    Library,
    /// Another file.
    File,
    /// What several processes may write to, and no file.
    SharedMemory,
    /// malloc(3)'s, for threads that are not the main one (glibc: 64 MiB each).
    Arena,
    /// Memory without a file, from mmap(2).
    Anonymous,
    /// What brk(2) grows.
    Heap,
    /// The program's variables that begin as zero.
    Bss,
    /// The program's variables that begin as something else.
    Data,
    /// What the program only reads.
    Constants,
    /// The program's instructions.
    Code,
}

/// How much of something is where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// In RAM, whoever else has it too.
    pub rss: u64,
    /// In RAM, each page divided by how many processes have it.
    pub pss: u64,
    /// Of rss: what other processes have too.
    pub shared: u64,
    /// Of rss: what it has alone.
    pub private: u64,
    /// Of rss: what is in no file.
    pub anonymous: u64,
    /// Swapped out.
    pub swap: u64,
    /// Huge pages of hugetlbfs, which are not in rss.
    pub hugetlb: u64,
}

impl Amounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Amounts) -> Amounts {
        Amounts {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            shared: self.shared + other.shared,
            private: self.private + other.private,
            anonymous: self.anonymous + other.anonymous,
            swap: self.swap + other.swap,
            hugetlb: self.hugetlb + other.hugetlb,
        }
    }

    /// Takes one line of smaps, `Rss: 4 kB`.
    fn take(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(':') else { return };
        let Some(kib) = value.trim().strip_suffix(" kB") else { return };
        let bytes = kib.parse::<u64>().unwrap_or(0) * 1024;
        match key {
            "Rss" => self.rss += bytes,
            "Pss" => self.pss += bytes,
            "Shared_Clean" | "Shared_Dirty" => self.shared += bytes,
            "Private_Clean" | "Private_Dirty" => self.private += bytes,
            "Anonymous" => self.anonymous += bytes,
            "Swap" => self.swap += bytes,
            "Shared_Hugetlb" | "Private_Hugetlb" => self.hugetlb += bytes,
            _ => {}
        }
    }
}

/// The lines of proc_pid_status(5) that tell of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// All addresses that it may use.
    pub vm_size: u64,
    /// In RAM.
    pub vm_rss: u64,
    /// The most that it ever had in RAM.
    pub vm_hwm: u64,
    /// Data, heap and memory without a file.
    pub vm_data: u64,
    /// The main thread's stack.
    pub vm_stk: u64,
    /// The program's code.
    pub vm_exe: u64,
    /// The code of libraries.
    pub vm_lib: u64,
    /// The tables in which the kernel keeps which address is where: RAM too, and not in vm_rss.
    pub vm_pte: u64,
    /// Swapped out.
    pub vm_swap: u64,
}

/// proc_pid_stat(5), fields 26 to 28 and 45 to 47.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// Where the code begins.
    pub start_code: Address,
    /// Where it ends.
    pub end_code: Address,
    /// Where the data begin.
    pub start_data: Address,
    /// Where the initialised data end.
    pub end_data: Address,
    /// Where the heap begins.
    pub start_brk: Address,
    /// Where the stack begins; it grows to lower addresses.
    pub start_stack: Address,
}

/// PF_KTHREAD of linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Of this process, as it is now.
pub fn of(process: &Process) -> Result<Memory> {
    let pid = process.pid();
    let stat = must(pid, "stat", process.stat())?;
    let status = must(pid, "status", process.status())?;
    let kernel_thread = stat.flags & KERNEL_THREAD != 0;
    // Kernel threads and zombies have no counters, and their maps are empty.
    let counters = counters(&status).map_or(Seen::Absent, Seen::Known);
    let has_memory = counters.known().is_some();
    let (mut totals, mut mappings, mut marks) = (Seen::Absent, Seen::Absent, Seen::Absent);
    if has_memory {
        totals = read(process, "smaps_rollup")?.map(|text| {
            let mut amounts = Amounts::default();
            text.lines().for_each(|line| amounts.take(line));
            amounts
        });
        mappings = match read(process, "smaps")? {
            Seen::Known(text) => Seen::Known(parse(&text)),
            _ => read(process, "maps")?.map(|text| parse(&text)),
        };
        marks = marks_of(&stat);
    }
    if let Seen::Known(mappings) = &mut mappings {
        let pointers = stack_pointers(process, pid);
        classify(mappings, marks.known(), &pointers);
    }
    let limits = must(pid, "limits", process.limits())?;
    let bits = mappings.clone().map(|all| width(&all));
    Ok(Memory {
        name: stat.comm.clone(),
        state: stat.state,
        kernel_thread,
        kernel_starts_at: if has_memory { kernel_start() } else { Seen::Absent },
        bits,
        totals,
        counters,
        mappings,
        marks,
        stack_limit: match limits.max_stack_size.soft_limit {
            LimitValue::Value(bytes) if has_memory => Seen::Known(bytes),
            _ => Seen::Absent,
        },
    })
}

fn counters(status: &Status) -> Option<Counters> {
    let bytes = |kib: Option<u64>| kib.unwrap_or(0) * 1024;
    Some(Counters {
        vm_size: status.vmsize? * 1024,
        vm_rss: bytes(status.vmrss),
        vm_hwm: bytes(status.vmhwm),
        vm_data: bytes(status.vmdata),
        vm_stk: bytes(status.vmstk),
        vm_exe: bytes(status.vmexe),
        vm_lib: bytes(status.vmlib),
        vm_pte: bytes(status.vmpte),
        vm_swap: bytes(status.vmswap),
    })
}

/// Whoever may not trace the process is told zeros, and ones for the code.
fn marks_of(stat: &Stat) -> Seen<Marks> {
    if stat.endcode <= 1 {
        return Seen::Denied;
    }
    let mark = |value: Option<u64>| Address(value.unwrap_or(0));
    Seen::Known(Marks {
        start_code: Address(stat.startcode),
        end_code: Address(stat.endcode),
        start_data: mark(stat.start_data),
        end_data: mark(stat.end_data),
        start_brk: mark(stat.start_brk),
        start_stack: Address(stat.startstack),
    })
}

/// maps or smaps. Not procfs's parser: names of files are the container's choice, and some of them that
/// one does not survive.
fn parse(text: &str) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        match (header(line), all.last_mut()) {
            (Some(mapping), _) => all.push(mapping),
            (None, Some(mapping)) => {
                let mut amounts = mapping.amounts.known().copied().unwrap_or_default();
                amounts.take(line);
                mapping.amounts = Seen::Known(amounts);
            }
            (None, None) => {}
        }
    }
    all
}

/// `start-end rwxp offset device inode   name`. Of a name line's ends are `\012`.
fn header(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok().map(Address);
    let (start, end) = (address(start)?, address(end)?);
    let permissions = fields.next()?.to_owned();
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let name = fields.nth(2).map(|name| name.trim_start_matches(' ').replace("\\012", "\n"));
    Some(Mapping {
        start,
        end,
        permissions,
        kind: Kind::Anonymous,
        tid: None,
        offset,
        name: name.filter(|name| !name.is_empty()),
        amounts: Seen::Denied,
    })
}

/// Each thread but the main one with its stack pointer, proc_pid_syscall(5): zero where it cannot be told,
/// which it can while it waits in a call.
fn stack_pointers(process: &Process, pid: i32) -> Vec<(i32, u64)> {
    let pointer = |tid: i32| {
        let text = read(process, &format!("task/{tid}/syscall")).ok()?.known()?.clone();
        let pointer = text.split_whitespace().rev().nth(1)?.strip_prefix("0x")?;
        u64::from_str_radix(pointer, 16).ok()
    };
    let tasks = process.tasks().into_iter().flatten().flatten().filter(|task| task.tid != pid);
    tasks.map(|task| (task.tid, pointer(task.tid).unwrap_or(0))).collect()
}

/// How names of memory begin that is shared and in no file that lasts.
const SHARED: [&str; 5] = ["/dev/zero", "/SYSV", "/memfd:", "/dev/shm/", "[anon_shmem:"];
/// HEAP_MAX_SIZE of glibc: each of its arenas begins and ends at a multiple of it.
const ARENA: u64 = 64 << 20;
/// The largest page, or pages, that a thread's stack ends with.
const LARGEST_GUARD: u64 = 64 << 10;

/// Says of each mapping what it is for.
fn classify(all: &mut [Mapping], marks: Option<&Marks>, pointers: &[(i32, u64)]) {
    let begin = marks.map_or(0, |marks| marks.start_code.0);
    let program = all.iter().find(|mapping| mapping.holds(begin));
    let program = program.and_then(|mapping| mapping.name.clone());
    let with_code: HashSet<String> = all
        .iter()
        .filter(|mapping| mapping.permissions.contains('x'))
        .filter_map(|mapping| mapping.name.clone())
        .collect();
    let told: Vec<(Kind, Option<i32>)> = (0..all.len())
        .map(|index| {
            let mapping = &all[index];
            let Some(name) = mapping.name.as_deref().filter(|name| !name.starts_with("[anon:"))
            else {
                return of_nameless(all, index, program.as_deref(), pointers);
            };
            let kind = match name {
                "[heap]" => Kind::Heap,
                "[stack]" => Kind::Stack,
                "[vsyscall]" => Kind::Vsyscall,
                _ if SHARED.iter().any(|begin| name.starts_with(begin))
                    && mapping.permissions.ends_with('s') =>
                {
                    Kind::SharedMemory
                }
                _ if name.starts_with('[') => Kind::Vdso,
                _ if Some(name) == program.as_deref() => match mapping.permissions.as_bytes() {
                    [_, _, b'x', _] => Kind::Code,
                    [_, b'w', _, _] => Kind::Data,
                    _ => Kind::Constants,
                },
                _ if with_code.contains(name) => Kind::Library,
                _ => Kind::File,
            };
            (kind, None)
        })
        .collect();
    for (mapping, (kind, tid)) in all.iter_mut().zip(told) {
        (mapping.kind, mapping.tid) = (kind, tid);
    }
}

/// What memory without a file is for: its neighbours tell.
fn of_nameless(
    all: &[Mapping],
    index: usize,
    program: Option<&str>,
    pointers: &[(i32, u64)],
) -> (Kind, Option<i32>) {
    let mapping = &all[index];
    let below = index.checked_sub(1).map(|below| &all[below]);
    let below = below.filter(|below| below.end == mapping.start);
    let above = all.get(index + 1).filter(|above| above.start == mapping.end);
    let is_data = |below: &&Mapping| below.name.is_some() && below.name.as_deref() == program;
    if below.is_some_and(|below| is_data(&below) && below.permissions.starts_with("rw")) {
        return (Kind::Bss, None);
    }
    // Two halves: what is in use, and what is kept free for it.
    let (used, free) =
        if mapping.is_closed() { (below, Some(mapping)) } else { (Some(mapping), above) };
    if let Some(used) = used.filter(|used| used.name.is_none() && used.start.0 % ARENA == 0) {
        let end = free.filter(|free| free.is_closed()).map_or(used.end, |free| free.end);
        if end.0 - used.start.0 == ARENA {
            return (Kind::Arena, None);
        }
    }
    let (guard, stack) =
        if mapping.is_closed() { (Some(mapping), above) } else { (below, Some(mapping)) };
    let guard = guard.filter(|guard| guard.is_closed() && guard.size() <= LARGEST_GUARD);
    let stack = stack.filter(|stack| stack.permissions == "rw-p" && stack.start.0 % ARENA != 0);
    if let (Some(_), Some(stack), false) = (guard, stack, pointers.is_empty()) {
        let owner = pointers.iter().find(|(_, pointer)| stack.holds(*pointer));
        return (Kind::ThreadStack, owner.map(|(tid, _)| *tid));
    }
    (Kind::Anonymous, None)
}

/// How long the addresses are: those of 32 bits end where the others' stack is far above.
fn width(all: &[Mapping]) -> u8 {
    let own = all.iter().filter(|mapping| mapping.kind != Kind::Vsyscall);
    if own.map(|mapping| mapping.end.0).max().unwrap_or(0) > 1 << 32 { 64 } else { 32 }
}

/// Documentation/arch/x86/x86_64/mm.rst; on arm64 it depends on how the kernel was built.
fn kernel_start() -> Seen<Address> {
    if !cfg!(target_arch = "x86_64") {
        return Seen::Absent;
    }
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_five_levels = cpu.split_whitespace().any(|flag| flag == "la57");
    Seen::Known(Address(if has_five_levels { 0xff00 << 48 } else { 0xffff_8000 << 32 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each line of `maps` is for, with the program at 0x1000 and threads of these stack pointers.
    fn kinds(maps: &str, pointers: &[(i32, u64)]) -> Vec<(Kind, Option<i32>)> {
        let mut all = parse(maps);
        let zero = Address(0);
        let marks = Marks {
            start_code: Address(0x1000),
            end_code: zero,
            start_data: zero,
            end_data: zero,
            start_brk: zero,
            start_stack: zero,
        };
        classify(&mut all, Some(&marks), pointers);
        all.iter().map(|mapping| (mapping.kind, mapping.tid)).collect()
    }

    #[test]
    fn each_mapping_is_for_something() {
        let maps = "\
1000-2000 r-xp 00000000 00:01 7                          /bin/a program
2000-3000 r--p 00000000 00:01 7                          /bin/a program
3000-4000 rw-p 00000000 00:01 7                          /bin/a program
4000-5000 rw-p 00000000 00:00 0 
6000-7000 rw-p 00000000 00:00 0                          [heap]
8000000-8021000 rw-p 00000000 00:00 0 
8021000-c000000 ---p 00000000 00:00 0 
c000000-c001000 ---p 00000000 00:00 0 
c001000-c002000 rw-p 00000000 00:00 0 
c002000-c003000 ---p 00000000 00:00 0 
c003000-c004000 rw-p 00000000 00:00 0 
d000000-d001000 r--s 00000000 00:01 9                    /SYSVx
d001000-d002000 rw-s 00000000 00:01 9                    /memfd:x (deleted)
d003000-d004000 r-xp 00000000 00:01 9                    /lib/l\\012.so
7ffc0000-7ffd0000 rw-p 00000000 00:00 0                  [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]
";
        let found = kinds(maps, &[(11, 0xc00_1800), (12, 0)]);
        let expected = [
            (Kind::Code, None),
            (Kind::Constants, None),
            (Kind::Data, None),
            (Kind::Bss, None),
            (Kind::Heap, None),
            (Kind::Arena, None),
            (Kind::Arena, None),
            (Kind::ThreadStack, Some(11)),
            (Kind::ThreadStack, Some(11)),
            (Kind::ThreadStack, None),
            (Kind::ThreadStack, None),
            (Kind::SharedMemory, None),
            (Kind::SharedMemory, None),
            (Kind::Library, None),
            (Kind::Stack, None),
            (Kind::Vsyscall, None),
        ];
        assert_eq!(found, expected);
        // Without threads nobody has a stack there.
        assert_eq!(kinds(maps, &[])[8], (Kind::Anonymous, None));
        assert_eq!(parse(maps)[13].name.as_deref(), Some("/lib/l\n.so"));
        assert_eq!(
            (width(&parse(maps)[..15]), width(&parse("7ff000000000-7ff000001000 rw-p 0 0 0"))),
            (32, 64)
        );
    }

    #[test]
    fn amounts_are_added_up() {
        let mapping = &parse(
            "0-1000 rw-p 0 0 0\nRss: 4 kB\nShared_Clean: 1 kB\nShared_Dirty: 2 kB\nVmFlags: rd",
        )[0];
        let amounts = mapping.amounts.known().unwrap();
        assert_eq!((amounts.rss, amounts.shared), (4096, 3072));
        assert_eq!(parse("0-1000 rw-p 0 0 0")[0].amounts, Seen::Denied);
    }
}
