//! Rejected rows that move into their table: both tables or none, whoever dies or comes in between.

use std::sync::Arc;

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use arrow_select::filter::filter_record_batch;
use lakehost_pipeline::ports::{CommitRequest, Committed, Lake, Load};
use lakehost_pipeline::{Fault, rejects};

use super::rejects::{beside, kept, run};
use super::support::*;
use crate::IcebergLake;
use crate::fail_point::{self, AFTER_SQL_COMMIT, BEFORE_CLEANUP};

/// Moves the rejected rows at these positions; each comes as the row with its position as id.
fn replay(lake: &IcebergLake, job: &Job, rows: &[i64]) -> Result<Option<Committed>, Fault> {
    let run_id = format!("{}-replay-{}", job.run_id, rows.first().unwrap_or(&0));
    let mover = Job { files: vec![rows.to_vec()], run_id, ..job.clone() };
    let Some(mut load) = lake.begin_replay(&mover.target, &mover.run_id)? else { return Ok(None) };
    let Some(request) = mover.request(load.as_ref()) else {
        std::mem::forget(load);
        return Err(crate::Error::FailPoint("file").into());
    };
    let written = rest(load.as_mut(), rows);
    let stay = match written {
        Ok(stay) => stay,
        Err(fault) => {
            std::mem::forget(load);
            return Err(fault);
        }
    };
    assert!(stay < 100);
    let load_id = format!("{}-replay", job.load_id);
    load.commit(CommitRequest { load_id, ..without_rejects(request) }).map(Some)
}

/// What a replay commits: it rejects nothing that was not rejected before.
fn without_rejects(request: CommitRequest) -> CommitRequest {
    CommitRequest { rows_read: request.rows_written, rows_rejected: 0, rejected_by: Default::default(), ..request }
}

/// A replay before its commit: the row at `place` comes to the table, those of `dropped` leave the rejected ones.
fn about_to_move(lake: &IcebergLake, job: &Job, place: i64, dropped: &[i64]) -> (Box<dyn Load>, CommitRequest) {
    let mover = Job { files: vec![vec![place]], run_id: "slow".to_owned(), ..job.clone() };
    let mut load = lake.begin_replay(&mover.target, &mover.run_id).unwrap().unwrap();
    let request = mover.request(load.as_ref()).unwrap();
    rest(load.as_mut(), dropped).unwrap();
    (load, without_rejects(request))
}

/// Writes the rejected rows that do not move, and says how many.
fn rest(load: &mut dyn Load, moved: &[i64]) -> Result<usize, Fault> {
    let (mut source, writer, mut rows) = (load.rejected()?, load.rejects()?, 0);
    while let Some(batch) = source.next().map_err(|error| Fault::from(crate::Error::Internal(error.to_string())))? {
        let places = batch.column_by_name(rejects::SOURCE_ROW).unwrap();
        let places = places.as_any().downcast_ref::<Int64Array>().unwrap();
        let mask = places.iter().map(|place| Some(!moved.contains(&place.unwrap()))).collect();
        let staying: RecordBatch = filter_record_batch(&batch, &mask).unwrap();
        rows += staying.num_rows();
        writer.write(&staying)?;
    }
    Ok(rows)
}

fn places(world: &World, lake: &IcebergLake) -> Vec<i64> {
    kept(world, lake).into_iter().map(|(place, _)| place).collect()
}

#[test]
fn rows_move_and_the_window_stays_the_load_that_it_was() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    run(&lake, &job, &[100, 101, 102]).unwrap();
    let other = Job::month("2024-02", 20..25);
    run(&lake, &other, &[200]).unwrap();
    let before = lake.last_load(&table(), "2024-01").unwrap().unwrap();
    let Some(Committed::Landed { snapshot_id, .. }) = replay(&lake, &job, &[100, 102]).unwrap() else {
        panic!("nothing moved")
    };
    assert_eq!(places(&world, &lake), [101, 200]);
    assert_eq!(
        rows(&world, &lake).into_iter().collect::<Vec<_>>(),
        [("2024-01".to_owned(), 12), ("2024-02".to_owned(), 5)]
    );
    let after = lake.last_load(&table(), "2024-01").unwrap().unwrap();
    assert_eq!((after.load_id, after.snapshot_id), (before.load_id.clone(), before.snapshot_id));
    let again = Job { run_id: "again".to_owned(), ..job.clone() };
    assert!(matches!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { .. }));
    let told = lake.snapshots(&table()).unwrap().into_iter().find(|told| told.snapshot_id == snapshot_id).unwrap();
    assert_eq!((told.operation.as_str(), told.load["action"].as_str()), ("append", "replay"));
    assert_eq!(told.load["replayed-load-id"], job.load_id);
    // Back before the replay its rows are nowhere, so the window is not loaded any more; forward again it is.
    let forward = lake.state(&table()).unwrap().main().unwrap().snapshot_id();
    lake.rollback(&table(), &crate::AsOf::Snapshot(before.snapshot_id)).unwrap();
    assert!(lake.last_load(&table(), "2024-01").unwrap().is_none());
    lake.rollback(&table(), &crate::AsOf::Snapshot(forward)).unwrap();
    let standing = lake.last_load(&table(), "2024-01").unwrap().unwrap();
    assert_eq!((standing.load_id, standing.snapshot_id), (job.load_id.clone(), before.snapshot_id));
    // The last one goes, too, and then there is nothing more.
    replay(&lake, &job, &[101]).unwrap().unwrap();
    assert_eq!(places(&world, &lake), [200]);
    assert!(replay(&lake, &job, &[]).unwrap().is_none());
    // Another load of the window replaces what was replayed.
    Job::month("2024-01", 0..4).land(&lake);
    assert_eq!(rows(&world, &lake)["2024-01"], 4);
    world.check_no_orphans(&lake);
}

