//! Old states of a table go, and then the files that only they had.
//!
//! A snapshot stays when a branch or tag names it, when it is one of the newest of a branch, when it is young, or when a run that is under way
//! began on it. The commit comes first. Only when it is known to have landed are files deleted, and only those that no snapshot of the table as
//! it is then refers to.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::TableRequirement;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use lakehost_pipeline::ports::TableName;

use super::paths::{Paths, add_table};
use crate::catalog::{Base, TableState};
use crate::commit::{Action, Delta, Landing, Manifests, On, RefChange, Step};
use crate::core::Core;
use crate::error::Result;
use crate::intent::Intent;
use crate::lake::IcebergLake;
use crate::location::data_prefix;
use crate::refs::references;
use crate::tables::check_gc;

/// What may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpireOptions {
    /// Younger snapshots stay.
    pub older_than_ms: i64,
    /// So many of the newest of each branch stay, whatever their age.
    pub keep: usize,
    /// Says what would go.
    pub dry_run: bool,
}

impl Default for ExpireOptions {
    fn default() -> Self {
        Self { older_than_ms: 5 * 86_400_000, keep: 20, dry_run: false }
    }
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Oldest first.
    pub snapshots: Vec<i64>,
    /// Branches and tags that were older than they were to be kept.
    pub refs: Vec<String>,
    pub files_deleted: u64,
    pub bytes_deleted: u64,
    /// Files that could not be deleted: orphans now.
    pub files_left: u64,
}

/// The table properties that other Iceberg writers go by too.
const PROPERTY_AGE: &str = "history.expire.max-snapshot-age-ms";
const PROPERTY_KEEP: &str = "history.expire.min-snapshots-to-keep";

impl IcebergLake {
    /// Forgets old snapshots, then deletes what only they had.
    ///
    /// # Errors
    /// Those of a commit; with `LH0651` no file was deleted.
    pub fn expire(&self, table: &TableName, options: &ExpireOptions) -> Result<Expired> {
        let before = self.state(table)?;
        check_gc(&before)?;
        let protected = protected(&self.core, table)?;
        let action = ExpireAction { table, options, protected, now_ms: (self.core.clock)(), chosen: Mutex::default() };
        if options.dry_run {
            let chosen = action.choose(&before)?;
            let files = self.core.block_on(doomed(&self.core, &before, &chosen.snapshots, None))?;
            return Ok(self.count(chosen, &files));
        }
        let landing = self.act(&action, "expire")?;
        let chosen = action.chosen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Landing::Landed { .. }, Some((state, chosen))) = (landing, chosen) else { return Ok(Expired::default()) };
        self.core.fail_points.pass(crate::fail_point::BEFORE_EXPIRE_DELETE)?;
        let files = self.core.block_on(async {
            let now = self.load(table).await?;
            doomed(&self.core, &state, &chosen.snapshots, Some(&now)).await
        })?;
        let mut expired = self.count(chosen, &files);
        for (location, error) in self.delete(files.into_iter().map(|(location, _)| location)) {
            tracing::warn!(file = %location, %error, "an expired file could not be deleted");
            expired.files_left += 1;
        }
        expired.files_deleted -= expired.files_left;
        Ok(expired)
    }

    fn count(&self, chosen: Chosen, files: &[(String, u64)]) -> Expired {
        Expired {
            snapshots: chosen.snapshots,
            refs: chosen.refs,
            files_deleted: files.len() as u64,
            bytes_deleted: files.iter().map(|(_, bytes)| bytes).sum(),
            files_left: 0,
        }
    }

    /// Deletes files; those that could not be, with the reason.
    pub(super) fn delete(&self, files: impl Iterator<Item = String>) -> Vec<(String, std::io::Error)> {
        files.filter_map(|location| self.core.store.delete(&location).err().map(|error| (location, error))).collect()
    }
}

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chosen {
    snapshots: Vec<i64>,
    refs: Vec<String>,
}

