//! Small root file systems as tar archives.

use std::path::Path;

use fs_err as fs;

/// Where Debian's busybox-static puts its program.
pub const BUSYBOX: &str = "/bin/busybox";

/// One file of a test archive.
#[derive(Clone, Debug)]
pub enum TarEntry<'a> {
    /// A directory with its mode.
    Directory(&'a str, u32),
    /// A file with its mode and content.
    File(&'a str, u32, &'a [u8]),
    /// A symbolic link with its target.
    Symlink(&'a str, &'a str),
    /// A hard link with its target.
    Link(&'a str, &'a str),
}

/// A plain tar archive of `entries`, all owned by root, time zero.
///
/// # Panics
/// When a name does not fit into a tar header.
#[must_use]
pub fn rootfs_tar(entries: &[TarEntry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        let (path, content): (_, &[u8]) = match *entry {
            TarEntry::Directory(path, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(mode);
                (path, b"")
            }
            TarEntry::File(path, mode, content) => {
                header.set_mode(mode);
                (path, content)
            }
            TarEntry::Symlink(path, target) | TarEntry::Link(path, target) => {
                let symbolic = matches!(entry, TarEntry::Symlink(..));
                header.set_entry_type(if symbolic { tar::EntryType::Symlink } else { tar::EntryType::Link });
                header.set_mode(0o777);
                header.set_link_name(target).expect("a short link target");
                (path, b"")
            }
        };
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).expect("memory takes every archive");
    }
    builder.into_inner().expect("memory takes every archive")
}

/// A root file system with busybox under the names a shell script needs; `None` when busybox-static is not installed.
#[must_use]
pub fn busybox_rootfs() -> Option<Vec<u8>> {
    const NAMES: [&str; 22] = [
        "sh", "cat", "chmod", "chown", "cp", "echo", "env", "false", "id", "kill", "ln", "ls", "mkdir", "mv",
        "rm", "sleep", "stat", "test", "touch", "true", "seq", "wget",
    ];
    if !Path::new(BUSYBOX).exists() {
        return None;
    }
    let busybox = fs::read(BUSYBOX).ok()?;
    let paths: Vec<String> = NAMES.iter().map(|name| format!("bin/{name}")).collect();
    let mut entries = vec![
        TarEntry::Directory("bin", 0o755),
        TarEntry::Directory("tmp", 0o1777),
        TarEntry::Directory("root", 0o700),
        TarEntry::Directory("etc", 0o755),
        TarEntry::File(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:n:/:/bin/sh\n",
        ),
        TarEntry::File("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n"),
        TarEntry::File("bin/busybox", 0o755, &busybox),
    ];
    entries.extend(paths.iter().map(|path| TarEntry::Symlink(path, "busybox")));
    Some(rootfs_tar(&entries))
}
