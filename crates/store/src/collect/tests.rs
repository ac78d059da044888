use std::collections::BTreeSet;

use galley_oci::{Digest, Time};
use proptest::prelude::*;

use super::{ImageRow, Inventory, Keep, Kind, Plan, Policy, RecordRow, Row, plan};

fn id(kind: &str, number: usize) -> Digest {
    Digest::blake3(format!("{kind} {number}").as_bytes())
}

fn row<T>(used: i64, bytes: u64, what: T) -> Row<T> {
    Row { used: Time::from_seconds(used), bytes, what, file: (0, Time::default()) }
}

/// A store on paper: few things, so that they meet often.
fn inventories() -> impl Strategy<Value = Inventory> {
    let numbers = || prop::collection::btree_set(0_usize..8, 0..4);
    let layers = prop::collection::btree_map(0_usize..8, (1_u64..100, numbers()), 0..8);
    let records = prop::collection::btree_map(0_usize..12, (0_usize..9, 0_i64..50), 0..12);
    let exports = prop::collection::btree_map(0_usize..8, (prop::option::of(0_usize..9), 0_i64..50), 0..6);
    let images = prop::collection::btree_map(0_usize..5, (numbers(), numbers(), 0_i64..50), 0..5);
    let blobs = prop::collection::btree_map(0_usize..8, (1_u64..100, 0_i64..50), 0..8);
    let mounts = prop::collection::btree_map(0_usize..3, (1_u64..100, 0_i64..50), 0..3);
    let roots = (
        prop::collection::btree_set(0_usize..6, 0..3),
        prop::collection::btree_set(0_usize..6, 0..2),
        prop::collection::btree_set(0_usize..8, 0..3),
    );
    (layers, records, exports, images, blobs, mounts, roots).prop_map(
        |(layers, records, exports, images, blobs, mounts, (tagged, contained, leased))| {
            let all = |kind: &'static str, numbers: BTreeSet<usize>| {
                numbers.into_iter().map(move |number| id(kind, number)).collect::<Vec<_>>()
            };
            let mut inventory = Inventory::default();
            for (number, (bytes, below)) in layers {
                // References lead to layers that hold their own bytes; those may be gone.
                let below = below.into_iter().filter(|below| number >= 4 && *below < 4).collect();
                inventory.layers.insert(id("layer", number), row(0, bytes, all("layer", below)));
            }
            for (number, (layer, used)) in records {
                let what = RecordRow { layer: id("layer", layer), created: Time::default(), log: None };
                inventory.records.insert(id("record", number), row(used, 0, what));
            }
            for (number, (blob, used)) in exports {
                inventory
                    .exports
                    .insert(id("export", number), row(used, 0, blob.map(|blob| id("blob", blob))));
            }
            for (number, (layers, blobs, used)) in images {
                let what =
                    ImageRow { layers: all("layer", layers), blobs: all("blob", blobs), came: Vec::new() };
                inventory.images.insert(id("image", number), row(used, 1, what));
            }
            for (number, (kilobytes, used)) in blobs {
                inventory.blobs.insert(id("blob", number), row(used, kilobytes * 1024, ()));
            }
            for (number, (bytes, used)) in mounts {
                inventory.mounts.insert(id("mount", number), row(used, bytes, String::new()));
            }
            inventory.tagged = all("image", tagged).into_iter().collect();
            inventory.contained = all("image", contained).into_iter().collect();
            inventory.leased = all("layer", leased).iter().map(|id| *id.bytes()).collect();
            inventory
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    let keep = prop_oneof![
        Just(Keep::Reachable),
        (0_u64..300_000).prop_map(Keep::Cache),
        (0_u64..400_000, 0_u64..1000).prop_map(|(limit, reserved)| Keep::Total { limit, reserved }),
    ];
    (keep, any::<bool>(), any::<bool>(), prop::option::of(0_i64..50)).prop_map(
        |(keep, images, all, since)| Policy {
            images,
            all,
            unused_since: since.map(Time::from_seconds),
            ..Policy::new(keep)
        },
    )
}

/// What is left when the plan was carried out.
fn after(mut inventory: Inventory, plan: &Plan) -> Inventory {
    for object in &plan.objects {
        let id = &object.id;
        match object.kind {
            Kind::Image => drop(inventory.images.remove(id)),
            Kind::Layer => drop(inventory.layers.remove(id)),
            Kind::Blob => drop(inventory.blobs.remove(id)),
            Kind::Mount => drop(inventory.mounts.remove(id)),
            Kind::Context => drop(inventory.contexts.remove(id)),
            Kind::Log => drop(inventory.logs.remove(id)),
        }
    }
    inventory.records.retain(|key, _| !plan.records.contains(key));
    inventory.exports.retain(|key, _| !plan.exports.contains(key));
    inventory
}

/// All that names, containers and leases lead to, found in the simplest way.
fn reachable(inventory: &Inventory) -> BTreeSet<Digest> {
    let mut found: BTreeSet<Digest> = inventory.tagged.union(&inventory.contained).copied().collect();
    let all = inventory.layers.keys().chain(inventory.images.keys()).chain(inventory.blobs.keys());
    found.extend(all.filter(|id| inventory.leased.contains(id.bytes())).copied());
    loop {
        let images = found.iter().filter_map(|id| inventory.images.get(id));
        let below = images.flat_map(|image| image.what.layers.iter().chain(&image.what.blobs));
        let layers = found.iter().filter_map(|id| inventory.layers.get(id)).flat_map(|layer| &layer.what);
        let more: Vec<Digest> = below.chain(layers).filter(|id| !found.contains(*id)).copied().collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

proptest! {
    #[test]
    fn nothing_goes_that_something_needs(inventory in inventories(), policy in policies()) {
        let plan = plan(&inventory, &policy);
        let needed = reachable(&inventory);
        for object in &plan.objects {
            prop_assert!(!needed.contains(&object.id), "{object:?}");
            prop_assert!(policy.images || object.kind != Kind::Image);
        }
        // What stays leads to nothing that went: whatever was there for it is there still.
        let left = after(inventory.clone(), &plan);
        for record in left.records.values() {
            prop_assert!(left.layers.contains_key(&record.what.layer));
        }
        for blob in left.exports.values().filter_map(|export| export.what) {
            prop_assert!(left.blobs.contains_key(&blob));
        }
        let went = |id: &Digest| plan.objects.iter().any(|object| object.id == *id);
        for image in left.images.values() {
            prop_assert!(!image.what.layers.iter().chain(&image.what.blobs).any(went));
        }
        for layer in left.layers.values() {
            prop_assert!(!layer.what.iter().any(went));
        }
    }

    #[test]
    fn the_limit_is_kept_where_that_is_possible(inventory in inventories(), limit in 0_u64..400_000) {
        let keep = Keep::Total { limit, reserved: 0 };
        let policy = Policy { images: true, all: true, ..Policy::new(keep) };
        let left = after(inventory.clone(), &plan(&inventory, &policy));
        let needed = reachable(&inventory);
        let sum = |inventory: &Inventory, wanted: &dyn Fn(&Digest) -> bool| -> u64 {
            let images = inventory.images.iter().filter(|(id, _)| wanted(id)).map(|(_, row)| row.bytes);
            let layers = inventory.layers.iter().filter(|(id, _)| wanted(id)).map(|(_, row)| row.bytes);
            let blobs = inventory.blobs.iter().filter(|(id, _)| wanted(id)).map(|(_, row)| row.bytes);
            let mounts = inventory.mounts.iter().filter(|(id, _)| wanted(id)).map(|(_, row)| row.bytes);
            images.chain(layers).chain(blobs).chain(mounts).sum()
        };
        let unavoidable = sum(&inventory, &|id| needed.contains(id));
        prop_assert!(sum(&left, &|_| true) <= limit.max(unavoidable));
    }

    #[test]
    fn what_stays_was_used_no_earlier_than_what_went(inventory in inventories(), limit in 0_u64..400_000) {
        let keep = Keep::Total { limit, reserved: 0 };
        let policy = Policy { images: true, all: true, ..Policy::new(keep) };
        let before = plan(&inventory, &Policy { keep: Keep::Cache(0), ..policy.clone() });
        let went = plan(&inventory, &policy);
        let last = went.objects.iter().filter_map(|object| object.used).max();
        for object in &before.objects {
            let stays = !went.objects.iter().any(|gone| gone.id == object.id);
            prop_assert!(!stays || object.used.is_some() && object.used >= last, "{object:?} {last:?}");
        }
    }
}

#[test]
fn a_record_goes_only_when_that_frees_something() {
    let mut inventory = Inventory::default();
    inventory.layers.insert(id("layer", 1), row(0, 10, Vec::new()));
    let what = RecordRow { layer: id("layer", 1), created: Time::default(), log: None };
    inventory.records.insert(id("record", 1), row(1, 0, what));
    let image = ImageRow { layers: vec![id("layer", 1)], ..ImageRow::default() };
    inventory.images.insert(id("image", 1), row(1, 1, image));
    inventory.tagged.insert(id("image", 1));
    let policy = Policy::new(Keep::Total { limit: 0, reserved: 0 });
    assert_eq!(plan(&inventory, &policy), Plan::default());
    // But everything is everything.
    let all = Policy { all: true, ..Policy::new(Keep::Cache(0)) };
    let went = plan(&inventory, &all);
    assert_eq!((went.objects.len(), went.records.len()), (0, 1));
}

#[test]
fn some_of_the_cache_stays_whatever_images_take() {
    let mut inventory = Inventory::default();
    for number in 0..4 {
        inventory.mounts.insert(id("mount", number), row(number as i64, 10, String::new()));
    }
    let went = plan(&inventory, &Policy::new(Keep::Total { limit: 0, reserved: 15 }));
    let ids: Vec<Digest> = went.objects.iter().map(|object| object.id).collect();
    assert_eq!(ids, [id("mount", 0), id("mount", 1), id("mount", 2)]);
}

#[test]
fn documents_stay_unless_everything_is_to_go() {
    let mut inventory = Inventory::default();
    inventory.blobs.insert(id("blob", 1), row(1, 500, ()));
    let policy = Policy::new(Keep::Cache(0));
    assert_eq!(plan(&inventory, &policy), Plan::default());
    assert_eq!(plan(&inventory, &Policy { all: true, ..policy }).objects.len(), 1);
}
