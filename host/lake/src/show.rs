//! A prepared snapshot, shown to engines beside this process before it is published.
//!
//! What a commit would make of a table is known to this process alone. Trino, and DuckDB behind the served catalog, read what the catalog has: so
//! the snapshot is committed once more, under an id of its own, to a branch that nobody else uses, and engines read it by that id. `main` does not
//! move and nothing counts as loaded. Afterwards the branch goes, with the manifests that only it had; the data files are the load's.
//!
//! The branch is named after the snapshot that is to come, so that a run which finishes what a killed one left finds it (`resolve`).

use std::collections::HashSet;

use async_trait::async_trait;
use lakehost_pipeline::ports::TableName;

use crate::catalog::{Base, TableState};
use crate::commit::{Action, Delta, Manifests, On, Prepared, Step, land};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::lake::{IcebergLake, new_snapshot_id};
use crate::publish::Discard;

/// The branch on which a snapshot to come is shown.
fn branch_of(snapshot_id: i64) -> String {
    format!("checking/{snapshot_id}")
}

/// A snapshot that engines can read by its id for as long as this lives.
pub struct Shown<'a> {
    lake: &'a IcebergLake,
    table: &'a TableName,
    /// `None`: the catalog has the snapshot anyway.
    branch: Option<String>,
    snapshot_id: i64,
}

impl IcebergLake {
    /// Lets other engines read a prepared state by a snapshot id.
    ///
    /// # Errors
    /// `LH0109` the catalog keeps no branches; those of a commit.
    pub fn show<'a>(&'a self, table: &'a TableName, prepared: &Prepared) -> Result<Shown<'a>> {
        let metadata = prepared.table.metadata();
        let coming = metadata.current_snapshot_id().unwrap_or(prepared.snapshot_id);
        let present = self.core.block_on(self.core.catalog.load(table))?;
        if present.as_ref().is_some_and(|state| state.metadata.snapshot_by_id(coming).is_some()) {
            return Ok(Shown { lake: self, table, branch: None, snapshot_id: coming });
        }
        if !self.core.catalog.can().refs {
            return Err(Error::Reference {
                table: table.clone(),
                detail: "cannot show its new rows to other engines before they are published: its catalog keeps no \
                         branches"
                    .to_owned(),
                hint: Some("make the check with `sql`, or test the models after the load".to_owned()),
            });
        }
        let Some(delta) = &prepared.delta else {
            return Err(Error::Internal(format!("nothing is known of snapshot {coming} of {table}")));
        };
        self.core.catalog.check_writable()?;
        let snapshot_id = new_snapshot_id(present.as_ref());
        let branch = branch_of(coming);
        let action = Show { table, branch: &branch, delta };
        let run_id = format!("show-{snapshot_id}");
        let ended = self.core.block_on(land(&self.core, &[&action], &run_id, &[snapshot_id]));
        // It goes with the value, also when the catalog's answer was lost.
        let shown = Shown { lake: self, table, branch: Some(branch), snapshot_id };
        ended.result.map(|_| shown)
    }
}

impl Shown<'_> {
    /// The id by which engines read it.
    #[must_use]
    pub fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    /// Nobody reads it any more.
    ///
    /// # Errors
    /// Those of a commit. The branch stays then, until `table discard`.
    pub fn hide(mut self) -> Result<()> {
        match self.branch.take() {
            Some(branch) => self.lake.core.block_on(hide(&self.lake.core, self.table, &branch)),
            None => Ok(()),
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let Some(branch) = self.branch.take() else { return };
        if let Err(error) = self.lake.core.block_on(hide(&self.lake.core, self.table, &branch))
            && !error.is_fail_point()
        {
            tracing::warn!(table = %self.table, branch, %error, "a branch that checks looked at is left");
        }
    }
}

/// Takes the branch of a snapshot to come away, where a killed run left it.
pub async fn hide_left(core: &Core, state: &TableState, coming: i64) -> Result<bool> {
    let branch = branch_of(coming);
    if state.metadata.snapshot_for_ref(&branch).is_none() {
        return Ok(false);
    }
    hide(core, &state.name, &branch).await?;
    Ok(true)
}

async fn hide(core: &Core, table: &TableName, branch: &str) -> Result<()> {
    let Some(before) = core.catalog.load(table).await? else { return Ok(()) };
    let Some(shown) = before.metadata.snapshot_for_ref(branch) else { return Ok(()) };
    let shown_id = shown.snapshot_id();
    let manifests = Manifests::new(core.io.clone()).list(&before.metadata, Some(shown)).await?;
    let mut own: HashSet<String> = manifests
        .iter()
        .filter(|manifest| manifest.added_snapshot_id == shown_id)
        .map(|manifest| manifest.manifest_path.clone())
        .collect();
    own.insert(shown.manifest_list().to_owned());
    let id = new_snapshot_id(Some(&before));
    land(core, &[&Discard { table, branch }], &format!("hide-{id}"), &[id]).await.result?;
    let after = core.catalog.load(table).await?;
    // Somebody may have named it otherwise meanwhile.
    if after.is_some_and(|after| after.metadata.snapshot_by_id(shown_id).is_none()) {
        core.forget(own);
    }
    Ok(())
}

struct Show<'a> {
    table: &'a TableName,
    branch: &'a str,
    /// What the commit would do on `main`.
    delta: &'a Delta,
}

#[async_trait]
impl Action for Show<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let wanted = self.delta;
        let reshapes = wanted.schema.is_some() || wanted.spec.is_some() || wanted.sort_order.is_some();
        let base = match (on.head, &wanted.base) {
            (None, Base::New(creation)) => Base::New(creation.clone()),
            (Some(head), Base::Existing(was)) if head.version() == was.version() || !reshapes => {
                Base::Existing(head.clone())
            }
            // Somebody changed what the rows were written for; the commit would have to be worked out anew.
            _ => return Err(Error::Busy { table: self.table.clone(), attempts: on.attempt }),
        };
        let mut delta = Delta::on(base);
        delta.schema.clone_from(&wanted.schema);
        delta.spec.clone_from(&wanted.spec);
        delta.sort_order.clone_from(&wanted.sort_order);
        delta.snapshot.clone_from(&wanted.snapshot);
        if let Some(snapshot) = &mut delta.snapshot {
            snapshot.branch = self.branch.to_owned();
        }
        Ok(Step::Change(Box::new(delta)))
    }
}
