//! Who cleans up a full disk needs a little of it: for folders of its own, and for the version file of an older store.
//! What is tried out here goes at once, and what is to be done after it takes its place.

use fs_err as fs;

use crate::{
    Store, StoreError,
    blobs::remove_present,
    error::{Absent, At},
    images::names_in,
};

/// What anybody can do without, the cheapest first: sizes are counted and contexts are hashed anew, and what is told of
/// earlier builds is for people.
const EXPENDABLE: [&str; 3] = ["collector/sizes", "contexts", "builds"];

impl Store {
    /// Makes a removal possible on a disk that is full to the last block, by giving up what is least worth there.
    pub fn make_room(&self) -> Result<(), StoreError> {
        for name in EXPENDABLE {
            match self.needs_met() {
                Err(error) if error.is_full() => self.give_up(name)?,
                met => return met,
            }
        }
        self.needs_met()
    }

    /// Tries it out: a folder, and a file with something in it.
    fn needs_met(&self) -> Result<(), StoreError> {
        let temp = self.temp_dir("room")?;
        let path = temp.path().join("file");
        fs::write(&path, "room").at("write", &path)
    }

    fn give_up(&self, name: &str) -> Result<(), StoreError> {
        let path = self.root().join(name);
        let stat = rustix::fs::lstat(&path).absent().at("examine", &path)?;
        let Some(stat) = stat else { return Ok(()) };
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
            return remove_present(&path).map(drop);
        }
        names_in(&path)?.iter().try_for_each(|name| remove_present(&path.join(name)).map(drop))
    }
}
