//! Where things are: the warehouse folder, the folder of a table and the names of the files in it.
//!
//! A new table in a folder lies at a `file://` URL: every engine knows it, Trino by its scheme alone. Where the folder's name holds `#`, `?`, `%` or a
//! space, which a URL would have to escape and readers disagree on, it lies at the bare path, which all but Trino read. Both are understood
//! everywhere, and `file:/path` too: a table stays at what it was born with, and everything else of ours, such as intents, is a bare path.

use std::path::{Path, PathBuf};

use lakehost_pipeline::Window;
use lakehost_pipeline::ports::TableName;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{Error, Result};

/// The warehouse: a folder, absolute, symbolic links resolved, or a prefix of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warehouse {
    root: String,
    /// The run whose branch of the catalog the tables are on.
    run: Option<String>,
}

impl Warehouse {
    /// Makes the folder when it is not there; a bucket must be there.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        if is_remote(&shown) {
            return Self::remote(&shown);
        }
        std::fs::create_dir_all(path).map_err(Error::store("create the warehouse folder", &shown))?;
        let path = path.canonicalize().map_err(Error::store("open the warehouse folder", &shown))?;
        let root = path.to_str().map(|text| text.trim_end_matches('/').to_owned()).ok_or_else(|| Error::Setting {
            what: shown.clone(),
            purpose: "a warehouse folder",
            detail: "its path is not valid UTF-8, which Iceberg metadata must be".to_owned(),
        })?;
        if root.is_empty() {
            return Err(Error::Setting {
                what: shown,
                purpose: "a warehouse folder",
                detail: "it is the root of the file system".to_owned(),
            });
        }
        Ok(Self { root, run: None })
    }

    fn remote(location: &str) -> Result<Self> {
        let rest = location.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/');
        let sound = !rest.is_empty() && rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !sound {
            return Err(Error::Setting {
                what: location.to_owned(),
                purpose: "a warehouse",
                detail: "it is not of the form s3://BUCKET/PREFIX".to_owned(),
            });
        }
        Ok(Self { root: format!("s3://{rest}"), run: None })
    }

    /// Whether it is a prefix of a bucket.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        is_remote(&self.root)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The folder of a new table of that name.
    #[must_use]
    pub fn table(&self, table: &TableName) -> String {
        told(format!("{}/{}/{}", self.root, table.namespace, table.name))
    }

    /// The same with its tables on the branch of a run.
    #[must_use]
    pub fn of_run(self, run: Option<String>) -> Self {
        Self { run, ..self }
    }

    /// The run whose branch of the catalog the tables are on.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// The folder of intent records, outside every table's folder. What goes on on the branch of a run cannot be judged from elsewhere, so its
    /// records lie apart.
    #[must_use]
    pub fn intents(&self) -> String {
        match &self.run {
            Some(run) => format!("{}/{run}", self.run_branches()),
            None => format!("{}/_lakehost/intents", self.root),
        }
    }

    /// The folder of the records of runs with a branch of their own.
    #[must_use]
    pub fn run_branches(&self) -> String {
        format!("{}/_lakehost/branches", self.root)
    }

    /// The catalog of a warehouse that names no other.
    #[must_use]
    pub fn default_catalog(&self) -> PathBuf {
        Path::new(&self.root).join("catalog.db")
    }

    /// Whether a new table may lie there: inside the warehouse, at least as deep as a table of ours. Links are not followed.
    #[must_use]
    pub fn may_hold(&self, location: &str) -> bool {
        let path = if self.is_remote() { location.to_owned() } else { local_path(location).display().to_string() };
        let rest = path.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/'));
        let parts: Vec<&str> = rest.unwrap_or_default().trim_end_matches('/').split('/').collect();
        let sound = parts.iter().all(|part| !matches!(*part, "" | "." | ".."));
        parts.len() >= 2 && sound && parts.first() != Some(&"_lakehost")
    }

    /// Whether a table may be deleted with its folder: strictly inside the warehouse, at least as deep as a table of ours.
    #[must_use]
    pub fn owns(&self, location: &str) -> bool {
        if self.is_remote() {
            return self.may_hold(location);
        }
        let Ok(path) = local_path(location).canonicalize() else {
            return false;
        };
        let Ok(rest) = path.strip_prefix(&self.root) else {
            return false;
        };
        rest.components().count() >= 2 && !rest.starts_with("_lakehost")
    }
}

/// Whether a location is an object of a bucket.
pub(crate) fn is_remote(location: &str) -> bool {
    ["s3://", "s3a://", "s3n://"].iter().any(|scheme| location.starts_with(scheme))
}

/// A folder as engines are told of it: a URL where that needs no escapes.
pub(crate) fn told(folder: String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    if folder.starts_with('/') && folder.bytes().all(plain) { format!("file://{folder}") } else { folder }
}

/// The path of a location, whichever of the three forms it has.
#[must_use]
pub fn local_path(location: &str) -> PathBuf {
    let rest = location.strip_prefix("file://").or_else(|| location.strip_prefix("file:")).unwrap_or(location);
    if rest.starts_with('/') { PathBuf::from(rest) } else { PathBuf::from(format!("/{rest}")) }
}

/// The folder of a window's data files: `<table>/data/2024-01`.
#[must_use]
pub fn data_folder(table_location: &str, window: Option<&Window>) -> String {
    format!("{table_location}/data/{}", window.map_or("all", Window::label))
}

