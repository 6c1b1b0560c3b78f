//! One attempt at a snapshot: the manifests, the manifest list and what the summary says of them.

use iceberg::spec::{
    DataFile, ManifestContentType, ManifestFile, PartitionSpecRef, Snapshot, SnapshotRef, Struct, TableMetadata,
};
use lakehost_pipeline::ports::TableName;

use super::manifests::{ManifestFolder, Manifests, is_live, live_files};
use super::summary::{Changes, LoadSummary};
use crate::error::{Error, Result};
use crate::layout::WindowValue;
use crate::location::manifest_prefix;
use crate::store::Store;

/// With more manifests than this, small ones are merged.
const MANIFEST_LIMIT: usize = 100;
/// A merged manifest lists at most so many files: what one commit reads and writes anew stays small, however large the table.
const MERGE_FILES: u64 = 128;

/// Which files of the table a snapshot removes.
#[derive(Clone, Debug, PartialEq)]
pub enum Removal {
    Nothing,
    /// Those of one window, whatever spec they were written under.
    Window(WindowValue),
    Everything,
}

/// What one attempt starts from and what it adds.
pub struct Attempt<'a> {
    pub table: &'a TableName,
    pub store: &'a dyn Store,
    pub manifests: &'a Manifests,
    /// The table's metadata; the default spec is the one that the new files are written under.
    pub metadata: &'a TableMetadata,
    pub parent: Option<&'a SnapshotRef>,
    pub run_id: &'a str,
    pub number: u32,
    pub snapshot_id: i64,
    pub removal: &'a Removal,
    pub added: &'a [DataFile],
    pub load: &'a LoadSummary,
    pub timestamp_ms: i64,
}

/// Files that an attempt wrote, to be deleted when it is known to have lost.
pub type Written = Vec<String>;

impl Attempt<'_> {
    /// Writes the manifests. On an error the second value says what is there already.
    pub async fn write(&self) -> (Result<Snapshot>, Written) {
        let name = format!("{}{}", manifest_prefix(self.run_id, self.snapshot_id), self.number);
        let mut folder = ManifestFolder::new(self.store, self.metadata.location(), &name, self.snapshot_id);
        let snapshot = self.snapshot(&mut folder).await;
        (snapshot, folder.into_written())
    }

    async fn snapshot(&self, folder: &mut ManifestFolder<'_>) -> Result<Snapshot> {
        let mut changes = Changes::default();
        let mut made = Vec::new();
        if let Some(manifest) = self.write_added(folder, &mut changes).await? {
            made.push(manifest);
        }
        let mut kept = Vec::new();
        for manifest in self.manifests.list(self.metadata, self.parent).await? {
            // What only lists deletions of earlier snapshots is theirs alone.
            if !is_live(&manifest) {
                continue;
            }
            match self.without_removed(folder, &manifest, &mut changes).await? {
                Some(rewritten) => made.push(rewritten),
                None => kept.push(manifest),
            }
        }
        if made.len() + kept.len() > MANIFEST_LIMIT {
            kept = self.merge(folder, kept).await?;
        }
        let all: Vec<ManifestFile> = made.into_iter().chain(kept).collect();
        let summary = changes.summary(self.parent.map(|parent| parent.summary()), &all, self.load);
        let parent_id = self.parent.map(|parent| parent.snapshot_id());
        let sequence_number = self.metadata.next_sequence_number();
        let list = folder.list(all, parent_id, sequence_number).await?;
        Ok(Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent_id)
            .with_sequence_number(sequence_number)
            .with_timestamp_ms(self.timestamp_ms)
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(self.metadata.current_schema_id())
            .build())
    }

    async fn write_added(
        &self,
        folder: &mut ManifestFolder<'_>,
        changes: &mut Changes,
    ) -> Result<Option<ManifestFile>> {
        if self.added.is_empty() {
            return Ok(None);
        }
        let spec = self.metadata.default_partition_spec();
        let mut writer = folder.writer(ManifestContentType::Data, self.metadata.current_schema(), spec)?;
        for file in self.added {
            changes.add(spec.spec_id(), file);
            // No sequence number: the entry takes that of its snapshot.
            writer.add_file(file.clone(), -1).map_err(Error::iceberg("add a file to", self.table))?;
        }
        folder.finish(writer).await.map(Some)
    }

    fn spec(&self, manifest: &ManifestFile) -> Result<&PartitionSpecRef> {
        self.metadata.partition_spec_by_id(manifest.partition_spec_id).ok_or_else(|| Error::Damaged {
            table: self.table.to_string(),
            location: manifest.manifest_path.clone(),
            detail: format!("it is of partition spec {}, which the table does not have", manifest.partition_spec_id),
        })
    }

    /// The manifest without the files that this snapshot removes; `None`: it has none of them.
    async fn without_removed(
        &self,
        folder: &mut ManifestFolder<'_>,
        manifest: &ManifestFile,
        changes: &mut Changes,
    ) -> Result<Option<ManifestFile>> {
        let spec = self.spec(manifest)?;
        let removed = |file: &DataFile| match self.removal {
            Removal::Nothing => Ok(false),
            Removal::Everything => Ok(true),
            Removal::Window(window) => window.holds(self.table, file, spec),
        };
        match self.removal {
            Removal::Nothing => return Ok(None),
            Removal::Window(window) if !window.may_be_in(manifest, spec) => return Ok(None),
            Removal::Window(_) | Removal::Everything => {}
        }
        let entries = self.manifests.load(manifest).await?;
        let mut live = Vec::new();
        let mut any = false;
        for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
            let gone = removed(entry.data_file())?;
            any |= gone;
            live.push((entry, gone));
        }
        if !any {
            return Ok(None);
        }
        let wrong = |error| Error::iceberg("rewrite a manifest of", self.table)(error);
        // An old spec may name a column that the table has dropped: then the manifest's own schema still knows it.
        let schema = if self.binds(spec) { self.metadata.current_schema() } else { &entries.metadata().schema };
        let mut writer = folder.writer(manifest.content, schema, spec)?;
        for (entry, gone) in live {
            let sequence_number = entry.sequence_number().unwrap_or(0);
            let file_sequence_number = entry.file_sequence_number.or(Some(sequence_number));
            let file = entry.data_file().clone();
            if gone {
                changes.remove(spec.spec_id(), &file);
                writer.add_delete_file(file, sequence_number, file_sequence_number).map_err(wrong)?;
            } else {
                let snapshot_id = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                writer.add_existing_file(file, snapshot_id, sequence_number, file_sequence_number).map_err(wrong)?;
            }
        }
        folder.finish(writer).await.map(Some)
    }

    /// Whether the present schema has all columns of a spec.
    fn binds(&self, spec: &PartitionSpecRef) -> bool {
        spec.partition_type(self.metadata.current_schema()).is_ok()
    }

    /// Merges one group of small manifests, neighbours by partition, so that a window stays in few of them.
    async fn merge(&self, folder: &mut ManifestFolder<'_>, kept: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
        let (mut candidates, mut rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(|manifest| {
            manifest.content == ManifestContentType::Data
                && live_files(manifest).is_some_and(|files| files < MERGE_FILES)
                && self.spec(manifest).is_ok_and(|spec| self.binds(spec))
        });
        candidates.sort_by_cached_key(|manifest| (manifest.partition_spec_id, lower_bounds(manifest)));
        let Some(group) = widest_group(&candidates) else {
            rest.extend(candidates);
            return Ok(rest);
        };
        let merged: Vec<ManifestFile> = candidates.drain(group).collect();
        rest.extend(candidates);
        let Some(first) = merged.first() else { return Ok(rest) };
        let wrong = |error| Error::iceberg("merge manifests of", self.table)(error);
        let mut writer = folder.writer(ManifestContentType::Data, self.metadata.current_schema(), self.spec(first)?)?;
        for manifest in &merged {
            let entries = self.manifests.load(manifest).await?;
            for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
                let sequence_number = entry.sequence_number().unwrap_or(0);
                let snapshot_id = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                let file_sequence_number = entry.file_sequence_number.or(Some(sequence_number));
                writer
                    .add_existing_file(entry.data_file().clone(), snapshot_id, sequence_number, file_sequence_number)
                    .map_err(wrong)?;
            }
        }
        rest.push(folder.finish(writer).await?);
        Ok(rest)
    }
}

