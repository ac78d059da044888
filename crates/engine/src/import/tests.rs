use fs_err as fs;
use galley_store::OpenOptions;

use super::*;
use crate::{Cancel, Events, ports::NoRecords};

#[test]
fn an_image_that_a_power_cut_damaged_is_brought_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root) = (folder.path().join("layout"), folder.path().join("store"));
    let layer = [vec![0; 1024]];
    galley_testkit::write_layout(&layout, "latest", &layer, &serde_json::json!({}));
    let import = || {
        let store = Store::open(&root, OpenOptions::default()).unwrap();
        let (events, stop) = (Events::silent(), Cancel::new());
        let fetcher =
            Fetcher { store: &store, may_write: true, events: &events, stop: &stop, records: &NoRecords };
        let layout = Layout::open(&layout).unwrap();
        let base = layout.image(&store, &Selector::Any, &Platform::of_this_machine()).unwrap();
        let image = bring(&fetcher, &base).unwrap();
        let layer = store.layer(&image.layers[0].layer).unwrap().expect("its layer");
        (store.has_bytes(&layer), image.id)
    };
    let (_, id) = import();
    for lost in ["layers", "records"] {
        fs::remove_dir_all(root.join(lost)).unwrap();
        fs::create_dir(root.join(lost)).unwrap();
        assert_eq!(import(), (true, id), "without {lost}");
    }
    fs::write(root.join("images").join(id.hex()), "").unwrap();
    assert_eq!(import(), (true, id), "without its document");
}
