//! What the fuzz targets do with their bytes: errors are fine, panics are findings, and so is an answer that cannot be
//! right.

#![forbid(unsafe_code)]

use std::io::{Cursor, Read, copy, sink};

use galley_dockerfile::{
    Command, CommandLine, Expander, Ignore, Node, Source, Span, Word, command::CopySource, duration,
    glob::Glob, mode, mount, parse, parse_onbuild, port, signal, tree::print, user,
};
use galley_oci::{
    ImageConfig, Index, Manifest, Platform, Reference, Tree,
    archive::{Reader, Whiteouts},
    compress::decoder,
    erofs::{self, RecordKind},
    tree::compare_paths,
};

/// No more than this of what a small input decompresses to is read.
const DECOMPRESSED_MAX: u64 = 1 << 20;

/// A Dockerfile: what parses is printed, and parses again to the same tree.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(source) = Source::new("Dockerfile", bytes) else { return };
    let _ = parse_onbuild(&source);
    let Ok(dockerfile) = parse(&source) else { return };
    let tree = without_lines(dockerfile.tree(&source));
    let printed = print(&tree, dockerfile.escape);
    let again = Source::new("Dockerfile", printed.as_str()).expect("it was UTF-8");
    let parsed = parse(&again).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(tree, without_lines(parsed.tree(&again)), "\n{printed}");
    let _ = dockerfile.into_stages();
}

fn without_lines(nodes: Vec<Node>) -> Vec<Node> {
    nodes.into_iter().map(Node::without_places).collect()
}

/// COPY with here-documents, expanded.
pub fn heredoc(bytes: &[u8]) {
    let text = [b"FROM a\nCOPY <<", bytes].concat();
    let Ok(source) = Source::new("Dockerfile", text) else { return };
    let Ok(dockerfile) = parse(&source) else { return };
    let environment = |name: &str| (name != "unset").then(|| name.repeat(2));
    for instruction in &dockerfile.instructions {
        let Command::Copy(copy) = &instruction.command else { continue };
        for source in &copy.sources {
            if let CopySource::Heredoc(heredoc) = source {
                let _ = Expander::new(dockerfile.escape, &environment).heredoc(heredoc);
            }
        }
    }
}

/// A word, expanded in every way there is. The first byte chooses the escape character.
pub fn expansion(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let word = Word::new(text, Span::new(0, text.len()));
    let environment = |name: &str| (name != "unset").then(|| format!("*{name}?"));
    let expander = Expander::new(if first % 2 == 0 { '\\' } else { '`' }, &environment);
    if let Err(error) = expander.word(&word) {
        assert!(error.span().end <= text.len());
    }
    let _ = (expander.words(&word), expander.for_display(text));
}

/// A `.dockerignore`, and behind the first zero byte the path that it is asked about.
pub fn ignore(bytes: &[u8]) {
    let (rules, path) = halves(bytes);
    if let Ok(ignore) = Ignore::parse(rules) {
        let _ = (ignore.keeps_all_out(), ignore.may_readmit_below(path));
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let walked = slashes
            .chain([path.len()])
            .fold((false, ignore.root()), |(_, above), end| ignore.check(&above, &path[..end]));
        // A walk and a question give one answer, for paths as a walk has them.
        let is_plain = !path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."));
        assert!(!is_plain || walked.0 == ignore.matches(path));
    }
    if let Ok(pattern) = Glob::new(rules, Span::new(0, rules.len())) {
        let _ = pattern.matches(path);
    }
}

fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

/// The exec form.
pub fn json(bytes: &[u8]) {
    let text = [b"FROM a\nCMD [", bytes].concat();
    let Ok(source) = Source::new("Dockerfile", text) else { return };
    let Ok(dockerfile) = parse(&source) else { return };
    for instruction in dockerfile.instructions {
        if let Command::Cmd(CommandLine::Exec(words)) = instruction.command {
            words.iter().for_each(|word| assert!(word.span.end <= source.text().len()));
        }
    }
}

/// The options of `RUN --mount`.
pub fn mounts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let word = Word::new(text, Span::new(0, text.len()));
    if let Err(error) = mount::parse(&word, &Expander::new('\\', &|_| None)) {
        assert!(error.span().end <= text.len());
    }
}

