//! Words and operators of a shell text.

use super::{Link, here};
use crate::span::{Span, Word};

/// One piece of the text.
#[derive(Debug)]
pub(super) enum Token {
    /// A word.
    Word(Quoted),
    /// What ends a command.
    Operator(Operator),
}

/// A word, and whether something in it was quoted: then it is no word of the grammar.
#[derive(Debug)]
pub(super) struct Quoted {
    pub(super) word: Word,
    pub(super) quoted: bool,
}

/// What ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `&&`, `||`, `|`, `(`
    Tied,
    /// `;`, `&`, `)`, a line end
    Loose,
}

impl Operator {
    pub(super) fn link(self) -> Link {
        match self {
            Self::Tied => Link::Tied,
            Self::Loose => Link::Loose,
        }
    }
}

/// See the module.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// The terminators of here-documents whose bodies begin at the next line; `true` where tabs go away.
    documents: Vec<(String, bool)>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, documents: Vec::new() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next_character(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Steps over a text if it is here.
    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Blanks, joined lines and comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.take("\\\n") || self.take("\\\r\n") => {}
                Some('#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    /// Steps over the bodies of here-documents that begin behind this line end.
    fn skip_documents(&mut self) {
        for (name, strip_tabs) in std::mem::take(&mut self.documents) {
            while !self.rest().is_empty() {
                let line = self.rest().split_inclusive('\n').next().unwrap_or_default();
                self.at += line.len();
                let line = line.trim_end_matches(['\r', '\n']);
                if name == if strip_tabs { line.trim_start_matches('\t') } else { line } {
                    break;
                }
            }
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        let operators = [
            ("&&", Operator::Tied),
            ("||", Operator::Tied),
            ("|&", Operator::Tied),
            ("|", Operator::Tied),
            ("(", Operator::Tied),
            (")", Operator::Loose),
            (";", Operator::Loose),
            ("&", Operator::Loose),
            ("\n", Operator::Loose),
        ];
        if self.rest().starts_with("&>") {
            return None;
        }
        let (text, operator) = operators.into_iter().find(|(text, _)| self.rest().starts_with(text))?;
        self.at += text.len();
        if text == "\n" {
            self.skip_documents();
        }
        Some(operator)
    }

    /// A redirection and what it names.
    fn redirection(&mut self) -> bool {
        let digits =
            self.rest().len() - self.rest().trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let behind = self.rest().get(digits..).unwrap_or_default();
        let operators = ["&>>", "&>", "<<<", "<<-", "<<", "<>", "<&", "<", ">>", ">&", ">|", ">"];
        let Some(operator) = operators.into_iter().find(|operator| behind.starts_with(operator)) else {
            return false;
        };
        // `<(…)` is a word.
        if behind.starts_with("<(") || behind.starts_with(">(") {
            return false;
        }
        self.at += digits + operator.len();
        self.skip_blanks();
        let target = self.word();
        if matches!(operator, "<<" | "<<-") {
            self.documents.push((target.word.text, operator == "<<-"));
        }
        true
    }

    fn word(&mut self) -> Quoted {
        let start = self.at;
        let mut word = Quoted { word: Word::new("", here(start)), quoted: false };
        while let Some(character) = self.peek() {
            match character {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | ')' => break,
                '(' if self.at == start => break,
                '<' | '>' if !self.rest().get(1..).is_some_and(|rest| rest.starts_with('(')) => break,
                '\'' | '"' => self.quotes(&mut word),
                '\\' => self.escape(&mut word),
                '$' | '`' | '(' | '<' | '>' => self.substitution(&mut word.word.text),
                _ => word.word.text.extend(self.next_character()),
            }
        }
        word.word.span = Span::new(start, self.at);
        word
    }

    fn escape(&mut self, word: &mut Quoted) {
        if self.take("\\\n") || self.take("\\\r\n") {
            return;
        }
        self.at += 1;
        word.word.text.extend(self.next_character());
        word.quoted = true;
    }

    /// What stands between quotes, without them.
    fn quotes(&mut self, word: &mut Quoted) {
        word.quoted = true;
        let quote = self.next_character();
        while let Some(character) = self.peek() {
            if Some(character) == quote {
                self.at += 1;
                return;
            }
            match character {
                '$' | '`' if quote == Some('"') => self.substitution(&mut word.word.text),
                '\\' if quote == Some('"') && (self.take("\\\n") || self.take("\\\r\n")) => {}
                '\\' if quote == Some('"') => {
                    self.at += 1;
                    let next = self.next_character();
                    let special = matches!(next, Some('"' | '\\' | '$' | '`'));
                    word.word.text.extend(Some('\\').filter(|_| !special).into_iter().chain(next));
                }
                _ => word.word.text.extend(self.next_character()),
            }
        }
    }

    /// `$(…)`, `${…}`, `` `…` ``, `<(…)` and plain `$`, as they are written.
    fn substitution(&mut self, text: &mut String) {
        let start = self.at;
        let first = self.next_character();
        let opened = if first == Some('(') { first } else { self.peek() };
        match (first, opened) {
            (Some('`'), _) => self.skip_to('`'),
            (_, Some('{')) => self.skip_balanced('{', '}', start),
            (_, Some('(')) => self.skip_balanced('(', ')', start),
            _ => {}
        }
        text.push_str(self.text.get(start..self.at).unwrap_or_default());
    }

    fn skip_to(&mut self, end: char) {
        while let Some(character) = self.next_character() {
            match character {
                '\\' => drop(self.next_character()),
                _ if character == end => return,
                _ => {}
            }
        }
    }

    /// Up to the bracket that closes the first one behind `start`; brackets in quotes do not count.
    fn skip_balanced(&mut self, open: char, close: char, start: usize) {
        self.at = start;
        let mut depth = 0_usize;
        while let Some(character) = self.next_character() {
            match character {
                '\\' => drop(self.next_character()),
                '\'' | '"' => self.skip_to(character),
                _ if character == open => depth += 1,
                _ if character == close => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.skip_blanks();
            self.peek()?;
            if let Some(operator) = self.operator() {
                return Some(Token::Operator(operator));
            }
            if self.redirection() {
                continue;
            }
            return Some(Token::Word(self.word()));
        }
    }
}
