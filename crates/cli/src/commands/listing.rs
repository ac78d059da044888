//! Lists as docker prints them: a table, ids alone, JSON lines, or a Go template.

use std::io::{self, Write};

use galley_engine::{Error, ErrorKind, Place};
use serde_json::Value;

use crate::{
    failure::{Failure, Outcome, output},
    table,
    template::{Template, TemplateError},
};

/// What all lists take.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Do not shorten ids and texts
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// A list about to be printed.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    /// Field and heading of each column that a template can name.
    pub(crate) headings: &'a [(&'a str, &'a str)],
    /// The template of the usual table.
    pub(crate) table: &'a str,
    /// One object a row; with the field `ID`.
    pub(crate) rows: Vec<Value>,
}

impl Listing<'_> {
    /// Prints to standard output.
    pub(crate) fn print(&self, arguments: &ListArgs) -> Outcome {
        let text = self.text(arguments)?;
        io::stdout().lock().write_all(text.as_bytes()).map_err(output)
    }

    fn text(&self, arguments: &ListArgs) -> Result<String, Failure> {
        let format = arguments.format.as_deref().unwrap_or("table").trim();
        if arguments.quiet && arguments.format.is_none() {
            return self.lines("{{.ID}}");
        }
        match format.strip_prefix("table") {
            Some("") => self.aligned(self.table),
            Some(template) if template.starts_with([' ', '\t', '{']) => {
                self.aligned(&unescape(template.trim_start()))
            }
            _ if format == "json" => self.lines("{{json .}}"),
            _ => self.lines(&unescape(arguments.format.as_deref().unwrap_or_default())),
        }
    }

    fn lines(&self, text: &str) -> Result<String, Failure> {
        let template = Template::parse(text).map_err(|error| drawn(text, error))?;
        let line = |row| Ok(template.render(row).map_err(|error| drawn(text, error))? + "\n");
        self.rows.iter().map(line).collect()
    }

    fn aligned(&self, text: &str) -> Result<String, Failure> {
        let template = Template::parse(text).map_err(|error| drawn(text, error))?;
        let headings =
            self.headings.iter().map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)));
        let headings = Value::Object(headings.collect());
        let rows = std::iter::once(&headings).chain(&self.rows);
        let rows: Result<Vec<String>, _> = rows.map(|row| template.render(row)).collect();
        Ok(table::align(&rows.map_err(|error| drawn(text, error))?))
    }
}

/// An error in a format, drawn on the format.
pub(crate) fn drawn(text: &str, error: TemplateError) -> Failure {
    let place = Place { file: "--format".into(), text: text.into(), span: error.span.clone() };
    Error::new(ErrorKind::Usage, error.message).at(&place).into()
}

/// Shells hand over `\t` and `\n` as two characters; docker takes them for tab and newline.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Prints one thing that is not a list: `plain` without a format, whole as `json`, else by a Go template.
pub(super) fn print_one(data: &Value, format: Option<&str>, plain: fn(&Value) -> String) -> Outcome {
    let text = match format {
        None => plain(data),
        Some("json") => data.to_string(),
        Some(format) => {
            let format = unescape(format);
            let rendered = Template::parse(&format).and_then(|template| template.render(data));
            rendered.map_err(|error| drawn(&format, error))?
        }
    };
    writeln!(io::stdout().lock(), "{text}").map_err(output)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(format: Option<&str>, quiet: bool) -> String {
        let rows = vec![
            json!({ "ID": "sha256:1", "Repository": "site", "Tag": "distroless", "Size": "27MB" }),
            json!({ "ID": "sha256:2", "Repository": "site", "Tag": "staged", "Size": "32.3MB" }),
        ];
        let headings = [("ID", "IMAGE ID"), ("Repository", "REPOSITORY"), ("Tag", "TAG"), ("Size", "SIZE")];
        let listing = Listing { headings: &headings, table: "{{.Repository}}\t{{.Tag}}\t{{.Size}}", rows };
        let arguments = ListArgs { format: format.map(str::to_owned), quiet, ..ListArgs::default() };
        match listing.text(&arguments) {
            Ok(text) => text,
            Err(Failure::Error(error)) => crate::message::draw(&error, &annotate_snippets::Renderer::plain()),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn lists_come_in_all_forms() {
        let table = "REPOSITORY   TAG          SIZE\nsite         distroless   27MB\nsite         staged       32.3MB\n";
        assert_eq!(text(None, false), table);
        assert_eq!(text(Some("table"), false), table);
        assert_eq!(text(None, true), "sha256:1\nsha256:2\n");
        let documents = "{{.Repository}}:{{.Tag}} -> {{.Size}}";
        assert_eq!(text(Some(documents), false), "site:distroless -> 27MB\nsite:staged -> 32.3MB\n");
        assert_eq!(
            text(Some("table {{.ID}}\\t{{.Tag}}"), false),
            "IMAGE ID   TAG\nsha256:1   distroless\nsha256:2   staged\n"
        );
        assert!(text(Some("json"), false).starts_with("{\"ID\":\"sha256:1\","));
    }

    #[test]
    fn a_wrong_field_is_shown_in_the_format() {
        let expected = "\
error: there is no field Name; there are: ID, Repository, Tag, Size
 --> --format:1:3
  |
1 | {{.Name}}
  |   ^^^^^";
        assert_eq!(text(Some("{{.Name}}"), false), expected);
    }
}
