//! `manifest push`: what the list names comes first, from wherever it was seen; the list last.

use std::sync::Arc;

use galley_engine::{
    Error,
    export::{PackedBlob, PackedImage},
    ports::BlobSource,
};
use galley_oci::{Descriptor, Manifest, Reference, Time};

use super::{List, PushArgs, Work, no_list, parse, say};
use crate::{
    context::Context,
    failure::{Outcome, store_error},
    registry::{self, RemoteImages, failed},
};

/// Sends it.
pub(super) fn execute(arguments: &PushArgs, context: &Context) -> Outcome {
    let name = parse(&arguments.list)?;
    let work = Work::new(context, arguments.insecure, &[&name])?;
    let list = List::load(&work.store, &name)?.ok_or_else(|| no_list(&name))?;
    let remote = work.remote(context);
    arguments.show.show(context, (&work.store, true), &work.stop, |fetcher| {
        list.manifests().try_for_each(|(seen_as, descriptor)| {
            let from = seen_as.unwrap_or_else(|| name.clone());
            let packed = packed(&remote, &from, descriptor)?;
            let by_digest = Reference { tag: None, digest: Some(descriptor.digest), ..name.clone() };
            let known_in = [remote.registries.blobs(&from)];
            registry::push_image(&remote.registries, fetcher, &packed, &by_digest, &known_in).map(drop)
        })
    })?;
    let (kind, bytes) = list.to_send();
    let what = format!("cannot push {}", name.familiar());
    let digest =
        work.registries.client()?.put_manifest(&name, &kind, &bytes).map_err(|error| failed(&what, error))?;
    if arguments.purge {
        work.store.remove_list(&name).map_err(store_error)?;
    }
    say(&digest.to_string())
}

/// An image of a registry as it is there, its blobs left where they are.
fn packed(
    remote: &RemoteImages<'_>,
    from: &Reference,
    descriptor: &Descriptor,
) -> Result<PackedImage, Error> {
    let manifest = remote.document(from, descriptor)?;
    let parsed =
        Manifest::parse(&manifest).map_err(|error| galley_engine::import::broken(&from.familiar(), error))?;
    let config = remote.config(from, &parsed.config)?;
    let source: Arc<dyn BlobSource> = remote.registries.blobs(from);
    let layers = parsed.layers.iter().map(|layer| {
        let kept = remote.store.blob_size(&layer.digest) == Some(layer.size);
        let elsewhere = if kept { None } else { Some(Arc::clone(&source)) };
        PackedBlob { descriptor: layer.clone(), elsewhere, known_in: vec![Arc::clone(&source)] }
    });
    Ok(PackedImage {
        layers: layers.collect(),
        descriptor: descriptor.clone(),
        config_descriptor: parsed.config,
        manifest,
        config,
        created: Time::default(),
    })
}
