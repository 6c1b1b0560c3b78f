//! `table list`, `show`, `drop` and `adopt`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use lakehost_pipeline::ports::{Owner, TableName};
use uuid::Uuid;

use crate::catalog::{Base, TableState};
use crate::commit::{Action, Delta, On, Step};
use crate::error::{Error, Result};
use crate::fail_point;
use crate::history::{SnapshotInfo, snapshots};
use crate::lake::IcebergLake;
use crate::properties;
use crate::refs::references;
use crate::rejects;
use crate::reshape::{shown_order, shown_spec};

/// One line of `table list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLine {
    pub table: TableName,
    /// The newest snapshot of `main`.
    pub head: Option<SnapshotInfo>,
    pub snapshots: usize,
    /// Branches that hold rows while `main` has none.
    pub branches: Vec<String>,
    pub owner: Option<String>,
    /// Why nothing more is known of the table; other tables are listed all the same.
    pub problem: Option<String>,
}

/// A column of `table show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnLine {
    pub field_id: i32,
    pub name: String,
    /// In Iceberg's words.
    pub data_type: String,
    pub required: bool,
}

/// Everything of `table show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDetails {
    pub table: TableName,
    pub uuid: Uuid,
    pub format_version: u8,
    pub location: String,
    pub metadata_location: String,
    pub columns: Vec<ColumnLine>,
    /// The default spec: `identity(_lakehost_window)`, `bucket[16](id)`.
    pub partition: Vec<String>,
    /// The default order: `at`, `fare desc`.
    pub sort: Vec<String>,
    pub properties: BTreeMap<String, String>,
    pub head: Option<SnapshotInfo>,
    pub snapshots: usize,
}

/// What `table drop` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub location: String,
    /// Files of a table outside the warehouse, or shared with another table, are left alone.
    pub files_deleted: bool,
}

fn head(state: &TableState) -> Option<SnapshotInfo> {
    let id = state.main()?.snapshot_id();
    snapshots(state).into_iter().find(|snapshot| snapshot.snapshot_id == id)
}

/// The branches of a table whose `main` has nothing yet.
fn branches_alone(state: &TableState) -> Vec<String> {
    if state.main().is_some() {
        return Vec::new();
    }
    // A list is not worth failing for.
    let found = references(&state.metadata).unwrap_or_default();
    found.into_iter().filter(|(_, reference)| reference.is_branch()).map(|(name, _)| name).collect()
}

