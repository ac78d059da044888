//! A filter of somebody's own, from Docker's JSON.
//!
//! Rules without arguments decide over those with, among equals the first in the file; names that no machine knows are
//! ignored, as by libseccomp. Calls that are newer than all that the profile names do not exist (ENOSYS) where it denies by
//! default, as in runc: programs then fall back to older ones.

mod code;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libc::sock_filter;
use serde::{Deserialize, Serialize};

use self::read::{Comparison, Condition, Entry, Errno, Index, Kernel, Verb, When, Written};
use super::{Column, compile, denied::DENIED, machines, profile};
use crate::capabilities::Capabilities;

/// Bytes of a profile. Docker's own has 14,000.
const BYTES_MAX: usize = 1 << 20;
/// Instructions that the kernel takes in one filter.
const INSTRUCTIONS_MAX: usize = 4096;
/// Numbers of calls for the x32 machine have this bit. No filter here knows them.
const X32: u32 = 0x4000_0000;

/// A profile that was read.
#[derive(Debug)]
pub struct SeccompProfile(Written);

/// A filter that is ready to be loaded: code, jumps and operand of each instruction, as the kernel has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompProgram {
    instructions: Vec<(u16, u8, u8, u32)>,
    flags: u32,
}

/// Why a profile is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// It is not what Docker writes.
    #[error("{what}")]
    Written {
        /// What is wrong.
        what: String,
        /// The line, counted from one.
        line: usize,
        /// The byte in it, counted from one.
        column: usize,
    },
    /// Nobody writes that by hand.
    #[error("the profile has more than {BYTES_MAX} bytes")]
    Long,
    /// Docker does not know which counts.
    #[error("the profile has both {0} and {1}")]
    Both(&'static str, &'static str),
    /// The kernel would not take it.
    #[error("the filter has {0} instructions, and the kernel takes {INSTRUCTIONS_MAX}")]
    Large(usize),
}

/// What becomes of a call whose arguments are so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    conditions: Vec<Condition>,
    answer: u32,
}

/// What becomes of a call: the first rule that holds says it, else the usual answer.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    rules: Vec<Rule>,
    usual: u32,
}

impl Answers {
    fn always(answer: u32) -> Self {
        Self { rules: Vec::new(), usual: answer }
    }

    fn always_refuse(&self) -> bool {
        let last = self.rules.last().is_some_and(|rule| rule.conditions.is_empty());
        let usual = (!last).then_some(self.usual);
        let mut answers = self.rules.iter().map(|rule| rule.answer).chain(usual);
        answers.all(|answer| !matches!(answer, compile::ALLOW | LOG))
    }
}

impl compile::Leaf for Answers {
    fn code(&self) -> Vec<sock_filter> {
        code::rules(&self.rules, self.usual)
    }
}

/// The call is made, and the kernel's log tells of it.
const LOG: u32 = 0x7ffc_0000;
/// The program has the error that a kernel gives which does not know the call.
const UNKNOWN: u32 = compile::ERRNO | libc::ENOSYS as u32;

