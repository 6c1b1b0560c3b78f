//! How far sources were read: their states, and the highest value of their cursors, committed with the rows.
//!
//! The state is a property of the table, so that it is there when the snapshot that brought it has expired. The snapshot's summary says it, too,
//! or where it is too long for that a property of its own: so going back to a snapshot brings its state back.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataFile, Datum, PrimitiveType, Schema, SnapshotRef, TableMetadata};
use lakehost_pipeline::ports::{Progress, TableName};
use lakehost_pipeline::sha256_hex;
use serde::{Deserialize, Serialize};

use crate::catalog::TableState;
use crate::commit::{PREFIX, value};
use crate::error::{Error, Result};

/// Followed by source and data set; the value is the source's state, JSON.
pub const STATE: &str = "lakehost.state.";
/// Followed by source and data set; the value is a [`Cursor`] as JSON.
pub const CURSOR: &str = "lakehost.cursor.";
/// Followed by the id of a snapshot whose state is too long for its summary.
const STATE_OF: &str = "lakehost.state-of.";
/// A longer state is not in the summary.
const SUMMARY_BYTES: usize = 2 << 10;
/// So many long states are kept for going back.
const LONG_STATES: usize = 16;
/// Stands for no state where a digest is recorded.
const NONE: &str = "none";

/// What to set and what to remove.
pub type Change = (HashMap<String, String>, Vec<String>);

/// The highest value that came in the column by which a source goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub column: String,
    /// As people read it.
    pub value: String,
    /// Iceberg's form of a single value, in hex.
    bytes: String,
}

impl Cursor {
    /// The highest value of these files and of what was there before. Text and bytes have bounds that are cut, so they have none.
    pub fn highest(schema: &Schema, column: &str, files: &[DataFile], before: Option<&str>) -> Option<Self> {
        let field = schema.field_by_name(column)?;
        let kind = field.field_type.as_primitive_type()?;
        if matches!(kind, PrimitiveType::String | PrimitiveType::Binary | PrimitiveType::Fixed(_)) {
            return None;
        }
        let before: Option<Self> = before.and_then(|text| serde_json::from_str(text).ok());
        let before = before.filter(|before| before.column == column).and_then(|before| before.datum(kind));
        let new = files.iter().filter_map(|file| file.upper_bounds().get(&field.id)).cloned();
        let highest = new.chain(before).reduce(|highest, value| if value > highest { value } else { highest })?;
        let bytes = highest.to_bytes().ok()?;
        Some(Self { column: column.to_owned(), value: highest.to_string(), bytes: hex::encode(&bytes) })
    }

    fn datum(&self, kind: &PrimitiveType) -> Option<Datum> {
        Datum::try_from_bytes(&hex::decode(&self.bytes).ok()?, kind.clone()).ok()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The state of a source.
pub fn state<'p>(properties: &'p HashMap<String, String>, owner: &str) -> Option<&'p String> {
    properties.get(&format!("{STATE}{owner}"))
}

/// What the summary of a load says of it, by name without the prefix.
pub fn recorded(owner: &str, progress: &Progress) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("state-owner", owner.to_owned()),
        ("state-from", digest(progress.before.as_deref())),
        ("state-digest", digest(progress.after.as_deref())),
    ];
    pairs.extend(progress.after.iter().filter(|state| is_short(state)).map(|state| ("state", state.clone())));
    pairs
}

/// The summary's word for the cursor.
pub fn recorded_cursor(cursor: &Cursor) -> (String, String) {
    (format!("{PREFIX}cursor"), cursor.text())
}

/// What a commit of a load changes. `on_main`: else the state waits on a branch, and only a long one is kept for it.
pub fn record(
    metadata: &TableMetadata,
    owner: &str,
    progress: &Progress,
    cursor: Option<&Cursor>,
    snapshot_id: i64,
    on_main: bool,
) -> Change {
    let (mut set, mut unset) = Change::default();
    if let Some(state) = progress.after.as_ref().filter(|state| !is_short(state)) {
        set.insert(format!("{STATE_OF}{snapshot_id}"), state.clone());
        let long = metadata.properties().keys().filter_map(|name| Some((name, name.strip_prefix(STATE_OF)?)));
        let mut kept = Vec::new();
        for (name, id) in long {
            match id.parse().ok().and_then(|id: i64| metadata.snapshot_by_id(id)) {
                Some(snapshot) => kept.push((snapshot.sequence_number(), name.clone())),
                None => unset.push(name.clone()),
            }
        }
        kept.sort_unstable();
        let surplus = (kept.len() + 1).saturating_sub(LONG_STATES);
        unset.extend(kept.into_iter().take(surplus).map(|(_, name)| name));
    }
    if on_main {
        let found = Found { state: progress.after.clone(), cursor: cursor.map(Cursor::text) };
        found.put(metadata.properties(), owner, &mut set, &mut unset);
    }
    (set, unset)
}

/// The source was not read on by somebody else since a load began.
pub fn check(head: &TableState, owner: &str, progress: &Progress, expected: Option<i64>) -> Result<()> {
    match state(head.metadata.properties(), owner) == progress.before.as_ref() {
        true => Ok(()),
        false => Err(moved(head, owner, expected)),
    }
}

