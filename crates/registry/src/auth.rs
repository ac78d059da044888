//! Tokens: what a registry wants to see, where it is to be had, and how long it is good for.
//!
//! The first request to a registry goes without credentials; its 401 says how to log in. From then on requests carry what was
//! asked for. A registry's token server is told the credentials of that registry and no others, and over plain HTTP only
//! when the registry itself is spoken to in plain HTTP.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use ureq::http::{Method, Uri};

use crate::{
    Credential, Credentials, Limits, RegistryError, Secret, Stop,
    challenge::{self, Challenge},
    http::{Exchange, Http, Payload, Response},
    retry::{Failure, Retry},
    url,
};

/// What we call ourselves to token servers.
const CLIENT_ID: &str = "galley";
/// What the specification says when a token server does not.
const LIFETIME: Duration = Duration::from_secs(60);
/// Tokens are renewed when less than this part of their lifetime is left, or [`MARGIN_MAX`].
const MARGIN_PART: u32 = 4;
const MARGIN_MAX: Duration = Duration::from_secs(30);

/// Who is asked, as far as logging in is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// `https://host:port`, without a slash at the end.
    pub(crate) base: String,
    /// The key of credentials: `docker.io`.
    pub(crate) registry: String,
    /// The key of credentials for parts of a registry.
    pub(crate) repository: String,
    /// Whether certificates count.
    pub(crate) verify: bool,
}

/// How a registry wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Clone, Debug)]
struct Token {
    /// `Bearer …` or `Basic …`.
    header: Secret,
    /// Measured on our own clock from before it was asked for; a server's clock does not matter.
    renew_at: Option<Instant>,
}

/// What is known about one scope at one registry.
#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    /// What the registry wants in addition: repositories may have other names behind it.
    extra: Option<String>,
    /// When the token server was of no help last, and how.
    failed: Option<(Instant, String)>,
}

type Tokens = HashMap<(String, String), Arc<Mutex<Slot>>>;

/// Knows who may do what.
#[derive(Debug)]
pub(crate) struct Auth {
    http: Arc<Http>,
    credentials: Credentials,
    /// By server and repository; without a repository, what the server wanted last.
    schemes: Mutex<HashMap<(String, String), Scheme>>,
    tokens: Mutex<Tokens>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    #[serde(default)]
    expires_in: serde_json::Value,
}

/// A token, and the refresh token that came with it.
struct Granted {
    token: Token,
    refresh: Option<Secret>,
}

