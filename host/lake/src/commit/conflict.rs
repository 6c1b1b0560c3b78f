//! Whether somebody else changed what a load is about to replace.

use std::collections::HashSet;

use iceberg::spec::{ManifestFile, Operation, SnapshotRef};
use lakehost_pipeline::ports::TableName;

use super::action::Removal;
use super::manifests::{Manifests, is_live};
use crate::catalog::TableState;
use crate::error::{Error, Result};

/// Whether the files that `removal` names are others at `head` than they were in the snapshot `base`.
///
/// A compaction between the two is no change: it moves rows to other files. Neither is any commit to other windows, nor both.
pub async fn changed(
    table: &TableName,
    manifests: &Manifests,
    removal: &Removal,
    base: Option<&SnapshotRef>,
    head: &TableState,
) -> Result<bool> {
    let base_id = base.map(|snapshot| snapshot.snapshot_id());
    if *removal == Removal::Nothing || base_id == head.main().map(|snapshot| snapshot.snapshot_id()) {
        return Ok(false);
    }
    let is_base = |snapshot: &SnapshotRef| Some(snapshot.snapshot_id()) == base_id;
    let between: Vec<&SnapshotRef> = head.history().take_while(|snapshot| !is_base(snapshot)).collect();
    let reached = base_id.is_none() || head.history().any(is_base);
    let (compactions, others): (Vec<&SnapshotRef>, Vec<&SnapshotRef>) =
        between.into_iter().partition(|snapshot| snapshot.summary().operation == Operation::Replace);
    if reached && others.is_empty() {
        return Ok(false);
    }
    let looker = Looker { table, manifests, removal, state: head };
    if !looker.differ(base, head.main()).await? {
        return Ok(false);
    }
    if !reached || compactions.is_empty() {
        return Ok(true);
    }
    // Who moved the files: a compaction alone, or one of the others?
    for snapshot in others {
        let before = snapshot.parent_snapshot_id().and_then(|parent| head.metadata.snapshot_by_id(parent));
        let known = before.is_some() || snapshot.parent_snapshot_id().is_none();
        if !known || looker.differ(before, Some(snapshot)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Compares snapshots of a table by the files that a removal names.
struct Looker<'a> {
    table: &'a TableName,
    manifests: &'a Manifests,
    removal: &'a Removal,
    state: &'a TableState,
}

impl Looker<'_> {
    async fn differ(&self, before: Option<&SnapshotRef>, after: Option<&SnapshotRef>) -> Result<bool> {
        let before = self.manifests.list(&self.state.metadata, before).await?;
        let after = self.manifests.list(&self.state.metadata, after).await?;
        // Manifests that both have hold the same files, and need not be read.
        let paths = |list: &[ManifestFile]| -> HashSet<String> {
            list.iter().map(|manifest| manifest.manifest_path.clone()).collect()
        };
        let (known_before, known_after) = (paths(&before), paths(&after));
        let only_before = before.into_iter().filter(|manifest| !known_after.contains(&manifest.manifest_path));
        let only_after = after.into_iter().filter(|manifest| !known_before.contains(&manifest.manifest_path));
        let old = files(self.table, self.manifests, self.removal, self.state, only_before).await?;
        let new = files(self.table, self.manifests, self.removal, self.state, only_after).await?;
        Ok(old != new)
    }
}

/// Whether a table has files that `removal` names.
pub async fn any(table: &TableName, manifests: &Manifests, removal: &Removal, state: &TableState) -> Result<bool> {
    if *removal == Removal::Nothing {
        return Ok(false);
    }
    let list = manifests.list(&state.metadata, state.main()).await?;
    Ok(!files(table, manifests, removal, state, list.into_iter()).await?.is_empty())
}

/// The paths of the live files that `removal` names in these manifests.
async fn files(
    table: &TableName,
    manifests: &Manifests,
    removal: &Removal,
    state: &TableState,
    list: impl Iterator<Item = ManifestFile>,
) -> Result<HashSet<String>> {
    let mut paths = HashSet::new();
    for manifest in list.filter(is_live) {
        let spec = state.metadata.partition_spec_by_id(manifest.partition_spec_id).ok_or_else(|| Error::Damaged {
            table: table.to_string(),
            location: manifest.manifest_path.clone(),
            detail: format!("it is of partition spec {}, which the table does not have", manifest.partition_spec_id),
        })?;
        if let Removal::Window(window) = removal
            && !window.may_be_in(&manifest, spec)
        {
            continue;
        }
        for entry in manifests.load(&manifest).await?.entries().iter().filter(|entry| entry.is_alive()) {
            let counts = match removal {
                Removal::Nothing => false,
                Removal::Everything => true,
                Removal::Window(window) => window.holds(table, entry.data_file(), spec)?,
                Removal::Files(files) => files.contains(entry.file_path()),
            };
            if counts {
                paths.insert(entry.file_path().to_owned());
            }
        }
    }
    Ok(paths)
}
