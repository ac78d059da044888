//! Template text to tokens.

use std::ops::Range;

use serde_json::Value;

use super::TemplateError;

/// A token with where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside of actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// `.` alone.
    Dot,
    /// `.Name`, one for each link of a chain.
    Field(String),
    /// `$` or `$name`.
    Variable(String),
    /// A function or a key word.
    Word(String),
    /// A string, a number, true, false, nil.
    Literal(Value),
    /// `|`, `(`, `)`, `,`.
    Mark(char),
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    /// White space inside an action, which separates `.A .B` from `.A.B`.
    Space,
}

/// All tokens of `text`.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), trim_next: false };
    while lexer.at < text.len() {
        lexer.text_part();
        if lexer.at < text.len() {
            lexer.action()?;
        }
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    /// The action before ended in `-}}`.
    trim_next: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let span = self.at..self.at + length;
        self.at += length;
        self.tokens.push(Token { kind, span });
    }

    /// Text up to the next action, trimmed where the actions around it say so.
    fn text_part(&mut self) {
        let rest = self.rest();
        let length = rest.find("{{").unwrap_or(rest.len());
        let (raw, after) = rest.split_at(length);
        let mut part = raw;
        if std::mem::take(&mut self.trim_next) {
            part = part.trim_start();
        }
        if trims(after.strip_prefix("{{").unwrap_or_default()) {
            part = part.trim_end();
        }
        if part.is_empty() {
            self.at += length;
        } else {
            self.push(TokenKind::Text(part.to_owned()), length);
        }
    }

    fn action(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        let trim = trims(self.rest().strip_prefix("{{").unwrap_or_default());
        let opening = 2 + usize::from(trim);
        if self.comment(opening)? {
            return Ok(());
        }
        self.push(TokenKind::Open, opening);
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return Err(TemplateError::new(start..start + 2, "this action is never closed with }}"));
            }
            if rest.starts_with("}}") {
                self.push(TokenKind::Close, 2);
                return Ok(());
            }
            if let Some(length) = trimming_close(rest) {
                self.push(TokenKind::Close, length);
                self.trim_next = true;
                return Ok(());
            }
            self.token()?;
        }
    }

    /// `{{/* … */}}` makes no token.
    fn comment(&mut self, opening: usize) -> Result<bool, TemplateError> {
        let rest = self.rest();
        if !rest.get(opening..).unwrap_or_default().trim_start().starts_with("/*") {
            return Ok(false);
        }
        let error = || TemplateError::new(self.at..self.at + 2, "this comment is never closed with */}}");
        let end = rest.find("*/").ok_or_else(error)? + 2;
        let tail = rest.get(end..).unwrap_or_default();
        let length = if tail.starts_with("}}") { Some(2) } else { trimming_close(tail) };
        let length = length.ok_or_else(error)?;
        self.trim_next = length > 2;
        self.at += end + length;
        Ok(true)
    }

    fn token(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(()) };
        match first {
            c if c.is_whitespace() => {
                let length = rest.len() - rest.trim_start().len();
                self.push(TokenKind::Space, length);
            }
            '.' => self.dot(rest),
            '$' => {
                let length = 1 + word_length(rest.get(1..).unwrap_or_default());
                self.push(TokenKind::Variable(rest.get(..length).unwrap_or_default().to_owned()), length);
            }
            '"' | '`' | '\'' => return self.string(first),
            '|' | '(' | ')' | ',' => self.push(TokenKind::Mark(first), 1),
            ':' if rest.starts_with(":=") => self.push(TokenKind::Declare, 2),
            '=' => self.push(TokenKind::Assign, 1),
            c if c.is_ascii_digit() || c == '-' || c == '+' => return self.number(rest),
            c if c.is_alphabetic() || c == '_' => self.word(rest),
            other => {
                let span = self.at..self.at + other.len_utf8();
                return Err(TemplateError::new(span, format!("{other:?} means nothing here")));
            }
        }
        Ok(())
    }

    fn dot(&mut self, rest: &str) {
        let length = word_length(rest.get(1..).unwrap_or_default());
        if length == 0 {
            self.push(TokenKind::Dot, 1);
        } else {
            let name = rest.get(1..=length).unwrap_or_default().to_owned();
            self.push(TokenKind::Field(name), 1 + length);
        }
    }

    fn word(&mut self, rest: &str) {
        let length = word_length(rest);
        let kind = match rest.get(..length).unwrap_or_default() {
            "true" => TokenKind::Literal(Value::Bool(true)),
            "false" => TokenKind::Literal(Value::Bool(false)),
            "nil" => TokenKind::Literal(Value::Null),
            word => TokenKind::Word(word.to_owned()),
        };
        self.push(kind, length);
    }

    fn number(&mut self, rest: &str) -> Result<(), TemplateError> {
        let length = 1 + rest.chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '.').count();
        let digits = rest.get(..length).unwrap_or_default();
        let value =
            digits.parse::<i64>().map(Value::from).or_else(|_| digits.parse::<f64>().map(Value::from));
        let value = value
            .map_err(|_| TemplateError::new(self.at..self.at + length, format!("{digits} is no number")))?;
        self.push(TokenKind::Literal(value), length);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), TemplateError> {
        let unclosed = TemplateError::new(self.at..self.at + 1, "this string is never closed");
        let mut value = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((index, c)) = characters.next() {
            match c {
                c if c == quote => {
                    self.push(TokenKind::Literal(Value::String(value)), index + 1);
                    return Ok(());
                }
                '\\' if quote != '`' => value.push(escape(characters.next().map(|(_, c)| c))),
                '\n' if quote != '`' => return Err(unclosed),
                c => value.push(c),
            }
        }
        Err(unclosed)
    }
}

fn escape(c: Option<char>) -> char {
    match c {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some(other) => other,
        None => '\\',
    }
}

fn word_length(text: &str) -> usize {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum()
}

/// Whether what follows `{{` is the trim marker: a minus and white space.
fn trims(after: &str) -> bool {
    after.strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

/// The length of ` -}}`, when `rest` starts with it.
fn trimming_close(rest: &str) -> Option<usize> {
    let trimmed = rest.trim_start();
    let space = rest.len() - trimmed.len();
    (space > 0 && trimmed.starts_with("-}}")).then_some(space + 3)
}
