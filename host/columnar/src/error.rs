//! What can go wrong between source bytes and data files, with the names that a reader of the message needs.

use crate::steps::BoxError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why columns could not be read, cast or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a Parquet file at all; often an error page saved under the file's name.
    #[error("{name} is not a Parquet file: {detail}")]
    NotParquet {
        /// The source file.
        name: String,
        /// What it looks like instead.
        detail: String,
    },
    /// The file starts as Parquet but ends too early.
    #[error("{name} is cut short: {detail}")]
    Truncated {
        /// The source file.
        name: String,
        /// What is missing.
        detail: String,
    },
    /// The file is Parquet but contradicts itself.
    #[error("{name} is damaged: {detail}")]
    Corrupt {
        /// The source file.
        name: String,
        /// The contradiction.
        detail: String,
    },
    /// A column has a type from which the wanted type cannot be made exactly.
    #[error("column {column} cannot become {wanted} exactly: it is {found}")]
    Schema {
        /// The column, by its wanted name.
        column: String,
        /// The promised type.
        wanted: String,
        /// The type found upstream.
        found: String,
    },
    /// The file has a column that the source did not promise.
    #[error("{name} has a column {column} that the source does not list")]
    UnlistedColumn {
        /// The source file.
        name: String,
        /// The column, by its upstream name.
        column: String,
    },
    /// The file lacks a column that the source promised.
    #[error("{name} has no column {column} (looked for: {})", looked_for.join(", "))]
    MissingColumn {
        /// The source file.
        name: String,
        /// The column, by its wanted name.
        column: String,
        /// The upstream names under which it was looked for.
        looked_for: Vec<String>,
    },
    /// A valid file that uses something lakehost does not read or write.
    #[error("{name}: {detail} is not supported")]
    Unsupported {
        /// The file, column or table.
        name: String,
        /// The feature.
        detail: String,
    },
    /// Something is larger than its limit.
    #[error("{what} is {found}, more than the limit of {limit}")]
    TooLarge {
        /// The thing, with its name and unit.
        what: String,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The file system or the store refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The row logic (cleaner, batch source) failed.
    #[error("{0}")]
    Step(#[source] BoxError),
    /// Somebody asked to stop.
    #[error("the run was cancelled")]
    Cancelled,
    /// The work does not fit into the memory it was given.
    #[error("{what} needs {needed_bytes} bytes, the budget is {limit_bytes} bytes")]
    MemoryBudget {
        /// The thing that needs the memory.
        what: String,
        /// How much it needs.
        needed_bytes: u64,
        /// How much there is.
        limit_bytes: u64,
    },
    /// The Parquet or Arrow writer refused what lakehost gave it: a fault of lakehost, not of the data.
    #[error("could not encode {what}: {detail}")]
    Encode {
        /// The column or file.
        what: String,
        /// The writer's words.
        detail: String,
    },
}

impl Error {
    /// A contradiction in the source file `name`.
    pub(crate) fn corrupt(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { name: name.to_owned(), detail: detail.to_string() }
    }

    /// A valid feature of `name` that is not read or written here.
    pub(crate) fn unsupported(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::Unsupported { name: name.to_owned(), detail: detail.to_string() }
    }

    /// A refusal of the writer; what the sink said is passed on as [`Error::Io`].
    pub(crate) fn encode(what: &str, error: parquet::errors::ParquetError) -> Self {
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(io) => Self::Io(*io),
                Err(other) => Self::Encode { what: what.to_owned(), detail: other.to_string() },
            },
            other => Self::Encode { what: what.to_owned(), detail: other.to_string() },
        }
    }

    /// A refusal of the reader over source bytes; what the byte source said is passed on as [`Error::Io`].
    pub(crate) fn decode(name: &str, error: parquet::errors::ParquetError) -> Self {
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(io) => Self::Io(*io),
                Err(other) => Self::corrupt(name, other),
            },
            other => Self::corrupt(name, other),
        }
    }
}

/// Run a decoder over bytes from outside; a panic in it (arrow and parquet have some on forged input) becomes [`Error::Corrupt`].
pub(crate) fn guarded<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let said = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Error::corrupt(name, format!("the decoder gave up: {said}")))
        }
    }
}