impl SeccompProfile {
    /// Reads a profile.
    pub fn read(text: &[u8]) -> Result<Self, SeccompError> {
        if text.len() > BYTES_MAX {
            return Err(SeccompError::Long);
        }
        let written: Written = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let said = error.to_string();
            let what =
                said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said).to_owned();
            SeccompError::Written { what, line, column }
        })?;
        let given = |list: Option<usize>| list.is_some_and(|length| length > 0);
        if given(written.architectures.as_ref().map(Vec::len))
            && given(written.arch_map.as_ref().map(Vec::len))
        {
            return Err(SeccompError::Both("architectures", "archMap"));
        }
        if written.syscalls.iter().flatten().any(|entry| entry.name.is_some() && entry.names.is_some()) {
            return Err(SeccompError::Both("name", "names of one rule"));
        }
        Ok(Self(written))
    }

    /// The filter for a process with these capabilities on this machine.
    pub fn program(&self, capabilities: Capabilities) -> Result<SeccompProgram, SeccompError> {
        let entries = self.entries(capabilities);
        let machines = machines().into_iter().enumerate().filter(|(at, _)| *at == 0 || self.takes_32_bits());
        let sections: Vec<_> =
            machines.map(|(at, (arch, column))| (arch, self.section(&entries, column, at > 0))).collect();
        let program = compile::program(&sections);
        if program.len() > INSTRUCTIONS_MAX {
            return Err(SeccompError::Large(program.len()));
        }
        let instructions = program.into_iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect();
        let flags = self.0.flags.iter().flatten().fold(0, |flags, flag| flags | flag.bits());
        Ok(SeccompProgram { instructions, flags })
    }

    /// The first of these calls that a process with these capabilities could not make, whatever its arguments.
    pub fn refuses<'a>(&self, calls: &[&'a str], capabilities: Capabilities) -> Option<&'a str> {
        let (_, column) = machines()[0];
        let ranges = self.section(&self.entries(capabilities), column, false);
        let answers = |call| {
            let number = number(call, column)?;
            ranges.iter().rev().find(|(from, _)| *from <= number).map(|(_, answers)| answers)
        };
        calls.iter().copied().find(|call| answers(call).is_some_and(Answers::always_refuse))
    }

    /// Those that hold here.
    fn entries(&self, capabilities: Capabilities) -> Vec<&Entry> {
        let kernel = Kernel::here();
        let holds = move |entry: &&Entry| {
            let includes = entry.includes.as_ref().is_none_or(|when| when.all(capabilities, kernel));
            let excludes = entry.excludes.as_ref().is_some_and(|when| when.any(capabilities, kernel));
            includes && !excludes
        };
        self.0.syscalls.iter().flatten().filter(holds).collect()
    }

    fn takes_32_bits(&self) -> bool {
        const OURS: &str = "SCMP_ARCH_X86_64";
        const OF_32_BITS: &str = "SCMP_ARCH_X86";
        let below = self.0.arch_map.iter().flatten().filter(|machine| machine.architecture == OURS);
        let named = below.flat_map(|machine| machine.sub_architectures.iter().flatten());
        named.chain(self.0.architectures.iter().flatten()).any(|name| name == OF_32_BITS)
    }

    /// What becomes of each call of a machine, as ranges of numbers.
    fn section(&self, entries: &[&Entry], column: Column, old: bool) -> Vec<(u32, Answers)> {
        let usual = answer(self.0.default_action, self.0.default_errno_ret);
        let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        // Who says what holds anyway says nothing, as in runc.
        for entry in entries.iter().filter(|entry| answer(entry.action, entry.errno_ret) != usual) {
            for name in entry.names() {
                for (number, rules) in rules_of(entry, name, column, old) {
                    calls.entry(number).or_default().extend(rules);
                }
            }
        }
        let mut ranges = vec![(0, Answers::always(usual))];
        for (number, rules) in calls {
            let rules = Answers { rules: decisive(rules), usual };
            ranges.extend([(number, rules), (number + 1, Answers::always(usual))]);
        }
        if let Some(newer) = self.newer(entries, column) {
            ranges.push((newer, Answers::always(UNKNOWN)));
        }
        ranges.push((X32, Answers::always(UNKNOWN)));
        tidy(ranges)
    }

    /// From which number on calls are newer than what holds of this profile and do not exist.
    fn newer(&self, entries: &[&Entry], column: Column) -> Option<u32> {
        if matches!(self.0.default_action, Verb::Allow | Verb::Log | Verb::Trace) {
            return None;
        }
        let names = entries.iter().flat_map(|entry| entry.names());
        Some(names.filter_map(|name| number(name, column)).max()? + 1)
    }
}

impl SeccompProgram {
    pub(crate) fn instructions(&self) -> Vec<sock_filter> {
        self.instructions.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect()
    }

    /// How it is to be loaded, in the kernel's bits.
    pub(crate) const fn flags(&self) -> u32 {
        self.flags
    }
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter().flatten().chain(&self.name)
    }
}

