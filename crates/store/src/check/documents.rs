//! The small files: each must be understood, be what its name says, and lead to what is there.

use std::path::Path;

use galley_oci::{Digest, ImageConfig, Sha256};
use serde::Deserialize;

use super::{Check, Severity, Thing};
use crate::{
    StoreError,
    context::is_index,
    durability::Stamp,
    error::{Absent, At},
    files::copier::BUFFER_BYTES,
    images::names_in,
    leases::{Found, look},
    lists::read_list,
    lock::LockMode,
    mounts::ID_BYTES_MAX,
    origins::path_of,
    records,
    store::read_small,
    tags::read_tag,
};

const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
const INDEX_BYTES_MAX: usize = 1024 * 1024 * 1024;

impl Check<'_> {
    pub(super) fn document(&self, thing: Thing, id: &Digest, path: &Path) -> Result<(), StoreError> {
        let file = self.store.root().join(path);
        // Removed since it was listed.
        if rustix::fs::lstat(&file).absent().at("examine", &file)?.is_none() {
            return Ok(());
        }
        let problem = match thing {
            Thing::Blob => self.blob(id, &file)?,
            Thing::Image => self.image(id)?,
            Thing::Tag => self.tag(id, &file)?,
            Thing::Record => return self.record(path, &file),
            Thing::Export => return self.export(path, &file),
            Thing::Remote => named(&file, id, "it is not readable")?,
            Thing::List => self.list(id, &file),
            Thing::Seen => parsed::<SeenFile>(&file)?,
            Thing::Context => {
                let bytes = read_small(&file, INDEX_BYTES_MAX)?.unwrap_or_default();
                (!is_index(bytes)).then(|| "its checksum is wrong".to_owned())
            }
            Thing::Mount => mount(id, &file)?,
            Thing::Container => return self.container(path, &file),
            _ => None,
        };
        problem.map_or(Ok(()), |problem| self.damaged(thing, path, problem))
    }

    fn blob(&self, id: &Digest, file: &Path) -> Result<Option<String>, StoreError> {
        use std::io::Read;
        let Some(mut content) = crate::blobs::open_present(file)? else { return Ok(None) };
        let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; BUFFER_BYTES], 0);
        loop {
            let count = content.read(&mut buffer).at("read", file)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
        self.hashed(bytes);
        let found = hasher.finish();
        Ok((found != *id).then(|| format!("its {bytes} bytes have the digest {found}")))
    }

    fn image(&self, id: &Digest) -> Result<Option<String>, StoreError> {
        let image = match self.store.read_image(id) {
            Ok(Some(image)) => image,
            Ok(None) => return Ok(None),
            Err(StoreError::Damaged { reason, .. }) => return Ok(Some(reason)),
            Err(error) => return Err(error),
        };
        let Ok(config) = ImageConfig::parse(&image.config) else {
            return Ok(Some("its config cannot be understood".to_owned()));
        };
        if !config.rootfs.diff_ids.iter().eq(image.layers.iter().map(|layer| &layer.diff_id)) {
            return Ok(Some("its layers are not those of its config".to_owned()));
        }
        let lost = image.layers.iter().find(|layer| !self.has_layer(&layer.layer));
        Ok(lost.map(|layer| format!("it has lost layer {}", layer.layer)))
    }

    fn tag(&self, id: &Digest, file: &Path) -> Result<Option<String>, StoreError> {
        let Some(tag) = read_tag(file)? else { return Ok(Some("it cannot be understood".to_owned())) };
        if Digest::blake3(tag.reference.canonical().as_bytes()) != *id {
            return Ok(Some(format!("it names {}, which another file does", tag.reference.familiar())));
        }
        let there =
            |image: &Digest| rustix::fs::lstat(self.store.root().join("images").join(image.hex())).is_ok();
        let lost = tag.images().iter().find(|image| !there(image));
        Ok(lost.map(|image| format!("{} leads to image {image}, which is lost", tag.reference.familiar())))
    }

    fn list(&self, id: &Digest, file: &Path) -> Option<String> {
        match read_list(file) {
            Ok(None) => None,
            Ok(Some(list)) => (Digest::blake3(list.reference.as_bytes()) != *id)
                .then(|| format!("it is named {}, which another file is", list.reference)),
            Err(error) => Some(error.to_string()),
        }
    }

    fn record(&self, path: &Path, file: &Path) -> Result<(), StoreError> {
        let Some((row, stamp)) = records::read_stamped_row(file)? else {
            return self.damaged(Thing::Record, path, "it cannot be understood");
        };
        if let Some(problem) = self.unvouched(&stamp) {
            return self.found(Thing::Record, path, Severity::Leftover, problem);
        }
        if !self.has_layer(&row.layer) {
            return self.damaged(
                Thing::Record,
                path,
                format!("it leads to layer {}, which is lost", row.layer),
            );
        }
        Ok(())
    }

    fn export(&self, path: &Path, file: &Path) -> Result<(), StoreError> {
        let Some((blob, stamp)) = records::read_stamped_export(file)? else {
            return self.damaged(Thing::Export, path, "it cannot be understood");
        };
        if let Some(problem) = self.unvouched(&stamp) {
            return self.found(Thing::Export, path, Severity::Leftover, problem);
        }
        let Some(blob) = blob else { return Ok(()) };
        let size = rustix::fs::stat(self.store.blob_path(&blob.digest)).absent().at("examine", file)?;
        let problem = match size.and_then(|stat| u64::try_from(stat.st_size).ok()) {
            None => format!("it leads to blob {}, which is lost", blob.digest),
            Some(size) if size != blob.size => {
                format!("it leads to blob {}, which has {size} instead of {} bytes", blob.digest, blob.size)
            }
            Some(_) => return Ok(()),
        };
        self.damaged(Thing::Export, path, problem)
    }

    fn container(&self, path: &Path, file: &Path) -> Result<(), StoreError> {
        let config = file.join("config.json");
        if let Some(problem) = parsed::<ContainerFile>(&config)? {
            return self.damaged(Thing::Container, path, format!("its config: {problem}"));
        }
        let bytes = read_small(&config, DOCUMENT_BYTES_MAX)?.unwrap_or_default();
        let Ok(ContainerFile { image_id }) = serde_json::from_slice(&bytes) else { return Ok(()) };
        if rustix::fs::lstat(self.store.root().join("images").join(image_id.hex())).is_err() {
            let problem = format!("its image {image_id} is lost");
            return self.damaged(Thing::Container, path, problem);
        }
        Ok(())
    }

    /// Names whose container is gone are free.
    pub(super) fn names_of_containers(&self) -> Result<(), StoreError> {
        let folder = self.store.root().join("containers");
        for name in names_in(&folder.join("names"))? {
            let path = Path::new("containers/names").join(&name);
            let id = read_small(&self.store.root().join(&path), DOCUMENT_BYTES_MAX)?.unwrap_or_default();
            let plain = id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit);
            if !plain || rustix::fs::lstat(folder.join(path_of(&id))).is_err() {
                self.found(Thing::Container, &path, Severity::Leftover, "it names no container")?;
            }
        }
        Ok(())
    }

    pub(super) fn barriers(&self) -> Result<(), StoreError> {
        for name in names_in(&self.store.root().join("barriers"))? {
            let path = Path::new("barriers").join(&name);
            let text = read_small(&self.store.root().join(&path), DOCUMENT_BYTES_MAX)?.unwrap_or_default();
            let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse::<u64>().ok());
            if number.is_none() {
                self.damaged(Thing::Barrier, &path, "it holds no number")?;
            }
        }
        for name in self.store.odd_losses()? {
            let path = Path::new("lost").join(name);
            self.found(Thing::Barrier, &path, Severity::Leftover, "no file of the store has such a name")?;
        }
        Ok(())
    }

    /// Why what carries `stamp` is ignored.
    pub(super) fn unvouched(&self, stamp: &Stamp) -> Option<&'static str> {
        match self.store.vouched(stamp) {
            Some(_) => None,
            None if self.store.is_lost(stamp) => Some(
                "a disk error came before it was all written back; it is ignored, and made anew when it is needed",
            ),
            None => Some("no barrier was made before a power cut; it is ignored"),
        }
    }

    /// What dead processes left.
    pub(super) fn temporary(&self) -> Result<(), StoreError> {
        for (folder, problem) in
            [("tmp", "left by a process that died"), ("locks", "a lock that nobody holds")]
        {
            let root = self.store.root().join(folder);
            for name in names_in(&root)? {
                let lock = match (folder, name.strip_suffix(".lock")) {
                    ("tmp", None) => root.join(format!("{name}.lock")),
                    _ => root.join(&name),
                };
                // Those of the names of containers stay.
                let stays = folder == "locks" && name == "containers";
                if !stays && look(&lock, LockMode::Exclusive)? == Found::Free {
                    self.found(
                        Thing::Temporary,
                        &Path::new(folder).join(&name),
                        Severity::Leftover,
                        problem,
                    )?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ContainerFile {
    image_id: Digest,
}

#[derive(Deserialize)]
struct SeenFile {
    #[serde(rename = "content")]
    _content: String,
}

#[derive(Deserialize)]
struct NamedFile {
    reference: String,
    #[serde(rename = "digest")]
    _digest: Digest,
}

fn parsed<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<Option<String>, StoreError> {
    let Some(bytes) = read_small(file, DOCUMENT_BYTES_MAX)? else {
        return Ok(Some("it is missing".to_owned()));
    };
    Ok(serde_json::from_slice::<T>(&bytes).err().map(|error| format!("it cannot be understood: {error}")))
}

/// A file that is named by the digest of a name in it.
fn named(file: &Path, id: &Digest, unreadable: &str) -> Result<Option<String>, StoreError> {
    let bytes = read_small(file, DOCUMENT_BYTES_MAX)?.unwrap_or_default();
    let Ok(NamedFile { reference, .. }) = serde_json::from_slice(&bytes) else {
        return Ok(Some(unreadable.to_owned()));
    };
    let same = Digest::blake3(reference.as_bytes()) == *id;
    Ok((!same).then(|| format!("it is about {reference}, which another file is")))
}

fn mount(id: &Digest, folder: &Path) -> Result<Option<String>, StoreError> {
    let path = folder.join("id");
    let wrong = match read_small(&path, ID_BYTES_MAX) {
        Ok(Some(text)) if Digest::blake3(&text) == *id => return Ok(None),
        Ok(None) => "it has no id",
        Ok(Some(_)) | Err(StoreError::Limit { .. }) => "its id is not the one it is named after",
        Err(error) => return Err(error),
    };
    Ok(Some(wrong.to_owned()))
}
