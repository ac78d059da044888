//! Go templates as far as `docker … --format` is used: fields, pipelines, `if`, `range`, `with`, variables and the
//! functions docker adds.
//!
//! Data is JSON. A field that is not there is an error which names the fields that are, as a typing mistake must not
//! print an empty line; only below maps that people fill (labels, ports) is an absent key no mistake.

mod eval;
mod functions;
mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_json::Value;

/// A map that is asked by `.Label "name"`, as a method in Go. It is no field: `json` leaves it out.
pub(crate) const METHOD: &str = "Label";

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

/// What is wrong with a template, and where in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TemplateError {
    pub(crate) message: String,
    pub(crate) span: Range<usize>,
}

impl TemplateError {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span }
    }
}

impl Template {
    /// Parses `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self { nodes: parse::parse(lex::lex(text)?)? })
    }

    /// The text for `data`, without a newline of its own.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data)
    }
}
