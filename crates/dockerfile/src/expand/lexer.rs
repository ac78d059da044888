//! The reader behind every expansion: one pass over the text, recursion only inside `${…}`.

use super::pattern::Pattern;
use super::{Lookup, MAX_EXPANDED, MAX_NESTING};
use crate::error::{Error, ErrorKind};
use crate::parser::shown;
use crate::span::Word;
use std::collections::BTreeSet;
use std::ops::Range;

/// What is done with quotes, escapes and unset variables.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Quotes group, and stay in the result.
    pub(crate) raw_quotes: bool,
    /// Escape characters stay in the result.
    pub(crate) raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub(crate) skip_quotes: bool,
    /// References to unset variables stay as written.
    pub(crate) keep_unset: bool,
}

/// The result, as one text and as words.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    pub(crate) text: String,
    /// Where in it.
    words: Vec<Range<usize>>,
    pub(crate) used: BTreeSet<String>,
    pub(crate) undefined: BTreeSet<String>,
}

impl Lexed {
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default().to_owned();
        self.words.iter().map(word).collect()
    }
}

/// What is wrong, and which bytes of the text are to blame.
#[derive(Debug)]
pub(crate) struct LexError {
    kind: ErrorKind,
    range: Range<usize>,
}

impl LexError {
    /// The error at its place in the word.
    pub(crate) fn on(self, word: &Word) -> Error {
        let help = match self.kind {
            ErrorKind::MissingBrace => Some("close the `${` with `}`"),
            ErrorKind::UnterminatedQuote { .. } => {
                Some("close the quote, or put the escape character before it")
            }
            ErrorKind::UnsupportedModifier { .. } => Some("known are :- - :+ + :? ? # ## % %% / and //"),
            ErrorKind::RequiredVariable { .. } => {
                Some("give the variable a value above with ENV or ARG, or with --build-arg for an ARG")
            }
            _ => None,
        };
        let error = Error::new(self.kind, word.part(self.range));
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

type Result<T> = std::result::Result<T, LexError>;

/// See the module.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    options: Options,
    environment: Lookup<'a>,
    depth: usize,
    used: BTreeSet<String>,
    undefined: BTreeSet<String>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str, escape: char, options: Options, environment: Lookup<'a>) -> Self {
        let (used, undefined) = Default::default();
        Self { text, at: 0, escape, options, environment, depth: 0, used, undefined }
    }

    /// Reads the whole text.
    pub(crate) fn run(mut self) -> Result<Lexed> {
        let mut sink = Sink::default();
        self.read(None, self.options.raw_escapes, &mut sink)?;
        let (text, words) = sink.finish();
        Ok(Lexed { text, words, used: self.used, undefined: self.undefined })
    }

    /// Reads up to the end, or up to and with `stop`.
    fn read(&mut self, stop: Option<char>, raw_escapes: bool, sink: &mut Sink) -> Result<()> {
        let start = self.at;
        while let Some(character) = self.peek() {
            if Some(character) == stop {
                self.next();
                return Ok(());
            }
            match character {
                '$' => sink.cutting(&self.dollar()?),
                '<' => sink.quoted(&self.angle()),
                '\'' if !self.options.skip_quotes => sink.quoted(&self.single_quoted()?),
                '"' if !self.options.skip_quotes => sink.quoted(&self.double_quoted(raw_escapes)?),
                _ if character == self.escape => self.escaped(raw_escapes, sink),
                _ => sink.cutting(self.plain(stop)),
            }
            self.check_length(sink.text.len())?;
        }
        if stop.is_some() { Err(self.error(ErrorKind::MissingBrace, start)) } else { Ok(()) }
    }

    /// The characters up to the next one that means something.
    fn plain(&mut self, stop: Option<char>) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let means = |character: char| {
            matches!(character, '$' | '<' | '\'' | '"') || character == self.escape || Some(character) == stop
        };
        let mut others = rest.char_indices().skip(1);
        let length = others.find(|&(_, character)| means(character)).map_or(rest.len(), |(at, _)| at);
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// The escape character and the one behind it.
    fn escaped(&mut self, raw_escapes: bool, sink: &mut Sink) {
        let Some(character) = self.next() else { return };
        if raw_escapes {
            sink.escaped(character);
        }
        // An escape character at the very end means nothing.
        if let Some(next) = self.next() {
            sink.escaped(next);
        }
    }

