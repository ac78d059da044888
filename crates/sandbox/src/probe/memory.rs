//! What a trial found, kept beside the layers: it holds until the next boot, for processes with the same rights.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trial::Rung;

/// The file's name in the folder of the store.
const NAME: &str = "rung";
/// A longer one is none of ours.
const BYTES_MAX: u64 = 4096;
/// The lines of /proc/self/status that say what this process may do.
const RIGHTS: [&str; 4] = ["Uid:", "CapEff:", "CapBnd:", "Seccomp:"];

#[derive(Deserialize, Serialize)]
struct Memory {
    rung: Rung,
    circumstances: String,
}

/// The rung that a trial in `folder` found before, when nothing is known to have changed since.
pub fn remembered(folder: &Path) -> Option<Rung> {
    let path = path(folder);
    if fs_err::metadata(&path).ok()?.len() > BYTES_MAX {
        return None;
    }
    let memory: Memory = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
    (memory.circumstances == circumstances()?).then_some(memory.rung)
}

/// Keeps what a trial in `folder` found. A folder that cannot be written to costs another trial.
pub fn remember(folder: &Path, rung: Rung) {
    let Some(circumstances) = circumstances() else { return };
    let Ok(text) = serde_json::to_vec(&Memory { rung, circumstances }) else { return };
    let temp = folder.join(format!("{NAME}.{}", std::process::id()));
    if fs_err::write(&temp, text).and_then(|()| fs_err::rename(&temp, path(folder))).is_err() {
        let _ = fs_err::remove_file(temp);
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// The boot, the rights, and the mounts: another container on the same store has others.
fn circumstances() -> Option<String> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let is_right = |line: &&str| RIGHTS.iter().any(|right| line.starts_with(right));
    let rights: Vec<&str> = status.lines().filter(is_right).collect();
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mounts = fs_err::read_link("/proc/self/ns/mnt").ok()?;
    Some(format!("{} {} {}", boot.trim_end(), rights.join(" "), mounts.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_circumstances_count() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remembered(folder.path()), None);
        remember(folder.path(), Rung::Chroot);
        assert_eq!(remembered(folder.path()), Some(Rung::Chroot));
        let text = fs_err::read_to_string(path(folder.path())).unwrap();
        fs_err::write(path(folder.path()), text.replace("CapEff", "CapOld")).unwrap();
        assert_eq!(remembered(folder.path()), None);
        fs_err::write(path(folder.path()), "{").unwrap();
        assert_eq!(remembered(folder.path()), None);
    }
}
