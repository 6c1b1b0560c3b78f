//! JSON lines as batches, a piece of the file at a time.

use std::sync::Arc;

use lakehost_sdk::arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use lakehost_sdk::arrow_schema::SchemaRef;
use lakehost_sdk::{Batch, Blob, PluginError, Reader, Result};
use serde::Deserialize;

/// Bytes that are read at a time.
const STEP_BYTES: u64 = 256 << 10;
/// Rows of a batch.
const BATCH_ROWS: usize = 8 << 10;

/// One line. What is missing is null.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    id: Option<i64>,
    name: Option<String>,
    amount: Option<f64>,
    updated_at: Option<i64>,
}

/// The rows of one part.
#[derive(Debug)]
pub struct Lines {
    part: String,
    blob: Blob,
    schema: SchemaRef,
    /// Where the next bytes start.
    offset: u64,
    /// Bytes of lines that no row was made of.
    rest: Vec<u8>,
    /// The line that comes next, from 1.
    line: u64,
    ended: bool,
}

impl Lines {
    /// The rows of a part that the host fetches.
    pub fn new(part: &str, blob: Blob, schema: SchemaRef) -> Self {
        Self { part: part.to_owned(), blob, schema, offset: 0, rest: Vec::new(), line: 1, ended: false }
    }

    /// The next line with something on it; `None`: more bytes are needed, or there are none.
    fn next_line(&mut self, start: &mut usize) -> Result<Option<Change>> {
        loop {
            let left = self.rest.get(*start..).unwrap_or_default();
            let length = match left.iter().position(|byte| *byte == b'\n') {
                Some(length) => length,
                None if self.ended && !left.is_empty() => left.len(),
                None => return Ok(None),
            };
            let text = left.get(..length).unwrap_or_default();
            *start = (*start + length + 1).min(self.rest.len());
            let line = self.line;
            self.line += 1;
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return serde_json::from_slice(text).map(Some).map_err(|error| {
                PluginError::data(format!("line {line} is no change: {error}")).with("part", &self.part)
            });
        }
    }

    fn batch(&self, changes: Vec<Change>) -> Result<Batch> {
        let ids: Int64Array = changes.iter().map(|change| change.id).collect();
        let amounts: Float64Array = changes.iter().map(|change| change.amount).collect();
        let times: TimestampMicrosecondArray = changes.iter().map(|change| change.updated_at).collect();
        let names: StringArray = changes.into_iter().map(|change| change.name).collect();
        let times = times.with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names), Arc::new(amounts), Arc::new(times)];
        Batch::new(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl Reader for Lines {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        let mut changes = Vec::new();
        loop {
            let mut start = 0;
            while changes.len() < BATCH_ROWS {
                match self.next_line(&mut start)? {
                    Some(change) => changes.push(change),
                    None => break,
                }
            }
            self.rest.drain(..start);
            if changes.len() == BATCH_ROWS || (self.ended && !changes.is_empty()) {
                return self.batch(changes).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            let bytes = self.blob.read(self.offset, STEP_BYTES)?;
            self.ended = bytes.is_empty();
            self.offset += bytes.len() as u64;
            self.rest.extend_from_slice(&bytes);
        }
    }
}
