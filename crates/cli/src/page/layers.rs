//! The layers of the image, and what their bytes are.

use galley_engine::events::LayerInfo;
use galley_oci::{Digest, Kind, Tree};
use galley_store::Store;

use super::{
    Page,
    text::{cut, escape},
    treemap::{Area, Folder, squares},
    units::count,
};
use crate::human;

/// Rectangles of one layer.
const AREAS_MAX: usize = 40;
/// The picture of a layer, in its own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 320.0;
/// Folders and files that are listed.
const LARGEST_MAX: usize = 8;
/// How wide a letter is.
const LETTER: f64 = 7.4;

/// What is known of a layer's files.
struct Contents {
    files: u64,
    bytes: u64,
    areas: Vec<Area>,
}

impl Page<'_> {
    pub(super) fn layers(&mut self) {
        let images = &self.model.images;
        if images.is_empty() {
            return;
        }
        self.section("layers", "Layers", "What the image is made of, the lowest first. The picture of a layer shows its largest folders and files; sizes are before compression.");
        for image in images {
            if images.len() > 1 {
                self.out.raw("<h3>").text(&image.platform).raw("</h3>\n");
            }
            let contents: Vec<_> = image.layers.iter().map(|layer| contents(self.store?, layer)).collect();
            let largest = contents.iter().flatten().map(|known| known.bytes).max().unwrap_or_default();
            let mut shown = false;
            for (number, (layer, known)) in image.layers.iter().zip(&contents).enumerate() {
                let is_largest = known.as_ref().is_some_and(|known| known.bytes == largest) && !shown;
                shown |= is_largest;
                self.layer(number, layer, known.as_ref(), (largest, is_largest));
            }
        }
        self.out.raw("</section>\n");
    }

    fn layer(
        &mut self,
        number: usize,
        layer: &LayerInfo,
        known: Option<&Contents>,
        (largest, open): (u64, bool),
    ) {
        let step = layer.step.and_then(|step| self.model.number(step));
        let name = step.and_then(|number| Some(self.model.steps.get(number)?.info.name.as_str()));
        let name = escape(&cut(name.unwrap_or("a layer of the base"), 160));
        let open = if open { " open" } else { "" };
        let size = known.map_or_else(|| "not here".to_owned(), |known| human::size(known.bytes));
        let share = known.map_or(0.0, |known| known.bytes as f64 / largest.max(1) as f64 * 1000.0);
        self.out.raw(format_args!(
            "<details class=\"layer\"{open}><summary><span class=\"n\">{}</span> <code class=\"name\">{name}</code> \
             <svg class=\"share\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"run\" width=\"{share:.0}\" height=\"10\"/></svg> \
             <span class=\"n\">{size}</span></summary>\n<div class=\"body\">\n",
            number + 1,
        ));
        match known {
            Some(known) => self.contents(known),
            None => drop(self.out.raw("<p class=\"note\">The files of this layer are not in the store: nothing needed them, or they were removed.</p>\n")),
        }
        self.out
            .raw("<p class=\"note\">diffID <code>")
            .text(&layer.diff_id)
            .raw("</code></p>\n</div></details>\n");
    }

    fn contents(&mut self, known: &Contents) {
        self.out.raw(format_args!("<p>{}, {}</p>\n", count(known.files, "file"), human::size(known.bytes)));
        if known.areas.is_empty() {
            return;
        }
        // Of one file the line below says all.
        if known.areas.len() > 1 {
            self.out.raw(picture(&known.areas));
        }
        self.out.raw("<ol class=\"largest\">\n");
        for area in known.areas.iter().take(LARGEST_MAX) {
            self.out
                .raw("<li><code>")
                .text(&area.name)
                .raw(format_args!("</code> <span class=\"n\">{}</span></li>\n", human::size(area.bytes)));
        }
        self.out.raw("</ol>\n");
    }
}

/// The treemap; the list beside it says the same.
fn picture(areas: &[Area]) -> String {
    let sizes: Vec<f64> = areas.iter().map(|area| area.bytes as f64).collect();
    let mut out = format!(
        "<div class=\"scroll\"><svg class=\"treemap\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\">"
    );
    for ((area, place), shade) in areas.iter().zip(squares(&sizes, WIDTH, HEIGHT)).zip((0..5).cycle()) {
        let (name, size) = (escape(&area.name), human::size(area.bytes));
        let (x, y, width, height) = (place.x + 1.0, place.y + 1.0, place.width - 2.0, place.height - 2.0);
        if width < 0.5 || height < 0.5 {
            continue;
        }
        out.push_str(&format!(
            "<g><title>{name} – {size}</title><rect class=\"t{shade}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>"
        ));
        let letters = ((width - 14.0) / LETTER).max(0.0) as usize;
        if letters >= 4 && height >= 22.0 {
            // The end of a path says most.
            let shown = end_of(&area.name, letters);
            out.push_str(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 7.0,
                y + 16.0,
                escape(&shown)
            ));
            if height >= 40.0 {
                out.push_str(&format!(
                    "<text class=\"sub\" x=\"{:.1}\" y=\"{:.1}\">{size}</text>",
                    x + 7.0,
                    y + 33.0
                ));
            }
        }
        out.push_str("</g>");
    }
    out + "</svg></div>\n"
}

fn end_of(path: &str, letters: usize) -> String {
    let length = path.chars().count();
    if length <= letters {
        return path.to_owned();
    }
    let end: String = path.chars().skip(length - letters + 1).collect();
    format!("…{end}")
}

fn contents(store: &Store, layer: &LayerInfo) -> Option<Contents> {
    let id: Digest = match &layer.layer {
        Some(id) => id.parse().ok()?,
        None => *galley_engine::import::unpacked(store, &layer.diff_id.parse().ok()?).ok()??.id(),
    };
    let tree = store.layer(&id).ok()??.tree().ok()?;
    Some(Contents::of(&tree))
}

impl Contents {
    fn of(tree: &Tree) -> Self {
        let (mut root, mut files, mut bytes, mut linked) =
            (Folder::default(), 0, 0_u64, std::collections::HashSet::new());
        for entry in tree.entries() {
            let Kind::File { size, links, .. } = &entry.kind else { continue };
            // Of a file with several names the first one has the bytes.
            let size = if links.is_none_or(|links| linked.insert(links)) { *size } else { 0 };
            files += 1;
            bytes = bytes.saturating_add(size);
            root.add(&entry.path, size);
        }
        Self { files, bytes, areas: root.areas(AREAS_MAX) }
    }
}
