use std::io::{self, IsTerminal, Write};

use galley_engine::{Cancel, Error, ErrorKind};
use galley_oci::reference::DEFAULT_REGISTRY;
use galley_registry::{Credential, Credentials, Kept, Secret};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};

use crate::{
    context::Context,
    failure::{Failure, Outcome, output},
    message,
    registry::{Registries, failed, settings},
    signals,
};

/// No password or token is longer.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// How often it is looked whether Ctrl-C was pressed while somebody types.
const LOOK_NANOSECONDS: i64 = 100_000_000;

/// Log in to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password or access token; others of this machine can see it, use --password-stdin
    #[arg(short, long, value_name = "PASSWORD", value_parser = secret)]
    password: Option<Secret>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The registry; Docker Hub without it
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Log out from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The registry; Docker Hub without it
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Tries the credentials, and keeps them where docker does when they work.
pub(crate) fn execute(arguments: &LoginArgs, context: &Context) -> Outcome {
    arguments.check()?;
    let registry = registry(arguments.server.as_deref())?;
    let stop = signals::listen()?;
    let login =
        Login { registry, context, credentials: Credentials::load(&settings(&context.environment)), stop };
    if arguments.username.is_none() && arguments.password.is_none() && login.with_known()? {
        return say("Login Succeeded");
    }
    let (user, password) = login.ask(arguments)?;
    login.with(&user, &password)?;
    say("Login Succeeded")
}

/// Forgets them.
pub(crate) fn log_out(arguments: &LogoutArgs, context: &Context) -> Outcome {
    let registry = registry(arguments.server.as_deref())?;
    let credentials = Credentials::load(&settings(&context.environment));
    let forgotten = credentials
        .logout(&registry)
        .map_err(|error| failed(&format!("cannot log out from {registry}"), error))?;
    let name = display_name(&registry);
    if forgotten.from.is_empty() {
        say(&format!("Not logged in to {name}"))?;
    } else {
        say(&format!("Removing login credentials for {name}"))?;
    }
    if forgotten.others_remain {
        let message = format!("another file still has credentials for {name}, which are used from now on");
        message::warn(&message, Some("the places are listed in docs/registries.md"));
    }
    Ok(())
}

/// What is typed here is not for messages.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

struct Login<'a> {
    registry: String,
    context: &'a Context,
    credentials: Credentials,
    stop: Cancel,
}

impl LoginArgs {
    fn check(&self) -> Outcome {
        if self.password.is_some() && self.password_stdin {
            return Err(Failure::usage("--password and --password-stdin exclude each other"));
        }
        if self.password_stdin && self.username.is_none() {
            return Err(Failure::usage("--password-stdin needs --username"));
        }
        if self.password.is_some() {
            // Docker's words.
            message::warn("Using --password via the CLI is insecure. Use --password-stdin.", None);
        }
        Ok(())
    }
}