/// Everything a token server must be told.
struct Grant<'a> {
    site: &'a Site,
    credential: &'a Credential,
    realm: Uri,
    service: Option<&'a str>,
    scope: &'a str,
    /// Whether a refresh token is wanted as well.
    offline: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Auth {
    pub(crate) fn new(http: Arc<Http>, credentials: Credentials) -> Self {
        let (schemes, tokens) = Default::default();
        Self { http, credentials, schemes, tokens }
    }

    /// The `Authorization` for a request; none as long as the registry has not asked for it. A token server that fails is
    /// asked again with the request: patience with both is one.
    pub(crate) fn header(
        &self,
        site: &Site,
        scope: &str,
        limits: &Limits,
    ) -> Result<Option<Secret>, Failure> {
        let Some(scheme) = self.scheme(site) else { return Ok(None) };
        let slot = self.slot(site, scope);
        // One thread asks for a token and the others wait for it; for its failure too, or many would wait one by one.
        let waits = Instant::now();
        let mut slot = lock(&slot);
        if let Some((_, reason)) = slot.failed.as_ref().filter(|(when, _)| *when >= waits) {
            let (place, reason) = (site.registry.clone(), reason.clone());
            return Err(RegistryError::Unreachable { place, reason, source: None }.into());
        }
        let fresh =
            slot.token.as_ref().filter(|token| token.renew_at.is_none_or(|time| Instant::now() < time));
        if let Some(token) = fresh {
            return Ok(Some(token.header.clone()));
        }
        let credential = self.credential(site)?;
        let token = match scheme {
            Scheme::Basic => basic(&credential).map(|header| Token { header, renew_at: None }),
            Scheme::Bearer { realm, service } => {
                let realm = realm_of(site, &realm)?;
                let service = service.as_deref();
                let scope = match &slot.extra {
                    Some(extra) => format!("{scope} {extra}"),
                    None => scope.to_owned(),
                };
                let scope = scope.as_str();
                let grant = Grant { site, credential: &credential, realm, service, scope, offline: false };
                let granted = self.grant_once(&grant, limits);
                if let Err(Failure { error, .. }) = &granted
                    && error.is_passing()
                {
                    slot.failed = Some((Instant::now(), format!("its token server failed: {error}")));
                }
                Some(granted?.token)
            }
        };
        slot.token.clone_from(&token);
        Ok(token.map(|token| token.header))
    }

    /// Takes note of a 401: how the registry wants to be told, and that `refused` is of no use any more. Says whether
    /// there is anything else to try.
    pub(crate) fn refused(
        &self,
        site: &Site,
        scope: &str,
        response: &Response,
        refused: Option<&Secret>,
    ) -> Result<bool, RegistryError> {
        let lines = response.header_lines("www-authenticate");
        let challenges: Vec<Challenge> = lines.flat_map(challenge::parse).collect();
        let Some((scheme, challenge)) = self.choose(site, &challenges)? else { return Ok(false) };
        let changed = self.scheme(site).as_ref() != Some(&scheme);
        for repository in [site.repository.clone(), String::new()] {
            lock(&self.schemes).insert((site.base.clone(), repository), scheme.clone());
        }
        let slot = self.slot(site, scope);
        let mut slot = lock(&slot);
        if slot.token.as_ref().map(|token| &token.header) == refused || changed {
            slot.token = None;
        }
        let extra = challenge.get("scope").filter(|wanted| !covers(scope, wanted));
        let widened = extra.is_some() && slot.extra.as_deref() != extra;
        slot.extra = extra.map(ToOwned::to_owned).or(slot.extra.take());
        let insufficient = challenge.get("error") == Some("insufficient_scope") && !widened;
        // A name and password are not better the second time.
        let hopeless = refused.is_some() && (insufficient || scheme == Scheme::Basic);
        Ok(!hopeless || changed)
    }

    fn choose<'a>(
        &self,
        site: &Site,
        challenges: &'a [Challenge],
    ) -> Result<Option<(Scheme, &'a Challenge)>, RegistryError> {
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(challenge) = find("bearer")
            && let Some(realm) = challenge.get("realm")
        {
            let service = challenge.get("service").map(ToOwned::to_owned);
            return Ok(Some((Scheme::Bearer { realm: realm.to_owned(), service }, challenge)));
        }
        let Some(challenge) = find("basic") else { return Ok(None) };
        let usable = matches!(self.credential(site)?, Credential::Basic { .. });
        Ok(usable.then_some((Scheme::Basic, challenge)))
    }

    fn slot(&self, site: &Site, scope: &str) -> Arc<Mutex<Slot>> {
        Arc::clone(lock(&self.tokens).entry((site.base.clone(), scope.to_owned())).or_default())
    }

    /// How a registry wants to be told, as far as it has said so. Some have a token server for each repository.
    fn scheme(&self, site: &Site) -> Option<Scheme> {
        let schemes = lock(&self.schemes);
        let of = |repository: &str| schemes.get(&(site.base.clone(), repository.to_owned())).cloned();
        of(&site.repository).or_else(|| of(""))
    }

    pub(crate) fn credential(&self, site: &Site) -> Result<Credential, RegistryError> {
        self.credentials.get(&site.registry, &site.repository)
    }

    fn grant(&self, grant: &Grant<'_>, limits: &Limits, stop: &Stop) -> Result<Granted, RegistryError> {
        let mut retry = Retry::new(limits, stop);
        loop {
            match self.grant_once(grant, limits) {
                Ok(granted) => return Ok(granted),
                Err(failure) => retry.wait(failure)?,
            }
        }
    }

    fn grant_once(&self, grant: &Grant<'_>, limits: &Limits) -> Result<Granted, Failure> {
        let asked = Instant::now();
        let mut response = match grant.credential {
            Credential::IdentityToken(token) => self.post(grant, token, limits)?,
            _ => self.get(grant, limits)?,
        };
        if response.status != 200 {
            return Err(refusal(grant, response, limits));
        }
        let body = response.read(limits.answer_bytes, "a token")?;
        // The parser's message might quote a token.
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| response.nonsense("it is no JSON with a token"))?;
        let token = [&answer.token, &answer.access_token];
        let token = token.into_iter().flatten().find(|token| !token.reveal().is_empty());
        let token = token.ok_or_else(|| response.nonsense("there is no token in it"))?;
        if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(response.nonsense("its token has characters that no token has").into());
        }
        let lifetime = answer.expires_in.as_f64().filter(|seconds| *seconds >= 1.0 && *seconds < 1e9);
        let lifetime = lifetime.map_or(LIFETIME, Duration::from_secs_f64);
        let renew_at = asked + (lifetime - (lifetime / MARGIN_PART).min(MARGIN_MAX));
        let header = Secret::new(format!("Bearer {}", token.reveal()));
        Ok(Granted { token: Token { header, renew_at: Some(renew_at) }, refresh: answer.refresh_token })
    }

    fn get(&self, grant: &Grant<'_>, limits: &Limits) -> Result<Response, Failure> {
        let mut parameters = Vec::new();
        parameters.extend(grant.service.map(|service| format!("service={}", url::encode(service))));
        // One parameter for each scope, as docker does.
        let scopes = grant.scope.split(' ').filter(|scope| !scope.is_empty());
        parameters.extend(scopes.map(|scope| format!("scope={}", url::encode(scope))));
        if let Credential::Basic { user, .. } = grant.credential {
            parameters.push(format!("account={}", url::encode(user)));
        }
        if grant.offline {
            parameters.push(format!("offline_token=true&client_id={CLIENT_ID}"));
        }
        let uri = if parameters.is_empty() {
            grant.realm.to_string()
        } else {
            url::with_query(&grant.realm, &parameters.join("&"))
        };
        let header = basic(grant.credential);
        self.http.exchange(Exchange {
            method: Method::GET,
            uri: uri.parse().map_err(|_| bad_realm(grant.site, "is no address"))?,
            headers: &[],
            payload: Payload::None,
            authorization: header.as_ref(),
            verify: grant.site.verify,
            patience: limits.response,
        })
    }

    fn post(&self, grant: &Grant<'_>, token: &Secret, limits: &Limits) -> Result<Response, Failure> {
        let mut fields = vec![
            "grant_type=refresh_token".to_owned(),
            format!("client_id={CLIENT_ID}"),
            format!("refresh_token={}", url::encode(token.reveal())),
        ];
        fields.extend(grant.service.map(|service| format!("service={}", url::encode(service))));
        if !grant.scope.is_empty() {
            fields.push(format!("scope={}", url::encode(grant.scope)));
        }
        let body = fields.join("&");
        self.http.exchange(Exchange {
            method: Method::POST,
            uri: grant.realm.clone(),
            headers: &[("content-type", "application/x-www-form-urlencoded".to_owned())],
            payload: Payload::Bytes(body.as_bytes()),
            authorization: None,
            verify: grant.site.verify,
            patience: limits.response,
        })
    }

    /// Logs in with `credential`, whatever is kept for the registry. `challenge` is a 401 of it.
    pub(crate) fn try_login(
        &self,
        site: &Site,
        credential: &Credential,
        challenge: &Response,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<(Option<Secret>, Option<Secret>), RegistryError> {
        let lines = challenge.header_lines("www-authenticate");
        let challenges: Vec<Challenge> = lines.flat_map(challenge::parse).collect();
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some((bearer, realm)) = find("bearer").and_then(|bearer| Some((bearer, bearer.get("realm")?)))
        {
            let realm = realm_of(site, realm)?;
            let grant =
                Grant { site, credential, realm, service: bearer.get("service"), scope: "", offline: true };
            let granted = self.grant(&grant, limits, stop)?;
            return Ok((Some(granted.token.header), granted.refresh));
        }
        if find("basic").is_some() {
            return Ok((basic(credential), None));
        }
        let what = "say how to log in: its answer has no challenge that is known (Basic, Bearer)".to_owned();
        Err(RegistryError::Unsupported { place: challenge.place(), what, answer: None })
    }
}

