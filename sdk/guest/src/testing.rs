//! Running a plugin natively, with a recorded world, the way a host would run it.
//!
//! An author's `cargo test` needs nothing else. The functions here hold a plugin to the contract while they run it: masks and reasons
//! fit, columns are the promised ones, the same input gives the same output.

use std::rc::Rc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{FieldRef, Schema, SchemaRef};

use crate::cleaner::Cleaner;
use crate::config;
use crate::error::{PluginError, Result};
use crate::patch::Patch;
use crate::services::Level;
use crate::services::backend::{Body, Recorded, Recording, with_recording};
use crate::source::{Ask, Rows, Source};
use crate::window::Window;

/// A host with a recorded world: what each URL answers.
///
/// # Example
/// ```
/// use lakehost_sdk::testing::{Answer, Host};
/// use lakehost_sdk::{Category, FetchRequest, fetch};
///
/// let host = Host::new()
///     .with("https://example.org/zones.csv", Answer::bytes("id,name\n1,Newark\n"))
///     .with("https://example.org/later.csv", Answer::status(403));
/// let text = host.run(|| fetch(&FetchRequest::get("https://example.org/zones.csv"))?.read_all())?;
/// assert_eq!(text.len(), 17);
/// let error = host.run(|| fetch(&FetchRequest::get("https://example.org/later.csv"))).expect_err("refused");
/// assert_eq!((error.category, error.status()), (Category::Forbidden, Some(403)));
/// assert_eq!(host.requests(), ["GET https://example.org/zones.csv", "GET https://example.org/later.csv"]);
/// # Ok::<(), lakehost_sdk::PluginError>(())
/// ```
#[derive(Debug, Default)]
pub struct Host {
    recording: Rc<Recording>,
}

/// What a URL answers.
#[derive(Debug, Clone)]
pub struct Answer(Recorded);

impl Answer {
    fn new(status: u16, body: Body) -> Self {
        Self(Recorded { status, headers: Vec::new(), body })
    }

    /// 200 with these bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(200, Body::Bytes(bytes.into()))
    }

    /// A status without a body. 400 and above reach the plugin as an error.
    pub fn status(status: u16) -> Self {
        Self::new(status, Body::Bytes(Vec::new()))
    }

    /// 200 with a Parquet file of these rows. It has rows and no bytes, and is read without casts.
    pub fn parquet(schema: SchemaRef, batches: impl Into<Vec<RecordBatch>>) -> Self {
        Self::new(200, Body::Parquet(schema, batches.into()))
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.push((name.into(), value.into()));
        self
    }

    /// Adds an entity tag, quotes included.
    #[must_use]
    pub fn etag(self, etag: impl Into<String>) -> Self {
        self.header("etag", etag)
    }
}

impl Host {
    /// Knows no URL yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records what `url` answers.
    #[must_use]
    pub fn with(self, url: impl Into<String>, answer: Answer) -> Self {
        self.recording.answers.borrow_mut().insert(url.into(), answer.0);
        self
    }

    /// Runs plugin code against this host.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        with_recording(&self.recording, work)
    }

    /// What was asked for so far, in order: `HEAD https://…`, `GET https://…`.
    pub fn requests(&self) -> Vec<String> {
        self.recording.requests.borrow().clone()
    }

    /// What the plugin logged so far.
    pub fn log_lines(&self) -> Vec<(Level, String)> {
        self.recording.log_lines.borrow().clone()
    }
}

/// Configures a source from JSON text, as the host does.
///
/// # Errors
/// `config`.
pub fn source<S: Source>(config: &str) -> Result<S> {
    S::configure(config::parse(config)?)
}

/// What a source asks for under a configuration.
///
/// # Errors
/// `config`.
pub fn asks<S: Source>(config: &str) -> Result<Vec<Ask>> {
    S::asks(&config::parse(config)?)
}

/// Every batch of a split.
///
/// # Errors
/// What the plugin answers; `internal`, when a batch differs from the schema that was promised.
pub fn read_all(rows: Rows) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    match rows {
        Rows::FromHost(reader) => {
            while let Some(batch) = reader.next()? {
                batches.push(batch.0.0);
            }
        }
        Rows::FromPlugin(mut reader) => {
            let promised = reader.schema();
            while let Some(batch) = reader.next()? {
                if batch.schema()? != promised {
                    return Err(PluginError::internal("a batch differs from the schema that its reader promised"));
                }
                batches.push(batch.0.0);
            }
        }
    }
    Ok(batches)
}

