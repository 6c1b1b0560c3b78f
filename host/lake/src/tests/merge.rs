//! Loads that merge: of each key one row, the newest.

use std::collections::BTreeMap;

use lakehost_pipeline::ports::{Committed, Lake, WriteMode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::readers;
use super::support::*;
use crate::fail_point::{self, AFTER_SQL_COMMIT, BEFORE_CLEANUP};

/// Rows of these ids, one file for each list. The run's number is in the rows of `at`, so that new ones can be told from old.
fn job(label: &str, files: &[&[i64]]) -> Job {
    let mut job = Job::month(label, 0..1).mode(WriteMode::Merge);
    job.files = files.iter().map(|ids| ids.to_vec()).collect();
    job.target.key = vec!["id".to_owned()];
    job
}

fn count(state: &crate::TableState, name: &str) -> Option<u64> {
    counter(state, &format!("lakehost.rows-{name}"))
}

/// The month that each id is in; each must be there once.
fn months(world: &World) -> BTreeMap<i64, String> {
    use arrow_array::{Array, Date32Array, Int64Array, RecordBatch};
    use futures::TryStreamExt;
    let opened = world.lake().open_table(&table()).unwrap();
    let batches: Vec<RecordBatch> = world
        .runtime
        .block_on(async {
            opened.scan().select(["id", "_lakehost_window"]).build()?.to_arrow().await?.try_collect().await
        })
        .unwrap();
    let mut found = BTreeMap::new();
    for batch in batches {
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let windows = batch.column(1).as_any().downcast_ref::<Date32Array>().unwrap();
        for row in 0..batch.num_rows() {
            let month = windows.value_as_date(row).unwrap().format("%Y-%m").to_string();
            assert!(found.insert(ids.value(row), month).is_none(), "id {} is there twice", ids.value(row));
        }
        assert_eq!(ids.null_count(), 0);
    }
    found
}

fn months_or_none(world: &World, lake: &crate::IcebergLake) -> BTreeMap<i64, String> {
    if Lake::table(lake, &table()).unwrap().is_none() { BTreeMap::new() } else { months(world) }
}

#[test]
fn each_row_takes_the_place_of_the_one_with_its_key() {
    let world = World::new();
    let lake = world.lake();
    job("2024-01", &[&[1, 2, 3], &[4, 5]]).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!((count(&state, "inserted"), count(&state, "updated")), (Some(5), Some(0)));
    job("2024-02", &[&[3, 4, 6]]).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!(
        (count(&state, "inserted"), count(&state, "updated"), count(&state, "duplicate")),
        (Some(1), Some(2), Some(0))
    );
    assert_eq!((counter(&state, "total-records"), counter(&state, "deleted-data-files")), (Some(6), Some(2)));
    let wanted: BTreeMap<i64, String> = [(1, "01"), (2, "01"), (3, "02"), (4, "02"), (5, "01"), (6, "02")]
        .map(|(id, m)| (id, format!("2024-{m}")))
        .into();
    assert_eq!(months(&world), wanted);
    world.check_no_orphans(&lake);
    // Keys far from all others: nothing is looked into or written anew.
    job("2024-03", &[&[1_000]]).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!(counter(&state, "deleted-data-files"), None);
    // All rows of a file go: the file goes.
    job("2024-04", &[&[3, 4, 6]]).land(&lake);
    assert_eq!(months(&world)[&6], "2024-04");
    // The same load again is there already.
    let last = job("2024-05", &[&[7]]);
    let snapshot_id = last.land(&lake);
    let again = Job { run_id: "again".into(), ..last };
    assert_eq!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { snapshot_id });
    world.check_no_orphans(&lake);
    let read = readers::read(&world, "raw.trips");
    assert_eq!(read["refs"]["main"]["duckdb"].as_array().unwrap().len(), 8);
}