impl Login<'_> {
    /// What is kept already may still work.
    fn with_known(&self) -> Outcome<bool> {
        let known = self.credentials.get(&self.registry, "").map_err(|error| self.failed(error))?;
        if known == Credential::Anonymous {
            return Ok(false);
        }
        say("Authenticating with existing credentials...")?;
        match self.client()?.try_login(&self.registry, &known) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == galley_registry::Kind::Denied => {
                say("Login did not succeed, error: they are not accepted any more")?;
                Ok(false)
            }
            Err(error) => Err(self.failed(error).into()),
        }
    }

    fn with(&self, user: &str, password: &Secret) -> Outcome {
        let credential = Credential::Basic { user: user.to_owned(), password: password.clone() };
        let token =
            self.client()?.try_login(&self.registry, &credential).map_err(|error| self.failed(error))?;
        let token = token.map(Secret::new);
        let kept = self.credentials.login(&self.registry, user, password, token.as_ref());
        if let Kept::File(path) = kept.map_err(|error| self.failed(error))? {
            let message = format!("your credentials are stored unencrypted in {}", path.display());
            message::warn(
                &message,
                Some("a credential helper, named as credsStore in that file, keeps them safely"),
            );
        }
        Ok(())
    }

    fn client(&self) -> Result<galley_registry::Client, Error> {
        Registries::new(self.context, &self.stop).client()
    }

    fn failed(&self, error: galley_registry::RegistryError) -> Error {
        failed(&format!("cannot log in to {}", display_name(&self.registry)), error)
    }

    /// Name and password as typed on the command line, piped in, or typed now.
    fn ask(&self, arguments: &LoginArgs) -> Outcome<(String, Secret)> {
        let user = match &arguments.username {
            Some(user) => user.clone(),
            None => self.prompt("Username: ", false)?,
        };
        let password = match &arguments.password {
            Some(password) => password.clone(),
            None if arguments.password_stdin => Secret::new(self.line()?),
            None => Secret::new(self.prompt("Password: ", true)?),
        };
        if user.is_empty() || password.reveal().is_empty() {
            return Err(Failure::usage("a user's name and a password are needed, and one of them is empty"));
        }
        Ok((user, password))
    }

    fn prompt(&self, question: &str, hidden: bool) -> Outcome<String> {
        if !io::stdin().is_terminal() {
            let error = Error::new(ErrorKind::Usage, "nobody can be asked: standard input is no terminal");
            return Err(error.help("give --username, and the password with --password-stdin").into());
        }
        let mut out = io::stderr().lock();
        out.write_all(question.as_bytes()).and_then(|()| out.flush()).map_err(output)?;
        let silence = if hidden { Some(Silence::begin().map_err(unreadable)?) } else { None };
        let line = self.line();
        if silence.is_some() {
            // The line's end was not echoed either.
            writeln!(out).map_err(output)?;
        }
        line
    }

    /// One line of standard input, without its end, or all of it when it has no end.
    fn line(&self) -> Outcome<String> {
        let mut line = Vec::new();
        let mut byte = [0_u8];
        while !line.ends_with(b"\n") {
            self.wait()?;
            // Not through std's buffer, which `wait` does not see.
            if rustix::io::read(io::stdin(), &mut byte).map_err(|error| unreadable(error.into()))? == 0 {
                break;
            }
            line.extend_from_slice(&byte);
            if line.len() > SECRET_BYTES_MAX {
                return Err(Failure::usage(format!(
                    "standard input has a line of more than {SECRET_BYTES_MAX} bytes"
                )));
            }
        }
        let text = String::from_utf8(line).map_err(|_| Failure::usage("standard input is no UTF-8"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Until there is something to read.
    fn wait(&self) -> Outcome {
        let stdin = io::stdin();
        let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_NANOSECONDS };
        loop {
            if self.stop.is_cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled").into());
            }
            let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut fds, Some(&pause)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(unreadable(error.into())),
            }
        }
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that went away needs nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

fn unreadable(error: io::Error) -> Failure {
    Error::new(ErrorKind::Usage, "cannot read standard input").because(error).into()
}

/// The registry's name in what people give as its address: `https://index.docker.io/v1/`, `example.com:5000`.
fn registry(server: Option<&str>) -> Outcome<String> {
    let server = server.unwrap_or(DEFAULT_REGISTRY);
    let host = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let host = host.split('/').next().unwrap_or(host);
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '@') {
        return Err(Failure::usage(format!("{server:?} is not the address of a registry")));
    }
    Ok(match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY.to_owned(),
        host => host.to_owned(),
    })
}

/// As docker calls it.
fn display_name(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { "https://index.docker.io/v1/" } else { registry }
}

fn say(line: &str) -> Outcome {
    writeln!(io::stdout().lock(), "{line}").map_err(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_known_by_their_addresses() {
        let name = |server: &str| registry(Some(server)).map_err(|_| ());
        assert_eq!(registry(None).ok().as_deref(), Some("docker.io"));
        assert_eq!(name("https://index.docker.io/v1/").as_deref(), Ok("docker.io"));
        assert_eq!(name("http://example.com:5000/v2/").as_deref(), Ok("example.com:5000"));
        assert_eq!(name("ghcr.io/user").as_deref(), Ok("ghcr.io"));
        assert_eq!(name("user@host"), Err(()));
        assert_eq!(name(""), Err(()));
    }
}
