//! Instructions that change the config and, but for WORKDIR, no files.

use galley_dockerfile::{
    CommandLine, Instruction, Span, Word,
    command::{
        Arg, ArgDefinition, Env, Expose, Healthcheck, HealthcheckTest, Label, Maintainer, Onbuild, Pair,
        Shell, StopSignal, User, Volume, Workdir,
    },
    lint::{Fix, cure, docker},
    port, signal,
};
use std::time::Duration;

use super::{
    Operation, WorkdirOp,
    evaluate::{Evaluation, Mention, NOT_IN_ENVIRONMENT},
    go_format::{duration, list, quoted_list},
    outline::{OutlineArg, described},
    path,
};
use crate::Error;

/// Parts of names that hint at a secret, and parts that say it is none.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

impl Evaluation<'_, '_> {
    pub(super) fn arg(&mut self, arg: &Arg, instruction: &Instruction) -> Result<(), Error> {
        let mut text = "ARG".to_owned();
        for definition in &arg.definitions {
            let name = definition.name.text.as_str();
            self.warn_secret("ARG", name, definition.name.span);
            let value = self.arg_value(definition)?;
            text.push(' ');
            text.push_str(name);
            if let Some(value) = &value {
                text.push('=');
                text.push_str(value);
                if !NOT_IN_ENVIRONMENT.contains(&name) {
                    self.state.assign(name, value);
                }
            }
            self.state.args.declare(name, value.as_deref());
            self.outline_arg(definition, instruction, value.as_deref().unwrap_or_default());
        }
        self.record(None, text)
    }

    fn outline_arg(&mut self, definition: &ArgDefinition, instruction: &Instruction, value: &str) {
        let name = definition.name.text.as_str();
        let has_own = definition.default.is_some() || self.planner.graph.options.build_arg(name).is_some();
        let is_global = self.planner.globals().get(name).is_some();
        let lines = self.planner.graph.text.lines(self.instruction);
        let arg = OutlineArg { lines, ..described(instruction, name, value, &self.text) };
        self.uses().declare(arg, has_own || !is_global);
    }

    /// The command line's value, else the default, else the global one. A default that is not used is not expanded.
    fn arg_value(&mut self, definition: &ArgDefinition) -> Result<Option<String>, Error> {
        let name = definition.name.text.as_str();
        if let Some(given) = self.planner.graph.options.build_arg(name) {
            return Ok(Some(given.to_owned()));
        }
        match &definition.default {
            Some(default) => self.expand(default).map(Some),
            None => Ok(self.planner.globals().get(name).map(ToOwned::to_owned)),
        }
    }

    pub(super) fn env(&mut self, env: &Env) -> Result<(), Error> {
        let pairs = self.pairs("ENV", &env.pairs)?;
        for (pair, (name, value)) in env.pairs.iter().zip(&pairs) {
            self.warn_secret("ENV", name, pair.key.span);
            self.state.assign_in_image(name, value);
        }
        self.record(None, format!("ENV{}", joined(&pairs)))
    }

    pub(super) fn label(&mut self, label: &Label) -> Result<(), Error> {
        let pairs = self.pairs("LABEL", &label.pairs)?;
        let text = format!("LABEL{}", joined(&pairs));
        self.state.config.config.labels.extend(pairs);
        self.record(None, text)
    }

    /// All pairs of one line see the environment from before it.
    fn pairs(&mut self, name: &str, pairs: &[Pair]) -> Result<Vec<(String, String)>, Error> {
        let expand = |pair: &Pair| {
            self.warn_legacy(name, pair);
            Ok((self.expand(&pair.key)?, self.expand(&pair.value)?))
        };
        pairs.iter().map(expand).collect()
    }

    pub(super) fn workdir(&mut self, workdir: &Workdir, instruction: &Instruction) -> Result<(), Error> {
        let shown = self.shown(instruction);
        let written = self.expand(&workdir.path)?;
        if !self.state.workdir_written && !written.starts_with('/') {
            let message = format!("the relative WORKDIR `{written}` depends on the base image");
            let (word, help) = (&workdir.path, "write an absolute path".to_owned());
            // Without a base image it can only mean one thing.
            let known =
                self.state.base.is_none() && self.text.as_str().get(word.span.range()) == Some(&written);
            let there = path::normal_directory(&self.state.directory, &written);
            let fix = known.then(|| Fix::replace(word.span, there, "write where it leads"));
            self.warn_with(&docker::WORKDIR_RELATIVE_PATH, message, word.span, help, fix);
        }
        self.state.workdir_written = true;
        let directory = path::normal_directory(&self.state.directory, &written);
        self.state.config.config.working_dir.clone_from(&directory);
        self.state.directory.clone_from(&directory);
        let text = format!("WORKDIR {directory}");
        let absolute = path::absolute("/", &directory);
        if absolute == "/" {
            return self.record(None, text);
        }
        let user = self.state.config.config.user.clone();
        let operation = Operation::Workdir(WorkdirOp { path: absolute.into_bytes(), user });
        let step = self.step(&shown, instruction.span, operation, false);
        self.record(Some(step), text)
    }

