//! What killed runs left is found, and nothing else is.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lakehost_columnar::FileSink;

use super::support::*;
use crate::core::Core;
use crate::fail_point;
use crate::location::local_path;
use crate::maintain::normal;
use crate::{IcebergLake, OrphanKind, OrphanOptions, PendingUpload, Process, Store, StoredFile};

pub const DAY: Duration = Duration::from_secs(86_400);

/// Every file of the warehouse is so old by the clock of the file system.
pub fn age(world: &World, age: Duration) {
    let root = world.folder.path().join("warehouse");
    for name in world.files() {
        File::options().append(true).open(root.join(name)).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }
}

pub fn found(world: &World, lake: &IcebergLake, options: &OrphanOptions) -> BTreeSet<String> {
    let root = format!("{}/", world.folder.path().canonicalize().unwrap().join("warehouse").display());
    let orphans = lake.orphans(Some(&table()), options).unwrap();
    orphans.iter().map(|orphan| normal(&orphan.location).strip_prefix(&root).unwrap().to_owned()).collect()
}

fn of_tables(files: BTreeSet<String>) -> BTreeSet<String> {
    files.into_iter().filter(|name| !name.starts_with("_lakehost/")).collect()
}

#[test]
fn orphans_are_exactly_what_a_killed_run_left() {
    for point in fail_point::LOAD {
        let world = World::new();
        Job::month("2023-12", 500..510).land(&world.lake());
        let job = Job { files: vec![(0..10).collect(), (10..15).collect()], ..Job::month("2024-01", 0..1) };
        let _ = job.run(&world.doomed(point, 1));
        let lake = world.lake();
        age(&world, 4 * DAY);
        let left = of_tables(world.orphans(&lake));
        assert_eq!(found(&world, &lake, &OrphanOptions::default()), left, "{point}");
        // Asking changes nothing.
        assert_eq!(of_tables(world.orphans(&lake)), left, "{point}");
        let deleted = lake.orphans(None, &OrphanOptions { delete: true, ..OrphanOptions::default() }).unwrap();
        assert_eq!(deleted.len(), left.len(), "{point}");
        assert!(deleted.iter().all(|orphan| orphan.deleted), "{point}");
        let landed = rows(&world, &lake).contains_key("2024-01");
        assert_eq!(rows(&world, &lake)["2023-12"], 10, "{point}");
        lake.resolve(None).unwrap();
        world.check_no_orphans(&lake);
        let again = Job { run_id: "again".into(), ..job };
        again.run(&lake).unwrap();
        assert_eq!(rows(&world, &lake)["2024-01"], 15, "{point}, landed {landed}");
    }
}

#[test]
fn files_of_a_run_that_is_under_way_are_no_orphans() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2023-12", 500..510).land(&lake);
    let job = Job::month("2024-01", 0..10);
    let load = job.begin(&lake).unwrap();
    load.sinks().create().unwrap().1.finish().unwrap();
    age(&world, 400 * DAY);
    assert_eq!(of_tables(world.orphans(&lake)).len(), 1);
    assert!(found(&world, &world.lake(), &OrphanOptions::default()).is_empty());
    drop(load);
}

#[test]
fn the_age_is_that_of_the_store_and_at_least_three_days() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    // The lake's own clock says June 2024; the files say now.
    let data = world.folder.path().join("warehouse/raw/trips/data");
    std::fs::write(data.join("lost.parquet"), b"x").unwrap();
    std::fs::write(world.folder.path().join("warehouse/raw/trips/metadata/lost-m0.avro"), b"xy").unwrap();
    assert!(found(&world, &lake, &OrphanOptions::default()).is_empty());
    let soon = OrphanOptions { older_than_ms: 0, ..OrphanOptions::default() };
    let refused = lake.orphans(None, &soon).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&refused).0, "LH0102");
    let soon = OrphanOptions { allow_younger_than_72h: true, ..soon };
    let orphans = lake.orphans(None, &soon).unwrap();
    let shown: Vec<(OrphanKind, u64, bool)> =
        orphans.iter().map(|orphan| (orphan.kind, orphan.size_bytes, orphan.deleted)).collect();
    assert_eq!(shown, [(OrphanKind::Data, 1, false), (OrphanKind::Manifest, 2, false)]);
    age(&world, 2 * DAY);
    assert!(found(&world, &lake, &OrphanOptions::default()).is_empty());
    age(&world, 4 * DAY);
    assert_eq!(found(&world, &lake, &OrphanOptions::default()).len(), 2);
}

#[test]
fn a_table_in_the_folder_of_another_keeps_its_files() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let mut other = Job::month("2024-01", 0..10);
    other.target.table = lakehost_pipeline::ports::TableName::parse("clean.trips").unwrap();
    other.land(&lake);
    let broken = lake.state(&other.target.table).unwrap();
    age(&world, 4 * DAY);
    assert!(lake.orphans(None, &OrphanOptions::default()).unwrap().is_empty());
    // One that cannot be read may refer to anything in its folder, and nothing in others.
    std::fs::remove_file(local_path(&broken.metadata_location)).unwrap();
    let lake = world.lake();
    assert!(lake.orphans(Some(&table()), &OrphanOptions::default()).unwrap().is_empty());
    assert!(lake.orphans(Some(&other.target.table), &OrphanOptions::default()).is_err());
}

