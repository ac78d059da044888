//! `UnpinnedBase` and `BaseWithoutDigest`

use super::image::Image;
use super::scene::{Base, Scene};
use crate::Instruction;
use crate::lint::{Finding, Rule};
use crate::span::Word;

pub(super) static TAG: Rule =
    Rule::own("UnpinnedBase", "an image is named with a tag, and not with `latest`");
pub(super) static DIGEST: Rule =
    Rule::own("BaseWithoutDigest", "an image is named with its digest, or galley.lock holds it")
        .experimental();

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for view in &scene.stages {
        if let Base::Image(image) = &view.base {
            findings.extend(judge(scene, &view.stage.instruction, &view.stage.from.image, image));
        }
        for (index, copy) in view.copies() {
            let Some(from) = copy.from.as_ref().filter(|from| scene.names_image(from)) else { continue };
            if let Some(instruction) = view.stage.instructions.get(index) {
                findings.extend(judge(scene, instruction, from, &Image::new(&from.text)));
            }
        }
    }
}

fn judge(scene: &Scene<'_>, instruction: &Instruction, word: &Word, image: &Image) -> Option<Finding> {
    let name = &image.name;
    if image.pinned || scene.input.facts.locked.contains(&image.canonical()) {
        return None;
    }
    let help = "name a version, or pin what is meant with `galley lock`";
    let finding = |rule, detail: String, help: &str| Finding::new(rule, instruction, word.span, detail, help);
    Some(match image.tag.as_deref() {
        // A short name that nobody knows is most likely a context that the build is given.
        None if !image.is_well_known() => return None,
        None => {
            finding(&TAG, format!("`{name}` has no tag: what it means changes under the same name"), help)
        }
        Some("latest") => finding(&TAG, format!("what `{name}` means changes under the same name"), help),
        Some(_) => {
            let help = "run `galley lock` and build with --locked, or write the digest behind the tag";
            finding(&DIGEST, format!("`{name}` may be another image tomorrow"), help)
        }
    })
}

impl Scene<'_> {
    /// Whether a `--from` names an image, and no stage or context.
    fn names_image(&self, from: &Word) -> bool {
        let number = from.text.bytes().all(|byte| byte.is_ascii_digit());
        !number
            && self.origin(from).is_none()
            && !self.input.facts.is_context(&from.text)
            && from.text != "scratch"
    }
}
