//! One corpus of hostile archives, Dockerfiles and contexts through every door by which such things come in. Each is
//! refused by name or does no harm; the test counts which, and prints the counts.

use std::{collections::BTreeMap, io, os::unix::fs::symlink, process::Command};

use galley_testkit::web::{Page, Web};

use super::{
    super::{Kitchen, single_id},
    *,
};

/// One entry as a header has it, and its content; sizes and names may lie.
struct Raw<'a> {
    name: &'a [u8],
    kind: u8,
    link: &'a [u8],
    size: u64,
    content: &'a [u8],
}

impl<'a> Raw<'a> {
    fn new(name: &'a [u8], kind: u8) -> Self {
        Self { name, kind, link: b"", size: 0, content: b"" }
    }

    fn file(name: &'a [u8]) -> Self {
        Self { size: 1, content: b"f", ..Self::new(name, b'0') }
    }

    fn link(name: &'a [u8], kind: u8, link: &'a [u8]) -> Self {
        Self { link, ..Self::new(name, kind) }
    }

    /// The header of extended records for the entry after it.
    fn extended(records: &'a [u8]) -> Self {
        Self { size: records.len() as u64, content: records, ..Self::new(b"pax", b'x') }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_size(self.size);
        let old = header.as_old_mut();
        old.name[..self.name.len()].copy_from_slice(self.name);
        old.linkname[..self.link.len()].copy_from_slice(self.link);
        old.linkflag = [self.kind];
        header.set_cksum();
        let mut bytes = [header.as_bytes().as_slice(), self.content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn archive(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Raw::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A record of an extended header.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let digits = (1..9).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
    [(rest.len() + digits).to_string().into_bytes(), rest].concat()
}

/// An archive of one file (or what `entry` says) with these records.
fn with_records(records: &[(&str, &[u8])], entry: Raw<'_>) -> Vec<u8> {
    let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    archive(&[Raw::extended(&records), entry])
}

/// What has to become of an archive as a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Taken,
}

/// Archives by name; `outside` is a folder that no test has a right to.
fn archives(outside: &Path) -> Vec<(&'static str, Vec<u8>, Fate)> {
    use Fate::{Refused, Taken};
    let canary = outside.join("canary");
    let (folder, canary) = (outside.as_os_str().as_bytes(), canary.as_os_str().as_bytes());
    let up = [b"../../../../../../../..", canary].concat();
    let flips: Vec<Raw<'_>> =
        (0..50).flat_map(|_| [Raw::file(b"x"), Raw::new(b"x", b'5'), Raw::file(b"x/y")]).collect();
    let sparse: [(&str, &[u8]); 3] =
        [("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.numblocks", b"1")];
    let short_map: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"0,9"), ("GNU.sparse.size", b"9")];
    vec![
        ("absolute name", archive(&[Raw::file(canary)]), Taken),
        ("name with ..", with_records(&[("path", &up)], Raw::file(b"f")), Refused),
        ("through a link out", archive(&[Raw::link(b"l", b'2', folder), Raw::file(b"l/canary")]), Taken),
        ("hard link out", archive(&[Raw::link(b"l", b'1', canary)]), Refused),
        (
            "hard link through a link out",
            archive(&[Raw::link(b"l", b'2', folder), Raw::link(b"h", b'1', b"l/precious")]),
            Refused,
        ),
        ("device", archive(&[Raw::new(b"mem", b'3')]), Taken),
        ("fifo", archive(&[Raw::new(b"pipe", b'6')]), Taken),
        ("size that lies", archive(&[Raw { size: 1 << 20, ..Raw::file(b"f") }]), Refused),
        ("size of 2 TiB", archive(&[Raw { size: 1 << 41, ..Raw::file(b"f") }]), Refused),
        ("hole of 1 TiB", with_records(&sparse, Raw::file(b"f")), Refused),
        ("sparse map that lies", with_records(&short_map, Raw::file(b"f")), Refused),
        (
            "extended header of 2 MiB",
            with_records(&[("comment", &vec![b'c'; 2 << 20])], Raw::file(b"f")),
            Refused,
        ),
        (
            "link to 1 MB",
            with_records(&[("linkpath", &b"d/".repeat(500_000))], Raw::new(b"l", b'2')),
            Refused,
        ),
        ("link to nothing", archive(&[Raw::new(b"l", b'2')]), Refused),
        ("loop of links", archive(&[Raw::link(b"l", b'2', b"l"), Raw::file(b"l/x")]), Refused),
        ("name of 256", with_records(&[("path", &[b'n'; 256])], Raw::file(b"f")), Refused),
        ("name of 255", with_records(&[("path", &[b'n'; 255])], Raw::file(b"f")), Taken),
        ("name with a newline", archive(&[Raw::file(b"a\nb\x1b[31m\xff")]), Taken),
        ("name with NUL", with_records(&[("path", b"a\0b")], Raw::file(b"f")), Refused),
        ("name of 20 kB", with_records(&[("path", &b"d/".repeat(10_000))], Raw::file(b"f")), Refused),
        (
            "100 levels",
            with_records(&[("path", &[b"d/".repeat(100), b"f".to_vec()].concat())], Raw::file(b"f")),
            Taken,
        ),
        ("file, folder and back", archive(&flips), Taken),
        ("file as a folder", archive(&[Raw::file(b"f"), Raw::file(b"f/g")]), Refused),
        ("kind that no tar has", archive(&[Raw::new(b"x", b'Z')]), Refused),
        ("owner that no machine has", with_records(&[("uid", b"99999999999")], Raw::file(b"f")), Refused),
    ]
}

