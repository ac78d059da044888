//! The plan: the directed graph of steps that the asked target needs, and nothing else.
//!
//! A step makes files; metadata instructions only change the image config, which is evaluated here, once. Equal steps on
//! equal parents are one step.

mod arguments;
mod check;
mod copy;
mod display;
mod environment;
mod epoch;
mod evaluate;
mod external;
mod file;
mod fix;
mod from_rules;
mod globals;
mod go_format;
mod graph;
mod metadata;
mod mounts;
mod options;
mod outline;
mod path;
mod planner;
mod run;
mod state;
mod steps;
mod surroundings;
mod text;
mod unfolded;
mod warnings;

use std::{path::PathBuf, sync::Arc};

use galley_dockerfile::mode::ModeSpec;
use galley_oci::{ImageConfig, Platform};
use serde::Serialize;

pub use galley_dockerfile::{
    Node as SyntaxNode,
    lint::{Edit, Fix, Rule, rules},
};

pub use self::check::{Checked, check};
pub use self::environment::Variables;
pub use self::epoch::epoch_address;
pub use self::fix::{Choice, Fixed, Made, Offer, fix};
pub(crate) use self::options::DEFAULT_HOSTNAME;
pub use self::options::{BuildContext, Entitlement, NoCache, PlanOptions};
pub use self::outline::{Needed, Outline, OutlineArg, TargetInfo, outline, targets};
pub use self::planner::{plan, stages, tree};
pub(crate) use self::state::DEFAULT_PATH;
pub use self::surroundings::{Resource, Surroundings, Ulimit};

use crate::{context::Kept, error::Place, ports::BaseImage, remote::Address};

/// The number of a step: its index in [`Plan::steps`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StepId(pub usize);

/// The number of a build context: its index in [`Plan::contexts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId(pub usize);

/// Steps in an order in which each comes after what it needs.
#[derive(Debug, Default)]
pub struct Plan {
    /// All steps.
    pub steps: Vec<Step>,
    /// The directories that steps copy from; the first is the main context.
    pub contexts: Vec<ContextSource>,
    /// What to make: one image a platform, in the order asked for.
    pub targets: Vec<Target>,
    /// The images are listed in an index, even when it is one.
    pub is_index: bool,
    /// Found while planning, to be told once.
    pub warnings: Vec<PlanWarning>,
    /// `SOURCE_DATE_EPOCH`, when a build argument or a global ARG gives it: `created` of the image and of its new
    /// history.
    pub epoch: Option<i64>,
}

/// A warning with its place.
#[derive(Clone, Debug)]
pub struct PlanWarning {
    /// The rule that found it, by whose name `# check=skip=` turns it off.
    pub rule: Option<&'static Rule>,
    /// Lower case, no full stop.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// The first and the last line of the Dockerfile's instruction, as Docker reports it.
    pub lines: Option<(usize, usize)>,
    /// What to do.
    pub help: Option<String>,
    /// The cure, when there is a certain one. Its spans are of the Dockerfile.
    pub fix: Option<Fix>,
}

/// A directory on this machine that files are copied from, read when a step first needs it.
#[derive(Clone, Debug)]
pub struct ContextSource {
    /// `.` for the main context, else the name given with --build-context.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The ignore file's text and name, when there is one.
    pub ignore: Option<(String, Vec<u8>)>,
    /// What holds the files when galley itself put them there.
    pub kept: Option<Arc<Kept>>,
}

/// One step: an operation on a parent snapshot.
#[derive(Debug)]
pub struct Step {
    /// Its own number.
    pub id: StepId,
    /// The snapshot below; none is the empty one.
    pub parent: Option<StepId>,
    /// What to do.
    pub operation: Operation,
    /// As BuildKit names it: `[builder 3/6] RUN go mod download`.
    pub name: String,
    /// Where it was written.
    pub place: Option<Place>,
    /// The stage's lower-cased name, or its number.
    pub stage: String,
    /// Skip records for this step: --no-cache.
    pub no_cache: bool,
}

/// What a step does.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few steps, and most plans have one or two bases")]
pub enum Operation {
    /// The layers of a base image.
    Base(BaseImage),
    /// A process.
    Run(RunOp),
    /// COPY, and ADD of files.
    Copy(CopyOp),
    /// WORKDIR: a directory that must be there.
    Workdir(WorkdirOp),
    /// Files of a URL or a git repository, for ADD.
    Fetch(Address),
}

/// Where files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A directory of this machine.
    Context(ContextId),
    /// A stage's or an image's snapshot.
    Step(StepId),
}

/// Which network a run step sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// One private network for the whole build.
    #[default]
    Default,
    /// Loopback alone.
    None,
    /// The machine's own.
    Host,
}

