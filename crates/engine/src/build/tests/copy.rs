//! COPY, ADD and WORKDIR against BuildKit's own answers in `tests/golden/copy.txt`.

use std::{collections::HashMap, fmt::Write as _};

use galley_oci::{
    Entry, Kind, Time,
    archive::{EntryHeader, EntryKind, Writer},
};

use super::*;

const CASES: &str = include_str!("../../../tests/golden/copy.txt");

/// Modification times of what was there before: base, stage, context.
const TIMES: [(&str, i64); 3] = [("b", 1_300_000_000), ("s", 1_400_000_000), ("c", 1_500_000_000)];

/// Where galley decides otherwise, and why: docs/compatibility.md.
const DIFFERENT: [(&str, &str); 2] = [
    ("an archive that climbs out", "an archive with such a name is refused, not bent"),
    ("an archive that goes out through a link", "its links are followed inside of it, as a root of its own"),
];

#[derive(Default)]
struct Case {
    name: String,
    sections: HashMap<String, Vec<String>>,
}

impl Case {
    fn lines(&self, section: &str) -> &[String] {
        self.sections.get(section).map(Vec::as_slice).unwrap_or_default()
    }
}

fn cases() -> Vec<Case> {
    let (mut cases, mut section): (Vec<Case>, _) = (Vec::new(), String::new());
    for line in CASES.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
        } else if let Some(line) = line.strip_prefix("  ") {
            let case = cases.last_mut().unwrap();
            case.sections.entry(section.clone()).or_default().push(line.to_owned());
        } else {
            section = line.to_owned();
        }
    }
    cases
}

/// A line of a list of files.
struct File {
    kind: u8,
    path: String,
    mode: u16,
    owner: (u32, u32),
    extra: String,
}

fn parse(line: &str) -> File {
    let words: Vec<String> =
        line.split_whitespace().map(|word| word.replace("\\n", "\n").replace("\\x20", " ")).collect();
    let owner = |text: &str| {
        let (uid, gid) = text.split_once(':').unwrap();
        (uid.parse().unwrap(), gid.parse().unwrap())
    };
    let mode = |text: &str| u16::from_str_radix(text, 8).unwrap();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let file = |path: &str, mode, owner, extra: &str| File {
        kind: line.as_bytes()[0],
        path: path.to_owned(),
        mode,
        owner,
        extra: extra.to_owned(),
    };
    match words.as_slice() {
        ["d", bits, who, path, ..] => file(path, mode(bits), owner(who), ""),
        ["f", bits, who, path, text, ..] => file(path, mode(bits), owner(who), text),
        ["l", who, path, target, ..] => file(path, 0o777, owner(who), target),
        ["h", path, target] => file(path, 0, (0, 0), target),
        other => panic!("{other:?}"),
    }
}

fn archive(lines: &[String], mtime: i64) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let mut known: HashMap<String, (u16, (u32, u32))> = HashMap::new();
    for line in lines {
        let mut file = parse(line);
        if file.kind == b'h' {
            (file.mode, file.owner) = known[&file.extra];
        }
        known.insert(file.path.clone(), (file.mode, file.owner));
        let kind = match file.kind {
            b'd' => EntryKind::Directory,
            b'f' => EntryKind::File { size: file.extra.len() as u64 },
            b'l' => EntryKind::Symlink { target: file.extra.as_bytes() },
            _ => EntryKind::HardLink { target: file.extra.as_bytes() },
        };
        let path = file.path.strip_prefix("./").unwrap_or(&file.path);
        let path = if path == "." { "" } else { path };
        let (uid, gid) = file.owner;
        let header =
            EntryHeader { path: path.as_bytes(), kind, mode: file.mode, uid, gid, mtime, xattrs: None };
        let mut text = file.extra.as_bytes();
        let content: Option<&mut dyn std::io::Read> = (file.kind == b'f').then_some(&mut text);
        writer.entry(&header, content).unwrap();
    }
    writer.finish().unwrap()
}

