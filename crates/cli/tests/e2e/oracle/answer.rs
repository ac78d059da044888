//! An image as text that two builders must agree on: no times, no digests of archives.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Cursor, Read},
};

use galley_oci::{Digest, compress};
use galley_testkit::ARCHITECTURE;
use serde_json::{Map, Value, json};

use super::{super::read_tar, bases::Bases};

/// The longest content that is shown as it is.
const SHOWN_BYTES_MAX: usize = 1600;

/// Times after this are those of the build itself, and not compared.
const NOW: u64 = 1_750_000_000;

/// Files by path; two names of one file have the same `Node::link`.
pub(super) type Files = BTreeMap<Vec<u8>, Node>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    text: String,
    time: u64,
    directory: bool,
    file: bool,
    /// The first name of the file, in the order of the archive.
    link: Vec<u8>,
}

/// What the OCI archive of a build says, with the times of files that are not new if `times` count.
pub(super) fn of_archive(bytes: &[u8], bases: &Bases, times: bool) -> Value {
    let blobs = read_tar(bytes);
    let blob = |descriptor: &Value| -> &[u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        &blobs[&format!("blobs/{}", digest.replace(':', "/"))].content
    };
    let parse = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let index = parse(&blobs["index.json"].content);
    let top = &index["manifests"][0];
    let image = |manifest: &Value| of_image(manifest, &|descriptor| blob(descriptor), bases, times);
    let document = parse(blob(top));
    let Some(listed) = document["manifests"].as_array() else { return image(&document) };
    let listed = listed.iter().map(|one| {
        let mut answer = image(&parse(blob(one)));
        answer["platform"] = one["platform"].clone();
        answer
    });
    json!({"index": listed.collect::<Vec<_>>(), "kind": top["mediaType"]})
}

/// Index and manifest as they are written, without the names and sizes of archives; the config is there by its digest.
pub(super) fn documents(bytes: &[u8]) -> Value {
    let blobs = read_tar(bytes);
    let index = String::from_utf8(blobs["index.json"].content.clone()).unwrap();
    let parsed: Value = serde_json::from_str(&index).unwrap();
    let manifest = &parsed["manifests"][0];
    let name = |descriptor: &Value| descriptor["digest"].as_str().unwrap().replace(':', "/");
    let text = blobs[&format!("blobs/{}", name(manifest))].content.clone();
    let text = String::from_utf8(text).unwrap();
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let hide = |text: &str, descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        let size = format!("\"size\": {}", descriptor["size"]);
        let text = text.replace(digest, "DIGEST").replace(&size, "\"size\": SIZE");
        text.replace(&size.replace(' ', ""), "\"size\":SIZE")
    };
    let layers = parsed["layers"].as_array().into_iter().flatten();
    let manifest_text = layers.fold(text, |text, layer| hide(&text, layer));
    json!({"index": hide(&index, manifest), "manifest": manifest_text})
}

/// What one image says.
fn of_image<'b>(manifest: &Value, blob: &dyn Fn(&Value) -> &'b [u8], bases: &Bases, times: bool) -> Value {
    let mut config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
    // Where there are none, BuildKit writes null.
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let layers: Vec<Vec<u8>> = layers.map(|layer| unpacked(blob(layer))).collect();
    let history =
        config["history"].as_array().map(|items| items.iter().map(history_item).collect::<Vec<_>>());
    hide_volatile(config.as_object_mut().unwrap());
    let files = layers.iter().fold(Files::new(), |files, layer| apply(files, layer));
    let (below, base) = bases.below(&layers);
    let tree = listing(&base, &files, times);
    let entries: Vec<String> = layers[below..].iter().map(|layer| entries(layer)).collect();
    json!({"config": config, "history": history, "layers": layers.len(), "entries": entries, "tree": tree})
}

/// Takes out what differs from build to build and from machine to machine. Times that were asked for stay.
fn hide_volatile(config: &mut Map<String, Value>) {
    let created = config.get("created").and_then(Value::as_str).unwrap_or("none").to_owned();
    let of_machine = config["architecture"] == ARCHITECTURE;
    for volatile in ["history", "rootfs"] {
        config.shift_remove(volatile);
    }
    if is_now(&created) {
        config.shift_remove("created");
    } else {
        config.insert("created".to_owned(), created.into());
    }
    if of_machine {
        config.shift_remove("architecture");
    }
}

/// Whether a time of a config is that of the build. All others of these tests are long ago.
fn is_now(time: &str) -> bool {
    time.starts_with("20") && time > "2025-06-15"
}

/// The names in a layer's archive, in its order: also whiteouts, which the tree cannot tell.
fn entries(layer: &[u8]) -> String {
    let mut archive = tar::Archive::new(layer);
    let names = archive.entries().unwrap().map(|entry| shown_bytes(&entry.unwrap().path_bytes()));
    names.collect::<Vec<_>>().join(" ")
}

