//! `.dockerignore`, and the exclusions of COPY: which paths of a tree count.
//!
//! The last pattern that matches a path, or a folder above it, decides; `!` takes back. Patterns are paths from the
//! root of the context: `foo` is only the `foo` at the top, unlike in .gitignore. `*` stops at `/`, `**` does not.
//!
//! Paths are bytes, relative, cleaned, with `/` between names. A walker goes like this:
//!
//! ```text
//! let state = ignore.root();
//! for each entry of a folder:  let (ignored, below) = ignore.check(&state, path);
//!     a folder that is ignored and not ignore.may_readmit_below(path): skip it whole
//!     a folder otherwise: walk it with `below`; it is part of the context itself if not ignored,
//!                         or as soon as something below it is
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::Error;
use crate::glob::{self, Characters, Token, bad_pattern};
use crate::span::Span;

use effort::Effort;
pub use effort::{STEPS_FREE, STEPS_PER_CHARACTER, TooSlow};
use wild::Wild;

/// The largest ignore file that is read.
pub const MAX_BYTES: usize = 4 << 20;

/// The most patterns with wildcards. They are compared with each path together, which is cheap as long as they differ in letters.
pub const MAX_WILDCARDS: usize = 100_000;

/// An ordered list of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
    /// The places of those that are no more than their text, by that.
    exact: HashMap<Vec<u8>, Vec<usize>>,
    /// All others.
    wild: Wild,
    /// The texts of `exact` that readmit.
    readmitted: BTreeSet<Vec<u8>>,
    /// Those of `wild` that readmit.
    readmitted_wild: Wild,
    /// What comparing them has cost.
    effort: Effort,
}

/// What is known about a folder: which patterns match it or one above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderState {
    matched: Option<Arc<Matched>>,
}

/// The places of patterns that match a folder, in order, and those that match what is above it.
#[derive(Debug, PartialEq, Eq)]
struct Matched {
    rules: Vec<usize>,
    above: Option<Arc<Self>>,
}

impl FolderState {
    /// All that match, folder by folder.
    fn rules(&self) -> impl Iterator<Item = &[usize]> {
        let first = self.matched.as_deref();
        std::iter::successors(first, |matched| matched.above.as_deref()).map(|matched| &*matched.rules)
    }

    /// The last that matches and stands before `end`.
    fn last_before(&self, end: usize) -> Option<usize> {
        let last = |rules: &[usize]| rules.get(..rules.partition_point(|&rule| rule < end))?.last().copied();
        self.rules().filter_map(last).max()
    }

    fn has(&self, rule: usize) -> bool {
        self.rules().any(|rules| rules.binary_search(&rule).is_ok())
    }

    /// The state of a folder below, which `rules` match as well.
    fn below(&self, rules: Vec<usize>) -> Self {
        if rules.is_empty() {
            return self.clone();
        }
        Self { matched: Some(Arc::new(Matched { rules, above: self.matched.clone() })) }
    }
}

/// What the patterns say of a path, and which of them it is that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is ignored.
    pub ignored: bool,
    /// The place in [`Ignore::rules`] of the pattern that decided; none when none matched.
    pub rule: Option<usize>,
}

/// A pattern as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Its line, counted from one.
    pub line: usize,
    /// Its text, without white space around it.
    pub text: &'a [u8],
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    line: usize,
    text: Vec<u8>,
    /// `!`: what it matches is not ignored.
    readmits: bool,
    matcher: Matcher,
}

/// The shape decides the rule, as in Docker's matcher: where `**` leads or trails and nothing else is special, the
/// text alone is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Matcher {
    Exact(Vec<u8>),
    /// `prefix**`
    Prefix(Vec<u8>),
    /// `**suffix`
    Suffix(Vec<u8>),
    Tokens(Vec<Token>),
}