    pub(super) fn user(&mut self, user: &User) -> Result<(), Error> {
        let user = self.expand(&user.user)?;
        let text = format!("USER {user}");
        self.state.config.config.user = user;
        self.record(None, text)
    }

    pub(super) fn expose(&mut self, expose: &Expose) -> Result<(), Error> {
        let mut names = Vec::new();
        for word in &expose.ports {
            let expanded = self.with_expander(|expander| expander.words(word))?;
            for text in &expanded.words {
                self.warn_port(text, word, expose);
                let ports = port::parse(text, word.span).map_err(|error| self.text.error(&error))?;
                names.extend(ports.names());
            }
        }
        let text = format!("EXPOSE {}", list(&names));
        self.state.config.config.exposed_ports.extend(names);
        self.record(None, text)
    }

    /// Both rules of Docker look at the port after expansion. (Undefined variables have no rule here, as in Docker.)
    fn warn_port(&mut self, text: &str, word: &Word, expose: &Expose) {
        let fix = |fixed: &str, note: &str| {
            let fix = (text == word.text).then(|| Fix::replace(word.span, fixed, note))?;
            Some(if keeps_place(expose, word, fixed) { fix } else { fix.on_request() })
        };
        let protocol =
            text.rsplit(':').next().and_then(|port| port.split_once('/')).map_or("", |(_, name)| name);
        if protocol != protocol.to_lowercase() {
            let message = format!("the protocol of `{text}` is not in lower case");
            let fixed = text.replace(protocol, &protocol.to_lowercase());
            let fix = fix(&fixed, "write the protocol in lower case");
            self.warn_with(&docker::EXPOSE_PROTO_CASING, message, word.span, format!("write {fixed}"), fix);
        }
        if let Some((host, container)) = text.rsplit_once(':').filter(|(host, _)| !matches!(*host, "" | ":"))
        {
            let message =
                format!("`{text}` names `{host}` of the host: EXPOSE knows ports of the container only");
            let help = format!("write {container}, and publish it with `run -p {text}`");
            let fix = fix(container, "expose the container's port alone");
            self.warn_with(&docker::EXPOSE_INVALID_FORMAT, message, word.span, help, fix);
        }
    }

    pub(super) fn volume(&mut self, volume: &Volume) -> Result<(), Error> {
        let paths = self.expand_all(&volume.paths)?;
        if let Some((word, _)) = volume.paths.iter().zip(&paths).find(|(_, path)| path.is_empty()) {
            let message = format!("VOLUME `{}` is empty after expansion", word.text);
            return Err(self.text.wrong(word.span, message).help("write the path of a directory"));
        }
        let text = format!("VOLUME {}", list(&paths));
        self.state.config.config.volumes.extend(paths);
        self.record(None, text)
    }

    pub(super) fn shell(&mut self, shell: &Shell) -> Result<(), Error> {
        let arguments: Vec<String> = shell.arguments.iter().map(|word| word.text.clone()).collect();
        let text = format!("SHELL {}", list(&arguments));
        self.state.config.config.shell = arguments;
        self.record(None, text)
    }

    pub(super) fn stop_signal(&mut self, stop_signal: &StopSignal) -> Result<(), Error> {
        let word = &stop_signal.signal;
        let name = self.expand(word)?;
        signal::parse(&name, word.span).map_err(|error| self.text.error(&error))?;
        let text = format!("STOPSIGNAL {name}");
        self.state.config.config.stop_signal = name;
        self.record(None, text)
    }

    pub(super) fn healthcheck(
        &mut self,
        check: &Healthcheck,
        instruction: &Instruction,
    ) -> Result<(), Error> {
        let mention = self.mention(instruction);
        let earlier = self.seen.healthcheck.replace(mention);
        self.warn_repeated("HEALTHCHECK", earlier);
        let test = match &check.test {
            HealthcheckTest::None => vec!["NONE".to_owned()],
            HealthcheckTest::Command(line @ CommandLine::Shell(_)) => {
                line.arguments(&["CMD-SHELL".to_owned()])
            }
            HealthcheckTest::Command(line @ CommandLine::Exec(_)) => {
                [vec!["CMD".to_owned()], line.arguments(&[])].concat()
            }
        };
        let text = healthcheck_text(check, &test);
        self.state.config.config.healthcheck = Some(galley_oci::Healthcheck {
            test,
            interval: nanoseconds(check.interval),
            timeout: nanoseconds(check.timeout),
            start_period: nanoseconds(check.start_period),
            start_interval: nanoseconds(check.start_interval),
            retries: check.retries.unwrap_or_default().into(),
            ..galley_oci::Healthcheck::default()
        });
        self.record(None, text)
    }

