//! Cache keys: what a step is, as one digest. docs/internals/cache-key.md is the table; the golden digests below hold it.
//!
//! A key covers the operation and the content of its inputs, and nothing else: not the place in the Dockerfile, not the
//! stage, no time, no value of a secret, nothing that is in a cache mount. So two Dockerfiles share what they have in
//! common, and a change that does not reach a step does not run it again.

use galley_dockerfile::mode::ModeSpec;
use galley_oci::{Blake3, Digest};

use crate::plan::{Chmod, CopyOp, MountKind, Network, RunMount, RunOp, Surroundings, WorkdirOp};

/// The name of a step's result in the store.
pub(crate) type Key = galley_store::Key;

/// Where the files of a COPY come from, as far as the key goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopyInput {
    /// One digest for each source of a context: what it means today, [`select::digest`](crate::steps::select::digest).
    Selections(Vec<Digest>),
    /// The id of the snapshot; the patterns are part of the key instead.
    Snapshot(Digest),
    /// There are inline files only.
    Nothing,
}

/// The key of a run step. `inputs` has one digest for each mount that shows files of a stage, an image or a context, in
/// the order of the mounts: a snapshot's id, or the digest of a selection.
pub(crate) fn run(parent: &Digest, operation: &RunOp, inputs: &[Digest]) -> Key {
    let mut hash = start("run", parent);
    hash.number(operation.arguments.len() as u64);
    for argument in &operation.arguments {
        hash.field(argument);
    }
    hash.number(operation.environment.len() as u64);
    for (name, value) in operation.environment.iter() {
        hash.field(name.as_bytes()).field(value.as_bytes());
    }
    hash.field(&operation.working_directory).field(operation.user.as_bytes());
    hash.number(network(operation.network)).field(operation.hostname.as_bytes());
    hash.number(operation.scripts.len() as u64);
    for script in &operation.scripts {
        hash.field(&script.path).field(&script.content).number(script.mode.into());
    }
    hash.number(operation.mounts.len() as u64);
    for mount in &operation.mounts {
        hash_mount(&mut hash, mount);
    }
    hash.number(inputs.len() as u64);
    for input in inputs {
        hash.digest(input);
    }
    if let Some(platform) = &operation.platform {
        hash.field(b"platform").field(platform.to_string().as_bytes());
    }
    hash_surroundings(&mut hash, operation);
    hash.finish()
}

/// Only what was asked for, each part under its name. Where a host is, is no more a part than where a proxy is.
fn hash_surroundings(hash: &mut Blake3, operation: &RunOp) {
    let Surroundings { hosts, shm_size, ulimits } = &operation.surroundings;
    if operation.insecure {
        hash.field(b"insecure");
    }
    if !hosts.is_empty() {
        hash.field(b"hosts").number(hosts.len() as u64);
        for (name, _) in hosts {
            hash.field(name.as_bytes());
        }
    }
    if let Some(size) = shm_size {
        hash.field(b"shm-size").number(*size);
    }
    if !ulimits.is_empty() {
        hash.field(b"ulimits").number(ulimits.len() as u64);
        for limit in ulimits {
            hash.field(limit.resource.name().as_bytes()).number(limit.soft).number(limit.hard);
        }
    }
}

