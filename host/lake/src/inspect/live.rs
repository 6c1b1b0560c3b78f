//! The files that make up a snapshot.

use iceberg::spec::{DataFile, PartitionSpecRef, SnapshotRef, TableMetadata};

use crate::catalog::TableState;
use crate::commit::{Manifests, is_live};
use crate::error::{Error, Result};

/// A file of a snapshot with what its manifest entry says around it.
#[derive(Clone, Debug)]
pub struct LiveFile {
    pub file: DataFile,
    pub spec: PartitionSpecRef,
    /// The snapshot that added it.
    pub snapshot_id: i64,
    /// Of its data: deletes with a greater one apply to it.
    pub sequence_number: i64,
}

/// All live files of a snapshot, data and deletes, in the order of the manifests; none without a snapshot.
pub async fn live_files(
    manifests: &Manifests,
    state: &TableState,
    snapshot: Option<&SnapshotRef>,
) -> Result<Vec<LiveFile>> {
    let mut found = Vec::new();
    for manifest in manifests.list(&state.metadata, snapshot).await?.iter().filter(|manifest| is_live(manifest)) {
        let spec = spec_of(&state.metadata, &state.name.to_string(), manifest)?;
        for entry in manifests.load(manifest).await?.entries().iter().filter(|entry| entry.is_alive()) {
            let sequence_number = entry.sequence_number().ok_or_else(|| Error::Damaged {
                table: state.name.to_string(),
                location: manifest.manifest_path.clone(),
                detail: format!("its entry of {} has no sequence number", entry.file_path()),
            })?;
            found.push(LiveFile {
                file: entry.data_file().clone(),
                spec: spec.clone(),
                snapshot_id: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
                sequence_number,
            });
        }
    }
    Ok(found)
}

/// The partition spec of a manifest's files.
fn spec_of(metadata: &TableMetadata, table: &str, manifest: &iceberg::spec::ManifestFile) -> Result<PartitionSpecRef> {
    metadata.partition_spec_by_id(manifest.partition_spec_id).cloned().ok_or_else(|| Error::Damaged {
        table: table.to_owned(),
        location: manifest.manifest_path.clone(),
        detail: format!("it is of partition spec {}, which the table does not have", manifest.partition_spec_id),
    })
}
