//! One request, one answer: tokens are renewed, reads are repeated, nothing else is.
//!
//! What a caller must know of a failed request is whether it can have arrived: [`Failure`] says so.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lakehost_pipeline::Secret;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use super::RestOptions;
use super::auth::Tokens;
use crate::error::{BoxError, Error, Result};

/// A table's metadata is a few MB at most.
const BODY_LIMIT: usize = 64 << 20;
/// A request that may be repeated is asked so often.
const TRIES: u32 = 4;
/// So long we wait because a catalog asks for it. One that asks for more gets its request back with the error.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub method: Method,
    /// Relative to the base.
    pub path: &'a str,
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Bytes>,
}

impl<'a> Ask<'a> {
    /// A request without a body.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: Vec::new(), headers: Vec::new(), body: None }
    }

    /// The request, for a message.
    fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// So long the catalog asks to be left alone.
    pub retry_after: Option<Duration>,
    /// `POST v1/namespaces/raw/tables/t`
    pub asked: String,
}

/// Why nothing came back.
#[derive(Debug)]
pub enum Failure {
    /// The request cannot have arrived.
    NotSent(Error),
    /// It may have.
    Lost(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(error) | Failure::Lost(error) => error,
        }
    }
}

/// A client of one catalog.
#[derive(Debug)]
pub struct Http {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    tokens: Tokens,
    pub shown: String,
}

impl Http {
    /// Requests go to paths under `base`.
    pub fn new(options: &RestOptions) -> Result<Self> {
        let mut base = options.uri.clone();
        let wrong =
            |detail: String| Error::Setting { what: "the catalog's URL".to_owned(), purpose: "a catalog", detail };
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("it is not of the form https://HOST/PATH".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("a user in a URL ends up in logs; use a token or a credential".to_owned()));
        }
        base.set_query(None);
        base.set_fragment(None);
        let path = format!("{}/", base.path().trim_end_matches('/').trim_end_matches("/v1"));
        base.set_path(&path);
        let shown = base.as_str().trim_end_matches('/').to_owned();
        let mut map = HeaderMap::new();
        for (name, value) in &options.headers {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.expose());
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(wrong("a header has characters that HTTP does not allow".to_owned()));
            };
            value.set_sensitive(true);
            map.append(name, value);
        }
        let builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(Duration::from_secs(10))
            // A repeated POST is for the caller to decide, and so is a redirected one.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("lakehost/", env!("CARGO_PKG_VERSION")));
        let builder = options.tls.apply(builder).map_err(|error| Error::Setting {
            what: "a certificate of the catalog".to_owned(),
            purpose: "a file in PEM",
            detail: error.to_string(),
        })?;
        let client = builder.build().map_err(|error| Error::Internal(format!("no HTTP client: {error}")))?;
        let own = base.join("v1/oauth/tokens").map_err(|error| wrong(error.to_string()))?;
        let tokens = Tokens::new(options.auth.clone(), own, &shown);
        Ok(Self { client, base, headers: map, tokens, shown })
    }

    /// Where tokens come from that the options name no other place for.
    pub fn token_endpoint(&self) -> Url {
        self.tokens.endpoint().clone()
    }

    /// An error about this catalog.
    pub fn error(&self, action: &'static str, source: impl Into<BoxError>) -> Error {
        Error::Catalog { action, catalog: self.shown.clone(), source: source.into() }
    }

    /// Asks until there is an answer that is not a passing trouble. For requests that change nothing.
    pub async fn read(&self, ask: &Ask<'_>) -> Result<Answer> {
        let mut number = 0;
        loop {
            number += 1;
            let answer = self.send(ask).await;
            let passing = match &answer {
                Ok(answer) => matches!(answer.status, 429 | 500 | 502 | 503 | 504),
                Err(_) => true,
            };
            let asked_for = answer.as_ref().ok().and_then(|answer| answer.retry_after);
            if !passing || number >= TRIES || !pause(number, asked_for).await {
                return Ok(answer?);
            }
        }
    }

    /// Sends a request once; again only when a token was refused or there were too many requests, which says that nothing was done.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let mut number = 0;
        loop {
            number += 1;
            let answer = self.authorised(ask).await?;
            // After a 503 the caller looks first, once the time that was asked for is over.
            let again = answer.status == 429 && ask.method != Method::GET && number < TRIES;
            let asked_for = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503));
            let waits = again || (answer.status == 503 && asked_for.is_some() && ask.method != Method::GET);
            if !waits || !pause(number, asked_for).await || !again {
                return Ok(answer);
            }
        }
    }

    async fn authorised(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let token = self.tokens.get(&self.client, None).await.map_err(Failure::NotSent)?;
        let answer = self.once(ask, token.as_ref()).await?;
        if !matches!(answer.status, 401 | 419) {
            return Ok(answer);
        }
        let Some(refused) = token else { return Ok(answer) };
        match self.tokens.get(&self.client, Some(&refused)).await {
            Ok(Some(renewed)) if renewed != refused => self.once(ask, Some(&renewed)).await,
            Ok(_) => Ok(answer),
            Err(error) => Err(Failure::NotSent(error)),
        }
    }

    async fn once(&self, ask: &Ask<'_>, token: Option<&Secret>) -> Result<Answer, Failure> {
        let action = if ask.method == Method::GET { "read" } else { "write to" };
        let mut url = self.base.join(ask.path).map_err(|error| Failure::NotSent(self.error(action, error)))?;
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut request = self.client.request(ask.method.clone(), url).headers(self.headers.clone());
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = &ask.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let never = error.is_connect() || error.is_builder();
                let error = self.error(action, error.without_url());
                return Err(if never { Failure::NotSent(error) } else { Failure::Lost(error) });
            }
        };
        let status = response.status();
        let retry_after = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_LIMIT => body.extend_from_slice(&chunk),
                Ok(Some(_)) => {
                    let error = std::io::Error::other(format!("{} is answered with more than 64 MiB", ask.shown()));
                    return Err(Failure::Lost(self.error(action, error)));
                }
                Ok(None) => break,
                // A refusal needs no body; anything else does.
                Err(_) if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => break,
                Err(error) => return Err(Failure::Lost(self.error(action, error.without_url()))),
            }
        }
        Ok(Answer { status: status.as_u16(), body: body.freeze(), retry_after, asked: ask.shown() })
    }
}

/// Waits before the next try: as long as was asked for, else longer and longer. `false`: that would be too long.
async fn pause(number: u32, asked_for: Option<Duration>) -> bool {
    let limit_ms = 100_u64 << number;
    let jitter = Duration::from_millis(limit_ms / 2 + rand::random_range(0..limit_ms));
    let wait = asked_for.map_or(jitter, |asked_for| asked_for + jitter / 4);
    if wait > PATIENCE {
        return false;
    }
    tokio::time::sleep(wait).await;
    true
}
