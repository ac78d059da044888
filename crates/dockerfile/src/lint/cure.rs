//! Cures of Docker's rules that take some thought. All of them leave the image as it is.

use super::{Edit, Fix};
use crate::command::Pair;
use crate::span::Span;

/// `name=value` for `name value`; nothing when the value would need other quotes than it has, or goes over several lines.
pub fn legacy_pair(pair: &Pair, text: &str, escape: char) -> Option<Fix> {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-' | '/');
    let (key, value) = (&pair.key, &pair.value);
    if !key.text.chars().all(is_plain) || text.get(value.span.range())? != value.text {
        return None;
    }
    let between = Span::new(key.span.end, value.span.start);
    if !text.get(between.range())?.chars().all(|blank| matches!(blank, ' ' | '\t')) {
        return None;
    }
    let quoted = value.text.contains(['"', '\'', escape]);
    let (before, after) = match has_free_blank(&value.text, escape) {
        false => ("=", ""),
        true if !quoted && has_plain_braces(&value.text) => ("=\"", "\""),
        true => return None,
    };
    let end = Span::new(value.span.end, value.span.end);
    let mut edits = vec![Edit { span: between, text: before.to_owned() }];
    edits.extend((!after.is_empty()).then(|| Edit { span: end, text: after.to_owned() }));
    Some(Fix { edits, note: "write it with an equals sign".to_owned(), safe: true })
}

/// Whether there is white space outside of quotes, where the new form ends a value.
fn has_free_blank(value: &str, escape: char) -> bool {
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match quote {
            None if character.is_whitespace() => return true,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ => {}
        }
        if character == escape && quote != Some('\'') {
            characters.next();
        }
    }
    false
}

/// Whether all braces are those of `${NAME}`: words inside of others may mean something else in quotes.
fn has_plain_braces(value: &str) -> bool {
    value.split("${").skip(1).all(|rest| {
        let name = rest.split_once('}').map_or("", |(name, _)| name);
        !name.is_empty()
            && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

/// Takes away the blank lines inside an instruction, from the first one to where its joined lines end.
pub fn empty_lines(text: &str, first: Span, end: usize) -> Option<Fix> {
    let start = text.get(..first.start)?.rfind('\n').map_or(0, |at| at + 1);
    let mut at = start;
    let mut edits = Vec::new();
    for line in text.get(start..end)?.split_inclusive('\n') {
        let span = Span::new(at, at + line.len());
        if line.trim().is_empty() && line.ends_with('\n') {
            edits.push(Edit { span, text: String::new() });
        }
        at = span.end;
    }
    let note = "remove the blank lines inside the instruction".to_owned();
    (!edits.is_empty()).then_some(Fix { edits, note, safe: true })
}
