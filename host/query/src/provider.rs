//! One state of one Iceberg table as a DataFusion table.

use std::any::Any;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::table::Table;

use crate::predicate;
use crate::scan::SnapshotScan;

/// A table pinned to a snapshot, with the schema which that snapshot was written under.
#[derive(Debug)]
pub(crate) struct SnapshotTable {
    name: Arc<str>,
    table: Table,
    snapshot_id: Option<i64>,
    schema: SchemaRef,
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
        // Scans use the snapshot's own schema, which can be older than the table's.
        let iceberg_schema = match snapshot {
            Some(snapshot) => snapshot.schema(&metadata)?,
            None => Arc::clone(metadata.current_schema()),
        };
        let fields = schema_to_arrow_schema(&iceberg_schema)?;
        let bare: Vec<_> =
            fields.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
        let snapshot_id = snapshot.map(|snapshot| snapshot.snapshot_id());
        Ok(Self { name: name.into(), snapshot_id, schema: Arc::new(Schema::new(bare)), table })
    }

    /// The narrowest column: read when a query needs rows but no column.
    fn cheapest_column(&self) -> usize {
        let width = |index: &usize| self.schema.field(*index).data_type().primitive_width().unwrap_or(usize::MAX);
        (0..self.schema.fields().len()).min_by_key(width).unwrap_or(0)
    }
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
        let mut columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        if columns.is_empty() {
            let field = self
                .schema
                .fields()
                .get(self.cheapest_column())
                .ok_or_else(|| DataFusionError::Plan(format!("table {} has no columns", self.name)))?;
            columns.push(field.name().clone());
        }
        let scan = SnapshotScan {
            name: Arc::clone(&self.name),
            table: self.table.clone(),
            snapshot_id: self.snapshot_id,
            columns,
            predicate: predicate::conjunction(filters, &self.schema),
            schema: Arc::clone(&schema),
        };
        // A limit under an inexact filter would cut rows before the filter sees them: DataFusion passes none then.
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, None, false, limit)?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match predicate::predicate(filter, &self.schema) {
                Some(_) => TableProviderFilterPushDown::Inexact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }
}
