//! The services of a component: calls of the imported interfaces.

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};

use super::{Entry, FetchRequest, Level, Projection};
use crate::bindings::{batches, blobs, readers, telemetry};
use crate::error::Result;

#[derive(Debug)]
pub struct Batch(pub batches::Batch);

impl Batch {
    pub fn from_ipc(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(batches::Batch::from_ipc(&bytes)?))
    }

    pub fn rows(&self) -> u64 {
        self.0.rows()
    }

    pub fn schema(&self) -> Result<SchemaRef> {
        Ok(lakehost_wire::decode_schema(&self.0.schema())?)
    }

    pub fn read(&self, columns: &[String]) -> Result<RecordBatch> {
        read_columns(&self.0, columns)
    }
}

/// The declared columns of a borrowed batch, without a copy of their values.
pub fn read_columns(batch: &batches::Batch, columns: &[String]) -> Result<RecordBatch> {
    if columns.is_empty() {
        let options = RecordBatchOptions::new().with_row_count(usize::try_from(batch.rows()).ok());
        return Ok(RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options)?);
    }
    Ok(lakehost_wire::decode_batch(batch.read(columns)?)?)
}

#[derive(Debug)]
pub struct Blob(blobs::Blob);

impl Blob {
    pub fn size(&self) -> Option<u64> {
        self.0.size()
    }

    pub fn status(&self) -> u16 {
        self.0.status()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    pub fn etag(&self) -> Option<String> {
        self.0.etag()
    }

    pub fn read(&self, offset: u64, length_bytes: u64) -> Result<Vec<u8>> {
        Ok(self.0.read(offset, length_bytes)?)
    }
}

#[derive(Debug)]
pub struct BatchReader(pub readers::BatchReader);

impl BatchReader {
    pub fn schema(&self) -> Result<SchemaRef> {
        Ok(lakehost_wire::decode_schema(&self.0.schema())?)
    }

    pub fn next(&self) -> Result<Option<Batch>> {
        Ok(self.0.next()?.map(Batch))
    }
}

pub fn stat(url: &str) -> Result<Entry> {
    Ok(blobs::stat(url)?)
}

pub fn fetch(request: &FetchRequest) -> Result<Blob> {
    Ok(Blob(blobs::fetch(request)?))
}

pub fn parquet_schema(blob: &Blob) -> Result<SchemaRef> {
    Ok(lakehost_wire::decode_schema(&readers::parquet_schema(&blob.0)?)?)
}

pub fn read_parquet(blob: &Blob, projection: Option<&Projection>) -> Result<BatchReader> {
    let projection = match projection {
        None => None,
        Some(projection) => Some(readers::Projection {
            schema: encode_schema(&projection.schema)?,
            columns: projection.columns.clone(),
            unlisted: projection.unlisted,
            batch_rows: projection.batch_rows,
        }),
    };
    Ok(BatchReader(readers::read_parquet(&blob.0, projection.as_ref())?))
}

pub fn log(level: Level, message: &str) {
    telemetry::log(level, message);
}

pub fn progress(done: u64, total: Option<u64>, unit: &str) {
    telemetry::progress(done, total, unit);
}

/// The bytes of a schema as they cross the contract.
pub fn encode_schema(schema: &Schema) -> Result<Vec<u8>> {
    Ok(lakehost_wire::encode_schema(schema)?)
}
