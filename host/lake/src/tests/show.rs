//! A snapshot to come, shown to other engines: readable by its id, gone without a trace, whatever happens meanwhile.

use lakehost_pipeline::ports::{Committed, Lake, Staged, WriteMode};

use super::support::*;
use crate::commit::Prepared;
use crate::{IcebergLake, Resolution};

fn prepared(staged: &Staged) -> &Prepared {
    staged.handle.downcast_ref::<Prepared>().unwrap()
}

/// Branches and snapshots of a table, none where it is not there.
fn seen(lake: &IcebergLake, job: &Job) -> (Vec<String>, usize) {
    let Ok(state) = lake.state(&job.target.table) else { return (Vec::new(), 0) };
    let names = crate::refs::references(&state.metadata).unwrap().into_keys().collect();
    (names, state.metadata.snapshots().len())
}

fn shown_rows(world: &World, lake: &IcebergLake, job: &Job, snapshot_id: i64) -> u64 {
    let table = lake.open_table(&job.target.table).unwrap();
    let batches: Vec<arrow_array::RecordBatch> = world.runtime.block_on(async {
        use futures::TryStreamExt as _;
        let scan = table.scan().snapshot_id(snapshot_id).select_all().build().unwrap();
        scan.to_arrow().await.unwrap().try_collect().await.unwrap()
    });
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

#[test]
fn what_is_prepared_is_read_by_its_id_and_main_does_not_move() {
    for (mode, born) in [
        (WriteMode::ReplaceWindow, false),
        (WriteMode::ReplaceWindow, true),
        (WriteMode::Append, false),
        (WriteMode::Merge, false),
        (WriteMode::FullRefresh, false),
    ] {
        let world = World::new();
        let lake = world.lake();
        Job::month("2024-02", 50..54).land(&lake);
        let mut job = Job::month("2024-01", 0..3).mode(mode);
        if mode == WriteMode::Merge {
            job.target.key = vec!["id".to_owned()];
        }
        if born {
            job.target.table.name = "born".into();
        }
        let before = seen(&lake, &job);
        let mut load = job.begin(&lake).unwrap();
        let request = job.request(load.as_ref()).unwrap();
        let staged = load.prepare(&request).unwrap();
        let shown = lake.show(&job.target.table, prepared(&staged)).unwrap();
        let others = if born || mode == WriteMode::FullRefresh { 0 } else { 4 };
        assert_eq!(shown_rows(&world, &lake, &job, shown.snapshot_id()), 3 + others, "{mode:?}");
        let state = lake.state(&job.target.table).unwrap();
        assert_eq!(state.main().is_some(), !born);
        assert_ne!(state.main().map(|main| main.snapshot_id()), Some(shown.snapshot_id()));
        assert!(lake.last_load(&job.target.table, "2024-01").unwrap().is_none(), "nothing counts as loaded");
        shown.hide().unwrap();
        assert_eq!(seen(&lake, &job), before, "{mode:?}");
        // The load goes on as if nothing had been.
        assert!(matches!(load.commit(request).unwrap(), Committed::Landed { .. }));
        assert_eq!(seen(&lake, &job), (vec!["main".to_owned()], before.1 + 1));
        world.check_no_orphans(&lake);
    }
}

#[test]
fn a_load_that_is_given_up_after_it_was_shown_leaves_nothing() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let job = Job::month("2024-01", 0..3);
    let mut load = job.begin(&lake).unwrap();
    let request = job.request(load.as_ref()).unwrap();
    let staged = load.prepare(&request).unwrap();
    // Dropped, as by an error of what looks at it.
    drop(lake.show(&job.target.table, prepared(&staged)).unwrap());
    drop((staged, load));
    assert_eq!(seen(&lake, &job), (vec!["main".to_owned()], 1));
    world.check_no_orphans(&lake);
}

#[test]
fn a_process_that_dies_while_rows_are_shown_is_tidied_up_behind() {
    for born in [false, true] {
        let world = World::new();
        let lake = world.lake();
        Job::month("2024-01", 0..10).land(&lake);
        // A process that is gone: its fail point is never reached.
        let dead = world.doomed(crate::fail_point::BEFORE_PUBLISH, 1);
        let mut job = Job::month("2024-01", 0..3);
        if born {
            job.target.table.name = "born".into();
        }
        let mut load = job.begin(&dead).unwrap();
        let request = job.request(load.as_ref()).unwrap();
        let staged = load.prepare(&request).unwrap();
        std::mem::forget(dead.show(&job.target.table, prepared(&staged)).unwrap());
        std::mem::forget(load);
        assert_eq!(seen(&lake, &job).0.len(), if born { 1 } else { 2 });
        let resolved = lake.resolve(None).unwrap();
        assert!(
            matches!(resolved.as_slice(), [one] if matches!(one.resolution, Resolution::NotLanded { files_deleted } if files_deleted > 0)),
            "{resolved:?}"
        );
        let left = if born { (Vec::new(), 0) } else { (vec!["main".to_owned()], 1) };
        assert_eq!(seen(&lake, &job), left);
        world.check_no_orphans(&lake);
        assert_eq!(rows(&world, &lake)["2024-01"], 10);
    }
}

#[test]
fn a_branch_is_shown_before_it_is_published_as_it_stands_or_on_the_new_head() {
    for meanwhile in [false, true] {
        let world = World::new();
        let lake = world.lake();
        Job::month("2024-01", 0..10).land(&lake);
        let job = Job::month("2024-02", 20..30);
        let load = job.begin(&lake).unwrap();
        let request = job.request(load.as_ref()).unwrap();
        let staged = load.quarantine(request, "audit/run").unwrap();
        if meanwhile {
            Job::month("2024-03", 40..45).land(&lake);
        }
        let looks = std::cell::Cell::new(0);
        let published = lake.publish(&table(), "audit/run", &|prepared| {
            looks.set(looks.get() + 1);
            let shown = lake.show(&job.target.table, prepared)?;
            assert_eq!(shown.snapshot_id() == staged, !meanwhile, "what the catalog has is not shown again");
            let expected = if meanwhile { 25 } else { 20 };
            assert_eq!(shown_rows(&world, &lake, &job, shown.snapshot_id()), expected);
            Ok(shown.hide()?)
        });
        assert!(published.is_ok(), "{published:?}");
        assert_eq!(looks.get(), 1, "to show it is no reason to look again");
        assert_eq!(seen(&lake, &job).0, ["main"]);
        world.check_no_orphans(&lake);
    }
}
