//! FROM: the layers of an image.

use galley_store::Store;

use super::files::store_error;
use crate::{Error, ErrorKind, Snapshot, ports::BaseImage};

/// The snapshot that `image` is.
pub(crate) fn chain(store: &Store, image: &BaseImage) -> Result<Snapshot, Error> {
    let mut snapshot = Snapshot::empty();
    for layer in &image.layers {
        let found = store.layer(&layer.layer).map_err(store_error)?;
        let layer = found.ok_or_else(|| {
            let message = format!("the store has lost layer {} of the image {}", layer.layer, image.name);
            Error::new(ErrorKind::Store, message).help("import the image again")
        })?;
        snapshot = snapshot.with(layer);
    }
    Ok(snapshot)
}
