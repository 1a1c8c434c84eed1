//! Rules → a program of classic BPF, as the kernel runs it for every call: Documentation/networking/filter.rst
//! and seccomp(2).
//!
//! Jumps only lead forwards, so the program is written from its end: whatever is jumped to stands already, and
//! how far away it is, is known.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};
use oci_spec::runtime::LinuxSeccompOperator as Operator;

use super::rules::{Condition, FOREIGN, Fate, Rules, Section, Verdict};
use crate::error::{Error, Result};

/// The longest program that the kernel takes, BPF_MAXINSNS.
const LONGEST: usize = 4096;

/// How far a conditional jump leads.
const FARTHEST: usize = u8::MAX as usize;

/// Offsets in `seccomp_data`: number, architecture, and the first of six arguments of eight bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The program that carries out `rules`.
pub fn compile(rules: &Rules) -> Result<Vec<sock_filter>> {
    let sections = rules.sections();
    let mut program = Program { reversed: Vec::with_capacity(512), ends: Vec::new() };
    let mut entries = Vec::new();
    for section in sections.iter().rev() {
        let search = program.search(&section.spans, section, rules.default);
        entries.push((section.audit, program.load(NUMBER, search)));
    }
    let mut next = program.end(FOREIGN);
    for (audit, entry) in entries {
        next = program.jump(BPF_JEQ, audit, entry, next);
    }
    program.load(ARCHITECTURE, next);
    if program.reversed.len() > LONGEST {
        return Err(Error::new(format!(
            "linux.seccomp: its rules take {} instructions, and the kernel takes {LONGEST}",
            program.reversed.len()
        ))
        .hint("fewer rules with conditions, or fewer architectures"));
    }
    program.reversed.reverse();
    Ok(program.reversed)
}

/// A place in the program: how many instructions there are from it to the end.
type Place = usize;

#[derive(Debug)]
struct Program {
    reversed: Vec<sock_filter>,
    /// Where the program has last been seen to end with these verdicts.
    ends: Vec<(Verdict, Place)>,
}

impl Program {
    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) -> Place {
        self.reversed.push(sock_filter { code: code as u16, jt, jf, k });
        self.reversed.len()
    }

    fn add(&mut self, code: u32, k: u32) -> Place {
        self.push(code, k, 0, 0)
    }

    /// Puts what stands at `offset` into the accumulator, and goes on at `then`.
    fn load(&mut self, offset: u32, then: Place) -> Place {
        let away = self.reversed.len() - then;
        if away > 0 {
            self.add(BPF_JMP | BPF_JA, away as u32);
        }
        self.add(BPF_LD | BPF_W | BPF_ABS, offset)
    }

    /// Ends with `verdict`: at an end that can still be reached, or a new one.
    fn end(&mut self, verdict: Verdict) -> Place {
        let known = self.ends.iter().position(|(known, _)| *known == verdict);
        // With room for the few instructions that come between the choice of a place and the jump to it.
        let near = |place: Place| self.reversed.len() - place < FARTHEST / 2;
        match known {
            Some(known) if near(self.ends[known].1) => self.ends[known].1,
            known => {
                let place = self.add(BPF_RET | BPF_K, verdict);
                known.map(|known| self.ends.swap_remove(known));
                self.ends.push((verdict, place));
                place
            }
        }
    }

    /// Goes to `yes` where the accumulator compares to `k` like this, and else to `no`.
    fn jump(&mut self, compare: u32, k: u32, yes: Place, no: Place) -> Place {
        let [yes, no] = [yes, no].map(|place| self.within_reach(place));
        let length = self.reversed.len();
        self.push(BPF_JMP | compare | BPF_K, k, (length - yes) as u8, (length - no) as u8)
    }

    /// `place`, or an instruction that leads there. One for each end of a jump fits before that jump.
    fn within_reach(&mut self, place: Place) -> Place {
        let away = self.reversed.len() - place;
        if away < FARTHEST { place } else { self.add(BPF_JMP | BPF_JA, away as u32) }
    }

    /// A binary search for the number in the accumulator.
    fn search(
        &mut self,
        spans: &[(u32, Fate<'_>)],
        section: &Section<'_>,
        default: Verdict,
    ) -> Place {
        if let [(_, fate)] = spans {
            return self.fate(*fate, section, default);
        }
        let (low, high) = spans.split_at(spans.len() / 2);
        let above = self.search(high, section, default);
        let below = self.search(low, section, default);
        self.jump(BPF_JGE, high[0].0, above, below)
    }

    fn fate(&mut self, fate: Fate<'_>, section: &Section<'_>, default: Verdict) -> Place {
        let rules = match fate {
            Fate::Always(verdict) => return self.end(verdict),
            Fate::Depends(rules) => rules,
        };
        let mut next = self.end(default);
        for rule in rules.iter().rev() {
            let mut holds = self.end(rule.verdict);
            for condition in rule.conditions.iter().rev() {
                holds = self.condition(condition, section.is_big_endian, holds, next);
            }
            next = holds;
        }
        next
    }

    /// An argument has 64 bits and the accumulator 32: first its upper half, then its lower one.
    fn condition(&mut self, at: &Condition, is_big_endian: bool, yes: Place, no: Place) -> Place {
        let argument = ARGUMENTS + 8 * at.index as u32;
        let (low, high) =
            if is_big_endian { (argument + 4, argument) } else { (argument, argument + 4) };
        match at.operator {
            Operator::ScmpCmpEq => self.equal(low, high, u64::MAX, at.value, yes, no),
            Operator::ScmpCmpNe => self.equal(low, high, u64::MAX, at.value, no, yes),
            Operator::ScmpCmpMaskedEq => self.equal(low, high, at.value, at.masked, yes, no),
            Operator::ScmpCmpGe => self.above(low, high, BPF_JGE, at.value, yes, no),
            Operator::ScmpCmpLt => self.above(low, high, BPF_JGE, at.value, no, yes),
            Operator::ScmpCmpGt => self.above(low, high, BPF_JGT, at.value, yes, no),
            Operator::ScmpCmpLe => self.above(low, high, BPF_JGT, at.value, no, yes),
        }
    }

    fn equal(
        &mut self,
        low: u32,
        high: u32,
        mask: u64,
        value: u64,
        yes: Place,
        no: Place,
    ) -> Place {
        let lower = self.half(low, mask as u32, value as u32, yes, no);
        let (mask, value) = ((mask >> 32) as u32, (value >> 32) as u32);
        if mask == 0 && value == 0 { lower } else { self.half(high, mask, value, lower, no) }
    }

    fn half(&mut self, offset: u32, mask: u32, value: u32, yes: Place, no: Place) -> Place {
        let mut test = self.jump(BPF_JEQ, value, yes, no);
        if mask != u32::MAX {
            test = self.add(BPF_ALU | BPF_AND | BPF_K, mask);
        }
        self.load(offset, test)
    }

    /// `compare` is "greater", or "greater or equal".
    fn above(
        &mut self,
        low: u32,
        high: u32,
        compare: u32,
        value: u64,
        yes: Place,
        no: Place,
    ) -> Place {
        let test = self.jump(compare, value as u32, yes, no);
        let lower = self.load(low, test);
        let equal = self.jump(BPF_JEQ, (value >> 32) as u32, lower, no);
        let greater = self.jump(BPF_JGT, (value >> 32) as u32, yes, equal);
        self.load(high, greater)
    }
}
