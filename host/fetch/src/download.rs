//! The background half of a fetch: the body goes to the spool while it is hashed, and a broken body is continued.
//!
//! A continuation is trusted only when it provably belongs to the same bytes:
//!
//! - `206` to a `Range` with `If-Range` on a strong entity tag (or the modification date, where there is no tag), with exactly the
//!   range asked for: appended, same hash.
//! - A whole body again, nothing read yet: starts over.
//! - A whole body again of the same source, something read already: its beginning must hash to what is spooled, then the rest is
//!   appended. The result is that second body, byte for byte.
//! - Another source, something seen already: [`Error::Changed`].

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::body::Shared;
use crate::error::{Error, Result};
use crate::head::{Head, range_headers};
use crate::headers::content_range;
use crate::http::{Answer, HttpClient, Outgoing, named};
use crate::retry::Retry;
use crate::spool::SpoolSummary;

/// Received bytes that may wait for the disk before the connection is left to wait too.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// The end of the body so far: where the next byte goes, and the hash of all before it.
struct Sink {
    position: u64,
    hasher: Sha256,
    replay: Option<Replay>,
}

/// A body that begins again over bytes that were handed out: skipped while they are proven equal.
struct Replay {
    position: u64,
    hasher: Sha256,
}

impl Sink {
    fn take(&mut self, shared: &Shared, chunk: &[u8]) -> Result<()> {
        let mut rest = chunk;
        if let Some(replay) = &mut self.replay {
            let missing = usize::try_from(self.position - replay.position).unwrap_or(usize::MAX).min(rest.len());
            let (known, new) = rest.split_at(missing);
            replay.hasher.update(known);
            replay.position += known.len() as u64;
            rest = new;
            if replay.position == self.position {
                if replay.hasher.clone().finalize() != self.hasher.clone().finalize() {
                    let detail = "it was sent again from the start, and begins with other bytes than before".to_owned();
                    return Err(Error::Changed { url: shared.url.clone(), detail });
                }
                self.replay = None;
            }
        }
        if !rest.is_empty() {
            shared.append(self.position, rest)?;
            self.hasher.update(rest);
            self.position = self.position.saturating_add(rest.len() as u64);
        }
        Ok(())
    }
}

/// How one answer's body ended.
enum End {
    Whole,
    Broken(Error),
}

/// What the next answer means for the spool.
enum Next {
    Body(Box<Answer>),
    AlreadyWhole,
}

pub(crate) struct Download {
    client: Arc<HttpClient>,
    outgoing: Outgoing,
    shared: Arc<Shared>,
    sink: Arc<Mutex<Sink>>,
    retry: Retry,
    limit_bytes: u64,
    /// The server answered a range request wrongly once: it is not asked for ranges again.
    ranges_broken: bool,
    /// An aborted task, or a runtime that goes away, must not leave readers asleep.
    _guard: FailOnDrop,
}

impl Download {
    pub(crate) fn new(
        client: Arc<HttpClient>,
        outgoing: Outgoing,
        shared: Arc<Shared>,
        retry: Retry,
        limit_bytes: u64,
    ) -> Self {
        let sink = Arc::new(Mutex::new(Sink { position: 0, hasher: Sha256::new(), replay: None }));
        let guard = FailOnDrop(Arc::clone(&shared));
        Self { client, outgoing, shared, sink, retry, limit_bytes, ranges_broken: false, _guard: guard }
    }

