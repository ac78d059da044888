//! The `--name=value` words behind a keyword.

use crate::error::{Error, ErrorKind};
use crate::span::{Span, Word};
use crate::suggest::closest;

/// One flag as written. Quotes and escapes are already applied, variables are not expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name without `--`.
    pub name: Word,
    /// What follows `=`, if there was one.
    pub value: Option<Word>,
    /// The whole flag.
    pub span: Span,
}

impl Flag {
    /// Cuts a word that starts with `--`.
    pub(crate) fn new(word: Word) -> Self {
        let body = word.text.get(2..).unwrap_or_default();
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let equals = 2 + name.len();
        let value = value.map(|value| Word::new(value, word.part(equals + 1..word.text.len())));
        Self { name: Word::new(name, word.part(0..equals)), value, span: word.span }
    }
}

/// What a flag of an instruction may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// `--name`, `--name=true`, `--name=false`.
    Switch,
    /// `--name=value`, once.
    Value,
    /// `--name=value`, any number of times.
    List,
    /// Only in Docker's labs front end: refused by name.
    Labs,
}

/// The flags of one instruction, checked against the ones it knows, taken out one by one.
#[derive(Debug)]
pub(crate) struct FlagSet {
    flags: Vec<Flag>,
}

impl FlagSet {
    /// Checks names, values and repetition.
    pub(crate) fn new(
        instruction: &'static str,
        flags: Vec<Flag>,
        known: &[(&'static str, FlagKind)],
    ) -> Result<Self, Error> {
        for (index, flag) in flags.iter().enumerate() {
            let kind = kind_of(instruction, flag, known)?;
            check_value(flag, kind)?;
            let repeated = flags.iter().take(index).any(|earlier| earlier.name.text == flag.name.text);
            if repeated && kind != FlagKind::List {
                let kind = ErrorKind::DuplicateFlag { flag: flag.name.text.clone() };
                return Err(Error::new(kind, flag.span).with_help("keep one of the two"));
            }
        }
        Ok(Self { flags })
    }

    /// A switch; `None` when it is not given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.flags.iter().find(|flag| flag.name.text == name)?;
        Some(flag.value.as_ref().is_none_or(|value| value.text.eq_ignore_ascii_case("true")))
    }

    /// The value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<Word> {
        self.flags.iter().find(|flag| flag.name.text == name)?.value.clone()
    }

    /// All values of a flag that repeats.
    pub(crate) fn values(&self, name: &str) -> Vec<Word> {
        let named = self.flags.iter().filter(|flag| flag.name.text == name);
        named.filter_map(|flag| flag.value.clone()).collect()
    }
}

fn kind_of(
    instruction: &'static str,
    flag: &Flag,
    known: &[(&'static str, FlagKind)],
) -> Result<FlagKind, Error> {
    match known.iter().find(|(name, _)| *name == flag.name.text) {
        Some((_, FlagKind::Labs)) => {
            let kind = ErrorKind::LabsFlag { instruction, flag: flag.name.text.clone() };
            Err(Error::new(kind, flag.span)
                .with_help("it exists only in Docker's labs front end (`docker/dockerfile:1-labs`)"))
        }
        Some((_, kind)) => Ok(*kind),
        None => {
            let usable = known.iter().filter(|(_, kind)| *kind != FlagKind::Labs);
            let names: Vec<&str> = usable.map(|(name, _)| *name).collect();
            let help = match closest(&flag.name.text, &names) {
                Some(name) => format!("did you mean `--{name}`?"),
                None if names.is_empty() => format!("{instruction} has no flags"),
                None => format!("{instruction} knows --{}", names.join(", --")),
            };
            let kind = ErrorKind::UnknownFlag { instruction, flag: flag.name.text.clone() };
            Err(Error::new(kind, flag.name.span).with_help(help))
        }
    }
}

fn check_value(flag: &Flag, kind: FlagKind) -> Result<(), Error> {
    let missing = || {
        let kind = ErrorKind::FlagWithoutValue { flag: flag.name.text.clone() };
        Error::new(kind, flag.span).with_help(format!("write --{}=VALUE", flag.name.text))
    };
    match (&flag.value, kind) {
        (None, FlagKind::Switch) => Ok(()),
        (None, _) => Err(missing()),
        (Some(value), FlagKind::Switch) if value.text.is_empty() => Err(missing()),
        (Some(value), FlagKind::Switch) => {
            let known = ["true", "false"].iter().any(|word| value.text.eq_ignore_ascii_case(word));
            let kind = ErrorKind::FlagNotBoolean { flag: flag.name.text.clone(), value: value.text.clone() };
            if known { Ok(()) } else { Err(Error::new(kind, value.span).with_help("write true or false")) }
        }
        _ => Ok(()),
    }
}