/// Whether everything that `wanted` names is named by `scope` too; which actions are meant is ours to know.
fn covers(scope: &str, wanted: &str) -> bool {
    let resource = |scope: &str| scope.rsplit_once(':').map(|(resource, _)| resource.to_owned());
    let ours: Vec<_> = scope.split(' ').map(resource).collect();
    wanted.split(' ').filter(|wanted| !wanted.is_empty()).all(|wanted| ours.contains(&resource(wanted)))
}

fn basic(credential: &Credential) -> Option<Secret> {
    let Credential::Basic { user, password } = credential else { return None };
    let encoded = STANDARD.encode(format!("{user}:{}", password.reveal()));
    Some(Secret::new(format!("Basic {encoded}")))
}

fn bad_realm(site: &Site, why: &str) -> RegistryError {
    RegistryError::Nonsense {
        place: site.registry.clone(),
        doing: "a request without credentials".to_owned(),
        reason: format!("the address of its token server {why}"),
    }
}

fn realm_of(site: &Site, realm: &str) -> Result<Uri, RegistryError> {
    let home: Uri = site.base.parse().map_err(|_| bad_realm(site, "cannot be told"))?;
    let absolute = realm.starts_with("https://") || realm.starts_with("http://");
    let realm = url::join(&home, realm).filter(|_| absolute);
    let realm = realm.ok_or_else(|| bad_realm(site, "is no address"))?;
    let downgrade = home.scheme_str() == Some("https") && realm.scheme_str() != Some("https");
    if downgrade {
        return Err(bad_realm(
            site,
            "is plain http, and the registry's is https: credentials are not sent there",
        ));
    }
    Ok(realm)
}

