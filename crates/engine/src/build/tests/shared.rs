//! Caches that travel: what one machine writes, another one uses.

use std::{cell::Cell, io::Read, path::PathBuf};

use galley_oci::{Descriptor, Index, Manifest, TimePolicy};

use super::*;
use crate::{
    blobs::Packing,
    export::{PackOptions, PackedImage},
    image::{Assembled, ImageOptions, TimeOptions, assemble, keep},
    import::{Layout, Selector},
    ports::BlobSource,
    shared::{self, Cache, CacheFolder, CacheOptions, Caches, Extent, remember},
};

const TEXT: &str = "FROM scratch AS build\nCOPY a /a\nRUN write /tool x\nRUN write /out hello\n\
                    FROM scratch\nCOPY --from=build /out /out\nRUN write /b text\nCMD [\"/out\"]";

/// A layout that counts what is read of it.
#[derive(Debug)]
struct Counted {
    layout: Layout,
    opened: AtomicUsize,
}

impl BlobSource for Counted {
    fn name(&self) -> String {
        self.layout.name()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.layout.open(blob)
    }
}

fn open(folder: &Path, selector: &Selector) -> (Cache, Arc<Counted>) {
    let layout = Layout::open(folder).unwrap();
    let platform = Platform::new("linux", "amd64");
    let first = layout.entry(selector, &platform).unwrap();
    let read = |descriptor: &Descriptor| layout.document(descriptor);
    let counted = Arc::new(Counted { layout: layout.clone(), opened: AtomicUsize::new(0) });
    let cache = Cache::open("there", first, &platform, &read, &read, counted.clone()).unwrap();
    (cache, counted)
}

/// What a machine made.
struct Made {
    plan: Plan,
    built: Built,
    store: Store,
    restarts: usize,
    runs: usize,
}

impl Made {
    fn image(&self, records: &dyn RecordSource, options: &ImageOptions) -> Assembled {
        let fetcher = Fetcher { records, ..fetcher(&self.store) };
        assemble(&fetcher, &self.plan, 0, &self.built, options).unwrap()
    }

    fn packed(&self, records: &dyn RecordSource, options: &ImageOptions) -> PackedImage {
        let image = self.image(records, options);
        let fetcher = Fetcher { records, ..fetcher(&self.store) };
        PackedImage::pack(&fetcher, &image, &Platform::new("linux", "amd64"), &PackOptions::default())
            .unwrap()
    }

    fn cache(&self, extent: Extent, times: TimePolicy) -> PackedImage {
        let options = CacheOptions { extent, packing: Packing::default(), times };
        shared::pack(&fetcher(&self.store), &self.plan, &self.built, &options).unwrap()
    }

    fn write(&self, cache: &PackedImage, path: &Path) {
        shared::write(&fetcher(&self.store), cache, &folder(path, "latest", false)).unwrap();
    }
}

fn folder(path: &Path, tag: &str, reset: bool) -> CacheFolder {
    CacheFolder { path: path.to_path_buf(), tag: tag.to_owned(), reset }
}

/// Several machines that build from one context.
struct Machines {
    bench: Bench,
    next: Cell<usize>,
}

