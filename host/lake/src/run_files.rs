//! Where a run's data files go, and the record that says so before the first one is there.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lakehost_columnar::{FileSink, SinkFactory};
use lakehost_pipeline::Fault;

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
        let inner = self.core.store.create(&location).map_err(naming(&location))?;
        self.created.lock().unwrap_or_else(PoisonError::into_inner).push(location.clone());
        Ok((location.clone(), Box::new(RunSink { inner, location, core: Arc::clone(&self.core) })))
    }
}

/// An error on its way through the column code, whole: it comes out with its file, and a full disk is still one.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::Store { action, location, source } => {
            io::Error::new(source.kind(), Fault::new(Error::Store { action, location, source }))
        }
        other => io::Error::other(other),
    }
}

/// For `map_err`: which file could not be written.
fn naming(location: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |source| into_io(Error::store("write", location)(source))
}

/// A data file's sink with the fail point behind it.
struct RunSink {
    inner: Box<dyn FileSink>,
    location: String,
    core: Arc<Core>,
}

impl io::Write for RunSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(naming(&self.location))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(naming(&self.location))
    }
}

impl FileSink for RunSink {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.inner.finish().map_err(naming(&self.location))?;
        self.core.fail_points.pass(fail_point::FILE_FINISHED).map_err(into_io)
    }
}
