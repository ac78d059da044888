//! Manifests and indexes: asking for them, and putting them there.

use galley_oci::{
    Descriptor, Digest, Reference,
    media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};
use serde::Deserialize;
use ureq::http::Method;

use crate::{
    Client, Document, Endpoint, Kind, RegistryError, answer,
    http::Response,
    retry::Failure,
    session::{Ask, Content, Target},
};

/// Docker's first format, which has no configuration and no digests of plain layers.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";
/// What a registry says a manifest is.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

/// What a token must be good for.
pub(crate) fn pull_scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

pub(crate) fn push_scope(repository: &str) -> String {
    format!("repository:{repository}:pull,push")
}

fn accepted() -> [(&'static str, String); 1] {
    [("accept", [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, "*/*;q=0.1"].join(", "))]
}

/// The digest, or else the tag: what a manifest is asked for by.
fn name_of(reference: &Reference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => galley_oci::reference::DEFAULT_TAG.to_owned(),
    }
}

impl Client {
    /// Fetches the manifest or index of `reference`: by its digest when it has one, else by its tag. Mirrors are asked first.
    pub fn manifest(&self, reference: &Reference) -> Result<Document, RegistryError> {
        self.ask_servers(reference, |endpoint| self.manifest_from(endpoint, reference))
    }

    /// Asks what `reference` is, without fetching it where the registry can tell. `None` when it is not there.
    pub fn head(&self, reference: &Reference) -> Result<Option<Descriptor>, RegistryError> {
        match self.ask_servers(reference, |endpoint| self.head_at(endpoint, reference)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a manifest or index there, under its digest or tag. A registry that keeps no list of what refers to a subject is
    /// given that list as an index with a tag.
    pub fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::sha256(bytes);
        if let Some(wanted) = reference.digest.filter(|wanted| *wanted != digest) {
            let reason = format!("the manifest to put there has the digest {digest}");
            return Err(RegistryError::Setting { what: format!("digest {wanted}"), reason });
        }
        let endpoint = self.session().home(reference)?;
        let lists_subjects = self.put_at(&endpoint, reference, media_type, bytes, digest)?;
        if !lists_subjects {
            self.add_to_referrers(reference, media_type, bytes)?;
        }
        Ok(digest)
    }

    /// Removes a manifest by its digest, or a tag.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<(), RegistryError> {
        let endpoint = self.session().home(reference)?;
        let (path, what) = (manifest_path(&endpoint, reference), reference.canonical());
        let scope = format!("repository:{}:delete,pull,push", endpoint.repository);
        let ask = self.ask_about(&endpoint, &scope, Method::DELETE, &path, &what);
        let mut response = self.session().ask(&ask)?;
        match response.status {
            200..=299 => Ok(()),
            405 | 501 => {
                let answer = response.words(self.limits(), &[]);
                let what = "delete manifests".to_owned();
                Err(RegistryError::Unsupported { place: endpoint.registry.clone(), what, answer })
            }
            _ => Err(self.session().refuse(&ask, response)),
        }
    }

