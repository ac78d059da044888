//! `--check` and `--call`: questions about a Dockerfile. Nothing is built, and nothing is written to the store but what is
//! learned about bases.

mod check;
mod json;
mod outline;
mod targets;

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
};

use galley_engine::{
    Error, ErrorKind,
    plan::PlanOptions,
    ports::{ImageSource, Remotes},
    remote::Remote,
};
use serde::Serialize;

use super::{
    BuildArgs,
    options::{plan_options, secrets},
    work,
};
use crate::{
    args::call::{Call, Method},
    context::Context,
    failure::{Outcome, output},
    lock::{Lock, LockedImages},
    namespace,
    ports::StoreImages,
    registry::{Web, git_settings},
    signals,
};

/// Answers.
pub(super) fn execute(call: Call, arguments: &BuildArgs, context: &Context) -> Outcome {
    // An archive on standard input has files of other owners.
    if !context.environment.is_root && work::reads_input(arguments) {
        return namespace::enter(context);
    }
    let (store, stop) = (context.store()?, signals::listen()?);
    let environment = &context.environment;
    let images = StoreImages::new(&store, context, work::ask(arguments), &stop);
    let (web, git) = (Web(images.registries().clone()), git_settings(environment));
    let remotes =
        Remotes { web: &web, git: &git, offline: arguments.offline, since: context.started, pins: None };
    let secrets = secrets(&arguments.secret, environment)?;
    let remote = Remote { store: &store, remotes, secrets: &secrets, stop: &stop, began: &|| () };
    let mut options = plan_options(arguments, environment, &remote, environment.is_root)?;
    options.locked = locked(arguments);
    let own_rules = !environment.as_docker;
    match work::lock(arguments)? {
        Some((lock, path)) => {
            answer(call, &options, &LockedImages { images: &images, lock, path }, own_rules)
        }
        None => answer(call, &options, &images, own_rules),
    }
}

/// What galley.lock beside the Dockerfile holds. It need not be there, and only `--locked` has to be able to read it.
fn locked(arguments: &BuildArgs) -> BTreeSet<String> {
    let lock =
        work::dockerfile(arguments).ok().flatten().and_then(|path| Lock::read(&Lock::path(&path)).ok()?);
    lock.map(|lock| lock.images.into_keys().collect()).unwrap_or_default()
}

fn answer(call: Call, options: &PlanOptions, images: &dyn ImageSource, own_rules: bool) -> Outcome {
    match call.method {
        Method::Build => Ok(()),
        Method::Check => check::execute(call, options, images, own_rules),
        Method::Outline => outline::execute(call, options, images),
        Method::Targets => targets::execute(call, options),
        Method::Describe => describe(call),
    }
}

/// A method as `subrequests.describe` shows it.
#[derive(Serialize)]
struct Described {
    name: &'static str,
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
}

const METHODS: [Described; 4] = [
    described("frontend.lint", "what rules find in a Dockerfile"),
    described("frontend.outline", "what the target takes from outside"),
    described("frontend.targets", "the stages that can be built"),
    described("frontend.subrequests.describe", "this list"),
];

const fn described(name: &'static str, description: &'static str) -> Described {
    Described { name, version: "1.0.0", kind: "rpc", description }
}

fn describe(call: Call) -> Outcome {
    if call.json {
        return print_json(&METHODS);
    }
    let row = |method: &Described| {
        let name = method.name.trim_start_matches("frontend.");
        format!("{name}\t{}\t{}", method.version, method.description)
    };
    let rows: Vec<String> =
        ["NAME\tVERSION\tDESCRIPTION".to_owned()].into_iter().chain(METHODS.iter().map(row)).collect();
    print(&crate::table::align(&rows))
}

fn print(text: &str) -> Outcome {
    io::stdout().lock().write_all(text.as_bytes()).map_err(output)
}

fn print_json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write the answer as JSON").because(error))?;
    print(&(text + "\n"))
}
