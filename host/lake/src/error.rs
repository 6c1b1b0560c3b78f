//! What can go wrong between a data file and its table, each with its code and its way out.

mod way_out;

use std::fmt;
use std::io;

use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Code, Diagnostic, Retry, codes};

use crate::store::{Reason, Refusal};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a library reports.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything that this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `LH0501`, `LH0503` or `LH0504` by what an object store says, or `LH1001` when the disk is full.
    #[error("cannot {action} {location}")]
    Store {
        /// What was tried: `write`, `read`, `delete`.
        action: &'static str,
        /// The file or folder.
        location: String,
        #[source]
        source: io::Error,
    },
    /// `LH0502`: a file that the table needs is missing, cut or not what it should be.
    #[error("{location} of table {table} is missing or damaged")]
    Damaged { table: String, location: String, detail: String },
    /// `LH0501`, `LH0502`, `LH0603` or `LH1001`, by what the Iceberg library says.
    #[error("cannot {action} table {table}")]
    Iceberg {
        action: &'static str,
        table: String,
        #[source]
        source: Box<iceberg::Error>,
    },
    /// `LH0601`, or `LH1001` when the disk is full.
    #[error("cannot {action} the catalog {catalog}")]
    Catalog {
        action: &'static str,
        /// Where the catalog is, without secrets.
        catalog: String,
        #[source]
        source: BoxError,
    },
    /// `LH0606`
    #[error("the catalog {catalog} refuses access")]
    CatalogAccess { catalog: String, detail: String },
    /// `LH0607`
    #[error("the catalog {catalog} cannot do what was asked")]
    CatalogUnable { catalog: String, detail: String },
    /// `LH0501`, or `LH1001` when the disk is full: the catalog could be opened for reading only.
    #[error("{what} cannot be written")]
    ReadOnly {
        /// `the warehouse /data/warehouse`
        what: String,
        detail: String,
    },
    /// `LH0101`: a partition field of a new table.
    #[error("{problem}")]
    Partition { column: String, problem: String, hint: Option<String> },
    /// `LH0602`
    #[error("commit to {table} lost a race with another writer")]
    Conflict {
        table: TableName,
        /// `window 2024-01`, or `the table` for a full refresh.
        what: String,
        found: Option<i64>,
        expected: Option<i64>,
    },
    /// `LH0603`
    #[error("table {table} {detail}")]
    TableShape {
        table: TableName,
        /// Completes "table x …".
        detail: String,
        hint: Option<String>,
    },
    /// `LH0604`
    #[error("no table {table}")]
    NoTable {
        table: TableName,
        /// Tables that there are, for the hint.
        known: Vec<String>,
    },
    /// `LH0605`
    #[error("commit to {table} was overtaken {attempts} times")]
    Busy { table: TableName, attempts: u32 },
    /// `LH0651`
    #[error("it is not known whether run {run_id} was committed to {table}")]
    OutcomeUnknown { table: TableName, run_id: String, detail: String },
    /// `LH0106`
    #[error("table {table} belongs to another load")]
    Owner {
        table: TableName,
        /// `lakehost.owner`, `lakehost.granularity` or `lakehost.cleaners`.
        property: String,
        found: Option<String>,
        wanted: String,
    },
    /// `LH0401`
    #[error("column {column} of the load does not fit table {table}")]
    Schema {
        table: TableName,
        column: String,
        /// What the load brings.
        wanted: String,
        /// What the table has; `None`: no such column.
        found: Option<String>,
    },
    /// `LH0405`
    #[error("column {} of {} does not fit table {}", .0.column, .0.file, .0.table)]
    Drift(Box<Drift>),
    /// `LH0407`
    #[error("the load cannot be merged into {table}")]
    Key { table: TableName, detail: String },
    /// `LH0403`
    #[error("rows of the load into {table} are not accounted for")]
    Balance { table: TableName, detail: String },
    /// `LH0101`
    #[error("table {table} has no snapshot {wanted}")]
    NoSnapshot { table: String, wanted: String },
    /// `LH0109`: a snapshot, branch or tag.
    #[error("table {table} {detail}")]
    Reference {
        table: TableName,
        /// Completes "table x …".
        detail: String,
        hint: Option<String>,
    },
    /// `LH0102`
    #[error("{what} cannot be used as {purpose}")]
    Setting { what: String, purpose: &'static str, detail: String },
    /// `LH0901`
    #[error("{0}")]
    Internal(String),
    /// A test asked for a stop here; nothing is tidied up after it, as if the process had been killed.
    #[error("stopped at fail point {0}")]
    FailPoint(&'static str),
}

/// A column that a file brought and its table cannot take.
#[derive(Debug)]
pub struct Drift {
    pub table: TableName,
    pub column: String,
    /// Where it came from.
    pub file: String,
    pub found: String,
    /// What the table has; `None`: no such column.
    pub wanted: Option<String>,
    pub why: String,
}

impl Error {
    /// For `map_err`: an I/O error on one file.
    pub(crate) fn store(action: &'static str, location: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Store { action, location: location.to_string(), source }
    }

    /// For `map_err`: an error of the Iceberg library about one table.
    pub(crate) fn iceberg(action: &'static str, table: impl fmt::Display) -> impl FnOnce(iceberg::Error) -> Self {
        move |source| Self::Iceberg { action, table: table.to_string(), source: Box::new(source) }
    }

    pub(crate) fn shape(table: &TableName, detail: impl Into<String>) -> Self {
        Self::TableShape { table: table.clone(), detail: detail.into(), hint: None }
    }

    pub(crate) fn reference(table: &TableName, detail: impl Into<String>) -> Self {
        let hint =
            format!("`lakehost snapshots {table}` lists snapshots, `lakehost table refs {table}` branches and tags");
        Self::Reference { table: table.clone(), detail: detail.into(), hint: Some(hint) }
    }

    /// The table is left alone and so are the files: a test plays a killed process.
    pub(crate) fn is_fail_point(&self) -> bool {
        match self {
            Self::FailPoint(_) => true,
            // On its way through a file's sink.
            Self::Store { source, .. } => {
                source.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).is_some_and(Self::is_fail_point)
            }
            _ => false,
        }
    }

    /// The innermost texts, for the `cause` line.
    fn sources(&self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            let text = error.to_string();
            if !parts.iter().any(|part| part.contains(&text)) {
                parts.push(text);
            }
            next = error.source();
        }
        (!parts.is_empty()).then(|| parts.join(": "))
    }
}

