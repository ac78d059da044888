//! RUN.

use super::file::refuse_variable;
use super::{CommandLine, Request};
use crate::error::{Error, ErrorKind};
use crate::flag::{FlagKind, FlagSet};
use crate::heredoc::{Head, Heredoc};
use crate::mount::fields;
use crate::span::Word;

/// `RUN [flags] command`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What is run, as written.
    pub line: CommandLine,
    /// Here-documents of a shell form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in the order of the text.
    pub mounts: Vec<MountFlag>,
    /// `--network`, if it was given.
    pub network: Option<Network>,
    /// `--security`, if it was given.
    pub security: Option<Security>,
}

/// `--mount=…`, not yet expanded. [`crate::mount::parse`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// All of it.
    pub text: Word,
    /// The stage, image or context that it names. Never expanded.
    pub from: Option<Word>,
}

/// The network of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// The build's own.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The machine's; needs the entitlement `network.host`.
    Host,
}

/// How locked in a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// The usual sandbox.
    #[default]
    Sandbox,
    /// All capabilities; needs the entitlement `security.insecure`.
    Insecure,
}

/// What a RUN executes once its here-documents are taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Program and arguments as they are.
    Exec(Vec<String>),
    /// One argument for the stage's shell.
    Shell(String),
    /// A script with its own `#!` line: an executable file `/dev/pipes/<name>`, given to the stage's shell by path.
    Script {
        /// The file's name.
        name: String,
        /// Its content.
        body: String,
    },
}

const NETWORKS: [(&str, Network); 3] =
    [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];
const SECURITIES: [(&str, Security); 2] = [("sandbox", Security::Sandbox), ("insecure", Security::Insecure)];

impl Run {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let flags = request.take_flags(&[
            ("mount", FlagKind::List),
            ("network", FlagKind::Value),
            ("security", FlagKind::Value),
            ("device", FlagKind::Labs),
        ])?;
        let args = request.args.clone();
        let line = CommandLine::read(request, &args)?;
        if line == CommandLine::Exec(Vec::new()) {
            return Err(request.missing("a program"));
        }
        Ok(Self {
            line,
            heredocs: std::mem::take(&mut request.heredocs),
            mounts: flags.values("mount").into_iter().map(MountFlag::new).collect::<Result<_, _>>()?,
            network: one_of(&flags, "network", &NETWORKS)?,
            security: one_of(&flags, "security", &SECURITIES)?,
        })
    }

    /// What to execute. Docker's rules: a line that is one here-document and nothing else is its body, as a script of
    /// its own when it begins with `#!`; any other line with here-documents goes to the shell whole.
    pub fn program(&self) -> Program {
        let word = match &self.line {
            CommandLine::Exec(words) => {
                return Program::Exec(words.iter().map(|word| word.text.clone()).collect());
            }
            CommandLine::Shell(word) => word,
        };
        let Some(first) = self.heredocs.first() else { return Program::Shell(word.text.clone()) };
        if matches!(Head::read(&word.text), Ok(Some(_))) {
            let body = first.text();
            let name = first.name.clone();
            return if body.starts_with("#!") {
                Program::Script { name, body }
            } else {
                Program::Shell(body)
            };
        }
        let documents = self.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.body, heredoc.name));
        Program::Shell(std::iter::once(word.text.clone()).chain(documents).collect())
    }
}

impl MountFlag {
    fn new(text: Word) -> Result<Self, Error> {
        let from = fields(&text)?.into_iter().find_map(|field| {
            let (key, value) = field.text.split_once('=')?;
            let value = Word::new(value, field.part(key.len() + 1..field.text.len()));
            key.eq_ignore_ascii_case("from").then_some(value)
        });
        if let Some(from) = &from {
            refuse_variable(from, "RUN --mount=from")?;
        }
        Ok(Self { text, from: from.filter(|from| !from.text.is_empty()) })
    }
}

fn one_of<T: Clone>(flags: &FlagSet, flag: &'static str, known: &[(&str, T)]) -> Result<Option<T>, Error> {
    let Some(word) = flags.value(flag) else { return Ok(None) };
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == word.text) {
        return Ok(Some(value.clone()));
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Err(Error::new(ErrorKind::BadFlagValue { flag, value: word.text }, word.span)
        .with_help(format!("known are {}", names.join(", "))))
}
