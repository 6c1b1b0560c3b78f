//! Catalogs: which metadata file is the present state of which table.
//!
//! A catalog does one thing that must be atomic: it moves tables from the metadata that the caller saw to new metadata, all of them or none.
//! [`Catalog::commit`] says every way in which that can end.

mod metadata_cache;
mod metadata_text;
mod postgres;
mod rest;
mod sql;
mod sqlite;
mod statements;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, Schema, SnapshotRef, SortOrder, TableMetadata, TableMetadataBuilder, TableMetadataRef,
    UnboundPartitionSpec,
};
use iceberg::{TableRequirement, TableUpdate};
use lakehost_pipeline::ports::TableName;
use uuid::Uuid;

pub use postgres::{PostgresCatalog, PostgresOptions};
pub(crate) use rest::{Merge, Merged, Tree};
pub use rest::{RestAuth, RestCatalog, RestOptions, is_branch_name};
pub use sqlite::{SqliteCatalog, SqliteOptions};

use crate::error::{Error, Result};
use crate::location::{metadata_file, metadata_version};
use crate::maintain::normal;

/// A table as the catalog has it.
#[derive(Clone, Debug)]
pub struct TableState {
    pub name: TableName,
    pub metadata: TableMetadataRef,
    /// Empty when the catalog does not tell: its answers are then all there is.
    pub metadata_location: String,
}

impl TableState {
    /// Another text after every change of the table.
    #[must_use]
    pub fn version(&self) -> String {
        if !self.metadata_location.is_empty() {
            return self.metadata_location.clone();
        }
        let (metadata, head) = (&self.metadata, self.main().map_or(0, |snapshot| snapshot.snapshot_id()));
        format!("{}:{}:{head}", metadata.uuid(), metadata.last_updated_ms())
    }

    /// The head of `main`.
    #[must_use]
    pub fn main(&self) -> Option<&SnapshotRef> {
        self.metadata.snapshot_for_ref(MAIN_BRANCH)
    }

    /// The snapshots of `main`, newest first, as far back as the metadata lists them.
    pub fn history(&self) -> impl Iterator<Item = &SnapshotRef> {
        // A damaged file could hold a loop; there cannot be more ancestors than snapshots.
        std::iter::successors(self.main(), |snapshot| {
            snapshot.parent_snapshot_id().and_then(|parent| self.metadata.snapshot_by_id(parent))
        })
        .take(self.metadata.snapshots().len())
    }

    /// Whether a snapshot is on `main`.
    #[must_use]
    pub fn is_on_main(&self, snapshot_id: i64) -> bool {
        self.history().any(|snapshot| snapshot.snapshot_id() == snapshot_id)
    }
}

/// A table to be born.
#[derive(Clone, Debug)]
pub struct Creation {
    pub uuid: Uuid,
    pub location: String,
    pub schema: Schema,
    pub spec: UnboundPartitionSpec,
    pub order: SortOrder,
    pub format: FormatVersion,
    pub properties: HashMap<String, String>,
}

impl Creation {
    /// The table before its first snapshot. Field, schema and spec ids come out the same every time.
    pub fn builder(&self) -> iceberg::Result<TableMetadataBuilder> {
        Ok(TableMetadataBuilder::new(
            self.schema.clone(),
            self.spec.clone(),
            self.order.clone(),
            self.location.clone(),
            self.format,
            self.properties.clone(),
        )?
        .assign_uuid(self.uuid))
    }
}

/// What a catalog decided of a table that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub location: String,
    pub uuid: Uuid,
}

/// What a change starts from.
#[derive(Clone, Debug)]
pub enum Base {
    /// The table must not exist.
    New(Box<Creation>),
    /// The table must be just as it is here.
    Existing(TableState),
}

