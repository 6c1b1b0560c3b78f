//! What can go wrong with a statement: the SQL itself, a file of a table, or memory.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use lakehost_pipeline::codes;
use lakehost_pipeline::{Code, Diagnostic, Retry};

use crate::refusal;
use crate::scan::ScanError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The statement cannot be parsed or planned, or fails on a value.
    #[error("{message}")]
    Sql { message: String, hint: Option<String> },
    /// The statement would change something.
    #[error("`query` only reads: {what} is not a query")]
    NotAQuery { what: String, hint: String },
    /// A check that cannot be made.
    #[error("{message}")]
    Check { message: String, hint: Option<String> },
    /// A point in time that cannot be understood.
    #[error("`{text}` is not a point in time, a snapshot id or the name of a branch or tag")]
    AsOf { text: String },
    /// A table was found, but one of its files cannot be read.
    #[error("table {table} cannot be read")]
    Read { table: String, missing: bool, cause: String },
    /// The statement needs more memory than it was given.
    #[error("the query needs more memory than it was given")]
    Memory { cause: String },
    /// The engine failed in a way that no input explains.
    #[error("the query engine failed")]
    Engine { cause: String },
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::Sql { .. } | Self::NotAQuery { .. } => codes::QUERY,
            Self::Check { .. } => codes::CONFIG_FILE,
            Self::AsOf { .. } => codes::USAGE,
            Self::Read { missing: true, .. } => codes::STORE_MISSING,
            Self::Read { .. } => codes::STORE_IO,
            Self::Memory { .. } => codes::MACHINE_MEMORY,
            Self::Engine { .. } => codes::BUG,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Read { missing: false, .. } => Retry::Backoff,
            _ => Retry::Never,
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Read { cause, .. } | Self::Memory { cause } | Self::Engine { cause } => Some(cause.clone()),
            Self::Sql { .. } | Self::NotAQuery { .. } | Self::Check { .. } | Self::AsOf { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Sql { hint, .. } | Self::Check { hint, .. } => hint.clone(),
            Self::NotAQuery { hint, .. } => Some(hint.clone()),
            Self::AsOf { .. } => Some(
                "write it as 2024-01-31, \"2024-01-31 18:30\" (UTC), 2024-01-31T18:30:00+01:00, \"1 hour ago\", a snapshot id \
                 from `lakehost snapshots TABLE`, or the name of a branch or tag"
                    .to_owned(),
            ),
            Self::Read { table, missing: true, .. } => Some(format!("`lakehost snapshots {table}` shows states that may still be whole")),
            Self::Read { .. } => Some("`lakehost doctor` checks the warehouse".to_owned()),
            Self::Memory { .. } => Some("read fewer columns, filter earlier, or give `--memory 2GiB`".to_owned()),
            Self::Engine { .. } => None,
        }
    }
}

/// Sorts an engine error into one of ours. `columns` are those of the tables that the statement names.
pub(crate) fn from_engine(error: &DataFusionError, columns: &[String]) -> Error {
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => from_schema_error(schema_error, columns),
        DataFusionError::SQL(parser, _) => refusal::of_parser("", &parser.to_string()),
        DataFusionError::Plan(message) => from_plan_message(message),
        DataFusionError::ResourcesExhausted(message) => Error::Memory { cause: message.clone() },
        DataFusionError::NotImplemented(message) => {
            let hint = message.contains("single SQL statement").then(|| "give one statement at a time".to_owned());
            Error::Sql { message: format!("the SQL statement is not supported: {message}"), hint }
        }
        DataFusionError::Execution(message) => {
            Error::Sql { message: format!("the query failed: {message}"), hint: None }
        }
        DataFusionError::ArrowError(arrow, _) => {
            Error::Sql { message: format!("the query failed: {arrow}"), hint: None }
        }
        DataFusionError::External(source) => match source.downcast_ref::<ScanError>() {
            Some(scan) => {
                Error::Read { table: scan.table.clone(), missing: scan.is_missing_file(), cause: scan.source_text() }
            }
            None => Error::Engine { cause: source.to_string() },
        },
        other => Error::Engine { cause: other.to_string() },
    }
}

/// `Plan` errors hold a sentence for people.
fn from_plan_message(message: &str) -> Error {
    for prefix in ["DDL not supported: ", "DML not supported: ", "Statement not supported: "] {
        if let Some(what) = message.strip_prefix(prefix) {
            let hint = "tables change through `lakehost run` and `lakehost table`".to_owned();
            return Error::NotAQuery { what: what.to_owned(), hint };
        }
    }
    if let Some((wrong, tip)) = message.split_once(".\nDid you mean ").or_else(|| message.split_once(". Did you mean "))
    {
        return function_unknown(wrong, tip);
    }
    let hint = message.starts_with("No SQL statements").then(|| "write one: `lakehost query \"select 1\"`".to_owned());
    Error::Sql { message: format!("the SQL statement is wrong: {message}"), hint }
}

/// Functions that people call most. The engine's own advice goes by letters alone, over hundreds.
const FUNCTIONS: &[&str] =
    &["count", "sum", "avg", "min", "max", "round", "median", "coalesce", "date_trunc", "lower", "upper"];

fn function_unknown(sentence: &str, tip: &str) -> Error {
    let name = sentence.split('\'').nth(1).unwrap_or_default();
    let theirs = tip.trim().trim_matches(['\'', '?', '`']);
    let meant = nearest_of(name, FUNCTIONS.iter().copied(), 0.85).unwrap_or(theirs);
    Error::Sql { message: format!("no function `{name}`"), hint: Some(format!("did you mean `{meant}`?")) }
}

fn from_schema_error(error: &SchemaError, columns: &[String]) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut known: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            if known.is_empty() {
                known = columns.iter().map(String::as_str).collect();
            }
            let hint = match nearest(&field.name, known.iter().copied()) {
                Some(name) => format!("did you mean `{}`?", quoted(name)),
                None if known.is_empty() => "name a table with FROM".to_owned(),
                None => format!("there are: {}", known.join(", ")),
            };
            Error::Sql { message: format!("no column `{}`", field.name), hint: Some(hint) }
        }
        SchemaError::AmbiguousReference { field } => Error::Sql {
            message: format!("column `{}` is in more than one table", field.name),
            hint: Some(format!("write TABLE.{} with the name or alias of its table", quoted(&field.name))),
        },
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::Sql {
                message: format!("column `{name}` comes twice"),
                hint: Some("give one of them another name with AS".to_owned()),
            }
        }
    }
}

/// The known name that looks most like `wanted`, when one does.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(wanted, known, 0.75)
}

/// The same for names that have to be at least so like, of 0 to 1.
pub(crate) fn nearest_of<'a>(
    wanted: &str,
    known: impl Iterator<Item = &'a str>,
    least_likeness: f64,
) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    known
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > least_likeness)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A name as SQL needs it: in double quotes when it is not all lower case.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
