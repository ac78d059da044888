//! Everything galley takes from its environment, in one place; no other module reads it.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Whether layers may be packed.
const PACKED: &str = "GALLEY_PACKED";
/// The rung that an ordinary user is put on; `galley_sandbox::userns` reads it.
const RUNG: &str = "GALLEY_RUNG";
const ONE_ID: &str = "single-id";

/// Every variable that means something to galley, with what it means (part of `galley --help`).
pub(crate) const VARIABLES: [(&str, &str); 12] = [
    ("GALLEY_ROOT", "the directory of the store, unless --root says"),
    (PACKED, "`0`: layers of images are unpacked to directories, even where Linux mounts them as files"),
    ("GALLEY_STORE_LIMIT", "the size that the store is kept to: 20GB, or none"),
    (RUNG, "`single-id`: an ordinary user gets one id, even with ranges of them"),
    ("XDG_DATA_HOME, HOME", "where an ordinary user's store is"),
    ("SOURCE_DATE_EPOCH", "the time of the image, in seconds since 1970"),
    ("BUILDKIT_PROGRESS", "as --progress"),
    ("DOCKER_DEFAULT_PLATFORM", "as --platform of build, pull, run, create and import"),
    ("NO_COLOR, CLICOLOR_FORCE", "colours"),
    ("TERM", "`dumb`: nothing is drawn in place"),
    ("DOCKER_HOST, DOCKER_CONTEXT", "get a warning: there is no daemon"),
    ("any NAME", "for --build-arg, --secret and --env"),
];

/// The variables and the name this program was called by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// Called as `docker`.
    pub(crate) as_docker: bool,
    variables: Vec<(OsString, OsString)>,
    /// The effective user is root of the machine or of its user namespace.
    pub(crate) is_root: bool,
}

