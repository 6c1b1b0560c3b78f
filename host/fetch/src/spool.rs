//! A body that is read while it still arrives.
//!
//! One writer (the download) appends; any number of readers ask for ranges and sleep until theirs is there, the body is whole, or it
//! failed. The bytes lie in a file without a name, which is gone with the last holder, however the process ends. The sha256 is of the
//! whole body, in order, whatever breaks lay between.
//!
//! What a caller has seen, it can rely on: once bytes, length or entity tag were handed out, a source that turns out to be another
//! fails the body instead of replacing it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::download::TailSource;
use crate::error::{Error, Result};
use crate::headers::EntityTag;

/// The largest tail that is kept in memory.
const TAIL_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// What is known of a body that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolSummary {
    /// In bytes.
    pub length: u64,
    pub sha256: [u8; 32],
}

/// The head of an answer: what is known before the body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub status: u16,
    pub headers: HeaderMap,
    pub etag: Option<EntityTag>,
    pub length: Option<u64>,
}

/// A response body, or a local file, readable at any offset.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    /// Stops the writer.
    writer: Option<AbortHandle>,
    /// Where a range can be asked for; none for files, and for servers that do not promise to serve the same bytes.
    tail_source: Option<TailSource>,
    tail_task: Mutex<Option<AbortHandle>>,
}

impl Spool {
    pub(crate) fn new(shared: Arc<Shared>, writer: Option<AbortHandle>, tail_source: Option<TailSource>) -> Self {
        Self { shared, writer, tail_source, tail_task: Mutex::new(None) }
    }

    /// The URL that was asked for, without user information and query.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// HTTP status of the answer; 200 for a file.
    pub fn status(&self) -> u16 {
        self.shared.lock().head.status
    }

