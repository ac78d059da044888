//! What all answers have in common: buildx's JSON, so that editors and scripts made for it read ours.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use galley_engine::plan::PlanOptions;
use serde::Serialize;

/// Where something stands.
#[derive(Debug, Default, Serialize)]
pub(super) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    line: usize,
}

impl Location {
    /// The first and the last line.
    pub(super) fn lines((first, last): (usize, usize)) -> Self {
        Self { ranges: vec![Range { start: Position { line: first }, end: Position { line: last } }] }
    }
}

/// The Dockerfile itself, as bytes are in JSON.
pub(super) fn source(options: &PlanOptions) -> String {
    STANDARD.encode(&options.dockerfile)
}
