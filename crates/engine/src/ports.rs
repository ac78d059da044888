//! What the engine asks from outside: base images, and something that runs a process on a snapshot.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use galley_oci::{Descriptor, Digest, ImageConfig, Platform, Reference, Time, TimePolicy, Tree};
use galley_store::{Image, Store, TempDir};

use crate::{
    Cancel, Error, ErrorKind, Snapshot,
    events::Stream,
    held::{Elsewhere, Held},
    images,
    plan::{Network, RunOp},
    remote::GitSettings,
    snapshot::in_store,
    ssh::SshAgents,
};

/// All that a build needs from outside.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    /// Where results are kept.
    pub store: &'a Store,
    /// What runs processes.
    pub runner: &'a dyn Runner,
    /// What was given with --secret.
    pub secrets: &'a Secrets,
    /// What was given with --ssh.
    pub ssh: &'a SshAgents,
    /// What other machines remember of their steps.
    pub records: &'a dyn RecordSource,
    /// The ways to URLs and git repositories.
    pub remotes: Remotes<'a>,
}

impl fmt::Debug for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("store", self.store)
            .field("secrets", self.secrets)
            .field("ssh", self.ssh)
            .finish_non_exhaustive()
    }
}

/// Bytes that no log, record or key may hold; they are not printed either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Keeps `bytes` to itself.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The value, for whoever hands it to a process.
    #[must_use]
    pub fn expose(&self) -> Arc<[u8]> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Secrets by the id that `RUN --mount=type=secret,id=…` asks for.
pub type Secrets = BTreeMap<String, Secret>;

/// A base image that was found: what a plan needs of it.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// As written in the Dockerfile, for display.
    pub name: String,
    /// The image's id: the digest of its config.
    pub id: Digest,
    /// Environment, user, working directory, history, ONBUILD triggers.
    pub config: ImageConfig,
    /// The config as the bytes that the id is the digest of.
    pub document: Vec<u8>,
    /// Lowest first; in the store already, or fetched when first needed.
    pub layers: Vec<BaseLayer>,
    /// The manifest as it came, when the image has one.
    pub manifest: Option<Vec<u8>>,
}

impl BaseImage {
    /// An image of the store under a name for display.
    pub fn of_store(store: &Store, name: &str, image: Image) -> Result<Self, Error> {
        let config = images::config(&image)?;
        let layers = image.layers.into_iter().map(|layer| {
            let held = in_store(store, name, &layer.layer)?.into();
            Ok(BaseLayer { diff_id: layer.diff_id, times: layer.times, blob: layer.blob, held })
        });
        let layers = layers.collect::<Result<_, Error>>()?;
        let (name, document, manifest) = (name.to_owned(), image.config, image.manifest);
        Ok(Self { name, id: image.id, config, document, layers, manifest })
    }
}

/// One layer of an image, wherever it is.
#[derive(Clone, Debug)]
pub struct BaseLayer {
    /// SHA-256 of its archive, uncompressed, as the config has it.
    pub diff_id: Digest,
    /// What was done to its times when that archive was written.
    pub times: TimePolicy,
    /// Its compressed archive, when there is one.
    pub blob: Option<Descriptor>,
    /// Its files, or where they can be had.
    pub held: Held,
}

/// Blobs of an image that is elsewhere: a repository of a registry, a layout, an archive.
pub trait BlobSource: Send + Sync + fmt::Debug {
    /// As messages name it: `docker.io/library/golang`.
    fn name(&self) -> String;

    /// Streams a blob. The reader ends with an error unless size and digest are those of `blob`, and never gives more
    /// than that size.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error>;

    /// The repository it is in, from where a registry may mount it into another one.
    fn repository(&self) -> Option<&Reference> {
        None
    }
}

/// A step that another machine has finished.
#[derive(Clone, Debug)]
pub struct SharedRecord {
    /// The id of the layer it made.
    pub layer: Digest,
    /// When.
    pub created: Time,
    /// Where that layer can be had; nowhere, when only its name is known.
    pub places: Vec<Elsewhere>,
    /// Who says so, for display: `type=registry,ref=example.com/app:cache`.
    pub from: Arc<str>,
}

