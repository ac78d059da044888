//! From what was typed to the exit code.

use std::{ffi::OsString, process::ExitCode};

use crate::{args, commands, context::Context, environment::Environment, failure::Outcome, report};

/// Does what was typed, prints what went wrong, once, and says how it ended.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read(arguments.first().map(OsString::as_os_str));
    match execute(environment, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::print(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn execute(environment: Environment, arguments: &[OsString]) -> Outcome {
    let arguments = args::parse(&environment, arguments)?;
    mention_docker_host(&environment);
    let context = Context { environment, root: arguments.root };
    commands::execute(arguments.command, &context)
}

/// Somebody who set DOCKER_HOST and calls docker expects a daemon to be asked.
fn mention_docker_host(environment: &Environment) {
    // Inside, the process outside has said it.
    let wanted = environment.as_docker && !environment.inside_namespace();
    if let Some(host) = environment.nonempty("DOCKER_HOST").filter(|_| wanted) {
        let message =
            format!("DOCKER_HOST={} is not used: galley has no daemon and works here", host.display());
        report::warn(&message, Some("unset DOCKER_HOST to be rid of this"));
    }
}
