//! Opening a lake: which warehouse, which catalog.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lakehost_pipeline::Secret;
use tokio::runtime::Handle;

use crate::catalog::{
    CatalogRef, PostgresCatalog, PostgresOptions, RestCatalog, RestOptions, SqliteCatalog, SqliteOptions,
};
use crate::core::{Clock, Core};
use crate::error::{Error, Result};
use crate::fail_point::FailPoints;
use crate::lake::IcebergLake;
use crate::location::Warehouse;
use crate::merge::{KEY_BYTES, KEYS_AT_ONCE};
use crate::process::Process;
use crate::store::{LocalStore, S3Options, S3Store, Store};

/// Which catalog knows the tables.
#[derive(Clone, Debug)]
pub enum CatalogOptions {
    /// A file of this machine.
    Sqlite {
        /// A path or a PyIceberg URI (`sqlite:////w/catalog.db`); none: `catalog.db` in the warehouse.
        uri: Option<String>,
        /// PyIceberg must be given the same name.
        name: String,
    },
    /// A Postgres database.
    Postgres(PostgresOptions),
    /// A server that speaks Iceberg's REST protocol.
    Rest(Box<RestOptions>),
}

impl CatalogOptions {
    /// The catalog that a URI names: `sqlite:///path` or a path, `postgresql://user@host/database`, `https://host/path`. What it needs beyond
    /// that, tokens and passwords, is set on the result.
    pub fn from_uri(uri: &str, name: &str) -> Result<Self> {
        let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
        Ok(match scheme.map(|scheme| scheme.split('+').next().unwrap_or(scheme)) {
            None | Some("sqlite") => Self::Sqlite { uri: Some(uri.to_owned()), name: name.to_owned() },
            Some("postgresql" | "postgres") => {
                Self::Postgres(PostgresOptions { name: name.to_owned(), ..PostgresOptions::new(Secret::new(uri)) })
            }
            Some("http" | "https") => {
                let parsed = uri.parse().map_err(|_| Error::Setting {
                    what: "the catalog's URL".to_owned(),
                    purpose: "a catalog",
                    detail: "it is not of the form https://HOST/PATH".to_owned(),
                })?;
                Self::Rest(Box::new(RestOptions::new(parsed)))
            }
            Some(other) => {
                return Err(Error::Setting {
                    what: format!("{}://", other.escape_debug()),
                    purpose: "a catalog",
                    detail: "a catalog is sqlite:///PATH, postgresql://USER@HOST/DATABASE or https://HOST/PATH"
                        .to_owned(),
                });
            }
        })
    }
}

impl Default for CatalogOptions {
    fn default() -> Self {
        Self::Sqlite { uri: None, name: "lakehost".to_owned() }
    }
}

/// Where a lake is and what it works with.
#[derive(Clone)]
pub struct LakeOptions {
    /// A local folder, made when it is not there, or `s3://bucket/prefix`.
    pub warehouse: PathBuf,
    pub catalog: CatalogOptions,
    /// How buckets are reached.
    pub s3: S3Options,
    /// A multi-threaded runtime; the methods of the lake block on it, so they must not be called from inside one.
    pub runtime: Handle,
    pub clock: Clock,
    /// What was committed survives a power cut.
    pub durable: bool,
    pub fail_points: FailPoints,
    /// Who writes intent records; tests play several processes.
    pub process: Process,
    /// The run whose branch of the catalog the tables are on; see [`RunBranches`](crate::RunBranches).
    pub run: Option<String>,
    /// Rows of a merge whose keys are in memory at a time; see [`LakeOptions::merging_within`].
    pub keys_at_once: u64,
}

impl LakeOptions {
    /// The defaults: a catalog file named `lakehost` in the warehouse, durable.
    #[must_use]
    pub fn new(warehouse: PathBuf, runtime: Handle, clock: Clock) -> Self {
        Self {
            warehouse,
            catalog: CatalogOptions::default(),
            s3: S3Options::default(),
            runtime,
            clock,
            durable: true,
            fail_points: FailPoints::from_env(),
            process: Process::current(),
            run: None,
            keys_at_once: KEYS_AT_ONCE,
        }
    }

    /// The same, with merges whose keys take no more than this much memory; more rows are looked at in several passes.
    #[must_use]
    pub fn merging_within(self, memory_bytes: u64) -> Self {
        Self { keys_at_once: (memory_bytes / KEY_BYTES).clamp(KEYS_AT_ONCE / 32, KEYS_AT_ONCE), ..self }
    }
}

impl fmt::Debug for LakeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeOptions")
            .field("warehouse", &self.warehouse)
            .field("catalog", &self.catalog)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl IcebergLake {
    /// Opens the lake; folder and catalog are made when they are not there.
    ///
    /// # Errors
    /// `LH0501` the folder, `LH0601` the catalog, `LH0606` its access, `LH0102` a setting that cannot be.
    pub fn open(options: LakeOptions) -> Result<Self> {
        let warehouse = Warehouse::open(&options.warehouse)?.of_run(options.run.clone());
        let store: Arc<dyn Store> = if warehouse.is_remote() {
            let opened = S3Store::new(options.s3.clone());
            Arc::new(opened.map_err(Error::store("open", warehouse.root()))?)
        } else {
            Arc::new(LocalStore::new(options.durable))
        };
        let catalog = options.runtime.block_on(open_catalog(&options, &warehouse, &store))?;
        let core = Core {
            warehouse,
            io: store.file_io(),
            store,
            catalog,
            clock: options.clock,
            fail_points: options.fail_points,
            process: options.process,
            runtime: options.runtime,
            keys_at_once: options.keys_at_once,
        };
        Ok(Self { core: Arc::new(core) })
    }
}

async fn open_catalog(options: &LakeOptions, warehouse: &Warehouse, store: &Arc<dyn Store>) -> Result<CatalogRef> {
    let (store, fail_points) = (Arc::clone(store), options.fail_points.clone());
    Ok(match &options.catalog {
        CatalogOptions::Sqlite { uri: None, .. } if warehouse.is_remote() => {
            return Err(Error::Setting {
                what: warehouse.root().to_owned(),
                purpose: "a warehouse without a catalog of its own",
                detail: "a catalog file cannot lie in a bucket: name a catalog".to_owned(),
            });
        }
        CatalogOptions::Sqlite { uri, name } => {
            let uri = uri.clone().unwrap_or_else(|| warehouse.default_catalog().display().to_string());
            let sqlite = SqliteOptions { uri, name: name.clone(), durable: options.durable };
            Arc::new(SqliteCatalog::open(&sqlite, store, fail_points).await?)
        }
        CatalogOptions::Postgres(postgres) => Arc::new(PostgresCatalog::open(postgres, store, fail_points).await?),
        CatalogOptions::Rest(rest) => Arc::new(RestCatalog::open(rest, store, fail_points).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_which_catalog() {
        for (uri, wanted) in [
            ("/w/catalog.db", "Sqlite"),
            ("sqlite:////w/catalog.db", "Sqlite"),
            ("postgresql://lake@db/iceberg", "Postgres"),
            ("postgresql+psycopg2://lake:hunter2@db/iceberg", "Postgres"),
            ("http://127.0.0.1:8181", "Rest"),
            ("https://catalog.example.com/v1", "Rest"),
        ] {
            let options = format!("{:?}", CatalogOptions::from_uri(uri, "lakehost").unwrap());
            assert!(options.starts_with(wanted) && !options.contains("hunter2"), "{options}");
        }
        for uri in ["glue://x", "https://", "hive://lake:hunter2@h"] {
            let error = CatalogOptions::from_uri(uri, "lakehost").unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
