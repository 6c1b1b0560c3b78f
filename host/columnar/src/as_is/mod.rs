//! A file as it is: its own pages in the table, behind a new footer.
//!
//! Nothing is decoded to be written. Behind the source's bytes come one constant chunk per row group for each column that the host makes (a
//! dictionary of one value and one run, some 40 bytes), the page indexes, and a footer with the table's names and field ids. Readers that take
//! the window from partition metadata alone would see nulls, so it is always written.
//!
//! What has to change in any value or type takes the rewrite path: [`as_is_plan`] says why.

mod footer;
mod plan;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::SchemaDescPtr;

pub use self::plan::as_is_plan;
use crate::error::{Error, Result};
use crate::footer::ParquetFile;
use crate::observer::{Observer, Stage, timed};
use crate::output::{Constant, FileSink, SinkFactory, WrittenFile};
use crate::page::{self, PageFault};
use crate::parallel::parallel;

/// The source is read and passed on in pieces of this size.
const COPY_BYTES: usize = 4 << 20;
const TAIL_BYTES: usize = 8;
/// Constant chunks are so small that their compression does not matter.
const CONSTANT_ZSTD_LEVEL: i32 = 1;

/// How far an as-is file is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Every page is decoded once, so that what is committed reads.
    #[default]
    Pages,
    /// The footer alone is checked.
    Footer,
}

/// A file that can be taken as it is, and how.
#[derive(Debug)]
pub struct AsIs {
    file: Arc<ParquetFile>,
    /// The file's columns in their order, named as in the table, then the constants.
    schema: SchemaDescPtr,
    constants: Vec<Constant>,
}

