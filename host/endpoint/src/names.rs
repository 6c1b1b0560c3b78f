//! Names of namespaces and tables: as the protocol writes them, and as the catalog keeps them.
//!
//! A namespace of several levels is one text with dots in a SQL catalog, as PyIceberg and Iceberg's JDBC catalog have it, and a list of levels
//! in the protocol; in a path the levels stand with the unit separator between them.

use lakehost_pipeline::ports::TableName;
use serde::Deserialize;

use crate::refusal::{Answer, Refusal};

/// Between the levels of a namespace in a path.
pub const SEPARATOR: char = '\u{1f}';

/// A table as requests name it.
#[derive(Clone, Debug, Deserialize)]
pub struct Identifier {
    pub namespace: Vec<String>,
    pub name: String,
}

impl Identifier {
    pub fn table(&self) -> Answer<TableName> {
        table(join(&self.namespace)?, self.name.clone())
    }
}

/// The levels of a namespace.
pub fn levels(namespace: &str) -> Vec<&str> {
    namespace.split('.').collect()
}

/// A namespace from its levels.
pub fn join(levels: &[String]) -> Answer<String> {
    match levels.iter().find(|level| level.is_empty() || level.contains('.') || level.contains(char::is_control)) {
        Some(level) => Err(Refusal::bad_request(format!("`{}` cannot be a namespace", level.escape_debug()))),
        None if levels.is_empty() => Err(Refusal::bad_request("the namespace has no name")),
        None => Ok(levels.join(".")),
    }
}

/// A table of a namespace. A database may not take what no name holds.
pub fn table(namespace: String, name: String) -> Answer<TableName> {
    if name.contains(char::is_control) {
        return Err(Refusal::bad_request(format!("`{}` cannot be a table", name.escape_debug())));
    }
    Ok(TableName { namespace, name })
}

/// A namespace from a part of a path.
pub fn namespace(part: &str) -> Answer<String> {
    join(&part.split(SEPARATOR).map(str::to_owned).collect::<Vec<_>>())
}

/// That a new thing gets a name that folders and every command of lakehost can bear.
pub fn check_new(namespace: &str, name: Option<&str>) -> Answer<()> {
    for part in levels(namespace).into_iter().chain(name) {
        TableName::parse(&format!("{part}.{part}")).map_err(|_| {
            let name = part.escape_debug();
            Refusal::bad_request(format!("`{name}` is not a name: letters, digits, `_` and `-`, at most 128"))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_go_both_ways() {
        assert_eq!(namespace("a\u{1f}b").unwrap(), "a.b");
        assert_eq!(levels("a.b"), ["a", "b"]);
        assert_eq!(namespace("raw").unwrap(), "raw");
        for wrong in ["", "a\u{1f}", "a.b", "\u{1f}", "a\0"] {
            assert_eq!(namespace(wrong).unwrap_err().status, 400, "{wrong:?}");
        }
        assert!(join(&[]).is_err() && table("raw".to_owned(), "t\0".to_owned()).is_err());
    }

    #[test]
    fn new_names_are_names_of_folders_too() {
        assert!(check_new("raw", Some("green_trips-2")).is_ok());
        assert!(check_new("a.b", None).is_ok());
        for (namespace, name) in [("raw", ".."), ("..", "x"), ("raw", "a/b"), ("raw", "a.b"), ("raw", ""), ("r w", "x")]
        {
            assert!(check_new(namespace, Some(name)).is_err(), "{namespace:?} {name:?}");
        }
    }
}
