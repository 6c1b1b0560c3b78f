//! Trino as the commands ask it: the client of a profile, its rows as they come, and a line that says how far it is.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use indicatif::{ProgressBar, ProgressStyle};
use lakehost_models::trino::{Progress, Query, Statement, Trino, Written, quoted};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;
use tokio::runtime::Runtime;

use crate::config::resolve::Where;
use crate::table::grouped;
use crate::{screen, signals, warehouse};

/// A page of rows in JSON takes up to this share of the memory budget; parsed it takes several times as much.
const PAGE_SHARE: u64 = 16;
/// A query gets a line on the terminal when it takes so long.
const SILENT_MS: u64 = 1_000;

/// A connected Trino, with the threads to wait on.
pub struct Connection {
    runtime: Arc<Runtime>,
    trino: Trino,
    /// Trino's name of the profile's catalog.
    pub catalog: String,
}

impl Connection {
    /// The Trino of a place. Ctrl-C ends its queries from now on.
    pub fn open(place: &Where) -> Result<Self, Fault> {
        let stop = signals::stop_flag();
        Self::with(place, Some(stop))
    }

    /// As [`Connection::open`], for what has to be done after a Ctrl-C too.
    pub fn unstoppable(place: &Where) -> Result<Self, Fault> {
        Self::with(place, None)
    }

    fn with(place: &Where, stop: Option<Arc<AtomicBool>>) -> Result<Self, Fault> {
        let (trino, catalog) = place.trino(|options| {
            options.stop = stop;
            options.page_bytes = usize::try_from(place.memory_bytes / PAGE_SHARE).unwrap_or(usize::MAX);
            options.watch = std::io::stderr().is_terminal().then(|| Arc::new(show) as _);
        })?;
        Ok(Self { runtime: warehouse::runtime()?, trino, catalog })
    }

    /// Its address, for messages.
    pub fn shown(&self) -> &str {
        self.trino.shown()
    }

    /// Trino's version.
    pub fn version(&self) -> Result<String, Fault> {
        Ok(self.runtime.block_on(self.trino.version())?)
    }

    /// The rows of a statement that reads, as they come.
    pub fn query(&self, statement: &Statement) -> Result<TrinoRows, Fault> {
        let query = self.runtime.block_on(self.trino.query(statement))?;
        Ok(TrinoRows { runtime: Arc::clone(&self.runtime), query })
    }

    /// Carries out a statement that changes something.
    pub fn write(&self, statement: &Statement) -> Result<Written, Fault> {
        let written = self.runtime.block_on(self.trino.write(statement));
        screen::set_line(None);
        Ok(written?)
    }

    /// A table as Trino names it, or one of its metadata tables: `"lake"."raw"."t$files"`.
    pub fn table(&self, name: &TableName, metadata: &str) -> String {
        format!("{}.{}.{}", quoted(&self.catalog), quoted(&name.namespace), quoted(&format!("{}{metadata}", name.name)))
    }
}

/// Rows of a query. One that is dropped before its end is ended on the server too.
pub struct TrinoRows {
    runtime: Arc<Runtime>,
    query: Query,
}

impl TrinoRows {
    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.query.schema().cloned().unwrap_or_else(|| Arc::new(Schema::empty()))
    }
}

impl Iterator for TrinoRows {
    type Item = Result<RecordBatch, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.block_on(self.query.next());
        screen::set_line(None);
        next.map_err(Fault::new).transpose()
    }
}

impl Drop for TrinoRows {
    fn drop(&mut self) {
        screen::set_line(None);
        if !self.query.has_ended() {
            self.runtime.block_on(self.query.cancel());
        }
    }
}

/// How far a query is, on a line that goes away with the first rows.
fn show(progress: &Progress) {
    if progress.elapsed_ms < SILENT_MS {
        return;
    }
    let line = screen::line().unwrap_or_else(|| {
        let line = ProgressBar::new_spinner();
        line.set_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        screen::set_line(Some(line.clone()));
        line
    });
    line.set_message(line_of(progress, screen::columns().unwrap_or(80)));
    line.tick();
}

fn line_of(progress: &Progress, columns: usize) -> String {
    let percent = progress.percent.map(|percent| format!(" {percent:.0} %")).unwrap_or_default();
    let state = progress.state.to_lowercase();
    let seconds = progress.elapsed_ms / 1_000;
    let text = format!(
        "Trino: {state}{percent}, {} rows read, {seconds} s, query {}",
        grouped(progress.rows),
        progress.query_id
    );
    crate::render::line(&text).chars().take(columns.saturating_sub(3)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_its_terminal() {
        let progress = Progress {
            query_id: "q\u{1b}1".to_owned(),
            state: "RUNNING".to_owned(),
            percent: Some(42.4),
            rows: 1_200_000,
            bytes: 7,
            elapsed_ms: 3_500,
        };
        assert_eq!(line_of(&progress, 80), "Trino: running 42 %, 1,200,000 rows read, 3 s, query q\\u{1b}1");
        assert_eq!(line_of(&progress, 20).len(), 17);
    }
}
