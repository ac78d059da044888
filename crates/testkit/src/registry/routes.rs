//! The distribution specification, endpoint by endpoint.

use galley_oci::Digest;
use serde_json::{Value, json};

use super::{
    Settings,
    auth::Scope,
    http::{Answer, Head, Message},
    storage::{Storage, StoredManifest},
};

/// The largest manifest that is taken.
const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Base,
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, id: String },
    Tags { name: String },
    Referrers { name: String, digest: String },
    Unknown,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/v2/") else {
            return if path == "/v2" { Self::Base } else { Self::Unknown };
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let name = |parts: &[&str]| parts.join("/");
        match parts.as_slice() {
            [""] => Self::Base,
            [name_parts @ .., "blobs", "uploads", ""] => Self::Uploads { name: name(name_parts) },
            [name_parts @ .., "blobs", "uploads"] => Self::Uploads { name: name(name_parts) },
            [name_parts @ .., "blobs", "uploads", id] => {
                Self::Upload { name: name(name_parts), id: (*id).to_owned() }
            }
            [name_parts @ .., "tags", "list"] => Self::Tags { name: name(name_parts) },
            [name_parts @ .., "blobs", digest] => {
                Self::Blob { name: name(name_parts), digest: (*digest).to_owned() }
            }
            [name_parts @ .., "manifests", reference] => {
                Self::Manifest { name: name(name_parts), reference: (*reference).to_owned() }
            }
            [name_parts @ .., "referrers", digest] => {
                Self::Referrers { name: name(name_parts), digest: (*digest).to_owned() }
            }
            _ => Self::Unknown,
        }
    }

    /// What a caller must be allowed to.
    pub(super) fn scopes(&self, head: &Head) -> Vec<Scope> {
        let action = match head.method.as_str() {
            "GET" | "HEAD" => "pull",
            "DELETE" => "delete",
            _ => "pull,push",
        };
        match self {
            Self::Base | Self::Unknown => Vec::new(),
            Self::Upload { name, .. } => vec![(name.clone(), "pull,push")],
            Self::Uploads { name } => {
                let from = head.query("from").map(|from| (from, "pull"));
                [(name.clone(), action)].into_iter().chain(from).collect()
            }
            Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Tags { name }
            | Self::Referrers { name, .. } => vec![(name.clone(), action)],
        }
    }
}

/// Carries out a request.
pub(super) fn serve(storage: &mut Storage, settings: &Settings, route: &Route, message: &Message) -> Answer {
    let head = &message.head;
    match (head.method.as_str(), route) {
        ("GET" | "HEAD", Route::Base) => Answer::json(200, &json!({})),
        ("GET" | "HEAD", Route::Manifest { name, reference }) => get_manifest(storage, name, reference),
        ("PUT", Route::Manifest { name, reference }) => {
            put_manifest(storage, settings, name, reference, message)
        }
        ("DELETE", Route::Manifest { name, reference }) => delete_manifest(storage, name, reference),
        ("GET" | "HEAD", Route::Blob { name, digest }) => get_blob(storage, name, digest, head),
        ("DELETE", Route::Blob { name, digest }) => delete_blob(storage, name, digest),
        ("POST", Route::Uploads { name }) => post_upload(storage, settings, name, message),
        ("GET", Route::Upload { name, id }) => upload_status(storage, settings, name, id, 204),
        ("PATCH", Route::Upload { name, id }) => patch_upload(storage, settings, name, id, message),
        ("PUT", Route::Upload { name, id }) => put_upload(storage, settings, name, id, message),
        ("DELETE", Route::Upload { id, .. }) => match storage.uploads.remove(id) {
            Some(_) => Answer::new(204),
            None => unknown_upload(),
        },
        ("GET", Route::Tags { name }) => list_tags(storage, name, head),
        ("GET", Route::Referrers { name, digest }) if settings.referrers => {
            list_referrers(storage, settings, name, digest, head)
        }
        (_, Route::Unknown | Route::Referrers { .. }) => {
            Answer::new(404).body("text/plain", b"404 page not found\n".to_vec())
        }
        _ => Answer::error(405, "UNSUPPORTED", "the operation is unsupported"),
    }
}