    /// Asks one server after the other, mirrors first. The registry's own failure is what counts in the end.
    pub(crate) fn ask_servers<T>(
        &self,
        reference: &Reference,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut last = None;
        for endpoint in self.session().endpoints(reference)? {
            match ask(&endpoint) {
                Ok(found) => return Ok(found),
                Err(RegistryError::Stopped) => return Err(RegistryError::Stopped),
                Err(error) => {
                    self.session().note_failure(&endpoint, &error);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| RegistryError::Setting {
            what: format!("registry {}", reference.registry),
            reason: "there is no server to ask".to_owned(),
        }))
    }

    pub(crate) fn ask_about<'a>(
        &self,
        endpoint: &'a Endpoint,
        scope: &'a str,
        method: Method,
        path: &'a str,
        what: &'a str,
    ) -> Ask<'a> {
        Ask {
            endpoint,
            scope,
            method,
            target: Target::Path(path),
            headers: &[],
            content: Content::None,
            what,
            patience: self.limits().response,
        }
    }

    pub(crate) fn manifest_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Document, RegistryError> {
        let (path, scope) = (manifest_path(endpoint, reference), pull_scope(&endpoint.repository));
        let (what, headers) = (reference.canonical(), accepted());
        let ask = Ask { headers: &headers, ..self.ask_about(endpoint, &scope, Method::GET, &path, &what) };
        self.session().ask_for(&ask, &mut |mut response| {
            if response.status != 200 {
                return Err(self.session().refuse(&ask, response).into());
            }
            let limit = self.limits().manifest_bytes;
            let bytes = response.read(limit, &format!("the manifest of {what}"))?;
            document(&response, bytes, reference.digest).map_err(Failure::from)
        })
    }

    fn head_at(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let (path, scope) = (manifest_path(endpoint, reference), pull_scope(&endpoint.repository));
        let (what, headers) = (reference.canonical(), accepted());
        let ask = Ask { headers: &headers, ..self.ask_about(endpoint, &scope, Method::HEAD, &path, &what) };
        let response = self.session().ask(&ask)?;
        if response.status == 404 {
            return Err(self.session().refuse(&ask, response));
        }
        let told = told_digest(&response).ok().flatten();
        let media_type = response.content_type().filter(|media_type| is_known(media_type));
        if let (200, Some(digest), Some(size), Some(media_type)) =
            (response.status, told, response.content_length(), media_type)
        {
            check_digest(&response, reference.digest.unwrap_or(digest), digest)?;
            return Ok(Descriptor::new(&media_type, digest, size));
        }
        let document = self.manifest_from(endpoint, reference)?;
        Ok(Descriptor::of(&document.media_type, &document.bytes))
    }

    /// Whether the registry keeps the list of what refers to the subject, if there is one, by itself.
    pub(crate) fn put_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<bool, RegistryError> {
        let by_name = if reference.digest.is_none() && reference.tag.is_none() {
            Reference { digest: Some(digest), ..reference.clone() }
        } else {
            reference.clone()
        };
        // A tag is what is asked for, when there is one: a digest alone would leave it where it was.
        let by_name = Reference { digest: by_name.digest.filter(|_| by_name.tag.is_none()), ..by_name };
        let (path, scope) = (manifest_path(endpoint, &by_name), push_scope(&endpoint.repository));
        let (what, headers) = (by_name.canonical(), [("content-type", media_type.to_owned())]);
        let ask = Ask {
            headers: &headers,
            content: Content::Bytes(bytes),
            patience: self.limits().commit,
            ..self.ask_about(endpoint, &scope, Method::PUT, &path, &what)
        };
        let mut response = self.session().ask(&ask)?;
        if !matches!(response.status, 200..=299) {
            return Err(self.session().refuse(&ask, response));
        }
        if let Some(told) = told_digest(&response)? {
            check_digest(&response, digest, told)?;
        }
        let lists_subjects = response.header("oci-subject").is_some();
        response.read_some(self.limits().error_bytes).map_err(|failure| failure.error)?;
        Ok(lists_subjects)
    }
}

pub(crate) fn manifest_path(endpoint: &Endpoint, reference: &Reference) -> String {
    format!("{}/manifests/{}", endpoint.repository, name_of(reference))
}

/// The digest that the registry states. Algorithms that we do not know are as good as nothing.
fn told_digest(response: &Response) -> Result<Option<Digest>, RegistryError> {
    let Some(text) = response.header(DIGEST_HEADER).map(str::trim) else { return Ok(None) };
    if !text.starts_with("sha256:") {
        return Ok(None);
    }
    let digest = text.parse().map_err(|_| response.nonsense(format!("its {DIGEST_HEADER} is no digest")))?;
    Ok(Some(digest))
}

fn check_digest(response: &Response, what: Digest, found: Digest) -> Result<(), RegistryError> {
    if what == found {
        return Ok(());
    }
    Err(RegistryError::WrongDigest { place: response.place(), what, found })
}

fn document(response: &Response, bytes: Vec<u8>, wanted: Option<Digest>) -> Result<Document, RegistryError> {
    let digest = Digest::sha256(&bytes);
    if answer::is_html(&bytes) {
        let reason = "it is a web page: is this a registry, or did a proxy answer?";
        return Err(response.nonsense(reason));
    }
    let told = told_digest(response)?;
    if let Some(wanted) = wanted.or(told) {
        check_digest(response, wanted, digest)?;
    }
    let shape: Shape = serde_json::from_slice(&bytes)
        .map_err(|error| response.nonsense(format!("it is no manifest: {error}")))?;
    let media_type = media_type_of(response, &shape)?;
    Ok(Document { media_type, digest, bytes })
}

/// The document's own word counts more than the registry's; a word that says nothing counts for nothing.
fn media_type_of(response: &Response, shape: &Shape) -> Result<String, RegistryError> {
    let told = response.content_type();
    let old =
        told.as_deref().is_some_and(|told| told.starts_with(SCHEMA_1)) || shape.schema_version == Some(1);
    if old {
        let what = "give this image in a format of this decade: it has a manifest of Docker's schema 1, and must be \
                    pushed again with a newer program"
            .to_owned();
        return Err(RegistryError::Unsupported { place: response.place(), what, answer: None });
    }
    let own = shape.media_type.clone().filter(|own| !own.is_empty());
    let told = told.filter(|told| is_known(told));
    Ok(own.or(told).unwrap_or_else(|| {
        let guess = if shape.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
        guess.to_owned()
    }))
}

/// Whether it says more than that this is JSON, or bytes.
fn is_known(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.")
}
