//! A folder `certs.d/HOST:PORT`: `*.crt` are authorities, `NAME.cert` and `NAME.key` are how we say who we are.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::provider;
use crate::{RegistryError, settings_file};

/// What is in the folders of one registry.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whom to trust besides the system's authorities.
    pub(super) authorities: Vec<(PathBuf, CertificateDer<'static>)>,
    /// Who we are.
    pub(super) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Found {
    /// Adds what is in `folder`. One that is not there, or that this user may not read, holds nothing.
    pub(super) fn add(&mut self, folder: &Path) -> Result<(), RegistryError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_out_of_reach(&error) => return Ok(()),
            Err(error) => return Err(settings_file::failed(error)),
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = paths.map_err(settings_file::failed)?;
        paths.sort();
        for path in &paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let certificates = certificates(path)?;
                    self.authorities.extend(certificates.into_iter().map(|one| (path.clone(), one)));
                }
                Some("cert") if self.client.is_none() => self.client = Some(client(path)?),
                Some("key") if !path.with_extension("cert").exists() => {
                    let reason =
                        "there is no certificate beside this key: put it there with the same name and .cert";
                    return Err(settings_file::wrong(path, reason));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let pem = settings_file::read(path)?.unwrap_or_default();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(settings_file::wrong(path, "it holds no certificate in PEM form")),
    }
}

fn client(path: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), RegistryError> {
    let key_path = path.with_extension("key");
    let Some(pem) = settings_file::read(&key_path)? else {
        let reason = "there is no key beside this client certificate: put it there with the same name and .key, \
                      or name the file .crt when it is an authority's";
        return Err(settings_file::wrong(path, reason));
    };
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| settings_file::wrong(&key_path, "it holds no private key in PEM form"))?;
    let certificates = certificates(path)?;
    let pair = CertifiedKey::from_der(certificates.clone(), key.clone_key(), &provider());
    pair.map_err(|_| settings_file::wrong(&key_path, format!("it is not the key of {}", path.display())))?;
    Ok((certificates, key))
}
