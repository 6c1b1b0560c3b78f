//! `publish = "run"`: everything that a run changes goes to a branch of the whole catalog, checks and models work there, and one merge shows all of it.
//!
//! A branch stays when a check, a model or a test failed, so that people can look at the rows and decide. Everything else that fails leaves nothing to
//! learn that the report does not say, so its branch is dropped and the next run does all of it anew.

use std::sync::Arc;

use lakehost_lake::{CatalogOptions, Published, RunBranch, RunBranches, RunError};
use lakehost_pipeline::models::ModelsReport;
use lakehost_pipeline::{Diagnostic as _, ErrorReport, Fault, Plan, RunReport, codes};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::args::Publish;
use crate::config::resolve::{Request, Where};
use crate::error::Error;
use crate::models::branch_catalog;
use crate::render::line;

/// Its place in the report.
pub const KEY: &str = "publish";

/// What became of a run's branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BranchStatus {
    /// The run is at work, or its process died.
    Pending,
    /// All of it is visible.
    Published,
    /// The run changed nothing.
    Unchanged,
    /// Nothing of it is visible, and the branch is there to be looked at.
    Kept,
    /// Nothing of it is visible, and the branch is gone.
    Dropped,
    /// Nobody knows.
    Unknown,
}

/// The part of a report that says so.
#[derive(Debug, Serialize)]
pub struct PublishReport {
    pub mode: &'static str,
    pub status: BranchStatus,
    pub branch: String,
    /// The branch that readers are on.
    pub onto: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    #[serde(skip)]
    pub fault: Option<Fault>,
    #[serde(skip)]
    run_id: String,
}

impl PublishReport {
    /// A line behind those of windows and models.
    pub fn text(&self) -> String {
        let (branch, onto, id) = (line(&self.branch), line(&self.onto), line(&self.run_id));
        let said = match self.status {
            BranchStatus::Published => format!("all at once, on {onto}"),
            BranchStatus::Unchanged => "nothing changed".to_owned(),
            BranchStatus::Kept => format!(
                "nothing is visible on {onto}; branch {branch} is kept: `lakehost runs publish {id}` or `lakehost runs discard {id}`"
            ),
            BranchStatus::Dropped => format!("nothing is visible on {onto}, and the branch is dropped"),
            BranchStatus::Pending | BranchStatus::Unknown => {
                format!("not known; `lakehost runs publish {id}` looks first")
            }
        };
        format!("  {:<13}  {said}\n", "publish")
    }
}

/// Whether what a report of the history tells of is in the tables that readers see.
pub fn is_visible(report: &Value) -> bool {
    matches!(report[KEY]["status"].as_str(), None | Some("published" | "unchanged"))
}

/// The branch that a run is on. Dropped without [`OnBranch::end`], it drops the branch.
pub struct OnBranch {
    branches: RunBranches,
    run: RunBranch,
    ended: bool,
}

impl OnBranch {
    /// Puts a run on a branch, if it is to be published as a whole. A dry run needs none, and is refused all the same where it could have none.
    pub fn of(
        runtime: &Arc<Runtime>,
        request: &mut Request,
        plan: &mut Plan,
        say: &mut dyn FnMut(String),
    ) -> Result<Option<Self>, Fault> {
        if request.publish == Publish::Window {
            return Ok(None);
        }
        if request.models.is_some() && request.place.trino.is_some() {
            branch_catalog::check(&request.place)?;
        }
        if plan.dry_run {
            open(runtime, &request.place)?;
            return Ok(None);
        }
        let on_branch = Self::begin(runtime, &request.place, &plan.run_id, plan.pipeline.as_deref(), say)?;
        request.place = request.place.on_branch(&plan.run_id, on_branch.branch());
        plan.run_branch = Some(on_branch.branch().to_owned());
        Ok(Some(on_branch))
    }

