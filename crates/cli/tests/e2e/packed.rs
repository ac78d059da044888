//! A base whose layers are one file each is the base whose layers are directories.

use std::{io::Read, process::Command};

use fs_err as fs;
use galley_testkit::{busybox_rootfs, write_layout};

use super::{Kitchen, succeeded, text};

/// An archive with one of everything that a layer can hold.
struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn put(&mut self, path: &[u8], kind: tar::EntryType, mode: u32, content: &[u8]) -> &mut Self {
        self.full(path, kind, mode, content, |_| {})
    }

    fn full(
        &mut self,
        path: &[u8],
        kind: tar::EntryType,
        mode: u32,
        content: &[u8],
        change: impl FnOnce(&mut tar::Header),
    ) -> &mut Self {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_500_000_000 + content.len() as u64);
        header.set_size(content.len() as u64);
        change(&mut header);
        self.0.append_data(&mut header, OsStr::from_bytes(path), content).unwrap();
        self
    }

    fn directory(&mut self, path: &str, mode: u32, owner: u64) -> &mut Self {
        self.full(path.as_bytes(), tar::EntryType::Directory, mode, b"", |header| {
            header.set_uid(owner);
            header.set_gid(owner + 1);
        })
    }

    fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.put(path.as_bytes(), tar::EntryType::Regular, 0o644, content)
    }

    fn link(&mut self, path: &str, kind: tar::EntryType, target: &str) -> &mut Self {
        self.full(path.as_bytes(), kind, 0o777, b"", |header| header.set_link_name(target).unwrap())
    }

    fn device(&mut self, path: &str, kind: tar::EntryType, major: u32, minor: u32) -> &mut Self {
        self.full(path.as_bytes(), kind, 0o600, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// For the next entry.
    fn xattrs(&mut self, all: &[(&str, &[u8])]) -> &mut Self {
        let names: Vec<String> = all.iter().map(|(name, _)| format!("SCHILY.xattr.{name}")).collect();
        let all = names.iter().zip(all).map(|(name, (_, value))| (name.as_str(), *value));
        self.0.append_pax_extensions(all).unwrap();
        self
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// CAP_NET_BIND_SERVICE, as Linux writes it down.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn lower() -> Vec<u8> {
    use tar::EntryType as E;
    let mut all = Archive::new();
    all.directory("sticky", 0o1777, 0).directory("group", 0o2750, 33).directory("many", 0o755, 0);
    for size in [0, 1, 2_047, 2_048, 2_049, 4_095, 4_096, 4_097, 9_000, 300_000] {
        let content: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        all.file(&format!("sizes/{size}"), &content);
    }
    for number in 0..1_500 {
        all.file(&format!("many/file-with-a-long-name-{number}"), b"x");
    }
    all.file(&format!("{}bottom", "deep/".repeat(60)), b"far down");
    all.put(&[b"names/".as_slice(), &[b'n'; 255]].concat(), E::Regular, 0o600, b"long");
    all.put(b"names/not \xff utf-8\n", E::Regular, 0o600, b"strange");
    all.put(b"suid", E::Regular, 0o6755, b"suid");
    all.file("linked/one", b"linked").link("linked/two", E::Link, "linked/one").link(
        "three",
        E::Link,
        "linked/one",
    );
    all.link("symlink", E::Symlink, "sizes").link("dangling", E::Symlink, &"far/".repeat(24));
    all.put(b"pipe", E::Fifo, 0o640, b"");
    all.device("null", E::Char, 1, 3).device("disk", E::Block, 259, 7).device("zero", E::Char, 0, 0);
    all.xattrs(&[("security.capability", &CAPABILITY), ("user.note", b"of the file")])
        .file("capable", b"program");
    all.xattrs(&[("user.note", b"of the folder")]).directory("noted", 0o700, 5);
    all.directory("hidden", 0o755, 0).file("hidden/a", b"a").file("hidden/b", b"b");
    all.directory("opaque", 0o755, 0)
        .file("opaque/a", b"a")
        .file("replaced", b"first")
        .file("folder/a", b"a");
    all.finish()
}

fn upper() -> Vec<u8> {
    let mut all = Archive::new();
    all.file("hidden/.wh.a", b"").file("opaque/.wh..wh..opq", b"").file("opaque/new", b"new");
    all.file("replaced", b"second").file(".wh.folder", b"").file("many/.wh.file-with-a-long-name-7", b"");
    all.directory("sizes", 0o711, 9).file("sizes/1", b"two bytes");
    all.finish()
}

/// Everything that a process can see of the files, and what becomes of those that it changes.
const DOCKERFILE: &str = r"FROM base AS seen
ENV OURS='-path /proc -prune -o -path /dev -prune -o -path /sys -prune -o -path /etc -prune -o -path /files -o -path / -o'
RUN busybox find / -xdev $OURS ! -type d -print0 | busybox sort -z | busybox xargs -0 stat -c '%n %f %u:%g %s %h %t:%T %Y' >/files
RUN busybox find / -xdev $OURS -type d -print0 | busybox sort -z | busybox xargs -0 stat -c '%n %f %u:%g %Y' >/folders
RUN busybox find /sizes /many /linked /names /deep /bin -type f -print0 | busybox sort -z | busybox xargs -0 busybox sha256sum >/sums
RUN busybox find / -xdev $OURS -exec stat -c %d {} + | busybox sort -u | busybox wc -l >/devices && test $(cat /devices) = 1
RUN stat -c %i /linked/one /linked/two /three | busybox sort -u | busybox wc -l >/inodes && test $(cat /inodes) = 1
RUN busybox readlink /symlink >/links && busybox readlink /dangling >>/links

FROM base
RUN echo more >>/sizes/300000 && chmod 700 /sizes/9000 && chown 7:8 /sizes/2049 && : >/sizes/4097 && touch /sizes/0
RUN mv /linked /moved && mv /deep /deeper && rm -rf /hidden && mkdir /hidden && echo x >/hidden/a
RUN echo changed >>/three && ln /sizes/4096 /further && ln -s /sizes /noted/link && rm /suid /pipe /replaced
RUN chmod 711 /capable && cp -a /many /many-too && rm -rf /many/file-with-a-long-name-1* && chmod 700 /group
RUN rm -rf /opaque && mkdir /opaque && rm /null /disk && chmod 600 /zero && echo x >/sticky/y
COPY --from=seen /files /folders /sums /devices /inodes /links /seen/
COPY --from=base /linked /capable /names /copied/
";

/// The entries of an archive, for people, and what text is in them.
fn described(archive: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        lines.push(format!("{:?} {:?}", String::from_utf8_lossy(&entry.path_bytes()), entry.header()));
        lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
    }
    lines
}

/// A file of an archive whose other entries may be anything.
fn content(archive: &[u8], path: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut found = entries.find(|entry| *entry.path_bytes() == *path.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    found.read_to_end(&mut bytes).unwrap();
    bytes
}

struct Forms {
    kitchen: Kitchen,
}

impl Forms {
    /// `None`, said loudly, where the kernel mounts no packed layers.
    fn new() -> Option<Self> {
        let kitchen = Kitchen::new()?;
        let doctor = text(&kitchen.command(&["doctor"]).output().unwrap());
        if !doctor.contains("packed layers: mounted by the kernel") {
            eprintln!("SKIPPED: this machine does not mount packed layers: {doctor}");
            return None;
        }
        let config = serde_json::json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]});
        let layers = [busybox_rootfs()?, lower(), upper()];
        write_layout(&kitchen.path("base"), "latest", &layers, &config);
        Some(Self { kitchen })
    }

    /// The same command with each form in a store of its own.
    fn both(&self, arguments: &[&str]) -> [Vec<u8>; 2] {
        ["1", "0"].map(|packed| {
            let store = self.kitchen.path(packed);
            let layout = format!("base=oci-layout://{}", self.kitchen.path("base").display());
            let mut command = self.kitchen.command(&["--root", store.to_str().unwrap()]);
            command.env("GALLEY_PACKED", packed).args(arguments);
            if arguments[0] == "build" {
                command.args(["--build-context", &layout, "."]);
            }
            succeeded(command.output().unwrap()).stdout
        })
    }

    fn same(&self, arguments: &[&str]) -> Vec<u8> {
        let [packed, unpacked] = self.both(arguments);
        if packed != unpacked && packed.len() > 1_024 {
            let lines = [&packed, &unpacked].map(|bytes| described(bytes));
            let differing = lines[0].iter().zip(&lines[1]).find(|(one, other)| one != other);
            panic!("{arguments:?} differs: {differing:?}");
        }
        assert_eq!(String::from_utf8_lossy(&packed), String::from_utf8_lossy(&unpacked), "{arguments:?}");
        packed
    }

    /// Another program finds nothing wrong with what was packed.
    fn check_files(&self, store: &str) {
        for layer in fs::read_dir(self.kitchen.path(store).join("layers")).unwrap() {
            let packed = layer.unwrap().path().join("packed");
            if !packed.exists() {
                continue;
            }
            match Command::new("fsck.erofs").arg(&packed).output() {
                Err(_) => eprintln!("SKIPPED: fsck.erofs is not installed; `make test` installs it"),
                Ok(output) => drop(succeeded(output)),
            }
        }
    }

    /// How many layers of the store have this name in them.
    fn layers_with(&self, store: &str, name: &str) -> usize {
        let layers = fs::read_dir(self.kitchen.path(store).join("layers")).unwrap();
        layers.filter(|layer| layer.as_ref().unwrap().path().join(name).exists()).count()
    }
}

