//! What the pipeline itself finds wrong, and what it makes of column errors.

use lakehost_columnar as columnar;

use crate::codes;
use crate::contract::OnDrift;
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
    #[error("check {check} looks at column {column}, which {table} does not have")]
    CheckColumn { check: String, column: String, table: String, nearest: Option<String>, known: String },
    #[error("{failed} of {checks} checks failed on {table}, and nothing was published")]
    ChecksFailed {
        table: String,
        failed: usize,
        checks: usize,
        details: String,
        branch: Option<String>,
        run_id: Option<String>,
    },
    #[error("column {column} of {file} differs from {table}, and the contract is {contract}")]
    Drift {
        table: String,
        column: String,
        file: String,
        found: Option<String>,
        wanted: Option<String>,
        contract: OnDrift,
    },
    #[error("the load cannot be merged into {table}")]
    MergeKey { table: String, detail: String, nearest: Option<String> },
    #[error("rows of {table} cannot be sorted by {column}")]
    SortColumn { table: String, column: String, detail: String },
    #[error("`{setting}` is for merges, and this load writes by {mode}")]
    KeyUnused { setting: &'static str, mode: &'static str },
    #[error(
        "the type of column {column} cannot be told from the rejected rows of {table}, and the contract is {contract}"
    )]
    ReplayColumn { table: String, column: String, contract: OnDrift },
    #[error("rejected rows of {table}, which is merged by key, cannot be replayed")]
    ReplayMerge { table: String },
    #[error("{rows} rejected rows of {table} are more than memory holds")]
    RejectsTooLarge { table: String, rows: u64, limit_bytes: usize },
    #[error("the name {table}{} is too long for a table", crate::rejects::SUFFIX)]
    RejectsName { table: String },
    #[error("{detail}")]
    LakeUnable { detail: String },
    #[error("interrupted")]
    Interrupted,
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
            Self::CheckColumn { .. } => codes::CONFIG_FILE,
            Self::ChecksFailed { .. } => codes::DATA_CHECK,
            Self::Drift { .. } | Self::ReplayColumn { .. } => codes::DATA_CONTRACT,
            Self::ReplayMerge { .. } => codes::USAGE,
            Self::RejectsTooLarge { .. } => codes::MACHINE_MEMORY,
            Self::MergeKey { .. } => codes::DATA_KEY,
            Self::RejectsName { .. } | Self::KeyUnused { .. } | Self::SortColumn { .. } => codes::USAGE,
            Self::LakeUnable { .. } => codes::BUG,
            Self::Interrupted => codes::INTERRUPTED,
            Self::Columns { source } => columns_code(source),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::ChecksFailed { details: detail, .. }
            | Self::MergeKey { detail, .. }
            | Self::SortColumn { detail, .. } => Some(detail.clone()),
            Self::Drift { found, wanted, .. } => {
                let found = found
                    .as_deref()
                    .map_or("the file has no such column".to_owned(), |kind| format!("the file has {kind}"));
                let wanted = wanted
                    .as_deref()
                    .map_or("the table has no such column".to_owned(), |kind| format!("the table has {kind}"));
                Some(format!("{found}, {wanted}"))
            }
            _ => None,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        let pairs: Vec<(&str, &String)> = match self {
            Self::Drift { table, column, file, .. } => vec![("table", table), ("column", column), ("file", file)],
            Self::ChecksFailed { branch: Some(branch), .. } => vec![("branch", branch)],
            _ => Vec::new(),
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
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
            Self::CheckColumn { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::CheckColumn { known, .. } => Some(format!("there are: {known}")),
            Self::ChecksFailed { run_id: Some(run_id), .. } => Some(format!(
                "look at the rows on the branch; then `lakehost runs publish {run_id}` or `lakehost runs discard {run_id}`"
            )),
            Self::ChecksFailed { table, branch: Some(branch), .. } => Some(format!(
                "look at it with `lakehost query \"select … from {table}\" --as-of {branch}`; then `lakehost table publish {table} {branch}` or \
                 `lakehost table discard {table} {branch}`"
            )),
            Self::ChecksFailed { branch: None, .. } => Some("the report shows rows that do not pass".to_owned()),
            Self::Drift { column, .. } => Some(format!(
                "`schema = \"evolve\"` in the pipeline takes new columns and wider types; `columns.{column}.schema = \"discard_value\"` leaves \
                 this one out"
            )),
            Self::MergeKey { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::MergeKey { .. } => Some(
                "name the columns that tell rows apart: `--key id`, or `key = [\"id\"]` in the pipeline; rows without a key load with \
                 `--write-mode append`"
                    .to_owned(),
            ),
            Self::SortColumn { .. } => Some("name others with `--sort-by` or `sort_by`".to_owned()),
            Self::KeyUnused { .. } => Some("take it out, or write by merge".to_owned()),
            Self::ReplayColumn { column, .. } => Some(format!(
                "run a window with `schema = \"evolve\"` first, which adds the column as the source has it; \
                 `columns.{column}.schema = \"discard_value\"` leaves its values out"
            )),
            Self::ReplayMerge { .. } => Some("`lakehost run … --force` loads the window again, through the present cleaners".to_owned()),
            Self::RejectsTooLarge { .. } => Some(
                "give more with `--memory 2GiB`, refuse such windows with `max_rejected`, or keep no rejected rows with `quarantine = false`"
                    .to_owned(),
            ),
            Self::RejectsName { .. } => Some("choose a shorter name with `--table`, or write `quarantine = false`".to_owned()),
            Self::Interrupted => Some("run the same command again".to_owned()),
            Self::Columns { source: columnar::Error::Io(error) } if error.kind() == std::io::ErrorKind::StorageFull => {
                Some("free some space on the disk of the warehouse, then run the same command again".to_owned())
            }
            Self::Columns { source: columnar::Error::Io(error) } if is_refused(error) => {
                Some("see that the keys of the profile may read, write and delete in the warehouse".to_owned())
            }
            Self::ReservedColumn { .. } | Self::LakeUnable { .. } | Self::Columns { .. } => None,
        }
    }
}

/// An object store refused access: a local file system has a number for it, and no words.
fn is_refused(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied && error.get_ref().is_some()
}

fn columns_code(error: &columnar::Error) -> Code {
    use columnar::Error as E;
    match error {
        E::NotParquet { .. } | E::Truncated { .. } | E::Corrupt { .. } | E::TooLarge { .. } | E::Unsupported { .. } => {
            codes::SOURCE_INVALID
        }
        E::Schema { .. } | E::UnlistedColumn { .. } | E::MissingColumn { .. } => codes::DATA_SCHEMA,
        E::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => codes::MACHINE_DISK,
        E::Io(error) if is_refused(error) => codes::STORE_ACCESS,
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
