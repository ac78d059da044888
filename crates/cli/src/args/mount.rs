//! `--mount type=bind,source=…,target=…`: the long form of `-v` and `--tmpfs`.

use galley_engine::container::{Tmpfs, VolumeOption, VolumeSource};

use super::{csv, size, truth};

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountArg {
    /// A path of this machine, or a volume.
    Volume(VolumeOption),
    /// An empty directory in memory.
    Tmpfs(Tmpfs),
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: String,
    target: String,
    read_only: bool,
    size: Option<u64>,
    mode: Option<u32>,
}

/// Understands `type=bind|volume|tmpfs` with the keys of each.
pub(crate) fn parse(text: &str) -> Result<MountArg, String> {
    let mut fields = Fields::default();
    for (key, value) in csv::pairs(text)? {
        fields.take(&key.to_lowercase(), value.as_deref())?;
    }
    if !fields.target.starts_with('/') || fields.target.trim_matches('/').is_empty() {
        return Err("target has to be an absolute path inside, and not /".to_owned());
    }
    let for_memory = fields.size.is_some() || fields.mode.is_some();
    match fields.kind.as_deref() {
        Some("tmpfs") if !fields.source.is_empty() => Err("type=tmpfs has no source".to_owned()),
        Some("tmpfs") => Ok(MountArg::Tmpfs(Tmpfs {
            target: fields.target,
            size: fields.size,
            mode: fields.mode,
            exec: true,
            read_only: fields.read_only,
        })),
        Some("bind" | "volume") | None if for_memory => {
            Err("tmpfs-size and tmpfs-mode belong to type=tmpfs".to_owned())
        }
        Some("bind") if fields.source.is_empty() => Err("type=bind needs a source".to_owned()),
        Some("bind") => Ok(fields.volume(|source| VolumeSource::Path(source.into()))),
        Some("volume") | None if fields.source.contains('/') => {
            Err(format!("{:?} is no name of a volume; a path of this machine is type=bind", fields.source))
        }
        Some("volume") | None => Ok(fields.volume(|source| match source.is_empty() {
            true => VolumeSource::Anonymous,
            false => VolumeSource::Volume(source),
        })),
        Some(other) => Err(format!("type={other} is not supported: there are bind, volume and tmpfs")),
    }
}

impl Fields {
    fn take(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let given = || value.ok_or_else(|| format!("{key} needs a value: {key}=…"));
        match key {
            "type" => self.kind = Some(given()?.to_lowercase()),
            "source" | "src" => given()?.clone_into(&mut self.source),
            "target" | "dst" | "destination" => given()?.clone_into(&mut self.target),
            "readonly" | "ro" => {
                let wrong = || format!("{key} is true or false");
                self.read_only = value.map_or(Some(true), truth).ok_or_else(wrong)?;
            }
            "tmpfs-size" => self.size = Some(size::parse(given()?)?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(given()?, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or_else(|| format!("{key} is no mode in octal digits"))?);
            }
            // What is done in any case, or of no meaning on Linux.
            "consistency" => {}
            "bind-propagation" if matches!(value, Some("rprivate" | "private")) => {}
            "volume-driver" if value == Some("local") => {}
            "volume-nocopy" if value.and_then(truth) == Some(false) => {}
            _ => {
                return Err(format!(
                    "{key} is not supported: there are type, source, target, readonly, tmpfs-size and tmpfs-mode"
                ));
            }
        }
        Ok(())
    }

    fn volume(self, source: impl FnOnce(String) -> VolumeSource) -> MountArg {
        let Self { target, read_only, .. } = self;
        MountArg::Volume(VolumeOption { source: source(self.source), target, read_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_as_docker_reads_them() {
        let volume = |source, target: &str, read_only| {
            Ok(MountArg::Volume(VolumeOption { source, target: target.to_owned(), read_only }))
        };
        let path = VolumeSource::Path("/a".into());
        assert_eq!(parse("type=bind,source=/a,target=/b,readonly"), volume(path.clone(), "/b", true));
        assert_eq!(parse("type=bind,src=/a,dst=/b,ro=false,consistency=cached"), volume(path, "/b", false));
        assert_eq!(
            parse("source=data,destination=/b"),
            volume(VolumeSource::Volume("data".into()), "/b", false)
        );
        assert_eq!(parse("type=volume,target=/b"), volume(VolumeSource::Anonymous, "/b", false));
        let tmpfs = parse("type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert!(matches!(tmpfs, MountArg::Tmpfs(Tmpfs { size: Some(1_048_576), mode: Some(0o700), .. })));
        for wrong in [
            "",
            "type=bind,target=/b",
            "type=bind,source=/a",
            "type=bind,source=/a,target=b",
            "type=volume,source=/a,target=/b",
            "type=tmpfs,source=a,target=/b",
            "type=bind,source=/a,target=/b,tmpfs-size=1",
            "type=npipe,source=a,target=/b",
            "type=bind,source=/a,target=/b,bind-propagation=shared",
            "type=volume,target=/b,volume-nocopy",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
