//! What a run tells afterwards: the same data for people and for machines.

use std::collections::BTreeMap;

use lakehost_columnar::{Mark, Observer, Stage};
use serde::Serialize;

use crate::checks::CheckOutcome;
use crate::diagnostic::Fault;
use crate::ports::Merged;
use crate::read::Tally;

/// Clock and stage accounting, given by the caller: this crate reads no clock.
pub trait Meter: Observer {
    /// Now, in milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> i64;
    /// A window begins.
    fn window_begins(&self, label: &str);
    /// Its splits announced this many bytes.
    fn window_holds(&self, bytes: u64);
    /// A window ended: time by stage since it began, wall and thread CPU, and the whole wall time in nanoseconds.
    fn window_ends(&self) -> (Vec<(Stage, Mark)>, u64);
    /// Peak resident memory of the process so far, when known.
    fn peak_rss_bytes(&self) -> Option<u64>;
}

/// How a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A snapshot landed.
    Loaded,
    /// The table holds this very load; nothing changed.
    AlreadyLoaded,
    /// Upstream has no data for it; nothing changed.
    NoData,
    /// Upstream has not published it; nothing changed.
    NotPublished,
    /// See `error`; nothing changed, unless the code is LH065x.
    Failed,
    /// Not tried: `--only-missing`, `--dry-run`, or an earlier window failed.
    Skipped,
}

/// An error as machines read it.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorReport {
    pub code: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    pub inputs: BTreeMap<String, String>,
}

impl From<&Fault> for ErrorReport {
    fn from(fault: &Fault) -> Self {
        Self {
            code: fault.code().0,
            message: fault.to_string(),
            cause: fault.cause(),
            hint: fault.hint(),
            inputs: fault.inputs().into_iter().collect(),
        }
    }
}

/// One window, or the sum of all.
#[derive(Debug, Serialize)]
pub struct WindowReport {
    /// Label of the window; none for a source without windows and for totals.
    pub window: Option<String>,
    pub status: Status,
    pub error: Option<ErrorReport>,
    /// What else a person would want to know: "already loaded by nyc_tlc@0.1.0".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub rows_read: u64,
    pub rows_written: u64,
    /// Rule → rows.
    pub rows_rejected: BTreeMap<String, u64>,
    /// Column → values that the contract took out of rows that stayed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values_discarded: BTreeMap<String, u64>,
    /// What became of the rows of a merge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merged>,
    /// What the checks found, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckOutcome>,
    /// Where the rows are that failed a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Bytes of the data files written.
    pub bytes: u64,
    /// Data files written.
    pub files: u64,
    /// How the rows got there: `as-is`, `pages`, `arrow`; none when nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub snapshot_id: Option<i64>,
    pub load_id: Option<String>,
    /// Wall seconds by stage (stages overlap) and `total`.
    pub seconds: BTreeMap<String, f64>,
    /// CPU seconds by stage, all threads.
    pub cpu_seconds: BTreeMap<String, f64>,
    pub peak_rss_bytes: Option<u64>,
    /// The fault itself, for the exit code and the text.
    #[serde(skip)]
    pub fault: Option<Fault>,
}

impl WindowReport {
    /// Nothing has happened yet.
    pub fn new(window: Option<String>, status: Status) -> Self {
        Self {
            window,
            status,
            error: None,
            note: None,
            rows_read: 0,
            rows_written: 0,
            rows_rejected: BTreeMap::new(),
            values_discarded: BTreeMap::new(),
            merge: None,
            checks: Vec::new(),
            branch: None,
            bytes: 0,
            files: 0,
            path: None,
            snapshot_id: None,
            load_id: None,
            seconds: BTreeMap::new(),
            cpu_seconds: BTreeMap::new(),
            peak_rss_bytes: None,
            fault: None,
        }
    }

    /// What the splits came to. It counts once the window ends as loaded.
    pub(crate) fn count(&mut self, tally: &Tally) {
        self.rows_read = tally.rows_read;
        self.rows_written = tally.rows_written;
        self.rows_rejected.clone_from(&tally.rejected);
        self.values_discarded.clone_from(&tally.discarded);
        self.bytes = tally.files.iter().map(|file| file.size_bytes).sum();
        self.files = tally.files.len() as u64;
        self.path = Some(tally.paths.join(","));
    }

    /// How the window ended. Rows and files that are not in the table by way of this run do not count.
    pub(crate) fn end(&mut self, status: Status) {
        self.status = status;
        if status == Status::Loaded {
            return;
        }
        (self.rows_written, self.bytes, self.files, self.path) = (0, 0, 0, None);
        // What a window that failed had read and rejected helps to find out why; the rows of another load are that one's to report.
        if status == Status::AlreadyLoaded {
            self.rows_read = 0;
            self.rows_rejected.clear();
            self.values_discarded.clear();
        }
    }

    pub(crate) fn add_stages(&mut self, (stages, total_ns): (Vec<(Stage, Mark)>, u64)) {
        for (stage, mark) in stages {
            let name = format!("{stage:?}").to_lowercase();
            *self.seconds.entry(name.clone()).or_default() += mark.wall_ns as f64 / 1e9;
            *self.cpu_seconds.entry(name).or_default() += mark.cpu_ns as f64 / 1e9;
        }
        *self.seconds.entry("total".to_owned()).or_default() += total_ns as f64 / 1e9;
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct RunReport {
    pub run_id: String,
    pub pipeline: Option<String>,
    pub table: Option<String>,
    pub windows: Vec<WindowReport>,
    pub totals: WindowReport,
}

impl RunReport {
    pub(crate) fn sum(
        run_id: String,
        pipeline: Option<String>,
        table: Option<String>,
        windows: Vec<WindowReport>,
    ) -> Self {
        let mut totals = WindowReport::new(None, total_status(&windows));
        for window in &windows {
            totals.rows_read += window.rows_read;
            totals.rows_written += window.rows_written;
            totals.bytes += window.bytes;
            totals.files += window.files;
            if let Some(merged) = &window.merge {
                let sum = totals.merge.get_or_insert_default();
                sum.inserted += merged.inserted;
                sum.updated += merged.updated;
                sum.unchanged += merged.unchanged;
                sum.duplicate_keys += merged.duplicate_keys;
            }
            for (rule, rows) in &window.rows_rejected {
                *totals.rows_rejected.entry(rule.clone()).or_default() += rows;
            }
            for (sums, parts) in
                [(&mut totals.seconds, &window.seconds), (&mut totals.cpu_seconds, &window.cpu_seconds)]
            {
                for (stage, seconds) in parts {
                    *sums.entry(stage.clone()).or_default() += seconds;
                }
            }
            totals.peak_rss_bytes = totals.peak_rss_bytes.max(window.peak_rss_bytes);
            totals.snapshot_id = window.snapshot_id.or(totals.snapshot_id);
            if totals.error.is_none() {
                totals.error.clone_from(&window.error);
            }
        }
        Self { run_id, pipeline, table, windows, totals }
    }

    /// The first fault of the run: it decides the exit code.
    pub fn fault(&self) -> Option<&Fault> {
        self.windows.iter().find_map(|window| window.fault.as_ref())
    }
}

/// The status of the whole: a failure first, then whatever changed the table.
fn total_status(windows: &[WindowReport]) -> Status {
    [Status::Failed, Status::NotPublished, Status::Loaded, Status::AlreadyLoaded, Status::NoData]
        .into_iter()
        .find(|status| windows.iter().any(|window| window.status == *status))
        .unwrap_or(Status::Skipped)
}