/// The same for a load that stands on a branch.
pub fn check_staged(head: &TableState, staged: &SnapshotRef) -> Result<()> {
    match (value(staged.summary(), "state-owner"), value(staged.summary(), "state-from")) {
        (Some(owner), Some(from)) if digest(state(head.metadata.properties(), owner).map(String::as_str)) != from => {
            Err(moved(head, owner, staged.parent_snapshot_id()))
        }
        _ => Ok(()),
    }
}

fn moved(head: &TableState, owner: &str, expected: Option<i64>) -> Error {
    let found = head.main().map(|main| main.snapshot_id());
    Error::Conflict { table: head.name.clone(), what: format!("how far {owner} is read"), found, expected }
}

/// What a table's properties must say for `main` to be at `target`.
///
/// # Errors
/// `LH0109`: a state at that time is not known any more.
pub fn as_of(table: &TableName, metadata: &TableMetadata, target: &SnapshotRef) -> Result<Change> {
    let (mut set, mut unset) = Change::default();
    let mut ancestors = HashSet::new();
    let mut line = Vec::new();
    let mut next = Some(target);
    while let Some(snapshot) = next.filter(|snapshot| ancestors.insert(snapshot.snapshot_id())) {
        line.push(snapshot);
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    let gapless = line.last().is_some_and(|oldest| oldest.parent_snapshot_id().is_none());
    let owner_of = |snapshot: &SnapshotRef| value(snapshot.summary(), "state-owner").map(str::to_owned);
    let present = metadata.properties().keys();
    let present = present.filter_map(|name| name.strip_prefix(STATE).or_else(|| name.strip_prefix(CURSOR)));
    let mut owners: HashSet<String> = present.map(str::to_owned).collect();
    owners.extend(line.iter().filter_map(|snapshot| owner_of(snapshot)));
    for owner in owners {
        let last = line.iter().find(|snapshot| owner_of(snapshot).as_ref() == Some(&owner));
        let found = match last {
            Some(snapshot) => Found::of(metadata, snapshot),
            None if gapless => Some(Found::default()),
            // It came before all that is listed, or it was changed since.
            None => {
                let mut later = metadata.snapshots().filter(|snapshot| !ancestors.contains(&snapshot.snapshot_id()));
                if later.any(|snapshot| owner_of(snapshot).as_ref() == Some(&owner)) { None } else { continue }
            }
        };
        let Some(found) = found else {
            let detail = format!(
                "cannot go back to snapshot {}: how far {owner} was read then is not known any more",
                target.snapshot_id()
            );
            return Err(Error::reference(table, detail));
        };
        found.put(metadata.properties(), &owner, &mut set, &mut unset);
    }
    Ok((set, unset))
}

/// What changes when a load that stood on a branch comes to `main` as the snapshot `snapshot_id`.
///
/// # Errors
/// `LH0109`: its state is not known any more.
pub fn published(
    table: &TableName,
    metadata: &TableMetadata,
    staged: &SnapshotRef,
    snapshot_id: i64,
) -> Result<Change> {
    let (mut set, mut unset) = Change::default();
    let Some(owner) = value(staged.summary(), "state-owner") else { return Ok((set, unset)) };
    let found = Found::of(metadata, staged).ok_or_else(|| {
        let detail = format!("has no state of {owner} any more for snapshot {}", staged.snapshot_id());
        Error::reference(table, detail)
    })?;
    if let Some(state) = found.state.as_ref().filter(|state| !is_short(state)) {
        set.insert(format!("{STATE_OF}{snapshot_id}"), state.clone());
    }
    found.put(metadata.properties(), owner, &mut set, &mut unset);
    Ok((set, unset))
}

/// What a snapshot brought.
#[derive(Default)]
struct Found {
    state: Option<String>,
    cursor: Option<String>,
}

impl Found {
    /// `None`: its state is not known any more.
    fn of(metadata: &TableMetadata, snapshot: &SnapshotRef) -> Option<Self> {
        let summary = snapshot.summary();
        let cursor = value(summary, "cursor").map(str::to_owned);
        let wanted = value(summary, "state-digest")?;
        if wanted == NONE {
            return Some(Self { state: None, cursor });
        }
        let long = metadata.properties().get(&format!("{STATE_OF}{}", snapshot.snapshot_id()));
        let state = long.map(String::as_str).or_else(|| value(summary, "state"))?;
        (digest(Some(state)) == wanted).then(|| Self { state: Some(state.to_owned()), cursor })
    }

    fn put(
        self,
        present: &HashMap<String, String>,
        owner: &str,
        set: &mut HashMap<String, String>,
        unset: &mut Vec<String>,
    ) {
        for (prefix, value) in [(STATE, self.state), (CURSOR, self.cursor)] {
            let name = format!("{prefix}{owner}");
            match value {
                Some(value) if present.get(&name) != Some(&value) => drop(set.insert(name, value)),
                None if present.contains_key(&name) => unset.push(name),
                _ => {}
            }
        }
    }
}

fn is_short(state: &str) -> bool {
    state.len() <= SUMMARY_BYTES
}

fn digest(state: Option<&str>) -> String {
    state.map_or_else(|| NONE.to_owned(), |state| sha256_hex(state.as_bytes()))
}
