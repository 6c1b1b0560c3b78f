//! A catalog in one SQLite file, in the two tables that PyIceberg's `SqlCatalog` and Iceberg's JDBC catalog use.
//!
//! A commit is a compare-and-swap on `metadata_location` inside one SQL transaction, for any number of tables. Several processes of this
//! machine may use the file at once: it is in WAL mode, and writers wait for each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use lakehost_pipeline::ports::TableName;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};

use super::metadata_cache::{Cached, MetadataCache};
use super::metadata_text::MetadataText;
use super::{Base, Catalog, CatalogEntry, Outcome, TableChange, TableState};
use crate::error::{
    Error, Result, SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_PERM, SQLITE_READONLY, sqlite_code,
};
use crate::fail_point::{self, FailPoints};
use crate::properties::DELETE_AFTER_COMMIT;
use crate::store::Store;

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

/// The catalog.
#[derive(Debug)]
pub struct SqliteCatalog {
    pool: SqlitePool,
    name: String,
    /// For messages.
    shown: String,
    /// Why it was opened for reading only.
    read_only: Option<String>,
    store: Arc<dyn Store>,
    io: FileIO,
    fail_points: FailPoints,
    cache: MetadataCache,
}

/// How a compressed metadata file of another writer begins.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

const TABLES: &str = "CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";

const NAMESPACES: &str = "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key))";

