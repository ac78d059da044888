//! The wildcards of COPY and ADD: Go's `filepath.Match`, on bytes. `*`, `?`, `[a-z]`, `[^a-z]`, `\c`; none crosses `/`.

use crate::error::{Error, ErrorKind};
use crate::span::Span;

/// Behind all code points: the bytes that are no part of a UTF-8 character, each a character of its own.
const FOREIGN: u32 = 0x11_0000;

/// Whether a source has wildcards at all. One without is a plain path, which must exist.
pub fn has_wildcards(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

/// One position of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    /// This character.
    Literal(u32),
    /// One character but `/`.
    One,
    /// Any number of characters but `/`.
    Many,
    /// One character of a set.
    Class(Box<Class>),
    /// Anything at all.
    Everything,
    /// Nothing, or anything that ends in `/`.
    Folders,
}

/// `[…]`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(u32, u32)>,
}

impl Glob {
    /// Checks the whole pattern.
    pub fn new(pattern: &[u8], span: Span) -> Result<Self, Error> {
        Self::compile(pattern).map_err(|reason| bad_pattern(pattern, reason, span))
    }

    fn compile(pattern: &[u8]) -> Result<Self, &'static str> {
        let mut tokens = Vec::new();
        let mut characters = Characters::new(pattern);
        while let Some(character) = characters.next() {
            tokens.push(single(character, &mut characters)?);
        }
        Ok(Self { tokens })
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        matches(&self.tokens, path)
    }
}

/// The error for a pattern.
pub(crate) fn bad_pattern(pattern: &[u8], reason: &'static str, span: Span) -> Error {
    let pattern = String::from_utf8_lossy(pattern).into_owned();
    Error::new(ErrorKind::BadPattern { pattern, reason }, span)
}

/// Reads what begins with a character, `**` apart.
pub(crate) fn single(character: u32, rest: &mut Characters<'_>) -> Result<Token, &'static str> {
    Ok(match char::from_u32(character) {
        Some('*') => Token::Many,
        Some('?') => Token::One,
        Some('[') => Token::Class(Box::new(class(rest)?)),
        Some('\\') => Token::Literal(rest.next().ok_or("nothing follows the last `\\`")?),
        _ => Token::Literal(character),
    })
}

fn class(rest: &mut Characters<'_>) -> Result<Class, &'static str> {
    const UNCLOSED: &str = "`[` is not closed";
    let caret = u32::from('^');
    let negated = rest.peek() == Some(caret);
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if rest.peek().ok_or(UNCLOSED)? == u32::from(']') && !ranges.is_empty() {
            rest.next();
            return Ok(Class { negated, ranges });
        }
        let low = class_member(rest)?;
        let mut high = low;
        if rest.peek() == Some(u32::from('-')) {
            rest.next();
            high = class_member(rest)?;
        }
        ranges.push((low, high));
        rest.peek().ok_or(UNCLOSED)?;
    }
}

fn class_member(rest: &mut Characters<'_>) -> Result<u32, &'static str> {
    let character = rest.next().ok_or("`[` is not closed")?;
    match char::from_u32(character) {
        Some('-' | ']') => Err("`-` or `]` stands where a member of `[…]` should"),
        Some('\\') => rest.next().ok_or("nothing follows the last `\\`"),
        _ => Ok(character),
    }
}

/// Bytes as characters; a byte that is no part of UTF-8 is a character of its own.
#[derive(Clone, Debug)]
pub(crate) struct Characters<'a> {
    bytes: &'a [u8],
}

impl<'a> Characters<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn peek(&self) -> Option<u32> {
        self.clone().next()
    }
}

impl Iterator for Characters<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (&first, rest) = self.bytes.split_first()?;
        if first < 0x80 {
            self.bytes = rest;
            return Some(u32::from(first));
        }
        let decoded = (2..=4).find_map(|length| {
            let text = std::str::from_utf8(self.bytes.get(..length)?).ok()?;
            Some((text.chars().next()?, length))
        });
        let (character, length) = decoded
            .map_or((FOREIGN + u32::from(first), 1), |(character, length)| (u32::from(character), length));
        self.bytes = self.bytes.get(length..).unwrap_or_default();
        Some(character)
    }
}

/// Whether all of the path matches all of the tokens.
pub(crate) fn matches(tokens: &[Token], path: &[u8]) -> bool {
    let mut states = States::new(tokens);
    Characters::new(path).all(|character| states.step(tokens, character)) && states.contains(tokens.len())
}

/// Which positions of a pattern are reached: no backtracking, so hostile patterns cost linear time per character.
struct States {
    /// `reached[i]`: tokens before i match what was read. `Folders` at i is then either not begun or going on.
    reached: Vec<bool>,
    /// `inside[i]`: the `Folders` token at i has begun.
    next: Vec<bool>,
    inside: Vec<bool>,
}

impl States {
    fn new(tokens: &[Token]) -> Self {
        let mut reached = vec![false; tokens.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        let mut states =
            Self { reached, next: vec![false; tokens.len() + 1], inside: vec![false; tokens.len()] };
        states.skip_empty(tokens);
        states
    }

    fn contains(&self, index: usize) -> bool {
        self.reached.get(index).copied().unwrap_or_default()
    }

    /// Tokens that match nothing are passed at once.
    fn skip_empty(&mut self, tokens: &[Token]) {
        for (index, token) in tokens.iter().enumerate() {
            let passes = matches!(token, Token::Many | Token::Everything | Token::Folders);
            if passes && self.contains(index) {
                set(&mut self.reached, index + 1);
            }
        }
    }

    /// Reads a character; `false` when nothing is reached any more.
    fn step(&mut self, tokens: &[Token], character: u32) -> bool {
        self.next.fill(false);
        let is_slash = character == u32::from('/');
        for (index, token) in tokens.iter().enumerate() {
            let here = self.contains(index);
            if let Token::Folders = token {
                let going = here || self.inside.get(index).copied().unwrap_or_default();
                if going {
                    set(&mut self.inside, index);
                    if is_slash {
                        set(&mut self.next, index + 1);
                    }
                }
            } else if here {
                self.advance(index, token, character, is_slash);
            }
        }
        std::mem::swap(&mut self.reached, &mut self.next);
        self.skip_empty(tokens);
        self.reached.contains(&true) || self.inside.contains(&true)
    }

    fn advance(&mut self, index: usize, token: &Token, character: u32, is_slash: bool) {
        let (stays, moves) = match token {
            Token::Literal(literal) => (false, *literal == character),
            Token::One => (false, !is_slash),
            Token::Many => (!is_slash, false),
            Token::Class(class) => (false, class.contains(character)),
            Token::Everything | Token::Folders => (true, false),
        };
        if stays {
            set(&mut self.next, index);
        }
        if moves {
            set(&mut self.next, index + 1);
        }
    }
}

impl Class {
    pub(crate) fn contains(&self, character: u32) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&character)) != self.negated
    }
}

fn set(cells: &mut [bool], index: usize) {
    if let Some(cell) = cells.get_mut(index) {
        *cell = true;
    }
}

#[cfg(test)]
mod tests;
