//! Columns at rest and in flight: what a run does between "the source's bytes are here" and "the data files are written".
//!
//! A source file is opened once ([`ParquetFile`]), mapped onto the columns that the source promised ([`ParquetScan`]), and then takes one of
//! three ways into the table:
//!
//! 1. **as it is** ([`as_is_plan`]): its own pages behind a new footer, when nothing has to change;
//! 2. **page by page** ([`Transcoder`]): the pages of unchanged columns lose the dropped rows without ever becoming Arrow arrays;
//! 3. **through Arrow** (the same [`Transcoder`]): decode, cast, clean, filter, encode. The reference that the other two must equal, and the
//!    fallback for everything that they do not know.
//!
//! Every cast is exact ([`cast_exact`]): a value that does not fit makes its row fail, it is never rounded, wrapped or nulled in silence.
//!
//! Source bytes come from strangers. Lengths, counts and offsets are checked against the file before anything is allocated or read after them.
//!
//! # Left to others
//!
//! HTTP and object stores (bytes come from a [`ByteSource`] and go to a [`FileSink`]), Iceberg (a [`WrittenFile`] carries the footer from which
//! `lake` makes a manifest entry), rules and cleaners (a [`RowStep`]), and the clock (an [`Observer`] is told when a stage starts and ends).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed"))]

mod as_is;
mod bytes;
mod cast;
mod error;
mod file_writer;
mod footer;
mod mapping;
mod merge_files;
mod observer;
mod output;
mod page;
mod parallel;
mod partition;
mod sort;
mod steps;
#[cfg(test)]
mod testing;
mod thrift;
mod transcode;

pub use self::bytes::{ByteSource, FileBytes, MemoryBytes};
pub use as_is::{AsIs, Verify, as_is_plan};
pub use cast::{Cast, cast_exact, cast_kind};
pub use error::{Error, Result};
pub use footer::ParquetFile;
pub use mapping::{CastFailure, ColumnMap, Decoded, MappedColumn, ParquetScan, Projection, ScanSlices, Unlisted};
pub use merge_files::{can_join, join};
pub use observer::{Mark, NoObserver, Observer, Stage};
pub use output::{
    Constant, FileSink, OutputSchema, PartitionField, PartitionValue, SinkFactory, Transform, WriteOptions,
    WrittenFile, check_partition,
};
pub use sort::{SortKey, sorted};
pub use steps::{BatchSource, BoxError, RowStep};
pub use transcode::{Outcome, Path, RejectSink, Rows, Transcoder};
