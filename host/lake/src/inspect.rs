//! What a table consists of: its snapshots, files, partitions, refs, history and manifests, each as one record batch.
//!
//! [`IcebergLake::metadata_batch`] is the one source of these tables: the verbs `table files` and its like print the batch, and SQL reads it
//! as `"t$files"`.

mod columns;
mod live;
mod partition;

use std::collections::{BTreeMap, HashMap};

use arrow_array::RecordBatch;
use iceberg::spec::{
    DataContentType, DataFile, ManifestContentType, ManifestFile, SchemaRef, SnapshotReference, SnapshotRetention,
};
use lakehost_pipeline::ports::TableName;

pub use live::{LiveFile, live_files};
pub use partition::{Labels, partition_text};

use crate::catalog::TableState;
use crate::commit::Manifests;
use crate::error::Result;
use crate::history::{AsOf, resolve, snapshots};
use crate::lake::IcebergLake;
use crate::refs::references;
use columns::Columns;

/// One view of a table's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataTable {
    /// Every snapshot, oldest first.
    Snapshots,
    /// Live data and delete files of one snapshot.
    Files,
    /// The same, summed up by partition.
    Partitions,
    /// Branches and tags.
    Refs,
    /// What was current when.
    History,
    /// Manifests of one snapshot.
    Manifests,
}

impl MetadataTable {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Snapshots, Self::Files, Self::Partitions, Self::Refs, Self::History, Self::Manifests];

    /// As it is written behind the `$`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::Files => "files",
            Self::Partitions => "partitions",
            Self::Refs => "refs",
            Self::History => "history",
            Self::Manifests => "manifests",
        }
    }

    /// The table of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.word() == word)
    }
}

impl IcebergLake {
    /// The rows of a metadata table. `at` chooses the snapshot that files, partitions and manifests are of; none: the head of `main`.
    ///
    /// # Errors
    /// `LH0604` no such table, `LH0101` nothing at that point, `LH0502` a manifest that cannot be read.
    pub fn metadata_batch(&self, table: &TableName, which: MetadataTable, at: Option<&AsOf>) -> Result<RecordBatch> {
        let state = self.state(table)?;
        self.core.block_on(batch(&Manifests::new(self.core.io.clone()), &state, which, at))
    }
}

/// The rows of a metadata table of a table in a known state.
pub async fn batch(
    manifests: &Manifests,
    state: &TableState,
    which: MetadataTable,
    at: Option<&AsOf>,
) -> Result<RecordBatch> {
    match which {
        MetadataTable::Snapshots => snapshot_rows(state),
        MetadataTable::Refs => ref_rows(state),
        MetadataTable::History => history_rows(state),
        MetadataTable::Files => file_rows(state, &live_at(manifests, state, at).await?),
        MetadataTable::Partitions => partition_rows(state, &live_at(manifests, state, at).await?),
        MetadataTable::Manifests => {
            let snapshot = resolve(state, at)?;
            manifest_rows(state, &manifests.list(&state.metadata, snapshot).await?)
        }
    }
}

async fn live_at(manifests: &Manifests, state: &TableState, at: Option<&AsOf>) -> Result<Vec<LiveFile>> {
    live_files(manifests, state, resolve(state, at)?).await
}

fn snapshot_rows(state: &TableState) -> Result<RecordBatch> {
    let found = snapshots(state);
    let raw = |id: i64| state.metadata.snapshot_by_id(id);
    let load = |name: &'static str| found.iter().map(move |snapshot| snapshot.load.get(name).cloned());
    let summary = |id: i64| {
        let mut pairs: BTreeMap<&str, &str> = BTreeMap::new();
        let properties = raw(id).map(|snapshot| &snapshot.summary().additional_properties);
        pairs.extend(properties.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())));
        serde_json::to_string(&pairs).ok()
    };
    Columns::default()
        .times("committed_at", found.iter().map(|snapshot| Some(snapshot.timestamp_ms)))
        .longs("snapshot_id", found.iter().map(|snapshot| Some(snapshot.snapshot_id)))
        .longs("parent_id", found.iter().map(|snapshot| snapshot.parent_id))
        .longs("sequence_number", found.iter().map(|snapshot| Some(snapshot.sequence_number)))
        .texts("operation", found.iter().map(|snapshot| Some(snapshot.operation.clone())))
        .flags("on_main", found.iter().map(|snapshot| Some(snapshot.on_main)))
        .counts("rows", found.iter().map(|snapshot| snapshot.rows))
        .counts("rows_added", found.iter().map(|snapshot| Some(snapshot.rows_added)))
        .counts("rows_deleted", found.iter().map(|snapshot| Some(snapshot.rows_deleted)))
        .longs("growth", found.iter().map(|snapshot| snapshot.growth()))
        .counts("files", found.iter().map(|snapshot| snapshot.files))
        .counts("files_added", found.iter().map(|snapshot| Some(snapshot.files_added)))
        .counts("files_deleted", found.iter().map(|snapshot| Some(snapshot.files_deleted)))
        .counts("bytes", found.iter().map(|snapshot| snapshot.bytes))
        .texts("window", load("window"))
        .texts("run_id", load("run-id"))
        .texts("load_id", load("load-id"))
        .texts("pipeline", load("pipeline"))
        .texts("plugins", load("plugins"))
        .texts(
            "manifest_list",
            found.iter().map(|snapshot| raw(snapshot.snapshot_id).map(|raw| raw.manifest_list().to_owned())),
        )
        .texts("summary", found.iter().map(|snapshot| summary(snapshot.snapshot_id)))
        .batch()
}

