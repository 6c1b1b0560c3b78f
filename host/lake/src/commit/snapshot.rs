//! One attempt at a snapshot: the manifests, the manifest list and what the summary says of them.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestWriter, PartitionSpecRef,
    Snapshot, SnapshotRef, Struct, TableMetadata,
};
use lakehost_pipeline::ports::TableName;

use super::action::{Added, NewSnapshot, Removal};
use super::manifests::{ManifestFolder, Manifests, is_live, live_files};
use super::summary::Changes;
use crate::error::{Error, Result};
use crate::layout::WindowValue;
use crate::location::manifest_prefix;
use crate::store::Store;

/// With more manifests than this, small ones are merged.
const MANIFEST_LIMIT: usize = 100;
/// A merged manifest lists at most so many files: what one commit reads and writes anew stays small, however large the table.
const MERGE_FILES: u64 = 128;
/// Where all manifests are written anew, each lists so many files.
const REGROUP_FILES: usize = 2_048;

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
    pub new: &'a NewSnapshot,
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
        let mut made = self.write_added(folder, &mut changes).await?;
        let mut kept = Vec::new();
        let mut missing = match &self.new.removal {
            Removal::Files(files) => files.clone(),
            _ => HashSet::new(),
        };
        for manifest in self.manifests.list(self.metadata, self.parent).await? {
            // What only lists deletions of earlier snapshots is theirs alone.
            if !is_live(&manifest) {
                continue;
            }
            match self.without_removed(folder, &manifest, &mut changes, &mut missing).await? {
                Some(rewritten) => made.push(rewritten),
                None => kept.push(manifest),
            }
        }
        if let Some(file) = missing.into_iter().min() {
            return Err(Error::shape(self.table, format!("no longer has the file {file}")));
        }
        if self.new.regroup {
            kept = self.regroup(folder, kept).await?;
        } else if made.len() + kept.len() > MANIFEST_LIMIT {
            kept = self.merge(folder, kept).await?;
        }
        let all: Vec<ManifestFile> = made.into_iter().chain(kept).collect();
        let summary = changes.summary(
            self.parent.map(|parent| parent.summary()),
            &all,
            self.new.operation.clone(),
            &self.new.summary,
        );
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

    /// One manifest for each partition spec and kind of the added files.
    async fn write_added(&self, folder: &mut ManifestFolder<'_>, changes: &mut Changes) -> Result<Vec<ManifestFile>> {
        let mut groups: BTreeMap<(i32, bool), Vec<&Added>> = BTreeMap::new();
        for added in &self.new.added {
            let spec_id = added.spec_id.unwrap_or_else(|| self.metadata.default_partition_spec_id());
            let is_data = added.file.content_type() == DataContentType::Data;
            groups.entry((spec_id, !is_data)).or_default().push(added);
        }
        let mut made = Vec::new();
        for ((spec_id, is_deletes), group) in groups {
            let spec = self.metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
                Error::Internal(format!("{} has no partition spec {spec_id} for new files", self.table))
            })?;
            let content = if is_deletes { ManifestContentType::Deletes } else { ManifestContentType::Data };
            let mut writer = folder.writer(content, self.metadata.current_schema(), spec)?;
            for added in group {
                changes.add(spec_id, &added.file);
                // No sequence number: the entry takes that of its snapshot.
                writer.add_file(added.file.clone(), -1).map_err(Error::iceberg("add a file to", self.table))?;
            }
            made.push(folder.finish(writer).await?);
        }
        Ok(made)
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
        missing: &mut HashSet<String>,
    ) -> Result<Option<ManifestFile>> {
        let spec = self.spec(manifest)?;
        match &self.new.removal {
            Removal::Nothing => return Ok(None),
            Removal::Window(window) if !window.may_be_in(manifest, spec) => return Ok(None),
            Removal::Files(_) if missing.is_empty() => return Ok(None),
            Removal::Window(_) | Removal::Everything | Removal::Files(_) => {}
        }
        let mut removed = |file: &DataFile| match &self.new.removal {
            Removal::Nothing => Ok(false),
            Removal::Everything => Ok(true),
            Removal::Window(window) => window.holds(self.table, file, spec),
            Removal::Files(_) => Ok(missing.remove(file.file_path())),
        };
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
            if gone {
                let (sequence, file_sequence) = self.sequences(manifest, entry)?;
                changes.remove(spec.spec_id(), entry.data_file());
                writer.add_delete_file(entry.data_file().clone(), sequence, file_sequence).map_err(wrong)?;
            } else {
                self.carry_over(&mut writer, manifest, entry)?;
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
        let mut writer = folder.writer(ManifestContentType::Data, self.metadata.current_schema(), self.spec(first)?)?;
        for manifest in &merged {
            let entries = self.manifests.load(manifest).await?;
            for entry in entries.entries().iter().filter(|entry| entry.is_alive()) {
                self.carry_over(&mut writer, manifest, entry)?;
            }
        }
        rest.push(folder.finish(writer).await?);
        Ok(rest)
    }

    /// Writes all manifests of data files anew, with the files of one partition next to each other.
    async fn regroup(&self, folder: &mut ManifestFolder<'_>, kept: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
        let (mut old, mut rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(|manifest| {
            manifest.content == ManifestContentType::Data && self.spec(manifest).is_ok_and(|spec| self.binds(spec))
        });
        old.sort_by_cached_key(|manifest| (manifest.partition_spec_id, lower_bounds(manifest)));
        let mut by_spec: BTreeMap<i32, Vec<(&ManifestFile, ManifestEntryRef)>> = BTreeMap::new();
        for manifest in &old {
            let entries = self.manifests.load(manifest).await?;
            let live = entries.entries().iter().filter(|entry| entry.is_alive());
            by_spec
                .entry(manifest.partition_spec_id)
                .or_default()
                .extend(live.map(|entry| (manifest, std::sync::Arc::clone(entry))));
        }
        for mut entries in by_spec.into_values() {
            entries.sort_by_cached_key(|(_, entry)| {
                (format!("{:?}", entry.data_file().partition()), entry.sequence_number())
            });
            for chunk in entries.chunks(REGROUP_FILES) {
                let Some((first, _)) = chunk.first() else { continue };
                let mut writer =
                    folder.writer(ManifestContentType::Data, self.metadata.current_schema(), self.spec(first)?)?;
                for (manifest, entry) in chunk {
                    self.carry_over(&mut writer, manifest, entry)?;
                }
                rest.push(folder.finish(writer).await?);
            }
        }
        Ok(rest)
    }

    /// Writes an entry on as it is.
    fn carry_over(&self, writer: &mut ManifestWriter, manifest: &ManifestFile, entry: &ManifestEntryRef) -> Result<()> {
        let (sequence, file_sequence) = self.sequences(manifest, entry)?;
        let snapshot_id = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
        writer
            .add_existing_file(entry.data_file().clone(), snapshot_id, sequence, file_sequence)
            .map_err(Error::iceberg("rewrite a manifest of", self.table))
    }

    /// Data and file sequence number of an entry. A wrong one would bring deleted rows back, so none is made up.
    fn sequences(&self, manifest: &ManifestFile, entry: &ManifestEntryRef) -> Result<(i64, Option<i64>)> {
        let sequence = entry.sequence_number().ok_or_else(|| Error::Damaged {
            table: self.table.to_string(),
            location: manifest.manifest_path.clone(),
            detail: format!("it gives no sequence number for {}", entry.file_path()),
        })?;
        Ok((sequence, entry.file_sequence_number.or(Some(sequence))))
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
    sort: &[lakehost_columnar::SortKey],
    files: &[lakehost_columnar::WrittenFile],
) -> Result<Vec<DataFile>> {
    let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());
    let order = crate::sort_order::id_of(metadata, sort);
    files
        .iter()
        .map(|file| {
            let tuple: Struct = crate::layout::partition_tuple(table, schema, spec, window, &file.partition)?;
            crate::data_file::data_file(file, schema, spec, tuple, order)
        })
        .collect()
}
