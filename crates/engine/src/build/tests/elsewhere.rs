//! Layers that are elsewhere: fetched when a step needs their files, and only then.

use std::io::{self, Read};

use galley_oci::{Descriptor, Digest, TimePolicy, write_layer};

use super::*;
use crate::{
    export::{PackOptions, PackedImage},
    held::Elsewhere,
    image::{ImageOptions, assemble, keep},
    import::describe,
    ports::{BlobSource, SharedRecord},
};

/// Blobs in memory that count how often they are asked for.
#[derive(Debug, Default)]
struct Blobs {
    all: Mutex<Vec<(Digest, Vec<u8>)>>,
    opened: AtomicUsize,
}

impl Blobs {
    fn put(&self, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(galley_oci::media_type::OCI_LAYER, &bytes);
        self.all.lock().unwrap().push((descriptor.digest, bytes));
        descriptor
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

impl BlobSource for Blobs {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let all = self.all.lock().unwrap();
        let found = all.iter().find(|(digest, _)| *digest == blob.digest);
        let gone = || Error::new(ErrorKind::Registry, "gone");
        Ok(Box::new(io::Cursor::new(found.ok_or_else(gone)?.1.clone())))
    }
}

/// One image, `base`, with one layer in memory.
struct Images<'a> {
    store: &'a Store,
    blobs: Arc<Blobs>,
}

impl ImageSource for Images<'_> {
    fn resolve(&self, reference: &Reference, _: &Platform) -> Result<Option<BaseImage>, Error> {
        if reference.familiar_name() != "base" {
            return Ok(None);
        }
        let tar = tar_of("etc/base", "from the base");
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&tar).to_string()]},
        });
        let config = config.to_string().into_bytes();
        let of_config = Descriptor::of(galley_oci::media_type::OCI_CONFIG, &config);
        let manifest = galley_oci::Manifest::new(of_config, vec![self.blobs.put(tar)]).to_bytes();
        let source: Arc<dyn BlobSource> = self.blobs.clone();
        describe(self.store, "base", manifest, config, &source).map(Some)
    }
}

fn tar_of(path: &str, text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), OpenOptions::default()).unwrap();
    let files = dir.path().join("files");
    write(&files, path, text);
    let tree = store.scan(&files, &ScanOptions::default()).unwrap();
    let mut tar = Vec::new();
    let paths: Vec<_> = tree.entries().iter().map(|entry| entry.path.clone()).collect();
    let mut open = |index: usize| -> io::Result<Box<dyn Read>> {
        let path = files.join(std::ffi::OsStr::from_bytes(&paths[index]));
        Ok(Box::new(fs::File::open(path)?))
    };
    // One time: it is made anew for each plan and must stay the same image.
    let times = TimePolicy::Set(Time::from_seconds(1));
    write_layer(&tree, times, &mut open, &mut tar).unwrap();
    tar
}

/// The records of another machine.
#[derive(Default)]
struct Shared {
    records: Mutex<Vec<(Digest, SharedRecord)>>,
}

impl RecordSource for Shared {
    fn record(&self, key: &Digest) -> Option<SharedRecord> {
        let records = self.records.lock().unwrap();
        records.iter().find(|(known, _)| known == key).map(|(_, record)| record.clone())
    }

    fn forget(&self, key: &Digest) {
        self.records.lock().unwrap().retain(|(known, _)| known != key);
    }
}

impl Shared {
    /// What the machine of `bench` would share of `built`, its blobs in `blobs`.
    fn of(bench: &Bench, built: &Built, blobs: &Arc<Blobs>) -> Self {
        let store = bench.store();
        let mut records = Vec::new();
        for outcome in &built.steps {
            let (Some(held), Some(key)) = (&outcome.layer, outcome.key) else { continue };
            let layer = held.layer().unwrap();
            let (tree, mut tar) = (layer.tree().unwrap(), Vec::new());
            let mut open = |index: usize| -> io::Result<Box<dyn Read>> {
                Ok(Box::new(store.open_file(layer, index).map_err(io::Error::other)?))
            };
            write_layer(&tree, TimePolicy::Keep, &mut open, &mut tar).unwrap();
            let (diff_id, blob) = (Digest::sha256(&tar), blobs.put(tar));
            let place = Elsewhere { diff_id, times: TimePolicy::Keep, blob, source: blobs.clone() };
            let (layer, created) = (*layer.id(), outcome.created);
            records.push((key, SharedRecord { layer, created, places: vec![place], from: "there".into() }));
        }
        Self { records: Mutex::new(records) }
    }
}

