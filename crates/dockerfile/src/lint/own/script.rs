//! What a RUN gives to a POSIX shell.

use crate::command::{CommandLine, Program, Run};
use crate::heredoc::Heredoc;
use crate::shell::{self, Simple};
use crate::source::Source;
use crate::span::{Span, Word};

/// The commands of a RUN. None when the shell is no POSIX shell, or when another program reads the here-document.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) commands: Vec<Simple>,
    /// All of the text, here-documents that a shell reads included.
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Where the text of the commands is written, so that their places in the source can be found.
#[derive(Clone, Debug, Default)]
pub(super) enum Origin {
    /// It is not written as it is.
    #[default]
    Nowhere,
    /// A joined line.
    Line(Span),
    /// The body of a here-document.
    Body(Span),
}

impl Script {
    pub(super) fn read(run: &Run, shell: &[String]) -> Self {
        let posix = shell.first().is_some_and(|program| shell::is_shell(program));
        match (&run.line, run.program()) {
            (CommandLine::Exec(words), _) => Self::exec(words),
            (_, Program::Script { body, .. }) if shebang(&body).is_none() => Self::other(body),
            (CommandLine::Shell(_), _) if !posix => Self::default(),
            (CommandLine::Shell(line), Program::Script { body, .. } | Program::Shell(body)) => {
                Self::shell(run, line, body)
            }
            (CommandLine::Shell(_), Program::Exec(_)) => Self::default(),
        }
    }

    fn exec(words: &[Word]) -> Self {
        let quoted: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.text.replace('\'', r"'\''"))).collect();
        let text = quoted.join(" ");
        Self { commands: shell::commands(&text), text, origin: Origin::Nowhere }
    }

    /// Another program's text: no commands.
    fn other(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    fn shell(run: &Run, line: &Word, body: String) -> Self {
        let Some(first) = run.heredocs.first() else {
            let commands = shell::commands(&line.text);
            return Self { commands, text: body, origin: Origin::Line(line.span) };
        };
        if is_alone(line) {
            let commands = shell::commands(&body);
            return Self { commands, text: body, origin: body_origin(first) };
        }
        // `sh -e <<EOF`: the body is a script; any other command reads it as data.
        let mut commands = shell::commands(&line.text);
        let reads_script =
            |command: &Simple| shell::is_shell(command.program()) && command.operands().next().is_none();
        if run.heredocs.len() == 1 && commands.iter().any(reads_script) {
            commands.extend(shell::commands(&first.text()));
            return Self { commands, text: body, origin: Origin::Nowhere };
        }
        Self { commands, text: line.text.clone(), origin: Origin::Line(line.span) }
    }

    /// The commands with this program.
    pub(super) fn of<'a>(&'a self, program: &'a str) -> impl Iterator<Item = &'a Simple> {
        self.commands.iter().filter(move |command| command.program() == program)
    }

    /// Whether the text has these words anywhere: for questions that are answered generously.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// Where a word of a command is written; nothing when it is not written in one piece of the source.
    pub(super) fn place(&self, source: &Source, escape: char, word: &Word) -> Option<Span> {
        let start = self.offset(source, escape, word.span.start)?;
        let last = word.span.end.checked_sub(1).filter(|last| *last >= word.span.start)?;
        let span = Span::new(start, self.offset(source, escape, last)? + 1);
        (source.slice(span) == self.text.get(word.span.range())?).then_some(span)
    }

    fn offset(&self, source: &Source, escape: char, offset: usize) -> Option<usize> {
        match self.origin {
            Origin::Nowhere => None,
            Origin::Body(span) => Some(span.start + offset),
            Origin::Line(span) => {
                joined_offset(source.slice(span), &self.text, escape, offset).map(|at| span.start + at)
            }
        }
    }
}

/// The line is one here-document and nothing else.
pub(super) fn is_alone(line: &Word) -> bool {
    matches!(crate::heredoc::Head::read(&line.text), Ok(Some(_)))
}

/// Bodies without their tabs are not written as they are used.
fn body_origin(heredoc: &Heredoc) -> Origin {
    let changed = heredoc.strip_tabs && heredoc.text() != heredoc.body;
    if changed { Origin::Nowhere } else { Origin::Body(heredoc.body_span) }
}

/// The shell that a script's first line names, with its flags; nothing when it names another program.
pub(super) fn shebang(body: &str) -> Option<Vec<&str>> {
    let line = body.lines().next()?.strip_prefix("#!")?;
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words.first().is_some_and(|program| program.ends_with("/env")) {
        words.remove(0);
        words.retain(|word| *word != "-S");
    }
    words.first().is_some_and(|program| shell::is_shell(program)).then_some(words)
}

/// The offset in the source of an offset in the line that was joined from it: continuation characters, comments and blank
/// lines between are stepped over.
fn joined_offset(source: &str, joined: &str, escape: char, offset: usize) -> Option<usize> {
    let (mut at, mut wanted) = (0, joined.get(..offset)?.chars());
    loop {
        at += continuation(source.get(at..)?, escape);
        let Some(character) = wanted.next() else { return Some(at) };
        if !source.get(at..)?.starts_with(character) {
            return None;
        }
        at += character.len_utf8();
    }
}

/// The length of a line's end with its continuation character, and of the comments and blank lines behind it; 0 when
/// there is none here.
fn continuation(source: &str, escape: char) -> usize {
    let Some(behind) = source.strip_prefix(escape) else { return 0 };
    let behind = behind.trim_start_matches([' ', '\t']);
    let Some(mut rest) = behind.strip_prefix("\r\n").or_else(|| behind.strip_prefix('\n')) else { return 0 };
    while let Some(end) = rest.find('\n') {
        let line = rest.get(..end).unwrap_or_default().trim();
        if !line.is_empty() && !line.starts_with('#') {
            break;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    source.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::{joined_offset, shebang};

    #[test]
    fn offsets_lead_back_through_joined_lines() {
        let source = "go \\\n# note\n\n  build \\ \r\n x";
        let joined = "go   build  x";
        for (offset, wanted) in [(0, "go"), (5, "build"), (12, "x")] {
            let at = joined_offset(source, joined, '\\', offset).unwrap();
            assert!(source[at..].starts_with(wanted), "{offset}: {:?}", &source[at..]);
        }
        assert_eq!(joined_offset("other", joined, '\\', 3), None);
    }

    #[test]
    fn first_lines_name_shells() {
        assert_eq!(shebang("#!/bin/sh -e\n"), Some(vec!["/bin/sh", "-e"]));
        assert_eq!(shebang("#!/usr/bin/env -S bash -x\n"), Some(vec!["bash", "-x"]));
        assert_eq!(shebang("#!/usr/bin/env python3\n"), None);
        assert_eq!(shebang("echo"), None);
    }
}
