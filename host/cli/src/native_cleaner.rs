//! The shipped cleaner compiled into the host, for one purpose: the bench compares it with the same code as a component.
//!
//! Only with the cargo feature `native-cleaner`, and only when `LAKEHOST_NATIVE_CLEANER` is set; a released binary has neither.

use arrow_schema::{FieldRef, SchemaRef};
use lakehost_pipeline::ports::{BoundCleaner, Cleaner, Patch, PluginId, Rule};
use lakehost_pipeline::{Code, Diagnostic, Fault, Window};
use lakehost_sdk::Cleaner as _;
use trip_cleaner::TripCleaner;

/// What the native cleaner says when it fails.
#[derive(Debug, thiserror::Error)]
#[error("the native cleaner failed: {0}")]
struct NativeError(String);

impl Diagnostic for NativeError {
    fn code(&self) -> Code {
        lakehost_pipeline::codes::BUG
    }
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::new(NativeError(error.to_string()))
}

/// `trip_cleaner` without a component around it.
pub struct NativeCleaner {
    id: PluginId,
    config: String,
}

impl NativeCleaner {
    /// Takes the identity of the component that it stands for, so that both make the same load.
    pub fn new(id: PluginId, config: String) -> Self {
        Self { id, config }
    }
}

struct Bound {
    cleaner: TripCleaner,
    rules: Vec<Rule>,
    reads: Vec<String>,
    writes: Vec<FieldRef>,
}

impl Cleaner for NativeCleaner {
    fn plugin(&self) -> &PluginId {
        &self.id
    }
    fn config(&self) -> &str {
        &self.config
    }
    fn bind(&self, schema: &SchemaRef, window: Option<&Window>) -> Result<Box<dyn BoundCleaner>, Fault> {
        let config = lakehost_sdk::config::parse(&self.config).map_err(fault)?;
        let window = window.map(|window| lakehost_sdk::Window {
            start: window.start(),
            end: window.end(),
            label: window.label().to_owned(),
        });
        let cleaner = TripCleaner::bind(config, schema, window.as_ref()).map_err(fault)?;
        let rules = cleaner.rules().into_iter().map(|rule| Rule { id: rule.id, description: rule.description });
        Ok(Box::new(Bound {
            rules: rules.collect(),
            reads: cleaner.reads(),
            writes: cleaner.writes().fields().iter().cloned().collect(),
            cleaner,
        }))
    }
}

impl BoundCleaner for Bound {
    fn rules(&self) -> &[Rule] {
        &self.rules
    }
    fn reads(&self) -> &[String] {
        &self.reads
    }
    fn writes(&self) -> &[FieldRef] {
        &self.writes
    }
    fn clean(&self, batch: &arrow_array::RecordBatch) -> Result<Patch, Fault> {
        let patch = self.cleaner.clean(batch).map_err(fault)?;
        let codes = patch.keep.map(|keep| {
            let mut reasons = patch.reasons.iter();
            let kept = |row: usize| keep.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1);
            (0..batch.num_rows())
                .map(|row| if kept(row) { 0 } else { reasons.next().map_or(u16::MAX, |reason| reason + 1) })
                .collect()
        });
        let columns = patch.columns.map(|columns| columns.columns().to_vec()).unwrap_or_default();
        Ok(Patch { codes, columns })
    }
}