struct ExpireAction<'a> {
    table: &'a TableName,
    options: &'a ExpireOptions,
    /// Snapshots that runs under way began on.
    protected: HashSet<i64>,
    now_ms: i64,
    /// What the last answer was about.
    chosen: Mutex<Option<(TableState, Chosen)>>,
}

#[async_trait]
impl Action for ExpireAction<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let Some(head) = on.head else { return Ok(Step::Nothing { snapshot_id: None }) };
        let chosen = self.choose(head)?;
        if chosen == Chosen::default() {
            return Ok(Step::Nothing { snapshot_id: None });
        }
        let mut delta = Delta::on(Base::Existing(head.clone()));
        // A branch that moved or came meanwhile may need what goes.
        for (name, reference) in references(&head.metadata)? {
            delta
                .requires
                .push(TableRequirement::RefSnapshotIdMatch { r#ref: name, snapshot_id: Some(reference.snapshot_id) });
        }
        delta.refs = chosen.refs.iter().map(|name| RefChange::Remove { name: name.clone() }).collect();
        delta.remove_snapshots = chosen.snapshots.clone();
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some((head.clone(), chosen));
        Ok(Step::Change(Box::new(delta)))
    }
}

impl ExpireAction<'_> {
    fn choose(&self, state: &TableState) -> Result<Chosen> {
        let metadata = &state.metadata;
        let refs = references(metadata)?;
        let age = |snapshot_id: i64| {
            let snapshot = metadata.snapshot_by_id(snapshot_id);
            snapshot.map_or(0, |snapshot| self.now_ms.saturating_sub(snapshot.timestamp_ms()))
        };
        let outlived = |name: &str, reference: &SnapshotReference| {
            let max = match &reference.retention {
                SnapshotRetention::Branch { max_ref_age_ms, .. } | SnapshotRetention::Tag { max_ref_age_ms } => {
                    *max_ref_age_ms
                }
            };
            name != MAIN_BRANCH && max.is_some_and(|max| age(reference.snapshot_id) > max)
        };
        let (gone, kept): (Vec<_>, Vec<_>) = refs.into_iter().partition(|(name, reference)| outlived(name, reference));
        let mut stay = self.protected.clone();
        for (_, reference) in &kept {
            stay.insert(reference.snapshot_id);
            if let SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, .. } = &reference.retention {
                let rule = Rule::of(metadata, self.options, *min_snapshots_to_keep, *max_snapshot_age_ms);
                stay.extend(rule.kept(metadata, reference.snapshot_id, self.now_ms));
            }
        }
        let mut snapshots: Vec<_> = metadata
            .snapshots()
            .filter(|snapshot| {
                let id = snapshot.snapshot_id();
                // What was rolled back or discarded belongs to no branch; it gets the same time of grace.
                !stay.contains(&id) && age(id) > self.options.older_than_ms
            })
            .collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
        Ok(Chosen {
            snapshots: snapshots.into_iter().map(|snapshot| snapshot.snapshot_id()).collect(),
            refs: gone.into_iter().map(|(name, _)| name).collect(),
        })
    }
}

/// How much of a branch stays. Where options, branch and table say different things, more stays.
struct Rule {
    keep: usize,
    age_ms: i64,
}

impl Rule {
    fn of(metadata: &TableMetadata, options: &ExpireOptions, keep: Option<i32>, age_ms: Option<i64>) -> Self {
        let property = |name: &str| metadata.properties().get(name).and_then(|value| value.parse::<i64>().ok());
        let least = keep.map(i64::from).or_else(|| property(PROPERTY_KEEP)).unwrap_or(0);
        Self {
            keep: options.keep.max(usize::try_from(least).unwrap_or(0)).max(1),
            age_ms: options.older_than_ms.max(age_ms.or_else(|| property(PROPERTY_AGE)).unwrap_or(0)),
        }
    }

