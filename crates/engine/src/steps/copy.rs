//! COPY, and ADD of files: source files to changes of the destination, without moving a byte.
//!
//! The rules are BuildKit's, asked of BuildKit itself: `tests/copy/` holds its answers.

use std::{collections::HashMap, num::NonZeroU32};

use galley_dockerfile::mode::ModeSpec;
use galley_oci::{
    Blake3, Entry, Kind, Meta, Time,
    stack::Found,
    tree::{file_name, join, parent},
};
use galley_store::Origin;

use super::{
    draft::{Bytes, Draft, NewDirectory, shown},
    files::Files,
    filter::Kept,
    select::Selected,
};
use crate::{Error, ErrorKind, plan::InlineFile};

/// Permission bits of files written in the Dockerfile itself.
const INLINE_MODE: u16 = 0o644;

/// How files are copied.
#[derive(Clone, Debug)]
pub(crate) struct Manner<'a> {
    /// Absolute, with the trailing slash when one was written.
    pub destination: &'a [u8],
    /// The owner of all that is copied; without it files keep theirs and new directories are root's.
    pub owner: Option<(u32, u32)>,
    /// The mode of all that is copied but symbolic links. A symbolic one changes the mode that is there, and leaves
    /// new directories alone.
    pub mode: Option<&'a ModeSpec>,
    /// The time of what has none of its own.
    pub now: Time,
}

impl Manner<'_> {
    pub(crate) fn new_directory(&self) -> NewDirectory {
        let (uid, gid) = self.owner.unwrap_or_default();
        // A new directory never gets set-id or sticky bits, as BuildKit has it.
        let mode = match self.mode {
            Some(ModeSpec::Octal(mode)) => u16::try_from(mode & 0o777).unwrap_or_default(),
            Some(ModeSpec::Symbolic(_)) | None => 0o755,
        };
        NewDirectory { mode, uid, gid, mtime: self.now }
    }

    fn apply(&self, meta: &mut Meta, kind: &Kind) {
        if let Some((uid, gid)) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        if let Some(mode) = self.mode
            && !matches!(kind, Kind::Symlink { .. })
        {
            let changed = mode.apply(u32::from(meta.mode), matches!(kind, Kind::Directory { .. }));
            meta.mode = u16::try_from(changed).unwrap_or(meta.mode); // ok: twelve bits
        }
    }
}

/// Copies one selected source of the files with that number.
pub(crate) fn copy(
    draft: &mut Draft<'_>,
    (number, files): (u32, &Files),
    selected: &Selected,
    manner: &Manner<'_>,
) -> Result<(), Error> {
    let source = selected.walk(files.stack());
    selected.in_time()?;
    let directory = source.first().is_none_or(|kept| kept.found.entry.is_directory());
    let target = prepare_target(draft, directory, &selected.name, manner)?;
    let mut copier = Copier { draft, manner, number, groups: HashMap::new() };
    for Kept { found, on_the_way } in source {
        let relative = &found.path()[selected.path.len()..];
        let relative = relative.strip_prefix(b"/").unwrap_or(relative);
        // Of the top directory only the time is copied.
        if directory && relative.is_empty() {
            copier.keep_directory(&target, found.entry.meta.mtime);
        } else if on_the_way {
            copier.pass(found, join_all(&target, relative))?;
        } else {
            copier.put(found, join_all(&target, relative))?;
        }
    }
    Ok(())
}

/// Writes a file that is in the Dockerfile itself.
pub(crate) fn write_inline(
    draft: &mut Draft<'_>,
    file: &InlineFile,
    manner: &Manner<'_>,
) -> Result<(), Error> {
    let target = prepare_target(draft, false, file_name(&file.name), manner)?;
    let digest = *Blake3::new().update(&file.content).finish().bytes();
    let kind = Kind::File { size: file.content.len() as u64, digest, links: None };
    let mut meta = Meta { mtime: manner.now, ..Meta::new(INLINE_MODE) };
    manner.apply(&mut meta, &kind);
    refuse_directory(draft, &target)?;
    let origin = Box::new(Origin::Bytes(file.content.as_slice().into()));
    draft.put(Entry { path: target.into(), meta, kind }, Bytes::Own(origin));
    Ok(())
}

