//! Data files into Iceberg tables: a warehouse, its catalog and the commit.
//!
//! A load begins with a check of its table ([`IcebergLake`] as the pipeline's `Lake`), writes Parquet files through the sinks that it is given,
//! and ends with one snapshot, committed exactly once: a crash, a lost answer or another writer at any point leaves the table as it was or
//! with the whole load in it, never twice. `commit` holds the protocol, `intent` and `resolve` what a later run needs to finish or tidy up
//! behind one that was killed.
//!
//! The `iceberg` crate gives the formats: metadata, manifests, schemas. Its own transactions cannot replace a window and rebase by
//! themselves, so the commit is built here on its public parts.
//!
//! # Left to others
//!
//! What is loaded and when (`pipeline`), how rows become Parquet (`columnar`), SQL over the tables (`query`), flags and text (`cli`). This
//! crate knows no plugins, no TOML and no terminal.

mod bounds;
mod catalog;
mod commit;
mod constants;
mod content;
mod core;
mod data_file;
mod delete;
mod diff;
mod error;
mod evolve;
pub mod fail_point;
mod foreign;
mod history;
mod inspect;
mod intent;
mod lake;
mod layout;
mod load;
mod loaded;
mod location;
mod look_up;
mod maintain;
mod masked;
mod merge;
mod open;
mod plan;
mod process;
mod properties;
mod provenance;
mod publish;
mod raw;
mod refs;
mod reject_spool;
mod rejects;
mod replay;
mod reshape;
mod resolve;
mod run_branch;
mod run_files;
mod schema;
mod show;
mod sort_order;
mod source_state;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod tls;

pub use catalog::{
    Abilities, Base, Catalog, CatalogEntry, CatalogRef, Creation, NamespaceEnd, Outcome, Placed, PostgresCatalog,
    PostgresOptions, Renamed, RestAuth, RestCatalog, RestOptions, SqliteCatalog, SqliteOptions, TableChange,
    TableState, is_branch_name,
};
pub use commit::Prepared;
pub use constants::FileConstants;
pub use content::{Content, ContentHash};
pub use core::Clock;
pub use delete::{BoundTest, Changed, DeleteOptions, RowTest};
pub use diff::{Diff, WindowDelta};
pub use error::{Drift, Error, Result};
pub use history::{AsOf, SnapshotInfo, snapshot_as_of};
pub use inspect::MetadataTable;
pub use intent::Intent;
pub use lake::IcebergLake;
pub use look_up::LookUp;
pub use maintain::{
    CompactOptions, Compacted, ExpireOptions, Expired, Maintained, Orphan, OrphanKind, OrphanOptions, SortKey,
    Thresholds,
};
pub use open::{CatalogOptions, LakeOptions};
pub use process::{Life, Process};
pub use properties::{CLEANERS, GRANULARITY, LOADED, OWNER};
pub use provenance::Provenance;
pub use refs::{RefKind, references};
pub use reshape::Reshaped;
pub use resolve::{Resolution, Resolved};
pub use run_branch::{BranchState, Discarded, Published, RunBranch, RunBranches, RunError, Swept};
pub use show::Shown;
pub use store::{LocalStore, PendingUpload, Renew, S3Keys, S3Options, S3Store, Store, StoreBytes, StoredFile};
pub use tables::{ColumnLine, Dropped, TableDetails, TableLine};
pub use tls::Tls;
