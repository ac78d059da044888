//! Sizes of folders and files as a bounded number of rectangles.

use std::collections::BTreeMap;

/// A folder or a file with all that is in it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    bytes: u64,
    children: BTreeMap<Vec<u8>, Folder>,
}

/// What one rectangle stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// Where a rectangle is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Folder {
    /// Counts a file of so many bytes.
    pub(super) fn add(&mut self, path: &[u8], bytes: u64) {
        let mut folder = self;
        folder.bytes = folder.bytes.saturating_add(bytes);
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = folder.children.entry(name.to_vec()).or_default();
            folder.bytes = folder.bytes.saturating_add(bytes);
        }
    }

    /// At most `max` areas, the largest first: always the largest folder is taken apart, while there is room. What is too
    /// many in one folder is summed up.
    pub(super) fn areas(&self, max: usize) -> Vec<Area> {
        let mut open: Vec<(Vec<u8>, &Self)> = vec![(Vec::new(), self)];
        let mut rest: Vec<Area> = Vec::new();
        loop {
            let folders = open.iter().enumerate().filter(|(_, (_, folder))| !folder.children.is_empty());
            let Some((index, _)) = folders.max_by_key(|(_, (_, folder))| folder.bytes) else { break };
            let mut children: Vec<_> =
                open[index].1.children.iter().filter(|(_, child)| child.bytes > 0).collect();
            // The folder's own place is free for what is in it.
            let room = (max + 1).saturating_sub(open.len() + rest.len());
            if room == 0 || (room == 1 && children.len() > 1) {
                break;
            }
            let (path, _) = open.swap_remove(index);
            children.sort_by_key(|(_, child)| std::cmp::Reverse(child.bytes));
            let kept = if children.len() > room { room - 1 } else { children.len() };
            for (name, child) in children.iter().take(kept) {
                open.push((join(&path, name), child));
            }
            let others: u64 = children.iter().skip(kept).map(|(_, child)| child.bytes).sum();
            if others > 0 {
                let count = children.len() - kept;
                let name = format!("{}/… {count} more", shown(&path));
                rest.push(Area { name: name.trim_start_matches('/').to_owned(), bytes: others });
            }
        }
        let open = open.into_iter().filter(|(_, folder)| folder.bytes > 0);
        let named = open.map(|(path, folder)| {
            let end = if folder.children.is_empty() { "" } else { "/" };
            Area { name: format!("{}{end}", shown(&path)), bytes: folder.bytes }
        });
        let mut areas: Vec<Area> = named.chain(rest).collect();
        areas.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name)));
        areas
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Rectangles for sizes that fall, filling `width` × `height`, each as square as may be.
pub(super) fn squares(sizes: &[f64], width: f64, height: f64) -> Vec<Place> {
    let total: f64 = sizes.iter().sum();
    if total <= 0.0 {
        return vec![Place::default(); sizes.len()];
    }
    let scale = width * height / total;
    let mut free = Place { x: 0.0, y: 0.0, width, height };
    let mut places = Vec::with_capacity(sizes.len());
    let mut rest: Vec<f64> = sizes.iter().map(|size| size * scale).collect();
    while !rest.is_empty() {
        let side = free.width.min(free.height);
        let mut count = 1;
        while count < rest.len() && worst(&rest[..=count], side) <= worst(&rest[..count], side) {
            count += 1;
        }
        let row: Vec<f64> = rest.drain(..count).collect();
        free = lay(&row, free, &mut places);
    }
    places
}

/// The longest sides of a row, beside its shortest.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (least, most) =
        row.iter().fold((f64::MAX, 0.0_f64), |(least, most), area| (least.min(*area), most.max(*area)));
    let (side, sum) = (side * side, sum * sum);
    (side * most / sum).max(sum / (side * least))
}

/// Places a row along the shorter side; what is left comes back.
fn lay(row: &[f64], free: Place, places: &mut Vec<Place>) -> Place {
    let sum: f64 = row.iter().sum();
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width };
    let depth = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if depth > 0.0 { area / depth } else { 0.0 };
        places.push(if upright {
            Place { x: free.x, y: free.y + at, width: depth, height: length }
        } else {
            Place { x: free.x + at, y: free.y, width: length, height: depth }
        });
        at += length;
    }
    if upright {
        Place { x: free.x + depth, width: (free.width - depth).max(0.0), ..free }
    } else {
        Place { y: free.y + depth, height: (free.height - depth).max(0.0), ..free }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folder(files: &[(&str, u64)]) -> Folder {
        let mut root = Folder::default();
        files.iter().for_each(|(path, bytes)| root.add(path.as_bytes(), *bytes));
        root
    }

    #[test]
    fn the_largest_folder_is_taken_apart() {
        let root =
            folder(&[("usr/lib/a", 50), ("usr/lib/b", 30), ("usr/bin/c", 10), ("etc/d", 5), ("etc/e", 0)]);
        let names = |max| root.areas(max).into_iter().map(|area| (area.name, area.bytes)).collect::<Vec<_>>();
        let named = |all: &[(&str, u64)]| {
            all.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect::<Vec<_>>()
        };
        assert_eq!(names(2), named(&[("usr/", 90), ("etc/", 5)]));
        assert_eq!(names(4), named(&[("usr/lib/a", 50), ("usr/lib/b", 30), ("usr/bin/c", 10), ("etc/d", 5)]));
        let wide = folder(&[("x/a", 4), ("x/b", 3), ("x/c", 2), ("x/d", 1)]);
        let areas = wide.areas(2);
        assert_eq!(areas.iter().map(|area| area.bytes).sum::<u64>(), 10);
        assert!(areas.iter().any(|area| area.name.ends_with("more")), "{areas:?}");
        assert_eq!(folder(&[]).areas(3), []);
    }

    proptest! {
        #[test]
        fn rectangles_fill_the_picture(sizes in prop::collection::vec(1_u64..1_000_000, 1..60)) {
            let mut sizes: Vec<f64> = sizes.into_iter().map(|size| size as f64).collect();
            sizes.sort_by(|one, other| other.total_cmp(one));
            let total: f64 = sizes.iter().sum();
            let places = squares(&sizes, 100.0, 40.0);
            prop_assert_eq!(places.len(), sizes.len());
            for (place, size) in places.iter().zip(&sizes) {
                prop_assert!(place.x >= -1e-6 && place.x + place.width <= 100.0 + 1e-6);
                prop_assert!(place.y >= -1e-6 && place.y + place.height <= 40.0 + 1e-6);
                prop_assert!((place.width * place.height - size / total * 4000.0).abs() < 1e-3);
            }
        }

        #[test]
        fn areas_are_bounded_and_lose_nothing(
            files in prop::collection::vec(("[a-c](/[a-d]){0,3}/[0-9]", 0_u64..1000), 0..80), max in 1_usize..20
        ) {
            let mut root = Folder::default();
            let unique: BTreeMap<_, _> = files.into_iter().collect();
            unique.iter().for_each(|(path, bytes)| root.add(path.as_bytes(), *bytes));
            let areas = root.areas(max);
            prop_assert!(areas.len() <= max);
            prop_assert_eq!(areas.iter().map(|area| area.bytes).sum::<u64>(), unique.values().sum::<u64>());
        }
    }
}
