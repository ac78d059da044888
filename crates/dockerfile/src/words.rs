//! The four ways in which instructions cut their arguments into words.

use crate::flag::Flag;
use crate::line::Args;
use crate::span::Word;

/// The white space between keyword and arguments, and between the words of most instructions.
pub(crate) const BLANKS: [char; 5] = [' ', '\t', '\r', '\u{b}', '\u{c}'];

/// Keyword and the rest.
pub(crate) fn split_keyword<'a>(line: &Args<'a>) -> (Word, Args<'a>) {
    let text = line.text();
    let end = text.find(BLANKS).unwrap_or(text.len());
    (line.part(0..end).word(), line.from(end).trim())
}

/// Cut at white space; quotes mean nothing.
pub(crate) fn at_blanks(args: &Args<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut offset = 0;
    for piece in args.text().split(BLANKS) {
        let end = offset + piece.len();
        if !piece.is_empty() {
            words.push(args.part(offset..end).word());
        }
        offset = end + ' '.len_utf8();
    }
    words
}

/// Cut in two at the first white space: the old form `ENV name any thing`.
pub(crate) fn at_first_blank(args: &Args<'_>) -> Option<(Word, Word)> {
    let text = args.text();
    let end = text.find(BLANKS)?;
    // Only these blanks go: others, such as a no-break space, are a part of the value.
    let value = text.get(end..)?.trim_start_matches(BLANKS);
    Some((args.part(0..end).word(), args.from(text.len() - value.len()).word()))
}

/// Cut at white space outside quotes. Quotes and escapes stay, for the expander.
pub(crate) fn keeping_quotes(args: &Args<'_>, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Partial::default();
    let mut quote = None;
    let mut characters = args.text().char_indices();
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(word.finish(args, at));
            continue;
        }
        word.begin(at);
        let escapes = character == escape && quote != Some('\'');
        if quote.is_some() {
            quote = quote.filter(|&open| open != character);
        } else if matches!(character, '\'' | '"') {
            quote = Some(character);
            word.blank_counts = true;
        }
        if !escapes {
            word.text.push(character);
        } else if let Some((_, next)) = characters.next() {
            word.text.extend([character, next]);
        }
    }
    words.extend(word.finish(args, args.text().len()));
    words
}

/// The leading `--name[=value]` words, unquoted, and what follows. A lone `--` ends them.
pub(crate) fn flags<'a>(args: &Args<'a>, escape: char) -> (Vec<Flag>, Args<'a>) {
    let mut flags = Vec::new();
    let mut rest = args.trim();
    while rest.text().starts_with("--") {
        let (word, behind) = unquoted(&rest, escape);
        rest = behind;
        if word.text == "--" {
            break;
        }
        flags.push(Flag::new(word));
    }
    (flags, rest)
}

/// The first word, with quotes and escapes applied, and what follows.
fn unquoted<'a>(args: &Args<'a>, escape: char) -> (Word, Args<'a>) {
    let mut text = String::new();
    let mut quote = None;
    let mut characters = args.text().char_indices();
    let mut end = args.text().len();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => {
                end = at;
                break;
            }
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ if character == escape => text.extend(characters.next().map(|(_, next)| next)),
            _ => text.push(character),
        }
    }
    (args.word_at(text, 0..end), args.from(end).trim())
}

/// A word that is being read.
#[derive(Default)]
struct Partial {
    text: String,
    start: Option<usize>,
    /// A quote was seen: `""` is a word too.
    blank_counts: bool,
}

impl Partial {
    fn begin(&mut self, at: usize) {
        self.start.get_or_insert(at);
    }

    fn finish(&mut self, args: &Args<'_>, end: usize) -> Option<Word> {
        let done = std::mem::take(self);
        let start = done.start?;
        (done.blank_counts || !done.text.is_empty()).then(|| args.word_at(done.text, start..end))
    }
}