/// Only of layers: in other archives these names mean nothing.
fn whiteouts() -> Vec<(&'static str, Vec<u8>, Fate)> {
    vec![
        ("whiteout of nothing", archive(&[Raw::file(b"d/.wh.")]), Fate::Refused),
        ("whiteout of ..", archive(&[Raw::file(b"d/.wh...")]), Fate::Refused),
        ("whiteout that is a folder", archive(&[Raw::new(b".wh.data", b'5')]), Fate::Taken),
        ("opaque marker that is a link", archive(&[Raw::link(b"d/.wh..wh..opq", b'2', b"/")]), Fate::Taken),
    ]
}

const DOORS: [&str; 8] =
    ["FROM", "COPY --from", "load", "import", "ADD", "context", "ADD of a URL", "context of a URL"];

/// The archive comes in through this door.
fn enter(kitchen: &Kitchen, web: &Web, door: &str, archive: &[u8]) -> Command {
    let layout = kitchen.path("bad");
    if layout.exists() {
        fs::remove_dir_all(&layout).unwrap();
    }
    let base = galley_testkit::busybox_rootfs().expect("the kitchen has looked");
    galley_testkit::write_layout(&layout, "latest", &[base, archive.to_vec()], &serde_json::json!({}));
    kitchen.env.write("bad.tar", archive);
    let named = format!("bad=oci-layout://{}", layout.display());
    let build = |dockerfile: &str| {
        kitchen.dockerfile(dockerfile);
        let cache = ["--progress=plain", "-o", "type=cacheonly", "--build-context", &named, "."];
        kitchen.build_command(&cache)
    };
    match door {
        "FROM" => build("FROM bad\nRUN true\n"),
        "COPY --from" => build("FROM scratch\nCOPY --from=bad / /all/\n"),
        "ADD" => build("FROM scratch\nADD bad.tar /all/\n"),
        "ADD of a URL" => {
            web.put("/bad.tar", Page::new(archive));
            build(&format!("FROM scratch\nADD --unpack {} /all/\n", web.url("/bad.tar")))
        }
        "context of a URL" => {
            web.put("/context.tar", Page::new(with_dockerfile(archive)));
            let arguments = ["build", "--progress=plain", "-o", "type=cacheonly", &web.url("/context.tar")];
            kitchen.command(&arguments)
        }
        "import" => kitchen.command(&["import", "bad.tar", "imported"]),
        "load" => {
            let mut all = tar::Builder::new(Vec::new());
            all.append_dir_all("", &layout).unwrap();
            kitchen.env.write("load.tar", all.into_inner().unwrap());
            kitchen.command(&["load", "-i", "load.tar"])
        }
        _ => {
            kitchen.env.write("context.tar", with_dockerfile(archive));
            let mut command = kitchen.command(&["build", "--progress=plain", "-o", "type=cacheonly", "-"]);
            command.stdin(fs::File::open(kitchen.env.work().join("context.tar")).unwrap().into_file());
            command
        }
    }
}

fn with_dockerfile(archive: &[u8]) -> Vec<u8> {
    let dockerfile = b"FROM scratch\nCOPY . /all/\n";
    let file = Raw { size: dockerfile.len() as u64, content: dockerfile, ..Raw::new(b"Dockerfile", b'0') };
    [file.bytes(), archive.to_vec()].concat()
}

