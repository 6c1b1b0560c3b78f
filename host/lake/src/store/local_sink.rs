//! A data file that goes straight to a local folder.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use lakehost_columnar::FileSink;

/// Small writes (page headers, footers) are gathered; pages go through as they are.
const BUFFER_BYTES: usize = 256 << 10;
/// So often the kernel is told to start writing back.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// Writes one file; removes it when dropped unfinished.
#[derive(Debug)]
pub struct LocalSink {
    path: PathBuf,
    /// Gone once finished.
    file: Option<BufWriter<File>>,
    written: u64,
    /// Up to here writing back has been started.
    started: u64,
    durable: bool,
}

impl LocalSink {
    /// Fails when the file is there already.
    pub fn create(path: &Path, durable: bool) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
            written: 0,
            started: 0,
            durable,
        })
    }

    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the file is finished"))
    }
}

impl Write for LocalSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file()?.write(bytes)?;
        self.written += count as u64;
        if self.durable && self.written - self.started >= WRITEBACK_BYTES {
            let (from, until) = (self.started, self.written);
            start_writeback(self.file()?.get_ref(), from, until - from);
            self.started = until;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl FileSink for LocalSink {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()?;
        if self.durable {
            self.file()?.get_ref().sync_data()?;
        }
        // From here on dropping it leaves the file alone.
        self.file = None;
        Ok(())
    }
}

impl Drop for LocalSink {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is still in the buffer is not worth writing.
            drop(file.into_parts());
            if let Err(error) = std::fs::remove_file(&self.path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(file = %self.path.display(), %error, "an abandoned data file could not be removed");
            }
        }
    }
}

/// A hint only: the wait, and any error, comes with `sync_data`.
fn start_writeback(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes no pointer.
        let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}
