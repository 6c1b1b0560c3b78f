//! Manifests: read, and written anew without the files that a snapshot removes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::io::FileIO;
use iceberg::spec::{
    Manifest, ManifestContentType, ManifestFile, ManifestList, ManifestWriter, ManifestWriterBuilder, PartitionSpecRef,
    SchemaRef, SnapshotRef, TableMetadata,
};

use crate::error::{Error, Result};
use crate::store::Store;

/// Reads manifests; one that was read is kept, since they never change and an attempt that is repeated needs the same ones.
#[derive(Debug)]
pub struct Manifests {
    io: FileIO,
    read: Mutex<HashMap<String, Arc<Manifest>>>,
}

impl Manifests {
    pub fn new(io: FileIO) -> Self {
        Self { io, read: Mutex::default() }
    }

    /// The manifests of a snapshot; none without a snapshot.
    pub async fn list(&self, metadata: &TableMetadata, snapshot: Option<&SnapshotRef>) -> Result<Vec<ManifestFile>> {
        let Some(snapshot) = snapshot else { return Ok(Vec::new()) };
        let location = snapshot.manifest_list();
        let list = async {
            let bytes = self.io.new_input(location)?.read().await?;
            ManifestList::parse_with_version(&bytes, metadata.format_version())
        }
        .await
        .map_err(Error::iceberg("read a manifest list of", metadata.location()))?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The entries of a manifest, with inherited snapshot ids and sequence numbers.
    pub async fn load(&self, manifest: &ManifestFile) -> Result<Arc<Manifest>> {
        let path = &manifest.manifest_path;
        if let Some(known) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(Arc::clone(known));
        }
        let loaded =
            manifest.load_manifest(&self.io).await.map(Arc::new).map_err(Error::iceberg("read a manifest of", path))?;
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), Arc::clone(&loaded));
        Ok(loaded)
    }
}

/// Whether a manifest lists files that are still part of the table.
pub fn is_live(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

/// How many files of a manifest are still part of the table, as far as it says.
pub fn live_files(manifest: &ManifestFile) -> Option<u64> {
    Some(u64::from(manifest.added_files_count?) + u64::from(manifest.existing_files_count?))
}

/// Writes the manifests and the manifest list of one attempt, and remembers what it wrote.
pub struct ManifestFolder<'a> {
    store: &'a dyn Store,
    /// Avro is made here first, so that the store alone decides how bytes become files.
    memory: FileIO,
    /// Everything before the running number.
    prefix: String,
    snapshot_id: i64,
    written: Vec<String>,
}

impl<'a> ManifestFolder<'a> {
    pub fn new(store: &'a dyn Store, table_location: &str, name_prefix: &str, snapshot_id: i64) -> Self {
        Self {
            store,
            memory: FileIO::new_with_memory(),
            prefix: format!("{table_location}/metadata/{name_prefix}"),
            snapshot_id,
            written: Vec::new(),
        }
    }

    /// Everything written so far.
    pub fn into_written(self) -> Vec<String> {
        self.written
    }

    /// A writer for one manifest; hand it to [`Self::finish`].
    pub fn writer(
        &mut self,
        content: ManifestContentType,
        schema: &SchemaRef,
        spec: &PartitionSpecRef,
    ) -> Result<ManifestWriter> {
        let location = format!("{}-m{}.avro", self.prefix, self.written.len());
        let output = self.memory.new_output(&location).map_err(Error::iceberg("write a manifest of", &self.prefix))?;
        // Remembered now: a write that fails half way may leave a file.
        self.written.push(location);
        let builder =
            ManifestWriterBuilder::new(output, Some(self.snapshot_id), Arc::clone(schema), spec.as_ref().clone());
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }

    /// Writes the manifest out.
    pub async fn finish(&mut self, writer: ManifestWriter) -> Result<ManifestFile> {
        let manifest =
            writer.write_manifest_file().await.map_err(Error::iceberg("write a manifest of", &self.prefix))?;
        self.put(&manifest.manifest_path).await?;
        Ok(manifest)
    }

    /// Writes the manifest list; its location.
    pub async fn list(
        &mut self,
        manifests: Vec<ManifestFile>,
        parent: Option<i64>,
        sequence_number: i64,
    ) -> Result<String> {
        let location = format!("{}-snap-{}.avro", self.prefix, self.snapshot_id);
        self.written.push(location.clone());
        let written = async {
            let output = self.memory.new_output(&location)?.writer().await?;
            let mut writer = iceberg::spec::ManifestListWriter::v2(output, self.snapshot_id, parent, sequence_number);
            writer.add_manifests(manifests.into_iter())?;
            writer.close().await
        };
        written.await.map_err(Error::iceberg("write a manifest list of", &self.prefix))?;
        self.put(&location).await?;
        Ok(location)
    }

    async fn put(&self, location: &str) -> Result<()> {
        let bytes = async { self.memory.new_input(location)?.read().await }
            .await
            .map_err(Error::iceberg("write a manifest of", location))?;
        self.store.put(location, &bytes).map_err(Error::store("write", location))
    }
}
