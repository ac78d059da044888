//! From what was typed to the exit code.

use std::{ffi::OsString, process::ExitCode};

use crate::{args, commands, context::Context, environment::Environment, failure::Outcome, message};

/// Does what was typed, prints what went wrong, once, and says how it ended.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read(arguments.first().map(OsString::as_os_str));
    match execute(environment, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            message::print(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn execute(mut environment: Environment, arguments: &[OsString]) -> Outcome {
    let arguments = args::parse(&environment, arguments)?;
    if let Some(directory) = &arguments.global.config {
        environment.use_logins_of(directory);
    }
    mention_docker_host(&environment);
    mention_rung(&environment);
    let context = Context::new(environment, arguments.global.root, arguments.global.insecure_registry);
    commands::execute(arguments.command, &context)
}

/// Somebody who misspelt the rung, or is root, would measure or test another one.
fn mention_rung(environment: &Environment) {
    // Inside, the process outside has said it.
    if let Some((complaint, help)) = environment.rung_complaint().filter(|_| !environment.inside_namespace())
    {
        message::warn(&complaint, Some(help));
    }
}

/// Somebody who set DOCKER_HOST, or a context, and calls docker expects a daemon to be asked.
fn mention_docker_host(environment: &Environment) {
    // Inside, the process outside has said it.
    let wanted = environment.as_docker && !environment.inside_namespace();
    for name in ["DOCKER_HOST", "DOCKER_CONTEXT"] {
        let value = environment.nonempty(name).filter(|value| wanted && *value != "default");
        if let Some(value) = value {
            let message =
                format!("{name}={} is not used: galley has no daemon and works here", value.display());
            message::warn(&message, Some(&format!("unset {name} to be rid of this")));
        }
    }
}
