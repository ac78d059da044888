//! Contexts from other machines: repositories, archives and Dockerfiles at URLs.

use super::{
    DockerfileText, FETCHED_NAME,
    kept::{self, Input, Kept},
    named_file,
};
use crate::{
    Error, ErrorKind, Snapshot,
    plan::ContextSource,
    remote::{Address, Remote},
    steps::files::{Files, store_error},
};

/// A context from elsewhere.
#[derive(Debug)]
pub struct FetchedContext {
    /// Its files.
    pub context: ContextSource,
    /// For messages: where it is from, without passwords.
    pub origin: String,
    /// The Dockerfile, when the address is that of one: the only file of its context.
    pub dockerfile: Option<DockerfileText>,
}

/// What `address` means, as the main context. An archive is unpacked, and any other file is a Dockerfile. With `may_write`
/// unset nothing is written: what is not at hand is an error of kind [`ErrorKind::NeedsExecution`].
pub fn fetch(remote: &Remote<'_>, address: &Address, may_write: bool) -> Result<FetchedContext, Error> {
    let origin = format!("at {}", address.shown());
    let address = named_file(address.clone());
    let context = layer_context(remote, &address, may_write)?;
    if matches!(address, Address::Git(_)) {
        return Ok(FetchedContext { context, origin, dockerfile: None });
    }
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::Input, format!("cannot read the context {origin}")).because(error)
    };
    match kept::examine(Box::new(kept::open(remote.store, &context, FETCHED_NAME)?)).map_err(unreadable)? {
        Input::Archive(_) if !may_write => {
            Err(Error::new(ErrorKind::NeedsExecution, "a context has to be unpacked"))
        }
        Input::Archive(archive) => {
            let time = context.kept.as_ref().and_then(|kept| kept.time);
            let context = kept::unpack(remote.store, ".", &origin, time, archive)?;
            Ok(FetchedContext { context, origin, dockerfile: None })
        }
        Input::Text(text) => {
            let name = String::from_utf8_lossy(FETCHED_NAME).into_owned();
            let dockerfile = Some(DockerfileText { name, path: context.path.clone(), text });
            Ok(FetchedContext { context, origin, dockerfile })
        }
    }
}

/// The Dockerfile at a URL, for a context that is elsewhere.
pub fn fetch_dockerfile(
    remote: &Remote<'_>,
    address: &Address,
    may_write: bool,
) -> Result<DockerfileText, Error> {
    let fetched = fetch(remote, address, may_write)?;
    fetched.dockerfile.ok_or_else(|| {
        let message = format!("what is {} is no Dockerfile", fetched.origin);
        Error::new(ErrorKind::Input, message)
    })
}

/// The layer that `address` means, as a context.
fn layer_context(remote: &Remote<'_>, address: &Address, may_write: bool) -> Result<ContextSource, Error> {
    let obtained = remote.obtain(address, may_write)?;
    let path = remote.store.directory(&obtained.layer).map_err(store_error)?;
    let snapshot = Snapshot::empty().with(obtained.layer)?;
    let is_commit = matches!(address, Address::Git(_));
    let kept = Kept::of(Files::of_snapshot(&snapshot)?, obtained.time, is_commit);
    Ok(ContextSource { name: ".".to_owned(), path, ignore: None, kept: Some(kept) })
}
