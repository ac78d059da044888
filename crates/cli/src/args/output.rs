//! `--output`: what it may say, and what it means.

use std::path::PathBuf;

use galley_engine::export::OutputKind;

use super::csv;

/// One `--output`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputSpec {
    /// `type=image` without a push: the local store, where results go anyway.
    Store {
        /// `name=`, as further tags.
        names: Vec<String>,
    },
    /// `type=cacheonly`.
    Nothing,
    /// Something outside of the store.
    Write {
        /// What.
        kind: OutputKind,
        /// Where; none is standard output.
        destination: Option<PathBuf>,
        /// `tar=false`: a folder instead of an archive.
        folder: bool,
        /// `name=`, as further tags.
        names: Vec<String>,
        /// `rewrite-timestamp=true`.
        rewrite_times: bool,
    },
}

/// Understands `-o DIR`, `-o -` and `-o type=…,dest=…,…`.
pub(crate) fn parse(text: &str) -> Result<OutputSpec, String> {
    if text == "-" {
        return Ok(OutputSpec::write(OutputKind::Tar, None));
    }
    if !text.contains('=') && !text.contains(',') {
        return Ok(OutputSpec::write(OutputKind::Local, Some(PathBuf::from(text))));
    }
    let mut keys = Keys::default();
    for (key, value) in csv::pairs(text)? {
        keys.take(&key, value)?;
    }
    keys.finish()
}

impl OutputSpec {
    fn write(kind: OutputKind, destination: Option<PathBuf>) -> Self {
        let folder = kind == OutputKind::Local;
        Self::Write { kind, destination, folder, names: Vec::new(), rewrite_times: false }
    }
}

#[derive(Default)]
struct Keys {
    kind: Option<String>,
    destination: Option<PathBuf>,
    folder: bool,
    names: Vec<String>,
    rewrite_times: bool,
}

impl Keys {
    fn take(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        let text = value.clone().unwrap_or_default();
        match key {
            "type" => self.kind = Some(text),
            "dest" => self.destination = Some(PathBuf::from(text)).filter(|path| path.as_os_str() != "-"),
            "name" => self.names.extend(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned)),
            "tar" => self.folder = !truth(key, value.as_deref())?,
            "rewrite-timestamp" => self.rewrite_times = truth(key, value.as_deref())?,
            "push" | "push-by-digest" if truth(key, value.as_deref())? => {
                return Err(format!("{key} is not supported yet: this galley has no registry client"));
            }
            // What galley does anyway: OCI media types, gzip, layers unpacked in the store.
            "push" | "push-by-digest" => {}
            "oci-mediatypes" | "store" | "unpack" if truth(key, value.as_deref())? => {}
            "compression" if text == "gzip" => {}
            "mode" if text == "copy" => {}
            "oci-mediatypes"
            | "store"
            | "unpack"
            | "compression"
            | "compression-level"
            | "force-compression"
            | "mode"
            | "oci-artifact"
            | "name-canonical"
            | "dangling-name-prefix"
            | "registry.insecure"
            | "attestation-inline"
            | "attestation-prefix"
            | "prefer-nondist-layers"
            | "platform-split" => {
                return Err(format!("{key}={text} is not supported yet"));
            }
            key if key.starts_with("annotation") => {
                return Err(format!("{key} is not supported yet: manifests carry no annotations"));
            }
            other => {
                return Err(format!(
                    "unknown key {other:?}: known are type, dest, name, tar, rewrite-timestamp"
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<OutputSpec, String> {
        let kind = match self.kind.as_deref() {
            None => return Err("type= is missing: oci, docker, tar, local, image or cacheonly".to_owned()),
            Some("oci") => OutputKind::Oci,
            Some("docker") if self.destination.is_none() && !self.folder => {
                // `docker buildx build --load`: into the local images, where galley's are.
                return Ok(OutputSpec::Store { names: self.names });
            }
            Some("docker") => OutputKind::Docker,
            Some("tar") => OutputKind::Tar,
            Some("local") => OutputKind::Local,
            Some("image") => return Ok(OutputSpec::Store { names: self.names }),
            Some("cacheonly") => return Ok(OutputSpec::Nothing),
            Some("registry") => {
                return Err(
                    "type=registry is not supported yet: this galley has no registry client".to_owned()
                );
            }
            Some(other) => {
                return Err(format!(
                    "unknown type {other:?}: known are oci, docker, tar, local, image, cacheonly"
                ));
            }
        };
        let folder = self.folder || kind == OutputKind::Local;
        if folder && self.destination.is_none() {
            return Err("dest= is missing: a directory cannot go to standard output".to_owned());
        }
        if kind == OutputKind::Tar && self.folder {
            return Err("tar=false makes no sense with type=tar: use type=local".to_owned());
        }
        let (destination, names, rewrite_times) = (self.destination, self.names, self.rewrite_times);
        Ok(OutputSpec::Write { kind, destination, folder, names, rewrite_times })
    }
}

/// A key with nothing after it is true.
fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("{key}={other} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: OutputKind, destination: Option<&str>, folder: bool) -> Result<OutputSpec, String> {
        let destination = destination.map(PathBuf::from);
        Ok(OutputSpec::Write { kind, destination, folder, names: Vec::new(), rewrite_times: false })
    }

    #[test]
    fn what_outputs_mean() {
        let cases = [
            ("out", write(OutputKind::Local, Some("out"), true)),
            ("-", write(OutputKind::Tar, None, false)),
            ("type=oci,dest=a.tar", write(OutputKind::Oci, Some("a.tar"), false)),
            ("type=oci,dest=-", write(OutputKind::Oci, None, false)),
            ("type=oci,dest=d,tar=false", write(OutputKind::Oci, Some("d"), true)),
            ("type=docker,dest=a.tar", write(OutputKind::Docker, Some("a.tar"), false)),
            ("type=local,\"dest=a,b\"", write(OutputKind::Local, Some("a,b"), true)),
            ("type=tar", write(OutputKind::Tar, None, false)),
            ("type=docker", Ok(OutputSpec::Store { names: vec![] })),
            ("type=image,name=a:1", Ok(OutputSpec::Store { names: vec!["a:1".to_owned()] })),
            ("type=cacheonly", Ok(OutputSpec::Nothing)),
            ("type=local", Err("dest= is missing: a directory cannot go to standard output".to_owned())),
            (
                "type=image,push=true",
                Err("push is not supported yet: this galley has no registry client".to_owned()),
            ),
            (
                "type=zip",
                Err("unknown type \"zip\": known are oci, docker, tar, local, image, cacheonly".to_owned()),
            ),
            ("dest=x", Err("type= is missing: oci, docker, tar, local, image or cacheonly".to_owned())),
            ("type=oci,compression=zstd", Err("compression=zstd is not supported yet".to_owned())),
            (
                "type=oci,dset=x",
                Err("unknown key \"dset\": known are type, dest, name, tar, rewrite-timestamp".to_owned()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
