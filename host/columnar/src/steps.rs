//! What the transcoder asks of the row logic, and where batches come from that no file holds.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, SchemaRef};

use crate::error::Result;
use crate::mapping::CastFailure;

/// An error of the other side of a trait.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Rules and derived columns over a row range. Called from several threads, for row ranges in any order.
pub trait RowStep: Sync {
    /// The scan columns it needs decoded, by name.
    fn reads(&self) -> &[String];

    /// The fields that it adds or replaces, for all rows before dropping.
    fn writes(&self) -> &[FieldRef];

    /// Judge one row range.
    ///
    /// `batch` holds the columns of [`RowStep::reads`], already cast, for the rows from `first_row` of the source. `rejected` holds one code
    /// per row: 0 = kept, else a 1-based index into the run's rule list. Rows that arrive with a code (a cast failed) are to be left alone;
    /// the step sets the codes of those that it drops. Afterwards the codes are final.
    ///
    /// # Shape
    ///
    /// One array per field of [`RowStep::writes`], each as long as the batch.
    fn apply(&self, batch: &RecordBatch, first_row: u64, rejected: &mut [u16]) -> Result<Vec<ArrayRef>, BoxError>;

    /// The code of rows whose value in `column` could not be cast; 1 or more.
    fn cast_rule(&self, column: &str) -> u16;

    /// Whether a value of `column` that cannot be cast becomes null instead of costing its row.
    fn forgives(&self, _column: &str) -> bool {
        false
    }

    /// So many more values of `column` became null in that way.
    fn forgiven(&self, _column: &str, _values: u64) {}
}

/// Batches that come from a plugin and not from a file that the host can read.
pub trait BatchSource: Send {
    /// The columns of every batch.
    fn schema(&self) -> SchemaRef;

    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError>;

    /// Values that did not fit their column in the batch that [`BatchSource::next`] has just answered; they are null there. Asked once a batch.
    fn failed(&mut self) -> Vec<CastFailure> {
        Vec::new()
    }
}
