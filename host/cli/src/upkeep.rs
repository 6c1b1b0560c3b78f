//! Upkeep that a pipeline asks for with `maintenance`: after its windows have landed, and never a reason for the run to fail.

use std::sync::atomic::{AtomicBool, Ordering};

use lakehost_columnar::{Mark, Observer, Stage};
use lakehost_lake::{IcebergLake, Thresholds};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Diagnostic as _, RunReport, Status, rejects};

use crate::render::line;

/// What was done to the tables of a run.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// A sentence for each thing.
    pub done: Vec<String>,
    /// What was not done, and why. The next run tries again.
    pub problems: Vec<String>,
}

impl Upkeep {
    /// What is said in a profile that has another maintainer.
    pub fn left_to_trino(report: &RunReport) -> Self {
        let loaded = report.windows.iter().any(|window| window.status == Status::Loaded);
        let said =
            "left to Trino, by `maintained_by` of the profile: `lakehost table compact`, `expire` and `orphans` ask it";
        Self { done: loaded.then(|| said.to_owned()).into_iter().collect(), problems: Vec::new() }
    }

    /// Lines behind those of the windows.
    pub fn text(&self) -> String {
        self.done.iter().map(|sentence| format!("  {:<13}  {}\n", "maintenance", line(sentence))).collect()
    }
}

/// Stops where the run would stop.
struct Stoppable<'a>(&'a AtomicBool);

impl Observer for Stoppable<'_> {
    fn enter(&self, _stage: Stage) -> Mark {
        Mark::default()
    }

    fn leave(&self, _stage: Stage, _mark: Mark) {}

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Works on the table of a run that loaded something, and on that of its rejected rows.
pub fn after(
    report: &RunReport,
    lake: &IcebergLake,
    thresholds: &Thresholds,
    memory_bytes: u64,
    stop: &AtomicBool,
) -> Upkeep {
    let mut upkeep = Upkeep::default();
    let loaded = report.windows.iter().any(|window| window.status == Status::Loaded);
    let table = report.table.as_deref().and_then(|name| TableName::parse(name).ok());
    let Some(table) = table.filter(|_| loaded && !stop.load(Ordering::Relaxed)) else { return upkeep };
    let known = lake.table_names(Some(&table.namespace)).unwrap_or_default();
    let rejected = rejects::table_of(&table).ok().filter(|name| known.contains(name));
    for (name, of) in std::iter::once((&table, "")).chain(rejected.iter().map(|name| (name, " of rejected rows"))) {
        let maintained = lake.maintain(name, thresholds, memory_bytes, &Stoppable(stop));
        upkeep.done.extend(maintained.done.into_iter().map(|sentence| format!("{sentence}{of}")));
        if let Some(error) = maintained.error.filter(|_| !stop.load(Ordering::Relaxed)) {
            let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
            let sentence = format!("{}: maintenance of {name} has to wait: {error}{cause}", error.code());
            upkeep.problems.push(sentence);
        }
    }
    upkeep
}
