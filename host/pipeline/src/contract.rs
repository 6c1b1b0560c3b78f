//! What a pipeline allows upstream to change: new columns, other types, missing columns.
//!
//! A contract speaks of what a split's rows hold against what the table has. It never loosens a cast: a value that does not fit its column
//! exactly rejects its row, unless the pipeline says by name that the value may go.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What becomes of a column that differs from the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// The table takes it: new columns are added, types widen where nothing is lost.
    Evolve,
    /// The window is refused, with both types and the file.
    #[default]
    Freeze,
    /// Rows that have a value there are rejected.
    DiscardRow,
    /// The value goes, the row stays; the report counts such values by column.
    DiscardValue,
}

impl OnDrift {
    /// The word of `lakehost.toml`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evolve => "evolve",
            Self::Freeze => "freeze",
            Self::DiscardRow => "discard_row",
            Self::DiscardValue => "discard_value",
        }
    }
}

impl fmt::Display for OnDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A pipeline's answer to drift: one for all columns, others by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// For every column that is not named.
    pub default: OnDrift,
    /// By column.
    pub columns: BTreeMap<String, OnDrift>,
}

impl Contract {
    /// The same for all columns.
    pub fn all(default: OnDrift) -> Self {
        Self { default, columns: BTreeMap::new() }
    }

    /// What becomes of `column` when it differs.
    pub fn of(&self, column: &str) -> OnDrift {
        self.columns.get(column).copied().unwrap_or(self.default)
    }

    /// Whether any column may change the table.
    pub fn evolves(&self) -> bool {
        self.default == OnDrift::Evolve || self.columns.values().any(|on_drift| *on_drift == OnDrift::Evolve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_column_has_its_own_answer() {
        let mut contract = Contract::all(OnDrift::DiscardValue);
        contract.columns.insert("fee".to_owned(), OnDrift::Evolve);
        assert_eq!((contract.of("fee"), contract.of("other")), (OnDrift::Evolve, OnDrift::DiscardValue));
        assert!(contract.evolves() && !Contract::default().evolves());
        assert_eq!(Contract::default().of("fee"), OnDrift::Freeze);
    }
}
