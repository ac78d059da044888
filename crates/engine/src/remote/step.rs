//! A layer of what an address means: the step of a plan that fetches.
//!
//! Its key is what came and not from where: the SHA-256 of a file and its name; a commit, and what of it. So what is known
//! by a checksum or a commit is looked up without asking anybody.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, time::Instant};

use fs_err as fs;
use galley_oci::{
    Blake3, Digest, Entry, Kind, Meta, Time, Tree,
    archive::{ItemKind, Reader, Whiteouts},
    compress,
};
use galley_store::{Layer, Record, ScanOptions, TempDir};

use super::{
    Address, Commit, Download, GitAddress, HttpAddress, Remote, address::redacted, http::FileSink, unseen,
};
use crate::{
    Error, ErrorKind,
    build::lock,
    cache::Key,
    clock::now,
    steps::{attributes, files::store_error},
};

/// Permission bits of a file that was fetched.
const FILE_MODE: u16 = 0o600;

/// What an address means, in the store.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The name of this result.
    pub key: Key,
    /// A file with the name of the address, or the files of a commit.
    pub layer: Layer,
    /// When that layer was made.
    pub created: Time,
    /// Whether it had to be fetched.
    pub fetched: bool,
    /// The time of the commit, or when the server says that the file was changed.
    pub time: Option<Time>,
}

