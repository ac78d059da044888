//! From text to instructions.

use crate::command::{self, Command, Request};
use crate::directive::{Directives, Reader};
use crate::error::{Error, ErrorKind, Warning, WarningKind};
use crate::flag::Flag;
use crate::heredoc::{self, Heredoc};
use crate::json::{self, Json};
use crate::line::{Args, Line, Lines, Physical};
use crate::source::Source;
use crate::span::{Span, Word};
use crate::stage::Stages;
use crate::suggest::closest;
use crate::words;

/// Names longer than this are cut in messages.
const MAX_SHOWN: usize = 40;

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// What stands at the top.
    pub directives: Directives,
    /// The escape character that holds in the file.
    pub escape: char,
    /// In the order of the text.
    pub instructions: Vec<Instruction>,
    /// In the order in which they were noticed.
    pub warnings: Vec<Warning>,
}

/// One instruction with all that is known about its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub command: Command,
    /// The keyword as written.
    pub keyword: Word,
    /// The flags as written. The command holds them by name.
    pub flags: Vec<Flag>,
    /// The joined logical line, trimmed: for progress and history.
    pub text: String,
    /// The logical line, from the keyword to its last character.
    pub span: Span,
    /// All its lines, those of its here-documents too, without the last line end.
    pub full_span: Span,
    /// The comments above, behind any blank lines too, without the line's first character, which is the `#` of comments
    /// that are not indented. An empty comment line begins anew.
    pub comments: Vec<Word>,
}

/// Parses a Dockerfile. The first thing that is wrong ends it.
pub fn parse(source: &Source) -> Result<Dockerfile, Error> {
    let mut parser = Parser::new(source);
    let mut instructions = Vec::new();
    while let Some(instruction) = parser.instruction()? {
        instructions.push(instruction);
    }
    if instructions.is_empty() {
        let end = source.text().len();
        return Err(Error::new(ErrorKind::Empty, Span::new(end, end)).with_help("begin with FROM"));
    }
    let escape = parser.directives.escape();
    Ok(Dockerfile { directives: parser.directives.finish(), escape, instructions, warnings: parser.warnings })
}

/// What can be read of a Dockerfile with an error in it: the instructions before the error, and warnings about the lines of
/// the whole file. Nothing when the error is one of lines, which Docker sees before it looks at any instruction.
pub fn parse_partly(source: &Source) -> Option<Dockerfile> {
    let mut parser = Parser::new(source);
    let mut instructions = Vec::new();
    loop {
        match parser.instruction() {
            Ok(Some(instruction)) => instructions.push(instruction),
            Ok(None) => break,
            Err(error) if is_of_lines(error.kind()) => return None,
            Err(_) => {
                parser.skip_rest().ok()?;
                break;
            }
        }
    }
    let escape = parser.directives.escape();
    let warnings = parser.warnings;
    Some(Dockerfile { directives: parser.directives.finish(), escape, instructions, warnings })
}

fn is_of_lines(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnterminatedHeredoc { .. }
            | ErrorKind::MissingEquals { .. }
            | ErrorKind::JsonNotStrings { .. }
            | ErrorKind::DuplicateDirective { .. }
            | ErrorKind::BadEscape { .. }
            | ErrorKind::BadCheckOption { .. }
    )
}

/// Parses a trigger that a base image carries: exactly one instruction, perhaps with here-documents.
pub fn parse_onbuild(source: &Source) -> Result<Instruction, Error> {
    let mut instructions = parse(source)?.instructions;
    let count = instructions.len();
    let Some(instruction) = instructions.pop().filter(|_| count == 1) else {
        return Err(Error::new(ErrorKind::TriggerCount { count }, Span::new(0, source.text().len())));
    };
    match instruction.command {
        Command::From(_) | Command::Onbuild(_) | Command::Maintainer(_) => {
            let kind = ErrorKind::BadTrigger { instruction: instruction.command.name() };
            Err(Error::new(kind, instruction.keyword.span))
        }
        _ => Ok(instruction),
    }
}

