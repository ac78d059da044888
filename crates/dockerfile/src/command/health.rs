//! HEALTHCHECK.

use super::{CommandLine, Request};
use crate::duration;
use crate::error::{Error, ErrorKind};
use crate::flag::{FlagKind, FlagSet};
use std::time::Duration;

/// `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD …`. A time that is zero or not given is inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: HealthcheckTest,
    /// `--interval`
    pub interval: Option<Duration>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--start-period`
    pub start_period: Option<Duration>,
    /// `--start-interval`
    pub start_interval: Option<Duration>,
    /// `--retries`
    pub retries: Option<u32>,
}

/// What a health check runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthcheckTest {
    /// Nothing, and an inherited check is switched off.
    None,
    /// In the config: `["CMD-SHELL", text]` or `["CMD", …]`.
    Command(CommandLine),
}

impl Healthcheck {
    pub(super) fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        let flags = request.take_flags(&[
            ("interval", FlagKind::Value),
            ("timeout", FlagKind::Value),
            ("start-period", FlagKind::Value),
            ("start-interval", FlagKind::Value),
            ("retries", FlagKind::Value),
        ])?;
        Ok(Self {
            test: HealthcheckTest::read(request)?,
            interval: time(&flags, "interval")?,
            timeout: time(&flags, "timeout")?,
            start_period: time(&flags, "start-period")?,
            start_interval: time(&flags, "start-interval")?,
            retries: retries(&flags)?,
        })
    }
}

impl HealthcheckTest {
    fn read(request: &mut Request<'_>) -> Result<Self, Error> {
        if request.args.is_empty() {
            return Err(request.missing("CMD or NONE"));
        }
        let text = request.args.text();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (kind, rest) = (request.args.part(0..end).word(), request.args.from(end).trim());
        if kind.text.eq_ignore_ascii_case("NONE") {
            if rest.is_empty() {
                return Ok(Self::None);
            }
            let kind = ErrorKind::TooManyArguments { instruction: request.name, limit: "NONE alone" };
            return Err(Error::new(kind, rest.span()));
        }
        if !kind.text.eq_ignore_ascii_case("CMD") {
            let span = kind.span;
            return Err(Error::new(ErrorKind::HealthcheckKind { word: kind.text }, span)
                .with_help("write HEALTHCHECK CMD command, or HEALTHCHECK NONE"));
        }
        let line = CommandLine::read(request, &rest)?;
        if line.is_empty() { Err(request.missing("a command behind CMD")) } else { Ok(Self::Command(line)) }
    }
}

/// Zero counts as not given; else at least a millisecond.
fn time(flags: &FlagSet, name: &'static str) -> Result<Option<Duration>, Error> {
    let Some(word) = flags.value(name).filter(|word| !word.text.is_empty()) else { return Ok(None) };
    let wrong = |reason| Error::new(ErrorKind::BadDuration { value: word.text.clone(), reason }, word.span);
    let nanoseconds = duration::parse(&word.text)
        .map_err(|reason| wrong(reason).with_help("write a number with a unit, such as 30s or 1m30s"))?;
    match u64::try_from(nanoseconds) {
        Ok(0) => Ok(None),
        Ok(nanoseconds) if nanoseconds >= 1_000_000 => Ok(Some(Duration::from_nanos(nanoseconds))),
        _ => Err(wrong("it is shorter than 1ms")),
    }
}

fn retries(flags: &FlagSet) -> Result<Option<u32>, Error> {
    let Some(word) = flags.value("retries").filter(|word| !word.text.is_empty()) else { return Ok(None) };
    let number = word.text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok());
    let wrong = || ErrorKind::BadFlagValue { flag: "retries", value: word.text.clone() };
    let number =
        number.ok_or_else(|| Error::new(wrong(), word.span).with_help("write a number, 0 or more"))?;
    Ok(Some(number).filter(|&number| number > 0))
}
