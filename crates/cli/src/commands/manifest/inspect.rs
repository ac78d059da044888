//! `manifest inspect`: what a registry has under a name, as it has it.

use galley_engine::{Error, ErrorKind, import};
use galley_oci::{Descriptor, Index, Manifest, Reference};
use serde::Serialize;
use serde_json::{Value, json, ser::PrettyFormatter};

use super::{InspectArgs, List, Work, nowhere, parse, say};
use crate::{context::Context, failure::Outcome, registry::RemoteImages};

/// Prints it.
pub(super) fn execute(arguments: &InspectArgs, context: &Context) -> Outcome {
    let names: Vec<Reference> = arguments.names.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let work = Work::new(context, arguments.insecure, &names.iter().collect::<Vec<_>>())?;
    let remote = work.remote(context);
    let (list, wanted) = match names.as_slice() {
        [name] => (List::load(&work.store, name)?, name),
        [list, wanted, ..] => {
            (Some(List::load(&work.store, list)?.ok_or_else(|| super::no_list(list))?), wanted)
        }
        [] => return Ok(()),
    };
    let value = match list {
        Some(list) if names.len() == 2 => one_of(&remote, &list, wanted, arguments.verbose)?,
        Some(list) if arguments.verbose => verbose_list(&remote, wanted, &list)?,
        Some(list) => parsed(&list.to_send().1)?,
        None => {
            let (descriptor, bytes) = remote.first(wanted)?.ok_or_else(|| nowhere(wanted))?;
            if arguments.verbose { verbose(&remote, wanted, &descriptor, &bytes)? } else { parsed(&bytes)? }
        }
    };
    say(&pretty(&value))
}

/// One manifest of a list made here.
fn one_of(remote: &RemoteImages<'_>, list: &List, wanted: &Reference, wordy: bool) -> Result<Value, Error> {
    let same = |(seen_as, known): &(Option<Reference>, &Descriptor)| {
        seen_as.as_ref() == Some(wanted) || Some(known.digest) == wanted.digest
    };
    let (_, descriptor) = list
        .manifests()
        .find(same)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the list has no {}", wanted.familiar())))?;
    let bytes = remote.document(wanted, descriptor)?;
    if wordy { described(wanted, descriptor, &bytes) } else { parsed(&bytes) }
}

fn verbose_list(remote: &RemoteImages<'_>, name: &Reference, list: &List) -> Result<Value, Error> {
    let items = list.manifests().map(|(seen_as, descriptor)| {
        let from = seen_as.unwrap_or_else(|| name.clone());
        described(&from, descriptor, &remote.document(&from, descriptor)?)
    });
    Ok(Value::Array(items.collect::<Result<_, Error>>()?))
}

/// An item for a manifest, a list of items for an index.
fn verbose(
    remote: &RemoteImages<'_>,
    name: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<Value, Error> {
    let Some(index) = Index::parse(bytes).ok().filter(|_| Manifest::parse(bytes).is_err()) else {
        return described(name, descriptor, bytes);
    };
    let items = index.manifests.iter().map(|descriptor| {
        let one = Reference { tag: None, digest: Some(descriptor.digest), ..name.clone() };
        described(&one, descriptor, &remote.document(name, descriptor)?)
    });
    Ok(Value::Array(items.collect::<Result<_, Error>>()?))
}

/// In docker's shape.
fn described(name: &Reference, descriptor: &Descriptor, bytes: &[u8]) -> Result<Value, Error> {
    let mut descriptor = descriptor.clone();
    descriptor.extra.clear();
    let manifest = parsed(bytes)?;
    let kind = if descriptor.media_type.contains("docker") { "SchemaV2Manifest" } else { "OCIManifest" };
    Ok(json!({ "Ref": name.canonical(), "Descriptor": descriptor, kind: manifest }))
}

fn parsed(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| import::broken("the manifest", error))
}

/// With docker's tabs.
fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    // Values of our own making always serialise.
    drop(value.serialize(&mut serializer));
    String::from_utf8_lossy(&text).into_owned()
}
