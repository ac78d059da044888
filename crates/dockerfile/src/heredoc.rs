//! Here-documents: `<<EOF`, `<<-EOF`, `<<'EOF'`, `3<<EOF`.

use crate::error::{Error, ErrorKind};
use crate::expand::lexer::{Lexer, Options};
use crate::span::Span;

/// A here-document with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, and the file's name in COPY and ADD.
    pub name: String,
    /// No part of the word was quoted: COPY and ADD expand the body.
    pub expand: bool,
    /// `<<-`: leading tabs of the body's lines go away.
    pub strip_tabs: bool,
    /// The number before `<<`, if one was written.
    pub descriptor: Option<u32>,
    /// The body as written, line ends and leading tabs included, without the terminator's line.
    pub body: String,
    /// Where the body stands.
    pub body_span: Span,
}

impl Heredoc {
    /// The body as it is used: without leading tabs when `<<-` asks for it.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The head of a here-document in a word: `[digits]<<[-][ ]word`, alone in its word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
    pub(crate) descriptor: Option<u32>,
}

impl Head {
    /// `Ok(None)` when the word is no here-document; an error (the offending text) when its quotes are not closed.
    pub(crate) fn read(word: &str) -> Result<Option<Self>, String> {
        let operator = word.trim_start_matches(|character: char| character.is_ascii_digit());
        let digits = word.get(..word.len() - operator.len()).unwrap_or_default();
        let Some(rest) = operator.strip_prefix("<<") else { return Ok(None) };
        let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        let rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        if rest.is_empty() || rest.contains('<') {
            return Ok(None);
        }
        let words = |raw_quotes| {
            lex(rest, Options { raw_quotes, ..Options::default() }).map_err(|()| rest.to_owned())
        };
        let (plain, raw) = (words(false)?, words(true)?);
        let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
        let quotes = |text: &str| text.matches(['\'', '"']).count();
        let expand = quotes(name) == quotes(raw);
        Ok(Some(Self { name: name.clone(), expand, strip_tabs, descriptor: digits.parse().ok() }))
    }

    /// All heads in a logical line, in order. A line that no shell could cut into words has none.
    pub(crate) fn read_all(line: &str, span: Span) -> Result<Vec<Self>, Error> {
        if !line.contains("<<") {
            return Ok(Vec::new());
        }
        let options = Options { raw_quotes: true, raw_escapes: true, ..Options::default() };
        let Ok(words) = lex(line, options) else { return Ok(Vec::new()) };
        let heads = words.iter().filter_map(|word| Self::read(word).transpose());
        heads
            .map(|head| {
                head.map_err(|text| {
                    Error::new(ErrorKind::BadHeredocName { text }, span).with_help("close the quote")
                })
            })
            .collect()
    }

    /// Whether a line of the text (line end included) ends this document.
    pub(crate) fn ends_at(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// Shell words with variables left alone. The escape directive does not reach here-documents, as in Docker.
fn lex(text: &str, options: Options) -> Result<Vec<String>, ()> {
    let options = Options { keep_unset: true, ..options };
    Lexer::new(text, '\\', options, &|_| None).run().map(|lexed| lexed.words()).map_err(|_| ())
}
