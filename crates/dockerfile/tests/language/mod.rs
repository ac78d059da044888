//! See the modules.

mod dump;
mod golden;
mod parsing;
mod properties;
mod rules;
mod speed;
