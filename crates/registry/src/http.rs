//! One request and its answer, redirects followed. Retries and tokens are above this.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use ureq::{
    Agent, AsSendBody, BodyReader, SendBody,
    http::{HeaderMap, Method, Request, Uri, header},
};

use crate::{
    Limits, Options, RegistryError, Secret, answer,
    retry::Failure,
    transport::{Dialler, Unresolved},
    url,
};

/// Connections that are kept, of all hosts together and of one host.
const IDLE_CONNECTIONS: (usize, usize) = (32, 16);
/// How long they are kept. Servers close theirs after a minute or more.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// The longest head of an answer; addresses of storage hosts have some KiB.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Http {
    verifying: Agent,
    trusting: Agent,
    limits: Arc<Limits>,
}

/// What is sent with a request.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { length: u64, reader: &'a mut dyn Read },
}

/// A request.
pub(crate) struct Exchange<'a> {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) payload: Payload<'a>,
    /// Sent to the host of `uri` alone.
    pub(crate) authorization: Option<&'a Secret>,
    /// Whether certificates count, and https must not become http.
    pub(crate) verify: bool,
    /// For the head of the answer.
    pub(crate) patience: Duration,
}

/// The head of an answer, and its body yet to be read.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Where it came from in the end.
    pub(crate) uri: Uri,
    /// `GET https://…`, for messages.
    pub(crate) doing: String,
    body: BodyReader<'static>,
    /// What was sent, should the server repeat it.
    authorization: Option<Secret>,
}

impl Http {
    pub(crate) fn new(options: &Options) -> Self {
        let limits = Arc::new(options.limits.clone());
        let agent = |verify| {
            let dialler = Dialler {
                certificates: options.certificates.clone(),
                proxies: options.proxies.clone(),
                stop: Arc::clone(&options.stop),
                limits: Arc::clone(&limits),
                verify,
            };
            Agent::with_parts(config(&options.user_agent), dialler, Unresolved)
        };
        Self { verifying: agent(true), trusting: agent(false), limits }
    }

    /// Sends a request and follows redirects. Any status is an answer.
    pub(crate) fn exchange(&self, mut exchange: Exchange<'_>) -> Result<Response, Failure> {
        let home = url::origin(&exchange.uri);
        for _ in 0..=self.limits.redirects {
            let at_home = url::origin(&exchange.uri) == home;
            let authorization = exchange.authorization.filter(|_| at_home);
            let response = self.send(&mut exchange, authorization)?;
            match next(&exchange, &response)? {
                Some(target) => exchange.uri = target,
                None => return Ok(response),
            }
        }
        let place = url::place(&exchange.uri);
        let (doing, target) = (format!("{} of it", exchange.method), url::public(&exchange.uri));
        Err(RegistryError::Redirect { place, doing, target, reason: "there are too many redirects" }.into())
    }

    fn send(&self, exchange: &mut Exchange<'_>, authorization: Option<&Secret>) -> Result<Response, Failure> {
        let doing = format!("{} {}", exchange.method, url::public(&exchange.uri));
        let mut request = Request::builder().method(&exchange.method).uri(&exchange.uri);
        for (name, value) in exchange.headers {
            request = request.header(*name, value);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value.reveal());
        }
        let sends = exchange.method == Method::POST
            || exchange.method == Method::PUT
            || exchange.method == Method::PATCH;
        let agent = if exchange.verify { &self.verifying } else { &self.trusting };
        let result = match &mut exchange.payload {
            Payload::Stream { length, reader } => {
                let request = request.header(header::CONTENT_LENGTH, *length);
                run(agent, request.body(SendBody::from_reader(reader)), exchange.patience)
            }
            Payload::Bytes(bytes) => run(agent, request.body(*bytes), exchange.patience),
            Payload::None if sends => run(agent, request.body(&[] as &[u8]), exchange.patience),
            Payload::None => run(agent, request.body(()), exchange.patience),
        };
        let response = result.map_err(|error| failure(&exchange.uri, &doing, error).hiding(authorization))?;
        let (parts, body) = response.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            uri: exchange.uri.clone(),
            doing,
            body: body.into_with_config().limit(u64::MAX).reader(),
            authorization: authorization.cloned(),
        })
    }
}

fn config(user_agent: &str) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(user_agent)
        .max_response_header_size(HEAD_BYTES_MAX)
        .max_idle_connections(IDLE_CONNECTIONS.0)
        .max_idle_connections_per_host(IDLE_CONNECTIONS.1)
        .max_idle_age(IDLE_TIME)
        .build()
}

fn run<B: AsSendBody>(
    agent: &Agent,
    request: Result<Request<B>, ureq::http::Error>,
    patience: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let request = agent.configure_request(request?).timeout_recv_response(Some(patience)).build();
    agent.run(request)
}