fn ref_rows(state: &TableState) -> Result<RecordBatch> {
    let found: Vec<(String, SnapshotReference)> = references(&state.metadata)?.into_iter().collect();
    let kept = |reference: &SnapshotReference| match &reference.retention {
        SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => {
            (*max_ref_age_ms, min_snapshots_to_keep.map(i64::from), *max_snapshot_age_ms)
        }
        SnapshotRetention::Tag { max_ref_age_ms } => (*max_ref_age_ms, None, None),
    };
    let committed = |reference: &SnapshotReference| {
        state.metadata.snapshot_by_id(reference.snapshot_id).map(|snapshot| snapshot.timestamp_ms())
    };
    Columns::default()
        .texts("name", found.iter().map(|(name, _)| Some(name.clone())))
        .texts("type", found.iter().map(|(_, kind)| Some(if kind.is_branch() { "branch" } else { "tag" }.to_owned())))
        .longs("snapshot_id", found.iter().map(|(_, reference)| Some(reference.snapshot_id)))
        .times("committed_at", found.iter().map(|(_, reference)| committed(reference)))
        .longs("max_ref_age_ms", found.iter().map(|(_, reference)| kept(reference).0))
        .longs("min_snapshots_to_keep", found.iter().map(|(_, reference)| kept(reference).1))
        .longs("max_snapshot_age_ms", found.iter().map(|(_, reference)| kept(reference).2))
        .batch()
}

fn history_rows(state: &TableState) -> Result<RecordBatch> {
    let log = state.metadata.history();
    let main: std::collections::HashSet<i64> = state.history().map(|snapshot| snapshot.snapshot_id()).collect();
    let parent = |id: i64| state.metadata.snapshot_by_id(id).and_then(|snapshot| snapshot.parent_snapshot_id());
    Columns::default()
        .times("made_current_at", log.iter().map(|entry| Some(entry.timestamp_ms)))
        .longs("snapshot_id", log.iter().map(|entry| Some(entry.snapshot_id)))
        .longs("parent_id", log.iter().map(|entry| parent(entry.snapshot_id)))
        .flags("is_current_ancestor", log.iter().map(|entry| Some(main.contains(&entry.snapshot_id))))
        .flags("expired", log.iter().map(|entry| Some(state.metadata.snapshot_by_id(entry.snapshot_id).is_none())))
        .batch()
}

/// `data`, `position-deletes` or `equality-deletes`.
fn content(file: &DataFile) -> &'static str {
    match file.content_type() {
        DataContentType::Data => "data",
        DataContentType::PositionDeletes => "position-deletes",
        DataContentType::EqualityDeletes => "equality-deletes",
    }
}

fn file_rows(state: &TableState, files: &[LiveFile]) -> Result<RecordBatch> {
    let labels = Labels::of(&state.metadata);
    let schema = state.metadata.current_schema();
    Columns::default()
        .texts("content", files.iter().map(|live| Some(content(&live.file).to_owned())))
        .texts("file_path", files.iter().map(|live| Some(live.file.file_path().to_owned())))
        .texts("file_format", files.iter().map(|live| Some(live.file.file_format().to_string())))
        .longs("spec_id", files.iter().map(|live| Some(i64::from(live.spec.spec_id()))))
        .texts(
            "partition",
            files.iter().map(|live| Some(partition_text(&state.metadata, &live.spec, live.file.partition()))),
        )
        .texts("window", files.iter().map(|live| labels.window(&live.spec, live.file.partition())))
        .counts("record_count", files.iter().map(|live| Some(live.file.record_count())))
        .counts("file_size_in_bytes", files.iter().map(|live| Some(live.file.file_size_in_bytes())))
        .longs("snapshot_id", files.iter().map(|live| Some(live.snapshot_id)))
        .longs("sequence_number", files.iter().map(|live| Some(live.sequence_number)))
        .longs("sort_order_id", files.iter().map(|live| live.file.sort_order_id().map(i64::from)))
        .texts("metrics", files.iter().map(|live| metrics(schema, &live.file)))
        .batch()
}

/// What a manifest says of each column of a file, as JSON.
fn metrics(schema: &SchemaRef, file: &DataFile) -> Option<String> {
    let mut columns = serde_json::Map::new();
    for field in schema.as_struct().fields() {
        let mut found = serde_json::Map::new();
        let counts = [
            ("bytes", file.column_sizes()),
            ("values", file.value_counts()),
            ("nulls", file.null_value_counts()),
            ("nans", file.nan_value_counts()),
        ];
        for (name, counts) in counts {
            if let Some(count) = counts.get(&field.id) {
                found.insert(name.to_owned(), (*count).into());
            }
        }
        for (name, bounds) in [("lower", file.lower_bounds()), ("upper", file.upper_bounds())] {
            if let Some(bound) = bounds.get(&field.id) {
                found.insert(name.to_owned(), partition::value_text(bound).into());
            }
        }
        if !found.is_empty() {
            columns.insert(field.name.clone(), found.into());
        }
    }
    serde_json::to_string(&columns).ok()
}

