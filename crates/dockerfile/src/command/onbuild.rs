//! ONBUILD.

use super::{Command, Request};
use crate::error::{Error, ErrorKind};
use crate::heredoc::Heredoc;
use crate::parser::{Head, Instruction};
use std::fmt::Write as _;

/// `ONBUILD instruction`: stored in the image, run by the build that uses the image as a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// What goes into the image's config: the trigger's joined line with the blanks at its end (as in Docker, the
    /// image's digest hangs on it), and its here-documents.
    pub expression: String,
    /// The trigger, read and checked.
    pub trigger: Box<Instruction>,
}

impl Onbuild {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let args = request.plain_args("an instruction")?;
        let expression = expression(args.to_line_end(), &request.heredocs);
        let head = Head::read(&args, request.escape)?;
        if matches!(head.name, "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(Error::new(ErrorKind::BadTrigger { instruction: head.name }, head.keyword.span));
        }
        let (keyword, flags) = (head.keyword.clone(), head.flags.clone());
        let command = Command::read(Request {
            name: head.name,
            keyword: head.keyword.span,
            flags: head.flags,
            args: head.args,
            heredocs: std::mem::take(&mut request.heredocs),
            escape: request.escape,
            warnings: request.warnings,
        })?;
        let trigger = Instruction {
            command,
            keyword,
            flags,
            text: args.text().to_owned(),
            span: args.span(),
            full_span: args.span(),
            comments: Vec::new(),
        };
        Ok(Self { expression, trigger: Box::new(trigger) })
    }
}

fn expression(line: &str, heredocs: &[Heredoc]) -> String {
    let mut expression = line.to_owned();
    for heredoc in heredocs {
        // ok: writing to a String cannot fail
        let _ = write!(expression, "\n{}{}", heredoc.body, heredoc.name);
    }
    expression
}
