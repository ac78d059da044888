//! Files at URLs, by the same client that asks registries: its proxies, certificates and patience.

use std::{ffi::OsString, io, path::PathBuf};

use galley_engine::{
    Error, ErrorKind,
    ports::{self, WebAnswer, WebRequest, WebSink, WebSource},
    remote::{self, GitSettings},
    ssh::SshAgent,
};
use galley_registry::{FileRequest, FileSink, RegistryError, Secret};

use super::client::{Registries, failed};
use crate::environment::Environment;

/// What is had over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Web(pub(crate) Registries);

impl WebSource for Web {
    fn get(&self, request: &WebRequest<'_>, sink: &mut dyn WebSink) -> Result<WebAnswer, Error> {
        let authorization = request.authorization.map(header).transpose()?;
        let asked = FileRequest {
            url: request.url,
            authorization: authorization.as_ref(),
            etag: request.etag,
            modified: request.modified,
            limit: request.limit,
        };
        let answer = self.0.client()?.file(&asked, &mut Sink(sink)).map_err(|error| told(request, error))?;
        let galley_registry::FileAnswer { unchanged, etag, modified, encoding } = answer;
        Ok(WebAnswer { unchanged, etag, modified, encoding })
    }
}

struct Sink<'a>(&'a mut dyn WebSink);

impl FileSink for Sink<'_> {
    fn begin(&mut self, size: Option<u64>) -> io::Result<()> {
        self.0.begin(size)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes)
    }
}

fn header(value: &ports::Secret) -> Result<Secret, Error> {
    let text = String::from_utf8(value.expose().to_vec());
    text.map(Secret::new).map_err(|_| Error::new(ErrorKind::Usage, "a token for a URL is not text"))
}

/// Why there is no file.
fn told(request: &WebRequest<'_>, error: RegistryError) -> Error {
    let shown = remote::redacted(request.url);
    let what = format!("cannot fetch {shown}");
    match error {
        RegistryError::Status { status, .. } => {
            let kind = if matches!(status, 404 | 410) { ErrorKind::NotFound } else { ErrorKind::Registry };
            let told = Error::new(kind, format!("{what}: the server answered with status {status}"));
            let told = if matches!(status, 401 | 403) { told.label("denied") } else { told };
            told.because(error)
        }
        RegistryError::Untrusted { ref place, ref reason } => {
            let told = Error::new(ErrorKind::Registry, format!("{what}: {place} is not trusted: {reason}"));
            told.help(format!(
                "put its authority's certificate into /etc/docker/certs.d/{place}/ca.crt, or into the file that \
                 SSL_CERT_FILE names"
            ))
        }
        RegistryError::NoTls { ref place } => {
            Error::new(ErrorKind::Registry, format!("{what}: {place} does not speak TLS"))
                .help("write http:// if that is meant to be so")
        }
        error => failed(&what, error),
    }
}

/// What git is given of the environment.
const FOR_GIT: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// How git is run for this person.
pub(crate) fn git_settings(environment: &Environment) -> GitSettings {
    let given = |name: &str| Some((OsString::from(name), environment.nonempty(name)?.to_owned()));
    let mut variables: Vec<_> = FOR_GIT.iter().filter_map(|name| given(name)).collect();
    let has = |name: &str| environment.nonempty(name).is_some();
    if let (Some(file), false) = (environment.nonempty("SSL_CERT_FILE"), has("GIT_SSL_CAINFO")) {
        variables.push(("GIT_SSL_CAINFO".into(), file.to_owned()));
    }
    let home = environment.nonempty("HOME").map(|home| PathBuf::from(home).join(".ssh/known_hosts"));
    let known_hosts = home.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]);
    GitSettings {
        path: environment.nonempty("PATH").map(ToOwned::to_owned),
        variables,
        ssh: environment.nonempty("SSH_AUTH_SOCK").map(|socket| SshAgent::Socket(PathBuf::from(socket))),
        known_hosts: known_hosts.filter(|path| path.is_file()).collect(),
    }
}
