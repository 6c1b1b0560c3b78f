//! What a commit does to one table, said without sending anything.
//!
//! An [`Action`] looks at the table as it is and answers a [`Delta`]: columns, a snapshot, branches, properties. [`land`](super::land) turns it
//! into a request, and asks again whenever the table has moved. So an action decides only what it wants on a given head, and when that is no
//! longer possible it fails by name.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use iceberg::TableRequirement;
use iceberg::spec::{DataFile, MAIN_BRANCH, Operation, Schema, SnapshotReference, SortOrder, UnboundPartitionSpec};
use lakehost_pipeline::ports::TableName;

use super::manifests::Manifests;
use crate::catalog::{Base, TableState};
use crate::core::Core;
use crate::error::Result;
use crate::layout::WindowValue;

/// One table's part in a commit. It is asked anew on every head, so it must change nothing but files that it names in [`Delta::scratch`].
#[async_trait]
pub trait Action: Send + Sync {
    fn table(&self) -> &TableName;
    /// What to do on this head.
    async fn prepare(&self, on: &On<'_>) -> Result<Step>;
}

/// What an action is asked on.
pub struct On<'a> {
    pub core: &'a Core,
    pub manifests: &'a Manifests,
    /// The table when the commit began.
    pub base: Option<&'a TableState>,
    /// The table now.
    pub head: Option<&'a TableState>,
    /// Counted from 1.
    pub attempt: u32,
    /// The id of the snapshot that the action brings, the same in all attempts; a token of its own when it brings none.
    pub snapshot_id: i64,
    pub run_id: &'a str,
}

/// An action's answer.
pub enum Step {
    /// The table is as it should be; by this snapshot, when one did it.
    Nothing {
        snapshot_id: Option<i64>,
    },
    Change(Box<Delta>),
}

/// A change to one table. Columns, spec and order come first, then the snapshot, then the rest, all in one commit.
#[derive(Clone, Debug)]
pub struct Delta {
    pub base: Base,
    /// New columns; becomes the current schema.
    pub schema: Option<Schema>,
    /// Becomes the default spec.
    pub spec: Option<UnboundPartitionSpec>,
    /// Becomes the default order.
    pub sort_order: Option<SortOrder>,
    pub snapshot: Option<NewSnapshot>,
    pub refs: Vec<RefChange>,
    pub remove_snapshots: Vec<i64>,
    pub set: HashMap<String, String>,
    pub unset: Vec<String>,
    /// Beyond what follows from the rest.
    pub requires: Vec<TableRequirement>,
    /// A property that only this very change sets to this value. Without one, and without a snapshot, the change has landed when the table
    /// looks as if it had.
    pub proof: Option<(String, String)>,
    /// Files of this attempt alone, deleted when it certainly lost.
    pub scratch: Vec<String>,
}

impl Delta {
    /// Changes nothing yet.
    #[must_use]
    pub fn on(base: Base) -> Self {
        Self {
            base,
            schema: None,
            spec: None,
            sort_order: None,
            snapshot: None,
            refs: Vec::new(),
            remove_snapshots: Vec::new(),
            set: HashMap::new(),
            unset: Vec::new(),
            requires: Vec::new(),
            proof: None,
            scratch: Vec::new(),
        }
    }
}

/// A branch or tag that comes, moves or goes.
#[derive(Clone, Debug, PartialEq)]
pub enum RefChange {
    Set { name: String, reference: SnapshotReference },
    Remove { name: String },
}

/// A snapshot to be made.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// The branch that it becomes the head of; a new one begins at the head of `main`.
    pub branch: String,
    /// `None`: what the files say (`append`, `overwrite`, `delete`).
    pub operation: Option<Operation>,
    pub removal: Removal,
    pub added: Vec<Added>,
    /// Beyond Iceberg's counters.
    pub summary: Vec<(String, String)>,
    /// All manifests of data files are written anew, neighbours together.
    pub regroup: bool,
}

impl NewSnapshot {
    /// On `main`, with nothing removed or added yet.
    #[must_use]
    pub fn on_main(summary: Vec<(String, String)>) -> Self {
        Self {
            branch: MAIN_BRANCH.to_owned(),
            operation: None,
            removal: Removal::Nothing,
            added: Vec::new(),
            summary,
            regroup: false,
        }
    }
}

/// A file that a snapshot adds.
#[derive(Clone, Debug)]
pub struct Added {
    pub file: DataFile,
    /// The partition spec that it was written under; `None`: the table's default.
    pub spec_id: Option<i32>,
}

impl Added {
    /// A file of new rows, under the default spec.
    #[must_use]
    pub fn new(file: DataFile) -> Self {
        Self { file, spec_id: None }
    }
}

/// Which files of the table a snapshot removes.
#[derive(Clone, Debug, PartialEq)]
pub enum Removal {
    Nothing,
    /// Those of one window, whatever spec they were written under.
    Window(WindowValue),
    Everything,
    /// These, by location; each must be live.
    Files(HashSet<String>),
}
