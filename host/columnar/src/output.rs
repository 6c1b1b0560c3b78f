//! What a data file holds, how it is written and where it goes.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use parquet::file::metadata::ParquetMetaData;

use crate::error::Result;
use crate::partition::Partitions;
use crate::sort::SortKey;

/// What a data file holds: the table's columns in order.
#[derive(Clone, Debug)]
pub struct OutputSchema {
    /// All columns, the constant ones included; every field carries its Iceberg id as metadata `PARQUET:field_id`.
    pub schema: SchemaRef,
    /// The columns that the host makes (`_lakehost_window`, `ingested_at`, `source_file`), by name.
    pub constants: Vec<(String, Constant)>,
}

impl OutputSchema {
    /// The constant value of the column `name`, when it is one that the host makes.
    #[must_use]
    pub fn constant(&self, name: &str) -> Option<&Constant> {
        self.constants.iter().find(|(constant, _)| constant == name).map(|(_, value)| value)
    }
}

/// One value for every row of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00, in the data's own clock.
    TimestampMicros(i64),
    /// Microseconds since 1970-01-01T00:00Z.
    TimestampMicrosUtc(i64),
    /// Text.
    Utf8(String),
}

/// One value of a partition tuple.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionValue {
    /// The source value is null.
    Null,
    /// 32-bit integer: identity, year, month, hour, bucket, truncate.
    Int(i32),
    /// 64-bit integer: identity, truncate.
    Long(i64),
    /// Days since 1970-01-01: identity, day.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00: identity.
    TimestampMicros(i64),
    /// Text: identity, truncate.
    Text(String),
}

/// A partition field that is computed from a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionField {
    /// The table column.
    pub column: String,
    /// What is computed from it.
    pub transform: Transform,
}

/// An Iceberg partition transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
    /// Hash modulo the count.
    Bucket(u32),
    /// The value cut down to a width.
    Truncate(u32),
}

/// Whether rows with these columns can be split by these fields.
///
/// # Errors
///
/// A column that is not there, [`Error::Schema`](crate::Error::Schema) or [`Error::Unsupported`](crate::Error::Unsupported) for a transform that
/// its type does not have.
pub fn check_partition(fields: &[PartitionField], schema: &Schema) -> Result<()> {
    Partitions::new(fields, schema).map(|_| ())
}

/// How data files are written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// zstd level of the pages.
    pub zstd_level: i32,
    /// A file is closed at the first row group boundary at or behind this size.
    pub target_file_bytes: u64,
    /// Rows in a row group, at most.
    pub row_group_rows: usize,
    /// Threads that decode and encode.
    pub threads: usize,
    /// Memory for encoded and decoded columns together.
    pub memory_bytes: usize,
    /// Partition fields other than the constants; empty = one partition.
    pub partition: Vec<PartitionField>,
    /// Rows of each file are in this order; empty = that of the source. What is sorted at a time fits into the memory and makes files of its own.
    pub sort: Vec<SortKey>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            zstd_level: 1,
            target_file_bytes: 512 << 20,
            row_group_rows: 1 << 20,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: 256 << 20,
            partition: Vec::new(),
            sort: Vec::new(),
        }
    }
}

/// Where the bytes of one data file go. Dropped without [`FileSink::finish`] = abandoned.
pub trait FileSink: std::io::Write + Send {
    /// Returns only when all bytes are accepted by the store.
    fn finish(self: Box<Self>) -> std::io::Result<()>;
}

/// Makes data files.
pub trait SinkFactory: Send + Sync {
    /// A new file: its absolute location and where its bytes go.
    fn create(&self) -> std::io::Result<(String, Box<dyn FileSink>)>;
}

/// A data file that the store has accepted.
#[derive(Clone, Debug)]
pub struct WrittenFile {
    /// Absolute location.
    pub location: String,
    /// Length of the file.
    pub size_bytes: u64,
    /// The footer as written.
    pub footer: Arc<ParquetMetaData>,
    /// One value for each of [`WriteOptions::partition`].
    pub partition: Vec<PartitionValue>,
    /// Rows in the file.
    pub rows: u64,
}
