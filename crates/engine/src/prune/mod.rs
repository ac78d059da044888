//! Removing what is not used any more, and counting what is there: `prune` and `df` in all their forms.

mod containers;
mod filter;
mod images;
mod usage;
mod volumes;

use galley_store::StoreError;

pub use self::{
    containers::containers,
    filter::Filter,
    images::{PrunedImages, images},
    usage::{CacheItem, CacheKind, ContainerUsage, ImageUsage, Usage, VolumeUsage, cache, usage},
    volumes::{Volume, volumes, volumes_in_store},
};
use crate::{Error, ErrorKind};

pub(crate) fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot clean up the store").because(error)
}
