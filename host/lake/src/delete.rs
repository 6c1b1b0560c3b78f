//! Rows that go, by a test: whole files where their numbers say that every row goes, else the file is written anew without them.
//!
//! The new files are complete before anything is committed, for the table as it was when they were read. Where somebody commits meanwhile, the
//! work stands as long as all files that it takes away are still there and no new file can hold a row that the test means; else it begins
//! anew.

mod filter;
mod test;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{Array, BooleanArray};
use async_trait::async_trait;
use iceberg::spec::{DataContentType, MAIN_BRANCH, SnapshotRef};
use lakehost_columnar::BoxError;
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;

use self::filter::Judged;
use self::test::judged;
pub use self::test::{BoundTest, RowTest};
use crate::catalog::{Base, TableState};
use crate::commit::{Action, Added, Delta, Landing, Manifests, NewSnapshot, On, Removal, Step, land, of_action};
use crate::error::{Error, Result};
use crate::fail_point;
use crate::inspect::{LiveFile, live_files};
use crate::intent::Intent;
use crate::lake::{IcebergLake, new_snapshot_id};
use crate::maintain::Reader;
use crate::masked::{each_batch, paths, without};
use crate::refs::reference;
use crate::run_files::RunFiles;
use crate::schema::arrow_schema;

/// How often a deletion that others overtake begins anew.
const ROUNDS: u32 = 20;

/// Where rows are deleted, and whether they really are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteOptions<'a> {
    /// Which line of the table; others keep the rows.
    pub branch: &'a str,
    /// Only counts.
    pub dry_run: bool,
}

impl Default for DeleteOptions<'_> {
    fn default() -> Self {
        Self { branch: MAIN_BRANCH, dry_run: false }
    }
}

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
    /// Deletes the rows for which the test is true. A window whose rows go stays loaded: only a load says what a window holds.
    ///
    /// # Errors
    /// `LH0101` a column that is not there or cannot be compared so, `LH0109` no such branch, `LH0605` others were quicker every time, `LH0502` a
    /// file that cannot be read; those of the test and of a commit.
    pub fn delete_where(
        &self,
        table: &TableName,
        test: &dyn RowTest,
        options: &DeleteOptions<'_>,
    ) -> Result<Changed, Fault> {
        if !options.dry_run {
            self.core.catalog.check_writable()?;
        }
        for _ in 0..ROUNDS {
            let state = self.state(table)?;
            let columns = arrow_schema(table, state.metadata.current_schema())?;
            let bound = test.bind(&state, &columns)?;
            let on = Line { state: &state, branch: options.branch };
            let found = self.hit(&on, bound.as_ref())?;
            let mut changed = Changed {
                snapshot_id: None,
                rows: found.iter().map(|hit| hit.rows).sum(),
                files_dropped: found.iter().filter(|hit| hit.whole).count() as u64,
                files_rewritten: found.iter().filter(|hit| !hit.whole).count() as u64,
            };
            if options.dry_run || found.is_empty() {
                return Ok(changed);
            }
            let work = Work { on, test: bound.as_ref(), text: test.text(), found: &found };
            if let Some(snapshot_id) = self.remove(&work)? {
                changed.snapshot_id = Some(snapshot_id);
                return Ok(changed);
            }
        }
        Err(Error::Busy { table: table.clone(), attempts: ROUNDS }.into())
    }

    /// The files that have rows to go.
    fn hit(&self, on: &Line<'_>, test: &dyn BoundTest) -> Result<Vec<Hit>, Fault> {
        let (state, head) = (on.state, on.head(on.state)?);
        let (reader, live) = self.core.block_on(async {
            let live = live_files(&Manifests::new(self.core.io.clone()), state, head).await?;
            Ok::<_, Error>((Reader::at(&self.core, state, head).await?, live))
        })?;
        let deleted_from = reader.deleted_from();
        let columns = test.columns();
        let mut found = Vec::new();
        for live in live.into_iter().filter(|live| live.file.content_type() == DataContentType::Data) {
            let path = live.file.file_path();
            let (mut hit, mut seen) = (0, 0);
            match judged(test, &live.file, state) {
                Judged::None => continue,
                Judged::All if !deleted_from.contains(path) => {
                    (hit, seen) = (live.file.record_count(), live.file.record_count())
                }
                Judged::All | Judged::Some => each_batch(&self.core, state, &reader, path, &columns, |batch| {
                    hit += test.rows(batch)?.true_count() as u64;
                    seen += batch.num_rows() as u64;
                    Ok::<_, Fault>(())
                })?,
            }
            if hit > 0 {
                found.push(Hit { live, rows: hit, whole: hit == seen });
            }
        }
        Ok(found)
    }

    /// Writes and commits; `None`: the table has moved in a way that the work does not stand.
    fn remove(&self, work: &Work<'_>) -> Result<Option<i64>> {
        let state = work.on.state;
        let snapshot_id = new_snapshot_id(Some(state));
        let run_id = format!("delete-{snapshot_id}");
        let intent = Intent::rewriting(&self.core, state, "delete", &run_id, snapshot_id);
        let files = RunFiles::new(Arc::clone(&self.core), intent);
        files.record()?;
        let added = match self.rewrite(work, &files) {
            Ok(added) => added,
            Err(error) => {
                if !error.is_fail_point() {
                    files.discard();
                }
                return Err(error);
            }
        };
        self.core.fail_points.pass(fail_point::DELETE_WRITTEN)?;
        let action = DeleteAction { work, added, moved: AtomicBool::new(false) };
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

    fn rewrite(&self, work: &Work<'_>, files: &RunFiles) -> Result<Vec<Added>> {
        let state = work.on.state;
        let head = work.on.head(state)?;
        let reader = self.core.block_on(Reader::at(&self.core, state, head))?;
        let mut added = Vec::new();
        for hit in work.found.iter().filter(|hit| !hit.whole) {
            let keep = |batch: &arrow_array::RecordBatch| -> Result<BooleanArray, BoxError> {
                let mask = work.test.rows(batch)?;
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

/// A line of a table's history.
#[derive(Clone, Copy)]
struct Line<'a> {
    state: &'a TableState,
    branch: &'a str,
}

impl Line<'_> {
    /// Its newest snapshot in some state of the table; `main` may have none yet.
    fn head<'b>(&self, state: &'b TableState) -> Result<Option<&'b SnapshotRef>> {
        let head = state.metadata.snapshot_for_ref(self.branch);
        if self.branch != MAIN_BRANCH && !reference(state, self.branch)?.is_some_and(|found| found.is_branch()) {
            return Err(Error::reference(&state.name, format!("has no branch `{}`", self.branch.escape_debug())));
        }
        Ok(head)
    }
}

