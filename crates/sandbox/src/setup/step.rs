//! Naming the step that failed.

use std::io;
use std::path::Path;

use crate::error::{SetupError, SetupStep};

/// Turns the kernel's answer into an error that says what was being done.
pub(crate) trait Step<T> {
    /// Names the step.
    fn step(self, step: SetupStep) -> Result<T, SetupError>;
    /// Names the step and the path it was about.
    fn step_at(self, step: SetupStep, path: impl AsRef<Path>) -> Result<T, SetupError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: SetupStep) -> Result<T, SetupError> {
        self.map_err(|error| SetupError { step, path: None, errno: errno(error.into()) })
    }

    fn step_at(self, step: SetupStep, path: impl AsRef<Path>) -> Result<T, SetupError> {
        self.map_err(|error| SetupError {
            step,
            path: Some(path.as_ref().to_owned()),
            errno: errno(error.into()),
        })
    }
}

fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}
