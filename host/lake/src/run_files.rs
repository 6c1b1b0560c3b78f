//! Where a run's data files go, and the record that says so before the first one is there.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lakehost_columnar::{FileSink, SinkFactory};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::intent::Intent;

/// The data files of one run in one table.
#[derive(Debug)]
pub struct RunFiles {
    core: Arc<Core>,
    pub intent: Intent,
    /// Whether the intent record is written.
    recorded: Mutex<bool>,
    next: AtomicU64,
    created: Mutex<Vec<String>>,
}

impl RunFiles {
    pub fn new(core: Arc<Core>, intent: Intent) -> Self {
        Self { core, intent, recorded: Mutex::new(false), next: AtomicU64::new(0), created: Mutex::default() }
    }

    /// The intent record is there when this returns.
    pub fn record(&self) -> Result<()> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if !*recorded {
            self.core.fail_points.pass(fail_point::INTENT)?;
            self.intent.write(&self.core)?;
            *recorded = true;
        }
        Ok(())
    }

    /// Every file that was begun.
    pub fn created(&self) -> Vec<String> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RunFiles {
    /// Deletes every file that was begun, and the record.
    pub fn discard(&self) {
        self.core.forget(self.created());
        self.settle();
    }

    /// Removes the record: the outcome is certain.
    pub fn settle(&self) {
        if self.is_recorded() {
            self.intent.remove(&self.core);
        }
    }

    /// Whether the record was written.
    pub fn is_recorded(&self) -> bool {
        *self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SinkFactory for RunFiles {
    fn create(&self) -> io::Result<(String, Box<dyn FileSink>)> {
        self.record().map_err(into_io)?;
        self.core.fail_points.pass(fail_point::FIRST_FILE).map_err(into_io)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let location = format!(
            "{}/{}{number}.parquet",
            self.intent.data_folder,
            crate::location::data_prefix(&self.intent.run_id)
        );
        let inner = self.core.store.create(&location)?;
        self.created.lock().unwrap_or_else(PoisonError::into_inner).push(location.clone());
        Ok((location, Box::new(RunSink { inner, core: Arc::clone(&self.core) })))
    }
}

/// The error of the store as it came, so that a full disk is still one; anything else by its text.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::Store { source, .. } => source,
        other => io::Error::other(other),
    }
}

/// A data file's sink with the fail point behind it.
struct RunSink {
    inner: Box<dyn FileSink>,
    core: Arc<Core>,
}

impl io::Write for RunSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl FileSink for RunSink {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.inner.finish()?;
        self.core.fail_points.pass(fail_point::FILE_FINISHED).map_err(into_io)
    }
}
