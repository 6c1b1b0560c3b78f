//! Small files become large ones, partition by partition, and files of an old partition spec come under the present one; the rows stay the same.
//!
//! The new files are complete before anything is committed. The commit has the operation `replace`, which no load takes for a change of its
//! window. A bin of which a file has gone meanwhile (its window was loaded again) is left out; the others land. Delete files that count for none
//! of the files that are left go in the same commit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::spec::{DataContentType, Operation};
pub use lakehost_columnar::SortKey;
use lakehost_columnar::{Observer, WrittenFile};
use lakehost_pipeline::ports::TableName;
use uuid::Uuid;

use super::bins::{Bin, Destination, Wish, bins, is_too_large};
use super::dangling::dangling;
use super::rewrite::{Reader, rewrite};
use crate::catalog::{Base, TableState};
use crate::commit::{Action, Added, Delta, Landing, Manifests, NewSnapshot, On, Removal, Step, land, of_action};
use crate::data_file::data_file;
use crate::error::{Error, Result};
use crate::inspect::live_files;
use crate::intent::Intent;
use crate::lake::{IcebergLake, new_snapshot_id};
use crate::layout::partition_tuple;
use crate::reshape::default_keys;
use crate::run_files::RunFiles;
use crate::sort_order;

/// So many bins land in one commit: what is lost when it is interrupted.
const BINS_A_COMMIT: usize = 20;

/// What is compacted, and how.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// One window, by its label.
    pub window: Option<String>,
    /// Wanted size of a file.
    pub target_bytes: u64,
    /// Fewer small files in a partition are left as they are.
    pub min_files: usize,
    /// Rows are put in this order, file by file; all files of the partitions are written anew then. `None`: files that are written anew anyway
    /// take the table's order, where it has one.
    pub sort: Option<Vec<SortKey>>,
    pub memory_bytes: u64,
    pub threads: usize,
    /// Says what would be done.
    pub dry_run: bool,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            window: None,
            target_bytes: 512 << 20,
            min_files: 5,
            sort: None,
            memory_bytes: 512 << 20,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            dry_run: false,
        }
    }
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub snapshots: Vec<i64>,
    pub files_before: u64,
    pub files_after: u64,
    pub rows: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Put together for nothing: somebody changed their files meanwhile.
    pub bins_lost: u64,
    /// Delete files that had nothing left to delete from, and went.
    pub deletes_dropped: u64,
}

impl IcebergLake {
    /// Puts small files together.
    ///
    /// # Errors
    /// `LH0403` when the new files have other rows than the old ones (nothing is committed then), `LH0502` a file that cannot be read, `LH0501` and
    /// `LH1001` files that cannot be written; those of a commit.
    pub fn compact(&self, table: &TableName, options: &CompactOptions, observer: &dyn Observer) -> Result<Compacted> {
        let state = self.state(table)?;
        let (reader, live) = self.core.block_on(async {
            let manifests = Manifests::new(self.core.io.clone());
            let live = live_files(&manifests, &state, state.main()).await?;
            Ok::<_, Error>((Reader::of(&self.core, &state).await?, live))
        })?;
        let deletes: HashSet<String> = live
            .iter()
            .filter(|live| live.file.content_type() != DataContentType::Data)
            .map(|live| live.file.file_path().to_owned())
            .collect();
        let deleted_from = reader.deleted_from();
        let wish = Wish {
            window: options.window.as_deref(),
            target_bytes: options.target_bytes.max(1),
            min_files: options.min_files,
            all: options.sort.is_some(),
            deleted_from: &deleted_from,
        };
        let old = if deletes.is_empty() { Vec::new() } else { live.clone() };
        let bins = bins(&state, live, wish);
        let mut done = Compacted::default();
        let removed = |bins: &[Bin]| {
            bins.iter().flat_map(|bin| &bin.files).map(|live| live.file.file_path().to_owned()).collect::<HashSet<_>>()
        };
        if options.dry_run {
            done.deletes_dropped = dangling(&old, &removed(&bins)).len() as u64;
            for bin in &bins {
                done.files_before += bin.files.len() as u64;
                done.files_after += bin.pieces;
                done.rows += bin.rows();
                done.bytes_before += bin.bytes();
            }
            return Ok(done);
        }
        // What earlier compactions left goes by itself.
        let only_deletes = bins.is_empty() && !dangling(&old, &HashSet::new()).is_empty();
        if !bins.is_empty() || only_deletes {
            self.core.catalog.check_writable()?;
        }
        let sort = options.sort.clone().or_else(|| default_keys(&state.metadata));
        let sort_order_id = sort.as_ref().and_then(|keys| sort_order::id_of(&state.metadata, keys));
        let sort = sort.as_deref();
        let work = Work { state: &state, reader: &reader, deletes: &deletes, options, sort, sort_order_id, observer };
        for bins in bins.chunks(BINS_A_COMMIT) {
            self.land_bins(&work, bins, &mut done)?;
        }
        if only_deletes {
            self.land_bins(&work, &[], &mut done)?;
        }
        Ok(done)
    }

