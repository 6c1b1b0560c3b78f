//! Branches and tags, and going back.

use std::collections::BTreeMap;

use async_trait::async_trait;
use iceberg::TableRequirement;
use iceberg::spec::{MAIN_BRANCH, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata};
use lakehost_pipeline::ports::TableName;

use crate::catalog::{Base, TableState};
use crate::commit::{Action, Delta, On, RefChange, Step};
use crate::error::{Error, Result};
use crate::history::{AsOf, find};
use crate::lake::IcebergLake;
use crate::loaded;
use crate::source_state;

/// The property that names the last roll-back: from, to, and a number of its own.
const ROLLED_BACK: &str = "lakehost.rolled-back";

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefKind {
    /// One snapshot for good.
    Tag,
    /// A line of snapshots that others may add to.
    Branch,
}

impl RefKind {
    fn word(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Branch => "branch",
        }
    }

    fn of(reference: &SnapshotReference) -> Self {
        if reference.is_branch() { Self::Branch } else { Self::Tag }
    }

    pub(crate) fn retention(self, keep_ms: Option<i64>) -> SnapshotRetention {
        match self {
            Self::Tag => SnapshotRetention::Tag { max_ref_age_ms: keep_ms },
            Self::Branch => SnapshotRetention::Branch {
                min_snapshots_to_keep: None,
                max_snapshot_age_ms: None,
                max_ref_age_ms: keep_ms,
            },
        }
    }
}

/// All branches and tags of a table, by name. The Iceberg library keeps them to itself, so they are read from what it writes.
///
/// # Errors
/// When the metadata cannot be written as JSON.
pub fn references(metadata: &TableMetadata) -> Result<BTreeMap<String, SnapshotReference>> {
    let wrong = |error: serde_json::Error| {
        Error::Internal(format!("the branches of {} cannot be read: {error}", metadata.location()))
    };
    let mut json = serde_json::to_value(metadata).map_err(wrong)?;
    match json.get_mut("refs").map(serde_json::Value::take) {
        Some(refs) => serde_json::from_value(refs).map_err(wrong),
        None => Ok(BTreeMap::new()),
    }
}

/// A branch or tag that may be made: not `main`, nothing that reads as a snapshot id or a time.
pub fn check_name(table: &TableName, name: &str) -> Result<()> {
    let sound = (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && !name.contains("..")
        && name != MAIN_BRANCH;
    if sound {
        return Ok(());
    }
    Err(Error::Reference {
        table: table.clone(),
        detail: format!("cannot have a branch or tag named `{}`", name.escape_debug()),
        hint: Some(
            "a name begins with a letter and holds letters, digits, `.`, `_`, `/` and `-`, at most 128".to_owned(),
        ),
    })
}

/// The requirement that a branch or tag is where it was.
pub fn stays(name: &str, snapshot_id: Option<i64>) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch { r#ref: name.to_owned(), snapshot_id }
}

/// The reference of a branch or tag.
pub fn reference(state: &TableState, name: &str) -> Result<Option<SnapshotReference>> {
    if state.metadata.snapshot_for_ref(name).is_none() {
        return Ok(None);
    }
    Ok(references(&state.metadata)?.remove(name))
}

/// The head of an action, which needs a table.
pub fn head<'a>(on: &On<'a>, table: &TableName) -> Result<&'a TableState> {
    on.head.ok_or_else(|| Error::NoTable { table: table.clone(), known: Vec::new() })
}

impl IcebergLake {
    /// Brings `main` back to a snapshot that it was at before, and with it what the table says of its loads: windows that were loaded since
    /// load again. The snapshot's id.
    ///
    /// # Errors
    /// `LH0101` there is no such snapshot, `LH0109` `main` was never there, `LH0602` somebody committed meanwhile.
    pub fn rollback(&self, table: &TableName, to: &AsOf) -> Result<i64> {
        let target = self.snapshot_id(table, to)?;
        self.act(&Rollback { table, target }, "rollback")?;
        Ok(target)
    }

    /// Makes a tag or branch at a point of the history, or at the head of `main`; `keep_ms`: expiry may take it when it is older. The
    /// snapshot's id.
    ///
    /// # Errors
    /// `LH0101` there is no such snapshot, `LH0109` the name cannot be, or is taken.
    pub fn set_ref(
        &self,
        table: &TableName,
        name: &str,
        kind: RefKind,
        at: Option<&AsOf>,
        keep_ms: Option<i64>,
    ) -> Result<i64> {
        check_name(table, name)?;
        let head = AsOf::Reference(MAIN_BRANCH.to_owned());
        let snapshot_id = self.snapshot_id(table, at.unwrap_or(&head))?;
        let reference = SnapshotReference { snapshot_id, retention: kind.retention(keep_ms) };
        self.act(&SetRef { table, name, reference }, "ref")?;
        Ok(snapshot_id)
    }