fn get_manifest(storage: &Storage, name: &str, reference: &str) -> Answer {
    match storage.manifest(name, reference) {
        None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        Some((digest, manifest)) => {
            let answer = Answer::new(200).with("Docker-Content-Digest", digest);
            answer.body(&manifest.media_type, manifest.bytes)
        }
    }
}

fn put_manifest(
    storage: &mut Storage,
    settings: &Settings,
    name: &str,
    reference: &str,
    message: &Message,
) -> Answer {
    let bytes = &message.body;
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Answer::error(413, "MANIFEST_INVALID", "manifest too large");
    }
    let digest = Digest::sha256(bytes).to_string();
    let tag = (!reference.contains(':')).then_some(reference);
    if tag.is_none() && reference != digest {
        return Answer::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return Answer::error(400, "MANIFEST_INVALID", "manifest invalid");
    };
    let missing = storage.missing(name, &value);
    if !missing.is_empty() {
        return Answer::error(400, "MANIFEST_BLOB_UNKNOWN", &missing.join(", "));
    }
    let media_type = message.head.header("content-type").unwrap_or_default().to_owned();
    storage.put_manifest(name, tag, StoredManifest { media_type, bytes: bytes.clone().into() });
    let answer = Answer::new(201)
        .with("Location", format!("/v2/{name}/manifests/{digest}"))
        .with("Docker-Content-Digest", &digest);
    match value["subject"]["digest"].as_str() {
        Some(subject) if settings.referrers => answer.with("OCI-Subject", subject),
        _ => answer,
    }
}

