//! Ranges of system call numbers to a program of the kernel's classic BPF.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    sock_filter,
};

use super::Action;

/// Offsets in the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The low and high half of the first argument, on a little-endian machine.
pub(super) const ARGUMENT: (u32, u32) = (16, 20);

pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
/// O_CREAT, and what O_TMPFILE has beyond O_DIRECTORY.
const CREATION: u32 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

/// Every CLONE_NEW* that `clone` takes.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
/// Linux, with a fixed layout, with a 32-bit `uname`, both, and the question for the present value.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

pub(super) fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

pub(super) fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | condition | BPF_K) as u16, jt, jf, k }
}

pub(super) fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

pub(super) fn give(value: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, value)
}

pub(super) fn fail(errno: i32) -> sock_filter {
    give(ERRNO | errno as u32)
}

fn skip(instructions: usize) -> sock_filter {
    statement(BPF_JMP | BPF_JA, instructions as u32)
}

/// What is at the end of a search.
pub(super) trait Leaf {
    /// Its instructions, the last of which gives an answer.
    fn code(&self) -> Vec<sock_filter>;
}

impl Leaf for Action {
    fn code(&self) -> Vec<sock_filter> {
        leaf(*self)
    }
}

/// One section per machine; calls of any other machine end the process, as nothing is known about their numbers.
pub(super) fn program<T: Leaf>(sections: &[(u32, Vec<(u32, T)>)]) -> Vec<sock_filter> {
    let mut program = vec![load(ARCH)];
    for (arch, ranges) in sections {
        let section = search(ranges);
        program.push(jump(BPF_JEQ, *arch, 1, 0));
        program.push(skip(section.len() + 1));
        program.push(load(NUMBER));
        program.extend(section);
    }
    program.push(give(KILL_PROCESS));
    program
}

/// Finds the range of the loaded number by halves. A conditional jump reaches 255 instructions, an absolute one any
/// number, so a far upper half is reached through an absolute one. The kernel translates each instruction anew for each
/// process.
fn search<T: Leaf>(ranges: &[(u32, T)]) -> Vec<sock_filter> {
    match ranges {
        [] => vec![fail(libc::EPERM)],
        [(_, leaf)] => leaf.code(),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let pivot = upper[0].0;
            let lower = search(lower);
            let mut code = match u8::try_from(lower.len()) {
                Ok(length) => vec![jump(BPF_JGE, pivot, length, 0)],
                Err(_) => vec![jump(BPF_JGE, pivot, 0, 1), skip(lower.len())],
            };
            code.extend(lower);
            code.extend(search(upper));
            code
        }
    }
}

fn leaf(action: Action) -> Vec<sock_filter> {
    match action {
        Action::Allow => vec![give(ALLOW)],
        Action::Errno(errno) => vec![fail(errno)],
        Action::CheckClone => vec![
            load(ARGUMENT.0),
            statement(BPF_ALU | BPF_AND | BPF_K, NEW_NAMESPACES),
            jump(BPF_JEQ, 0, 0, 1),
            give(ALLOW),
            fail(libc::EPERM),
        ],
        // The kernel takes the low half of the argument alone.
        Action::CheckSocket => vec![
            load(ARGUMENT.0),
            jump(BPF_JEQ, AF_ALG, 2, 0),
            jump(BPF_JEQ, AF_VSOCK, 1, 0),
            give(ALLOW),
            fail(libc::EPERM),
        ],
        Action::CheckPersonality => personality(),
        Action::Notify => vec![give(NOTIFY)],
        Action::NotifyCreation(argument) => vec![
            load(ARGUMENT.0 + 8 * u32::from(argument)),
            jump(BPF_JSET, CREATION, 0, 1),
            give(NOTIFY),
            give(ALLOW),
        ],
        Action::NotifyFor(argument, values) => when_one_of(argument, values, give(NOTIFY)),
        Action::NotifyUnless(argument, value) => unless(argument, value, give(NOTIFY)),
        Action::ErrnoFor(errno, argument, values) => when_one_of(argument, values, fail(errno)),
        Action::ErrnoUnless(errno, argument, value) => unless(argument, value, fail(errno)),
    }
}

fn unless(argument: u8, value: u32, answer: sock_filter) -> Vec<sock_filter> {
    vec![load(ARGUMENT.0 + 8 * u32::from(argument)), jump(BPF_JEQ, value, 0, 1), give(ALLOW), answer]
}

fn when_one_of(argument: u8, values: &[u32], answer: sock_filter) -> Vec<sock_filter> {
    let mut code = vec![load(ARGUMENT.0 + 8 * u32::from(argument))];
    for (index, value) in values.iter().enumerate() {
        let to_answer = values.len() - index;
        code.push(jump(BPF_JEQ, *value, to_answer as u8, 0));
    }
    code.extend([give(ALLOW), answer]);
    code
}

fn personality() -> Vec<sock_filter> {
    let mut code = vec![load(ARGUMENT.1), jump(BPF_JEQ, 0, 1, 0), fail(libc::EPERM), load(ARGUMENT.0)];
    for (index, value) in PERSONALITIES.iter().enumerate() {
        let to_allow = PERSONALITIES.len() - index;
        code.push(jump(BPF_JEQ, *value, to_allow as u8, 0));
    }
    code.extend([fail(libc::EPERM), give(ALLOW)]);
    code
}
