//! Catalogs in one SQLite file.
//!
//! Several processes of this machine may use the file at once: it is in WAL mode, and writers wait for each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lakehost_pipeline::ports::TableName;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::sql::{Engine, SqlCatalog, Swap};
use super::statements::{ADD_TYPE, NAMESPACES, TABLES};
use super::{Outcome, Renamed};
use crate::error::{
    Error, Result, SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_PERM, SQLITE_READONLY, sqlite_code,
};
use crate::fail_point::{self, FailPoints};
use crate::store::Store;

mod on {
    super::super::statements::statements!(sqlx::SqlitePool, sqlx::SqliteConnection);
}

/// So long a writer waits for the one before it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the catalog is and what it works with.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// A path, or a URI as PyIceberg takes it: `sqlite:////absolute/catalog.db`, `sqlite:///relative.db`.
    pub uri: String,
    /// PyIceberg must be given the same name.
    pub name: String,
    /// A commit survives a power cut.
    pub durable: bool,
}

/// A catalog in a SQLite file.
pub type SqliteCatalog = SqlCatalog<Sqlite>;

/// An open file.
#[derive(Debug)]
pub struct Sqlite {
    pool: SqlitePool,
    /// For messages.
    shown: String,
    /// Why it was opened for reading only.
    read_only: Option<String>,
}

impl SqliteCatalog {
    /// Opens the file, makes it and its tables when they are not there. One that cannot be written is opened for reading.
    pub async fn open(options: &SqliteOptions, store: Arc<dyn Store>, fail_points: FailPoints) -> Result<Self> {
        let path = catalog_path(&options.uri)?;
        let shown = path.display().to_string();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::store("create the folder of the catalog", &shown))?;
        }
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(if options.durable { SqliteSynchronous::Full } else { SqliteSynchronous::Normal });
        let with = |pool: SqlitePool, read_only: Option<String>| Sqlite { pool, shown: shown.clone(), read_only };
        let opened = match SqlitePoolOptions::new().max_connections(4).connect_with(connect).await {
            Ok(pool) => {
                let engine = with(pool, None);
                engine.prepare().await.map(|()| engine)
            }
            Err(source) => Err(Error::Catalog { action: "open", catalog: shown.clone(), source: Box::new(source) }),
        };
        let engine = match opened {
            Ok(engine) => engine,
            Err(error) => match only_readable(&path, &error) {
                Some(why) => with(open_to_read(&path).await.ok_or(error)?, Some(why)),
                None => return Err(error),
            },
        };
        Ok(Self::new(engine, &options.name, store, fail_points))
    }
}

impl Sqlite {
    /// Makes the SQL tables, and brings a file of an older PyIceberg up to date.
    async fn prepare(&self) -> Result<()> {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('iceberg_tables')")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("read"))?;
        if columns.iter().any(|name| name == "iceberg_type") {
            return Ok(());
        }
        // In this order: who sees the second sees the first.
        let statements = [NAMESPACES, if columns.is_empty() { TABLES } else { ADD_TYPE }];
        for statement in statements {
            match sqlx::query(statement).execute(&self.pool).await {
                // Another process was faster with the same change.
                Err(error) if error.to_string().contains("duplicate column name") => {}
                other => {
                    other.map_err(self.failed("prepare"))?;
                }
            }
        }
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        let catalog = self.shown.clone();
        move |source| match sqlite_code(&source) {
            Some(SQLITE_READONLY) => Error::ReadOnly { what: place(&catalog), detail: source.to_string() },
            _ => Error::Catalog { action, catalog, source: Box::new(source) },
        }
    }
}

#[async_trait]
impl Engine for Sqlite {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn read_only(&self) -> Option<Error> {
        let detail = self.read_only.clone()?;
        Some(Error::ReadOnly { what: place(&self.shown), detail })
    }

    async fn pointer(&self, catalog: &str, table: &TableName) -> Result<Option<String>> {
        on::pointer(&self.pool, catalog, table).await.map_err(self.failed("read"))
    }

    async fn list(&self, catalog: &str, namespace: Option<&str>) -> Result<Vec<(String, String, String)>> {
        on::list(&self.pool, catalog, namespace).await.map_err(self.failed("read"))
    }

    async fn namespaces(&self, catalog: &str) -> Result<Vec<String>> {
        on::namespaces(&self.pool, catalog).await.map_err(self.failed("read"))
    }

    async fn add_namespace(&self, catalog: &str, namespace: &str) -> Result<()> {
        on::add_namespace(&self.pool, catalog, namespace).await.map_err(self.failed("write to"))
    }

