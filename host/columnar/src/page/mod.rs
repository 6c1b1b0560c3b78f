//! Parquet pages in and out without Arrow arrays in between: the fast path of the transcoder.
//!
//! A column that nobody changes keeps its dictionary; per row only its id is unpacked, kept or dropped, and packed again. New columns are
//! encoded from values, constants as one run. What this module does not know (nested columns, DELTA encodings, INT96) it says with `None`,
//! and the column takes the Arrow path.
//!
//! Source bytes come from strangers: sizes are checked before memory is taken, ids before they are looked up, text before it is called text.
//!
//! # Left to others
//! Which columns and rows (`transcode`), footers and row groups (`file_writer`), names of files and columns in messages (the caller of this module).

pub(crate) mod arrow;
mod byte_values;
pub(crate) mod constant;
pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod fault;
mod header;
pub(crate) mod materialise;
pub(crate) mod new_column;
mod rle;
pub(crate) mod scratch;
pub(crate) mod select;
mod statistics;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod values;
pub(crate) mod verify;
pub(crate) mod writer;

pub(crate) use fault::{PageFault, PageResult};
pub(crate) use scratch::Scratch;
pub(crate) use verify::verify_chunk;
