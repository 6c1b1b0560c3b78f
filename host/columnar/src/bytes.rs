//! Random-access bytes of one source file, and their reading by the parquet crate.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// Random-access bytes of one source file. They may still be on their way: then [`ByteSource::read_at`] waits.
pub trait ByteSource: Send + Sync {
    /// What messages call it: `green_tripdata_2024-01.parquet`.
    fn name(&self) -> &str;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the range reaches behind the end; otherwise what the disk or the network said.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;
}

/// A local file, read by position.
#[derive(Debug)]
pub struct FileBytes {
    name: String,
    len: u64,
    file: File,
}

impl FileBytes {
    /// Open `path`; its file name becomes the name in messages.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).map_err(|error| named(path, &error))?;
        let metadata = file.metadata().map_err(|error| named(path, &error))?;
        if !metadata.is_file() {
            return Err(named(path, &io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, len: metadata.len(), file })
    }

    /// A file that is open already, called `name` in messages.
    pub fn of(file: File, name: impl Into<String>) -> io::Result<Self> {
        Ok(Self { name: name.into(), len: file.metadata()?.len(), file })
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl ByteSource for FileBytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        check_range(&self.name, self.len, offset, len)?;
        let mut buffer = vec![0; len];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }
}

/// Bytes that are in memory already.
#[derive(Clone, Debug)]
pub struct MemoryBytes {
    name: String,
    bytes: Bytes,
}

impl MemoryBytes {
    /// `bytes`, called `name` in messages.
    pub fn new(name: impl Into<String>, bytes: Bytes) -> Self {
        Self { name: name.into(), bytes }
    }
}

impl ByteSource for MemoryBytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        check_range(&self.name, self.len(), offset, len)?;
        let start = offset as usize;
        Ok(self.bytes.slice(start..start + len))
    }
}

fn check_range(name: &str, file_len: u64, offset: u64, len: usize) -> io::Result<()> {
    if offset.checked_add(len as u64).is_none_or(|end| end > file_len) {
        let message = format!("{name}: {len} bytes at {offset} reach behind its end at {file_len}");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(())
}

/// Enough for a page header without large statistics.
const HEADER_READ_BYTES: usize = 2 << 10;

/// A [`ByteSource`] as the parquet crate wants it.
///
/// The parquet crate turns errors into text; the source's own error is kept aside, so that a lost connection is not taken for a damaged file.
#[derive(Clone)]
pub(crate) struct SourceChunks {
    source: Arc<dyn ByteSource>,
    fault: Arc<Mutex<Option<io::Error>>>,
}

impl SourceChunks {
    pub(crate) fn new(source: Arc<dyn ByteSource>) -> Self {
        Self { source, fault: Arc::default() }
    }

    /// What the source said when it failed last, if it did.
    pub(crate) fn take_fault(&self) -> Option<io::Error> {
        self.fault.lock().ok()?.take()
    }

    fn read(&self, start: u64, len: usize) -> io::Result<Bytes> {
        check_range(self.source.name(), self.source.len(), start, len)?;
        self.source.read_at(start, len).map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            if let Ok(mut fault) = self.fault.lock() {
                *fault = Some(error);
            }
            copy
        })
    }
}

impl Length for SourceChunks {
    fn len(&self) -> u64 {
        self.source.len()
    }
}

impl ChunkReader for SourceChunks {
    type T = BufReader<SourceRead>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(HEADER_READ_BYTES, SourceRead { chunks: self.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Sequential reading from a position.
pub(crate) struct SourceRead {
    chunks: SourceChunks,
    position: u64,
}

impl Read for SourceRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.chunks.len().saturating_sub(self.position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if len == 0 {
            return Ok(0);
        }
        let bytes = self.chunks.read(self.position, len)?;
        buffer[..len].copy_from_slice(&bytes);
        self.position += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_behind_the_end_is_an_error_and_not_a_panic() {
        let source = MemoryBytes::new("a.parquet", Bytes::from_static(b"0123456789"));
        assert_eq!(source.read_at(2, 3).unwrap(), "234");
        assert_eq!(source.read_at(10, 0).unwrap(), "");
        for (offset, len) in [(8, 3), (11, 0), (u64::MAX, 1), (0, usize::MAX)] {
            let error = source.read_at(offset, len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset} {len}");
        }
    }
}
