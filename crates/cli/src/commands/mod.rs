//! One file a command: what can be typed, and the thin way from there to the engine.

pub(crate) mod attach;
pub(crate) mod build;
pub(crate) mod builder_prune;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod commit;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod fix;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod listing;
pub(crate) mod load;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod parse;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rename;
pub(crate) mod report;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod tag;
pub(crate) mod top;
pub(crate) mod transfer;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod volume;

use clap::{Args, Command, Subcommand};

use crate::{context::Context, failure::Outcome};

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    Build(Box<build::BuildArgs>),
    Pull(pull::PullArgs),
    Push(push::PushArgs),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Run(Box<run::RunArgs>),
    Ps(ps::PsArgs),
    #[command(flatten)]
    OfContainers(OfContainers),
    Images(images::ImagesArgs),
    Inspect(inspect::InspectArgs),
    History(history::HistoryArgs),
    Tag(tag::TagArgs),
    Rmi(rmi::RmiArgs),
    Import(import::ImportArgs),
    Save(save::SaveArgs),
    Load(load::LoadArgs),
    Lock(lock::LockArgs),
    Parse(parse::ParseArgs),
    Fix(fix::FixArgs),
    Context(context::ContextArgs),
    Report(report::ReportArgs),
    Create(Box<create::CreateArgs>),
    Export(export::ExportArgs),
    Rm(rm::RmArgs),
    /// Tell what this machine allows, and which setting to change where it does not
    Doctor,
    Version(version::VersionArgs),
    Info(info::InfoArgs),
    Completion(completion::CompletionArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
    #[command(name = "__supervise", hide = true)]
    Supervise(run::supervisor::SuperviseArgs),
    /// Manage containers
    #[command(subcommand)]
    Container(Container),
    /// Manage images
    #[command(subcommand)]
    Image(Image),
    #[command(subcommand)]
    Manifest(manifest::Manifest),
    /// Manage builds
    #[command(subcommand)]
    Builder(Builder),
    /// Build, as docker's plugin of that name
    #[command(subcommand)]
    Buildx(Buildx),
    /// Manage the store
    #[command(subcommand)]
    System(system::System),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Volume),
}

/// The parser of one of [`Commands`] that is typed often; it must be as in the whole parser.
pub(crate) fn alone(name: &str) -> Option<Command> {
    let augment = match name {
        "build" => build::BuildArgs::augment_args,
        "pull" => pull::PullArgs::augment_args,
        "push" => push::PushArgs::augment_args,
        "run" => run::RunArgs::augment_args,
        "create" => create::CreateArgs::augment_args,
        "ps" => ps::PsArgs::augment_args,
        "logs" => logs::LogsArgs::augment_args,
        "stop" => stop::StopArgs::augment_args,
        "exec" => exec::ExecArgs::augment_args,
        "rm" => rm::RmArgs::augment_args,
        "images" => images::ImagesArgs::augment_args,
        "inspect" => inspect::InspectArgs::augment_args,
        "tag" => tag::TagArgs::augment_args,
        "version" => version::VersionArgs::augment_args,
        "__supervise" => run::supervisor::SuperviseArgs::augment_args,
        _ => return None,
    };
    Some(augment(Command::new(name.to_owned())))
}

/// What is done to containers, with `container` before it and without.
#[derive(Debug, Subcommand)]
pub(crate) enum OfContainers {
    Logs(logs::LogsArgs),
    Exec(exec::ExecArgs),
    Stop(stop::StopArgs),
    Start(start::StartArgs),
    Restart(start::RestartArgs),
    Kill(kill::KillArgs),
    Wait(kill::WaitArgs),
    Attach(attach::AttachArgs),
    Commit(commit::CommitArgs),
    Cp(cp::CpArgs),
    Diff(changes::DiffArgs),
    Pause(pause::PauseArgs),
    Unpause(pause::UnpauseArgs),
    Port(port::PortArgs),
    Rename(rename::RenameArgs),
    Stats(stats::StatsArgs),
    Top(top::TopArgs),
    Update(update::UpdateArgs),
}

