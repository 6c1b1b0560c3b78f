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

use crate::cache::hex;
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
        (self.length, hex(&self.hasher.clone().finalize()))
    }
}

/// The pipeline's view on a reader of a plugin.
pub(crate) struct PluginRows {
    session: Arc<Mutex<Session>>,
    generation: u64,
    /// `None` after the last batch, or after a failure.
    reader: Option<ResourceAny>,
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
        Self { session, generation, reader: Some(reader), schema, spools, digest }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        let Some(reader) = self.reader.take() else { return Ok(None) };
        let session = Arc::clone(&self.session);
        let mut session = lock(&session);
        if session.generation != self.generation {
            return Err(Error::Host {
                doing: "reading on".to_owned(),
                detail: "the plugin was started anew meanwhile".to_owned(),
            });
        }
        let cpu = session.plugin.around().budgets.cpu_batch;
        let running = &mut session.live()?.running;
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
        self.reader = Some(reader);
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
