//! Branches to `main`, or away.
//!
//! A load whose checks failed stands on a branch. To publish it is to make `main` what it would be had the load been committed there: by moving
//! `main` to the branch where nothing came between, else by one new snapshot of the same files on the present head, unless somebody changed what
//! the load replaces.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::spec::{MAIN_BRANCH, ManifestStatus, SnapshotRef, SnapshotReference, TableMetadata};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, Granularity, Window};

use crate::catalog::{Base, TableState};
use crate::commit::{
    Action, Added, Delta, Landing, Manifests, NewSnapshot, On, PREFIX, Prepared, RefChange, Removal, Step, changed,
    land, rehearse, value,
};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::lake::{IcebergLake, new_snapshot_id};
use crate::layout::WindowValue;
use crate::loaded::{self, Mode, Recorded};
use crate::properties;
use crate::refs::{RefKind, check_name, head, reference, stays};
use crate::source_state;

/// How often a publication that others overtake begins anew.
const ROUNDS: usize = 10;

impl IcebergLake {
    /// Brings a branch to `main` and drops it; `check` sees the table as it will be, again whenever `main` has moved meanwhile. The id of the
    /// snapshot that `main` is at then.
    ///
    /// # Errors
    /// `LH0109` there is no such branch, or it cannot be moved; `LH0602` `main` has another load of that window since; what `check` says.
    pub fn publish(
        &self,
        table: &TableName,
        branch: &str,
        check: &dyn Fn(&Prepared) -> std::result::Result<(), Fault>,
    ) -> std::result::Result<i64, Fault> {
        check_name(table, branch)?;
        self.core.catalog.check_writable()?;
        let id = new_snapshot_id(Some(&self.state(table)?));
        let run_id = format!("publish-{id}");
        for _ in 0..ROUNDS {
            let mut action =
                Publish { table, branch, only: None, asked: Mutex::default(), moved: AtomicBool::new(false) };
            let rehearsed = self.core.block_on(rehearse(&self.core, &action, &run_id, id))?;
            let Some(prepared) = rehearsed else { break };
            let checked = check(&prepared);
            self.core.forget(prepared.scratch);
            checked?;
            // Engines that looked at it may have had a branch of their own meanwhile.
            action.only = *action.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = self.core.block_on(async {
                self.core.fail_points.pass(fail_point::BEFORE_PUBLISH)?;
                let ended = land(&self.core, &[&action], &run_id, &[id]).await;
                self.core.fail_points.pass(fail_point::AFTER_PUBLISH)?;
                ended.result
            });
            match ended {
                Err(_) if action.moved.load(Ordering::Relaxed) => {}
                Err(error) => return Err(error.into()),
                Ok(landings) => {
                    if let Some(Landing::AlreadyLoaded { snapshot_id }) = landings.first() {
                        return Ok(*snapshot_id);
                    }
                    break;
                }
            }
        }
        match self.state(table)?.main().map(|main| main.snapshot_id()) {
            Some(snapshot_id) if self.state(table)?.metadata.snapshot_for_ref(branch).is_none() => Ok(snapshot_id),
            _ => Err(Error::Busy { table: table.clone(), attempts: u32::try_from(ROUNDS).unwrap_or(u32::MAX) }.into()),
        }
    }

    /// Drops a branch with the snapshots and files that only it has; so many files were deleted.
    ///
    /// # Errors
    /// `LH0109` there is no such branch.
    pub fn discard(&self, table: &TableName, branch: &str) -> Result<u64> {
        check_name(table, branch)?;
        self.core.catalog.check_writable()?;
        let before = self.state(table)?;
        let id = new_snapshot_id(Some(&before));
        self.core.block_on(async {
            let run_id = format!("discard-{id}");
            let ended = land(&self.core, &[&Discard { table, branch }], &run_id, &[id]).await;
            ended.result?;
            self.core.fail_points.pass(fail_point::BEFORE_DISCARD_DELETE)?;
            let after = self.load(table).await?;
            let files = only_before(&self.core, &before, &after).await?;
            let deleted = files.len() as u64;
            self.core.forget(files);
            Ok(deleted)
        })
    }
}

/// Files of snapshots that went from `before` to `after` and that no snapshot has now.
pub async fn only_before(core: &Core, before: &TableState, after: &TableState) -> Result<HashSet<String>> {
    let manifests = Manifests::new(core.io.clone());
    if before.metadata.uuid() != after.metadata.uuid() {
        return Ok(HashSet::new());
    }
    let mut gone = HashSet::new();
    for snapshot in before.metadata.snapshots() {
        if after.metadata.snapshot_by_id(snapshot.snapshot_id()).is_none() {
            collect(&manifests, &before.metadata, snapshot, &mut gone).await?;
        }
    }
    if gone.is_empty() {
        return Ok(gone);
    }
    for snapshot in after.metadata.snapshots() {
        let mut kept = HashSet::new();
        collect(&manifests, &after.metadata, snapshot, &mut kept).await?;
        gone.retain(|file| !kept.contains(file));
    }
    Ok(gone)
}

