//! One rule to instructions.

use libc::{BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_K, sock_filter};

use super::super::compile::{ARGUMENT, give, jump, load, statement};
use super::Rule;
use super::read::{Comparison, Condition};

/// Where a jump goes.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    On,
    /// Behind the condition: it holds.
    Holds,
    /// Behind the rule: it does not.
    Fails,
}

/// An instruction whose jumps are not counted out yet.
struct Open(sock_filter, To, To);

/// The rules of one call: the first that holds, else the usual answer.
pub(super) fn rules(rules: &[Rule], usual: u32) -> Vec<sock_filter> {
    let mut code: Vec<sock_filter> = rules.iter().flat_map(rule).collect();
    if rules.last().is_none_or(|rule| !rule.conditions.is_empty()) {
        code.push(give(usual));
    }
    code
}

/// It has six conditions at most, so that all jumps in it are near.
fn rule(rule: &Rule) -> Vec<sock_filter> {
    let conditions: Vec<Vec<Open>> = rule.conditions.iter().map(condition).collect();
    let all = conditions.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(all);
    for open in conditions {
        let behind = code.len() + open.len();
        for Open(mut instruction, yes, no) in open {
            let distance = |to| match to {
                To::On => 0,
                To::Holds => (behind - code.len() - 1) as u8,
                To::Fails => (all - code.len() - 1) as u8,
            };
            (instruction.jt, instruction.jf) = (distance(yes), distance(no));
            code.push(instruction);
        }
    }
    code.push(give(rule.answer));
    code
}

/// Filters know 32 bits: the high half decides unless it is equal.
fn condition(condition: &Condition) -> Vec<Open> {
    let Condition { index, value, value_two, op } = *condition;
    let ends = |compare, yes, no| halves(index.0, value, compare, (yes, no));
    match op {
        Comparison::Equal => masked(index.0, u64::MAX, value),
        Comparison::MaskedEqual => masked(index.0, value, value_two & value),
        Comparison::NotEqual => {
            let (high, low) = split(value);
            vec![
                plain(load(at(index.0).1)),
                Open(jump(BPF_JEQ, high, 0, 0), To::On, To::Holds),
                plain(load(at(index.0).0)),
                Open(jump(BPF_JEQ, low, 0, 0), To::Fails, To::Holds),
            ]
        }
        Comparison::Greater => ends(BPF_JGT, To::Holds, To::Fails),
        Comparison::GreaterOrEqual => ends(BPF_JGE, To::Holds, To::Fails),
        Comparison::Less => ends(BPF_JGE, To::Fails, To::Holds),
        Comparison::LessOrEqual => ends(BPF_JGT, To::Fails, To::Holds),
    }
}

fn masked(index: u8, mask: u64, value: u64) -> Vec<Open> {
    let parts = [(at(index).1, split(mask).0, split(value).0), (at(index).0, split(mask).1, split(value).1)];
    let mut code = Vec::new();
    for (offset, mask, value) in parts {
        code.push(plain(load(offset)));
        if mask != u32::MAX {
            code.push(plain(statement(BPF_ALU | BPF_AND | BPF_K, mask)));
        }
        code.push(Open(jump(BPF_JEQ, value, 0, 0), To::On, To::Fails));
    }
    code
}

/// `compare` is for the low half; the high one has to be greater, or equal.
fn halves(index: u8, value: u64, compare: u32, (yes, no): (To, To)) -> Vec<Open> {
    let (high, low) = split(value);
    vec![
        plain(load(at(index).1)),
        Open(jump(BPF_JGT, high, 0, 0), yes, To::On),
        Open(jump(BPF_JEQ, high, 0, 0), To::On, no),
        plain(load(at(index).0)),
        Open(jump(compare, low, 0, 0), yes, no),
    ]
}

fn plain(instruction: sock_filter) -> Open {
    Open(instruction, To::On, To::On)
}

/// The high and the low half.
fn split(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Offsets of the low and the high half of an argument.
fn at(index: u8) -> (u32, u32) {
    (ARGUMENT.0 + 8 * u32::from(index), ARGUMENT.1 + 8 * u32::from(index))
}