    async fn swap(&self, catalog: &str, swaps: &[Swap<'_>], fail_points: &FailPoints) -> Result<Outcome> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(self.failed("write to"))?;
        for swap in swaps {
            if !on::swap(&mut transaction, catalog, swap).await.map_err(self.failed("write to"))? {
                transaction.rollback().await.map_err(self.failed("write to"))?;
                return Ok(Outcome::Conflict);
            }
        }
        fail_points.pass(fail_point::BEFORE_SQL_COMMIT)?;
        match transaction.commit().await {
            Ok(()) => {}
            // SQLite says with these two that nothing was written; the dropped transaction rolls back.
            Err(error) if matches!(sqlite_code(&error), Some(SQLITE_BUSY | SQLITE_FULL)) => {
                return Err(self.failed("write to")(error));
            }
            Err(error) => return Ok(Outcome::Unknown(self.failed("commit to")(error))),
        }
        Ok(match fail_points.pass(fail_point::AFTER_SQL_COMMIT) {
            Ok(()) => Outcome::Landed,
            Err(error) => Outcome::Unknown(error),
        })
    }

    async fn drop_table(&self, catalog: &str, table: &TableName, location: &str) -> Result<bool> {
        on::drop_table(&self.pool, catalog, table, location).await.map_err(self.failed("write to"))
    }

    async fn namespace(&self, catalog: &str, namespace: &str) -> Result<BTreeMap<String, String>> {
        on::namespace(&self.pool, catalog, namespace).await.map_err(self.failed("read"))
    }

    async fn change_namespace(
        &self,
        catalog: &str,
        namespace: &str,
        set: &BTreeMap<String, String>,
        removed: &[String],
    ) -> Result<()> {
        on::change_namespace(&self.pool, catalog, namespace, set, removed).await.map_err(self.failed("write to"))
    }

    async fn drop_namespace(&self, catalog: &str, namespace: &str) -> Result<bool> {
        on::drop_namespace(&self.pool, catalog, namespace).await.map_err(self.failed("write to"))
    }

    async fn rename_table(&self, catalog: &str, table: &TableName, location: &str, to: &TableName) -> Result<Renamed> {
        on::rename_table(&self.pool, catalog, table, location, to).await.map_err(self.failed("write to"))
    }
}

/// What a catalog that cannot be written stands for, in a sentence.
fn place(catalog: &str) -> String {
    match catalog.strip_suffix("/catalog.db") {
        Some(warehouse) => format!("the warehouse {warehouse}"),
        None => format!("the catalog {catalog}"),
    }
}

/// Why a catalog that is there could not be opened to write, when reading it is still worth a try.
fn only_readable(path: &Path, error: &Error) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    match error {
        Error::ReadOnly { detail, .. } => Some(detail.clone()),
        Error::Catalog { source, .. } => {
            let code = source.downcast_ref().and_then(sqlite_code);
            matches!(code, Some(SQLITE_PERM | SQLITE_READONLY | SQLITE_FULL | SQLITE_CANTOPEN))
                .then(|| source.to_string())
        }
        _ => None,
    }
}

/// The file for reading only; `None` when that does not work either.
///
/// SQLite wants to make two small files next to one in WAL mode even to read it. Where it cannot, the file is read as if nobody could
/// change it, but only when it is whole by itself: what a log next to it holds would be missing.
async fn open_to_read(path: &Path) -> Option<SqlitePool> {
    let is_whole = ["-wal", "-journal"].iter().all(|suffix| {
        let mut log = path.as_os_str().to_owned();
        log.push(suffix);
        match std::fs::metadata(log) {
            Ok(found) => found.len() == 0,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    });
    for immutable in [false, true] {
        if immutable && !is_whole {
            break;
        }
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .read_only(true)
            .immutable(immutable)
            .busy_timeout(BUSY_TIMEOUT);
        let Ok(pool) = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await else { continue };
        if sqlx::query("SELECT iceberg_type FROM iceberg_tables LIMIT 1").fetch_optional(&pool).await.is_ok() {
            return Some(pool);
        }
        pool.close().await;
    }
    None
}

/// The file of a catalog URI. Three slashes are relative and four absolute, as SQLAlchemy and so PyIceberg has it.
fn catalog_path(uri: &str) -> Result<PathBuf> {
    let path = match uri.strip_prefix("sqlite:") {
        Some(rest) => rest.strip_prefix("///").unwrap_or(rest),
        None if uri.contains("://") => {
            return Err(Error::Setting {
                what: uri.split("://").next().unwrap_or("").to_owned(),
                purpose: "a catalog",
                detail: "a catalog file is a path or sqlite:///path".to_owned(),
            });
        }
        None => uri,
    };
    if path.is_empty() {
        return Err(Error::Setting {
            what: uri.to_owned(),
            purpose: "a catalog",
            detail: "it names no file".to_owned(),
        });
    }
    Ok(Path::new(path).to_owned())
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
