//! Filters against the rules they were made from: an interpreter of BPF, and a slow reading of the profile that
//! shares no code with the compiler, must agree on every call. Random profiles, from fixed seeds.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::calls::{ALL, Architecture, X32_BIT, name, row};
use super::*;

/// What the kernel lets a filter look at.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    audit: u32,
    is_big_endian: bool,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                let is_upper = offset.is_multiple_of(8) == self.is_big_endian;
                if is_upper { (argument >> 32) as u32 } else { argument as u32 }
            }
            _ => panic!("the filter looks at offset {offset}"),
        }
    }
}

/// Runs `program` as the kernel would; the verdict, and how many instructions it took.
fn run(program: &[sock_filter], call: &Call) -> (u32, usize) {
    use libc::{
        BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD,
        BPF_RET, BPF_W,
    };
    const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
    const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
    const ALWAYS: u32 = BPF_JMP | BPF_JA;
    const EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
    const GREATER: u32 = BPF_JMP | BPF_JGT | BPF_K;
    const AT_LEAST: u32 = BPF_JMP | BPF_JGE | BPF_K;
    const END: u32 = BPF_RET | BPF_K;
    let (mut at, mut accumulator, mut steps) = (0, 0, 0);
    loop {
        let step = program[at];
        steps += 1;
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { step.jt } else { step.jf });
        match u32::from(step.code) {
            LOAD => accumulator = call.word(step.k),
            AND => accumulator &= step.k,
            ALWAYS => at += step.k as usize,
            EQUAL => jump(accumulator == step.k),
            GREATER => jump(accumulator > step.k),
            AT_LEAST => jump(accumulator >= step.k),
            END => return (step.k, steps),
            code => panic!("instruction {code:#x}"),
        }
    }
}

fn verdict(action: Action, errno: Option<u32>) -> u32 {
    action.as_u32(errno)
}

fn holds(at: &LinuxSeccompArg, call: &Call) -> bool {
    let (argument, value) = (call.arguments[at.index()], at.value());
    match at.op() {
        Operator::ScmpCmpNe => argument != value,
        Operator::ScmpCmpLt => argument < value,
        Operator::ScmpCmpLe => argument <= value,
        Operator::ScmpCmpEq => argument == value,
        Operator::ScmpCmpGe => argument >= value,
        Operator::ScmpCmpGt => argument > value,
        Operator::ScmpCmpMaskedEq => argument & value == at.value_two().unwrap_or(0),
    }
}

/// What is to happen to `call`, read from the profile.
fn expected(profile: &LinuxSeccomp, call: &Call) -> u32 {
    let native = Architecture::native().unwrap().arch;
    let listed: Vec<Arch> =
        profile.architectures().iter().flatten().copied().chain([native]).collect();
    let default = verdict(profile.default_action(), profile.default_errno_ret());
    let is_x86_64 = call.audit == 0xc000_003e;
    let is_x32 = is_x86_64 && call.number & X32_BIT != 0 && call.number >> 31 == 0;
    let arch = ALL.iter().map(|one| one.arch).find(|arch| {
        let known = Architecture::find(*arch).unwrap();
        let wanted = if is_x32 { *arch == Arch::ScmpArchX32 } else { *arch != Arch::ScmpArchX32 };
        known.audit == call.audit && wanted
    });
    let is_beyond = is_x86_64 && call.number >= 0x8000_0000;
    let arch = match arch {
        // Numbers above x32's are x32's too, in what the kernel makes of them.
        Some(Arch::ScmpArchX86_64) if is_beyond && listed.contains(&Arch::ScmpArchX32) => {
            Arch::ScmpArchX32
        }
        Some(Arch::ScmpArchX86_64) if is_beyond && call.number != u32::MAX => {
            return libc::SECCOMP_RET_KILL_PROCESS;
        }
        Some(arch) => arch,
        None => return libc::SECCOMP_RET_KILL_PROCESS,
    };
    if !listed.contains(&arch) {
        return libc::SECCOMP_RET_KILL_PROCESS;
    }
    if is_beyond && arch == Arch::ScmpArchX86_64 {
        return default;
    }
    let architecture = Architecture::find(arch).unwrap();
    let number = |name: &String| row(name).and_then(|row| architecture.number(row));
    let entries = || profile.syscalls().iter().flatten();
    let newest = entries().flat_map(LinuxSyscall::names).filter_map(number).max();
    let lets_happen =
        |verdict: u32| [0x7fff_0000, 0x7ffc_0000, 0x7ff0_0000].contains(&(verdict & 0xffff_0000));
    if let Some(newest) = newest.filter(|_| !lets_happen(default)) {
        let is_unknown = call.number == 0 && arch == Arch::ScmpArchS390x && {
            // A rule of its own would be for setup(2), which is no call any more.
            name(architecture, 0).is_none()
        };
        if call.number > newest || is_unknown {
            return 0x0005_0000 | libc::ENOSYS as u32;
        }
    }
    let mut conditional = None;
    for entry in entries() {
        let verdict = verdict(entry.action(), entry.errno_ret());
        let named = entry.names().iter().any(|name| number(name) == Some(call.number));
        if !named || verdict == default {
            continue;
        }
        let none = Vec::new();
        let conditions = entry.args().as_ref().unwrap_or(&none);
        if conditions.is_empty() {
            return verdict;
        }
        let shared = (0..6).any(|i| conditions.iter().filter(|one| one.index() == i).count() > 1);
        let all = conditions.iter().all(|one| holds(one, call));
        let any = conditions.iter().any(|one| holds(one, call));
        if if shared { any } else { all } {
            conditional = conditional.or(Some(verdict));
        }
    }
    conditional.unwrap_or(default)
}

