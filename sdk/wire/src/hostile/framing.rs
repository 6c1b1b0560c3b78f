//! Messages of a stream and their places: `ffffffff`, metadata length, metadata (a flatbuffer), body.

use std::ops::Range;

use arrow_ipc::{Message, MetadataVersion, root_as_message_with_opts};
use flatbuffers::VerifierOptions;

use crate::error::{WireError, shown};
use crate::limits::Limits;

const CONTINUATION: [u8; 4] = [0xff; 4];

/// One verified message.
pub(super) struct Frame<'a> {
    pub message: Message<'a>,
    /// Where the body lies in the stream.
    pub body: Range<usize>,
}

/// Reads message after message; every length is held against the bytes that are left.
pub(super) struct Stream<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    ended: bool,
}

impl<'a> Stream<'a> {
    pub fn new(bytes: &'a [u8], limits: &'a Limits) -> Self {
        Self { bytes, at: 0, limits, ended: false }
    }

    /// An error at the present place.
    pub fn wrong(&self, detail: impl Into<String>) -> WireError {
        WireError::Framing { at: self.at, detail: detail.into() }
    }

    /// The next message, `None` at the end marker.
    pub fn next(&mut self) -> Result<Option<Frame<'a>>, WireError> {
        if self.ended {
            return Ok(None);
        }
        let marker: [u8; 4] = self.word("continuation marker")?;
        if marker != CONTINUATION {
            return Err(self.wrong("a message does not start with the continuation marker"));
        }
        let length = i32::from_le_bytes(self.word("metadata length")?);
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        let length =
            usize::try_from(length).map_err(|_| self.wrong(format!("metadata length {length} is negative")))?;
        if length > self.limits.metadata_bytes {
            return Err(WireError::TooLarge {
                what: "metadata bytes",
                found: length as u64,
                limit: self.limits.metadata_bytes as u64,
            });
        }
        if length % 8 != 0 {
            return Err(self.wrong(format!("metadata length {length} is no multiple of 8")));
        }
        let metadata = self.take(length, "metadata")?;
        let message = root_as_message_with_opts(&self.verifier(), metadata)
            .map_err(|error| self.wrong(format!("unsound metadata: {}", shown(first_line(&error.to_string()), 160))))?;
        if message.version() != MetadataVersion::V5 {
            return Err(self.wrong("the metadata version is not V5"));
        }
        let body_length = message.bodyLength();
        let start = self.at;
        let length = usize::try_from(body_length)
            .ok()
            .filter(|length| *length <= self.bytes.len() - start && length % 8 == 0)
            .ok_or_else(|| {
                let left = self.bytes.len() - start;
                self.wrong(format!("a body of {body_length} bytes does not fit the {left} bytes that are left"))
            })?;
        self.at += length;
        Ok(Some(Frame { message, body: start..start + length }))
    }

    /// Nothing may follow the end marker.
    pub fn at_end(&self) -> Result<(), WireError> {
        if self.ended && self.at == self.bytes.len() { Ok(()) } else { Err(self.wrong("bytes follow the end marker")) }
    }

    fn word(&mut self, what: &str) -> Result<[u8; 4], WireError> {
        let bytes = self.take(4, what)?;
        bytes.try_into().map_err(|_| self.wrong("the stream ends early"))
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], WireError> {
        let taken = self
            .at
            .checked_add(length)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.wrong(format!("the stream ends before its {what}")))?;
        self.at += length;
        Ok(taken)
    }

    fn verifier(&self) -> VerifierOptions {
        VerifierOptions {
            // Message, schema, and per level of nesting a field, its type and its children.
            max_depth: 8 + 4 * self.limits.nesting,
            // A field has a table for itself, its type and a few for metadata.
            max_tables: 64 + 16 * self.limits.columns,
            // Tables may share bytes; what they come to together is bounded as if they did not.
            max_apparent_size: 4 * self.limits.metadata_bytes,
            ignore_missing_null_terminator: false,
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
