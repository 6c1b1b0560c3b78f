//! Files in a table's folder that no state of any table refers to: what killed runs and lost requests left.
//!
//! Nothing is deleted that could still be wanted: files younger than 72 hours by the clock of the store itself, files of a run that is under
//! way or may be, files of another table in the same folder. The folder is listed first and the tables are loaded after it, so whatever was
//! committed meanwhile counts as referred to.

use std::ops::ControlFlow;

use lakehost_pipeline::ports::TableName;
use uuid::Uuid;

use super::paths::{Paths, add_table, normal};
use crate::commit::{Manifests, REQUESTS};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::intent::Intent;
use crate::lake::IcebergLake;
use crate::location::{data_prefix, metadata_id};
use crate::process::Life;
use crate::store::{PendingUpload, StoredFile};
use crate::tables::check_gc;

/// A load takes hours at most; its files are in no snapshot until it commits.
pub const LEAST_AGE_MS: i64 = 72 * 3_600_000;

/// What counts as an orphan, and whether it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanOptions {
    /// By the store's clock.
    pub older_than_ms: i64,
    /// Somebody is certain that no load is under way.
    pub allow_younger_than_72h: bool,
    pub delete: bool,
}

impl Default for OrphanOptions {
    fn default() -> Self {
        Self { older_than_ms: LEAST_AGE_MS, allow_younger_than_72h: false, delete: false }
    }
}

/// What kind of file nobody refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrphanKind {
    Data,
    Manifest,
    Metadata,
    /// The parts of an upload that was never finished.
    Upload,
}

impl OrphanKind {
    /// For reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Manifest => "manifest",
            Self::Metadata => "metadata",
            Self::Upload => "upload",
        }
    }

    fn of(name: &str) -> Self {
        if name.ends_with(".avro") {
            Self::Manifest
        } else if name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz") {
            Self::Metadata
        } else {
            Self::Data
        }
    }
}

/// A file that nobody refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub location: String,
    pub size_bytes: u64,
    /// By the store's clock, milliseconds since 1970.
    pub modified_ms: i64,
    pub kind: OrphanKind,
    pub deleted: bool,
    /// Of an upload: its id.
    pub upload_id: Option<String>,
}

impl IcebergLake {
    /// Orphans of one table, or of all, by location.
    ///
    /// # Errors
    /// `LH0102` for an age below 72 hours that was not allowed, `LH0502` when some table of the folder cannot be read: then nothing is an orphan
    /// for certain.
    pub fn orphans(&self, table: Option<&TableName>, options: &OrphanOptions) -> Result<Vec<Orphan>> {
        if options.older_than_ms < LEAST_AGE_MS && !options.allow_younger_than_72h {
            return Err(Error::Setting {
                what: format!("{} ms", options.older_than_ms),
                purpose: "the age of orphans",
                detail: "younger files may belong to a load that is under way, for which 72 hours are left".to_owned(),
            });
        }
        let folders: Vec<String> = match table {
            Some(table) => {
                let state = self.state(table)?;
                check_gc(&state)?;
                vec![state.metadata.location().to_owned()]
            }
            None => self.core.block_on(async {
                let mut folders = Vec::new();
                for entry in self.core.catalog.list_tables(None).await? {
                    let state = self.load(&entry.table).await?;
                    check_gc(&state)?;
                    folders.push(state.metadata.location().to_owned());
                }
                Ok::<_, Error>(folders)
            })?,
        };
        let until_ms = store_now_ms(&self.core)?.saturating_sub(options.older_than_ms);
        let mut found: Vec<Orphan> = Vec::new();
        for folder in &folders {
            found.extend(self.uploads(folder, until_ms)?);
            let candidates = self.candidates(folder, until_ms)?;
            found.extend(self.core.block_on(self.without_known(folder, candidates))?);
        }
        found.sort_by(|left, right| (&left.location, &left.upload_id).cmp(&(&right.location, &right.upload_id)));
        found.dedup_by(|left, right| (&left.location, &left.upload_id) == (&right.location, &right.upload_id));
        if options.delete && !found.is_empty() {
            self.core.fail_points.pass(crate::fail_point::BEFORE_ORPHAN_DELETE)?;
            let files = found.iter().filter(|orphan| orphan.upload_id.is_none());
            let mut failed = self.delete(files.map(|orphan| orphan.location.clone()));
            for orphan in &mut found {
                let Some(upload_id) = orphan.upload_id.clone() else {
                    orphan.deleted = !failed.iter().any(|(location, _)| *location == orphan.location);
                    continue;
                };
                let upload =
                    PendingUpload { location: orphan.location.clone(), upload_id, started_ms: orphan.modified_ms };
                match self.core.store.abort_upload(&upload) {
                    Ok(()) => orphan.deleted = true,
                    Err(error) => failed.push((upload.location, error)),
                }
            }
            if let Some((location, source)) = failed.into_iter().next() {
                return Err(Error::Store { action: "delete", location, source });
            }
        }
        Ok(found)
    }

