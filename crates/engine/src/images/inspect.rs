//! `galley inspect`: all that is known of an image, in the shape docker gives it.

use std::collections::BTreeSet;

use galley_oci::Reference;
use galley_store::{Image, Store};
use serde_json::{Value, json};

use super::{config, digests::repo_digest, list::size, unreadable};
use crate::Error;

/// Docker's word for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The description of `image` as `docker image inspect` prints it, and what is wrong with its layers.
pub fn inspect(store: &Store, image: &Image) -> Result<(Value, Option<Error>), Error> {
    let parsed = config(image)?;
    let tags = store.tags().map_err(unreadable)?;
    let tags: Vec<&Reference> = tags.iter().filter(|(_, id)| *id == image.id).map(|(tag, _)| tag).collect();
    let digests = tags
        .iter()
        .filter_map(|tag| Some(format!("{}@{}", tag.familiar_name(), repo_digest(store, tag, &image.id)?)));
    let digests: BTreeSet<String> = digests.collect();
    let tags: Vec<String> = tags.iter().map(|tag| tag.familiar()).collect();
    let diff_ids: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let comment = parsed.history.last().map(|item| item.comment.clone()).unwrap_or_default();
    let size = size(store, image, tags.first().unwrap_or(&image.id.short()));
    let value = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment,
        "Created": parsed.created.clone().unwrap_or_default(),
        "DockerVersion": "",
        "Author": parsed.author.clone().unwrap_or_default(),
        "Architecture": parsed.architecture,
        "Variant": parsed.variant.clone().unwrap_or_default(),
        "Os": parsed.os,
        "OsVersion": parsed.os_version.clone().unwrap_or_default(),
        "Size": size.bytes,
        "Config": whole(serde_json::to_value(&parsed.config).unwrap_or_default()), // ok: text and numbers
        "GraphDriver": {"Data": null, "Name": "overlay"},
        "RootFS": {"Type": "layers", "Layers": diff_ids},
        "Metadata": {"LastTagTime": NEVER},
    });
    Ok((value, size.damage))
}

/// A config with the fields that docker always has: what an image says nothing about is empty there. The others are left out.
fn whole(config: Value) -> Value {
    let mut all = json!({
        "User": "",
        "Env": null,
        "Entrypoint": null,
        "Cmd": null,
        "Volumes": null,
        "WorkingDir": "",
        "Labels": null,
        "OnBuild": null,
    });
    if let (Some(all), Value::Object(config)) = (all.as_object_mut(), config) {
        all.extend(config);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_has_dockers_fields_and_keeps_what_is_not_known() {
        let config = whole(json!({"User": "7", "Env": ["A=b"], "Own": 1}));
        assert_eq!(
            (&config["User"], &config["Env"], &config["Own"]),
            (&json!("7"), &json!(["A=b"]), &json!(1))
        );
        for name in ["Entrypoint", "Cmd", "Volumes", "Labels", "OnBuild"] {
            assert_eq!(config.get(name), Some(&Value::Null), "{name}");
        }
        assert_eq!(config["WorkingDir"], "");
        for name in ["ExposedPorts", "Healthcheck", "StopSignal", "Shell"] {
            assert_eq!(config.get(name), None, "docker leaves {name} out");
        }
    }
}