#[test]
fn of_two_new_rows_with_one_key_one_counts() {
    // `at` is the id itself, so an order by it cannot tell them apart: the later one counts.
    for order in [None, Some("at".to_owned())] {
        let world = World::new();
        let lake = world.lake();
        job("2024-01", &[&[1, 2]]).land(&lake);
        let mut twice = job("2024-02", &[&[2, 9, 9], &[9, 5, 2]]);
        twice.target.order = order;
        twice.land(&lake);
        let state = lake.state(&table()).unwrap();
        assert_eq!(
            (count(&state, "inserted"), count(&state, "updated"), count(&state, "duplicate")),
            (Some(2), Some(1), Some(3))
        );
        assert_eq!(months(&world).into_keys().collect::<Vec<_>>(), [1, 2, 5, 9]);
        assert_eq!(counter(&state, "total-records"), Some(4));
        world.check_no_orphans(&lake);
    }
}

#[test]
fn a_merge_without_a_usable_key_is_refused() {
    let world = World::new();
    let lake = world.lake();
    let refused = |key: &[&str]| {
        let mut job = job("2024-01", &[&[0, 7, 8]]);
        job.target.key = key.iter().map(|name| (*name).to_owned()).collect();
        let fault = job.run(&lake).unwrap_err();
        assert_eq!(fault.code().0, "LH0407");
        fault.cause().unwrap()
    };
    assert_eq!(refused(&[]), "it names no key");
    assert_eq!(refused(&["nope"]), "it names the column nope, which the table does not have");
    // `at` is null where 7 divides the id.
    assert_eq!(refused(&["id", "at"]), "2 rows have no value in the key (id, at)");
    assert!(Lake::table(&lake, &table()).unwrap().is_none());
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
fn any_merges_leave_what_a_map_would_hold() {
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new();
        // Half of them look at the keys in many passes.
        let keys_at_once = if seed % 2 == 0 { u64::MAX } else { 7 };
        let options = crate::LakeOptions { keys_at_once, ..world.options() };
        let lake = crate::IcebergLake::open(options).unwrap();
        let mut model = BTreeMap::new();
        for _ in 1..=8 {
            // Months come again, so that rows come again that are there just so.
            let label = format!("2024-{:02}", random.random_range(1..=3));
            let files: Vec<Vec<i64>> = (0..random.random_range(1..4))
                .map(|_| (0..random.random_range(1..40)).map(|_| random.random_range(0..60)).collect())
                .collect();
            for id in files.iter().flatten() {
                model.insert(*id, label.clone());
            }
            let rows: u64 = files.iter().map(|ids| ids.len() as u64).sum();
            let files: Vec<&[i64]> = files.iter().map(Vec::as_slice).collect();
            let before = months_or_none(&world, &lake);
            let merge = job(&label, &files);
            let Committed::Landed { merged, .. } = merge.run(&lake).unwrap() else { panic!("it did not land") };
            let merged = merged.unwrap();
            assert_eq!(months(&world), model, "seed {seed}, {label}");
            let keys: std::collections::BTreeSet<i64> = files.iter().copied().flatten().copied().collect();
            let is = |wanted: &dyn Fn(Option<&String>) -> bool| {
                keys.iter().filter(|id| wanted(before.get(id))).count() as u64
            };
            let counts = [merged.inserted, merged.unchanged, merged.updated, merged.duplicate_keys];
            let wanted = [
                is(&|month| month.is_none()),
                is(&|month| month == Some(&label)),
                is(&|month| month.is_some_and(|month| *month != label)),
                rows - keys.len() as u64,
            ];
            assert_eq!(counts, wanted, "seed {seed}, {label}: inserted, unchanged, updated, duplicate");
        }
        world.check_no_orphans(&lake);
    }
}

