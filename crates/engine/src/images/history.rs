//! `galley history`: how an image came about, newest first.

use galley_oci::{Digest, Platform, Time};
use galley_store::Store;

use super::{config, find_for, list::layer_size};
use crate::Error;

/// One line of `galley history`.
#[derive(Clone, Debug)]
pub struct HistoryLine {
    /// The image's id on the newest line; the steps below have none.
    pub id: Option<Digest>,
    /// When it was made, when that is known.
    pub created: Option<Time>,
    /// The instruction.
    pub created_by: String,
    /// The bytes of its layer's files; none when the layer is damaged.
    pub size: Option<u64>,
    /// Who made it.
    pub comment: String,
}

/// The history of the image `name`, for `platform` when it has several, and what is wrong with its layers.
pub fn history(
    store: &Store,
    name: &str,
    platform: Option<&Platform>,
) -> Result<(Vec<HistoryLine>, Option<Error>), Error> {
    let image = find_for(store, name, platform)?;
    let mut layers = image.layers.iter();
    let (mut lines, mut damage) = (Vec::new(), None);
    for item in config(&image)?.history {
        let layer = if item.empty_layer { None } else { layers.next() };
        let size = layer.map_or(Ok(0), |layer| layer_size(store, &layer.layer, name));
        lines.push(HistoryLine {
            id: None,
            created: item.created.as_deref().and_then(Time::parse_rfc3339),
            created_by: item.created_by,
            size: size.map_err(|error| damage = damage.take().or(Some(error))).ok(),
            comment: item.comment,
        });
    }
    lines.reverse();
    if let Some(newest) = lines.first_mut() {
        newest.id = Some(image.id);
    }
    Ok((lines, damage))
}
