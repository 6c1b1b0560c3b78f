//! The front door: what a run asks for, and what it gets.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::runtime::Handle;
use url::Url;

use crate::allow::Allowlist;
use crate::body::Shared;
use crate::download::{Download, check_limit};
use crate::error::{Error, Result};
use crate::file;
use crate::head::Head;
use crate::headers::{EntityTag, content_length, content_range, guest_headers};
use crate::http::{HttpClient, Outgoing};
use crate::ledger::Ledger;
use crate::location::parse_url;
use crate::resolver::{Lookup, system_lookup};
use crate::retry::Retry;
use crate::spool::Spool;
use crate::tail::TailSource;

/// How much, how long, how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Longest body, whatever a request says.
    pub max_bytes: u64,
    /// All bodies of one fetcher that are held at a time.
    pub spool_bytes: u64,
    /// To a connection, TLS included.
    pub connect_timeout: Duration,
    /// Without a byte.
    pub read_timeout: Duration,
    /// From the first request to the last byte, tries included.
    pub deadline: Duration,
    /// Requests before giving up; a try that brought megabytes starts the count over.
    pub tries: u32,
    pub first_backoff: Duration,
    pub backoff_limit: Duration,
    /// The longest `Retry-After` that is waited for here; a longer one is [`Error::RateLimited`].
    pub retry_after_limit: Duration,
    /// Hops of a redirect.
    pub redirects: u32,
    /// A tail nearer than this to what has arrived is not asked for ahead.
    pub tail_distance_bytes: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        const GIB: u64 = 1024 * 1024 * 1024;
        Self {
            max_bytes: 16 * GIB,
            spool_bytes: 64 * GIB,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(60 * 60),
            tries: 5,
            first_backoff: Duration::from_millis(250),
            backoff_limit: Duration::from_secs(10),
            retry_after_limit: Duration::from_secs(45),
            redirects: 5,
            tail_distance_bytes: 1024 * 1024,
        }
    }
}

/// What a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub url: String,
    /// GET, HEAD or POST.
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Bytes>,
    /// Refuse a longer body. `None`: [`FetchLimits::max_bytes`].
    pub max_bytes: Option<u64>,
}

impl Request {
    /// A plain GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: "GET".to_owned(), headers: Vec::new(), body: None, max_bytes: None }
    }
}

/// What is known of a URL without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// As asked for, without user information and query.
    pub url: String,
    pub size: u64,
    /// As the server wrote it; `None` for files.
    pub etag: Option<String>,
}

