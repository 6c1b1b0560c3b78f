//! A load that merges: each of its rows takes the place of those with the same key.
//!
//! Only keys are held in memory, a share of them at a time when there are many. The files that have rows to go are found by the bounds of the key
//! columns, looked through by key alone, and written anew without those rows. A new row that the table has just so changes nothing: the row
//! stays in its file, and a file with no other rows to go is not touched. All is complete before anything is committed, for the table as it
//! was when it was read. Where somebody commits meanwhile, the work stands as long as all files that it takes away are still there and no new
//! file can hold a key of the load; else it begins anew. So no row of another merge is lost, and of one key there is one row.

mod keys;
mod look;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use iceberg::spec::{DataContentType, DataFile, Datum, PrimitiveType};
use lakehost_pipeline::ports::{Merged, TableName};

use self::keys::Marked;
use self::look::Look;
use crate::catalog::{Base, TableState};
use crate::commit::{Action, Added, LoadAction, Manifests, On, Removal, Step, data_files};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inspect::{LiveFile, live_files};
use crate::maintain::Reader;
use crate::masked::{Keep, paths, without};
use crate::run_files::RunFiles;

/// Rows whose keys are held at a time, when nobody says otherwise: some 200 MB.
pub const KEYS_AT_ONCE: u64 = 3 << 19;
/// Memory that a row's key takes: an entry of a map that is at least 7/16 full, and its place in the order.
pub const KEY_BYTES: u64 = 192;

/// Least and greatest new value of each key column, by field id; `None` where some file does not say.
type Bounds = Vec<(i32, Option<(Datum, Datum)>)>;

/// What a merge does to a table.
pub struct Merge {
    /// The state that it was worked out on; none: the table is new.
    state: Option<TableState>,
    bounds: Bounds,
    removed: HashSet<String>,
    /// Files with rows that stay in the place of new ones that are just the same.
    relied_on: HashSet<String>,
    /// Files with the rows of the load.
    new: Vec<DataFile>,
    added: Vec<Added>,
    /// What became of the rows.
    pub merged: Merged,
}

impl Merge {
    /// Looks at the new rows and at those that they may replace, and writes what has to be written anew.
    pub fn work(core: &Core, load: &LoadAction<'_>, files: &RunFiles) -> Result<Self> {
        let (target, plan) = (load.target, load.plan);
        let table = &target.table;
        let unusable = |detail: String| Error::Key { table: table.clone(), detail };
        if target.key.is_empty() {
            return Err(unusable("it names no key".to_owned()));
        }
        // Rows of one key do not differ in a column of it.
        let order = target.order.iter().filter(|order| !target.key.contains(order));
        let names: Vec<&str> = target.key.iter().chain(order).map(String::as_str).collect();
        if let Some(name) = names.iter().find(|name| plan.schema.index_of(name).is_err()) {
            return Err(unusable(format!("it names the column {name}, which the table does not have")));
        }
        // The table with the columns that the load brings.
        let state = match &plan.base {
            Base::Existing(state) => TableState { metadata: plan.metadata.clone(), ..state.clone() },
            Base::New(_) => {
                TableState { name: table.clone(), metadata: plan.metadata.clone(), metadata_location: String::new() }
            }
        };
        let staged = staged(load, &state)?;
        let (mut reader, live) = core.block_on(async {
            let live = live_files(&Manifests::new(core.io.clone()), &state, state.main()).await?;
            Ok::<_, Error>((Reader::of(core, &state).await?, live))
        })?;
        staged.iter().for_each(|live| reader.add(&live.file, &state.metadata));
        let bounds = bounds(load, &staged);
        let candidates: Vec<LiveFile> = live.into_iter().filter(|live| may_hold(live, &bounds)).collect();
        let (width, keys_at_once) = (target.key.len(), core.keys_at_once);
        let look = Look { core, state: &state, reader: &reader, names: &names, width, keys_at_once };
        let found = look.find(&staged, &candidates, load.request.rows_written)?;
        if found.keyless > 0 {
            let rows = found.keyless;
            return Err(unusable(format!("{rows} rows have no value in the key ({})", target.key.join(", "))));
        }
        let mut merge = Self {
            state: plan.state().cloned(),
            bounds,
            removed: HashSet::new(),
            relied_on: found.relied_on,
            new: staged.iter().map(|live| live.file.clone()).collect(),
            added: Vec::new(),
            merged: Merged {
                inserted: found.counts.inserted,
                updated: found.counts.updated,
                unchanged: found.counts.unchanged,
                duplicate_keys: found.duplicates,
                ..Merged::default()
            },
        };
        for (live, is_new) in staged.iter().map(|live| (live, true)).chain(candidates.iter().map(|live| (live, false)))
        {
            let path = live.file.file_path();
            let gone = if is_new { found.losers.get(path) } else { found.replaced.get(path) };
            match gone.filter(|gone| gone.count() > 0) {
                None if is_new => merge.added.push(Added::new(live.file.clone())),
                None => {}
                Some(gone) => {
                    if !is_new {
                        merge.removed.insert(path.to_owned());
                    }
                    if gone.count() < found.seen.get(path).copied().unwrap_or(u64::MAX) {
                        merge.added.extend(without(core, &state, &reader, live, rest(gone.clone()), files)?);
                    }
                }
            }
        }
        if !merge.added.is_empty() {
            let folder = &files.intent.data_folder;
            core.store.settle(folder).map_err(Error::store("sync", folder))?;
        }
        merge.merged.files = merge.added.len() as u64;
        merge.merged.bytes = merge.added.iter().map(|added| added.file.file_size_in_bytes()).sum();
        Ok(merge)
    }

