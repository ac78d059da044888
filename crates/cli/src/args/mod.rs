//! What was typed: the parser, made of one struct a command, and what it refuses.

pub(crate) mod annotation;
pub(crate) mod cache;
pub(crate) mod call;
pub(crate) mod cgroup;
pub(crate) mod csv;
pub(crate) mod expression;
pub(crate) mod mount;
pub(crate) mod output;
pub(crate) mod platform;
pub(crate) mod prune_filter;
mod refused;
pub(crate) mod service;
pub(crate) mod size;
pub(crate) mod ssh;
pub(crate) mod surroundings;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, path::PathBuf};

use clap::{
    ArgAction, Args, CommandFactory, FromArgMatches,
    builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    commands::{self, Commands},
    environment::{Environment, VARIABLES},
    failure::Failure,
};

/// The version that `docker --version` claims to be like, for scripts that compare it.
pub(crate) const DOCKER_VERSION: &str = "28.0.0";
/// Our own version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds multi-stage Dockerfiles into small OCI images, with no daemon and no root, and runs them
#[derive(Debug, clap::Parser)]
#[command(
    name = "galley",
    disable_version_flag = true,
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Commands,
}

// What may stand before and behind every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The directory of the store
    #[arg(long, global = true, value_name = "DIR", display_order = 1000)]
    pub(crate) root: Option<PathBuf>,
    /// A registry that may have any certificate, or speak plain HTTP
    #[arg(long, global = true, value_name = "HOST[:PORT]", display_order = 1000)]
    pub(crate) insecure_registry: Vec<String>,
    /// The directory of docker's config.json, with the logins
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new(), display_order = 1000)]
    pub(crate) config: Option<OsString>,
    /// Print the version
    #[arg(id = "print-version", short = 'v', long = "version", action = ArgAction::Version)]
    print_version: Option<bool>,
}

/// The whole parser, under the name the program was called by.
pub(crate) fn parser(environment: &Environment) -> clap::Command {
    last_one_wins(refused::add(named(environment)))
}

/// The parser of one command alone, for what is typed most: to make the whole one takes longer than a build that changes
/// nothing.
fn quick_parser(name: &str) -> Option<clap::Command> {
    let command = commands::alone(name)?;
    let parser = Global::augment_args(clap::Command::new("galley")).disable_help_subcommand(true);
    let parser = parser.disable_version_flag(true).version(VERSION);
    Some(last_one_wins(refused::add_flags(parser.subcommand(command))))
}

/// The parser without what is hidden or refused: for completions and man pages, which offer things.
pub(crate) fn offered(environment: &Environment) -> clap::Command {
    let whole = named(environment);
    let about = whole.get_about().cloned().unwrap_or_default();
    let commands: Vec<clap::Command> =
        whole.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let arguments: Vec<clap::Arg> = whole.get_arguments().cloned().collect();
    let offered = clap::Command::new("galley").disable_help_subcommand(true).disable_version_flag(true);
    offered.about(about).after_help(after_help()).version(VERSION).args(arguments).subcommands(commands)
}

fn named(environment: &Environment) -> clap::Command {
    let version = if environment.as_docker {
        format!("{DOCKER_VERSION}, build galley-{VERSION}")
    } else {
        VERSION.to_owned()
    };
    let name = if environment.as_docker { "Docker version" } else { "galley" };
    let parser = Arguments::command().version(version).display_name(name).after_help(after_help());
    parser.bin_name(environment.program())
}

/// Of an option that takes one value and was given twice, as scripts that append do, the last one counts.
fn last_one_wins(parser: clap::Command) -> clap::Command {
    parser.args_override_self(true).mut_subcommands(last_one_wins)
}

fn after_help() -> String {
    let width = VARIABLES.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let rows = VARIABLES.iter().map(|(name, meaning)| format!("  {name:width$}  {meaning}\n"));
    format!("Environment:\n{}\nExit codes: docs/exit-codes.md", rows.collect::<String>())
}

/// Parses what was typed.
pub(crate) fn parse(environment: &Environment, arguments: &[OsString]) -> Result<Arguments, Failure> {
    let fitted = |parser| match arguments.iter().any(is_docker_switch) {
        true => accept_switch_values(parser),
        false => parser,
    };
    let quick = arguments.get(1).and_then(|name| quick_parser(name.to_str()?));
    let matches = quick.and_then(|parser| fitted(parser).try_get_matches_from(arguments).ok());
    let matches = match matches {
        Some(matches) => matches,
        // Errors and help are the whole parser's.
        None => fitted(parser(environment))
            .try_get_matches_from(arguments)
            .map_err(|error| suggest_what_works(help_for_nothing(error, environment, arguments)))?,
    };
    refused::check(&matches)?;
    Ok(Arguments::from_arg_matches(&matches)?)
}

/// Who names no command, or of `volume` and the like none of its own, gets help, as in docker: that is no error.
fn help_for_nothing(error: clap::Error, environment: &Environment, arguments: &[OsString]) -> clap::Error {
    if !matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return error;
    }
    let parser = parser(environment);
    let (mut at, mut asked) = (&parser, vec![OsString::from(environment.program())]);
    for word in arguments.iter().skip(1) {
        if let Some(found) = at.find_subcommand(word) {
            (at, asked) = (found, [asked, vec![word.clone()]].concat());
        }
    }
    asked.push("-h".into());
    parser.clone().try_get_matches_from(asked).err().unwrap_or(error)
}

/// Leaves out of what could have been meant what would be refused.
fn suggest_what_works(mut error: clap::Error) -> clap::Error {
    let typed = error.get(ContextKind::InvalidSubcommand).map(ToString::to_string);
    let Some(ContextValue::Strings(mut names)) = error.remove(ContextKind::SuggestedSubcommand) else {
        return error;
    };
    names.retain(|name| !refused::is_command(name));
    if typed.as_deref() == Some("prune") {
        names = vec!["system prune".to_owned()];
    }
    if !names.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(names));
    }
    error
}

/// `--no-cache=true`, `--rm=false`: docker's switches take a value after `=`.
fn is_docker_switch(argument: &OsString) -> bool {
    let value = argument.to_str().and_then(|argument| argument.strip_prefix('-')?.split_once('='));
    value.is_some_and(|(_, value)| {
        matches!(value.to_lowercase().as_str(), "true" | "false" | "1" | "0" | "t" | "f")
    })
}

/// Lets every switch take a value. Only done when one was given: help is nicer without.
fn accept_switch_values(parser: clap::Command) -> clap::Command {
    parser
        .mut_args(|argument| {
            if !matches!(argument.get_action(), ArgAction::SetTrue) {
                return argument;
            }
            let argument = argument.action(ArgAction::Set).num_args(0..=1).require_equals(true);
            argument.default_missing_value("true").default_value("false").value_parser(go_bool())
        })
        .mut_subcommands(accept_switch_values)
}

/// A switch with a value.
pub(crate) fn go_bool() -> impl TypedValueParser<Value = bool> {
    NonEmptyStringValueParser::new()
        .try_map(|text| truth(&text).ok_or_else(|| format!("{text:?} is neither true nor false")))
}

/// Go's words for truth, as everywhere in docker.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What `parse` understands; an empty value, from a script's variable that is not set, is none, as in docker.
pub(crate) fn or_nothing<T: 'static>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> + Clone + Send + Sync + 'static {
    move |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

/// A path that may be empty.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