/// A change to one table: what it requires, what it does, and how the metadata looks afterwards.
#[derive(Clone, Debug)]
pub struct TableChange {
    pub table: TableName,
    pub base: Base,
    pub requirements: Vec<TableRequirement>,
    /// For catalogs that write the metadata file themselves.
    pub updates: Vec<TableUpdate>,
    /// For catalogs where the client writes it.
    pub metadata: TableMetadataRef,
    /// Metadata files that fall out of the log.
    pub expired: Vec<String>,
    /// Names the new metadata file. A request that is repeated takes another one: the first may have landed after all.
    pub metadata_id: Uuid,
}

impl TableChange {
    /// Applies `change` to the base, which must still be the same table, whatever else is required.
    pub fn build(
        table: &TableName,
        base: Base,
        mut requirements: Vec<TableRequirement>,
        metadata_id: Uuid,
        change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
    ) -> Result<Self> {
        if let Base::Existing(state) = &base {
            let uuid = TableRequirement::UuidMatch { uuid: state.metadata.uuid() };
            if !requirements.contains(&uuid) {
                requirements.push(uuid);
            }
        }
        let built = (|| {
            let builder = match &base {
                Base::New(creation) => creation.builder()?,
                Base::Existing(state) => {
                    let location = Some(state.metadata_location.clone()).filter(|location| !location.is_empty());
                    TableMetadata::clone(&state.metadata).into_builder(location)
                }
            };
            change(builder)?.build()
        })()
        .map_err(Error::iceberg("change", table))?;
        Ok(Self {
            table: table.clone(),
            base,
            requirements,
            updates: built.changes,
            metadata: Arc::new(built.metadata),
            expired: built.expired_metadata_logs.into_iter().map(|entry| entry.metadata_file).collect(),
            metadata_id,
        })
    }

    /// Where a client that writes the metadata file puts it.
    #[must_use]
    pub fn metadata_location(&self) -> String {
        let version = match &self.base {
            Base::New(_) => 0,
            Base::Existing(state) => metadata_version(&state.metadata_location).saturating_add(1),
        };
        metadata_file(self.metadata.location(), version, self.metadata_id)
    }

    /// Whether no branch or tag but `main` comes, moves or goes with it.
    #[must_use]
    pub fn moves_main_alone(&self) -> bool {
        self.updates.iter().all(|update| match update {
            TableUpdate::SetSnapshotRef { ref_name, .. } => ref_name == MAIN_BRANCH,
            TableUpdate::RemoveSnapshotRef { .. } => false,
            _ => true,
        })
    }

    /// Whether the base fulfils what the change requires.
    pub(crate) fn holds(&self) -> bool {
        let metadata = match &self.base {
            Base::New(_) => None,
            Base::Existing(state) => Some(state.metadata.as_ref()),
        };
        self.requirements.iter().all(|requirement| requirement.check(metadata).is_ok())
    }
}

/// How a commit request ended, as far as the answer tells.
#[derive(Debug)]
pub enum Outcome {
    /// All changes are visible.
    Landed,
    /// None is: some table is not what its change started from.
    Conflict,
    /// Sent, but the answer does not say. Look before doing anything.
    Unknown(Error),
}

/// What a catalog can do beyond moving one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Several tables move in one request, all or none.
    pub many_tables: bool,
    /// Branches and tags.
    pub refs: bool,
    /// Metadata lists snapshots before the present one.
    pub history: bool,
    /// Tables are registered and renamed, namespaces described, changed and dropped.
    pub upkeep: bool,
}

impl Abilities {
    /// Everything.
    pub const ALL: Self = Self { many_tables: true, refs: true, history: true, upkeep: true };
}

/// How a change of a table's name ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    Done,
    /// The table is not as the caller saw it.
    Changed,
    /// The new name is another table's.
    Taken,
}

/// How the end of a namespace went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceEnd {
    Dropped,
    Missing,
    /// It holds tables or namespaces.
    NotEmpty,
}

/// A table's name and where its metadata is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CatalogEntry {
    pub table: TableName,
    /// Catalogs that speak HTTP list names only.
    pub metadata_location: Option<String>,
}

