//! A branch of the whole catalog for one run: what the run changes is seen there alone, until one merge makes all of it visible at once.
//!
//! `<warehouse>/_lakehost/branches/<run-id>.json` is there before the branch and goes when it is certain that it was published or dropped, so a run
//! that was killed is found by the next one. The branch's own intent records lie in a folder beside it: whether a load landed there can be seen there
//! alone. Only a catalog with branches of its own can do this, which is Nessie.
//!
//! A merge that was sent may have landed although no answer came. The catalog notes the merged commit in its history, so that is where we look before
//! anything else is done, and the same merge sent again changes nothing.

mod error;
mod files;
mod record;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use error::RunError;
pub use record::{BranchState, RunBranch};

use crate::catalog::{Merge, Merged, Tree};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::intent::AGE_MS;
use crate::lake::IcebergLake;
use crate::location::check_run_id;
use crate::open::{CatalogOptions, LakeOptions};
use crate::process::Life;

/// How the names of the branches of runs begin.
const PREFIX: &str = "lakehost/";
/// A merge whose outcome is open, or that others overtake, is sent so often.
const MERGES: u32 = 6;
/// No pause between two of them is longer.
const PAUSE_LIMIT: Duration = Duration::from_secs(5);

/// How publishing ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// All of it is visible now, at once.
    Now,
    /// It was before.
    Before,
    /// The branch held nothing new.
    Nothing,
}

/// How a branch was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// What was on it had been published before.
    pub was_published: bool,
    pub files_deleted: u64,
    /// Files stay that somebody else may need: another branch or tag was made from this one.
    pub files_kept: bool,
}

/// What became of the branch of a run that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    pub run_id: String,
    pub was_published: bool,
    pub files_deleted: u64,
}

/// The branches of runs in one catalog.
#[derive(Debug)]
pub struct RunBranches {
    options: LakeOptions,
    /// On the branch that runs start from.
    lake: IcebergLake,
    tree: Tree,
    /// The branch that runs start from and publish to.
    onto: String,
}

impl RunBranches {
    /// Opens the lake on the branch that runs start from.
    ///
    /// # Errors
    /// `LH0607` for a catalog without branches of its own, and those of [`IcebergLake::open`].
    pub fn open(options: LakeOptions) -> Result<Self> {
        let CatalogOptions::Rest(rest) = &options.catalog else {
            return Err(Error::CatalogUnable {
                catalog: "of this profile".to_owned(),
                detail:
                    "it has no branches over all its tables, which publishing a whole run at once needs; Nessie has"
                        .to_owned(),
            });
        };
        let tree = options.runtime.block_on(Tree::open(rest))?;
        let onto = rest.branch.clone().unwrap_or_else(|| tree.default_branch.clone());
        if options.runtime.block_on(tree.head(&onto))?.is_none() {
            return Err(tree.gone(&onto));
        }
        let lake = IcebergLake::open(options.clone())?;
        Ok(Self { options, lake, tree, onto })
    }

    /// The lake as its readers see it.
    #[must_use]
    pub fn lake(&self) -> &IcebergLake {
        &self.lake
    }

    /// The branch that runs start from and publish to.
    #[must_use]
    pub fn onto(&self) -> &str {
        &self.onto
    }

    fn core(&self) -> &Arc<Core> {
        &self.lake.core
    }

    /// Makes the branch of a run, at the newest commit.
    pub fn begin(&self, run_id: &str, pipeline: Option<&str>) -> Result<RunBranch> {
        check_run_id(run_id)?;
        let core = self.core();
        core.catalog.check_writable()?;
        core.block_on(async {
            let head = self.tree.head(&self.onto).await?.ok_or_else(|| self.tree.gone(&self.onto))?;
            let run = RunBranch::new(core, run_id, &format!("{PREFIX}{run_id}"), (&self.onto, &head), pipeline);
            run.write(core)?;
            match self.tree.create(&run.branch, &self.onto, &head).await {
                Ok(()) => Ok(run),
                Err(error) => {
                    // It may have come to be all the same; a run of that name will not come again.
                    if matches!(self.tree.head(&run.branch).await, Ok(None)) {
                        run.remove(core);
                    }
                    Err(error)
                }
            }
        })
    }

    /// What a lake is opened with whose tables are those of the branch.
    #[must_use]
    pub fn options(&self, run: &RunBranch) -> LakeOptions {
        self.at(&run.branch, Some(run.run_id.clone()))
    }

