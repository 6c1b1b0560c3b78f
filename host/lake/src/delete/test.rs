//! What a deletion asks of rows: bound to the columns of a table first, then put to files and batches.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::Schema;
use iceberg::spec::DataFile;
use lakehost_pipeline::Fault;
use lakehost_pipeline::filter::RowFilter;

use super::filter::{Judged, check, judge, rows};
use crate::catalog::TableState;
use crate::error::Error;

/// Which rows are meant, for any table that has the columns. Bound anew for each state of a table that a deletion meets.
pub trait RowTest: Send + Sync {
    /// The test against a table with these columns.
    ///
    /// # Errors
    /// When it does not fit them.
    fn bind(&self, table: &TableState, columns: &Schema) -> Result<Box<dyn BoundTest + '_>, Fault>;
    /// As people write it, for the table's history.
    fn text(&self) -> String;
}

/// A test that fits a table's columns. The same rows get the same answer every time.
pub trait BoundTest: Send + Sync {
    /// The columns that it looks at, each once; at least one.
    fn columns(&self) -> Vec<&str>;
    /// For which rows it is true, among columns in any order. False and null: the row is not meant.
    ///
    /// # Errors
    /// When a value cannot be worked out, such as a quotient by zero.
    fn rows(&self, batch: &RecordBatch) -> Result<BooleanArray, Fault>;
    /// What the bounds of a file can be asked, and whether that is all: else it only holds wherever the test does.
    fn bounds(&self) -> Option<(&RowFilter, bool)>;
}

/// What is known of a file's rows without reading it.
pub fn judged(test: &dyn BoundTest, file: &DataFile, state: &TableState) -> Judged {
    let Some((filter, exact)) = test.bounds() else { return Judged::Some };
    match judge(file, state.metadata.current_schema(), filter, false) {
        Judged::All if !exact => Judged::Some,
        judged => judged,
    }
}

impl RowTest for RowFilter {
    fn bind(&self, table: &TableState, columns: &Schema) -> Result<Box<dyn BoundTest + '_>, Fault> {
        check(&table.name, table.metadata.current_schema(), self)?;
        let first = columns.fields().first().map(|field| field.name().clone()).unwrap_or_default();
        Ok(Box::new(BoundFilter { filter: self, first }))
    }

    fn text(&self) -> String {
        format!("{self:?}")
    }
}

struct BoundFilter<'a> {
    filter: &'a RowFilter,
    /// Rows of no column cannot be counted.
    first: String,
}

impl BoundTest for BoundFilter<'_> {
    fn columns(&self) -> Vec<&str> {
        let columns = self.filter.columns();
        if columns.is_empty() { vec![&self.first] } else { columns }
    }

    fn rows(&self, batch: &RecordBatch) -> Result<BooleanArray, Fault> {
        Ok(rows(batch, self.filter).map_err(|error| Error::Internal(error.to_string()))?)
    }

    fn bounds(&self) -> Option<(&RowFilter, bool)> {
        Some((self.filter, true))
    }
}
