//! RUN.

use galley_dockerfile::{
    Expander, Instruction,
    command::{self, Program, Run, Security},
};
use galley_oci::Platform;

use super::{
    Entitlement, MountKind, Network, Operation, RunMount, RunOp, Script, Variables,
    display::{capitals, summary},
    evaluate::Evaluation,
    mounts::RunMounts,
    text::flag_span,
};
use crate::Error;

/// Where here-documents that begin with `#!` are mounted.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

/// Where programs look for an SSH agent.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// What a RUN executes.
struct Execution {
    arguments: Vec<String>,
    scripts: Vec<Script>,
}

impl Evaluation<'_, '_> {
    pub(super) fn run_step(&mut self, run: &Run, instruction: &Instruction) -> Result<(), Error> {
        let insecure = self.insecure(run, instruction)?;
        let RunMounts { mounts, agent } = self.mounts(run)?;
        let network = self.network(run, instruction)?;
        let name = self.run_name(run, instruction, &mounts);
        let Execution { arguments, scripts } = self.run_program(run);
        let history = self.state.run_history(&arguments);
        let operation = RunOp {
            arguments: arguments.into_iter().map(String::into_bytes).collect(),
            environment: self.run_environment(agent),
            proxies: self.planner.proxies.clone(),
            working_directory: super::path::absolute("/", &self.state.directory).into_bytes(),
            user: self.state.config.config.user.clone(),
            mounts,
            scripts,
            network,
            hostname: self.hostname(),
            platform: self.other_platform(),
            insecure,
            surroundings: self.planner.graph.options.surroundings.clone(),
        };
        let step = self.step(&name, instruction.span, Operation::Run(operation), self.no_cache);
        self.record(Some(step), history)
    }

    /// Whom the programs of this stage are for, when that is another machine than this one.
    fn other_platform(&self) -> Option<Platform> {
        let here = self.planner.graph.options.build_platform.normalised();
        Some(self.state.platform.normalised()).filter(|platform| *platform != here)
    }

    fn run_environment(&self, agent: Option<String>) -> Variables {
        let environment = self.state.environment.list();
        self.planner.unfolded.add(size_of_val(&*environment));
        match agent.filter(|_| self.state.environment.get(AGENT_VARIABLE).is_none()) {
            None => environment,
            Some(socket) => {
                let variable = (AGENT_VARIABLE.into(), socket.into());
                environment.iter().cloned().chain([variable]).collect()
            }
        }
    }

    fn run_program(&self, run: &Run) -> Execution {
        let in_shell = |text: String| self.shell_program().into_iter().chain([text]).collect();
        match run.program() {
            Program::Exec(arguments) => Execution { arguments, scripts: Vec::new() },
            Program::Shell(text) => Execution { arguments: in_shell(text), scripts: Vec::new() },
            Program::Script { name, body } => {
                let path = format!("{SCRIPT_DIRECTORY}/{name}");
                let script =
                    Script { path: path.clone().into_bytes(), content: body.into_bytes(), mode: 0o755 };
                Execution { arguments: in_shell(path), scripts: vec![script] }
            }
        }
    }

    fn network(&self, run: &Run, instruction: &Instruction) -> Result<Network, Error> {
        let options = self.planner.graph.options;
        match run.network {
            None | Some(command::Network::Default) => Ok(options.network),
            Some(command::Network::None) => Ok(Network::None),
            Some(command::Network::Host) if options.allows(Entitlement::NetworkHost) => Ok(Network::Host),
            Some(command::Network::Host) => Err(self
                .text
                .wrong(flag_span(instruction, "network"), "RUN --network=host is not allowed")
                .label("asks for the machine's own network")
                .help("pass --allow network.host if you trust this Dockerfile with it")),
        }
    }

    fn insecure(&self, run: &Run, instruction: &Instruction) -> Result<bool, Error> {
        if run.security != Some(Security::Insecure) {
            return Ok(false);
        }
        if self.planner.graph.options.allows(Entitlement::SecurityInsecure) {
            return Ok(true);
        }
        Err(self
            .text
            .wrong(flag_span(instruction, "security"), "RUN --security=insecure is not allowed")
            .label("asks for all privileges")
            .help("pass --allow security.insecure if you trust this Dockerfile with this machine"))
    }

    fn hostname(&self) -> String {
        let options = self.planner.graph.options;
        let given = options.build_arg("BUILDKIT_SANDBOX_HOSTNAME").filter(|given| !given.is_empty());
        given.unwrap_or(&options.hostname).to_owned()
    }

    /// As BuildKit shows it: variables filled in where they are known, secrets as stars.
    fn run_name(&self, run: &Run, instruction: &Instruction, mounts: &[RunMount]) -> String {
        let is_secret = |name: &str| {
            mounts.iter().any(|mount| {
                matches!(&mount.kind, MountKind::Secret { environment: Some(secret), .. } if secret == name)
            })
        };
        let lookup = |name: &str| {
            let stars = is_secret(name).then(|| "****".to_owned());
            stars.or_else(|| self.state.environment.get(name).map(ToOwned::to_owned))
        };
        let mut text = instruction.text.clone();
        if let (Some(first), true) = (run.heredocs.first(), is_heredoc_alone(run)) {
            text = format!("{text} ({})", summary(&first.body));
        }
        capitals(&Expander::new(self.text.escape, &lookup).for_display(&text))
    }
}

/// `RUN <<EOF`, with nothing else on the line.
fn is_heredoc_alone(run: &Run) -> bool {
    let line = run.line.arguments(&[]).join(" ");
    let rest = line.trim_start_matches(|character: char| character.is_ascii_digit());
    rest.starts_with("<<") && !rest.contains(char::is_whitespace)
}
