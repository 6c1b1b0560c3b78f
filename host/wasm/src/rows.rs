//! Rows that come out of a plugin's own reader, batch by batch.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lakehost_columnar::{BatchSource, BoxError};
use lakehost_fetch::Spool;
use lakehost_pipeline::Fault;
use lakehost_wire::{check_schema, encode_batch};
use sha2::{Digest, Sha256};
use wasmtime::component::ResourceAny;

use crate::error::{Error, Result};
use crate::services::batches::ReadError;
use crate::source::{Session, lock};

/// Length and hash of the rows that a split handed over, as IPC.
#[derive(Default)]
pub(crate) struct RowsDigest {
    hasher: Sha256,
    length: u64,
}

impl RowsDigest {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), lakehost_wire::WireError> {
        let bytes = encode_batch(batch)?;
        self.hasher.update(&bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Bytes and lower-case hex sha256 so far.
    pub fn finish(&self) -> (u64, String) {
        (self.length, hex::encode(self.hasher.clone().finalize()))
    }
}

/// How far a reader has got.
#[derive(Clone, Copy, PartialEq)]
enum ReaderState {
    Open,
    Ended,
    Failed,
}

/// The pipeline's view on a reader of a plugin.
pub(crate) struct PluginRows {
    session: Arc<Mutex<Session>>,
    generation: u64,
    reader: ResourceAny,
    state: ReaderState,
    schema: SchemaRef,
    spools: Arc<Mutex<Vec<Arc<Spool>>>>,
    digest: Arc<Mutex<RowsDigest>>,
}

impl PluginRows {
    pub fn new(
        session: Arc<Mutex<Session>>,
        generation: u64,
        reader: ResourceAny,
        schema: SchemaRef,
        spools: Arc<Mutex<Vec<Arc<Spool>>>>,
        digest: Arc<Mutex<RowsDigest>>,
    ) -> Self {
        Self { session, generation, reader, state: ReaderState::Open, schema, spools, digest }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        match self.state {
            ReaderState::Open => self.state = ReaderState::Failed,
            ReaderState::Ended => return Ok(None),
            ReaderState::Failed => {
                let detail = "the reader failed before".to_owned();
                return Err(Error::Host { doing: "reading on".to_owned(), detail });
            }
        }
        let batch = self.read_batch()?;
        self.state = if batch.is_some() { ReaderState::Open } else { ReaderState::Ended };
        Ok(batch)
    }

    fn read_batch(&self) -> Result<Option<RecordBatch>> {
        let reader = self.reader;
        let mut session = lock(&self.session);
        let cpu = session.plugin.around().budgets.cpu_batch;
        let running = &mut session.same(self.generation)?.running;
        let batch = running
            .ask("next", cpu, |plugin, store| plugin.lakehost_plugin_source().reader().call_next(store, reader))?;
        let fetched = std::mem::take(&mut running.state().fetched);
        let mut spools = self.spools.lock().unwrap_or_else(PoisonError::into_inner);
        spools.extend(fetched);
        let Some(handle) = batch else {
            // Its destructor is code of the plugin too.
            return running.call("drop", cpu, |_, store| reader.resource_drop(store)).map(|()| None);
        };
        let state = running.state();
        let held = state.table.delete(handle);
        let held = held.map_err(|error| running.contract("next", error.to_string()))?;
        let plugin = running.state().plugin.clone();
        let batch = held.materialize().map_err(|error| match error {
            ReadError::Columns(error) => Error::Columns { error },
            ReadError::Unknown { column } => running.contract("next", format!("no column `{column}`")),
            ReadError::Stop(stop) => running.contract("next", stop.to_string()),
        })?;
        let unsound = |source| Error::unsound(plugin.clone(), "next", source);
        check_schema(batch.schema_ref(), &self.schema).map_err(unsound)?;
        if spools.is_empty() {
            self.digest.lock().unwrap_or_else(PoisonError::into_inner).add(&batch).map_err(unsound)?;
        }
        Ok(Some(batch))
    }
}

impl BatchSource for PluginRows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        self.read().map_err(|error| Box::new(Fault::from(error)) as BoxError)
    }
}