/// xorshift64*, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Such that comparisons of 64 bits by halves are tried from all sides.
    fn argument(&mut self) -> u64 {
        const HALVES: [u64; 8] = [0, 1, 2, 38, 0x7e02_0000, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff];
        self.of(&HALVES) << 32 | self.of(&HALVES)
    }
}

const ACTIONS: [Action; 9] = [
    Action::ScmpActKill,
    Action::ScmpActKillThread,
    Action::ScmpActKillProcess,
    Action::ScmpActTrap,
    Action::ScmpActErrno,
    Action::ScmpActTrace,
    Action::ScmpActLog,
    Action::ScmpActAllow,
    Action::ScmpActNotify,
];

const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpNe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpMaskedEq,
];

fn random_profile(random: &mut Random) -> LinuxSeccomp {
    let takes_errno = |action| matches!(action, Action::ScmpActErrno | Action::ScmpActTrace);
    let errno = |random: &mut Random, action| {
        (takes_errno(action) && random.below(2) == 0).then(|| random.below(133) as u32)
    };
    let mut profile = LinuxSeccomp::default();
    let action = random.of(&ACTIONS[..8]);
    profile.set_default_action(action);
    profile.set_default_errno_ret(errno(random, action));
    let count = random.below(5);
    let architectures = (0..count).map(|_| random.of(&ALL).arch).collect();
    profile.set_architectures((count > 0).then_some(architectures));
    let size = random.of(&[0, 1, 3, 12, 30]);
    let entries = (0..size).map(|_| {
        let mut entry = LinuxSyscall::default();
        let names = (0..=random.of(&[0, 0, 5])).map(|_| {
            let known = name(&random.of(&ALL), random.below(470) as u32);
            // Multiplexed calls, whose rules have another meaning, have a test of their own.
            let plain = known.filter(|name| rules::multiplexed(name).is_none());
            let plain = plain.filter(|name| !["ipc", "socketcall"].contains(name));
            plain.unwrap_or("call_of_tomorrow").to_owned()
        });
        entry.set_names(names.collect());
        let action = random.of(&ACTIONS);
        entry.set_action(action);
        entry.set_errno_ret(errno(random, action));
        let conditions = (0..random.of(&[0, 0, 1, 2, 4])).map(|_| {
            let (value, masked) = (random.argument(), random.argument());
            let condition = LinuxSeccompArgBuilder::default().index(random.below(6)).value(value);
            let condition = match random.below(4) {
                0 => condition,
                // With bits that no mask leaves: it never holds.
                1 => condition.value_two(masked),
                _ => condition.value_two(masked & value),
            };
            condition.op(random.of(&OPERATORS)).build().unwrap()
        });
        let conditions: Vec<_> = conditions.collect();
        entry.set_args((!conditions.is_empty()).then_some(conditions));
        entry
    });
    let entries = entries.collect();
    profile.set_syscalls(Some(entries));
    profile
}

