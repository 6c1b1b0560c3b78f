//! What Trino knows of a table's history: its snapshots and refs, as `lakehost snapshots` and `lakehost table expire` need them.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use lakehost_lake::SnapshotInfo;
use lakehost_models::trino::Statement;
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;

use crate::trino::Connection;

/// A table as Trino tells its history.
pub struct History {
    /// Oldest first.
    pub snapshots: Vec<SnapshotInfo>,
    /// Heads of branches, `main` among them.
    branches: Vec<i64>,
    /// By Trino's clock; 0 of a table without snapshots.
    now_ms: i64,
}

impl History {
    /// Reads `t$snapshots` and `t$refs`.
    pub fn read(trino: &Connection, name: &TableName) -> Result<Self, Fault> {
        let refs = format!(
            "SELECT name, type, snapshot_id, CAST(floor(to_unixtime(current_timestamp) * 1e3) AS bigint) FROM {}",
            trino.table(name, "$refs")
        );
        let (mut main, mut branches, mut now_ms) = (None, Vec::new(), 0);
        for batch in trino.query(&Statement::new(&refs))? {
            let batch = batch?;
            let (names, kinds, ids) = (text(&batch, 0), text(&batch, 1), long(&batch, 2));
            now_ms = long(&batch, 3).into_iter().flatten().next().unwrap_or(now_ms);
            for ((name, kind), id) in names.iter().zip(&kinds).zip(ids) {
                let (Some(name), Some(kind), Some(id)) = (name, kind, id) else { continue };
                if kind.eq_ignore_ascii_case("BRANCH") {
                    branches.push(id);
                    main = main.or((name == "main").then_some(id));
                }
            }
        }
        let sql = format!(
            "SELECT snapshot_id, parent_id, CAST(committed_at AT TIME ZONE 'UTC' AS timestamp(6)), operation, json_format(CAST(summary AS json)) \
             FROM {} ORDER BY committed_at, parent_id NULLS FIRST",
            trino.table(name, "$snapshots")
        );
        let mut snapshots = Vec::new();
        for batch in trino.query(&Statement::new(&sql))? {
            snapshots.extend(rows(&batch?));
        }
        let on_main: HashSet<i64> = main.map(|main| line(&snapshots, main).collect()).unwrap_or_default();
        for snapshot in &mut snapshots {
            snapshot.on_main = on_main.contains(&snapshot.snapshot_id);
        }
        Ok(Self { snapshots, branches, now_ms })
    }

    /// How old the oldest is of the newest `keep` snapshots of each branch, by Trino's clock, which expires by it.
    pub fn kept_age_ms(&self, keep: usize) -> Option<i64> {
        let times: HashMap<i64, i64> = self.snapshots.iter().map(|one| (one.snapshot_id, one.timestamp_ms)).collect();
        let kept = self.branches.iter().flat_map(|head| line(&self.snapshots, *head).take(keep));
        kept.filter_map(|id| times.get(&id).copied()).min().map(|oldest| self.now_ms.saturating_sub(oldest))
    }
}

/// A snapshot and those before it, newest first.
fn line(snapshots: &[SnapshotInfo], head: i64) -> impl Iterator<Item = i64> {
    let parents: HashMap<i64, Option<i64>> = snapshots.iter().map(|one| (one.snapshot_id, one.parent_id)).collect();
    let mut left = snapshots.len();
    std::iter::successors(Some(head), move |id| {
        left = left.checked_sub(1)?;
        parents.get(id).copied().flatten()
    })
}

fn text(batch: &RecordBatch, index: usize) -> Vec<Option<String>> {
    let column = batch.columns().get(index).and_then(|column| column.as_string_opt::<i32>());
    column.map_or_else(Vec::new, |column| column.iter().map(|text| text.map(str::to_owned)).collect())
}

fn long(batch: &RecordBatch, index: usize) -> Vec<Option<i64>> {
    let column = batch.columns().get(index).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.map_or_else(Vec::new, |column| column.iter().collect())
}

fn rows(batch: &RecordBatch) -> Vec<SnapshotInfo> {
    let (ids, parents, operations, summaries) = (long(batch, 0), long(batch, 1), text(batch, 3), text(batch, 4));
    let times = batch.columns().get(2).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let row = |index: usize| {
        let summary = summaries.get(index).cloned().flatten().unwrap_or_default();
        let summary: BTreeMap<String, String> = serde_json::from_str(&summary).unwrap_or_default();
        let micros = times.filter(|times| times.is_valid(index)).map_or(0, |times| times.value(index));
        Some(SnapshotInfo {
            snapshot_id: ids.get(index).copied().flatten()?,
            parent_id: parents.get(index).copied().flatten(),
            // Trino does not show the sequence number, and `main` is told apart later.
            timestamp_ms: micros.div_euclid(1_000),
            operation: operations.get(index).cloned().flatten().unwrap_or_default(),
            ..SnapshotInfo::of_summary(summary.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        })
    };
    (0..batch.num_rows()).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn rows_that_other_engines_deleted_by_position_do_not_count() {
        let columns: [(&str, ArrayRef); 5] = [
            ("snapshot_id", Arc::new(Int64Array::from(vec![1, 2]))),
            ("parent_id", Arc::new(Int64Array::from(vec![None, Some(1)]))),
            ("committed_at", Arc::new(TimestampMicrosecondArray::from(vec![1_500, 2_999]))),
            ("operation", Arc::new(StringArray::from(vec!["append", "overwrite"]))),
            (
                "summary",
                Arc::new(StringArray::from(vec![
                    r#"{"total-records":"530","lakehost.window":"2024-01"}"#,
                    r#"{"total-records":"795","total-position-deletes":"530","added-records":"265"}"#,
                ])),
            ),
        ];
        let found = rows(&RecordBatch::try_from_iter(columns).unwrap());
        let told: Vec<_> =
            found.iter().map(|one| (one.snapshot_id, one.rows, one.rows_added, one.timestamp_ms)).collect();
        assert_eq!(told, [(1, Some(530), 0, 1), (2, Some(265), 265, 2)]);
        assert_eq!(found[0].load["window"], "2024-01");
    }
}
