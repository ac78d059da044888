//! Requests to the servers of a registry: with tokens, and again after failures that pass.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ureq::http::{Method, Uri};

use crate::{
    Credential, Endpoint, Kind, Options, RegistryError, Secret,
    auth::{Auth, Site},
    http::{Exchange, Http, Payload, Response},
    retry::{self, Failure, Retry},
    url,
};

/// How often a request is sent with another token before a 401 is believed.
const REFUSALS_MAX: u32 = 3;
/// For this long a mirror that failed is not asked again.
const SICK_TIME: Duration = Duration::from_secs(60);
/// As much of a mirror's patience is spent before the next server is asked.
const MIRROR_ATTEMPTS: u32 = 2;

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Options,
    mirror_limits: crate::Limits,
    http: Arc<Http>,
    auth: Auth,
    /// Insecure servers may speak either https or http: which of them do what.
    bases: Mutex<HashMap<String, String>>,
    sick: Mutex<HashMap<String, Instant>>,
}

/// What is sent with a request; it may have to be sent again.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { length: u64, open: &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>> },
}

/// A request to one server of a registry.
pub(crate) struct Ask<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// What the token must be good for.
    pub(crate) scope: &'a str,
    pub(crate) method: Method,
    /// Below `/v2/`, or an address from an earlier answer.
    pub(crate) target: Target<'a>,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) content: Content<'a>,
    /// What it is about, for messages.
    pub(crate) what: &'a str,
    /// For the head of the answer.
    pub(crate) patience: Duration,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// `library/alpine/manifests/latest`
    Path(&'a str),
    /// In full.
    Address(&'a Uri),
}

impl Session {
    pub(crate) fn new(options: Options) -> Self {
        let http = Arc::new(Http::new(&options));
        let auth = Auth::new(Arc::clone(&http), options.credentials.clone());
        let attempts = options.limits.attempts.min(MIRROR_ATTEMPTS);
        let mirror_limits = crate::Limits { attempts, ..options.limits.clone() };
        let (bases, sick) = Default::default();
        Self { options, mirror_limits, http, auth, bases, sick }
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn retry(&self, endpoint: &Endpoint) -> Retry<'_> {
        self.retry_after(endpoint, 0)
    }

    pub(crate) fn retry_after(&self, endpoint: &Endpoint, failures: u32) -> Retry<'_> {
        let limits = if endpoint.mirror { &self.mirror_limits } else { &self.options.limits };
        Retry::resumed(limits, &self.options.stop, failures)
    }

    /// Sends a request until it is answered. 401, 403, 429 and 5xx are errors; other statuses are the caller's to judge.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut retry = self.retry(ask.endpoint);
        loop {
            match self.ask_once(ask) {
                Ok(response) => return Ok(response),
                Err(failure) => retry.wait(failure)?,
            }
        }
    }

    /// [`Self::ask`] and the whole body of the answer, which `judge` makes something of.
    pub(crate) fn ask_for<T>(
        &self,
        ask: &Ask<'_>,
        judge: &mut dyn FnMut(Response) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut retry = self.retry(ask.endpoint);
        loop {
            match self.ask_once(ask).and_then(&mut *judge) {
                Ok(found) => return Ok(found),
                Err(failure) => retry.wait(failure)?,
            }
        }
    }

    /// Sends a request once, or a few times when it is about tokens.
    pub(crate) fn ask_once(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let (limits, stop) = (&self.options.limits, &self.options.stop);
        let site = self.site(ask.endpoint)?;
        let uri = self.uri(&site, ask.target)?;
        let home: Option<Uri> = site.base.parse().ok();
        let at_home = home.and_then(|home| url::origin(&home)) == url::origin(&uri);
        for refusals in 1.. {
            let header = if at_home { self.auth.header(&site, ask.scope, limits)? } else { None };
            let sent = self.send(ask, &uri, header.as_ref(), site.verify);
            let mut response = sent.map_err(|failure| self.early(ask, &site, failure))?;
            if response.status != 401 || !at_home {
                return self.judge(ask, &site, response);
            }
            let hope = self.auth.refused(&site, ask.scope, &response, header.as_ref())?;
            let words = response.words(limits, &[]);
            if !hope || refusals >= REFUSALS_MAX {
                return Err(self.denied(ask, &site, words).into());
            }
            if header.is_some() {
                // The registry's clock may be behind that of its token server.
                retry::sleep(limits.backoff_first, stop)?;
            }
        }
        Err(self.denied(ask, &site, None).into())
    }

    fn send(
        &self,
        ask: &Ask<'_>,
        uri: &Uri,
        header: Option<&Secret>,
        verify: bool,
    ) -> Result<Response, Failure> {
        let opened = match ask.content {
            Content::Stream { length, open } => {
                let doing = format!("read {} again", ask.what);
                Some((length, open().map_err(|source| RegistryError::Io { doing, source })?))
            }
            _ => None,
        };
        let mut opened = opened;
        let payload = match (&mut opened, ask.content) {
            (Some((length, reader)), _) => Payload::Stream { length: *length, reader },
            (None, Content::Bytes(bytes)) => Payload::Bytes(bytes),
            _ => Payload::None,
        };
        self.http.exchange(Exchange {
            method: ask.method.clone(),
            uri: uri.clone(),
            headers: ask.headers,
            payload,
            authorization: header,
            verify,
            patience: ask.patience,
        })
    }

    /// Takes the statuses out that mean the same for every request.
    fn judge(&self, ask: &Ask<'_>, site: &Site, mut response: Response) -> Result<Response, Failure> {
        let status = response.status;
        if !matches!(status, 401 | 403 | 408 | 425 | 429 | 500..) || status == 501 {
            return Ok(response);
        }
        let pause = response.retry_after();
        let answer = response.words(&self.options.limits, &[]);
        let place = ask.endpoint.registry.clone();
        let error = match status {
            401 | 403 => self.denied(ask, site, answer),
            429 => RegistryError::RateLimited { place, answer, advice: self.rate_advice(site) },
            _ => RegistryError::Status { place, doing: response.doing, status, answer },
        };
        Err(Failure { error, pause })
    }

    /// What it means that a server answered before it had read everything.
    fn early(&self, ask: &Ask<'_>, site: &Site, failure: Failure) -> Failure {
        match failure.error {
            RegistryError::Status { status: 403, answer, .. } => self.denied(ask, site, answer).into(),
            _ => failure,
        }
    }

    fn denied(&self, ask: &Ask<'_>, site: &Site, answer: Option<String>) -> RegistryError {
        let registry = &site.registry;
        let advice = if self.is_anonymous(site) {
            format!("it needs a login or does not exist; log in with `galley login {registry}`")
        } else {
            format!(
                "it does not exist, or whoever is logged in may not do that; \
                 log in as someone who may with `galley login {registry}`"
            )
        };
        RegistryError::Denied { what: ask.what.to_owned(), place: registry.clone(), answer, advice }
    }

    fn rate_advice(&self, site: &Site) -> String {
        if self.is_anonymous(site) {
            format!(
                "try again later, or log in with `galley login {}`, which raises the limit",
                site.registry
            )
        } else {
            "try again later".to_owned()
        }
    }

    fn is_anonymous(&self, site: &Site) -> bool {
        matches!(self.auth.credential(site), Ok(Credential::Anonymous))
    }

    fn site(&self, endpoint: &Endpoint) -> Result<Site, Failure> {
        Ok(Site {
            base: self.base(endpoint)?,
            registry: endpoint.registry.clone(),
            repository: endpoint.repository.clone(),
            verify: !endpoint.insecure,
        })
    }

    fn uri(&self, site: &Site, target: Target<'_>) -> Result<Uri, Failure> {
        let path = match target {
            Target::Address(uri) => return Ok(uri.clone()),
            Target::Path(path) => path,
        };
        let text = format!("{}/v2/{path}", site.base);
        text.parse().map_err(|_| {
            let reason = format!("{text:?} is no address");
            RegistryError::Setting { what: format!("registry {}", site.registry), reason }.into()
        })
    }

    /// Scheme, host and port of a server. An insecure one is asked once which scheme it speaks; no credentials are sent
    /// for that.
    fn base(&self, endpoint: &Endpoint) -> Result<String, Failure> {
        let Some(rest) = endpoint.base.strip_prefix("https://").filter(|_| endpoint.insecure) else {
            return Ok(endpoint.base.clone());
        };
        let known = self.bases.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint.base).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let (https, http) = (endpoint.base.clone(), format!("http://{rest}"));
        // On this machine nobody listens in, and what expects HTTP might wait for the end of a TLS greeting.
        let order = if is_loopback(rest) { [http, https] } else { [https, http] };
        let speaks = match self.probe(&order[0]) {
            Ok(true) => &order[0],
            first => match (first, self.probe(&order[1])) {
                (_, Ok(_)) => &order[1],
                (Err(failure), Err(_)) | (Ok(_), Err(failure)) => return Err(failure),
            },
        };
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(endpoint.base.clone(), speaks.clone());
        Ok(speaks.clone())
    }

    /// Whether `base` is answered in the scheme that it names. Servers of https answer plain http with 400.
    fn probe(&self, base: &str) -> Result<bool, Failure> {
        let uri = format!("{base}/v2/").parse().map_err(|_| RegistryError::Setting {
            what: format!("registry address {base}"),
            reason: "it is no address".to_owned(),
        })?;
        let mut response = self.http.exchange(Exchange {
            method: Method::GET,
            uri,
            headers: &[],
            payload: Payload::None,
            authorization: None,
            verify: false,
            patience: self.options.limits.response,
        })?;
        response.read_some(self.options.limits.error_bytes)?;
        Ok(response.status != 400)
    }

    /// The servers to ask for `reference`, without mirrors that failed a moment ago.
    pub(crate) fn endpoints(
        &self,
        reference: &galley_oci::Reference,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let mut endpoints = self.options.hosts.endpoints(reference)?;
        let sick = self.sick.lock().unwrap_or_else(PoisonError::into_inner);
        let is_sick = |base: &str| sick.get(base).is_some_and(|since| since.elapsed() < SICK_TIME);
        endpoints.retain(|endpoint| !endpoint.mirror || !is_sick(&endpoint.base));
        Ok(endpoints)
    }

    /// The server that is written to.
    pub(crate) fn home(&self, reference: &galley_oci::Reference) -> Result<Endpoint, RegistryError> {
        self.options.hosts.push_endpoint(reference)
    }

    /// Takes note of a mirror's failure.
    pub(crate) fn note_failure(&self, endpoint: &Endpoint, error: &RegistryError) {
        if endpoint.mirror && error.kind() == Kind::Unreachable {
            let mut sick = self.sick.lock().unwrap_or_else(PoisonError::into_inner);
            sick.insert(endpoint.base.clone(), Instant::now());
        }
    }

    /// What a status that nobody expected means.
    pub(crate) fn refuse(&self, ask: &Ask<'_>, mut response: Response) -> RegistryError {
        let answer = response.words(&self.options.limits, &[]);
        let (place, status) = (ask.endpoint.registry.clone(), response.status);
        match status {
            404 => RegistryError::NotFound { what: ask.what.to_owned(), place, answer },
            _ => RegistryError::Status { place, doing: response.doing, status, answer },
        }
    }

    /// Whether `credential` is welcome at `endpoint`, and the refresh token that it is given in exchange.
    pub(crate) fn try_login(
        &self,
        endpoint: &Endpoint,
        credential: &Credential,
    ) -> Result<Option<Secret>, RegistryError> {
        let (limits, stop) = (&self.options.limits, &self.options.stop);
        let site = self.site(endpoint).map_err(|failure| failure.error)?;
        let what = endpoint.registry.clone();
        let ask = Ask {
            endpoint,
            scope: "",
            method: Method::GET,
            target: Target::Path(""),
            headers: &[],
            content: Content::None,
            what: &what,
            patience: limits.response,
        };
        let mut retry = self.retry(endpoint);
        let mut header: Option<Secret> = None;
        let mut refresh = None;
        loop {
            let uri = self.uri(&site, ask.target).map_err(|failure| failure.error)?;
            let response = match self.send(&ask, &uri, header.as_ref(), site.verify) {
                Ok(response) => response,
                Err(failure) => {
                    retry.wait(failure)?;
                    continue;
                }
            };
            match (response.status, &header) {
                (200, _) => return Ok(refresh),
                (401, None) => {
                    (header, refresh) = self.auth.try_login(&site, credential, &response, limits, stop)?;
                }
                (401 | 403, _) => return Err(self.login_refused(&site, response)),
                (429 | 500.., _) => match self.judge(&ask, &site, response) {
                    Ok(response) => return Err(self.refuse(&ask, response)),
                    Err(failure) => retry.wait(failure)?,
                },
                (404, _) => return Err(response.nonsense("it is no registry: there is no /v2/")),
                _ => return Err(self.refuse(&ask, response)),
            }
        }
    }

    fn login_refused(&self, site: &Site, mut response: Response) -> RegistryError {
        let answer = response.words(&self.options.limits, &[]);
        let advice = "name or password are wrong".to_owned();
        let place = site.registry.clone();
        RegistryError::Denied { what: place.clone(), place, answer, advice }
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}
