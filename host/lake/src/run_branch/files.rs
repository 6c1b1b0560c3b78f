//! The files that only a run's branch has.
//!
//! A table that was born on the branch is there alone, folder and all. In a table that was there before, the files of the run are those that carry its
//! id in their name; what models wrote there has other names, and is left to the catalog's own garbage collection.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::{RunBranch, RunBranches};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::lake::IcebergLake;
use crate::location::data_prefix;

/// Files that go with a branch.
#[derive(Debug, Default)]
pub struct Written {
    files: Vec<String>,
}

/// Looks for them while the branch is still there.
pub fn written(branches: &RunBranches, run: &RunBranch) -> Result<Written> {
    let then = locations(&IcebergLake::open(branches.at(&format!("{}@{}", run.onto, run.base), None))?)?;
    let now = locations(&IcebergLake::open(branches.options(run))?)?;
    let (core, ours) = (branches.core(), data_prefix(&run.run_id));
    let mut files = Vec::new();
    for folder in now {
        let born = !then.contains(&folder) && core.warehouse.owns(&folder);
        let mut visit = |file: crate::store::StoredFile| {
            if born || file.name.starts_with(&ours) {
                files.push(file.location);
            }
            ControlFlow::Continue(())
        };
        core.store.walk(&format!("{folder}/"), &mut visit).map_err(Error::store("list", &folder))?;
    }
    Ok(Written { files })
}

/// The folders of all tables.
fn locations(lake: &IcebergLake) -> Result<BTreeSet<String>> {
    lake.core.block_on(async {
        let mut found = BTreeSet::new();
        for entry in lake.core.catalog.list_tables(None).await? {
            if let Some(state) = lake.core.catalog.load(&entry.table).await? {
                found.insert(state.metadata.location().trim_end_matches('/').to_owned());
            }
        }
        Ok(found)
    })
}

impl Written {
    /// Deletes them; one that stays only wastes space.
    pub fn delete(self, core: &Core) -> u64 {
        let failed = core.store.delete_many(&self.files);
        for (file, error) in &failed {
            tracing::warn!(%file, %error, "a file of a branch that is gone could not be deleted");
        }
        (self.files.len() - failed.len()) as u64
    }
}
