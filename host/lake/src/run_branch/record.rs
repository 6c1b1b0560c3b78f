//! The record of a run's branch.

use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::process::Process;

/// How far a run's branch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum BranchState {
    /// The run is at work, or its process died.
    Open,
    /// Left for people to look at.
    Kept { reason: String },
    /// A merge of the branch as it was at `hash` was sent, or is about to be.
    Publishing {
        hash: String,
        /// Why it was kept before.
        #[serde(default)]
        kept: Option<String>,
    },
}

/// The branch of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBranch {
    /// Of this format: 1.
    pub version: u32,
    pub run_id: String,
    pub branch: String,
    /// The branch that it was made from and is published to.
    pub onto: String,
    /// The commit that it began at.
    pub base: String,
    pub pipeline: Option<String>,
    pub process: Process,
    pub started_ms: i64,
    #[serde(flatten)]
    pub state: BranchState,
}

impl RunBranch {
    const VERSION: u32 = 1;

    pub(super) fn new(
        core: &Core,
        run_id: &str,
        branch: &str,
        (onto, base): (&str, &str),
        pipeline: Option<&str>,
    ) -> Self {
        Self {
            version: Self::VERSION,
            run_id: run_id.to_owned(),
            branch: branch.to_owned(),
            onto: onto.to_owned(),
            base: base.to_owned(),
            pipeline: pipeline.map(str::to_owned),
            process: core.process.clone(),
            started_ms: (core.clock)(),
            state: BranchState::Open,
        }
    }

    fn location(&self, core: &Core) -> String {
        format!("{}/{}.json", core.warehouse.run_branches(), self.run_id)
    }

    pub(super) fn write(&self, core: &Core) -> Result<()> {
        let location = self.location(core);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("the record of branch {} is no JSON: {error}", self.branch)))?;
        core.store.note(&location, &text).map_err(Error::store("write", location))
    }

    /// The record goes last: while it is there somebody tidies up.
    pub(super) fn remove(&self, core: &Core) {
        let folder = format!("{}/{}", core.warehouse.run_branches(), self.run_id);
        if let Err(error) = core.store.delete_folder(&folder) {
            tracing::warn!(%folder, %error, "records of a branch that is gone could not be deleted");
        }
        core.forget([self.location(core)]);
    }

    /// All records, oldest first. One that cannot be read is left alone.
    pub(super) fn all(core: &Core) -> Result<Vec<Self>> {
        let folder = core.warehouse.run_branches();
        let files = core.store.list(&folder).map_err(Error::store("list", &folder))?;
        let mut found = Vec::new();
        for file in files.into_iter().filter(|file| file.name.ends_with(".json") && !file.name.starts_with('.')) {
            let bytes = match core.store.get(&file.location) {
                Ok(bytes) => bytes,
                // Its own run has just removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::store("read", file.location)(error)),
            };
            match serde_json::from_slice::<Self>(&bytes) {
                Ok(run) if run.version == Self::VERSION && crate::location::check_run_id(&run.run_id).is_ok() => {
                    found.push(run);
                }
                Ok(run) => tracing::warn!(file = %file.location, version = run.version, "a record of another format"),
                Err(error) => tracing::warn!(file = %file.location, %error, "a record that cannot be read"),
            }
        }
        found.sort_by_key(|run| run.started_ms);
        Ok(found)
    }
}
