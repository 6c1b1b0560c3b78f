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
/// A compaction between the two is no change: it moves rows to other files. Neither is any commit to other windows.
pub async fn changed(
    table: &TableName,
    manifests: &Manifests,
    removal: &Removal,
    base: Option<&SnapshotRef>,
    head: &TableState,
) -> Result<bool> {
    if *removal == Removal::Nothing {
        return Ok(false);
    }
    let base_id = base.map(|snapshot| snapshot.snapshot_id());
    let head_id = head.main().map(|snapshot| snapshot.snapshot_id());
    if base_id == head_id {
        return Ok(false);
    }
    let mut reached = base_id.is_none();
    let mut only_compactions = true;
    for snapshot in head.history() {
        if Some(snapshot.snapshot_id()) == base_id {
            reached = true;
            break;
        }
        only_compactions &= snapshot.summary().operation == Operation::Replace;
    }
    if reached && only_compactions {
        return Ok(false);
    }
    let before = manifests.list(&head.metadata, base).await?;
    let after = manifests.list(&head.metadata, head.main()).await?;
    // Manifests that both have hold the same files, and need not be read.
    let paths = |list: &[ManifestFile]| -> HashSet<String> {
        list.iter().map(|manifest| manifest.manifest_path.clone()).collect()
    };
    let (known_before, known_after) = (paths(&before), paths(&after));
    let only_before = before.into_iter().filter(|manifest| !known_after.contains(&manifest.manifest_path));
    let only_after = after.into_iter().filter(|manifest| !known_before.contains(&manifest.manifest_path));
    let old = files(table, manifests, removal, head, only_before).await?;
    let new = files(table, manifests, removal, head, only_after).await?;
    Ok(old != new)
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
