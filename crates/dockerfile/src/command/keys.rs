//! ARG, ENV and LABEL: names and values.

use super::Request;
use crate::error::{Error, ErrorKind};
use crate::line::Args;
use crate::span::Word;
use crate::words;

/// `ARG name[=default] …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// In the order of the text.
    pub definitions: Vec<ArgDefinition>,
}

/// One of ARG's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name.
    pub name: Word,
    /// The default, unexpanded; not even to be expanded when a build argument gives the value.
    pub default: Option<Word>,
}

/// `ENV key=value …`: all pairs of a line see the environment before the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Env {
    /// In the order of the text.
    pub pairs: Vec<Pair>,
}

/// `LABEL key=value …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// In the order of the text.
    pub pairs: Vec<Pair>,
}

/// Key and value, both to be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Word,
    /// The value.
    pub value: Word,
    /// Written the old way, `ENV key value`.
    pub legacy: bool,
}

impl Arg {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let (_, words) = words_of(request, "at least one name")?;
        request.warn_of_hash();
        let definitions = words.into_iter().map(|word| match split(&word) {
            Some((name, _)) if name.text.is_empty() => Err(blank_name(request, &word)),
            Some((name, default)) => Ok(ArgDefinition { name, default: Some(default) }),
            None => Ok(ArgDefinition { name: word, default: None }),
        });
        Ok(Self { definitions: definitions.collect::<Result<_, _>>()? })
    }
}

impl Env {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        Ok(Self { pairs: pairs(request)? })
    }
}

impl Label {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        Ok(Self { pairs: pairs(request)? })
    }
}

/// The arguments, and their words. An escape character alone is no word.
fn words_of<'a>(request: &mut Request<'a>, what: &'static str) -> Result<(Args<'a>, Vec<Word>), Error> {
    let args = request.plain_args(what)?;
    let words = words::keeping_quotes(&args, request.escape);
    if words.is_empty() { Err(request.missing(what)) } else { Ok((args, words)) }
}

/// The first word decides: with `=` all words are pairs, without it the rest of the line is its value.
fn pairs(request: &mut Request<'_>) -> Result<Vec<Pair>, Error> {
    let (args, words) = words_of(request, "at least one `name=value`")?;
    if words.first().is_some_and(|word| !word.text.contains('=')) {
        request.warn_of_hash();
        let (key, value) =
            words::at_first_blank(&args).ok_or_else(|| request.missing("a value: `name=value`"))?;
        return Ok(vec![Pair { key, value, legacy: true }]);
    }
    let pairs = words.iter().map(|word| match split(word) {
        Some((key, _)) if key.text.is_empty() => Err(blank_name(request, word)),
        Some((key, value)) => Ok(Pair { key, value, legacy: false }),
        None => Err(missing_equals(request, word)),
    });
    pairs.collect()
}

fn split(word: &Word) -> Option<(Word, Word)> {
    let (key, value) = word.text.split_once('=')?;
    let equals = key.len();
    let key = Word::new(key, word.part(0..equals));
    Some((key, Word::new(value, word.part(equals + 1..word.text.len()))))
}

fn blank_name(request: &Request<'_>, word: &Word) -> Error {
    Error::new(ErrorKind::BlankName { instruction: request.name }, word.span)
}

fn missing_equals(request: &Request<'_>, word: &Word) -> Error {
    let help = if word.text.starts_with('#') {
        "put the comment on a line of its own: `#` begins a comment at the start of a line only"
    } else {
        "put a value with spaces into double quotes"
    };
    let kind = ErrorKind::MissingEquals { instruction: request.name, word: word.text.clone() };
    Error::new(kind, word.span).with_help(help)
}
