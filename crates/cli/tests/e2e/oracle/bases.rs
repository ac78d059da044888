//! The images that the cases start from, as OCI layouts.

use std::{collections::BTreeMap, path::PathBuf};

use fs_err as fs;
use galley_testkit::{
    ARCHITECTURE, TarEntry, busybox_rootfs, rootfs_tar, web::Web, write_layout, write_platforms,
};
use serde_json::{Value, json};

use super::{
    super::Kitchen,
    answer::{Files, apply},
    web,
};

/// The names of the images.
pub(super) const NAMES: [&str; 4] = ["busybox", "rich", "many", "foreign"];

/// The layouts, and what is in the images.
pub(super) struct Bases {
    folder: PathBuf,
    files: BTreeMap<&'static str, Files>,
    web: Web,
}

impl Bases {
    /// `busybox` is the test kitchen's; `rich` has two layers more and a value in every field of its config. `many` is an
    /// index with images for several machines, `foreign` an image for another one. Where they are not for this machine
    /// they have nothing that could be run.
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
        let marked = |machine: &str| {
            rootfs_tar(&[
                TarEntry::File("machine", 0o644, machine.as_bytes()),
                TarEntry::File("program", 0o755, b"\x7fELF of another machine"),
            ])
        };
        let (arm64, arm, s390x) = (marked("arm64\n"), marked("arm\n"), marked("s390x\n"));
        let many = [
            ((ARCHITECTURE, ""), vec![layers[0].clone(), marked("own\n")]),
            (("arm64", "v8"), vec![arm64.clone()]),
            (("arm", "v7"), vec![arm.clone()]),
        ];
        let config = json!({"Env": ["PATH=/bin", "MANY=1"], "WorkingDir": "/many"});
        write_platforms(&kitchen.path("many"), "latest", &many, &config);
        write_platforms(&kitchen.path("foreign"), "latest", &[(("s390x", ""), vec![s390x.clone()])], &config);
        let busybox = apply(Files::new(), &layers[0]);
        let rich = apply(apply(busybox.clone(), &layers[1]), &layers[2]);
        let own = apply(busybox.clone(), &many[0].1[1]);
        let alone = [("arm64", &arm64), ("arm", &arm), ("s390x", &s390x)];
        let alone = alone.map(|(name, layer)| (name, apply(Files::new(), layer)));
        let files = [("busybox", busybox), ("rich", rich), ("own", own)].into_iter().chain(alone);
        Self { folder: kitchen.path(""), files: files.collect(), web: web::start(kitchen) }
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