/// `galley container …`
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    Run(Box<run::RunArgs>),
    Create(Box<create::CreateArgs>),
    #[command(alias = "list", alias = "ps")]
    Ls(ps::PsArgs),
    #[command(flatten)]
    OfContainers(OfContainers),
    Inspect(inspect::OfContainersArgs),
    Export(export::ExportArgs),
    Prune(prune::ContainerPruneArgs),
    #[command(alias = "remove")]
    Rm(rm::RmArgs),
}

/// `galley image …`
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    Build(Box<build::BuildArgs>),
    Pull(pull::PullArgs),
    Push(push::PushArgs),
    #[command(alias = "list")]
    Ls(images::ImagesArgs),
    Inspect(inspect::OneKindArgs),
    History(history::HistoryArgs),
    Tag(tag::TagArgs),
    Prune(prune::ImagePruneArgs),
    #[command(alias = "remove")]
    Rm(rmi::RmiArgs),
    Import(import::ImportArgs),
    Save(save::SaveArgs),
    Load(load::LoadArgs),
}

/// `galley builder …`
#[derive(Debug, Subcommand)]
pub(crate) enum Builder {
    #[command(alias = "b")]
    Build(Box<build::BuildArgs>),
    Prune(builder_prune::BuilderPruneArgs),
    Version(version::VersionArgs),
}

/// `galley buildx …`
#[derive(Debug, Subcommand)]
pub(crate) enum Buildx {
    #[command(alias = "b")]
    Build(Box<build::BuildArgs>),
    Du(builder_prune::DuArgs),
    Prune(builder_prune::BuilderPruneArgs),
    Version(version::VersionArgs),
}

/// Does what was asked for.
pub(crate) fn execute(command: Commands, context: &Context) -> Outcome {
    match command {
        Commands::Build(arguments) => build::execute(*arguments, context),
        Commands::Pull(arguments) => pull::execute(&arguments, context),
        Commands::Push(arguments) => push::execute(&arguments, context),
        Commands::Login(arguments) => login::execute(&arguments, context),
        Commands::Logout(arguments) => login::log_out(&arguments, context),
        Commands::Run(arguments) => run::execute(*arguments, context),
        Commands::Ps(arguments) => ps::execute(&arguments, context),
        Commands::OfContainers(command) => execute_of_containers(command, context),
        Commands::Images(arguments) => images::execute(&arguments, context),
        Commands::Inspect(arguments) => inspect::execute(&arguments, context),
        Commands::History(arguments) => history::execute(&arguments, context),
        Commands::Tag(arguments) => tag::execute(&arguments, context),
        Commands::Rmi(arguments) => rmi::execute(&arguments, context),
        Commands::Import(arguments) => import::execute(&arguments, context),
        Commands::Save(arguments) => save::execute(&arguments, context),
        Commands::Load(arguments) => load::execute(&arguments, context),
        Commands::Lock(arguments) => lock::execute(&arguments, context),
        Commands::Parse(arguments) => parse::execute(&arguments),
        Commands::Fix(arguments) => fix::execute(&arguments),
        Commands::Context(arguments) => context::execute(&arguments, context),
        Commands::Report(arguments) => report::execute(&arguments, context),
        Commands::Create(arguments) => create::execute(*arguments, context),
        Commands::Export(arguments) => export::execute(&arguments, context),
        Commands::Rm(arguments) => rm::execute(&arguments, context),
        Commands::Doctor => doctor::execute(context),
        Commands::Version(arguments) => version::execute(&arguments, context),
        Commands::Info(arguments) => info::execute(&arguments, context),
        Commands::Completion(arguments) => completion::execute(&arguments, context),
        Commands::Man(arguments) => man::execute(&arguments, context),
        Commands::Supervise(arguments) => run::supervisor::execute(&arguments, context),
        Commands::Container(command) => execute_container(command, context),
        Commands::Image(command) => execute_image(command, context),
        Commands::Manifest(command) => manifest::execute(&command, context),
        Commands::Builder(command) => execute_builder(command, context),
        Commands::Buildx(command) => execute_buildx(command, context),
        Commands::System(command) => system::execute(&command, context),
        Commands::Volume(command) => volume::execute(&command, context),
    }
}

