//! Trees to files and back, relative to directory handles, never through a link that leads out.
//!
//! | | |
//! |---|---|
//! | [`cursor`] | opens directories below a root |
//! | [`attributes`], [`owner`], [`xattrs`] | mode, owner, time, extended attributes |
//! | [`copier`] | the bytes of one file: sharing, copying, checking |
//! | [`materialise`], [`conform`], [`unpack`], [`writers`] | tree or archive to files |
//! | [`opaque`] | marks of opaque directories, after the fact |
//! | [`write_behind`] | a large file is on its way to the disk while it is written |
//! | [`scan`], [`walk`], [`ahead`], [`hash`] | files to tree |
//! | [`bytes`] | how many bytes they have |

pub(crate) mod ahead;
pub(crate) mod attributes;
pub(crate) mod bytes;
pub(crate) mod conform;
pub(crate) mod copier;
pub(crate) mod cursor;
pub(crate) mod dialect;
pub(crate) mod hash;
pub(crate) mod listing;
pub(crate) mod materialise;
pub(crate) mod opaque;
pub(crate) mod open;
pub(crate) mod owner;
pub(crate) mod read_ahead;
pub(crate) mod remove;
pub(crate) mod scan;
pub(crate) mod unpack;
pub(crate) mod walk;
pub(crate) mod write_behind;
pub(crate) mod writers;
pub(crate) mod xattrs;

pub(crate) use dialect::Dialect;
