//! What refers to a manifest: signatures, attestations. Registries that keep no list of it are given one as an index under a
//! tag that is made of the manifest's digest.

use std::collections::BTreeMap;

use galley_oci::{Descriptor, Digest, Index, Reference, media_type::OCI_INDEX};
use serde::Deserialize;
use ureq::http::{Method, Uri};

use crate::{
    Client, Kind, RegistryError,
    http::Response,
    manifests::pull_scope,
    session::{Ask, Target},
    url,
};

/// The part of a manifest that the list is made of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    artifact_type: Option<String>,
    config: Option<Typed>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
}

impl Client {
    /// What refers to the manifest with this digest; of one kind, or of any. An empty index when nothing does.
    pub fn referrers(
        &self,
        repository: &Reference,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Index, RegistryError> {
        let listed = self.listed_referrers(repository, digest, artifact_type)?;
        let mut index = match listed {
            Some(index) => index,
            None => self.tagged_referrers(repository, digest)?,
        };
        if let Some(wanted) = artifact_type {
            index.manifests.retain(|manifest| manifest.artifact_type.as_deref() == Some(wanted));
        }
        Ok(index)
    }

    /// From the registry's own list; `None` when it keeps none.
    fn listed_referrers(
        &self,
        repository: &Reference,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Index>, RegistryError> {
        let endpoint = self.session().home(repository)?;
        let filter = artifact_type.map(|wanted| format!("?artifactType={}", url::encode(wanted)));
        let path = format!("{}/referrers/{digest}{}", endpoint.repository, filter.unwrap_or_default());
        let scope = pull_scope(&endpoint.repository);
        let what = format!("what refers to {digest}");
        let page = |target: Target<'_>| {
            let headers = [("accept", OCI_INDEX.to_owned())];
            let ask = self.ask_about(&endpoint, &scope, Method::GET, "", &what);
            self.referrers_page(&Ask { headers: &headers, target, ..ask })
        };
        let Some((mut index, mut next)) = page(Target::Path(&path))? else { return Ok(None) };
        for _ in 1..self.limits().referrer_pages {
            let Some(address) = next else { break };
            let Some((more, after)) = page(Target::Address(&address))? else { break };
            index.manifests.extend(more.manifests);
            next = after;
        }
        Ok(Some(index))
    }

    fn referrers_page(&self, ask: &Ask<'_>) -> Result<Option<(Index, Option<Uri>)>, RegistryError> {
        self.session().ask_for(ask, &mut |mut response| {
            let is_index = response.content_type().as_deref() == Some(OCI_INDEX);
            match response.status {
                // Some web servers answer everything with a page.
                200 if is_index => {}
                200 | 400 | 404 | 405 | 501 => return Ok(None),
                _ => return Err(self.session().refuse(ask, response).into()),
            }
            let bytes = response.read(self.limits().manifest_bytes, ask.what)?;
            let index = Index::parse(&bytes).map_err(|error| response.nonsense(error.to_string()))?;
            Ok(Some((index, next_page(&response))))
        })
    }

    fn tagged_referrers(&self, repository: &Reference, digest: &Digest) -> Result<Index, RegistryError> {
        let reference = tagged(repository, digest);
        let endpoint = self.session().home(repository)?;
        match self.manifest_from(&endpoint, &reference) {
            Ok(document) => Index::parse(&document.bytes).map_err(|error| RegistryError::Nonsense {
                place: endpoint.registry.clone(),
                doing: format!("a request for {}", reference.canonical()),
                reason: error.to_string(),
            }),
            Err(error) if error.kind() == Kind::NotFound => Ok(Index::new(Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Adds a manifest that was put there to the list of its subject, if it has one.
    pub(crate) fn add_to_referrers(
        &self,
        repository: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let Ok(referrer) = serde_json::from_slice::<Referrer>(bytes) else { return Ok(()) };
        let Some(subject) = &referrer.subject else { return Ok(()) };
        let mut index = self.tagged_referrers(repository, &subject.digest)?;
        let added = describe(&referrer, media_type, bytes);
        if index.manifests.iter().any(|listed| listed.digest == added.digest) {
            return Ok(());
        }
        index.manifests.push(added);
        let bytes = index.to_bytes();
        let reference = tagged(repository, &subject.digest);
        let endpoint = self.session().home(&reference)?;
        self.put_at(&endpoint, &reference, OCI_INDEX, &bytes, Digest::sha256(&bytes))?;
        Ok(())
    }
}

fn describe(referrer: &Referrer, media_type: &str, bytes: &[u8]) -> Descriptor {
    let config = referrer.config.as_ref().and_then(|config| config.media_type.clone());
    let artifact_type = referrer.artifact_type.clone().filter(|kind| !kind.is_empty()).or(config);
    let annotations = referrer.annotations.clone().unwrap_or_default();
    Descriptor { artifact_type, annotations, ..Descriptor::of(media_type, bytes) }
}

/// `sha256-<hex>`: the tag under which the list is kept.
fn tagged(repository: &Reference, digest: &Digest) -> Reference {
    let tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
    Reference { tag: Some(tag), digest: None, ..repository.clone() }
}

/// `Link: </v2/…>; rel="next"`, on the same server.
fn next_page(response: &Response) -> Option<Uri> {
    let link = response.header("link")?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let target = url::join(&response.uri, target).filter(|_| rest.contains("next"))?;
    (url::origin(&target) == url::origin(&response.uri)).then_some(target)
}