/// What is left of a batch after a cleaner.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleaned {
    /// The kept rows, with written columns added or in place of the old.
    pub kept: RecordBatch,
    /// Row number in the input and id of the rule, in row order.
    pub rejected: Vec<(usize, String)>,
}

/// Binds a cleaner to the batch's schema, cleans the batch, and applies the patch as the host does.
///
/// # Errors
/// What the plugin answers; `internal`, when it breaks the contract.
pub fn clean<C: Cleaner>(config: &str, batch: &RecordBatch, window: Option<&Window>) -> Result<Cleaned> {
    let cleaner = C::bind(config::parse(config)?, batch.schema_ref(), window)?;
    let reads = crate::services::backend::Batch(batch.clone()).read(&cleaner.reads())?;
    let patch = cleaner.clean(&reads)?;
    if cleaner.clean(&reads)? != patch {
        return Err(PluginError::internal("the same batch gave two answers"));
    }
    let rejected = rejected_rows(&cleaner, &patch, batch.num_rows())?;
    let written = with_written(batch, &patch, &cleaner.writes())?;
    let kept = match &patch.keep {
        None => written,
        Some(keep) => {
            let keep = BooleanBuffer::new(keep.clone().into(), 0, batch.num_rows());
            arrow_select::filter::filter_record_batch(&written, &BooleanArray::new(keep, None))?
        }
    };
    Ok(Cleaned { kept, rejected })
}

fn rejected_rows<C: Cleaner>(cleaner: &C, patch: &Patch, rows: usize) -> Result<Vec<(usize, String)>> {
    let rules = cleaner.rules();
    let dropped: Vec<usize> = match &patch.keep {
        None => Vec::new(),
        Some(keep) if keep.len() != rows.div_ceil(8) => {
            let message = format!("keep has {} bytes for {rows} rows, expected {}", keep.len(), rows.div_ceil(8));
            return Err(PluginError::internal(message));
        }
        Some(keep) => (0..rows).filter(|row| keep[row / 8] & (1 << (row % 8)) == 0).collect(),
    };
    if dropped.len() != patch.reasons.len() {
        let (dropped, reasons) = (dropped.len(), patch.reasons.len());
        return Err(PluginError::internal(format!("{dropped} rows dropped, {reasons} reasons given")));
    }
    let named = dropped.into_iter().zip(&patch.reasons).map(|(row, reason)| {
        let rule = rules.get(usize::from(*reason)).ok_or_else(|| {
            PluginError::internal(format!("row {row} is rejected by rule {reason}, and there are {}", rules.len()))
        })?;
        Ok((row, rule.id.clone()))
    });
    named.collect()
}

fn with_written(batch: &RecordBatch, patch: &Patch, promised: &SchemaRef) -> Result<RecordBatch> {
    let Some(columns) = &patch.columns else {
        if promised.fields().is_empty() {
            return Ok(batch.clone());
        }
        return Err(PluginError::internal("the patch has no columns, and some were promised"));
    };
    if columns.schema_ref().fields() != promised.fields() {
        return Err(PluginError::internal("the written columns are not the promised ones"));
    }
    if columns.num_rows() != batch.num_rows() {
        let (found, wanted) = (columns.num_rows(), batch.num_rows());
        return Err(PluginError::internal(format!("the written columns have {found} rows, expected {wanted}")));
    }
    let mut fields: Vec<FieldRef> = batch.schema_ref().fields().iter().cloned().collect();
    let mut arrays = batch.columns().to_vec();
    for (field, array) in columns.schema_ref().fields().iter().zip(columns.columns()) {
        match fields.iter().position(|known| known.name() == field.name()) {
            Some(position) => {
                fields[position] = FieldRef::clone(field);
                arrays[position] = array.clone();
            }
            None => {
                fields.push(FieldRef::clone(field));
                arrays.push(array.clone());
            }
        }
    }
    Ok(RecordBatch::try_new(Schema::new(fields).into(), arrays)?)
}
