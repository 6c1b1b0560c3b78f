//! Old snapshots go with what only they had, and nothing else does.

use lakehost_columnar::NoObserver;
use lakehost_pipeline::ports::{Committed, Lake, LoadState};

use super::support::*;
use crate::history::AsOf;
use crate::location::local_path;
use crate::{CompactOptions, ExpireOptions, IcebergLake, RefKind};

const NOW: ExpireOptions = ExpireOptions { older_than_ms: 0, keep: 1, dry_run: false };

fn ids(lake: &IcebergLake) -> Vec<i64> {
    lake.snapshots(&table()).unwrap().iter().map(|snapshot| snapshot.snapshot_id).collect()
}

fn reads(lake: &IcebergLake, world: &World, at: &AsOf) -> usize {
    use futures::TryStreamExt;
    let opened = lake.open_table(&table()).unwrap();
    let id = crate::snapshot_as_of(&opened, at).unwrap();
    let batches: Vec<arrow_array::RecordBatch> = world
        .runtime
        .block_on(async { opened.scan().snapshot_id(id).select(["id"]).build()?.to_arrow().await?.try_collect().await })
        .unwrap();
    batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
}

#[test]
fn old_snapshots_go_with_what_only_they_had() {
    let world = World::new();
    let lake = world.lake();
    let all: Vec<i64> = (1..=6).map(|rows| Job::month("2024-01", 0..rows).land(&lake)).collect();
    Job::month("2024-02", 0..3).land(&lake);
    let before = world.files();
    let options = ExpireOptions { keep: 3, ..NOW };
    let dry = lake.expire(&table(), &ExpireOptions { dry_run: true, ..options }).unwrap();
    assert_eq!((world.files(), ids(&lake).len()), (before.clone(), 7));
    let expired = lake.expire(&table(), &options).unwrap();
    assert_eq!(expired.snapshots, all[..4]);
    assert_eq!(
        (dry.snapshots, dry.files_deleted, dry.bytes_deleted),
        (expired.snapshots.clone(), expired.files_deleted, expired.bytes_deleted)
    );
    let gone = before.difference(&world.files()).filter(|name| !name.ends_with(".metadata.json")).count();
    assert_eq!(gone as u64, expired.files_deleted);
    // Of each of the four a data file and a manifest list, and the manifests that no later snapshot lists.
    assert!(expired.files_deleted >= 8 && expired.bytes_deleted > 0, "{expired:?}");
    let found = rows(&world, &lake);
    assert_eq!((found["2024-01"], found["2024-02"]), (6, 3));
    world.check_no_orphans(&lake);
    assert_eq!(reads(&lake, &world, &AsOf::Snapshot(all[4])), 5);
    assert!(lake.expire(&table(), &options).unwrap().snapshots.is_empty());
    // Loads still know what they loaded, and so does the property of one whose snapshot has gone.
    assert_eq!(lake.last_load(&table(), "2024-01").unwrap().unwrap().state, LoadState::Present);
    lake.expire(&table(), &NOW).unwrap();
    assert_eq!(lake.last_load(&table(), "2024-01").unwrap().unwrap().state, LoadState::Expired);
    world.check_no_orphans(&lake);
}

#[test]
fn young_snapshots_stay() {
    let world = World::new();
    let lake = world.lake();
    for rows in 1..=4 {
        Job::month("2024-01", 0..rows).land(&lake);
    }
    let day = ExpireOptions { older_than_ms: 86_400_000, ..NOW };
    assert!(lake.expire(&table(), &day).unwrap().snapshots.is_empty());
    assert_eq!(ids(&lake).len(), 4);
}

#[test]
fn what_a_tag_or_a_branch_names_stays() {
    let world = World::new();
    let lake = world.lake();
    let all: Vec<i64> = (1..=5).map(|rows| Job::month("2024-01", 0..rows).land(&lake)).collect();
    lake.set_ref(&table(), "v2", RefKind::Tag, Some(&AsOf::Snapshot(all[1])), None).unwrap();
    lake.set_ref(&table(), "try", RefKind::Branch, Some(&AsOf::Snapshot(all[2])), None).unwrap();
    lake.set_ref(&table(), "brief", RefKind::Tag, Some(&AsOf::Snapshot(all[0])), Some(1)).unwrap();
    let expired = lake.expire(&table(), &NOW).unwrap();
    assert_eq!((expired.snapshots, expired.refs), (vec![all[0], all[3]], vec!["brief".to_owned()]));
    assert_eq!(ids(&lake), [all[1], all[2], all[4]]);
    for (name, rows) in [("v2", 2), ("try", 3), ("main", 5)] {
        assert_eq!(reads(&lake, &world, &AsOf::Reference(name.into())), rows, "{name}");
    }
    world.check_no_orphans(&lake);
    lake.drop_ref(&table(), "v2").unwrap();
    assert_eq!(lake.expire(&table(), &NOW).unwrap().snapshots, [all[1]]);
    world.check_no_orphans(&lake);
}

