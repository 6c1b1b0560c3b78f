//! Small files become large ones while others load and read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow_array::{Array, Int64Array, RecordBatch};
use futures::TryStreamExt;
use iceberg::spec::{ManifestStatus, Operation};
use lakehost_columnar::{Mark, NoObserver, Observer, Stage};
use lakehost_pipeline::ports::{Committed, Lake, WriteMode};

use super::support::*;
use crate::fail_point::COMPACT_WRITTEN;
use crate::history::AsOf;
use crate::inspect::live_files;
use crate::maintain::normal;
use crate::{CompactOptions, Compacted, IcebergLake, Resolution, SortKey, Thresholds};

/// One file a row.
fn scattered(label: &str, from: i64, count: i64) -> Job {
    Job { files: (from..from + count).map(|id| vec![id]).collect(), ..Job::month(label, 0..1) }
}

fn compact(lake: &IcebergLake) -> Compacted {
    lake.compact(&table(), &CompactOptions::default(), &NoObserver).unwrap()
}

fn data_files(lake: &IcebergLake) -> usize {
    let state = lake.state(&table()).unwrap();
    counter(&state, "total-data-files").unwrap() as usize
}

/// Does something once, while rows are being written.
pub struct Meanwhile<F: Fn() + Send + Sync>(AtomicBool, F);

impl<F: Fn() + Send + Sync> Meanwhile<F> {
    pub fn new(action: F) -> Self {
        Self(AtomicBool::new(false), action)
    }
}

impl<F: Fn() + Send + Sync> Observer for Meanwhile<F> {
    fn enter(&self, _stage: Stage) -> Mark {
        Mark::default()
    }

    fn leave(&self, _stage: Stage, _mark: Mark) {
        if !self.0.swap(true, Ordering::SeqCst) {
            (self.1)();
        }
    }
}

#[test]
fn small_files_are_put_together_and_the_rows_stay() {
    let world = World::new();
    let lake = world.lake();
    scattered("2024-01", 0, 6).land(&lake);
    scattered("2024-02", 100, 8).land(&lake);
    let last = scattered("2024-03", 200, 3).land(&lake);
    let dry = lake.compact(&table(), &CompactOptions { dry_run: true, ..Default::default() }, &NoObserver).unwrap();
    assert_eq!((dry.files_before, dry.files_after, dry.rows, dry.snapshots.len()), (14, 2, 14, 0));
    assert_eq!(lake.state(&table()).unwrap().main().unwrap().snapshot_id(), last);

    let done = compact(&lake);
    assert_eq!((done.files_before, done.files_after, done.rows, done.bins_lost), (14, 2, 14, 0));
    assert!(done.bytes_after < done.bytes_before, "{done:?}");
    let state = lake.state(&table()).unwrap();
    let head = state.main().unwrap();
    assert_eq!((head.snapshot_id(), &head.summary().operation), (done.snapshots[0], &Operation::Replace));
    assert_eq!(head.parent_snapshot_id(), Some(last));
    for (name, expected) in [
        ("total-data-files", 5),
        ("total-records", 17),
        ("added-data-files", 2),
        ("deleted-data-files", 14),
        ("added-records", 14),
        ("deleted-records", 14),
    ] {
        assert_eq!(counter(&state, name), Some(expected), "{name}");
    }
    let ours: Vec<_> = entries(&world, &lake, &state).into_iter().filter(|(_, _, ours, _)| *ours).collect();
    let of = |status: ManifestStatus| ours.iter().filter(|(found, ..)| *found == status).count();
    assert_eq!((of(ManifestStatus::Added), of(ManifestStatus::Deleted)), (2, 14));
    let found = rows(&world, &lake);
    assert_eq!((found["2024-01"], found["2024-02"], found["2024-03"]), (6, 8, 3));
    world.check_no_orphans(&lake);

    // There is nothing left to do, and loads still know what they loaded.
    assert_eq!(compact(&lake), Compacted::default());
    assert!(lake.last_load(&table(), "2024-01").unwrap().is_some());
    Job::month("2024-01", 0..4).land(&lake);
    assert_eq!(rows(&world, &lake)["2024-01"], 4);
}