impl AsIs {
    /// Write the file: source bytes, constant chunks, new footer.
    ///
    /// With [`Verify::Pages`] the pages are decoded on `threads` threads while the bytes are passed on; the file is only finished when all of
    /// them read.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a page that does not read, naming column and row group; [`Error::Io`] from the source or the sink. The file is
    /// then abandoned.
    pub fn write(
        &self,
        sinks: &dyn SinkFactory,
        verify: Verify,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<WrittenFile> {
        let (location, sink) = sinks.create()?;
        let mut tee = Tee { sink, tail: None };
        let (size_bytes, footer) = std::thread::scope(|scope| {
            let verified = scope.spawn(|| match verify {
                Verify::Pages => self.verify(threads, observer),
                Verify::Footer => Ok(()),
            });
            let written = timed(observer, Stage::Upload, || self.copy(&mut tee, observer));
            verified.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))?;
            written
        })?;
        timed(observer, Stage::Upload, || tee.sink.finish())?;
        observer.progress(self.file.rows(), 0);
        Ok(WrittenFile {
            location,
            size_bytes,
            footer: Arc::new(footer),
            partition: Vec::new(),
            rows: self.file.rows(),
        })
    }

    /// Everything but the finish: length of the file and its footer, read back from the bytes that went out.
    fn copy(&self, tee: &mut Tee, observer: &dyn Observer) -> Result<(u64, ParquetMetaData)> {
        let name = self.file.name();
        // The metadata writer takes its offsets from what went through its own tracked writer.
        let mut out = TrackedWrite::new(&mut *tee);
        let body = self.file.body_bytes();
        let mut position = 0;
        while position < body {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let len = usize::try_from(body - position).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            out.write_all(&self.file.bytes().read_at(position, len)?)?;
            position += len as u64;
            observer.progress(0, len as u64);
        }
        out.flush()?;
        out.inner_mut().tail = Some(Vec::new());
        let chunks = self.constant_chunks()?;
        let metadata = footer::graft(&self.file, &self.schema, &chunks)?;
        for (bytes, _) in chunks.iter().flatten() {
            out.write_all(bytes)?;
        }
        ParquetMetaDataWriter::new_with_tracked(out, &metadata).finish().map_err(|error| Error::encode(name, error))?;
        let tail = tee.tail.take().unwrap_or_default();
        let footer = self.read_back(&tail)?;
        observer.progress(0, tail.len() as u64);
        Ok((body + tail.len() as u64, footer))
    }

    /// One chunk for each row group and constant, in this order.
    fn constant_chunks(&self) -> Result<Vec<Vec<footer::Chunk>>> {
        let fault =
            |error: PageFault| Error::Encode { what: "a constant column".to_owned(), detail: error.to_string() };
        let mut scratch = page::Scratch::new(CONSTANT_ZSTD_LEVEL).map_err(fault)?;
        let first = self.schema.num_columns() - self.constants.len();
        let groups = self.file.metadata().row_groups().iter().map(|group| {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let chunk = |(index, constant): (usize, &Constant)| {
                let column = self.schema.column(first + index);
                page::constant::encode(Some(constant), rows, &column, &mut scratch).map_err(fault)
            };
            self.constants.iter().enumerate().map(chunk).collect()
        });
        groups.collect()
    }

    /// Decode the footer from the bytes that were written and compare what a reader would count.
    fn read_back(&self, tail: &[u8]) -> Result<ParquetMetaData> {
        let fault = |detail: String| Error::Encode { what: format!("the footer of {}", self.file.name()), detail };
        let (before, last) = tail.split_at_checked(tail.len().saturating_sub(TAIL_BYTES)).unwrap_or_default();
        let length = last.iter().take(4).rev().fold(0, |value, byte| value << 8 | usize::from(*byte));
        let start = before.len().checked_sub(length).ok_or_else(|| fault(format!("it claims {length} bytes")))?;
        let footer =
            ParquetMetaDataReader::decode_metadata(&before[start..]).map_err(|error| fault(error.to_string()))?;
        let rows =
            |metadata: &ParquetMetaData| metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>();
        let good = footer.file_metadata().num_rows() == self.file.metadata().file_metadata().num_rows()
            && rows(&footer) == rows(self.file.metadata())
            && footer.row_groups().iter().all(|group| group.num_columns() == self.schema.num_columns());
        if good { Ok(footer) } else { Err(fault("its row counts are not those of the source".to_owned())) }
    }

    /// Decode every page once.
    fn verify(&self, threads: usize, observer: &dyn Observer) -> Result<()> {
        let name = self.file.name();
        let groups = self.file.metadata().row_groups().iter().enumerate();
        let mut chunks: Vec<_> = groups
            .flat_map(|(group, metadata)| metadata.columns().iter().map(move |chunk| (group, metadata, chunk)))
            .collect();
        // In the order in which a file that is still being downloaded arrives.
        chunks.sort_by_key(|(_, _, chunk)| chunk.byte_range().0);
        parallel(threads, chunks, |(group, metadata, chunk)| {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let (start, len) = chunk.byte_range();
            let bytes: Bytes = self.file.bytes().read_at(start, usize::try_from(len).unwrap_or(usize::MAX))?;
            let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
            timed(observer, Stage::Verify, || {
                let check = || {
                    SCRATCH.with_borrow_mut(|scratch| {
                        let scratch = match scratch {
                            Some(scratch) => scratch,
                            none => none.insert(page::Scratch::new(CONSTANT_ZSTD_LEVEL)?),
                        };
                        page::verify_chunk(bytes, chunk, rows, scratch)
                    })
                };
                let place = format!("column {} of row group {group}", chunk.column_path().string());
                crate::error::guarded(name, || {
                    check().map_err(|error| match error {
                        PageFault::Codec(detail) => Error::Encode { what: place, detail },
                        fault => Error::corrupt(name, format!("{place}: {fault}")),
                    })
                })
            })
        })
        .map(drop)
    }
}

thread_local! {
    /// Decompression contexts and buffers of a verifying thread; they end with the thread.
    static SCRATCH: std::cell::RefCell<Option<page::Scratch>> = const { std::cell::RefCell::new(None) };
}

/// The sink, and what is written to it once `tail` is there.
struct Tee {
    sink: Box<dyn FileSink>,
    tail: Option<Vec<u8>>,
}

impl Write for Tee {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(buffer)?;
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(&buffer[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests;
