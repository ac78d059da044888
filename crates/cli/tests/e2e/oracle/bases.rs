//! The images that the cases start from, as OCI layouts.

use std::{collections::BTreeMap, path::PathBuf};

use fs_err as fs;
use galley_testkit::{TarEntry, busybox_rootfs, rootfs_tar, web::Web, write_layout};
use serde_json::{Value, json};

use super::{
    super::Kitchen,
    answer::{Files, apply},
    web,
};

/// The names of the images.
pub(super) const NAMES: [&str; 2] = ["busybox", "rich"];

/// The layouts, and what is in the images.
pub(super) struct Bases {
    folder: PathBuf,
    files: BTreeMap<&'static str, Files>,
    web: Web,
}

impl Bases {
    /// `busybox` is the test kitchen's; `rich` has two layers more and a value in every field of its config.
    pub(super) fn new(kitchen: &Kitchen) -> Self {
        let rootfs = busybox_rootfs().expect("the kitchen has it");
        let lower = rootfs_tar(&[
            TarEntry::Directory("data", 0o750),
            TarEntry::File("data/kept", 0o600, b"kept\n"),
            TarEntry::File("data/gone", 0o644, b"gone\n"),
            TarEntry::Directory("data/opaque", 0o755),
            TarEntry::File("data/opaque/hidden", 0o644, b"hidden\n"),
            TarEntry::Symlink("link", "data"),
            TarEntry::File("setuid", 0o4755, b"x"),
            TarEntry::Link("hard", "setuid"),
        ]);
        let upper = rootfs_tar(&[
            TarEntry::Directory("data", 0o750),
            TarEntry::File("data/.wh.gone", 0o644, b""),
            TarEntry::Directory("data/opaque", 0o711),
            TarEntry::File("data/opaque/.wh..wh..opq", 0o644, b""),
            TarEntry::File("data/opaque/seen", 0o644, b"seen\n"),
        ]);
        let layers = [rootfs, lower, upper];
        write_layout(&kitchen.path("rich"), "latest", &layers, &rich());
        let busybox = apply(Files::new(), &layers[0]);
        let rich = apply(apply(busybox.clone(), &layers[1]), &layers[2]);
        let files = BTreeMap::from([("busybox", busybox), ("rich", rich)]);
        Self { folder: kitchen.path(""), files, web: web::start(kitchen) }
    }

    /// What cases fetch from.
    pub(super) fn web(&self) -> &Web {
        &self.web
    }

    pub(super) fn layout(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The digest of the manifest in the layout.
    pub(super) fn digest(&self, name: &str) -> String {
        let index = fs::read(self.layout(name).join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    }

    /// The image that one with these layers was built from, after the number of its layers; empty for none.
    pub(super) fn below(&self, layers: &[Vec<u8>]) -> (usize, Files) {
        let mut files = Files::new();
        let mut below = (0, Files::new());
        for (index, layer) in layers.iter().enumerate() {
            files = apply(files, layer);
            if self.files.values().any(|base| *base == files) {
                below = (index + 1, files.clone());
            }
        }
        below
    }
}

fn rich() -> Value {
    json!({
        "User": "nobody",
        "ExposedPorts": {"80/tcp": {}},
        "Env": ["PATH=/bin", "COLOR=red", "EMPTY="],
        "Entrypoint": ["/bin/echo", "entry"],
        "Cmd": ["hello"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/not/there",
        "Labels": {"a": "1", "b": "2"},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000_u64},
        "Shell": ["/bin/sh", "-e", "-c"],
    })
}
