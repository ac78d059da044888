//! What can be wrong with a Dockerfile, and what looks wrong. Both know their place, so that the line can be drawn.

mod help;

use crate::span::Span;

/// An error at a place of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Box<ErrorKind>,
    span: Span,
    help: Option<String>,
}

impl Error {
    /// An error at a place.
    pub fn new(kind: ErrorKind, span: Span) -> Self {
        Self { kind: Box::new(kind), span, help: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What is wrong, as a value.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What is wrong, as a sentence.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// Where.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The short note for the marked place.
    pub fn label(&self) -> &'static str {
        self.kind.label()
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref().or_else(|| self.kind.help())
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(formatter)
    }
}

impl std::error::Error for Error {}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    // The file.
    /// A byte that is no part of a UTF-8 character.
    #[error("the file is not UTF-8 text: byte {byte:#04x}")]
    NotUtf8 {
        /// The first such byte.
        byte: u8,
    },
    /// Larger than any Dockerfile.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Only blank lines and comments.
    #[error("the Dockerfile has no instructions")]
    Empty,
    /// Instructions, but no stage.
    #[error("the Dockerfile has no FROM")]
    NoStage,
    /// The same directive twice.
    #[error("the parser directive `{name}` is given twice")]
    DuplicateDirective {
        /// The directive.
        name: String,
    },
    /// `# escape=` with something else than a backslash or a backtick.
    #[error("the escape character `{value}` is neither ` nor \\")]
    BadEscape {
        /// What was written.
        value: String,
    },
    /// `# check=` with an unknown option.
    #[error("the check option `{option}` is not valid")]
    BadCheckOption {
        /// What was written.
        option: String,
    },

