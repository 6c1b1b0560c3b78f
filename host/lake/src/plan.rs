//! A load against its table as it stands: everything that has to fit, checked, and what the commit will do to it.

use std::sync::Arc;

use arrow_schema::SchemaRef as ArrowSchemaRef;
use iceberg::spec::{TableMetadataRef, UnboundPartitionSpec};
use lakehost_columnar::PartitionField;
use lakehost_pipeline::ports::{TableName, Target, WriteMode};
use uuid::Uuid;

use crate::catalog::{Base, Creation, TableState};
use crate::commit::Removal;
use crate::error::{Error, Result};
use crate::layout::{self, WindowValue};
use crate::properties;
use crate::schema;

/// What a load will do to its table.
#[derive(Clone, Debug)]
pub struct Plan {
    pub base: Base,
    /// The metadata under which the new files are written: that of the base, with the wanted partition spec as default.
    pub metadata: TableMetadataRef,
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
            properties: properties::initial(&target.owner),
        };
        let metadata = creation
            .builder()
            .and_then(|builder| builder.build())
            .map_err(|error| Error::shape(table, format!("cannot be laid out so: {}", error.message())))?;
        Self::finish(target, Base::New(Box::new(creation)), Arc::new(metadata.metadata), None)
    }

    fn existing(target: &Target, state: TableState) -> Result<Self> {
        let table = &target.table;
        let metadata = Arc::clone(&state.metadata);
        if metadata.format_version() != iceberg::spec::FormatVersion::V2 {
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
            return Self::finish(target, Base::Existing(state), metadata, None);
        }
        let wanted = layout::new_spec(table, schema, windowed, &target.partition)?;
        let changed = metadata
            .as_ref()
            .clone()
            .into_builder(None)
            .add_default_partition_spec(wanted.clone())
            .and_then(|builder| builder.build())
            .map_err(|error| Error::shape(table, format!("cannot be partitioned so: {}", error.message())))?;
        Self::finish(target, Base::Existing(state), Arc::new(changed.metadata), Some(wanted))
    }

    fn finish(
        target: &Target,
        base: Base,
        metadata: TableMetadataRef,
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
            (WriteMode::Append, _) => Removal::Nothing,
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
            new_spec,
            window,
            removal,
        })
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