/// What came of one thing that was tried. A crash, or a failure without a message, is none of these.
fn fate(what: &str, output: &Output) -> Fate {
    let said = text(output);
    assert!(!said.contains("panicked"), "{what}: {said}");
    match output.status.code() {
        Some(0) => Fate::Taken,
        Some(1) => {
            assert!(said.contains("error: "), "{what}: {said}");
            Fate::Refused
        }
        _ => panic!("{what}: {said}"),
    }
}

/// Counted by kind, for people.
#[derive(Default)]
struct Tally(BTreeMap<String, [usize; 2]>);

impl Tally {
    fn count(&mut self, kind: &str, fate: Fate) {
        self.0.entry(kind.to_owned()).or_default()[usize::from(fate == Fate::Taken)] += 1;
    }

    fn print(&self, what: &str) {
        let mut all = [0; 2];
        for (kind, [refused, taken]) in &self.0 {
            all = [all[0] + refused, all[1] + taken];
            eprintln!("{what}, {kind}: injected {}, refused {refused}, survived {taken}", refused + taken);
        }
        let [refused, taken] = all;
        eprintln!("{what}: injected {}, refused {refused}, survived {taken}, escaped 0", refused + taken);
    }
}

#[test]
fn archives_through_every_door() {
    let Some(kitchen) = Kitchen::new() else { return };
    let outside = kitchen.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let (mut tally, web) = (Tally::default(), Web::start());
    for door in DOORS {
        let is_layer = matches!(door, "FROM" | "COPY --from" | "load" | "import");
        let layers = whiteouts().into_iter().filter(|_| is_layer);
        for (name, archive, wanted) in archives(&outside).into_iter().chain(layers) {
            let what = format!("{name} by {door}");
            let output = enter(&kitchen, &web, door, &archive).output().unwrap();
            let fate = fate(&what, &output);
            assert_eq!(fate, wanted, "{what}: {}", text(&output));
            tally.count(door, fate);
            let left: Vec<_> =
                fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["precious"], "{what}");
        }
    }
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    assert_eq!(leftovers(&kitchen), Vec::<String>::new());
    tally.print("archives");
}

/// Dockerfiles that are large, deep or lie, and a word of what is said of them; nothing is said of those that build.
fn dockerfiles() -> Vec<(&'static str, String, &'static str)> {
    let megabyte = format!("FROM scratch\nARG A={}\n{}", "x".repeat(1000), "ARG A=$A$A\n".repeat(10));
    vec![
        ("17 MB on one line", format!("FROM scratch\nLABEL a={}\n", "x".repeat(17 << 20)), "16777216"),
        ("17 MB of lines", "# comment\n".repeat(1_800_000), "16777216"),
        (
            "here-document of 17 MB",
            format!("FROM scratch\nCOPY <<E /f\n{}\nE\n", "x".repeat(17 << 20)),
            "16777216",
        ),
        ("ARG that doubles", format!("{megabyte}ARG A=$A$A\nLABEL a=$A\n"), "longer than"),
        ("ARG on many lines", format!("{megabyte}{}", "LABEL a=$A\n".repeat(200)), "unfolds to more than"),
        (
            "braces 100 deep",
            format!("FROM scratch\nARG A=1\nLABEL a={}x{}\n", "${A:+".repeat(100), "}".repeat(100)),
            "deeper than 64",
        ),
        (
            "braces 60 deep",
            format!("FROM scratch\nARG A=1\nLABEL a={}x{}\n", "${A:+".repeat(60), "}".repeat(60)),
            "",
        ),
        ("10,001 stages", "FROM scratch\n".repeat(10_001), "more than 10000 stages"),
        (
            "100,001 instructions",
            format!("FROM scratch\n{}", "LABEL a=b\n".repeat(100_000)),
            "more than 100000 instructions",
        ),
        ("JSON 1,000 deep", format!("FROM scratch\nCMD {}{}\n", "[".repeat(1000), "]".repeat(1000)), ""),
        (
            "pattern that explodes",
            format!("FROM scratch\nARG A={}\nLABEL a=${{A##{}b}}\n", "a".repeat(60_000), "*a".repeat(2000)),
            "comparisons",
        ),
        ("100 MB", "# comment\n".repeat(10 << 20), "16777216"),
        ("1,000,000 lines", format!("{}FROM scratch\n", "#\n".repeat(1_000_000)), ""),
        ("1,000,000 lines of one", format!("FROM scratch\nLABEL a=b{}\n", " \\\n".repeat(1_000_000)), ""),
        ("100,000 labels of one", format!("FROM scratch\nLABEL{}\n", labels(100_000)), ""),
        ("10,000 stages, each from the last", chain(10_000), ""),
        ("1,000 here-documents of one", heredocs(1000), ""),
        (
            "stages that need each other",
            "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n".to_owned(),
            "needed before it is defined",
        ),
        ("stage that needs itself", "FROM scratch AS a\nCOPY --from=a / /\n".to_owned(), "a"),
        (
            "ENV that doubles",
            format!("FROM scratch\nENV A=x\n{}", "ENV A=${A}${A}\n".repeat(40)),
            "longer than",
        ),
        ("here-document without end", "FROM scratch\nCOPY <<E /f\n".to_owned(), "E"),
        ("NUL", "FROM scratch\nLABEL a=\0\n".to_owned(), ""),
    ]
}

