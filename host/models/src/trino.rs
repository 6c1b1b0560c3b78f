//! Statements to Trino, by its own protocol: `POST /v1/statement`, then `nextUri` after `nextUri`, `DELETE` to end a query early.
//!
//! A statement that only reads may be sent again when no answer comes, and each page of an answer may be asked for again. One that changes
//! something is sent once. When its outcome gets lost, Trino's own list of queries is asked, under a source name that no other statement has; what
//! that does not settle is an error of its own, [`Error::Unknown`].
//!
//! Left to others: where Trino is and who asks (`host/cli`), and how rows are printed.

mod error;
mod http;
mod options;
mod query;
mod statement;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod values;
mod wire;
mod write;

pub use error::{Error, Result};
pub use http::Trino;
pub use options::{Auth, Options, Progress};
pub use query::Query;
pub use statement::{Statement, is_read, literal, quoted};
pub use write::Written;
