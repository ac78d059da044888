//! Names to numbers, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! Two rules, both Docker's: a process needs its user to exist ([`Accounts::process`], as the OCI runtimes look it up), a
//! copied file does not ([`Accounts::owner`]: an unknown name means root).

use std::{io::Read, os::fd::BorrowedFd};

use galley_oci::{
    Kind,
    stack::{Found, Last},
};
use galley_store::Store;
use rustix::{
    fs::{FileType, OFlags, ResolveFlags},
    io::Errno,
};

use super::files::Files;
use crate::{Error, ErrorKind, ports::ResolvedUser};

/// The largest passwd or group file that is read.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// The largest id that Docker takes.
const ID_MAX: u32 = i32::MAX as u32;

/// The two files, as bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

/// A line of passwd.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl Accounts {
    /// Reads the files that are there.
    pub(crate) fn read(store: &Store, files: &Files) -> Result<Self, Error> {
        Ok(Self {
            passwd: read_file(store, files, b"etc/passwd")?.unwrap_or_default(),
            group: read_file(store, files, b"etc/group")?.unwrap_or_default(),
        })
    }

    /// Reads the files that are there below an open directory; links in it do not lead out of it.
    pub(crate) fn below(root: BorrowedFd<'_>) -> Result<Self, Error> {
        Ok(Self { passwd: read_below(root, "etc/passwd")?, group: read_below(root, "etc/group")? })
    }

    /// Whom a process of `USER spec` runs as: `name`, `uid`, either with `:group`. A number needs no entry.
    pub(crate) fn process(&self, spec: &str) -> Result<ResolvedUser, Error> {
        let (user, group) = split(spec);
        let wanted = number(user, "user")?;
        let found = self.users().find(|entry| match (user, wanted) {
            ("", _) => entry.uid == 0,
            (_, Some(uid)) => entry.uid == uid,
            (name, None) => entry.name == name.as_bytes(),
        });
        let mut resolved = ResolvedUser { home: b"/".to_vec(), ..ResolvedUser::default() };
        match (&found, wanted) {
            (Some(entry), _) => {
                (resolved.uid, resolved.gid) = (entry.uid, entry.gid);
                // Also an empty one, as in Docker.
                resolved.home = entry.home.to_vec();
            }
            (None, Some(uid)) => resolved.uid = uid,
            (None, None) if user.is_empty() => {}
            (None, None) => return Err(unknown("user", user, "/etc/passwd")),
        }
        if group.is_empty() {
            let name = found.map(|entry| entry.name);
            resolved.groups = name.map(|name| self.groups_of(name)).unwrap_or_default();
        } else {
            resolved.gid = self.group(group)?;
        }
        // As containerd does it; programs ask for the list and expect themselves in it.
        if !resolved.groups.contains(&resolved.gid) {
            resolved.groups.insert(0, resolved.gid);
        }
        Ok(resolved)
    }

    /// A group by name or number.
    pub(crate) fn group(&self, name: &str) -> Result<u32, Error> {
        match number(name, "group")? {
            Some(gid) => Ok(gid),
            None => self.gid(name).ok_or_else(|| unknown("group", name, "/etc/group")),
        }
    }

    /// Who owns what `--chown=spec` copies. A user alone brings the primary group, a number alone is both; a name that
    /// is not there is root.
    pub(crate) fn owner(&self, spec: &str) -> (u32, u32) {
        let (user, group) = split(spec);
        let (uid, mut gid) = match owner_number(user) {
            Some(id) => (id, id),
            None => {
                let found = self.users().find(|entry| entry.name == user.as_bytes());
                found.map_or((0, 0), |entry| (entry.uid, entry.gid))
            }
        };
        if spec.contains(':') {
            gid = owner_number(group).or_else(|| self.gid(group)).unwrap_or(gid);
        }
        (uid, gid)
    }

    /// The first name in `spec` that [`owner`](Self::owner) does not know.
    pub(crate) fn unknown<'a>(&self, spec: &'a str) -> Option<&'a str> {
        let (user, group) = split(spec);
        let is_name = |text: &str| owner_number(text).is_none();
        if is_name(user) && !self.users().any(|entry| entry.name == user.as_bytes()) {
            return Some(user);
        }
        (is_name(group) && self.gid(group).is_none()).then_some(group)
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        lines(&self.passwd).map(|line| {
            let mut fields = line.split(|&byte| byte == b':');
            let name = fields.next().unwrap_or_default();
            let uid = id(fields.nth(1));
            let gid = id(fields.next());
            User { name, uid, gid, home: fields.nth(1).unwrap_or_default() }
        })
    }

    /// Name, number and members of each group.
    fn groups(&self) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
        lines(&self.group).filter(|line| !line.starts_with(b"#")).map(|line| {
            let mut fields = line.split(|&byte| byte == b':');
            let name = fields.next().unwrap_or_default();
            (name, id(fields.nth(1)), fields.next().unwrap_or_default())
        })
    }

    fn gid(&self, name: &str) -> Option<u32> {
        self.groups().find(|(group, ..)| *group == name.as_bytes()).map(|(_, gid, _)| gid)
    }

    fn groups_of(&self, user: &[u8]) -> Vec<u32> {
        let member = |members: &[u8]| members.split(|&byte| byte == b',').any(|member| member == user);
        self.groups().filter(|(.., members)| member(members)).map(|(_, gid, _)| gid).collect()
    }
}