/// A deletion that is worked out.
struct Work<'a> {
    /// The table whose files were read.
    on: Line<'a>,
    test: &'a dyn BoundTest,
    text: String,
    found: &'a [Hit],
}

struct DeleteAction<'a> {
    work: &'a Work<'a>,
    added: Vec<Added>,
    /// The work does not stand on the table as it is now.
    moved: AtomicBool,
}

#[async_trait]
impl Action for DeleteAction<'_> {
    fn table(&self) -> &TableName {
        &self.work.on.state.name
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let Some(head) = on.head else {
            return Err(Error::NoTable { table: self.table().clone(), known: Vec::new() });
        };
        if !self.stands(on, head).await? {
            self.moved.store(true, Ordering::Relaxed);
            return Err(Error::Busy { table: self.table().clone(), attempts: 1 });
        }
        let Work { on: line, text, found, .. } = self.work;
        let removed: u64 = found.iter().map(|hit| hit.rows).sum();
        let records = [("rows-deleted", removed.to_string()), ("where", text.clone())];
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.snapshot = Some(NewSnapshot {
            branch: line.branch.to_owned(),
            removal: Removal::Files(found.iter().map(|hit| hit.live.file.file_path().to_owned()).collect()),
            added: self.added.clone(),
            ..NewSnapshot::on_main(of_action("delete", on.run_id, &records))
        });
        Ok(Step::Change(Box::new(delta)))
    }
}

impl DeleteAction<'_> {
    /// Whether what was worked out holds for `head`, too.
    async fn stands(&self, on: &On<'_>, head: &TableState) -> Result<bool> {
        let (line, state) = (self.work.on, self.work.on.state);
        if head.version() == state.version() {
            return Ok(true);
        }
        let same_columns = head.metadata.current_schema_id() == state.metadata.current_schema_id();
        if head.metadata.uuid() != state.metadata.uuid() || !same_columns {
            return Ok(false);
        }
        let before = live_files(on.manifests, state, line.head(state)?).await?;
        let now = live_files(on.manifests, head, line.head(head)?).await?;
        let (known, present): (HashSet<&str>, HashSet<&str>) = (paths(&before), paths(&now));
        let fresh = now.iter().filter(|live| !known.contains(live.file.file_path())).all(|live| {
            live.file.content_type() == DataContentType::Data
                && judged(self.work.test, &live.file, head) == Judged::None
        });
        Ok(fresh && self.work.found.iter().all(|hit| present.contains(hit.live.file.file_path())))
    }
}
