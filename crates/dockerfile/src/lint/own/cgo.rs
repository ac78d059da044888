//! `CgoLeftOn`

use super::go::{self, Build, Cgo};
use super::image::Libc;
use super::scene::{Base, Scene, View};
use crate::command::Command;
use crate::lint::{Finding, Fix, Rule};
use crate::span::Span;

pub(super) static RULE: Rule = Rule::own(
    "CgoLeftOn",
    "a Go program that goes into an image without the C library of its builder is built without C code, or statically",
);

pub(super) fn find(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for build in go::builds(scene) {
        let cgo = build.cgo(scene);
        if matches!(cgo, Cgo::Off | Cgo::Unknown) || build.mentions_static() {
            continue;
        }
        let image = build.receivers(scene).find_map(|view| unfit(scene, &build, view));
        if let Some(image) = image {
            findings.push(finding(scene, &build, cgo, &image));
        }
    }
}

/// What is wrong with an image that starts the program.
fn unfit(scene: &Scene<'_>, build: &Build<'_, '_>, view: &View<'_>) -> Option<String> {
    let starts = |command: &Command| matches!(command, Command::Entrypoint(_) | Command::Cmd(_));
    if !scene.chain(view.index()).any(|view| view.last(starts).is_some()) {
        return None;
    }
    let library = |base: &Base| match base {
        Base::Scratch => Some(Libc::None),
        Base::Image(image) => image.libc(),
        Base::Stage(_) | Base::Unknown => None,
    };
    let (base, builder) = (scene.root(view.index()), library(scene.root(build.view.index()))?);
    let name = match base {
        Base::Image(image) => image.name.as_str(),
        _ => "scratch",
    };
    match library(base)? {
        Libc::None => Some(format!("{name} has no C library")),
        other if other == builder => None,
        Libc::Musl if has_glibc_layer(scene, view) => None,
        Libc::Musl => Some(format!("{name} has musl, not the C library of the builder")),
        Libc::Glibc => Some(format!("{name} has glibc, not the C library of the builder")),
    }
}

/// Alpine's packages with which programs for glibc may run.
fn has_glibc_layer(scene: &Scene<'_>, view: &View<'_>) -> bool {
    let mut runs = scene.chain(view.index()).flat_map(|view| &view.runs);
    runs.any(|run| ["compat", "glibc"].into_iter().any(|name| run.script.mentions(name)))
}

fn finding(scene: &Scene<'_>, build: &Build<'_, '_>, cgo: Cgo, image: &str) -> Finding {
    let detail = format!("cgo is on, so the program may need the C library of this stage, but {image}");
    let help = match cgo {
        Cgo::Asked => {
            "without C code set CGO_ENABLED=0; with it, link statically: -ldflags '-linkmode external -extldflags -static'"
        }
        _ => "put CGO_ENABLED=0 before go build",
    };
    let place = build.command.words.first().and_then(|go| build.run.place(scene, go));
    let finding = build.run.finding(&RULE, place, detail, help);
    match place.filter(|_| cgo == Cgo::Default && !build.command.wrapped) {
        Some(go) => {
            let before = Span::new(go.start, go.start);
            finding.with_fix(Fix::replace(before, "CGO_ENABLED=0 ", "builds without C code").on_request())
        }
        None => finding,
    }
}
