//! Rejected rows beside their table.

use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use lakehost_pipeline::ports::{CommitRequest, Committed, Lake, TableName, WriteMode};
use lakehost_pipeline::{Granularity, rejects};

use super::readers;
use super::support::*;
use crate::IcebergLake;
use crate::fail_point::{self, AFTER_SQL_COMMIT, BEFORE_CLEANUP};

pub fn beside() -> TableName {
    rejects::table_of(&table()).unwrap()
}

/// Rejected rows of a load, by the position that they had.
pub fn rejected(job: &Job, rows: &[i64]) -> RecordBatch {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|_| value))) };
    let window = job.target.window.as_ref().unwrap().start_days();
    RecordBatch::try_new(
        rejects::schema(Granularity::Month),
        vec![
            Arc::new(Date32Array::from_value(window, rows.len())),
            text(&job.load_id),
            text(&job.run_id),
            text("trip_cleaner@0.1.0"),
            text("negative"),
            text("a price below zero"),
            Arc::new(Int64Array::from(rows.to_vec())),
            text("a.parquet"),
            text("{\"id\":\"1\"}"),
        ],
    )
    .unwrap()
}

/// Runs a job that rejects rows at these positions.
pub fn run(lake: &IcebergLake, job: &Job, rows: &[i64]) -> Result<Committed, lakehost_pipeline::Fault> {
    let mut load = job.begin(lake)?;
    let request = job.request(load.as_ref()).ok_or_else(|| crate::Error::FailPoint("file"))?;
    if !rows.is_empty() {
        let half = rows.len() / 2;
        for part in [&rows[..half], &rows[half..]] {
            if let Err(fault) = load.rejects().and_then(|writer| writer.write(&rejected(job, part))) {
                assert!(
                    fault.to_string().contains("fail point") || fault.cause().is_some_and(|c| c.contains("fail point"))
                );
                std::mem::forget(load);
                return Err(fault);
            }
        }
    }
    let count = rows.len() as u64;
    load.commit(CommitRequest { rows_read: request.rows_written + count, rows_rejected: count, ..request })
}

/// Position and load id of all rejected rows.
pub fn kept(world: &World, lake: &IcebergLake) -> Vec<(i64, String)> {
    use futures::TryStreamExt;
    let opened = lake.open_table(&beside()).unwrap();
    let batches: Vec<RecordBatch> = world
        .runtime
        .block_on(async {
            opened.scan().select([rejects::SOURCE_ROW, rejects::LOAD_ID]).build()?.to_arrow().await?.try_collect().await
        })
        .unwrap();
    let mut found = Vec::new();
    for batch in batches {
        let rows = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let ids = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        found.extend((0..batch.num_rows()).map(|row| (rows.value(row), ids.value(row).to_owned())));
    }
    found.sort();
    found
}

#[test]
fn rejected_rows_come_and_go_with_the_window_that_rejected_them() {
    let world = World::new();
    let lake = world.lake();
    let first = Job::month("2024-01", 0..10);
    run(&lake, &first, &[]).unwrap();
    assert!(Lake::table(&lake, &beside()).unwrap().is_none(), "made with the first rejected row");
    let second = Job::month("2024-01", 0..5);
    run(&lake, &second, &[3, 1, 7]).unwrap();
    let other = Job::month("2024-02", 20..25);
    run(&lake, &other, &[9]).unwrap();
    assert_eq!(
        kept(&world, &lake),
        [(1, &second), (3, &second), (7, &second), (9, &other)].map(|(row, job)| (row, job.load_id.clone()))
    );
    let details = lake.describe(&beside()).unwrap();
    assert_eq!(details.partition, ["identity(_lakehost_window)"]);
    assert_eq!(details.properties["lakehost.rejected-of"], "raw.trips");
    let columns: Vec<&str> = details.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        columns,
        ["_lakehost_window", "load_id", "run_id", "plugin", "rule", "reason", "source_row", "source_file", "row"]
    );
    let read = readers::read(&world, "raw.trips__rejected");
    let rows = read["refs"]["main"]["duckdb"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[3][0], "2024-02-01");
    assert_eq!(rows[0][8], "{\"id\":\"1\"}");
    // Loaded anew without rejects: none are left, in this window alone.
    let third = Job::month("2024-01", 0..7);
    run(&lake, &third, &[]).unwrap();
    assert_eq!(kept(&world, &lake), [(9, other.load_id.clone())]);
    // With nothing to take away the table stays as it is.
    let before = lake.state(&beside()).unwrap().metadata_location;
    run(&lake, &Job::month("2024-03", 40..45), &[]).unwrap();
    assert_eq!(lake.state(&beside()).unwrap().metadata_location, before);
    // The same load again changes neither.
    let again = Job { run_id: "again".into(), ..other };
    assert!(matches!(run(&lake, &again, &[9]).unwrap(), Committed::AlreadyLoaded { .. }));
    assert_eq!(kept(&world, &lake).len(), 1);
    world.check_no_orphans(&lake);
}