fn random_call(random: &mut Random, profile: &LinuxSeccomp) -> Call {
    let architecture = random.of(&ALL);
    let number = match random.below(12) {
        0 => random.next() as u32,
        1 => u32::MAX,
        2 => X32_BIT + random.below(600) as u32,
        3 => 0,
        _ => architecture.bit + random.below(480) as u32,
    };
    let audit = if random.below(30) == 0 { 0x4000_0008 } else { architecture.audit };
    let mut arguments = [(); 6].map(|()| random.argument());
    // Often one that a rule is about, with arguments on its border.
    let entries = profile.syscalls().as_deref().unwrap_or_default();
    if random.below(3) > 0 && !entries.is_empty() {
        let entry = &entries[random.below(entries.len())];
        let named = row(&entry.names()[0]).and_then(|row| architecture.number(row));
        for at in entry.args().iter().flatten() {
            let near = at.value().wrapping_add(random.of(&[0, 0, 1, u64::MAX]));
            let masked = at.value_two().unwrap_or(0) | (random.argument() & !at.value());
            let is_masked = at.op() == Operator::ScmpCmpMaskedEq;
            arguments[at.index()] = if is_masked { masked } else { near };
        }
        let number = named.unwrap_or(number);
        let (audit, is_big_endian) = (architecture.audit, architecture.is_big_endian);
        return Call { number, audit, is_big_endian, arguments };
    }
    Call { number, audit, is_big_endian: architecture.is_big_endian, arguments }
}

fn compiled(profile: &LinuxSeccomp) -> Vec<sock_filter> {
    bpf::compile(&Rules::new(profile).unwrap()).unwrap()
}

#[test]
fn filters_do_what_profiles_say() {
    let full = std::env::var_os("MINIBOX_TEST_FULL").is_some();
    let seeds = if full { 4000 } else { 300 };
    let mut compared = 0;
    for seed in 1..=seeds {
        let mut random = Random(seed);
        let profile = random_profile(&mut random);
        // Some are longer than the kernel's limit.
        let Ok(program) = bpf::compile(&Rules::new(&profile).unwrap()) else { continue };
        compared += 1;
        for _ in 0..2000 {
            let call = random_call(&mut random, &profile);
            let (verdict, wanted) = (run(&program, &call).0, expected(&profile, &call));
            assert_eq!(verdict, wanted, "seed {seed}: {call:x?} of {profile:#?}");
        }
    }
    assert!(compared > seeds / 10 * 9, "{compared}");
}