/// The key of COPY and ADD. `fetched` has the id of the snapshot of each [`CopyOp::fetched`].
pub(crate) fn copy(parent: &Digest, operation: &CopyOp, input: &CopyInput, fetched: &[Digest]) -> Key {
    let mut hash = start("copy", parent);
    hash.field(&operation.destination);
    option(&mut hash, operation.chown.as_deref().map(str::as_bytes));
    hash_mode(&mut hash, operation.chmod.as_ref());
    hash.number(u64::from(operation.unpack));
    match input {
        CopyInput::Nothing => {
            hash.number(0);
        }
        CopyInput::Selections(digests) => {
            hash.number(1).number(digests.len() as u64);
            for digest in digests {
                hash.digest(digest);
            }
        }
        CopyInput::Snapshot(id) => {
            hash.number(2).digest(id).number(operation.sources.len() as u64);
            for source in &operation.sources {
                hash.field(source);
            }
        }
    }
    hash.number(operation.inline.len() as u64);
    for file in &operation.inline {
        hash.field(&file.name).field(&file.content);
    }
    if !fetched.is_empty() {
        hash.field(b"fetched").number(fetched.len() as u64);
        for (source, snapshot) in operation.fetched.iter().zip(fetched) {
            hash.digest(snapshot).number(source.after as u64).number(u64::from(source.unpack));
            option(&mut hash, source.file.as_deref());
        }
    }
    // The selections of a context have left out already what is excluded.
    let by_pattern = matches!(input, CopyInput::Snapshot(_)) || !fetched.is_empty();
    if by_pattern && !operation.excludes.is_empty() {
        hash.number(operation.excludes.len() as u64);
        for pattern in &operation.excludes {
            hash.field(pattern);
        }
    }
    hash.finish()
}

/// The key of WORKDIR.
pub(crate) fn workdir(parent: &Digest, operation: &WorkdirOp) -> Key {
    start("workdir", parent).field(&operation.path).field(operation.user.as_bytes()).finish()
}

fn start(kind: &str, parent: &Digest) -> Blake3 {
    let mut hash = Blake3::of("galley.step.v1");
    hash.field(kind.as_bytes()).digest(parent);
    hash
}

/// Neither the name of a cache nor how it is shared says anything about the result.
fn hash_mount(hash: &mut Blake3, mount: &RunMount) {
    hash.field(&mount.target);
    match &mount.kind {
        MountKind::Bind { source, writable, .. } => {
            hash.number(1).field(source).number(u64::from(*writable));
        }
        MountKind::Cache { from, read_only, mode, uid, gid, .. } => {
            hash.number(2).number(u64::from(*read_only));
            option(hash, from.as_ref().map(|(_, source)| &**source));
            for value in [mode, uid, gid] {
                number(hash, value.map(u64::from));
            }
        }
        MountKind::Tmpfs { size, read_only } => {
            hash.number(if *read_only { 5 } else { 3 });
            number(hash, *size);
        }
        MountKind::Ssh { id, required, mode, uid, gid } => {
            hash.number(6).field(id.as_bytes()).number(u64::from(*required));
            for value in [mode, uid, gid] {
                hash.number(u64::from(*value));
            }
        }
        MountKind::Secret { id, file, environment, required, mode, uid, gid } => {
            hash.number(4).field(id.as_bytes()).number(u64::from(*file)).number(u64::from(*required));
            option(hash, environment.as_deref().map(str::as_bytes));
            for value in [mode, uid, gid] {
                hash.number(u64::from(*value));
            }
        }
    }
}

const fn network(network: Network) -> u64 {
    match network {
        Network::Default => 0,
        Network::None => 1,
        Network::Host => 2,
    }
}

/// Octal modes count by their bits, others by their text.
fn hash_mode(hash: &mut Blake3, chmod: Option<&Chmod>) {
    match chmod.map(|chmod| (&chmod.mode, &chmod.text)) {
        None => hash.number(0),
        Some((ModeSpec::Octal(bits), _)) => hash.number(1).number(u64::from(*bits)),
        Some((ModeSpec::Symbolic(_), text)) => hash.number(2).field(text.as_bytes()),
    };
}

fn option(hash: &mut Blake3, value: Option<&[u8]>) {
    match value {
        None => hash.number(0),
        Some(value) => hash.number(1).field(value),
    };
}

fn number(hash: &mut Blake3, value: Option<u64>) {
    match value {
        None => hash.number(0),
        Some(value) => hash.number(1).number(value),
    };
}

#[cfg(test)]
mod tests;
