//! What each kind of step does.
//!
//! Steps that only move files work on trees: they read what is below and what is copied as [`Tree`](galley_oci::Tree)s,
//! and say where the bytes of each new file already are. Only a run step makes bytes.
//!
//! * [`files`]: a place that files are copied from; [`select`]: which of them a pattern means; [`filter`]: what below them.
//! * [`sources`]: all that one COPY or ADD copies, from wherever it is.
//! * [`draft`]: the destination with the changes made so far.
//! * [`copy`], [`archive`], [`workdir`], [`run`]: the steps.
//! * [`mounts`]: what a run step gets mounted; [`attributes`]: directories that are made on disk.
//! * [`first_read`]: a layer that is made while its files are read for the key.
//! * [`work`]: a step of a plan with its inputs at hand.
//! * [`users`]: names to numbers by the image's own `/etc/passwd` and `/etc/group`.

pub(crate) mod archive;
pub(crate) mod attributes;
pub(crate) mod copy;
pub(crate) mod draft;
pub(crate) mod files;
pub(crate) mod filter;
pub(crate) mod first_read;
pub(crate) mod mounts;
pub(crate) mod run;
pub(crate) mod select;
pub(crate) mod sources;
pub(crate) mod users;
pub(crate) mod work;
pub(crate) mod workdir;
