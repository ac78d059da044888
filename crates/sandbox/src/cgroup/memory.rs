//! How much memory a sandbox with limits uses, as the kernel counts it for its cgroup.

use std::path::Path;

use super::plan::{Machine, parse_membership};
use super::{is_unique_name, read};

/// Memory of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use, without what the kernel keeps of files that nobody has looked at for a while.
    pub used: u64,
    /// At most so much; none without a limit.
    pub limit: Option<u64>,
}

impl Memory {
    /// That of the cgroup which galley made for the sandbox of this process; none when it made none.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        let membership = fs_err::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let machine = Machine { membership: parse_membership(&membership), ..Machine::this().ok()? };
        let hierarchy = machine.legacy("memory").or_else(|| machine.unified())?;
        let dir = machine.own(hierarchy)?;
        let top = sandbox_of(&dir)?;
        if hierarchy.legacy { Self::version_1(top) } else { Self::version_2(top) }
    }

    fn version_1(dir: &Path) -> Option<Self> {
        // A limit that nobody set is the largest multiple of a page.
        let limit = number(&dir.join("memory.limit_in_bytes")).filter(|limit| *limit < 1 << 62);
        Self::made(dir, number(&dir.join("memory.usage_in_bytes"))?, "total_inactive_file ", limit)
    }

    fn version_2(dir: &Path) -> Option<Self> {
        let limit = number(&dir.join("memory.max"));
        Self::made(dir, number(&dir.join("memory.current"))?, "inactive_file ", limit)
    }

    fn made(dir: &Path, all: u64, idle: &str, limit: Option<u64>) -> Option<Self> {
        let text = fs_err::read_to_string(dir.join("memory.stat")).ok()?;
        let idle = text.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<u64>().ok());
        Some(Self { used: all.saturating_sub(idle.unwrap_or_default()), limit })
    }
}

/// The cgroup of the sandbox that a process in `dir` is in. What runs inside may have made others in it.
fn sandbox_of(dir: &Path) -> Option<&Path> {
    let is_one = |dir: &&Path| dir.file_name().and_then(|name| name.to_str()).is_some_and(is_unique_name);
    dir.ancestors().filter(is_one).last()
}

fn number(path: &Path) -> Option<u64> {
    std::str::from_utf8(&read(path).ok()?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cgroups_of_sandboxes_are_theirs() {
        let of = |dir: &str| {
            let dir = dir.replace("1a", "galley-000000000000001a");
            sandbox_of(Path::new(&dir))
                .map(|found| found.display().to_string().replace("galley-000000000000001a", "1a"))
        };
        assert_eq!(of("/sys/1a/galley-000000000000002b/x").as_deref(), Some("/sys/1a"));
        assert_eq!(of("/sys/galley-supervisor"), None);
        assert_eq!(
            of("/sys/galley-batch/galley-supervisor/1a").as_deref(),
            Some("/sys/galley-batch/galley-supervisor/1a")
        );
    }

    #[test]
    fn files_of_both_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("memory.stat", "inactive_file 30\ntotal_inactive_file 40\n"),
            ("memory.usage_in_bytes", "100\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.current", "200\n"),
            ("memory.max", "500\n"),
        ] {
            fs_err::write(dir.path().join(file), text).unwrap();
        }
        assert_eq!(Memory::version_1(dir.path()), Some(Memory { used: 60, limit: None }));
        assert_eq!(Memory::version_2(dir.path()), Some(Memory { used: 170, limit: Some(500) }));
        fs_err::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(Memory::version_2(dir.path()).unwrap().limit, None);
        assert_eq!(Memory::version_2(Path::new("/nowhere")), None);
    }
}
