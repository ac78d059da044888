//! What is in a build context, and why: for `galley context`.
//!
//! ```text
//! walk    the directory and the ignore rules ─▶ items: each file that is kept, what is dropped with the rule that did it
//! usage   the plan of each stage ─▶ which instruction means which item
//! secrets names and content of what is kept ─▶ what should not be there
//! ```
//!
//! Nothing is hashed and nothing is written. What cannot be told is a note, and no error, except that the context itself
//! cannot be read.

pub mod secrets;
mod usage;
mod walk;

#[cfg(test)]
mod tests;

use std::path::Path;

use galley_dockerfile::Ignore;

use crate::{
    Error, ErrorKind,
    plan::{ContextSource, PlanOptions},
    ports::ImageSource,
};

/// A build context, looked at.
#[derive(Debug, Default)]
pub struct Survey {
    /// The ignore file's name, when there is one.
    pub ignore: Option<String>,
    /// Its rules, in the order written.
    pub rules: Vec<RuleUse>,
    /// What is there, folders before what is in them.
    pub items: Vec<Item>,
    /// The instructions that take something from the context; none when that could not be told.
    pub instructions: Option<Vec<Instruction>>,
    /// What could not be told, and why.
    pub notes: Vec<String>,
}

/// A rule of the ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleUse {
    /// Its line, counted from one.
    pub line: usize,
    /// As written.
    pub text: Vec<u8>,
    /// How many files it decided about.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An instruction that takes something from the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The Dockerfile and the line: `Dockerfile:3`.
    pub place: String,
    /// Its first line.
    pub text: String,
    /// How many files it takes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Something in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative to the context.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ItemKind,
    /// How many files it is: more than one for a folder.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it is part of the context.
    pub kept: bool,
    /// The place in [`Survey::rules`] of the rule that decided; none when no rule matches.
    pub rule: Option<usize>,
    /// The places in [`Survey::instructions`] of those that take it.
    pub used: Vec<usize>,
    /// The Dockerfile or the ignore file, which the build reads itself.
    pub own: bool,
    /// Why it may be a secret.
    pub secret: Option<&'static str>,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A symbolic link and where it leads.
    Link(Vec<u8>),
    /// A device or a pipe.
    Special,
    /// A folder: one that is dropped with all that is in it, or an empty one.
    Folder,
}

impl Survey {
    /// The place in words of the rule that decided about `item`, and its text.
    #[must_use]
    pub fn reason(&self, item: &Item) -> Option<(String, &[u8])> {
        let rule = self.rules.get(item.rule?)?;
        Some((format!("{}:{}", self.ignore.as_deref().unwrap_or_default(), rule.line), &rule.text))
    }

    /// Of how many files of how many bytes those items are that `of` is true for.
    pub fn sum(&self, of: impl Fn(&Item) -> bool) -> (u64, u64) {
        let items = self.items.iter().filter(|item| of(item));
        items.fold((0, 0), |(files, bytes), item| (files + item.files, bytes.saturating_add(item.bytes)))
    }

    /// Whether no instruction takes it. Nothing is, when it is not known what they take.
    #[must_use]
    pub fn is_unused(&self, item: &Item) -> bool {
        self.instructions.is_some() && item.kept && !item.own && item.used.is_empty()
    }
}

/// Looks at a context. `dockerfile` is where the Dockerfile is, and `store` the directory that is never part of a
/// context.
pub fn survey(context: &ContextSource, dockerfile: Option<&Path>, store: &Path) -> Result<Survey, Error> {
    let none = Ignore::default();
    let (name, ignore) = match &context.ignore {
        None => (None, none),
        Some((name, text)) => {
            let wrong = |error: galley_dockerfile::Error| {
                Error::new(ErrorKind::Input, format!("{name}: {error}")).because(error)
            };
            (Some(name.clone()), Ignore::parse(text).map_err(wrong)?)
        }
    };
    let rules =
        ignore.rules().map(|rule| RuleUse { line: rule.line, text: rule.text.to_vec(), files: 0, bytes: 0 });
    let mut survey = Survey { rules: rules.collect(), ..Survey::default() };
    walk::walk(&context.path, &ignore, store, &mut survey)?;
    ignore
        .in_time()
        .map_err(|error| Error::new(ErrorKind::Input, format!("the ignore file: {error}")).because(error))?;
    for file in dockerfile.into_iter().chain(name.as_deref().map(Path::new)) {
        walk::mark_own(&context.path, file, &mut survey);
    }
    survey.ignore = name;
    for item in &survey.items {
        if let Some(rule) = item.rule.and_then(|rule| survey.rules.get_mut(rule)) {
            rule.files += item.files;
            rule.bytes = rule.bytes.saturating_add(item.bytes);
        }
    }
    for item in survey.items.iter_mut().filter(|item| item.kept && item.kind == ItemKind::File) {
        item.secret = secrets::suspect(&context.path, &item.path);
    }
    Ok(survey)
}

impl Survey {
    /// Finds out what instructions take: those of the target and of what it needs, or of every stage when `options` name
    /// no target.
    pub fn find_use(&mut self, options: &PlanOptions, images: &dyn ImageSource) {
        usage::find(self, options, images);
    }
}