fn execute_builder(command: Builder, context: &Context) -> Outcome {
    match command {
        Builder::Build(arguments) => build::execute(*arguments, context),
        Builder::Prune(arguments) => {
            builder_prune::execute(&arguments, builder_prune::Style::Docker, context)
        }
        Builder::Version(arguments) => version::execute(&arguments, context),
    }
}

fn execute_buildx(command: Buildx, context: &Context) -> Outcome {
    match command {
        Buildx::Build(arguments) => build::execute(*arguments, context),
        Buildx::Du(arguments) => builder_prune::du(&arguments, context),
        Buildx::Prune(arguments) => builder_prune::execute(&arguments, builder_prune::Style::Buildx, context),
        Buildx::Version(arguments) => version::execute(&arguments, context),
    }
}

fn execute_of_containers(command: OfContainers, context: &Context) -> Outcome {
    match command {
        OfContainers::Logs(arguments) => logs::execute(&arguments, context),
        OfContainers::Exec(arguments) => exec::execute(&arguments, context),
        OfContainers::Stop(arguments) => stop::execute(&arguments, context),
        OfContainers::Start(arguments) => start::execute(&arguments, context),
        OfContainers::Restart(arguments) => start::restart(&arguments, context),
        OfContainers::Kill(arguments) => kill::execute(&arguments, context),
        OfContainers::Wait(arguments) => kill::wait(&arguments, context),
        OfContainers::Attach(arguments) => attach::execute(&arguments, context),
        OfContainers::Commit(arguments) => commit::execute(&arguments, context),
        OfContainers::Cp(arguments) => cp::execute(&arguments, context),
        OfContainers::Diff(arguments) => changes::execute(&arguments, context),
        OfContainers::Pause(arguments) => pause::execute(&arguments, context),
        OfContainers::Unpause(arguments) => pause::unpause(&arguments, context),
        OfContainers::Port(arguments) => port::execute(&arguments, context),
        OfContainers::Rename(arguments) => rename::execute(&arguments, context),
        OfContainers::Stats(arguments) => stats::execute(&arguments, context),
        OfContainers::Top(arguments) => top::execute(&arguments, context),
        OfContainers::Update(arguments) => update::execute(&arguments, context),
    }
}

fn execute_container(command: Container, context: &Context) -> Outcome {
    match command {
        Container::Run(arguments) => run::execute(*arguments, context),
        Container::Create(arguments) => create::execute(*arguments, context),
        Container::Ls(arguments) => ps::execute(&arguments, context),
        Container::OfContainers(command) => execute_of_containers(command, context),
        Container::Inspect(arguments) => inspect::execute(&arguments.whole(), context),
        Container::Export(arguments) => export::execute(&arguments, context),
        Container::Prune(arguments) => prune::containers(&arguments, context),
        Container::Rm(arguments) => rm::execute(&arguments, context),
    }
}

fn execute_image(command: Image, context: &Context) -> Outcome {
    match command {
        Image::Build(arguments) => build::execute(*arguments, context),
        Image::Pull(arguments) => pull::execute(&arguments, context),
        Image::Push(arguments) => push::execute(&arguments, context),
        Image::Ls(arguments) => images::execute(&arguments, context),
        Image::Inspect(arguments) => inspect::execute(&arguments.of(inspect::Kind::Image), context),
        Image::History(arguments) => history::execute(&arguments, context),
        Image::Tag(arguments) => tag::execute(&arguments, context),
        Image::Prune(arguments) => prune::images(&arguments, context),
        Image::Rm(arguments) => rmi::execute(&arguments, context),
        Image::Import(arguments) => import::execute(&arguments, context),
        Image::Save(arguments) => save::execute(&arguments, context),
        Image::Load(arguments) => load::execute(&arguments, context),
    }
}
