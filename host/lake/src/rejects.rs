//! Rejected rows: an ordinary table beside that of a load, committed together with it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use lakehost_columnar::{FileSink, SinkFactory, WrittenFile};
use lakehost_pipeline::contract::Contract;
use lakehost_pipeline::ports::{CommitRequest, RejectWriter, TableName, Target, WriteMode};
use lakehost_pipeline::{Fault, rejects};
use parquet::arrow::ArrowWriter;

use crate::catalog::{Base, TableState};
use crate::commit::{Manifests, any};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::intent::Intent;
use crate::plan::Plan;
use crate::reject_spool::{Spool, properties};
use crate::run_files::RunFiles;

/// Names the table whose rejected rows a table holds.
pub const REJECTED_OF: &str = "lakehost.rejected-of";

/// The part of a load in the table of rejected rows.
#[derive(Debug)]
pub struct Rejects {
    pub target: Target,
    pub plan: Plan,
    pub files: Arc<RunFiles>,
    writer: Arc<Writer>,
}

impl Rejects {
    /// The part of a load into `main` that has rejected rows.
    pub fn begin(core: &Arc<Core>, main: &Target, run_id: &str) -> Result<Self> {
        let target = target(main)?;
        let state = core.block_on(core.catalog.load(&target.table))?;
        Self::new(core, main, target, state, run_id)
    }

    /// The part of a load without rejected rows: those of an earlier load of its window have to go. `None`: there are none.
    pub fn clear(core: &Arc<Core>, main: &Target, run_id: &str) -> Result<Option<Self>> {
        // What is added takes nothing away.
        if matches!(main.mode, WriteMode::Append | WriteMode::Merge) {
            return Ok(None);
        }
        let Ok(target) = target(main) else { return Ok(None) };
        let Some(state) = core.block_on(core.catalog.load(&target.table))? else { return Ok(None) };
        if state.metadata.properties().get(REJECTED_OF) != Some(&main.table.to_string()) {
            return Ok(None);
        }
        let rejects = Self::new(core, main, target, Some(state.clone()), run_id)?;
        let manifests = Manifests::new(core.io.clone());
        let some = core.block_on(any(&rejects.target.table, &manifests, &rejects.plan.removal, &state))?;
        Ok(some.then_some(rejects))
    }

    fn new(core: &Arc<Core>, main: &Target, target: Target, state: Option<TableState>, run_id: &str) -> Result<Self> {
        let mut plan = Plan::new(&target, state, &core.warehouse.table(&target.table))?;
        if let Base::New(creation) = &mut plan.base {
            creation.properties.insert(REJECTED_OF.to_owned(), main.table.to_string());
        }
        let plan = plan.placed(core, &target.table)?;
        if !plan.partition.is_empty() {
            return Err(Error::shape(
                &target.table,
                "is partitioned by more than the window, and its rows are not split",
            ));
        }
        let intent = Intent::new(core, &target, &plan, run_id);
        let files = Arc::new(RunFiles::new(Arc::clone(core), intent));
        let writer = Arc::new(Writer {
            files: Arc::clone(&files),
            schema: Arc::clone(&plan.schema),
            open: Mutex::default(),
            spooled: Mutex::default(),
        });
        Ok(Self { target, plan, files, writer })
    }

    /// Rows that were spooled before the load had an id are part of it.
    pub fn with_spooled(self, spool: Option<&Arc<Spool>>) -> Self {
        if let Some(spool) = spool {
            self.writer.lock_spooled().spool = Some(Arc::clone(spool));
        }
        self
    }

    pub fn writer(&self) -> Arc<dyn RejectWriter> {
        Arc::clone(&self.writer) as Arc<dyn RejectWriter>
    }

    /// The commit of this part: that of the load, with the rejected rows as its rows. The file is complete when this returns.
    pub fn request(&self, main: &CommitRequest) -> Result<CommitRequest> {
        self.request_of(main, Some(main.rows_rejected))
    }

    /// The same; `expected`: how many rows must have been written, if any were.
    pub fn request_of(&self, main: &CommitRequest, expected: Option<u64>) -> Result<CommitRequest> {
        let written = self.writer.finish(&main.load_id)?;
        let rows = written.as_ref().map_or(0, |file| file.rows);
        if let Some(expected) = expected.filter(|expected| written.is_some() && rows != *expected) {
            return Err(Error::Balance {
                table: self.target.table.clone(),
                detail: format!("{rows} rejected rows were kept, {expected} were counted"),
            });
        }
        self.files.record()?;
        Ok(CommitRequest {
            rows_read: rows,
            rows_written: rows,
            rows_rejected: 0,
            rejected_by: main.rejected_by.clone(),
            values_discarded: Default::default(),
            checks: Vec::new(),
            progress: None,
            files: written.into_iter().collect(),
            ..main.clone()
        })
    }

    /// Deletes everything that was written.
    pub fn discard(&self) {
        self.files.discard();
    }
}

/// What the table of rejected rows of a load must be.
fn target(main: &Target) -> Result<Target> {
    let table = rejects::table_of(&main.table).map_err(|detail| Error::Setting {
        what: main.table.to_string(),
        purpose: "a table with rejected rows",
        detail,
    })?;
    Ok(Target {
        table,
        schema: rejects::schema(main.owner.granularity),
        partition: Vec::new(),
        window: main.window.clone(),
        mode: if main.mode == WriteMode::Merge { WriteMode::Append } else { main.mode },
        owner: main.owner.clone(),
        contract: Contract::default(),
        renames: Vec::new(),
        key: Vec::new(),
        order: None,
        sort: Vec::new(),
    })
}