#[test]
fn merges_at_once_keep_one_row_of_each_key() {
    let world = World::new();
    job("2023-12", &[&[0]]).land(&world.lake());
    let writers: Vec<_> = (0..3_i64)
        .map(|writer| {
            let lake = world.lake();
            std::thread::spawn(move || {
                for number in 0..5 {
                    // One key that all write, and one of its own.
                    let ids = [7, 100 + writer * 10 + number];
                    let mut job = job(&format!("2024-{:02}", 1 + writer), &[&ids]);
                    job.target.owner.owner = format!("tlc/{writer}");
                    assert!(matches!(job.run(&lake).unwrap(), Committed::Landed { .. }));
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(months(&world).len(), 17);
    world.check_no_orphans(&world.lake());
}

#[test]
fn a_merge_that_died_is_done_or_undone() {
    for point in fail_point::LOAD {
        for nth in [1, 2] {
            let world = World::new();
            job("2024-01", &[&[1, 2, 3]]).land(&world.lake());
            let doomed = world.doomed(point, nth);
            let merge = job("2024-02", &[&[3, 3, 4]]);
            let ended = merge.run(&doomed);
            let lake = world.lake();
            let landed = lake.last_load_by(&table(), "2024-02", "tlc/trips", WriteMode::Merge).unwrap().is_some();
            assert_eq!(landed, ended.is_ok() || [AFTER_SQL_COMMIT, BEFORE_CLEANUP].contains(point), "{point} {nth}");
            let died = merge.run_id.clone();
            let again = Job { run_id: "again".into(), ..merge };
            again.run(&lake).unwrap();
            assert_eq!(months(&world).into_keys().collect::<Vec<_>>(), [1, 2, 3, 4], "{point} {nth}");
            // What it wrote anew it could not delete any more; that is for `table orphans`.
            let left = world.orphans(&lake);
            let superfluous = *point == BEFORE_CLEANUP && nth == 1;
            assert!(if superfluous { left.len() == 1 } else { left.is_empty() }, "{point} {nth}: {left:?}");
            assert!(left.iter().all(|name| name.contains(&format!("{died}-0.parquet"))), "{point} {nth}: {left:?}");
        }
    }
}

#[test]
fn rows_that_the_table_has_just_so_change_nothing() {
    let world = World::new();
    let lake = world.lake();
    job("2024-01", &[&[1, 2, 3], &[10, 11]]).land(&lake);
    let before = world.files();
    let counts = |state: &crate::TableState| {
        ["inserted", "updated", "unchanged", "duplicate"].map(|name| count(state, name).unwrap())
    };
    // The very same rows, in other files: only metadata comes.
    let same = job("2024-01", &[&[2, 1, 2], &[11, 3]]);
    let Committed::Landed { merged, .. } = same.run(&lake).unwrap() else { panic!("it did not land") };
    let merged = merged.unwrap();
    assert_eq!((merged.unchanged, merged.duplicate_keys, merged.files, merged.bytes), (4, 1, 0, 0));
    let state = lake.state(&table()).unwrap();
    assert_eq!(counts(&state), [0, 0, 4, 1]);
    assert_eq!((counter(&state, "added-data-files"), counter(&state, "deleted-data-files")), (None, None));
    assert_eq!(counter(&state, "total-records"), Some(5));
    let data = |files: std::collections::BTreeSet<String>| -> Vec<String> {
        files.into_iter().filter(|name| name.ends_with(".parquet")).collect()
    };
    assert_eq!(data(world.files()), data(before));
    world.check_no_orphans(&lake);
    // Some the same, one with another window: its file alone is written anew, without the rows that stay being written twice.
    let mut some = job("2024-02", &[&[10, 12]]);
    some.files = vec![vec![10, 12]];
    some.land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!(counts(&state), [1, 1, 0, 0]);
    assert_eq!(counter(&state, "deleted-data-files"), Some(1));
    let again = job("2024-02", &[&[10, 12, 13]]);
    again.land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!(counts(&state), [1, 0, 2, 0]);
    assert_eq!((counter(&state, "added-records"), counter(&state, "deleted-data-files")), (Some(1), None));
    assert_eq!(months(&world).len(), 7);
    world.check_no_orphans(&lake);
    let read = readers::read(&world, "raw.trips");
    assert_eq!(read["refs"]["main"]["duckdb"].as_array().unwrap().len(), 7);
}

#[test]
fn of_stored_rows_with_one_key_one_stays() {
    let world = World::new();
    let lake = world.lake();
    // Appended twice: two rows of each key, one of them in another window.
    let month = |label: &str| {
        let job = Job::month(label, 0..3).mode(WriteMode::Append);
        job.land(&lake)
    };
    month("2024-01");
    month("2024-02");
    job("2024-01", &[&[0, 1]]).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!((count(&state, "updated"), count(&state, "unchanged")), (Some(2), Some(0)));
    assert_eq!(counter(&state, "total-records"), Some(4));
    // The rows of January stay in their file, those of February go from theirs.
    assert_eq!(counter(&state, "deleted-data-files"), Some(1));
    assert_eq!(counter(&state, "added-records"), Some(1));
    world.check_no_orphans(&lake);
}

#[test]
fn a_row_that_stays_for_a_new_one_must_still_be_there() {
    let world = World::new();
    let lake = world.lake();
    job("2024-01", &[&[1, 2]]).land(&lake);
    let same = job("2024-01", &[&[1, 2, 3]]);
    let load = same.begin(&lake).unwrap();
    let request = same.request(load.as_ref()).unwrap();
    // The load began on a table that has these rows; before it commits somebody deletes them.
    let filter = lakehost_pipeline::filter::RowFilter::Compare {
        column: "id".to_owned(),
        op: lakehost_pipeline::filter::CompareOp::LessEq,
        value: lakehost_pipeline::filter::FilterValue::Int(2),
    };
    lake.delete_where(&table(), &filter, &crate::DeleteOptions::default()).unwrap();
    assert!(matches!(load.commit(request).unwrap(), Committed::Landed { .. }));
    assert_eq!(months(&world).into_keys().collect::<Vec<_>>(), [1, 2, 3]);
    world.check_no_orphans(&lake);
}

#[test]
fn the_last_merge_counts_even_when_it_brings_back_what_was() {
    let world = World::new();
    let lake = world.lake();
    let first = job("2024-01", &[&[1]]);
    first.land(&lake);
    let mut second = job("2024-01", &[&[1]]);
    second.target.window = first.target.window.clone();
    second.files = vec![vec![2]];
    second.land(&lake);
    // The first content again, by its own load id: not the last one, so it is merged and not called loaded.
    let back = Job { run_id: "back".into(), ..first };
    assert!(matches!(back.run(&lake).unwrap(), Committed::Landed { .. }));
    let again = Job { run_id: "again".into(), ..back };
    assert!(matches!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { .. }));
}

#[test]
fn a_reader_during_merges_sees_each_of_them_whole_or_not_at_all() {
    let world = World::new();
    let ids: [Vec<i64>; 2] = [(0..12).collect(), (5..8).map(|id| id * 100).collect()];
    for ids in &ids {
        job("2024-01", &[&ids[..2], &ids[2..]]).land(&world.lake());
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let _ended = Ended(&stop);
        let reader = scope.spawn(|| {
            while !stop.load(relaxed) {
                let seen = months(&world);
                assert_eq!(seen.len(), ids[0].len() + ids[1].len());
                for ids in &ids {
                    let months: std::collections::BTreeSet<&String> = ids.iter().map(|id| &seen[id]).collect();
                    assert_eq!(months.len(), 1, "half of a merge is seen: {months:?}");
                }
                looks.fetch_add(1, relaxed);
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|which| {
                let (world, ids) = (&world, &ids[which]);
                scope.spawn(move || {
                    for month in 2..=9 {
                        let mut job = job(&format!("2024-{month:02}"), &[&ids[..1], &ids[1..]]);
                        job.target.owner.owner = format!("tlc/{which}");
                        job.land(&world.lake());
                    }
                })
            })
            .collect();
        let options = crate::CompactOptions { min_files: 2, ..crate::CompactOptions::default() };
        for _ in 0..4 {
            world.lake().compact(&table(), &options, &lakehost_columnar::NoObserver).unwrap();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        while looks.load(relaxed) < 5 && !reader.is_finished() {
            std::thread::yield_now();
        }
        stop.store(true, relaxed);
        reader.join().unwrap();
    });
    assert!(months(&world).values().all(|month| month == "2024-09"));
    world.check_no_orphans(&world.lake());
}
