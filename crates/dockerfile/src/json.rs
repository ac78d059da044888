//! The exec form: a JSON array of strings. Anything else that is no valid JSON is not an error but the shell form.

use crate::line::Args;
use crate::span::Word;
use std::ops::Range;

/// Arrays and objects nested deeper than this are taken as no JSON.
const MAX_DEPTH: usize = 64;

/// What a text is, seen as an exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// The exec form.
    Strings(Vec<Word>),
    /// Valid JSON, an array, but not of strings only.
    NotStrings,
    /// No valid JSON array.
    No,
}

/// Reads a text that may be an exec form.
pub(crate) fn read(args: &Args<'_>) -> Json {
    let text = args.text();
    if !text.trim_start().starts_with('[') {
        return Json::No;
    }
    let mut reader = Reader { text, at: 0 };
    match reader.document() {
        None => Json::No,
        Some(elements) => elements
            .into_iter()
            .map(|(value, range)| value.map(|text| args.word_at(text, range)))
            .collect::<Option<Vec<Word>>>()
            .map_or(Json::NotStrings, Json::Strings),
    }
}

/// Whether somebody meant an exec form: it begins like one. The shell's own `[ … ]` has a blank behind the bracket, so
/// where a shell command is as likely, a blank there says no.
pub(crate) fn looks_meant(text: &str, shell_is_likely: bool) -> bool {
    let Some(rest) = text.trim_start().strip_prefix('[') else { return false };
    if rest.starts_with(|first: char| !first.is_whitespace() && first != '[') {
        return true;
    }
    !shell_is_likely && rest.trim_start().starts_with(['"', '\'']) && rest.trim_end().ends_with(']')
}

/// An element: its text when it is a string, and where it stands.
type Element = (Option<String>, Range<usize>);

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// The elements of an array that is the whole text.
    fn document(&mut self) -> Option<Vec<Element>> {
        self.blank();
        self.accept('[')?;
        let elements = self.elements(0)?;
        self.blank();
        (self.at == self.text.len()).then_some(elements)
    }

    /// What stands behind `[`, with the closing bracket.
    fn elements(&mut self, depth: usize) -> Option<Vec<Element>> {
        let mut elements = Vec::new();
        self.blank();
        if self.accept(']').is_some() {
            return Some(elements);
        }
        loop {
            self.blank();
            let start = self.at;
            let value = self.value(depth + 1)?;
            elements.push((value, start..self.at));
            self.blank();
            if self.accept(']').is_some() {
                return Some(elements);
            }
            self.accept(',')?;
        }
    }

    /// Any value; the text when it is a string.
    fn value(&mut self, depth: usize) -> Option<Option<String>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            '"' => return self.string().map(Some),
            '[' => {
                self.next();
                self.elements(depth)?;
            }
            '{' => self.object(depth)?,
            '-' | '0'..='9' => self.number()?,
            _ => ["null", "true", "false"].iter().find_map(|word| self.keyword(word))?,
        }
        Some(None)
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.accept('{')?;
        self.blank();
        if self.accept('}').is_some() {
            return Some(());
        }
        loop {
            self.blank();
            self.string()?;
            self.blank();
            self.accept(':')?;
            self.blank();
            self.value(depth + 1)?;
            self.blank();
            if self.accept('}').is_some() {
                return Some(());
            }
            self.accept(',')?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.accept('"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                control if control < ' ' => return None,
                character => text.push(character),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode()?,
            same @ ('"' | '\\' | '/') => same,
            _ => return None,
        })
    }

    /// The character of `\uXXXX`; half a surrogate pair is U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        let before = self.at;
        if (0xD800..0xDC00).contains(&first) && self.keyword("\\u").is_some() {
            let second = self.hex()?;
            if (0xDC00..0xE000).contains(&second) {
                return char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
            }
            self.at = before;
        }
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| Some(value * 16 + self.next()?.to_digit(16)?))
    }

    fn number(&mut self) -> Option<()> {
        let _sign = self.accept('-');
        if self.accept('0').is_none() {
            self.digits()?;
        }
        if self.accept('.').is_some() {
            self.digits()?;
        }
        if self.accept('e').or_else(|| self.accept('E')).is_some() {
            let _sign = self.accept('+').or_else(|| self.accept('-'));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.next();
        }
        (self.at > start).then_some(())
    }

    fn keyword(&mut self, word: &str) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|character| matches!(character, ' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    fn accept(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += wanted.len_utf8())
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