#[test]
fn files_are_chosen_by_window_size_and_count() {
    let world = World::new();
    let lake = world.lake();
    scattered("2024-01", 0, 6).land(&lake);
    scattered("2024-02", 100, 6).land(&lake);
    let options = |min_files, target_bytes, window: Option<&str>| CompactOptions {
        min_files,
        target_bytes,
        window: window.map(str::to_owned),
        dry_run: true,
        ..CompactOptions::default()
    };
    let size = std::fs::metadata(data_paths(&world, &lake)[0].as_str()).unwrap().len();
    for (options, expected) in [
        (options(6, 1 << 30, None), (12, 2)),
        (options(7, 1 << 30, None), (0, 0)),
        (options(2, 1 << 30, Some("2024-02")), (6, 1)),
        (options(2, 1 << 30, Some("2024-03")), (0, 0)),
        // They are large enough as they are.
        (options(2, size, None), (0, 0)),
        (options(2, size * 2, None), (12, 6)),
    ] {
        let done = lake.compact(&table(), &options, &NoObserver).unwrap();
        assert_eq!((done.files_before, done.files_after), expected, "{options:?}");
    }
}

fn data_paths(world: &World, lake: &IcebergLake) -> Vec<String> {
    let state = lake.state(&table()).unwrap();
    let manifests = crate::commit::Manifests::new(lake.core.io.clone());
    let live = world.runtime.block_on(live_files(&manifests, &state, state.main())).unwrap();
    live.iter().map(|live| normal(live.file.file_path())).collect()
}

#[test]
fn a_load_of_another_window_and_a_compaction_both_land() {
    let world = World::new();
    let (lake, other) = (world.lake(), world.lake());
    scattered("2024-01", 0, 6).land(&lake);
    let observer = Meanwhile::new(|| {
        Job::month("2024-02", 100..110).land(&other);
        Job::month("2024-01", 50..53).mode(WriteMode::Append).land(&other);
    });
    let done = lake.compact(&table(), &CompactOptions::default(), &observer).unwrap();
    assert_eq!((done.files_before, done.bins_lost), (6, 0));
    let found = rows(&world, &lake);
    assert_eq!((found["2024-01"], found["2024-02"], data_files(&lake)), (9, 10, 3));
    world.check_no_orphans(&lake);
}

#[test]
fn a_window_that_was_loaded_again_meanwhile_is_left_to_its_load() {
    let world = World::new();
    let (lake, other) = (world.lake(), world.lake());
    scattered("2024-01", 0, 6).land(&lake);
    scattered("2024-02", 100, 6).land(&lake);
    let observer = Meanwhile::new(|| {
        Job::month("2024-01", 500..502).land(&other);
    });
    let done = lake.compact(&table(), &CompactOptions::default(), &observer).unwrap();
    assert_eq!((done.files_before, done.bins_lost, done.snapshots.len()), (6, 1, 1));
    let found = rows(&world, &lake);
    assert_eq!((found["2024-01"], found["2024-02"], data_files(&lake)), (2, 6, 2));
    world.check_no_orphans(&lake);
    // All of them: nothing is committed.
    scattered("2024-01", 0, 6).land(&lake);
    let before = lake.snapshots(&table()).unwrap().len();
    let observer = Meanwhile::new(|| {
        Job::month("2024-01", 500..502).land(&other);
    });
    let done = lake.compact(&table(), &CompactOptions::default(), &observer).unwrap();
    assert_eq!((done.files_before, done.bins_lost, done.snapshots.len()), (0, 1, 0));
    assert_eq!(lake.snapshots(&table()).unwrap().len(), before + 1);
    world.check_no_orphans(&lake);
}

