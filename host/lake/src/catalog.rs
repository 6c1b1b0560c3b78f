//! Catalogs: which metadata file is the present state of which table.
//!
//! A catalog does one thing that must be atomic: it moves tables from the metadata that the caller saw to new metadata, all of them or none.
//! [`Catalog::commit`] says every way in which that can end.

mod metadata_cache;
mod sqlite;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, Schema, SnapshotRef, SortOrder, TableMetadata, TableMetadataBuilder, TableMetadataRef,
    UnboundPartitionSpec,
};
use iceberg::{TableRequirement, TableUpdate};
use lakehost_pipeline::TableName;
use uuid::Uuid;

pub use sqlite::{SqliteCatalog, SqliteOptions};

use crate::error::{Error, Result};

/// A table as the catalog has it.
#[derive(Clone, Debug)]
pub struct TableState {
    pub name: TableName,
    pub metadata: TableMetadataRef,
    pub metadata_location: String,
}

impl TableState {
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
    pub properties: HashMap<String, String>,
}

impl Creation {
    /// The table before its first snapshot. Field, schema and spec ids come out the same every time.
    pub fn builder(&self) -> iceberg::Result<TableMetadataBuilder> {
        Ok(TableMetadataBuilder::new(
            self.schema.clone(),
            self.spec.clone(),
            SortOrder::unsorted_order(),
            self.location.clone(),
            FormatVersion::V2,
            self.properties.clone(),
        )?
        .assign_uuid(self.uuid))
    }
}

/// What a change starts from.
#[derive(Clone, Debug)]
pub enum Base {
    /// The table must not exist.
    New(Creation),
    /// The table must be just as it is here.
    Existing(TableState),
}

/// A change to one table.
#[derive(Clone, Debug)]
pub struct TableChange {
    pub table: TableName,
    pub base: Base,
    pub requirements: Vec<TableRequirement>,
    pub updates: Vec<TableUpdate>,
    /// Names the metadata file, where the client writes it.
    pub metadata_id: Uuid,
}

impl TableChange {
    /// The metadata after the change; the second value lists metadata files that fell out of the log.
    pub(crate) fn apply(&self) -> Result<(TableMetadata, Vec<String>)> {
        let wrong = Error::iceberg("change", &self.table);
        let built = (|| {
            let mut builder = match &self.base {
                Base::New(creation) => creation.builder()?,
                Base::Existing(state) => {
                    TableMetadata::clone(&state.metadata).into_builder(Some(state.metadata_location.clone()))
                }
            };
            for update in &self.updates {
                builder = update.clone().apply(builder)?;
            }
            builder.build()
        })()
        .map_err(wrong)?;
        let expired = built.expired_metadata_logs.into_iter().map(|entry| entry.metadata_file).collect();
        Ok((built.metadata, expired))
    }

    /// Whether the base still fulfils what the change requires.
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

/// A table's name and where its metadata is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CatalogEntry {
    pub table: TableName,
    pub metadata_location: String,
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
    /// Applies all changes or none, in one request. An `Err` means that none was applied and none can be later.
    async fn commit(&self, changes: &[TableChange]) -> Result<Outcome>;
    /// Forgets a table that is as the caller saw it; `false`: it is not. Files stay.
    async fn drop_table(&self, state: &TableState) -> Result<bool>;
}

/// A shared catalog.
pub type CatalogRef = Arc<dyn Catalog>;
