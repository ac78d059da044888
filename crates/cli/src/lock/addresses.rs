//! URLs and git repositories of ADD, as a lock holds them.

use std::collections::BTreeSet;

use galley_engine::{
    Error,
    plan::{Operation, Plan},
    remote::{Address, Remote},
};

use super::{Lock, Update};
use crate::failure::store_error;

/// Locks the addresses that plans fetch from, each once.
#[derive(Debug)]
pub(crate) struct Addresses<'a> {
    pub(crate) remote: Remote<'a>,
    /// What was known before.
    pub(crate) old: &'a Lock,
    /// What is to be asked again.
    pub(crate) update: &'a Update,
    pub(crate) seen: BTreeSet<String>,
}

impl Addresses<'_> {
    /// Adds what `plan` fetches to `lock`.
    pub(crate) fn lock(&mut self, plan: &Plan, lock: &mut Lock) -> Result<(), Error> {
        for step in &plan.steps {
            if let Operation::Fetch(address) = &step.operation {
                self.add(address, lock).map_err(|error| match &step.place {
                    Some(place) => error.at(place),
                    None => error,
                })?;
            }
        }
        Ok(())
    }

    /// A checksum or a commit in the Dockerfile is a lock of its own.
    fn add(&mut self, address: &Address, lock: &mut Lock) -> Result<(), Error> {
        let name = address.shown();
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let again = self.update.is_of(&name);
        match address {
            Address::Http(http) if http.checksum.is_none() => {
                let old = self.old.files.get(&name).filter(|_| !again);
                let digest = match old {
                    Some(digest) => *digest,
                    None => {
                        let temp = self.remote.store.temp_dir("lock").map_err(store_error)?;
                        self.remote.download(http, &temp.path().join("file"))?.sha256
                    }
                };
                lock.files.insert(name, digest);
            }
            Address::Git(git) if git.commit().is_none() => {
                let old = self.old.commits.get(&name).filter(|_| !again).cloned();
                let commit = old.map_or_else(|| self.remote.resolve(git).map(|found| found.commit), Ok)?;
                lock.commits.insert(name, commit);
            }
            _ => {}
        }
        Ok(())
    }
}
