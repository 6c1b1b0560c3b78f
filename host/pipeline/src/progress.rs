//! Where a source reads on from, and where the next load will.
//!
//! A state belongs to loads that add to what is there: what they read is what came since. A load that replaces everything reads everything, and
//! leaves the state for those that follow it. A window says itself what it holds, so a load that replaces one has no state at all.

use crate::diagnostic::Fault;
use crate::load_id::sha256_hex;
use crate::ports::{Dataset, Progress, TableName, WriteMode};
use crate::run::Ports;
use crate::window::Window;

/// What a load starts from.
#[derive(Debug, Default)]
pub(crate) struct Start {
    mode: Option<WriteMode>,
    /// What the table has.
    present: Option<String>,
    /// What the source is told of it.
    given: Option<String>,
}

impl Start {
    /// Reads the table's state of a source; `force`: everything is read again.
    pub fn of(ports: &Ports<'_>, table: &TableName, owner: &str, mode: WriteMode, force: bool) -> Result<Self, Fault> {
        if mode == WriteMode::ReplaceWindow {
            return Ok(Self::default());
        }
        let present = ports.lake.source_state(table, owner)?;
        let reads_on = matches!(mode, WriteMode::Append | WriteMode::Merge) && !force;
        let given = present.clone().filter(|_| reads_on);
        Ok(Self { mode: Some(mode), present, given })
    }

    /// The state that the source is told.
    pub fn given(&self) -> Option<&str> {
        self.given.as_deref()
    }

    /// The option by which the load id tells loads from other states apart.
    pub fn option(&self) -> Option<String> {
        Some(format!("state={}", sha256_hex(self.given()?.as_bytes())))
    }

    /// Asks the source for the state to commit with the rows, once all are read.
    pub fn progress(
        &self,
        ports: &mut Ports<'_>,
        dataset: &Dataset,
        window: Option<&Window>,
    ) -> Result<Option<Progress>, Fault> {
        let Some(mode) = self.mode else { return Ok(None) };
        let made = ports.source.checkpoint(&dataset.name, window, self.given())?;
        let before = self.present.clone();
        // A source that has nothing to say leaves things as they are, unless everything was replaced.
        let after = made.or_else(|| before.clone().filter(|_| mode != WriteMode::FullRefresh));
        let progress = Progress { before, after, cursor: dataset.cursor.clone() };
        Ok((progress != Progress::default()).then_some(progress))
    }

    /// Whether a load without rows is worth a commit: it adds nothing, and the source is further than it was.
    pub fn moves_on(&self, progress: Option<&Progress>) -> bool {
        let adds = matches!(self.mode, Some(WriteMode::Append | WriteMode::Merge));
        adds && progress.is_some_and(|progress| progress.after != progress.before)
    }
}