    /// Forgets a tag or branch; its snapshots stay until they expire.
    ///
    /// # Errors
    /// `LH0109` there is none of that name.
    pub fn drop_ref(&self, table: &TableName, name: &str) -> Result<()> {
        check_name(table, name)?;
        self.act(&DropRef { table, name }, "ref").map(|_| ())
    }

    fn snapshot_id(&self, table: &TableName, at: &AsOf) -> Result<i64> {
        find(&self.state(table)?.metadata, at)
            .ok_or_else(|| Error::NoSnapshot { table: table.to_string(), wanted: at.to_string() })
    }
}

struct Rollback<'a> {
    table: &'a TableName,
    target: i64,
}

#[async_trait]
impl Action for Rollback<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table)?;
        let id = |state: &TableState| state.main().map(|main| main.snapshot_id());
        let (found, expected) = (id(head), on.base.and_then(id));
        if found != expected {
            // What came meanwhile was not meant.
            return Err(Error::Conflict { table: self.table.clone(), what: "the table".to_owned(), found, expected });
        }
        if found == Some(self.target) {
            return Ok(Step::Nothing { snapshot_id: None });
        }
        let Some(target) = self.was_main(head) else {
            return Err(Error::reference(self.table, format!("never had snapshot {} on main", self.target)));
        };
        let (set, unset) = loaded::as_of(&head.metadata, target);
        let mut delta = Delta::on(Base::Existing(head.clone()));
        let retention = reference(head, MAIN_BRANCH)?.map(|main| main.retention);
        delta.refs = vec![RefChange::Set {
            name: MAIN_BRANCH.to_owned(),
            reference: SnapshotReference {
                snapshot_id: self.target,
                retention: retention.unwrap_or_else(|| RefKind::Branch.retention(None)),
            },
        }];
        delta.requires = vec![stays(MAIN_BRANCH, found)];
        let proof = (ROLLED_BACK.to_owned(), format!("{}:{}:{}", found.unwrap_or(0), self.target, on.snapshot_id));
        let (states, gone) = source_state::as_of(self.table, &head.metadata, target)?;
        delta.set = set;
        delta.set.extend(states);
        delta.set.insert(proof.0.clone(), proof.1.clone());
        (delta.unset, delta.proof) = (unset.into_iter().chain(gone).collect(), Some(proof));
        Ok(Step::Change(Box::new(delta)))
    }
}

impl Rollback<'_> {
    /// The target, when `main` is or was there.
    fn was_main<'b>(&self, head: &'b TableState) -> Option<&'b SnapshotRef> {
        let logged = head.metadata.history().iter().any(|entry| entry.snapshot_id == self.target);
        (logged || head.is_on_main(self.target)).then(|| head.metadata.snapshot_by_id(self.target))?
    }
}

struct SetRef<'a> {
    table: &'a TableName,
    name: &'a str,
    reference: SnapshotReference,
}

#[async_trait]
impl Action for SetRef<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table)?;
        if let Some(found) = reference(head, self.name)? {
            if found == self.reference {
                return Ok(Step::Nothing { snapshot_id: None });
            }
            let kind = RefKind::of(&found).word();
            let detail = format!("has a {kind} `{}` already, at snapshot {}", self.name, found.snapshot_id);
            return Err(Error::reference(self.table, detail));
        }
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.refs = vec![RefChange::Set { name: self.name.to_owned(), reference: self.reference.clone() }];
        delta.requires = vec![stays(self.name, None)];
        Ok(Step::Change(Box::new(delta)))
    }
}

struct DropRef<'a> {
    table: &'a TableName,
    name: &'a str,
}

#[async_trait]
impl Action for DropRef<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table)?;
        let at = |state: &TableState| state.metadata.snapshot_for_ref(self.name).map(|snapshot| snapshot.snapshot_id());
        let Some(present) = at(head) else {
            return match on.base.and_then(at) {
                // It was there when this began: gone is what was wanted.
                Some(_) => Ok(Step::Nothing { snapshot_id: None }),
                None => Err(Error::reference(self.table, format!("has no branch or tag `{}`", self.name))),
            };
        };
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.refs = vec![RefChange::Remove { name: self.name.to_owned() }];
        delta.requires = vec![stays(self.name, Some(present))];
        Ok(Step::Change(Box::new(delta)))
    }
}
