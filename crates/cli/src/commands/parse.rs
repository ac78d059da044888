use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_engine::{
    Error, ErrorKind, context as contexts,
    plan::{self, SyntaxNode},
};
use serde::Serialize;

use crate::{
    commands::build::options::{read_limited, read_standard_input},
    failure::{Outcome, output},
};

/// Print the syntax tree of a Dockerfile: a line for each instruction, or JSON
#[derive(Debug, clap::Args)]
pub(crate) struct ParseArgs {
    /// Print a list of {"name", "flags", "args"}, see docs/parse.md
    #[arg(long)]
    json: bool,
    /// The Dockerfile, or its directory; - for standard input
    #[arg(value_name = "FILE", default_value = "Dockerfile")]
    file: PathBuf,
}

/// Parses, and builds nothing: no store and no base is needed.
pub(crate) fn execute(arguments: &ParseArgs) -> Outcome {
    let (name, text) = read(&arguments.file)?;
    let nodes = plan::tree(&name, &text)?;
    let shown = if arguments.json { json(&nodes)? } else { plain(&nodes) };
    io::stdout().lock().write_all(shown.as_bytes()).map_err(output)
}

/// The name for messages, and the text.
fn read(file: &Path) -> Result<(String, Vec<u8>), Error> {
    if file.as_os_str() == "-" {
        return Ok(("Dockerfile".to_owned(), read_standard_input()?));
    }
    if file.is_dir() {
        let found = contexts::read_dockerfile(file, None)?;
        return Ok((found.name, found.text));
    }
    let text = fs::File::open(file)
        .and_then(read_limited)
        .map_err(|error| Error::new(ErrorKind::Input, "cannot read the Dockerfile").because(error))?;
    Ok((file.display().to_string(), text))
}

/// A node as JSON. docs/parse.md describes it.
#[derive(Serialize)]
struct Statement<'a> {
    name: &'a str,
    flags: &'a [String],
    args: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    json: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    heredocs: Vec<Heredoc<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<Box<Self>>,
}

#[derive(Serialize)]
struct Heredoc<'a> {
    name: &'a str,
    content: &'a str,
}

impl<'a> Statement<'a> {
    fn new(node: &'a SyntaxNode) -> Self {
        let heredocs = node.heredocs.iter();
        Self {
            name: &node.name,
            flags: &node.flags,
            args: &node.args,
            json: node.json,
            heredocs: heredocs
                .map(|heredoc| Heredoc { name: &heredoc.name, content: &heredoc.body })
                .collect(),
            child: node.child.as_deref().map(|child| Box::new(Self::new(child))),
        }
    }
}

fn json(nodes: &[SyntaxNode]) -> Result<String, Error> {
    let statements: Vec<Statement<'_>> = nodes.iter().map(Statement::new).collect();
    let text = serde_json::to_string_pretty(&statements)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write the tree as JSON").because(error))?;
    Ok(text + "\n")
}

/// `LINE:name flags args`, a line for each instruction.
fn plain(nodes: &[SyntaxNode]) -> String {
    let mut text = String::new();
    for node in nodes {
        // ok: writing to a String cannot fail
        let _ = writeln!(text, "{}:{}", node.line, words(node).join(" "));
    }
    text
}

fn words(node: &SyntaxNode) -> Vec<String> {
    let mut words = vec![node.name.clone()];
    words.extend(node.flags.iter().cloned());
    if node.json {
        // HEALTHCHECK has a word before the array.
        let (plain, array) = node.args.split_at(usize::from(node.name == "healthcheck").min(node.args.len()));
        words.extend(plain.iter().cloned());
        words.push(serde_json::Value::from(array).to_string());
    } else {
        words.extend(node.args.iter().cloned());
    }
    words.extend(node.child.as_deref().into_iter().flat_map(self::words));
    words
}

#[cfg(test)]
mod tests;
