//! What changed between two states of a table, told from their manifests alone: no data is read.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::DataContentType;
use lakehost_pipeline::ports::TableName;

use crate::catalog::TableState;
use crate::commit::Manifests;
use crate::error::Result;
use crate::history::{AsOf, resolve};
use crate::inspect::{Labels, LiveFile, live_files, partition_text};
use crate::lake::IcebergLake;

/// How two states of a table differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The earlier snapshot as it was asked for.
    pub from: i64,
    pub to: i64,
    pub rows_before: u64,
    pub rows_after: u64,
    /// Windows whose files differ, in order; of tables without windows the partitions.
    pub windows: Vec<WindowDelta>,
    /// Data and delete files that `to` has and `from` has not.
    pub files_added: Vec<String>,
    pub files_removed: Vec<String>,
    /// The files differ, but all snapshots between the two only moved rows to other files.
    pub same_rows: bool,
}

/// One window, before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowDelta {
    pub window: String,
    /// Rows of its data files; rows that delete files take away again are in `deletes_*`.
    pub rows_before: u64,
    pub rows_after: u64,
    /// Rows in files that are new.
    pub rows_added: u64,
    /// Rows in files that are gone.
    pub rows_removed: u64,
    pub files_added: u64,
    pub files_removed: u64,
    /// Entries of delete files.
    pub deletes_before: u64,
    pub deletes_after: u64,
}

impl IcebergLake {
    /// How the table differs between two points.
    ///
    /// # Errors
    /// `LH0101` when it has no snapshot at one of them, `LH0502` a manifest that cannot be read.
    pub fn diff(&self, table: &TableName, from: &AsOf, to: &AsOf) -> Result<Diff> {
        let state = self.state(table)?;
        self.core.block_on(diff(&Manifests::new(self.core.io.clone()), &state, from, to))
    }
}

async fn diff(manifests: &Manifests, state: &TableState, from: &AsOf, to: &AsOf) -> Result<Diff> {
    let (before, after) = (resolve(state, Some(from))?, resolve(state, Some(to))?);
    let (old, new) = (live_files(manifests, state, before).await?, live_files(manifests, state, after).await?);
    let paths =
        |files: &[LiveFile]| -> HashSet<String> { files.iter().map(|live| live.file.file_path().to_owned()).collect() };
    let (old_paths, new_paths) = (paths(&old), paths(&new));
    let labels = Labels::of(&state.metadata);
    let label = |live: &LiveFile| {
        labels.window(&live.spec, live.file.partition()).unwrap_or_else(|| {
            let text = partition_text(&state.metadata, &live.spec, live.file.partition());
            if text.is_empty() { "all".to_owned() } else { text }
        })
    };
    let mut windows: BTreeMap<String, WindowDelta> = BTreeMap::new();
    let mut found = Diff {
        from: before.map_or(0, |snapshot| snapshot.snapshot_id()),
        to: after.map_or(0, |snapshot| snapshot.snapshot_id()),
        ..Diff::default()
    };
    for live in &old {
        let (delta, rows) = (windows.entry(label(live)).or_default(), live.file.record_count());
        let gone = !new_paths.contains(live.file.file_path());
        if live.file.content_type() == DataContentType::Data {
            delta.rows_before += rows;
            found.rows_before += rows;
            delta.rows_removed += if gone { rows } else { 0 };
        } else {
            delta.deletes_before += rows;
        }
        if gone {
            delta.files_removed += 1;
            found.files_removed.push(live.file.file_path().to_owned());
        }
    }
    for live in &new {
        let (delta, rows) = (windows.entry(label(live)).or_default(), live.file.record_count());
        let fresh = !old_paths.contains(live.file.file_path());
        if live.file.content_type() == DataContentType::Data {
            delta.rows_after += rows;
            found.rows_after += rows;
            delta.rows_added += if fresh { rows } else { 0 };
        } else {
            delta.deletes_after += rows;
        }
        if fresh {
            delta.files_added += 1;
            found.files_added.push(live.file.file_path().to_owned());
        }
    }
    found.windows = windows
        .into_iter()
        .filter(|(_, delta)| delta.files_added + delta.files_removed > 0)
        .map(|(window, delta)| WindowDelta { window, ..delta })
        .collect();
    found.files_added.sort_unstable();
    found.files_removed.sort_unstable();
    found.same_rows = only_moved(state, found.from, found.to);
    Ok(found)
}

/// Whether every snapshot between the two, in either direction, put the same rows into other files.
fn only_moved(state: &TableState, from: i64, to: i64) -> bool {
    let leads = |newer: i64, older: i64| {
        let mut next = Some(newer);
        for _ in 0..state.metadata.snapshots().len() {
            let Some(id) = next.filter(|id| *id != older) else { break };
            let Some(snapshot) = state.metadata.snapshot_by_id(id) else { return false };
            if snapshot.summary().operation != iceberg::spec::Operation::Replace {
                return false;
            }
            next = snapshot.parent_snapshot_id();
        }
        next == Some(older)
    };
    leads(to, from) || leads(from, to)
}
