//! Small Parquet files and a place to write to, for the tests of this crate.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use crate::bytes::MemoryBytes;
use crate::footer::ParquetFile;
use crate::output::{FileSink, SinkFactory};

/// Rows of every flat type that tables have, with nulls.
pub(crate) fn sample(rows: usize) -> RecordBatch {
    let some = |row: usize, every: usize| !row.is_multiple_of(every);
    let of = 0..rows;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(of.clone().map(|row| Some(row as i64)).collect::<Int64Array>())),
        ("kind", Arc::new(of.clone().map(|row| some(row, 7).then_some(row as i32 % 5)).collect::<Int32Array>())),
        ("amount", Arc::new(of.clone().map(|row| some(row, 11).then_some(row as f64 / 4.0)).collect::<Float64Array>())),
        ("flag", Arc::new(of.clone().map(|row| some(row, 13).then_some(row % 2 == 0)).collect::<BooleanArray>())),
        (
            "name",
            Arc::new(of.clone().map(|row| some(row, 5).then(|| format!("name {}", row % 90))).collect::<StringArray>()),
        ),
        ("day", Arc::new(of.clone().map(|row| some(row, 3).then_some(row as i32 / 100)).collect::<Date32Array>())),
        ("at", Arc::new(of.map(|row| Some(row as i64 * 60_000_000)).collect::<TimestampMicrosecondArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// `batch` as a Parquet file.
pub(crate) fn file_of(batch: &RecordBatch, properties: WriterProperties) -> Bytes {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// [`sample`] as a Parquet file.
pub(crate) fn sample_file(
    rows: usize,
    properties: impl FnOnce(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
) -> Bytes {
    file_of(&sample(rows), properties(WriterProperties::builder()).build())
}

/// Bytes as an opened file.
pub(crate) fn opened(bytes: impl Into<Bytes>) -> Arc<ParquetFile> {
    ParquetFile::open(Arc::new(MemoryBytes::new("sample.parquet", bytes.into()))).unwrap()
}

/// Files that were finished, by location, in order.
#[derive(Clone, Default)]
pub(crate) struct MemorySinks(Arc<Mutex<Vec<(String, Bytes)>>>);

impl MemorySinks {
    pub(crate) fn files(&self) -> Vec<(String, Bytes)> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn bytes(&self, location: &str) -> Bytes {
        self.files().into_iter().find(|(name, _)| name == location).unwrap().1
    }
}

struct MemorySink {
    location: String,
    bytes: Vec<u8>,
    files: MemorySinks,
}

impl SinkFactory for MemorySinks {
    fn create(&self) -> std::io::Result<(String, Box<dyn FileSink>)> {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let location = format!("memory:///{}.parquet", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Ok((location.clone(), Box::new(MemorySink { location, bytes: Vec::new(), files: self.clone() })))
    }
}

impl Write for MemorySink {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl FileSink for MemorySink {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        self.files.0.lock().unwrap().push((self.location, self.bytes.into()));
        Ok(())
    }
}

/// All rows of a Parquet file, through the parquet crate's own reader and without its Arrow hint.
pub(crate) fn read_back(bytes: Bytes) -> RecordBatch {
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}
