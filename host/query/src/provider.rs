//! One state of one Iceberg table as a DataFusion table.

use std::any::Any;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedField, SchemaRef as IcebergSchemaRef, SnapshotRef, TableMetadata, Transform};
use iceberg::table::Table;

use crate::predicate;
use crate::scan::SnapshotScan;

/// A table pinned to a snapshot. The present snapshot is read under the table's present schema, an older one under its own.
#[derive(Debug)]
pub(crate) struct SnapshotTable {
    name: Arc<str>,
    table: Table,
    snapshot: Option<SnapshotRef>,
    read_as: IcebergSchemaRef,
    schema: SchemaRef,
    /// Columns by which files may be left out: those that mean the same in every schema that the table has had.
    prunable: Schema,
    /// Columns by which rows of a file may be left out: of the former those that are in the file itself.
    filterable: Schema,
}

impl SnapshotTable {
    /// `snapshot_id`: `None` reads the current one.
    pub(crate) fn try_new(name: &str, table: Table, snapshot_id: Option<i64>) -> Result<Self, iceberg::Error> {
        let metadata = table.metadata_ref();
        let snapshot = match snapshot_id {
            Some(id) => Some(metadata.snapshot_by_id(id).ok_or_else(|| {
                iceberg::Error::new(
                    iceberg::ErrorKind::DataInvalid,
                    format!("snapshot {id} is not in the table's history"),
                )
            })?),
            None => metadata.current_snapshot(),
        };
        let read_as = match (snapshot_id, snapshot) {
            (Some(_), Some(snapshot)) => snapshot.schema(&metadata)?,
            _ => Arc::clone(metadata.current_schema()),
        };
        let fields = schema_to_arrow_schema(&read_as)?;
        let bare: Vec<Field> =
            fields.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
        let prunable: Vec<Field> = read_as
            .as_struct()
            .fields()
            .iter()
            .zip(&bare)
            .filter(|(field, _)| means_the_same(&metadata, snapshot, field))
            .map(|(_, bare)| bare.clone())
            .collect();
        let constant = |field: &Field| {
            let id = read_as.field_id_by_name(field.name());
            let specs = metadata.partition_specs_iter();
            specs
                .flat_map(|spec| spec.fields())
                .any(|part| part.transform == Transform::Identity && Some(part.source_id) == id)
        };
        let filterable = prunable.iter().filter(|field| !constant(field)).cloned().collect::<Vec<_>>();
        Ok(Self {
            name: name.into(),
            snapshot: snapshot.cloned(),
            schema: Arc::new(Schema::new(bare)),
            prunable: Schema::new(prunable),
            filterable: Schema::new(filterable),
            read_as,
            table,
        })
    }

    /// The narrowest column: read when a query needs rows but no column.
    fn cheapest_column(&self) -> usize {
        let width = |index: &usize| self.schema.field(*index).data_type().primitive_width().unwrap_or(usize::MAX);
        (0..self.schema.fields().len()).min_by_key(width).unwrap_or(0)
    }
}

/// Whether a column has one type in all schemas of a table, and the name that the snapshot's schema gives it. Bounds and files of a column
/// that was widened hold values of another type, which the library compares as neither less nor equal.
fn means_the_same(metadata: &TableMetadata, snapshot: Option<&SnapshotRef>, field: &NestedField) -> bool {
    let one_type = metadata
        .schemas_iter()
        .filter_map(|schema| schema.field_by_id(field.id))
        .all(|other| other.field_type == field.field_type);
    let planned = snapshot.and_then(|snapshot| snapshot.schema(metadata).ok());
    one_type && planned.is_some_and(|schema| schema.field_id_by_name(&field.name) == Some(field.id))
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let all = self.read_as.as_struct().fields();
        let id_of = |index: usize| all.get(index).map(|field| field.id);
        let mut field_ids: Vec<i32> = match projection {
            Some(projection) => projection.iter().filter_map(|index| id_of(*index)).collect(),
            None => all.iter().map(|field| field.id).collect(),
        };
        if field_ids.is_empty() {
            let cheapest = id_of(self.cheapest_column());
            field_ids
                .push(cheapest.ok_or_else(|| DataFusionError::Plan(format!("table {} has no columns", self.name)))?);
        }
        let scan = SnapshotScan {
            name: Arc::clone(&self.name),
            table: self.table.clone(),
            snapshot: self.snapshot.clone(),
            read_as: Arc::clone(&self.read_as),
            field_ids,
            file_filter: predicate::conjunction(filters, &self.prunable),
            row_filter: predicate::conjunction(filters, &self.filterable),
            schema: Arc::clone(&schema),
        };
        // A limit under an inexact filter would cut rows before the filter sees them: DataFusion passes none then.
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, None, false, limit)?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match predicate::predicate(filter, &self.prunable) {
                Some(_) => TableProviderFilterPushDown::Inexact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }
}