    /// `<`, or `<<` with the blanks behind it, so that the name of a here-document stays with its operator.
    fn angle(&mut self) -> String {
        let start = self.at;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while self.peek().is_some_and(|blank| matches!(blank, ' ' | '\t' | '\r')) {
                self.next();
            }
        }
        self.text.get(start..self.at).unwrap_or_default().to_owned()
    }

    /// Everything up to the next `'` as it is.
    fn single_quoted(&mut self) -> Result<String> {
        let start = self.at;
        self.next();
        while let Some(character) = self.next() {
            if character == '\'' {
                let raw = self.text.get(start..self.at).unwrap_or_default();
                let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
                return Ok(if self.options.raw_quotes { raw } else { inner }.to_owned());
            }
        }
        Err(self.error(ErrorKind::UnterminatedQuote { quote: '\'' }, start))
    }

    /// Variables work, and the escape character works on `"`, `$` and itself only.
    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String> {
        let start = self.at;
        let quote = if self.options.raw_quotes { "\"" } else { "" };
        let mut text = quote.to_owned();
        self.next();
        while let Some(character) = self.peek() {
            match character {
                '"' => {
                    self.next();
                    text.push_str(quote);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ => self.inside_quotes(raw_escapes, &mut text),
            }
            self.check_length(text.len())?;
        }
        Err(self.error(ErrorKind::UnterminatedQuote { quote: '"' }, start))
    }

    fn inside_quotes(&mut self, raw_escapes: bool, text: &mut String) {
        let Some(character) = self.next() else { return };
        if character != self.escape {
            return text.push(character);
        }
        if raw_escapes {
            text.push(character);
        }
        match self.peek() {
            None => {}
            Some(next) if matches!(next, '"' | '$') || next == self.escape => {
                self.next();
                text.push(next);
            }
            // Kept already. (Inside `${…}` it is kept twice, as in Docker, where patterns rely on it.)
            Some(_) if raw_escapes && self.depth == 0 => {}
            Some(_) => text.push(character),
        }
    }

    /// `$name`, `${…}`, or a dollar sign that is only that.
    fn dollar(&mut self) -> Result<String> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.value(&name).unwrap_or_else(|| self.unset(format!("${name}"))));
        }
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(self.error(ErrorKind::NestedTooDeep { limit: MAX_NESTING }, start));
        }
        let value = self.braced(start);
        self.depth -= 1;
        value
    }

    /// What stands behind `${`, with the closing brace.
    fn braced(&mut self, start: usize) -> Result<String> {
        self.next();
        if self.peek().is_some_and(|character| matches!(character, '{' | '}' | ':')) {
            return Err(self.error(ErrorKind::BadSubstitution, start));
        }
        let name = self.name();
        let Some(operator) = self.next() else { return Err(self.error(ErrorKind::MissingBrace, start)) };
        match operator {
            '}' => Ok(self.value(&name).unwrap_or_else(|| self.unset(format!("${{{name}}}")))),
            ':' => {
                let Some(operator) = self.next() else {
                    return Err(self.error(ErrorKind::MissingBrace, start));
                };
                self.modified(start, &name, operator, true)
            }
            '/' => self.replaced(start, &name),
            _ => self.modified(start, &name, operator, false),
        }
    }

    /// `-`, `+`, `?`, `#`, `%` and their forms with a colon, which counts empty as unset.
    fn modified(&mut self, start: usize, name: &str, operator: char, colon: bool) -> Result<String> {
        let trims = matches!(operator, '#' | '%');
        if !(trims || matches!(operator, '-' | '+' | '?')) || (trims && colon) {
            let colon = colon.then_some(':');
            let modifier = shown(colon.into_iter().chain([operator]));
            return Err(self.error(ErrorKind::UnsupportedModifier { modifier }, start));
        }
        let word = self.nested(start, '}', trims)?;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}{}{operator}{word}}}", if colon { ":" } else { "" }));
        }
        let counts = value.filter(|value| !(colon && value.is_empty()));
        match operator {
            '-' => Ok(counts.unwrap_or(word)),
            '+' => Ok(counts.map_or_else(String::new, |_| word)),
            '?' => counts.ok_or_else(|| {
                let adjective = if colon { "unset or empty" } else { "unset" };
                let message = if word.is_empty() { format!("must not be {adjective}") } else { word };
                self.error(ErrorKind::RequiredVariable { name: name.to_owned(), message }, start)
            }),
            _ => self.trimmed(start, operator, &word, &counts.unwrap_or_default()),
        }
    }

    /// `#` and `%` take the shortest piece away, `##` and `%%` the longest.
    fn trimmed(&self, start: usize, operator: char, word: &str, value: &str) -> Result<String> {
        let longest = word.strip_prefix(operator);
        let pattern = self.pattern(start, longest.unwrap_or(word), value)?;
        let rest = if operator == '#' {
            pattern.trim_start(value, longest.is_some())
        } else {
            pattern.trim_end(value, longest.is_some())
        };
        self.check_steps(&pattern, start)?;
        Ok(rest.to_owned())
    }

    fn check_steps(&self, pattern: &Pattern, start: usize) -> Result<()> {
        if pattern.is_exhausted() {
            return Err(self.error(ErrorKind::PatternTooSlow { limit: super::pattern::MAX_STEPS }, start));
        }
        Ok(())
    }

    /// `${name/pattern/replacement}` and `//` for all of them.
    fn replaced(&mut self, start: usize, name: &str) -> Result<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.nested(start, '/', true)?;
        let replacement = self.nested(start, '}', true)?;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}/{}{pattern}/{replacement}}}", if all { "/" } else { "" }));
        }
        let value = value.unwrap_or_default();
        let pattern = self.pattern(start, &pattern, &value)?;
        let replaced = pattern.replace(&value, &replacement, all, self.limit());
        self.check_steps(&pattern, start)?;
        replaced.ok_or_else(|| self.error(ErrorKind::ExpandedTooLong { limit: self.limit() }, start))
    }

    fn pattern(&self, start: usize, text: &str, value: &str) -> Result<Pattern> {
        if value.len() > super::pattern::MAX_VALUE {
            return Err(self.error(ErrorKind::ExpandedTooLong { limit: super::pattern::MAX_VALUE }, start));
        }
        let wrong =
            |escape| self.error(ErrorKind::BadPatternEscape { pattern: text.to_owned(), escape }, start);
        Pattern::new(text).map_err(wrong)
    }

    /// The text up to `stop`, expanded, blanks and all.
    fn nested(&mut self, start: usize, stop: char, raw_escapes: bool) -> Result<String> {
        let mut sink = Sink::default();
        match self.read(Some(stop), raw_escapes, &mut sink) {
            Err(LexError { kind: ErrorKind::MissingBrace, range }) if range.end == self.text.len() => {
                let kind = if stop == '/' { ErrorKind::MissingSlash } else { ErrorKind::MissingBrace };
                Err(self.error(kind, start))
            }
            other => other.map(|()| sink.text),
        }
    }

    /// A name: letters, digits and `_`; or digits; or one special character. May be empty.
    fn name(&mut self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_digit = |character: char| character.is_ascii_digit();
        let is_letter =
            |character: char| character.is_alphabetic() || is_digit(character) || character == '_';
        let length = match rest.chars().next() {
            Some(first) if is_digit(first) => rest.find(|other| !is_digit(other)).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|other| !is_letter(other)).unwrap_or(rest.len()),
        };
        self.at += length;
        rest.get(..length).unwrap_or_default().to_owned()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.environment)(name);
        let seen = if value.is_some() { &mut self.used } else { &mut self.undefined };
        seen.insert(name.to_owned());
        value
    }

    fn unset(&self, written: String) -> String {
        if self.options.keep_unset { written } else { String::new() }
    }

    fn check_length(&self, length: usize) -> Result<()> {
        if length <= self.limit() {
            return Ok(());
        }
        Err(self.error(ErrorKind::ExpandedTooLong { limit: self.limit() }, 0))
    }

    /// The longest that the text may become.
    fn limit(&self) -> usize {
        self.text.len() + MAX_EXPANDED
    }

    fn error(&self, kind: ErrorKind, start: usize) -> LexError {
        LexError { kind, range: start..self.at }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }
}

/// Collects the text, and where in it words stand.
#[derive(Default)]
struct Sink {
    text: String,
    words: Vec<Range<usize>>,
    /// Where the current word begins.
    start: usize,
}

impl Sink {
    /// A character that does not cut.
    fn escaped(&mut self, character: char) {
        self.text.push(character);
    }

    /// A quoted text: it does not cut.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A value, or what stands there as it is: its blanks cut.
    fn cutting(&mut self, text: &str) {
        let before = self.text.len();
        self.text.push_str(text);
        for (at, blank) in text.match_indices(char::is_whitespace) {
            self.end_word(before + at);
            self.start = before + at + blank.len();
        }
    }

    fn end_word(&mut self, end: usize) {
        if end > self.start {
            self.words.push(self.start..end);
        }
    }

    fn finish(mut self) -> (String, Vec<Range<usize>>) {
        self.end_word(self.text.len());
        (self.text, self.words)
    }
}
