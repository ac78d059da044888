mod cache;
mod call;
mod commit_time;
mod engine;
pub(crate) mod options;
mod outputs;
mod remembered;
pub(crate) mod sources;
mod work;

pub(crate) use remembered::cannot_write;

use std::{ffi::OsString, path::PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use galley_engine::export::Annotation;

use crate::{
    args::{
        annotation,
        cache::{self as cache_args, CacheFrom, CacheTo},
        call::{self as call_args, Call, Method},
        cgroup::{self, CgroupParentArg},
        go_bool, or_nothing,
        output::{self, OutputSpec},
        path,
        service::ResourceArgs,
        ssh::{self, SshArg},
        surroundings::SurroundingsArgs,
    },
    context::Context,
    display::Progress,
    failure::Outcome,
};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The Dockerfile; PATH/Dockerfile without it, - for standard input; a path in a context that is no directory
    #[arg(short, long, value_name = "FILE", value_parser = path())]
    file: Option<PathBuf>,
    /// Name the image, name:tag; may be given several times
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// The stage to build; the last one without it
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set an ARG, NAME=VALUE; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// A further context: NAME=DIR, NAME=URL of a repository or file, NAME=docker-image://IMAGE, NAME=oci-layout://DIR[:TAG]
    #[arg(long, value_name = "NAME=CONTEXT")]
    build_context: Vec<String>,
    /// A secret for RUN --mount=type=secret, or a token for ADD, such as GIT_AUTH_TOKEN: id=ID[,src=FILE][,env=NAME]
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh: default, or ID=SOCKET, or ID=KEYFILE[,KEYFILE]
    #[arg(long, value_name = "ID[=PATH]", value_parser = or_nothing(ssh::parse))]
    ssh: Vec<Option<SshArg>>,
    /// Execute every step again; cache mounts start empty
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Execute the steps of these stages again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// What to build for: linux/arm64, or several, linux/amd64,linux/arm64; `local` is this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,
    /// Set a label, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// What RUN sees of the network: default, none or host
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    network: String,
    /// Allow what a Dockerfile asks for: network.host for RUN --network=host, security.insecure for RUN --security=insecure
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    allow: Vec<String>,
    #[command(flatten)]
    surroundings: SurroundingsArgs,
    /// Have each RUN step in a cgroup of its own below this one, a path below the root of the hierarchies
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(cgroup::parse))]
    cgroup_parent: Option<CgroupParentArg>,
    #[command(flatten)]
    resources: ResourceArgs,
    /// Write the result: DIR, -, or type=oci|docker|tar|local|image|registry|cacheonly[,dest=PATH]
    #[arg(short, long, value_name = "OUTPUT", value_parser = or_nothing(output::parse))]
    output: Vec<Option<OutputSpec>>,
    /// Push the result to the registries that its names say: the same as -o type=registry
    #[arg(long)]
    push: bool,
    /// Ask the registries for every base, even for one that is in the store
    #[arg(long, conflicts_with = "offline")]
    pull: bool,
    /// Ask no registry: bases are in the store, or were seen before
    #[arg(long)]
    offline: bool,
    /// Build from the digests of galley.lock, and fail where a name has moved
    #[arg(long)]
    locked: bool,
    /// Annotate, [TYPE:]KEY=VALUE; TYPE is manifest, manifest[PLATFORM], manifest-descriptor, index, index-descriptor
    #[arg(long, value_name = "[TYPE:]KEY=VALUE", value_parser = or_nothing(annotation::parse))]
    annotation: Vec<Option<Vec<Annotation>>>,
    /// Use the cache of another machine: an image's name, or type=registry,ref=NAME, type=local,src=DIR[,tag=TAG]
    #[arg(long, value_name = "CACHE", value_parser = or_nothing(cache_args::parse_from))]
    cache_from: Vec<Option<CacheFrom>>,
    /// Write the cache: type=inline, type=registry,ref=NAME or type=local,dest=DIR, with mode=min|max
    #[arg(long, value_name = "CACHE", value_parser = or_nothing(cache_args::parse_to))]
    cache_to: Vec<Option<CacheTo>>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE", value_parser = path())]
    iidfile: Option<PathBuf>,
    /// Write digests and names of the result to a file, as JSON
    #[arg(long, value_name = "FILE", value_parser = path())]
    metadata_file: Option<PathBuf>,
    /// Write what happened, and when, to a file that chrome://tracing and ui.perfetto.dev show; - is standard output
    #[arg(long, value_name = "FILE", value_parser = path())]
    trace: Option<PathBuf>,
    /// Write a page about the build to a file, as `report` does of the last one; - is standard output
    #[arg(long, value_name = "FILE", value_parser = path())]
    report: Option<PathBuf>,
    /// How to show what happens
    #[arg(long, value_name = "KIND", value_enum)]
    progress: Option<Progress>,
    /// Show nothing but errors, and print the image's id
    #[arg(short, long)]
    quiet: bool,
    /// Look for mistakes and bad habits instead of building: --call=check
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          action = clap::ArgAction::Set, value_parser = go_bool())]
    check: bool,
    /// Ask instead of building: check, outline (what the target takes) or targets; with ,format=json for programs
    #[arg(long, value_name = "METHOD", value_parser = call_args::parse, overrides_with = "check")]
    call: Option<Call>,
    /// How many steps run at once; 16 without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Set `created` and every file time of new layers to this second since 1970
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<i64>,
    /// Same input, same bytes: all times are SOURCE_DATE_EPOCH, else one constant
    #[arg(long)]
    reproducible: bool,
    /// Host name in RUN
    #[arg(long, value_name = "NAME", default_value = "buildkitsandbox")]
    hostname: String,
    /// Put the result into the local images, and into those of a Docker engine when one runs here
    #[arg(long)]
    load: bool,
    /// The context: a directory, a git repository (URL#REF:DIR), the URL of an archive or of a Dockerfile, or - for one of
    /// these two on standard input
    #[arg(value_name = "PATH")]
    context: OsString,
}

/// Builds.
pub(crate) fn execute(arguments: BuildArgs, context: &Context) -> Outcome {
    let arguments = arguments.without_empty_paths();
    match arguments.question() {
        Some(call) => call::execute(call, &arguments, context),
        None => work::execute(arguments, context),
    }
}

impl BuildArgs {
    /// Paths that are empty, from variables of a script that are not set, are none, as in docker.
    fn without_empty_paths(mut self) -> Self {
        let Self { file, iidfile, metadata_file, trace, report, .. } = &mut self;
        for path in [file, iidfile, metadata_file, trace, report] {
            *path = path.take().filter(|path| !path.as_os_str().is_empty());
        }
        self
    }

    /// What is asked instead of a build.
    pub(crate) fn question(&self) -> Option<Call> {
        let call = if self.check { Some(Call::new(Method::Check)) } else { self.call };
        call.filter(|call| call.method != Method::Build)
    }
}
