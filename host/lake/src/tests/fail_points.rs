//! Every registered fail point: it fires, the table is whole there, and doing the same again comes to the same end.

use std::collections::BTreeMap;
use std::fs;

use lakehost_columnar::{NoObserver, PartitionField, Transform};
use lakehost_pipeline::filter::{CompareOp, FilterValue, RowFilter};
use lakehost_pipeline::ports::{Lake, WriteMode};

use super::support::*;
use crate::fail_point::*;
use crate::{CompactOptions, DeleteOptions, ExpireOptions, IcebergLake, OrphanOptions, SortKey};

const BRANCH: &str = "audit/1";
const NOW: OrphanOptions = OrphanOptions { older_than_ms: 0, allow_younger_than_72h: true, delete: true };

/// Two months of six and ten rows, the second loaded twice, and a third one on a branch.
fn world() -> World {
    let world = World::new();
    let lake = world.lake();
    Job { files: (0..6).map(|id| vec![id]).collect(), ..Job::month("2024-01", 0..1) }.land(&lake);
    Job::month("2024-02", 20..25).land(&lake);
    Job::month("2024-02", 20..30).land(&lake);
    let staged = Job::month("2024-03", 40..44);
    let load = staged.begin(&lake).unwrap();
    let request = staged.request(load.as_ref()).unwrap();
    load.quarantine(request, BRANCH).unwrap();
    world
}

/// A way past a point.
type Verb = fn(&World, &IcebergLake) -> Result<(), String>;
/// A change of a table's layout; whether there was any.
type Change<'a> = &'a dyn Fn(&IcebergLake) -> crate::Result<bool>;

/// What leads past a point, and the rows of each month when it is done.
fn verb(point: &str) -> (Verb, &'static [(&'static str, usize)]) {
    fn text<T, E: std::fmt::Display>(done: Result<T, E>) -> Result<(), String> {
        done.map(|_| ()).map_err(|error| error.to_string())
    }
    match point {
        BEFORE_PUBLISH | AFTER_PUBLISH => (
            |_, lake| text(lake.publish(&table(), BRANCH, &|_| Ok(()))),
            &[("2024-01", 6), ("2024-02", 10), ("2024-03", 4)],
        ),
        BEFORE_DISCARD_DELETE => (|_, lake| text(lake.discard(&table(), BRANCH)), &[("2024-01", 6), ("2024-02", 10)]),
        BEFORE_EXPIRE_DELETE => (
            |_, lake| text(lake.expire(&table(), &ExpireOptions { older_than_ms: 0, keep: 1, dry_run: false })),
            &[("2024-01", 6), ("2024-02", 10)],
        ),
        BEFORE_ORPHAN_DELETE => (
            |world, lake| {
                fs::write(world.folder.path().join("warehouse/raw/trips/data/lost.parquet"), b"x").unwrap();
                text(lake.orphans(None, &NOW))
            },
            &[("2024-01", 6), ("2024-02", 10)],
        ),
        COMPACT_WRITTEN => (
            |_, lake| text(lake.compact(&table(), &CompactOptions::default(), &NoObserver)),
            &[("2024-01", 6), ("2024-02", 10)],
        ),
        DELETE_WRITTEN => (
            |_, lake| {
                let least = FilterValue::Int(3);
                let test = RowFilter::Compare { column: "id".into(), op: CompareOp::GreaterEq, value: least };
                text(lake.delete_where(&table(), &RowFilter::And(vec![test, below(25)]), &DeleteOptions::default()))
            },
            &[("2024-01", 3), ("2024-02", 5)],
        ),
        MERGE_WRITTEN => (
            |_, lake| {
                let mut job = Job::month("2024-04", 28..33).mode(WriteMode::Merge);
                (job.target.key, job.load_id) = (vec!["id".to_owned()], "merge".to_owned());
                text(job.run(lake))
            },
            &[("2024-01", 6), ("2024-02", 8), ("2024-04", 5)],
        ),
        BEFORE_DROP_DELETE => (|_, lake| text(lake.drop_table(&table())), &[]),
        _ => (
            |_, lake| text(Job { load_id: "same".into(), ..Job::month("2024-04", 50..57) }.run(lake)),
            &[("2024-01", 6), ("2024-02", 10), ("2024-04", 7)],
        ),
    }
}

