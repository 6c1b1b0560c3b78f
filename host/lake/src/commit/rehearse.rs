//! What a commit would make of a table, made and not committed: checks read it.

use std::sync::Arc;

use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableIdent};
use lakehost_pipeline::ports::TableName;

use super::action::{Action, Delta, On, Step};
use super::build::build;
use super::manifests::Manifests;
use crate::core::Core;
use crate::error::{Error, Result};

/// A table as it would be after a commit. Its manifests are written, the catalog knows nothing of it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Readable like any table; its current snapshot is the one to be.
    pub table: Table,
    pub snapshot_id: i64,
    /// Manifests that only this rehearsal needs.
    pub scratch: Vec<String>,
    /// What the commit would do; none: it would do nothing.
    pub(crate) delta: Option<Box<Delta>>,
}

/// Prepares an action on the table as it is now. `None`: it has nothing to do.
pub async fn rehearse(core: &Core, action: &dyn Action, run_id: &str, snapshot_id: i64) -> Result<Option<Prepared>> {
    let manifests = Manifests::new(core.io.clone());
    let head = core.catalog.load(action.table()).await?;
    let on =
        On { core, manifests: &manifests, base: head.as_ref(), head: head.as_ref(), attempt: 0, snapshot_id, run_id };
    let Step::Change(delta) = action.prepare(&on).await? else { return Ok(None) };
    let built = build(&on, action.table(), Delta::clone(&delta)).await?;
    let location = built.change.metadata_location();
    match open(core, action.table(), Arc::clone(&built.change.metadata), location) {
        Ok(table) => Ok(Some(Prepared { table, snapshot_id, scratch: built.scratch, delta: Some(delta) })),
        Err(error) => {
            core.forget(built.scratch);
            Err(error)
        }
    }
}

/// A table for the Iceberg library's readers.
pub fn open(
    core: &Core,
    name: &TableName,
    metadata: iceberg::spec::TableMetadataRef,
    metadata_location: String,
) -> Result<Table> {
    Table::builder()
        .identifier(TableIdent::new(NamespaceIdent::new(name.namespace.clone()), name.name.clone()))
        .file_io(core.io.clone())
        .metadata(metadata)
        .metadata_location(metadata_location)
        .runtime(iceberg::Runtime::current())
        .build()
        .map_err(Error::iceberg("open", name))
}
