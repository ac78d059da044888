//! `galley save`: several images of the store in one archive, whose common layers are in it once.

use galley_oci::{Digest, Platform, Reference};
use galley_store::{Image, Store};

use super::{
    Output, PackOptions, Packed, PackedImage,
    layout::{self, Named},
};
use crate::{
    Error, Fetcher,
    image::Assembled,
    images::{self, unreadable},
};

/// Images of one name, one for each platform, and the names that they get in the archive.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The images, in the order of their index: one at least.
    pub images: Vec<Image>,
    /// Their names; none when an image was asked for by its id.
    pub names: Vec<Reference>,
}

/// The images that `words` mean, each once, in that order: a name, an id, or a repository with all of its tags. With
/// `platform` those for it alone.
pub fn choose(store: &Store, words: &[String], platform: Option<&Platform>) -> Result<Vec<Chosen>, Error> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for word in words {
        for mut new in meant(store, word)? {
            if let Some(platform) = platform {
                new.images = vec![images::pick(word, new.images, platform)?];
            }
            match chosen.iter_mut().find(|known| ids(known) == ids(&new)) {
                Some(known) => {
                    new.names.retain(|name| !known.names.contains(name));
                    known.names.append(&mut new.names);
                }
                None => chosen.push(new),
            }
        }
    }
    Ok(chosen)
}

fn ids(chosen: &Chosen) -> Vec<&Digest> {
    chosen.images.iter().map(|image| &image.id).collect()
}

fn meant(store: &Store, word: &str) -> Result<Vec<Chosen>, Error> {
    let of_name = |name: Reference| {
        let images = images::all(store, &name.canonical())?;
        Ok(Chosen { images, names: vec![name] })
    };
    let Ok(name) = word.parse::<Reference>() else {
        return Ok(vec![Chosen { images: vec![images::find(store, word)?], names: Vec::new() }]);
    };
    if name.tag.is_none() && name.digest.is_none() {
        let tags = store.tags().map_err(unreadable)?.into_iter().map(|(tag, _)| tag);
        let tags = tags.filter(|tag| tag.name() == name.name() && tag.tag.is_some());
        let all = tags.map(of_name).collect::<Result<Vec<_>, Error>>()?;
        if !all.is_empty() {
            return Ok(all);
        }
    }
    if name.digest.is_none() && store.resolve(&name).map_err(unreadable)?.is_some() {
        return Ok(vec![of_name(name)?]);
    }
    Ok(vec![Chosen { images: vec![images::find(store, word)?], names: Vec::new() }])
}

/// Images of the store packed as `save` and `push` hand them out: layers as they came, in an index when there are several.
pub fn pack(fetcher: &Fetcher<'_>, images: &[Image], options: &PackOptions) -> Result<Packed, Error> {
    let packed = images.iter().map(|image| {
        let platform = images::platform_of(image)?;
        let assembled = Assembled::of_store(fetcher.store, image)?;
        PackedImage::pack(fetcher, &assembled, &platform, options)
    });
    let mut packed: Vec<PackedImage> = packed.collect::<Result<_, Error>>()?;
    match packed.pop() {
        Some(only) if packed.is_empty() => Ok(Packed::single(only)),
        last => {
            packed.extend(last);
            Ok(Packed::listed(packed, options))
        }
    }
}

/// Writes `images` as one archive or folder. Layers are as they came, those made here compressed with gzip.
pub fn save(fetcher: &Fetcher<'_>, images: &[Chosen], output: &Output) -> Result<(), Error> {
    fetcher.store.settle();
    let options = PackOptions { keep_plain: true, ..PackOptions::default() };
    let packed = images.iter().map(|chosen| {
        let mut packed = pack(fetcher, &chosen.images, &options)?;
        packed.bring(fetcher)?;
        Ok(packed)
    });
    let packed: Vec<Packed> = packed.collect::<Result<_, Error>>()?;
    let named: Vec<_> =
        packed.iter().zip(images).map(|(packed, chosen)| Named { packed, names: &chosen.names }).collect();
    layout::write(fetcher, output.kind, &named, &output.destination)
}
