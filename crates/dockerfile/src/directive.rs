//! Parser directives: `# syntax=`, `# escape=`, `# check=` at the very top of the file.

use crate::error::{Error, ErrorKind, Warning, WarningKind};
use crate::line::Physical;
use crate::span::{Span, Word};

/// As many options as there are: what follows the last `;` is part of the third.
const OPTIONS_MAX: usize = 3;

/// The escape character of a Dockerfile that does not set one.
pub const DEFAULT_ESCAPE: char = '\\';

/// The options of `# check=`, for messages.
pub const OPTIONS_HELP: &str =
    "known are skip=RULE,…|all, experimental=RULE,…|all and error=true, separated by `;`";

/// The directives of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: which front end Docker would load. galley has one front end and loads none.
    pub syntax: Option<Word>,
    /// `# escape=`, checked: one backslash or one backtick.
    pub escape: Option<Word>,
    /// `# check=`
    pub check: Option<Check>,
}

/// `# check=skip=A,B;error=true;experimental=all`: which lint rules run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// All rules are off.
    pub skip_all: bool,
    /// These rules are off.
    pub skip: Vec<String>,
    /// All experimental rules are on.
    pub experimental_all: bool,
    /// These experimental rules are on.
    pub experimental: Vec<String>,
    /// A finding fails the build.
    pub error: bool,
}

impl Check {
    /// Reads the value of the directive, or of the build argument BUILDKIT_DOCKERFILE_CHECK. The error is the option
    /// that is not valid.
    pub fn parse(value: &str) -> Result<Self, String> {
        let mut check = Self::default();
        if value.trim().is_empty() {
            return Ok(check);
        }
        for option in value.trim().splitn(OPTIONS_MAX, ';') {
            let (key, value) = option.split_once('=').ok_or(option)?;
            let value = value.trim();
            let list = || value.split(',').map(|rule| rule.trim().to_owned()).collect();
            match (key.trim(), value) {
                ("skip", "all") => check.skip_all = true,
                ("skip", _) => check.skip = list(),
                ("experimental", "all") => check.experimental_all = true,
                ("experimental", _) => check.experimental = list(),
                ("error", _) => check.error = crate::mount::boolean(value).ok_or(option)?,
                _ => return Err(option.to_owned()),
            }
        }
        Ok(check)
    }
}

/// Reads lines as long as they are directives.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    directives: Directives,
    shebang: bool,
    lines: usize,
    done: bool,
}

impl Reader {
    /// Whether the (trimmed) line is a directive. The first line that is none ends them, blank lines included; only a
    /// `#!` line at the very top does not.
    pub(crate) fn read(&mut self, line: Physical<'_>, warnings: &mut Vec<Warning>) -> Result<bool, Error> {
        self.lines += 1;
        if self.lines == 1 && line.text.starts_with("#!") {
            self.shebang = true;
            return Ok(false);
        }
        let Some((key, value)) = split(line).filter(|_| !self.done) else {
            self.done = true;
            return Ok(false);
        };
        let span = Span::new(line.offset, value.span.end);
        match key.as_str() {
            "syntax" => once(&mut self.directives.syntax, "syntax", first_word(value), span)?,
            "escape" if self.shebang => warnings.push(Warning::new(WarningKind::EscapeBehindShebang, span)),
            "escape" => once(&mut self.directives.escape, "escape", escape(value)?, span)?,
            "check" => once(&mut self.directives.check, "check", check(value)?, span)?,
            _ => {
                self.done = true;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The escape character so far.
    pub(crate) fn escape(&self) -> char {
        let escape = self.directives.escape.as_ref();
        escape.and_then(|word| word.text.chars().next()).unwrap_or(DEFAULT_ESCAPE)
    }

    pub(crate) fn finish(self) -> Directives {
        self.directives
    }
}

/// Key in lower case, and value, of `# key = value`.
fn split(line: Physical<'_>) -> Option<(String, Word)> {
    let (key, value) = line.text.strip_prefix('#')?.split_once('=')?;
    let key = key.trim();
    let well_formed = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.chars().all(|character| character.is_ascii_alphanumeric());
    let behind = value.trim_start();
    let start = line.offset + line.text.len() - behind.len();
    let value = behind.trim_end();
    let span = Span::new(start, start + value.len());
    (well_formed && !value.is_empty()).then(|| (key.to_ascii_lowercase(), Word::new(value, span)))
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T, span: Span) -> Result<(), Error> {
    if slot.replace(value).is_some() {
        return Err(Error::new(ErrorKind::DuplicateDirective { name: name.to_owned() }, span)
            .with_help("keep one of the two"));
    }
    Ok(())
}

fn first_word(value: Word) -> Word {
    let end = value.text.find(' ').unwrap_or(value.text.len());
    let text = value.text.get(..end).unwrap_or_default();
    Word::new(text, value.part(0..end))
}

fn escape(value: Word) -> Result<Word, Error> {
    if matches!(value.text.as_str(), "\\" | "`") {
        return Ok(value);
    }
    Err(Error::new(ErrorKind::BadEscape { value: value.text }, value.span))
}

fn check(value: Word) -> Result<Check, Error> {
    let value = first_word(value);
    Check::parse(&value.text).map_err(|option| {
        Error::new(ErrorKind::BadCheckOption { option }, value.span).with_help(OPTIONS_HELP)
    })
}
