//! What happened to a table: its snapshots in order, and the one that was current at some time.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::table::Table;
use lakehost_pipeline::ports::TableName;

use crate::catalog::TableState;
use crate::commit::PREFIX;
use crate::error::{Error, Result};
use crate::lake::IcebergLake;

/// One snapshot of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub snapshot_id: i64,
    pub parent_id: Option<i64>,
    pub sequence_number: i64,
    pub timestamp_ms: i64,
    /// `append`, `overwrite`, `delete` or `replace`.
    pub operation: String,
    /// Part of the history of `main`.
    pub on_main: bool,
    /// Rows of the table; `None`: the writer did not say.
    pub rows: Option<u64>,
    pub rows_added: u64,
    pub rows_deleted: u64,
    pub files: Option<u64>,
    pub files_added: u64,
    pub files_deleted: u64,
    pub bytes: Option<u64>,
    /// What lakehost recorded (`load-id`, `run-id`, `window`, `plugins`, `source` …), without the prefix; empty for other writers.
    pub load: BTreeMap<String, String>,
}

impl SnapshotInfo {
    /// What the entries of a summary tell; the rest is zero, empty or unknown. Whoever reads summaries counts by this, so that all count alike.
    pub fn of_summary<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let entries: BTreeMap<&str, &str> = entries.collect();
        let count = |name: &str| entries.get(name).and_then(|value| value.parse::<u64>().ok());
        let of_load =
            |(name, value): (&&str, &&str)| Some((name.strip_prefix(PREFIX)?.to_owned(), (*value).to_owned()));
        Self {
            rows: rows(count),
            rows_added: count("added-records").unwrap_or(0),
            rows_deleted: count("deleted-records").unwrap_or(0),
            files: count("total-data-files"),
            files_added: count("added-data-files").unwrap_or(0),
            files_deleted: count("deleted-data-files").unwrap_or(0),
            bytes: count("total-files-size"),
            load: entries.iter().filter_map(of_load).collect(),
            ..Self::default()
        }
    }

    /// Rows that it added more than it took away.
    #[must_use]
    pub fn growth(&self) -> Option<i64> {
        let difference = i128::from(self.rows_added) - i128::from(self.rows_deleted);
        i64::try_from(difference).ok()
    }
}

/// A point in the history of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOf {
    Snapshot(i64),
    /// Milliseconds since 1970.
    Time(i64),
    /// A branch or tag.
    Reference(String),
}

impl std::fmt::Display for AsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Snapshot(id) => write!(f, "{id}"),
            Self::Time(ms) => write!(f, "as old as {ms} ms since 1970"),
            Self::Reference(name) => write!(f, "named `{}`", name.escape_debug()),
        }
    }
}

impl IcebergLake {
    /// All snapshots of a table, oldest first.
    pub fn snapshots(&self, name: &TableName) -> Result<Vec<SnapshotInfo>> {
        Ok(snapshots(&self.state(name)?))
    }
}

/// All snapshots, oldest first.
#[must_use]
pub fn snapshots(state: &TableState) -> Vec<SnapshotInfo> {
    let main: HashSet<i64> = state.history().map(|snapshot| snapshot.snapshot_id()).collect();
    // The metadata lists them in no order.
    let mut found: Vec<SnapshotInfo> =
        state.metadata.snapshots().map(|snapshot| info(snapshot, main.contains(&snapshot.snapshot_id()))).collect();
    found.sort_by_key(|snapshot| (snapshot.sequence_number, snapshot.timestamp_ms, snapshot.snapshot_id));
    found
}

