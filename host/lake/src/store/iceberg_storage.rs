//! A bucket as the Iceberg library reads it, with the same clients, keys and retries as everything else.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::Store;
use super::refusal::io_error;
use super::s3::{Bucket, S3Store};

/// The store for the library. What it serialises is only that it was one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct S3Files {
    #[serde(skip)]
    store: Option<S3Store>,
}

pub(super) fn file_io(store: S3Store) -> FileIO {
    FileIOBuilder::new(Arc::new(S3Files { store: Some(store) })).build()
}

/// Exactly the bytes of a range.
pub(super) async fn range(client: &AmazonS3, key: &Path, range: Range<u64>) -> io::Result<Bytes> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let wanted = range.end - range.start;
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    let found = client.get_opts(key, options).await.map_err(io_error)?.bytes().await.map_err(io_error)?;
    if found.len() as u64 == wanted { Ok(found) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn failed(action: &str, path: &str) -> impl FnOnce(io::Error) -> Error {
    let message = format!("cannot {action} {path}: {}", "the object store");
    move |error| Error::new(ErrorKind::Unexpected, message).with_source(error)
}

impl S3Files {
    fn at(&self, path: &str) -> Result<(S3Store, Bucket, Path)> {
        let gone = || Error::new(ErrorKind::Unexpected, "an object store does not travel between processes");
        let store = self.store.clone().ok_or_else(gone)?;
        let (bucket, key) = store.bucket(path).map_err(failed("name", path))?;
        Ok((store, bucket, key))
    }

    /// Does `work` on the store's own runtime.
    async fn on<T: Send + 'static>(
        store: &S3Store,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        store.spawn(work)?.await.map_err(|_| io::Error::other("a request was broken off"))?
    }
}

#[async_trait]
#[typetag::serde(name = "lakehost-s3")]
impl Storage for S3Files {
    async fn exists(&self, path: &str) -> Result<bool> {
        match self.metadata(path).await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (store, bucket, key) = self.at(path)?;
        let head = async move { bucket.client.head(&key).await.map_err(io_error) };
        let found = Self::on(&store, head).await.map_err(failed("look at", path))?;
        Ok(FileMetadata { size: found.size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (store, bucket, key) = self.at(path)?;
        let whole = async move { bucket.client.get(&key).await?.bytes().await };
        Self::on(&store, async move { whole.await.map_err(io_error) }).await.map_err(failed("read", path))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (store, bucket, key) = self.at(path)?;
        Ok(Box::new(Reader { store, bucket, key, path: path.to_owned() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (store, bucket, key) = self.at(path)?;
        let put = async move { bucket.client.put(&key, bytes.into()).await.map(|_| ()).map_err(io_error) };
        Self::on(&store, put).await.map_err(failed("write", path))
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(Writer { files: self.clone(), path: path.to_owned(), bytes: Some(BytesMut::new()) }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (store, bucket, key) = self.at(path)?;
        let delete = async move { bucket.client.delete(&key).await.map_err(io_error) };
        match Self::on(&store, delete).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(failed("delete", path)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let (store, ..) = self.at(path)?;
        let folder = path.to_owned();
        let deleted = tokio::task::spawn_blocking(move || store.delete_folder(&folder)).await;
        deleted.unwrap_or_else(|_| Err(io::Error::other("it was broken off"))).map_err(failed("delete", path))
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

#[typetag::serde(name = "lakehost-s3-factory")]
impl StorageFactory for S3Files {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
}

#[derive(Debug)]
struct Reader {
    store: S3Store,
    bucket: Bucket,
    key: Path,
    path: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, wanted: Range<u64>) -> Result<Bytes> {
        let (client, key) = (self.bucket.client.clone(), self.key.clone());
        let part = async move { range(&client, &key, wanted).await };
        S3Files::on(&self.store, part).await.map_err(failed("read", &self.path))
    }
}

/// Manifests and metadata are small: they are gathered and sent whole.
#[derive(Debug)]
struct Writer {
    files: S3Files,
    path: String,
    /// Gone once closed.
    bytes: Option<BytesMut>,
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let closed = || Error::new(ErrorKind::Unexpected, "the file is closed");
        self.bytes.as_mut().ok_or_else(closed)?.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let closed = || Error::new(ErrorKind::Unexpected, "the file is closed");
        let bytes = self.bytes.take().ok_or_else(closed)?;
        self.files.write(&self.path, bytes.freeze()).await
    }
}
