//! What own rules have to know besides the Dockerfile. Plain data: this crate reads no files and asks no registry.

use std::collections::{BTreeMap, BTreeSet};

/// What is known about the things around a Dockerfile. A rule that misses a fact is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By the stage's number: the image that FROM names. Not there for other stages, `scratch`, and what was not found.
    pub bases: BTreeMap<usize, BaseFacts>,
    /// The ignore file of the main context, if there is one.
    pub ignore: Option<Vec<u8>>,
    /// The names at the top of the main context, when it is a directory.
    pub entries: Option<Vec<String>>,
    /// The stage that is asked for.
    pub target: Option<String>,
    /// The names of named contexts: an image of such a name is none.
    pub contexts: BTreeSet<String>,
    /// Names of images whose digest is written down elsewhere, with registry and tag: `docker.io/library/alpine:latest`.
    pub locked: BTreeSet<String>,
}

impl Facts {
    /// Whether a name stands for a named context.
    pub(super) fn is_context(&self, name: &str) -> bool {
        self.contexts.contains(name)
    }
}

/// What a base image's config says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseFacts {
    /// The user that steps run as; empty is root.
    pub user: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
}
