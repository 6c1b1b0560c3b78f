//! A data file on its way into a bucket: one request when it is small, parts in flight when it is not.

use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use lakehost_columnar::FileSink;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStoreExt};
use tokio::task::JoinHandle;

use super::refusal::io_error;
use super::s3::{Bucket, S3Store};

/// The size of a part; a file up to it is sent in one request.
pub const PART_BYTES: usize = 8 << 20;
/// So many parts are on their way at once: with the one that fills up, what a file holds of the memory budget.
const IN_FLIGHT: usize = 3;

type Part = JoinHandle<object_store::Result<PartId>>;

/// Uploads one file; gives the upload up when dropped unfinished.
pub struct S3Sink {
    store: S3Store,
    bucket: Bucket,
    key: Path,
    buffer: BytesMut,
    written: u64,
    upload: Option<MultipartId>,
    parts: VecDeque<Part>,
    /// Of the parts that have arrived, in order.
    done: Vec<PartId>,
}

impl S3Sink {
    /// Nothing is sent yet.
    pub fn new(store: S3Store, location: &str) -> io::Result<Self> {
        let (bucket, key) = store.bucket(location)?;
        let (buffer, parts, done) = (BytesMut::new(), VecDeque::new(), Vec::new());
        Ok(Self { store, bucket, key, buffer, written: 0, upload: None, parts, done })
    }

    fn upload(&mut self) -> io::Result<MultipartId> {
        if let Some(id) = &self.upload {
            return Ok(id.clone());
        }
        let (client, key) = (self.bucket.client.clone(), self.key.clone());
        let id = self.store.wait(async move { client.create_multipart(&key).await.map_err(io_error) })?;
        self.upload = Some(id.clone());
        Ok(id)
    }

    fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        let id = self.upload()?;
        while self.parts.len() >= IN_FLIGHT {
            self.arrived()?;
        }
        let (client, key, number) = (self.bucket.client.clone(), self.key.clone(), self.done.len() + self.parts.len());
        let part = async move { client.put_part(&key, &id, number, bytes.into()).await };
        self.parts.push_back(self.store.spawn(part)?);
        Ok(())
    }

    /// Waits for the oldest part.
    fn arrived(&mut self) -> io::Result<()> {
        let Some(part) = self.parts.pop_front() else { return Ok(()) };
        let done = self.store.wait(async move {
            let ended = part.await.map_err(|_| io::Error::other("an upload was broken off"))?;
            ended.map_err(io_error)
        })?;
        self.done.push(done);
        Ok(())
    }

    /// The upload is where it belongs, whole.
    fn complete(&mut self) -> io::Result<()> {
        let rest = self.buffer.split().freeze();
        let (client, key) = (self.bucket.client.clone(), self.key.clone());
        if self.upload.is_none() {
            return self.store.wait(async move { client.put(&key, rest.into()).await.map(|_| ()).map_err(io_error) });
        }
        if !rest.is_empty() {
            self.send(rest)?;
        }
        while !self.parts.is_empty() {
            self.arrived()?;
        }
        let (id, parts, wanted) = (self.upload()?, std::mem::take(&mut self.done), self.written);
        self.store.wait(async move {
            let ended = client.complete_multipart(&key, &id, parts).await;
            // The answer may have been lost, or an error sent behind a success: what counts is what is there.
            match client.head(&key).await {
                Ok(found) if found.size == wanted => Ok(()),
                Ok(found) => Err(io::Error::other(format!(
                    "{wanted} bytes were uploaded, and the object store has {}",
                    found.size
                ))),
                Err(error) => Err(io_error(ended.err().unwrap_or(error))),
            }
        })?;
        self.upload = None;
        Ok(())
    }
}

impl Write for S3Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(bytes.get(..count).unwrap_or_default());
        self.written += count as u64;
        if self.buffer.len() == PART_BYTES {
            let full = std::mem::take(&mut self.buffer).freeze();
            self.send(full)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A part has to be whole; the last one goes with `finish`.
        Ok(())
    }
}

impl FileSink for S3Sink {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.complete()
    }
}

impl Drop for S3Sink {
    fn drop(&mut self) {
        let Some(id) = self.upload.take() else { return };
        let parts = std::mem::take(&mut self.parts);
        let (client, key) = (self.bucket.client.clone(), self.key.clone());
        let given_up = self.store.wait(async move {
            // A part that arrives after the end of its upload would stay behind for ever, so none is cut short.
            for part in parts {
                let _ = part.await;
            }
            client.abort_multipart(&key, &id).await.map_err(io_error)
        });
        if let Err(error) = given_up
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.key, %error, "an abandoned upload could not be given up");
        }
    }
}
