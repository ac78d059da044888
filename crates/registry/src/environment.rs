//! What settings depend on besides files: variables, the home directory, the user. Given by whoever starts the client,
//! since libraries never ask the process they run in.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::RegistryError;

type Variables = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// What settings depend on besides files.
#[derive(Clone)]
pub struct Environment {
    variables: Variables,
    home: Option<PathBuf>,
    uid: u32,
    root: PathBuf,
}

impl Environment {
    /// Variables by name, the user's home directory, the effective user id.
    #[must_use]
    pub fn new(
        variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        home: Option<PathBuf>,
        uid: u32,
    ) -> Self {
        Self { variables: Arc::new(variables), home, uid, root: PathBuf::from("/") }
    }

    /// With `/etc`, `/run` and `/var` of another folder: for tests.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        (self.variables)(name).filter(|value| !value.is_empty())
    }

    /// A variable as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from)
    }

    /// A variable as text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, RegistryError> {
        let Some(value) = self.variable(name) else { return Ok(None) };
        let not_text = |_| RegistryError::Setting {
            what: format!("${name}"),
            reason: "it is not UTF-8: set it again, or unset it".to_owned(),
        };
        value.into_string().map(Some).map_err(not_text)
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Where the user's settings are: `$XDG_CONFIG_HOME`, else `~/.config`.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME").or_else(|| Some(self.home()?.join(".config")))
    }

    /// The effective user id.
    pub(crate) const fn uid(&self) -> u32 {
        self.uid
    }

    /// A file of the system; `path` without its leading slash.
    pub(crate) fn system(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut environment = f.debug_struct("Environment");
        environment.field("home", &self.home).field("uid", &self.uid).field("root", &self.root);
        environment.finish_non_exhaustive()
    }
}

/// An environment of its own for each test.
#[cfg(test)]
pub(crate) fn of(variables: &[(&str, &str)], root: &Path) -> Environment {
    let variables: Vec<(String, OsString)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    let find =
        move |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    Environment::new(find, Some(root.join("home")), 1000).with_root(root)
}