impl Ignore {
    /// Reads an ignore file. Comments have their `#` in the first column.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::new(crate::ErrorKind::TooLarge { limit: MAX_BYTES }, Span::default()));
        }
        let mark = b"\xEF\xBB\xBF";
        let text = bytes.strip_prefix(mark).unwrap_or(bytes);
        let mut offset = bytes.len() - text.len();
        let (mut ignore, mut wildcards) = (Self::default(), 0);
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let span = Span::new(offset, offset + line.len());
            offset += line.len() + 1;
            if !line.starts_with(b"#") {
                let pattern = Pattern::new(index + 1, &without_leading_slash(line), span)?;
                if let Some(pattern) = pattern {
                    let text = line.trim_ascii().to_vec();
                    ignore.add(Pattern { text, ..pattern }, span, &mut wildcards)?;
                }
            }
        }
        Ok(ignore.whole())
    }

    /// Patterns given one by one, as with `--exclude`.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let (mut ignore, mut wildcards) = (Self::default(), 0);
        for (index, text) in patterns.into_iter().enumerate() {
            let span = Span::new(0, text.len());
            if let Some(pattern) = Pattern::new(index + 1, text, span)? {
                ignore.add(pattern, span, &mut wildcards)?;
            }
        }
        Ok(ignore.whole())
    }

    fn add(&mut self, pattern: Pattern, span: Span, wildcards: &mut usize) -> Result<(), Error> {
        if let Matcher::Exact(text) = &pattern.matcher {
            self.exact.entry(text.clone()).or_default().push(self.patterns.len());
            if pattern.readmits {
                self.readmitted.insert(text.clone());
            }
        } else if *wildcards < MAX_WILDCARDS {
            *wildcards += 1;
        } else {
            return Err(bad_pattern(&pattern.text, "no more than 100000 patterns may have wildcards", span));
        }
        self.patterns.push(pattern);
        Ok(())
    }

    /// All patterns are there.
    fn whole(mut self) -> Self {
        let wild = |is_in: fn(&Pattern) -> bool| {
            let patterns = self.patterns.iter().enumerate().filter(|(_, pattern)| is_in(pattern));
            Wild::new(patterns.map(|(place, pattern)| (place, &pattern.matcher)))
        };
        (self.wild, self.readmitted_wild) = (wild(|_| true), wild(|pattern| pattern.readmits));
        self
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether some pattern begins with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.readmits)
    }

    /// The patterns, in the order written.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = Rule<'_>> {
        self.patterns.iter().map(|pattern| Rule { line: pattern.line, text: &pattern.text })
    }

    /// Whether a pattern keeps everything out: `*`, `**` or `**/*`.
    pub fn keeps_all_out(&self) -> bool {
        let everything = |matcher: &Matcher| match matcher {
            Matcher::Suffix(suffix) => suffix.is_empty(),
            Matcher::Tokens(tokens) => {
                matches!(tokens.as_slice(), [Token::Many] | [Token::Folders, Token::Many])
            }
            _ => false,
        };
        self.patterns.iter().any(|pattern| !pattern.readmits && everything(&pattern.matcher))
    }

    /// Whether a path is ignored, by itself or with a folder above it. The root never is.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.verdict(path).ignored
    }

    /// What is to be said of a path, by itself or with a folder above it.
    pub fn verdict(&self, path: &[u8]) -> Verdict {
        if matches!(path, b"" | b".") {
            return Verdict::default();
        }
        let mut state = self.root();
        let mut verdict = Verdict::default();
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            (verdict, state) = self.decide(&state, path.get(..end).unwrap_or_default());
        }
        verdict
    }

    /// The state above everything.
    pub fn root(&self) -> FolderState {
        FolderState::default()
    }

    /// Whether an entry of a folder is ignored, and, if it is a folder, the state for its entries. `path` is the whole
    /// path from the root.
    pub fn check(&self, folder: &FolderState, path: &[u8]) -> (bool, FolderState) {
        let (verdict, state) = self.decide(folder, path);
        (verdict.ignored, state)
    }

    /// As [`check`](Self::check), and which pattern it is.
    pub fn decide(&self, folder: &FolderState, path: &[u8]) -> (Verdict, FolderState) {
        let mut matched: Vec<usize> = Vec::new();
        let exact = self.exact.get(path).map_or(&[][..], Vec::as_slice);
        let wild = self.wild.matching(path, &self.effort);
        if !self.effort.spend(wild.len() as u64 * (1 + folder.rules().count() as u64), 1) {
            return (Verdict { ignored: true, rule: None }, folder.clone());
        }
        for index in in_order(&wild, exact) {
            let Some(pattern) = self.patterns.get(index) else { continue };
            let decided = folder.last_before(index).max(matched.last().copied());
            // A pattern that would change nothing is not looked at, and does not count for what is below: Docker
            // does the same, and its results depend on it.
            if pattern.readmits == self.ignores(decided) && !folder.has(index) {
                matched.push(index);
            }
        }
        let rule = folder.last_before(usize::MAX).max(matched.last().copied());
        (Verdict { ignored: self.ignores(rule), rule }, folder.below(matched))
    }

    /// Whether a path is ignored of which this rule decides.
    fn ignores(&self, rule: Option<usize>) -> bool {
        rule.and_then(|rule| self.patterns.get(rule)).is_some_and(|pattern| !pattern.readmits)
    }

    /// Whether something below an ignored folder could be taken back by a `!` pattern. `false` is certain, so that the
    /// folder can be skipped whole.
    pub fn may_readmit_below(&self, folder: &[u8]) -> bool {
        let below = [folder, b"/"].concat();
        let mut exact = self.readmitted.range(below.clone()..);
        exact.next().is_some_and(|text| text.starts_with(&below))
            || self.readmitted_wild.could_match_below(&below, &self.effort)
    }

    /// Fails when comparing these patterns took more than [`STEPS_PER_CHARACTER`] and [`STEPS_FREE`] allow. From then on
    /// everything is ignored, so that whoever asks comes to an end, and no answer is of use.
    pub fn in_time(&self) -> Result<(), TooSlow> {
        if self.effort.is_spent() { Err(TooSlow) } else { Ok(()) }
    }
}

