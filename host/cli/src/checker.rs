//! A pipeline's checks over the warehouse: the lake stages the rows, the query engine looks at them.

use lakehost_lake::{IcebergLake, Prepared};
use lakehost_pipeline::checks::{Check, CheckOutcome};
use lakehost_pipeline::ports::{Checker, Staged, TableName};
use lakehost_pipeline::{Fault, Window};
use lakehost_query::{Checked, OpenTable, Tables, run_checks};

use crate::config::resolve::Where;
use crate::error::Error;
use crate::models::audit;
use crate::progress;
use crate::warehouse::Warehouse;

/// The tables of a lake as they are.
pub struct Present<'a>(pub &'a IcebergLake);

impl Tables for Present<'_> {
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>, Fault> {
        if !self.0.table_names(Some(&name.namespace))?.contains(name) {
            return Ok(None);
        }
        Ok(Some(OpenTable { table: self.0.open_table(name)?, snapshot_id: None }))
    }

    fn names(&self) -> Result<Vec<TableName>, Fault> {
        Ok(self.0.table_names(None)?)
    }
}

/// Looks at what a lake has staged.
pub struct LakeChecker<'a> {
    pub warehouse: &'a Warehouse,
    pub place: &'a Where,
    /// For sorts, joins and aggregates.
    pub memory_bytes: u64,
}

impl LakeChecker<'_> {
    /// One outcome for each check, over a table as it would be.
    pub fn look(
        &self,
        name: &TableName,
        prepared: &Prepared,
        window: Option<&Window>,
        checks: &[Check],
    ) -> Result<Vec<CheckOutcome>, Fault> {
        let (tests, ours): (Vec<Check>, Vec<Check>) = checks.iter().cloned().partition(audit::is_made_here);
        let (table, snapshot_id) = (prepared.table.clone(), prepared.snapshot_id);
        let checked = Checked { name, table, snapshot_id, window, now_ms: progress::now_ms() };
        let memory_bytes = usize::try_from(self.memory_bytes).ok();
        let mut found = run_checks(Present(&self.warehouse.lake), memory_bytes, &checked, &ours)?.into_iter();
        let mut tested = audit::look(self.warehouse, self.place, name, prepared, window, &tests)?.into_iter();
        let outcome = |check| if audit::is_made_here(check) { tested.next() } else { found.next() };
        Ok(checks.iter().filter_map(outcome).collect())
    }
}

impl Checker for LakeChecker<'_> {
    fn check(&self, staged: &Staged, window: Option<&Window>, checks: &[Check]) -> Result<Vec<CheckOutcome>, Fault> {
        match staged.handle.downcast_ref::<Prepared>() {
            Some(prepared) => self.look(&staged.table, prepared, window, checks),
            None => Err(Error::Bug {
                what: format!("what is staged for {} cannot be looked at", staged.table),
                cause: "it comes from another lake".to_owned(),
            }
            .into()),
        }
    }
}
