//! Which loads a table holds: what its properties say, and the summaries of its snapshots where they say more.

use std::collections::{BTreeSet, HashMap, HashSet};

use iceberg::spec::{Operation, SnapshotRef, TableMetadata};
use lakehost_pipeline::ports::WriteMode;

use crate::catalog::TableState;
use crate::commit::{ACTION, LOADED_KEY, REPLAY, Removal, value};
use crate::properties;

/// A load that a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub load_id: String,
    pub snapshot_id: i64,
}

/// The last load of a window whose id `fits`: by property, else by the history of `main`.
///
/// Loads that were added stand side by side, so one that its owner's property does not name any more may still be there.
pub fn find(
    state: &TableState,
    mode: WriteMode,
    owner: &str,
    window: &str,
    fits: impl Fn(&str) -> bool,
) -> Option<Found> {
    let key = properties::key(mode, owner, window);
    let of_key = |key: &str| {
        let (load_id, snapshot_id) = properties::loaded(state.metadata.properties(), key)?;
        fits(&load_id).then_some(Found { load_id, snapshot_id })
    };
    let found = of_key(&key);
    // Of merges the last one counts: what one before it brought may be there no more.
    let merges = mode == WriteMode::Merge;
    let superseded = merges && properties::loaded(state.metadata.properties(), &key).is_some();
    if found.is_some() || key == window || superseded {
        return found;
    }
    for snapshot in state.history() {
        let Some(load) = Recorded::of(snapshot) else { continue };
        // Before keys were recorded, that of an added load was its window alone.
        let ours = load.key.as_ref().map_or(load.mode == Mode::Adds && load.window == window, |found| *found == key);
        if ours && fits(&load.load_id) {
            return Some(Found { load_id: load.load_id, snapshot_id: snapshot.snapshot_id() });
        }
        if ours && merges {
            return None;
        }
        if load.replaces(window) {
            return None;
        }
    }
    // The same goes for properties, and their snapshots may have gone.
    let owned = state.metadata.properties().get(properties::OWNER).is_some_and(|found| found == owner);
    of_key(window).filter(|found| owned && state.metadata.snapshot_by_id(found.snapshot_id).is_none())
}

/// The ids of all loads whose rows `main` has: those that properties name, and those that came before and were not replaced since, as far back
/// as snapshots have not expired.
pub fn present(state: &TableState) -> BTreeSet<String> {
    let properties = state.metadata.properties();
    let keys = properties::all_loaded(properties).filter_map(|(name, _)| name.strip_prefix(properties::LOADED));
    let mut ids: BTreeSet<String> =
        keys.filter_map(|key| properties::loaded(properties, key)).map(|(load_id, _)| load_id).collect();
    let mut later: Vec<Recorded> = Vec::new();
    for load in state.history().filter_map(Recorded::of) {
        if !later.iter().any(|later| later.replaces(&load.window)) {
            ids.insert(load.load_id.clone());
        }
        if load.mode != Mode::Adds {
            later.push(load);
        }
    }
    ids
}

/// What a snapshot's summary says of the load that made it.
#[derive(Debug)]
pub struct Recorded {
    pub load_id: String,
    /// That of its property; `None`: not recorded.
    pub key: Option<String>,
    pub window: String,
    pub mode: Mode,
}

/// What a load did to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    ReplacesWindow,
    ReplacesAll,
    Adds,
}

impl Recorded {
    /// `None`: no load made it.
    pub fn of(snapshot: &SnapshotRef) -> Option<Self> {
        let summary = snapshot.summary();
        let load_id = value(summary, "load-id")?.to_owned();
        let window = value(summary, "window").unwrap_or(properties::WHOLE);
        let mode = match value(summary, "mode") {
            Some("append" | "merge") => Mode::Adds,
            Some("full-refresh") => Mode::ReplacesAll,
            Some(_) => Mode::ReplacesWindow,
            // Written before the mode was recorded: what removed nothing hides nothing.
            None if summary.operation == Operation::Append => Mode::Adds,
            None => Mode::ReplacesWindow,
        };
        Some(Self { load_id, key: value(summary, LOADED_KEY).map(str::to_owned), window: window.to_owned(), mode })
    }