impl Machines {
    fn new() -> Self {
        let bench = Bench::new();
        bench.write("a", "one");
        Self { bench, next: Cell::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.dir.path().join(name)
    }

    /// Builds on a fresh machine, starting over as often as it needs.
    fn build(&self, text: &str, mode: Mode, records: &dyn RecordSource) -> Made {
        self.next.set(self.next.get() + 1);
        self.build_at(self.next.get(), text, mode, records)
    }

    fn build_at(&self, machine: usize, text: &str, mode: Mode, records: &dyn RecordSource) -> Made {
        let root = self.path(&format!("machine{machine}"));
        let store = Store::open(&root, OpenOptions::default()).unwrap();
        let runner = self.bench.runner(&store);
        let plan = self.bench.plan(text);
        let ports = Ports {
            store: &store,
            runner: &runner,
            secrets: &self.bench.secrets,
            ssh: &self.bench.ssh,
            records,
            remotes: Remotes::none(),
        };
        let request = BuildRequest { plan: &plan, mode, jobs: 4, subject: None, kept: None };
        for restarts in 0..10 {
            match build(&request, &ports, &Events::silent(), &Cancel::new()) {
                Err(error) if error.kind == ErrorKind::CacheLost => {}
                built => {
                    let (built, runs) = (built.unwrap(), runner.runs.load(Ordering::SeqCst));
                    return Made { plan, built, store, restarts, runs };
                }
            }
        }
        panic!("it never ends");
    }
}

#[test]
fn a_fresh_machine_runs_nothing_fetches_nothing_and_reaches_the_same_digests() {
    let epoch = TimeOptions { reproducible: true, ..TimeOptions::default() };
    for (extent, times) in
        [(Extent::Max, TimeOptions::default()), (Extent::Min, TimeOptions::default()), (Extent::Min, epoch)]
    {
        let (machines, options) = (Machines::new(), ImageOptions { times, ..ImageOptions::default() });
        let here = machines.build(TEXT, Mode::Execute, &NoRecords);
        let image = here.packed(&NoRecords, &options);
        here.write(&here.cache(extent, times.policy()), &machines.path("cache"));
        let (cache, source) = open(&machines.path("cache"), &Selector::Any);
        assert_eq!(cache.records(), 5);
        let caches = Caches::new(vec![cache]);
        let there = machines.build(TEXT, Mode::LookupOnly, &caches);
        assert_eq!((there.built.counts.hits, there.runs), (5, 0));
        assert_eq!(there.packed(&caches, &options).descriptor, image.descriptor);
        assert_eq!(source.opened.load(Ordering::SeqCst), 0, "{extent:?}");
        // Kept in the store, the image needs its files, and nothing but them.
        let kept = there.image(&caches, &options);
        let fetcher = Fetcher { records: &caches, ..fetcher(&there.store) };
        keep(&fetcher, &[(&kept, &Platform::of_this_machine())], &[]).unwrap();
        assert_eq!((source.opened.load(Ordering::SeqCst), there.restarts), (2, 0));
        // The packed image comes out the same from the files.
        assert_eq!(there.packed(&caches, &options).descriptor, image.descriptor);
    }
}

#[test]
fn the_records_of_what_was_fetched_are_kept() {
    let machines = Machines::new();
    let text = "FROM scratch\nRUN write /a 1\nRUN write /b 2";
    let here = machines.build(text, Mode::Execute, &NoRecords);
    here.write(&here.cache(Extent::Max, TimePolicy::Keep), &machines.path("cache"));
    let caches = Caches::new(vec![open(&machines.path("cache"), &Selector::Any).0]);
    let there = machines.build(text, Mode::LookupOnly, &caches);
    let image = there.image(&caches, &ImageOptions::default());
    remember(&there.store, &there.built).unwrap();
    assert!(there.store.record(&there.built.steps[0].key.unwrap()).unwrap().is_none(), "nothing has come");
    keep(
        &Fetcher { records: &caches, ..fetcher(&there.store) },
        &[(&image, &Platform::of_this_machine())],
        &[],
    )
    .unwrap();
    remember(&there.store, &there.built).unwrap();
    let alone = machines.build_at(2, text, Mode::LookupOnly, &NoRecords);
    assert_eq!((alone.built.counts.hits, alone.runs), (2, 0));
    assert_eq!(alone.image(&NoRecords, &ImageOptions::default()).id, image.id);
}

#[test]
fn what_changed_fetches_what_it_stands_on() {
    let machines = Machines::new();
    let here = machines.build(TEXT, Mode::Execute, &NoRecords);
    let changed = TEXT.replace("hello", "servus");
    for (extent, restarts, runs, opened) in [(Extent::Max, 0, 2, 2), (Extent::Min, 1, 3, 0)] {
        let path = machines.path(&format!("{extent:?}"));
        here.write(&here.cache(extent, TimePolicy::Keep), &path);
        let (cache, source) = open(&path, &Selector::Any);
        let there = machines.build(&changed, Mode::Execute, &Caches::new(vec![cache]));
        assert_eq!((there.restarts, there.runs), (restarts, runs), "{extent:?}");
        assert_eq!(source.opened.load(Ordering::SeqCst), opened, "{extent:?}");
        assert_eq!(content(&machines.bench, &there.built, "out"), "servus");
    }
}

#[test]
fn a_cache_that_lost_or_changed_its_blobs_costs_time_and_nothing_else() {
    let machines = Machines::new();
    let here = machines.build(TEXT, Mode::Execute, &NoRecords);
    let changed = TEXT.replace("hello", "servus");
    let expected = machines.build(&changed, Mode::Execute, &NoRecords);
    for lie in [false, true] {
        let path = machines.path(&format!("lie-{lie}"));
        here.write(&here.cache(Extent::Max, TimePolicy::Keep), &path);
        for layer in here.cache(Extent::Max, TimePolicy::Keep).layers {
            let blob = path.join("blobs/sha256").join(layer.descriptor.digest.hex());
            if lie {
                fs::write(blob, vec![7; usize::try_from(layer.descriptor.size).unwrap()]).unwrap();
            } else {
                fs::remove_file(blob).unwrap();
            }
        }
        let (cache, _) = open(&path, &Selector::Any);
        let there = machines.build(&changed, Mode::Execute, &Caches::new(vec![cache]));
        assert!(there.restarts > 0, "{lie}");
        assert_eq!(there.built.targets[0].id(), expected.built.targets[0].id());
    }
}

#[test]
fn a_blob_that_is_missing_at_the_end_starts_the_build_over() {
    let machines = Machines::new();
    let here = machines.build(TEXT, Mode::Execute, &NoRecords);
    let path = machines.path("cache");
    here.write(&here.cache(Extent::Min, TimePolicy::Keep), &path);
    let caches = Caches::new(vec![open(&path, &Selector::Any).0]);
    let there = machines.build(TEXT, Mode::LookupOnly, &caches);
    let mut packed = there.packed(&caches, &ImageOptions::default());
    let unrelated = || Error::new(ErrorKind::Registry, "no");
    assert_eq!(caches.blame(unrelated()).kind, ErrorKind::Registry);
    fs::remove_dir_all(path.join("blobs")).unwrap();
    let error = packed.bring(&Fetcher { records: &caches, ..fetcher(&there.store) }).unwrap_err();
    assert_eq!(caches.blame(error).kind, ErrorKind::CacheLost);
    assert_eq!(caches.blame(unrelated()).kind, ErrorKind::Registry);
    // Its name is known still; the files are made where they are needed.
    let again = machines.build_at(2, TEXT, Mode::Execute, &caches);
    assert_eq!(again.restarts, 0);
    let fetcher = Fetcher { records: &caches, ..fetcher(&again.store) };
    let error = assemble(&fetcher, &again.plan, 0, &again.built, &ImageOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::CacheLost);
    let again = machines.build_at(2, TEXT, Mode::Execute, &caches);
    assert!(again.runs > 0);
    assert_eq!(again.built.targets[0].id(), here.built.targets[0].id());
}

#[test]
fn files_may_be_in_another_cache_than_the_record() {
    let machines = Machines::new();
    let here = machines.build(TEXT, Mode::Execute, &NoRecords);
    let (min, max) = (machines.path("min"), machines.path("max"));
    here.write(&here.cache(Extent::Min, TimePolicy::Keep), &min);
    here.write(&here.cache(Extent::Max, TimePolicy::Keep), &max);
    let ((first, _), (second, source)) = (open(&min, &Selector::Any), open(&max, &Selector::Any));
    let changed = TEXT.replace("hello", "servus");
    let there = machines.build(&changed, Mode::Execute, &Caches::new(vec![first, second]));
    assert_eq!((there.restarts, there.runs, source.opened.load(Ordering::SeqCst)), (0, 2, 2));
}

#[test]
fn a_cache_is_passed_on_without_being_fetched() {
    let machines = Machines::new();
    let here = machines.build(TEXT, Mode::Execute, &NoRecords);
    let cache = here.cache(Extent::Max, TimePolicy::Keep);
    here.write(&cache, &machines.path("cache"));
    let (read, source) = open(&machines.path("cache"), &Selector::Any);
    let caches = Caches::new(vec![read]);
    let there = machines.build(TEXT, Mode::LookupOnly, &caches);
    let passed = there.cache(Extent::Max, TimePolicy::Keep);
    assert_eq!(passed.descriptor, cache.descriptor);
    assert!(passed.layers.iter().all(|layer| layer.elsewhere.is_some()));
    assert_eq!(source.opened.load(Ordering::SeqCst), 0);
    there.write(&passed, &machines.path("copy"));
    let (copy, _) = open(&machines.path("copy"), &Selector::Any);
    assert_eq!(copy.records(), 5);
    let changed = TEXT.replace("hello", "servus");
    let third = machines.build(&changed, Mode::Execute, &Caches::new(vec![copy]));
    assert_eq!((third.restarts, third.runs), (0, 2));
}

#[test]
fn an_image_carries_its_cache() {
    let machines = Machines::new();
    let options = ImageOptions { inline_cache: true, ..ImageOptions::default() };
    let here = machines.build(TEXT, Mode::Execute, &NoRecords);
    let image = here.packed(&NoRecords, &options);
    assert_eq!(here.packed(&NoRecords, &options).descriptor, image.descriptor);
    here.write(&image, &machines.path("image"));
    let (cache, source) = open(&machines.path("image"), &Selector::Any);
    let caches = Caches::new(vec![cache]);
    let there = machines.build(TEXT, Mode::LookupOnly, &caches);
    assert_eq!((there.built.counts.hits, there.runs), (5, 0));
    assert_eq!(there.packed(&caches, &options).descriptor, image.descriptor);
    assert_eq!(source.opened.load(Ordering::SeqCst), 0);
    let plain = there.packed(&caches, &ImageOptions::default());
    assert_eq!(plain.descriptor, here.packed(&NoRecords, &ImageOptions::default()).descriptor);
}

#[test]
fn a_folder_holds_several_caches_and_is_swept_on_demand() {
    let machines = Machines::new();
    let path = machines.path("cache");
    let blobs = || fs::read_dir(path.join("blobs/sha256")).unwrap().count();
    let write = |text: &str, tag: &str, reset: bool| {
        let made = machines.build(text, Mode::Execute, &NoRecords);
        let cache = made.cache(Extent::Max, TimePolicy::Keep);
        shared::write(&fetcher(&made.store), &cache, &folder(&path, tag, reset)).unwrap();
        cache
    };
    let one = write("FROM scratch\nRUN write /a 1", "one", false);
    let two = write("FROM scratch\nRUN write /a 2", "two", false);
    assert_eq!(blobs(), 6);
    let index = Index::parse(&fs::read(path.join("index.json")).unwrap()).unwrap();
    let digests: Vec<_> = index.manifests.iter().map(|entry| entry.digest).collect();
    assert_eq!(digests, [one.descriptor.digest, two.descriptor.digest]);
    write("FROM scratch\nRUN write /a 3", "one", false);
    assert_eq!(blobs(), 9);
    fs::write(path.join("blobs/sha256/README"), "not a blob").unwrap();
    fs::write(path.join("blobs/sha256/.galley-x"), "of a writer that was killed").unwrap();
    write("FROM scratch\nRUN write /a 4", "one", true);
    assert_eq!(blobs(), 3 + 3 + 1, "the cache tagged two, the new one, and what is no blob");
    assert_eq!(open(&path, &Selector::Tag("two".to_owned())).0.records(), 1);
    let manifest = Manifest::parse(&two.manifest).unwrap();
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.galley.cache.v1"));
}

#[test]
fn writers_of_one_folder_do_not_lose_each_others_caches() {
    let machines = Machines::new();
    let path = machines.path("cache");
    let made: Vec<_> = (0..4)
        .map(|n| machines.build(&format!("FROM scratch\nRUN write /a {n}"), Mode::Execute, &NoRecords))
        .map(|made| (made.cache(Extent::Max, TimePolicy::Keep), made.store))
        .collect();
    thread::scope(|scope| {
        for (n, (cache, store)) in made.iter().enumerate() {
            let to = folder(&path, &n.to_string(), true);
            scope.spawn(move || shared::write(&fetcher(store), cache, &to).unwrap());
        }
    });
    for n in 0..4 {
        let (cache, _) = open(&path, &Selector::Tag(n.to_string()));
        let text = format!("FROM scratch\nRUN write /a {n}");
        let there = machines.build(&text, Mode::LookupOnly, &Caches::new(vec![cache]));
        assert_eq!(there.built.counts.hits, 1);
    }
}
