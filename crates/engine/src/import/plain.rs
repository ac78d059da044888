//! `galley import`: an archive of plain files becomes an image of one layer.

use std::{
    fs::File,
    io::{self, Cursor, Read},
};

use galley_oci::{
    Digest, History, ImageConfig, Platform, Reference, RootFs, RunConfig, TimePolicy,
    compress::{self, PREFIX_BYTES},
};
use galley_store::Layer;

use super::{broken, patient::Patient};
use crate::{
    Error, ErrorKind, Fetcher,
    blobs::{self, Wanted},
    clock, config_changes,
    image::{self, Assembled},
    ports::BaseLayer,
    steps::files::store_error,
};

/// What becomes of the files.
#[derive(Clone, Debug)]
pub struct PlainOptions {
    /// Instructions of a Dockerfile that change the config: `--change`.
    pub changes: Vec<String>,
    /// The comment in the image's history.
    pub message: String,
    /// For whom the files are.
    pub platform: Platform,
    /// What the image is called; nothing is a name too.
    pub name: Option<Reference>,
}

/// Makes an image of the archive in `input`, compressed or not, and keeps it. `source` is what messages call it.
pub fn plain(
    fetcher: &Fetcher<'_>,
    source: &str,
    input: File,
    options: &PlainOptions,
) -> Result<Digest, Error> {
    // What is wrong there is said before a long archive is read.
    let config = config_changes::changed(RunConfig::default(), &options.changes, &options.platform)?;
    let layer = unpack(fetcher, source, input).map_err(|error| match fetcher.stop.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "cancelled"),
        false => error,
    })?;
    let image = assemble(fetcher, options, config, layer)?;
    image::keep(fetcher, &[(&image, &options.platform)], options.name.as_slice())?;
    Ok(image.id)
}

fn unpack(fetcher: &Fetcher<'_>, source: &str, input: File) -> Result<Layer, Error> {
    let mut input = Patient::new(input, fetcher.stop);
    let (store, failed) = (fetcher.store, |error: io::Error| broken(source, error));
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    (&mut input).take(PREFIX_BYTES as u64).read_to_end(&mut prefix).map_err(failed)?;
    if prefix.is_empty() {
        return Err(broken(source, "it is empty"));
    }
    let mut plain = compress::decoder(Box::new(Cursor::new(prefix).chain(input))).map_err(failed)?;
    let layer = store
        .unpack_layer(&mut plain)
        .map_err(|error| if error.is_machines() { store_error(error) } else { broken(source, error) })?;
    // Whoever writes into a pipe wants to write to the end.
    io::copy(&mut plain, &mut io::sink()).map_err(failed)?;
    store.commit_new(layer).map_err(store_error)
}

fn assemble(
    fetcher: &Fetcher<'_>,
    options: &PlainOptions,
    config: RunConfig,
    layer: Layer,
) -> Result<Assembled, Error> {
    let times = TimePolicy::Keep;
    let wanted = Wanted { layer: layer.clone(), times, own: false };
    let diff_ids = blobs::diff_ids(fetcher, &[wanted])?;
    let of_layer =
        |diff_id: &Digest| BaseLayer { diff_id: *diff_id, times, blob: None, held: layer.clone().into() };
    let layers = diff_ids.iter().map(of_layer).collect();
    let created = clock::now();
    let text = Some(created.rfc3339());
    let history =
        vec![History { created: text.clone(), comment: options.message.clone(), ..History::default() }];
    let document = ImageConfig {
        created: text,
        config,
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        history,
        ..config_changes::for_platform(&options.platform)
    };
    let config = document.to_bytes();
    Ok(Assembled { id: Digest::sha256(&config), config, layers, manifest: None, created })
}
