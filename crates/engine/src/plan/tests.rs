//! Plans without a store: base images come from a fake.

mod check;
mod corpus;
mod documents;
mod errors;
mod golden;
mod hostile;
mod platforms;
mod properties;
mod speed;
mod steps;
mod warnings;

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use galley_oci::{Digest, ImageConfig, Platform, Reference};

use super::{ContextSource, Operation, Plan, PlanOptions, RunOp, plan};
use crate::{
    Error, Place,
    ports::{BaseImage, ImageSource, LayoutReference},
};

/// Images by canonical name, and what was asked for.
#[derive(Debug, Default)]
pub(super) struct FakeSource {
    images: BTreeMap<String, ImageConfig>,
    layouts: BTreeMap<String, ImageConfig>,
    asked: Mutex<Vec<String>>,
}

impl FakeSource {
    /// A source that has these images, with empty configs.
    fn with(names: &[&str]) -> Self {
        names.iter().fold(Self::default(), |source, name| source.image(name, ImageConfig::default()))
    }

    fn image(mut self, name: &str, config: ImageConfig) -> Self {
        let reference: Reference = name.parse().unwrap();
        self.images.insert(reference.with_default_tag().canonical(), config);
        self
    }

    /// An image that says whom it is for, and is found by whoever asks for that platform.
    fn image_for(mut self, name: &str, platform: &str) -> Self {
        let wanted: Platform = platform.parse().unwrap();
        let config = ImageConfig {
            os: wanted.os.clone(),
            architecture: wanted.architecture.clone(),
            variant: wanted.variant.clone(),
            ..ImageConfig::default()
        };
        let reference: Reference = name.parse().unwrap();
        self.images.insert(format!("{} {wanted}", reference.with_default_tag().canonical()), config);
        self
    }

    fn layout(mut self, layout: &str, config: ImageConfig) -> Self {
        self.layouts.insert(layout.to_owned(), config);
        self
    }

    fn found(&self, name: &str, config: Option<&ImageConfig>) -> Option<BaseImage> {
        self.asked.lock().unwrap().push(name.to_owned());
        let config = config?.clone();
        let id = Digest::sha256(&[name.as_bytes(), &config.to_bytes()].concat());
        let (name, document) = (name.to_owned(), config.to_bytes());
        Some(BaseImage { name, id, config, document, layers: Vec::new(), manifest: None })
    }
}

impl ImageSource for FakeSource {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let name = reference.canonical();
        let exact = self.images.get(&format!("{name} {platform}"));
        Ok(self.found(&name, exact.or_else(|| self.images.get(&name))))
    }

    fn layout(&self, layout: &LayoutReference, _: &Platform) -> Result<Option<BaseImage>, Error> {
        let name = layout.to_string();
        Ok(self.found(&name, self.layouts.get(&name)))
    }

    fn suggest(&self, name: &str) -> Vec<String> {
        let near = |known: &&String| known.contains(name.split(':').next().unwrap_or(name));
        self.images.keys().filter(near).cloned().collect()
    }
}

fn options(dockerfile: impl Into<Vec<u8>>) -> PlanOptions {
    let context =
        ContextSource { name: ".".to_owned(), path: PathBuf::from("/context"), ignore: None, kept: None };
    PlanOptions::new("Dockerfile", dockerfile, context, Platform::new("linux", "amd64"))
}

/// A plan with the images `busybox` and `golang:1.22`.
fn planned(dockerfile: &str) -> Plan {
    plan(&options(dockerfile), &FakeSource::with(&["busybox", "golang:1.22"])).unwrap()
}

/// An error as the person sees it, with its place and hints.
fn shown(error: &Error) -> String {
    let place = error.place.as_ref().map(|place: &Place| format!(" at {place}")).unwrap_or_default();
    let label = error.label.as_ref().map(|label| format!("\n  | {label}")).unwrap_or_default();
    let cause = error.source.as_ref().map(|cause| format!("\n  because {cause}")).unwrap_or_default();
    let help: String = error.help.iter().map(|help| format!("\n  = {help}")).collect();
    format!("{error}{place}{label}{cause}{help}")
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.name.as_str()).collect()
}

fn runs(plan: &Plan) -> Vec<&RunOp> {
    let operations = plan.steps.iter().map(|step| &step.operation);
    operations
        .filter_map(|operation| match operation {
            Operation::Run(run) => Some(run),
            _ => None,
        })
        .collect()
}