/// Fetches bytes under one allow-list. Cheap to clone; clones share connections and budgets.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    allow: Arc<Allowlist>,
    limits: FetchLimits,
    spool_dir: PathBuf,
    ledger: Arc<Ledger>,
    client: Arc<HttpClient>,
    spooled_bytes: Arc<AtomicU64>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fetcher").field("allow", &self.inner.allow).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// `handle`: the runtime that drives connections; its threads must not be those that block in a [`Spool`]. `spool_dir`: an existing
    /// folder on a disk with room for bodies.
    pub fn new(handle: Handle, allow: Allowlist, limits: FetchLimits, spool_dir: PathBuf, ledger: Arc<Ledger>) -> Self {
        Self::with_lookup(handle, allow, limits, spool_dir, ledger, system_lookup())
    }

    /// The same over another source of addresses.
    pub(crate) fn with_lookup(
        handle: Handle,
        allow: Allowlist,
        limits: FetchLimits,
        spool_dir: PathBuf,
        ledger: Arc<Ledger>,
        lookup: Lookup,
    ) -> Self {
        let allow = Arc::new(allow);
        let client = Arc::new(HttpClient::new(Arc::clone(&allow), limits.clone(), Arc::clone(&ledger), lookup));
        let spooled_bytes = Arc::default();
        Self { inner: Arc::new(Inner { handle, allow, limits, spool_dir, ledger, client, spooled_bytes }) }
    }

    /// The record of all requests.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    /// What is granted.
    pub fn allowlist(&self) -> &Allowlist {
        &self.inner.allow
    }

    /// Size and entity tag without the body: HEAD, or a range of one byte from a server that has no HEAD. Runs on any executor.
    ///
    /// # Errors
    /// [`Error::Refused`] before anything is sent, [`Error::Status`] for a URL that is not there, and what connections do.
    pub async fn stat(&self, url: &str) -> Result<Stat> {
        let url = self.granted("HEAD", url)?;
        let inner = Arc::clone(&self.inner);
        self.on_runtime(async move {
            if url.scheme() == "file" { inner.stat_file(url).await } else { inner.stat_http(url).await }
        })
        .await
    }

    /// Asks for a URL and answers as soon as its head is in; the body goes on in the background. Runs on any executor.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::HeaderRefused`] and [`Error::MethodRefused`] before anything is sent; [`Error::Status`] for an
    /// answer other than success; [`Error::TooLarge`] for an announced length over the limit; and what connections do.
    pub async fn fetch(&self, request: Request) -> Result<Arc<Spool>> {
        let method = match request.method.as_str() {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            "POST" => Method::POST,
            other => return Err(Error::MethodRefused { method: crate::text::excerpt(other.as_bytes(), 20) }),
        };
        let headers = guest_headers(&request.headers)?;
        let url = self.granted(method.as_str(), &request.url)?;
        let limit_bytes = request.max_bytes.unwrap_or(u64::MAX).min(self.inner.limits.max_bytes);
        let inner = Arc::clone(&self.inner);
        if url.scheme() == "file" {
            return self.on_runtime(async move { inner.fetch_file(url, limit_bytes).await }).await;
        }
        let outgoing = Outgoing { url, method, headers, body: request.body };
        self.on_runtime(async move { inner.fetch_http(outgoing, limit_bytes).await }).await
    }

    /// The URL, when it is one and granted.
    fn granted(&self, method: &str, url: &str) -> Result<Url> {
        let mut url = parse_url(url)?;
        url.set_fragment(None);
        self.inner.allow.check(&url).inspect_err(|refused| self.inner.ledger.refused(method, &url, &refused.reason))?;
        Ok(url)
    }

    /// Runs on the fetcher's own runtime, since timers and sockets belong to it; stops when the caller stops waiting.
    async fn on_runtime<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let task = self.inner.handle.spawn(work);
        let _stop = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or(Err(Error::Cancelled))
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    async fn stat_http(&self, url: Url) -> Result<Stat> {
        let mut outgoing = Outgoing { url, method: Method::HEAD, headers: HeaderMap::new(), body: None };
        let mut retry = Retry::new(&self.limits);
        let (deadline, timed_out) = (retry.deadline(), retry.timed_out(outgoing.shown()));
        let work = async {
            let no_head = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
            let answer = self.client.send(&outgoing, &HeaderMap::new(), &no_head, &mut retry).await?;
            let etag = |headers: &HeaderMap| EntityTag::of(headers).map(|tag| tag.as_str().to_owned());
            if answer.status().is_success()
                && let Some(size) = content_length(answer.headers())
            {
                return Ok(Stat { url: outgoing.shown(), size, etag: etag(answer.headers()) });
            }
            outgoing.method = Method::GET;
            let one_byte = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-0"))]);
            // An empty file has no first byte; the answer to that names its length.
            let empty = [StatusCode::RANGE_NOT_SATISFIABLE];
            let answer = self.client.send(&outgoing, &one_byte, &empty, &mut retry).await?;
            let size = match answer.status() {
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                    content_range(answer.headers()).and_then(|range| range.total)
                }
                _ => content_length(answer.headers()),
            };
            let size = size.ok_or_else(|| Error::BadResponse {
                url: outgoing.shown(),
                detail: "neither HEAD nor a range of one byte says how long it is".to_owned(),
            })?;
            Ok(Stat { url: outgoing.shown(), size, etag: etag(answer.headers()) })
        };
        tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(timed_out))
    }

    async fn fetch_http(&self, outgoing: Outgoing, limit_bytes: u64) -> Result<Arc<Spool>> {
        let mut retry = Retry::new(&self.limits);
        let (deadline, timed_out) = (retry.deadline(), retry.timed_out(outgoing.shown()));
        let conditional =
            [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE].iter().any(|name| outgoing.headers.contains_key(name));
        let also: &[StatusCode] = if conditional { &[StatusCode::NOT_MODIFIED] } else { &[] };
        let host_headers = HeaderMap::new();
        let send = self.client.send(&outgoing, &host_headers, also, &mut retry);
        let answer = tokio::time::timeout_at(deadline, send).await.unwrap_or(Err(timed_out))?;
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            let detail = "it sent a part, and was asked for the whole".to_owned();
            return Err(Error::BadResponse { url: outgoing.shown(), detail });
        }
        let head = Head::of(&outgoing, &answer)?;
        check_limit(&outgoing, head.length, limit_bytes)?;
        let spool_dir = self.spool_dir.clone();
        // Without a name from the start: nothing is left behind, however the process ends.
        let file = tokio::task::spawn_blocking(move || {
            tempfile::tempfile_in(&spool_dir).map_err(|error| Error::spool(&spool_dir, &error))
        })
        .await
        .unwrap_or(Err(Error::Cancelled))?;
        let tail_source = TailSource::of(&self.client, &outgoing, &head, &self.handle);
        let shared = self.shared(outgoing.shown(), file, head, 0);
        let download = Download::new(Arc::clone(&self.client), outgoing, Arc::clone(&shared), retry, limit_bytes);
        let writer = self.handle.spawn(download.run(answer)).abort_handle();
        Ok(Arc::new(Spool::new(shared, Some(writer), tail_source)))
    }

    fn shared(&self, url: String, file: std::fs::File, head: Head, available: u64) -> Arc<Shared> {
        let budget = Arc::clone(&self.spooled_bytes);
        Arc::new(Shared::new(url, file, self.spool_dir.clone(), head, available, budget, self.limits.spool_bytes))
    }

    async fn open_file(&self, method: &'static str, url: Url) -> Result<file::LocalFile> {
        let mut ticket = self.ledger.begin(method, &url, 0);
        let allow = Arc::clone(&self.allow);
        let opened =
            tokio::task::spawn_blocking(move || file::open(&url, &allow)).await.unwrap_or(Err(Error::Cancelled));
        match &opened {
            Ok(local) => {
                ticket.answered(200, None);
                ticket.received(if method == "GET" { local.length } else { 0 });
            }
            Err(Error::Refused(refused)) => ticket.refused(&refused.reason),
            Err(error) => ticket.failed(&error.to_string()),
        }
        opened
    }

    async fn stat_file(&self, url: Url) -> Result<Stat> {
        let shown = crate::text::display_url(&url);
        let local = self.open_file("HEAD", url).await?;
        Ok(Stat { url: shown, size: local.length, etag: None })
    }

    async fn fetch_file(&self, url: Url, limit_bytes: u64) -> Result<Arc<Spool>> {
        let shown = crate::text::display_url(&url);
        let local = self.open_file("GET", url).await?;
        let length = local.length;
        if length > limit_bytes {
            return Err(Error::TooLarge { url: shown, limit_bytes, found_bytes: Some(length) });
        }
        let head = Head { status: 200, headers: HeaderMap::new(), etag: None, length: Some(length) };
        let shared = self.shared(shown, local.file, head, length);
        file::hash_in_background(&self.handle, Arc::clone(&shared), length);
        Ok(Arc::new(Spool::new(shared, None, None)))
    }
}