    /// The name of its property.
    pub fn property(&self) -> String {
        format!("{}{}", properties::LOADED, self.key.as_ref().unwrap_or(&self.window))
    }

    /// Whether older loads of a window went with it.
    fn replaces(&self, window: &str) -> bool {
        match self.mode {
            Mode::Adds => false,
            Mode::ReplacesAll => true,
            Mode::ReplacesWindow => self.window == window,
        }
    }
}

/// What to set and what to remove once a load is in the table that removed some files of others.
pub fn after(
    present: &HashMap<String, String>,
    key: &str,
    load_id: &str,
    snapshot_id: i64,
    removal: &Removal,
) -> (HashMap<String, String>, Vec<String>) {
    let (set, mut unset) = properties::record_loaded(present, key, load_id, snapshot_id);
    let gone = properties::all_loaded(present).filter(|(name, window)| {
        // What the removed files held is not loaded any more.
        let removed = match removal {
            Removal::Everything => true,
            Removal::Window(_) => *window == properties::window_of(key),
            Removal::Nothing | Removal::Files(_) => false,
        };
        removed && !set.contains_key(*name) && !unset.contains(name)
    });
    let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
    unset.extend(gone);
    (set, unset)
}

/// The properties of loads whose rejected rows came to `main` behind these snapshots.
fn replayed_since(metadata: &TableMetadata, ancestors: &HashSet<i64>) -> HashSet<String> {
    let mut names = HashSet::new();
    let mut next = metadata.current_snapshot();
    while let Some(snapshot) = next.filter(|snapshot| !ancestors.contains(&snapshot.snapshot_id())) {
        let summary = snapshot.summary();
        if value(summary, ACTION) == Some(REPLAY)
            && let Some(key) = value(summary, LOADED_KEY)
        {
            names.insert(format!("{}{key}", properties::LOADED));
        }
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    names
}

/// The properties that a table must have for `main` to be at `target`: each window as the snapshots up to there loaded it.
///
/// The second value are properties of loads that are not there.
pub fn as_of(metadata: &TableMetadata, target: &SnapshotRef) -> (HashMap<String, String>, Vec<String>) {
    let mut kept = HashMap::new();
    let mut replaced: HashSet<String> = HashSet::new();
    let mut ancestors = HashSet::new();
    let mut all_replaced = false;
    let mut next = Some(target);
    while let Some(snapshot) = next.filter(|snapshot| ancestors.insert(snapshot.snapshot_id())) {
        if let Some(load) = Recorded::of(snapshot).filter(|_| !all_replaced) {
            if !replaced.contains(&load.window) {
                let name = load.property();
                kept.entry(name).or_insert_with(|| properties::loaded_value(&load.load_id, snapshot.snapshot_id()));
            }
            all_replaced = load.mode == Mode::ReplacesAll;
            if load.mode == Mode::ReplacesWindow {
                replaced.insert(load.window);
            }
        }
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    let mut gone = Vec::new();
    let gapless = metadata
        .snapshots()
        .any(|snapshot| ancestors.contains(&snapshot.snapshot_id()) && snapshot.parent_snapshot_id().is_none());
    for (name, window) in properties::all_loaded(metadata.properties()) {
        if kept.contains_key(name) {
            continue;
        }
        let key = name.strip_prefix(properties::LOADED).unwrap_or(name);
        // Old snapshots expire first, so one that is not listed any more came before the target, unless the history shows all that did.
        let stays = !gapless
            && !all_replaced
            && !replaced.contains(window)
            && properties::loaded(metadata.properties(), key)
                .is_some_and(|(_, snapshot_id)| metadata.snapshot_by_id(snapshot_id).is_none());
        if !stays {
            gone.push(name.clone());
        }
    }
    // Rows that were replayed since are rejected no more, and would be nowhere: their windows have to be loaded again.
    for name in replayed_since(metadata, &ancestors) {
        kept.remove(&name);
        if metadata.properties().contains_key(&name) && !gone.contains(&name) {
            gone.push(name);
        }
    }
    kept.retain(|name, value| metadata.properties().get(name) != Some(value));
    (kept, gone)
}