fn parse(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

/// A call by this machine's own numbers.
fn native(name: &str, arguments: [u64; 6]) -> Call {
    let native = Architecture::native().unwrap();
    let number = native.number(row(name).unwrap()).unwrap();
    Call { number, audit: native.audit, is_big_endian: native.is_big_endian, arguments }
}

#[test]
fn what_is_allowed_is_found_soon() {
    let names: Vec<&str> = (0..450)
        .filter(|n| n % 3 > 0)
        .filter_map(|n| name(Architecture::native().unwrap(), n))
        .collect();
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    let program = compiled(&parse(&json.to_string()));
    for name in names {
        let (verdict, steps) = run(&program, &native(name, [0; 6]));
        assert_eq!(verdict, libc::SECCOMP_RET_ALLOW);
        assert!(steps <= 14, "{name} takes {steps}");
    }
}

#[test]
fn jumps_of_every_length_arrive() {
    // One argument's lower half is two instructions, under a mask three: so distances grow by one.
    let rule = |mask: u32, value: u32| {
        let args = serde_json::json!([{"index": 1, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]);
        serde_json::json!({"names": ["close"], "action": "SCMP_ACT_TRAP", "args": args})
    };
    for count in 0..300 {
        let mut rules: Vec<_> = (0..count / 2).map(|value| rule(u32::MAX, value)).collect();
        rules.extend((count % 2 == 1).then(|| rule(0xffff, 0xffff)));
        for name in ["read", "exit", "execve", "openat", "clone3"] {
            rules.push(serde_json::json!({"names": [name], "action": "SCMP_ACT_LOG"}));
        }
        let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
        let profile = parse(&json.to_string());
        let program = compiled(&profile);
        for name in ["read", "write", "close", "exit", "execve", "openat", "clone3", "openat2"] {
            for argument in [0, u64::from(count / 4), u64::from(count), 0xffff] {
                let call = native(name, [0, argument, 0, 0, 0, 0]);
                assert_eq!(run(&program, &call).0, expected(&profile, &call), "{count} {name}");
            }
        }
    }
}

#[test]
fn where_no_rule_is_about_an_architecture_its_calls_get_the_default() {
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[{"names":["ugetrlimit"],"action":"SCMP_ACT_TRAP"}]}"#,
    );
    let verdict = run(&compiled(&profile), &native("clone3", [0; 6])).0;
    assert_eq!(verdict, libc::SECCOMP_RET_KILL_THREAD);
}

#[test]
fn a_call_that_stands_for_many_is_seen_through() {
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["bind"],"action":"SCMP_ACT_ALLOW"},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
            {"names":["shmat"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let program = compiled(&profile);
    let call = |number, first| Call {
        number,
        audit: 0x4000_0003,
        is_big_endian: false,
        arguments: [first, 1, 0, 0, 0, 0],
    };
    let [allow, trap, refuse] = [0x7fff_0000, 0x0003_0000, 0x0005_0001];
    // socketcall(SYS_BIND), socketcall(SYS_SOCKET), ipc(SHMAT), and two that no rule is about.
    for (number, first, wanted) in
        [(102, 2, allow), (102, 1, refuse), (117, 21, trap), (102, 3, refuse), (117, 1, refuse)]
    {
        assert_eq!(run(&program, &call(number, first)).0, wanted, "{number} {first}");
    }
}

#[test]
fn profiles_that_cannot_be_done_are_refused() {
    let container = State::default();
    let refused = |json: &str| plan(&parse(json), &container).unwrap_err().to_string();
    let entry = |entry: &str| {
        refused(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{entry}]}}"#))
    };
    let cases = [
        (entry(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":1}"#), "returns no errno"),
        (entry(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":65536}"#), "is no errno"),
        (
            entry(
                r#"{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}"#,
            ),
            "a rule for read looks at argument 6",
        ),
        (entry(r#"{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}"#), "needs a listenerPath"),
        (
            entry(r#"{"names":["mkdir","write"],"action":"SCMP_ACT_NOTIFY"}"#),
            "cannot be used for the write syscall",
        ),
        (refused(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#), "as default action"),
        (
            refused(r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}"#),
            "without a listenerPath",
        ),
        (refused(r#"{"defaultAction":"SCMP_ACT_TRAP","defaultErrnoRet":1}"#), "returns no errno"),
    ];
    for (error, words) in cases {
        assert!(error.contains(words), "{error}");
    }
    let many: Vec<_> = (0..2000)
        .map(|n| {
            serde_json::json!({"names": ["read"], "action": "SCMP_ACT_TRAP", "args":
            [{"index": n % 6, "value": n, "op": "SCMP_CMP_EQ"}]})
        })
        .collect();
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many});
    assert!(refused(&json.to_string()).contains("the kernel takes 4096"));
}

#[test]
fn flags_are_the_kernels() {
    let of = |flags: &str| {
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{flags}}}"#);
        plan(&parse(&json), &State::default()).unwrap().flags
    };
    assert_eq!(of(""), libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    assert_eq!(of(r#","flags":[]"#), 0);
    assert_eq!(of(r#","flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG"]"#), 2);
    assert_eq!(of(r#","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#), 0);
    let asked = r#","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],"listenerPath":"/a",
        "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]"#;
    assert_eq!(of(asked), 40);
}
