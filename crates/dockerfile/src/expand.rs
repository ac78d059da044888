//! `$VAR`, `${VAR…}`, quotes and escapes, as Docker's builder reads them: like a shell, but not one.
//!
//! Forms: `$v ${v} ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?m} ${v?m} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}`.
//! Patterns know `*` and `?` and their escapes, no brackets. A variable that is not set is empty.

pub(crate) mod lexer;
mod pattern;

use crate::error::Error;
use crate::heredoc::Heredoc;
use crate::span::Word;
use lexer::{LexError, Lexed, Lexer, Options};
use std::collections::BTreeSet;

/// How much longer than it is written a text may become. Without it, lines of `ARG A=$A$A` would double the memory each,
/// and `${a//?/${a//?/…}}` would multiply it on one line. The kernel passes no variable of an eighth of this to a program.
pub const MAX_EXPANDED: usize = 1 << 20;

/// The deepest nesting of `${a:-${b:-…}}`.
pub const MAX_NESTING: usize = 64;

/// Gives the value of a variable, `None` when it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A word after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text, without quotes.
    pub text: String,
    /// The variables that were looked at and set.
    pub used: BTreeSet<String>,
    /// The variables that were looked at and not set.
    pub undefined: BTreeSet<String>,
}

/// A word that became several (EXPOSE).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpandedWords {
    /// The words; white space inside quotes does not cut.
    pub words: Vec<String>,
    /// The variables that were looked at and set.
    pub used: BTreeSet<String>,
    /// The variables that were looked at and not set.
    pub undefined: BTreeSet<String>,
}

/// Expands words in the environment of one place of the Dockerfile.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: char,
    environment: Lookup<'a>,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

impl<'a> Expander<'a> {
    /// `escape` is the Dockerfile's ([`crate::Dockerfile::escape`]).
    pub fn new(escape: char, environment: Lookup<'a>) -> Self {
        Self { escape, environment }
    }

    /// One word; quotes are taken away.
    pub fn word(&self, word: &Word) -> Result<Expanded, Error> {
        self.expand(&word.text, self.escape, Options::default())
            .map(Expanded::from)
            .map_err(|error| error.on(word))
    }

    /// One word cut at white space after expansion; quotes keep things together.
    pub fn words(&self, word: &Word) -> Result<ExpandedWords, Error> {
        self.expand(&word.text, self.escape, Options::default())
            .map(ExpandedWords::from)
            .map_err(|error| error.on(word))
    }

    /// The content of a COPY or ADD here-document: tabs stripped when asked for, variables expanded unless the
    /// name was quoted, quotes kept. The escape character is always the backslash here, as in Docker.
    pub fn heredoc(&self, heredoc: &Heredoc) -> Result<Expanded, Error> {
        let text = heredoc.text();
        if !heredoc.expand {
            return Ok(Expanded { text, ..Expanded::default() });
        }
        let options = Options { skip_quotes: true, ..Options::default() };
        let expanded = self.expand(&text, '\\', options);
        expanded.map(Expanded::from).map_err(|error| error.on(&Word::new(text, heredoc.body_span)))
    }

    /// An instruction's text for the progress display: set variables are filled in, all else stays as written.
    pub fn for_display(&self, text: &str) -> String {
        let options = Options { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Options::default() };
        self.expand(text, self.escape, options).map_or_else(|_| text.to_owned(), |lexed| lexed.text)
    }

    fn expand(&self, text: &str, escape: char, options: Options) -> Result<Lexed, LexError> {
        Lexer::new(text, escape, options, self.environment).run()
    }
}

impl From<Lexed> for Expanded {
    fn from(lexed: Lexed) -> Self {
        Self { text: lexed.text, used: lexed.used, undefined: lexed.undefined }
    }
}

impl From<Lexed> for ExpandedWords {
    fn from(lexed: Lexed) -> Self {
        Self { words: lexed.words(), used: lexed.used, undefined: lexed.undefined }
    }
}

#[cfg(test)]
mod tests;