    /// Tidies up behind runs that are gone, and makes the branch of this one. `say` hears what was found.
    fn begin(
        runtime: &Arc<Runtime>,
        place: &Where,
        run_id: &str,
        pipeline: Option<&str>,
        say: &mut dyn FnMut(String),
    ) -> Result<Self, Fault> {
        let branches = open(runtime, place)?;
        match branches.sweep() {
            Ok(swept) => swept.into_iter().for_each(|swept| {
                branch_catalog::sweep(place, &swept.run_id);
                say(match swept.was_published {
                    true => format!("run {} had been published before its process died", swept.run_id),
                    false => format!("the branch of run {}, whose process died, is dropped", swept.run_id),
                });
            }),
            Err(error) => say(format!("branches of runs that are gone could not be looked at: {error}")),
        }
        let run = branches.begin(run_id, pipeline)?;
        Ok(Self { branches, run, ended: false })
    }

    /// Its name.
    fn branch(&self) -> &str {
        &self.run.branch
    }

    /// What the history says until the run ends.
    pub fn pending(&self) -> PublishReport {
        self.report(BranchStatus::Pending, None)
    }

    fn report(&self, status: BranchStatus, fault: Option<Fault>) -> PublishReport {
        PublishReport {
            mode: "run",
            status,
            branch: self.run.branch.clone(),
            onto: self.branches.onto().to_owned(),
            error: fault.as_ref().map(ErrorReport::from),
            fault,
            run_id: self.run.run_id.clone(),
        }
    }

    /// Publishes a run that went well, else keeps or drops its branch. `stopped`: somebody asked for the end.
    pub fn end(&mut self, report: &RunReport, models: Option<&ModelsReport>, stopped: bool) -> PublishReport {
        self.ended = true;
        let failed = report.fault().or_else(|| models.and_then(|models| models.fault.as_ref()));
        if let Some(fault) = failed {
            let telling = [codes::DATA_CHECK, codes::MODELS_FAILED].contains(&fault.code()) && !stopped;
            return match telling && self.branches.is_changed(&self.run).unwrap_or(true) {
                true => self.keep(&fault.to_string(), None),
                false => self.drop_branch(None),
            };
        }
        if stopped {
            return self.drop_branch(Some(Fault::new(Error::Stopped { what: "the run was not published" })));
        }
        match self.branches.publish(&self.run) {
            Ok(Published::Now | Published::Before) => self.report(BranchStatus::Published, None),
            Ok(Published::Nothing) => self.report(BranchStatus::Unchanged, None),
            Err(error @ RunError::Conflict { .. }) => self.drop_branch(Some(Fault::new(error))),
            Err(error @ RunError::Unknown { .. }) => self.report(BranchStatus::Unknown, Some(Fault::new(error))),
            // The rows are sound: as soon as the catalog works again they can be published.
            Err(error) => {
                let fault = Fault::new(error);
                self.keep(&fault.to_string(), Some(fault))
            }
        }
    }

    fn keep(&self, reason: &str, fault: Option<Fault>) -> PublishReport {
        if let Err(error) = self.branches.keep(&self.run, reason) {
            tracing::warn!(branch = %self.run.branch, %error, "the next run will drop the branch: it could not be marked");
        }
        self.report(BranchStatus::Kept, fault)
    }

    fn drop_branch(&self, fault: Option<Fault>) -> PublishReport {
        if let Err(error) = self.branches.discard(&self.run) {
            let cause = error.cause().unwrap_or_default();
            tracing::warn!(branch = %self.run.branch, %error, %cause, "the next run will drop the branch: it could not be dropped");
        }
        self.report(BranchStatus::Dropped, fault)
    }
}

impl Drop for OnBranch {
    fn drop(&mut self) {
        if !self.ended {
            self.drop_branch(None);
        }
    }
}

/// The branches of runs of a place.
pub fn open(runtime: &Arc<Runtime>, place: &Where) -> Result<RunBranches, Fault> {
    let options = place.options(runtime.handle().clone())?;
    if !matches!(options.catalog, CatalogOptions::Rest(_)) {
        return Err(Error::Profile {
            profile: place.profile.clone(),
            message: "publishing a whole run at once needs branches over all tables, which only a Nessie has".to_owned(),
            hint: Some("leave `publish` away: each window then passes its checks before readers see it; or name a profile whose catalog is a Nessie".to_owned()),
        }.into());
    }
    Ok(RunBranches::open(options.merging_within(place.memory_bytes / 4))?)
}
