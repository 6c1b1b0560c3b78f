//! A catalog in a SQL database, in the two tables that PyIceberg's `SqlCatalog` and Iceberg's JDBC catalog use.
//!
//! A commit is a compare-and-swap on `metadata_location` inside one SQL transaction, for any number of tables. What differs between
//! databases, connections and the ways in which a `COMMIT` can end, is an [`Engine`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use lakehost_pipeline::ports::TableName;

use super::metadata_cache::{Cached, MetadataCache};
use super::metadata_text::MetadataText;
use super::{Abilities, Base, Catalog, CatalogEntry, NamespaceEnd, Outcome, Renamed, TableChange, TableState};
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoints};
use crate::properties::DELETE_AFTER_COMMIT;
use crate::store::Store;

/// How a compressed metadata file of another writer begins.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// What the column for metadata locations holds.
const LOCATION_LIMIT: usize = 1_000;

/// One table's move.
#[derive(Debug)]
pub struct Swap<'a> {
    pub table: &'a TableName,
    /// Where it must be; `None`: nowhere.
    pub old: Option<&'a str>,
    pub new: String,
}

/// A database that holds catalogs.
#[async_trait]
pub trait Engine: Send + Sync + fmt::Debug {
    /// Where it is, without secrets.
    fn shown(&self) -> &str;
    /// Why nothing can be written, when that is so.
    fn read_only(&self) -> Option<Error> {
        None
    }
    async fn pointer(&self, catalog: &str, table: &TableName) -> Result<Option<String>>;
    /// Namespace, name and metadata location of tables.
    async fn list(&self, catalog: &str, namespace: Option<&str>) -> Result<Vec<(String, String, String)>>;
    async fn namespaces(&self, catalog: &str) -> Result<Vec<String>>;
    async fn add_namespace(&self, catalog: &str, namespace: &str) -> Result<()>;
    /// All moves in one transaction. An `Err` means that it was rolled back, for certain.
    async fn swap(&self, catalog: &str, swaps: &[Swap<'_>], fail_points: &FailPoints) -> Result<Outcome>;
    async fn drop_table(&self, catalog: &str, table: &TableName, location: &str) -> Result<bool>;
    /// Properties of a namespace; none where it has no row of its own.
    async fn namespace(&self, catalog: &str, namespace: &str) -> Result<BTreeMap<String, String>>;
    async fn change_namespace(
        &self,
        catalog: &str,
        namespace: &str,
        set: &BTreeMap<String, String>,
        removed: &[String],
    ) -> Result<()>;
    /// `false`: it is not there, or it holds something.
    async fn drop_namespace(&self, catalog: &str, namespace: &str) -> Result<bool>;
    async fn rename_table(&self, catalog: &str, table: &TableName, location: &str, to: &TableName) -> Result<Renamed>;
    /// Waits for the end of transactions that have moved or made this table.
    async fn settle(&self, _catalog: &str, _table: &TableName) -> Result<()> {
        Ok(())
    }
}

/// The catalog.
#[derive(Debug)]
pub struct SqlCatalog<E> {
    engine: E,
    name: String,
    store: Arc<dyn Store>,
    io: FileIO,
    fail_points: FailPoints,
    cache: MetadataCache,
}

impl<E: Engine> SqlCatalog<E> {
    /// A catalog of that name in an open database.
    pub(super) fn new(engine: E, name: &str, store: Arc<dyn Store>, fail_points: FailPoints) -> Self {
        let cache = MetadataCache::default();
        Self { engine, name: name.to_owned(), io: store.file_io(), store, fail_points, cache }
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

    /// Files that nothing refers to any more; one that stays behind is only a waste of space.
    fn forget(&self, locations: impl IntoIterator<Item = String>) {
        for location in locations {
            if let Err(error) = self.store.delete(&location) {
                tracing::warn!(file = %location, %error, "an unused metadata file could not be deleted");
            }
        }
    }
}

fn check_length(swap: &Swap<'_>) -> Result<()> {
    let new = &swap.new;
    if new.chars().count() > LOCATION_LIMIT {
        let detail = format!("has a metadata location of more than {LOCATION_LIMIT} characters: {new}");
        return Err(Error::shape(swap.table, detail));
    }
    Ok(())
}

/// The moves of `changes`, in one order for everybody: two commits of the same tables then wait for each other instead of locking up.
fn swaps(changes: &[TableChange]) -> Result<Vec<Swap<'_>>> {
    let mut swaps = Vec::with_capacity(changes.len());
    for change in changes {
        let old = match &change.base {
            Base::New(_) => None,
            Base::Existing(state) => Some(state.metadata_location.as_str()),
        };
        let swap = Swap { table: &change.table, old, new: change.metadata_location() };
        check_length(&swap)?;
        swaps.push(swap);
    }
    swaps.sort_by(|left, right| left.table.cmp(right.table));
    Ok(swaps)
}

#[async_trait]
impl<E: Engine> Catalog for SqlCatalog<E> {
    async fn load(&self, table: &TableName) -> Result<Option<TableState>> {
        // A metadata file may be deleted between the two reads when others commit quickly: then the pointer has moved on.
        let mut last: Option<String> = None;
        loop {
            let Some(metadata_location) = self.engine.pointer(&self.name, table).await? else { return Ok(None) };
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
        self.engine.namespaces(&self.name).await
    }

    async fn list_tables(&self, namespace: Option<&str>) -> Result<Vec<CatalogEntry>> {
        let rows = self.engine.list(&self.name, namespace).await?;
        Ok(rows
            .into_iter()
            .map(|(namespace, name, location)| CatalogEntry {
                table: TableName { namespace, name },
                metadata_location: Some(location),
            })
            .collect())
    }

    async fn create_namespace(&self, namespace: &str) -> Result<()> {
        self.engine.add_namespace(&self.name, namespace).await
    }

    fn check_writable(&self) -> Result<()> {
        self.engine.read_only().map_or(Ok(()), Err)
    }

    fn can(&self) -> Abilities {
        Abilities::ALL
    }

    async fn settle(&self, table: &TableName) -> Result<()> {
        self.engine.settle(&self.name, table).await
    }

    fn shown(&self) -> &str {
        self.engine.shown()
    }

    async fn commit(&self, changes: &[TableChange]) -> Result<Outcome> {
        self.check_writable()?;
        if !changes.iter().all(TableChange::holds) {
            return Ok(Outcome::Conflict);
        }
        let swaps = swaps(changes)?;
        let mut started = 0;
        let mut texts = Vec::with_capacity(changes.len());
        let ended = async {
            for change in changes {
                started += 1;
                texts.push(self.write_metadata(change)?);
            }
            self.fail_points.pass(fail_point::METADATA_WRITTEN)?;
            self.engine.swap(&self.name, &swaps, &self.fail_points).await
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
        self.engine.drop_table(&self.name, &state.name, &state.metadata_location).await
    }

    async fn namespace(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>> {
        let properties = self.engine.namespace(&self.name, namespace).await?;
        // Some are told of by their tables alone.
        let known =
            !properties.is_empty() || self.list_namespaces().await?.iter().any(|name| name.as_str() == namespace);
        Ok(known.then_some(properties))
    }

    async fn change_namespace(
        &self,
        namespace: &str,
        set: &BTreeMap<String, String>,
        removed: &[String],
    ) -> Result<()> {
        self.check_writable()?;
        self.engine.change_namespace(&self.name, namespace, set, removed).await
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<NamespaceEnd> {
        self.check_writable()?;
        if self.engine.drop_namespace(&self.name, namespace).await? {
            return Ok(NamespaceEnd::Dropped);
        }
        Ok(match self.namespace(namespace).await? {
            Some(_) => NamespaceEnd::NotEmpty,
            None => NamespaceEnd::Missing,
        })
    }

    async fn register_table(&self, table: &TableName, metadata_location: &str) -> Result<Outcome> {
        self.check_writable()?;
        let swap = Swap { table, old: None, new: metadata_location.to_owned() };
        check_length(&swap)?;
        self.engine.swap(&self.name, &[swap], &self.fail_points).await
    }

    async fn rename_table(&self, state: &TableState, to: &TableName) -> Result<Renamed> {
        self.check_writable()?;
        self.engine.rename_table(&self.name, &state.name, &state.metadata_location, to).await
    }
}