/// Records of other machines: `--cache-from`.
pub trait RecordSource: Sync {
    /// The record under `key`.
    fn record(&self, key: &Digest) -> Option<SharedRecord>;

    /// The record under `key` promised files that cannot be had: it is not given again.
    fn forget(&self, key: &Digest);
}

/// Nobody else's records.
#[derive(Clone, Copy, Debug)]
pub struct NoRecords;

impl RecordSource for NoRecords {
    fn record(&self, _: &Digest) -> Option<SharedRecord> {
        None
    }

    fn forget(&self, _: &Digest) {}
}

/// The ways to what is had by its address.
#[derive(Clone, Copy)]
pub struct Remotes<'a> {
    /// Files over HTTP.
    pub web: &'a dyn WebSource,
    /// How git is run.
    pub git: &'a GitSettings,
    /// `--offline`: nothing is asked, what the store remembers holds.
    pub offline: bool,
    /// What was told since then needs not be asked again.
    pub since: Time,
    /// `--locked`: what addresses must mean.
    pub pins: Option<&'a Pins>,
}

impl Remotes<'static> {
    /// No way to anywhere.
    #[must_use]
    pub const fn none() -> Self {
        static GIT: GitSettings = GitSettings::new();
        Self { web: &NoWeb, git: &GIT, offline: true, since: Time::from_seconds(0), pins: None }
    }
}

impl fmt::Debug for Remotes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remotes").field("offline", &self.offline).finish_non_exhaustive()
    }
}

/// What addresses are held to: those of files to `sha256:…`, those of git to commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// By the address as written, or as [`GitAddress::shown`](crate::remote::GitAddress::shown) has it.
    pub contents: BTreeMap<String, String>,
    /// Who says so, for messages: `galley.lock`.
    pub from: String,
}

/// Something that gets files over HTTP. It follows redirects, and goes on where a connection broke.
pub trait WebSource: Sync {
    /// Asks for a file and hands it to `sink`, unless it is what the request says is known already.
    fn get(&self, request: &WebRequest<'_>, sink: &mut dyn WebSink) -> Result<WebAnswer, Error>;
}

/// A question for a file.
#[derive(Clone, Copy, Debug)]
pub struct WebRequest<'a> {
    /// `http://…` or `https://…`; a user and password in it are used.
    pub url: &'a str,
    /// The value of `Authorization`, for the host of `url` alone.
    pub authorization: Option<&'a Secret>,
    /// The `ETag` of what is known.
    pub etag: Option<&'a str>,
    /// The `Last-Modified` of what is known.
    pub modified: Option<&'a str>,
    /// More bytes than these are refused.
    pub limit: u64,
}

/// What a server says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAnswer {
    /// It is what is known; nothing was sent.
    pub unchanged: bool,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub modified: Option<String>,
    /// Its `Content-Encoding`, when it came in one.
    pub encoding: Option<String>,
}

/// Where a file goes.
pub trait WebSink {
    /// A file will come, of that size when it is known. Called again when it has to be sent from its beginning once more:
    /// what came before does not count.
    fn begin(&mut self, size: Option<u64>) -> io::Result<()>;

    /// Its next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Nothing can be had over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct NoWeb;

impl WebSource for NoWeb {
    fn get(&self, request: &WebRequest<'_>, _: &mut dyn WebSink) -> Result<WebAnswer, Error> {
        let message = format!("cannot fetch {}: there is no way to it", request.url);
        Err(Error::new(ErrorKind::NotFound, message))
    }
}

/// Where base images come from: the local store, layouts, registries.
pub trait ImageSource: Sync {
    /// The image `reference` names, for `platform`; `None` when this source does not have it.
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error>;

    /// The image that `--build-context NAME=oci-layout://…` points at; `None` when the layout does not have it.
    fn layout(&self, layout: &LayoutReference, _platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let message = format!("cannot read {layout}: this image source reads no OCI layouts");
        Err(Error::new(ErrorKind::Usage, message))
    }

    /// Whether `resolve` would wait for somebody else, so that several are better asked at once.
    fn is_slow(&self, _reference: &Reference) -> bool {
        false
    }

