//! What each instruction says. Words are unexpanded, in the order of the text; every flag that Docker knows is here.

mod file;
mod from;
mod health;
mod keys;
mod line;
mod onbuild;
mod plain;
mod request;
mod run;

pub use self::file::{Add, Copy, CopySource};
pub use self::from::From;
pub use self::health::{Healthcheck, HealthcheckTest};
pub use self::keys::{Arg, ArgDefinition, Env, Label, Pair};
pub use self::line::CommandLine;
pub use self::onbuild::Onbuild;
pub use self::plain::{Expose, Maintainer, Shell, StopSignal, User, Volume, Workdir};
pub(crate) use self::request::Request;
pub use self::run::{MountFlag, Network, Program, Run, Security};

use crate::error::Error;

/// One instruction, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `FROM image [AS name]`: begins a stage.
    From(From),
    /// `ARG name[=default] …`
    Arg(Arg),
    /// `ENV key=value …`
    Env(Env),
    /// `RUN …`
    Run(Run),
    /// `COPY source… destination`
    Copy(Copy),
    /// `ADD source… destination`
    Add(Add),
    /// `WORKDIR path`
    Workdir(Workdir),
    /// `USER name[:group]`
    User(User),
    /// `LABEL key=value …`
    Label(Label),
    /// `EXPOSE port …`
    Expose(Expose),
    /// `VOLUME path …`
    Volume(Volume),
    /// `SHELL ["program", "argument"…]`
    Shell(Shell),
    /// `STOPSIGNAL signal`
    StopSignal(StopSignal),
    /// `HEALTHCHECK CMD … | NONE`
    Healthcheck(Healthcheck),
    /// `ENTRYPOINT …`; an empty exec form clears it.
    Entrypoint(CommandLine),
    /// `CMD …`; an empty exec form clears it.
    Cmd(CommandLine),
    /// `ONBUILD instruction`
    Onbuild(Onbuild),
    /// `MAINTAINER text`
    Maintainer(Maintainer),
}

/// Every instruction, in the order of the reference. Names as they are written in messages.
pub const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Command {
    /// Reads an instruction whose keyword is known.
    pub(crate) fn read(mut request: Request<'_>) -> Result<Self, Error> {
        let request = &mut request;
        Ok(match request.name {
            "FROM" => Self::From(From::read(request)?),
            "ARG" => Self::Arg(Arg::read(request)?),
            "ENV" => Self::Env(Env::read(request)?),
            "RUN" => Self::Run(Run::read(request)?),
            "COPY" => Self::Copy(Copy::read(request)?),
            "ADD" => Self::Add(Add::read(request)?),
            "WORKDIR" => Self::Workdir(Workdir::read(request)?),
            "USER" => Self::User(User::read(request)?),
            "LABEL" => Self::Label(Label::read(request)?),
            "EXPOSE" => Self::Expose(Expose::read(request)?),
            "VOLUME" => Self::Volume(Volume::read(request)?),
            "SHELL" => Self::Shell(Shell::read(request)?),
            "STOPSIGNAL" => Self::StopSignal(StopSignal::read(request)?),
            "HEALTHCHECK" => Self::Healthcheck(Healthcheck::read(request)?),
            "ENTRYPOINT" => Self::Entrypoint(request.command_line()?),
            "CMD" => Self::Cmd(request.command_line()?),
            "ONBUILD" => Self::Onbuild(Onbuild::read(request)?),
            _ => Self::Maintainer(Maintainer::read(request)?),
        })
    }

    /// The instruction's name in capitals.
    pub fn name(&self) -> &'static str {
        match self {
            Self::From(_) => "FROM",
            Self::Arg(_) => "ARG",
            Self::Env(_) => "ENV",
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Workdir(_) => "WORKDIR",
            Self::User(_) => "USER",
            Self::Label(_) => "LABEL",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Cmd(_) => "CMD",
            Self::Onbuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}