/// Everything that a snapshot refers to.
async fn collect(
    manifests: &Manifests,
    metadata: &TableMetadata,
    snapshot: &SnapshotRef,
    files: &mut HashSet<String>,
) -> Result<()> {
    files.insert(snapshot.manifest_list().to_owned());
    for manifest in manifests.list(metadata, Some(snapshot)).await? {
        if files.insert(manifest.manifest_path.clone()) {
            files.extend(manifests.load(&manifest).await?.entries().iter().map(|entry| entry.file_path().to_owned()));
        }
    }
    Ok(())
}

/// The heads of a branch and of `main`, and the table's columns and spec.
type Heads = (i64, Option<i64>, (i32, i32));

struct Publish<'a> {
    table: &'a TableName,
    branch: &'a str,
    /// Where the branch and `main` were when it was checked.
    only: Option<Heads>,
    /// Where they were when this was asked last.
    asked: Mutex<Option<Heads>>,
    /// The table is in another state now.
    moved: AtomicBool,
}

#[async_trait]
impl Action for Publish<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table)?;
        let Some(staged) = head.metadata.snapshot_for_ref(self.branch) else {
            return match on.base.and_then(|base| base.metadata.snapshot_for_ref(self.branch)) {
                Some(staged) if head.is_on_main(staged.snapshot_id()) => {
                    Ok(Step::Nothing { snapshot_id: Some(staged.snapshot_id()) })
                }
                _ => Err(Error::reference(self.table, format!("has no branch `{}`", self.branch))),
            };
        };
        if reference(head, self.branch)?.is_some_and(|reference| !reference.is_branch()) {
            return Err(Error::reference(self.table, format!("has a tag `{}`, not a branch", self.branch)));
        }
        let main_id = head.main().map(|main| main.snapshot_id());
        let shape = (head.metadata.current_schema_id(), head.metadata.default_partition_spec_id());
        let heads = (staged.snapshot_id(), main_id, shape);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(heads);
        if self.only.is_some_and(|only| only != heads) {
            self.moved.store(true, Ordering::Relaxed);
            return Err(Error::Busy { table: self.table.clone(), attempts: 1 });
        }
        let line = beyond_main(head, staged);
        let oldest = line.last().ok_or_else(|| {
            Error::reference(self.table, format!("has nothing on branch `{}` that main does not have", self.branch))
        })?;
        let mut delta = if oldest.parent_snapshot_id() == main_id {
            self.forward(head, staged)?
        } else {
            self.onto(on, head, &line).await?
        };
        delta.refs.push(RefChange::Remove { name: self.branch.to_owned() });
        delta.requires = vec![stays(MAIN_BRANCH, main_id), stays(self.branch, Some(staged.snapshot_id()))];
        Ok(Step::Change(Box::new(delta)))
    }
}

impl Publish<'_> {
    /// `main` moves to the branch.
    fn forward(&self, head: &TableState, staged: &SnapshotRef) -> Result<Delta> {
        let mut delta = Delta::on(Base::Existing(head.clone()));
        let retention = reference(head, MAIN_BRANCH)?.map(|main| main.retention);
        delta.refs.push(RefChange::Set {
            name: MAIN_BRANCH.to_owned(),
            reference: SnapshotReference {
                snapshot_id: staged.snapshot_id(),
                retention: retention.unwrap_or_else(|| RefKind::Branch.retention(None)),
            },
        });
        (delta.set, delta.unset) = loaded::as_of(&head.metadata, staged);
        let (states, gone) = source_state::as_of(self.table, &head.metadata, staged)?;
        delta.set.extend(states);
        delta.unset.extend(gone);
        if let Some(load) = Recorded::of(staged) {
            delta.proof = Some((load.property(), properties::loaded_value(&load.load_id, staged.snapshot_id())));
        }
        Ok(delta)
    }

    /// One new snapshot of the branch's files on the head of `main`.
    async fn onto(&self, on: &On<'_>, head: &TableState, line: &[&SnapshotRef]) -> Result<Delta> {
        let stuck = |why: &str| Error::reference(self.table, format!("cannot take branch `{}`: {why}", self.branch));
        let [staged] = line else {
            return Err(stuck("main has moved since it began, and it has more than one snapshot"));
        };
        let load = Recorded::of(staged).ok_or_else(|| stuck("main has moved since, and no load made its snapshot"))?;
        if value(staged.summary(), "mode") == Some("merge") {
            return Err(stuck("main has moved since, and a merge has to look at its rows again: run it again"));
        }
        let base = match staged.parent_snapshot_id() {
            Some(parent) => Some(
                head.metadata
                    .snapshot_by_id(parent)
                    .ok_or_else(|| stuck("the snapshot that it stands on has expired"))?,
            ),
            None => None,
        };
        let removal = match load.mode {
            Mode::Adds => Removal::Nothing,
            Mode::ReplacesAll => Removal::Everything,
            Mode::ReplacesWindow => Removal::Window(self.window(head, &load)?),
        };
        if changed(self.table, on.manifests, &removal, base, head).await? {
            return Err(Error::Conflict {
                table: self.table.clone(),
                what: match &removal {
                    Removal::Window(_) => format!("window {}", load.window),
                    _ => "the table".to_owned(),
                },
                found: head.main().map(|main| main.snapshot_id()),
                expected: base.map(|base| base.snapshot_id()),
            });
        }
        let mut summary: Vec<(String, String)> = staged
            .summary()
            .additional_properties
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        summary.push((format!("{PREFIX}published-from"), self.branch.to_owned()));
        let mut delta = Delta::on(Base::Existing(head.clone()));
        let key = load.key.clone().unwrap_or_else(|| load.window.clone());
        let present = head.metadata.properties();
        (delta.set, delta.unset) = loaded::after(present, &key, &load.load_id, on.snapshot_id, &removal);
        delta.proof = Some((load.property(), properties::loaded_value(&load.load_id, on.snapshot_id)));
        source_state::check_staged(head, staged)?;
        let (states, gone) = source_state::published(self.table, &head.metadata, staged, on.snapshot_id)?;
        delta.set.extend(states);
        delta.unset.extend(gone);
        let added = added(on.manifests, head, staged).await?;
        delta.snapshot = Some(NewSnapshot { removal, added, ..NewSnapshot::on_main(summary) });
        Ok(delta)
    }

    /// The window that a load replaces, in the table as it is now.
    fn window(&self, head: &TableState, load: &Recorded) -> Result<WindowValue> {
        let words = [Granularity::Hour, Granularity::Day, Granularity::Month, Granularity::Year];
        let granularity = head.metadata.properties().get(properties::GRANULARITY);
        let window = words
            .into_iter()
            .find(|word| granularity.is_some_and(|found| found == word.word()))
            .and_then(|granularity| Window::parse(granularity, &load.window).ok())
            .ok_or_else(|| Error::shape(self.table, format!("has no window {}", load.window)))?;
        WindowValue::of(self.table, head.metadata.current_schema(), &window)
    }
}

