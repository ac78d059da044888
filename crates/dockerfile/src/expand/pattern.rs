//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?`, their escapes, and characters that mean themselves.

use std::cell::Cell;

/// The longest value that a pattern is tried on.
pub(crate) const MAX_VALUE: usize = 64 << 10;

/// The most comparisons of one token with one character. A replacement tries each place of the value, and a pattern may be
/// as long as the file: without a limit one line takes days.
pub(crate) const MAX_STEPS: usize = 1 << 26;

/// One position of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// Any one character but a line feed.
    One,
    /// Any number of characters but line feeds.
    Many,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    /// What is left of [`MAX_STEPS`].
    steps: Cell<usize>,
}

impl Pattern {
    /// The error is the escape that makes no sense.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match characters.next() {
                    // `}` and `/` are escaped because of the `${…}` around the pattern.
                    Some(literal @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(literal),
                    other => return Err(format!("\\{}", other.map(String::from).unwrap_or_default())),
                },
                literal => Token::Literal(literal),
            });
        }
        // Several stars in a row are one.
        tokens.dedup_by(|next, token| (*next, *token) == (Token::Many, Token::Many));
        Ok(Self { tokens, steps: Cell::new(MAX_STEPS) })
    }

    /// Whether it took more than [`MAX_STEPS`]. What it answered is of no use then.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps.get() == 0
    }

    /// Without the shortest or longest piece at the start that matches.
    pub(crate) fn trim_start<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let end = match_length(&self.tokens, value.chars(), longest, &self.steps);
        end.and_then(|characters| value.get(byte_length(value.chars(), characters)..)).unwrap_or(value)
    }

    /// Without the shortest or longest piece at the end that matches.
    pub(crate) fn trim_end<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let reversed: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let end = match_length(&reversed, value.chars().rev(), longest, &self.steps);
        let bytes = end.map_or(0, |characters| byte_length(value.chars().rev(), characters));
        value.get(..value.len() - bytes).unwrap_or(value)
    }

    /// With the first match, or every one, replaced; at each place the longest. Nothing when that gets longer than `limit`.
    pub(crate) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let mut result = String::new();
        let mut rest = value;
        let mut behind_match = false;
        loop {
            let matched = match_length(&self.tokens, rest.chars(), true, &self.steps);
            if self.is_exhausted() {
                return None;
            }
            let length = matched.map_or(0, |characters| byte_length(rest.chars(), characters));
            // An empty match directly behind another one is none.
            if matched.is_some() && !(length == 0 && behind_match) {
                result.push_str(replacement);
                if result.len() > limit {
                    return None;
                }
                if !all {
                    return Some(result + rest.get(length..).unwrap_or_default());
                }
            }
            behind_match = length > 0;
            let mut step = rest.get(length..).unwrap_or_default().chars();
            if length == 0 {
                let Some(character) = step.next() else { return Some(result) };
                result.push(character);
            }
            rest = step.as_str();
        }
    }
}

fn byte_length(characters: impl Iterator<Item = char>, count: usize) -> usize {
    characters.take(count).map(char::len_utf8).sum()
}

/// How many characters from the start match all tokens: the fewest or the most.
fn match_length(
    tokens: &[Token],
    characters: impl Iterator<Item = char>,
    longest: bool,
    steps: &Cell<usize>,
) -> Option<usize> {
    // `alive[i]`: the first i tokens match what was read so far.
    let mut alive = vec![false; tokens.len() + 1];
    if let Some(first) = alive.first_mut() {
        *first = true;
    }
    skip_stars(tokens, &mut alive);
    let done = |alive: &[bool]| alive.last().copied().unwrap_or_default();
    let mut found = done(&alive).then_some(0);
    for (read, character) in characters.enumerate() {
        steps.set(steps.get().saturating_sub(alive.len()));
        if steps.get() == 0 || (found.is_some() && !longest) {
            break;
        }
        let mut next = vec![false; alive.len()];
        for (index, token) in tokens.iter().enumerate() {
            if !alive.get(index).copied().unwrap_or_default() {
                continue;
            }
            let (stays, advances) = match token {
                Token::Literal(literal) => (false, *literal == character),
                Token::One => (false, character != '\n'),
                Token::Many => (character != '\n', false),
            };
            mark(&mut next, index, stays);
            mark(&mut next, index + 1, advances);
        }
        skip_stars(tokens, &mut next);
        if !next.contains(&true) {
            break;
        }
        if done(&next) {
            found = Some(read + 1);
        }
        alive = next;
    }
    found
}

/// A star matches nothing, too.
fn skip_stars(tokens: &[Token], alive: &mut [bool]) {
    for (index, token) in tokens.iter().enumerate() {
        let reached = alive.get(index).copied().unwrap_or_default();
        mark(alive, index + 1, reached && *token == Token::Many);
    }
}

fn mark(alive: &mut [bool], index: usize, value: bool) {
    if let Some(cell) = alive.get_mut(index) {
        *cell |= value;
    }
}
