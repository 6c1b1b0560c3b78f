//! Checks on what is about to be published: what a pipeline demands of the rows, and what was found.
//!
//! The pipeline holds the demands and decides on the outcome; looking at rows is the [`Checker`](crate::ports::Checker)'s.

use std::collections::BTreeMap;
use std::fmt;

use arrow_schema::Schema;
use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::ports::TableName;

/// What a failed check means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is published.
    #[default]
    Error,
    /// The window is published, and the report says so.
    Warn,
}

/// One demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// As people know it: given, or made of kind and columns.
    pub name: String,
    pub kind: CheckKind,
    pub severity: Severity,
}

/// What is demanded. Nulls pass every check but `not_null`; a check of values looks at the window's rows alone.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// No row has a null in one of these columns.
    NotNull(Vec<String>),
    /// No two rows of the table share these values, as far as the window's rows are concerned. A key with a null is no key.
    Unique(Vec<String>),
    /// The column has these values only.
    AcceptedValues { column: String, values: Vec<Value> },
    /// The column lies within bounds, both included. NaN lies nowhere.
    Range { column: String, min: Option<Value>, max: Option<Value> },
    /// The text matches somewhere; `^…$` for the whole of it.
    Regex { column: String, pattern: String },
    /// The window has about as many rows as the one before it in the table; `0.2` allows a fifth more or less.
    RowCount { within: f64 },
    /// The newest value of the whole table is no older than this; times without a zone count as UTC.
    Freshness { column: String, max_age_ms: i64 },
    /// Every value is one of the other table's column.
    ForeignKey { column: String, table: TableName, to: String },
    /// The statement answers no row. `{table}` stands for the table as it would be.
    Sql(String),
    /// Tests of a dbt project that read the table as a source, by dbt's own words for `--select` and `--exclude`. A test's own severity counts, too.
    Dbt { project: String, select: Vec<String>, exclude: Vec<String> },
}

impl CheckKind {
    /// The key of `lakehost.toml`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotNull(_) => "not_null",
            Self::Unique(_) => "unique",
            Self::AcceptedValues { .. } => "accepted_values",
            Self::Range { .. } => "range",
            Self::Regex { .. } => "regex",
            Self::RowCount { .. } => "row_count",
            Self::Freshness { .. } => "freshness",
            Self::ForeignKey { .. } => "foreign_key",
            Self::Sql(_) => "sql",
            Self::Dbt { .. } => "dbt",
        }
    }

    /// The table's columns that it looks at; a statement's are its own affair.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::NotNull(columns) | Self::Unique(columns) => columns.iter().map(String::as_str).collect(),
            Self::AcceptedValues { column, .. }
            | Self::Range { column, .. }
            | Self::Regex { column, .. }
            | Self::Freshness { column, .. }
            | Self::ForeignKey { column, .. } => vec![column],
            Self::RowCount { .. } | Self::Sql(_) | Self::Dbt { .. } => Vec::new(),
        }
    }

    /// The name of a check that was given none: `not_null(fare)`.
    pub fn default_name(&self) -> String {
        if let Self::Dbt { select, .. } = self {
            return format!("dbt({})", select.join(" "));
        }
        let columns = self.columns();
        if columns.is_empty() { self.word().to_owned() } else { format!("{}({})", self.word(), columns.join(", ")) }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckOutcome {
    pub name: String,
    pub severity: Severity,
    /// Rows that do not pass; 1 for a check of the window as a whole.
    pub failed: u64,
    /// One sentence: what was looked at, or what is wrong.
    pub detail: String,
    /// At most [`SAMPLE_ROWS`] of the rows that do not pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<BTreeMap<String, Value>>,
    /// The sample's columns as people want to see them: those that the check is about first, then in the order of the table.
    #[serde(skip)]
    pub columns: Vec<String>,
}

/// Rows in a sample.
pub const SAMPLE_ROWS: usize = 10;

impl CheckOutcome {
    /// Whether nothing was found.
    pub fn passed(&self) -> bool {
        self.failed == 0
    }

    /// Whether it keeps the window from being published.
    pub fn stops(&self) -> bool {
        !self.passed() && self.severity == Severity::Error
    }
}

impl fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.detail)
    }
}

/// `7 passed, 1 warned, 1 failed`, without what is zero.
pub fn summary(outcomes: &[CheckOutcome]) -> String {
    let count = |wanted: &dyn Fn(&CheckOutcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let counts = [
        (count(&CheckOutcome::passed), "passed"),
        (count(&|outcome| !outcome.passed() && !outcome.stops()), "warned"),
        (count(&CheckOutcome::stops), "failed"),
    ];
    let parts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    parts.join(", ")
}

/// Every column that a check names is one of the table's: found out before a row is read.
pub(crate) fn check_columns(checks: &[Check], table: &TableName, schema: &Schema) -> Result<(), Error> {
    for check in checks {
        for column in check.kind.columns() {
            if schema.field_with_name(column).is_err() {
                let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let nearest =
                    known.iter().find(|name| name.eq_ignore_ascii_case(column)).map(|name| (*name).to_owned());
                return Err(Error::CheckColumn {
                    check: check.name.clone(),
                    column: column.to_owned(),
                    table: table.to_string(),
                    nearest,
                    known: known.join(", "),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;
    use crate::diagnostic::Diagnostic;

    fn outcome(failed: u64, severity: Severity) -> CheckOutcome {
        CheckOutcome {
            name: "c".to_owned(),
            severity,
            failed,
            detail: String::new(),
            sample: Vec::new(),
            columns: Vec::new(),
        }
    }

    #[test]
    fn outcomes_are_counted() {
        let all = [
            outcome(0, Severity::Error),
            outcome(0, Severity::Warn),
            outcome(3, Severity::Warn),
            outcome(1, Severity::Error),
        ];
        assert_eq!(summary(&all), "2 passed, 1 warned, 1 failed");
        assert_eq!(summary(&all[..2]), "2 passed");
        assert_eq!(all.iter().filter(|outcome| outcome.stops()).count(), 1);
    }

    #[test]
    fn a_column_that_is_not_there_is_found_before_any_row() {
        let schema = Schema::new(vec![Field::new("VendorID", DataType::Int32, true)]);
        let table = TableName::parse("raw.t").unwrap();
        let kind = CheckKind::NotNull(vec!["vendorid".to_owned()]);
        let check = Check { name: kind.default_name(), kind, severity: Severity::Error };
        let error = check_columns(&[check], &table, &schema).unwrap_err();
        assert_eq!(error.code(), crate::codes::CONFIG_FILE);
        assert_eq!(error.to_string(), "check not_null(vendorid) looks at column vendorid, which raw.t does not have");
        assert_eq!(error.hint().as_deref(), Some("did you mean `VendorID`?"));
    }
}
