//! The programs of the services: fetched once into a cache folder, through the clients that this machine has.

mod client;
mod go;
pub mod java;
mod maven;

use std::path::{Path, PathBuf};

pub use client::tail;
pub use go::build;
pub use maven::fetch;

use crate::home::{Lock, private_folder};
use crate::versions::{Versions, versions};
use crate::watch::Watch;
use crate::{Error, Service};

/// Names another folder for what is fetched.
pub const CACHE_VARIABLE: &str = "LAKEHOST_STACK_CACHE";
/// Names a MinIO that is there already.
pub const MINIO_VARIABLE: &str = "LAKEHOST_MINIO";

/// Where programs are kept, and who looks on while they are fetched.
#[derive(Clone, Copy, Debug)]
pub struct Installer<'a> {
    pub cache: &'a Path,
    pub watch: &'a Watch,
}

/// `<cache of the user>/lakehost/stack`
#[must_use]
pub fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = variable(CACHE_VARIABLE) {
        return own;
    }
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    caches.unwrap_or_else(std::env::temp_dir).join("lakehost/stack")
}

impl Installer<'_> {
    /// A folder in the cache, and the right to fill it.
    pub(crate) fn item(&self, name: &str) -> Result<(PathBuf, Lock), Error> {
        private_folder(self.cache)?;
        let lock = Lock::take(&self.cache.join(format!("{name}.lock")), self.watch)?;
        let folder = self.cache.join(name);
        private_folder(&folder)?;
        Ok((folder, lock))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.cache.join(format!("{name}.log"))
    }
}

/// Fetches all that the services need, where it is not there yet.
pub fn all(installer: &Installer<'_>) -> Result<(), Error> {
    let versions = versions()?;
    crate::postgres::install()?;
    minio(installer, &versions)?;
    crate::rest::install(installer, &versions)?;
    crate::nessie::install(installer, &versions)?;
    crate::trino::install(installer, &versions).map(drop)
}

/// Whether [`all`] was done for these versions and nothing would be fetched.
#[must_use]
pub fn all_present(cache: &Path) -> bool {
    let Ok(versions) = versions() else { return false };
    let fetched =
        [(Service::Rest, &versions.rest), (Service::Nessie, &versions.nessie), (Service::Trino, &versions.trino)];
    crate::postgres::programs().is_some()
        && present_minio().is_some()
        && fetched.iter().all(|(service, program)| maven::is_fetched(cache, service.name(), program))
}

/// The MinIO that is named, in the path, or was built before.
pub fn present_minio() -> Option<PathBuf> {
    let named = std::env::var_os(MINIO_VARIABLE).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("minio"));
    let built = versions().ok().map(|versions| go::program(&cache_folder(), &versions.minio));
    named.into_iter().chain(in_path).chain(built).find(|file| file.is_file())
}

/// What Spark in a Python of one's own needs to speak Iceberg.
#[derive(Clone, Debug)]
pub struct Spark {
    pub java: java::Java,
    /// Iceberg's runtime, and its AWS client.
    pub jars: Vec<PathBuf>,
    /// The most memory for its objects, as `-Xmx` takes it.
    pub heap: String,
}

/// Fetches Spark's files, where that was not done before.
pub fn spark(installer: &Installer<'_>, versions: &Versions) -> Result<Spark, Error> {
    const NAME: &str = "spark";
    let java = java::of(NAME, &versions.spark)?;
    let jars = fetch(installer, NAME, &versions.spark, &versions.maven_plugin)?.into_values().collect();
    Ok(Spark { java, jars, heap: versions.spark.heap.clone() })
}

/// Names another S3 server, Versity's gateway, for tests that would start MinIO.
pub const VERSITYGW_VARIABLE: &str = "LAKEHOST_VERSITYGW";

/// Versity's gateway of the pinned version, built when it is not there yet.
pub fn versitygw(installer: &Installer<'_>, versions: &Versions) -> Result<PathBuf, Error> {
    build(installer, Service::Minio, &versions.versitygw)
}

/// The MinIO that is named, or the pinned one, built when it is not there yet.
pub fn minio(installer: &Installer<'_>, versions: &Versions) -> Result<PathBuf, Error> {
    match std::env::var_os(MINIO_VARIABLE).map(PathBuf::from).filter(|file| file.is_file()) {
        Some(named) => Ok(named),
        None => build(installer, Service::Minio, &versions.minio),
    }
}
