//! Which devices a container may use where cgroup v2 has no list for it: a small program that the kernel asks, attached
//! to the container's cgroup. With cgroup v1 libcontainer writes the list.
//!
//! Making device nodes is allowed, using them is not, but for the few that every container has.

use std::{io, path::Path};

use crate::sys;

const CHARACTER: i32 = 2;
const MAKE_NODE: i32 = 1;

/// Major and minor number (`None`: any) of the character devices in every container: null, zero, full, random, urandom,
/// tty, console, ptmx, and terminals.
const ALLOWED: [(i32, Option<i32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// One instruction of the kernel's virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    jump: i16,
    value: i32,
}

// Registers: the context comes in r1; r2 is the device's type, r3 the access, r4 and r5 its numbers.
const LOAD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb7;
const JUMP_IF_NOT: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Confines the cgroup in `folder`, which must be of cgroup v2.
pub fn confine(folder: &Path) -> io::Result<()> {
    let words: Vec<u64> = program().iter().map(|instruction| instruction.encode()).collect();
    let filter = sys::load_device_filter(&words)?;
    sys::attach_device_filter(std::fs::File::open(folder)?, filter)
}

fn program() -> Vec<Instruction> {
    let load = |to, jump| Instruction { code: LOAD, to, from: 1, jump, value: 0 };
    let with = |code, to, value| Instruction { code, to, from: 0, jump: 0, value };
    let mut program =
        vec![load(2, 0), with(AND, 2, 0xffff), load(3, 0), with(SHIFT_RIGHT, 3, 16), load(4, 4), load(5, 8)];
    let mut allow_if = |conditions: &[(u8, i32)]| {
        for (index, &(register, value)) in conditions.iter().enumerate() {
            // Past the other conditions and the two instructions that allow.
            let jump = (conditions.len() - index - 1 + 2) as i16;
            program.push(Instruction { code: JUMP_IF_NOT, to: register, from: 0, jump, value });
        }
        program.extend([with(SET, 0, 1), with(EXIT, 0, 0)]);
    };
    allow_if(&[(3, MAKE_NODE)]);
    for (major, minor) in ALLOWED {
        match minor {
            Some(minor) => allow_if(&[(2, CHARACTER), (4, major), (5, minor)]),
            None => allow_if(&[(2, CHARACTER), (4, major)]),
        }
    }
    program.extend([with(SET, 0, 0), with(EXIT, 0, 0)]);
    program
}

impl Instruction {
    fn encode(self) -> u64 {
        let [jump_low, jump_high] = self.jump.to_ne_bytes();
        let [a, b, c, d] = self.value.to_ne_bytes();
        let registers =
            if cfg!(target_endian = "little") { self.from << 4 | self.to } else { self.to << 4 | self.from };
        u64::from_ne_bytes([self.code, registers, jump_low, jump_high, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allowed(kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let program = program();
        let mut registers = [0_i64; 6];
        let mut next = 0;
        for _ in 0..=program.len() {
            let Instruction { code, to, jump, value, .. } = program[next];
            let to = usize::from(to);
            next += 1;
            match code {
                LOAD => registers[to] = i64::from(context[jump as usize / 4]),
                AND => registers[to] &= i64::from(value),
                SHIFT_RIGHT => registers[to] >>= value,
                SET => registers[to] = i64::from(value),
                JUMP_IF_NOT if registers[to] != i64::from(value) => next += jump as usize,
                JUMP_IF_NOT => {}
                EXIT => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
        panic!("the program does not end");
    }

    #[test]
    fn nodes_may_be_made_and_the_usual_devices_used() {
        const BLOCK: u32 = 1;
        const CHARACTER: u32 = 2;
        const READ: u32 = 2;
        const WRITE: u32 = 4;
        for (kind, access, major, minor, expected) in [
            (CHARACTER, READ | WRITE, 1, 3, true),
            (CHARACTER, READ, 1, 9, true),
            (CHARACTER, READ | WRITE, 5, 2, true),
            (CHARACTER, READ | WRITE, 136, 77, true),
            (CHARACTER, 1, 10, 200, true),
            (BLOCK, 1, 254, 0, true),
            (BLOCK, READ, 254, 0, false),
            (BLOCK, 1 | READ, 254, 0, false),
            (BLOCK, READ, 1, 3, false),
            (CHARACTER, READ, 1, 1, false),
            (CHARACTER, WRITE, 10, 200, false),
        ] {
            assert_eq!(allowed(kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn instructions_are_what_the_kernel_reads() {
        let bytes = |instruction: Instruction| instruction.encode().to_ne_bytes();
        if cfg!(target_endian = "little") {
            let load = Instruction { code: LOAD, to: 5, from: 1, jump: 8, value: 0 };
            assert_eq!(bytes(load), [0x61, 0x15, 8, 0, 0, 0, 0, 0]);
            let and = Instruction { code: AND, to: 2, from: 0, jump: 0, value: 0xffff };
            assert_eq!(bytes(and), [0x54, 0x02, 0, 0, 0xff, 0xff, 0, 0]);
        }
    }
}
