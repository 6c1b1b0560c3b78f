//! One HTTP request: checked, sent, its redirects followed by our own rules, recorded, and its failures named.

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::allow::{Allowlist, Refused};
use crate::error::Error;
use crate::fetcher::FetchLimits;
use crate::headers::{portable, retry_after, text};
use crate::ledger::{Ledger, Ticket};
use crate::resolver::{CheckedResolver, Lookup, LookupFailed};
use crate::retry::{Retry, is_transient_status};
use crate::text::{display_url, excerpt};

const USER_AGENT: &str = concat!("lakehost/", env!("CARGO_PKG_VERSION"));
/// What is shown of the body of a refusal, and how long it may take to get there.
const EXCERPT_CHARS: usize = 200;
const EXCERPT_BYTES: usize = 1024;
const EXCERPT_WAIT: Duration = Duration::from_secs(5);

/// A request as its caller meant it. Tries and redirects are made from it.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub url: Url,
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

impl Outgoing {
    /// Whether sending it twice does no more than sending it once.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    pub(crate) fn shown(&self) -> String {
        display_url(&self.url)
    }
}

/// An answer whose headers are in, and the open entry of its request.
pub(crate) struct Answer {
    pub response: reqwest::Response,
    pub ticket: Ticket,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
}

/// Sends requests under one allow-list. Connections are made on first use: reading the trusted certificates takes longer than all
/// the rest of a start, and a run over plain HTTP or files never needs them.
pub(crate) struct HttpClient {
    allow: Arc<Allowlist>,
    limits: FetchLimits,
    ledger: Arc<Ledger>,
    lookup: Lookup,
    plain: OnceLock<Result<reqwest::Client, Error>>,
    secure: OnceLock<Result<reqwest::Client, Error>>,
}

impl HttpClient {
    pub(crate) fn new(allow: Arc<Allowlist>, limits: FetchLimits, ledger: Arc<Ledger>, lookup: Lookup) -> Self {
        Self { allow, limits, ledger, lookup, plain: OnceLock::new(), secure: OnceLock::new() }
    }

    pub(crate) fn limits(&self) -> &FetchLimits {
        &self.limits
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let secure = url.scheme() == "https";
        let cell = if secure { &self.secure } else { &self.plain };
        cell.get_or_init(|| self.build(secure)).clone()
    }

    fn build(&self, secure: bool) -> Result<reqwest::Client, Error> {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            // The environment does not decide where requests go, and the client follows nothing by itself.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .connect_timeout(self.limits.connect_timeout)
            .read_timeout(self.limits.read_timeout)
            .tcp_nodelay(true)
            .tls_built_in_root_certs(secure)
            .dns_resolver(Arc::new(CheckedResolver::new(Arc::clone(&self.allow), Arc::clone(&self.lookup))))
            .build()
            .map_err(|error| {
                let detail = error.without_url().to_string();
                Error::Io { doing: "set up the HTTP client".to_owned(), kind: io::ErrorKind::Other, detail }
            })
    }

