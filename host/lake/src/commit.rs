//! The commit: from data files to one new snapshot of a table, exactly once.
//!
//! [`snapshot`] writes the manifests of one attempt, [`conflict`] tells whether somebody else's commit got in the way, and [`protocol`] sends
//! one request at a time and looks at the table before it does anything else.

mod conflict;
mod manifests;
mod protocol;
mod snapshot;
mod summary;

pub use manifests::{Manifests, is_live};
pub use protocol::{Commit, Landing, REQUESTS, keeps_files};
pub use snapshot::Removal;
pub use summary::{recorded, source_objects};
