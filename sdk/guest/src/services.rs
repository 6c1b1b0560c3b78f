//! What the host does for a plugin: fetching, decoding, holding batches, telling people.
//!
//! In a component these calls cross the contract. Natively they reach the [`testing::Host`](crate::testing::Host) that runs at the
//! moment, so that an author's unit tests need neither network nor WebAssembly. Nothing here opens a socket or a file.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::Result;

pub use crate::bindings::blobs::{Entry, FetchRequest, RequestHeader};
pub use crate::bindings::readers::{ColumnMap, Unlisted};
pub use crate::bindings::telemetry::Level;

#[cfg(target_arch = "wasm32")]
#[path = "services/component.rs"]
pub(crate) mod backend;
#[cfg(not(target_arch = "wasm32"))]
#[path = "services/recorded.rs"]
pub(crate) mod backend;

/// A batch that the host holds. Its bytes stay there until they are asked for, column by column.
#[derive(Debug)]
pub struct Batch(pub(crate) backend::Batch);

impl Batch {
    /// Hands rows of the plugin's own to the host.
    ///
    /// # Errors
    /// `invalid-data`, when the host finds the batch larger than its budget.
    pub fn new(batch: &RecordBatch) -> Result<Self> {
        Self::from_ipc(lakehost_wire::encode_batch(batch)?)
    }

    /// Hands rows that are already one Arrow IPC stream to the host, which checks every length and value of it.
    ///
    /// # Errors
    /// `invalid-data`, when the bytes are not one sound stream within budget.
    pub fn from_ipc(bytes: Vec<u8>) -> Result<Self> {
        backend::Batch::from_ipc(bytes).map(Self)
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.0.rows()
    }

    /// Its columns and their types. No row crosses.
    ///
    /// # Errors
    /// `invalid-data`, when the host's answer is no schema.
    pub fn schema(&self) -> Result<SchemaRef> {
        self.0.schema()
    }

    /// The named columns of all rows, in the order asked.
    ///
    /// # Errors
    /// `schema-mismatch`, when the batch has no such column, or a cleaner did not declare it.
    pub fn read<S: AsRef<str>>(&self, columns: &[S]) -> Result<RecordBatch> {
        let columns: Vec<String> = columns.iter().map(|name| name.as_ref().to_owned()).collect();
        self.0.read(&columns)
    }
}

/// Bytes that the host fetched, or is still fetching.
#[derive(Debug)]
pub struct Blob(pub(crate) backend::Blob);

impl Blob {
    /// Length in bytes, once known: a chunked body has none before its end.
    pub fn size(&self) -> Option<u64> {
        self.0.size()
    }

    /// HTTP status; 200 for `file` and `s3`.
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// A response header, by case-insensitive name.
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// Entity tag as upstream wrote it, quotes included; a weak one begins with `W/`.
    pub fn etag(&self) -> Option<String> {
        self.0.etag()
    }

    /// Up to `length_bytes` from `offset`; fewer only at the end. Waits for bytes that are still on their way.
    ///
    /// # Errors
    /// `unavailable`, when the connection broke for good.
    pub fn read(&self, offset: u64, length_bytes: u64) -> Result<Vec<u8>> {
        self.0.read(offset, length_bytes)
    }

    /// Every byte. The plugin's memory must hold them: let the host decode what it can.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&self) -> Result<Vec<u8>> {
        const STEP_BYTES: u64 = 1 << 20;
        let mut bytes = Vec::new();
        loop {
            let part = self.read(bytes.len() as u64, STEP_BYTES)?;
            if part.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&part);
        }
    }
}

/// What a host reader should answer: the wanted schema, and how upstream columns become it.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Names and types wanted, in order.
    pub schema: SchemaRef,
    /// One entry for each wanted column.
    pub columns: Vec<ColumnMap>,
    /// What becomes of an upstream column that no entry lists.
    pub unlisted: Unlisted,
    /// Rows in a batch; 0 lets the host decide.
    pub batch_rows: u32,
}

/// Batches that the host decodes. Hand it on as [`Rows::FromHost`](crate::Rows::FromHost), and no row enters the plugin.
#[derive(Debug)]
pub struct BatchReader(pub(crate) backend::BatchReader);

impl BatchReader {
    /// The schema of every batch to come.
    ///
    /// # Errors
    /// `invalid-data`, when the host's answer is no schema.
    pub fn schema(&self) -> Result<SchemaRef> {
        self.0.schema()
    }

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// `invalid-data`, when upstream's bytes are not what they should be.
    pub fn next(&self) -> Result<Option<Batch>> {
        Ok(self.0.next()?.map(Batch))
    }
}

impl FetchRequest {
    /// A GET of `url`, within a prefix that was granted. The host adds credentials; the plugin never sees them.
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: "GET".to_owned(), headers: Vec::new(), body: None, max_bytes: None }
    }

    /// Adds a request header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(RequestHeader { name: name.into(), value: value.into() });
        self
    }

    /// Refuses a longer answer.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }
}

/// Size and entity tag of what `url` holds, without the body.
///
/// # Errors
/// `not-granted` when no grant covers the URL; otherwise what upstream said, with the HTTP status in
/// [`PluginError::status`](crate::PluginError::status).
///
/// # Example
/// ```
/// use lakehost_sdk::testing::{Answer, Host};
///
/// let host = Host::new().with("https://example.org/a.csv", Answer::bytes("a,b\n1,2\n").etag("\"v1\""));
/// let entry = host.run(|| lakehost_sdk::stat("https://example.org/a.csv"))?;
/// assert_eq!((entry.size, entry.etag.as_deref()), (8, Some("\"v1\"")));
/// # Ok::<(), lakehost_sdk::PluginError>(())
/// ```
pub fn stat(url: &str) -> Result<Entry> {
    backend::stat(url)
}

/// Fetches with the host's retries, resume and Retry-After. Answers when the headers are in; the body follows.
///
/// # Errors
/// As [`stat`].
pub fn fetch(request: &FetchRequest) -> Result<Blob> {
    backend::fetch(request).map(Blob)
}

/// Column names and types of a Parquet blob, from its footer.
///
/// # Errors
/// `invalid-data`, when the blob is no Parquet file.
pub fn parquet_schema(blob: &Blob) -> Result<SchemaRef> {
    backend::parquet_schema(&blob.0)
}

/// Lets the host decode a Parquet blob. The reader lives on when the blob is dropped.
///
/// # Errors
/// `invalid-data`, when the blob is no Parquet file; `schema-mismatch`, when a column that is not optional is missing or an unlisted
/// one is there.
pub fn read_parquet(blob: &Blob, projection: Option<&Projection>) -> Result<BatchReader> {
    backend::read_parquet(&blob.0, projection).map(BatchReader)
}

/// Tells people what goes on. The host escapes, cuts and rate-limits the text.
pub fn log(level: Level, message: &str) {
    backend::log(level, message);
}

/// Work done and expected, for the progress bar.
///
/// # Units
/// Whatever `unit` says: `rows` or `bytes`.
pub fn progress(done: u64, total: Option<u64>, unit: &str) {
    backend::progress(done, total, unit);
}