fn labels(count: usize) -> String {
    (0..count).map(|number| format!(" k{number}=v")).collect()
}

/// Each stage from the one before it.
fn chain(count: usize) -> String {
    let stages = (1..count).map(|number| format!("FROM s{} AS s{number}\n", number - 1));
    format!("FROM scratch AS s0\n{}COPY Dockerfile /\n", stages.collect::<String>())
}

fn heredocs(count: usize) -> String {
    let begins: String = (0..count).map(|number| format!(" <<E{number}")).collect();
    let bodies: String = (0..count).map(|number| format!("text\nE{number}\n")).collect();
    format!("FROM scratch\nCOPY{begins} /d/\n{bodies}")
}

/// What one of them may take of a program that is not optimised.
const SECONDS_MAX: f64 = 30.0;
const MEMORY_MAX: u64 = 512 << 20;

#[test]
fn dockerfiles_that_ask_for_too_much() {
    let Some(kitchen) = Kitchen::new() else { return };
    let mut tally = Tally::default();
    for (name, dockerfile, words) in dockerfiles() {
        kitchen.dockerfile(&dockerfile);
        let log = kitchen.path("log");
        let mut command = kitchen.build_command(&["--progress=plain", "-o", "type=cacheonly", "."]);
        command.stderr(fs::File::create(&log).unwrap().into_file());
        let mut child = command.spawn().unwrap();
        let (peak, seconds) = memory::cost_of(&child);
        let (status, stdout) = (child.wait().unwrap(), Vec::new());
        let output = Output { status, stdout, stderr: fs::read(log).unwrap() };
        eprintln!("{name}: {seconds:.2} s, {} MiB", peak >> 20);
        assert!(seconds <= SECONDS_MAX && peak <= MEMORY_MAX, "{name}: {seconds} s, {} MiB", peak >> 20);
        let fate = fate(name, &output);
        assert_eq!(fate == Fate::Taken, words.is_empty(), "{name}: {:.2000}", text(&output));
        assert!(text(&output).contains(words), "{name}: {:.2000}", text(&output));
        tally.count("Dockerfile", fate);
    }
    tally.print("Dockerfiles");
}

/// What a folder holds that is no file, and what goes in circles.
fn odd_context(kitchen: &Kitchen) {
    let work = kitchen.env.work();
    let make = |name: &str, kind: char, device: &str| {
        let mut mknod = Command::new("mknod");
        mknod.arg(work.join(name)).arg(kind.to_string());
        mknod.args(device.split_whitespace());
        succeeded(mknod.output().unwrap());
    };
    make("fifo", 'p', "");
    if rustix::process::geteuid().is_root() {
        make("zero", 'c', "1 5");
    }
    drop(std::os::unix::net::UnixListener::bind(work.join("socket")).unwrap());
    symlink("loop", work.join("loop")).unwrap();
    symlink("..", work.join("up")).unwrap();
    symlink("/etc/shadow", work.join("shadow")).unwrap();
    kitchen.env.write("file", "file");
}