/// The files of another store, and unfinished uploads beside them.
#[derive(Debug)]
struct WithUploads {
    files: Arc<dyn Store>,
    uploads: Mutex<Vec<PendingUpload>>,
}

impl Store for WithUploads {
    fn create(&self, location: &str) -> io::Result<Box<dyn FileSink>> {
        self.files.create(location)
    }
    fn put(&self, location: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.put(location, bytes)
    }
    fn note(&self, location: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.note(location, bytes)
    }
    fn get(&self, location: &str) -> io::Result<Vec<u8>> {
        self.files.get(location)
    }
    fn delete(&self, location: &str) -> io::Result<()> {
        self.files.delete(location)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<StoredFile>> {
        self.files.list(folder)
    }
    fn delete_folder(&self, folder: &str) -> io::Result<()> {
        self.files.delete_folder(folder)
    }
    fn settle(&self, folder: &str) -> io::Result<()> {
        self.files.settle(folder)
    }
    fn walk(&self, prefix: &str, visit: &mut dyn FnMut(StoredFile) -> ControlFlow<()>) -> io::Result<()> {
        self.files.walk(prefix, visit)
    }
    fn read_range(&self, location: &str, range: Range<u64>) -> io::Result<bytes::Bytes> {
        self.files.read_range(location, range)
    }
    fn size(&self, location: &str) -> io::Result<Option<u64>> {
        self.files.size(location)
    }
    fn uploads(&self, prefix: &str) -> io::Result<Vec<PendingUpload>> {
        let all = self.uploads.lock().unwrap();
        Ok(all.iter().filter(|upload| upload.location.starts_with(&format!("{prefix}/"))).cloned().collect())
    }
    fn abort_upload(&self, upload: &PendingUpload) -> io::Result<()> {
        self.uploads.lock().unwrap().retain(|other| other.upload_id != upload.upload_id);
        Ok(())
    }
    fn file_io(&self) -> iceberg::io::FileIO {
        self.files.file_io()
    }
}

#[test]
fn uploads_that_nobody_finishes_are_found_and_given_up() {
    let world = World::new();
    let plain = world.lake();
    Job::month("2024-01", 0..10).land(&plain);
    let job = Job::month("2024-02", 0..10);
    let load = job.begin(&plain).unwrap();
    load.sinks().create().unwrap().1.finish().unwrap();
    let folder = plain.state(&table()).unwrap().metadata.location().to_owned();
    let now_ms = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let upload = |name: &str, id: &str, days: i64| PendingUpload {
        location: format!("{folder}/data/2024-02/{name}"),
        upload_id: id.to_owned(),
        started_ms: if days < 0 { 0 } else { now_ms - days * 86_400_000 },
    };
    let store = Arc::new(WithUploads {
        files: Arc::clone(&plain.core.store),
        uploads: Mutex::new(vec![
            upload("gone-0.parquet", "old", 4),
            upload("gone-0.parquet", "older", 5),
            upload("gone-1.parquet", "young", 1),
            upload("gone-2.parquet", "ageless", -1),
            // Of a run that is under way, however old.
            upload(&format!("{}-1.parquet", job.run_id), "living", 9),
            PendingUpload { location: "/elsewhere/x.parquet".to_owned(), upload_id: "other".to_owned(), started_ms: 1 },
        ]),
    });
    let core = &plain.core;
    let lake = IcebergLake {
        core: Arc::new(Core {
            warehouse: core.warehouse.clone(),
            store: Arc::clone(&store) as Arc<dyn Store>,
            io: core.io.clone(),
            catalog: Arc::clone(&core.catalog),
            clock: Arc::clone(&core.clock),
            fail_points: core.fail_points.clone(),
            process: Process::current(),
            keys_at_once: core.keys_at_once,
            runtime: core.runtime.clone(),
        }),
    };
    let options = OrphanOptions::default();
    let ids = |deleted: bool, options: &OrphanOptions| -> Vec<String> {
        let found = lake.orphans(Some(&table()), options).unwrap();
        assert!(found.iter().all(|orphan| orphan.kind == OrphanKind::Upload && orphan.deleted == deleted), "{found:?}");
        found.into_iter().filter_map(|orphan| orphan.upload_id).collect()
    };
    assert_eq!(ids(false, &options), ["old", "older"]);
    assert_eq!(ids(true, &OrphanOptions { delete: true, ..options }), ["old", "older"]);
    assert_eq!(ids(false, &options), Vec::<String>::new());
    let left: Vec<String> = store.uploads.lock().unwrap().iter().map(|upload| upload.upload_id.clone()).collect();
    assert_eq!(left, ["young", "ageless", "living", "other"]);
    drop(load);
}