#[test]
fn what_was_rolled_back_goes_with_its_files() {
    let world = World::new();
    let lake = world.lake();
    let first = Job::month("2024-01", 0..5).land(&lake);
    let second = Job::month("2024-01", 0..9).land(&lake);
    lake.rollback(&table(), &AsOf::Snapshot(first)).unwrap();
    assert_eq!(lake.expire(&table(), &NOW).unwrap().snapshots, [second]);
    assert_eq!(rows(&world, &lake)["2024-01"], 5);
    world.check_no_orphans(&lake);
}

#[test]
fn a_load_that_is_under_way_still_commits() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..5).land(&lake);
    let job = Job::month("2024-01", 0..7);
    let load = job.begin(&lake).unwrap();
    // Its record is there from the first file on.
    load.sinks().create().unwrap().1.finish().unwrap();
    Job::month("2024-02", 0..3).land(&lake);
    Job::month("2024-02", 0..4).land(&lake);
    assert_eq!(lake.expire(&table(), &NOW).unwrap().snapshots.len(), 1);
    assert!(matches!(job.finish(load).unwrap(), Committed::Landed { .. }));
    let found = rows(&world, &lake);
    assert_eq!((found["2024-01"], found["2024-02"]), (7, 4));
    world.check_no_orphans(&lake);
}

#[test]
fn an_expiry_that_died_leaves_orphans_and_no_damage() {
    let world = World::new();
    for rows in 1..=4 {
        Job::month("2024-01", 0..rows).land(&world.lake());
    }
    let doomed = world.doomed(crate::fail_point::BEFORE_EXPIRE_DELETE, 1);
    assert!(doomed.expire(&table(), &NOW).unwrap_err().to_string().contains("fail point"));
    let lake = world.lake();
    assert_eq!((ids(&lake).len(), rows(&world, &lake)["2024-01"]), (1, 4));
    let left = world.orphans(&lake);
    assert!(left.iter().filter(|name| name.ends_with(".parquet")).count() == 3, "{left:?}");
}

#[test]
fn compacted_files_go_when_their_snapshots_do() {
    let world = World::new();
    let lake = world.lake();
    Job { files: (0..6).map(|id| vec![id]).collect(), ..Job::month("2024-01", 0..1) }.land(&lake);
    lake.compact(&table(), &CompactOptions::default(), &NoObserver).unwrap();
    let parquet = || world.files().iter().filter(|name| name.ends_with(".parquet")).count();
    assert_eq!(parquet(), 7);
    lake.expire(&table(), &NOW).unwrap();
    assert_eq!((parquet(), rows(&world, &lake)["2024-01"]), (1, 6));
    world.check_no_orphans(&lake);
}

#[test]
fn statistics_go_with_their_snapshot() {
    use serde_json::json;
    let world = World::new();
    let all: Vec<i64> = (1..=3).map(|rows| Job::month("2024-01", 0..rows).land(&world.lake())).collect();
    // As an engine that analyses tables leaves them.
    let state = world.lake().state(&table()).unwrap();
    let folder = world.folder.path().join("warehouse/raw/trips/metadata");
    let mut metadata: serde_json::Value =
        serde_json::from_slice(&std::fs::read(local_path(&state.metadata_location)).unwrap()).unwrap();
    let file = |snapshot_id: i64, kind: &str| {
        let path = folder.join(format!("{snapshot_id}.{kind}"));
        std::fs::write(&path, "figures").unwrap();
        json!({
            "snapshot-id": snapshot_id, "statistics-path": path, "file-size-in-bytes": 7,
            "file-footer-size-in-bytes": 1, "blob-metadata": [],
        })
    };
    metadata["statistics"] = json!([file(all[0], "puffin"), file(all[2], "puffin")]);
    metadata["partition-statistics"] = json!([file(all[1], "parquet-stats"), file(all[2], "parquet-stats")]);
    std::fs::write(local_path(&state.metadata_location), metadata.to_string()).unwrap();
    let without = {
        let twin = World::new();
        for rows in 1..=3 {
            Job::month("2024-01", 0..rows).land(&twin.lake());
        }
        twin.lake().expire(&table(), &NOW).unwrap().files_deleted
    };
    let lake = world.lake();
    let expired = lake.expire(&table(), &NOW).unwrap();
    assert_eq!((expired.snapshots.as_slice(), expired.files_deleted), (&all[..2], without + 2));
    let left = [(0, "puffin"), (1, "parquet-stats"), (2, "puffin"), (2, "parquet-stats")]
        .map(|(at, kind)| folder.join(format!("{}.{kind}", all[at])).exists());
    assert_eq!(left, [false, false, true, true]);
    let now = lake.state(&table()).unwrap().metadata;
    assert_eq!((now.statistics_iter().len(), now.partition_statistics_iter().len()), (1, 1));
    // Nor does the search for orphans take what is left for one.
    super::orphans::age(&world, 10 * super::orphans::DAY);
    assert!(super::orphans::found(&world, &lake, &crate::OrphanOptions::default()).is_empty());
}
