//! Reading one Iceberg snapshot as a stream of record batches.

use std::fmt;
use std::sync::Arc;

use arrow::compute::cast;
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::expr::Predicate;
use iceberg::table::Table;

/// Rows in a batch: within the range that DataFusion's operators like.
const BATCH_ROWS: usize = 8_192;

/// What a scan reads: one snapshot, some columns, the rows that a predicate may keep.
#[derive(Clone)]
pub(crate) struct SnapshotScan {
    pub name: Arc<str>,
    pub table: Table,
    /// `None`: the table has no snapshot, and so no rows.
    pub snapshot_id: Option<i64>,
    /// Columns to read, never none: a scan without columns would lose the row count.
    pub columns: Vec<String>,
    pub predicate: Option<Predicate>,
    /// The schema of what comes out: the first of `columns`, possibly none of them.
    pub schema: SchemaRef,
}

impl fmt::Debug for SnapshotScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotScan({} {:?} {:?})", self.name, self.snapshot_id, self.columns)?;
        match &self.predicate {
            Some(predicate) => write!(f, " where {predicate}"),
            None => Ok(()),
        }
    }
}

impl PartitionStream for SnapshotScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let Some(snapshot_id) = self.snapshot_id else {
            return Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::empty()));
        };
        let scan = self.clone();
        let batches = futures::stream::once(async move { scan.open(snapshot_id).await }).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

impl SnapshotScan {
    async fn open(
        self,
        snapshot_id: i64,
    ) -> Result<impl futures::Stream<Item = Result<RecordBatch, DataFusionError>>, DataFusionError> {
        let name = Arc::clone(&self.name);
        let failed = move |source: iceberg::Error| {
            DataFusionError::External(Box::new(ScanError { table: name.to_string(), source }))
        };
        let mut builder =
            self.table.scan().snapshot_id(snapshot_id).with_batch_size(Some(BATCH_ROWS)).select(self.columns.iter());
        if let Some(predicate) = self.predicate {
            builder = builder.with_filter(predicate);
        }
        let scan = builder.build().map_err(&failed)?;
        let batches = scan.to_arrow().await.map_err(&failed)?;
        let schema = self.schema;
        Ok(batches.map(move |batch| conform(&batch.map_err(&failed)?, &schema)))
    }
}

/// The leading columns of a batch under the promised schema; types that differ in representation alone are cast.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A table that was found and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("table {table} cannot be read: {source}")]
pub(crate) struct ScanError {
    pub table: String,
    pub source: iceberg::Error,
}

impl ScanError {
    /// A file that the snapshot names is gone, rather than out of reach.
    pub(crate) fn is_missing_file(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&self.source);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return io.kind() == std::io::ErrorKind::NotFound;
            }
            source = error.source();
        }
        let text = self.source.to_string();
        text.contains("NotFound")
            || text.contains("No such file")
            || self.source.kind() == iceberg::ErrorKind::DataInvalid
    }

    pub(crate) fn source_text(&self) -> String {
        self.source.to_string()
    }
}