fn below(id: i64) -> RowFilter {
    RowFilter::Compare { column: "id".into(), op: CompareOp::Less, value: FilterValue::Int(id) }
}

fn months(world: &World) -> BTreeMap<String, usize> {
    let lake = world.lake();
    if Lake::table(&lake, &table()).unwrap().is_none() { BTreeMap::new() } else { rows(world, &lake) }
}

#[test]
fn every_point_fires_and_leaves_the_table_whole() {
    for point in ALL {
        let world = world();
        let before = months(&world);
        let (verb, after) = verb(point);
        let after: BTreeMap<String, usize> = after.iter().map(|(month, rows)| ((*month).to_owned(), *rows)).collect();
        let doomed = world.doomed(point, 1);
        let ended = verb(&world, &doomed);
        assert!(doomed.core.fail_points.fired(), "nothing passes {point}");
        // The answer was lost, not the commit: a look at the table finds it.
        assert!(ended.is_err() || *point == AFTER_SQL_COMMIT, "{point}");
        let found = months(&world);
        assert!(found == before || found == after, "{point}: {found:?}");

        let lake = world.lake();
        lake.resolve(None).unwrap();
        let again = verb(&world, &lake);
        // What needs a branch or a table that has gone has been done; everything else can be asked for twice.
        let done = [AFTER_PUBLISH, BEFORE_DISCARD_DELETE, BEFORE_DROP_DELETE].contains(point);
        assert_eq!(again.is_err(), done, "{point}: {again:?}");
        assert_eq!(months(&world), after, "{point}");
        if *point != BEFORE_DROP_DELETE {
            lake.orphans(None, &NOW).unwrap();
            world.check_no_orphans(&lake);
        }
    }
}

#[test]
fn a_table_that_was_dropped_halfway_is_made_anew() {
    let world = world();
    world.doomed(BEFORE_DROP_DELETE, 1).drop_table(&table()).unwrap_err();
    let lake = world.lake();
    assert!(lake.table_names(None).unwrap().is_empty());
    Job::month("2024-05", 0..3).land(&lake);
    assert_eq!(months(&world), [("2024-05".to_owned(), 3)].into());
    // What the first table left is nobody's now.
    assert!(!lake.orphans(None, &NOW).unwrap().is_empty());
    world.check_no_orphans(&lake);
}

#[test]
fn a_layout_is_changed_or_not_wherever_the_process_dies() {
    for point in [METADATA_WRITTEN, BEFORE_SQL_COMMIT, AFTER_SQL_COMMIT] {
        let fields = [PartitionField { column: "at".to_owned(), transform: Transform::Day }];
        let keys = [SortKey { column: "id".to_owned(), descending: true, nulls_first: false }];
        let renamed = [("label".to_owned(), "name".to_owned())];
        let verbs: [Change<'_>; 4] = [
            &|lake| lake.set_partitioning(&table(), &fields).map(|done| done.changed),
            &|lake| lake.set_sort_order(&table(), &keys).map(|done| done.changed),
            &|lake| lake.change_columns(&table(), &renamed, &["id".to_owned()]),
            &|lake| lake.drop_columns(&table(), &["name".to_owned()]),
        ];
        for verb in verbs {
            let world = world();
            let doomed = world.doomed(point, 1);
            let ended = verb(&doomed);
            assert!(doomed.core.fail_points.fired(), "{point}");
            assert_eq!(ended.is_ok(), point == AFTER_SQL_COMMIT, "{point}");
            assert_eq!(months(&world).len(), 2, "{point}");
            // A drop that has landed has nothing to drop any more.
            let lake = world.lake();
            let again = verb(&lake);
            assert!(again.is_err() || again.unwrap() != (point == AFTER_SQL_COMMIT), "{point}");
            assert_eq!(months(&world).len(), 2, "{point}");
            lake.orphans(None, &NOW).unwrap();
            world.check_no_orphans(&lake);
        }
    }
}
