//! Requests and their answers: which may be made again, and what else can have happened.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lakehost_pipeline::Diagnostic as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{ClientBuilder, Method, Url};

use super::error::{Error, Result};
use super::options::{Auth, Options, shown};
use super::statement::{Statement, is_read};
use super::wire::{Info, Page};

/// So often somebody looks whether the command was interrupted.
const LOOK: Duration = Duration::from_millis(50);
/// The pause before a second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries, unless the server asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Whoever cannot be reached at all is asked for no longer than this: somebody waits, and nothing is under way yet.
const GREETING: Duration = Duration::from_secs(5);
/// A query that nobody waits for any more gets so long to hear of it.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// So much of a strange answer is repeated in a message.
const SAID_CHARACTERS: usize = 200;

/// A client of one Trino. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Trino {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    options: Options,
    shown: String,
}

/// What came back.
struct Reply {
    status: u16,
    retry_after: Option<Duration>,
    location: Option<String>,
    html: bool,
    body: Vec<u8>,
}

/// Why nothing came back.
struct Failure {
    /// The request cannot have arrived.
    never_sent: bool,
    cause: String,
    too_large: bool,
}

impl Reply {
    /// What it says, for a message.
    fn said(&self) -> String {
        let status = self.status;
        if let Some(location) = &self.location {
            return format!("HTTP {status}, which leads to {}", location.escape_debug());
        }
        if self.html {
            return format!("HTTP {status} with an HTML page, as a proxy or another web server answers");
        }
        let text = String::from_utf8_lossy(&self.body);
        match text.trim().chars().take(SAID_CHARACTERS).collect::<String>() {
            text if text.is_empty() => format!("HTTP {status}"),
            text => format!("HTTP {status}: {text}"),
        }
    }

    /// Passes by itself.
    fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504)
    }
}

impl Trino {
    /// A client. `prepare` may add certificates.
    ///
    /// # Errors
    /// `LH0108` for options that cannot work, and for what `prepare` refuses.
    pub fn new(options: Options, prepare: impl FnOnce(ClientBuilder) -> io::Result<ClientBuilder>) -> Result<Self> {
        let base = options.base()?;
        let headers = options.headers()?;
        let shown = shown(&base);
        let wrong = |detail: String| Error::Setting { server: shown.clone(), detail, hint: String::new() };
        let builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(Duration::from_secs(10))
            // Whether a request is made again is decided here and nowhere else, and nobody but `base` gets the password.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("lakehost/", env!("CARGO_PKG_VERSION")));
        let builder = prepare(builder).map_err(|error| wrong(error.to_string()))?;
        let client = builder.build().map_err(|error| wrong(chain(&error)))?;
        Ok(Self { inner: Arc::new(Inner { client, base, headers, options, shown }) })
    }