    /// Writes and commits some bins.
    fn land_bins(&self, work: &Work<'_>, bins: &[Bin], done: &mut Compacted) -> Result<()> {
        let state = work.state;
        let snapshot_id = new_snapshot_id(Some(state));
        let run_id = format!("compact-{}", Uuid::new_v4().simple());
        let files = RunFiles::new(
            Arc::clone(&self.core),
            Intent::rewriting(&self.core, state, "compact", &run_id, snapshot_id),
        );
        let written = self.write_bins(work, bins, &files);
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                if !error.is_fail_point() {
                    self.settle(&files, files.created());
                }
                return Err(error);
            }
        };
        self.core.fail_points.pass(crate::fail_point::COMPACT_WRITTEN)?;
        let action = CompactAction {
            state,
            deletes: work.deletes,
            bins: &written,
            lost: Mutex::default(),
            dropped: AtomicU64::new(0),
        };
        let ended = self.core.block_on(land(&self.core, &[&action], &run_id, &[snapshot_id]));
        let keeps_files = ended.keeps_files();
        let landings = match ended.result {
            Ok(landings) => landings,
            Err(error) => {
                if !keeps_files {
                    self.settle(&files, files.created());
                }
                return Err(error);
            }
        };
        let lost = action.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let landed = matches!(landings.first(), Some(Landing::Landed { .. }));
        let mut superfluous = Vec::new();
        for (number, bin) in written.iter().enumerate() {
            if landed && !lost.contains(&number) {
                done.files_before += bin.old.len() as u64;
                done.files_after += bin.new.len() as u64;
                done.rows += bin.rows;
                done.bytes_before += bin.bytes;
                done.bytes_after += bin.new.iter().map(|added| added.file.file_size_in_bytes()).sum::<u64>();
            } else {
                done.bins_lost += 1;
                superfluous.extend(bin.new.iter().map(|added| added.file.file_path().to_owned()));
            }
        }
        if landed {
            done.snapshots.push(snapshot_id);
            done.deletes_dropped += action.dropped.load(Ordering::Relaxed);
        }
        // A request whose answer was lost may name them.
        self.settle(&files, if keeps_files { Vec::new() } else { superfluous });
        Ok(())
    }

    /// Deletes what is not needed, and the record with it: the outcome is certain.
    fn settle(&self, files: &RunFiles, superfluous: Vec<String>) {
        self.core.forget(superfluous);
        if files.is_recorded() {
            files.intent.remove(&self.core);
        }
    }

    fn write_bins(&self, work: &Work<'_>, bins: &[Bin], files: &RunFiles) -> Result<Vec<WrittenBin>> {
        let Work { state, reader, options, sort, observer, .. } = work;
        let mut written = Vec::with_capacity(bins.len());
        for bin in bins {
            let new = rewrite(&self.core, state, reader, bin, (options, *sort), files, *observer)?;
            let (before, after) = (bin.rows(), new.iter().map(|file| file.rows).sum::<u64>());
            let stays = matches!(bin.into, Destination::Same { .. }) && options.sort.is_none();
            let too_large = |file: &WrittenFile| is_too_large(file.size_bytes, options.target_bytes);
            if bin.pieces > 1 && new.len() < 2 && new.iter().any(too_large) && stays && before == after {
                // It cannot be taken apart, and is left as it is.
                self.core.forget(new.into_iter().map(|file| file.location));
                continue;
            }
            let deleted = bin.files.iter().any(|live| reader.deleted_from().contains(live.file.file_path()));
            if after > before || (after < before && !deleted) {
                return Err(Error::Balance {
                    table: state.name.clone(),
                    detail: format!("{before} rows were to be put together, the new files have {after}"),
                });
            }
            let new = new.iter().map(|file| work.added(bin, file)).collect::<Result<Vec<_>>>()?;
            let old = bin.files.iter().map(|live| live.file.file_path().to_owned()).collect();
            written.push(WrittenBin { old, new, rows: after, bytes: bin.bytes() });
        }
        if files.is_recorded() {
            let folder = &files.intent.data_folder;
            self.core.store.settle(folder).map_err(Error::store("sync", folder))?;
        }
        Ok(written)
    }
}