    /// Where `resolve` looked for `reference`, for the message that says it is nowhere.
    fn looked_in(&self, _reference: &Reference) -> String {
        "in the local store".to_owned()
    }

    /// Names of images that this source has and that look like `name`, best first.
    fn suggest(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }
}

/// An image in an OCI layout directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutReference {
    /// The directory that holds `index.json`.
    pub path: PathBuf,
    /// `:tag`, compared with the annotation `org.opencontainers.image.ref.name`.
    pub tag: Option<String>,
    /// `@sha256:…`, of a manifest or an index.
    pub digest: Option<Digest>,
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-layout://{}", self.path.display())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A user resolved against the snapshot's /etc/passwd and /etc/group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, `/` when unknown.
    pub home: Vec<u8>,
}

/// A mount of a run step with its source at hand.
#[derive(Clone, Debug)]
pub struct ResolvedMount {
    /// Absolute path inside.
    pub target: Vec<u8>,
    /// What appears there.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Clone)]
pub enum MountSource {
    /// A path inside another snapshot (a stage or an image); writes are thrown away after the step.
    Snapshot {
        /// Whose.
        snapshot: Snapshot,
        /// Path below its root, symlinks resolved.
        path: Vec<u8>,
        /// May be written to.
        writable: bool,
    },
    /// A directory or file of the host: a cache mount, or a directory holding the selected part of a context.
    Host {
        /// Where.
        path: PathBuf,
        /// May be written to.
        writable: bool,
        /// Writes go to a scratch layer and are thrown away (`rw` binds of a context).
        discard: bool,
    },
    /// Memory.
    Tmpfs {
        /// In bytes.
        size: Option<u64>,
        /// May be written to.
        writable: bool,
    },
    /// A file with these bytes, in memory only: secrets and heredoc scripts.
    File {
        /// Content.
        content: Arc<[u8]>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl fmt::Debug for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot { snapshot, path, .. } => {
                write!(f, "Snapshot({}, {})", snapshot.id(), String::from_utf8_lossy(path))
            }
            Self::Host { path, .. } => write!(f, "Host({})", path.display()),
            Self::Tmpfs { size, .. } => write!(f, "Tmpfs({size:?})"),
            Self::File { content, .. } => write!(f, "File({} bytes)", content.len()),
        }
    }
}

/// One run step, ready to be executed.
#[derive(Clone, Debug)]
pub struct RunRequest<'a> {
    /// What lies below.
    pub snapshot: &'a Snapshot,
    /// Command, environment, working directory.
    pub operation: &'a RunOp,
    /// Whom it runs as.
    pub user: ResolvedUser,
    /// In the order written.
    pub mounts: Vec<ResolvedMount>,
    /// Secrets given as environment variables, never part of a key.
    pub secret_env: Vec<(String, Secret)>,
    /// Which network it sees.
    pub network: Network,
    /// Whether another process will run on what this one leaves: a part of its sandbox can be made meanwhile.
    pub followed: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// What a run step left behind.
#[derive(Debug)]
pub struct RunOutcome {
    /// How it ended.
    pub exit: Exit,
    /// The changed files: a temporary directory holding `diff/`, and its tree as scanned.
    pub changes: Option<(TempDir, Tree)>,
    /// A process outside may have got one of the changed files, open for writing, from the step.
    pub lets_out: bool,
    /// Largest resident set of the step, in bytes.
    pub memory_bytes_max: u64,
    /// Processor time of the step.
    pub cpu: Duration,
}

/// Something that runs a step: the sandbox here, a cluster later, a fake in tests.
pub trait Runner: Sync {
    /// Something will run soon, perhaps with a network: what takes a while to make can be begun. It does not wait.
    fn prepare(&self, _network: bool) {}

    /// Whether a cache mount is out of its place while a step uses it, so that nobody can share it.
    fn takes_caches_away(&self) -> bool {
        false
    }

    /// Runs it to its end. `output` gets what it writes, as it comes.
    fn run(
        &self,
        request: RunRequest<'_>,
        output: &(dyn Fn(Stream, &[u8]) + Sync),
        cancel: &Cancel,
    ) -> Result<RunOutcome, Error>;
}
