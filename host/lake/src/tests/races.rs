//! Several writers at once.

use lakehost_pipeline::ports::{Committed, WriteMode};

use super::support::*;
use iceberg::TableRequirement;

use crate::catalog::{Base, Outcome, TableChange, TableState};

#[test]
fn a_commit_that_was_overtaken_is_made_again_on_the_new_head() {
    let world = World::new();
    let (one, two) = (world.lake(), world.lake());
    Job::month("2024-01", 0..10).land(&one);
    let (slow, fast) = (Job::month("2024-02", 10..20), Job::month("2024-03", 20..30));
    let slow_load = slow.begin(&one).unwrap();
    fast.land(&two);
    assert!(matches!(slow.finish(slow_load).unwrap(), Committed::Landed { .. }));
    assert_eq!(rows(&world, &one).values().sum::<usize>(), 30);
    world.check_no_orphans(&one);
}

#[test]
fn two_loads_of_one_window_do_not_both_land() {
    let world = World::new();
    let (one, two) = (world.lake(), world.lake());
    Job::month("2024-01", 0..10).land(&one);
    let (slow, fast) = (Job::month("2024-01", 0..20), Job::month("2024-01", 0..30));
    let slow_load = slow.begin(&one).unwrap();
    let winner = fast.land(&two);
    let fault = slow.finish(slow_load).unwrap_err();
    assert_eq!(fault.code().0, "LH0602");
    let cause = fault.cause().unwrap();
    assert!(
        cause.starts_with(&format!("another load changed window 2024-01: main is at snapshot {winner}, expected")),
        "{cause}"
    );
    assert_eq!(rows(&world, &one)["2024-01"], 30);
    world.check_no_orphans(&one);
    // An append to the same window is no conflict for an append, but one for a replacement.
    let (append, replace) = (Job::month("2024-01", 100..105).mode(WriteMode::Append), Job::month("2024-01", 0..1));
    let (append_load, replace_load) = (append.begin(&one).unwrap(), replace.begin(&one).unwrap());
    Job::month("2024-01", 200..201).mode(WriteMode::Append).land(&two);
    append.finish(append_load).unwrap();
    assert_eq!(replace.finish(replace_load).unwrap_err().code().0, "LH0602");
    assert_eq!(rows(&world, &one)["2024-01"], 36);
}

#[test]
fn the_same_load_from_two_runs_lands_once() {
    let world = World::new();
    let (one, two) = (world.lake(), world.lake());
    let slow = Job::month("2024-01", 0..10);
    let fast = Job { run_id: "fast".into(), ..slow.clone() };
    let slow_load = slow.begin(&one).unwrap();
    let snapshot_id = fast.land(&two);
    assert_eq!(slow.finish(slow_load).unwrap(), Committed::AlreadyLoaded { snapshot_id });
    assert_eq!(rows(&world, &one)["2024-01"], 10);
    world.check_no_orphans(&one);
}

#[test]
fn two_runs_may_both_find_no_table() {
    let world = World::new();
    let (one, two) = (world.lake(), world.lake());
    let (slow, fast) = (Job::month("2024-01", 0..10), Job::month("2024-02", 10..20));
    let slow_load = slow.begin(&one).unwrap();
    fast.land(&two);
    slow.finish(slow_load).unwrap();
    assert_eq!(rows(&world, &one).values().sum::<usize>(), 20);
    world.check_no_orphans(&one);
    // A stranger's table under the same name is not taken over.
    let mut mine = Job::month("2024-01", 0..10);
    let mut theirs = Job::month("2024-01", 0..10);
    mine.target.table.name = "other".into();
    theirs.target.table.name = "other".into();
    theirs.target.owner.owner = "somebody".into();
    let load = mine.begin(&one).unwrap();
    theirs.land(&two);
    assert_eq!(mine.finish(load).unwrap_err().code().0, "LH0106");
}

#[test]
fn a_table_that_was_dropped_or_made_anew_meanwhile_is_noticed() {
    let world = World::new();
    let lake = world.lake();
    for anew in [false, true] {
        Job::month("2024-01", 0..10).land(&lake);
        let job = Job::month("2024-02", 0..10);
        let load = job.begin(&lake).unwrap();
        assert!(lake.drop_table(&table()).unwrap().files_deleted);
        if anew {
            Job::month("2024-01", 0..10).land(&lake);
        }
        let fault = job.finish(load).unwrap_err();
        assert_eq!(fault.code().0, "LH0603", "{fault}");
        if anew {
            lake.drop_table(&table()).unwrap();
        }
    }
}

#[test]
fn several_tables_move_together_or_not_at_all() {
    let world = World::new();
    let lake = world.lake();
    let mut other = Job::month("2024-01", 0..10);
    other.target.table.name = "other".into();
    Job::month("2024-01", 0..10).land(&lake);
    other.land(&lake);
    let change = |name: &lakehost_pipeline::ports::TableName, state: TableState, value: &str| {
        let snapshot_id = state.main().map(|snapshot| snapshot.snapshot_id());
        let requires = vec![TableRequirement::RefSnapshotIdMatch { r#ref: "main".to_owned(), snapshot_id }];
        TableChange::build(name, Base::Existing(state), requires, uuid::Uuid::new_v4(), |builder| {
            builder.set_properties([("x".to_owned(), value.to_owned())].into())
        })
        .unwrap()
    };
    let commit = |changes: &[TableChange]| world.runtime.block_on(lake.core.catalog.commit(changes)).unwrap();
    let (a, b) = (table(), other.target.table.clone());
    let (stale, fresh) = (lake.state(&a).unwrap(), lake.state(&b).unwrap());
    assert!(matches!(commit(&[change(&a, stale.clone(), "1"), change(&b, fresh, "1")]), Outcome::Landed));
    Job::month("2024-02", 10..20).land(&lake);
    let fresh = lake.state(&b).unwrap();
    assert!(matches!(commit(&[change(&b, fresh, "2"), change(&a, stale, "2")]), Outcome::Conflict));
    for name in [&a, &b] {
        assert_eq!(lake.state(name).unwrap().metadata.properties()["x"], "1");
    }
    world.check_no_orphans(&lake);
}