/// What the files of one partition add up to.
#[derive(Debug, Default)]
struct Sum {
    spec_id: i32,
    window: Option<String>,
    files: u64,
    rows: u64,
    bytes: u64,
    delete_files: u64,
    deletes: u64,
    /// The newest snapshot that added a file.
    updated: Option<(i64, i64)>,
}

fn partition_rows(state: &TableState, files: &[LiveFile]) -> Result<RecordBatch> {
    let labels = Labels::of(&state.metadata);
    let mut sums: BTreeMap<(i32, String), Sum> = BTreeMap::new();
    for live in files {
        let text = partition_text(&state.metadata, &live.spec, live.file.partition());
        let sum = sums.entry((live.spec.spec_id(), text)).or_default();
        sum.spec_id = live.spec.spec_id();
        sum.window = labels.window(&live.spec, live.file.partition());
        match live.file.content_type() {
            DataContentType::Data => {
                sum.files += 1;
                sum.rows += live.file.record_count();
                sum.bytes += live.file.file_size_in_bytes();
            }
            DataContentType::PositionDeletes | DataContentType::EqualityDeletes => {
                sum.delete_files += 1;
                sum.deletes += live.file.record_count();
            }
        }
        // The newest sequence number is the newest change; its snapshot may have expired by now.
        sum.updated = sum.updated.max(Some((live.sequence_number, live.snapshot_id)));
    }
    let rows: Vec<(String, Sum)> = sums.into_iter().map(|((_, text), sum)| (text, sum)).collect();
    let updated = |sum: &Sum| sum.updated.map(|(_, snapshot_id)| snapshot_id);
    let updated_at = |sum: &Sum| state.metadata.snapshot_by_id(updated(sum)?).map(|snapshot| snapshot.timestamp_ms());
    Columns::default()
        .texts("partition", rows.iter().map(|(text, _)| Some(text.clone())))
        .texts("window", rows.iter().map(|(_, sum)| sum.window.clone()))
        .longs("spec_id", rows.iter().map(|(_, sum)| Some(i64::from(sum.spec_id))))
        .counts("record_count", rows.iter().map(|(_, sum)| Some(sum.rows)))
        .counts("file_count", rows.iter().map(|(_, sum)| Some(sum.files)))
        .counts("total_data_file_size_in_bytes", rows.iter().map(|(_, sum)| Some(sum.bytes)))
        .counts("delete_file_count", rows.iter().map(|(_, sum)| Some(sum.delete_files)))
        .counts("delete_record_count", rows.iter().map(|(_, sum)| Some(sum.deletes)))
        .times("last_updated_at", rows.iter().map(|(_, sum)| updated_at(sum)))
        .longs("last_updated_snapshot_id", rows.iter().map(|(_, sum)| updated(sum)))
        .batch()
}

fn manifest_rows(state: &TableState, found: &[ManifestFile]) -> Result<RecordBatch> {
    let specs: HashMap<i32, _> =
        state.metadata.partition_specs_iter().map(|spec| (spec.spec_id(), spec.clone())).collect();
    let bounds = |manifest: &ManifestFile| {
        let spec = specs.get(&manifest.partition_spec_id)?;
        let text = partition::bounds_text(&state.metadata, spec, manifest.partitions.as_deref().unwrap_or_default());
        (!text.is_empty()).then_some(text)
    };
    let kind = |manifest: &ManifestFile| match manifest.content {
        ManifestContentType::Data => "data",
        ManifestContentType::Deletes => "deletes",
    };
    Columns::default()
        .texts("content", found.iter().map(|manifest| Some(kind(manifest).to_owned())))
        .texts("path", found.iter().map(|manifest| Some(manifest.manifest_path.clone())))
        .longs("length", found.iter().map(|manifest| Some(manifest.manifest_length)))
        .longs("partition_spec_id", found.iter().map(|manifest| Some(i64::from(manifest.partition_spec_id))))
        .longs("added_snapshot_id", found.iter().map(|manifest| Some(manifest.added_snapshot_id)))
        .longs("sequence_number", found.iter().map(|manifest| Some(manifest.sequence_number)))
        .counts("added_files", found.iter().map(|manifest| manifest.added_files_count.map(u64::from)))
        .counts("existing_files", found.iter().map(|manifest| manifest.existing_files_count.map(u64::from)))
        .counts("deleted_files", found.iter().map(|manifest| manifest.deleted_files_count.map(u64::from)))
        .counts("added_rows", found.iter().map(|manifest| manifest.added_rows_count))
        .counts("existing_rows", found.iter().map(|manifest| manifest.existing_rows_count))
        .counts("deleted_rows", found.iter().map(|manifest| manifest.deleted_rows_count))
        .texts("partitions", found.iter().map(bounds))
        .batch()
}