#[test]
fn contexts_that_are_no_files() {
    let Some(kitchen) = Kitchen::new() else { return };
    odd_context(&kitchen);
    let mut tally = Tally::default();
    for (copied, wanted) in [
        (".", Some(Fate::Taken)),
        ("fifo", None),
        ("socket", None),
        ("zero", None),
        ("loop/x", Some(Fate::Refused)),
        ("up/up/up/etc/passwd", Some(Fate::Refused)),
        ("shadow", Some(Fate::Refused)),
        ("../../etc/passwd", Some(Fate::Refused)),
    ] {
        kitchen.dockerfile(&format!("FROM scratch\nCOPY {copied} /all/\n"));
        let output =
            kitchen.build_command(&["--progress=plain", "-o", "type=cacheonly", "."]).output().unwrap();
        let fate = fate(copied, &output);
        assert!(wanted.is_none_or(|wanted| fate == wanted), "{copied}: {}", text(&output));
        tally.count("context", fate);
    }
    for (file, name) in [("fifo", "Dockerfile"), ("zero", "Dockerfile"), ("fifo", ".dockerignore")] {
        let _ = fs::remove_file(kitchen.env.work().join(name));
        if fs::rename(kitchen.env.work().join(file), kitchen.env.work().join(name)).is_err() {
            continue;
        }
        let output =
            kitchen.build_command(&["--progress=plain", "-o", "type=cacheonly", "."]).output().unwrap();
        tally.count(name, fate(name, &output));
        fs::rename(kitchen.env.work().join(name), kitchen.env.work().join(file)).unwrap();
        kitchen.dockerfile("FROM scratch\nCOPY file /\n");
    }
    tally.print("contexts");
}

/// A folder, a file and an ignore file that an ordinary user may not read.
#[test]
fn contexts_that_are_not_the_users() {
    use std::os::unix::fs::PermissionsExt;
    let Some(kitchen) = single_id::kitchen_of_all() else { return };
    let work = kitchen.env.work();
    let shut = |name: &str| fs::set_permissions(work.join(name), PermissionsExt::from_mode(0o000)).unwrap();
    kitchen.dockerfile("FROM scratch\nCOPY . /all/\n");
    let mut tally = Tally::default();
    for name in ["dark/file", "dark", ".dockerignore", "Dockerfile"] {
        kitchen.env.write(if name == "dark" { "dark/file" } else { name }, "x");
        shut(name);
        let output = single_id::as_user(&kitchen, &["-o", "type=cacheonly", "--progress=plain", "."]);
        let said = text(&output);
        assert!(said.contains(name.trim_end_matches("/file")), "{name}: {said}");
        assert_eq!(fate(name, &output), Fate::Refused, "{name}: {said}");
        tally.count("unreadable", Fate::Refused);
        fs::set_permissions(work.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        if name == "dark" {
            fs::remove_dir_all(work.join(name)).unwrap();
        } else {
            fs::remove_file(work.join(name)).unwrap();
        }
    }
    tally.print("contexts of others");
}

#[test]
fn ignore_files_that_take_long() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM scratch\nCOPY . /\n");
    for number in 0..200 {
        kitchen.env.write(&format!("{}{number}", "a".repeat(200)), "");
    }
    let mut tally = Tally::default();
    for (name, patterns, wanted) in [
        ("stars", format!("{}b\n", "*a".repeat(100)), Fate::Taken),
        ("folders", format!("{}b\n", "**/a*/".repeat(30)), Fate::Taken),
        (
            "100,000 patterns",
            (0..100_000).map(|number| format!("**/x{number}*/y\n!y{number}\n")).collect(),
            Fate::Taken,
        ),
        ("100,001 patterns", "*x\n".repeat(100_001), Fate::Refused),
        ("a line of 1 MB", "x".repeat(1 << 20), Fate::Taken),
        ("5 MB", "x\n".repeat(5 << 19), Fate::Refused),
        ("bad class", "[".to_owned(), Fate::Refused),
        ("only !", "!\n".to_owned(), Fate::Refused),
    ] {
        kitchen.env.write(".dockerignore", patterns);
        let output =
            kitchen.build_command(&["--progress=plain", "-o", "type=cacheonly", "."]).output().unwrap();
        let fate = fate(name, &output);
        assert_eq!(fate, wanted, "{name}: {:.2000}", text(&output));
        tally.count(".dockerignore", fate);
    }
    tally.print("ignore files");
}