fn unpacked(blob: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    compress::decoder(Box::new(Cursor::new(blob.to_vec()))).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn history_item(item: &Value) -> String {
    let text = |name: &str| item[name].as_str().unwrap_or_default();
    let kind = if item["empty_layer"] == true { "empty" } else { "layer" };
    let author = item["author"].as_str().map(|author| format!(" by {author}")).unwrap_or_default();
    let created = match text("created") {
        "" => " without a time".to_owned(),
        created if is_now(created) => String::new(),
        created => format!(" @{created}"),
    };
    format!("{kind} {} # {}{author}{created}", text("created_by"), text("comment"))
}

/// `below` with a layer's archive on it.
pub(super) fn apply(below: Files, layer: &[u8]) -> Files {
    let (mut files, mut new) = (below, Files::new());
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().to_vec();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        let (parent, name) = split(&path);
        if name == b".wh..wh..opq" {
            files.retain(|known, _| !is_below(known, parent));
        } else if let Some(gone) = name.strip_prefix(b".wh.") {
            let gone = join(parent, gone);
            files.retain(|known, _| *known != gone && !is_below(known, &gone));
        } else {
            let node = node(&mut entry, &path, &|target| new.get(target).or(files.get(target)).cloned());
            if !node.directory {
                files.retain(|known, _| !is_below(known, &path));
            }
            new.insert(path, node);
        }
    }
    files.extend(new);
    files
}

fn node(entry: &mut tar::Entry<'_, &[u8]>, path: &[u8], known: &dyn Fn(&[u8]) -> Option<Node>) -> Node {
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    let mut xattrs = String::new();
    if let Some(extensions) = entry.pax_extensions().unwrap() {
        for extension in extensions.map(Result::unwrap) {
            if let Some(name) = extension.key().unwrap().strip_prefix("SCHILY.xattr.") {
                write!(xattrs, " {name}={}", shown_bytes(extension.value_bytes())).unwrap();
            }
        }
    }
    let target = entry.link_name_bytes().map(|name| name.to_vec()).unwrap_or_default();
    let header = entry.header();
    let kind = header.entry_type();
    if kind == tar::EntryType::Link {
        return known(&target).expect("a link to a file that came before");
    }
    let device = || {
        let (major, minor) = (header.device_major().unwrap(), header.device_minor().unwrap());
        format!("{},{}", major.unwrap_or_default(), minor.unwrap_or_default())
    };
    let (letter, what) = match kind {
        tar::EntryType::Directory => ('d', String::new()),
        tar::EntryType::Symlink => ('l', format!("-> {}", shown_bytes(&target))),
        tar::EntryType::Char => ('c', device()),
        tar::EntryType::Block => ('b', device()),
        tar::EntryType::Fifo => ('p', String::new()),
        tar::EntryType::Regular => ('f', shown_content(&content)),
        other => panic!("unexpected kind of entry: {other:?}"),
    };
    // The test kit's archives leave them blank.
    let (uid, gid) = (header.uid().unwrap_or_default(), header.gid().unwrap_or_default());
    let mode = header.mode().unwrap() & 0o7777;
    let text = format!("{letter}{mode:04o} {uid}:{gid} {what}{xattrs}").trim_end().to_owned();
    let time = header.mtime().unwrap();
    Node { text, time, directory: letter == 'd', file: letter == 'f', link: path.to_vec() }
}

/// What differs from the base, one line for each path.
fn listing(base: &Files, files: &Files, times: bool) -> Vec<String> {
    let mut first: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut lines = Vec::new();
    for (path, node) in files {
        let name = first.entry(&node.link).or_insert(path);
        let same = |known: &Node| known.text == node.text && known.link == node.link;
        if base.get(path).is_some_and(|known| same(known) && (!times || known.time == node.time)) {
            continue;
        }
        let time = if times && node.time < NOW { format!(" @{}", node.time) } else { String::new() };
        let linked =
            if *name == path || !node.file { String::new() } else { format!(" = /{}", shown_bytes(name)) };
        lines.push(format!("/{} {}{linked}{time}", shown_bytes(path), node.text));
    }
    lines.extend(
        base.keys()
            .filter(|path| !files.contains_key(*path))
            .map(|path| format!("/{} gone", shown_bytes(path))),
    );
    lines
}

fn shown_content(content: &[u8]) -> String {
    let text = str::from_utf8(content).ok().filter(|text| text.len() <= SHOWN_BYTES_MAX);
    match text.filter(|text| text.chars().all(|letter| letter == '\n' || !letter.is_control())) {
        // The number of a snapshot of BuildKit's is another one each time.
        Some(text) if text.starts_with("gitdir: ../") => {
            let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
            let parts = text.split('/').map(|part| Some(part).filter(|part| !is_number(part)).unwrap_or("N"));
            format!("{:?}", parts.collect::<Vec<_>>().join("/"))
        }
        Some(text) => format!("{text:?}"),
        None => format!("{} {}", content.len(), &Digest::sha256(content).hex()[..16]),
    }
}

fn shown_bytes(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The answer as the file holds it: one line for each item.
pub(super) fn shown(answer: &Value) -> String {
    serde_json::to_string_pretty(answer).unwrap() + "\n"
}