/// Where a redirect leads, when the answer is one and may be followed.
fn next(exchange: &Exchange<'_>, response: &Response) -> Result<Option<Uri>, Failure> {
    let reads = exchange.method == Method::GET || exchange.method == Method::HEAD;
    let follows = match response.status {
        301..=303 => reads,
        307 | 308 => true,
        _ => false,
    };
    let location = response.header("location").filter(|_| follows);
    let Some(location) = location else { return Ok(None) };
    let Some(target) = url::join(&response.uri, location) else {
        return Err(response.nonsense("its Location is no address").into());
    };
    let https = |uri: &Uri| uri.scheme_str() == Some("https");
    if exchange.verify && https(&response.uri) && !https(&target) {
        let reason = "http is not as safe as https; name the registry insecure to follow it";
        return Err(redirected(response, &target, reason));
    }
    if !reads && url::origin(&target) != url::origin(&response.uri) {
        return Err(redirected(response, &target, "what is sent to one host is not sent to another"));
    }
    if let Payload::Stream { .. } = exchange.payload {
        return Err(redirected(response, &target, "a blob on its way is not sent twice"));
    }
    Ok(Some(target))
}

fn redirected(response: &Response, target: &Uri, reason: &'static str) -> Failure {
    let (place, target) = (response.place(), url::public(target));
    RegistryError::Redirect { place, doing: response.doing.clone(), target, reason }.into()
}

/// What a failed exchange means.
fn failure(uri: &Uri, doing: &str, error: ureq::Error) -> Failure {
    let place = url::place(uri);
    match error {
        ureq::Error::Io(error) => broken(&place, error).into(),
        ureq::Error::Timeout(_) => {
            let reason = "it did not answer in time".to_owned();
            RegistryError::Unreachable { place, reason, source: None }.into()
        }
        other => {
            // A connection that ends or garbles in the middle may be better the next time.
            let reason = format!("its answer to {doing} is not HTTP: {other}");
            RegistryError::Unreachable { place, reason, source: None }.into()
        }
    }
}

/// What a failure while reading or writing means.
pub(crate) fn broken(place: &str, error: io::Error) -> RegistryError {
    let error = match error.downcast::<RegistryError>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    let error = match error.downcast::<ureq::Error>() {
        Ok(ureq::Error::Io(error)) => return broken(place, error),
        Ok(other) => io::Error::other(other),
        Err(error) => error,
    };
    let reason = format!("the connection broke: {error}");
    RegistryError::Unreachable { place: place.to_owned(), reason, source: Some(Box::new(error)) }
}

impl Response {
    /// The host and port, for messages.
    pub(crate) fn place(&self) -> String {
        url::place(&self.uri)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All lines of a header.
    pub(crate) fn header_lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length").and_then(|value| value.trim().parse().ok())
    }

    /// The media type, in lower case and without parameters.
    pub(crate) fn content_type(&self) -> Option<String> {
        let value = self.header("content-type")?.split(';').next()?;
        Some(value.trim().to_ascii_lowercase()).filter(|value| !value.is_empty())
    }

    /// How long the server wants to be left alone. Only as seconds: a date would depend on two clocks.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs)
    }

    pub(crate) fn nonsense(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Nonsense { place: self.place(), doing: self.doing.clone(), reason: reason.into() }
    }

    /// The body, to be read by someone else.
    pub(crate) fn into_body(self) -> BodyReader<'static> {
        self.body
    }

    /// The whole body, which is called `what` and has at most `limit` bytes.
    pub(crate) fn read(&mut self, limit: u64, what: &str) -> Result<Vec<u8>, Failure> {
        let too_large = || RegistryError::TooLarge { place: self.place(), what: what.to_owned(), limit };
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let too_large = too_large();
        let bytes = self.read_some(limit.saturating_add(1))?;
        if bytes.len() as u64 > limit { Err(too_large.into()) } else { Ok(bytes) }
    }

    /// The first `limit` bytes of the body. When that is all of it, the connection is free for the next request.
    pub(crate) fn read_some(&mut self, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let place = self.place();
        let read = self.body.by_ref().take(limit).read_to_end(&mut bytes);
        read.map_err(|error| broken(&place, error))?;
        Ok(bytes)
    }

    /// The registry's words about an error. What it was sent is taken out of them, and `secrets` as well.
    pub(crate) fn words(&mut self, limits: &Limits, secrets: &[&Secret]) -> Option<String> {
        let body = self.read_some(limits.error_bytes).ok()?;
        self.words_of(&body, secrets)
    }

    /// The words of a body that was read already.
    pub(crate) fn words_of(&self, body: &[u8], secrets: &[&Secret]) -> Option<String> {
        let secrets: Vec<&Secret> = secrets.iter().copied().chain(&self.authorization).collect();
        answer::words(body, &secrets)
    }
}

/// Where `Content-Range: bytes 7-99/100` begins.
pub(crate) fn range_start(response: &Response) -> Option<u64> {
    let range = response.header("content-range")?.trim();
    let range = range.strip_prefix("bytes").map(str::trim_start)?;
    range.split_once('-')?.0.trim().parse().ok()
}
