//! Upkeep that a pipeline asks for after its commits, when there is enough to do.

use std::collections::BTreeMap;

use iceberg::spec::DataContentType;
use lakehost_columnar::Observer;
use lakehost_pipeline::ports::TableName;

use super::compact::CompactOptions;
use super::expire::ExpireOptions;
use crate::commit::{Manifests, is_live};
use crate::error::{Error, Result};
use crate::inspect::{Labels, live_files};
use crate::lake::IcebergLake;

/// From when on upkeep is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A window with more data files than this, that are small on the average, is compacted.
    pub files: u64,
    pub average_bytes: u64,
    /// With more manifests than this they are written anew.
    pub manifests: usize,
    /// With more snapshots than this old ones expire.
    pub snapshots: usize,
    pub expire: ExpireOptions,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            files: 20,
            average_bytes: 64 << 20,
            manifests: 200,
            snapshots: 200,
            expire: ExpireOptions { keep: 100, ..ExpireOptions::default() },
        }
    }
}

/// What upkeep came to.
#[derive(Debug, Default)]
pub struct Maintained {
    /// A sentence for each thing that was done.
    pub done: Vec<String>,
    /// Why the rest was not.
    pub error: Option<Error>,
}

impl IcebergLake {
    /// Does what the thresholds ask for, with so much memory, and says what that was. The load before it has landed, so an error takes nothing
    /// back: what was done is done, and the rest waits for the next time.
    pub fn maintain(
        &self,
        table: &TableName,
        thresholds: &Thresholds,
        memory_bytes: u64,
        observer: &dyn Observer,
    ) -> Maintained {
        let mut maintained = Maintained::default();
        let ended = self.upkeep(table, thresholds, memory_bytes, observer, &mut maintained.done);
        maintained.error = ended.err();
        maintained
    }

    fn upkeep(
        &self,
        table: &TableName,
        thresholds: &Thresholds,
        memory_bytes: u64,
        observer: &dyn Observer,
        done: &mut Vec<String>,
    ) -> Result<()> {
        let state = self.state(table)?;
        let (live, manifests) = self.core.block_on(async {
            let manifests = Manifests::new(self.core.io.clone());
            let list = manifests.list(&state.metadata, state.main()).await?;
            let count = list.iter().filter(|manifest| is_live(manifest)).count();
            Ok::<_, Error>((live_files(&manifests, &state, state.main()).await?, count))
        })?;
        let labels = Labels::of(&state.metadata);
        let mut windows: BTreeMap<Option<String>, (u64, u64)> = BTreeMap::new();
        for live in live.iter().filter(|live| live.file.content_type() == DataContentType::Data) {
            let (files, bytes) = windows.entry(labels.window(&live.spec, live.file.partition())).or_default();
            *files += 1;
            *bytes += live.file.file_size_in_bytes();
        }
        for (window, (files, bytes)) in windows {
            if files <= thresholds.files || bytes / files >= thresholds.average_bytes {
                continue;
            }
            let usual = CompactOptions::default();
            // So many files are too many, whatever a compaction by hand would say.
            let min_files =
                usual.min_files.min(usize::try_from(thresholds.files).map_or(usize::MAX, |files| files + 1));
            let options = CompactOptions { window: window.clone(), min_files, memory_bytes, ..usual };
            let compacted = self.compact(table, &options, observer)?;
            if !compacted.snapshots.is_empty() {
                let of = window.map_or_else(String::new, |window| format!(" of window {window}"));
                done.push(format!("compacted {} files{of} into {}", compacted.files_before, compacted.files_after));
            }
        }
        if manifests > thresholds.manifests {
            let (before, after) = self.rewrite_manifests(table)?;
            if after < before {
                done.push(format!("listed the files in {after} manifests instead of {before}"));
            }
        }
        if state.metadata.snapshots().len() > thresholds.snapshots {
            let expired = self.expire(table, &thresholds.expire)?;
            if !expired.snapshots.is_empty() {
                done.push(format!("expired {} snapshots and {} files", expired.snapshots.len(), expired.files_deleted));
            }
        }
        Ok(())
    }
}