impl IcebergLake {
    /// Namespaces, by name.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        self.core.block_on(self.core.catalog.list_namespaces())
    }

    /// Names of the tables of a namespace, or of all.
    pub fn table_names(&self, namespace: Option<&str>) -> Result<Vec<TableName>> {
        let entries = self.core.block_on(self.core.catalog.list_tables(namespace))?;
        Ok(entries.into_iter().map(|entry| entry.table).collect())
    }

    /// The tables of a namespace, or of all.
    pub fn list(&self, namespace: Option<&str>) -> Result<Vec<TableLine>> {
        Ok(self
            .table_names(namespace)?
            .into_iter()
            .map(|table| match self.state(&table) {
                Ok(state) => TableLine {
                    table,
                    branches: branches_alone(&state),
                    head: head(&state),
                    snapshots: state.metadata.snapshots().len(),
                    owner: state.metadata.properties().get(properties::OWNER).cloned(),
                    problem: None,
                },
                Err(error) => TableLine {
                    table,
                    head: None,
                    snapshots: 0,
                    branches: Vec::new(),
                    owner: None,
                    problem: Some(error.to_string()),
                },
            })
            .collect())
    }

    /// One table in full.
    pub fn describe(&self, name: &TableName) -> Result<TableDetails> {
        let state = self.state(name)?;
        let metadata = &state.metadata;
        let schema = metadata.current_schema();
        Ok(TableDetails {
            table: name.clone(),
            uuid: metadata.uuid(),
            format_version: metadata.format_version() as u8,
            location: metadata.location().to_owned(),
            metadata_location: state.metadata_location.clone(),
            columns: schema
                .as_struct()
                .fields()
                .iter()
                .map(|field| ColumnLine {
                    field_id: field.id,
                    name: field.name.clone(),
                    data_type: field.field_type.to_string(),
                    required: field.required,
                })
                .collect(),
            partition: shown_spec(schema, metadata.default_partition_spec()),
            sort: shown_order(metadata),
            properties: metadata.properties().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            head: head(&state),
            snapshots: metadata.snapshots().len(),
        })
    }

    /// Removes a table from the catalog, then its files.
    pub fn drop_table(&self, name: &TableName) -> Result<Dropped> {
        let state = self.state(name)?;
        self.core.catalog.check_writable()?;
        let Some(shared) = self.core.block_on(self.forget_table(&state))? else {
            return Err(Error::TableShape {
                table: name.clone(),
                detail: "changed while it was about to be dropped".to_owned(),
                hint: Some(format!("`lakehost table show {name}` shows it as it is now")),
            });
        };
        self.delete_files(&state, shared)
    }

    /// Removes a table that is as the caller saw it from the catalog: whether its folder is another table's too; `None`: it has changed.
    pub async fn forget_table(&self, state: &TableState) -> Result<Option<bool>> {
        if !self.core.catalog.drop_table(state).await? {
            return Ok(None);
        }
        let folder = format!("{}/", state.metadata.location());
        let others = self.core.catalog.list_tables(None).await?;
        for other in others {
            // A table that cannot be read may be there as well.
            if !matches!(other.at(&folder, self.core.catalog.as_ref()).await, Ok(None)) {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Deletes the files of a table that the catalog has forgotten, unless they are not its alone.
    pub fn delete_files(&self, state: &TableState, shared: bool) -> Result<Dropped> {
        let location = state.metadata.location().to_owned();
        let files_deleted = !shared && !is_kept(state) && self.core.warehouse.owns(&location);
        if files_deleted {
            self.core.fail_points.pass(fail_point::BEFORE_DROP_DELETE)?;
            self.core.store.delete_folder(&location).map_err(Error::store("delete", &location))?;
        }
        Ok(Dropped { location, files_deleted })
    }

    /// Makes a table the property of another load.
    pub fn adopt(&self, name: &TableName, owner: &Owner) -> Result<()> {
        let action = Adopt { table: name, owner };
        self.act(&action, "adopt")?;
        // Its rejected rows go with it.
        match self.core.block_on(rejects::table_of(&self.core, name))? {
            Some(beside) => self.act(&Adopt { table: &beside.name, owner }, "adopt").map(|_| ()),
            None => Ok(()),
        }
    }
}

/// The property by which a table says that its files are not the table's alone to delete: a catalog with branches of its own sets it.
const GC: &str = "gc.enabled";

/// Whether files that the table itself no longer needs may be needed elsewhere.
pub fn is_kept(state: &TableState) -> bool {
    state.metadata.properties().get(GC).is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// That no file of a table would be deleted that is needed elsewhere.
pub fn check_gc(state: &TableState) -> Result<()> {
    match is_kept(state) {
        false => Ok(()),
        true => Err(Error::TableShape {
            table: state.name.clone(),
            detail: format!("has {GC} = false: files that it no longer needs may be needed elsewhere, such as on other branches of the catalog"),
            hint: Some("its catalog knows what is needed where: on Nessie its own garbage collector (nessie-gc) deletes the rest".to_owned()),
        }),
    }
}

/// The change of owner.
struct Adopt<'a> {
    table: &'a TableName,
    owner: &'a Owner,
}

#[async_trait]
impl Action for Adopt<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let Some(head) = on.head else {
            return Err(Error::NoTable { table: self.table.clone(), known: Vec::new() });
        };
        let wanted = properties::owner_properties(self.owner);
        if wanted.iter().all(|(name, value)| head.metadata.properties().get(name) == Some(value)) {
            return Ok(Step::Nothing { snapshot_id: None });
        }
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.set = wanted;
        Ok(Step::Change(Box::new(delta)))
    }
}