#[test]
fn rows_that_were_added_keep_those_that_were_rejected_before() {
    let world = World::new();
    let lake = world.lake();
    for (number, owner) in ["tlc/a", "tlc/b", "tlc/a"].into_iter().enumerate() {
        let from = number as i64 * 10;
        let mut job = Job::month("2024-01", from..from + 5).mode(WriteMode::Append);
        job.target.owner.owner = owner.to_owned();
        run(&lake, &job, &[number as i64]).unwrap();
    }
    run(&lake, &Job::month("2024-01", 50..55).mode(WriteMode::Append), &[]).unwrap();
    assert_eq!(kept(&world, &lake).iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2]);
    world.check_no_orphans(&lake);
}

#[test]
fn rows_that_were_not_counted_are_not_committed() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let mut load = job.begin(&lake).unwrap();
    let request = job.request(load.as_ref()).unwrap();
    load.rejects().unwrap().write(&rejected(&job, &[1, 2])).unwrap();
    // It says that one row was rejected.
    assert_eq!(load.commit(request).unwrap_err().code().0, "LH0403");
    assert!(Lake::table(&lake, &table()).unwrap().is_none());
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
fn a_load_on_a_branch_has_no_rejected_rows_of_its_own() {
    let world = World::new();
    let lake = world.lake();
    run(&lake, &Job::month("2024-01", 0..10), &[4]).unwrap();
    let job = Job::month("2024-01", 0..5);
    let mut load = job.begin(&lake).unwrap();
    let request = job.request(load.as_ref()).unwrap();
    load.rejects().unwrap().write(&rejected(&job, &[1])).unwrap();
    load.quarantine(request, "audit/run").unwrap();
    assert_eq!(kept(&world, &lake).iter().map(|(row, _)| *row).collect::<Vec<_>>(), [4]);
    world.check_no_orphans(&lake);
    // And one that is given up leaves nothing.
    let before = world.files();
    let job = Job::month("2024-02", 0..5);
    let mut load = job.begin(&lake).unwrap();
    load.rejects().unwrap().write(&rejected(&job, &[1])).unwrap();
    drop(load);
    assert_eq!(world.files(), before);
}

#[test]
fn both_tables_or_none_whenever_the_process_dies() {
    for existing in [false, true] {
        for point in fail_point::LOAD {
            for nth in [1, 2] {
                let world = World::new();
                if existing {
                    run(&world.lake(), &Job::month("2023-12", 500..510), &[77]).unwrap();
                }
                let doomed = world.doomed(point, nth);
                let job = Job::month("2024-01", 0..10);
                let ended = run(&doomed, &job, &[1, 2, 3]);
                let lake = world.lake();
                let landed = lake.last_load(&table(), "2024-01").unwrap().is_some();
                if ended.is_ok() {
                    assert!(landed, "{point}");
                } else if nth == 1 {
                    assert_eq!(landed, [AFTER_SQL_COMMIT, BEFORE_CLEANUP].contains(point), "{point}");
                }
                let beside_landed = Lake::table(&lake, &beside()).unwrap().is_some()
                    && kept(&world, &lake).iter().any(|(_, load)| *load == job.load_id);
                assert_eq!(landed, beside_landed, "{point} {nth}");
                let again = Job { run_id: "again".into(), ..job };
                run(&lake, &again, &[1, 2, 3]).unwrap();
                let mut wanted = vec![1, 2, 3];
                wanted.extend(existing.then_some(77));
                assert_eq!(
                    kept(&world, &lake).iter().map(|(row, _)| *row).collect::<Vec<_>>(),
                    wanted,
                    "{point} {nth}"
                );
                assert_eq!(rows(&world, &lake)["2024-01"], 10, "{point} {nth}");
                world.check_no_orphans(&lake);
            }
        }
    }
}
