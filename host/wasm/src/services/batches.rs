//! `batches`: rows that the host holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use lakehost_columnar::ParquetScan;
use lakehost_wire::{decode_hostile, encode_batch, encode_schema};
use wasmtime::component::Resource;

use crate::abi::since_v0_1::{PluginError, batches};
use crate::error::{Category, Error, Report, Stop, columns_category};
use crate::limits::{Charge, MemoryPool};
use crate::state::HostState;

/// Rows behind a handle: all there, or a row range of a file whose columns are decoded when someone asks.
pub enum HostBatch {
    Whole {
        batch: RecordBatch,
        /// Rows of a plugin's own count against the memory of the run.
        _charge: Option<Charge>,
    },
    Lazy {
        group: Arc<GroupRows>,
        first_row: usize,
        rows: usize,
    },
}

/// Why columns of a batch cannot be had.
pub(crate) enum ReadError {
    Unknown { column: String },
    Columns(lakehost_columnar::Error),
    Stop(Stop),
}

impl HostBatch {
    /// Rows that the host hands to a guest.
    pub fn of_host(batch: RecordBatch) -> Self {
        Self::Whole { batch, _charge: None }
    }

    pub fn num_rows(&self) -> usize {
        match self {
            Self::Whole { batch, .. } => batch.num_rows(),
            Self::Lazy { rows, .. } => *rows,
        }
    }

    pub fn schema(&self) -> &SchemaRef {
        match self {
            Self::Whole { batch, .. } => batch.schema_ref(),
            Self::Lazy { group, .. } => group.scan.schema(),
        }
    }

    /// The named columns, in the order asked.
    pub fn read(&self, columns: &[String]) -> Result<RecordBatch, ReadError> {
        let schema = self.schema();
        let fields = (columns.iter())
            .map(|name| schema.field_with_name(name).cloned().map_err(|_| ReadError::Unknown { column: name.clone() }))
            .collect::<Result<Vec<_>, _>>()?;
        let arrays = match self {
            Self::Whole { batch, .. } => {
                columns.iter().filter_map(|name| batch.column_by_name(name)).cloned().collect::<Vec<ArrayRef>>()
            }
            Self::Lazy { group, first_row, rows } => group.columns(columns, *first_row, *rows)?,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(self.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| ReadError::Stop(Stop::Contract(error.to_string())))
    }

    /// All columns.
    pub fn materialize(&self) -> Result<RecordBatch, ReadError> {
        match self {
            Self::Whole { batch, .. } => Ok(batch.clone()),
            Self::Lazy { .. } => {
                let names: Vec<String> = self.schema().fields().iter().map(|field| field.name().clone()).collect();
                self.read(&names)
            }
        }
    }
}

/// One row group of a file, with the columns that were asked for so far. Its batches share it, and it goes with the last of them.
pub struct GroupRows {
    scan: Arc<ParquetScan>,
    group: usize,
    decoded: Mutex<Decoded>,
}

struct Decoded {
    columns: HashMap<String, ArrayRef>,
    charge: Charge,
}

impl GroupRows {
    pub fn new(scan: &Arc<ParquetScan>, group: usize, pool: &Arc<MemoryPool>) -> Result<Arc<Self>, Stop> {
        let decoded = Mutex::new(Decoded { columns: HashMap::new(), charge: Charge::take(pool, 0)? });
        Ok(Arc::new(Self { scan: Arc::clone(scan), group, decoded }))
    }

    fn columns(&self, names: &[String], first_row: usize, rows: usize) -> Result<Vec<ArrayRef>, ReadError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<String> =
            names.iter().filter(|name| !decoded.columns.contains_key(*name)).cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let group = self.scan.read_group(self.group, &missing).map_err(ReadError::Columns)?;
            if let Some(failure) = group.failed.first() {
                let row = (0..failure.rows.len()).find(|row| failure.rows.value(*row)).unwrap_or_default();
                let wanted =
                    self.scan.schema().field_with_name(&failure.column).map(|field| field.data_type().to_string());
                return Err(ReadError::Columns(lakehost_columnar::Error::Corrupt {
                    name: self.scan.file().name().to_owned(),
                    detail: format!(
                        "row {row} of row group {} has a value in column {} that does not fit {} exactly",
                        self.group,
                        failure.column,
                        wanted.unwrap_or_default()
                    ),
                }));
            }
            decoded.charge.grow(group.batch.get_array_memory_size()).map_err(ReadError::Stop)?;
            for (name, column) in missing.into_iter().zip(group.batch.columns()) {
                decoded.columns.insert(name, column.clone());
            }
        }
        Ok(names
            .iter()
            .filter_map(|name| decoded.columns.get(name))
            .map(|column| {
                let first = first_row.min(column.len());
                column.slice(first, rows.min(column.len() - first))
            })
            .collect())
    }
}

