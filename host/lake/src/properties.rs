//! What a table says of itself in properties: whose it is, and which load each window holds.

use std::collections::HashMap;

use lakehost_pipeline::ports::{Owner, TableName};

use crate::error::{Error, Result};

/// Source and data set: `nyc_tlc/green`.
pub const OWNER: &str = "lakehost.owner";
/// How wide its windows are.
pub const GRANULARITY: &str = "lakehost.granularity";
/// Cleaner names in order.
pub const CLEANERS: &str = "lakehost.cleaners";
/// Followed by a window key; the value is `<load-id>:<snapshot-id>`.
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

/// Load id and snapshot id of the last load of a window.
pub fn loaded(properties: &HashMap<String, String>, window_key: &str) -> Option<(String, i64)> {
    let (load_id, snapshot_id) = properties.get(&format!("{LOADED}{window_key}"))?.rsplit_once(':')?;
    Some((load_id.to_owned(), snapshot_id.parse().ok()?))
}

/// What to set and what to remove so that `window_key` is recorded and the newest windows keep their property.
pub fn record_loaded(
    properties: &HashMap<String, String>,
    window_key: &str,
    load_id: &str,
    snapshot_id: i64,
) -> (HashMap<String, String>, Vec<String>) {
    let name = format!("{LOADED}{window_key}");
    let mut others: Vec<&String> = properties.keys().filter(|key| key.starts_with(LOADED) && **key != name).collect();
    // Keys are ISO dates, so the order of text is the order of time.
    others.sort_unstable();
    let surplus = (others.len() + 1).saturating_sub(LOADED_LIMIT);
    let removed = others.into_iter().take(surplus).cloned().collect();
    (HashMap::from([(name, format!("{load_id}:{snapshot_id}"))]), removed)
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
