//! Rejected rows that are more than memory holds, before the load that rejected them has an id.
//!
//! They wait as Parquet in a file without a name, which is gone with the process, however it ends. Once the load id is known the file's pages
//! are taken over as they are, with the id as a constant column behind them: nothing is encoded twice.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use lakehost_columnar::{
    Constant, FileBytes, NoObserver, OutputSchema, ParquetFile, ParquetScan, SinkFactory, Verify, WrittenFile,
    as_is_plan,
};
use lakehost_pipeline::ports::RejectWriter;
use lakehost_pipeline::{Fault, rejects};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use crate::error::{Error, Result};

/// Rows of a row group: what of it is encoded waits in memory.
const GROUP_ROWS: usize = 64 << 10;
/// What messages call the file.
const NAME: &str = "the rejected rows";

/// How rejected rows are encoded. No two rows are the same, and a dictionary of them would be thrown away.
pub fn properties() -> WriterPropertiesBuilder {
    use parquet::basic::{Compression, ZstdLevel};
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(rejects::ROW.into(), false)
        .set_column_dictionary_enabled(rejects::SOURCE_ROW.into(), false)
        .set_created_by(concat!("lakehost ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// The file, begun with the first row.
#[derive(Default)]
pub struct Spool(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Writing(Box<ArrowWriter<BufWriter<File>>>),
    Done,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spool")
    }
}

impl Spool {
    fn try_write(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let schema = batch.schema_ref();
        let kept: Vec<usize> =
            (0..schema.fields().len()).filter(|at| schema.field(*at).name() != rejects::LOAD_ID).collect();
        let batch = batch.project(&kept).map_err(|error| Error::Internal(format!("{NAME}: {error}")))?;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Empty) {
            *state = State::Writing(Box::new(begin(&batch.schema())?));
        }
        match &mut *state {
            State::Writing(writer) => writer.write(&batch).map_err(|error| failed(io::Error::other(error))),
            State::Empty | State::Done => Err(Error::Internal(format!("rows came for {NAME} after their end"))),
        }
    }

    /// The rows as a data file of the columns `schema`, with this load id; `None`: there are no rows. Asked once.
    pub fn finish(&self, schema: &SchemaRef, load_id: &str, sinks: &dyn SinkFactory) -> Result<Option<WrittenFile>> {
        let state = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), State::Done);
        let State::Writing(writer) = state else { return Ok(None) };
        let file = writer.into_inner().map_err(|error| failed(io::Error::other(error)))?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        let bytes = FileBytes::of(file, NAME).map_err(failed)?;
        let wrong = |error: lakehost_columnar::Error| match error {
            lakehost_columnar::Error::Io(source) => match source.downcast::<Error>() {
                Ok(error) => error,
                Err(source) => failed(source),
            },
            other => Error::Internal(format!("{NAME} cannot be read back: {other}")),
        };
        let scan = ParquetScan::try_new(ParquetFile::open(Arc::new(bytes)).map_err(wrong)?, None).map_err(wrong)?;
        let constants = vec![(rejects::LOAD_ID.to_owned(), Constant::Utf8(load_id.to_owned()))];
        let output = OutputSchema { schema: Arc::clone(schema), constants };
        let plan = as_is_plan(&scan, &output).map_err(|reason| Error::Internal(format!("{NAME}: {reason}")))?;
        plan.write(sinks, Verify::Footer, 1, &NoObserver).map(Some).map_err(wrong)
    }
}

impl RejectWriter for Spool {
    fn write(&self, batch: &RecordBatch) -> Result<(), Fault> {
        Ok(self.try_write(batch)?)
    }
}

fn begin(schema: &Arc<Schema>) -> Result<ArrowWriter<BufWriter<File>>> {
    let file = BufWriter::new(tempfile::tempfile().map_err(failed)?);
    let options = properties().set_max_row_group_row_count(Some(GROUP_ROWS)).build();
    ArrowWriter::try_new(file, Arc::clone(schema), Some(options)).map_err(|error| failed(io::Error::other(error)))
}

fn failed(source: io::Error) -> Error {
    Error::Store { action: "keep rejected rows in", location: std::env::temp_dir().display().to_string(), source }
}
