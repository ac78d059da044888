//! A layer is unpacked while it arrives: each of these runs in a thread of its own, and chunks go from one to the next.
//!
//! ```text
//! source ─▶ receive: hash, write the blob ─▶ decode ─▶ hash: the diffID ─▶ unpack: hash, write the files
//! ```
//!
//! Nothing that comes out of this is visible: the caller commits the files when every digest was right.

use std::{
    io::{self, Read},
    panic,
    thread::{self, ScopedJoinHandle},
};

use galley_oci::{Sha256, compress};
use galley_store::{NewLayer, StoreError};

use super::{
    broken,
    layers::{Kept, explain},
    pipe::{Buffers, Inlet, Outlet},
};
use crate::{Error, Fetcher, held::Elsewhere, steps::files::store_error};

/// Fetches the archive at `place` into the store and unpacks it. A blob that the store has is not fetched.
pub(super) fn unpack(fetcher: &Fetcher<'_>, place: &Elsewhere) -> Result<NewLayer, Error> {
    let stream = &Stream { fetcher, place, name: &place.source.name() };
    let buffers = Buffers::new();
    let (received, packed) = buffers.pipe();
    let (decoded, plain) = buffers.pipe();
    let (hashed, checked) = buffers.pipe();
    thread::scope(|scope| {
        let receiving = scope.spawn(move || stream.receive(received));
        let decoding = scope.spawn(move || stream.decode(packed, decoded));
        let hashing = scope.spawn(move || stream.hash(plain, hashed));
        let layer = stream.unpack(checked);
        // The first of them that failed knows why. Those after it only miss its bytes, and those before it stopped
        // because nobody took theirs.
        join(receiving)?;
        join(decoding)?;
        join(hashing)?;
        layer
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
}

struct Stream<'a> {
    fetcher: &'a Fetcher<'a>,
    place: &'a Elsewhere,
    /// Of the source, for messages.
    name: &'a str,
}

impl Stream<'_> {
    /// Brings the blob, from the store or into it.
    fn receive(&self, to: Inlet) -> Result<(), Error> {
        let (store, blob) = (self.fetcher.store, &self.place.blob);
        if store.blob_size(&blob.digest) == Some(blob.size)
            && let Some(mut file) = store.open_blob(&blob.digest).map_err(store_error)?
        {
            // Not checked here: what comes out of it is.
            self.pump(&mut file, &to)?.then(|| to.end());
            return Ok(());
        }
        let mut kept = Kept::open(self.fetcher, self.name, blob, &*self.place.source)?;
        if self.pump(&mut kept, &to)? {
            kept.commit()?;
            to.end();
        }
        Ok(())
    }

    fn decode(&self, from: Outlet, to: Inlet) -> Result<(), Error> {
        let rest = from.rest();
        let decoded = compress::decoder(Box::new(from)).map_err(|error| self.failed(error));
        let decoded = decoded.and_then(|mut plain| self.pump(&mut plain, &to));
        // At its end, receiving finds out whether the blob is what was asked for: that says more than where decoding failed.
        if !matches!(decoded, Ok(false)) {
            rest.drain();
        }
        decoded?.then(|| to.end());
        Ok(())
    }

    /// The diffID is of all bytes, those after the archive's end too.
    fn hash(&self, mut from: Outlet, to: Inlet) -> Result<(), Error> {
        let mut hasher = Sha256::new();
        while let Some(chunk) = from.next().map_err(|error| self.failed(error))? {
            hasher.update(chunk.bytes());
            if to.send(chunk).is_err() {
                return Ok(());
            }
        }
        let (found, expected) = (hasher.finish(), self.place.diff_id);
        if found != expected {
            let why = format!("layer {} holds {found} instead of {expected}", self.place.blob.digest);
            return Err(broken(self.name, why));
        }
        to.end();
        Ok(())
    }

    fn unpack(&self, mut from: Outlet) -> Result<NewLayer, Error> {
        let unpacked = self.fetcher.store.unpack_layer(&mut from);
        if matches!(unpacked, Ok(_) | Err(StoreError::BadArchive { .. })) {
            // Whether the digests are right is known at the end. When no end comes, somebody above knows why.
            let _ = io::copy(&mut from, &mut io::sink());
        }
        unpacked
            .map_err(|error| if error.is_machines() { store_error(error) } else { broken(self.name, error) })
    }

    /// Passes everything on; says whether the input came to its end, or nobody takes it any more.
    fn pump(&self, input: &mut impl Read, to: &Inlet) -> Result<bool, Error> {
        let stop = || self.fetcher.stop.is_cancelled();
        while let Some(chunk) = to.read(input, &stop).map_err(|error| self.failed(error))? {
            if to.send(chunk).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn failed(&self, error: io::Error) -> Error {
        explain(self.fetcher.stop, self.name, error)
    }
}

#[cfg(test)]
mod tests;