/// The table of rejected rows of a table, when there is one.
pub async fn table_of(core: &Core, main: &TableName) -> Result<Option<TableState>> {
    let Ok(name) = rejects::table_of(main) else { return Ok(None) };
    let state = core.catalog.load(&name).await?;
    Ok(state.filter(|state| state.metadata.properties().get(REJECTED_OF) == Some(&main.to_string())))
}

/// Writes rejected rows to one file, which is begun with the first of them.
struct Writer {
    files: Arc<RunFiles>,
    /// The table's columns with field ids.
    schema: SchemaRef,
    open: Mutex<Option<Open>>,
    /// Rows that came before the load had an id.
    spooled: Mutex<Spooled>,
}

#[derive(Default)]
struct Spooled {
    spool: Option<Arc<Spool>>,
    file: Option<WrittenFile>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

struct Open {
    location: String,
    sink: Shared,
    state: State,
}

enum State {
    Writing(Box<ArrowWriter<Shared>>),
    Done(WrittenFile),
    Broken,
}

impl Writer {
    fn try_write(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match &mut *open {
            Some(open) => open,
            none => none.insert(self.begin()?),
        };
        let State::Writing(writer) = &mut open.state else {
            return Err(Error::Internal(format!("rows came for {} after its end", open.location)));
        };
        let columns = self.schema.fields().iter().map(|field| -> Result<ArrayRef> {
            let column = batch.column_by_name(field.name());
            Ok(match column {
                Some(column) => Arc::clone(column),
                None => arrow_array::new_null_array(field.data_type(), batch.num_rows()),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::Internal(format!("rejected rows do not fit {}: {error}", open.location)))?;
        let written = writer.write(&batch);
        if written.is_err() {
            open.state = State::Broken;
        }
        written.map_err(|error| open.sink.failed(&open.location, error))
    }

    fn begin(&self) -> Result<Open> {
        let (location, sink) = self.files.create().map_err(Error::store("write", &self.files.intent.data_folder))?;
        let sink = Shared(Arc::new(Mutex::new(Bytes { sink: Some(sink), written: 0, error: None })));
        let options = properties().build();
        let writer = ArrowWriter::try_new(sink.clone(), Arc::clone(&self.schema), Some(options))
            .map_err(|error| sink.failed(&location, error))?;
        Ok(Open { location, sink, state: State::Writing(Box::new(writer)) })
    }

    fn lock_spooled(&self) -> std::sync::MutexGuard<'_, Spooled> {
        self.spooled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the file; the same answer when asked again. `None`: there were no rows.
    fn finish(&self, load_id: &str) -> Result<Option<WrittenFile>> {
        let mut spooled = self.lock_spooled();
        if let Some(spool) = spooled.spool.take() {
            spooled.file = spool.finish(&self.schema, load_id, self.files.as_ref())?;
        }
        if spooled.file.is_some() {
            return Ok(spooled.file.clone());
        }
        drop(spooled);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &mut *open else { return Ok(None) };
        match std::mem::replace(&mut open.state, State::Broken) {
            State::Writing(mut writer) => {
                let footer = writer.finish().map_err(|error| open.sink.failed(&open.location, error))?;
                drop(writer);
                let size_bytes = open.sink.finish().map_err(Error::store("write", &open.location))?;
                let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0);
                let file = WrittenFile {
                    location: open.location.clone(),
                    size_bytes,
                    footer: Arc::new(footer),
                    partition: Vec::new(),
                    rows,
                };
                open.state = State::Done(file.clone());
                Ok(Some(file))
            }
            State::Done(file) => {
                open.state = State::Done(file.clone());
                Ok(Some(file))
            }
            State::Broken => Err(Error::Internal(format!("{} could not be written", open.location))),
        }
    }
}

impl RejectWriter for Writer {
    fn write(&self, batch: &RecordBatch) -> Result<(), Fault> {
        Ok(self.try_write(batch)?)
    }
}

/// A file's sink that can still be finished when the Parquet writer is done with it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Bytes>>);

struct Bytes {
    sink: Option<Box<dyn FileSink>>,
    written: u64,
    /// What the store said, as it said it: the Parquet writer makes text of it.
    error: Option<io::Error>,
}

impl Shared {
    fn failed(&self, location: &str, error: parquet::errors::ParquetError) -> Error {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).error.take();
        Error::store("write", location)(said.unwrap_or_else(|| io::Error::other(error)))
    }

    /// The length of the file.
    fn finish(&self) -> io::Result<u64> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes.sink.take() {
            Some(sink) => sink.finish().map(|()| bytes.written),
            None => Err(io::Error::other("it is finished already")),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut dyn FileSink) -> io::Result<T>) -> io::Result<T> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = bytes.sink.as_mut() else { return Err(io::Error::other("it is finished already")) };
        let ended = act(sink.as_mut());
        ended.map_err(|error| {
            let shown = io::Error::new(error.kind(), error.to_string());
            bytes.error = Some(error);
            shown
        })
    }
}

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.with(|sink| sink.write(bytes))?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|sink| sink.flush())
    }
}
