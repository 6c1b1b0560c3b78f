//! Exactly once: one request at a time, and a look at the table after each.
//!
//! The snapshot id is chosen before the first request and is the same in all of them, so "did we land?" has one answer: whether the table's
//! metadata lists it. A request whose answer is lost is sent again only while the table is where it was; once the table has moved without us
//! the old request can no longer land, its manifests are deleted, and the snapshot is built anew on the new head, unless somebody changed
//! what we replace.

use std::time::Duration;

use iceberg::TableRequirement;
use iceberg::spec::MAIN_BRANCH;
use lakehost_pipeline::ports::{CommitRequest, Target};

use super::conflict;
use super::manifests::Manifests;
use super::snapshot::{Attempt, Removal, Written, data_files};
use super::summary::LoadSummary;
use crate::catalog::{Base, Outcome, TableChange, TableState};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::location::metadata_id;
use crate::plan::Plan;
use crate::properties;

/// Requests of one commit, at most.
pub const REQUESTS: u32 = 40;

/// How a commit ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    Landed {
        requests: u32,
    },
    /// Somebody else committed the same load; our files are superfluous.
    AlreadyLoaded {
        snapshot_id: i64,
    },
}

/// One commit of a load.
pub struct Commit<'a> {
    pub core: &'a Core,
    pub target: &'a Target,
    /// Made when the load began; the files were written for it.
    pub plan: &'a Plan,
    pub request: &'a CommitRequest,
    pub snapshot_id: i64,
}