fn io_code(error: &io::Error) -> Code {
    if Refusal::of(error).is_some_and(|refusal| refusal.reason == Reason::NoBucket) {
        return codes::STORE_BUCKET;
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => codes::MACHINE_DISK,
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => codes::STORE_MISSING,
        // Of an object store: a local file system has a number, and no words.
        io::ErrorKind::PermissionDenied if error.get_ref().is_some() => codes::STORE_ACCESS,
        _ => codes::STORE_IO,
    }
}

/// The Iceberg library turns I/O errors of local files into text, so the text has to be asked.
fn iceberg_code(error: &iceberg::Error) -> Code {
    if let Some(source) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>()) {
        return io_code(source);
    }
    let text = error.to_string();
    let has = |needle: &str| text.contains(needle);
    if has("os error 28") || has("No space left") {
        codes::MACHINE_DISK
    } else if has("os error 2)") || has("No such file") || has("File not found") {
        codes::STORE_MISSING
    } else if has("os error") {
        codes::STORE_IO
    } else {
        match error.kind() {
            iceberg::ErrorKind::DataInvalid | iceberg::ErrorKind::Unexpected => codes::STORE_MISSING,
            _ => codes::CATALOG_TABLE,
        }
    }
}

/// SQLite's primary result code, when the error came from the database.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    let code: i32 = sqlx::error::DatabaseError::code(error)?.parse().ok()?;
    // A full disk, met while the shared memory of the WAL was made.
    Some(if code == SQLITE_IOERR_SHMSIZE { SQLITE_FULL } else { code & 0xff })
}

/// Postgres's five characters, when the error came from the database.
pub(crate) fn postgres_code(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    Some(error.code().to_owned())
}

/// The code of an error that a catalog's database, or the way to it, reports.
fn database_code(source: &BoxError) -> Code {
    let Some(error) = source.downcast_ref::<sqlx::Error>() else { return codes::CATALOG_IO };
    match (sqlite_code(error), postgres_code(error).as_deref()) {
        (Some(SQLITE_FULL), _) | (_, Some("53100")) => codes::MACHINE_DISK,
        // A lock was not to be had in time, or there are too many connections.
        (Some(SQLITE_BUSY), _) | (_, Some("55P03" | "53300")) => codes::CATALOG_BUSY,
        // Wrong password, unknown role, no right to the table.
        (_, Some("28000" | "28P01" | "42501")) => codes::CATALOG_ACCESS,
        _ => codes::CATALOG_IO,
    }
}

