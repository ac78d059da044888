//! The Dockerfile language: text in, typed instructions with spans out. No files, no environment, no printing.
//!
//! ```text
//! bytes ─ Source ─▶ parse ─▶ Dockerfile (directives, Instruction…) ─ stages ─▶ Stages
//!                                           │ words still unexpanded
//!                    Expander (environment of that line) ─▶ text,  mount::parse ─▶ Mount,  port, user, mode …
//! ```
//!
//! * [`source`], [`span`]: the text, and where things stand in it.
//! * [`parser`]: [`parse()`], [`parse_onbuild`], [`Dockerfile`], [`Instruction`].
//! * [`command`]: what each instruction says, one type each.
//! * [`tree`]: the same as plain words, for programs that read Dockerfiles.
//! * [`stage`]: instructions grouped by `FROM`, and the look-up of a stage by name or number.
//! * [`expand`]: `$VAR` and quotes; the evaluator calls it with the environment of the moment.
//! * [`mount`], [`user`], [`mode`], [`port`], [`duration`], [`signal`]: readers of single (expanded) values.
//! * [`shell`]: the commands in the text of a RUN.
//! * [`ignore`], [`glob`]: `.dockerignore` and the wildcards of COPY, on byte paths.
//! * [`lint`]: the rules of `--check`, Docker's and own ones.
//! * [`suggest`]: the known name that somebody may have meant.
//! * [`error`]: [`Error`] and [`Warning`], made to be drawn under the source line.
//!
//! Docker's own builder is the reference for every rule. Where galley differs on purpose the code says "Docker" and why.
//! Every reader here takes foreign text: it may fail, it may not panic, and each has a named limit.
#![forbid(unsafe_code)]

pub mod command;
pub mod directive;
pub mod duration;
pub mod error;
pub mod expand;
pub mod flag;
pub mod glob;
pub mod heredoc;
pub mod ignore;
mod json;
mod line;
pub mod lint;
pub mod mode;
pub mod mount;
pub mod parser;
pub mod port;
pub mod shell;
pub mod signal;
pub mod source;
pub mod span;
pub mod stage;
pub mod suggest;
pub mod tree;
pub mod user;
mod words;

pub use command::{Command, CommandLine};
pub use directive::Directives;
pub use error::{Error, ErrorKind, Warning, WarningKind};
pub use expand::{Expanded, Expander};
pub use flag::Flag;
pub use heredoc::Heredoc;
pub use ignore::Ignore;
pub use mount::Mount;
pub use parser::{Dockerfile, Instruction, parse, parse_onbuild, parse_partly};
pub use source::{Location, Source};
pub use span::{Span, Word};
pub use stage::{Stage, Stages};
pub use tree::Node;
