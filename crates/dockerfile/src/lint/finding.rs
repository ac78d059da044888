//! What a rule found.

use super::Rule;
use crate::parser::Instruction;
use crate::span::Span;

/// One place that a rule does not like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: &'static Rule,
    /// What is there and what comes of it: lower case, no full stop.
    pub detail: String,
    /// What is drawn: the word that is meant.
    pub span: Span,
    /// The whole instruction, whose lines are reported, as Docker does.
    pub instruction: Span,
    /// What to do.
    pub help: String,
    /// How the text would be better, when that is certain.
    pub fix: Option<Fix>,
}

/// A change of the Dockerfile that keeps the meaning that was intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// None overlaps another.
    pub edits: Vec<Edit>,
    /// What it does, for the person who has to agree.
    pub note: String,
    /// The image stays the same. Other fixes are made only when they are asked for by the rule's name.
    pub safe: bool,
}

/// A text instead of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What goes; empty to insert.
    pub span: Span,
    /// What comes.
    pub text: String,
}

impl Finding {
    /// A finding inside an instruction.
    pub fn new(
        rule: &'static Rule,
        instruction: &Instruction,
        span: Span,
        detail: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let instruction = instruction.full_span;
        Self { rule, detail: detail.into(), span, instruction, help: help.into(), fix: None }
    }

    /// The same with a cure.
    #[must_use]
    pub fn with_fix(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

impl Fix {
    /// One text instead of another.
    pub fn replace(span: Span, text: impl Into<String>, note: impl Into<String>) -> Self {
        Self { edits: vec![Edit { span, text: text.into() }], note: note.into(), safe: true }
    }

    /// The same text behind each of some places; nothing without a place.
    pub fn insert_behind(places: Vec<Span>, text: &str, note: &str) -> Option<Self> {
        let edits =
            places.iter().map(|place| Edit { span: Span::new(place.end, place.end), text: text.to_owned() });
        let edits: Vec<Edit> = edits.collect();
        (!edits.is_empty()).then(|| Self { edits, note: note.to_owned(), safe: true })
    }

    /// The same fix for those who ask for it: the image becomes another one.
    #[must_use]
    pub fn on_request(self) -> Self {
        Self { safe: false, ..self }
    }

    /// The text with all edits made; nothing when they do not fit it.
    pub fn apply(&self, text: &str) -> Option<String> {
        let mut edits: Vec<&Edit> = self.edits.iter().collect();
        edits.sort_by_key(|edit| edit.span);
        let (mut fixed, mut at) = (String::new(), 0);
        for edit in edits {
            fixed.push_str(text.get(at..edit.span.start)?);
            fixed.push_str(&edit.text);
            at = edit.span.end;
        }
        fixed.push_str(text.get(at..)?);
        Some(fixed)
    }
}