/// The numbers of two lists that are in order, in order.
fn in_order<'a>(mut one: &'a [usize], mut other: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    std::iter::from_fn(move || {
        let from_one = match (one.first(), other.first()) {
            (Some(a), Some(b)) => a < b,
            (a, _) => a.is_some(),
        };
        let list = if from_one { &mut one } else { &mut other };
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    })
}

impl Pattern {
    /// `None` for a blank pattern.
    fn new(line: usize, text: &[u8], span: Span) -> Result<Option<Self>, Error> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(text);
        let (readmits, body) = match cleaned.strip_prefix(b"!") {
            Some([]) => return Err(bad_pattern(text, "`!` needs a pattern behind it", span)),
            Some(body) => (true, body),
            None => (false, cleaned.as_slice()),
        };
        let matcher = Matcher::new(body).map_err(|reason| bad_pattern(text, reason, span))?;
        Ok(Some(Self { line, text: text.to_vec(), readmits, matcher }))
    }
}

impl Matcher {
    fn new(text: &[u8]) -> Result<Self, &'static str> {
        let tokens = tokens(text)?;
        let plain = |tokens: &[Token]| tokens.iter().all(|token| matches!(token, Token::Literal(_)));
        if text.contains(&b'\\') {
            return Ok(Self::Tokens(tokens));
        }
        if plain(&tokens) && !text.contains(&b']') {
            return Ok(Self::Exact(text.to_vec()));
        }
        if let (Some(suffix), Some((_, rest))) = (text.strip_prefix(b"**"), tokens.split_first())
            && plain(rest)
            && !suffix.contains(&b']')
        {
            return Ok(Self::Suffix(suffix.to_vec()));
        }
        if let (Some(prefix), Some((Token::Everything, rest))) =
            (text.strip_suffix(b"**"), tokens.split_last())
            && plain(rest)
            && !prefix.contains(&b']')
        {
            return Ok(Self::Prefix(prefix.to_vec()));
        }
        Ok(Self::Tokens(tokens))
    }
}

fn tokens(text: &[u8]) -> Result<Vec<Token>, &'static str> {
    let star = u32::from('*');
    let mut tokens = Vec::new();
    let mut characters = Characters::new(text);
    while let Some(character) = characters.next() {
        if character == star && characters.peek() == Some(star) {
            characters.next();
            if characters.peek() == Some(u32::from('/')) {
                characters.next();
            }
            let last = characters.peek().is_none();
            tokens.push(if last { Token::Everything } else { Token::Folders });
        } else {
            tokens.push(glob::single(character, &mut characters)?);
        }
    }
    Ok(tokens)
}

/// What the reader of ignore files does before the matcher sees a pattern: `/foo` is `foo`, `! foo` is `!foo`.
fn without_leading_slash(line: &[u8]) -> Vec<u8> {
    let line = line.trim_ascii();
    let (mark, body) =
        line.strip_prefix(b"!").map_or((&b""[..], line), |rest| (&b"!"[..], rest.trim_ascii()));
    if body.is_empty() {
        return mark.to_vec();
    }
    let cleaned = clean(body);
    let relative = if cleaned.len() > 1 { cleaned.strip_prefix(b"/").unwrap_or(&cleaned) } else { &cleaned };
    [mark, relative].concat()
}

/// Go's `filepath.Clean`: no `.`, no `//`, no `name/..`, no trailing slash.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => {
                names.pop();
            }
            b".." if rooted => {}
            _ => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

mod effort;
mod wild;

#[cfg(test)]
mod tests;
