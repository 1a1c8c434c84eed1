//! The device list of version 2: a small compiler from rules to an eBPF program that the kernel asks at
//! every open and mknod of a device. bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE.

use super::device_rules::Rule;
use crate::sys::Instruction;

// Registers: the answer, the kernel's question (later room for a number), its parts.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Operations on 32 bits, linux/bpf_common.h and linux/bpf.h; the operand is a register (X) or a number.
const LOAD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const SET: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const JUMP_IF_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JUMP_UNLESS_EQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const fn with_number(code: u8, to: u8, number: u32) -> Instruction {
    Instruction::new(code, to, 0, 0, number as i32)
}

const fn between(code: u8, to: u8, from: u8, offset: i16) -> Instruction {
    Instruction::new(code, to, from, offset, 0)
}

/// The program for `rules`, of which the last that speaks for an access decides. Asked is for one device
/// and several kinds of access at once, and all must be allowed: the rules are gone through from the last
/// to the first, and what a rule allows is no longer asked for. What no rule speaks for is denied.
pub fn compile(rules: &[Rule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: kind in the lower half of a word, access in the upper; major; minor.
    let mut program = vec![
        between(LOAD, KIND, CONTEXT, 0),
        between(COPY, ACCESS, KIND, 0),
        with_number(AND, KIND, 0xffff),
        with_number(SHIFT_RIGHT, ACCESS, 16),
        between(LOAD, MAJOR, CONTEXT, 4),
        between(LOAD, MINOR, CONTEXT, 8),
    ];
    for rule in rules.iter().rev() {
        if rule.is_for_all() {
            // Nothing before it counts.
            program.extend(answer(rule.allow));
            return program;
        }
        let mut verdict = if rule.allow {
            vec![with_number(AND, ACCESS, !rule.access), with_number(JUMP_UNLESS_EQUAL, ACCESS, 0)]
        } else {
            vec![
                between(COPY, CONTEXT, ACCESS, 0),
                with_number(AND, CONTEXT, rule.access),
                with_number(JUMP_IF_EQUAL, CONTEXT, 0),
            ]
        };
        verdict.extend(answer(rule.allow));
        let asked =
            [(KIND, rule.kind.map(|kind| kind as u32)), (MAJOR, rule.major), (MINOR, rule.minor)];
        let mut block: Vec<Instruction> = asked
            .into_iter()
            .filter_map(|(register, number)| {
                Some(with_number(JUMP_UNLESS_EQUAL, register, number?))
            })
            .collect();
        block.extend(verdict);
        // Every jump in it leads behind it, to the next rule.
        let length = block.len();
        for (index, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction.code, JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL) {
                instruction.offset = (length - index - 1) as i16;
            }
        }
        program.extend(block);
    }
    program.extend(answer(false));
    program
}

fn answer(allow: bool) -> [Instruction; 2] {
    [with_number(SET, ANSWER, u32::from(allow)), with_number(EXIT, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::device_rules::{Kind, MAKE, READ, WRITE};

    /// Runs a program as the kernel would: its answer to one question.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 11];
        let mut at = 0;
        loop {
            let now = program[at];
            let (to, from) = now.registers();
            let (to, from, number) = (usize::from(to), usize::from(from), now.number as u32);
            at += 1;
            let jump = match now.code {
                LOAD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = context[usize::from(now.offset as u16 / 4)];
                    false
                }
                AND => {
                    registers[to] &= number;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= number;
                    false
                }
                COPY => {
                    registers[to] = registers[from];
                    false
                }
                SET => {
                    registers[to] = number;
                    false
                }
                JUMP_IF_EQUAL => registers[to] == number,
                JUMP_UNLESS_EQUAL => registers[to] != number,
                EXIT => return registers[usize::from(ANSWER)],
                other => panic!("no such operation: {other:#x}"),
            };
            if jump {
                assert!(now.offset >= 0, "a loop");
                at += usize::from(now.offset as u16);
            }
        }
    }

    /// What the rules say, without a program: every kind of access must be allowed by the last rule that
    /// speaks for it.
    fn is_allowed(rules: &[Rule], kind: Kind, access: u32, major: u32, minor: u32) -> bool {
        let asked =
            Rule { allow: true, kind: Some(kind), major: Some(major), minor: Some(minor), access };
        [MAKE, READ, WRITE].iter().filter(|bit| access & **bit != 0).all(|bit| {
            let speaks = |rule: &&Rule| rule.covers(&asked) && rule.access & bit != 0;
            rules.iter().rfind(speaks).is_some_and(|rule| rule.allow)
        })
    }

    /// Numbers that look random and are the same each time: xorshift.
    struct Random(u32);

    impl Random {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            self.0 % limit
        }

        fn rule(&mut self) -> Rule {
            // Few numbers, so that rules meet.
            Rule {
                allow: self.below(2) == 0,
                kind: [None, Some(Kind::Block), Some(Kind::Character)][self.below(3) as usize],
                major: [None, Some(1), Some(u32::MAX)][self.below(3) as usize],
                minor: [None, Some(0), Some(5)][self.below(3) as usize],
                access: 1 + self.below(7),
            }
        }
    }

    #[test]
    fn the_program_says_what_the_rules_say() {
        let mut random = Random(20_261_122);
        for _ in 0..400 {
            let rules: Vec<Rule> = (0..random.below(8)).map(|_| random.rule()).collect();
            let program = compile(&rules);
            for kind in [Kind::Block, Kind::Character] {
                for access in 1..8 {
                    for major in [0, 1, u32::MAX] {
                        for minor in [0, 5, 6] {
                            let told = run(&program, kind as u32, access, major, minor);
                            let expected = is_allowed(&rules, kind, access, major, minor);
                            assert_eq!(
                                told,
                                u32::from(expected),
                                "{kind:?} {major}:{minor} {access} by {rules:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_stands_behind_the_rule_for_all() {
        let all = Rule { allow: true, kind: None, major: None, minor: None, access: 7 };
        let before = Rule { major: Some(1), allow: false, ..all };
        // The kernel refuses a program with a part that is never reached.
        assert_eq!(compile(&[before, all]), compile(&[all]));
        assert_eq!(compile(&[]).last(), compile(&[all]).last());
    }
}