fn delete_manifest(storage: &mut Storage, name: &str, reference: &str) -> Answer {
    let repository = storage.repository(name);
    let gone = if reference.contains(':') {
        repository.tags.retain(|_, digest| digest != reference);
        repository.manifests.remove(reference).is_some()
    } else {
        repository.tags.remove(reference).is_some()
    };
    if gone { Answer::new(202) } else { Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown") }
}

fn get_blob(storage: &Storage, name: &str, digest: &str, head: &Head) -> Answer {
    let Some(bytes) = storage.blob(name, digest) else { return unknown_blob() };
    let total = bytes.len();
    let answer = Answer::new(200)
        .with("Docker-Content-Digest", digest)
        .with("Accept-Ranges", "bytes")
        .body("application/octet-stream", bytes);
    match head.header("range").and_then(|range| parse_range(range, total)) {
        None => answer,
        Some(range) if range.is_empty() => Answer::error(416, "RANGE_INVALID", "invalid range")
            .with("Content-Range", format!("bytes */{total}")),
        Some(range) => {
            let text = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            Answer { status: 206, range, ..answer }.with("Content-Range", text)
        }
    }
}

/// `bytes=a-` or `bytes=a-b`; `None` when it is something else, empty when it lies outside.
fn parse_range(text: &str, total: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let end = if last.is_empty() { total } else { last.parse::<usize>().ok()?.saturating_add(1).min(total) };
    Some(if first < end { first..end } else { 0..0 })
}

fn delete_blob(storage: &mut Storage, name: &str, digest: &str) -> Answer {
    if storage.repository(name).blobs.remove(digest) { Answer::new(202) } else { unknown_blob() }
}

fn post_upload(storage: &mut Storage, settings: &Settings, name: &str, message: &Message) -> Answer {
    if let Some(mount) = message.head.query("mount") {
        let from = message.head.query("from");
        if from.is_some_and(|from| storage.mount(&from, name, &mount)) {
            return created(name, &mount);
        }
    }
    if let Some(digest) = message.head.query("digest") {
        return if Digest::sha256(&message.body).to_string() == digest {
            storage.put_blob(name, &digest, message.body.clone());
            created(name, &digest)
        } else {
            wrong_digest()
        };
    }
    let id = storage.begin_upload(name);
    let answer = upload_status(storage, settings, name, &id, 202);
    match settings.chunk_min {
        Some(bytes) => answer.with("OCI-Chunk-Min-Length", bytes),
        None => answer,
    }
}

/// `Location` and `Range` of an upload.
fn upload_status(storage: &Storage, settings: &Settings, name: &str, id: &str, status: u16) -> Answer {
    let Some(upload) = storage.uploads.get(id).filter(|upload| upload.repository == name) else {
        return unknown_upload();
    };
    let base = if settings.absolute_locations { settings.base.as_str() } else { "" };
    let location = format!("{base}/v2/{name}/blobs/uploads/{id}?_state={}", upload.state);
    let last = upload.bytes.len().saturating_sub(1);
    Answer::new(status).with("Location", location).with("Range", format!("0-{last}"))
}

fn patch_upload(
    storage: &mut Storage,
    settings: &Settings,
    name: &str,
    id: &str,
    message: &Message,
) -> Answer {
    let Some(upload) = storage.uploads.get_mut(id).filter(|upload| upload.repository == name) else {
        return unknown_upload();
    };
    let begins = message.head.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
    let stale = message.head.query("_state") != Some(upload.state.to_string());
    if stale || begins.is_some_and(|begins: usize| begins != upload.bytes.len()) {
        return upload_status(storage, settings, name, id, 416);
    }
    upload.bytes.extend_from_slice(&message.body);
    upload.state += 1;
    upload_status(storage, settings, name, id, 202)
}

fn put_upload(storage: &mut Storage, settings: &Settings, name: &str, id: &str, message: &Message) -> Answer {
    if !message.body.is_empty() {
        let answer = patch_upload(storage, settings, name, id, message);
        if answer.status != 202 {
            return answer;
        }
    }
    let Some(upload) = storage.uploads.remove(id).filter(|upload| upload.repository == name) else {
        return unknown_upload();
    };
    match message.head.query("digest") {
        Some(digest) if Digest::sha256(&upload.bytes).to_string() == digest => {
            storage.put_blob(name, &digest, upload.bytes);
            created(name, &digest)
        }
        _ => wrong_digest(),
    }
}

fn created(name: &str, digest: &str) -> Answer {
    let location = format!("/v2/{name}/blobs/{digest}");
    Answer::new(201).with("Location", location).with("Docker-Content-Digest", digest)
}

fn list_tags(storage: &Storage, name: &str, head: &Head) -> Answer {
    let Some(repository) = storage.repositories.get(name) else {
        return Answer::error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let last = head.query("last").unwrap_or_default();
    let most = head.query("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let tags: Vec<&String> = repository.tags.keys().filter(|tag| **tag > last).take(most).collect();
    Answer::json(200, &json!({"name": name, "tags": tags}))
}

fn list_referrers(storage: &Storage, settings: &Settings, name: &str, digest: &str, head: &Head) -> Answer {
    let mut referrers = storage.referrers(name, digest);
    let wanted = head.query("artifactType").filter(|_| settings.filter_referrers);
    if let Some(wanted) = &wanted {
        referrers.retain(|descriptor| descriptor["artifactType"].as_str() == Some(wanted));
    }
    let from: usize = head.query("page").and_then(|page| page.parse().ok()).unwrap_or(0);
    let to = from.saturating_add(settings.referrers_page).min(referrers.len());
    let page = referrers.get(from..to).unwrap_or_default();
    let index =
        json!({"schemaVersion": 2, "mediaType": galley_oci::media_type::OCI_INDEX, "manifests": page});
    let mut answer = Answer::new(200);
    if to < referrers.len() {
        answer = answer.with("Link", format!("</v2/{name}/referrers/{digest}?page={to}>; rel=\"next\""));
    }
    if wanted.is_some() {
        answer = answer.with("OCI-Filters-Applied", "artifactType");
    }
    answer.body(galley_oci::media_type::OCI_INDEX, index.to_string().into_bytes())
}

fn unknown_blob() -> Answer {
    Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry")
}

fn unknown_upload() -> Answer {
    Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

fn wrong_digest() -> Answer {
    Answer::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
}
