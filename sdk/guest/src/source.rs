//! What a source connector implements.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::Value;

pub use crate::bindings::source::exports::lakehost::plugin::source::Ask;
pub use crate::bindings::types::Granularity;
use crate::config::Config;
use crate::error::Result;
use crate::services::{Batch, BatchReader};
use crate::window::Window;

/// Who a source is, answered without any grant or configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// Stable name, part of every load's identity: `nyc_tlc`.
    pub name: &'static str,
    /// Usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// How wide the windows are.
    pub granularity: Granularity,
}

/// A data set that can be read under the present configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Name, as [`PlanRequest`] repeats it.
    pub name: String,
    /// Table that a load goes to when nobody says otherwise: `raw.yellow_trips`.
    pub default_table: String,
    /// The least that its batches hold. It makes the table, whatever the first file looks like.
    pub schema: SchemaRef,
    /// Key columns; empty: none.
    pub key: Vec<String>,
    /// Column that grows with time, for sources without windows.
    pub cursor: Option<String>,
    /// The clock of its times (`America/New_York`), for people to read.
    pub time_zone: Option<String>,
}

/// What the host wants read.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRequest {
    /// Name of a data set that [`Source::discover`] answered.
    pub dataset: String,
    /// The window, when the source has windows.
    pub window: Option<Window>,
    /// The state that the last committed load of this data set left.
    pub state: Option<Value>,
}

/// A part of the work that can be read alone, on any machine, in any order.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Stable: same window, same upstream, same id.
    pub id: String,
    /// What [`Source::read`] needs to find it again: a JSON object, no secrets.
    pub description: Value,
    /// What tells one version of the content from another without reading it.
    pub identity: Option<String>,
    /// Size upstream, for progress.
    ///
    /// # Units
    /// Bytes.
    pub bytes: Option<u64>,
}

/// Batches of a plugin's own making.
pub trait Reader {
    /// The schema of every batch to come.
    fn schema(&self) -> SchemaRef;

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// Whatever stands between the plugin and its rows.
    fn next(&mut self) -> Result<Option<Batch>>;
}

/// What [`Source::read`] answers.
pub enum Rows {
    /// Rows that go straight from a host reader, untouched and unseen: the quickest way.
    FromHost(BatchReader),
    /// Rows by a reader of the plugin's own.
    FromPlugin(Box<dyn Reader>),
}

impl Rows {
    /// Rows by an iterator over record batches.
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    ///
    /// use lakehost_sdk::Rows;
    /// use lakehost_sdk::arrow_array::{Int64Array, RecordBatch};
    ///
    /// let batch = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// let rows = Rows::from_batches(batch.schema(), [Ok(batch)]);
    /// let read = lakehost_sdk::testing::read_all(rows)?;
    /// assert_eq!(read[0].num_rows(), 2);
    /// # Ok::<(), lakehost_sdk::PluginError>(())
    /// ```
    pub fn from_batches<I>(schema: SchemaRef, batches: I) -> Self
    where
        I: IntoIterator<Item = Result<RecordBatch>>,
        I::IntoIter: 'static,
    {
        Self::FromPlugin(Box::new(Batches { schema, batches: batches.into_iter() }))
    }
}

struct Batches<I> {
    schema: SchemaRef,
    batches: I,
}

impl<I: Iterator<Item = Result<RecordBatch>>> Reader for Batches<I> {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        match self.batches.next() {
            None => Ok(None),
            Some(batch) => Batch::new(&batch?).map(Some),
        }
    }
}

/// Reads one or more data sets, window by window. End the file with [`export_source!`](crate::export_source).
///
/// # Example
/// ```
/// use std::sync::Arc;
///
/// use lakehost_sdk::arrow_array::{Int64Array, RecordBatch};
/// use lakehost_sdk::arrow_schema::{DataType, Field, Schema};
/// use lakehost_sdk::{Ask, Dataset, Granularity, NoConfig, PlanRequest, Result, Rows, Source, SourceSpec, Split};
///
/// /// Counts from one to three.
/// struct Counter;
///
/// impl Source for Counter {
///     type Config = NoConfig;
///
///     fn spec() -> SourceSpec {
///         let granularity = Granularity::None;
///         SourceSpec { name: "counter", version: "0.1.0", description: "counts from one to three", granularity }
///     }
///
///     fn asks(_: &NoConfig) -> Result<Vec<Ask>> {
///         Ok(vec![])
///     }
///
///     fn configure(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
///
///     fn discover(&self) -> Result<Vec<Dataset>> {
///         let schema = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]));
///         let (name, default_table) = ("numbers".into(), "raw.numbers".into());
///         Ok(vec![Dataset { name, default_table, schema, key: vec!["number".into()], cursor: None, time_zone: None }])
///     }
///
///     fn plan(&self, _: &PlanRequest) -> Result<Vec<Split>> {
///         let description = serde_json::json!({});
///         Ok(vec![Split { id: "all".into(), description, identity: None, bytes: None }])
///     }
///
///     fn read(&self, _: &Split) -> Result<Rows> {
///         let numbers = Int64Array::from(vec![1, 2, 3]);
///         let schema = self.discover()?.remove(0).schema;
///         let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers)])?;
///         Ok(Rows::from_batches(schema, [Ok(batch)]))
///     }
/// }
///
/// lakehost_sdk::export_source!(Counter);
///
/// # fn main() -> Result<()> {
/// let counter: Counter = lakehost_sdk::testing::source("{}")?;
/// let request = PlanRequest { dataset: "numbers".into(), window: None, state: None };
/// let splits = counter.plan(&request)?;
/// let batches = lakehost_sdk::testing::read_all(counter.read(&splits[0])?)?;
/// assert_eq!(batches[0].num_rows(), 3);
/// # Ok(())
/// # }
/// ```
pub trait Source: Sized + 'static {
    /// The configuration; [`NoConfig`](crate::NoConfig) for none.
    type Config: Config;

    /// Who this is.
    fn spec() -> SourceSpec;

    /// What this configuration needs from the world. The operator grants it or not; no grant is active while this runs.
    ///
    /// # Errors
    /// `config`.
    fn asks(config: &Self::Config) -> Result<Vec<Ask>>;

    /// Makes a connector.
    ///
    /// # Errors
    /// `config`, with the key that is wrong.
    fn configure(config: Self::Config) -> Result<Self>;

    /// Can it reach and read what it needs? Cheap.
    ///
    /// # Errors
    /// Whatever stands in the way.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The data sets that can be read.
    ///
    /// # Errors
    /// Whatever upstream says.
    fn discover(&self) -> Result<Vec<Dataset>>;

    /// The splits of a window; none: upstream has no data for it.
    ///
    /// # Errors
    /// `not-yet-available`, when upstream has not published the window.
    fn plan(&self, request: &PlanRequest) -> Result<Vec<Split>>;

    /// The rows of a split.
    ///
    /// # Errors
    /// Whatever stands between the plugin and its rows.
    fn read(&self, split: &Split) -> Result<Rows>;

    /// The state to commit with the rows, asked once after the last row of all splits.
    ///
    /// # Errors
    /// `internal`.
    fn checkpoint(&self, request: &PlanRequest) -> Result<Option<Value>> {
        let _ = request;
        Ok(None)
    }
}