    pub(super) fn entrypoint(&mut self, line: &CommandLine, instruction: &Instruction) -> Result<(), Error> {
        let mention = self.mention(instruction);
        let earlier = self.seen.entrypoint.replace(mention);
        self.warn_repeated("ENTRYPOINT", earlier);
        let arguments = self.program(line, "ENTRYPOINT", instruction);
        let text = format!("ENTRYPOINT {}", quoted_list(&arguments));
        self.state.config.config.entrypoint = arguments;
        if self.seen.cmd.is_none() {
            // An inherited CMD was meant as arguments of the inherited entrypoint.
            self.state.config.config.cmd = Vec::new();
        }
        self.record(None, text)
    }

    pub(super) fn cmd(&mut self, line: &CommandLine, instruction: &Instruction) -> Result<(), Error> {
        let mention = self.mention(instruction);
        let earlier = self.seen.cmd.replace(mention);
        self.warn_repeated("CMD", earlier);
        let arguments = self.program(line, "CMD", instruction);
        let text = format!("CMD {}", quoted_list(&arguments));
        self.state.config.config.cmd = arguments;
        self.state.config.config.args_escaped = true;
        self.record(None, text)
    }

    fn program(&mut self, line: &CommandLine, name: &'static str, instruction: &Instruction) -> Vec<String> {
        if matches!(line, CommandLine::Shell(_)) && self.state.config.config.shell.is_empty() {
            let message = format!("{name} in shell form: signals reach the shell, not the program");
            let help = format!("write {name} as a JSON array of strings");
            self.warn(&docker::JSON_ARGS_RECOMMENDED, message, instruction.span, &help);
        }
        line.arguments(&self.shell_program())
    }

    /// What runs shell forms.
    pub(super) fn shell_program(&self) -> Vec<String> {
        let shell = &self.state.config.config.shell;
        if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.clone() }
    }

    pub(super) fn onbuild(&mut self, onbuild: &Onbuild) -> Result<(), Error> {
        // No history: Docker writes none either.
        self.state.config.config.on_build.push(onbuild.expression.clone());
        Ok(())
    }

    pub(super) fn maintainer(&mut self, maintainer: &Maintainer) -> Result<(), Error> {
        let author = maintainer.author.text.clone();
        let text = format!("MAINTAINER {author}");
        self.state.config.author = Some(author).filter(|author| !author.is_empty());
        self.record(None, text)
    }

    fn warn_repeated(&mut self, name: &str, earlier: Option<Mention>) {
        let Some(earlier) = earlier else { return };
        let message = format!("this {name} has no effect: a later {name} of the stage replaces it");
        let help = "remove all but the last one";
        self.warn_of(earlier, &docker::MULTIPLE_INSTRUCTIONS_DISALLOWED, message, help);
    }

    fn warn_legacy(&mut self, name: &str, pair: &Pair) {
        if pair.legacy {
            let message = format!("`{name} key value` is the old form");
            let help = format!("write {name} key=value");
            let fix = cure::legacy_pair(pair, self.text.as_str(), self.text.escape);
            self.warn_with(&docker::LEGACY_KEY_VALUE_FORMAT, message, pair.key.span, help, fix);
        }
    }

    fn warn_secret(&mut self, instruction: &str, name: &str, span: Span) {
        let lower = name.to_lowercase();
        let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
        if has(&SECRET_WORDS) && !has(&HARMLESS_WORDS) {
            let message =
                format!("{instruction} `{name}` looks like a secret: it stays readable in the image");
            let help = "give secrets to single steps: RUN --mount=type=secret,id=…";
            self.warn(&docker::SECRETS_USED_IN_ARG_OR_ENV, message, span, help);
        }
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!(" {name}={value}")).collect()
}

fn nanoseconds(duration: Option<Duration>) -> i64 {
    i64::try_from(duration.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

/// Whether a port stays where it is among the sorted ports, whose order the history shows.
fn keeps_place(expose: &Expose, word: &Word, fixed: &str) -> bool {
    let (before, after): (Vec<_>, Vec<_>) =
        expose.ports.iter().filter(|port| *port != word).partition(|port| port.text <= word.text);
    before.iter().all(|port| port.text.as_str() <= fixed)
        && after.iter().all(|port| port.text.as_str() >= fixed)
}

/// As Go prints the struct.
fn healthcheck_text(check: &Healthcheck, test: &[String]) -> String {
    let time = |time: Option<Duration>| duration(time.unwrap_or_default());
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        list(test),
        time(check.interval),
        time(check.timeout),
        time(check.start_period),
        time(check.start_interval),
        check.retries.unwrap_or_default()
    )
}