/// How the names of one run's data files begin.
#[must_use]
pub fn data_prefix(run_id: &str) -> String {
    format!("{run_id}-")
}

/// How the names of one load's manifests and manifest lists begin. A run may load several windows of a table, each with a snapshot of its own.
#[must_use]
pub fn manifest_prefix(run_id: &str, snapshot_id: i64) -> String {
    format!("{run_id}-{snapshot_id}-a")
}

/// The metadata file that an attempt writes: next version, with an id that `resolve` can compute again.
#[must_use]
pub fn metadata_file(table_location: &str, version: u32, id: Uuid) -> String {
    format!("{table_location}/metadata/{version:05}-{id}.metadata.json")
}

/// The version number in a metadata file's name, 0 when it has none.
#[must_use]
pub fn metadata_version(location: &str) -> u32 {
    let name = location.rsplit('/').next().unwrap_or(location);
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The id of the metadata file that a request for a snapshot writes.
#[must_use]
pub fn metadata_id(snapshot_id: i64, request: u32) -> Uuid {
    let digest = Sha256::digest(format!("lakehost metadata {snapshot_id} {request}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Run ids become file names, so they are letters, digits, `-` and `_`.
pub(crate) fn check_run_id(run_id: &str) -> Result<()> {
    let sound = !run_id.is_empty()
        && run_id.len() <= 64
        && run_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if sound { Ok(()) } else { Err(Error::Internal(format!("`{}` cannot name files", run_id.escape_debug()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_name_one_path() {
        for location in ["/w/a b/c#1.parquet", "file:///w/a b/c#1.parquet", "file:/w/a b/c#1.parquet"] {
            assert_eq!(local_path(location), Path::new("/w/a b/c#1.parquet"));
        }
    }

    #[test]
    fn a_warehouse_owns_only_table_folders_inside_itself() {
        let folder = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(&folder.path().join("w")).unwrap();
        std::fs::create_dir_all(folder.path().join("w/raw/t")).unwrap();
        std::fs::create_dir_all(folder.path().join("w/_lakehost/intents")).unwrap();
        for (tail, owned) in [("/raw/t", true), ("/raw", false), ("", false), ("/_lakehost/intents", false)] {
            assert_eq!(warehouse.owns(&format!("{}{tail}", warehouse.root())), owned, "{tail}");
        }
        assert!(!warehouse.owns(&format!("{}/raw/../../other", warehouse.root())));
        assert!(!warehouse.owns("/tmp"));
        for (tail, may) in
            [("/raw/new", true), ("/raw/new/", true), ("/raw", false), ("/raw/../../x", false), ("2/a/b", false)]
        {
            assert_eq!(warehouse.may_hold(&format!("file://{}{tail}", warehouse.root())), may, "{tail}");
        }
        assert!(!warehouse.may_hold("/elsewhere/a/b") && !warehouse.may_hold("s3://b/a/b"));
    }

    #[test]
    fn a_table_lies_at_a_url_that_needs_no_escapes_or_at_its_path() {
        let table = TableName { namespace: "raw".to_owned(), name: "t".to_owned() };
        for (root, location) in [
            ("/data/w-1.0_x~", "file:///data/w-1.0_x~/raw/t"),
            ("/data/w 1", "/data/w 1/raw/t"),
            ("/data/w#1", "/data/w#1/raw/t"),
            ("/data/w%20", "/data/w%20/raw/t"),
            ("/data/wé", "/data/wé/raw/t"),
            ("s3://b/w", "s3://b/w/raw/t"),
        ] {
            assert_eq!(Warehouse { root: root.to_owned(), run: None }.table(&table), location);
        }
    }

    #[test]
    fn a_bucket_can_be_a_warehouse() {
        for (text, root) in [("s3://b/w/", "s3://b/w"), ("s3a://b", "s3://b"), ("s3://b/w/x", "s3://b/w/x")] {
            assert_eq!(Warehouse::open(Path::new(text)).unwrap().root(), root);
        }
        for text in ["s3://", "s3://b//w", "s3://b/../w"] {
            assert!(Warehouse::open(Path::new(text)).is_err(), "{text}");
        }
        let warehouse = Warehouse::open(Path::new("s3://b/w")).unwrap();
        for (tail, owned) in [
            ("/raw/t", true),
            ("/raw", false),
            ("", false),
            ("/_lakehost/x", false),
            ("2/raw/t", false),
            ("/../x/y", false),
        ] {
            assert_eq!(warehouse.owns(&format!("s3://b/w{tail}")), owned, "{tail}");
        }
        assert!(!warehouse.owns("/w/raw/t"));
    }

    #[test]
    fn metadata_names_count_up_and_can_be_computed_again() {
        let id = metadata_id(1, 2);
        assert_eq!(id, metadata_id(1, 2));
        assert_ne!(id, metadata_id(1, 3));
        assert_ne!(id, metadata_id(2, 2));
        let location = metadata_file("/w/raw/t", 7, id);
        assert_eq!(metadata_version(&location), 7);
        assert!(location.parse::<iceberg::MetadataLocation>().is_ok(), "{location}");
        assert_eq!(metadata_version("/w/metadata/odd.metadata.json"), 0);
    }
}