    /// Sends until there is an answer that its caller takes: a success, or one of `also`. Transient failures are tried again.
    pub(crate) async fn send(
        &self,
        outgoing: &Outgoing,
        host_headers: &HeaderMap,
        also: &[StatusCode],
        retry: &mut Retry,
    ) -> Result<Answer, Error> {
        loop {
            let (error, wait) = match self.send_once(outgoing, host_headers).await {
                Ok(answer) if answer.status().is_success() || also.contains(&answer.status()) => return Ok(answer),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let wait = retry_after(answer.headers());
                    let error = status_error(outgoing, answer, wait).await;
                    // A request that changes something is repeated only when it was turned away at the door.
                    let again = if outgoing.is_repeatable() { is_transient_status(status) } else { status == 429 };
                    if !again {
                        return Err(error);
                    }
                    (error, wait.filter(|_| matches!(status, 429 | 503)))
                }
                Err(error) => {
                    let again = match &error {
                        Error::Resolve { .. } => true,
                        Error::Connect { .. } | Error::Timeout { .. } => outgoing.is_repeatable(),
                        _ => false,
                    };
                    if !again {
                        return Err(error);
                    }
                    (error, None)
                }
            };
            retry.pause(error, wait).await?;
        }
    }

    /// One request and its redirects. Every hop is checked as if it had been asked for.
    async fn send_once(&self, outgoing: &Outgoing, host_headers: &HeaderMap) -> Result<Answer, Error> {
        let mut hop = outgoing.clone();
        for _ in 0..=self.limits.redirects {
            let answer = self.exchange(&hop, host_headers).await?;
            match redirect_target(&hop, &answer)? {
                None => return Ok(answer),
                Some(target) => {
                    if hop.url.scheme() == "https" && target.scheme() == "http" {
                        let reason = "a redirect from https to http would give up its protection".to_owned();
                        self.ledger.refused(hop.method.as_str(), &target, &reason);
                        return Err(Refused { url: display_url(&target), reason, grant_line: None }.into());
                    }
                    hop = follow(hop, target, answer.status());
                }
            }
        }
        Err(Error::TooManyRedirects { url: outgoing.shown(), limit: self.limits.redirects })
    }

    /// One request, one answer.
    async fn exchange(&self, hop: &Outgoing, host_headers: &HeaderMap) -> Result<Answer, Error> {
        if !matches!(hop.url.scheme(), "http" | "https") {
            let reason = format!("a redirect may not lead to {}:", excerpt(hop.url.scheme().as_bytes(), 20));
            self.ledger.refused(hop.method.as_str(), &hop.url, &reason);
            return Err(Refused { url: hop.shown(), reason, grant_line: None }.into());
        }
        self.allow.check(&hop.url).inspect_err(|refused| {
            self.ledger.refused(hop.method.as_str(), &hop.url, &refused.reason);
        })?;
        let client = self.client(&hop.url)?;
        let mut request = client.request(hop.method.clone(), hop.url.clone()).headers(hop.headers.clone());
        request =
            request.header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")).headers(host_headers.clone());
        if let Some(body) = &hop.body {
            request = request.body(body.clone());
        }
        let sent_bytes = hop.body.as_ref().map_or(0, |body| body.len() as u64);
        let mut ticket = self.ledger.begin(hop.method.as_str(), &hop.url, sent_bytes);
        match request.send().await {
            Ok(response) => {
                ticket.answered(response.status().as_u16(), response.remote_addr());
                Ok(Answer { response, ticket })
            }
            Err(error) => {
                let error = named(error, &hop.url, &self.limits);
                match &error {
                    Error::Refused(refused) => ticket.refused(&refused.reason),
                    other => ticket.failed(&other.to_string()),
                }
                Err(error)
            }
        }
    }
}

/// Where an answer redirects to, if it does.
fn redirect_target(hop: &Outgoing, answer: &Answer) -> Result<Option<Url>, Error> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = text(answer.headers(), &header::LOCATION) else { return Ok(None) };
    let target = hop.url.join(location).map_err(|error| Error::BadResponse {
        url: hop.shown(),
        detail: format!("it redirects to something that is not a URL ({error})"),
    })?;
    Ok(Some(target))
}

/// The request of the next hop: without what was meant for the first origin only.
fn follow(hop: Outgoing, target: Url, status: StatusCode) -> Outgoing {
    let same_origin = hop.url.origin() == target.origin();
    let mut next = Outgoing { url: target, ..hop };
    next.url.set_fragment(None);
    if !same_origin {
        next.headers = portable(&next.headers);
    }
    let becomes_get = next.method != Method::HEAD
        && (status == StatusCode::SEE_OTHER || (next.method == Method::POST && status.as_u16() < 303));
    if becomes_get {
        next.method = Method::GET;
        next.body = None;
        next.headers.remove(header::CONTENT_TYPE);
    }
    next
}