/// What all bins of a compaction share.
struct Work<'a> {
    state: &'a TableState,
    reader: &'a Reader,
    /// Delete files that were there when the rows were read.
    deletes: &'a HashSet<String>,
    options: &'a CompactOptions,
    sort: Option<&'a [SortKey]>,
    /// The table's name for that order.
    sort_order_id: Option<i32>,
    observer: &'a dyn Observer,
}

impl Work<'_> {
    /// The entry of a new file.
    fn added(&self, bin: &Bin, file: &WrittenFile) -> Result<Added> {
        let metadata = &self.state.metadata;
        let (spec, partition) = match &bin.into {
            Destination::Same { spec, partition } => (spec, partition.clone()),
            Destination::Default { window, .. } => {
                let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());
                (spec, partition_tuple(&self.state.name, schema, spec, window.as_ref(), &file.partition)?)
            }
        };
        let file = data_file(file, metadata.current_schema(), spec, partition, self.sort_order_id)?;
        Ok(Added { file, spec_id: Some(spec.spec_id()) })
    }
}

/// A bin whose new files are complete.
struct WrittenBin {
    old: Vec<String>,
    new: Vec<Added>,
    rows: u64,
    bytes: u64,
}

struct CompactAction<'a> {
    /// The table whose files were read.
    state: &'a TableState,
    deletes: &'a HashSet<String>,
    bins: &'a [WrittenBin],
    /// Bins that the last answer left out.
    lost: Mutex<HashSet<usize>>,
    /// Delete files that it dropped.
    dropped: AtomicU64,
}

#[async_trait]
impl Action for CompactAction<'_> {
    fn table(&self) -> &TableName {
        &self.state.name
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let same = on.head.filter(|head| head.metadata.uuid() == self.state.metadata.uuid());
        let Some(head) = same else { return Ok(Step::Nothing { snapshot_id: None }) };
        let live = live_files(on.manifests, head, head.main()).await?;
        let paths: HashSet<&str> = live.iter().map(|live| live.file.file_path()).collect();
        // Rows that somebody deleted after they were read would come back.
        let new_deletes = live.iter().any(|live| {
            live.file.content_type() != DataContentType::Data && !self.deletes.contains(live.file.file_path())
        });
        let stands = |bin: &WrittenBin| !new_deletes && bin.old.iter().all(|path| paths.contains(path.as_str()));
        let (mut removed, mut added, mut lost) = (HashSet::new(), Vec::new(), HashSet::new());
        for (number, bin) in self.bins.iter().enumerate() {
            if stands(bin) {
                removed.extend(bin.old.iter().cloned());
                added.extend(bin.new.iter().cloned());
            } else {
                lost.insert(number);
            }
        }
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
        let dangling = dangling(&live, &removed);
        self.dropped.store(dangling.len() as u64, Ordering::Relaxed);
        removed.extend(dangling);
        if removed.is_empty() {
            return Ok(Step::Nothing { snapshot_id: None });
        }
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.snapshot = Some(NewSnapshot {
            operation: Some(Operation::Replace),
            removal: Removal::Files(removed),
            added,
            ..NewSnapshot::on_main(of_action("compact", on.run_id, &[]))
        });
        Ok(Step::Change(Box::new(delta)))
    }
}
