//! The commit: from what is wanted of a table to one new state of it, exactly once.
//!
//! An [`action`] says what it wants on a given head, [`build`] writes the manifests ([`snapshot`]) and the request, and [`protocol`] sends one
//! request at a time and looks at the table before it does anything else ([`mod@landed`]). [`load_action`] is the commit of a load; [`conflict`]
//! tells whether somebody else's commit got in its way.

mod action;
mod build;
mod conflict;
mod landed;
mod load_action;
mod manifests;
mod protocol;
mod rehearse;
mod snapshot;
mod summary;

pub use action::{Action, Added, Delta, NewSnapshot, On, RefChange, Removal, Step};
pub use conflict::{any, changed};
pub use landed::{Landed, Verdict, landed};
pub use load_action::LoadAction;
pub use manifests::{Manifests, is_live};
pub use protocol::{Ended, Landing, REQUESTS, keeps_files, land};
pub use rehearse::{Prepared, open, rehearse};
pub use snapshot::data_files;
pub use summary::{ACTION, LOADED_KEY, PREFIX, REPLAY, of_action, of_replay, source_objects, value};
