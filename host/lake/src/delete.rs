//! Rows that go, by a filter: whole files where their numbers say that every row goes, else the file is written anew without them.
//!
//! The new files are complete before anything is committed, for the table as it was when they were read. Where somebody commits meanwhile, the
//! work stands as long as all files that it takes away are still there and no new file can hold a row that the filter means; else it begins
//! anew.

mod filter;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{Array, BooleanArray};
use async_trait::async_trait;
use iceberg::spec::DataContentType;
use lakehost_pipeline::filter::RowFilter;
use lakehost_pipeline::ports::TableName;

use self::filter::{Judged, check, judge, rows};
use crate::catalog::{Base, TableState};
use crate::commit::{Action, Added, Delta, Landing, Manifests, NewSnapshot, On, Removal, Step, land, of_action};
use crate::error::{Error, Result};
use crate::fail_point;
use crate::inspect::{LiveFile, live_files};
use crate::intent::Intent;
use crate::lake::{IcebergLake, new_snapshot_id};
use crate::maintain::Reader;
use crate::masked::{each_batch, paths, without};
use crate::run_files::RunFiles;

/// How often a deletion that others overtake begins anew.
const ROUNDS: u32 = 20;

/// What became of a table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// `None`: nothing was to do, or nothing was done.
    pub snapshot_id: Option<i64>,
    /// Rows that went.
    pub rows: u64,
    pub files_dropped: u64,
    pub files_rewritten: u64,
}

impl IcebergLake {
    /// Deletes the rows for which the filter is true; `dry_run` only counts them.
    ///
    /// # Errors
    /// `LH0101` a column that is not there or cannot be compared so, `LH0605` others were quicker every time, `LH0502` a file that cannot be
    /// read; those of a commit.
    pub fn delete_where(&self, table: &TableName, filter: &RowFilter, dry_run: bool) -> Result<Changed> {
        if !dry_run {
            self.core.catalog.check_writable()?;
        }
        for _ in 0..ROUNDS {
            let state = self.state(table)?;
            check(table, state.metadata.current_schema(), filter)?;
            let found = self.hit(&state, filter)?;
            let mut changed = Changed {
                snapshot_id: None,
                rows: found.iter().map(|hit| hit.rows).sum(),
                files_dropped: found.iter().filter(|hit| hit.whole).count() as u64,
                files_rewritten: found.iter().filter(|hit| !hit.whole).count() as u64,
            };
            if dry_run || found.is_empty() {
                return Ok(changed);
            }
            if let Some(snapshot_id) = self.remove(&state, filter, &found)? {
                changed.snapshot_id = Some(snapshot_id);
                return Ok(changed);
            }
        }
        Err(Error::Busy { table: table.clone(), attempts: ROUNDS })
    }

    /// The files that have rows to go.
    fn hit(&self, state: &TableState, filter: &RowFilter) -> Result<Vec<Hit>> {
        let schema = state.metadata.current_schema();
        let (reader, live) = self.core.block_on(async {
            let live = live_files(&Manifests::new(self.core.io.clone()), state, state.main()).await?;
            Ok::<_, Error>((Reader::of(&self.core, state).await?, live))
        })?;
        let deleted_from = reader.deleted_from();
        let columns = filter.columns();
        let mut found = Vec::new();
        for live in live.into_iter().filter(|live| live.file.content_type() == DataContentType::Data) {
            let judged = judge(&live.file, schema, filter, false);
            let path = live.file.file_path();
            let (mut hit, mut seen) = (0, 0);
            match judged {
                Judged::None => continue,
                Judged::All if !deleted_from.contains(path) => {
                    (hit, seen) = (live.file.record_count(), live.file.record_count())
                }
                Judged::All | Judged::Some => each_batch(&self.core, state, &reader, path, &columns, |batch| {
                    let mask = rows(batch, filter).map_err(|error| Error::Internal(error.to_string()))?;
                    hit += mask.true_count() as u64;
                    seen += batch.num_rows() as u64;
                    Ok(())
                })?,
            }
            if hit > 0 {
                found.push(Hit { live, rows: hit, whole: hit == seen });
            }
        }
        Ok(found)
    }