impl Commit<'_> {
    /// Commits. After [`Error::OutcomeUnknown`] every file must be kept; after any other error nothing of ours is in the table.
    pub async fn run(&self) -> Result<Landing> {
        let manifests = Manifests::new(self.core.io.clone());
        let load = LoadSummary::new(self.request, self.target.window.as_ref());
        let mut requests = 0;
        let mut attempt = 0;
        let mut head = self.core.catalog.load(&self.target.table).await?;
        loop {
            if let Some(snapshot_id) = head.as_ref().and_then(|head| self.already_loaded(head)) {
                return Ok(Landing::AlreadyLoaded { snapshot_id });
            }
            let plan = self.plan_on(&manifests, head.clone()).await?;
            attempt += 1;
            let (change, written) = self.prepare(&manifests, &load, &plan, attempt).await?;
            match self.send(change, &head, &mut requests).await {
                Ok(Sent::Landed) => return Ok(Landing::Landed { requests }),
                Ok(Sent::Overtaken(now)) => {
                    self.core.forget(written);
                    head = now;
                    if requests >= REQUESTS {
                        return Err(Error::Busy { table: self.target.table.clone(), attempts: requests });
                    }
                    pause(requests).await;
                }
                Err(error) => {
                    if !keeps_files(&error) {
                        self.core.forget(written);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The snapshot of our very load, when another run committed it.
    fn already_loaded(&self, head: &TableState) -> Option<i64> {
        let (load_id, snapshot_id) = properties::loaded(head.metadata.properties(), self.window_key())?;
        let counts = head.metadata.snapshot_by_id(snapshot_id).is_none() || head.is_on_main(snapshot_id);
        (load_id == self.request.load_id && counts).then_some(snapshot_id)
    }

    fn window_key(&self) -> &str {
        self.target.window.as_ref().map_or(properties::WHOLE, |window| window.key())
    }

    /// The load's plan on the table as it is now.
    async fn plan_on(&self, manifests: &Manifests, head: Option<TableState>) -> Result<Plan> {
        let base = self.plan.state();
        let moved = match (base, &head) {
            (None, None) => false,
            (Some(base), Some(head)) => base.metadata_location != head.metadata_location,
            _ => true,
        };
        if !moved {
            return Ok(self.plan.clone());
        }
        let table = &self.target.table;
        let Some(head) = head else {
            return Err(Error::TableShape {
                table: table.clone(),
                detail: "was dropped while the load was under way".to_owned(),
                hint: Some("run the same command again to make it anew".to_owned()),
            });
        };
        let plan = Plan::new(self.target, Some(head.clone()), self.plan.location())?;
        self.plan.carries_over(&plan, table)?;
        if conflict::changed(table, manifests, &plan.removal, base, &head).await? {
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

    /// Writes the manifests of an attempt and builds its request.
    async fn prepare(
        &self,
        manifests: &Manifests,
        load: &LoadSummary,
        plan: &Plan,
        number: u32,
    ) -> Result<(TableChange, Written)> {
        let table = &self.target.table;
        self.core.fail_points.pass(fail_point::BEFORE_MANIFESTS)?;
        let added = data_files(table, &plan.metadata, plan.window.as_ref(), &self.request.files)?;
        let attempt = Attempt {
            table,
            store: self.core.store.as_ref(),
            manifests,
            metadata: &plan.metadata,
            parent: plan.state().and_then(TableState::main),
            run_id: &self.request.run_id,
            number,
            snapshot_id: self.snapshot_id,
            removal: &plan.removal,
            added: &added,
            load,
            // A clock that was set back must not make the history run backwards.
            timestamp_ms: (self.core.clock)().max(plan.state().map_or(0, |state| state.metadata.last_updated_ms())),
        };
        let (snapshot, written) = attempt.write().await;
        let ready = snapshot.and_then(|snapshot| {
            self.core.fail_points.pass(fail_point::BEFORE_REQUEST)?;
            let (set, removed) = self.loaded(plan);
            TableChange::build(table, plan.base.clone(), requirements(plan), uuid::Uuid::nil(), |mut builder| {
                if let Some(spec) = &plan.new_spec {
                    builder = builder.add_default_partition_spec(spec.clone())?;
                }
                builder.set_branch_snapshot(snapshot, MAIN_BRANCH)?.set_properties(set)?.remove_properties(&removed)
            })
        });
        match ready {
            Ok(change) => Ok((change, written)),
            Err(error) => {
                if !keeps_files(&error) {
                    self.core.forget(written);
                }
                Err(error)
            }
        }
    }

    /// The property of this load, and those that go with it.
    fn loaded(&self, plan: &Plan) -> (std::collections::HashMap<String, String>, Vec<String>) {
        let present = plan.metadata.properties();
        let (set, mut removed) =
            properties::record_loaded(present, self.window_key(), &self.request.load_id, self.snapshot_id);
        if plan.removal == Removal::Everything {
            // No other window is loaded any more.
            removed = present
                .keys()
                .filter(|key| key.starts_with(properties::LOADED) && !set.contains_key(*key))
                .cloned()
                .collect();
        }
        (set, removed)
    }

    /// Sends one request, again while its outcome is open and the table is where it was.
    async fn send(&self, mut change: TableChange, head: &Option<TableState>, requests: &mut u32) -> Result<Sent> {
        let table = &self.target.table;
        let mut stray = Vec::new();
        loop {
            *requests += 1;
            change.metadata_id = metadata_id(self.snapshot_id, *requests);
            let answer = self.core.catalog.commit(std::slice::from_ref(&change)).await;
            if let Err(error) = &answer
                && error.is_fail_point()
            {
                return answer.map(|_| Sent::Landed);
            }
            if matches!(answer, Ok(Outcome::Unknown(_))) {
                stray.push(change.metadata_location());
            }
            let now = self.core.catalog.load(table).await.map_err(|error| self.unknown(format!("{error}")))?;
            if now.as_ref().is_some_and(|now| now.metadata.snapshot_by_id(self.snapshot_id).is_some()) {
                return Ok(Sent::Landed);
            }
            let location = |state: &Option<TableState>| state.as_ref().map(|state| state.metadata_location.clone());
            if location(&now) != location(head) {
                // The table moved on without us, so none of our requests can land any more.
                self.core.forget(stray);
                return Ok(Sent::Overtaken(now));
            }
            match answer {
                Err(error) if stray.is_empty() => return Err(error),
                Ok(Outcome::Unknown(error)) | Err(error) if *requests >= REQUESTS => {
                    return Err(self.unknown(error.to_string()));
                }
                _ if *requests >= REQUESTS => {
                    return Err(Error::Busy { table: table.clone(), attempts: *requests });
                }
                Ok(Outcome::Landed) => {
                    // The catalog said yes, and the table says no: nothing may be deleted on such ground.
                    return Err(
                        self.unknown("the catalog confirmed the commit, but the table does not show it".to_owned())
                    );
                }
                Ok(Outcome::Conflict | Outcome::Unknown(_)) | Err(_) => pause(*requests).await,
            }
        }
    }

    fn unknown(&self, detail: String) -> Error {
        Error::OutcomeUnknown { table: self.target.table.clone(), run_id: self.request.run_id.clone(), detail }
    }
}

/// What is certain after a request and a look at the table.
enum Sent {
    Landed,
    /// The table is another than the request was made for, and ours is not in it.
    Overtaken(Option<TableState>),
}

/// What must hold for the request to land.
fn requirements(plan: &Plan) -> Vec<TableRequirement> {
    match &plan.base {
        Base::New(_) => vec![TableRequirement::NotExist],
        Base::Existing(state) => vec![
            TableRequirement::UuidMatch { uuid: state.metadata.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: state.main().map(|snapshot| snapshot.snapshot_id()),
            },
            TableRequirement::DefaultSpecIdMatch { default_spec_id: state.metadata.default_partition_spec_id() },
        ],
    }
}

/// Files may be deleted only when the commit certainly did not land.
pub fn keeps_files(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { .. }) || error.is_fail_point()
}

/// Longer and longer, and never two writers in step.
async fn pause(requests: u32) {
    let limit_ms = 10_u64 << requests.min(6);
    tokio::time::sleep(Duration::from_millis(5 + rand::random_range(0..limit_ms))).await;
}
