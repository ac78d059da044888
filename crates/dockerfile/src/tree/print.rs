//! A syntax tree as text again: one instruction on one line, without comments.

use super::Node;
use crate::directive::DEFAULT_ESCAPE;
use crate::heredoc::Head;
use crate::json::{self, Json};
use crate::line::{Line, Physical};
use crate::span::Span;

/// White space between words, and behind a line, that no JSON has and that is never before a continuation.
const VERTICAL_TAB: char = '\u{b}';

/// What may stand between words. An escape character takes the first blank, `<<` takes blanks behind it.
const BLANKS: [&str; 3] = [" ", "  ", "\u{b}"];

/// Prints what [`crate::parse()`] reads as the same tree. `escape` is the Dockerfile's.
pub fn print(nodes: &[Node], escape: char) -> String {
    let mut text = String::new();
    if escape != DEFAULT_ESCAPE {
        text.extend(["# escape=", escape.encode_utf8(&mut [0; 4]), "\n"]);
    }
    for node in nodes {
        let line = line(node, escape);
        text.push_str(&line);
        if (Physical { text: &line, offset: 0 }).before_continuation(escape).is_some() {
            text.push(VERTICAL_TAB);
        }
        text.push('\n');
        bodies(node, &mut text);
    }
    text
}

/// The here-documents of an instruction, or of the trigger in it.
fn bodies(node: &Node, text: &mut String) {
    for heredoc in &node.heredocs {
        text.extend([heredoc.body.as_str(), &heredoc.name, "\n"]);
    }
    if let Some(child) = &node.child {
        bodies(child, text);
    }
}

fn line(node: &Node, escape: char) -> String {
    let mut words = vec![node.name.to_uppercase()];
    words.extend(node.flags.iter().map(|flag| quoted(flag, escape)));
    let rest = match &node.child {
        Some(child) => line(child, escape),
        None => arguments(node, escape),
    };
    if rest.starts_with("--") {
        words.push("--".to_owned());
    }
    words.push(rest);
    words.join(" ").trim_end().to_owned()
}

fn arguments(node: &Node, escape: char) -> String {
    let is_healthcheck = node.name == "healthcheck";
    let (plain, array) = node.args.split_at(usize::from(is_healthcheck).min(node.args.len()));
    if node.json {
        return plain.iter().cloned().chain([json_array(array)]).collect::<Vec<_>>().join(" ");
    }
    match node.name.as_str() {
        "arg" | "env" | "label" => quoted_words(node, escape),
        "copy" | "add" | "volume" => blanks(node),
        _ => node.args.join(" "),
    }
}

/// Words that keep their quotes and escapes. The blank behind an escape character belongs to it.
fn quoted_words(node: &Node, escape: char) -> String {
    let is_name = |name: &&String| node.args.len() == 2 && !name.contains('=') && name.ends_with(escape);
    let mut text = node.args.join(if node.args.first().filter(is_name).is_some() { "  " } else { " " });
    if text.ends_with(char::is_whitespace) {
        // An escape character at the very end means nothing, but it holds the blank.
        text.push(escape);
    }
    text
}

/// Words between the blanks that must have stood there: those with which the line is no JSON array, and has as many
/// here-documents as it had.
fn blanks(node: &Node) -> String {
    let heredocs = |text: &str| Head::read_all(text, Span::new(0, 0)).map_or(0, |heads| heads.len());
    let joined = |blank: &&str| {
        let text = node.args.join(blank);
        (!is_json(&text) && heredocs(&text) == node.heredocs.len()).then_some(text)
    };
    BLANKS.iter().find_map(joined).unwrap_or_else(|| node.args.join(" "))
}

fn is_json(text: &str) -> bool {
    let mut line = Line::default();
    line.push(text, 0);
    json::read(&line.args()) != Json::No
}

fn json_array(strings: &[String]) -> String {
    let strings: Vec<String> = strings.iter().map(|text| json_string(text)).collect();
    format!("[{}]", strings.join(", "))
}

fn json_string(text: &str) -> String {
    let mut string = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            control if control < ' ' => string.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => string.push(other),
        }
    }
    string + "\""
}

/// A flag with quotes and escapes where it needs them.
fn quoted(flag: &str, escape: char) -> String {
    let mut text = String::new();
    for character in flag.chars() {
        if character.is_whitespace() {
            text.extend(['"', character, '"']);
        } else {
            if matches!(character, '"' | '\'') || character == escape {
                text.push(escape);
            }
            text.push(character);
        }
    }
    text
}
