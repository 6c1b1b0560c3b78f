//! How a table is laid out from now on: its partition fields and its sort order. Files that are there stay as they are.
//!
//! Files keep the spec that they were written under, and every reader knows how to read a table of several specs. A load replaces its window's
//! files whatever their spec; a compaction writes them anew under the default one.

use arrow_schema::Schema as ArrowSchema;
use async_trait::async_trait;
use iceberg::spec::{
    NullOrder, PartitionSpec, Schema, SortDirection, SortField, SortOrder, TableMetadata, Transform,
    UnboundPartitionSpec,
};
use lakehost_columnar::{PartitionField, check_partition};
use lakehost_pipeline::ports::TableName;

use crate::catalog::{Base, TableState};
use crate::commit::{Action, Delta, Landing, On, Step};
use crate::error::{Error, Result};
use crate::lake::IcebergLake;
use crate::layout;
use crate::maintain::SortKey;
use crate::refs::head;
use crate::schema::arrow_schema;

/// What a table's layout was and is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reshaped {
    /// `false`: it was so before.
    pub changed: bool,
    pub before: Vec<String>,
    pub now: Vec<String>,
}

impl IcebergLake {
    /// Later loads split their files by these fields, behind the window where the table has windows.
    ///
    /// # Errors
    /// `LH0101` a column that is not there, or has no such transform; `LH0603` a field that the table cannot have.
    pub fn set_partitioning(&self, table: &TableName, fields: &[PartitionField]) -> Result<Reshaped> {
        let state = self.state(table)?;
        let wanted = wanted_spec(&state, fields)?;
        let schema = state.metadata.current_schema();
        let before = shown_spec(schema, state.metadata.default_partition_spec());
        let changed = self.reshape(&Reshape { state: &state, wanted: Wanted::Spec(wanted) })?;
        let now = shown_spec(schema, self.state(table)?.metadata.default_partition_spec());
        Ok(Reshaped { changed, before, now })
    }

    /// The order that compactions sort by; empty: none.
    ///
    /// # Errors
    /// `LH0101` a column that is not there or has no order.
    pub fn set_sort_order(&self, table: &TableName, keys: &[SortKey]) -> Result<Reshaped> {
        let state = self.state(table)?;
        let wanted = sort_order(&state, keys)?;
        let before = shown_order(&state.metadata);
        let changed = self.reshape(&Reshape { state: &state, wanted: Wanted::Order(wanted) })?;
        Ok(Reshaped { changed, before, now: shown_order(&self.state(table)?.metadata) })
    }

    fn reshape(&self, action: &Reshape<'_>) -> Result<bool> {
        Ok(matches!(self.act(action, "reshape")?, Landing::Landed { .. }))
    }
}

/// The spec with these fields beyond the window.
fn wanted_spec(state: &TableState, fields: &[PartitionField]) -> Result<UnboundPartitionSpec> {
    let (table, metadata) = (&state.name, &state.metadata);
    let schema = metadata.current_schema();
    let columns = arrow_schema(table, schema)?;
    layout::check_fields(&columns, schema, fields)?;
    check_known(&columns, fields)?;
    let windowed = layout::has_window(schema, metadata.default_partition_spec());
    layout::new_spec(table, schema, windowed, fields)
}

/// The window is where it is, whatever else splits the files, and the host must know how to split them.
fn check_known(columns: &ArrowSchema, fields: &[PartitionField]) -> Result<()> {
    let window = lakehost_pipeline::WINDOW_COLUMN;
    if fields.iter().any(|field| field.column == window) {
        return Err(Error::Partition {
            column: window.to_owned(),
            problem: format!("files are split by {window} anyway"),
            hint: Some("leave it out; none keeps it alone".to_owned()),
        });
    }
    for field in fields {
        check_partition(std::slice::from_ref(field), columns).map_err(|error| Error::Partition {
            column: field.column.clone(),
            problem: error.to_string(),
            hint: Some("name another column or another transform with --partition-by".to_owned()),
        })?;
    }
    Ok(())
}

/// The transforms of a spec with their columns: `identity(_lakehost_window)`, `day(at)`.
pub fn shown_spec(schema: &Schema, spec: &PartitionSpec) -> Vec<String> {
    let fields = spec.fields().iter().filter(|field| field.transform != Transform::Void);
    fields
        .map(|field| format!("{}({})", field.transform, schema.name_by_field_id(field.source_id).unwrap_or("?")))
        .collect()
}

