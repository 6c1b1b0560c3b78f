//! One load: data files first, then one commit.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use lakehost_columnar::{FileSink, PartitionField, SinkFactory};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::{CommitRequest, Committed, Load, Target};

use crate::commit::{Commit, Landing, keeps_files};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::intent::Intent;
use crate::plan::Plan;

/// A load that has begun.
#[derive(Debug)]
pub struct LakeLoad {
    core: Arc<Core>,
    target: Target,
    plan: Plan,
    files: Arc<RunFiles>,
    /// Nothing is left to tidy up.
    settled: bool,
}

impl LakeLoad {
    pub(crate) fn new(core: Arc<Core>, target: Target, plan: Plan, intent: Intent) -> Self {
        let files = Arc::new(RunFiles {
            core: Arc::clone(&core),
            intent,
            recorded: Mutex::new(false),
            next: AtomicU64::new(0),
            created: Mutex::default(),
        });
        Self { core, target, plan, files, settled: false }
    }

    fn try_commit(&mut self, request: &CommitRequest) -> Result<Committed> {
        let ended = self.check(request).and_then(|()| self.land(request));
        // A killed process tidies nothing up, and an unknown outcome must keep everything.
        self.settled = matches!(&ended, Err(error) if keeps_files(error));
        let (requests, snapshot_id) = match ended? {
            Landing::AlreadyLoaded { snapshot_id } => {
                self.discard();
                return Ok(Committed::AlreadyLoaded { snapshot_id });
            }
            Landing::Landed { requests } => (requests, self.files.intent.snapshot_id),
        };
        self.settled = true;
        self.core.fail_points.pass(fail_point::BEFORE_CLEANUP)?;
        let kept: HashSet<&str> = request.files.iter().map(|file| file.location.as_str()).collect();
        self.core.forget(self.files.created().into_iter().filter(|location| !kept.contains(location.as_str())));
        self.files.intent.remove(&self.core);
        Ok(Committed::Landed { snapshot_id, attempts: requests })
    }

    /// The request is about this run's files, and every row is accounted for.
    fn check(&self, request: &CommitRequest) -> Result<()> {
        let table = &self.target.table;
        if request.run_id != self.files.intent.run_id {
            return Err(Error::Internal(format!("run {} commits the load of another run", request.run_id)));
        }
        let created: HashSet<String> = self.files.created().into_iter().collect();
        if let Some(stranger) = request.files.iter().find(|file| !created.contains(&file.location)) {
            return Err(Error::Internal(format!("{} is not a file of this load", stranger.location)));
        }
        let in_files: u64 = request.files.iter().map(|file| file.rows).sum();
        let unbalanced = if in_files != request.rows_written {
            Some(format!("{} rows are in the files, {} were written", in_files, request.rows_written))
        } else if Some(request.rows_read) != request.rows_written.checked_add(request.rows_rejected) {
            Some(format!(
                "{} rows were read, {} written and {} rejected",
                request.rows_read, request.rows_written, request.rows_rejected
            ))
        } else {
            None
        };
        match unbalanced {
            Some(detail) => Err(Error::Balance { table: table.clone(), detail }),
            None => Ok(()),
        }
    }

    fn land(&self, request: &CommitRequest) -> Result<Landing> {
        self.files.record()?;
        if !request.files.is_empty() {
            let folder = &self.files.intent.data_folder;
            self.core.store.settle(folder).map_err(Error::store("sync", folder))?;
        }
        let commit = Commit {
            core: &self.core,
            target: &self.target,
            plan: &self.plan,
            request,
            snapshot_id: self.files.intent.snapshot_id,
        };
        self.core.block_on(commit.run())
    }

    /// Deletes everything that this run wrote.
    fn discard(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.core.forget(self.files.created());
            if *self.files.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
                self.files.intent.remove(&self.core);
            }
        }
    }
}

impl Load for LakeLoad {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn partition(&self) -> &[PartitionField] {
        &self.plan.partition
    }

    fn sinks(&self) -> Arc<dyn SinkFactory> {
        Arc::clone(&self.files) as Arc<dyn SinkFactory>
    }

    fn commit(mut self: Box<Self>, request: CommitRequest) -> Result<Committed, Fault> {
        Ok(self.try_commit(&request)?)
    }

    fn abandon(mut self: Box<Self>) {
        self.discard();
    }
}

impl Drop for LakeLoad {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Where a run's data files go.
#[derive(Debug)]
struct RunFiles {
    core: Arc<Core>,
    intent: Intent,
    /// Whether the intent record is written.
    recorded: Mutex<bool>,
    next: AtomicU64,
    created: Mutex<Vec<String>>,
}

impl RunFiles {
    /// The intent record is there when this returns.
    fn record(&self) -> Result<()> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if !*recorded {
            self.core.fail_points.pass(fail_point::INTENT)?;
            self.intent.write(&self.core)?;
            *recorded = true;
        }
        Ok(())
    }

    fn created(&self) -> Vec<String> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