fn split(spec: &str) -> (&str, &str) {
    spec.split_once(':').unwrap_or((spec, ""))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// A number of a file; what is none counts as zero, as Docker reads it.
fn id(field: Option<&[u8]>) -> u32 {
    field
        .and_then(|field| std::str::from_utf8(field).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The number that `text` is, unless it is a name.
fn number(text: &str, what: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(Error::new(ErrorKind::Input, format!("{what} {text} is greater than {ID_MAX}"))),
    }
}

/// The number that `text` is in --chown, as BuildKit reads it: a signed one, also nothing and `root`. What chown(2) takes
/// for "leave as it is" leaves a new file to root.
pub(super) fn owner_number(text: &str) -> Option<u32> {
    match text {
        "" | "root" => Some(0),
        text => text.parse().ok().map(|id: i32| if id == -1 { 0 } else { id.cast_unsigned() }),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{what} {name:?} is not in {file} of the image"))
        .label(format!("no such {what}"))
        .help(format!("create it in an earlier RUN, or write its number: USER 1000, not USER {name}"))
}

/// The bytes of a regular file, links followed; none when there is no such file.
fn read_file(store: &Store, files: &Files, path: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let Ok(path) = files.stack().resolve(path, Last::Follow) else { return Ok(None) };
    let Some(found) = files.stack().get(&path) else { return Ok(None) };
    let Kind::File { size, .. } = found.entry.kind else { return Ok(None) };
    if size > FILE_BYTES_MAX {
        let name = String::from_utf8_lossy(&path).into_owned();
        let message =
            format!("/{name} of the image has {size} bytes, more than the {FILE_BYTES_MAX} that are read");
        return Err(Error::new(ErrorKind::Input, message));
    }
    read_all(store, files, found).map(Some)
}

/// The bytes of a regular file of a running container; none when there is no such file.
fn read_below(root: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::Input, format!("cannot read /{path} of the container")).because(error)
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match crate::confined::open(root, path, flags, resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        file => file.map_err(|errno| unreadable(errno.into()))?,
    };
    let found = rustix::fs::fstat(&file).map_err(|errno| unreadable(errno.into()))?;
    if !FileType::from_raw_mode(found.st_mode).is_file() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(unreadable)
}

fn read_all(store: &Store, files: &Files, found: Found<'_>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = files.open(store, found)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| {
        let name = String::from_utf8_lossy(found.path());
        Error::new(ErrorKind::Store, format!("cannot read /{name} of the image")).because(error)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n\n  app:x:1000:2000::/home/app:\nweb:x:33\nbad\n";
        let group = b"root:x:0:\n#c:x:9:app\napp:x:2000:\nwheel:x:10:root,app\naudio:x:63:app\n";
        Accounts { passwd: passwd.to_vec(), group: group.to_vec() }
    }

    fn process(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let user = accounts().process(spec).unwrap();
        (user.uid, user.gid, user.groups, String::from_utf8(user.home).unwrap())
    }

    #[test]
    fn processes_run_as_the_runtimes_say() {
        let root = || "/root".to_owned();
        assert_eq!(process(""), (0, 0, vec![0, 10], root()));
        assert_eq!(process("root"), (0, 0, vec![0, 10], root()));
        assert_eq!(process("app"), (1000, 2000, vec![2000, 10, 63], "/home/app".to_owned()));
        assert_eq!(process("1000"), (1000, 2000, vec![2000, 10, 63], "/home/app".to_owned()));
        assert_eq!(process("app:wheel"), (1000, 10, vec![10], "/home/app".to_owned()));
        assert_eq!(process("4242"), (4242, 0, vec![0], "/".to_owned()));
        assert_eq!(process("4242:4343"), (4242, 4343, vec![4343], "/".to_owned()));
        assert_eq!(process("web"), (33, 0, vec![0], String::new()));
    }

    #[test]
    fn a_process_needs_its_user_and_group() {
        for spec in ["nobody", "app:none", "none:app", "99999999999", "app:4294967295"] {
            assert!(accounts().process(spec).is_err(), "{spec} was taken");
        }
    }

    #[test]
    fn an_unknown_owner_is_root() {
        let accounts = accounts();
        let cases = [
            ("app", (1000, 2000)),
            ("app:wheel", (1000, 10)),
            ("5", (5, 5)),
            ("5:6", (5, 6)),
            ("5:app", (5, 2000)),
            ("app:", (1000, 0)),
            (":5", (0, 5)),
            ("root:app", (0, 2000)),
            // The kernel takes it for "leave as it is".
            ("-1", (0, 0)),
            ("+7", (7, 7)),
            // A name, for its size.
            ("2147483648", (0, 0)),
        ];
        for (spec, owner) in cases {
            assert_eq!(accounts.owner(spec), owner, "{spec}");
        }
        assert_eq!((accounts.owner("nobody"), accounts.owner("5:none")), ((0, 0), (5, 5)));
        let unknown =
            ["app:wheel", "5", "nobody:none", "app:none", "app:"].map(|spec| accounts.unknown(spec));
        assert_eq!(unknown, [None, None, Some("nobody"), Some("none"), None]);
    }

    proptest::proptest! {
        #[test]
        fn no_file_of_an_image_makes_a_panic(
            passwd in proptest::collection::vec(proptest::sample::select(b"a0:9\n,# -\xff".to_vec()), 0..80),
            group in proptest::collection::vec(proptest::sample::select(b"a0:9\n,# -\xff".to_vec()), 0..80),
            spec in "[a09:-]{0,6}",
        ) {
            let accounts = Accounts { passwd, group };
            let _ = (accounts.process(&spec), accounts.owner(&spec), accounts.unknown(&spec));
        }
    }
}