    /// Writes and commits; `None`: the table has moved in a way that the work does not stand.
    fn remove(&self, state: &TableState, filter: &RowFilter, found: &[Hit]) -> Result<Option<i64>> {
        let snapshot_id = new_snapshot_id(Some(state));
        let run_id = format!("delete-{snapshot_id}");
        let intent = Intent::rewriting(&self.core, state, "delete", &run_id, snapshot_id);
        let files = RunFiles::new(Arc::clone(&self.core), intent);
        files.record()?;
        let added = match self.rewrite(state, filter, found, &files) {
            Ok(added) => added,
            Err(error) => {
                if !error.is_fail_point() {
                    files.discard();
                }
                return Err(error);
            }
        };
        let action = DeleteAction { state, filter, found, added, moved: AtomicBool::new(false) };
        let ended = self.core.block_on(land(&self.core, &[&action], &run_id, &[snapshot_id]));
        let keeps_files = ended.keeps_files();
        match ended.result {
            Ok(landings) if matches!(landings.first(), Some(Landing::Landed { .. })) => {
                self.core.fail_points.pass(fail_point::BEFORE_CLEANUP)?;
                files.settle();
                Ok(Some(snapshot_id))
            }
            ended => {
                if !keeps_files {
                    files.discard();
                }
                match ended {
                    Err(_) if action.moved.load(Ordering::Relaxed) => Ok(None),
                    Err(error) => Err(error),
                    Ok(_) => Ok(None),
                }
            }
        }
    }

    fn rewrite(&self, state: &TableState, filter: &RowFilter, found: &[Hit], files: &RunFiles) -> Result<Vec<Added>> {
        let reader = self.core.block_on(Reader::of(&self.core, state))?;
        let mut added = Vec::new();
        for hit in found.iter().filter(|hit| !hit.whole) {
            let keep = |batch: &arrow_array::RecordBatch| -> Result<BooleanArray, lakehost_columnar::BoxError> {
                let mask = rows(batch, filter)?;
                // Neither true nor false: the row is not meant.
                Ok((0..mask.len()).map(|row| Some(mask.is_null(row) || !mask.value(row))).collect())
            };
            added.extend(without(&self.core, state, &reader, &hit.live, Box::new(keep), files)?);
        }
        if !added.is_empty() {
            let folder = &files.intent.data_folder;
            self.core.store.settle(folder).map_err(Error::store("sync", folder))?;
        }
        Ok(added)
    }
}

/// A file that has rows to go.
struct Hit {
    live: LiveFile,
    /// So many of them.
    rows: u64,
    /// All that it has.
    whole: bool,
}

struct DeleteAction<'a> {
    /// The table whose files were read.
    state: &'a TableState,
    filter: &'a RowFilter,
    found: &'a [Hit],
    added: Vec<Added>,
    /// The work does not stand on the table as it is now.
    moved: AtomicBool,
}

#[async_trait]
impl Action for DeleteAction<'_> {
    fn table(&self) -> &TableName {
        &self.state.name
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let Some(head) = on.head else {
            return Err(Error::NoTable { table: self.state.name.clone(), known: Vec::new() });
        };
        if !self.stands(on, head).await? {
            self.moved.store(true, Ordering::Relaxed);
            return Err(Error::Busy { table: self.state.name.clone(), attempts: 1 });
        }
        let removed: u64 = self.found.iter().map(|hit| hit.rows).sum();
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.snapshot = Some(NewSnapshot {
            removal: Removal::Files(self.found.iter().map(|hit| hit.live.file.file_path().to_owned()).collect()),
            added: self.added.clone(),
            ..NewSnapshot::on_main(of_action("delete", on.run_id, &[("rows-deleted", removed.to_string())]))
        });
        Ok(Step::Change(Box::new(delta)))
    }
}

impl DeleteAction<'_> {
    /// Whether what was worked out holds for `head`, too.
    async fn stands(&self, on: &On<'_>, head: &TableState) -> Result<bool> {
        if head.version() == self.state.version() {
            return Ok(true);
        }
        let same_columns = head.metadata.current_schema_id() == self.state.metadata.current_schema_id();
        if head.metadata.uuid() != self.state.metadata.uuid() || !same_columns {
            return Ok(false);
        }
        let before = live_files(on.manifests, self.state, self.state.main()).await?;
        let now = live_files(on.manifests, head, head.main()).await?;
        let (known, present): (HashSet<&str>, HashSet<&str>) = (paths(&before), paths(&now));
        let schema = head.metadata.current_schema();
        let fresh = now.iter().filter(|live| !known.contains(live.file.file_path())).all(|live| {
            live.file.content_type() == DataContentType::Data
                && judge(&live.file, schema, self.filter, false) == Judged::None
        });
        Ok(fresh && self.found.iter().all(|hit| present.contains(hit.live.file.file_path())))
    }
}
