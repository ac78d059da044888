//! What happened in a build, after it: the events once more, understood as a whole.
//!
//! ```text
//! events ─▶ Story ─┬─ lines ─▶ the store, `galley report` ─┐
//!                  └──────────────────▶ Model ◀────────────┘
//!                                         ├─▶ trace
//!                                         └─▶ page
//! ```

mod collect;
mod lines;
mod model;
mod path;
#[cfg(test)]
pub(crate) mod tests;
mod trace;

pub(crate) use self::{
    collect::Story,
    lines::{Head, read, read_head, write},
    model::{LogText, Model, Span, StepView, Way},
    path::CriticalPath,
    trace::trace,
};
