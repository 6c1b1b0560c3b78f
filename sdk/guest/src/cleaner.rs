//! What a row cleaner implements.

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

pub use crate::bindings::cleaner::exports::lakehost::plugin::cleaner::Rule;
use crate::config::Config;
use crate::error::Result;
use crate::patch::Patch;
use crate::window::Window;

/// Who a cleaner is, answered without any configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanerSpec {
    /// Stable name, part of every load's identity: `trip_cleaner`.
    pub name: &'static str,
    /// Usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One sentence for people.
    pub description: &'static str,
}

impl Rule {
    /// A reason to reject a row: a short stable id, and what it means for people.
    pub fn new(id: impl Into<String>, description: impl Into<String>) -> Self {
        Self { id: id.into(), description: description.into() }
    }
}

/// Keeps, rejects and derives rows. End the file with [`export_cleaner!`](crate::export_cleaner).
///
/// A cleaner is bound to a schema once and then sees batches in any order, in parallel, in several instances: it keeps no state
/// between them. It gets the columns that it [`reads`](Self::reads) and no others.
///
/// # Example
/// ```
/// use std::sync::Arc;
///
/// use lakehost_sdk::arrow_array::{Float64Array, RecordBatch};
/// use lakehost_sdk::arrow_schema::{DataType, Schema, SchemaRef};
/// use lakehost_sdk::{Cleaner, CleanerSpec, NoConfig, Patch, Result, Rule, Verdicts, Window, column, require_column};
///
/// /// Rejects trips that cost less than nothing.
/// struct NoRefunds;
///
/// impl Cleaner for NoRefunds {
///     type Config = NoConfig;
///
///     fn spec() -> CleanerSpec {
///         CleanerSpec { name: "no_refunds", version: "0.1.0", description: "rejects negative fares" }
///     }
///
///     fn bind(_: NoConfig, schema: &Schema, _: Option<&Window>) -> Result<Self> {
///         require_column(schema, "fare_amount", &DataType::Float64)?;
///         Ok(Self)
///     }
///
///     fn rules(&self) -> Vec<Rule> {
///         vec![Rule::new("negative_fare", "fare_amount is below 0")]
///     }
///
///     fn reads(&self) -> Vec<String> {
///         vec!["fare_amount".into()]
///     }
///
///     fn writes(&self) -> SchemaRef {
///         Arc::new(Schema::empty())
///     }
///
///     fn clean(&self, batch: &RecordBatch) -> Result<Patch> {
///         let mut verdicts = Verdicts::of_rows(batch.num_rows());
///         verdicts.reject(0, column::<Float64Array>(batch, "fare_amount")?, |fare| fare < 0.0)?;
///         Ok(verdicts.into_patch())
///     }
/// }
///
/// lakehost_sdk::export_cleaner!(NoRefunds);
///
/// # fn main() -> Result<()> {
/// let fares = Arc::new(Float64Array::from(vec![12.5, -12.5]));
/// let batch = RecordBatch::try_from_iter([("fare_amount", fares as _)])?;
/// let cleaned = lakehost_sdk::testing::clean::<NoRefunds>("{}", &batch, None)?;
/// assert_eq!(cleaned.kept.num_rows(), 1);
/// assert_eq!(cleaned.rejected, [(1, "negative_fare".to_owned())]);
/// # Ok(())
/// # }
/// ```
pub trait Cleaner: Sized + 'static {
    /// The configuration; [`NoConfig`](crate::NoConfig) for none.
    type Config: Config;

    /// Who this is.
    fn spec() -> CleanerSpec;

    /// Binds the cleaner to a schema and, when the source has windows, to one window.
    ///
    /// # Errors
    /// `config`, with the key that is wrong; `schema-mismatch`, when a needed column is missing or of another type.
    fn bind(config: Self::Config, schema: &Schema, window: Option<&Window>) -> Result<Self>;

    /// The reasons to reject a row. [`Patch::reasons`] counts in this order.
    fn rules(&self) -> Vec<Rule>;

    /// Columns that [`clean`](Self::clean) reads.
    fn reads(&self) -> Vec<String>;

    /// Columns that [`clean`](Self::clean) answers, added or in place of the old.
    fn writes(&self) -> SchemaRef;

    /// Cleans one batch of the columns that [`reads`](Self::reads) names, in that order.
    ///
    /// # Errors
    /// `internal` or `schema-mismatch`. A bad row is no error: reject it by a rule.
    fn clean(&self, batch: &RecordBatch) -> Result<Patch>;
}
