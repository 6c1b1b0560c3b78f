//! Appending to a table of another load, or merging into it: allowed, since a key says what changes, and worth a warning, since the rows get mixed.
//!
//! The owner of a table (`lakehost.owner`, `.granularity`, `.cleaners`) binds loads that replace a window; an append is not refused.

use std::collections::BTreeMap;

use lakehost_lake::{CLEANERS, OWNER};

/// What to tell before rows are added to a table with these properties; none: they are of its kind. `done`: how they are added, such as
/// `appended to`.
pub fn warning(
    table: &str,
    properties: &BTreeMap<String, String>,
    owner: &str,
    cleaners: &str,
    done: &str,
) -> Option<String> {
    let found = |property: &str, ours: &str| properties.get(property).filter(|found| *found != ours);
    let shown = |cleaners: &str| if cleaners == "-" { "no cleaner".to_owned() } else { format!("cleaner {cleaners}") };
    let difference = match (found(OWNER, owner), found(CLEANERS, cleaners)) {
        (None, None) => return None,
        (Some(other), _) => format!("rows of {owner} are {done} rows of {other}"),
        (None, Some(other)) => {
            format!("rows through {} are {done} rows through {}", shown(cleaners), shown(other))
        }
    };
    Some(format!(
        "{difference} in {table}, and a later replace-window load of it replaces both; `--table NAMESPACE.NAME` keeps them apart"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_rows_are_told() {
        let table = |owner: &str, cleaners: &str| {
            BTreeMap::from([(OWNER.to_owned(), owner.to_owned()), (CLEANERS.to_owned(), cleaners.to_owned())])
        };
        let told = |properties: &BTreeMap<String, String>| {
            warning("clean.trips", properties, "nyc_tlc/green", "-", "appended to")
        };
        assert_eq!(told(&table("nyc_tlc/green", "-")), None);
        assert_eq!(told(&BTreeMap::new()), None, "a table of somebody else has no owner");
        let cleaned = told(&table("nyc_tlc/green", "trip_cleaner")).unwrap();
        assert!(
            cleaned.starts_with(
                "rows through no cleaner are appended to rows through cleaner trip_cleaner in clean.trips, and "
            ),
            "{cleaned}"
        );
        let other = told(&table("nyc_tlc/yellow", "-")).unwrap();
        assert!(
            other.starts_with("rows of nyc_tlc/green are appended to rows of nyc_tlc/yellow in clean.trips"),
            "{other}"
        );
    }
}