    // Instructions and their shape.
    /// A first word that is no instruction.
    #[error("unknown instruction `{name}`")]
    UnknownInstruction {
        /// The word.
        name: String,
    },
    /// A flag that the instruction does not have.
    #[error("unknown flag `--{flag}` of {instruction}")]
    UnknownFlag {
        /// The instruction.
        instruction: &'static str,
        /// The flag without dashes.
        flag: String,
    },
    /// A flag that exists only in the labs front end.
    #[error("the flag `--{flag}` of {instruction} is experimental and not supported")]
    LabsFlag {
        /// The instruction.
        instruction: &'static str,
        /// The flag without dashes.
        flag: String,
    },
    /// A flag that may be given once.
    #[error("the flag `--{flag}` is given twice")]
    DuplicateFlag {
        /// The flag without dashes.
        flag: String,
    },
    /// `--flag` or `--flag=` where a value is needed.
    #[error("the flag `--{flag}` needs a value")]
    FlagWithoutValue {
        /// The flag without dashes.
        flag: String,
    },
    /// A switch with something else than true and false.
    #[error("the flag `--{flag}` takes true or false, not `{value}`")]
    FlagNotBoolean {
        /// The flag without dashes.
        flag: String,
        /// What was written.
        value: String,
    },
    /// A here-document without its end.
    #[error("the here-document `{name}` is not ended")]
    UnterminatedHeredoc {
        /// The word that should end it.
        name: String,
    },
    /// A here-document whose word cannot be read.
    #[error("the name of the here-document `{text}` cannot be read")]
    BadHeredocName {
        /// What was written.
        text: String,
    },
    /// `COPY a <<EOF`.
    #[error("{instruction} cannot copy into a here-document")]
    HeredocDestination {
        /// The instruction.
        instruction: &'static str,
    },
    /// An exec form with numbers, objects, … in it.
    #[error("the JSON array of {instruction} may hold strings only")]
    JsonNotStrings {
        /// The instruction.
        instruction: &'static str,
    },
    /// A shell form where only the exec form is possible.
    #[error("{instruction} takes a JSON array of strings only")]
    NotJson {
        /// The instruction.
        instruction: &'static str,
    },
    /// Nothing behind the keyword.
    #[error("{instruction} requires {what}")]
    MissingArgument {
        /// The instruction.
        instruction: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// A second argument where one is the limit.
    #[error("{instruction} takes {limit}, not more")]
    TooManyArguments {
        /// The instruction.
        instruction: &'static str,
        /// What it takes.
        limit: &'static str,
    },
    /// `=value`.
    #[error("{instruction} needs a name before `=`")]
    BlankName {
        /// The instruction.
        instruction: &'static str,
    },
    /// `ENV a=1 b`.
    #[error("{instruction} needs `name=value` pairs, but `{word}` has no `=`")]
    MissingEquals {
        /// The instruction.
        instruction: &'static str,
        /// The word.
        word: String,
    },
    /// `FROM a b`.
    #[error("FROM takes `image` or `image AS name`")]
    FromShape,
    /// `FROM a AS 1b`.
    #[error("`{name}` is not a valid name of a stage")]
    BadStageName {
        /// The name.
        name: String,
    },
    /// An instruction that needs a stage, before the first one.
    #[error("{instruction} before the first FROM")]
    BeforeFrom {
        /// The instruction.
        instruction: &'static str,
    },
    /// ONBUILD of something that cannot be a trigger.
    #[error("{instruction} cannot be a trigger of ONBUILD")]
    BadTrigger {
        /// The instruction.
        instruction: &'static str,
    },
    /// A stored trigger that is not one instruction.
    #[error("the stored ONBUILD trigger holds {count} instructions instead of one")]
    TriggerCount {
        /// How many.
        count: usize,
    },
    /// `VOLUME [""]`.
    #[error("VOLUME needs a path, not an empty string")]
    EmptyVolume,
    /// `HEALTHCHECK` with something else than NONE and CMD.
    #[error("unknown health check `{word}`")]
    HealthcheckKind {
        /// The word.
        word: String,
    },
    /// A flag whose values are a fixed set.
    #[error("{} is not a value of `--{flag}`", quoted(value))]
    BadFlagValue {
        /// The flag without dashes.
        flag: &'static str,
        /// What was written.
        value: String,
    },
    /// A variable where Docker knows the name of the stage before it knows any variable.
    #[error("`{place}` does not support variables")]
    VariableInFrom {
        /// The flag or key.
        place: &'static str,
    },

    // Expansion.
    /// `${a`.
    #[error("`}}` is missing in a substitution")]
    MissingBrace,
    /// `${a/b}`.
    #[error("`/` is missing in a substitution")]
    MissingSlash,
    /// `${}`, `${:…}`, `${{…`.
    #[error("bad substitution")]
    BadSubstitution,
    /// `${a=b}`.
    #[error("unsupported modifier `{modifier}` in a substitution")]
    UnsupportedModifier {
        /// What stands behind the name.
        modifier: String,
    },
    /// A quote that is not closed.
    #[error("the quote {quote} is not closed")]
    UnterminatedQuote {
        /// The quote.
        quote: char,
    },
    /// `${a:?message}`.
    #[error("{name}: {message}")]
    RequiredVariable {
        /// The variable.
        name: String,
        /// The message of the Dockerfile's author.
        message: String,
    },
    /// A pattern with an escape that makes no sense.
    #[error("invalid escape `{escape}` in the pattern `{pattern}`")]
    BadPatternEscape {
        /// The pattern.
        pattern: String,
        /// The escape.
        escape: String,
    },
    /// Too many `${…${…`.
    #[error("substitutions are nested deeper than {limit}")]
    NestedTooDeep {
        /// The limit.
        limit: usize,
    },
    /// A text that grows without end.
    #[error("the expanded text is longer than {limit} bytes")]
    ExpandedTooLong {
        /// The limit.
        limit: usize,
    },

    /// A pattern that would be tried for hours.
    #[error("the pattern takes more than {limit} comparisons on this value")]
    PatternTooSlow {
        /// The limit.
        limit: usize,
    },

    // Single values.
    /// A `--mount` that cannot be cut at its commas.
    #[error("the quotes of the mount `{text}` cannot be read")]
    MountQuotes {
        /// The mount.
        text: String,
    },
    /// A key that no mount has.
    #[error("unknown key `{key}` of a mount")]
    UnknownMountKey {
        /// The key.
        key: String,
    },
    /// A key that this kind of mount does not have.
    #[error("a {kind} mount has no `{key}`")]
    MountKeyNotAllowed {
        /// The mount's type.
        kind: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key without its value.
    #[error("the mount's key `{key}` needs a value")]
    MountKeyWithoutValue {
        /// The key.
        key: String,
    },
    /// A value that the key does not take.
    #[error("{} is not a value of the mount's key `{key}`", quoted(value))]
    BadMountValue {
        /// The key.
        key: &'static str,
        /// What was written.
        value: String,
    },
    /// A mount that lacks what its type needs.
    #[error("a {kind} mount needs {what}")]
    MountIncomplete {
        /// The mount's type.
        kind: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// `user:group` that cannot be.
    #[error("`{value}` is not a user, or user:group")]
    BadUser {
        /// What was written.
        value: String,
    },
    /// A mode that is neither octal nor symbolic.
    #[error("`{value}` is not a file mode")]
    BadMode {
        /// What was written.
        value: String,
    },
    /// A port that is none.
    #[error("`{value}` is not a port: {reason}")]
    BadPort {
        /// What was written.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// A duration that Go would not read.
    #[error("`{value}` is not a duration: {reason}")]
    BadDuration {
        /// What was written.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// A signal that Linux does not have.
    #[error("`{value}` is not a signal")]
    BadSignal {
        /// What was written.
        value: String,
    },
    /// A pattern of an ignore file or of COPY.
    #[error("`{pattern}` is not a valid pattern: {reason}")]
    BadPattern {
        /// What was written.
        pattern: String,
        /// Why.
        reason: &'static str,
    },
}

/// A value in messages.
fn quoted(value: &str) -> String {
    if value.is_empty() { "an empty text".to_owned() } else { format!("`{value}`") }
}

impl ErrorKind {
    /// The short note for the marked place.
    fn label(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "not UTF-8",
            Self::DuplicateDirective { .. } | Self::DuplicateFlag { .. } => "the second one",
            Self::UnknownInstruction { .. } => "not an instruction",
            Self::UnknownFlag { .. } => "not a flag of this instruction",
            Self::LabsFlag { .. } | Self::VariableInFrom { .. } | Self::UnsupportedModifier { .. } => {
                "not supported"
            }
            Self::FlagWithoutValue { .. } | Self::MountKeyWithoutValue { .. } => "value missing",
            Self::UnterminatedHeredoc { .. } => "never ended",
            Self::UnterminatedQuote { .. } | Self::MissingBrace | Self::MissingSlash => "never closed",
            Self::NotJson { .. } => "not a JSON array",
            Self::JsonNotStrings { .. } => "not only strings",
            Self::MissingArgument { .. } | Self::MountIncomplete { .. } => "incomplete",
            Self::TooManyArguments { .. } => "too many",
            Self::MissingEquals { .. } => "no `=`",
            Self::BadStageName { .. } => "not a valid name",
            Self::BeforeFrom { .. } => "no stage yet",
            Self::BadTrigger { .. } | Self::HeredocDestination { .. } => "not allowed here",
            Self::HealthcheckKind { .. } => "neither CMD nor NONE",
            Self::RequiredVariable { .. } => "required here",
            Self::UnknownMountKey { .. } => "not a key of a mount",
            Self::MountKeyNotAllowed { .. } => "not for this type",
            _ => "here",
        }
    }
}

/// Something that works, but not as its author may think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    kind: WarningKind,
    span: Span,
}

impl Warning {
    /// A warning at a place.
    pub fn new(kind: WarningKind, span: Span) -> Self {
        Self { kind, span }
    }

    /// What it is about, as a value.
    pub fn kind(&self) -> &WarningKind {
        &self.kind
    }

    /// What it is about, as a sentence.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// Where.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The short note for the marked place.
    pub fn label(&self) -> &'static str {
        match self.kind {
            WarningKind::CommentBehindUser { .. } => "ignored",
            WarningKind::EmptyContinuation { .. } => "empty line",
            WarningKind::JsonFellBack { .. } => "not valid JSON",
            WarningKind::EscapeBehindShebang => "has no effect",
            WarningKind::HashInArguments { .. } => "part of the value",
        }
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self.kind {
            WarningKind::CommentBehindUser { .. } | WarningKind::HashInArguments { .. } => {
                "put the comment on a line of its own: `#` begins a comment at the start of a line only"
            }
            WarningKind::EmptyContinuation { .. } => {
                "remove the empty line, or the continuation character before it"
            }
            WarningKind::JsonFellBack { .. } => {
                "the exec form is valid JSON with double quotes: [\"program\", \"argument\"]"
            }
            WarningKind::EscapeBehindShebang => "remove the `#!` line",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(formatter)
    }
}

/// What a warning is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarningKind {
    /// `USER 1:1 # nobody`: Docker takes the comment into the user's name, and the image cannot start.
    #[error("the comment `{comment}` behind USER is ignored; Docker would make it a part of the user's name")]
    CommentBehindUser {
        /// The comment.
        comment: String,
    },
    /// An empty line behind a continuation character.
    #[error("empty line inside an instruction; Docker plans to make this an error")]
    EmptyContinuation {
        /// Where the instruction ends: its last line is the one that Docker reports.
        end: usize,
    },
    /// `CMD ['a']`.
    #[error("the JSON array of {instruction} is not valid, so it is taken as plain text")]
    JsonFellBack {
        /// The instruction.
        instruction: &'static str,
    },
    /// `# escape=` behind a `#!` line.
    #[error("the escape directive behind a `#!` line has no effect, as in Docker")]
    EscapeBehindShebang,
    /// `WORKDIR /app # here`.
    #[error("`{comment}` is not a comment but a part of {instruction}'s value")]
    HashInArguments {
        /// The instruction.
        instruction: &'static str,
        /// What looks like a comment.
        comment: String,
    },
}