/// Kilobytes that ask for gigabytes of memory, compressed once more: what galley takes before it refuses them.
#[test]
#[ignore = "takes minutes"]
fn bombs_take_little_memory() {
    const MEMORY_MAX: u64 = 3 << 30;
    let Some(kitchen) = Kitchen::new() else { return };
    let value = vec![b'v'; 3000];
    let attributes: Vec<u8> =
        (0..20).flat_map(|number| record(&format!("SCHILY.xattr.user.{number}"), &value)).collect();
    let attributed = [Raw::extended(&attributes).bytes(), Raw::file(b"f").bytes()].concat();
    let linked = |number: usize| Raw::link(format!("l{number}").as_bytes(), b'1', b"f").bytes();
    let name = "attributes of names";
    let bomb = [attributed, (0..100_000).flat_map(linked).collect()].concat();
    let compression = galley_oci::compress::Compression::Zstd;
    let mut packed = galley_oci::compress::Compressor::new(Vec::new(), compression, None, 1).unwrap();
    io::Write::write_all(&mut packed, &bomb).unwrap();
    kitchen.env.write("bomb", packed.finish().unwrap());
    let mut child = spawn(&kitchen, &["import", "bomb", "bomb"]);
    let peak = memory::peak_of(&mut child);
    let said = text(&child.wait_with_output().unwrap());
    assert!(said.contains("what its paths, links and extended attributes have is limited"), "{name}: {said}");
    eprintln!("{name}: {} MiB", peak >> 20);
    assert!(peak <= MEMORY_MAX, "{name}: {} MiB", peak >> 20);
    nothing_is_visible(&kitchen, name);
}

/// Zeros are no more than a hole, and so fill no disk.
#[test]
#[ignore = "takes minutes"]
fn zeros_of_a_hundred_gigabytes_end_at_the_limit() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("bomb", hostile::zstd_bomb(100, 0));
    let mut child = spawn(&kitchen, &["import", "bomb", "bomb"]);
    let (peak, seconds) = memory::cost_of(&child);
    let status = child.wait().unwrap();
    let said = io::read_to_string(child.stderr.take().unwrap()).unwrap();
    eprintln!("100 GB of zeros in 3 MB: {seconds} s, {} MiB", peak >> 20);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the limit is 68719476736 bytes and 200 times its length"), "{said}");
    assert!(peak <= MEMORY_MAX, "{} MiB", peak >> 20);
    nothing_is_visible(&kitchen, "zeros");
}

/// 100,000 patterns for 50,000 files: where they differ in letters it takes no time, where each has to be followed through
/// each name it is refused.
#[test]
#[ignore = "takes minutes"]
fn as_many_patterns_as_files() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM scratch\nCOPY . /\n");
    for number in 0..50_000 {
        kitchen.env.write(&format!("d{}/a{number}{}", number / 100, "ab".repeat(40)), "");
    }
    let class = |number: u32| format!("[a-j{}]", char::from_u32(0x4E00 + number % 20_000).unwrap());
    let lines = |line: &dyn Fn(u32) -> String| (0..100_000).map(line).collect::<String>();
    for (name, patterns, words) in [
        ("paths", lines(&|number| format!("d{}/f{number}\n", number % 500)), ""),
        ("folders", lines(&|number| format!("**/a{number}/**/b*\n")), ""),
        ("exceptions", lines(&|number| format!("*{number}.o\n!a{number}\n")), ""),
        ("stars", lines(&|number| format!("*a*{}a*{number}*\n", "a?".repeat(8))), ""),
        ("classes", lines(&|number| format!("*{}*x\n", class(number))), "takes too long"),
        ("two classes", lines(&|number| format!("*{}*{0}*x\n", class(number))), "takes too long"),
    ] {
        kitchen.env.write(".dockerignore", patterns);
        let log = kitchen.path("log");
        let mut command = kitchen.build_command(&["--progress=plain", "-o", "type=cacheonly", "."]);
        let mut child = command.stderr(fs::File::create(&log).unwrap().into_file()).spawn().unwrap();
        let (peak, seconds) = memory::cost_of(&child);
        let output =
            Output { status: child.wait().unwrap(), stdout: Vec::new(), stderr: fs::read(log).unwrap() };
        eprintln!("100,000 patterns, 50,000 files, {name}: {seconds} s, {} MiB", peak >> 20);
        assert_eq!(
            fate(name, &output) == Fate::Refused,
            !words.is_empty(),
            "{name}: {:.2000}",
            text(&output)
        );
        assert!(text(&output).contains(words), "{name}: {:.2000}", text(&output));
        assert!(peak <= MEMORY_MAX, "{name}: {} MiB", peak >> 20);
    }
}