#[test]
fn a_load_that_began_before_a_compaction_of_its_window_replaces_it() {
    let world = World::new();
    let lake = world.lake();
    scattered("2024-01", 0, 6).land(&lake);
    let job = Job::month("2024-01", 0..3);
    let load = job.begin(&lake).unwrap();
    assert_eq!(compact(&lake).files_before, 6);
    assert!(matches!(job.finish(load).unwrap(), Committed::Landed { .. }));
    assert_eq!((rows(&world, &lake)["2024-01"], data_files(&lake)), (3, 1));
    world.check_no_orphans(&lake);
}

#[test]
fn of_two_compactions_one_gives_way() {
    let world = World::new();
    let (lake, other) = (world.lake(), world.lake());
    scattered("2024-01", 0, 6).land(&lake);
    let first = Mutex::new(None);
    let observer = Meanwhile::new(|| *first.lock().unwrap() = Some(compact(&other)));
    let second = lake.compact(&table(), &CompactOptions::default(), &observer).unwrap();
    let first = first.into_inner().unwrap().unwrap();
    assert_eq!((first.files_before, first.bins_lost), (6, 0));
    assert_eq!((second.files_before, second.bins_lost), (0, 1));
    assert_eq!((rows(&world, &lake)["2024-01"], data_files(&lake)), (6, 1));
    world.check_no_orphans(&lake);
}

#[test]
fn large_row_groups_are_taken_over_as_they_are() {
    let world = World::new();
    let lake = world.lake();
    let job = Job { files: vec![(0..70_000).collect(), (70_000..140_000).collect()], ..Job::month("2024-01", 0..1) };
    job.land(&lake);
    let options = CompactOptions { min_files: 2, ..CompactOptions::default() };
    let done = lake.compact(&table(), &options, &NoObserver).unwrap();
    assert_eq!((done.files_before, done.files_after, done.rows), (2, 1, 140_000));
    let path = data_paths(&world, &lake).remove(0);
    let bytes = lakehost_columnar::FileBytes::open(std::path::Path::new(&path)).unwrap();
    let file = lakehost_columnar::ParquetFile::open(std::sync::Arc::new(bytes)).unwrap();
    assert_eq!(file.metadata().num_row_groups(), 2);
    assert_eq!(rows(&world, &lake)["2024-01"], 140_000);
    // The bounds in the manifest are those of both.
    let batch = lake.metadata_batch(&table(), crate::MetadataTable::Files, None).unwrap();
    let metrics = batch.column_by_name("metrics").unwrap().as_any().downcast_ref::<arrow_array::StringArray>().unwrap();
    let metrics: serde_json::Value = serde_json::from_str(metrics.value(0)).unwrap();
    assert_eq!((&metrics["id"]["lower"], &metrics["id"]["upper"]), (&"0".into(), &"139999".into()));
}

fn ids_in_order(world: &World, lake: &IcebergLake) -> Vec<i64> {
    let opened = lake.open_table(&table()).unwrap();
    let batches: Vec<RecordBatch> = world
        .runtime
        .block_on(async { opened.scan().select(["id"]).build()?.to_arrow().await?.try_collect().await })
        .unwrap();
    let column = |batch: &RecordBatch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
    batches.iter().flat_map(|batch| column(batch).iter().flatten().collect::<Vec<_>>()).collect()
}

#[test]
fn rows_are_sorted_on_request() {
    let world = World::new();
    let lake = world.lake();
    Job { files: vec![vec![3, 9], vec![7, 1], vec![5]], ..Job::month("2024-01", 0..1) }.land(&lake);
    let key = |column: &str| SortKey { column: column.into(), descending: true, nulls_first: false };
    let options = |column: &str| CompactOptions { sort: Some(vec![key(column)]), ..CompactOptions::default() };
    let done = lake.compact(&table(), &options("id"), &NoObserver).unwrap();
    assert_eq!((done.files_before, done.files_after, done.rows), (3, 1, 5));
    assert_eq!(ids_in_order(&world, &lake), [9, 7, 5, 3, 1]);
    let wrong = lake.compact(&table(), &options("idd"), &NoObserver).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&wrong).0, "LH0101");
    world.check_no_orphans(&lake);
}

