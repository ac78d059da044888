//! Which instruction takes which file: what COPY, ADD and bind mounts select, as a build selects it.

use std::{collections::HashMap, sync::Arc};

use galley_oci::{Entry, Kind, Meta, Stack, Tree, tree::parent};

use super::{Instruction, Item, ItemKind, Survey};
use crate::{
    Place,
    plan::{self, ContextId, Operation, Plan, PlanOptions, Source, Step},
    ports::ImageSource,
    steps::{filter, mounts, select},
};

/// The main context's number in every plan.
const MAIN: Source = Source::Context(ContextId(0));

/// Plans the target, or each stage, and asks each step.
pub(super) fn find(survey: &mut Survey, options: &PlanOptions, images: &dyn ImageSource) {
    let wanted = match &options.target {
        Some(target) => Ok(vec![target.clone()]),
        None => plan::stages(options).map(|count| (0..count).map(|stage| stage.to_string()).collect()),
    };
    let planned = wanted.and_then(|wanted| {
        let plan = |target| plan::plan(&PlanOptions { target: Some(target), ..options.clone() }, images);
        wanted.into_iter().map(plan).collect::<Result<Vec<_>, _>>()
    });
    match planned {
        Ok(plans) => mark(survey, &plans),
        Err(error) => {
            let place = error.place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
            survey.notes.push(format!("cannot tell what is used: {place}{error}"));
        }
    }
}

fn mark(survey: &mut Survey, plans: &[Plan]) {
    let stack = Stack::new(vec![Arc::new(tree(&survey.items))]);
    let items: HashMap<Vec<u8>, usize> =
        survey.items.iter().enumerate().map(|(index, item)| (item.path.clone(), index)).collect();
    let mut known: HashMap<(usize, usize), usize> = HashMap::new();
    let mut instructions = Vec::new();
    for step in plans.iter().flat_map(|plan| &plan.steps) {
        let (Some(paths), Some(place)) = (taken(step, &stack), &step.place) else { continue };
        let index = *known.entry((place.span.start, place.span.end)).or_insert_with(|| {
            instructions.push(described(place));
            instructions.len() - 1
        });
        let taken = paths.iter().filter_map(|path| items.get(path));
        for item in taken {
            let used = &mut survey.items[*item].used;
            if !used.contains(&index) {
                used.push(index);
            }
        }
    }
    for item in &survey.items {
        for index in &item.used {
            let instruction: &mut Instruction = &mut instructions[*index];
            instruction.files += item.files;
            instruction.bytes = instruction.bytes.saturating_add(item.bytes);
        }
    }
    survey.instructions = Some(instructions);
}

fn described(place: &Place) -> Instruction {
    let text = place.text.lines().nth(place.line() - 1).unwrap_or_default().trim();
    let place = format!("{}:{}", place.file, place.line());
    Instruction { place, text: text.to_owned(), files: 0, bytes: 0 }
}

/// What is kept, as the tree that a walk of the builder would make. Contents do not matter here.
fn tree(items: &[Item]) -> Tree {
    let mut entries: HashMap<Vec<u8>, Entry> = HashMap::new();
    let mut add = |path: &[u8], kind: Kind| {
        entries.insert(path.to_vec(), Entry { path: path.into(), meta: Meta::new(0o755), kind });
    };
    let folder = || Kind::Directory { opaque: false };
    add(b"", folder());
    for item in items.iter().filter(|item| item.kept) {
        let mut above = parent(&item.path);
        while let Some(path) = above {
            add(path, folder());
            above = parent(path);
        }
    }
    for item in items.iter().filter(|item| item.kept) {
        let kind = match &item.kind {
            ItemKind::File => Kind::File { size: item.bytes, digest: [0; 32], links: None },
            ItemKind::Link(target) => Kind::Symlink { target: target.as_slice().into() },
            ItemKind::Special => Kind::Fifo,
            ItemKind::Folder => folder(),
        };
        add(&item.path, kind);
    }
    Tree::from_entries(entries.into_values().collect())
}

/// The paths that a step takes from the main context; none when it takes nothing from there. What is not there is for
/// the build to say.
fn taken(step: &Step, stack: &Stack) -> Option<Vec<Vec<u8>>> {
    let mut paths: Vec<Vec<u8>> = Vec::new();
    match &step.operation {
        Operation::Copy(copy) if copy.from == MAIN && !copy.sources.is_empty() => {
            for meant in filter::sources(copy).iter().flatten() {
                let selected = select::select(stack, meant).unwrap_or_default();
                let found = selected.iter().flat_map(|selected| selected.walk(stack));
                paths.extend(found.map(|kept| kept.found.path().to_vec()));
                paths.extend(links(stack, &meant.path));
            }
        }
        Operation::Run(run) => {
            let sources = run.mounts.iter().filter_map(mounts::source);
            let ours: Vec<&[u8]> =
                sources.filter(|(source, _)| *source == MAIN).map(|(_, path)| path).collect();
            if ours.is_empty() {
                return None;
            }
            for path in ours {
                if let Ok(selected) = select::literal(stack, path) {
                    paths.extend(stack.walk(&selected.path).iter().map(|found| found.path().to_vec()));
                    paths.extend(links(stack, path));
                }
            }
        }
        _ => return None,
    }
    Some(paths)
}

/// The path itself and the folders above it, which may be links that were followed.
fn links(stack: &Stack, path: &[u8]) -> Vec<Vec<u8>> {
    let path = select::clean(path);
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let parts = ends.chain([path.len()]).map(|end| path[..end].to_vec());
    parts
        .filter(|part| stack.get(part).is_some_and(|found| matches!(found.entry.kind, Kind::Symlink { .. })))
        .collect()
}