impl CatalogEntry {
    /// The table, when its files are in `folder`, a location that ends with `/`, however it and the table spell that.
    pub(crate) async fn at(&self, folder: &str, catalog: &dyn Catalog) -> Result<Option<TableState>> {
        let folder = normal(folder);
        if self.metadata_location.as_ref().is_some_and(|location| !normal(location).starts_with(&folder)) {
            return Ok(None);
        }
        let state = catalog.load(&self.table).await?;
        Ok(state.filter(|state| format!("{}/", normal(state.metadata.location()).trim_end_matches('/')) == folder))
    }
}

/// Which metadata file is the present state of which table.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// The table as it is now, `None` when there is none of that name.
    async fn load(&self, table: &TableName) -> Result<Option<TableState>>;
    /// Namespaces, by name.
    async fn list_namespaces(&self) -> Result<Vec<String>>;
    /// Tables of a namespace, or of all, by name.
    async fn list_tables(&self, namespace: Option<&str>) -> Result<Vec<CatalogEntry>>;
    /// Makes a namespace; one that is there already is fine.
    async fn create_namespace(&self, namespace: &str) -> Result<()>;
    /// Where a new table must lie, when that is the catalog's to say. What comes with the answer, credentials for instance, is with the store.
    async fn place(&self, _table: &TableName, _creation: &Creation) -> Result<Option<Placed>> {
        Ok(None)
    }
    /// Where it is, without secrets.
    fn shown(&self) -> &str {
        "the catalog"
    }
    /// An error when it is certain by now that no commit can work.
    fn check_writable(&self) -> Result<()> {
        Ok(())
    }
    /// What it can do.
    fn can(&self) -> Abilities {
        Abilities::ALL
    }
    /// So long after it was sent a request may still arrive, though the process that sent it is gone; `None`: [`Catalog::settle`] knows.
    fn late(&self) -> Option<Duration> {
        None
    }
    /// Waits until no commit to this table is under way whose sender is gone. A look at the table after it is a look at how they ended.
    async fn settle(&self, _table: &TableName) -> Result<()> {
        Ok(())
    }
    /// Applies all changes or none, in one request; more than one only where [`Abilities::many_tables`]. An `Err` means that none was applied and none can be later.
    async fn commit(&self, changes: &[TableChange]) -> Result<Outcome>;
    /// Forgets a table that is as the caller saw it; `false`: it is not. Files stay.
    async fn drop_table(&self, state: &TableState) -> Result<bool>;
    /// Properties of a namespace, `None` when there is none of that name.
    async fn namespace(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>> {
        let known = self.list_namespaces().await?;
        Ok(known.iter().any(|name| name == namespace).then(BTreeMap::new))
    }
    /// Sets and removes properties of a namespace, at once; one that is not there is made.
    async fn change_namespace(
        &self,
        _namespace: &str,
        _set: &BTreeMap<String, String>,
        _removed: &[String],
    ) -> Result<()> {
        Err(unable(self.shown(), "it keeps no properties of namespaces that lakehost could set"))
    }
    /// Forgets a namespace that holds nothing.
    async fn drop_namespace(&self, _namespace: &str) -> Result<NamespaceEnd> {
        Err(unable(self.shown(), "lakehost drops no namespaces there"))
    }
    /// Makes a table of a metadata file that is there already. `Conflict`: the name is taken.
    async fn register_table(&self, _table: &TableName, _metadata_location: &str) -> Result<Outcome> {
        Err(unable(self.shown(), "lakehost registers no tables there"))
    }
    /// Gives a table that is as the caller saw it another name. Files stay where they are.
    async fn rename_table(&self, _state: &TableState, _to: &TableName) -> Result<Renamed> {
        Err(unable(self.shown(), "lakehost renames no tables there"))
    }
}

fn unable(catalog: &str, detail: &str) -> Error {
    Error::CatalogUnable { catalog: catalog.to_owned(), detail: detail.to_owned() }
}

/// A shared catalog.
pub type CatalogRef = Arc<dyn Catalog>;