#[test]
fn a_compaction_that_died_leaves_the_table_whole() {
    let world = World::new();
    scattered("2024-01", 0, 6).land(&world.lake());
    for (point, landed) in [
        (COMPACT_WRITTEN, false),
        (crate::fail_point::FIRST_FILE, false),
        (crate::fail_point::BEFORE_REQUEST, false),
        (crate::fail_point::METADATA_WRITTEN, false),
    ] {
        let doomed = world.doomed(point, 1);
        let error = doomed.compact(&table(), &CompactOptions::default(), &NoObserver).unwrap_err();
        assert!(error.is_fail_point(), "{point}: {error}");
        let lake = world.lake();
        assert_eq!(rows(&world, &lake)["2024-01"], 6, "{point}");
        let resolved = lake.resolve(None).unwrap();
        assert!(
            matches!(resolved[0].resolution, Resolution::NotLanded { .. }) != landed,
            "{point}: {:?}",
            resolved[0].resolution
        );
        world.check_no_orphans(&lake);
    }
    assert_eq!(compact(&world.lake()).files_before, 6);
}

#[test]
fn a_reader_never_sees_an_empty_a_doubled_or_half_a_table() {
    let world = World::new();
    let lake = world.lake();
    for label in ["2024-01", "2024-02"] {
        scattered(label, 0, 8).land(&lake);
    }
    let (stop, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let lake = world.lake();
            while !stop.load(Ordering::Relaxed) {
                let found = rows(&world, &lake);
                assert_eq!((found["2024-01"], found["2024-02"]), (8, 8));
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Whatever fails below ends the reader too.
        let _ended = Ended(&stop);
        let writer = scope.spawn(|| {
            let lake = world.lake();
            for _ in 0..6 {
                scattered("2024-02", 0, 8).land(&lake);
            }
        });
        for _ in 0..6 {
            scattered("2024-01", 0, 8).land(&lake);
            compact(&lake);
        }
        writer.join().unwrap();
        while looks.load(Ordering::Relaxed) < 10 && !reader.is_finished() {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    world.check_no_orphans(&lake);
}

#[test]
fn a_compaction_and_a_load_beside_a_load_do_not_stand_in_its_way() {
    for reload in [false, true] {
        let world = World::new();
        let lake = world.lake();
        for label in ["2024-01", "2024-02"] {
            scattered(label, 0, 8).land(&lake);
        }
        let job = Job::month("2024-01", 0..3);
        let load = job.begin(&lake).unwrap();
        scattered("2024-02", 0, 7).land(&lake);
        compact(&lake);
        scattered("2024-02", 0, 6).land(&lake);
        if reload {
            scattered("2024-01", 0, 5).land(&lake);
            compact(&lake);
        }
        let landed = job.finish(load);
        let found = rows(&world, &lake);
        if reload {
            assert_eq!(landed.unwrap_err().code().0, "LH0602");
            assert_eq!((found["2024-01"], found["2024-02"]), (5, 6));
        } else {
            landed.unwrap();
            assert_eq!((found["2024-01"], found["2024-02"]), (3, 6));
        }
        world.check_no_orphans(&lake);
    }
}

#[test]
fn manifests_are_rewritten_and_list_the_same_files() {
    let world = World::new();
    let lake = world.lake();
    for month in 1..=9 {
        Job::month(&format!("2024-0{month}"), 0..month).land(&lake);
    }
    let (files, before) = (data_paths(&world, &lake), rows(&world, &lake));
    assert_eq!(lake.rewrite_manifests(&table()).unwrap(), (9, 1));
    let state = lake.state(&table()).unwrap();
    assert_eq!(state.main().unwrap().summary().operation, Operation::Replace);
    assert_eq!((counter(&state, "total-data-files"), counter(&state, "total-records")), (Some(9), Some(45)));
    let sorted = |mut files: Vec<String>| {
        files.sort();
        files
    };
    assert_eq!(sorted(data_paths(&world, &lake)), sorted(files));
    assert_eq!(rows(&world, &lake), before);
    // Each keeps the sequence number that it was added with.
    let sequences: Vec<Option<i64>> = entries(&world, &lake, &state).iter().map(|(.., sequence)| *sequence).collect();
    assert_eq!(sequences, (1..=9).map(Some).collect::<Vec<_>>());
    assert_eq!(lake.rewrite_manifests(&table()).unwrap(), (1, 1));
    assert_eq!(lake.snapshots(&table()).unwrap().len(), 10, "what is done is not done again");
    world.check_no_orphans(&lake);
}

#[test]
fn upkeep_does_what_the_thresholds_ask_for() {
    let world = World::new();
    let lake = world.lake();
    scattered("2024-01", 0, 6).land(&lake);
    scattered("2024-02", 0, 2).land(&lake);
    let thresholds = Thresholds { files: 5, ..Thresholds::default() };
    let maintain = |thresholds: &Thresholds| {
        let maintained = lake.maintain(&table(), thresholds, 64 << 20, &NoObserver);
        assert!(maintained.error.is_none(), "{:?}", maintained.error);
        maintained.done
    };
    assert_eq!(maintain(&Thresholds::default()), Vec::<String>::new());
    assert_eq!(maintain(&thresholds), ["compacted 6 files of window 2024-01 into 1"]);
    let thresholds = Thresholds {
        manifests: 1,
        snapshots: 2,
        expire: crate::ExpireOptions { older_than_ms: 0, keep: 1, dry_run: false },
        ..thresholds
    };
    let done = maintain(&thresholds);
    assert!(done[0].starts_with("listed the files in 1 manifests"), "{done:?}");
    assert!(done[1].starts_with("expired 3 snapshots and "), "{done:?}");
    assert_eq!(
        lake.diff(&table(), &AsOf::Reference("main".into()), &AsOf::Reference("main".into())).unwrap().rows_after,
        8
    );
    world.check_no_orphans(&lake);
}

/// Figures by hand: `cargo test --release -p lakehost-lake -p unify --lib -- --ignored --nocapture upkeep_of_ten_thousand`.
#[test]
#[ignore = "takes a minute; prints times"]
fn upkeep_of_ten_thousand_files() {
    use crate::{ExpireOptions, OrphanOptions};

    let world = World::new();
    let lake = world.lake();
    let time = |what: &str, work: &dyn Fn() -> String| {
        let start = std::time::Instant::now();
        let said = work();
        eprintln!("{what}: {:.0} ms, {said}", start.elapsed().as_secs_f64() * 1e3);
    };
    let files =
        |window: i64| (0..1_000).map(|file| (0..1_000).map(|row| window + file * 1_000 + row).collect()).collect();
    for month in 1..=10 {
        let label = if month < 10 { format!("2024-0{month}") } else { format!("2024-{month}") };
        Job { files: files(month * 10_000_000), ..Job::month(&label, 0..1) }.land(&lake);
    }
    let options = |window: Option<&str>| CompactOptions { window: window.map(str::to_owned), ..Default::default() };
    time("compact 1,000 files of 1,000 rows", &|| {
        let done = lake.compact(&table(), &options(Some("2024-01")), &NoObserver).unwrap();
        format!(
            "{} → {} files, {} → {} bytes",
            done.files_before, done.files_after, done.bytes_before, done.bytes_after
        )
    });
    time("compact the other 9,000", &|| {
        let done = lake.compact(&table(), &options(None), &NoObserver).unwrap();
        format!("{} → {} files, {} rows", done.files_before, done.files_after, done.rows)
    });
    let any_age = OrphanOptions { older_than_ms: 0, allow_younger_than_72h: true, delete: false };
    time("orphans among 10,000 files", &|| format!("{} found", lake.orphans(None, &any_age).unwrap().len()));
    let now = ExpireOptions { older_than_ms: 0, keep: 1, dry_run: false };
    time("expire with 10,000 files", &|| {
        let expired = lake.expire(&table(), &now).unwrap();
        format!("{} snapshots, {} files deleted", expired.snapshots.len(), expired.files_deleted)
    });
    assert_eq!(rows(&world, &lake).values().sum::<usize>(), 10_000_000);
    world.check_no_orphans(&lake);
}
