//! The build itself: plan, build, put together, write.
//!
//! For an ordinary user this is tried twice: first outside of the user namespace, looking up only; when something is
//! not known yet, once more inside, from the start. A build that changes nothing never enters the namespace.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use galley_engine::{
    Cancel, Error, ErrorKind, Event, Events, Fetcher,
    build::{self, BuildRequest, Built, Mode},
    container, context as contexts,
    events::Phase,
    export::{Exported, Made, Packed},
    image::{self, ImageOptions, TimeOptions},
    plan::{self, ContextSource, Plan, PlanOptions},
    ports::{Ports, Remotes},
    remote::{GitSettings, Remote},
    runner::SandboxRunner,
    schedule,
    shared::{self, Caches},
    ssh::SshAgents,
};
use galley_oci::{Digest, TimePolicy};
use galley_store::Store;

use super::{
    BuildArgs, cache, commit_time,
    options::{plan_options, secrets},
    outputs::{self, Outputs},
    remembered::{self, Remembered},
};
use crate::{
    args::{VERSION, ssh},
    collect,
    context::Context,
    display::{self, Progress, Show},
    failure::{Outcome, of_stream},
    lock::{Lock, LockedImages},
    namespace,
    ports::StoreImages,
    registry::{Ask, Registries, RemoteImages, Web, git_settings},
    signals,
};

/// Builds, outside of the user namespace first where there is one.
pub(super) fn execute(arguments: BuildArgs, context: &Context) -> Outcome {
    let outputs = Outputs::new(&arguments)?;
    outputs.refuse_terminal()?;
    let may_execute = context.environment.is_root;
    // What is read from standard input can be read once only.
    if !may_execute && reads_input(&arguments) {
        return namespace::enter(context);
    }
    let store = context.store()?;
    let ssh = &ssh::agents(&arguments.ssh, &context.environment)?;
    let job = Job { arguments: &arguments, context, outputs: &outputs, store: &store, ssh, may_execute };
    // Outside, signals are listened to for as long as it lasts: afterwards they are passed on to the process inside.
    let done = match may_execute {
        true => {
            let stop = signals::listen()?;
            let done = job.run(&stop);
            if !stop.is_cancelled() {
                let _guard = done.is_ok().then(|| signals::end_at_first(&stop));
                collect::afterwards(context, &store);
            }
            done
        }
        false => signals::while_listening(|stop| Ok(job.run(&stop)))?,
    };
    match done {
        Err(error) if !may_execute && matches!(error.kind, ErrorKind::NeedsExecution) => {
            store.let_go();
            namespace::enter(context)
        }
        other if outputs.to_stream() => other.map_err(of_stream),
        other => other.map_err(Into::into),
    }
}

pub(super) fn reads_input(arguments: &BuildArgs) -> bool {
    arguments.context == "-" || arguments.file.as_deref() == Some(Path::new("-"))
}

/// `--locked`: the lock beside the Dockerfile, which must be there.
pub(super) fn lock(arguments: &BuildArgs) -> Result<Option<(Lock, PathBuf)>, Error> {
    if !arguments.locked {
        return Ok(None);
    }
    let Some(dockerfile) = dockerfile(arguments)? else {
        let message = "--locked needs a Dockerfile with a galley.lock beside it, in a directory";
        return Err(Error::new(ErrorKind::Usage, message));
    };
    let path = Lock::path(&dockerfile);
    let missing = || {
        Error::new(ErrorKind::NotFound, format!("there is no {}", path.display()))
            .help("write it with `galley lock`")
    };
    let lock = Lock::read(&path)?.ok_or_else(missing)?;
    Ok(Some((lock, path)))
}

/// The Dockerfile's path, when it is a file of this machine.
pub(super) fn dockerfile(arguments: &BuildArgs) -> Result<Option<PathBuf>, Error> {
    let directory = Path::new(&arguments.context);
    if reads_input(arguments) || !directory.is_dir() {
        return Ok(None);
    }
    contexts::read_dockerfile(directory, arguments.file.as_deref()).map(|dockerfile| Some(dockerfile.path))
}

/// When registries are asked for bases.
pub(super) const fn ask(arguments: &BuildArgs) -> Ask {
    match (arguments.pull, arguments.offline) {
        (true, _) => Ask::Always,
        (false, true) => Ask::Never,
        (false, false) => Ask::Missing,
    }
}

struct Job<'a> {
    arguments: &'a BuildArgs,
    context: &'a Context,
    outputs: &'a Outputs,
    store: &'a Store,
    ssh: &'a SshAgents,
    may_execute: bool,
}

