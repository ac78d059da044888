//! What every command gets: the environment and where the store is.

use std::{path::PathBuf, sync::Once};

use galley_engine::{Error, ErrorKind, clock};
use galley_oci::Time;
use galley_sandbox::probe::mounts_packed;
use galley_store::{OpenOptions, Store};

use crate::{environment::Environment, failure::Failure, message, namespace};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// `--insecure-registry`.
    pub(crate) insecure_registries: Vec<String>,
    /// When the command began; inside of the user namespace, when it began outside.
    pub(crate) started: Time,
}

impl Context {
    /// That of a command that begins now, or has just come inside.
    pub(crate) fn new(
        environment: Environment,
        root: Option<PathBuf>,
        insecure_registries: Vec<String>,
    ) -> Self {
        let started = namespace::started(&environment).unwrap_or_else(clock::now);
        Self { environment, root, insecure_registries, started }
    }

    /// The directory of the store.
    pub(crate) fn root(&self) -> Result<PathBuf, Failure> {
        let unknown = || {
            Error::new(
                ErrorKind::Usage,
                "there is no place for the store: neither HOME nor XDG_DATA_HOME is set",
            )
            .help("give a directory with --root or GALLEY_ROOT")
        };
        let root = self.environment.store_root(self.root.as_deref()).ok_or_else(unknown)?;
        std::path::absolute(&root).map_err(|_| Failure::usage("--root is empty"))
    }

    /// The store, made when it is missing.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let root = self.root()?;
        self.complain();
        let options = OpenOptions {
            id_map: namespace::id_map(&self.environment, &root)?,
            failpoint: self.environment.text("GALLEY_FAILPOINT"),
            mount_trial: self.environment.may_pack().then_some(mounts_packed as _),
        };
        let error = |error| {
            let error = Error::new(ErrorKind::Store, format!("cannot open the store {}", root.display()))
                .because(error);
            error.help("another directory can be given with --root or GALLEY_ROOT")
        };
        let store = Store::open(&root, options).map_err(error)?;
        if self.environment.is_root {
            // Where steps run by chroot, their secrets are files of the store, and a killed build leaves them. That may be so for
            // whoever may mount as well: it depends on what the store is on.
            store.tidy();
        }
        Ok(store)
    }

    /// Tells once what is wrong with settings of the store that keep no command.
    fn complain(&self) {
        static TOLD: Once = Once::new();
        if let Some(complaint) = self.environment.packed_complaint() {
            let help = "layers are packed where the kernel mounts that";
            TOLD.call_once(|| message::warn(&complaint, Some(help)));
        }
    }
}
