//! What this machine allows, found by trying: in the store's own folder, with the same code that runs the steps.
//!
//! A trial starts a sandbox whose program does not exist. When exec is what fails, everything before it works.

mod doctor;
mod memory;
mod trial;

pub use doctor::{Fact, Status, doctor};
pub use memory::{remember, remembered};
pub use trial::{Obstacle, Rung, Trial, mounts_packed, trial};

pub(crate) use doctor::find_program;
pub(crate) use trial::run;