/// A machine with a store of its own.
struct Machine<'a> {
    bench: &'a Bench,
    store: Store,
    blobs: Arc<Blobs>,
}

impl<'a> Machine<'a> {
    fn new(bench: &'a Bench, dir: &TempDir, blobs: &Arc<Blobs>) -> Self {
        let store = Store::open(&dir.path().join("fresh"), OpenOptions::default()).unwrap();
        Self { bench, store, blobs: blobs.clone() }
    }

    fn plan(&self, text: &str) -> Plan {
        let context =
            ContextSource { name: ".".to_owned(), path: self.bench.context(), ignore: None, kept: None };
        let options = PlanOptions::new("Dockerfile", text, context, Platform::new("linux", "amd64"));
        plan(&options, &Images { store: &self.store, blobs: self.blobs.clone() }).unwrap()
    }

    fn build(&self, text: &str, mode: Mode, records: &dyn RecordSource) -> Result<(Plan, Built), Error> {
        let plan = self.plan(text);
        let request = BuildRequest { plan: &plan, mode, jobs: 4, subject: None, kept: None };
        let runner = self.bench.runner(&self.store);
        let ports = Ports {
            store: &self.store,
            runner: &runner,
            secrets: &self.bench.secrets,
            ssh: &self.bench.ssh,
            records,
            remotes: Remotes::none(),
        };
        let built = build(&request, &ports, &Events::silent(), &Cancel::new())?;
        Ok((plan, built))
    }
}

#[test]
fn a_base_that_only_gets_metadata_is_not_fetched() {
    let (bench, dir, blobs) = (Bench::new(), tempfile::tempdir().unwrap(), Arc::<Blobs>::default());
    let machine = Machine::new(&bench, &dir, &blobs);
    let (plan, built) =
        machine.build("FROM base\nENV A=1\nCMD [\"x\"]", Mode::LookupOnly, &NoRecords).unwrap();
    let fetcher = fetcher(&machine.store);
    let image = assemble(&fetcher, &plan, 0, &built, &ImageOptions::default()).unwrap();
    let platform = Platform::new("linux", "amd64");
    let packed = PackedImage::pack(&fetcher, &image, &platform, &PackOptions::default()).unwrap();
    assert!(packed.layers.iter().all(|layer| layer.elsewhere.is_some()));
    assert_eq!((packed.layers.len(), blobs.opened()), (1, 0));
    // In the local store an image depends on nothing outside.
    keep(&fetcher, &[(&image, &Platform::of_this_machine())], &[]).unwrap();
    assert_eq!(blobs.opened(), 1);
}

#[test]
fn a_step_fetches_its_base_once() {
    let (bench, dir, blobs) = (Bench::new(), tempfile::tempdir().unwrap(), Arc::<Blobs>::default());
    let machine = Machine::new(&bench, &dir, &blobs);
    let text = "FROM base\nRUN write /a 1\nFROM base\nRUN write /b 2";
    let error = machine.build(text, Mode::LookupOnly, &NoRecords).unwrap_err();
    assert_eq!((error.kind, blobs.opened()), (ErrorKind::NeedsExecution, 0));
    let (_, built) = machine.build(text, Mode::Execute, &NoRecords).unwrap();
    assert!(files(&built).position(b"etc/base").is_ok());
    assert_eq!(blobs.opened(), 1);
    machine.build(text, Mode::LookupOnly, &NoRecords).unwrap();
    assert_eq!(blobs.opened(), 1);
}

