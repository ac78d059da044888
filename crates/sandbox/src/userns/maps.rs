//! Which ids of the host a user may use inside a user namespace.

use std::path::Path;

use super::UserNsError;
use crate::probe::find_program;

/// Larger tables are not read; a line has some 25 bytes.
const TABLE_MAX: u64 = 16 << 20;
const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
const PASSWD: &str = "/etc/passwd";

/// What maps ranges.
const HELPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// Consecutive ids inside that stand for consecutive ids outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The maps of a user namespace: root inside is the user outside, all other ids come from the user's ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

impl IdMaps {
    /// The maps that /etc/subuid and /etc/subgid give the user who runs this process.
    pub fn for_current_user() -> Result<Self, UserNsError> {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let user = user_name(&read(Path::new(PASSWD)).unwrap_or_default(), uid);
        Ok(Self {
            uids: map(Path::new(SUBUID), &user, uid, uid)?,
            gids: map(Path::new(SUBGID), &user, uid, gid)?,
        })
    }

    /// The user alone: root inside, with nobody beside.
    pub fn alone() -> Self {
        let one = |outside| vec![IdRange { inside: 0, outside, count: 1 }];
        Self { uids: one(rustix::process::getuid().as_raw()), gids: one(rustix::process::getgid().as_raw()) }
    }

    /// The best that this user can have: its ranges, where there are any with the programs that map them, else itself
    /// alone.
    pub fn best() -> Result<Self, UserNsError> {
        match Self::for_current_user() {
            Ok(maps) if HELPERS.iter().all(|name| find_program(name).is_some()) => Ok(maps),
            Ok(_) | Err(UserNsError::NoRange { .. }) => Ok(Self::alone()),
            Err(error) => Err(error),
        }
    }

    /// Whether it is the user alone, which needs no help to be mapped.
    pub fn is_alone(&self) -> bool {
        self.uid_count() == 1 && self.gid_count() == 1
    }

    /// How many user ids there are inside.
    pub fn uid_count(&self) -> u64 {
        self.uids.iter().map(|range| u64::from(range.count)).sum()
    }

    /// How many group ids there are inside.
    pub fn gid_count(&self) -> u64 {
        self.gids.iter().map(|range| u64::from(range.count)).sum()
    }
}

fn map(table: &Path, user: &str, uid: u32, own: u32) -> Result<Vec<IdRange>, UserNsError> {
    let ranges = ranges(&read(table)?, user, uid);
    if ranges.is_empty() {
        return Err(UserNsError::NoRange { path: table.to_owned(), user: user.to_owned(), uid });
    }
    Ok(stack(own, &ranges))
}

fn read(path: &Path) -> Result<Vec<u8>, UserNsError> {
    let failed = |source| UserNsError::ReadRanges { path: path.to_owned(), source };
    let mut text = Vec::new();
    let file = match fs_err::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(text),
        result => result.map_err(failed)?,
    };
    std::io::Read::read_to_end(&mut std::io::Read::take(file, TABLE_MAX), &mut text).map_err(failed)?;
    Ok(text)
}

/// Root inside is the user; the ranges follow from 1 on.
fn stack(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for &(outside, count) in ranges {
        let count = count.min(u32::MAX - inside);
        if count > 0 {
            map.push(IdRange { inside, outside, count });
            inside += count;
        }
    }
    map
}

/// The ranges (first, count) of a user, given by name or number; lines that make no sense are passed over, as shadow's
/// tools do.
fn ranges(table: &[u8], user: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let lines = table.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next().filter(|owner| *owner == user || *owner == number)?;
            let (first, count) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
            let fits = first.checked_add(count).is_some();
            (!owner.is_empty() && count > 0 && fits).then_some((first, count))
        })
        .collect()
}

/// The name of a user by number; the number itself where the table does not know it.
fn user_name(passwd: &[u8], uid: u32) -> String {
    let number = uid.to_string();
    let lines = passwd.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let found =
        lines.map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.get(2) == Some(&&*number));
    found.map_or(number.clone(), |fields| fields[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let table = b"root:1:1\nann:100000:65536\n# note\n1000:300000:10\nbob:7:7\nann:500000:1\n";
        assert_eq!(ranges(table, "ann", 1000), [(100_000, 65536), (300_000, 10), (500_000, 1)]);
        assert_eq!(ranges(table, "nobody", 65534), []);
    }

    #[test]
    fn nonsense_is_passed_over() {
        let table =
            b"ann\nann:\nann:1\nann:x:1\nann:1:0\nann:4294967295:2\nann:-1:5\n\xff\xfe:1:1\nann:5:6:7";
        assert_eq!(ranges(table, "ann", 1000), [(5, 6)]);
    }

    #[test]
    fn ranges_are_stacked_above_the_user() {
        let map = stack(1000, &[(100_000, 65536), (300_000, 10)]);
        let plain: Vec<_> = map.iter().map(|range| (range.inside, range.outside, range.count)).collect();
        assert_eq!(plain, [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]);
        let full = stack(0, &[(0, u32::MAX), (5, 5)]);
        assert_eq!(full.len(), 2, "there are no more ids: {full:?}");
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = b"root:x:0:0::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), "ann");
        assert_eq!(user_name(passwd, 1001), "1001");
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read_without_harm(table: Vec<u8>) {
            let found = ranges(&table, "a", 1);
            stack(1, &found);
        }
    }
}
