//! Reading a stream that comes from someone trusted: the host, as a plugin sees it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::SchemaRef;

use crate::error::WireError;

/// The batch of a stream, without copying its buffers. A stream without a batch is a batch without rows.
///
/// # Errors
/// [`WireError::Arrow`] when the bytes are no IPC stream, [`WireError::Framing`] when they hold no schema.
pub fn decode_batch(bytes: Vec<u8>) -> Result<RecordBatch, WireError> {
    let mut buffer = Buffer::from_vec(bytes);
    let mut decoder = StreamDecoder::new();
    match decoder.decode(&mut buffer)? {
        Some(batch) => Ok(batch),
        None => decoder.schema().map(RecordBatch::new_empty).ok_or_else(no_schema),
    }
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
