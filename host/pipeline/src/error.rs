//! What the pipeline itself finds wrong, and what it makes of column errors.

use lakehost_columnar as columnar;

use crate::codes;
use crate::diagnostic::{Code, Diagnostic, Fault};

/// Findings of the pipeline.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the source has {found} data sets under this configuration, and a run loads one")]
    DatasetCount { found: usize },
    #[error("this source has windows of one {granularity} and needs to know which")]
    WindowMissing { granularity: &'static str },
    #[error("column {column} of {name} does not fit the load: {reason}")]
    Schema { name: String, column: String, reason: String },
    #[error("column {column} is the host's own and cannot come from a source or cleaner")]
    ReservedColumn { column: String },
    #[error("window {window} of {table} would be left without rows")]
    Empty { table: String, window: String, rows_read: u64 },
    #[error("{rows_read} rows were read, but {rows_written} written and {rows_rejected} rejected")]
    Balance { rows_read: u64, rows_written: u64, rows_rejected: u64 },
    #[error("{rejected} of {read} rows were rejected, more than {limit}")]
    TooManyRejected { rejected: u64, read: u64, limit: String },
    #[error("interrupted")]
    Interrupted,
    #[error("this lake cannot {what}")]
    Unable { what: &'static str },
    #[error("{source}")]
    Columns { source: columnar::Error },
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::DatasetCount { .. } => codes::PLUGIN_CONFIG,
            Self::WindowMissing { .. } => codes::WINDOW,
            Self::Schema { .. } | Self::ReservedColumn { .. } => codes::DATA_SCHEMA,
            Self::Empty { .. } => codes::DATA_EMPTY,
            Self::Balance { .. } => codes::DATA_BALANCE,
            Self::TooManyRejected { .. } => codes::DATA_REJECTED,
            Self::Interrupted => codes::INTERRUPTED,
            Self::Unable { .. } => codes::BUG,
            Self::Columns { source } => columns_code(source),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::DatasetCount { .. } => Some("name one with `--config dataset=NAME`".to_owned()),
            Self::WindowMissing { granularity } => Some(format!("add `--{granularity}`")),
            Self::Schema { .. } => Some("load it into another table with `--table NAMESPACE.NAME`".to_owned()),
            Self::Empty { .. } => Some("look at the source; `--allow-empty` loads it all the same".to_owned()),
            Self::Balance { .. } => Some("this is a bug: report it with the run's JSON report".to_owned()),
            Self::TooManyRejected { .. } => {
                Some("look at rows_rejected in the report; change a rule or max_rejected".to_owned())
            }
            Self::Interrupted => Some("run the same command again".to_owned()),
            Self::Columns { source: columnar::Error::Io(error) } if error.kind() == std::io::ErrorKind::StorageFull => {
                Some("free some space on the disk of the warehouse, then run the same command again".to_owned())
            }
            Self::ReservedColumn { .. } | Self::Unable { .. } | Self::Columns { .. } => None,
        }
    }
}

fn columns_code(error: &columnar::Error) -> Code {
    use columnar::Error as E;
    match error {
        E::NotParquet { .. } | E::Truncated { .. } | E::Corrupt { .. } | E::TooLarge { .. } | E::Unsupported { .. } => {
            codes::SOURCE_INVALID
        }
        E::Schema { .. } | E::UnlistedColumn { .. } | E::MissingColumn { .. } => codes::DATA_SCHEMA,
        E::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => codes::MACHINE_DISK,
        E::Io(_) => codes::STORE_IO,
        E::MemoryBudget { .. } => codes::MACHINE_MEMORY,
        E::Cancelled => codes::INTERRUPTED,
        _ => codes::BUG,
    }
}

/// A column error as a fault: the fault of a cleaner or source that travelled through the column code comes out as it went in.
pub(crate) fn from_columns(error: columnar::Error) -> Fault {
    match error {
        columnar::Error::Step(inner) => match inner.downcast::<Fault>() {
            Ok(fault) => *fault,
            Err(inner) => Error::Columns { source: columnar::Error::Step(inner) }.into(),
        },
        columnar::Error::Cancelled => Error::Interrupted.into(),
        columnar::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Fault>()) => {
            match error.into_inner().map(|inner| inner.downcast::<Fault>()) {
                Some(Ok(fault)) => *fault,
                _ => Error::Interrupted.into(),
            }
        }
        source => Error::Columns { source }.into(),
    }
}
