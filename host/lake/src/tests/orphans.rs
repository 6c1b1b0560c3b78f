//! What killed runs left is found, and nothing else is.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, SystemTime};

use super::support::*;
use crate::fail_point;
use crate::{IcebergLake, OrphanKind, OrphanOptions};

const DAY: Duration = Duration::from_secs(86_400);

/// Every file of the warehouse is so old by the clock of the file system.
fn age(world: &World, age: Duration) {
    let root = world.folder.path().join("warehouse");
    for name in world.files() {
        File::options().append(true).open(root.join(name)).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }
}

fn found(world: &World, lake: &IcebergLake, options: &OrphanOptions) -> BTreeSet<String> {
    let root = format!("{}/", world.folder.path().canonicalize().unwrap().join("warehouse").display());
    let orphans = lake.orphans(Some(&table()), options).unwrap();
    orphans.iter().map(|orphan| orphan.location.strip_prefix(&root).unwrap().to_owned()).collect()
}

fn of_tables(files: BTreeSet<String>) -> BTreeSet<String> {
    files.into_iter().filter(|name| !name.starts_with("_lakehost/")).collect()
}

#[test]
fn orphans_are_exactly_what_a_killed_run_left() {
    for point in fail_point::ALL {
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
    load.abandon();
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
    std::fs::remove_file(&broken.metadata_location).unwrap();
    let lake = world.lake();
    assert!(lake.orphans(Some(&table()), &OrphanOptions::default()).unwrap().is_empty());
    assert!(lake.orphans(Some(&other.target.table), &OrphanOptions::default()).is_err());
}
