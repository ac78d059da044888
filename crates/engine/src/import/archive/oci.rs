//! An OCI layout: `index.json`, and blobs under their digests.

use std::{collections::HashMap, sync::Arc};

use galley_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference};

use super::{
    super::{describe, find_manifest},
    Archived, INDEX, Images,
    source::{Source, blob_path},
};
use crate::{
    Error,
    ports::{BaseImage, BlobSource},
};

/// containerd's, BuildKit's and docker's annotation: the whole name.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The specification's: a tag, or whatever the tool likes.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What BuildKit calls its provenance and the like.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The images that the layout's index lists.
pub(super) fn images(reader: &Images<'_>) -> Result<Vec<Archived>, Error> {
    let index = Index::parse(&reader.archive.document(INDEX)?).map_err(|error| reader.broken(error))?;
    reader.check_count(index.manifests.len())?;
    let source: Arc<dyn BlobSource> = Arc::new(Source::new(reader.archive, HashMap::new()));
    let chosen = choose(reader, index.manifests)?;
    chosen.into_iter().map(|(first, names)| image(reader, first, names, &source)).collect()
}

fn image(
    reader: &Images<'_>,
    first: Descriptor,
    names: Vec<Reference>,
    source: &Arc<dyn BlobSource>,
) -> Result<Archived, Error> {
    let name = &reader.archive.name;
    let read = |descriptor: &Descriptor| blob(reader, descriptor);
    let bytes = present(reader, read(&first)?);
    let base = |manifest: Vec<u8>| {
        let parsed = Manifest::parse(&manifest).map_err(|error| reader.broken(error))?;
        describe(reader.store, name, manifest, read(&parsed.config)?, source)
    };
    let listed = if reader.platform.is_none() { listed(&bytes) } else { Vec::new() };
    if listed.len() < 2 {
        let (_, manifest) = find_manifest(name, (first, bytes), &reader.wanted(), &read)?;
        return Ok(Archived { names, base: base(manifest)?, platforms: Vec::new() });
    }
    reader.check_count(listed.len())?;
    let platforms = listed.iter().map(|entry| base(read(entry)?)).collect::<Result<Vec<_>, _>>()?;
    let rank = |image: &&BaseImage| reader.wanted().rank(&image.config.platform()).unwrap_or(usize::MAX);
    let main = platforms.iter().min_by_key(rank).cloned();
    let main = main.ok_or_else(|| reader.broken("its index lists nothing"))?;
    Ok(Archived { names, base: main, platforms })
}

/// The manifests of an index, each for another machine with Linux; none of anything else.
fn listed(document: &[u8]) -> Vec<Descriptor> {
    let is_linux = |entry: &Descriptor| entry.platform.as_ref().is_some_and(|own| own.os == "linux");
    match Index::parse(document) {
        Ok(index) if Manifest::parse(document).is_err() => {
            index.manifests.into_iter().filter(|entry| is_image(entry) && is_linux(entry)).collect()
        }
        _ => Vec::new(),
    }
}

/// An index as if it listed only what is in the archive: docker saves the index of an image for several platforms as it
/// came, and of the platforms those that it has.
fn present(reader: &Images<'_>, bytes: Vec<u8>) -> Vec<u8> {
    match Index::parse(&bytes) {
        Ok(mut index) if Manifest::parse(&bytes).is_err() => {
            index.manifests.retain(|entry| reader.archive.has(&blob_path(&entry.digest)));
            index.to_bytes()
        }
        _ => bytes,
    }
}

/// A small blob, checked against its digest.
fn blob(reader: &Images<'_>, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let bytes = reader.archive.document(&blob_path(&descriptor.digest))?;
    let found = Digest::sha256(&bytes);
    if found == descriptor.digest {
        return Ok(bytes);
    }
    Err(reader.broken(format!("blob {} has the content of {found}", descriptor.digest)))
}

/// Which entries of the index are to be loaded, with all names of each. Of several with one name those that suit the
/// platform best.
fn choose(reader: &Images<'_>, entries: Vec<Descriptor>) -> Result<Vec<(Descriptor, Vec<Reference>)>, Error> {
    let mut by_name: Vec<(Option<Reference>, Vec<Descriptor>)> = Vec::new();
    let mut positions = HashMap::new();
    for entry in entries.into_iter().filter(is_image) {
        let name = name(reader, &entry)?;
        let position = *positions.entry(name.clone()).or_insert(by_name.len());
        if position == by_name.len() {
            by_name.push((name, Vec::new()));
        }
        by_name[position].1.push(entry);
    }
    let mut chosen: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
    let mut positions = HashMap::new();
    for (name, entries) in by_name {
        for entry in best(entries, &reader.wanted()) {
            let position = *positions.entry(entry.digest).or_insert(chosen.len());
            if position == chosen.len() {
                chosen.push((entry, Vec::new()));
            }
            chosen[position].1.extend(name.clone());
        }
    }
    Ok(chosen)
}

/// Provenance and other attachments are listed beside images.
fn is_image(entry: &Descriptor) -> bool {
    let attached = entry.annotations.contains_key(REFERENCE_TYPE) || entry.artifact_type.is_some();
    let nowhere = entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !attached && !nowhere
}

/// Those that suit `platform` best, and those that do not say for whom they are. All, when none suits: what the platform
/// must be is looked at later.
fn best(entries: Vec<Descriptor>, platform: &Platform) -> Vec<Descriptor> {
    let rank = |entry: &Descriptor| entry.platform.as_ref().map_or(Some(0), |own| platform.rank(own));
    let best = entries.iter().filter_map(rank).min();
    entries.into_iter().filter(|entry| best.is_none() || rank(entry) == best).collect()
}

/// The name that an entry of the index gives its image. A tag alone is none: `1.0` of what?
fn name(reader: &Images<'_>, entry: &Descriptor) -> Result<Option<Reference>, Error> {
    if let Some(name) = entry.annotations.get(IMAGE_NAME) {
        return reader.name(name).map(Some);
    }
    let name = entry.annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    let name = name.and_then(|name| name.parse::<Reference>().ok());
    Ok(name.filter(|name| name.digest.is_none()).map(Reference::with_default_tag))
}
