//! Seccomp filters, read and run as the kernel runs them: classic BPF, Documentation/networking/filter.rst, of
//! which seccomp_check_filter() in kernel/seccomp.c lets this much through.

use nix::libc::{self, sock_filter};

/// What a filter looks at: struct seccomp_data, as bytes.
pub(super) type Data = [u8; 64];

/// A call as a filter sees it.
pub(super) fn data(number: u32, architecture: u32, arguments: [u64; 6]) -> Data {
    let mut data = [0; 64];
    data[0..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&architecture.to_ne_bytes());
    for (argument, place) in arguments.iter().zip(data[16..].chunks_mut(8)) {
        place.copy_from_slice(&argument.to_ne_bytes());
    }
    data
}

/// Does it let the call happen? What an agent or a debugger decides does not count as that.
pub(super) fn lets_through(program: &[sock_filter], data: &Data) -> Option<bool> {
    let action = run(program, data)? & libc::SECCOMP_RET_ACTION_FULL;
    Some(matches!(action, libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG))
}

/// The verdict; nothing where this is no program that the kernel takes.
fn run(program: &[sock_filter], data: &Data) -> Option<u32> {
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0;
    // Jumps lead forwards only, so that it ends.
    loop {
        let step = program.get(at)?;
        at += 1;
        let (code, k) = (u32::from(step.code), step.k);
        let operand = if code & libc::BPF_X != 0 { x } else { k };
        match code & 0x07 {
            libc::BPF_LD | libc::BPF_LDX => {
                let value = match code & 0xe0 {
                    libc::BPF_IMM => k,
                    libc::BPF_ABS => {
                        let word = data.get(k as usize..(k as usize).checked_add(4)?)?;
                        u32::from_ne_bytes(word.try_into().ok()?)
                    }
                    libc::BPF_MEM => *memory.get(k as usize)?,
                    libc::BPF_LEN => data.len() as u32,
                    _ => return None,
                };
                *(if code & 0x07 == libc::BPF_LD { &mut a } else { &mut x }) = value;
            }
            libc::BPF_ST => *memory.get_mut(k as usize)? = a,
            libc::BPF_STX => *memory.get_mut(k as usize)? = x,
            libc::BPF_ALU => {
                a = match code & 0xf0 {
                    libc::BPF_ADD => a.wrapping_add(operand),
                    libc::BPF_SUB => a.wrapping_sub(operand),
                    libc::BPF_MUL => a.wrapping_mul(operand),
                    // A division by zero ends it with 0, which kills.
                    libc::BPF_DIV if operand == 0 => return Some(0),
                    libc::BPF_DIV => a / operand,
                    libc::BPF_AND => a & operand,
                    libc::BPF_OR => a | operand,
                    libc::BPF_XOR => a ^ operand,
                    libc::BPF_LSH => a.checked_shl(operand).unwrap_or(0),
                    libc::BPF_RSH => a.checked_shr(operand).unwrap_or(0),
                    libc::BPF_NEG => a.wrapping_neg(),
                    _ => return None,
                }
            }
            libc::BPF_JMP => {
                let holds = match code & 0xf0 {
                    libc::BPF_JA => {
                        at = at.checked_add(k as usize)?;
                        continue;
                    }
                    libc::BPF_JEQ => a == operand,
                    libc::BPF_JGT => a > operand,
                    libc::BPF_JGE => a >= operand,
                    libc::BPF_JSET => a & operand != 0,
                    _ => return None,
                };
                at += usize::from(if holds { step.jt } else { step.jf });
            }
            libc::BPF_RET => return Some(if code & 0x18 == libc::BPF_A { a } else { k }),
            libc::BPF_MISC if code & 0xf8 == libc::BPF_TXA => a = x,
            libc::BPF_MISC => x = a,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        sock_filter { code: code as u16, jt, jf, k }
    }

    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const END: u32 = libc::BPF_RET | libc::BPF_K;

    #[test]
    fn a_filter_decides_by_number_and_arguments() {
        // ioctl(_, TIOCSTI) is refused, by the lower 32 bits of its second argument.
        let low = if cfg!(target_endian = "big") { 28 } else { 24 };
        let program = [
            step(LOAD, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ, 0, 3, 16),
            step(LOAD, 0, 0, low),
            step(libc::BPF_JMP | libc::BPF_JEQ, 0, 1, 0x5412),
            step(END, 0, 0, libc::SECCOMP_RET_ERRNO | 1),
            step(END, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let call = |number, second| data(number, 1, [0, second, 0, 0, 0, 0]);
        assert_eq!(lets_through(&program, &call(16, 0x1_0000_5412)), Some(false));
        assert_eq!(lets_through(&program, &call(16, 0x5413)), Some(true));
        assert_eq!(lets_through(&program, &call(17, 0x5412)), Some(true));
    }

    #[test]
    fn arithmetic_and_memory_are_the_kernels() {
        let by_way_of_memory = [
            step(libc::BPF_LD | libc::BPF_IMM, 0, 0, 6),
            step(libc::BPF_ST, 0, 0, 3),
            step(libc::BPF_LDX | libc::BPF_MEM, 0, 0, 3),
            step(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_X, 0, 0, 0),
            step(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        ];
        assert_eq!(run(&by_way_of_memory, &data(0, 0, [0; 6])), Some(36));
        let nowhere = [step(libc::BPF_JMP | libc::BPF_JA, 0, 0, u32::MAX)];
        let beyond = [step(LOAD, 0, 0, 61), step(END, 0, 0, 0)];
        let divided = [step(libc::BPF_ALU | libc::BPF_DIV, 0, 0, 0)];
        assert_eq!(run(&nowhere, &data(0, 0, [0; 6])), None);
        assert_eq!(run(&beyond, &data(0, 0, [0; 6])), None);
        assert_eq!(run(&divided, &data(0, 0, [0; 6])), Some(0));
    }
}