impl Instruction {
    /// What the comments above say of a name that is defined here: the first that begins with it.
    pub fn description(&self, name: Option<&str>) -> Option<String> {
        let of_name = |comment: &Word| comment.text.strip_prefix(name?)?.strip_prefix(' ').map(str::to_owned);
        self.comments.iter().find_map(of_name)
    }
}

impl Dockerfile {
    /// Groups the instructions by stage.
    pub fn into_stages(self) -> Result<Stages, Error> {
        Stages::group(self.instructions)
    }
}

/// A logical line cut into keyword, flags and the rest.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) keyword: Word,
    /// The keyword in capitals.
    pub(crate) name: &'static str,
    pub(crate) flags: Vec<Flag>,
    pub(crate) args: Args<'a>,
}

impl<'a> Head<'a> {
    pub(crate) fn read(line: &Args<'a>, escape: char) -> Result<Self, Error> {
        let (keyword, rest) = words::split_keyword(line);
        let known = command::NAMES.iter().find(|name| keyword.text.eq_ignore_ascii_case(name));
        let Some(name) = known else { return Err(unknown_instruction(&keyword)) };
        let (flags, args) = words::flags(&rest, escape);
        Ok(Self { keyword, name, flags, args })
    }
}

fn unknown_instruction(keyword: &Word) -> Error {
    let text = keyword.text.as_str();
    let capitals = text.to_uppercase();
    let is_rule = |mark: char| text.len() >= 3 && text.chars().all(|character| character == mark);
    let help = if ['-', '=', '*', '_', '~'].into_iter().any(is_rule) {
        "this looks like a Markdown or YAML rule left over from a document: delete the line".to_owned()
    } else if text.starts_with("```") {
        "this looks like the fence of a Markdown code block: delete the line".to_owned()
    } else if text.starts_with("//") || text.starts_with(';') {
        "comments begin with `#`".to_owned()
    } else if let Some(name) = closest(&capitals, &command::NAMES) {
        let name = if text == text.to_lowercase() { name.to_lowercase() } else { name.to_owned() };
        format!("did you mean `{name}`?")
    } else {
        "if this continues the instruction above, end the line above with the escape character".to_owned()
    };
    let mut name = shown(text.chars().take(MAX_SHOWN));
    if text.chars().nth(MAX_SHOWN).is_some() {
        name.push('…');
    }
    Error::new(ErrorKind::UnknownInstruction { name }, keyword.span).with_help(help)
}

/// Characters for a message: what no terminal should get is escaped.
pub(crate) fn shown(characters: impl Iterator<Item = char>) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    characters.map(escaped).collect()
}

struct Parser<'a> {
    lines: Lines<'a>,
    directives: Reader,
    comments: Vec<Word>,
    warnings: Vec<Warning>,
    /// The first blank line of the current instruction.
    empty_line: Option<Span>,
}

impl<'a> Parser<'a> {
    fn new(source: &'a Source) -> Self {
        let lines = Lines::new(source.text());
        let directives = Reader::default();
        Self { lines, directives, comments: Vec::new(), warnings: Vec::new(), empty_line: None }
    }

    /// The next instruction, if there is one.
    fn instruction(&mut self) -> Result<Option<Instruction>, Error> {
        let Some(line) = self.logical_line()? else { return Ok(None) };
        let args = line.args();
        let escape = self.directives.escape();
        let head = Head::read(&args, escape)?;
        let heredocs = self.heredocs(&args, &head, escape)?;
        let end = self.lines.consumed().max(args.span().end);
        let (keyword, flags) = (head.keyword.clone(), head.flags.clone());
        let request = Request {
            name: head.name,
            keyword: keyword.span,
            flags: head.flags,
            args: head.args,
            heredocs,
            escape,
            warnings: &mut self.warnings,
        };
        Ok(Some(Instruction {
            command: Command::read(request)?,
            keyword,
            flags,
            text: args.text().to_owned(),
            span: args.span(),
            full_span: Span::new(args.span().start, end),
            comments: std::mem::take(&mut self.comments),
        }))
    }

    /// Reads the lines up to the end for their warnings alone.
    fn skip_rest(&mut self) -> Result<(), Error> {
        while let Some(line) = self.logical_line()? {
            let (args, escape) = (line.args(), self.directives.escape());
            if let Ok(head) = Head::read(&args, escape) {
                self.heredocs(&args, &head, escape)?;
            }
        }
        Ok(())
    }

