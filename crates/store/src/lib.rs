//! The store on disk: blobs, layers, records, images; trees to files and back.
//!
//! The truth is in content-addressed files that are written whole or not at all: under `tmp/` first, then renamed.
//! docs/internals/store-format.md has the format byte for byte, the locks, and what survives a power cut.
//!
//! | | |
//! |---|---|
//! | opening, temporary files, the barrier | [`Store`], [`TempDir`], [`Busy`] |
//! | bytes by SHA-256 | [`BlobWriter`] |
//! | trees with their bytes | [`Layer`], [`Origins`] |
//! | directories and archives to trees | [`Store::scan`], [`Store::unpack`] |
//! | build contexts | [`Store::walk_context`], [`ContextFilter`] |
//! | finished steps and exports | [`Record`], [`Export`] |
//! | the last builds, for people | [`BuildEntry`] |
//! | images and their tags | [`Image`] |
//! | several layers as one directory, without mounts | [`Root`] |
//! | what registries and other addresses said | [`Remote`], [`Seen`] |
//! | removing what nothing needs | [`Policy`], [`Store::collect`] |
//! | recomputing everything | [`Store::check`], [`Finding`] |
//! | what changes: cache mounts, volumes, containers | [`CacheMount`], [`Volumes`], [`ContainerDir`] |

#![forbid(unsafe_code)]

mod blobs;
mod builds;
mod busy;
mod check;
mod collect;
mod containers;
mod content;
mod context;
mod durability;
mod error;
mod failpoint;
mod files;
mod holes;
mod images;
mod layer_contents;
mod layers;
mod leases;
mod lent;
mod lists;
mod lock;
mod losses;
mod mounts;
mod origins;
mod owning;
mod packed;
mod records;
mod remotes;
mod roots;
mod seen;
mod store;
mod tags;
mod temp;
mod volumes;
mod worn;

pub use blobs::{BlobWriter, SMALL_BLOB_BYTES_MAX};
pub use builds::{BUILDS_MAX, BuildEntry};
pub use busy::Busy;
pub use check::{Checked, Counts, Finding, Progress, Repaired, Severity, Thing};
pub use collect::{
    Collected, Disk, ImageRow, Inventory, Keep, Kind as ObjectKind, Object, Plan, Policy, RecordRow, Row,
    Rows, Turn, objects, plan,
};
pub use containers::{ContainerDir, EndNote};
pub use content::Content;
pub use context::{ContextFilter, ContextTree, Decision, KeepAll, Survey};
pub use error::{StoreError, os_error_number};
pub use files::owner::{give, give_at, give_open};
pub use files::{
    remove::remove_tree,
    scan::ScanOptions,
    unpack::{UnpackLimits, UnpackOptions, pack},
};
pub use images::{Image, ImageLayer};
pub use layer_contents::LayerContents;
pub use layers::{Layer, Lower, NewLayer};
pub use lent::Lent;
pub use lock::{FileLock, LockMode};
pub use mounts::{CacheMount, Sharing, Taken};
pub use origins::{Origin, Origins};
pub use owning::{Copied, Owning};
pub use packed::MountTrial;
pub use records::{Export, ExportBlob, Key, KeyLock, Record};
pub use remotes::Remote;
pub use roots::Root;
pub use seen::Seen;
pub use store::{FORMAT, OpenOptions, Store};
pub use tags::Tag;
pub use temp::TempDir;
pub use volumes::{Filling, RemovedVolume, Volumes};
