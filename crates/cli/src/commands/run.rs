pub(super) mod foreground;
mod options;
pub(crate) mod supervisor;
pub(super) mod terminal;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
};

use galley_engine::container::CreateOptions;
use galley_store::Store;

pub(super) use self::options::{signal, variables};
use crate::{
    args::{
        mount::{self, MountArg},
        platform::PlatformArg,
        service::{KeepArgs, LimitArgs, RightArgs},
        surroundings::SurroundingsArgs,
    },
    commands::pull::{self, PullPolicy},
    context::Context,
    failure::{Failure, Outcome, output},
    namespace,
};

/// What `run` and `create` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Publish a port: [IP:][HOST:]CONTAINER[/tcp|udp]
    #[arg(short, long, value_name = "PORT")]
    pub(super) publish: Vec<String>,
    /// Publish all ports that the image or --expose names, at any that are free
    #[arg(short = 'P', long)]
    pub(super) publish_all: bool,
    /// A port that the container has: PORT[-PORT][/tcp|udp]
    #[arg(long, value_name = "PORT")]
    pub(super) expose: Vec<String>,
    /// Set a variable, NAME=VALUE; without a value it is taken from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    /// Set the variables that are in a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Mount a directory, a file or a named volume: HOST|VOLUME:PATH[:ro]
    #[arg(short, long, value_name = "VOLUME")]
    pub(super) volume: Vec<OsString>,
    /// Mount: type=bind|volume|tmpfs,source=HOST|VOLUME,target=PATH[,readonly]
    #[arg(long, value_name = "MOUNT", value_parser = mount::parse)]
    pub(super) mount: Vec<MountArg>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    pub(super) workdir: Option<String>,
    /// Whom to run as: USER[:GROUP], names or numbers
    #[arg(short, long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// A further group of the command, a name or a number
    #[arg(long, value_name = "GROUP")]
    pub(super) group_add: Vec<String>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Command to run instead of the image's ENTRYPOINT; empty for none
    #[arg(long, value_name = "COMMAND")]
    pub(super) entrypoint: Option<OsString>,
    /// `bridge` (a network of its own), `host` or `none`
    #[arg(long, visible_alias = "net", value_name = "NETWORK", default_value = "bridge")]
    pub(super) network: String,
    /// Host name; the start of the container's id without it
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// Set a label, NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(super) label: Vec<String>,
    /// Set the labels that are in a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) label_file: Vec<PathBuf>,
    /// A name server instead of the machine's
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns: Vec<std::net::IpAddr>,
    /// A domain in which names are looked for; a dot for none
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// An option of /etc/resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(super) dns_option: Vec<String>,
    #[command(flatten)]
    pub(super) surroundings: SurroundingsArgs,
    /// Signal that `stop` sends
    #[arg(long, value_name = "SIGNAL")]
    pub(super) stop_signal: Option<String>,
    /// The image for another machine than this one: linux/arm64, …
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(super) platform: Option<PlatformArg>,
    /// When to fetch the image from its registry
    #[arg(long, value_name = "WHEN", value_enum, default_value = "missing")]
    pub(super) pull: PullPolicy,
    /// Say nothing about fetching
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) rights: RightArgs,
    #[command(flatten)]
    pub(super) keep: KeepArgs,
    /// The image, and what to run in it instead of its CMD
    #[arg(value_names = ["IMAGE", "COMMAND"], required = true, trailing_var_arg = true)]
    pub(crate) image_and_command: Vec<OsString>,
}

impl ContainerArgs {
    /// `--pull`: sees to it that the image is in the store.
    pub(crate) fn fetch_image(&self, context: &Context, store: &Store, options: &CreateOptions) -> Outcome {
        let wanted =
            pull::Needed { name: &options.image, platform: options.platform.clone(), quiet: self.quiet };
        pull::ensure(context, store, &wanted, self.pull)
    }
}

/// Run a command in a new container
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Do not wait for it; print its id
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    container: ContainerArgs,
}

impl RunArgs {
    #[cfg(test)]
    pub(crate) const fn container(&self) -> &ContainerArgs {
        &self.container
    }
}

/// Runs it; what the command ends with is how galley ends.
pub(crate) fn execute(arguments: RunArgs, context: &Context) -> Outcome {
    run(&arguments, context).map_err(Failure::of_container)
}

fn run(arguments: &RunArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let options = arguments.container.options(&context.environment, arguments.rm)?;
    arguments.container.check_terminal(arguments.detach)?;
    arguments.container.fetch_image(context, &store, &options)?;
    let container = arguments.container.create(&store, &options)?;
    if arguments.detach {
        let id = supervisor::start(&store, container)?;
        return writeln!(io::stdout().lock(), "{id}").map_err(output);
    }
    foreground::run(&store, container)
}
