//! The simple commands in a text for a POSIX shell: enough to see what a RUN does, and no more.
//!
//! ```text
//! cd /src && CGO_ENABLED=0 go build -ldflags "-s -w" || exit 1
//!    ▼                      ▼                           ▼
//! [cd /src]   [CGO_ENABLED=0; go build -ldflags "-s -w"]   [exit 1]
//! ```
//!
//! Nothing is expanded: `$X` and `$(…)` stay in their words. Bodies of here-documents, redirections, comments and the heads of
//! loops are left out; the branches of `if` and `case` follow each other. What cannot be read is no error, for the shell
//! alone decides: the reader then sees fewer commands, never wrong places.

mod lexer;

use self::lexer::{Lexer, Token};
use crate::span::{Span, Word};

/// How deep `sh -c '…'` in `sh -c '…'` is read.
const MAX_NESTING: usize = 4;

/// The programs whose text this module reads.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"];

/// Words before a command that are a part of the shell's grammar.
const KEYWORDS: [&str; 11] = ["if", "then", "else", "elif", "fi", "do", "done", "while", "until", "{", "}"];

/// Commands that run the command behind them.
const WRAPPERS: [&str; 6] = ["sudo", "exec", "command", "env", "nohup", "time"];

/// A program with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simple {
    /// `NAME=value` in front of it.
    pub assignments: Vec<Word>,
    /// The program and its arguments without their quotes; empty when there are only assignments. The spans are of the
    /// shell's text, and empty in `sh -c 'text'`.
    pub words: Vec<Word>,
    /// `sudo`, `exec` or the like stands in front of it.
    pub wrapped: bool,
    /// How it is tied to the command behind it.
    pub link: Link,
}

/// What stands between a command and the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// `&&`, `||`, `|`, or a word of the grammar: what happens when it fails is written.
    Tied,
    /// `;`, `&` or a line end: the next command runs whatever happened.
    Loose,
    /// Nothing follows.
    #[default]
    End,
}

impl Simple {
    /// The program without its folder; empty when there is none.
    pub fn program(&self) -> &str {
        let path = self.words.first().map_or("", |word| word.text.as_str());
        path.rsplit('/').next().unwrap_or(path)
    }

    /// What follows the program.
    pub fn arguments(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The arguments that are no flags.
    pub fn operands(&self) -> impl Iterator<Item = &str> {
        self.arguments().iter().map(|word| word.text.as_str()).filter(|word| !word.starts_with('-'))
    }

    /// Whether it is this program with this first operand: `is("go", "build")`.
    pub fn is(&self, program: &str, operand: &str) -> bool {
        self.program() == program && self.operands().next() == Some(operand)
    }

    /// Whether one of the arguments is this word.
    pub fn has(&self, argument: &str) -> bool {
        self.arguments().iter().any(|word| word.text == argument)
    }

    /// Whether a one-letter flag is among the arguments, alone or together with others: `-R`, `-vR`.
    pub fn has_letter(&self, letter: char) -> bool {
        let letters = |word: &Word| {
            word.text.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains(letter))
        };
        self.arguments().iter().any(letters)
    }
}

/// Whether a program of this name or path reads the language of this module.
pub fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program.rsplit('/').next().unwrap_or(program))
}

/// The simple commands of a text, in its order; those of `sh -c 'text'` follow it.
pub fn commands(text: &str) -> Vec<Simple> {
    let mut found = Vec::new();
    read(text, MAX_NESTING, &mut found);
    found
}

fn read(text: &str, nesting: usize, found: &mut Vec<Simple>) {
    let mut words = Vec::new();
    for token in Lexer::new(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Operator(operator) => {
                finish(std::mem::take(&mut words), operator.link(), nesting, found);
            }
        }
    }
    finish(words, Link::End, nesting, found);
}

/// Turns the words between two operators into a command, if they are one.
fn finish(mut words: Vec<lexer::Quoted>, link: Link, nesting: usize, found: &mut Vec<Simple>) {
    let tied = opens_block(&words);
    words.drain(..words.iter().take_while(|word| is_keyword(word)).count());
    let is_head =
        |word: &lexer::Quoted| !word.quoted && matches!(&*word.word.text, "for" | "case" | "select" | "esac");
    if words.is_empty() || words.first().is_some_and(is_head) {
        return;
    }
    let link = if tied { Link::Tied } else { link };
    let command = simple(words.into_iter().map(|word| word.word).collect(), link);
    let inner = inner(&command).filter(|_| nesting > 0);
    found.push(command);
    if let Some(script) = inner {
        let start = found.len();
        read(&script.text, nesting - 1, found);
        // Offsets of the inner text mean nothing in the outer one.
        let there = here(script.span.start);
        let new = found.iter_mut().skip(start);
        new.flat_map(|command| command.words.iter_mut().chain(&mut command.assignments))
            .for_each(|word| word.span = there);
    }
}

fn is_keyword(word: &lexer::Quoted) -> bool {
    !word.quoted && (KEYWORDS.contains(&word.word.text.as_str()) || word.word.text == "!")
}

/// The command is a condition: its failure is an answer.
fn opens_block(words: &[lexer::Quoted]) -> bool {
    let opens = |word: &lexer::Quoted| matches!(&*word.word.text, "if" | "elif" | "while" | "until" | "!");
    words.iter().take_while(|word| is_keyword(word)).any(opens)
}

/// Takes assignments and wrappers away from the front.
fn simple(mut words: Vec<Word>, link: Link) -> Simple {
    let (mut assignments, mut wrapped) = (Vec::new(), false);
    loop {
        let count = words.iter().take_while(|word| is_assignment(&word.text)).count();
        assignments.extend(words.drain(..count));
        if words.len() < 2 || !words.first().is_some_and(|word| WRAPPERS.contains(&word.text.as_str())) {
            return Simple { assignments, words, wrapped, link };
        }
        let flags = words.iter().skip(1).take_while(|word| word.text.starts_with('-')).count();
        words.drain(..=flags);
        wrapped = true;
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

/// The text of `sh -c 'text'`.
fn inner(command: &Simple) -> Option<Word> {
    if !is_shell(command.program()) {
        return None;
    }
    let is_c =
        |word: &Word| word.text.starts_with('-') && !word.text.starts_with("--") && word.text.ends_with('c');
    let at = command.words.iter().position(is_c)?;
    command.words.get(at + 1).cloned()
}

/// A place of the text, as a span of nothing.
fn here(at: usize) -> Span {
    Span::new(at, at)
}

#[cfg(test)]
mod tests;