/// The default order of a table: `at`, `fare desc`.
pub fn shown_order(metadata: &TableMetadata) -> Vec<String> {
    let fields = &metadata.default_sort_order().fields;
    fields
        .iter()
        .map(|field| {
            let column = metadata.current_schema().name_by_field_id(field.source_id).unwrap_or("?");
            let column = match field.transform {
                Transform::Identity => column.to_owned(),
                transform => format!("{transform}({column})"),
            };
            let nulls = if field.null_order == NullOrder::First { " nulls first" } else { "" };
            match field.direction {
                SortDirection::Ascending => format!("{column}{nulls}"),
                SortDirection::Descending => format!("{column} desc{nulls}"),
            }
        })
        .collect()
}

/// The keys of the default order; `None`: there is none, or rows cannot be sorted so here.
pub fn default_keys(metadata: &TableMetadata) -> Option<Vec<SortKey>> {
    let fields = &metadata.default_sort_order().fields;
    let schema = metadata.current_schema();
    let keys = fields.iter().map(|field| {
        let column = schema.field_by_id(field.source_id).filter(|_| field.transform == Transform::Identity)?;
        // A column inside another one is not sorted by.
        schema.as_struct().field_by_id(column.id)?;
        Some(SortKey {
            column: column.name.clone(),
            descending: field.direction == SortDirection::Descending,
            nulls_first: field.null_order == NullOrder::First,
        })
    });
    keys.collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}

fn sort_order(state: &TableState, keys: &[SortKey]) -> Result<SortOrder> {
    let (table, schema) = (&state.name, state.metadata.current_schema());
    let wrong = |column: &str, problem: String| Error::Partition {
        column: column.to_owned(),
        problem,
        hint: Some(format!("`lakehost table show {table}` lists the columns with their types")),
    };
    let mut builder = SortOrder::builder();
    for (number, key) in keys.iter().enumerate() {
        let column = key.column.as_str();
        let field = schema.as_struct().field_by_name(column);
        let field = field.ok_or_else(|| wrong(column, format!("table {table} has no column {column} to sort by")))?;
        if !field.field_type.is_primitive() {
            return Err(wrong(column, format!("column {column} is {}, which has no order", field.field_type)));
        }
        if keys.iter().take(number).any(|earlier| earlier.column == key.column) {
            return Err(wrong(column, format!("column {column} is there twice")));
        }
        builder.with_sort_field(
            SortField::builder()
                .source_id(field.id)
                .transform(Transform::Identity)
                .direction(if key.descending { SortDirection::Descending } else { SortDirection::Ascending })
                .null_order(if key.nulls_first { NullOrder::First } else { NullOrder::Last })
                .build(),
        );
    }
    builder.build_unbound().map_err(Error::iceberg("sort", table))
}

enum Wanted {
    Spec(UnboundPartitionSpec),
    Order(SortOrder),
}

struct Reshape<'a> {
    /// The table that the columns were looked up in.
    state: &'a TableState,
    wanted: Wanted,
}

#[async_trait]
impl Action for Reshape<'_> {
    fn table(&self) -> &TableName {
        &self.state.name
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table())?;
        let metadata = &head.metadata;
        let same_columns = metadata.current_schema_id() == self.state.metadata.current_schema_id();
        if metadata.uuid() != self.state.metadata.uuid() || !same_columns {
            return Err(Error::TableShape {
                table: self.table().clone(),
                detail: "got other columns meanwhile".to_owned(),
                hint: Some("run the same command again".to_owned()),
            });
        }
        let mut delta = Delta::on(Base::Existing(head.clone()));
        match &self.wanted {
            Wanted::Spec(spec) => {
                let present = metadata.default_partition_spec().fields().iter();
                let present = present.map(|field| (field.source_id, field.transform));
                if present.eq(spec.fields().iter().map(|field| (field.source_id, field.transform))) {
                    return Ok(Step::Nothing { snapshot_id: None });
                }
                delta.spec = Some(spec.clone());
            }
            Wanted::Order(order) => {
                if metadata.default_sort_order().fields == order.fields {
                    return Ok(Step::Nothing { snapshot_id: None });
                }
                delta.sort_order = Some(order.clone());
            }
        }
        Ok(Step::Change(Box::new(delta)))
    }
}