    /// The next line that says something, with its continuations.
    fn logical_line(&mut self) -> Result<Option<Line>, Error> {
        while let Some(physical) = self.lines.next() {
            let whole = physical.trim_end();
            let line = whole.trim_start();
            let is_directive = self.directives.read(line, &mut self.warnings)?;
            if line.is_comment() {
                if !is_directive {
                    self.comment(whole);
                }
                continue;
            }
            let joined = self.join(line);
            if let Some(empty) = self.empty_line.take() {
                let kind = WarningKind::EmptyContinuation { end: self.lines.consumed() };
                self.warnings.push(Warning::new(kind, empty));
            }
            if !joined.args().is_empty() {
                return Ok(Some(joined));
            }
        }
        Ok(None)
    }

    fn comment(&mut self, line: Physical<'_>) {
        // Docker takes the first character of the line away, whatever it is.
        let mut text = line.text.chars();
        text.next();
        let text = text.as_str();
        let body = text.trim();
        if body.is_empty() {
            return self.comments.clear();
        }
        let start = line.offset + line.text.len() - text.trim_start().len();
        self.comments.push(Word::new(body, Span::new(start, start + body.len())));
    }

    /// Appends the following lines as long as there is a continuation character. Comments between them vanish.
    fn join(&mut self, first: Physical<'a>) -> Line {
        let escape = self.directives.escape();
        let mut line = Line::default();
        let mut current = first;
        while let Some(part) = current.before_continuation(escape) {
            line.push(part.text, part.offset);
            let Some(next) = self.continuation() else { return line };
            current = next;
        }
        line.push(current.text, current.offset);
        line
    }

    /// The next line that is neither comment nor blank.
    fn continuation(&mut self) -> Option<Physical<'a>> {
        loop {
            let line = self.lines.next()?.trim_end();
            if line.is_comment() {
                continue;
            }
            if !line.text.trim().is_empty() {
                return Some(line);
            }
            self.empty_line.get_or_insert(Span::new(line.offset, line.offset + line.text.len()));
        }
    }

    /// The here-documents of ADD, COPY and RUN (also behind ONBUILD) that are not in exec form.
    fn heredocs(&mut self, line: &Args<'_>, head: &Head<'_>, escape: char) -> Result<Vec<Heredoc>, Error> {
        let inner = (head.name == "ONBUILD" && !head.args.is_empty())
            .then(|| Head::read(&head.args, escape))
            .transpose()?;
        let carrier = inner.as_ref().unwrap_or(head);
        if !matches!(carrier.name, "ADD" | "COPY" | "RUN")
            || matches!(json::read(&carrier.args), Json::Strings(_))
        {
            return Ok(Vec::new());
        }
        let heads = heredoc::Head::read_all(line.text(), line.span())?;
        heads.into_iter().map(|head| self.body(head, line.span())).collect()
    }

    /// The lines up to the one that ends the document.
    fn body(&mut self, head: heredoc::Head, instruction: Span) -> Result<Heredoc, Error> {
        let mut body = String::new();
        let mut span: Option<Span> = None;
        let mut almost = false;
        for line in self.lines.by_ref() {
            let here = Span::new(line.offset, line.offset + line.text.len());
            if head.ends_at(line.text) {
                let body_span = span.unwrap_or(Span::new(line.offset, line.offset));
                let heredoc::Head { name, expand, strip_tabs, descriptor } = head;
                return Ok(Heredoc { name, expand, strip_tabs, descriptor, body, body_span });
            }
            almost |= line.text.trim() == head.name;
            body.push_str(line.text);
            span = Some(span.map_or(here, |span| span.to(here)));
        }
        let name = head.name;
        let help = if almost {
            format!(
                "the line `{name}` that should end it has blanks around it; `<<-{name}` allows tabs before it"
            )
        } else {
            format!("add a line that holds `{name}` and nothing else")
        };
        Err(Error::new(ErrorKind::UnterminatedHeredoc { name }, instruction).with_help(help))
    }
}
