//! What ENV, ARG, WORKDIR, USER and SHELL hold at each instruction of a stage, as far as the text tells.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Input;
use crate::command::{ArgDefinition, Command};
use crate::expand::Expander;
use crate::lint::BaseFacts;
use crate::parser::Instruction;
use crate::span::Word;
use crate::stage::Stage;

/// Longer values are not kept: nothing that a rule asks for is that long.
const MAX_VALUE: usize = 4096;

/// Stages further below are not looked at.
const MAX_BELOW: usize = 64;

/// The shell of a stage that names none.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Values with the index of the instruction that sets them. What is not known is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    /// Those of the stage that this one stands on, and how many there are below each other.
    below: Option<Rc<Values>>,
    depth: usize,
    variables: BTreeMap<String, Log<Option<String>>>,
    /// Those that ENV set: ARG does not change them any more.
    environment: BTreeSet<String>,
    workdir: Log<Option<String>>,
    user: Log<Option<String>>,
    shell: Log<Vec<String>>,
}

/// What was set, by the index of the first instruction that sees it.
type Log<T> = Vec<(usize, T)>;

/// What holds at an instruction.
fn at<T>(log: &Log<T>, index: usize) -> Option<&T> {
    let count = log.partition_point(|(from, _)| *from <= index);
    log.get(count.checked_sub(1)?).map(|(_, value)| value)
}

impl Values {
    /// The ARGs above the first FROM.
    pub(super) fn globals(input: &Input<'_>) -> Self {
        let mut values = Self::default();
        for instruction in &input.stages.global_args {
            if let Command::Arg(arg) = &instruction.command {
                arg.definitions.iter().for_each(|definition| values.arg(0, definition, None, input.escape));
            }
        }
        values
    }

    /// What a stage sets, on top of what it stands on.
    pub(super) fn of_stage(
        stage: &Stage,
        below: Option<&Rc<Self>>,
        facts: Option<&BaseFacts>,
        globals: &Self,
        escape: char,
    ) -> Self {
        let mut values = Self::default();
        if let Some(below) = below.filter(|below| below.depth < MAX_BELOW) {
            values.below = Some(Rc::clone(below));
            values.depth = below.depth + 1;
        }
        if let Some(facts) = facts {
            values.user.push((0, Some(facts.user.clone())));
            for (name, value) in facts.environment.iter().filter_map(|pair| pair.split_once('=')) {
                values.env(0, name, Some(value.to_owned()));
            }
        }
        for (index, instruction) in stage.instructions.iter().enumerate() {
            values.read(index, instruction, globals, escape);
        }
        values
    }

    fn read(&mut self, index: usize, instruction: &Instruction, globals: &Self, escape: char) {
        match &instruction.command {
            Command::Env(env) => {
                let pairs: Vec<_> = env
                    .pairs
                    .iter()
                    .filter_map(|pair| {
                        Some((
                            self.expand(index, &pair.key, escape)?,
                            self.expand(index, &pair.value, escape),
                        ))
                    })
                    .collect();
                pairs.into_iter().for_each(|(name, value)| self.env(index + 1, &name, value));
            }
            Command::Arg(arg) => {
                arg.definitions
                    .iter()
                    .for_each(|definition| self.arg(index, definition, Some(globals), escape));
            }
            Command::Workdir(workdir) => {
                let path = self.expand(index, &workdir.path, escape);
                let path = path.and_then(|path| self.absolute(index, &path));
                self.workdir.push((index + 1, path));
            }
            Command::User(user) => {
                let user = self.expand(index, &user.user, escape);
                self.user.push((index + 1, user));
            }
            Command::Shell(shell) => {
                let words = shell.arguments.iter().map(|word| word.text.clone());
                self.shell.push((index + 1, words.collect()));
            }
            _ => {}
        }
    }

    fn env(&mut self, from: usize, name: &str, value: Option<String>) {
        self.environment.insert(name.to_owned());
        self.set(from, name, value);
    }

    /// Without a default a global ARG's value counts.
    fn arg(&mut self, index: usize, definition: &ArgDefinition, globals: Option<&Self>, escape: char) {
        let name = definition.name.text.as_str();
        if self.is_environment(name) {
            return;
        }
        let value = match (&definition.default, globals) {
            (Some(default), _) => self.expand(index, default, escape),
            (None, Some(globals)) => globals.variable(usize::MAX, name).cloned().flatten(),
            (None, None) => None,
        };
        self.set(if globals.is_some() { index + 1 } else { index }, name, value);
    }

    fn is_environment(&self, name: &str) -> bool {
        self.environment.contains(name) || self.below.as_ref().is_some_and(|below| below.is_environment(name))
    }

    fn set(&mut self, from: usize, name: &str, value: Option<String>) {
        let value = value.filter(|value| value.len() <= MAX_VALUE);
        self.variables.entry(name.to_owned()).or_default().push((from, value));
    }

    fn variable(&self, index: usize, name: &str) -> Option<&Option<String>> {
        let own = self.variables.get(name).and_then(|log| at(log, index));
        own.or_else(|| self.below.as_ref()?.variable(usize::MAX, name))
    }

    /// What holds of a setting that there is one of.
    fn setting<T>(&self, index: usize, log: fn(&Self) -> &Log<T>) -> Option<&T> {
        at(log(self), index).or_else(|| self.below.as_ref()?.setting(usize::MAX, log))
    }

    /// A variable that ENV or ARG sets above an instruction; `Some(None)` when the text does not tell its value.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<Option<&str>> {
        self.variable(index, name).map(|value| value.as_deref())
    }

    /// A word as an instruction sees it; nothing when a variable in it is not known.
    pub(super) fn expand(&self, index: usize, word: &Word, escape: char) -> Option<String> {
        let lookup = |name: &str| self.variable(index, name).cloned().flatten();
        let expanded = Expander::new(escape, &lookup).word(word).ok()?;
        expanded.undefined.is_empty().then_some(expanded.text)
    }

    /// A path as an instruction sees it.
    pub(super) fn absolute(&self, index: usize, path: &str) -> Option<String> {
        if path.contains(['$', '*', '?', '`']) {
            return None;
        }
        let above = if path.starts_with('/') { "/" } else { self.workdir(index)? };
        let mut parts: Vec<&str> = Vec::new();
        for part in above.split('/').chain(path.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        Some(format!("/{}", parts.join("/")))
    }

    /// The working directory; nothing when it is not known.
    pub(super) fn workdir(&self, index: usize) -> Option<&str> {
        self.setting(index, |values| &values.workdir)?.as_deref()
    }

    /// The user of an instruction: `Some(None)` when the text does not tell it, `None` when nobody has set one.
    pub(super) fn user(&self, index: usize) -> Option<Option<&str>> {
        self.setting(index, |values| &values.user).map(|user| user.as_deref())
    }

    /// The shell of an instruction.
    pub(super) fn shell(&self, index: usize) -> Vec<String> {
        self.setting(index, |values| &values.shell)
            .cloned()
            .unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec())
    }

    /// Whether a variable ever holds a text, or something that is not known.
    pub(super) fn any_contains(&self, name: &str, text: &str) -> bool {
        let holds = |value: &Option<String>| value.as_ref().is_none_or(|value| value.contains(text));
        let own = self.variables.get(name).is_some_and(|log| log.iter().any(|(_, value)| holds(value)));
        own || self.below.as_ref().is_some_and(|below| below.any_contains(name, text))
    }
}