/// Where the source goes, with the directories above (for a directory: itself too) made.
///
/// A file goes into a destination that is a directory, or is written as one, under its own name.
fn prepare_target(
    draft: &mut Draft<'_>,
    directory: bool,
    name: &[u8],
    manner: &Manner<'_>,
) -> Result<Vec<u8>, Error> {
    let new = manner.new_directory();
    let (above, last) = split_last(manner.destination);
    let as_directory = if last.is_empty() || last == b"." { manner.destination } else { above };
    let resolved = draft.resolve(as_directory)?;
    draft.make_directories(&resolved, &new)?;
    let mut target = draft.resolve(manner.destination)?;
    if !directory && draft.is_directory(&target) {
        target = join(&target, name);
    }
    let needed = if directory { Some(&*target) } else { parent(&target) };
    draft.make_directories(needed.unwrap_or_default(), &new)?;
    Ok(target)
}

/// The path up to its last slash, and what follows it.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    path.split_at(slash)
}

struct Copier<'a, 'b> {
    draft: &'a mut Draft<'b>,
    manner: &'a Manner<'a>,
    /// That of the files that are copied from.
    number: u32,
    /// Hard-link groups of the source (layer and number) and what they are in the draft.
    groups: HashMap<(usize, NonZeroU32), NonZeroU32>,
}

impl Copier<'_, '_> {
    fn keep_directory(&mut self, target: &[u8], mtime: Time) {
        if let Some(existing) = self.draft.get(target) {
            let mut entry = existing.clone();
            entry.meta.mtime = mtime;
            self.draft.put(entry, Bytes::None);
        }
    }

    /// Makes a directory for what is below it; one that is there takes only the mode, and no other than the source's.
    fn pass(&mut self, found: Found<'_>, target: Vec<u8>) -> Result<(), Error> {
        match self.draft.get(&target).filter(|existing| existing.is_directory()) {
            None => self.put(found, target),
            Some(existing) => {
                let mut entry = existing.clone();
                entry.meta.mode = found.entry.meta.mode;
                self.draft.put(entry, Bytes::None);
                Ok(())
            }
        }
    }

    fn put(&mut self, found: Found<'_>, target: Vec<u8>) -> Result<(), Error> {
        let mut entry = Entry { path: target.into(), ..found.entry.clone() };
        self.manner.apply(&mut entry.meta, &entry.kind);
        let mut bytes = Bytes::None;
        match &mut entry.kind {
            Kind::Directory { opaque } => {
                *opaque = false;
                self.merge_directory(&mut entry)?;
            }
            Kind::File { links, .. } => {
                *links = links.map(|group| self.group(found.layer, group));
                bytes = copied(self.number, found);
                refuse_directory(self.draft, &entry.path)?;
            }
            _ => refuse_directory(self.draft, &entry.path)?,
        }
        self.draft.put(entry, bytes);
        Ok(())
    }

    /// A directory on a directory takes the new attributes and keeps the extended ones that the new has not.
    fn merge_directory(&self, entry: &mut Entry) -> Result<(), Error> {
        let Some(existing) = self.draft.get(&entry.path) else { return Ok(()) };
        if !existing.is_directory() {
            let path = shown(&entry.path);
            let message = format!("cannot copy a directory to {path}: it is not a directory there");
            return Err(Error::new(ErrorKind::Input, message));
        }
        if let Some(old) = &existing.meta.xattrs {
            let new = entry.meta.xattrs.get_or_insert_default();
            let kept: Vec<_> =
                old.iter().filter(|(name, _)| !new.iter().any(|(known, _)| known == name)).collect();
            new.extend(kept.into_iter().cloned());
        }
        Ok(())
    }

    fn group(&mut self, layer: usize, group: NonZeroU32) -> NonZeroU32 {
        let draft = &mut *self.draft;
        *self.groups.entry((layer, group)).or_insert_with(|| draft.new_group())
    }
}

fn copied(files: u32, found: Found<'_>) -> Bytes {
    match (u32::try_from(found.layer), u32::try_from(found.index)) {
        (Ok(layer), Ok(index)) => Bytes::Copied { files, layer, index },
        _ => Bytes::None, // ok: trees have a limit far below
    }
}

fn refuse_directory(draft: &Draft<'_>, target: &[u8]) -> Result<(), Error> {
    if draft.is_directory(target) {
        let message = format!("cannot copy a file to {}: it is a directory there", shown(target));
        return Err(Error::new(ErrorKind::Input, message));
    }
    Ok(())
}

/// `relative`, which may have several components or none, below `dir`.
pub(crate) fn join_all(dir: &[u8], relative: &[u8]) -> Vec<u8> {
    match (dir, relative) {
        (dir, []) => dir.to_vec(),
        ([], relative) => relative.to_vec(),
        (dir, relative) => [dir, b"/", relative].concat(),
    }
}
