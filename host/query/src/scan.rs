//! Reading one Iceberg snapshot as a stream of record batches.
//!
//! The Iceberg library plans which files are read; each of its tasks is then corrected before the library reads the file. Left alone, a task
//! reads under the snapshot's schema, so that a column that was added since is unknown; it takes the identity partition columns that a file
//! lacks for null, and a filter on one for false; and it tells columns apart by their order where all types happen to be the same.

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
use iceberg::expr::{Bind, Predicate};
use iceberg::metadata_columns::RESERVED_FIELD_ID_FILE;
use iceberg::scan::FileScanTaskStream;
use iceberg::spec::{SchemaRef as IcebergSchemaRef, SnapshotRef};
use iceberg::table::Table;
use lakehost_lake::FileConstants;

/// Rows in a batch: within the range that DataFusion's operators like.
const BATCH_ROWS: usize = 8_192;

/// What a scan reads: one snapshot, some columns, the rows that a filter may keep.
#[derive(Clone)]
pub(crate) struct SnapshotScan {
    pub name: Arc<str>,
    pub table: Table,
    /// `None`: the table has no snapshot, and so no rows.
    pub snapshot: Option<SnapshotRef>,
    /// The schema that the rows are read under: the snapshot's own, or the table's present one.
    pub read_as: IcebergSchemaRef,
    /// Field ids of the columns to read, never none: a scan without columns would lose the row count.
    pub field_ids: Vec<i32>,
    /// Which files cannot hold a row of the answer.
    pub file_filter: Option<Predicate>,
    /// Which rows of a file cannot be part of it.
    pub row_filter: Option<Predicate>,
    /// The schema of what comes out: the first of `field_ids`, possibly none of them.
    pub schema: SchemaRef,
}

impl fmt::Debug for SnapshotScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot_id = self.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id());
        write!(f, "SnapshotScan({} {snapshot_id:?} {:?})", self.name, self.field_ids)?;
        match &self.file_filter {
            Some(filter) => write!(f, " where {filter}"),
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
        let Some(snapshot) = self.snapshot.clone() else {
            return Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::empty()));
        };
        let scan = self.clone();
        let batches = futures::stream::once(async move { scan.open(snapshot).await }).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

impl SnapshotScan {
    async fn open(
        self,
        snapshot: SnapshotRef,
    ) -> Result<impl futures::Stream<Item = Result<RecordBatch, DataFusionError>>, DataFusionError> {
        let name = Arc::clone(&self.name);
        let failed = move |source: iceberg::Error| {
            DataFusionError::External(Box::new(ScanError { table: name.to_string(), source }))
        };
        let tasks = self.tasks(&snapshot).await.map_err(&failed)?;
        let reader = self.table.reader_builder().with_batch_size(BATCH_ROWS).build();
        let batches = reader.read(tasks).map_err(&failed)?.stream();
        let schema = self.schema;
        Ok(batches.map(move |batch| conform(&batch.map_err(&failed)?, &schema)))
    }

    /// The files that may hold rows of the answer, each with what the library does not know of it.
    async fn tasks(&self, snapshot: &SnapshotRef) -> iceberg::Result<FileScanTaskStream> {
        let mut builder = self.table.scan().snapshot_id(snapshot.snapshot_id()).select_empty();
        if let Some(filter) = &self.file_filter {
            builder = builder.with_filter(filter.clone());
        }
        let planned = builder.build()?.plan_files().await?;
        let constants = FileConstants::of(&self.table, snapshot, &self.read_as).await?;
        let bound_under = snapshot.schema(self.table.metadata())?;
        let row_filter =
            self.row_filter.clone().map(|filter| filter.rewrite_not().bind(bound_under, true)).transpose()?;
        let mut project_field_ids = self.field_ids.clone();
        // A column that no file has makes the library assign every other one by its id.
        project_field_ids.push(RESERVED_FIELD_ID_FILE);
        let schema = Arc::clone(&self.read_as);
        Ok(planned
            .map_ok(move |mut task| {
                constants.apply(&mut task);
                task.predicate = row_filter.clone();
                task.schema = Arc::clone(&schema);
                task.project_field_ids.clone_from(&project_field_ids);
                task
            })
            .boxed())
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