    /// Uploads into a folder that are old enough and that no run under way is at. What they hold is in no listing of files.
    fn uploads(&self, folder: &str, until_ms: i64) -> Result<Vec<Orphan>> {
        let pending = match self.core.store.uploads(folder) {
            Ok(pending) => pending,
            Err(error) => {
                // Not every key may list them; files are worth finding all the same.
                tracing::warn!(%folder, %error, "unfinished uploads could not be listed");
                return Ok(Vec::new());
            }
        };
        // Records are read after the listing, so whoever began one of these has left his by now.
        let runs = RunsUnderWay::of(&self.core)?;
        let old = pending.into_iter().filter(|upload| {
            let name = upload.location.rsplit('/').next().unwrap_or(&upload.location);
            upload.started_ms > 0 && upload.started_ms <= until_ms && !runs.has(name)
        });
        Ok(old
            .map(|upload| Orphan {
                location: upload.location,
                size_bytes: 0,
                modified_ms: upload.started_ms,
                kind: OrphanKind::Upload,
                deleted: false,
                upload_id: Some(upload.upload_id),
            })
            .collect())
    }

    /// Files of a folder that are old enough.
    fn candidates(&self, folder: &str, until_ms: i64) -> Result<Vec<StoredFile>> {
        let mut files = Vec::new();
        let walked = self.core.store.walk(folder, &mut |file| {
            // A store that does not say how old a file is gives no leave to delete it.
            if file.modified_ms > 0 && file.modified_ms <= until_ms && file.name != "version-hint.text" {
                files.push(file);
            }
            ControlFlow::Continue(())
        });
        walked.map_err(Error::store("list", folder))?;
        Ok(files)
    }

    /// Those that no table and no run under way knows.
    async fn without_known(&self, folder: &str, candidates: Vec<StoredFile>) -> Result<Vec<Orphan>> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let manifests = Manifests::new(self.core.io.clone());
        let inside = |location: &str, folder: &str| {
            let (location, folder) = (normal(location), normal(folder));
            location == folder || location.starts_with(&format!("{}/", folder.trim_end_matches('/')))
        };
        let mut known = Paths::new();
        for entry in self.core.catalog.list_tables(None).await? {
            match self.load(&entry.table).await {
                // A table elsewhere may have files here; it costs only time to ask.
                Ok(state) => add_table(&mut known, &manifests, &state).await?,
                // Where a catalog does not say where a table is, it may be here.
                Err(error) if entry.metadata_location.as_ref().is_none_or(|location| inside(location, folder)) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(table = %entry.table, %error, "a table elsewhere cannot be read and is not asked");
                }
            }
        }
        let runs = RunsUnderWay::of(&self.core)?;
        let orphans = candidates.into_iter().filter(|file| !known.contains(&file.location) && !runs.has(&file.name));
        Ok(orphans
            .map(|file| Orphan {
                kind: OrphanKind::of(&file.name),
                location: file.location,
                size_bytes: file.size_bytes,
                modified_ms: file.modified_ms,
                deleted: false,
                upload_id: None,
            })
            .collect())
    }
}

/// Names of files that runs under way have written or will.
struct RunsUnderWay {
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

impl RunsUnderWay {
    fn of(core: &Core) -> Result<Self> {
        let mut runs = Self { prefixes: Vec::new(), suffixes: Vec::new() };
        for intent in Intent::all(core)? {
            match intent {
                Ok(intent) if intent.process.life(&core.process) == Life::Gone => {}
                Ok(intent) => {
                    runs.prefixes.push(data_prefix(&intent.run_id));
                    runs.suffixes.extend(
                        (1..=REQUESTS)
                            .map(|request| format!("-{}.metadata.json", metadata_id(intent.snapshot_id, request))),
                    );
                }
                // Whose record cannot be read is known by its name: <run-id>-<snapshot-id>.json.
                Err((location, _)) => {
                    let name = location.rsplit('/').next().unwrap_or(&location);
                    runs.prefixes.extend(name.rsplit_once('-').map(|(run_id, _)| data_prefix(run_id)));
                }
            }
        }
        Ok(runs)
    }

    fn has(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
            || self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()))
    }
}

/// What time it is where the files are: the age of a file means nothing by another clock.
fn store_now_ms(core: &Core) -> Result<i64> {
    let folder = format!("{}/_lakehost/clock", core.warehouse.root());
    let location = format!("{folder}/{}", Uuid::new_v4());
    core.store.put(&location, b"now").map_err(Error::store("write", &location))?;
    let listed = core.store.list(&folder).map_err(Error::store("list", &folder));
    core.forget([location.clone()]);
    let probe = listed?.into_iter().find(|file| file.location == location).filter(|file| file.modified_ms > 0);
    probe.map(|file| file.modified_ms).ok_or_else(|| Error::Setting {
        what: folder,
        purpose: "a clock",
        detail: "the store does not say when a file was written, so the age of orphans is not known".to_owned(),
    })
}
