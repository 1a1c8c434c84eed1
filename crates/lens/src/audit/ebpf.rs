//! Programs that decide about devices of a cgroup, run as the kernel runs them: eBPF, RFC 9669, as much of it as a
//! program without maps and calls has use for.

use crate::sys::Instruction;

/// As many steps as the kernel follows a program before it refuses it as endless.
const MOST: usize = 1_000_000;

/// The verdict on a question, whose bytes are `context`; nothing where the program does what is not known here.
pub(super) fn run(program: &[Instruction], context: &[u8]) -> Option<u64> {
    let mut registers = [0_u64; 11];
    let mut at = 0_usize;
    for _ in 0..MOST {
        let &[code, both, o1, o2, n1, n2, n3, n4] = program.get(at)?;
        let offset = i16::from_ne_bytes([o1, o2]);
        let number = i64::from(i32::from_ne_bytes([n1, n2, n3, n4])) as u64;
        let halves = (usize::from(both & 15), usize::from(both >> 4));
        let (to, from) = if cfg!(target_endian = "big") { (halves.1, halves.0) } else { halves };
        let from = *registers.get(from)?;
        let to = registers.get_mut(to)?;
        let by = if code & 8 == 0 { number } else { from };
        at += 1;
        match code & 7 {
            // BPF_LDX, BPF_MEM: of the question alone, at which the first register begins.
            1 if code & 0xe0 == 0x60 => {
                let begin = usize::try_from(from.wrapping_add_signed(i64::from(offset))).ok()?;
                let bytes = context.get(begin..)?;
                *to = match code & 0x18 {
                    0x00 => u64::from(u32::from_ne_bytes(*bytes.first_chunk()?)),
                    0x08 => u64::from(u16::from_ne_bytes(*bytes.first_chunk()?)),
                    0x10 => u64::from(*bytes.first()?),
                    _ => u64::from_ne_bytes(*bytes.first_chunk()?),
                };
            }
            4 => *to = low(calculate(code, low(*to), low(by), 32)?),
            7 => *to = calculate(code, *to, by, 64)?,
            5 if code == 0x95 => return Some(registers[0]),
            5 if !jumps(code, *to, by)? => {}
            6 if code & 0xf0 != 0 && !jumps(code, low(*to), low(by))? => {}
            5 | 6 => at = at.checked_add_signed(isize::from(offset))?,
            _ => return None,
        }
    }
    None
}

/// A register's lower half, which the classes BPF_ALU and BPF_JMP32 look at.
fn low(register: u64) -> u64 {
    register & u64::from(u32::MAX)
}

fn calculate(code: u8, left: u64, right: u64, bits: u32) -> Option<u64> {
    Some(match code & 0xf0 {
        0x00 => left.wrapping_add(right),
        0x10 => left.wrapping_sub(right),
        0x20 => left.wrapping_mul(right),
        0x40 => left | right,
        0x50 => left & right,
        0x60 => left << (right % u64::from(bits)),
        0x70 => left >> (right % u64::from(bits)),
        0x80 => left.wrapping_neg(),
        0xa0 => left ^ right,
        0xb0 => right,
        _ => return None,
    })
}

fn jumps(code: u8, left: u64, right: u64) -> Option<bool> {
    Some(match code & 0xf0 {
        0x00 => true,
        0x10 => left == right,
        0x20 => left > right,
        0x30 => left >= right,
        0x40 => left & right != 0,
        0x50 => left != right,
        0xa0 => left < right,
        0xb0 => left <= right,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
        let both = if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to };
        let ([o1, o2], [n1, n2, n3, n4]) = (offset.to_ne_bytes(), number.to_ne_bytes());
        [code, both, o1, o2, n1, n2, n3, n4]
    }

    #[test]
    fn a_list_of_one_device() {
        // As runc, crun and systemd write it: c 10:229 may be read and written, and nothing else.
        let program = [
            step(0x61, 2, 1, 0, 0),
            step(0x54, 2, 0, 0, 0xffff),
            step(0x61, 3, 1, 0, 0),
            step(0x74, 3, 0, 0, 16),
            step(0x61, 4, 1, 4, 0),
            step(0x61, 5, 1, 8, 0),
            step(0x55, 2, 0, 7, 2),
            step(0xbc, 1, 3, 0, 0),
            step(0x54, 1, 0, 0, 6),
            step(0x5e, 1, 3, 4, 0),
            step(0x55, 4, 0, 3, 10),
            step(0x56, 5, 0, 2, 229),
            step(0xb4, 0, 0, 0, 1),
            step(0x95, 0, 0, 0, 0),
            step(0xb7, 0, 0, 0, 0),
            step(0x95, 0, 0, 0, 0),
        ];
        let ask = |kind: u32, access: u32, major: u32, minor: u32| {
            let words = [access << 16 | kind, major, minor];
            run(&program, &words.map(u32::to_ne_bytes).concat())
        };
        assert_eq!(ask(2, 6, 10, 229), Some(1));
        assert_eq!(ask(2, 2, 10, 229), Some(1));
        for (kind, access, major, minor) in
            [(1, 6, 10, 229), (2, 7, 10, 229), (2, 6, 10, 228), (2, 6, 11, 229)]
        {
            assert_eq!(ask(kind, access, major, minor), Some(0), "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_verdict() {
        let end = step(0x95, 0, 0, 0, 0);
        assert_eq!(run(&[step(0x85, 0, 0, 0, 1), end], &[0; 12]), None, "a call");
        assert_eq!(run(&[step(0x61, 0, 1, 12, 0), end], &[0; 12]), None, "beyond the question");
        assert_eq!(run(&[step(0x05, 0, 0, -1, 0)], &[0; 12]), None, "for ever");
        assert_eq!(run(&[step(0x05, 0, 0, 7, 0)], &[0; 12]), None, "nowhere");
        assert_eq!(run(&[step(0xb7, 0, 0, 0, -1), end], &[]), Some(u64::MAX));
        assert_eq!(run(&[step(0xb4, 0, 0, 0, -1), end], &[]), Some(u64::from(u32::MAX)));
    }
}
