//! Files of the warehouse: data files through [`FileSink`]s, small files whole.
//!
//! Names are locations; a file appears whole or not at all; a prefix can be listed. A warehouse is a folder of this machine
//! ([`LocalStore`]) or a prefix of a bucket ([`S3Store`]).

mod iceberg_storage;
mod local;
mod local_sink;
mod refusal;
mod s3;
mod s3_fresh;
mod s3_keys;
mod s3_sink;
mod s3_uploads;

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::FileIO;
use lakehost_columnar::{ByteSource, FileSink};

pub(crate) use local::DRAFT;
pub use local::LocalStore;
pub(crate) use refusal::{Reason, Refusal, UNKNOWN_KEYS};
pub use s3::{S3Options, S3Store};
pub use s3_fresh::S3Keys;
#[cfg(test)]
pub use s3_sink::PART_BYTES;

/// One file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Absolute.
    pub location: String,
    /// Without folders.
    pub name: String,
    pub size_bytes: u64,
    /// Milliseconds since 1970, 0 when the store does not say.
    pub modified_ms: i64,
}

/// An upload that was begun and neither finished nor given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingUpload {
    pub location: String,
    pub upload_id: String,
    /// Milliseconds since 1970, by the store's clock.
    pub started_ms: i64,
}

/// Who hands out keys for a table's files.
#[async_trait]
pub trait Renew: Send + Sync + std::fmt::Debug {
    /// New ones for the table in this folder, in a catalog's words.
    async fn renew(&self, location: &str) -> Result<BTreeMap<String, String>, crate::Error>;
}

/// Where the files of a warehouse are.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// A new data file; fails when it is there already.
    fn create(&self, location: &str) -> io::Result<Box<dyn FileSink>>;
    /// Writes a small file whole, replacing what was there; readers see the old or the new one. Its name is durable after [`Self::settle`].
    fn put(&self, location: &str, bytes: &[u8]) -> io::Result<()>;
    /// The same for a file whose loss in a power cut would only cost a clean-up.
    fn note(&self, location: &str, bytes: &[u8]) -> io::Result<()>;
    /// A small file whole.
    fn get(&self, location: &str) -> io::Result<Vec<u8>>;
    /// Deletes a file; one that is not there is fine.
    fn delete(&self, location: &str) -> io::Result<()>;
    /// The files right in a folder, by name; none when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<StoredFile>>;
    /// Deletes a folder with everything in it; one that is not there is fine.
    fn delete_folder(&self, folder: &str) -> io::Result<()>;
    /// The names in a folder are durable.
    fn settle(&self, folder: &str) -> io::Result<()>;
    /// Every file under a prefix that ends where a folder does, in no order, until `visit` breaks off.
    fn walk(&self, prefix: &str, visit: &mut dyn FnMut(StoredFile) -> ControlFlow<()>) -> io::Result<()>;
    /// Deletes files; those that could not be, with the reason.
    fn delete_many(&self, locations: &[String]) -> Vec<(String, io::Error)> {
        let failed = |location: &String| Some((location.clone(), self.delete(location).err()?));
        locations.iter().filter_map(failed).collect()
    }
    /// Part of a file; `UnexpectedEof` when it ends before.
    fn read_range(&self, location: &str, range: Range<u64>) -> io::Result<Bytes>;
    /// Length in bytes; `None`: there is no such file.
    fn size(&self, location: &str) -> io::Result<Option<u64>>;
    /// Uploads under a prefix that nobody finished. They cost space and are in no listing.
    fn uploads(&self, _prefix: &str) -> io::Result<Vec<PendingUpload>> {
        Ok(Vec::new())
    }
    /// Gives an upload up; one that is not there is fine.
    fn abort_upload(&self, _upload: &PendingUpload) -> io::Result<()> {
        Ok(())
    }
    /// What a catalog says about reaching the files under `location`: endpoint, region, keys that run out.
    fn learn(&self, _location: &str, _config: &BTreeMap<String, String>) {}
    /// Who to ask when keys that it learned run out.
    fn renewed_by(&self, _renew: Arc<dyn Renew>) {}
    /// The keys that it uses for a location now, also those of a role; `None`: it needs none.
    fn keys(&self, _location: &str) -> io::Result<Option<S3Keys>> {
        Ok(None)
    }
    /// The same files for the Iceberg library.
    fn file_io(&self) -> FileIO;
}

/// A stored file, read by position: a data file of the table as the source of another one.
#[derive(Clone, Debug)]
pub struct StoreBytes {
    store: Arc<dyn Store>,
    location: String,
    length: u64,
}

impl StoreBytes {
    /// The length is asked once.
    pub fn open(store: Arc<dyn Store>, location: &str) -> io::Result<Self> {
        let length = store.size(location)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { store, location: location.to_owned(), length })
    }
}

impl ByteSource for StoreBytes {
    fn name(&self) -> &str {
        &self.location
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.length);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.store.read_range(&self.location, offset..end)
    }
}
