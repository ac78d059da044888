//! `--chmod`, after expansion: octal, or symbolic as chmod(1) and BSD's setmode(3) read it.

use crate::error::{Error, ErrorKind};
use crate::span::Span;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

/// A mode, or a way to change one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ModeSpec {
    /// All twelve bits.
    Octal(u32),
    /// Changes, in order.
    Symbolic(Vec<Change>),
}

/// `[ugoa…](+|-|=)[rwxXst…|ugo]`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The bits it may touch: user, group, others with their set-id bits. Nothing written means all.
    who: u32,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Permissions {
    Bits {
        bits: u32,
        /// `X`: execute, for directories and for what somebody can execute already.
        execute_if_executable: bool,
    },
    /// The permissions of user (6), group (3) or others (0), by their shift.
    CopyOf(u32),
}

/// Reads a mode.
pub fn parse(text: &str, span: Span) -> Result<ModeSpec, Error> {
    let mode = if text.starts_with(|first: char| first.is_ascii_digit()) {
        octal(text).map(ModeSpec::Octal)
    } else {
        symbolic(text).map(ModeSpec::Symbolic)
    };
    mode.ok_or_else(|| {
        Error::new(ErrorKind::BadMode { value: text.to_owned() }, span)
            .with_help("write octal from 0 to 07777, or symbolic such as u=rwX,go=rX")
    })
}

impl ModeSpec {
    /// The mode of a file that had `mode` before. Only the twelve permission bits are looked at and given.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(changes) => {
                let executable = is_directory || mode & EXECUTE != 0;
                changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, executable))
            }
        }
    }
}

impl Change {
    fn apply(&self, mode: u32, executable: bool) -> u32 {
        let wanted = match self.permissions {
            Permissions::Bits { bits, execute_if_executable } => {
                bits | if execute_if_executable && executable { EXECUTE } else { 0 }
            }
            Permissions::CopyOf(shift) => (mode >> shift & 0o7) * 0o111,
        };
        let wanted = wanted & self.who;
        match self.operator {
            Operator::Add => mode | wanted,
            Operator::Remove => mode & !wanted,
            Operator::Set => mode & !self.cleared() | wanted,
        }
    }
}

impl Change {
    /// What `=` takes away first: a copy of permissions leaves the set-id bits, and nothing takes the sticky bit.
    fn cleared(&self) -> u32 {
        match self.permissions {
            Permissions::Bits { .. } => self.who & !STICKY,
            Permissions::CopyOf(_) => self.who & 0o777,
        }
    }
}

fn octal(text: &str) -> Option<u32> {
    let digits = text.chars().all(|digit| digit.is_digit(8));
    u32::from_str_radix(text, 8).ok().filter(|&mode| digits && mode <= 0o7777)
}

fn symbolic(text: &str) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for clause in text.split(',') {
        let operators = clause.find(['+', '-', '='])?;
        let (who, mut rest) = clause.split_at(operators);
        let who = who.chars().try_fold(0, |who, letter| Some(who | who_bits(letter)?))?;
        while !rest.is_empty() {
            let (operator, behind) = rest.split_at(1);
            let end = behind.find(['+', '-', '=']).unwrap_or(behind.len());
            let (letters, next) = behind.split_at(end);
            changes.extend(permissions(who, operator, letters)?);
            rest = next;
        }
    }
    Some(changes)
}

fn who_bits(letter: char) -> Option<u32> {
    Some(match letter {
        'u' => SET_UID | 0o700,
        'g' => SET_GID | 0o070,
        'o' => 0o007,
        'a' => SET_UID | SET_GID | 0o777,
        _ => return None,
    })
}

/// The letters behind an operator. `u`, `g` and `o` among them are changes of their own.
fn permissions(who: u32, operator: &str, letters: &str) -> Option<Vec<Change>> {
    let operator = match operator {
        "+" => Operator::Add,
        "-" => Operator::Remove,
        _ => Operator::Set,
    };
    // The sticky bit belongs to all but "others alone".
    let others_only = who == 0o007;
    let who = if who == 0 { SET_UID | SET_GID | 0o777 } else { who };
    let who = if others_only { who } else { who | STICKY };
    let change = |permissions| Change { who, operator, permissions };
    let mut changes = Vec::new();
    for run in letters.split_inclusive(['u', 'g', 'o']) {
        let plain = run.trim_end_matches(['u', 'g', 'o']);
        if !plain.is_empty() {
            changes.push(change(bits(operator, plain)?));
        }
        let copied = match run.get(plain.len()..) {
            Some("u") => Permissions::CopyOf(6),
            Some("g") => Permissions::CopyOf(3),
            Some("o") => Permissions::CopyOf(0),
            _ => continue,
        };
        changes.push(change(copied));
    }
    // `u=` takes everything away.
    if changes.is_empty() {
        changes.push(change(bits(operator, "")?));
    }
    Some(changes)
}

fn bits(operator: Operator, letters: &str) -> Option<Permissions> {
    let (mut bits, mut execute_if_executable) = (0, false);
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= EXECUTE,
            // Taking X away takes x away.
            'X' if operator == Operator::Remove => bits |= EXECUTE,
            'X' => execute_if_executable = true,
            's' => bits |= SET_UID | SET_GID,
            't' => bits |= STICKY,
            _ => return None,
        }
    }
    Some(Permissions::Bits { bits, execute_if_executable })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::span::Span;

    #[test]
    fn modes_change_as_with_chmod() {
        let cases = [
            ("755", 0o600, false, 0o755),
            ("04755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("g=u", 0o640, false, 0o660),
            ("o=g-w", 0o660, false, 0o664),
            ("u+s", 0o755, false, 0o4755),
            ("ug+s", 0o755, false, 0o6755),
            ("+t", 0o777, true, 0o1777),
            ("u=", 0o4755, false, 0o055),
            ("a=r,u+w", 0o777, false, 0o644),
            ("go-X", 0o755, false, 0o744),
            ("o=ux", 0o640, false, 0o641),
            ("g=xu", 0o640, false, 0o660),
            ("g=u", 0o2750, false, 0o2770),
            ("a=", 0o7777, false, 0o1000),
        ];
        for (text, before, is_directory, after) in cases {
            let mode = parse(text, Span::default()).expect(text);
            assert_eq!(mode.apply(before, is_directory), after, "{text}");
        }
    }

    #[test]
    fn what_is_no_mode() {
        for text in
            ["", "8", "10000", "0x1", "rw", "u", "u+q", "u+r,", ",u+r", "z+r", "99999999999999", "1+r"]
        {
            assert!(parse(text, Span::default()).is_err(), "{text}");
        }
    }
}
