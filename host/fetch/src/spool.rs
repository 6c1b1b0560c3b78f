//! A body that is read while it still arrives.
//!
//! One writer (the download) appends; any number of readers ask for ranges and sleep until theirs is there, the body is whole, or it
//! failed. The bytes lie in a file without a name, which is gone with the last holder, however the process ends. The sha256 is of the
//! whole body, in order, whatever breaks lay between.
//!
//! What a caller has seen, it can rely on: once bytes, length or entity tag were handed out, a source that turns out to be another
//! fails the body instead of replacing it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::AbortHandle;

use crate::body::{Phase, Place, Shared, Tail};
use crate::error::{Error, Result};
use crate::headers::EntityTag;
use crate::tail::TailSource;

/// The largest tail that is kept in memory.
const TAIL_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// What is known of a body that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolSummary {
    /// In bytes.
    pub length: u64,
    pub sha256: [u8; 32],
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
        match self.shared.wait_until(|state| state.place(offset, len as u64))? {
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
        self.shared.wait_until(|state| state.summary())
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