/// The error that an answer other than success stands for.
async fn status_error(outgoing: &Outgoing, answer: Answer, wait: Option<Duration>) -> Error {
    let status = answer.status().as_u16();
    if let Some(wait) = wait
        && matches!(status, 429 | 503)
    {
        let after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        return Error::RateLimited { url: outgoing.shown(), status, after_ms };
    }
    let Answer { response, mut ticket } = answer;
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    let read = async {
        while body.len() < EXCERPT_BYTES
            && let Some(Ok(chunk)) = stream.next().await
        {
            ticket.received(chunk.len() as u64);
            body.extend(chunk.iter().take(EXCERPT_BYTES));
        }
    };
    // Without its body the status still says enough.
    let _ = tokio::time::timeout(EXCERPT_WAIT, read).await;
    Error::Status { status, url: outgoing.shown(), body_excerpt: excerpt(&body, EXCERPT_CHARS) }
}

/// An error and all that it was caused by.
fn links<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    // The source of an I/O error is the cause of what it wraps; what it wraps is a link too.
    fn next<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        match link.downcast_ref::<io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => link.source(),
        }
    }
    let mut links = vec![error];
    while let Some(link) = links.last().and_then(|last| next(*last)) {
        links.push(link);
    }
    links
}

/// This crate's error for one of the client's, found by what is at the bottom of it.
pub(crate) fn named(error: reqwest::Error, url: &Url, limits: &FetchLimits) -> Error {
    let shown = display_url(url);
    // The client shows whole URLs, with whatever secret is in their query.
    let error = error.without_url();
    let chain = links(&error);
    if let Some(refused) = chain.iter().find_map(|error| error.downcast_ref::<Refused>()) {
        return Refused { url: shown, ..refused.clone() }.into();
    }
    if let Some(failed) = chain.iter().find_map(|error| error.downcast_ref::<LookupFailed>()) {
        let host = excerpt(url.host_str().unwrap_or_default().as_bytes(), 253);
        return Error::Resolve { host, detail: failed.detail.clone() };
    }
    // The deepest link says what happened; those above say where in the client.
    let detail = chain.last().map(|error| excerpt(error.to_string().as_bytes(), EXCERPT_CHARS)).unwrap_or_default();
    let is_tls = |error: &&(dyn StdError + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
            || error.to_string().contains("tls")
    };
    if error.is_timeout() {
        let (waiting_for, after) = if error.is_connect() {
            ("no connection", limits.connect_timeout)
        } else {
            ("no bytes came", limits.read_timeout)
        };
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        return Error::Timeout { url: shown, waiting_for: waiting_for.to_owned(), after_ms };
    }
    if error.is_connect() && url.scheme() == "https" && chain.iter().any(is_tls) {
        return Error::Tls { url: shown, detail };
    }
    Error::Connect { url: shown, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(method: Method) -> Outgoing {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("k"));
        headers.insert("accept", HeaderValue::from_static("text/csv"));
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        Outgoing {
            url: Url::parse("https://a.example/x").unwrap(),
            method,
            headers,
            body: Some(Bytes::from_static(b"q")),
        }
    }

    #[test]
    fn hops_leave_behind_what_was_not_meant_for_them() {
        let same = Url::parse("https://a.example/y").unwrap();
        let other = Url::parse("https://b.example/y").unwrap();
        let next = follow(outgoing(Method::GET), same.clone(), StatusCode::FOUND);
        assert!(next.headers.contains_key("x-api-key"));
        for target in ["https://b.example/y", "https://a.example:8443/y", "http://a.example/y"] {
            let next = follow(outgoing(Method::GET), Url::parse(target).unwrap(), StatusCode::FOUND);
            assert!(!next.headers.contains_key("x-api-key"), "{target}");
            assert!(next.headers.contains_key("accept"), "{target}");
        }
        for (status, method, kept) in [
            (StatusCode::FOUND, Method::GET, false),
            (StatusCode::MOVED_PERMANENTLY, Method::GET, false),
            (StatusCode::SEE_OTHER, Method::GET, false),
            (StatusCode::TEMPORARY_REDIRECT, Method::POST, true),
            (StatusCode::PERMANENT_REDIRECT, Method::POST, true),
        ] {
            let next = follow(outgoing(Method::POST), other.clone(), status);
            assert_eq!((&next.method, next.body.is_some()), (&method, kept), "{status}");
        }
        assert_eq!(follow(outgoing(Method::HEAD), other, StatusCode::SEE_OTHER).method, Method::HEAD);
    }
}
