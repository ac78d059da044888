//! Stages: what stands between one FROM and the next.

use crate::command::{Command, From};
use crate::error::{Error, ErrorKind};
use crate::parser::Instruction;
use crate::span::Span;

/// A Dockerfile by stages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// The ARGs before the first FROM.
    pub global_args: Vec<Instruction>,
    /// At least one, in the order of the text.
    pub stages: Vec<Stage>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Number from 0.
    pub index: usize,
    /// Name in lower case.
    pub name: Option<String>,
    /// What FROM says.
    pub from: From,
    /// The FROM itself, for its text, span and comments.
    pub instruction: Instruction,
    /// What follows, without the FROM.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// FROM, and what follows.
    pub fn all(&self) -> impl Iterator<Item = &Instruction> {
        std::iter::once(&self.instruction).chain(&self.instructions)
    }
}

impl Stages {
    /// Groups instructions. Before the first FROM only ARG is possible.
    pub(crate) fn group(instructions: Vec<Instruction>) -> Result<Self, Error> {
        let mut stages = Self::default();
        let end = instructions.last().map_or(0, |last| last.full_span.end);
        for instruction in instructions {
            stages.add(instruction)?;
        }
        if stages.stages.is_empty() {
            let help = "begin with FROM and an image, a stage's name, or `scratch`";
            return Err(Error::new(ErrorKind::NoStage, Span::new(end, end)).with_help(help));
        }
        Ok(stages)
    }

    fn add(&mut self, instruction: Instruction) -> Result<(), Error> {
        if let Command::From(from) = &instruction.command {
            let name = from.name.as_ref().map(|name| name.text.clone());
            let (from, index) = (from.clone(), self.stages.len());
            self.stages.push(Stage { index, name, from, instruction, instructions: Vec::new() });
        } else if let Some(stage) = self.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if matches!(instruction.command, Command::Arg(_)) {
            self.global_args.push(instruction);
        } else {
            let kind = ErrorKind::BeforeFrom { instruction: instruction.command.name() };
            return Err(Error::new(kind, instruction.keyword.span)
                .with_help("only ARG and comments may stand before the first FROM"));
        }
        Ok(())
    }

    /// All instructions, in the order of the text.
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        self.global_args.iter().chain(self.stages.iter().flat_map(Stage::all))
    }

    /// The stage of this name, whatever its letter case. Of several the last.
    pub fn by_name(&self, name: &str) -> Option<&Stage> {
        self.last_named(name, self.stages.len())
    }

    /// The stage that `FROM name` in the stage number `index` means: only stages above it count.
    pub fn base_of(&self, name: &str, index: usize) -> Option<&Stage> {
        self.last_named(name, index)
    }

    /// The stage that `--target`, `COPY --from` and `RUN --mount=from` mean: by number or by name.
    pub fn by_reference(&self, reference: &str) -> Option<&Stage> {
        match reference.parse::<usize>() {
            Ok(index) => self.stages.get(index),
            Err(_) => self.by_name(reference),
        }
    }

    /// The names of all stages, for suggestions.
    pub fn names(&self) -> Vec<&str> {
        self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect()
    }

    /// The known name that is nearest to a wrong one, if any is near.
    pub fn suggest(&self, wrong: &str) -> Option<&str> {
        crate::suggest::closest(&wrong.to_lowercase(), &self.names())
    }

    fn last_named(&self, name: &str, before: usize) -> Option<&Stage> {
        let name = name.to_lowercase();
        let stages = self.stages.iter().take(before);
        stages.rev().find(|stage| stage.name.as_deref() == Some(name.as_str()))
    }
}
