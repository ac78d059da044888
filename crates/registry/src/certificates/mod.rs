//! Whom to trust: certificate authorities and client certificates, for all registries and for single ones.
//!
//! * for all: `$SSL_CERT_FILE` and `$SSL_CERT_DIR`, else the system's authorities, else those built in (a machine or
//!   container without `ca-certificates`);
//! * for one, besides: `certs.d/HOST[:PORT]` of containers and docker, the user's and the system's.

mod folder;
#[cfg(test)]
mod tests;
mod verifier;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::CertificateDer,
};

use self::{
    folder::Found,
    verifier::{TakingAll, Trusting},
};
use crate::{
    Environment, RegistryError,
    hosts::{DEFAULT_REGISTRY, DOCKER_HUB, authority},
    settings_file,
};

/// The port that need not be written.
const HTTPS_PORT: u16 = 443;
/// Where systems keep all their authorities in one file: Debian and Alpine, Fedora, SUSE, others. Reading one takes a
/// fifth of the time that the folder of the same certificates takes.
const BUNDLES: [&str; 4] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
];

/// Where certificates are. Cheap to clone; what was read is shared by all clones.
#[derive(Clone, Default)]
pub struct Certificates {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    authorities: Authorities,
    /// The folders `certs.d`.
    folders: Vec<PathBuf>,
    roots: OnceLock<RootCertStore>,
    configs: Mutex<HashMap<(String, bool), Arc<ClientConfig>>>,
}

/// Who vouches for servers in general.
#[derive(Default)]
enum Authorities {
    #[default]
    BuiltIn,
    /// The first of these files, else whatever the system has.
    System(Vec<PathBuf>),
    /// The files and folders that variables name.
    Named(Vec<(Variable, PathBuf)>),
}

/// What a path of authorities comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variable {
    File,
    Folder,
}

impl Certificates {
    /// Notes where certificates are; nothing is read yet.
    #[must_use]
    pub fn load(environment: &Environment) -> Self {
        let inner = Inner {
            authorities: authorities(environment),
            folders: folders(environment),
            ..Inner::default()
        };
        Self { inner: Arc::new(inner) }
    }

    /// How to speak TLS with `authority` (`host:port`, or `host` on port 443). Without `verify` any certificate is
    /// accepted. Made once for each authority, since the client asks for every connection.
    pub fn client_config(&self, authority: &str, verify: bool) -> Result<Arc<ClientConfig>, RegistryError> {
        let mut configs = self.inner.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (authority.to_owned(), verify);
        if let Some(config) = configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.make(authority, verify)?);
        configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn make(&self, authority: &str, verify: bool) -> Result<ClientConfig, RegistryError> {
        let mut found = Found::default();
        for folder in &self.inner.folders {
            for name in names(authority) {
                found.add(&folder.join(name))?;
            }
        }
        let verifier = if verify { self.trusting(&found)? } else { taking_all() };
        let versions = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| tls(&error))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        match found.client {
            Some((certificates, key)) => {
                builder.with_client_auth_cert(certificates, key).map_err(|error| tls(&error))
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }

    fn trusting(&self, found: &Found) -> Result<Arc<dyn ServerCertVerifier>, RegistryError> {
        let mut roots = self.roots()?.clone();
        for (path, certificate) in &found.authorities {
            let unusable =
                |error| settings_file::wrong(path, format!("its certificate cannot be used: {error}"));
            roots.add(certificate.clone()).map_err(unusable)?;
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let authorities = authorities.map_err(|error| RegistryError::Setting {
            what: "the list of certificate authorities".to_owned(),
            reason: error.to_string(),
        })?;
        let known = found.authorities.iter().map(|(_, certificate)| certificate.clone()).collect();
        Ok(Arc::new(Trusting { authorities, known }))
    }

    fn roots(&self) -> Result<&RootCertStore, RegistryError> {
        if let Some(roots) = self.inner.roots.get() {
            return Ok(roots);
        }
        let roots = self.inner.authorities.read()?;
        Ok(self.inner.roots.get_or_init(|| roots))
    }
}

impl Authorities {
    fn read(&self) -> Result<RootCertStore, RegistryError> {
        match self {
            Self::BuiltIn => Ok(built_in()),
            Self::System(bundles) => Ok(system(bundles)),
            Self::Named(paths) => named(paths),
        }
    }
}

fn system(bundles: &[PathBuf]) -> RootCertStore {
    let mut candidates =
        bundles.iter().map(|path| rustls_native_certs::load_certs_from_paths(Some(path), None));
    let bundle = candidates.find(|read| !read.certs.is_empty());
    let found = usable(bundle.unwrap_or_else(rustls_native_certs::load_native_certs).certs);
    if found.is_empty() { built_in() } else { found }
}

/// What variables name must be there: who set them wants these authorities and no others.
fn named(paths: &[(Variable, PathBuf)]) -> Result<RootCertStore, RegistryError> {
    let mut certificates = Vec::new();
    for (variable, path) in paths {
        let read = match variable {
            Variable::File => rustls_native_certs::load_certs_from_paths(Some(path), None),
            Variable::Folder => rustls_native_certs::load_certs_from_paths(None, Some(path)),
        };
        certificates.extend(read.certs);
    }
    let roots = usable(certificates);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let paths: Vec<String> = paths.iter().map(|(_, path)| path.display().to_string()).collect();
    Err(RegistryError::Setting {
        what: "$SSL_CERT_FILE or $SSL_CERT_DIR".to_owned(),
        reason: format!("there are no certificates in {}: correct or unset it", paths.join(" and ")),
    })
}

fn usable(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Systems keep certificates that no strict reader takes; the others are good all the same.
    roots.add_parsable_certificates(certificates);
    roots
}

fn built_in() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn taking_all() -> Arc<dyn ServerCertVerifier> {
    Arc::new(TakingAll { algorithms: provider().signature_verification_algorithms })
}

/// The one implementation of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn tls(error: &rustls::Error) -> RegistryError {
    RegistryError::Setting { what: "the set-up of TLS".to_owned(), reason: error.to_string() }
}

fn authorities(environment: &Environment) -> Authorities {
    let mut paths = Vec::new();
    paths.extend(environment.path("SSL_CERT_FILE").map(|path| (Variable::File, path)));
    let folders = environment.variable("SSL_CERT_DIR").unwrap_or_default();
    let folders = folders.as_bytes().split(|byte| *byte == b':').filter(|folder| !folder.is_empty());
    paths.extend(folders.map(|folder| (Variable::Folder, Path::new(OsStr::from_bytes(folder)).to_owned())));
    if !paths.is_empty() {
        return Authorities::Named(paths);
    }
    Authorities::System(BUNDLES.map(|path| environment.system(path)).to_vec())
}

fn folders(environment: &Environment) -> Vec<PathBuf> {
    let users = environment.config_home().into_iter();
    let users = users.flat_map(|folder| [folder.join("containers/certs.d"), folder.join("docker/certs.d")]);
    let systems = ["etc/containers/certs.d", "etc/docker/certs.d"].map(|path| environment.system(path));
    users.chain(systems).collect()
}

/// The names of a registry's folder: with the port when it is not the usual one, and Docker Hub's own name.
fn names(authority: &str) -> Vec<String> {
    if !matches!(authority::split(authority).1, None | Some(HTTPS_PORT)) {
        return vec![authority.to_owned()];
    }
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let hub = (host == DOCKER_HUB).then(|| DEFAULT_REGISTRY.to_owned());
    [host.to_owned(), format!("{host}:443")].into_iter().chain(hub).collect()
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("folders", &self.inner.folders).finish_non_exhaustive()
    }
}