/// The snapshots of a branch that `main` does not have, newest first.
fn beyond_main<'a>(state: &'a TableState, staged: &'a SnapshotRef) -> Vec<&'a SnapshotRef> {
    let main: HashSet<i64> = state.history().map(|snapshot| snapshot.snapshot_id()).collect();
    ancestors(&state.metadata, staged).take_while(|snapshot| !main.contains(&snapshot.snapshot_id())).collect()
}

/// A snapshot and what it stands on, newest first.
fn ancestors<'a>(metadata: &'a TableMetadata, from: &'a SnapshotRef) -> impl Iterator<Item = &'a SnapshotRef> {
    std::iter::successors(Some(from), |snapshot| {
        snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent))
    })
    .take(metadata.snapshots().len())
}

/// The files that a snapshot added.
async fn added(manifests: &Manifests, state: &TableState, snapshot: &SnapshotRef) -> Result<Vec<Added>> {
    let mut found = Vec::new();
    for manifest in manifests.list(&state.metadata, Some(snapshot)).await? {
        if manifest.added_snapshot_id != snapshot.snapshot_id() {
            continue;
        }
        for entry in manifests.load(&manifest).await?.entries() {
            if entry.status() == ManifestStatus::Added && entry.snapshot_id() == Some(snapshot.snapshot_id()) {
                found.push(Added { file: entry.data_file().clone(), spec_id: Some(manifest.partition_spec_id) });
            }
        }
    }
    Ok(found)
}

/// A branch goes, and the snapshots that only it has.
pub(crate) struct Discard<'a> {
    pub table: &'a TableName,
    pub branch: &'a str,
}

#[async_trait]
impl Action for Discard<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table)?;
        let metadata = &head.metadata;
        let Some(staged) = metadata.snapshot_for_ref(self.branch) else {
            return match on.base.and_then(|base| base.metadata.snapshot_for_ref(self.branch)) {
                Some(_) => Ok(Step::Nothing { snapshot_id: None }),
                None => Err(Error::reference(self.table, format!("has no branch `{}`", self.branch))),
            };
        };
        let mut kept = HashSet::new();
        for (name, other) in crate::refs::references(metadata)? {
            if name != self.branch
                && let Some(snapshot) = metadata.snapshot_by_id(other.snapshot_id)
            {
                kept.extend(ancestors(metadata, snapshot).map(|snapshot| snapshot.snapshot_id()));
            }
        }
        // What was on main once may be gone back to.
        kept.extend(metadata.history().iter().map(|entry| entry.snapshot_id));
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.refs = vec![RefChange::Remove { name: self.branch.to_owned() }];
        delta.remove_snapshots = ancestors(metadata, staged)
            .map(|snapshot| snapshot.snapshot_id())
            .filter(|id| !kept.contains(id))
            .collect();
        delta.requires = vec![stays(self.branch, Some(staged.snapshot_id()))];
        Ok(Step::Change(Box::new(delta)))
    }
}
