//! `galley inspect`: all that is known of an image, in the shape docker gives it.

use std::collections::BTreeSet;

use galley_oci::Reference;
use galley_store::{Image, Store};
use serde_json::{Value, json};

use super::{config, digests::repo_digest, list::size, unreadable};
use crate::Error;

/// The description of `image` as `docker image inspect` prints it, and what is wrong with its layers.
pub fn inspect(store: &Store, image: &Image) -> Result<(Value, Option<Error>), Error> {
    let parsed = config(image)?;
    let tags = store.tags().map_err(unreadable)?;
    let tags: Vec<&Reference> = tags.iter().filter(|(_, id)| *id == image.id).map(|(tag, _)| tag).collect();
    let digests = tags
        .iter()
        .filter_map(|tag| Some(format!("{}@{}", tag.familiar_name(), repo_digest(store, tag, &image.id)?)));
    let digests: BTreeSet<String> = digests.collect();
    let tags: Vec<String> = tags.iter().map(|tag| tag.familiar()).collect();
    let diff_ids: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let comment = parsed.history.last().map(|item| item.comment.clone()).unwrap_or_default();
    let size = size(store, image, tags.first().unwrap_or(&image.id.short()));
    let value = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": comment,
        "Created": parsed.created.clone().unwrap_or_default(),
        "Author": parsed.author.clone().unwrap_or_default(),
        "Architecture": parsed.architecture,
        "Variant": parsed.variant.clone().unwrap_or_default(),
        "Os": parsed.os,
        "Size": size.bytes,
        "Config": parsed.config,
        "RootFS": {"Type": "layers", "Layers": diff_ids},
    });
    Ok((value, size.damage))
}
