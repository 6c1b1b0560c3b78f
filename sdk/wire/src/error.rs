//! Why bytes are not a sound batch. Names that came from outside are escaped and cut here, so that messages can be shown as they are.

use arrow_schema::ArrowError;

/// Why a stream could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Something is larger than [`crate::Limits`] allows.
    #[error("{what}: {found}, the limit is {limit}")]
    TooLarge { what: &'static str, found: u64, limit: u64 },
    /// The stream is not framed as the contract says.
    #[error("not one Arrow IPC stream of a schema and a batch: {detail} (byte {at})")]
    Framing { at: usize, detail: String },
    /// The schema message is unsound.
    #[error("column `{column}`: {detail}")]
    Schema { column: String, detail: String },
    /// Lengths, offsets or counts of the record batch contradict each other.
    #[error("column `{column}`: {detail}")]
    Layout { column: String, detail: String },
    /// The record batch as a whole is not what the contract wants.
    #[error("the record batch: {detail}")]
    Batch { detail: String },
    /// A type that does not cross the boundary.
    #[error("column `{column}`: type {found} does not cross the plugin boundary")]
    Unsupported { column: String, found: String },
    /// The schema is sound, and not the one that was agreed on.
    #[error("column `{column}`: expected {wanted}, found {found}")]
    Mismatch { column: String, wanted: String, found: String },
    /// Arrow refuses the values.
    #[error("{0}")]
    Arrow(String),
}

impl From<ArrowError> for WireError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(shown(&error.to_string(), 400))
    }
}

/// Text from outside, escaped and cut to `limit` characters.
pub(crate) fn shown(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        if character == '"' || character == '\'' {
            out.push(character);
        } else {
            out.extend(character.escape_debug());
        }
    }
    out
}