/// Ports, users, modes, durations and signals.
pub fn values(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let span = Span::new(0, text.len());
    if let Ok(ports) = port::parse(text, span) {
        let _ = ports.names().count();
    }
    if let Ok(mode) = mode::parse(text, span) {
        assert!(mode.apply(0o644, false) <= 0o7777);
    }
    let _ = (user::parse(text, span), duration::parse(text), signal::parse(text, span));
}

/// Names of images, and platforms: what is read prints as something that reads the same.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        let again: Reference = reference.to_string().parse().expect("it was read before");
        assert_eq!(reference, again);
        let _ = reference.with_default_tag().canonical();
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let _ = platform.normalised().to_string();
    }
}

/// A tar archive, as a layer and as any archive.
pub fn archive(bytes: &[u8]) {
    for whiteouts in [Whiteouts::Read, Whiteouts::Plain] {
        let mut reader = Reader::new(Cursor::new(bytes), whiteouts);
        while let Ok(Some(item)) = reader.next_item() {
            let climbs = item.path.split(|byte| *byte == b'/').any(|part| part == b"..");
            assert!(!climbs && !item.path.starts_with(b"/"));
            let _ = copy(&mut reader.content().take(DECOMPRESSED_MAX), &mut sink());
        }
    }
}

/// Compressed layers.
pub fn compressed(bytes: &[u8]) {
    if let Ok(decoder) = decoder(Box::new(Cursor::new(bytes.to_vec()))) {
        let _ = copy(&mut decoder.take(DECOMPRESSED_MAX), &mut sink());
    }
}

/// Image configs, manifests and indexes: what is read is written as something that can be read. It is not always the same: a
/// number of more than 64 bits, in a field that nobody knows, may change its last digit.
pub fn images(bytes: &[u8]) {
    if let Ok(config) = ImageConfig::parse(bytes) {
        ImageConfig::parse(&config.to_bytes()).expect("it was read before");
        let _ = config.platform().normalised();
    }
    if let Ok(manifest) = Manifest::parse(bytes) {
        Manifest::parse(&manifest.to_bytes()).expect("it was read before");
    }
    if let Ok(index) = Index::parse(bytes) {
        Index::parse(&index.to_bytes()).expect("it was read before");
        let _ = index.select(&Platform::new("linux", "arm64"));
    }
}

/// The store's form of a tree, with its head and as what stands behind that.
pub fn trees(bytes: &[u8]) {
    let headed = [b"gtre\x01\x01", bytes].concat();
    for bytes in [bytes, &headed] {
        if let Ok(tree) = Tree::decode(bytes) {
            assert_eq!(tree.encode(), bytes);
        }
        // What is not in canonical form is a tree too, which has one.
        if let Ok(tree) = Tree::decode_own(bytes.to_vec()) {
            // Few by few, before there are all of them.
            let some: Vec<_> = (0..tree.len()).map(|index| tree.entry(index).cloned()).collect();
            let same = Tree::decode(&tree.encode()).expect("it was read before");
            assert_eq!(same, tree);
            let fresh = Tree::decode_own(bytes.to_vec()).expect("it was read before");
            for (index, entry) in same.entries().iter().enumerate() {
                assert_eq!(some[index].as_ref(), Some(entry));
                assert_eq!(fresh.position(&entry.path), Ok(index));
            }
        }
    }
}

/// A packed layer: its files come in the order of a tree, and in a whole one each is found by its path.
pub fn erofs(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes);
    let Ok(reader) = erofs::Reader::open(&bytes[..]) else { return };
    let records: Vec<_> = reader.walk().map_while(Result::ok).collect();
    let in_order = |pair: &[erofs::Record]| compare_paths(&pair[0].path, &pair[1].path).is_lt();
    assert!(records.windows(2).all(in_order));
    for record in &records {
        if let RecordKind::File(runs) = &record.kind {
            let _ = copy(&mut reader.content(runs.clone()).take(DECOMPRESSED_MAX), &mut sink());
        }
    }
    let is_whole = reader.walk().all(|record| record.is_ok());
    for record in records.iter().take(100) {
        let found = reader.find(&record.path);
        assert!(!is_whole || found.is_ok_and(|found| found.as_ref() == Some(record)));
    }
}

/// Gives a superblock the checksum that it should have: no fuzzer would find it.
fn seal(bytes: &mut [u8]) {
    let Some(superblock) = bytes.get_mut(1024..4096) else { return };
    superblock[4..8].fill(0);
    let mut crc = u32::MAX;
    for byte in &*superblock {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    superblock[4..8].copy_from_slice(&crc.to_le_bytes());
}
