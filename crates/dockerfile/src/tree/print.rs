//! A syntax tree as text again: one instruction on one line, without comments.

use super::Node;
use crate::directive::DEFAULT_ESCAPE;
use crate::json::{self, Json};
use crate::line::{Line, Physical};

/// White space between words, and behind a line, that no JSON has and that is never before a continuation.
const VERTICAL_TAB: char = '\u{b}';

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
    let text = node.args.join(" ");
    let is_one_text = node.args.len() < 2 || is_healthcheck;
    if !is_one_text && is_json(&text) {
        // Another white space stood there, with which it was none.
        return node.args.join(VERTICAL_TAB.encode_utf8(&mut [0; 4]));
    }
    if !is_one_text && node.args.iter().any(|word| word.ends_with(escape)) {
        // The first blank belongs to the escape character.
        return node.args.join("  ");
    }
    text
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
