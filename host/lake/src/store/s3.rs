//! Files in a bucket that speaks S3.
//!
//! The methods are called from threads of any kind, inside a runtime and outside, so requests run on a small runtime of the store's own and the
//! caller waits on a channel. Names are `s3://bucket/key`; a table's own credentials, where a catalog hands them out, are used for what lies
//! under that table.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use lakehost_columnar::FileSink;
use lakehost_pipeline::Secret;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::Runtime;

use super::refusal::io_error;
use super::s3_fresh::{Fresh, GivenKeys, Renewing, S3Keys};
use super::s3_keys::VendedKeys;
use super::s3_sink::S3Sink;
use super::{PendingUpload, Renew, Store, StoredFile, iceberg_storage, s3_uploads};
use crate::LookUp;
use crate::tls::Tls;

/// How a bucket is reached. What is not given comes from the `AWS_` variables of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// None: Amazon's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `http://host/bucket/key` rather than `http://bucket.host/key`.
    pub path_style: bool,
    pub access_key: Option<Secret>,
    pub secret_key: Option<Secret>,
    pub session_token: Option<Secret>,
    /// Where the keys come from, when others may be found there later.
    pub key_source: Option<LookUp<S3Keys>>,
    /// Allow an endpoint without encryption.
    pub allow_http: bool,
    /// What an encrypted connection trusts and shows.
    pub tls: Tls,
}

impl S3Options {
    /// The profile's keys, when they can be looked up again.
    fn given_keys(&self) -> Option<GivenKeys> {
        let keys = S3Keys {
            access_key: self.access_key.clone()?,
            secret_key: self.secret_key.clone()?,
            session_token: self.session_token.clone(),
        };
        Some(GivenKeys::new(&keys, self.key_source.clone()?))
    }

    /// With a catalog's word for one table: endpoint and region only where none is given.
    fn with(&self, config: &BTreeMap<String, String>) -> Self {
        let word = |names: &[&str]| names.iter().find_map(|name| config.get(*name)).cloned();
        let mut options = self.clone();
        options.endpoint = self.endpoint.clone().or_else(|| word(&["s3.endpoint"]));
        options.region = self.region.clone().or_else(|| word(&["client.region", "s3.region"]));
        options.path_style |= word(&["s3.path-style-access"]).is_some_and(|value| value == "true");
        options
    }
}

/// Requests go out directly: a proxy of the environment is for the open web, and never for keys and data.
#[derive(Debug)]
struct Direct {
    tls: Tls,
    /// Asked for others when the keys of a request have run out.
    keys: Option<Arc<dyn Fresh>>,
}

impl HttpConnector for Direct {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let wrong = |source| object_store::Error::Generic { store: "S3", source };
        let builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none());
        let builder = self.tls.apply(builder).map_err(|error| wrong(error.into()))?;
        let client = builder.build().map_err(|error| wrong(error.into()))?;
        Ok(match &self.keys {
            Some(keys) => HttpClient::new(Renewing { client, keys: Arc::clone(keys) }),
            None => HttpClient::new(client),
        })
    }
}

/// A bucket's client and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub name: String,
    pub client: Arc<AmazonS3>,
    pub options: S3Options,
}

/// Buckets of one endpoint. Cheap to clone.
#[derive(Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    options: S3Options,
    /// Taken when dropped.
    runtime: Option<Runtime>,
    known: Mutex<Known>,
}

/// What a catalog said of one table.
#[derive(Clone)]
struct Told {
    options: S3Options,
    keys: Option<Arc<VendedKeys>>,
}

