//! Reading a stream that comes from someone trusted: the host, as a plugin sees it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::read_record_batch;
use arrow_schema::SchemaRef;

use crate::error::WireError;

/// Continuation marker and metadata length.
const PREFIX_BYTES: usize = 8;

/// The batch of a stream, without copying its buffers. A stream without a batch is a batch without rows.
///
/// Reads the two messages itself: arrow's stream decoder would bring the kernels of dictionaries into every component.
///
/// # Errors
/// [`WireError::Arrow`] when a message is not sound, [`WireError::Framing`] when there is no schema or the stream is cut.
pub fn decode_batch(bytes: Vec<u8>) -> Result<RecordBatch, WireError> {
    let stream = Buffer::from_vec(bytes);
    let (metadata, at) = message(&stream, 0)?.ok_or_else(no_schema)?;
    let header = parse(metadata)?;
    let schema = header.header_as_schema().ok_or_else(no_schema)?;
    let schema: SchemaRef = Arc::new(arrow_ipc::convert::fb_to_schema(schema));
    let Some((metadata, body_at)) = message(&stream, at)? else {
        return Ok(RecordBatch::new_empty(schema));
    };
    let header = parse(metadata)?;
    let cut = |detail: &str| WireError::Framing { at: body_at, detail: detail.to_owned() };
    let batch = header.header_as_record_batch().ok_or_else(|| cut("the second message is no record batch"))?;
    let length = usize::try_from(header.bodyLength()).map_err(|_| cut("the body has no sound length"))?;
    if length > stream.len() - body_at {
        return Err(cut("the body is cut"));
    }
    let body = stream.slice_with_length(body_at, length);
    Ok(read_record_batch(&body, batch, schema, &HashMap::new(), None, &header.version())?)
}

/// The metadata of the message at `at` and where its body begins; `None` at the end of the stream.
fn message(stream: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some(prefix) = stream.get(at..at + PREFIX_BYTES) else { return Ok(None) };
    let length = prefix[4..].try_into().map_or(0, u32::from_le_bytes) as usize;
    if length == 0 {
        return Ok(None);
    }
    let end = at + PREFIX_BYTES + length;
    let metadata = stream.get(at + PREFIX_BYTES..end);
    let cut = || WireError::Framing { at, detail: "the message is cut".to_owned() };
    Ok(Some((metadata.ok_or_else(cut)?, end)))
}

fn parse(metadata: &[u8]) -> Result<arrow_ipc::Message<'_>, WireError> {
    arrow_ipc::root_as_message(metadata)
        .map_err(|error| WireError::Framing { at: 0, detail: format!("the message is no flatbuffer: {error}") })
}

/// The schema of a stream; a batch behind it is not looked at.
///
/// # Errors
/// [`WireError::Arrow`] when the bytes do not start with a schema message.
pub fn decode_schema(bytes: &[u8]) -> Result<SchemaRef, WireError> {
    if bytes.len() < 8 {
        return Err(no_schema());
    }
    Ok(Arc::new(arrow_ipc::convert::try_schema_from_ipc_buffer(bytes)?))
}

fn no_schema() -> WireError {
    WireError::Framing { at: 0, detail: "there is no schema message".to_owned() }
}
