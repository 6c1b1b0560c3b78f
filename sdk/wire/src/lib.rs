//! Record batches as bytes, for both sides of the plugin boundary.
//!
//! What crosses the boundary is one uncompressed Arrow IPC *stream*: one schema message, at most one record batch, the end marker; no
//! dictionaries. [`encode_batch`] and [`encode_schema`] write it with a single copy. A plugin trusts its host and uses [`decode_batch`]; the
//! host trusts nobody and uses `decode_hostile`, which walks every length in the stream itself before Arrow's reader sees it.
//!
//! This crate knows Arrow and nothing else: neither the WIT contract nor wasmtime nor where the bytes came from.

mod decode;
mod encode;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod hostile;
mod limits;

pub use decode::{decode_batch, decode_schema};
pub use encode::{encode_batch, encode_schema};
pub use error::WireError;
#[cfg(not(target_arch = "wasm32"))]
pub use hostile::{check_schema, decode_hostile, decode_schema_hostile};
pub use limits::Limits;