    /// Runs to the end of the body, and tells the readers however it ends.
    pub(crate) async fn run(mut self, first: Answer) {
        let shared = Arc::clone(&self.shared);
        let deadline = self.retry.deadline();
        let timed_out = self.retry.timed_out(self.outgoing.shown());
        let outcome = match tokio::time::timeout_at(deadline, self.receive(first)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out),
        };
        match outcome {
            Ok(summary) => {
                let finishing = Arc::clone(&shared);
                let finished = tokio::task::spawn_blocking(move || finishing.finish(summary)).await;
                if let Ok(Err(error)) = finished {
                    shared.fail(error);
                }
            }
            Err(error) => {
                tracing::debug!(url = %shared.url, %error, "the body failed");
                shared.fail(error);
            }
        }
    }

    async fn receive(&mut self, first: Answer) -> Result<SpoolSummary> {
        let mut answer = first;
        loop {
            let before = self.position();
            let end = self.take_body(answer).await?;
            self.retry.progressed(self.position().saturating_sub(before));
            let mut error = match end {
                End::Whole => return Ok(self.summary()),
                End::Broken(error) => error,
            };
            if !self.outgoing.is_repeatable() {
                return Err(error);
            }
            answer = loop {
                self.retry.pause(error, None).await?;
                match self.continuation().await? {
                    Ok(Next::Body(answer)) => break *answer,
                    Ok(Next::AlreadyWhole) => return Ok(self.summary()),
                    Err(failed) => error = failed,
                }
            };
        }
    }

    fn with_sink<T>(&self, look: impl FnOnce(&mut Sink) -> T) -> T {
        look(&mut self.sink.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn position(&self) -> u64 {
        self.with_sink(|sink| sink.position)
    }

    fn summary(&self) -> SpoolSummary {
        self.with_sink(|sink| SpoolSummary { length: sink.position, sha256: sink.hasher.clone().finalize().into() })
    }

    /// Takes one body to its end. Receiving goes on while the disk and the hash work on what came before.
    async fn take_body(&mut self, answer: Answer) -> Result<End> {
        let Answer { response, mut ticket } = answer;
        let url = response.url().clone();
        let mut stream = response.bytes_stream();
        let mut waiting: Vec<Bytes> = Vec::new();
        let mut waiting_bytes = 0;
        let mut ended: Option<std::result::Result<(), Error>> = None;
        let mut job: Option<JoinHandle<Result<()>>> = None;
        loop {
            if job.is_none() {
                if !waiting.is_empty() {
                    job = Some(self.write(std::mem::take(&mut waiting)));
                    waiting_bytes = 0;
                } else if let Some(ended) = ended {
                    if let Err(error) = &ended {
                        ticket.failed(&error.to_string());
                    }
                    return self.end(ended);
                }
            }
            tokio::select! {
                written = finished(&mut job), if job.is_some() => {
                    job = None;
                    written?;
                }
                chunk = stream.next(), if ended.is_none() && waiting_bytes < WINDOW_BYTES => match chunk {
                    Some(Ok(chunk)) => {
                        ticket.received(chunk.len() as u64);
                        waiting_bytes += chunk.len();
                        waiting.push(chunk);
                    }
                    Some(Err(error)) => ended = Some(Err(named(error, &url, self.client.limits()))),
                    None => ended = Some(Ok(())),
                },
            }
        }
    }

    /// Writes and hashes on a thread that may block.
    fn write(&self, chunks: Vec<Bytes>) -> JoinHandle<Result<()>> {
        let (shared, sink, limit_bytes) = (Arc::clone(&self.shared), Arc::clone(&self.sink), self.limit_bytes);
        tokio::task::spawn_blocking(move || {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            for chunk in chunks {
                let replayed = sink.replay.as_ref().map_or(0, |replay| sink.position - replay.position);
                let end = sink.position.saturating_add((chunk.len() as u64).saturating_sub(replayed));
                if end > limit_bytes {
                    return Err(Error::TooLarge { url: shared.url.clone(), limit_bytes, found_bytes: None });
                }
                sink.take(&shared, &chunk)?;
            }
            Ok(())
        })
    }

    /// Judges a body by its length; the connection's own opinion comes second.
    fn end(&self, ended: std::result::Result<(), Error>) -> Result<End> {
        let head = self.shared.head();
        let (position, replaying) = self.with_sink(|sink| (sink.position, sink.replay.is_some()));
        let cut = |detail: String| {
            let received_bytes =
                self.with_sink(|sink| sink.replay.as_ref().map_or(sink.position, |replay| replay.position));
            Error::Truncated { url: self.outgoing.shown(), received_bytes, expected_bytes: head.length, detail }
        };
        match (ended, head.length) {
            (_, Some(length)) if position > length => {
                let detail = format!("{length} bytes were announced and at least {position} came");
                Err(Error::BadResponse { url: self.outgoing.shown(), detail })
            }
            (Ok(()), Some(length)) if position < length || replaying => {
                Ok(End::Broken(cut("the body ended early".to_owned())))
            }
            (Ok(()), None) if replaying => {
                let detail = "it was sent again from the start, and is shorter than before".to_owned();
                Err(Error::Changed { url: self.outgoing.shown(), detail })
            }
            // All announced bytes are in: what the connection does after that does not matter.
            (Err(_), Some(length)) if position == length && !replaying => Ok(End::Whole),
            (Ok(()), _) => Ok(End::Whole),
            (Err(error @ Error::Timeout { .. }), _) => Ok(End::Broken(error)),
            (Err(Error::Connect { detail, .. }), _) => Ok(End::Broken(cut(detail))),
            (Err(error), _) => Ok(End::Broken(error)),
        }
    }

    /// Asks for what is missing and prepares the spool for it. The inner error is worth another try.
    async fn continuation(&mut self) -> Result<std::result::Result<Next, Error>> {
        let head = self.shared.head();
        self.with_sink(|sink| sink.replay = None);
        let position = self.position();
        let validator = head.range_validator().filter(|_| position > 0 && !self.ranges_broken);
        let asked = validator.and_then(|validator| range_headers(&format!("bytes={position}-"), validator));
        let ranged = asked.is_some();
        let also: &[StatusCode] = if ranged { &[StatusCode::RANGE_NOT_SATISFIABLE] } else { &[] };
        let answer = self.client.send(&self.outgoing, &asked.unwrap_or_default(), also, &mut self.retry).await?;
        let range = content_range(answer.headers());
        match answer.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = range.and_then(|range| range.total);
                if total == Some(position) && head.length.is_none_or(|length| length == position) {
                    return Ok(Ok(Next::AlreadyWhole));
                }
                let detail = format!("it holds no bytes from {position} on");
                self.ranges_broken = true;
                Ok(Err(Error::Changed { url: self.outgoing.shown(), detail }))
            }
            StatusCode::PARTIAL_CONTENT => {
                let begins = range.and_then(|range| range.range).is_some_and(|(first, last)| {
                    first == position && head.length.is_none_or(|length| last + 1 == length)
                });
                let differs = head.differs(answer.headers(), range.and_then(|range| range.total));
                if ranged && begins && differs.is_none() {
                    return Ok(Ok(Next::Body(Box::new(answer))));
                }
                self.ranges_broken = true;
                let detail = match differs {
                    Some(detail) => format!("it continued other bytes than were asked for: {detail}"),
                    None => format!("it was asked to continue at byte {position} and answered another range"),
                };
                Ok(Err(Error::BadResponse { url: self.outgoing.shown(), detail }))
            }
            _ => self.start_over(&head, answer),
        }
    }

    /// A whole body again.
    fn start_over(&mut self, head: &Head, answer: Answer) -> Result<std::result::Result<Next, Error>> {
        let new = Head::of(&self.outgoing, &answer)?;
        check_limit(&self.outgoing, new.length, self.limit_bytes)?;
        let differs = head.differs(answer.headers(), new.length);
        if self.shared.restart(new, differs.is_none())? {
            self.with_sink(|sink| *sink = Sink { position: 0, hasher: Sha256::new(), replay: None });
        } else if let Some(detail) = differs {
            return Err(Error::Changed { url: self.outgoing.shown(), detail });
        } else {
            self.with_sink(|sink| sink.replay = Some(Replay { position: 0, hasher: Sha256::new() }));
        }
        Ok(Ok(Next::Body(Box::new(answer))))
    }
}

/// Refuses a body that is announced to be too long.
pub(crate) fn check_limit(outgoing: &Outgoing, length: Option<u64>, limit_bytes: u64) -> Result<()> {
    match length {
        Some(length) if length > limit_bytes => {
            Err(Error::TooLarge { url: outgoing.shown(), limit_bytes, found_bytes: Some(length) })
        }
        _ => Ok(()),
    }
}

/// The end of a job that may not exist; then never.
async fn finished(job: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    match job {
        Some(job) => job.await.unwrap_or(Err(Error::Cancelled)),
        None => std::future::pending().await,
    }
}

/// Wakes readers with "cancelled" when a writer disappears without a word.
pub(crate) struct FailOnDrop(pub Arc<Shared>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(Error::Cancelled);
    }
}