impl When {
    /// As an `includes`.
    fn all(&self, capabilities: Capabilities, kernel: Kernel) -> bool {
        self.caps.iter().flatten().all(|name| capabilities.contains(name))
            && self.arches.as_ref().is_none_or(|names| names.is_empty() || names.iter().any(is_here))
            && self.min_kernel.is_none_or(|least| least <= kernel)
    }

    /// As an `excludes`.
    fn any(&self, capabilities: Capabilities, kernel: Kernel) -> bool {
        self.caps.iter().flatten().any(|name| capabilities.contains(name))
            || self.arches.iter().flatten().any(is_here)
            || self.min_kernel.is_some_and(|least| least <= kernel)
    }
}

/// Machines by Go's names.
fn is_here(name: &String) -> bool {
    name == if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn answer(verb: Verb, errno: Option<Errno>) -> u32 {
    let errno = errno.map_or(libc::EPERM as u32, |errno| errno.0);
    match verb {
        Verb::Allow => compile::ALLOW,
        Verb::Errno => compile::ERRNO | errno,
        Verb::KillThread => 0,
        Verb::KillProcess => compile::KILL_PROCESS,
        Verb::Log => LOG,
        Verb::Trace => 0x7ff0_0000 | errno,
        Verb::Trap => 0x0003_0000,
    }
}

fn number(name: &str, column: Column) -> Option<u32> {
    let known = profile::PROFILE.iter().find(|row| row.0 == name).map(column);
    let denied = || DENIED.iter().find(|row| row.0 == name);
    known
        .or_else(|| denied().map(|row| column(&(row.0, row.1, row.2, row.3, super::Rule::Allow))))
        .filter(|number| *number != profile::NONE)
}

/// Conditions about different arguments hold together, those about one argument alone, as in runc.
fn rules_of(entry: &Entry, name: &str, column: Column, old: bool) -> Vec<(u32, Vec<Rule>)> {
    let answer = answer(entry.action, entry.errno_ret);
    let conditions = entry.args.clone().unwrap_or_default();
    let mut seen = conditions.iter().map(|condition| condition.index.0).collect::<Vec<_>>();
    seen.sort_unstable();
    let rules = if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        conditions.iter().map(|condition| Rule { conditions: vec![*condition], answer }).collect()
    } else {
        vec![Rule { conditions: conditions.clone(), answer }]
    };
    let direct = number(name, column).map(|number| (number, rules));
    // Their arguments are behind a pointer there, which no filter can follow.
    let shared = || shared(name).filter(|_| old && conditions.is_empty());
    let shared = shared().and_then(|(call, condition)| {
        Some((number(call, column)?, vec![Rule { conditions: vec![condition], answer }]))
    });
    direct.into_iter().chain(shared).collect()
}

/// The call that 32-bit programs may make instead, with the number in its first argument.
fn shared(name: &str) -> Option<(&'static str, Condition)> {
    const SOCKETS: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const OTHERS: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    // Above are versions of the interface.
    let is = |number, mask| Condition {
        index: Index(0),
        value: mask,
        value_two: number,
        op: Comparison::MaskedEqual,
    };
    let socket = (1_u64..).zip(SOCKETS).find(|(_, known)| *known == name);
    let socket = socket.map(|(number, _)| ("socketcall", is(number, u64::from(u32::MAX))));
    socket.or_else(|| {
        OTHERS.iter().find(|(known, _)| *known == name).map(|(_, number)| ("ipc", is(*number, 0xffff)))
    })
}

/// The rules that can be reached, in the order in which they are asked.
fn decisive(rules: Vec<Rule>) -> Vec<Rule> {
    match rules.iter().find(|rule| rule.conditions.is_empty()) {
        Some(always) => vec![always.clone()],
        None => rules,
    }
}

/// In the order of numbers, the later of equals, and without those that go on as the one before.
fn tidy(mut ranges: Vec<(u32, Answers)>) -> Vec<(u32, Answers)> {
    ranges.sort_by_key(|(number, _)| *number);
    let mut tidied: Vec<(u32, Answers)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        tidied.pop_if(|before| before.0 == range.0);
        if tidied.last().is_none_or(|before| before.1 != range.1) {
            tidied.push(range);
        }
    }
    tidied
}
