//! FROM.

use super::Request;
use crate::error::{Error, ErrorKind};
use crate::flag::FlagKind;
use crate::span::Word;
use crate::words;

/// `FROM [--platform=p] image [AS name]`. Only global ARGs expand in image and platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// A stage's name, `scratch`, or an image reference.
    pub image: Word,
    /// The platform that is asked for.
    pub platform: Option<Word>,
    /// The stage's name in lower case; the span shows it as written.
    pub name: Option<Word>,
    /// The stage's name as written.
    pub written_name: Option<Word>,
    /// The word AS as written.
    pub as_keyword: Option<Word>,
}

impl From {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let flags = request.take_flags(&[("platform", FlagKind::Value)])?;
        if request.args.is_empty() {
            return Err(request.missing("an image, a stage's name, or `scratch`"));
        }
        let words = words::at_blanks(&request.args);
        let (image, alias) = match words.as_slice() {
            [image] => (image.clone(), (None, None, None)),
            [image, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
                let known = (Some(keyword.clone()), Some(stage_name(name)?), Some(name.clone()));
                (image.clone(), known)
            }
            _ => return Err(wrong_shape(request, &words)),
        };
        let (as_keyword, name, written_name) = alias;
        Ok(Self { image, platform: flags.value("platform"), name, written_name, as_keyword })
    }
}

fn wrong_shape(request: &Request<'_>, words: &[Word]) -> Error {
    let help = match words.iter().find(|word| word.text.starts_with('#')) {
        Some(_) => "put the comment on a line of its own: `#` begins a comment at the start of a line only",
        None => "write `FROM image` or `FROM image AS name`",
    };
    Error::new(ErrorKind::FromShape, request.args.span()).with_help(help)
}

fn stage_name(word: &Word) -> Result<Word, Error> {
    let name = word.text.to_lowercase();
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    let allowed = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '-' | '_' | '.')
    };
    if begins && name.chars().all(allowed) {
        return Ok(Word::new(name, word.span));
    }
    Err(Error::new(ErrorKind::BadStageName { name: word.text.clone() }, word.span)
        .with_help("begin with a letter; then letters, digits, `-`, `_` and `.`"))
}
