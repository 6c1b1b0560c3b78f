//! Rows in order: several batches become one whose rows are sorted.

use arrow_array::RecordBatch;
use arrow_ord::sort::{SortColumn, SortOptions, lexsort_to_indices};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;

/// A column to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub column: String,
    pub descending: bool,
    pub nulls_first: bool,
}

/// All rows of the batches in the order of the keys; rows that are alike in them come in any order.
///
/// # Errors
///
/// A key that is no column, a type that has no order, or more rows than one batch of Arrow holds.
pub fn sorted(schema: &SchemaRef, batches: &[RecordBatch], keys: &[SortKey]) -> Result<RecordBatch, ArrowError> {
    let whole = concat_batches(schema, batches)?;
    let columns = keys
        .iter()
        .map(|key| {
            let values = whole.column(schema.index_of(&key.column)?).clone();
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            Ok(SortColumn { values, options: Some(options) })
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    take_record_batch(&whole, &lexsort_to_indices(&columns, None)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type, Int64Type};
    use arrow_array::{Array, RecordBatch};
    use arrow_schema::{Field, Schema};

    use super::*;
    use crate::observer::NoObserver;
    use crate::output::{OutputSchema, PartitionField, Transform, WriteOptions};
    use crate::steps::{BatchSource, BoxError};
    use crate::testing::{MemorySinks, read_back, sample};
    use crate::transcode::{Outcome, Path, Rows, Transcoder};

    struct Once(Vec<RecordBatch>);
    impl BatchSource for Once {
        fn schema(&self) -> SchemaRef {
            self.0[0].schema()
        }
        fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
            Ok(if self.0.len() > 1 { self.0.pop() } else { None })
        }
    }

    fn write(rows: usize, options: &WriteOptions) -> (Outcome, Vec<RecordBatch>) {
        let batch = sample(rows);
        let schema = batch.schema();
        let fields = schema.fields().iter().zip(1..).map(|(field, id): (_, i32)| {
            let id = HashMap::from([("PARQUET:field_id".to_owned(), id.to_string())]);
            field.as_ref().clone().with_metadata(id)
        });
        let fields: Vec<Field> = fields.collect();
        let output = OutputSchema { schema: Arc::new(Schema::new(fields)), constants: Vec::new() };
        let sinks = MemorySinks::default();
        let run = Transcoder {
            output: &output,
            options,
            step: None,
            sinks: &sinks,
            observer: &NoObserver,
            path: Path::Auto,
            rejects: None,
        };
        let (first, second) = (batch.slice(0, rows / 3), batch.slice(rows / 3, rows - rows / 3));
        let outcome = run.run(Rows::Batches(Box::new(Once(vec![batch.slice(0, 0), first, second])))).unwrap();
        let files = outcome.files.iter().map(|file| read_back(sinks.bytes(&file.location))).collect();
        (outcome, files)
    }

    fn key(column: &str, descending: bool) -> SortKey {
        SortKey { column: column.to_owned(), descending, nulls_first: false }
    }

    /// Kind and id of each row; a null kind is last.
    fn keys(file: &RecordBatch) -> Vec<(i32, i64)> {
        let (kind, id) = (file.column(1).as_primitive::<Int32Type>(), file.column(0).as_primitive::<Int64Type>());
        (0..file.num_rows())
            .map(|row| (if kind.is_null(row) { i32::MAX } else { kind.value(row) }, -id.value(row)))
            .collect()
    }

    #[test]
    fn each_file_is_in_order_and_no_row_is_lost() {
        let sort = vec![key("kind", false), key("id", true)];
        let partition = vec![PartitionField { column: "id".to_owned(), transform: Transform::Bucket(3) }];
        for (memory_bytes, partition) in [(64 << 20, Vec::new()), (1 << 20, Vec::new()), (1 << 20, partition)] {
            let several = memory_bytes == 1 << 20;
            let options = WriteOptions { sort: sort.clone(), partition, memory_bytes, ..WriteOptions::default() };
            let (outcome, files) = write(20_000, &options);
            assert_eq!((outcome.rows_read, outcome.rows_written), (20_000, 20_000));
            assert_eq!(files.len() > 1, several, "{} files", files.len());
            assert!(files.iter().all(|file| keys(file).is_sorted()));
            let mut ids: Vec<i64> = files.iter().flat_map(|file| keys(file).into_iter().map(|(_, id)| -id)).collect();
            ids.sort_unstable();
            assert_eq!(ids, (0..20_000).collect::<Vec<_>>());
            // Rows stay whole.
            for file in &files {
                let amounts = file.column(2).as_primitive::<Float64Type>();
                let whole = |row: usize| amounts.is_null(row) || amounts.value(row) == -keys(file)[row].1 as f64 / 4.0;
                assert!((0..file.num_rows()).step_by(97).all(whole));
            }
        }
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let batch = sample(3);
        assert!(sorted(&batch.schema(), std::slice::from_ref(&batch), &[key("nope", false)]).is_err());
        let ordered = sorted(&batch.schema(), &[batch.clone(), batch.clone()], &[key("id", true)]).unwrap();
        let ids: Vec<i64> = ordered.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [2, 2, 1, 1, 0, 0]);
    }
}
