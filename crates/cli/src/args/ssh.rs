//! `--ssh default|ID[=PATH[,PATH]]`: agents that RUN steps may ask.

use std::path::PathBuf;

use galley_engine::{
    Error, ErrorKind,
    ssh::{SshAgent, SshAgents},
};

use crate::environment::Environment;

/// Where the agent of this session listens.
const VARIABLE: &str = "SSH_AUTH_SOCK";
/// The id that is meant without one.
const DEFAULT: &str = "default";

/// One `--ssh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshArg {
    pub(crate) id: String,
    /// A socket, or key files; none for the agent of this session.
    paths: Vec<PathBuf>,
}

/// Understands one.
pub(crate) fn parse(text: &str) -> Result<SshArg, String> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { DEFAULT } else { id };
    if id.contains(',') {
        return Err(format!("{text:?} is not ID or ID=PATH[,PATH]"));
    }
    let paths = paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    Ok(SshArg { id: id.to_owned(), paths })
}

/// The agents; of several with one id the last counts.
pub(crate) fn agents(given: &[Option<SshArg>], environment: &Environment) -> Result<SshAgents, Error> {
    let mut last = std::collections::BTreeMap::new();
    last.extend(given.iter().flatten().map(|argument| (argument.id.clone(), argument)));
    last.into_iter().map(|(id, argument)| Ok((id, argument.agent(environment)?))).collect()
}

impl SshArg {
    fn agent(&self, environment: &Environment) -> Result<SshAgent, Error> {
        if !self.paths.is_empty() {
            return SshAgent::from_paths(&self.paths);
        }
        let socket = environment.raw(VARIABLE).filter(|socket| !socket.is_empty()).ok_or_else(|| {
            let message = format!("--ssh {}: there is no SSH agent: {VARIABLE} is not set", self.id);
            Error::new(ErrorKind::Usage, message)
                .help("start one with eval $(ssh-agent) && ssh-add, or give a key: --ssh ID=KEYFILE")
        })?;
        SshAgent::from_paths(&[PathBuf::from(socket)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_paths() {
        let shown = |text: &str| parse(text).map(|SshArg { id, paths }| format!("{id} {paths:?}"));
        let some = |text: &str| Ok(text.to_owned());
        assert_eq!(shown("default"), some("default []"));
        assert_eq!(shown("default="), some("default []"));
        assert_eq!(shown("=/a"), some("default [\"/a\"]"));
        assert_eq!(shown("git=/a,/b=c"), some("git [\"/a\", \"/b=c\"]"));
        assert!(shown("a,b=c").is_err());
    }

    #[test]
    fn the_agent_of_the_session_has_to_be_there() {
        let given = [parse("default").ok()];
        let error = agents(&given, &Environment::of(&[])).unwrap_err();
        assert_eq!(error.message, "--ssh default: there is no SSH agent: SSH_AUTH_SOCK is not set");
        let gone = Environment::of(&[("SSH_AUTH_SOCK", "/nowhere/agent")]);
        let error = agents(&given, &gone).unwrap_err();
        assert_eq!(error.message, "cannot use /nowhere/agent as an SSH agent");
    }

    #[test]
    fn of_one_id_the_last_counts() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let _agent = galley_testkit::FakeAgent::start(&socket);
        let given = [parse("default=/nowhere"), parse(&format!("default={}", socket.display()))];
        let agents = agents(&given.map(Result::ok), &Environment::of(&[])).unwrap();
        assert!(matches!(&agents["default"], SshAgent::Socket(path) if *path == socket));
    }
}
