//! `galley save`: several images of the store in one archive, whose common layers are in it once.

use galley_oci::{Platform, Reference};
use galley_store::{Image, Store};

use super::{
    Output, PackOptions, PackedImage,
    layout::{self, Named},
};
use crate::{
    Error, ErrorKind, Fetcher,
    image::Assembled,
    images::{self, unreadable},
};

/// An image, and the names that it gets in the archive.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The image.
    pub image: Image,
    /// Its names; none when it was asked for by its id.
    pub names: Vec<Reference>,
}

/// The images that `words` mean, each once, in that order: a name, an id, or a repository with all of its tags.
pub fn choose(store: &Store, words: &[String], platform: Option<&Platform>) -> Result<Vec<Chosen>, Error> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for word in words {
        for Chosen { image, names } in meant(store, word)? {
            check_platform(word, &image, platform)?;
            match chosen.iter_mut().find(|known| known.image.id == image.id) {
                Some(known) => {
                    let new: Vec<_> = names.into_iter().filter(|name| !known.names.contains(name)).collect();
                    known.names.extend(new);
                }
                None => chosen.push(Chosen { image, names }),
            }
        }
    }
    Ok(chosen)
}

fn meant(store: &Store, word: &str) -> Result<Vec<Chosen>, Error> {
    let Ok(name) = word.parse::<Reference>() else {
        return Ok(vec![Chosen { image: images::find(store, word)?, names: Vec::new() }]);
    };
    if name.tag.is_none() && name.digest.is_none() {
        let tags = store.tags().map_err(unreadable)?;
        let tags = tags.into_iter().filter(|(tag, _)| tag.name() == name.name() && tag.tag.is_some());
        let all = tags.filter_map(|(tag, id)| {
            let image = store.image(&id).map_err(unreadable).transpose()?;
            Some(image.map(|image| Chosen { image, names: vec![tag] }))
        });
        let all = all.collect::<Result<Vec<_>, _>>()?;
        if !all.is_empty() {
            return Ok(all);
        }
    }
    let named = name.digest.is_none() && store.resolve(&name).map_err(unreadable)?.is_some();
    let image = images::find(store, word)?;
    Ok(vec![Chosen { image, names: named.then_some(name).into_iter().collect() }])
}

fn check_platform(word: &str, image: &Image, platform: Option<&Platform>) -> Result<(), Error> {
    let own = images::config(image)?.platform();
    match platform.filter(|platform| platform.rank(&own).is_none()) {
        None => Ok(()),
        Some(platform) => {
            let message = format!("{word} is for {own}, not for {platform}");
            Err(Error::new(ErrorKind::NotFound, message))
        }
    }
}

/// Writes `images` as one archive or folder. Layers are as they came, those made here compressed with gzip.
pub fn save(fetcher: &Fetcher<'_>, images: &[Chosen], output: &Output) -> Result<(), Error> {
    let options = PackOptions { keep_plain: true, ..PackOptions::default() };
    let packed = images.iter().map(|Chosen { image, .. }| {
        let platform = images::config(image)?.platform();
        let assembled = Assembled::of_store(fetcher.store, image)?;
        let mut packed = PackedImage::pack(fetcher, &assembled, &platform, &options)?;
        packed.bring(fetcher)?;
        Ok(packed)
    });
    let packed: Vec<PackedImage> = packed.collect::<Result<_, Error>>()?;
    let named: Vec<_> =
        packed.iter().zip(images).map(|(image, chosen)| Named { image, names: &chosen.names }).collect();
    layout::write(fetcher, output.kind, &named, &output.destination)
}
