//! `readers`: decoders of the host. A reader that a source hands back whole is never run here: the pipeline takes the scan itself.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use lakehost_columnar::{ColumnMap, ParquetScan, Projection, Unlisted};
use lakehost_wire::{decode_schema_hostile, encode_schema};
use wasmtime::component::Resource;

use crate::abi::since_v0_1::{PluginError, readers};
use crate::error::{Category, Error, Report, Stop};
use crate::services::batches::{GroupRows, HostBatch};
use crate::services::blobs::HostBlob;
use crate::state::HostState;

/// Rows of a batch when nobody says otherwise.
const BATCH_ROWS: usize = 65_536;
/// Upstream names of one column.
const NAMES_LIMIT: usize = 64;

/// A file on its way into batches.
pub struct HostReader {
    scan: Arc<ParquetScan>,
    group: usize,
    row: usize,
    rows_now: Option<Arc<GroupRows>>,
    batch_rows: usize,
    /// Something was read: then it can no longer be handed back whole.
    started: bool,
}

impl HostReader {
    fn new(scan: ParquetScan, row_limit: usize) -> Self {
        let wanted = if scan.batch_rows() == 0 { BATCH_ROWS } else { scan.batch_rows() };
        let batch_rows = wanted.clamp(1, row_limit.max(1));
        Self { scan: Arc::new(scan), group: 0, row: 0, rows_now: None, batch_rows, started: false }
    }

    /// The scan, for the pipeline; fails when rows were taken already.
    pub fn into_scan(self) -> Result<ParquetScan, &'static str> {
        if self.started {
            return Err("it hands back a reader that it has read from");
        }
        Ok(Arc::try_unwrap(self.scan).unwrap_or_else(|shared| (*shared).clone()))
    }

    pub fn schema(&self) -> &SchemaRef {
        self.scan.schema()
    }

    fn next(&mut self, pool: &Arc<crate::limits::MemoryPool>) -> Result<Option<HostBatch>, Stop> {
        self.started = true;
        while self.group < self.scan.group_count() {
            let left = self.scan.group_rows(self.group).saturating_sub(self.row);
            if left == 0 {
                (self.group, self.row, self.rows_now) = (self.group + 1, 0, None);
                continue;
            }
            let group = match &self.rows_now {
                Some(group) => Arc::clone(group),
                None => GroupRows::new(&self.scan, self.group, pool)?,
            };
            let rows = left.min(self.batch_rows);
            let batch = HostBatch::Lazy { group: Arc::clone(&group), first_row: self.row, rows };
            (self.row, self.rows_now) = (self.row + rows, Some(group));
            return Ok(Some(batch));
        }
        Ok(None)
    }
}

impl HostState {
    fn reader(&mut self, reader: &Resource<HostReader>) -> Result<&mut HostReader, Stop> {
        match self.table.get(reader) {
            Ok(_) => {}
            Err(error) => return Err(self.handle_stop(&error)),
        }
        self.table.get_mut(reader).map_err(|_| Stop::Contract("a reader is gone".to_owned()))
    }

    /// A projection, checked; `Err` is for the guest.
    fn projection(&mut self, wanted: readers::Projection) -> Result<Projection, PluginError> {
        let limits = self.budgets().batch;
        let schema = decode_schema_hostile(wanted.schema, &limits).map_err(|source| {
            let report = Report::of_host(Category::InvalidData, &source);
            let (plugin, call) = (self.plugin.clone(), self.call);
            self.find(Error::Batch { plugin, call, source });
            report
        })?;
        let refuse = |message: String| PluginError::from(Report::of_host(Category::Internal, message));
        if wanted.columns.len() > limits.columns {
            return Err(refuse(format!("{} column maps, the limit is {}", wanted.columns.len(), limits.columns)));
        }
        if let Some(map) = wanted.columns.iter().find(|map| map.upstream.len() > NAMES_LIMIT) {
            return Err(refuse(format!(
                "{} upstream names for one column, the limit is {NAMES_LIMIT}",
                map.upstream.len()
            )));
        }
        let columns = wanted.columns.into_iter();
        Ok(Projection {
            schema,
            columns: columns
                .map(|map| ColumnMap { upstream: map.upstream, name: map.name, optional: map.optional })
                .collect(),
            unlisted: match wanted.unlisted {
                readers::Unlisted::Refuse => Unlisted::Refuse,
                readers::Unlisted::Pass => Unlisted::Pass,
            },
            batch_rows: wanted.batch_rows as usize,
        })
    }
}

impl readers::Host for HostState {
    fn parquet_schema(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<Result<Vec<u8>, PluginError>> {
        self.outside(|state| {
            let file = match state.parquet(&blob)? {
                Ok(file) => file,
                Err(error) => return Ok(Err(error)),
            };
            Ok(encode_schema(file.arrow_schema())
                .map_err(|error| Report::of_host(Category::SchemaMismatch, error).into()))
        })
    }

    fn read_parquet(
        &mut self,
        blob: Resource<HostBlob>,
        projection: Option<readers::Projection>,
    ) -> wasmtime::Result<Result<Resource<HostReader>, PluginError>> {
        self.outside(|state| {
            let projection = match projection.map(|wanted| state.projection(wanted)).transpose() {
                Ok(projection) => projection,
                Err(error) => return Ok(Err(error)),
            };
            let file = match state.parquet(&blob)? {
                Ok(file) => file,
                Err(error) => return Ok(Err(error)),
            };
            match ParquetScan::try_new(file, projection.as_ref()) {
                Ok(scan) => {
                    let reader = HostReader::new(scan, state.budgets().batch.rows);
                    let held = state.table.push(reader);
                    Ok(Ok(held.map_err(|error| state.handle_stop(&error))?))
                }
                Err(error) => Ok(Err(state.columns_error(error)?)),
            }
        })
    }
}

impl readers::HostBatchReader for HostState {
    fn schema(&mut self, reader: Resource<HostReader>) -> wasmtime::Result<Vec<u8>> {
        self.outside(|state| {
            let schema = state.reader(&reader)?.schema().clone();
            encode_schema(&schema).map_err(|error| Stop::Contract(error.to_string()).into())
        })
    }

    fn next(
        &mut self,
        reader: Resource<HostReader>,
    ) -> wasmtime::Result<Result<Option<Resource<HostBatch>>, PluginError>> {
        let pool = Arc::clone(self.ceiling.pool());
        let Some(batch) = self.reader(&reader)?.next(&pool)? else { return Ok(Ok(None)) };
        let held = self.table.push(batch).map_err(|error| self.handle_stop(&error))?;
        Ok(Ok(Some(held)))
    }

    fn drop(&mut self, reader: Resource<HostReader>) -> wasmtime::Result<()> {
        self.table.delete(reader).map_err(|error| self.handle_stop(&error))?;
        Ok(())
    }
}