    /// A response header by its name in any case, when its value is text.
    pub fn header(&self, name: &str) -> Option<String> {
        let state = self.shared.lock();
        state.head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    /// The entity tag as the server wrote it, quotes and all. From here on a source with another tag is an error.
    pub fn etag(&self) -> Option<String> {
        let mut state = self.shared.lock();
        state.pinned = true;
        state.head.etag.as_ref().map(|tag| tag.as_str().to_owned())
    }

    /// Length in bytes, once known: announced by the server, or counted at the end. From here on a source of another length is an
    /// error.
    pub fn content_length(&self) -> Option<u64> {
        let mut state = self.shared.lock();
        state.pinned = true;
        state.length()
    }

    /// Bytes that have arrived, counted from the start.
    pub fn available(&self) -> u64 {
        self.shared.lock().available
    }

    /// Why there will be no more bytes, once that is so.
    pub fn error(&self) -> Option<Error> {
        match &self.shared.lock().phase {
            Phase::Failed(error) => Some(error.clone()),
            Phase::Arriving | Phase::Complete(_) => None,
        }
    }

    /// Up to `len` bytes from `offset`, fewer only at the end of the body. Blocks until they are there: not for a thread that drives the
    /// download's own runtime (see [`Spool::ready`]).
    ///
    /// # Errors
    /// The download's error; [`Error::from_io`] gets it back.
    pub fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut state = self.shared.lock();
        let place = loop {
            match state.place(offset, len as u64)? {
                Some(place) => break place,
                None => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        match place {
            Place::Memory(bytes) => Ok(bytes),
            Place::File(length) => self.shared.read_file(offset, length).map_err(io::Error::from),
        }
    }

    /// Waits until [`Spool::read_at`] of this range would not block.
    ///
    /// # Errors
    /// The download's error.
    pub async fn ready(&self, offset: u64, len: usize) -> Result<()> {
        self.shared.until(|state| Ok(state.place(offset, len as u64)?.map(|_| ()))).await
    }

    /// Blocks until the body is whole.
    ///
    /// # Errors
    /// The download's error.
    pub fn wait_complete(&self) -> Result<SpoolSummary> {
        let mut state = self.shared.lock();
        loop {
            match state.summary()? {
                Some(summary) => return Ok(summary),
                None => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits until the body is whole.
    ///
    /// # Errors
    /// The download's error.
    pub async fn complete(&self) -> Result<SpoolSummary> {
        self.shared.until(|state| state.summary()).await
    }

    /// Stops the download and wakes all readers with [`Error::Cancelled`]. What is complete stays readable.
    pub fn cancel(&self) {
        self.stop();
        self.shared.fail(Error::Cancelled);
    }

    /// Asks for the last `bytes` ahead of the rest, so that a footer can be read while the body still arrives. Done only when it is
    /// worth it and sound: a known length, a strong entity tag, a server that serves ranges, and a tail that is not about to arrive
    /// anyway. A tail that cannot be had is not an error; its reader waits for the body. Answers whether it was asked for.
    pub fn prefetch_tail(&self, bytes: u64) -> bool {
        let Some(source) = &self.tail_source else { return false };
        let bytes = bytes.min(TAIL_LIMIT_BYTES);
        let offset = {
            let mut state = self.shared.lock();
            let Some(length) = state.head.length else { return false };
            let offset = length.saturating_sub(bytes);
            let far = offset.saturating_sub(state.available) > source.worthwhile_bytes();
            let strong = state.head.etag.as_ref().is_some_and(EntityTag::is_strong);
            let open = matches!(state.phase, Phase::Arriving) && matches!(state.tail, Tail::None);
            if bytes == 0 || !far || !strong || !open {
                return false;
            }
            state.tail = Tail::Asked { offset };
            offset
        };
        let task = source.ask(Arc::clone(&self.shared), offset);
        *self.tail_task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        true
    }

    fn stop(&self) {
        let tail = self.tail_task.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.writer.iter().chain(tail.iter()).for_each(AbortHandle::abort);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.stop();
        // A writer that cannot be aborted in the middle (hashing a file) looks here.
        self.shared.fail(Error::Cancelled);
    }
}

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub url: String,
    file: File,
    state: Mutex<State>,
    changed: Condvar,
    changed_async: Notify,
    /// Bytes of this body that count against the budget of all bodies.
    reserved: AtomicU64,
    budget: Arc<AtomicU64>,
    budget_limit: u64,
}

#[derive(Debug)]
struct State {
    head: Head,
    available: u64,
    /// Something of this source was handed out, so that it may not be replaced by another.
    pinned: bool,
    /// Bytes were handed out, so that not even the same source may start over without proof.
    touched: bool,
    phase: Phase,
    tail: Tail,
}

#[derive(Debug)]
enum Phase {
    Arriving,
    Complete(SpoolSummary),
    Failed(Error),
}

/// The end of the body, ahead of the rest.
#[derive(Debug)]
enum Tail {
    None,
    Asked { offset: u64 },
    Here { offset: u64, bytes: Bytes },
    /// Asked for and not had; not asked for again.
    Failed,
}

/// Where a range lies that can be read now.
enum Place {
    File(u64),
    Memory(Bytes),
}

impl State {
    fn length(&self) -> Option<u64> {
        match &self.phase {
            Phase::Complete(summary) => Some(summary.length),
            Phase::Arriving | Phase::Failed(_) => self.head.length,
        }
    }

    /// Where the range is, `None` while it is still to come.
    fn place(&mut self, offset: u64, len: u64) -> Result<Option<Place>> {
        if let Phase::Failed(error) = &self.phase {
            return Err(error.clone());
        }
        let asked_end = offset.saturating_add(len);
        let end = self.length().map_or(asked_end, |length| asked_end.min(length));
        let length = end.saturating_sub(offset);
        let place = if end <= self.available || length == 0 {
            Some(Place::File(length))
        } else {
            match &self.tail {
                Tail::Here { offset: from, bytes } if offset >= *from => {
                    let range = usize::try_from(offset - from).ok().zip(usize::try_from(end - from).ok());
                    range.and_then(|(first, last)| (last <= bytes.len()).then(|| Place::Memory(bytes.slice(first..last))))
                }
                Tail::Here { .. } | Tail::Asked { .. } | Tail::None | Tail::Failed => None,
            }
        };
        if place.is_some() {
            self.pinned = true;
            self.touched |= length > 0;
        }
        Ok(place)
    }

    fn summary(&mut self) -> Result<Option<SpoolSummary>> {
        match &self.phase {
            Phase::Arriving => Ok(None),
            Phase::Complete(summary) => Ok(Some(*summary)),
            Phase::Failed(error) => Err(error.clone()),
        }
    }
}

impl Shared {
    /// `available` is what the file holds already: nothing for a download, everything for a local file.
    pub(crate) fn new(url: String, file: File, head: Head, available: u64, budget: Arc<AtomicU64>, budget_limit: u64) -> Self {
        let state = State { head, available, pinned: false, touched: false, phase: Phase::Arriving, tail: Tail::None };
        Self {
            url,
            file,
            state: Mutex::new(state),
            changed: Condvar::new(),
            changed_async: Notify::new(),
            reserved: AtomicU64::new(0),
            budget,
            budget_limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere leaves a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.changed_async.notify_waiters();
    }

    async fn until<T>(&self, mut check: impl FnMut(&mut State) -> Result<Option<T>>) -> Result<T> {
        loop {
            let mut notified = std::pin::pin!(self.changed_async.notified());
            // Listening starts before looking, so that no change falls in between.
            notified.as_mut().enable();
            let found = check(&mut self.lock())?;
            match found {
                Some(value) => return Ok(value),
                None => notified.await,
            }
        }
    }

    fn read_file(&self, offset: u64, length: u64) -> Result<Bytes> {
        let failed = |error: &io::Error| match error.kind() {
            // Only a file that someone else shortened ends early.
            io::ErrorKind::UnexpectedEof => {
                Error::Changed { url: self.url.clone(), detail: "it became shorter while it was read".to_owned() }
            }
            _ => Error::io(format!("read {} back", self.url), error),
        };
        let too_long = || Error::TooLarge { url: self.url.clone(), limit_bytes: usize::MAX as u64, found_bytes: Some(length) };
        let mut bytes = BytesMut::zeroed(usize::try_from(length).map_err(|_| too_long())?);
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| failed(&error))?;
        Ok(bytes.freeze())
    }

    // The writer's side.

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn head(&self) -> Head {
        self.lock().head.clone()
    }

    pub(crate) fn is_arriving(&self) -> bool {
        matches!(self.lock().phase, Phase::Arriving)
    }

    /// Writes bytes that follow those already there; readers see them at once.
    pub(crate) fn append(&self, offset: u64, chunk: &[u8]) -> Result<()> {
        let length = chunk.len() as u64;
        self.reserve(length)?;
        self.file.write_all_at(chunk, offset).map_err(|error| Error::io(format!("spool {}", self.url), &error))?;
        self.lock().available = offset.saturating_add(length);
        self.wake();
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        let held = self.budget.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if held > self.budget_limit {
            return Err(Error::SpoolFull { url: self.url.clone(), limit_bytes: self.budget_limit });
        }
        Ok(())
    }

    fn release(&self) {
        self.budget.fetch_sub(self.reserved.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether bytes were handed out.
    pub(crate) fn is_touched(&self) -> bool {
        self.lock().touched
    }

    /// Begins again with an empty body, under a new head. Answers `false`, and changes nothing, when a reader holds bytes, or when this
    /// is another source and a reader knows the first.
    pub(crate) fn restart(&self, head: Head, same_source: bool) -> Result<bool> {
        let mut state = self.lock();
        if state.touched || (state.pinned && !same_source) {
            return Ok(false);
        }
        state.available = 0;
        state.head = head;
        if !same_source {
            state.tail = Tail::Failed;
        }
        // Under the lock: no reader may find the old bytes behind the new head.
        self.file.set_len(0).map_err(|error| Error::io(format!("spool {}", self.url), &error))?;
        drop(state);
        self.release();
        self.wake();
        Ok(true)
    }

    /// Ends the body well, after a last look: a tail that was handed out must be the tail that arrived.
    pub(crate) fn finish(&self, summary: SpoolSummary) -> Result<()> {
        let tail = match &self.lock().tail {
            Tail::Here { offset, bytes } => Some((*offset, bytes.clone())),
            Tail::None | Tail::Asked { .. } | Tail::Failed => None,
        };
        if let Some((offset, bytes)) = tail {
            let ends_right = offset.saturating_add(bytes.len() as u64) == summary.length;
            if !ends_right || self.read_file(offset, bytes.len() as u64)? != bytes {
                let detail = "its last bytes, read ahead, are not those that arrived under the same entity tag".to_owned();
                return Err(Error::Changed { url: self.url.clone(), detail });
            }
        }
        let mut state = self.lock();
        if matches!(state.phase, Phase::Arriving) {
            state.phase = Phase::Complete(summary);
            // From here on the file has it all.
            state.tail = Tail::None;
        }
        drop(state);
        self.wake();
        Ok(())
    }

    /// Ends the body badly, unless it has ended.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Arriving) {
            state.phase = Phase::Failed(error);
        }
        drop(state);
        self.wake();
    }

    /// The tail that was asked for; `None` when it cannot be had.
    pub(crate) fn set_tail(&self, asked_offset: u64, tail: Option<Bytes>) {
        let mut state = self.lock();
        // A restart under another head may have dropped the question meanwhile.
        if matches!(state.tail, Tail::Asked { offset } if offset == asked_offset) {
            state.tail = match tail {
                Some(bytes) => Tail::Here { offset: asked_offset, bytes },
                None => Tail::Failed,
            };
        }
        drop(state);
        self.wake();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.release();
    }
}