/// The least partition values of a manifest, in a form that sorts neighbours together.
fn lower_bounds(manifest: &ManifestFile) -> Vec<Option<Vec<u8>>> {
    let summaries = manifest.partitions.as_deref().unwrap_or_default();
    summaries
        .iter()
        .map(|summary| {
            let bytes = summary.lower_bound.as_ref()?;
            // Numbers are little-endian: the other way round they sort, negative ones last, which is good enough for neighbours.
            Some(if matches!(bytes.len(), 4 | 8) { bytes.iter().rev().copied().collect() } else { bytes.to_vec() })
        })
        .collect()
}

/// The run of neighbours with the most manifests that fit into one; at least two.
fn widest_group(candidates: &[ManifestFile]) -> Option<std::ops::Range<usize>> {
    let mut best: Option<std::ops::Range<usize>> = None;
    let mut start = 0;
    let mut files = 0;
    for (end, manifest) in candidates.iter().enumerate() {
        let fits = |start: usize| {
            candidates.get(start).is_some_and(|first| first.partition_spec_id == manifest.partition_spec_id)
        };
        files += live_files(manifest).unwrap_or(0);
        while start < end && (files > MERGE_FILES || !fits(start)) {
            files -= candidates.get(start).and_then(live_files).unwrap_or(0);
            start += 1;
        }
        let length = end + 1 - start;
        if length >= 2 && best.as_ref().is_none_or(|best| length > best.len()) {
            best = Some(start..end + 1);
        }
    }
    best
}

/// Data files with their partition, ready for [`Attempt::added`].
pub fn data_files(
    table: &TableName,
    metadata: &TableMetadata,
    window: Option<&WindowValue>,
    files: &[lakehost_columnar::WrittenFile],
) -> Result<Vec<DataFile>> {
    let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());
    files
        .iter()
        .map(|file| {
            let tuple: Struct = crate::layout::partition_tuple(table, schema, spec, window, &file.partition)?;
            crate::data_file::data_file(file, schema, spec, tuple)
        })
        .collect()
}
