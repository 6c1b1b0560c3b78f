//! Did a request land? The one place that answers it, for a commit that waits and for a run that looks back at one that died.

use std::collections::HashSet;

use iceberg::spec::TableMetadata;
use uuid::Uuid;

use super::manifests::Manifests;
use crate::catalog::TableState;
use crate::error::Result;

/// What is known of a change that may have landed.
#[derive(Clone, Copy, Debug)]
pub struct Landed<'a> {
    /// The snapshot that it brings.
    pub snapshot_id: i64,
    /// The property that it sets, with its value.
    pub proof: Option<(&'a str, &'a str)>,
    /// The table when it began; none: it makes the table.
    pub base_uuid: Option<Uuid>,
    /// The head of `main` then.
    pub base_snapshot_id: Option<i64>,
    /// Files that it writes.
    pub files: &'a HashSet<String>,
}

/// Whether a change is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    No,
    /// Snapshots between then and now have gone, and nothing that is left tells.
    Unsure,
}

/// Looks for a change in the table as it is now.
///
/// Listed by the metadata, or named by its property: it landed. Otherwise the history of `main` must lead back to where the change began with
/// no snapshot missing on the way; where one is missing it may have been ours, and then only a manifest that names one of our files can say yes.
pub async fn landed(manifests: &Manifests, state: &TableState, ask: &Landed<'_>) -> Result<Verdict> {
    let metadata = &state.metadata;
    if metadata.snapshot_by_id(ask.snapshot_id).is_some() || has_property(metadata, ask.proof) {
        return Ok(Verdict::Yes);
    }
    if ask.base_uuid.is_some_and(|uuid| uuid != metadata.uuid()) {
        // Another table of that name: the change was bound to the old one.
        return Ok(Verdict::No);
    }
    if is_gapless(state, ask.base_snapshot_id) {
        return Ok(Verdict::No);
    }
    let named = !ask.files.is_empty() && names_any(manifests, state, ask.files).await?;
    Ok(if named { Verdict::Yes } else { Verdict::Unsure })
}

fn has_property(metadata: &TableMetadata, proof: Option<(&str, &str)>) -> bool {
    proof.is_some_and(|(name, value)| metadata.properties().get(name).is_some_and(|found| found == value))
}

/// Whether `main` leads back to `base` with no snapshot missing on the way.
fn is_gapless(state: &TableState, base: Option<i64>) -> bool {
    match base {
        Some(base) => state.is_on_main(base),
        None => state.history().last().is_none_or(|oldest| oldest.parent_snapshot_id().is_none()),
    }
}

/// Whether any snapshot has one of these files.
async fn names_any(manifests: &Manifests, state: &TableState, files: &HashSet<String>) -> Result<bool> {
    let mut seen = HashSet::new();
    for snapshot in state.metadata.snapshots() {
        if files.contains(snapshot.manifest_list()) {
            return Ok(true);
        }
        for manifest in manifests.list(&state.metadata, Some(snapshot)).await? {
            if !seen.insert(manifest.manifest_path.clone()) {
                continue;
            }
            if files.contains(&manifest.manifest_path) {
                return Ok(true);
            }
            if manifests.load(&manifest).await?.entries().iter().any(|entry| files.contains(entry.file_path())) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