/// What a token server's refusal means.
fn refusal(grant: &Grant<'_>, mut response: Response, limits: &Limits) -> Failure {
    let header = basic(grant.credential);
    let mut secrets: Vec<&Secret> = header.iter().collect();
    match grant.credential {
        Credential::Basic { password, .. } => secrets.push(password),
        Credential::IdentityToken(token) => secrets.push(token),
        Credential::Anonymous => {}
    }
    let pause = response.retry_after();
    let answer = response.words(limits, &secrets);
    let registry = &grant.site.registry;
    let place = response.place();
    let error = match response.status {
        400 | 401 | 403 => RegistryError::Denied {
            what: if grant.scope.is_empty() { registry.clone() } else { grant.site.repository.clone() },
            place,
            answer,
            advice: match grant.credential {
                Credential::Anonymous => format!("log in with `galley login {registry}`"),
                _ => format!(
                    "name or password are wrong or out of date; log in again with `galley login {registry}`"
                ),
            },
        },
        429 => RegistryError::RateLimited { place, answer, advice: "try again later".to_owned() },
        status => RegistryError::Status { place, doing: response.doing, status, answer },
    };
    Failure { error, pause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(base: &str) -> Site {
        let (registry, repository) = ("r".to_owned(), "a".to_owned());
        Site { base: base.to_owned(), registry, repository, verify: true }
    }

    #[test]
    fn where_credentials_are_sent() {
        for (base, realm, allowed) in [
            ("https://r", "https://auth.elsewhere/token?x=1", true),
            ("https://r", "http://r/token", false),
            ("https://r", "/token", false),
            ("https://r", "ftp://r/token", false),
            ("https://r", "https://user:word@r/token", false),
            ("http://r", "http://elsewhere/token", true),
            ("http://r", "https://elsewhere/token", true),
        ] {
            assert_eq!(realm_of(&site(base), realm).is_ok(), allowed, "{realm} of {base}");
        }
    }

    #[test]
    fn scopes_of_others_are_asked_for_as_well() {
        let ours = "repository:a/b:pull,push repository:c:pull";
        assert!(covers(ours, "repository:a/b:pull"));
        assert!(covers(ours, "repository:c:pull repository:a/b:pull"));
        assert!(covers(ours, ""));
        assert!(!covers(ours, "repository:proxy/a/b:pull"));
        assert!(!covers("", "registry:catalog:*"));
    }
}
