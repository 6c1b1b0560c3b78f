//! A load as an action: its window, or all, is replaced by new files, or they are added.

use async_trait::async_trait;
use iceberg::spec::{DataFile, MAIN_BRANCH};
use lakehost_pipeline::ports::{CommitRequest, TableName, Target};

use super::action::{Action, Added, Delta, NewSnapshot, On, Removal, Step};
use super::conflict;
use super::snapshot::data_files;
use super::summary;
use crate::catalog::TableState;
use crate::error::{Error, Result};
use crate::loaded;
use crate::plan::Plan;
use crate::properties;
use crate::source_state::{self, Cursor};

/// The commit of a load.
pub struct LoadAction<'a> {
    pub target: &'a Target,
    /// Made when the load began; the files were written for it.
    pub plan: &'a Plan,
    pub request: &'a CommitRequest,
    /// Not to `main` but to this branch, without saying that the window is loaded.
    pub branch: Option<&'a str>,
    /// What replaces nothing and adds nothing is left out, and so is a table that is not there yet.
    pub optional: bool,
}

#[async_trait]
impl Action for LoadAction<'_> {
    fn table(&self) -> &TableName {
        &self.target.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        if self.branch.is_none()
            && let Some(snapshot_id) = on.head.and_then(|head| self.already_loaded(head))
        {
            return Ok(Step::Nothing { snapshot_id: Some(snapshot_id) });
        }
        let plan = self.plan_on(on).await?;
        if self.optional && self.request.files.is_empty() && !self.removes_any(on, &plan).await? {
            return Ok(Step::Nothing { snapshot_id: None });
        }
        let files = data_files(
            &self.target.table,
            &plan.metadata,
            plan.window.as_ref(),
            &self.target.sort,
            &self.request.files,
        )?;
        let added = files.iter().cloned().map(Added::new).collect();
        Ok(Step::Change(Box::new(self.delta(on, &plan, plan.removal.clone(), &files, added, &[]))))
    }
}

impl LoadAction<'_> {
    /// The change of a load that removes and adds these files; `new`: those with its rows.
    pub fn delta(
        &self,
        on: &On<'_>,
        plan: &Plan,
        removal: Removal,
        new: &[DataFile],
        added: Vec<Added>,
        counts: &[(&str, u64)],
    ) -> Delta {
        let key = properties::key_of(self.target);
        let mut summary = summary::of_load(self.request, self.target, &key);
        summary.extend(counts.iter().map(|(name, count)| (format!("{}{name}", summary::PREFIX), count.to_string())));
        let owner = &self.target.owner.owner;
        let progress = self.request.progress.as_ref().map(|progress| {
            let before =
                plan.metadata.properties().get(&format!("{}{owner}", source_state::CURSOR)).map(String::as_str);
            let cursor = progress
                .cursor
                .as_ref()
                .and_then(|column| Cursor::highest(plan.metadata.current_schema(), column, new, before));
            (progress, cursor)
        });
        if let Some((_, Some(cursor))) = &progress {
            summary.push(source_state::recorded_cursor(cursor));
        }
        let mut delta = Delta::on(plan.base.clone());
        delta.schema = plan.new_schema.clone();
        delta.spec = plan.new_spec.clone();
        delta.snapshot = Some(NewSnapshot {
            branch: self.branch.unwrap_or(MAIN_BRANCH).to_owned(),
            removal: removal.clone(),
            added,
            ..NewSnapshot::on_main(summary)
        });
        if self.branch.is_none() {
            let (set, unset) =
                loaded::after(plan.metadata.properties(), &key, &self.request.load_id, on.snapshot_id, &removal);
            delta.proof = set.iter().next().map(|(name, value)| (name.clone(), value.clone()));
            (delta.set, delta.unset) = (set, unset);
        }
        if let Some((progress, cursor)) = progress {
            let on_main = self.branch.is_none();
            let (set, unset) =
                source_state::record(&plan.metadata, owner, progress, cursor.as_ref(), on.snapshot_id, on_main);
            delta.set.extend(set);
            delta.unset.extend(unset);
        }
        delta
    }

    /// The snapshot of our very load, when another run committed it.
    pub fn already_loaded(&self, head: &TableState) -> Option<i64> {
        let target = self.target;
        let found = loaded::find(head, target.mode, &target.owner.owner, properties::window_key(target), |load_id| {
            load_id == self.request.load_id
        })?;
        let counts = head.metadata.snapshot_by_id(found.snapshot_id).is_none() || head.is_on_main(found.snapshot_id);
        counts.then_some(found.snapshot_id)
    }

    /// Whether the table is there and has files that the load would replace.
    async fn removes_any(&self, on: &On<'_>, plan: &Plan) -> Result<bool> {
        match plan.state() {
            None => Ok(false),
            Some(state) => conflict::any(&self.target.table, on.manifests, &plan.removal, state).await,
        }
    }

    /// The load's plan on the table as it is now.
    pub async fn plan_on(&self, on: &On<'_>) -> Result<Plan> {
        let (table, base) = (&self.target.table, self.plan.state());
        if let (Some(progress), Some(head)) = (&self.request.progress, on.head) {
            let expected = base.and_then(TableState::main).map(|snapshot| snapshot.snapshot_id());
            source_state::check(head, &self.target.owner.owner, progress, expected)?;
        }
        if base.map(TableState::version) == on.head.map(TableState::version) {
            return Ok(self.plan.clone());
        }
        let Some(head) = on.head else {
            return Err(Error::TableShape {
                table: table.clone(),
                detail: "was dropped while the load was under way".to_owned(),
                hint: Some("run the same command again to make it anew".to_owned()),
            });
        };
        let mut plan = Plan::new(self.target, Some(head.clone()), self.plan.location())?;
        for (found, file) in &self.plan.evolved {
            plan = plan.evolve(self.target, found, file)?;
        }
        self.plan.carries_over(&plan, table)?;
        if conflict::changed(table, on.manifests, &plan.removal, base.and_then(TableState::main), head).await? {
            return Err(Error::Conflict {
                table: table.clone(),
                what: match (&plan.removal, &self.target.window) {
                    (Removal::Window(_), Some(window)) => format!("window {window}"),
                    _ => "the table".to_owned(),
                },
                found: head.main().map(|snapshot| snapshot.snapshot_id()),
                expected: base.and_then(TableState::main).map(|snapshot| snapshot.snapshot_id()),
            });
        }
        Ok(plan)
    }
}