    /// Its address, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.inner.shown
    }

    /// The same client for a question that an interrupted command still has.
    pub(super) fn unstoppable(&self) -> Self {
        let Inner { client, base, headers, options, shown } = &*self.inner;
        let options = Options { stop: None, watch: None, ..options.clone() };
        let inner = Inner {
            client: client.clone(),
            base: base.clone(),
            headers: headers.clone(),
            options,
            shown: shown.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Trino's version: `476`.
    ///
    /// # Errors
    /// `LH0722` when nothing answers, it still starts, or it is no Trino.
    pub async fn version(&self) -> Result<String> {
        let url = self.url("v1/info")?;
        let send = || self.once(Method::GET, url.clone(), HeaderMap::new(), None);
        let reply = self.again(send, None, self.greeting()).await?;
        let info: Info = serde_json::from_slice(&reply.body).map_err(|_| self.strange(&reply))?;
        if info.starting {
            return Err(self.unreachable("it still starts".to_owned()));
        }
        Ok(info.node_version.version)
    }

    /// Sends a statement. `mark`: the source name that Trino's list of queries shows for it.
    ///
    /// # Errors
    /// [`Error::Unknown`] when a statement that changes something may have arrived and no answer came.
    pub(super) async fn post(&self, statement: &Statement, mark: &str) -> Result<Page> {
        let reads = is_read(&statement.sql);
        let url = self.url("v1/statement")?;
        let mut headers = HeaderMap::new();
        let text = |value: &str| {
            HeaderValue::try_from(value).map_err(|_| Error::Setting {
                server: self.inner.shown.clone(),
                detail: "a session property cannot be written into a header".to_owned(),
                hint: String::new(),
            })
        };
        headers.insert("x-trino-source", text(mark)?);
        for (name, value) in &statement.session {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            headers.append("x-trino-session", text(&format!("{name}={value}"))?);
        }
        let body = statement.sql.clone();
        let send = || self.once(Method::POST, url.clone(), headers.clone(), Some(body.clone()));
        let once = (!reads).then_some(mark);
        let reply = self.again(send, once, self.greeting()).await?;
        self.page(&reply).map_err(|error| match once {
            Some(mark) => self.unknown(None, mark, error.cause().unwrap_or_default()),
            None => error,
        })
    }

    /// A statement that changes something, and no proof either way.
    pub(super) fn unknown(&self, query_id: Option<String>, mark: &str, cause: String) -> Error {
        Error::Unknown { server: self.inner.shown.clone(), query_id, mark: mark.to_owned(), cause }
    }

    /// The next page of an answer, asked for until it comes.
    pub(super) async fn get(&self, url: &Url) -> Result<Page> {
        let send = || self.once(Method::GET, url.clone(), HeaderMap::new(), None);
        match self.again(send, None, self.inner.options.patience).await {
            Ok(reply) => self.page(&reply),
            Err(Error::Protocol { cause, .. }) if cause.starts_with("HTTP 404") || cause.starts_with("HTTP 410") => {
                Err(self.unreachable(format!("it does not know the query any more, as after a restart ({cause})")))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a query; whether the server took note.
    pub(super) async fn delete(&self, url: &Url) -> bool {
        let asked = self.once(Method::DELETE, url.clone(), HeaderMap::new(), None);
        let answered = tokio::time::timeout(CANCEL_TIMEOUT, asked).await;
        matches!(answered, Ok(Ok(reply)) if matches!(reply.status, 200 | 204 | 404 | 410))
    }

    /// An address of an answer, which must be on the server that was asked: the password goes with it.
    pub(super) fn follow(&self, text: &str) -> Result<Url> {
        let url = Url::parse(text).ok().filter(|url| url.origin() == self.inner.base.origin());
        url.ok_or_else(|| Error::Protocol {
            server: self.inner.shown.clone(),
            cause: format!("the answer goes on at {}, which is another server", text.escape_debug()),
            hint: "behind a proxy, Trino needs http-server.process-forwarded=true".to_owned(),
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.inner.base.join(path).map_err(|error| self.unreachable(error.to_string()))
    }

    pub(super) fn unreachable(&self, cause: String) -> Error {
        Error::Unreachable { server: self.inner.shown.clone(), cause }
    }

    fn page(&self, reply: &Reply) -> Result<Page> {
        serde_json::from_slice(&reply.body).map_err(|_| self.strange(reply))
    }

    fn strange(&self, reply: &Reply) -> Error {
        Error::Protocol {
            server: self.inner.shown.clone(),
            cause: reply.said(),
            hint: match reply.location {
                Some(_) => "correct `uri` of [profile.NAME.trino]: redirects are not followed".to_owned(),
                None => "correct `uri` of [profile.NAME.trino]".to_owned(),
            },
        }
    }

    fn greeting(&self) -> Duration {
        self.inner.options.patience.min(GREETING)
    }

    /// Asks until there is an answer with status 200. `once`: the mark of a request that is not made again when it may have arrived, but ends in
    /// [`Error::Unknown`].
    async fn again<F: Future<Output = std::result::Result<Reply, Failure>>>(
        &self,
        mut send: impl FnMut() -> F,
        once: Option<&str>,
        patience: Duration,
    ) -> Result<Reply> {
        let Inner { options, shown: server, .. } = &*self.inner;
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = match once {
                Some(_) => send().await,
                None => self.unless_stopped(send()).await?,
            };
            let (cause, asked_for, arrived) = match answer {
                Ok(reply) if reply.status == 200 => return Ok(reply),
                Ok(reply) if matches!(reply.status, 401 | 403) => {
                    return Err(Error::Access { server: server.clone(), cause: reply.said() });
                }
                // Too many requests: nothing was done.
                Ok(reply) if reply.is_passing() => (reply.said(), reply.retry_after, reply.status != 429),
                Ok(reply) if once.is_none() && reply.status >= 500 => return Err(self.unreachable(reply.said())),
                // A refusal is an answer, and says so too.
                Ok(reply) if once.is_none() || matches!(reply.status, 300..=407 | 409..=499) => {
                    return Err(self.strange(&reply));
                }
                Ok(reply) => (reply.said(), None, true),
                Err(failure) if failure.too_large && once.is_none() => {
                    return Err(Error::TooLarge { server: server.clone(), limit_bytes: options.page_bytes });
                }
                Err(failure) => (failure.cause, None, !failure.never_sent),
            };
            if let Some(mark) = once.filter(|_| arrived) {
                return Err(self.unknown(None, mark, cause));
            }
            let wait = asked_for.unwrap_or(pause);
            if began.elapsed() + wait > patience {
                return Err(self.unreachable(cause));
            }
            self.unless_stopped(tokio::time::sleep(wait)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The work, unless the command is interrupted before it ends.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let Some(stop) = &self.inner.options.stop else { return Ok(work.await) };
        let stopped = async {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = stopped => Err(Error::Interrupted { query_id: None, cancelled: false }),
            done = work => Ok(done),
        }
    }

    async fn once(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<String>,
    ) -> std::result::Result<Reply, Failure> {
        let Inner { client, options, .. } = &*self.inner;
        let mut request = client.request(method, url).headers(self.inner.headers.clone()).headers(headers);
        request = match &options.auth {
            Auth::None => request,
            Auth::Password(password) => request.basic_auth(&options.user, Some(password.expose())),
            Auth::Token(token) => request.bearer_auth(token.expose()),
        };
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8").body(body);
        }
        let lost = |error: reqwest::Error| {
            let never_sent = error.is_connect() || error.is_builder();
            Failure { never_sent, cause: chain(&error.without_url()), too_large: false }
        };
        let mut response = request.send().await.map_err(lost)?;
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let mut reply = Reply {
            status: response.status().as_u16(),
            retry_after: header(RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
            location: header(LOCATION).map(str::to_owned),
            html: header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html")),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if reply.body.len() + chunk.len() > options.page_bytes {
                return Err(Failure {
                    never_sent: false,
                    cause: "the answer is too large".to_owned(),
                    too_large: true,
                });
            }
            reply.body.extend_from_slice(&chunk);
        }
        Ok(reply)
    }
}

/// An error and what is behind it.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}