    fn at(&self, reference: &str, run: Option<String>) -> LakeOptions {
        let mut options = LakeOptions { run, ..self.options.clone() };
        if let CatalogOptions::Rest(rest) = &mut options.catalog {
            rest.branch = Some(reference.to_owned());
        }
        options
    }

    /// Every branch that is on record, oldest first.
    pub fn all(&self) -> Result<Vec<RunBranch>> {
        RunBranch::all(self.core())
    }

    /// The branch of one run, by its id or a beginning that no other has.
    pub fn find(&self, run_id: &str) -> Result<RunBranch, RunError> {
        let known = self.all()?;
        let mut matching = known.iter().filter(|run| !run_id.is_empty() && run.run_id.starts_with(run_id));
        match (matching.next(), matching.next()) {
            (Some(found), None) => Ok(found.clone()),
            _ => Err(RunError::NoBranch {
                run_id: run_id.to_owned(),
                known: known.into_iter().map(|run| run.run_id).collect(),
            }),
        }
    }

    /// Leaves the branch for people to look at.
    pub fn keep(&self, run: &RunBranch, reason: &str) -> Result<()> {
        let kept = RunBranch { state: BranchState::Kept { reason: reason.to_owned() }, ..run.clone() };
        kept.write(self.core())
    }

    /// Whether something was committed on the branch.
    pub fn is_changed(&self, run: &RunBranch) -> Result<bool> {
        let head = self.core().block_on(self.tree.head(&run.branch))?;
        Ok(head.is_some_and(|head| head != run.base))
    }

    /// Makes everything visible that is on the branch, all at once, and drops it. After an error nothing is visible, except after
    /// [`RunError::Unknown`]; the branch is there then.
    pub fn publish(&self, run: &RunBranch) -> Result<Published, RunError> {
        let core = self.core();
        core.block_on(async {
            let Some(head) = self.tree.head(&run.branch).await? else {
                return match self.is_published(run).await? {
                    Some(true) => {
                        run.remove(core);
                        Ok(Published::Before)
                    }
                    _ => Err(RunError::Gone { run_id: run.run_id.clone(), branch: run.branch.clone() }),
                };
            };
            if head == run.base {
                self.drop_branch(run, &head).await?;
                return Ok(Published::Nothing);
            }
            let kept = match &run.state {
                BranchState::Kept { reason } => Some(reason.clone()),
                BranchState::Publishing { kept, .. } => kept.clone(),
                BranchState::Open => None,
            };
            let state = BranchState::Publishing { hash: head.clone(), kept };
            let sending = RunBranch { state, process: core.process.clone(), ..run.clone() };
            sending.write(core)?;
            core.fail_points.pass(fail_point::BEFORE_MERGE)?;
            let published = match self.merge(&sending, &head).await {
                Ok(published) => published,
                Err(error) => {
                    if !matches!(error, RunError::Unknown { .. }) {
                        run.write(core)?;
                    }
                    return Err(error);
                }
            };
            core.fail_points.pass(fail_point::AFTER_MERGE)?;
            // It is published whatever becomes of the branch: a later run finds it on record.
            if let Err(error) = self.drop_branch(&sending, &head).await {
                tracing::warn!(branch = %run.branch, %error, "a branch that was published could not be dropped");
            }
            Ok(published)
        })
    }

    async fn merge(&self, run: &RunBranch, head: &str) -> Result<Published, RunError> {
        let message = match &run.pipeline {
            Some(pipeline) => format!("lakehost run {} of {pipeline}", run.run_id),
            None => format!("lakehost run {}", run.run_id),
        };
        let merge = Merge { branch: &run.branch, hash: head, onto: &self.onto, message: &message };
        let mut open: Option<Error> = None;
        for number in 1..=MERGES {
            let before = self.tree.head(&self.onto).await;
            let problem = match self.tree.merge(merge).await {
                Ok(Merged::Now) => return Ok(Published::Now),
                Ok(Merged::Before) => return Ok(if open.is_some() { Published::Now } else { Published::Before }),
                Ok(Merged::Conflict(said)) => {
                    let moved =
                        !matches!((&before, self.tree.head(&self.onto).await), (Ok(was), Ok(now)) if *was == now);
                    if number == MERGES || !moved || said.contains("in conflict") {
                        return Err(RunError::Conflict {
                            run_id: run.run_id.clone(),
                            branch: run.branch.clone(),
                            onto: self.onto.clone(),
                            said,
                        });
                    }
                    None
                }
                Ok(Merged::Unknown(error)) => Some(error),
                // Once a request is lost, only an answer about the merge itself is one.
                Err(error) if open.is_none() => return Err(error.into()),
                Err(error) => Some(error),
            };
            if let Some(error) = problem {
                if matches!(self.is_published(run).await, Ok(Some(true))) {
                    return Ok(Published::Now);
                }
                open = Some(error);
            }
            tokio::time::sleep(pause(number)).await;
        }
        Err(RunError::Unknown {
            run_id: run.run_id.clone(),
            branch: run.branch.clone(),
            detail: open.map_or_else(String::new, |error| error::whole(&error)),
        })
    }

