//! Data files in the making: row groups go in, accepted files come out.
//!
//! One [`FileWriter`] writes the files of one partition, one at a time. Row groups arrive encoded, from the page path or from Arrow column
//! writers, so that all encoding can run beside the writing.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};

use crate::error::{Error, Result};
use crate::observer::{Observer, Stage, timed};
use crate::output::{FileSink, OutputSchema, PartitionValue, SinkFactory, WriteOptions, WrittenFile};

/// Who wrote the file, in the form that readers parse.
pub(crate) const CREATED_BY: &str = concat!("lakehost version ", env!("CARGO_PKG_VERSION"), " (build parquet-rs 58)");
/// Sinks get their bytes in pieces of this size.
const SINK_BUFFER_BYTES: usize = 256 << 10;
/// Where a dictionary stops paying; measured on taxi columns.
const DICTIONARY_BYTES: usize = 256 << 10;
const PAGE_ROWS: usize = 64 << 10;

/// What all files of a run have in common: schema and encodings.
pub(crate) struct FileLayout {
    arrow: SchemaRef,
    parquet: SchemaDescPtr,
    properties: WriterPropertiesPtr,
    columns: ArrowRowGroupWriterFactory,
    /// Leaf columns of each field.
    leaves: Vec<usize>,
    target_file_bytes: u64,
}

impl FileLayout {
    /// The Parquet schema (field ids from the metadata `PARQUET:field_id`) and writer properties for `output`.
    pub(crate) fn new(output: &OutputSchema, options: &WriteOptions) -> Result<Self> {
        let refuse = |error: ParquetError| Error::unsupported("the table schema", error);
        let parquet = ArrowSchemaConverter::new().convert(&output.schema).map_err(refuse)?;
        let level = ZstdLevel::try_new(options.zstd_level).map_err(refuse)?;
        let mut properties = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_owned())
            // Version 1 pages in PLAIN and RLE_DICTIONARY: the vectorised readers of older engines know nothing else.
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            // Without page statistics it finds no page; and the parquet crate panics when only some columns have one.
            .set_offset_index_disabled(true);
        let mut leaves = vec![0; output.schema.fields().len()];
        for leaf in 0..parquet.num_columns() {
            let root = parquet.get_column_root_idx(leaf);
            leaves[root] += 1;
            let field = output.schema.field(root);
            if matches!(field.data_type(), DataType::Timestamp(..)) && output.constant(field.name()).is_none() {
                properties = properties.set_column_dictionary_enabled(parquet.column(leaf).path().clone(), false);
            }
        }
        let properties = Arc::new(properties.build());
        let none = SerializedFileWriter::new(std::io::sink(), parquet.root_schema_ptr(), properties.clone())
            .map_err(refuse)?;
        Ok(Self {
            columns: ArrowRowGroupWriterFactory::new(&none, output.schema.clone()),
            arrow: output.schema.clone(),
            parquet: Arc::new(parquet),
            properties,
            leaves,
            target_file_bytes: options.target_file_bytes,
        })
    }

    /// All columns as Arrow types.
    pub(crate) fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The Parquet leaf column at `index`.
    pub(crate) fn column(&self, index: usize) -> ColumnDescPtr {
        self.parquet.column(index)
    }

    /// Leaf columns of each field.
    pub(crate) fn leaves(&self) -> &[usize] {
        &self.leaves
    }

    /// Encoders for all leaf columns of a new row group.
    pub(crate) fn column_writers(&self) -> Result<Vec<ArrowColumnWriter>> {
        self.columns.create_column_writers(0).map_err(|error| Error::encode("a row group", error))
    }
}

/// Writes the files of one partition.
pub(crate) struct FileWriter<'a> {
    layout: &'a FileLayout,
    sinks: &'a dyn SinkFactory,
    observer: &'a dyn Observer,
    partition: Vec<PartitionValue>,
    open: Option<OpenFile>,
    written: Vec<WrittenFile>,
}

struct OpenFile {
    location: String,
    writer: SerializedFileWriter<SinkSlot>,
    rows: u64,
}

/// A sink that can be taken out of the parquet writer, which does not give it back once its footer is written.
struct SinkSlot(Option<BufWriter<Box<dyn FileSink>>>);

