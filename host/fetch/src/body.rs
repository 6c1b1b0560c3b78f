//! One body between its writer and its readers: what has arrived, what was handed out, and how it ended.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::head::Head;
use crate::spool::SpoolSummary;

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub url: String,
    file: File,
    /// For messages: where bodies lie. A local file lies elsewhere, and is never written.
    spool_dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    changed_async: Notify,
    /// Bytes of this body that count against the budget of all bodies.
    reserved: AtomicU64,
    budget: Arc<AtomicU64>,
    budget_limit: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub head: Head,
    pub available: u64,
    /// Something of this source was handed out, so that it may not be replaced by another.
    pub pinned: bool,
    /// Bytes were handed out, so that not even the same source may start over without proof.
    touched: bool,
    pub phase: Phase,
    pub tail: Tail,
}

#[derive(Debug)]
pub(crate) enum Phase {
    Arriving,
    Complete(SpoolSummary),
    Failed(Error),
}

/// The end of the body, ahead of the rest.
#[derive(Debug)]
pub(crate) enum Tail {
    None,
    Asked {
        offset: u64,
    },
    Here {
        offset: u64,
        bytes: Bytes,
    },
    /// Asked for and not had; not asked for again.
    Failed,
}

/// Where a range lies that can be read now.
pub(crate) enum Place {
    File(u64),
    Memory(Bytes),
}

impl State {
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.phase {
            Phase::Complete(summary) => Some(summary.length),
            Phase::Arriving | Phase::Failed(_) => self.head.length,
        }
    }

    /// Where the range is, `None` while it is still to come.
    pub(crate) fn place(&mut self, offset: u64, len: u64) -> Result<Option<Place>> {
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
                    range.and_then(|(first, last)| {
                        (last <= bytes.len()).then(|| Place::Memory(bytes.slice(first..last)))
                    })
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

    pub(crate) fn summary(&mut self) -> Result<Option<SpoolSummary>> {
        match &self.phase {
            Phase::Arriving => Ok(None),
            Phase::Complete(summary) => Ok(Some(*summary)),
            Phase::Failed(error) => Err(error.clone()),
        }
    }
}

impl Shared {
    /// `available` is what the file holds already: nothing for a download, everything for a local file.
    pub(crate) fn new(
        url: String,
        file: File,
        spool_dir: PathBuf,
        head: Head,
        available: u64,
        budget: Arc<AtomicU64>,
        budget_limit: u64,
    ) -> Self {
        let state = State { head, available, pinned: false, touched: false, phase: Phase::Arriving, tail: Tail::None };
        Self {
            url,
            file,
            spool_dir,
            state: Mutex::new(state),
            changed: Condvar::new(),
            changed_async: Notify::new(),
            reserved: AtomicU64::new(0),
            budget,
            budget_limit,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere leaves a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.changed_async.notify_waiters();
    }

    /// Blocks until the check finds something.
    pub(crate) fn wait_until<T>(&self, mut check: impl FnMut(&mut State) -> Result<Option<T>>) -> Result<T> {
        let mut state = self.lock();
        loop {
            match check(&mut state)? {
                Some(value) => return Ok(value),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits until the check finds something.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut(&mut State) -> Result<Option<T>>) -> Result<T> {
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

    pub(crate) fn read_file(&self, offset: u64, length: u64) -> Result<Bytes> {
        let failed = |error: &io::Error| match error.kind() {
            // Only a file that someone else shortened ends early.
            io::ErrorKind::UnexpectedEof => {
                Error::Changed { url: self.url.clone(), detail: "it became shorter while it was read".to_owned() }
            }
            _ => Error::io(format!("read {} back", self.url), error),
        };
        let too_long =
            || Error::TooLarge { url: self.url.clone(), limit_bytes: usize::MAX as u64, found_bytes: Some(length) };
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
        self.file.write_all_at(chunk, offset).map_err(|error| Error::spool(&self.spool_dir, &error))?;
        self.lock().available = offset.saturating_add(length);
        self.wake();
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        let held = self.budget.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if held > self.budget_limit {
            let dir = self.spool_dir.display().to_string();
            return Err(Error::SpoolFull { url: self.url.clone(), dir, limit_bytes: self.budget_limit });
        }
        Ok(())
    }

    fn release(&self) {
        self.budget.fetch_sub(self.reserved.swap(0, Ordering::Relaxed), Ordering::Relaxed);
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
        self.file.set_len(0).map_err(|error| Error::spool(&self.spool_dir, &error))?;
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
                let detail =
                    "its last bytes, read ahead, are not those that arrived under the same entity tag".to_owned();
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
