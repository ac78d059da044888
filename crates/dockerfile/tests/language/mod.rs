//! See the modules.

mod dump;
mod golden;
mod pages;
mod parsing;
mod properties;
mod rules;
mod speed;