    /// Files that the commit adds.
    pub fn files(&self) -> HashSet<&str> {
        self.added.iter().map(|added| added.file.file_path()).collect()
    }

    /// Whether it holds for `head`, too.
    async fn stands(&self, on: &On<'_>) -> Result<bool> {
        let (state, head) = match (&self.state, on.head) {
            (None, None) => return Ok(true),
            (Some(state), Some(head)) => (state, head),
            _ => return Ok(false),
        };
        if state.version() == head.version() {
            return Ok(true);
        }
        let same_columns = head.metadata.current_schema_id() == state.metadata.current_schema_id();
        if head.metadata.uuid() != state.metadata.uuid() || !same_columns {
            return Ok(false);
        }
        let before = live_files(on.manifests, state, state.main()).await?;
        let now = live_files(on.manifests, head, head.main()).await?;
        let (known, present): (HashSet<&str>, HashSet<&str>) = (paths(&before), paths(&now));
        let fresh = now.iter().filter(|live| !known.contains(live.file.file_path()));
        let untouched =
            |live: &LiveFile| live.file.content_type() == DataContentType::Data && !may_hold(live, &self.bounds);
        let mut needed = self.removed.iter().chain(&self.relied_on);
        Ok(fresh.into_iter().all(untouched) && needed.all(|path| present.contains(path.as_str())))
    }
}

/// The commit of a merge.
pub struct MergeAction<'a> {
    pub load: LoadAction<'a>,
    pub merge: &'a Merge,
    /// The work does not stand on the table as it is now.
    pub moved: AtomicBool,
}

#[async_trait]
impl Action for MergeAction<'_> {
    fn table(&self) -> &TableName {
        &self.load.target.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let load = &self.load;
        if load.branch.is_none()
            && let Some(snapshot_id) = on.head.and_then(|head| load.already_loaded(head))
        {
            return Ok(Step::Nothing { snapshot_id: Some(snapshot_id) });
        }
        let plan = load.plan_on(on).await?;
        let merge = self.merge;
        if !merge.stands(on).await? {
            self.moved.store(true, Ordering::Relaxed);
            return Err(Error::Busy { table: load.target.table.clone(), attempts: 1 });
        }
        let removal = if merge.removed.is_empty() { Removal::Nothing } else { Removal::Files(merge.removed.clone()) };
        let counts = [
            ("rows-inserted", merge.merged.inserted),
            ("rows-updated", merge.merged.updated),
            ("rows-unchanged", merge.merged.unchanged),
            ("rows-duplicate", merge.merged.duplicate_keys),
        ];
        Ok(Step::Change(Box::new(load.delta(on, &plan, removal, &merge.new, merge.added.clone(), &counts))))
    }
}

/// The load's own files, as if they were in the table.
fn staged(load: &LoadAction<'_>, state: &TableState) -> Result<Vec<LiveFile>> {
    let plan = load.plan;
    let files =
        data_files(&load.target.table, &plan.metadata, plan.window.as_ref(), &load.target.sort, &load.request.files)?;
    let spec = state.metadata.default_partition_spec();
    Ok(files
        .into_iter()
        .map(|file| LiveFile { file, spec: spec.clone(), snapshot_id: 0, sequence_number: 0 })
        .collect())
}

/// The bounds of the new rows.
fn bounds(load: &LoadAction<'_>, staged: &[LiveFile]) -> Bounds {
    let schema = load.plan.metadata.current_schema();
    let fields = load.target.key.iter().filter_map(|name| schema.field_by_name(name));
    fields
        .map(|field| {
            if matches!(field.field_type.as_primitive_type(), Some(PrimitiveType::Float | PrimitiveType::Double)) {
                // Bounds leave NaN out, which is a key like any other.
                return (field.id, None);
            }
            let mut range: Option<(Datum, Datum)> = None;
            for live in staged {
                let ends = (live.file.lower_bounds().get(&field.id), live.file.upper_bounds().get(&field.id));
                let (Some(lower), Some(upper)) = ends else { return (field.id, None) };
                range = Some(match range {
                    None => (lower.clone(), upper.clone()),
                    Some((least, greatest)) => (
                        if *lower < least { lower.clone() } else { least },
                        if *upper > greatest { upper.clone() } else { greatest },
                    ),
                });
            }
            (field.id, range)
        })
        .collect()
}

/// Whether a file may have a row with a key of the load, by its bounds.
fn may_hold(live: &LiveFile, bounds: &Bounds) -> bool {
    live.file.content_type() == DataContentType::Data
        && bounds.iter().all(|(id, range)| {
            let ends = (live.file.lower_bounds().get(id), live.file.upper_bounds().get(id));
            match (range, ends) {
                // Values of two types are never in order, and then the file is looked into.
                (Some((least, greatest)), (Some(lower), Some(upper))) => !(lower > greatest || upper < least),
                _ => true,
            }
        })
}

/// The rows that are not marked.
fn rest<'a>(gone: Marked) -> Keep<'a> {
    let mut at = 0_u64;
    Box::new(move |batch: &RecordBatch| {
        let start = at;
        at += batch.num_rows() as u64;
        Ok((start..at).map(|row| Some(!gone.has(row))).collect())
    })
}
