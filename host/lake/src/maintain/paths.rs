//! Which files the states of a table refer to, in little memory: sixteen bytes a file.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use iceberg::spec::SnapshotRef;

use crate::catalog::TableState;
use crate::commit::{Manifests, is_live};
use crate::error::Result;

/// Locations by their hash under two keys that nobody knows: a file that is taken for another would have to be meant to.
#[derive(Debug)]
pub struct Paths {
    keys: [RandomState; 2],
    hashes: HashSet<u128>,
}

impl Paths {
    pub fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], hashes: HashSet::new() }
    }

    fn hash(&self, location: &str) -> u128 {
        let [first, second] = &self.keys;
        let location = normal(location);
        u128::from(first.hash_one(&location)) << 64 | u128::from(second.hash_one(&location))
    }

    /// `false`: it was there already.
    pub fn insert(&mut self, location: &str) -> bool {
        let hash = self.hash(location);
        self.hashes.insert(hash)
    }

    pub fn contains(&self, location: &str) -> bool {
        self.hashes.contains(&self.hash(location))
    }
}

/// One spelling for a location that writers spell in several ways.
pub fn normal(location: &str) -> String {
    for (alias, scheme) in [("s3a://", "s3://"), ("s3n://", "s3://")] {
        if let Some(rest) = location.strip_prefix(alias) {
            return format!("{scheme}{rest}");
        }
    }
    let rest = location.strip_prefix("file://").or_else(|| location.strip_prefix("file:")).unwrap_or(location);
    rest.to_owned()
}

/// Adds the manifest lists, manifests and live files of some snapshots. A manifest that `paths` has already is not read again.
pub async fn add_snapshots<'a>(
    paths: &mut Paths,
    manifests: &Manifests,
    state: &TableState,
    snapshots: impl Iterator<Item = &'a SnapshotRef>,
) -> Result<()> {
    for snapshot in snapshots {
        paths.insert(snapshot.manifest_list());
        for manifest in manifests.list(&state.metadata, Some(snapshot)).await? {
            if !paths.insert(&manifest.manifest_path) || !is_live(&manifest) {
                continue;
            }
            for entry in manifests.load(&manifest).await?.entries().iter().filter(|entry| entry.is_alive()) {
                paths.insert(entry.file_path());
            }
        }
    }
    Ok(())
}

/// Adds everything that a table refers to: its snapshots, its metadata files, its statistics.
pub async fn add_table(paths: &mut Paths, manifests: &Manifests, state: &TableState) -> Result<()> {
    let metadata = &state.metadata;
    paths.insert(&state.metadata_location);
    for entry in metadata.metadata_log() {
        paths.insert(&entry.metadata_file);
    }
    for file in metadata.statistics_iter() {
        paths.insert(&file.statistics_path);
    }
    for file in metadata.partition_statistics_iter() {
        paths.insert(&file.statistics_path);
    }
    add_snapshots(paths, manifests, state, metadata.snapshots()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_under_each_of_its_spellings() {
        let mut paths = Paths::new();
        assert!(paths.insert("s3a://bucket/t/a.parquet"));
        assert!(!paths.insert("s3://bucket/t/a.parquet"));
        paths.insert("/w/t/b.parquet");
        for location in ["s3n://bucket/t/a.parquet", "file:///w/t/b.parquet", "file:/w/t/b.parquet"] {
            assert!(paths.contains(location), "{location}");
        }
        assert!(!paths.contains("/w/t/a.parquet"));
    }
}