#[derive(Default)]
struct Known {
    /// By the location of a table: what the catalog said of it.
    tables: BTreeMap<String, Told>,
    renew: Option<Arc<dyn Renew>>,
    /// By bucket and table, empty for none.
    clients: HashMap<(String, String), Bucket>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Not waited for: this may happen on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Bucket and key of a location.
pub(super) fn split(location: &str) -> io::Result<(&str, Path)> {
    let rest = ["s3://", "s3a://", "s3n://"].iter().find_map(|scheme| location.strip_prefix(scheme));
    let (bucket, key) = rest
        .and_then(|rest| rest.split_once('/').or(Some((rest, ""))))
        .filter(|(bucket, _)| !bucket.is_empty())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is not of the form s3://BUCKET/KEY"))?;
    let key = Path::parse(key).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    Ok((bucket, key))
}

impl S3Store {
    /// No request is made yet.
    pub fn new(options: S3Options) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("lakehost-s3")
            .enable_all()
            .build()?;
        Ok(Self { inner: Arc::new(Inner { options, runtime: Some(runtime), known: Mutex::default() }) })
    }

    /// The client for a location, and its key.
    pub(super) fn bucket(&self, location: &str) -> io::Result<(Bucket, Path)> {
        let (name, key) = split(location)?;
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        let table = known
            .tables
            .iter()
            .filter(|(table, _)| location.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('/')))
            .max_by_key(|(table, _)| table.len())
            .map(|(table, told)| (table.clone(), told.clone()));
        let plain = || (String::new(), Told { options: self.inner.options.clone(), keys: None });
        let (table, Told { options, keys }) = table.unwrap_or_else(plain);
        let id = (name.to_owned(), table);
        if let Some(bucket) = known.clients.get(&id) {
            return Ok((bucket.clone(), key));
        }
        let client = client(name, &options, keys).map_err(io_error)?;
        let bucket = Bucket { name: name.to_owned(), client: Arc::new(client), options };
        known.clients.insert(id, bucket.clone());
        Ok((bucket, key))
    }

    /// Does `work` on the store's runtime, from wherever.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Nobody waits any more when this fails.
            let _ = sender.send(work.await);
        })?;
        receiver.recv().unwrap_or_else(|_| Err(io::Error::other("a request of the object store was broken off")))
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<tokio::task::JoinHandle<T>> {
        let runtime = self.inner.runtime.as_ref().ok_or_else(|| io::Error::other("the object store is closed"))?;
        Ok(runtime.spawn(work))
    }
}

/// What the `AWS_` variables say. Keys that are given are whole: a session token of the environment belongs to other keys.
fn from_environment(keys_given: bool) -> AmazonS3Builder {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.filter(|(name, _)| name.starts_with("AWS_")).fold(AmazonS3Builder::new(), |builder, (name, value)| {
        use AmazonS3ConfigKey::{AccessKeyId, SecretAccessKey, Token};
        match name.to_ascii_lowercase().parse() {
            Ok(AccessKeyId | SecretAccessKey | Token) if keys_given => builder,
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        }
    })
}

