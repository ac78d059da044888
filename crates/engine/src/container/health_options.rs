//! From an image's HEALTHCHECK and what was typed to the checks of a container.

use std::time::Duration;

use galley_oci::RunConfig;

use super::Health;
use crate::{Error, ErrorKind};

/// What docker does when nothing else is said.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// The shell of an image that names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// `--health-cmd` and its companions; what is not given is the image's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// No checks, whatever the image says.
    pub off: bool,
    /// A command for the shell.
    pub command: Option<String>,
    /// Between checks.
    pub interval: Option<Duration>,
    /// After which a check has failed.
    pub timeout: Option<Duration>,
    /// In which failures do not count.
    pub start_period: Option<Duration>,
    /// Between checks in the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
}

impl HealthOptions {
    /// The checks of a container; none when there are none.
    pub(super) fn resolve(&self, image: &RunConfig) -> Result<Option<Health>, Error> {
        if self.off {
            if *self != (Self { off: true, ..Self::default() }) {
                let message = "--no-healthcheck and the --health flags contradict each other";
                return Err(Error::new(ErrorKind::Usage, message));
            }
            return Ok(None);
        }
        let of_image = image.healthcheck.clone().unwrap_or_default();
        let test = match &self.command {
            Some(command) => vec!["CMD-SHELL".to_owned(), command.clone()],
            None => of_image.test,
        };
        if test.first().is_none_or(|kind| kind == "NONE") {
            return Ok(None);
        }
        let shell =
            if image.shell.is_empty() { SHELL.map(str::to_owned).to_vec() } else { image.shell.clone() };
        let time = |given: Option<Duration>, of_image: i64, usual: Duration| {
            let of_image = u64::try_from(of_image).ok().filter(|time| *time > 0).map(Duration::from_nanos);
            given.filter(|time| !time.is_zero()).or(of_image).unwrap_or(usual)
        };
        let of_image_retries = u32::try_from(of_image.retries).ok();
        let retries = self.retries.or(of_image_retries).filter(|count| *count > 0).unwrap_or(RETRIES);
        Ok(Some(Health {
            test,
            shell,
            interval: time(self.interval, of_image.interval, INTERVAL),
            timeout: time(self.timeout, of_image.timeout, TIMEOUT),
            start_period: time(self.start_period, of_image.start_period, Duration::ZERO),
            start_interval: time(self.start_interval, of_image.start_interval, START_INTERVAL),
            retries,
        }))
    }
}

#[cfg(test)]
mod tests {
    use galley_oci::Healthcheck;

    use super::*;

    fn image(test: &[&str]) -> RunConfig {
        let test = test.iter().map(|word| (*word).to_owned()).collect();
        let healthcheck = Healthcheck { test, interval: 7_000_000_000, retries: 9, ..Healthcheck::default() };
        RunConfig { healthcheck: Some(healthcheck), ..RunConfig::default() }
    }

    #[test]
    fn what_is_typed_wins_over_the_image_and_that_over_the_usual() {
        let typed = HealthOptions { timeout: Some(Duration::from_secs(1)), ..HealthOptions::default() };
        let health = typed.resolve(&image(&["CMD", "true"])).unwrap().unwrap();
        assert_eq!(health.test, ["CMD", "true"]);
        let times = [health.interval, health.timeout, health.start_period, health.start_interval];
        assert_eq!(times.map(|time| time.as_secs()), [7, 1, 0, 5]);
        assert_eq!(health.retries, 9);
        let typed = HealthOptions { command: Some("x".into()), ..HealthOptions::default() };
        let health = typed.resolve(&RunConfig::default()).unwrap().unwrap();
        assert_eq!((health.test, health.retries), (vec!["CMD-SHELL".to_owned(), "x".to_owned()], 3));
    }

    #[test]
    fn no_checks() {
        let none = HealthOptions::default();
        assert_eq!(none.resolve(&RunConfig::default()).unwrap(), None);
        assert_eq!(none.resolve(&image(&["NONE"])).unwrap(), None);
        let off = HealthOptions { off: true, ..HealthOptions::default() };
        assert_eq!(off.resolve(&image(&["CMD", "true"])).unwrap(), None);
        let both = HealthOptions { command: Some("x".into()), ..off };
        assert!(both.resolve(&RunConfig::default()).is_err());
    }
}
