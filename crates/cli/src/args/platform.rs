//! `--platform` of commands that take a single one, and the variable that speaks when the flag does not.

use std::str::FromStr;

use galley_engine::{Error, ErrorKind};
use galley_oci::Platform;

use crate::environment::Environment;

/// docker's default of `--platform` for `build`, `pull`, `run`, `create` and `import`.
pub(crate) const VARIABLE: &str = "DOCKER_DEFAULT_PLATFORM";

/// What was typed; an empty value means this machine, as in docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlatformArg(pub(crate) Option<Platform>);

impl FromStr for PlatformArg {
    type Err = <Platform as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|platform| Self(Some(platform))) }
    }
}

/// The platform of the flag, without it that of the variable.
pub(crate) fn chosen(
    flag: Option<&PlatformArg>,
    environment: &Environment,
) -> Result<Option<Platform>, Error> {
    if let Some(PlatformArg(platform)) = flag {
        return Ok(platform.clone());
    }
    let text = environment.text(VARIABLE).unwrap_or_default();
    let parsed = text.parse().map(|PlatformArg(platform)| platform);
    parsed.map_err(|error| {
        Error::new(ErrorKind::Usage, format!("{VARIABLE}={text} is not a platform")).because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_speaks_when_the_flag_does_not() {
        let shown = |flag: Option<&str>, variable: &str| {
            let flag = flag.map(|text| text.parse::<PlatformArg>().unwrap());
            let platform = chosen(flag.as_ref(), &Environment::of(&[(VARIABLE, variable)]));
            platform.map(|platform| platform.map(|platform| platform.to_string()))
        };
        assert_eq!(shown(None, "linux/s390x").unwrap().unwrap(), "linux/s390x");
        assert_eq!(shown(Some("linux/arm64"), "linux/s390x").unwrap().unwrap(), "linux/arm64");
        assert_eq!(shown(Some(""), "linux/s390x").unwrap(), None);
        assert_eq!(shown(None, "").unwrap(), None);
        let error = shown(None, "pdp11").unwrap_err();
        assert_eq!(error.message, "DOCKER_DEFAULT_PLATFORM=pdp11 is not a platform");
        assert_eq!(chosen(None, &Environment::of(&[])).unwrap(), None);
    }
}
