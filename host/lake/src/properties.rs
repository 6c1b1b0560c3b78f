//! What a table says of itself in properties: whose it is, and which load each window holds.

use std::collections::HashMap;

use lakehost_pipeline::ports::{Owner, TableName, Target, WriteMode};

use crate::error::{Error, Result};

/// Source and data set: `nyc_tlc/green`.
pub const OWNER: &str = "lakehost.owner";
/// How wide its windows are.
pub const GRANULARITY: &str = "lakehost.granularity";
/// Cleaner names in order.
pub const CLEANERS: &str = "lakehost.cleaners";
/// Followed by the key of a load, see [`key`]; the value is `<load-id>:<snapshot-id>`.
pub const LOADED: &str = "lakehost.loaded.";
/// So many windows keep their `lakehost.loaded.` property, the newest.
pub const LOADED_LIMIT: usize = 1_000;
/// The window key of loads without windows.
pub const WHOLE: &str = "all";

/// Old metadata files that a table keeps: enough for a reader that is under way, few enough that the folder does not fill up with them.
const PREVIOUS_VERSIONS: &str = "20";

/// The properties that a new table is born with.
pub fn initial(owner: &Owner) -> HashMap<String, String> {
    let mut properties = owner_properties(owner);
    for (name, value) in [
        ("write.parquet.compression-codec", "zstd"),
        ("write.metadata.previous-versions-max", PREVIOUS_VERSIONS),
        (DELETE_AFTER_COMMIT, "true"),
    ] {
        properties.insert(name.to_owned(), value.to_owned());
    }
    properties
}

/// The table property that lets old metadata files go.
pub const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// The three properties of an owner.
pub fn owner_properties(owner: &Owner) -> HashMap<String, String> {
    wanted(owner).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn wanted(owner: &Owner) -> [(&'static str, String); 3] {
    [
        (OWNER, owner.owner.clone()),
        (GRANULARITY, owner.granularity.word().to_owned()),
        (CLEANERS, owner.cleaners.clone()),
    ]
}

/// The table is this owner's.
pub fn check_owner(table: &TableName, properties: &HashMap<String, String>, owner: &Owner) -> Result<()> {
    for (name, wanted) in wanted(owner) {
        let found = properties.get(name);
        if found != Some(&wanted) {
            return Err(Error::Owner {
                table: table.clone(),
                property: name.to_owned(),
                found: found.cloned(),
                wanted,
            });
        }
    }
    Ok(())
}

/// The key of a load's property: the window, and before it `<source>/<data set>:` where loads of several owners stand side by side. A load
/// that replaces others takes over their place; one that is added must not hide that another one was.
pub fn key(mode: WriteMode, owner: &str, window_key: &str) -> String {
    match mode {
        WriteMode::ReplaceWindow | WriteMode::FullRefresh => window_key.to_owned(),
        WriteMode::Append | WriteMode::Merge => format!("{owner}:{window_key}"),
    }
}

/// The same for the load that wants `target`.
pub fn key_of(target: &Target) -> String {
    key(target.mode, &target.owner.owner, window_key(target))
}

/// The window that a load is about.
pub fn window_key(target: &Target) -> &str {
    target.window.as_ref().map_or(WHOLE, |window| window.key())
}

/// The window in a load's key.
pub fn window_of(key: &str) -> &str {
    // No window has a colon in its name.
    key.rsplit_once(':').map_or(key, |(_, window)| window)
}

/// Load id and snapshot id that the property of a key says.
pub fn loaded(properties: &HashMap<String, String>, key: &str) -> Option<(String, i64)> {
    let (load_id, snapshot_id) = properties.get(&format!("{LOADED}{key}"))?.rsplit_once(':')?;
    Some((load_id.to_owned(), snapshot_id.parse().ok()?))
}

/// The properties of all loads: name and window.
pub fn all_loaded(properties: &HashMap<String, String>) -> impl Iterator<Item = (&String, &str)> {
    properties.keys().filter_map(|name| Some((name, window_of(name.strip_prefix(LOADED)?))))
}

/// The value of a load's property.
pub fn loaded_value(load_id: &str, snapshot_id: i64) -> String {
    format!("{load_id}:{snapshot_id}")
}

/// What to set and what to remove so that `key` is recorded and the newest windows keep their property.
pub fn record_loaded(
    properties: &HashMap<String, String>,
    key: &str,
    load_id: &str,
    snapshot_id: i64,
) -> (HashMap<String, String>, Vec<String>) {
    let name = format!("{LOADED}{key}");
    let mut others: Vec<(&str, &String)> =
        all_loaded(properties).filter(|(other, _)| **other != name).map(|(other, window)| (window, other)).collect();
    let surplus = (others.len() + 1).saturating_sub(LOADED_LIMIT);
    if surplus < others.len() {
        // Windows are ISO dates, so the order of text is the order of time.
        others.select_nth_unstable(surplus);
        others.truncate(surplus);
        others.sort_unstable();
    }
    let removed = others.into_iter().map(|(_, other)| other.clone()).collect();
    (HashMap::from([(name, loaded_value(load_id, snapshot_id))]), removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakehost_pipeline::Granularity;

    #[test]
    fn the_newest_windows_keep_their_property() {
        let mut properties: HashMap<String, String> =
            (0..LOADED_LIMIT + 2).map(|number| (format!("{LOADED}{:04}", 1000 + number), "x:1".to_owned())).collect();
        let (set, removed) = record_loaded(&properties, "9999", "load", 7);
        assert_eq!(set[&format!("{LOADED}9999")], "load:7");
        assert_eq!(removed, ["1000", "1001", "1002"].map(|key| format!("{LOADED}{key}")));
        // The window that was just loaded stays, however old.
        properties.insert(format!("{LOADED}0001"), "y:2".to_owned());
        let (_, removed) = record_loaded(&properties, "0001", "load", 8);
        assert!(!removed.contains(&format!("{LOADED}0001")));
        assert_eq!(removed.len(), 3);
        assert_eq!(loaded(&properties, "0001"), Some(("y".to_owned(), 2)));
        assert_eq!(loaded(&properties, "none"), None);
    }

    #[test]
    fn an_owner_is_three_properties() {
        let table = TableName::parse("raw.t").unwrap();
        let owner = Owner { owner: "tlc/green".into(), granularity: Granularity::Month, cleaners: "-".into() };
        let properties = initial(&owner);
        check_owner(&table, &properties, &owner).unwrap();
        for other in [
            Owner { owner: "tlc/yellow".into(), ..owner.clone() },
            Owner { granularity: Granularity::Day, ..owner.clone() },
            Owner { cleaners: "trip_cleaner".into(), ..owner.clone() },
        ] {
            assert!(check_owner(&table, &properties, &other).is_err());
        }
        assert!(check_owner(&table, &HashMap::new(), &owner).is_err());
    }
}