#[test]
fn a_build_on_a_packed_base_is_the_build_on_an_unpacked_one() {
    let Some(forms) = Forms::new() else { return };
    forms.kitchen.dockerfile(DOCKERFILE);
    let seen = forms.same(&["build", "--reproducible", "-o", "type=tar,dest=-"]);
    let id = forms.same(&["build", "-q", "--reproducible", "-t", "made"]);
    assert_eq!((forms.layers_with("1", "packed"), forms.layers_with("0", "packed")), (3, 0));
    assert!(!id.is_empty());
    forms.check_files("1");
    let listed = String::from_utf8_lossy(&content(&seen, "seen/files")).into_owned();
    assert!(listed.contains("/linked/one 81ff 0:0 6 3 0:0 1500000000"), "{listed}");
    // The whole base again: its own files, unpacked from what it was packed to.
    forms.same(&["build", "--target", "seen", "--reproducible", "-o", "type=tar,dest=-"]);
    forms.same(&["build", "--target", "seen", "--reproducible", "-o", "type=oci,dest=-"]);
}

#[test]
fn containers_of_a_packed_image_are_those_of_an_unpacked_one() {
    let Some(forms) = Forms::new() else { return };
    forms.kitchen.dockerfile("FROM base\nUSER 33\n");
    forms.same(&["build", "-q", "--timestamp", "1", "-t", "made"]);
    forms.both(&["create", "--name", "one", "made"]);
    forms.same(&["export", "one"]);
    forms.same(&["run", "--rm", "made", "sh", "-c", "cat /names/* /deep/deep/../../three; id"]);
    forms.same(&["rm", "one"]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(forms.kitchen.path("1").to_str().unwrap()), "{mounts}");
}

/// A store goes on when the kernel does not.
#[test]
fn a_packed_layer_is_unpacked_where_it_cannot_be_mounted() {
    let Some(forms) = Forms::new() else { return };
    forms.kitchen.dockerfile("FROM base\nRUN cat /sizes/9000 >/copied\n");
    let store = forms.kitchen.path("1");
    let build = |packed: &str, text: &str| {
        forms.kitchen.dockerfile(text);
        let layout = format!("base=oci-layout://{}", forms.kitchen.path("base").display());
        let mut command = forms.kitchen.command(&["--root", store.to_str().unwrap(), "build", "-q"]);
        command.env("GALLEY_PACKED", packed).args(["--build-context", &layout, "."]);
        succeeded(command.output().unwrap());
    };
    build("1", "FROM base\nRUN cat /sizes/9000 >/copied\n");
    assert_eq!((forms.layers_with("1", "packed"), forms.layers_with("1", "diff")), (3, 1));
    build("0", "FROM base\nRUN cat /sizes/4096 >/copied\n");
    assert_eq!((forms.layers_with("1", "packed"), forms.layers_with("1", "diff")), (3, 5));
}