/// What a build made.
struct Done {
    /// By what docker calls it; none when no image was put together.
    id: Option<Digest>,
    packed: Option<Packed>,
}

impl Job<'_> {
    fn run(&self, cancel: &Cancel) -> Result<(), Error> {
        let start = Instant::now();
        let environment = &self.context.environment;
        let secrets = secrets(&self.arguments.secret, environment)?;
        let sources = StoreImages::new(self.store, self.context, ask(self.arguments), cancel);
        let (web, mut own_git) = (Web(sources.registries().clone()), git_settings(environment));
        let lent = self.ssh.get("default").cloned();
        own_git.ssh = lent.clone().or(own_git.ssh);
        // A Dockerfile may be a stranger's: its ADD asks the agent that was lent. The context is what the person typed.
        let git = GitSettings { ssh: lent, ..own_git.clone() };
        let of_context = Remotes {
            web: &web,
            git: &own_git,
            offline: self.arguments.offline,
            since: self.context.started,
            pins: None,
        };
        let remote =
            Remote { store: self.store, remotes: of_context, secrets: &secrets, stop: cancel, began: &|| () };
        let mut options = plan_options(self.arguments, environment, &remote, self.may_execute)?;
        let times = self.times(&options.context);
        let lock = lock(self.arguments)?;
        let pins = lock.as_ref().map(|(lock, path)| lock.pins(path));
        let remote = Remote { remotes: Remotes { git: &git, pins: pins.as_ref(), ..of_context }, ..remote };
        self.settle_epoch(&mut options, &remote)?;
        let plan = match lock {
            Some((lock, path)) => plan::plan(&options, &LockedImages { images: &sources, lock, path })?,
            None => plan::plan(&options, &sources)?,
        };
        self.outputs.check_index(plan.is_index)?;
        let registries = sources.registries();
        let planned = start.elapsed();
        let (made, remembered) = self.show(start, |events| {
            events.emit(Event::Phase { phase: Phase::Plan, took: planned });
            self.build(&plan, &remote, times, registries, events)
        })?;
        self.tell(&made)?;
        remembered
    }

    /// `SOURCE_DATE_EPOCH` as the name of a stage: what that fetches has a time, or there is none.
    fn settle_epoch(&self, options: &mut PlanOptions, remote: &Remote<'_>) -> Result<(), Error> {
        let Some((address, place)) = plan::epoch_address(options)? else { return Ok(()) };
        let time = remote.time(&address, self.may_execute).map_err(|error| error.at(&place))?;
        let seconds = time.map(|time| time.seconds.to_string()).unwrap_or_default();
        options.build_args.push(("SOURCE_DATE_EPOCH".to_owned(), seconds));
        Ok(())
    }

    /// Shows what `work` does, and remembers it; whether that worked comes back beside what was made. Outside of the
    /// namespace nothing is shown before it is clear that this was all.
    fn show(
        &self,
        start: Instant,
        work: impl FnOnce(&Events) -> Result<Done, Error>,
    ) -> Result<(Done, Result<(), Error>), Error> {
        let program = format!("{} {VERSION}", self.context.environment.program());
        let progress = self.progress()?;
        let remembered = Remembered::new(self.arguments, self.outputs, self.context, &program)?;
        let (events, incoming) = display::channel(start);
        let (made, summary) = if self.may_execute {
            let show = Show::start(progress, &program, incoming);
            let made = work(&events);
            drop(events);
            (made, show.finish())
        } else {
            let made = work(&events);
            drop(events);
            let progress = match &made {
                Ok(_) => progress,
                Err(error) if error.kind == ErrorKind::NeedsExecution => {
                    return made.map(|made| (made, Ok(())));
                }
                Err(_) => Progress::Quiet,
            };
            (made, Show::start(progress, &program, incoming).finish())
        };
        if let (Err(_), Some(tail)) =
            (&made, summary.failed.as_ref().filter(|_| progress != Progress::Rawjson))
        {
            drop(display::print_failed(tail, &mut anstream::stderr()));
        }
        let kept = remembered.keep(self.store, summary.story, made.as_ref().err());
        match (made, kept) {
            (Ok(made), kept) => Ok((made, kept)),
            (Err(error), kept) => {
                // A disk that failed the build fails what tells of it too: that is one failure.
                let same = |second: &Error| (error.kind, second.kind) == (ErrorKind::Store, ErrorKind::Store);
                if let Some(second) = kept.err().filter(|second| !same(second)) {
                    crate::message::print(&second.into());
                }
                Err(error)
            }
        }
    }

    fn build(
        &self,
        plan: &Plan,
        remote: &Remote<'_>,
        times: TimeOptions,
        registries: &Registries,
        events: &Events,
    ) -> Result<Done, Error> {
        let Remote { remotes, secrets, stop: cancel, .. } = *remote;
        warn(plan, events);
        let parent = self.arguments.cgroup_parent.clone().and_then(|argument| argument.0);
        let limits = self.arguments.resources.limits();
        container::check_limits(&limits)?;
        let mode = if self.may_execute { Mode::Execute } else { Mode::LookupOnly };
        let jobs = self.arguments.jobs.map_or(schedule::DEFAULT_JOBS, usize::from);
        let subject = remembered::subject(self.arguments);
        let kept = self.kept(plan, times);
        let caches = self.caches(plan, registries, events)?;
        let fetcher = Fetcher {
            store: self.store,
            may_write: self.may_execute,
            events,
            stop: cancel,
            records: &caches,
        };
        loop {
            let runner = SandboxRunner::new(self.store, events).below_cgroup(parent.clone());
            let runner = runner.limited(limits.clone());
            let ports = Ports {
                store: self.store,
                runner: &runner,
                secrets,
                ssh: self.ssh,
                records: &caches,
                remotes,
            };
            let request = BuildRequest { plan, mode, jobs, subject: Some(subject), kept };
            let built = build::build(&request, &ports, events, cancel);
            runner.rest();
            let made = built.and_then(|built| {
                caches.lost_something();
                let made = self.finish(plan, &built, times, registries, &fetcher);
                made.map_err(|error| caches.blame(error))
            });
            match made {
                // What is lost is forgotten now, so this ends.
                Err(error) if error.kind == ErrorKind::CacheLost => {
                    cache::start_over(events, &error, cancel)?;
                }
                other => return other,
            }
        }
    }

    /// What becomes of the times of images that are kept in the store and go nowhere else.
    fn kept(&self, plan: &Plan, times: TimeOptions) -> Option<TimePolicy> {
        let source_date_epoch = times.source_date_epoch.or(plan.epoch);
        let alone = self.outputs.store && self.outputs.packing().is_none();
        alone.then(|| TimeOptions { source_date_epoch, ..times }.policy())
    }

    /// What other machines know.
    fn caches(&self, plan: &Plan, registries: &Registries, events: &Events) -> Result<Caches, Error> {
        let (registries, since) = (registries.clone(), self.context.started);
        let remote = RemoteImages { store: self.store, registries, since };
        let platforms: Vec<_> = plan.targets.iter().map(|target| &target.platform).collect();
        cache::import(&self.arguments.cache_from, &remote, &platforms, events)
    }

    /// Outside of the namespace files can neither be written with other owners nor always be read.
    fn enter_for_files(&self, built: &Built) -> Result<(), Error> {
        let mut layers = built.steps.iter().filter_map(|step| step.layer.as_ref()?.at_hand());
        let whole = layers.all(|layer| self.store.has_bytes(layer));
        let in_store = self.outputs.stay_in_store() && !cache::is_written(self.arguments);
        if self.may_execute || (whole && in_store) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NeedsExecution, "files have to be read and written"))
    }

    fn finish(
        &self,
        plan: &Plan,
        built: &Built,
        times: TimeOptions,
        registries: &Registries,
        fetcher: &Fetcher<'_>,
    ) -> Result<Done, Error> {
        let source_date_epoch = times.source_date_epoch.or(plan.epoch);
        let times = TimeOptions { source_date_epoch, ..times };
        if self.outputs.nothing {
            image::barrier(self.store, fetcher.events)?;
        }
        if !self.outputs.nothing || cache::is_written(self.arguments) {
            self.enter_for_files(built)?;
        }
        let caches = |image| {
            let export = cache::Export { fetcher, plan, built, times: times.policy(), registries, image };
            export.all(&self.arguments.cache_to)
        };
        let made = if self.outputs.nothing {
            caches(false)?;
            Done { id: None, packed: None }
        } else {
            self.output(plan, built, times, registries, fetcher, || caches(true))?
        };
        if self.may_execute {
            shared::remember(self.store, built)?;
        }
        Ok(made)
    }

    /// Puts the image together and hands it out. `caches` writes those that were asked for.
    fn output(
        &self,
        plan: &Plan,
        built: &Built,
        times: TimeOptions,
        registries: &Registries,
        fetcher: &Fetcher<'_>,
        caches: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Done, Error> {
        let made = self.images(plan, built, times, fetcher).map_err(|error| self.inside(error))?;
        let exported = Exported {
            fetcher: *fetcher,
            made: &made,
            is_index: plan.is_index,
            names: &self.outputs.names,
            times: times.policy(),
        };
        // The store first: an output outside is only there when everything before it is safe.
        if self.outputs.store {
            outputs::keep(self.outputs, &exported).map_err(|error| self.inside(error))?;
        } else {
            image::barrier(self.store, fetcher.events)?;
        }
        let packed = outputs::write(self.outputs, &exported, registries, caches)?;
        Ok(Done { id: outputs::id(&made, packed.as_ref()), packed })
    }

    /// The image of each platform, put together.
    fn images(
        &self,
        plan: &Plan,
        built: &Built,
        times: TimeOptions,
        fetcher: &Fetcher<'_>,
    ) -> Result<Vec<Made>, Error> {
        let pack = self.outputs.packing();
        let inline_cache = cache::is_inline(self.arguments);
        let options = ImageOptions { times, pack, own: self.outputs.store, inline_cache };
        let targets = plan.targets.iter().zip(&built.targets).enumerate();
        let made = targets.map(|(number, (target, snapshot))| {
            let assemble = || image::assemble(fetcher, plan, number, built, &options);
            let image = self.needs_image().then(assemble).transpose()?;
            if let Some(image) = &image {
                fetcher.events.emit(image::describe(image, target, &self.outputs.names));
            }
            Ok(Made { snapshot: snapshot.clone(), image, platform: target.platform.clone() })
        });
        made.collect()
    }

    /// Whether a config or a manifest is wanted, or the digest of one is told. Files alone need neither.
    fn needs_image(&self) -> bool {
        let BuildArgs { quiet, iidfile, metadata_file, .. } = self.arguments;
        let told = *quiet || iidfile.is_some() || metadata_file.is_some();
        told || self.outputs.store || self.outputs.need_packing() || cache::is_inline(self.arguments)
    }

    /// What cannot be read outside may be readable inside.
    fn inside(&self, error: Error) -> Error {
        if self.may_execute || error.kind == ErrorKind::CacheLost {
            return error;
        }
        Error::new(ErrorKind::NeedsExecution, "files have to be read").because(error)
    }

    fn tell(&self, done: &Done) -> Result<(), Error> {
        let Some(id) = &done.id else { return Ok(()) };
        outputs::write_small_files(self.arguments, self.outputs, id, done.packed.as_ref())?;
        if self.arguments.quiet {
            outputs::print_id(id).map_err(|error| {
                Error::new(ErrorKind::Store, "cannot write to standard output").because(error)
            })?;
        }
        Ok(())
    }

    /// The plan knows the rest: SOURCE_DATE_EPOCH is among the build arguments.
    fn times(&self, context: &ContextSource) -> TimeOptions {
        let reproducible = self.arguments.reproducible;
        let fetched = context.kept.as_ref().and_then(|kept| kept.commit_time()).filter(|_| reproducible);
        let fetched = fetched.map(|time| time.seconds);
        // The store's temporary place may be in somebody's work tree.
        let checkout = Some(&context.path).filter(|_| reproducible && context.kept.is_none());
        TimeOptions {
            source_date_epoch: None,
            rewrite_timestamp: self.outputs.rewrite_times,
            timestamp: self.arguments.timestamp,
            reproducible,
            commit_time: fetched.or_else(|| commit_time::commit_time(checkout?)),
        }
    }

    fn progress(&self) -> Result<Progress, Error> {
        let dumb = self.context.environment.text("TERM").as_deref() == Some("dumb");
        Ok(self.wanted_progress()?.resolved(dumb))
    }

    /// `--quiet`, `--progress`, `$BUILDKIT_PROGRESS`, in this order.
    fn wanted_progress(&self) -> Result<Progress, Error> {
        if self.arguments.quiet {
            return Ok(Progress::Quiet);
        }
        if let Some(progress) = self.arguments.progress {
            return Ok(progress);
        }
        let Some(wanted) = self.context.environment.text("BUILDKIT_PROGRESS").filter(|text| !text.is_empty())
        else {
            return Ok(Progress::Auto);
        };
        clap::ValueEnum::from_str(&wanted, true).map_err(|_| {
            Error::new(
                ErrorKind::Usage,
                format!("BUILDKIT_PROGRESS={wanted} is none of auto, tty, plain, quiet, rawjson"),
            )
        })
    }
}

fn warn(plan: &Plan, events: &Events) {
    for warning in &plan.warnings {
        events.emit(Event::Warning {
            rule: warning.rule.map(|rule| rule.name.into()),
            message: warning.message.clone(),
            place: warning.place.as_ref().map(ToString::to_string),
            help: warning.help.clone(),
        });
    }
}
