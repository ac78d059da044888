//! Which trees of cgroups this machine has: version 2's one, or one for each controller of version 1, or both.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::{SetupError, SetupStep};
use crate::setup::step::Step as _;

const MOUNTS: &str = "/proc/self/mountinfo";
/// A machine with more mounts than fit here is broken.
const MOUNTS_MAX: usize = 64 << 20;

/// One tree of cgroups, where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) point: PathBuf,
    /// Which of its cgroups is mounted there.
    pub(super) root: PathBuf,
    /// Whether it is one of version 1.
    pub(super) legacy: bool,
    /// Options of the file system; those of version 1 name the controllers.
    pub(super) options: Vec<String>,
}

/// A line of the mounts that is about cgroups.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    device: (u32, u32),
    hierarchy: Hierarchy,
    readonly: bool,
}

/// All that can be written to, each once.
pub(super) fn writable() -> Result<Vec<Hierarchy>, SetupError> {
    let text = read_mounts().step_at(SetupStep::FindCgroups, MOUNTS)?;
    let mut rows: Vec<Row> = text.split(|&byte| byte == b'\n').filter_map(row).filter(visible).collect();
    let none = if rows.is_empty() { Errno::NOENT } else { Errno::ROFS };
    rows.retain(|row| !row.readonly);
    let rows = each_once(rows);
    if rows.is_empty() {
        return Err(none).step_at(SetupStep::FindCgroups, "/sys/fs/cgroup");
    }
    Ok(rows)
}

fn read_mounts() -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    fs_err::File::open(MOUNTS)?.take(MOUNTS_MAX as u64).read_to_end(&mut text)?;
    Ok(text)
}

/// The same hierarchy may be mounted at several places.
fn each_once(rows: Vec<Row>) -> Vec<Hierarchy> {
    let mut seen = Vec::new();
    let mut first = |row: &Row| {
        let new = !seen.contains(&row.device);
        seen.push(row.device);
        new
    };
    rows.into_iter().filter(|row| first(row)).map(|row| row.hierarchy).collect()
}

/// Whether nothing else is mounted over it.
fn visible(row: &Row) -> bool {
    rustix::fs::stat(&row.hierarchy.point)
        .is_ok_and(|found| (rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev)) == row.device)
}

/// `id parent major:minor root point options … - type source options`
fn row(line: &[u8]) -> Option<Row> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    let options = fields.next()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let legacy = match rest.next()? {
        b"cgroup" => true,
        b"cgroup2" => false,
        _ => return None,
    };
    let of_file_system = rest.nth(1)?;
    let split = |options: &[u8]| String::from_utf8_lossy(options).split(',').map(str::to_owned).collect();
    let readonly = [options, of_file_system]
        .iter()
        .any(|options| options.split(|&byte| byte == b',').any(|o| o == b"ro"));
    let hierarchy = Hierarchy {
        point: OsString::from_vec(point).into(),
        root: OsString::from_vec(root).into(),
        legacy,
        options: split(of_file_system),
    };
    Some(Row { device: (major.parse().ok()?, minor.parse().ok()?), hierarchy, readonly })
}

/// White space and the backslash are written as three octal digits.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        let digits =
            rest.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                text = &rest[3..];
            }
            None => {
                bytes.push(first);
                text = rest;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(device: (u32, u32), point: &str, legacy: bool, options: &str) -> Option<Row> {
        let readonly = options.starts_with("ro");
        let options = options.trim_start_matches("ro;").split(',').map(str::to_owned).collect();
        let hierarchy = Hierarchy { point: point.into(), root: "/".into(), legacy, options };
        Some(Row { device, hierarchy, readonly })
    }

    #[test]
    fn rows_of_both_versions() {
        for (line, expected) in [
            (
                "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
                found((0, 29), "/sys/fs/cgroup/cpu", true, "rw,cpu"),
            ),
            (
                "41 31 0:38 / /a\\040b rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate",
                found((0, 38), "/a b", false, "rw,nsdelegate"),
            ),
            ("41 31 0:38 / /c ro,nosuid - cgroup2 cgroup2 rw", found((0, 38), "/c", false, "ro;rw")),
            ("41 31 0:38 / /c rw - cgroup2 cgroup2 ro,x", found((0, 38), "/c", false, "ro,x")),
            ("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw", None),
            ("31 23 0:28 / /sys/fs/cgroup rw - cgroup2", None),
            ("", None),
        ] {
            assert_eq!(row(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_hierarchy_counts_once() {
        let rows = [("/a", 1), ("/b", 2), ("/c", 1)];
        let rows = rows.iter().filter_map(|(point, minor)| found((0, *minor), point, true, "rw")).collect();
        let points: Vec<PathBuf> = each_once(rows).into_iter().map(|hierarchy| hierarchy.point).collect();
        assert_eq!(points, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = row(&line);
            let _ = unescape(&line);
        }
    }
}