    /// The snapshots of a branch that stay, from its head backwards.
    fn kept(&self, metadata: &TableMetadata, head: i64, now_ms: i64) -> Vec<i64> {
        let mut next = metadata.snapshot_by_id(head);
        let mut kept = Vec::new();
        // There cannot be more ancestors than snapshots, whatever a damaged file says.
        while let Some(snapshot) = next.filter(|_| kept.len() < metadata.snapshots().len()) {
            let young = now_ms.saturating_sub(snapshot.timestamp_ms()) <= self.age_ms;
            if kept.len() >= self.keep && !young {
                break;
            }
            kept.push(snapshot.snapshot_id());
            next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
        }
        kept
    }
}

/// Snapshots that runs under way began on: they compare the table with them when they commit.
fn protected(core: &Core, table: &TableName) -> Result<HashSet<i64>> {
    let intents = Intent::all(core)?;
    let ours = intents.into_iter().flatten().filter(|intent| intent.table_name() == *table);
    Ok(ours.filter_map(|intent| intent.base_snapshot_id).collect())
}

/// The statistics files of a snapshot with their size.
fn statistics(metadata: &TableMetadata, snapshot_id: i64) -> impl Iterator<Item = (&str, u64)> {
    let size = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    let whole = metadata.statistics_for_snapshot(snapshot_id);
    let whole = whole.map(|file| (file.statistics_path.as_str(), size(file.file_size_in_bytes)));
    let parts = metadata.partition_statistics_for_snapshot(snapshot_id);
    whole.into_iter().chain(parts.map(|file| (file.statistics_path.as_str(), size(file.file_size_in_bytes))))
}

/// Files with their size that only the `gone` snapshots of `state` have. `now`: the table after the commit; none: as if it had landed.
async fn doomed(core: &Core, state: &TableState, gone: &[i64], now: Option<&TableState>) -> Result<Vec<(String, u64)>> {
    let manifests = Manifests::new(core.io.clone());
    let gone: HashSet<i64> = gone.iter().copied().collect();
    let mut kept = Paths::new();
    match now {
        Some(now) => add_table(&mut kept, &manifests, now).await?,
        None => {
            let stay = || state.metadata.snapshots().filter(|snapshot| !gone.contains(&snapshot.snapshot_id()));
            for snapshot in stay() {
                for (path, _) in statistics(&state.metadata, snapshot.snapshot_id()) {
                    kept.insert(path);
                }
            }
            super::paths::add_snapshots(&mut kept, &manifests, state, stay()).await?;
        }
    }
    // A run that is under way may have a file in a snapshot that was rolled back, and may bring it again.
    let runs: Vec<String> =
        Intent::all(core)?.into_iter().flatten().map(|intent| data_prefix(&intent.run_id)).collect();
    let of_run = |location: &str| {
        let name = location.rsplit('/').next().unwrap_or(location);
        runs.iter().any(|prefix| name.starts_with(prefix.as_str()))
    };
    let mut seen = Paths::new();
    let mut files = Vec::new();
    let mut add = |location: &str, bytes: u64| {
        if !kept.contains(location) && !of_run(location) && seen.insert(location) {
            files.push((location.to_owned(), bytes));
            return true;
        }
        false
    };
    let mut read = HashSet::new();
    for snapshot in state.metadata.snapshots().filter(|snapshot| gone.contains(&snapshot.snapshot_id())) {
        let list = manifests.list(&state.metadata, Some(snapshot)).await?;
        // The only file whose size nothing else tells.
        let bytes = core.store.size(snapshot.manifest_list()).ok().flatten().unwrap_or(0);
        add(snapshot.manifest_list(), bytes);
        for (path, bytes) in statistics(&state.metadata, snapshot.snapshot_id()) {
            add(path, bytes);
        }
        for manifest in list {
            if !read.insert(manifest.manifest_path.clone()) {
                continue;
            }
            add(&manifest.manifest_path, u64::try_from(manifest.manifest_length).unwrap_or(0));
            // Those that a snapshot deleted were live in one before it, which may have gone earlier.
            for entry in manifests.load(&manifest).await?.entries() {
                add(entry.file_path(), entry.file_size_in_bytes());
            }
        }
    }
    Ok(files)
}
