//! A load against its table as it stands: everything that has to fit, checked, and what the commit will do to it.

use std::sync::Arc;

use arrow_schema::{Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{FormatVersion, Schema, SortOrder, TableMetadata, TableMetadataRef, UnboundPartitionSpec};
use lakehost_columnar::PartitionField;
use lakehost_pipeline::ports::{TableName, Target, WriteMode};
use uuid::Uuid;

use crate::catalog::{Base, Creation, TableState};
use crate::commit::Removal;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::evolve;
use crate::layout::{self, WindowValue};
use crate::properties;
use crate::reshape::shown_spec;
use crate::schema;

/// What a load will do to its table.
#[derive(Clone, Debug)]
pub struct Plan {
    pub base: Base,
    /// The metadata under which the new files are written: that of the base, with the wanted partition spec as default.
    pub metadata: TableMetadataRef,
    /// Columns that the commit has to change first.
    pub new_schema: Option<Schema>,
    /// What changed them: columns that came, and in which file.
    pub evolved: Vec<(ArrowSchemaRef, String)>,
    /// A partition spec that the commit has to add first.
    pub new_spec: Option<UnboundPartitionSpec>,
    /// The table's columns with field ids.
    pub schema: ArrowSchemaRef,
    /// Partition fields beyond the window.
    pub partition: Vec<PartitionField>,
    pub window: Option<WindowValue>,
    pub removal: Removal,
}

impl Plan {
    /// Checks `target` against the table, or lays out a new one at `location`.
    pub fn new(target: &Target, state: Option<TableState>, location: &str) -> Result<Self> {
        match state {
            Some(state) => Self::existing(target, state),
            None => Self::create(target, location),
        }
    }

    fn create(target: &Target, location: &str) -> Result<Self> {
        let table = &target.table;
        let made = schema::new_schema(table, &target.schema)?;
        layout::check_fields(&target.schema, &made, &target.partition)?;
        let creation = Creation {
            uuid: Uuid::new_v4(),
            location: location.to_owned(),
            spec: layout::new_spec(table, &made, target.window.is_some(), &target.partition)?,
            schema: made,
            order: SortOrder::unsorted_order(),
            format: FormatVersion::V2,
            properties: properties::initial(&target.owner),
        };
        let metadata = creation
            .builder()
            .and_then(|builder| builder.build())
            .map_err(|error| Error::shape(table, format!("cannot be laid out so: {}", error.message())))?;
        Self::finish(target, Base::New(Box::new(creation)), Arc::new(metadata.metadata), None, None)
    }

    fn existing(target: &Target, state: TableState) -> Result<Self> {
        let table = &target.table;
        let metadata = Arc::clone(&state.metadata);
        if metadata.format_version() != FormatVersion::V2 {
            return Err(Error::TableShape {
                table: table.clone(),
                detail: format!("has Iceberg format {}, and only v2 tables are written", metadata.format_version()),
                hint: Some("`--table NAMESPACE.NAME` loads into a table of its own".to_owned()),
            });
        }
        // Appending to somebody's table changes nothing that is theirs; replacing does.
        let owned = metadata.properties().contains_key(properties::OWNER);
        if target.mode == WriteMode::ReplaceWindow || (target.mode == WriteMode::FullRefresh && owned) {
            properties::check_owner(table, metadata.properties(), &target.owner)?;
        }
        let renamed = evolve::change(table, &metadata, &due(&metadata, &target.renames), &[])?.schema;
        let mut new_schema = renamed;
        let mut metadata = reshaped(table, &metadata, new_schema.as_ref())?;
        if target.contract.evolves() {
            let evolution = evolve::evolve(table, &metadata, &target.schema, &target.contract, "the source")?;
            if evolution.schema.is_some() {
                metadata = reshaped(table, &state.metadata, evolution.schema.as_ref())?;
                new_schema = evolution.schema;
            }
        }
        let arrow = schema::arrow_schema(table, metadata.current_schema())?;
        schema::check(table, &target.schema, &arrow)?;
        let schema = metadata.current_schema();
        let windowed = layout::has_window(schema, metadata.default_partition_spec());
        if windowed != target.window.is_some() && (windowed || target.mode == WriteMode::ReplaceWindow) {
            let detail = if windowed {
                "is split into windows, and this load has none"
            } else {
                "is not partitioned by identity(_lakehost_window)"
            };
            return Err(Error::TableShape {
                table: table.clone(),
                detail: detail.to_owned(),
                hint: Some("`--table NAMESPACE.NAME` loads into a table of its own".to_owned()),
            });
        }
        let present = layout::beyond_window(table, schema, metadata.default_partition_spec())?;
        if target.partition.is_empty() || target.partition == present {
            return Self::finish(target, Base::Existing(state), metadata, new_schema, None);
        }
        let wanted = layout::new_spec(table, schema, windowed, &target.partition)?;
        let changed = partitioned(table, &metadata, wanted.clone())?;
        Self::finish(target, Base::Existing(state), changed, new_schema, Some(wanted))
    }

    /// The same load once its table takes the columns that a file brought.
    pub fn evolve(&self, target: &Target, found: &ArrowSchema, file: &str) -> Result<Self> {
        let table = &target.table;
        let evolution = evolve::evolve(table, &self.metadata, found, &target.contract, file)?;
        let Some(wanted) = evolution.schema else { return Ok(self.clone()) };
        let mut plan = match &self.base {
            Base::New(creation) => {
                let creation = Creation { schema: wanted, ..Creation::clone(creation) };
                let metadata = creation.builder().and_then(|builder| builder.build());
                let metadata = metadata
                    .map_err(|error| Error::shape(table, format!("cannot be laid out so: {}", error.message())))?;
                let plan =
                    Self::finish(target, Base::New(Box::new(creation)), Arc::new(metadata.metadata), None, None)?;
                // Files that are written already have the ids of before.
                let kept = |field: &iceberg::spec::NestedFieldRef| {
                    let now = plan.metadata.current_schema().as_struct().field_by_id(field.id);
                    now.is_some_and(|now| {
                        now.name == field.name
                            && (now.field_type == field.field_type || field.field_type.is_primitive())
                    })
                };
                if !self.metadata.current_schema().as_struct().fields().iter().all(kept) {
                    let detail = "cannot take further columns in its first load, which has columns within columns";
                    return Err(Error::shape(table, detail));
                }
                plan
            }
            Base::Existing(state) => {
                let mut metadata = reshaped(table, &state.metadata, Some(&wanted))?;
                if let Some(spec) = &self.new_spec {
                    metadata = partitioned(table, &metadata, spec.clone())?;
                }
                Self::finish(target, self.base.clone(), metadata, Some(wanted), self.new_spec.clone())?
            }
        };
        plan.evolved.clone_from(&self.evolved);
        plan.evolved.push((Arc::new(found.clone()), file.to_owned()));
        Ok(plan)
    }

    fn finish(
        target: &Target,
        base: Base,
        metadata: TableMetadataRef,
        new_schema: Option<Schema>,
        new_spec: Option<UnboundPartitionSpec>,
    ) -> Result<Self> {
        let table = &target.table;
        let schema = metadata.current_schema();
        let window = match &target.window {
            Some(window) if schema.field_by_name(lakehost_pipeline::WINDOW_COLUMN).is_some() => {
                Some(WindowValue::of(table, schema, window)?)
            }
            _ => None,
        };
        let removal = match (target.mode, &window) {
            // What a merge takes away comes out when the rows are looked at.
            (WriteMode::Append | WriteMode::Merge, _) => Removal::Nothing,
            (WriteMode::FullRefresh, _) => Removal::Everything,
            (WriteMode::ReplaceWindow, Some(window)) => Removal::Window(window.clone()),
            (WriteMode::ReplaceWindow, None) => {
                return Err(Error::Internal(format!(
                    "a window of {table} is to be replaced, but the load has no window"
                )));
            }
        };
        Ok(Self {
            schema: schema::arrow_schema(table, schema)?,
            partition: layout::beyond_window(table, schema, metadata.default_partition_spec())?,
            base,
            metadata,
            new_schema,
            evolved: Vec::new(),
            new_spec,
            window,
            removal,
        })
    }

    /// The same plan; that of a new table where its catalog wants it, and as it calls it.
    pub fn placed(self, core: &Core, table: &TableName) -> Result<Self> {
        let Base::New(creation) = &self.base else { return Ok(self) };
        let Some(placed) = core.block_on(core.catalog.place(table, creation))? else { return Ok(self) };
        let creation = Creation { location: placed.location, uuid: placed.uuid, ..Creation::clone(creation) };
        let metadata =
            creation.builder().and_then(|builder| builder.build()).map_err(Error::iceberg("lay out", table))?;
        Ok(Self { base: Base::New(Box::new(creation)), metadata: Arc::new(metadata.metadata), ..self })
    }

    /// How a partition spec that comes with the load differs from the table's, for people.
    pub fn respecified(&self) -> Option<String> {
        let (Base::Existing(state), Some(_)) = (&self.base, &self.new_spec) else { return None };
        let shown = |metadata: &TableMetadata| {
            let spec = shown_spec(metadata.current_schema(), metadata.default_partition_spec());
            if spec.is_empty() { "nothing".to_owned() } else { spec.join(", ") }
        };
        Some(format!(
            "new files are partitioned by {}, those before by {} (`table compact` brings them along, `table set-partitioning` changes it back)",
            shown(&self.metadata),
            shown(&state.metadata)
        ))
    }

    /// Where the table is or will be.
    pub fn location(&self) -> &str {
        self.metadata.location()
    }

    /// The table as it was when the plan was made.
    pub fn state(&self) -> Option<&TableState> {
        match &self.base {
            Base::New(_) => None,
            Base::Existing(state) => Some(state),
        }
    }

    /// Files that were written for `self` fit `later`: the same columns under the same ids, the same partition.
    pub fn carries_over(&self, later: &Self, table: &TableName) -> Result<()> {
        let changed = |what: &str| {
            Err(Error::TableShape {
                table: table.clone(),
                detail: format!("got {what} while the load was under way"),
                hint: Some("run the same command again".to_owned()),
            })
        };
        if let (Some(before), Some(after)) = (self.state(), later.state())
            && before.metadata.uuid() != after.metadata.uuid()
        {
            return changed("replaced by a new table of that name");
        }
        for field in self.metadata.current_schema().as_struct().fields() {
            let same = later
                .metadata
                .current_schema()
                .field_by_id(field.id)
                .is_some_and(|found| found.name == field.name && found.field_type == field.field_type);
            if !same {
                return changed("other columns");
            }
        }
        if self.partition != later.partition || self.window != later.window || self.location() != later.location() {
            return changed("another partition spec");
        }
        Ok(())
    }
}

/// The renames that a table has not seen yet.
fn due(metadata: &TableMetadata, renames: &[(String, String)]) -> Vec<(String, String)> {
    let has = |name: &str| metadata.current_schema().field_by_name(name).is_some();
    renames.iter().filter(|(_, old)| has(old)).cloned().collect()
}

fn reshaped(table: &TableName, metadata: &TableMetadataRef, schema: Option<&Schema>) -> Result<TableMetadataRef> {
    let Some(schema) = schema else { return Ok(Arc::clone(metadata)) };
    let builder = TableMetadata::clone(metadata).into_builder(None);
    builder
        .add_current_schema(schema.clone())
        .and_then(|builder| builder.build())
        .map(|built| Arc::new(built.metadata))
        .map_err(|error| Error::shape(table, format!("cannot have these columns: {}", error.message())))
}

fn partitioned(table: &TableName, metadata: &TableMetadata, spec: UnboundPartitionSpec) -> Result<TableMetadataRef> {
    metadata
        .clone()
        .into_builder(None)
        .add_default_partition_spec(spec)
        .and_then(|builder| builder.build())
        .map(|built| Arc::new(built.metadata))
        .map_err(|error| Error::shape(table, format!("cannot be partitioned so: {}", error.message())))
}
