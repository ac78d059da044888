//! Checks of a container's health, run inside of it by its supervisor.

use std::{
    ffi::OsString,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use galley_sandbox::{Child, Handles};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::{
    ContainerConfig, ExecRequest, Health, exec,
    pipe::Pipe,
    watch::{Inside, Watch},
};
use crate::{Error, clock};

/// How many results are kept, and how much of what each wrote.
const LOG_MAX: usize = 5;
const OUTPUT_BYTES_MAX: usize = 4096;
/// The exit code of a check that could not be made, or took too long.
const NO_CODE: i32 = -1;

/// What is known of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthState {
    /// How it is.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<HealthResult>,
}

/// How a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// The last check succeeded.
    Healthy,
    /// Too many have failed.
    Unhealthy,
}

/// One check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// Zero is well.
    pub exit_code: i32,
    /// What it wrote, both streams.
    pub output: String,
}

impl HealthStatus {
    /// Docker's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl HealthState {
    /// Takes one result; `young` containers may fail.
    fn take(&mut self, result: HealthResult, health: &Health, young: bool) {
        if result.exit_code == 0 {
            (self.status, self.failing_streak) = (HealthStatus::Healthy, 0);
        } else if !(young && self.status == HealthStatus::Starting) {
            self.failing_streak += 1;
            if self.failing_streak >= health.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(result);
        let old = self.log.len().saturating_sub(LOG_MAX);
        self.log.drain(..old);
    }
}

impl Health {
    /// The program of a check.
    fn arguments(&self) -> Vec<String> {
        match self.test.split_first() {
            Some((kind, rest)) if kind == "CMD-SHELL" => self.shell.iter().chain(rest).cloned().collect(),
            Some((_, rest)) => rest.to_vec(),
            None => Vec::new(),
        }
    }
}

/// Checks until the program ends.
pub(super) fn check(inside: &Inside, config: &ContainerConfig, health: &Health, watch: &Watch) {
    let began = Instant::now();
    let mut state = HealthState::default();
    loop {
        let young = began.elapsed() < health.start_period;
        let early = young && state.status == HealthStatus::Starting;
        if !watch.runs_for(if early { health.start_interval } else { health.interval }) {
            return;
        }
        if watch.is_paused() {
            continue;
        }
        let start = clock::now().rfc3339();
        let young = began.elapsed() < health.start_period;
        let (exit_code, output) =
            probe(inside, config, health).unwrap_or_else(|error| (NO_CODE, said(&error)));
        let result = HealthResult { start, end: clock::now().rfc3339(), exit_code, output };
        state.take(result, health, young);
        // A disk that is full says nothing about the container.
        drop(watch.update(|written| written.health = Some(state.clone())));
    }
}

fn said(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{}{cause}", error.message)
}

fn probe(inside: &Inside, config: &ContainerConfig, health: &Health) -> Result<(i32, String), Error> {
    let mut spec = exec::spec(inside, config, &ExecRequest::default())?;
    spec.args = health.arguments().into_iter().map(OsString::from).collect();
    let Pipe { read, write } = Pipe::new()?;
    let output = Some(write.as_fd());
    let handles = Handles { stdout: output, stderr: output, ..Handles::default() };
    let child = match inside.spawner.join(&inside.child, &spec, handles) {
        Ok(child) => child,
        Err(error) => return Ok((NO_CODE, error.to_string())),
    };
    drop(write);
    let mut text = Vec::new();
    let in_time = listen(&child, &read, health.timeout, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    if !in_time {
        drop(child.kill_tree());
        return Ok((NO_CODE, format!("Health check exceeded timeout ({}): {text}", seconds(health.timeout))));
    }
    Ok((child.wait().map_or(NO_CODE, |outcome| outcome.exit.code()), text))
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// Reads what a check writes until it ends; `false` when that takes too long. What it leaves behind may hold the pipe open.
fn listen(child: &Child, read: &std::fs::File, timeout: Duration, text: &mut Vec<u8>) -> bool {
    let until = Instant::now() + timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut polled = [
            PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN),
            PollFd::from_borrowed_fd(read.as_fd(), PollFlags::IN),
        ];
        let polled_count = poll(&mut polled, Timespec::try_from(left).ok().as_ref());
        let (ended, readable) = (!polled[0].revents().is_empty(), !polled[1].revents().is_empty());
        match polled_count {
            Ok(0) if left.is_zero() || !ended => return false,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => {}
        }
        let more = readable && append(read, text);
        if ended && !more {
            return true;
        }
        if readable && !more {
            // Both streams are closed: only its end is of interest now.
            return child
                .wait_timeout(until.saturating_duration_since(Instant::now()))
                .is_ok_and(|it| it.is_some());
        }
    }
}

/// Reads once; `false` at the end.
fn append(mut read: &std::fs::File, text: &mut Vec<u8>) -> bool {
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    match io::Read::read(&mut read, &mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            let room = OUTPUT_BYTES_MAX.saturating_sub(text.len()).min(count);
            text.extend_from_slice(buffer.get(..room).unwrap_or_default());
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(codes: &[i32], young: bool) -> (HealthStatus, u32, usize) {
        let health = Health { retries: 3, ..Health::default() };
        let mut state = HealthState::default();
        for &exit_code in codes {
            state.take(HealthResult { exit_code, ..HealthResult::default() }, &health, young);
        }
        (state.status, state.failing_streak, state.log.len())
    }

    #[test]
    fn failures_in_a_row_count() {
        assert_eq!(after(&[], false), (HealthStatus::Starting, 0, 0));
        assert_eq!(after(&[1, 1], false), (HealthStatus::Starting, 2, 2));
        assert_eq!(after(&[1, 1, 0], false), (HealthStatus::Healthy, 0, 3));
        assert_eq!(after(&[0, 1, 1, 1], false), (HealthStatus::Unhealthy, 3, 4));
        assert_eq!(after(&[1; 9], false), (HealthStatus::Unhealthy, 9, 5), "five are kept");
    }

    #[test]
    fn the_start_period_forgives_until_the_first_success() {
        assert_eq!(after(&[1, 1, 1, 1], true), (HealthStatus::Starting, 0, 4));
        assert_eq!(after(&[0, 1, 1, 1], true), (HealthStatus::Unhealthy, 3, 4));
    }

    #[test]
    fn commands_go_through_the_shell() {
        let health = |test: &[&str]| Health {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            shell: vec!["/bin/sh".into(), "-c".into()],
            ..Health::default()
        };
        assert_eq!(health(&["CMD-SHELL", "a | b"]).arguments(), ["/bin/sh", "-c", "a | b"]);
        assert_eq!(health(&["CMD", "a", "b"]).arguments(), ["a", "b"]);
    }
}