fn lay_out(root: &Path, lines: &[String], mtime: i64) {
    for line in lines {
        let file = parse(line);
        let path = root.join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match file.kind {
            b'd' => fs::create_dir(&path).unwrap(),
            b'l' => std::os::unix::fs::symlink(&file.extra, &path).unwrap(),
            b'h' => fs::hard_link(root.join(&file.extra), &path).unwrap(),
            _ => match file.extra.strip_prefix("TAR:") {
                Some(list) => {
                    let lines: Vec<_> = list.split(';').map(|line| line.replace('|', " ")).collect();
                    fs::write(&path, archive(&lines, mtime)).unwrap();
                }
                None => fs::write(&path, &file.extra).unwrap(),
            },
        }
        if file.kind == b'd' || file.kind == b'f' {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(file.mode.into());
            fs::set_permissions(&path, mode).unwrap();
        }
    }
    stamp(root, mtime);
}

fn stamp(dir: &Path, mtime: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            stamp(&path, mtime);
        }
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What galley makes of a case, written as BuildKit's answer is.
fn answer(case: &Case) -> Vec<String> {
    let bench = Bench::new();
    lay_out(&bench.context(), case.lines("context"), TIMES[2].1);
    let mut text = String::new();
    for (section, from, time) in
        [("stage", "FROM scratch AS stage", TIMES[1].1), ("base", "FROM scratch", TIMES[0].1)]
    {
        if section == "base" || !case.lines(section).is_empty() {
            writeln!(text, "{from}").unwrap();
        }
        if !case.lines(section).is_empty() {
            fs::write(bench.context().join(format!(".{section}.tar")), archive(case.lines(section), time))
                .unwrap();
            writeln!(text, "ADD .{section}.tar /").unwrap();
        }
    }
    writeln!(text, "{}", case.lines("run").join("\n")).unwrap();
    let built = match bench.build(&text) {
        Ok(built) => built,
        Err(error) => return vec![format!("error {error}")],
    };
    let tree = files(&built);
    let mut first: HashMap<u32, String> = HashMap::new();
    let listed =
        tree.entries().iter().filter(|entry| !entry.path.is_empty() && !entry.path.starts_with(b".base.tar"));
    listed.map(|entry| describe(entry, &mut first, &bench, &built)).collect()
}

fn describe(entry: &Entry, first: &mut HashMap<u32, String>, bench: &Bench, built: &Built) -> String {
    let meta = &entry.meta;
    let (path, owner) =
        (String::from_utf8_lossy(&entry.path).into_owned(), format!("{}:{}", meta.uid, meta.gid));
    let known = TIMES.iter().find(|(_, time)| Time::from_seconds(*time) == meta.mtime);
    let time = known.map_or("now", |(name, _)| name);
    match &entry.kind {
        Kind::Directory { .. } => format!("d {:04o} {owner} {path}", meta.mode),
        Kind::Symlink { target } => format!("l {owner} {path} {} {time}", String::from_utf8_lossy(target)),
        Kind::File { links: Some(group), .. } if first.contains_key(&group.get()) => {
            format!("h {path} {}", first[&group.get()])
        }
        Kind::File { links, .. } => {
            first.extend(links.map(|group| (group.get(), path.clone())));
            let text = content(bench, built, &path).replace('\n', "\\n").replace(' ', "\\x20");
            format!("f {:04o} {owner} {path} {text} {time}", meta.mode)
        }
        other => format!("? {other:?}"),
    }
}

/// Times of directories are left out: they depend on the order of writing. So is which name of a file comes first.
fn comparable(lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .iter()
        .filter(|line| !line.contains(" .stage.tar ") && !line.contains(" .base.tar "))
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["d", mode, owner, path, ..] => format!("d {mode} {owner} {path}"),
                ["error", ..] => "error".to_owned(),
                _ => line.clone(),
            }
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn files_are_copied_as_buildkit_copies_them() {
    let mut failures = String::new();
    for case in cases() {
        let (expected, found) = (comparable(case.lines("answer")), answer(&case));
        let same = comparable(&found) == expected;
        let excused = DIFFERENT.iter().any(|(name, _)| *name == case.name);
        if same == excused {
            let found = found.join("\n  ");
            writeln!(failures, "== {}\nexpected\n  {}\nfound\n  {found}", case.name, expected.join("\n  "))
                .unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