fn client(bucket: &str, options: &S3Options, keys: Option<Arc<VendedKeys>>) -> object_store::Result<AmazonS3> {
    let given = options.given_keys().filter(|_| keys.is_none()).map(Arc::new);
    let fresh = keys.clone().map(|keys| keys as Arc<dyn Fresh>).or(given.clone().map(|keys| keys as Arc<dyn Fresh>));
    let mut builder = from_environment(options.access_key.is_some() || keys.is_some())
        .with_bucket_name(bucket)
        .with_http_connector(Direct { tls: options.tls.clone(), keys: fresh })
        .with_retry(RetryConfig { max_retries: 5, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() })
        .with_virtual_hosted_style_request(!options.path_style && options.endpoint.is_none());
    if options.allow_http {
        builder = builder.with_allow_http(true);
    }
    if let Some(endpoint) = &options.endpoint {
        // In the other style the endpoint has to name the bucket.
        let endpoint = endpoint.trim_end_matches('/');
        builder = match endpoint.split_once("://") {
            Some((scheme, host)) if !options.path_style => {
                builder.with_endpoint(format!("{scheme}://{bucket}.{host}")).with_virtual_hosted_style_request(true)
            }
            _ => builder.with_endpoint(endpoint),
        };
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(keys) = keys {
        builder = builder.with_credentials(keys);
    } else if let Some(given) = given {
        builder = builder.with_credentials(given);
    } else if let (Some(key), Some(secret)) = (&options.access_key, &options.secret_key) {
        builder = builder.with_access_key_id(key.expose()).with_secret_access_key(secret.expose());
        if let Some(token) = &options.session_token {
            builder = builder.with_token(token.expose());
        }
    }
    builder.build()
}

/// Objects of one bucket, and their locations.
type Keys = Vec<(Path, String)>;

/// An object of a listing.
fn stored(bucket: &str, found: &ObjectMeta) -> StoredFile {
    StoredFile {
        location: format!("s3://{bucket}/{}", found.location),
        name: found.location.filename().unwrap_or_default().to_owned(),
        size_bytes: found.size,
        modified_ms: found.last_modified.timestamp_millis(),
    }
}

impl Store for S3Store {
    fn create(&self, location: &str) -> io::Result<Box<dyn FileSink>> {
        Ok(Box::new(S3Sink::new(self.clone(), location)?))
    }

    fn put(&self, location: &str, bytes: &[u8]) -> io::Result<()> {
        let (bucket, key) = self.bucket(location)?;
        let bytes = Bytes::copy_from_slice(bytes);
        self.wait(async move { bucket.client.put(&key, bytes.into()).await.map(|_| ()).map_err(io_error) })
    }

    fn note(&self, location: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(location, bytes)
    }

    fn get(&self, location: &str) -> io::Result<Vec<u8>> {
        let (bucket, key) = self.bucket(location)?;
        let whole = async move { bucket.client.get(&key).await?.bytes().await };
        self.wait(async move { whole.await.map(|bytes| bytes.to_vec()).map_err(io_error) })
    }

    fn delete(&self, location: &str) -> io::Result<()> {
        let (bucket, key) = self.bucket(location)?;
        self.wait(async move {
            match bucket.client.delete(&key).await.map_err(io_error) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        })
    }

    fn list(&self, folder: &str) -> io::Result<Vec<StoredFile>> {
        let (bucket, key) = self.bucket(&format!("{}/", folder.trim_end_matches('/')))?;
        self.wait(async move {
            let listed = bucket.client.list_with_delimiter(Some(&key)).await.map_err(io_error)?;
            let mut files: Vec<StoredFile> = listed.objects.iter().map(|found| stored(&bucket.name, found)).collect();
            files.sort_by(|left, right| left.name.cmp(&right.name));
            Ok(files)
        })
    }

    fn delete_folder(&self, folder: &str) -> io::Result<()> {
        let mut files = Vec::new();
        self.walk(folder, &mut |file| {
            files.push(file.location);
            ControlFlow::Continue(())
        })?;
        match self.delete_many(&files).into_iter().next() {
            Some((location, error)) => Err(io::Error::new(error.kind(), format!("{location}: {error}"))),
            None => self.uploads(folder)?.iter().try_for_each(|upload| self.abort_upload(upload)),
        }
    }

    fn settle(&self, _folder: &str) -> io::Result<()> {
        // What the store has accepted is durable.
        Ok(())
    }

    fn walk(&self, prefix: &str, visit: &mut dyn FnMut(StoredFile) -> ControlFlow<()>) -> io::Result<()> {
        let (bucket, key) = self.bucket(&format!("{}/", prefix.trim_end_matches('/')))?;
        // A page is fetched while the one before is looked at; no more are held.
        let (sender, receiver) = mpsc::sync_channel(1);
        self.spawn(async move {
            let mut pages = bucket.client.list(Some(&key)).chunks(1_000);
            while let Some(page) = pages.next().await {
                let page = page.into_iter().map(|found| found.map(|found| stored(&bucket.name, &found)));
                let page: io::Result<Vec<StoredFile>> = page.collect::<object_store::Result<_>>().map_err(io_error);
                // This blocks one of the store's own threads, and only while the other side works.
                if tokio::task::block_in_place(|| sender.send(page)).is_err() {
                    break;
                }
            }
        })?;
        for page in receiver {
            for file in page? {
                if visit(file).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn delete_many(&self, locations: &[String]) -> Vec<(String, io::Error)> {
        let mut failed = Vec::new();
        // Of one bucket and one table's keys at a time; the store takes a thousand in a request.
        let mut groups: HashMap<*const AmazonS3, (Bucket, Keys)> = HashMap::new();
        for location in locations {
            match self.bucket(location) {
                Ok((bucket, key)) => {
                    let group = groups.entry(Arc::as_ptr(&bucket.client)).or_insert_with(|| (bucket, Vec::new()));
                    group.1.push((key, location.clone()));
                }
                Err(error) => failed.push((location.clone(), error)),
            }
        }
        for (bucket, keys) in groups.into_values() {
            let paths: Vec<object_store::Result<Path>> = keys.iter().map(|(path, _)| Ok(path.clone())).collect();
            let done = self.wait(async move {
                let stream = futures::stream::iter(paths).boxed();
                bucket.client.delete_stream(stream).try_collect::<Vec<_>>().await.map_err(io_error)
            });
            if done.is_err() {
                // Which of them failed, and why, is asked one by one: this is the rare case.
                let one = |(_, location): &(Path, String)| Some((location.clone(), self.delete(location).err()?));
                failed.extend(keys.iter().filter_map(one));
            }
        }
        failed
    }

    fn read_range(&self, location: &str, range: Range<u64>) -> io::Result<Bytes> {
        let (bucket, key) = self.bucket(location)?;
        self.wait(async move { iceberg_storage::range(&bucket.client, &key, range).await })
    }

    fn size(&self, location: &str) -> io::Result<Option<u64>> {
        let (bucket, key) = self.bucket(location)?;
        self.wait(async move {
            match bucket.client.head(&key).await.map_err(io_error) {
                Ok(found) => Ok(Some(found.size)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn uploads(&self, prefix: &str) -> io::Result<Vec<PendingUpload>> {
        let (bucket, key) = self.bucket(&format!("{}/", prefix.trim_end_matches('/')))?;
        self.wait(async move { s3_uploads::list(&bucket, &key).await })
    }

    fn abort_upload(&self, upload: &PendingUpload) -> io::Result<()> {
        use object_store::multipart::MultipartStore;
        let (bucket, key) = self.bucket(&upload.location)?;
        let id = upload.upload_id.clone();
        self.wait(async move {
            match bucket.client.abort_multipart(&key, &id).await.map_err(io_error) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        })
    }

    fn learn(&self, location: &str, config: &BTreeMap<String, String>) {
        let options = self.inner.options.with(config);
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        let table = location.trim_end_matches('/').to_owned();
        let keys = VendedKeys::new(&table, config, known.renew.clone());
        match (known.tables.get(&table), keys) {
            (None, None) if options == self.inner.options => {}
            // Clients at work take the new keys.
            (Some(Told { options: before, keys: Some(held) }), Some(_)) if *before == options => held.learn(config),
            (Some(Told { options: before, keys: None }), None) if *before == options => {}
            (_, keys) => {
                known.clients.retain(|(_, of), _| *of != table);
                known.tables.insert(table, Told { options, keys: keys.map(Arc::new) });
            }
        }
    }

    fn renewed_by(&self, renew: Arc<dyn Renew>) {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).renew = Some(renew);
    }

    fn keys(&self, location: &str) -> io::Result<Option<S3Keys>> {
        let (bucket, _) = self.bucket(location)?;
        self.wait(async move {
            let keys = bucket.client.credentials().get_credential().await.map_err(io_error)?;
            Ok(Some(S3Keys {
                access_key: Secret::new(&keys.key_id),
                secret_key: Secret::new(&keys.secret_key),
                session_token: keys.token.as_ref().map(Secret::new),
            }))
        })
    }

    fn file_io(&self) -> FileIO {
        iceberg_storage::file_io(self.clone())
    }
}

#[cfg(test)]
#[path = "s3_tests.rs"]
mod tests;