#[test]
fn what_another_machine_did_is_not_done_again_and_not_fetched() {
    let (bench, dir, blobs) = (Bench::new(), tempfile::tempdir().unwrap(), Arc::<Blobs>::default());
    bench.write("a", "one");
    let text =
        "FROM base AS build\nCOPY a /a\nRUN write /out hello\nFROM scratch\nCOPY --from=build /out /out";
    let other = tempfile::tempdir().unwrap();
    let (_, built) = Machine::new(&bench, &other, &blobs).build(text, Mode::Execute, &NoRecords).unwrap();
    let shared = Shared::of(&bench, &built, &blobs);
    let before = blobs.opened();
    let machine = Machine::new(&bench, &dir, &blobs);
    let (plan, found) = machine.build(text, Mode::LookupOnly, &shared).unwrap();
    assert_eq!((found.counts.hits, blobs.opened()), (3, before));
    assert_eq!(found.targets[0].id(), built.targets[0].id());
    // Its digest is known without a byte; only what the image consists of is fetched for the local store.
    let fetcher = Fetcher { records: &shared, ..fetcher(&machine.store) };
    let image = assemble(&fetcher, &plan, 0, &found, &ImageOptions::default()).unwrap();
    assert_eq!(blobs.opened(), before);
    keep(&fetcher, &[(&image, &Platform::of_this_machine())], &[]).unwrap();
    assert_eq!(blobs.opened(), before + 1);
}

#[test]
fn a_step_that_changed_fetches_what_it_stands_on() {
    let (bench, dir, blobs) = (Bench::new(), tempfile::tempdir().unwrap(), Arc::<Blobs>::default());
    let text = "FROM scratch\nRUN write /a 1\nRUN write /b ";
    let other = tempfile::tempdir().unwrap();
    let (_, built) =
        Machine::new(&bench, &other, &blobs).build(&format!("{text}2"), Mode::Execute, &NoRecords).unwrap();
    let shared = Shared::of(&bench, &built, &blobs);
    let machine = Machine::new(&bench, &dir, &blobs);
    let (_, built) = machine.build(&format!("{text}3"), Mode::Execute, &shared).unwrap();
    assert_eq!((built.counts.runs, built.counts.hits, blobs.opened()), (1, 1, 1));
    assert!(files(&built).position(b"a").is_ok());
}

#[test]
fn a_promise_that_is_not_kept_is_forgotten() {
    let (bench, dir, blobs) = (Bench::new(), tempfile::tempdir().unwrap(), Arc::<Blobs>::default());
    let text = "FROM scratch\nRUN write /a 1\nRUN write /b ";
    let other = tempfile::tempdir().unwrap();
    let (_, built) =
        Machine::new(&bench, &other, &blobs).build(&format!("{text}2"), Mode::Execute, &NoRecords).unwrap();
    let shared = Shared::of(&bench, &built, &blobs);
    // One blob is gone, the other one holds something else.
    for break_it in [true, false] {
        if break_it {
            blobs.all.lock().unwrap().clear();
        } else {
            let tar = tar_of("something", "else");
            let place = Elsewhere {
                diff_id: Digest::sha256(&tar),
                times: TimePolicy::Keep,
                blob: blobs.put(tar),
                source: blobs.clone(),
            };
            let again = Shared::of(&bench, &built, &blobs);
            for (_, record) in again.records.lock().unwrap().iter_mut() {
                record.places = vec![place.clone()];
            }
            shared.records.lock().unwrap().extend(again.records.into_inner().unwrap());
        }
        let machine = Machine::new(&bench, &dir, &blobs);
        let changed = format!("{text}{break_it}");
        let error = machine.build(&changed, Mode::Execute, &shared).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CacheLost, "{error}");
        let (_, built) = machine.build(&changed, Mode::Execute, &shared).unwrap();
        assert!(built.counts.runs >= 1, "{:?}", built.counts);
        fs::remove_dir_all(dir.path().join("fresh")).unwrap();
    }
}

#[test]
fn a_linked_copy_needs_nothing_of_its_base() {
    let (bench, dir, blobs) = (Bench::new(), tempfile::tempdir().unwrap(), Arc::<Blobs>::default());
    bench.write("a", "one");
    let machine = Machine::new(&bench, &dir, &blobs);
    let (_, built) =
        machine.build("FROM base\nCOPY --link a /app/\nCMD [\"x\"]", Mode::Execute, &NoRecords).unwrap();
    assert_eq!((built.targets[0].held().len(), blobs.opened()), (2, 0));
}
