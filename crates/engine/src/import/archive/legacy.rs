//! A docker archive of before version 1.10: `repositories` names the topmost layer of each image, and each layer knows
//! its parent and the config of the image that ends with it.

use std::collections::{BTreeMap, HashMap};

use galley_oci::{Digest, History, Reference, RootFs, compress, image::to_compact};
use serde_json::{Map, Value};

use super::{
    Archived, Images, REPOSITORIES,
    docker::{self, Known},
};
use crate::Error;

/// The most layers that docker has ever stacked.
const MAX_LAYERS: usize = 127;
/// What such a config has and later ones have not.
const GONE: [&str; 6] = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

/// The images that `repositories` names.
pub(super) fn images(reader: &Images<'_>) -> Result<Vec<Archived>, Error> {
    let bytes = reader.archive.document(REPOSITORIES)?;
    let repositories: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&bytes)
        .map_err(|error| reader.broken(format!("{REPOSITORIES} is malformed: {error}")))?;
    reader.check_count(repositories.values().map(BTreeMap::len).sum())?;
    let mut names: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for (repository, tags) in &repositories {
        for (tag, layer) in tags {
            let name = reader.name(&format!("{repository}:{tag}"))?;
            names.entry(layer.clone()).or_default().push(name);
        }
    }
    let (mut known, mut diff_ids) = (Known::new(), HashMap::new());
    let images = names.into_iter().map(|(layer, names)| {
        let layers = chain(reader, layer)?;
        let ids = layers.iter().map(|layer| diff_id(reader, &layer.id, &mut diff_ids));
        let config = config(reader, &layers, ids.collect::<Result<_, _>>()?)?;
        let paths: Vec<String> = layers.iter().map(|layer| archive_of(&layer.id)).collect();
        let base = docker::image(reader, config, &paths, &mut known)?;
        Ok(Archived { names, base, platforms: Vec::new() })
    });
    images.collect()
}

/// A layer, and the config of the image that ends with it.
#[derive(Debug)]
struct Layer {
    id: String,
    config: Map<String, Value>,
}

fn archive_of(id: &str) -> String {
    format!("{id}/layer.tar")
}

/// The layers below and including `top`, lowest first.
fn chain(reader: &Images<'_>, top: String) -> Result<Vec<Layer>, Error> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut next = Some(top);
    while let Some(id) = next {
        if layers.len() == MAX_LAYERS {
            return Err(
                reader.broken(format!("an image has more than {MAX_LAYERS} layers, or they go in circles"))
            );
        }
        let bytes = reader.archive.document(&format!("{id}/json"))?;
        let config: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| reader.broken(format!("{id}/json is malformed: {error}")))?;
        let parent = config.get("parent").and_then(Value::as_str).filter(|parent| !parent.is_empty());
        next = parent.map(str::to_owned);
        layers.push(Layer { id, config });
    }
    layers.reverse();
    Ok(layers)
}

/// SHA-256 of a layer's plain archive; nothing in such an archive says it.
fn diff_id(reader: &Images<'_>, id: &str, known: &mut HashMap<String, Digest>) -> Result<Digest, Error> {
    if let Some(found) = known.get(id) {
        return Ok(*found);
    }
    let piece = reader.archive.files.open(&reader.archive.name, &archive_of(id))?;
    let plain = compress::decoder(Box::new(piece.reader())).map_err(|error| reader.broken(error))?;
    let found = docker::hash(plain).map_err(|error| reader.broken(error))?;
    known.insert(id.to_owned(), found);
    Ok(found)
}

/// The config that docker makes of these: that of the topmost layer, with what the others say as history.
fn config(reader: &Images<'_>, layers: &[Layer], diff_ids: Vec<Digest>) -> Result<Vec<u8>, Error> {
    let history: Vec<History> = layers.iter().map(|layer| history(&layer.config)).collect();
    let top = layers.last().map(|layer| layer.config.clone()).unwrap_or_default();
    let mut fields: BTreeMap<String, Value> =
        top.into_iter().filter(|(name, _)| !GONE.contains(&name.as_str())).collect();
    let value = |value: Result<Value, serde_json::Error>| value.map_err(|error| reader.broken(error));
    fields.insert("history".to_owned(), value(serde_json::to_value(history))?);
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    fields.insert("rootfs".to_owned(), value(serde_json::to_value(rootfs))?);
    Ok(to_compact(&fields))
}

fn history(config: &Map<String, Value>) -> History {
    let text = |name: &str| config.get(name).and_then(Value::as_str).map(str::to_owned);
    let command = config.get("container_config").and_then(|it| it.get("Cmd")).and_then(Value::as_array);
    let words = command.into_iter().flatten().filter_map(Value::as_str);
    History {
        created: text("created"),
        created_by: words.collect::<Vec<_>>().join(" "),
        author: text("author").unwrap_or_default(),
        comment: text("comment").unwrap_or_default(),
        ..History::default()
    }
}
