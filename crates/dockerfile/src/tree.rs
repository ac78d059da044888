//! The syntax tree as words: what BuildKit's own parser would hand on, for editors, scripts and tests.

mod print;

pub use print::print;

use crate::command::{Command, CopySource};
use crate::flag::Flag;
use crate::heredoc::Heredoc;
use crate::json::{self, Json};
use crate::line::{Args, Line};
use crate::parser::{Dockerfile, Instruction};
use crate::source::Source;
use crate::span::{Span, Word};
use crate::words;

/// An instruction cut into words, and nothing more: no variable is expanded, nothing is sorted or filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The keyword in lower case.
    pub name: String,
    /// `--name` or `--name=value`, without the quotes around it.
    pub flags: Vec<String>,
    /// The rest: words with their quotes; one text where the instruction has no words (RUN, CMD, WORKDIR …); the strings
    /// of a JSON array.
    pub args: Vec<String>,
    /// `args` was a JSON array.
    pub json: bool,
    /// What the `<<` in `args` stand for, in their order.
    pub heredocs: Vec<Heredoc>,
    /// The trigger of ONBUILD.
    pub child: Option<Box<Node>>,
    /// The line of the keyword, counted from 1.
    pub line: usize,
}

impl Dockerfile {
    /// The syntax tree, a node for each instruction. `source` is the text that was parsed.
    pub fn tree(&self, source: &Source) -> Vec<Node> {
        self.instructions.iter().map(|instruction| Node::new(instruction, source, self.escape)).collect()
    }
}

impl Node {
    /// The same without where it was written, for comparing two texts.
    #[must_use]
    pub fn without_places(self) -> Self {
        let place = Span::new(0, 0);
        let heredocs = self.heredocs.into_iter().map(|heredoc| Heredoc { body_span: place, ..heredoc });
        let child = self.child.map(|child| Box::new(child.without_places()));
        Self { heredocs: heredocs.collect(), child, line: 0, ..self }
    }

    /// Cuts the text of an instruction that was read, so that what the typed command drops or sorts is here.
    fn new(instruction: &Instruction, source: &Source, escape: char) -> Self {
        let mut line = Line::default();
        line.push(&instruction.text, 0);
        let (_, rest) = words::split_keyword(&line.args());
        let (flags, args) = words::flags(&rest, escape);
        let child = match &instruction.command {
            Command::Onbuild(onbuild) => Some(Box::new(Self::new(&onbuild.trigger, source, escape))),
            _ => None,
        };
        let (args, json) =
            if child.is_some() { (Vec::new(), false) } else { cut(instruction, &args, escape) };
        Self {
            name: instruction.command.name().to_lowercase(),
            flags: flags.iter().map(written).collect(),
            args,
            json,
            heredocs: heredocs(&instruction.command),
            child,
            line: source.location(instruction.span.start).line,
        }
    }
}

fn written(flag: &Flag) -> String {
    match &flag.value {
        Some(value) => format!("--{}={}", flag.name.text, value.text),
        None => format!("--{}", flag.name.text),
    }
}

/// The words of the arguments, and whether they are a JSON array.
fn cut(instruction: &Instruction, args: &Args<'_>, escape: char) -> (Vec<String>, bool) {
    let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect();
    match &instruction.command {
        Command::Arg(_) => (texts(words::keeping_quotes(args, escape)), false),
        Command::Env(env) => (pairs(args, escape, env.pairs.iter().any(|pair| pair.legacy)), false),
        Command::Label(label) => (pairs(args, escape, label.pairs.iter().any(|pair| pair.legacy)), false),
        Command::From(_) | Command::Expose(_) => (texts(words::at_blanks(args)), false),
        Command::Copy(_) | Command::Add(_) | Command::Volume(_) => match json::read(args) {
            Json::Strings(words) => (texts(words), true),
            _ => (texts(words::at_blanks(args)), false),
        },
        Command::Run(_) | Command::Cmd(_) | Command::Entrypoint(_) | Command::Shell(_) => command_line(args),
        Command::Healthcheck(_) => healthcheck(args),
        _ => (one(args), false),
    }
}

/// The old form `ENV name any thing` is two words, the second one as it stands.
fn pairs(args: &Args<'_>, escape: char, legacy: bool) -> Vec<String> {
    match words::at_first_blank(args) {
        Some((name, value)) if legacy => vec![name.text, value.text],
        _ => words::keeping_quotes(args, escape).into_iter().map(|word| word.text).collect(),
    }
}

fn command_line(args: &Args<'_>) -> (Vec<String>, bool) {
    match json::read(args) {
        Json::Strings(words) => (words.into_iter().map(|word| word.text).collect(), true),
        _ => (one(args), false),
    }
}

/// CMD or NONE, and the command.
fn healthcheck(args: &Args<'_>) -> (Vec<String>, bool) {
    let text = args.text();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (command, json) = command_line(&args.from(end).trim());
    let kind = args.part(0..end).text().to_owned();
    (std::iter::once(kind).chain(command).collect(), json)
}

fn one(args: &Args<'_>) -> Vec<String> {
    if args.is_empty() { Vec::new() } else { vec![args.text().to_owned()] }
}

fn heredocs(command: &Command) -> Vec<Heredoc> {
    let sources = match command {
        Command::Run(run) => return run.heredocs.clone(),
        Command::Copy(copy) => &copy.sources,
        Command::Add(add) => &add.sources,
        _ => return Vec::new(),
    };
    let of_source = |source: &CopySource| match source {
        CopySource::Heredoc(heredoc) => Some(heredoc.clone()),
        CopySource::Path(_) => None,
    };
    sources.iter().filter_map(of_source).collect()
}