/// Whether SQLite's own text is that of a full disk: of a catalog that opened to read, the text is all that was kept.
fn is_full(text: &str) -> bool {
    [SQLITE_FULL, SQLITE_IOERR_SHMSIZE].iter().any(|code| text.contains(&format!("(code: {code})")))
}

pub(crate) const SQLITE_PERM: i32 = 3;
pub(crate) const SQLITE_BUSY: i32 = 5;
pub(crate) const SQLITE_READONLY: i32 = 8;
pub(crate) const SQLITE_FULL: i32 = 13;
pub(crate) const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_IOERR_SHMSIZE: i32 = 4874;

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::Store { source, .. } => io_code(source),
            Self::Damaged { .. } => codes::STORE_MISSING,
            Self::Iceberg { source, .. } => iceberg_code(source),
            Self::Catalog { source, .. } => database_code(source),
            Self::CatalogAccess { .. } => codes::CATALOG_ACCESS,
            Self::CatalogUnable { .. } => codes::CATALOG_UNABLE,
            Self::ReadOnly { detail, .. } if is_full(detail) => codes::MACHINE_DISK,
            Self::ReadOnly { .. } => codes::STORE_IO,
            Self::Partition { .. } => codes::USAGE,
            Self::Conflict { .. } => codes::CATALOG_CONFLICT,
            Self::TableShape { .. } => codes::CATALOG_TABLE,
            Self::NoTable { .. } => codes::CATALOG_NO_TABLE,
            Self::Busy { .. } => codes::CATALOG_BUSY,
            Self::OutcomeUnknown { .. } => codes::COMMIT_UNKNOWN,
            Self::Owner { .. } => codes::TABLE_OWNER,
            Self::Schema { .. } => codes::DATA_SCHEMA,
            Self::Drift(_) => codes::DATA_CONTRACT,
            Self::Key { .. } => codes::DATA_KEY,
            Self::Balance { .. } => codes::DATA_BALANCE,
            Self::NoSnapshot { .. } => codes::USAGE,
            Self::Reference { .. } => codes::REFERENCE,
            Self::Setting { .. } => codes::CONFIG_FILE,
            Self::Internal(_) | Self::FailPoint(_) => codes::BUG,
        }
    }

    fn retry(&self) -> Retry {
        if matches!(self, Self::ReadOnly { .. }) {
            return Retry::Never;
        }
        match self.code() {
            codes::COMMIT_UNKNOWN => Retry::LookFirst,
            codes::STORE_IO | codes::CATALOG_IO | codes::CATALOG_BUSY | codes::CATALOG_CONFLICT => Retry::Backoff,
            _ => Retry::Never,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &dyn fmt::Display| (name.to_owned(), value.to_string());
        match self {
            Self::Store { location, .. } => vec![pair("file", location)],
            Self::Damaged { table, location, .. } => vec![pair("table", table), pair("file", location)],
            Self::Iceberg { table, .. } | Self::NoSnapshot { table, .. } => vec![pair("table", table)],
            Self::Catalog { catalog, .. }
            | Self::CatalogAccess { catalog, .. }
            | Self::CatalogUnable { catalog, .. } => vec![pair("catalog", catalog)],
            Self::Conflict { table, .. }
            | Self::TableShape { table, .. }
            | Self::Reference { table, .. }
            | Self::NoTable { table, .. }
            | Self::Busy { table, .. }
            | Self::Owner { table, .. }
            | Self::Key { table, .. }
            | Self::Balance { table, .. } => vec![pair("table", table)],
            Self::OutcomeUnknown { table, run_id, .. } => vec![pair("table", table), pair("run", run_id)],
            Self::Schema { table, column, .. } => vec![pair("table", table), pair("column", column)],
            Self::Drift(drift) => {
                vec![pair("table", &drift.table), pair("column", &drift.column), pair("file", &drift.file)]
            }
            Self::Setting { what, .. } => vec![pair("setting", what)],
            Self::Partition { column, .. } => vec![pair("column", column)],
            Self::ReadOnly { .. } => Vec::new(),
            Self::Internal(_) | Self::FailPoint(_) => Vec::new(),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Damaged { detail, .. }
            | Self::OutcomeUnknown { detail, .. }
            | Self::Balance { detail, .. }
            | Self::Key { detail, .. }
            | Self::ReadOnly { detail, .. }
            | Self::CatalogAccess { detail, .. }
            | Self::CatalogUnable { detail, .. }
            | Self::Setting { detail, .. } => Some(detail.clone()),
            Self::Conflict { what, found, expected, .. } => Some(format!(
                "another load changed {what}: main is at {}, expected {}",
                Snapshot(*found),
                Snapshot(*expected)
            )),
            Self::Owner { property, found, wanted, .. } => Some(match found {
                Some(found) => format!("its {property} is `{found}`, this load has `{wanted}`"),
                None => format!("it has no {property}, this load has `{wanted}`"),
            }),
            Self::Drift(drift) => Some(match &drift.wanted {
                Some(wanted) => format!("the file has {}, the table has {wanted}: {}", drift.found, drift.why),
                None => format!("the file has {}, the table has no such column: {}", drift.found, drift.why),
            }),
            Self::Schema { wanted, found, .. } => Some(match found {
                Some(found) => format!("the load brings {wanted}, the table has {found}"),
                None => format!("the load brings {wanted}, the table has no such column"),
            }),
            _ => self.sources(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { table, .. } => {
                Some(format!("`lakehost snapshots {table}` shows who; then run the same command again"))
            }
            Self::TableShape { hint, .. } | Self::Reference { hint, .. } | Self::Partition { hint, .. } => hint.clone(),
            Self::ReadOnly { detail, .. } if is_full(detail) => {
                Some("free some space on its disk, then run the same command again; reading works".to_owned())
            }
            Self::ReadOnly { .. } => {
                Some("make it writable, with some space left, or name another --warehouse; reading works".to_owned())
            }
            Self::NoTable { known, .. } => Some(if known.is_empty() {
                "no table was loaded yet: `lakehost run` makes one".to_owned()
            } else {
                format!("there are: {}", known.join(", "))
            }),
            Self::Busy { .. } => Some("run the same command again when fewer writers are at work".to_owned()),
            Self::OutcomeUnknown { run_id, .. } => {
                Some(format!("all files are kept; `lakehost resolve {run_id}` looks again and finishes"))
            }
            Self::Owner { .. } => Some("`--table NAMESPACE.OTHER` loads into another table".to_owned()),
            Self::Schema { .. } => {
                Some("`--table NAMESPACE.NAME` loads into a new table with these columns".to_owned())
            }
            Self::Drift(drift) => Some(format!(
                "`rename` says which column it is; `schema = \"discard_value\"` under columns.{} leaves it out",
                drift.column
            )),
            Self::NoSnapshot { table, .. } => Some(format!("`lakehost snapshots {table}` lists them")),
            Self::CatalogUnable { .. } => Some("`lakehost explain LH0607` says which catalogs can do what".to_owned()),
            _ => self.way_out(),
        }
    }
}

/// A snapshot id in a sentence.
struct Snapshot(Option<i64>);

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "snapshot {id}"),
            None => f.write_str("no snapshot"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_map_to_codes_and_exits() {
        let io = |kind| Error::store("write", "/w/a.parquet")(io::Error::from(kind));
        let iceberg = |text: &str| {
            Error::iceberg("read", "a.b")(iceberg::Error::new(iceberg::ErrorKind::Unexpected, text.to_owned()))
        };
        let table = TableName::parse("a.b").unwrap();
        let read_only =
            |code: i32| Error::ReadOnly { what: "x".into(), detail: format!("error: (code: {code}) disk I/O error") };
        let cases: Vec<(Error, Code, u8)> = vec![
            (io(io::ErrorKind::StorageFull), codes::MACHINE_DISK, 11),
            (io(io::ErrorKind::PermissionDenied), codes::STORE_IO, 6),
            (io(io::ErrorKind::NotFound), codes::STORE_MISSING, 6),
            (iceberg("Failed to write: No space left on device (os error 28)"), codes::MACHINE_DISK, 11),
            (iceberg("Failed to read file x: No such file or directory (os error 2)"), codes::STORE_MISSING, 6),
            (iceberg("Permission denied (os error 13)"), codes::STORE_IO, 6),
            (
                Error::OutcomeUnknown { table: table.clone(), run_id: "r".into(), detail: "x".into() },
                codes::COMMIT_UNKNOWN,
                9,
            ),
            (read_only(4874), codes::MACHINE_DISK, 11),
            (read_only(8), codes::STORE_IO, 6),
            (Error::Busy { table, attempts: 3 }, codes::CATALOG_BUSY, 7),
        ];
        for (error, code, exit) in cases {
            assert_eq!((error.code(), error.code().exit()), (code, exit), "{error}");
        }
    }
}