impl HostState {
    /// What a guest is told of columns that it cannot have; what is no fault of data ends the call.
    pub(crate) fn read_error(&mut self, error: ReadError) -> wasmtime::Result<PluginError> {
        match error {
            ReadError::Stop(stop) => Err(stop.into()),
            ReadError::Unknown { column } => {
                let message = format!("the batch has no column `{}`", crate::error::shown(&column, 100));
                Ok(Report::of_host(Category::SchemaMismatch, message).into())
            }
            ReadError::Columns(error) => self.columns_error(error),
        }
    }

    /// What a guest is told of a file that cannot be read.
    pub(crate) fn columns_error(&mut self, error: lakehost_columnar::Error) -> wasmtime::Result<PluginError> {
        if matches!(error, lakehost_columnar::Error::Cancelled) {
            return Err(Stop::Cancelled.into());
        }
        if let lakehost_columnar::Error::Io(io) = &error
            && let Some(source) = super::blobs::source_error(io)
        {
            let source = source.clone();
            return self.fetch_error(source);
        }
        let report = Report::of_host(columns_category(&error).unwrap_or(Category::Internal), &error);
        if columns_category(&error).is_none() {
            self.find(Error::Columns { error });
        }
        Ok(report.into())
    }
}

impl batches::Host for HostState {}

impl batches::HostBatch for HostState {
    fn from_ipc(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Result<Resource<HostBatch>, PluginError>> {
        self.outside(|state| {
            let charge = Charge::take(state.ceiling.pool(), bytes.len())?;
            match decode_hostile(bytes, &state.budgets().batch, None) {
                Ok(batch) => {
                    let held = state.table.push(HostBatch::Whole { batch, _charge: Some(charge) });
                    Ok(Ok(held.map_err(|error| state.handle_stop(&error))?))
                }
                Err(source) => {
                    let report = Report::of_host(Category::InvalidData, &source);
                    let (plugin, call) = (state.plugin.clone(), state.call);
                    state.find(Error::Batch { plugin, call, source });
                    Ok(Err(report.into()))
                }
            }
        })
    }

    fn rows(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<u64> {
        let batch = self.table.get(&batch).map_err(|error| self.handle_stop(&error))?;
        Ok(batch.num_rows() as u64)
    }

    fn schema(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<Vec<u8>> {
        self.outside(|state| {
            let batch = state.table.get(&batch).map_err(|error| state.handle_stop(&error))?;
            encode_schema(batch.schema()).map_err(|error| Stop::Contract(error.to_string()).into())
        })
    }

    fn read(
        &mut self,
        batch: Resource<HostBatch>,
        columns: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<u8>, PluginError>> {
        self.outside(|state| {
            let limit = state.budgets().batch.columns;
            if columns.len() > limit {
                return Err(Stop::Budget { what: "columns", found: columns.len() as u64, limit: limit as u64 }.into());
            }
            let batch = state.table.get(&batch).map_err(|error| state.handle_stop(&error))?;
            match batch.read(&columns) {
                Ok(columns) => match encode_batch(&columns) {
                    Ok(bytes) => Ok(Ok(bytes)),
                    Err(error) => Ok(Err(Report::of_host(Category::SchemaMismatch, error).into())),
                },
                Err(error) => Ok(Err(state.read_error(error)?)),
            }
        })
    }

    fn drop(&mut self, batch: Resource<HostBatch>) -> wasmtime::Result<()> {
        self.table.delete(batch).map_err(|error| self.handle_stop(&error))?;
        Ok(())
    }
}