impl SinkSlot {
    fn sink(&mut self) -> std::io::Result<&mut BufWriter<Box<dyn FileSink>>> {
        self.0.as_mut().ok_or_else(|| std::io::Error::other("the file is finished"))
    }
}

impl Write for SinkSlot {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.sink()?.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink()?.flush()
    }
}

impl<'a> FileWriter<'a> {
    /// Nothing is created before the first row group.
    pub(crate) fn new(
        layout: &'a FileLayout,
        sinks: &'a dyn SinkFactory,
        observer: &'a dyn Observer,
        partition: Vec<PartitionValue>,
    ) -> Self {
        Self { layout, sinks, observer, partition, open: None, written: Vec::new() }
    }

    /// Append a row group of encoded leaf columns: bytes and footer entry, offsets counted from the start of the bytes.
    pub(crate) fn append_encoded(&mut self, columns: Vec<(Bytes, ColumnCloseResult)>, rows: usize) -> Result<()> {
        self.append(rows, |group| columns.into_iter().try_for_each(|(bytes, close)| group.append_column(&bytes, close)))
    }

    /// Append a row group of leaf columns that Arrow column writers encoded.
    pub(crate) fn append_arrow(&mut self, columns: Vec<ArrowColumnChunk>, rows: usize) -> Result<()> {
        self.append(rows, |group| columns.into_iter().try_for_each(|column| column.append_to_row_group(group)))
    }

    fn append(
        &mut self,
        rows: usize,
        columns: impl FnOnce(&mut SerializedRowGroupWriter<'_, SinkSlot>) -> Result<(), ParquetError>,
    ) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        timed(self.observer, Stage::Upload, || {
            let file = match &mut self.open {
                Some(file) => file,
                none => none.insert(OpenFile::create(self.layout, self.sinks)?),
            };
            let before = file.writer.bytes_written();
            let fault = |error| Error::encode(&file.location, error);
            let mut group = file.writer.next_row_group().map_err(fault)?;
            columns(&mut group).map_err(fault)?;
            let group = group.close().map_err(fault)?;
            if group.num_rows() != rows as i64 || group.num_columns() != self.layout.parquet.num_columns() {
                let detail = format!("a row group of {rows} rows came out with {} rows", group.num_rows());
                return Err(Error::Encode { what: file.location.clone(), detail });
            }
            file.rows += rows as u64;
            self.observer.progress(0, (file.writer.bytes_written() - before) as u64);
            Ok(())
        })?;
        if self.open.as_ref().is_some_and(|file| file.writer.bytes_written() as u64 >= self.layout.target_file_bytes) {
            self.roll()?;
        }
        Ok(())
    }

    /// Close the open file, if there is one.
    pub(crate) fn roll(&mut self) -> Result<()> {
        if let Some(file) = self.open.take() {
            let partition = self.partition.clone();
            self.written.push(timed(self.observer, Stage::Upload, || file.finish(partition))?);
        }
        Ok(())
    }

    /// Close the last file. Returns when the store has accepted all.
    pub(crate) fn finish(mut self) -> Result<Vec<WrittenFile>> {
        self.roll()?;
        Ok(self.written)
    }
}

impl OpenFile {
    fn create(layout: &FileLayout, sinks: &dyn SinkFactory) -> Result<Self> {
        let (location, sink) = sinks.create()?;
        let slot = SinkSlot(Some(BufWriter::with_capacity(SINK_BUFFER_BYTES, sink)));
        let writer = SerializedFileWriter::new(slot, layout.parquet.root_schema_ptr(), layout.properties.clone())
            .map_err(|error| Error::encode(&location, error))?;
        Ok(Self { location, writer, rows: 0 })
    }

    fn finish(mut self, partition: Vec<PartitionValue>) -> Result<WrittenFile> {
        let footer = self.writer.finish().map_err(|error| Error::encode(&self.location, error))?;
        let size_bytes = self.writer.bytes_written() as u64;
        if let Some(sink) = self.writer.inner_mut().0.take() {
            let sink = sink.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            sink.finish()?;
        }
        Ok(WrittenFile { location: self.location, size_bytes, footer: Arc::new(footer), partition, rows: self.rows })
    }
}