impl Remote<'_> {
    /// The layer of what `address` means now. With `may_write` unset nothing is fetched: what the store lacks is an error
    /// of kind [`ErrorKind::NeedsExecution`].
    pub fn obtain(&self, address: &Address, may_write: bool) -> Result<Obtained, Error> {
        match address {
            Address::Http(http) => self.obtain_pinned(http, may_write),
            Address::Git(git) => self.obtain_commit(git, may_write),
        }
    }

    /// The time of what `address` means: of the commit, of the file by its server's words, or of the newest file of an
    /// archive.
    pub fn time(&self, address: &Address, may_write: bool) -> Result<Option<Time>, Error> {
        let found = self.obtain(address, may_write)?;
        match address {
            Address::Http(http) if found.time.is_none() => self.newest(&found.layer, &http.name),
            _ => Ok(found.time),
        }
    }

    /// The time of the newest file of an archive; none when it is anything else.
    fn newest(&self, layer: &Layer, name: &[u8]) -> Result<Option<Time>, Error> {
        let tree = layer.tree().map_err(store_error)?;
        let Ok(index) = tree.position(name) else { return Ok(None) };
        let file = self.store.open_file(layer, index).map_err(store_error)?;
        let Ok(plain) = compress::decoder(Box::new(file)) else { return Ok(None) };
        let (mut archive, mut newest) = (Reader::new(plain, Whiteouts::Plain), None);
        loop {
            match archive.next_item() {
                Ok(Some(item)) if matches!(item.kind, ItemKind::File { .. }) => {
                    newest = newest.max(Some(item.meta.mtime));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(newest),
                Err(_) => return Ok(None),
            }
        }
    }

    /// The file that the lock says. It must still be what is there, unless nobody may be asked.
    fn obtain_pinned(&self, address: &HttpAddress, may_write: bool) -> Result<Obtained, Error> {
        let Some(pin) = self.pin(&redacted(&address.url)).filter(|_| address.checksum.is_none()) else {
            return self.obtain_file(address, may_write);
        };
        let pin = pin?;
        let pinned = address.clone().with_checksum(pin);
        let pinned = pinned.map_err(|error| Error::new(ErrorKind::Input, error.to_string()))?;
        if self.remotes.offline {
            return self.obtain_file(&pinned, may_write);
        }
        let found = self.obtain_file(address, may_write)?;
        match pinned.checksum.map(|pin| file_key(&pin, &address.name)) == Some(found.key) {
            true => Ok(found),
            false => Err(self.moved(&redacted(&address.url), pin, None)),
        }
    }

    /// What the lock says of an address; an error when it does not know it, none without a lock.
    fn pin(&self, name: &str) -> Option<Result<&str, Error>> {
        let pins = self.remotes.pins?;
        Some(pins.contents.get(name).map(String::as_str).ok_or_else(|| {
            let message = format!("{name} is not in {}", pins.from);
            Error::new(ErrorKind::Input, message).help("add it with `galley lock`")
        }))
    }

    fn moved(&self, name: &str, pin: &str, now: Option<&str>) -> Error {
        let from = self.remotes.pins.map(|pins| pins.from.as_str()).unwrap_or_default();
        let now = now.map(|now| format!(", it is {now} now")).unwrap_or_default();
        Error::new(ErrorKind::Input, format!("{name} is not what {from} says any more"))
            .label("this has moved")
            .help(format!("the lock says {pin}{now}"))
            .help(format!(
                "take the new one with `galley lock --update {name}`, or the locked one with --offline"
            ))
    }

    fn obtain_file(&self, address: &HttpAddress, may_write: bool) -> Result<Obtained, Error> {
        if let Some(found) = self.file_at_hand(address)? {
            return Ok(found);
        }
        // Of several that want one address, one asks.
        let _lock = lock(self.store, &address_key(&address.url), self.stop)?;
        if let Some(found) = self.file_at_hand(address)? {
            return Ok(found);
        }
        if self.remotes.offline {
            return Err(self.forbidden(&redacted(&address.url)));
        }
        let known = self.known_file(address)?;
        if known.is_none() && !may_write {
            return Err(Error::new(ErrorKind::NeedsExecution, "a file has to be fetched"));
        }
        let temp = self.store.temp_dir("http").map_err(store_error)?;
        let path = temp.path().join("file");
        let mut sink = FileSink::new(&path, Some(self.began).filter(|_| may_write));
        let (started, seen) = (Instant::now(), known.as_ref().map(|(seen, _)| seen));
        let answer = self.get(address, seen, &mut sink)?;
        if let Some((seen, found)) = known.filter(|_| answer.unchanged) {
            self.remember(&address.url, seen)?;
            return Ok(found);
        }
        let download = self.downloaded(address, &answer, sink)?;
        let (key, time) = (file_key(&download.sha256, &address.name), download.modified);
        let layer = self.commit_file(&address.name, &download, temp)?;
        self.record(key, layer, started, time)
    }

    /// The file, when it is known what it must be and the store has it.
    fn file_at_hand(&self, address: &HttpAddress) -> Result<Option<Obtained>, Error> {
        if let Some(checksum) = &address.checksum {
            let time = self.remembered(&address.url)?.and_then(|(seen, _)| file_time(&seen));
            return self.look_up(file_key(checksum, &address.name), time);
        }
        match self.remembered(&address.url)? {
            Some((seen, true)) => self.file_of(&seen, address),
            _ => Ok(None),
        }
    }

    /// What is remembered of the address, when the store still has the file: what the server may say is unchanged.
    fn known_file(&self, address: &HttpAddress) -> Result<Option<(galley_store::Seen, Obtained)>, Error> {
        if address.checksum.is_some() {
            return Ok(None);
        }
        let Some((seen, _)) = self.remembered(&address.url)? else { return Ok(None) };
        Ok(self.file_of(&seen, address)?.map(|found| (seen, found)))
    }

    fn file_of(&self, seen: &galley_store::Seen, address: &HttpAddress) -> Result<Option<Obtained>, Error> {
        let Ok(sha256) = seen.content.parse::<Digest>() else { return Ok(None) };
        self.look_up(file_key(&sha256, &address.name), file_time(seen))
    }

    /// A layer with that file alone.
    fn commit_file(&self, name: &[u8], download: &Download, temp: TempDir) -> Result<Layer, Error> {
        let root = Meta { mtime: now(), ..Meta::new(0o755) };
        let meta = Meta { mtime: download.modified.unwrap_or_default(), ..Meta::new(FILE_MODE) };
        let broken = |error: std::io::Error| {
            let message = format!("cannot keep {}: {error}", String::from_utf8_lossy(name));
            Error::new(ErrorKind::Store, message).because(error)
        };
        let (from, diff) = (temp.path().join("file"), temp.diff());
        let to = diff.join(OsStr::from_bytes(name));
        fs::create_dir(&diff).and_then(|()| fs::rename(from, &to)).map_err(broken)?;
        attributes::set(&to, &meta).and_then(|()| attributes::set(&diff, &root)).map_err(broken)?;
        let kind = Kind::File { size: download.size, digest: *download.blake3.bytes(), links: None };
        let tree = Tree::from_entries(vec![
            Entry { path: Box::default(), meta: root, kind: Kind::Directory { opaque: false } },
            Entry { path: name.into(), meta, kind },
        ]);
        self.store.commit_dir(temp, tree).map_err(store_error)
    }

    fn obtain_commit(&self, address: &GitAddress, may_write: bool) -> Result<Obtained, Error> {
        let commit = self.pinned_commit(address)?;
        let key = commit_key(address, &commit);
        if let Some(found) = self.commit_at_hand(key, &commit)? {
            return Ok(found);
        }
        if !may_write {
            return Err(Error::new(ErrorKind::NeedsExecution, "a repository has to be fetched"));
        }
        let _lock = lock(self.store, &key, self.stop)?;
        if let Some(found) = self.commit_at_hand(key, &commit)? {
            return Ok(found);
        }
        (self.began)();
        let started = Instant::now();
        let temp = self.store.temp_dir("git").map_err(store_error)?;
        let time = self.check_out(address, &commit, &temp.diff())?;
        let tree = self.scan(&temp.diff())?;
        let layer = self.store.commit_dir(temp, tree).map_err(store_error)?;
        self.remember(&time_name(&commit), unseen(time.seconds.to_string()))?;
        self.record(key, layer, started, Some(time))
    }

    fn commit_at_hand(&self, key: Key, commit: &Commit) -> Result<Option<Obtained>, Error> {
        let seen = self.store.seen(&time_name(commit)).map_err(store_error)?;
        let time = seen.and_then(|seen| seen.content.parse().ok()).map(Time::from_seconds);
        self.look_up(key, time)
    }

    fn scan(&self, files: &Path) -> Result<Tree, Error> {
        self.store.scan(files, &ScanOptions::default()).map_err(store_error)
    }

    fn look_up(&self, key: Key, time: Option<Time>) -> Result<Option<Obtained>, Error> {
        let Some(record) = self.store.record(&key).map_err(store_error)? else { return Ok(None) };
        let layer = self.store.layer(&record.layer).map_err(store_error)?;
        let layer = layer.filter(|layer| self.store.has_bytes(layer));
        Ok(layer.map(|layer| Obtained { key, layer, created: record.created, fetched: false, time }))
    }

    fn record(
        &self,
        key: Key,
        layer: Layer,
        started: Instant,
        time: Option<Time>,
    ) -> Result<Obtained, Error> {
        let created = now();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let record =
            Record { layer: *layer.id(), created, duration_ms, log: None, made_of: None, boot: None };
        self.store.put_record(&key, &record).map_err(store_error)?;
        Ok(Obtained { key, layer, created, fetched: true, time })
    }

    /// The commit; where there is a lock, the one that it says, which must still be what is there.
    fn pinned_commit(&self, address: &GitAddress) -> Result<Commit, Error> {
        let name = address.shown();
        let Some(pin) = self.pin(&name).filter(|_| address.commit().is_none()) else {
            return self.resolve(address);
        };
        let pin = pin?;
        if self.remotes.offline {
            return Ok(self
                .resolve(address)
                .ok()
                .filter(|found| found.commit == pin)
                .unwrap_or_else(|| Commit::named(address, pin)));
        }
        let found = self.resolve(address)?;
        match found.commit == pin {
            true => Ok(found),
            false => Err(self.moved(&name, pin, Some(&found.commit))),
        }
    }
}

fn file_time(seen: &galley_store::Seen) -> Option<Time> {
    seen.modified.as_deref().and_then(Time::parse_http)
}

fn time_name(commit: &Commit) -> String {
    format!("time of commit {}", commit.commit)
}

/// What is locked while an address is asked.
fn address_key(url: &str) -> Key {
    Blake3::of("galley.address.v1").field(url.as_bytes()).finish()
}

fn file_key(sha256: &Digest, name: &[u8]) -> Key {
    Blake3::of("galley.fetch.http.v1").digest(sha256).field(name).finish()
}

/// `.git` also says from where it is, and what the commit is called there.
fn commit_key(address: &GitAddress, commit: &Commit) -> Key {
    let mut hash = Blake3::of("galley.fetch.git.v1");
    hash.field(commit.commit.as_bytes()).field(address.subdir.as_bytes());
    hash.number(u64::from(address.submodules)).number(u64::from(address.commit_times));
    if address.has_git_dir() {
        hash.field(redacted(&address.remote).as_bytes());
        hash.field(commit.called.as_bytes()).field(commit.object.as_bytes());
    }
    hash.finish()
}