fn info(snapshot: &SnapshotRef, on_main: bool) -> SnapshotInfo {
    let summary = snapshot.summary();
    let entries = summary.additional_properties.iter();
    SnapshotInfo {
        snapshot_id: snapshot.snapshot_id(),
        parent_id: snapshot.parent_snapshot_id(),
        sequence_number: snapshot.sequence_number(),
        timestamp_ms: snapshot.timestamp_ms(),
        operation: summary.operation.as_str().to_owned(),
        on_main,
        ..SnapshotInfo::of_summary(entries.map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Rows that a reader sees. Other writers delete by position and leave the rows in their files; how many rows a delete by value takes away is not
/// known.
fn rows(count: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let deletes = |kind: &str| count(&format!("total-{kind}-deletes")).unwrap_or(0);
    let records = count("total-records").filter(|_| deletes("equality") == 0)?;
    records.checked_sub(deletes("position"))
}

/// The snapshot that a query as of some point reads.
///
/// # Errors
/// `LH0101` when the table has none there.
pub fn snapshot_as_of(table: &Table, as_of: &AsOf) -> Result<i64> {
    find(table.metadata(), as_of)
        .ok_or_else(|| Error::NoSnapshot { table: table.identifier().to_string(), wanted: as_of.to_string() })
}

/// The snapshot at a point in a table's history; without one the head of `main`, `None` when it has none.
///
/// # Errors
/// `LH0101` when the table has none there.
pub fn resolve<'a>(state: &'a TableState, at: Option<&AsOf>) -> Result<Option<&'a SnapshotRef>> {
    let Some(at) = at else { return Ok(state.main()) };
    let found = find(&state.metadata, at).and_then(|id| state.metadata.snapshot_by_id(id));
    match found {
        Some(snapshot) => Ok(Some(snapshot)),
        None => Err(Error::NoSnapshot { table: state.name.to_string(), wanted: at.to_string() }),
    }
}

pub(crate) fn find(metadata: &TableMetadata, as_of: &AsOf) -> Option<i64> {
    match as_of {
        AsOf::Snapshot(id) => metadata.snapshot_by_id(*id).map(|snapshot| snapshot.snapshot_id()),
        AsOf::Reference(name) => metadata.snapshot_for_ref(name).map(|snapshot| snapshot.snapshot_id()),
        // The log says what was current when, rollbacks included.
        AsOf::Time(ms) => metadata
            .history()
            .iter()
            .rev()
            .find(|entry| entry.timestamp_ms <= *ms)
            .map(|entry| entry.snapshot_id)
            .filter(|id| metadata.snapshot_by_id(*id).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_deleted_by_position_do_not_count() {
        let rows_of = |counts: &[(&str, u64)]| {
            rows(|name| counts.iter().find(|(known, _)| *known == name).map(|(_, count)| *count))
        };
        assert_eq!(rows_of(&[("total-records", 795), ("total-position-deletes", 530)]), Some(265));
        assert_eq!(rows_of(&[("total-records", 795)]), Some(795));
        assert_eq!(rows_of(&[("total-records", 795), ("total-equality-deletes", 1)]), None);
        assert_eq!(
            rows_of(&[("total-records", 1), ("total-position-deletes", 2)]),
            None,
            "not counted as it should be"
        );
        assert_eq!(rows_of(&[]), None);
    }

    #[test]
    fn a_summary_tells_rows_files_and_the_load() {
        let of = |entries: &[(&str, &str)]| SnapshotInfo::of_summary(entries.iter().copied());
        let found = of(&[
            ("total-records", "795"),
            ("total-position-deletes", "530"),
            ("added-records", "265"),
            ("total-data-files", "3"),
            ("total-files-size", "no number"),
            ("lakehost.window", "2024-01"),
            ("engine-name", "other"),
        ]);
        assert_eq!((found.rows, found.rows_added, found.rows_deleted, found.files), (Some(265), 265, 0, Some(3)));
        assert_eq!((found.growth(), found.bytes), (Some(265), None));
        assert_eq!(found.load, BTreeMap::from([("window".to_owned(), "2024-01".to_owned())]));
        assert_eq!(of(&[("total-records", "5"), ("total-equality-deletes", "1")]).rows, None);
    }
}