/// Rows that are tables: views of other writers share the SQL table.
const IS_TABLE: &str = "(iceberg_type = 'TABLE' OR iceberg_type IS NULL) AND metadata_location IS NOT NULL";

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
        let with = |pool: SqlitePool, read_only: Option<String>| Self {
            pool,
            name: options.name.clone(),
            shown: shown.clone(),
            read_only,
            io: store.file_io(),
            store: Arc::clone(&store),
            fail_points: fail_points.clone(),
            cache: MetadataCache::default(),
        };
        let opened = match SqlitePoolOptions::new().max_connections(4).connect_with(connect).await {
            Ok(pool) => {
                let catalog = with(pool, None);
                catalog.prepare().await.map(|()| catalog)
            }
            Err(source) => Err(Error::Catalog { action: "open", catalog: shown.clone(), source: Box::new(source) }),
        };
        match opened {
            Err(error) => match only_readable(&path, &error) {
                Some(why) => Ok(with(open_to_read(&path).await.ok_or(error)?, Some(why))),
                None => Err(error),
            },
            opened => opened,
        }
    }

    /// Makes the SQL tables, and brings a file of an older PyIceberg up to date.
    async fn prepare(&self) -> Result<()> {
        let columns = sqlx::query("SELECT name FROM pragma_table_info('iceberg_tables')")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("read"))?;
        let has = |name: &str| columns.iter().any(|row| row.try_get::<String, _>(0).is_ok_and(|found| found == name));
        if has("iceberg_type") {
            return Ok(());
        }
        let statements = if columns.is_empty() {
            vec![TABLES, NAMESPACES]
        } else {
            vec!["ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)", NAMESPACES]
        };
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

    /// Writes the metadata file of a change; its text, for the next one to build upon. Its folder then holds the manifests too, durably.
    fn write_metadata(&self, change: &TableChange) -> Result<Option<MetadataText>> {
        let location = change.metadata_location();
        let grown = match &change.base {
            // The text keeps the branches and tags that it has.
            Base::Existing(state) if change.moves_main_alone() => self
                .cache
                .get(&state.metadata_location)
                .and_then(|cached| cached.text)
                .and_then(|text| text.with_snapshot(&state.metadata, &change.metadata)),
            Base::New(_) | Base::Existing(_) => None,
        };
        let text = match grown {
            Some(text) => {
                self.store.put(&location, text.bytes()).map_err(Error::store("write", &location))?;
                Some(text)
            }
            None => {
                let bytes = serde_json::to_vec(change.metadata.as_ref())
                    .map_err(|error| Error::Internal(format!("metadata of {} is no JSON: {error}", change.table)))?;
                self.store.put(&location, &bytes).map_err(Error::store("write", &location))?;
                MetadataText::parse(bytes)
            }
        };
        let folder = location.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.store.settle(folder).map_err(Error::store("sync", folder))?;
        Ok(text)
    }

    /// Reads a metadata file.
    async fn read_metadata(&self, location: &str) -> iceberg::Result<Cached> {
        let bytes = self.io.new_input(location)?.read().await?;
        if bytes.starts_with(GZIP_MAGIC) {
            let metadata = TableMetadata::read_from(&self.io, location).await?;
            return Ok(Cached { metadata: Arc::new(metadata), text: None });
        }
        let metadata: TableMetadata = serde_json::from_slice(&bytes).map_err(|error| {
            iceberg::Error::new(iceberg::ErrorKind::DataInvalid, format!("{location} is no table metadata"))
                .with_source(error)
        })?;
        let text = MetadataText::parse(bytes.to_vec()).map(Arc::new);
        Ok(Cached { metadata: Arc::new(metadata), text })
    }

    /// `false`: the table is not where the change started.
    async fn swap(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        change: &TableChange,
    ) -> Result<bool, sqlx::Error> {
        let location = change.metadata_location();
        let (namespace, table) = (&change.table.namespace, &change.table.name);
        let changed = match &change.base {
            Base::New(_) => {
                sqlx::query(
                    "INSERT OR IGNORE INTO iceberg_namespace_properties \
                     (catalog_name, namespace, property_key, property_value) VALUES (?, ?, 'exists', 'true')",
                )
                .bind(&self.name)
                .bind(namespace)
                .execute(&mut **transaction)
                .await?;
                sqlx::query(
                    "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, \
                     previous_metadata_location, iceberg_type) VALUES (?, ?, ?, ?, NULL, 'TABLE') ON CONFLICT DO NOTHING",
                )
                .bind(&self.name)
                .bind(namespace)
                .bind(table)
                .bind(&location)
                .execute(&mut **transaction)
                .await?
            }
            Base::Existing(state) => {
                sqlx::query(
                    "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? \
                     WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?",
                )
                .bind(&location)
                .bind(&state.metadata_location)
                .bind(&self.name)
                .bind(namespace)
                .bind(table)
                .bind(&state.metadata_location)
                .execute(&mut **transaction)
                .await?
            }
        };
        Ok(changed.rows_affected() == 1)
    }

    async fn request(&self, changes: &[TableChange]) -> Result<Outcome> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(self.failed("write to"))?;
        for change in changes {
            if !self.swap(&mut transaction, change).await.map_err(self.failed("write to"))? {
                transaction.rollback().await.map_err(self.failed("write to"))?;
                return Ok(Outcome::Conflict);
            }
        }
        self.fail_points.pass(fail_point::BEFORE_SQL_COMMIT)?;
        match transaction.commit().await {
            Ok(()) => {}
            // SQLite says with these two that nothing was written; the dropped transaction rolls back.
            Err(error) if matches!(sqlite_code(&error), Some(SQLITE_BUSY | SQLITE_FULL)) => {
                return Err(self.failed("write to")(error));
            }
            Err(error) => return Ok(Outcome::Unknown(self.failed("commit to")(error))),
        }
        Ok(match self.fail_points.pass(fail_point::AFTER_SQL_COMMIT) {
            Ok(()) => Outcome::Landed,
            Err(error) => Outcome::Unknown(error),
        })
    }

    /// Files that nothing refers to any more; one that stays behind is only a waste of space.
    fn forget(&self, locations: impl IntoIterator<Item = String>) {
        for location in locations {
            if let Err(error) = self.store.delete(&location) {
                tracing::warn!(file = %location, %error, "an unused metadata file could not be deleted");
            }
        }
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableState>> {
        let statement = format!(
            "SELECT metadata_location FROM iceberg_tables \
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND {IS_TABLE}"
        );
        // A metadata file may be deleted between the two reads when others commit quickly: then the pointer has moved on.
        let mut last: Option<String> = None;
        loop {
            let row: Option<(String,)> = sqlx::query_as(&statement)
                .bind(&self.name)
                .bind(&table.namespace)
                .bind(&table.name)
                .fetch_optional(&self.pool)
                .await
                .map_err(self.failed("read"))?;
            let Some((metadata_location,)) = row else { return Ok(None) };
            let metadata = match self.cache.get(&metadata_location) {
                Some(cached) => cached.metadata,
                None => match self.read_metadata(&metadata_location).await {
                    Ok(cached) => {
                        self.cache.put(&metadata_location, cached.clone());
                        cached.metadata
                    }
                    Err(_) if last.as_ref() != Some(&metadata_location) => {
                        last = Some(metadata_location);
                        continue;
                    }
                    Err(error) => return Err(Error::iceberg("read the metadata of", table)(error)),
                },
            };
            return Ok(Some(TableState { name: table.clone(), metadata, metadata_location }));
        }
    }

    async fn list_namespaces(&self) -> Result<Vec<String>> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = ? \
             UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = ? ORDER BY 1",
        )
        .bind(&self.name)
        .bind(&self.name)
        .fetch_all(&self.pool)
        .await
        .map_err(self.failed("read"))?;
        Ok(rows.into_iter().map(|(namespace,)| namespace).collect())
    }

    async fn list_tables(&self, namespace: Option<&str>) -> Result<Vec<CatalogEntry>> {
        let statement = format!(
            "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables \
             WHERE catalog_name = ? AND (? IS NULL OR table_namespace = ?) AND {IS_TABLE} ORDER BY 1, 2"
        );
        let rows: Vec<(String, String, String)> = sqlx::query_as(&statement)
            .bind(&self.name)
            .bind(namespace)
            .bind(namespace)
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("read"))?;
        Ok(rows
            .into_iter()
            .map(|(namespace, name, metadata_location)| CatalogEntry {
                table: TableName { namespace, name },
                metadata_location,
            })
            .collect())
    }

    async fn create_namespace(&self, namespace: &str) -> Result<()> {
        sqlx::query(
            "INSERT OR IGNORE INTO iceberg_namespace_properties \
             (catalog_name, namespace, property_key, property_value) VALUES (?, ?, 'exists', 'true')",
        )
        .bind(&self.name)
        .bind(namespace)
        .execute(&self.pool)
        .await
        .map_err(self.failed("write to"))?;
        Ok(())
    }

    fn check_writable(&self) -> Result<()> {
        match &self.read_only {
            Some(why) => Err(Error::ReadOnly { what: place(&self.shown), detail: why.clone() }),
            None => Ok(()),
        }
    }

    async fn commit(&self, changes: &[TableChange]) -> Result<Outcome> {
        self.check_writable()?;
        if !changes.iter().all(TableChange::holds) {
            return Ok(Outcome::Conflict);
        }
        let mut started = 0;
        let mut texts = Vec::with_capacity(changes.len());
        let ended = async {
            for change in changes {
                started += 1;
                texts.push(self.write_metadata(change)?);
            }
            self.fail_points.pass(fail_point::METADATA_WRITTEN)?;
            self.request(changes).await
        }
        .await;
        match &ended {
            Ok(Outcome::Landed) => {
                for (change, text) in changes.iter().zip(texts) {
                    let cached = Cached { metadata: Arc::clone(&change.metadata), text: text.map(Arc::new) };
                    self.cache.put(&change.metadata_location(), cached);
                    let deletes = change.metadata.properties().get(DELETE_AFTER_COMMIT);
                    if deletes.is_some_and(|value| value == "true") {
                        self.forget(change.expired.iter().cloned());
                    }
                }
            }
            Ok(Outcome::Unknown(_)) => {}
            Err(error) if error.is_fail_point() => {}
            Ok(Outcome::Conflict) | Err(_) => {
                self.forget(changes.iter().take(started).map(TableChange::metadata_location));
            }
        }
        ended
    }

    async fn drop_table(&self, state: &TableState) -> Result<bool> {
        let dropped = sqlx::query(
            "DELETE FROM iceberg_tables \
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?",
        )
        .bind(&self.name)
        .bind(&state.name.namespace)
        .bind(&state.name.name)
        .bind(&state.metadata_location)
        .execute(&self.pool)
        .await
        .map_err(self.failed("write to"))?;
        Ok(dropped.rows_affected() == 1)
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
            let code = sqlite_code(source);
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
                detail: "only SQLite catalogs are built in so far".to_owned(),
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
