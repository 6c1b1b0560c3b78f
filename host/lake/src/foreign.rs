//! What a server of this warehouse's catalog needs of the lake: other engines write data files, and the server decides where.

use std::ops::ControlFlow;

use iceberg::spec::TableMetadata;
use lakehost_pipeline::ports::TableName;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::catalog::CatalogRef;
use crate::error::{Error, Result};
use crate::lake::IcebergLake;
use crate::location::{is_remote, local_path, told};
use crate::maintain::normal;

impl IcebergLake {
    /// The catalog, for calls from inside a runtime.
    #[must_use]
    pub fn catalog(&self) -> CatalogRef {
        CatalogRef::clone(&self.core.catalog)
    }

    /// The runtime that the lake was opened with.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.core.runtime.clone()
    }

    /// The warehouse: an absolute folder, or `s3://bucket/prefix`.
    #[must_use]
    pub fn root(&self) -> &str {
        self.core.warehouse.root()
    }

    /// The folder of a namespace that names none itself, for engines that lay tables out by it.
    ///
    /// Like our own tables: a `file://` URL where that needs no escapes, else the bare path.
    #[must_use]
    pub fn namespace_location(&self, namespace: &str) -> String {
        told(format!("{}/{namespace}", self.root()))
    }

    /// The folder of a new table in that of its namespace: one of its own where files of an older table lie in the usual one.
    pub fn new_location(&self, table: &TableName, namespace_location: &str) -> Result<String> {
        let usual = format!("{}/{}", namespace_location.trim_end_matches('/'), table.name);
        let mut taken = false;
        let walked = self.core.store.walk(&usual, &mut |_| {
            taken = true;
            ControlFlow::Break(())
        });
        walked.map_err(Error::store("list", &usual))?;
        Ok(if taken { format!("{usual}-{}", Uuid::new_v4().simple()) } else { usual })
    }

    /// Makes the folder that an engine writes manifests to before there is a table: not every one makes it itself.
    pub fn make_folder(&self, location: &str) -> Result<()> {
        if is_remote(location) {
            return Ok(());
        }
        let folder = local_path(location).join("metadata");
        std::fs::create_dir_all(&folder).map_err(Error::store("create", folder.display()))
    }

    /// Whether a new table may lie there, by the place alone: inside the warehouse.
    #[must_use]
    pub fn may_hold(&self, location: &str) -> bool {
        self.core.warehouse.may_hold(location)
    }

    /// Whether a new table may lie there: inside the warehouse, and not where another table is known to lie.
    pub async fn is_free(&self, location: &str) -> Result<bool> {
        if !self.may_hold(location) {
            return Ok(false);
        }
        let inside = |inner: &str, outer: &str| normal(inner).starts_with(&normal(outer));
        let wanted = format!("{}/", location.trim_end_matches('/'));
        for entry in self.core.catalog.list_tables(None).await? {
            let Some(file) = entry.metadata_location else { continue };
            // <table>/metadata/<file>
            let Some((folder, _)) = file.rsplit_once('/').and_then(|(folder, _)| folder.rsplit_once('/')) else {
                continue;
            };
            let folder = format!("{folder}/");
            if inside(&wanted, &folder) || inside(&folder, &wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a metadata file, wherever it lies.
    pub async fn metadata_at(&self, location: &str) -> Result<TableMetadata> {
        let read = TableMetadata::read_from(&self.core.io, location).await;
        read.map_err(Error::iceberg("read the metadata of", location))
    }
}
