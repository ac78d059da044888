//! Repairing: what is damaged goes, with what leads to it, so that it is made again. What is whole stays.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use galley_oci::{Digest, Reference, digest::Algorithm};

use super::{Checked, Severity, Thing};
use crate::{
    Store, StoreError, Tag, TempDir,
    blobs::remove_present,
    collect::{Inventory, inventory::digest, sizes::Sizes},
    error::{Absent, At},
    images::names_in,
    tags::read_tag,
};

/// How long a repair waits for processes that look something up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// What was removed, relative to the store.
    pub removed: Vec<PathBuf>,
    /// What is damaged still, and why.
    pub left: Vec<(PathBuf, &'static str)>,
    /// Images that are gone because a part of them was damaged, by their names or ids.
    pub images: Vec<(String, String)>,
}

impl Store {
    /// Removes what `checked` found. The caller has the collector's turn.
    pub fn repair(&self, checked: &Checked) -> Result<Repaired, StoreError> {
        let temp = self.temp_dir("damaged")?;
        let Some(_alone) = self.alone(PATIENCE)? else {
            let busy = |finding: &super::Finding| (finding.path.clone(), "the store is busy");
            let left = checked.findings.iter().map(busy).collect();
            return Ok(Repaired { left, ..Repaired::default() });
        };
        let mut inventory = Inventory { leased: self.leased()?, ..Inventory::default() };
        inventory.refresh(self, &mut Sizes::load(self)?)?;
        let mut repair = Repair { store: self, temp: &temp, inventory, count: 0, done: Repaired::default() };
        repair.images(checked)?;
        repair.records(checked)?;
        for finding in &checked.findings {
            repair.remove_finding(finding)?;
        }
        Ok(repair.done)
    }
}

struct Repair<'a> {
    store: &'a Store,
    temp: &'a TempDir,
    inventory: Inventory,
    count: usize,
    done: Repaired,
}

impl Repair<'_> {
    /// Layers that go: those that nobody uses and that are damaged, or that a power cut may have hit, and those whose bytes
    /// are in them.
    fn lost_layers(&self, checked: &Checked) -> BTreeSet<Digest> {
        let found = checked.findings.iter().filter(|finding| finding.thing == Thing::Layer);
        let mut lost: BTreeSet<Digest> =
            found.filter_map(|finding| id_of(&finding.path, Algorithm::Blake3)).collect();
        lost.retain(|id| !self.is_leased(id));
        let referring =
            self.inventory.layers.iter().filter(|(_, row)| row.what.iter().any(|id| lost.contains(id)));
        let referring: Vec<Digest> = referring.map(|(id, _)| *id).filter(|id| !self.is_leased(id)).collect();
        lost.extend(referring);
        lost
    }

    /// Images of which a part is damaged, with their names.
    fn images(&mut self, checked: &Checked) -> Result<(), StoreError> {
        let layers = self.lost_layers(checked);
        let damaged = checked.findings.iter().filter(|finding| finding.thing == Thing::Image);
        let mut lost: Vec<(Digest, String)> = damaged
            .filter(|finding| finding.severity == Severity::Damaged)
            .filter_map(|finding| Some((id_of(&finding.path, Algorithm::Sha256)?, finding.problem.clone())))
            .collect();
        for (id, image) in &self.inventory.images {
            if let Some(layer) = image.what.layers.iter().find(|layer| layers.contains(*layer)) {
                lost.push((*id, format!("layer {layer} was lost")));
            }
        }
        lost.retain(|(id, _)| !self.is_leased(id));
        for (id, why) in lost {
            let names = self.untag(&id)?;
            let name = if names.is_empty() { vec![id.to_string()] } else { names };
            self.done.images.push((name.join(", "), why));
            self.remove(&Path::new("images").join(id.hex()))?;
        }
        // What leads to a layer goes before it.
        for layer in layers {
            self.lead_nowhere(&layer)?;
            self.remove(&Path::new("layers").join(layer.hex()))?;
        }
        Ok(())
    }

    /// Removes all names of an image, and gives them.
    fn untag(&mut self, image: &Digest) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for name in names_in(&self.store.root().join("refs"))? {
            let path = Path::new("refs").join(&name);
            let tag = read_tag(&self.store.root().join(&path))?;
            let Some(Tag { reference, .. }) = tag.filter(|tag| tag.images().contains(image)) else {
                continue;
            };
            names.push(Reference::familiar(&reference));
            self.remove(&path)?;
        }
        Ok(names)
    }

    fn lead_nowhere(&mut self, layer: &Digest) -> Result<(), StoreError> {
        let records = self.inventory.records.iter().filter(|(_, row)| row.what.layer == *layer);
        let records: Vec<Digest> = records.map(|(key, _)| *key).collect();
        records.iter().try_for_each(|key| self.remove(&Path::new("records").join(key.hex())))
    }

    /// Exports of damaged blobs.
    fn records(&mut self, checked: &Checked) -> Result<(), StoreError> {
        for finding in checked.findings.iter().filter(|finding| finding.thing == Thing::Blob) {
            let Some(blob) = id_of(&finding.path, Algorithm::Sha256) else { continue };
            let exports = self.inventory.exports.iter().filter(|(_, row)| row.what == Some(blob));
            let exports: Vec<Digest> = exports.map(|(key, _)| *key).collect();
            exports.iter().try_for_each(|key| self.remove(&Path::new("exports").join(key.hex())))?;
        }
        Ok(())
    }

    fn remove_finding(&mut self, finding: &super::Finding) -> Result<(), StoreError> {
        let digest = id_of(&finding.path, finding.thing.place().2);
        let why = match finding.thing {
            Thing::Container if finding.severity == Severity::Damaged => {
                Some("containers are removed by hand: `rm` it, what it wrote is in its folder")
            }
            Thing::List => Some("lists are people's work: `manifest rm` removes it"),
            _ if finding.problem.starts_with("no file of the store") => Some("it may be somebody's"),
            _ if digest.is_some_and(|digest| self.is_leased(&digest)) => Some("a running process uses it"),
            _ => None,
        };
        match why {
            Some(why) => self.done.left.push((finding.path.clone(), why)),
            None => self.remove(&finding.path)?,
        }
        Ok(())
    }

    /// Out of sight; deleted with the temporary folder.
    fn remove(&mut self, path: &Path) -> Result<(), StoreError> {
        self.count += 1;
        let (from, to) = (self.store.root().join(path), self.temp.path().join(self.count.to_string()));
        let known = self.done.removed.iter().any(|removed| removed == path);
        if !known && rustix::fs::rename(&from, &to).absent().at("remove", &from)?.is_some() {
            self.done.removed.push(path.to_owned());
        }
        // The lock on a folder under tmp/ goes with it.
        if let Some(name) = path.to_str().filter(|name| name.starts_with("tmp/") && !name.ends_with(".lock"))
        {
            remove_present(&self.store.root().join(format!("{name}.lock")))?;
        }
        Ok(())
    }

    fn is_leased(&self, id: &Digest) -> bool {
        self.inventory.leased.contains(id.bytes())
    }
}

fn id_of(path: &Path, algorithm: Algorithm) -> Option<Digest> {
    digest(algorithm, path.file_name()?.to_str()?)
}