impl Environment {
    /// The real one.
    pub(crate) fn read(program: Option<&OsStr>) -> Self {
        Self {
            as_docker: program.and_then(|program| Path::new(program).file_name())
                == Some(OsStr::new("docker")),
            variables: std::env::vars_os().collect(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// One for tests.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// `--config`: as if `DOCKER_CONFIG` were this directory, and nothing said anything else.
    pub(crate) fn use_logins_of(&mut self, directory: &OsStr) {
        const OTHERS: [&str; 3] = ["DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"];
        self.variables.retain(|(name, _)| OTHERS.iter().all(|other| name != other));
        self.variables.push(("DOCKER_CONFIG".into(), directory.to_owned()));
    }

    /// All of them, to be handed on.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// This process runs inside the user namespace that another galley made for it.
    pub(crate) fn inside_namespace(&self) -> bool {
        use galley_sandbox::userns::{MARKER, in_user_namespace};
        self.raw(MARKER).is_some() && in_user_namespace()
    }

    /// What galley calls itself in messages.
    pub(crate) const fn program(&self) -> &'static str {
        if self.as_docker { "docker" } else { "galley" }
    }

    /// A variable that is set, maybe to nothing.
    pub(crate) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// A variable that is set, as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// A variable that is set to something.
    pub(crate) fn nonempty(&self, name: &str) -> Option<&OsStr> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// Whether layers may be packed, where the kernel mounts that.
    pub(crate) fn may_pack(&self) -> bool {
        self.raw(PACKED) != Some(OsStr::new("0"))
    }

    /// What is wrong with how that was asked for.
    pub(crate) fn packed_complaint(&self) -> Option<String> {
        let value = self.nonempty(PACKED).filter(|value| *value != "0" && *value != "1")?;
        Some(format!("{PACKED}: {value:?} is neither 0 nor 1"))
    }

    /// Whether an ordinary user is to have one id, whatever there is.
    pub(crate) fn wants_one_id(&self) -> bool {
        self.nonempty(RUNG).is_some_and(|value| value == ONE_ID)
    }

    /// What is wrong with the rung that was asked for, and what helps.
    pub(crate) fn rung_complaint(&self) -> Option<(String, &'static str)> {
        let value = self.nonempty(RUNG)?;
        if value != ONE_ID {
            let help = "write single-id, or unset it: galley then finds the best one itself";
            return Some((format!("{RUNG}: {value:?} is no rung that can be asked for"), help));
        }
        let help = "run galley as an ordinary user, or unset it";
        self.is_root.then(|| (format!("{RUNG}={ONE_ID} is not used: root has all ids"), help))
    }

    /// Where the store is: `--root`, `$GALLEY_ROOT`, else by user.
    pub(crate) fn store_root(&self, flag: Option<&Path>) -> Option<PathBuf> {
        if let Some(root) = flag.or_else(|| self.nonempty("GALLEY_ROOT").map(Path::new)) {
            return Some(root.to_owned());
        }
        if self.is_root {
            return Some(PathBuf::from("/var/lib/galley"));
        }
        let data = self.nonempty("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || self.nonempty("HOME").map(|home| Path::new(home).join(".local/share"));
        data.or_else(home).map(|data| data.join("galley"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_logins_that_is_named_is_the_only_one() {
        let mut environment =
            Environment::of(&[("DOCKER_CONFIG", "/a"), ("DOCKER_AUTH_CONFIG", "{}"), ("HOME", "/h")]);
        environment.use_logins_of(OsStr::new("/b"));
        let all: Vec<_> = environment.all().map(|(name, value)| (name.to_str(), value.to_str())).collect();
        assert_eq!(all, [(Some("HOME"), Some("/h")), (Some("DOCKER_CONFIG"), Some("/b"))]);
    }

    #[test]
    fn packed_is_on_or_off_and_anything_else_is_told() {
        let said = |value: &str| {
            let environment = Environment::of(&[("GALLEY_PACKED", value)]);
            (environment.may_pack(), environment.packed_complaint())
        };
        assert_eq!((said("0"), said("1"), said("")), ((false, None), (true, None), (true, None)));
        assert_eq!(said("maybe"), (true, Some("GALLEY_PACKED: \"maybe\" is neither 0 nor 1".to_owned())));
    }

    #[test]
    fn a_rung_that_is_none_is_told() {
        let said = |value, is_root| {
            let environment = Environment { is_root, ..Environment::of(&[("GALLEY_RUNG", value)]) };
            (environment.wants_one_id(), environment.rung_complaint().map(|(what, _)| what))
        };
        assert_eq!((said("single-id", false), said("", true)), ((true, None), (false, None)));
        let none = "GALLEY_RUNG: \"pod\" is no rung that can be asked for".to_owned();
        assert_eq!(said("pod", false), (false, Some(none)));
        let unused = "GALLEY_RUNG=single-id is not used: root has all ids".to_owned();
        assert_eq!(said("single-id", true), (true, Some(unused)));
    }

    #[test]
    fn the_store_is_where_flag_variable_or_user_say() {
        let root = |flag: Option<&str>, variables: &[(&str, &str)], is_root| {
            let environment = Environment { is_root, ..Environment::of(variables) };
            environment.store_root(flag.map(Path::new)).map(|path| path.display().to_string())
        };
        let home = [("HOME", "/home/a"), ("GALLEY_ROOT", "")];
        assert_eq!(root(Some("/x"), &[("GALLEY_ROOT", "/y")], true).unwrap(), "/x");
        assert_eq!(root(None, &[("GALLEY_ROOT", "/y")], true).unwrap(), "/y");
        assert_eq!(root(None, &home, true).unwrap(), "/var/lib/galley");
        assert_eq!(root(None, &home, false).unwrap(), "/home/a/.local/share/galley");
        assert_eq!(root(None, &[("XDG_DATA_HOME", "/d"), ("HOME", "/h")], false).unwrap(), "/d/galley");
        assert_eq!(root(None, &[("XDG_DATA_HOME", "relative")], false), None);
    }

    #[test]
    fn the_name_docker_is_known_by_any_path() {
        for (name, docker) in
            [("docker", true), ("/usr/bin/docker", true), ("galley", false), ("dockerd", false)]
        {
            assert_eq!(Environment::read(Some(OsStr::new(name))).as_docker, docker, "{name}");
        }
    }
}