/// A process to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunOp {
    /// The command with its arguments, shell included.
    pub arguments: Vec<Vec<u8>>,
    /// The image's variables and the build arguments in one list, each name once, at the place of its last assignment,
    /// as BuildKit orders them.
    pub environment: Variables,
    /// Proxy settings that come after `environment`; never part of a key.
    pub proxies: Vec<(String, String)>,
    /// Absolute.
    pub working_directory: Vec<u8>,
    /// As the config says: empty, `name`, `uid:gid`, …
    pub user: String,
    /// In the order written.
    pub mounts: Vec<RunMount>,
    /// Heredoc scripts, mounted read-only.
    pub scripts: Vec<Script>,
    /// Which network.
    pub network: Network,
    /// The host name inside.
    pub hostname: String,
    /// Whom the programs are for, when that is not the machine that builds.
    pub platform: Option<Platform>,
    /// `--security=insecure`: nothing of the machine is kept from the process but its files.
    pub insecure: bool,
    /// What all steps of the build have around them.
    pub surroundings: Surroundings,
}

/// A file that exists only while the step runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Script {
    /// Absolute.
    pub path: Vec<u8>,
    /// What it holds.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// A `--mount` of RUN, expanded and checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunMount {
    /// Absolute.
    pub target: Vec<u8>,
    /// What appears there.
    pub kind: MountKind,
}

/// What kind of mount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Part of a stage, an image or a context.
    Bind {
        /// Whose files.
        from: Source,
        /// Path below its root.
        source: Vec<u8>,
        /// Writes are allowed and thrown away.
        writable: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name.
        id: String,
        /// How several steps share it.
        sharing: Sharing,
        /// What it starts with.
        from: Option<(Source, Vec<u8>)>,
        /// Read only.
        read_only: bool,
        /// Permission bits of the directory, when new.
        mode: Option<u32>,
        /// Its owner.
        uid: Option<u32>,
        /// Its group.
        gid: Option<u32>,
    },
    /// Memory.
    Tmpfs {
        /// In bytes.
        size: Option<u64>,
        /// Read only.
        read_only: bool,
    },
    /// The socket of an SSH agent given on the command line; nothing that goes over it is in a key.
    Ssh {
        /// The agent's name.
        id: String,
        /// Absent is an error.
        required: bool,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A secret given on the command line; its value is never in a key.
    Secret {
        /// Its name.
        id: String,
        /// As a file at the target.
        file: bool,
        /// As an environment variable.
        environment: Option<String>,
        /// Absent is an error.
        required: bool,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// How steps that run at once share a cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All at once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// Files to copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyOp {
    /// From where.
    pub from: Source,
    /// Path patterns below the source's root, as expanded, in the order written: `/a.txt`, `/*.txt`, `/`. `.` and `..`
    /// are resolved, the root stops `..`. With `--parents` each has `/./` in it, which no other path has: before it is where
    /// the kept part starts, behind it the pattern of what is kept.
    pub sources: Vec<Vec<u8>>,
    /// What was fetched to be copied too, in the order written.
    pub fetched: Vec<FetchedSource>,
    /// `--exclude`: patterns of what is left out below each source.
    pub excludes: Vec<Vec<u8>>,
    /// Files written in the Dockerfile itself.
    pub inline: Vec<InlineFile>,
    /// Absolute, with the trailing slash when one was written.
    pub destination: Vec<u8>,
    /// `--chown`, expanded.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// ADD: archives are unpacked.
    pub unpack: bool,
    /// `--link`: the files make a layer of their own that knows nothing of what is below it.
    pub link: bool,
}

/// A source of ADD that came from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchedSource {
    /// The step that fetched it.
    pub step: StepId,
    /// How many of [`CopyOp::sources`] come before it.
    pub after: usize,
    /// The file that it is; without one everything is meant that was fetched.
    pub file: Option<Vec<u8>>,
    /// Unpack it when it is an archive.
    pub unpack: bool,
}

/// A mode of `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chmod {
    /// As written, expanded: it is in the history.
    pub text: String,
    /// What it means.
    pub mode: ModeSpec,
}

/// A heredoc of COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InlineFile {
    /// The heredoc's name.
    pub name: Vec<u8>,
    /// Its text, expanded unless quoted.
    pub content: Vec<u8>,
}

/// A directory to make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkdirOp {
    /// Absolute.
    pub path: Vec<u8>,
    /// The user whose directory it becomes, when it is new.
    pub user: String,
}

/// An image to make.
#[derive(Clone, Debug)]
pub struct Target {
    /// The last step; none for an image without files.
    pub step: Option<StepId>,
    /// For which platform.
    pub platform: Platform,
    /// The config, complete but for `rootfs`, `history` and `created`.
    pub config: ImageConfig,
    /// The base image's layers and history, which stay as they are.
    pub base: Option<BaseImage>,
    /// One item for each instruction after the base.
    pub history: Vec<HistoryItem>,
}

/// What the image's history will say of one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// The step whose layer it made; none for metadata.
    pub step: Option<StepId>,
    /// `created_by`, as BuildKit writes it.
    pub created_by: String,
    /// `comment`.
    pub comment: String,
}

#[cfg(test)]
mod tests;