#[test]
fn both_tables_or_none_whenever_a_replay_dies() {
    for point in fail_point::ALL {
        for nth in [1, 2] {
            let world = World::new();
            let job = Job::month("2024-01", 0..10);
            run(&world.lake(), &job, &[100, 101, 102]).unwrap();
            let ended = replay(&world.doomed(point, nth), &job, &[100, 101]);
            let lake = world.lake();
            let landed = places(&world, &lake) == [102];
            assert_eq!(landed, rows(&world, &lake)["2024-01"] == 12, "{point} {nth}");
            assert_eq!(landed, ended.is_ok() || [AFTER_SQL_COMMIT, BEFORE_CLEANUP].contains(point), "{point} {nth}");
            // The same again; what moved is not there to be moved a second time.
            if !landed {
                let again = Job { run_id: "again".to_owned(), ..job.clone() };
                replay(&lake, &again, &[100, 101]).unwrap().unwrap();
            }
            // Any run tidies up.
            Job::month("2024-02", 20..25).land(&lake);
            assert_eq!(places(&world, &lake), [102], "{point} {nth}");
            assert_eq!(rows(&world, &lake)["2024-01"], 12, "{point} {nth}");
            world.check_no_orphans(&lake);
        }
    }
}

#[test]
fn whoever_comes_in_between_wins() {
    // Another replay of the same rows, and another load of the window.
    for loads in [false, true] {
        let world = World::new();
        let lake = world.lake();
        let job = Job::month("2024-01", 0..10);
        run(&lake, &job, &[100, 101]).unwrap();
        let (slow, request) = about_to_move(&lake, &job, 100, &[100]);
        if loads {
            run(&lake, &Job::month("2024-01", 0..7), &[300]).unwrap();
        } else {
            replay(&lake, &job, &[100]).unwrap().unwrap();
        }
        let (main, rejected) = (rows(&world, &lake), places(&world, &lake));
        assert_eq!(slow.commit(request).unwrap_err().code().0, "LH0602", "{loads}");
        assert_eq!((rows(&world, &lake), places(&world, &lake)), (main, rejected));
        world.check_no_orphans(&lake);
    }
    // A month beside it does not matter.
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    run(&lake, &job, &[100, 101]).unwrap();
    let (slow, request) = about_to_move(&lake, &job, 100, &[100]);
    run(&lake, &Job::month("2024-03", 50..55), &[500]).unwrap();
    slow.commit(request).unwrap();
    assert_eq!(places(&world, &lake), [101, 500]);
    world.check_no_orphans(&lake);
}

#[test]
fn a_row_that_is_in_neither_table_is_not_committed() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    run(&lake, &job, &[100, 101]).unwrap();
    // It drops both.
    let (load, request) = about_to_move(&lake, &job, 100, &[100, 101]);
    assert_eq!(load.commit(request).unwrap_err().code().0, "LH0403");
    assert_eq!((places(&world, &lake), rows(&world, &lake)["2024-01"]), (vec![100, 101], 10));
    world.check_no_orphans(&lake);
}

#[test]
fn rows_that_were_spooled_get_the_id_of_their_load() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let mut load = job.begin(&lake).unwrap();
    let spool = load.spool_rejects().unwrap();
    let all: Vec<i64> = (0..150_000).collect();
    for part in all.chunks(10_000) {
        let batch = super::rejects::rejected(&job, part);
        let without = Arc::new(StringArray::new_null(part.len()));
        let mut columns = batch.columns().to_vec();
        columns[1] = without;
        spool.write(&RecordBatch::try_new(batch.schema(), columns).unwrap()).unwrap();
    }
    assert!(world.files().iter().all(|file| !file.contains("__rejected")), "they wait elsewhere");
    let request = job.request(load.as_ref()).unwrap();
    load.rejects().unwrap();
    let count = all.len() as u64;
    load.commit(CommitRequest { rows_read: request.rows_written + count, rows_rejected: count, ..request }).unwrap();
    let found = kept(&world, &lake);
    assert!(found.iter().all(|(_, load_id)| *load_id == job.load_id));
    assert_eq!(found.into_iter().map(|(place, _)| place).collect::<Vec<_>>(), all);
    let read = super::readers::read(&world, "raw.trips__rejected");
    let rows = read["refs"]["main"]["duckdb"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0][1]), (150_000, &job.load_id.as_str().into()));
    assert_eq!(beside().name, "trips__rejected");
    // What is given up leaves nothing, wherever it waited.
    let before = world.files();
    let mut load = Job::month("2024-02", 0..5).begin(&lake).unwrap();
    load.spool_rejects().unwrap().write(&super::rejects::rejected(&job, &[1])).unwrap();
    drop(load);
    assert_eq!(world.files(), before);
}
