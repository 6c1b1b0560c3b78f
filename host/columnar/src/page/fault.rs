//! What can be wrong with a column chunk, without the file and column that only the caller knows.

/// Why a page could not be read or written. The caller adds the names of the file and the column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageFault {
    /// The bytes break the format.
    #[error("{0}")]
    Corrupt(String),
    /// A limit of this crate, not of the format.
    #[error("{0}")]
    TooLarge(String),
    /// A null is to be written where the column may have none.
    #[error("null in a required column")]
    Null,
    /// The compression library refused.
    #[error("{0}")]
    Codec(String),
}

pub(crate) type PageResult<T> = std::result::Result<T, PageFault>;

/// Shorthand for a page that breaks the format.
pub(crate) fn corrupt<T>(detail: impl Into<String>) -> PageResult<T> {
    Err(PageFault::Corrupt(detail.into()))
}

impl From<parquet::errors::ParquetError> for PageFault {
    fn from(error: parquet::errors::ParquetError) -> Self {
        PageFault::Corrupt(error.to_string())
    }
}