    /// Whether what a run was about to publish is in the history; `None`: it cannot be told.
    async fn is_published(&self, run: &RunBranch) -> Result<Option<bool>> {
        match &run.state {
            BranchState::Publishing { hash, .. } => {
                self.tree.mentions(&self.onto, &BTreeSet::from([hash.clone()]), &run.base).await
            }
            BranchState::Open | BranchState::Kept { .. } => Ok(Some(false)),
        }
    }

    /// Drops the branch, and the record with it.
    async fn drop_branch(&self, run: &RunBranch, head: &str) -> Result<()> {
        self.delete_branch(&run.branch, head).await?;
        run.remove(self.core());
        Ok(())
    }

    async fn delete_branch(&self, branch: &str, head: &str) -> Result<()> {
        match self.tree.delete(branch, head).await? {
            true => Ok(()),
            false => Err(Error::CatalogUnable {
                catalog: self.tree.shown().to_owned(),
                detail: format!("branch {branch} changed while it was about to be dropped"),
            }),
        }
    }

    /// Drops a branch with what only it has. Files stay where somebody else may need them.
    pub fn discard(&self, run: &RunBranch) -> Result<Discarded> {
        let core = self.core();
        let Some(head) = core.block_on(self.tree.head(&run.branch))? else {
            let was_published = core.block_on(self.is_published(run))? == Some(true);
            run.remove(core);
            return Ok(Discarded { was_published, files_deleted: 0, files_kept: false });
        };
        let commits = core.block_on(self.tree.commits(&run.branch, &run.base))?;
        let written = files::written(self, run)?;
        core.block_on(self.delete_branch(&run.branch, &head))?;
        // From now on nobody can merge it: who has it now has it for good.
        let commits: Option<BTreeSet<String>> = commits.map(|commits| commits.into_iter().chain([head]).collect());
        let (was_published, elsewhere) = match &commits {
            Some(commits) => core.block_on(self.mentioned(run, commits))?,
            None => (false, true),
        };
        let files_deleted = if elsewhere { 0 } else { written.delete(core) };
        run.remove(core);
        Ok(Discarded { was_published, files_deleted, files_kept: elsewhere && !was_published })
    }

    /// Whether commits of a branch are on the one that runs publish to, and whether they are on any branch or tag.
    async fn mentioned(&self, run: &RunBranch, commits: &BTreeSet<String>) -> Result<(bool, bool)> {
        let (mut published, mut elsewhere) = (false, false);
        for (name, _) in self.tree.references().await? {
            // What cannot be told counts as a yes.
            let mentioned = self.tree.mentions(&name, commits, &run.base).await? != Some(false);
            published |= mentioned && name == self.onto;
            elsewhere |= mentioned;
        }
        Ok((published, elsewhere))
    }

    /// Finishes what runs left whose process is gone: what they had published stays, the rest is dropped. Branches that are kept for people stay.
    pub fn sweep(&self) -> Result<Vec<Swept>> {
        let core = self.core();
        let mut swept = Vec::new();
        for run in self.all()? {
            let gone = match run.process.life(&core.process) {
                Life::Alive => false,
                Life::Gone => true,
                Life::Unknown => (core.clock)().saturating_sub(run.started_ms) > AGE_MS,
            };
            if !gone || run.onto != self.onto || matches!(run.state, BranchState::Kept { .. }) {
                continue;
            }
            if let BranchState::Publishing { kept: Some(reason), .. } = &run.state
                && core.block_on(self.is_published(&run))? != Some(true)
            {
                self.keep(&run, reason)?;
                continue;
            }
            let discarded = self.discard(&run)?;
            swept.push(Swept {
                run_id: run.run_id,
                was_published: discarded.was_published,
                files_deleted: discarded.files_deleted,
            });
        }
        Ok(swept)
    }
}

fn pause(number: u32) -> Duration {
    let limit = Duration::from_millis(100 << number.min(10)).min(PAUSE_LIMIT);
    limit / 2 + limit.mul_f64(rand::random_range(0.0..0.5))
}
