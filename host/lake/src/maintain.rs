//! Upkeep of a table: fewer and larger files, no snapshots that nobody asks for any more, no files that nobody refers to.
//!
//! Rows never change here. [`compact`] puts them into other files, [`manifests`] lists the same files in other manifests, [`expire`] forgets
//! old states and then their files, [`orphans`] finds what no state of any table refers to. Each may run beside loads: a commit of upkeep that
//! meets another one gives way, and no file is deleted before it is certain that nothing refers to it.

mod auto;
mod bins;
mod compact;
mod dangling;
mod expire;
mod manifests;
mod orphans;
mod paths;
mod rewrite;

pub use auto::{Maintained, Thresholds};
pub use compact::{CompactOptions, Compacted, SortKey};
pub use expire::{ExpireOptions, Expired};
pub use orphans::{Orphan, OrphanKind, OrphanOptions};
pub use paths::normal;
pub use rewrite::{Batches, Reader, failure};
