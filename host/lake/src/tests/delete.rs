//! Rows that go by a filter.

use iceberg::spec::Operation;
use lakehost_pipeline::filter::{CompareOp, FilterValue, RowFilter};
use lakehost_pipeline::ports::{Lake, WriteMode};

use super::readers;
use super::support::*;
use crate::delete::{Changed, DeleteOptions};
use crate::fail_point::{AFTER_SQL_COMMIT, BEFORE_CLEANUP, BEFORE_REQUEST, FILE_FINISHED};

const DO: DeleteOptions<'_> = DeleteOptions { branch: "main", dry_run: false };
const DRY: DeleteOptions<'_> = DeleteOptions { dry_run: true, ..DO };

fn compare(column: &str, op: CompareOp, value: FilterValue) -> RowFilter {
    RowFilter::Compare { column: column.to_owned(), op, value }
}

fn id(op: CompareOp, value: i64) -> RowFilter {
    compare("id", op, FilterValue::Int(value))
}

/// A table of 30 rows: ids 0..10 and 10..20 in one month, 20..30 in another; `at` is null where 7 divides the id.
fn world() -> World {
    let world = World::new();
    let lake = world.lake();
    Job { files: vec![(0..10).collect(), (10..20).collect()], ..Job::month("2024-01", 0..1) }.land(&lake);
    Job::month("2024-02", 20..30).land(&lake);
    world
}

fn total(world: &World) -> usize {
    rows(world, &world.lake()).values().sum()
}

#[test]
fn a_file_goes_whole_is_written_anew_or_stays() {
    use CompareOp::{Eq, Greater, GreaterEq, Less, LessEq, NotEq};
    let months = |days: i32| compare("_lakehost_window", Eq, FilterValue::Date(days));
    let text = |value: &str| compare("name", Eq, FilterValue::Text(value.to_owned()));
    let at = |op, micros| compare("at", op, FilterValue::TimestampMicros(micros));
    let not = |filter| RowFilter::Not(Box::new(filter));
    // Filter, rows that go, files dropped, files rewritten.
    let cases: Vec<(RowFilter, u64, u64, u64)> = vec![
        (id(Less, 10), 10, 1, 0),
        (id(LessEq, 10), 11, 1, 1),
        (id(Eq, 25), 1, 0, 1),
        (id(NotEq, 25), 29, 2, 1),
        (id(GreaterEq, 0), 30, 3, 0),
        (id(Greater, 99), 0, 0, 0),
        (months(19_723), 20, 2, 0),
        (not(months(19_723)), 10, 1, 0),
        (text("name 3"), 1, 0, 1),
        (text("it's"), 0, 0, 0),
        // Null is neither less nor not less.
        (at(Less, 100), 25, 0, 3),
        (not(at(Less, 100)), 0, 0, 0),
        (RowFilter::IsNull { column: "at".into() }, 5, 0, 3),
        (not(RowFilter::IsNull { column: "at".into() }), 25, 0, 3),
        (RowFilter::And(vec![id(GreaterEq, 5), id(Less, 25)]), 20, 1, 2),
        (RowFilter::Or(vec![id(Less, 10), id(GreaterEq, 20)]), 20, 2, 0),
        (RowFilter::Or(vec![id(Eq, 7), at(Eq, 8)]), 2, 0, 1),
        (RowFilter::In { column: "id".into(), values: vec![FilterValue::Int(1), FilterValue::Int(29)] }, 2, 0, 2),
        (not(RowFilter::In { column: "id".into(), values: vec![FilterValue::Int(1)] }), 29, 2, 1),
    ];
    for (filter, gone, dropped, rewritten) in cases {
        let world = world();
        let lake = world.lake();
        let before = world.files();
        let dry = lake.delete_where(&table(), &filter, &DRY).unwrap();
        assert_eq!(
            dry,
            Changed { snapshot_id: None, rows: gone, files_dropped: dropped, files_rewritten: rewritten },
            "{filter:?}"
        );
        assert_eq!(world.files(), before);
        let done = lake.delete_where(&table(), &filter, &DO).unwrap();
        assert_eq!((done.rows, done.files_dropped, done.files_rewritten), (gone, dropped, rewritten), "{filter:?}");
        assert_eq!(done.snapshot_id.is_some(), gone > 0);
        assert_eq!(total(&world), 30 - gone as usize, "{filter:?}");
        if gone > 0 {
            let state = lake.state(&table()).unwrap();
            let wanted = if rewritten > 0 { Operation::Overwrite } else { Operation::Delete };
            assert_eq!(state.main().unwrap().summary().operation, wanted);
            assert_eq!(counter(&state, "total-records"), Some(30 - gone));
            assert_eq!(counter(&state, "lakehost.rows-deleted"), Some(gone));
            // What is gone is gone; asked again there is nothing to do.
            assert_eq!(lake.delete_where(&table(), &filter, &DO).unwrap(), Changed::default());
        }
        world.check_no_orphans(&lake);
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let world = world();
    let lake = world.lake();
    for (filter, problem) in [
        (compare("nope", CompareOp::Eq, FilterValue::Int(1)), "table raw.trips has no column nope"),
        (
            compare("id", CompareOp::Eq, FilterValue::Text("x' or 1=1".into())),
            "column id is long, which 'x\\'\\' or 1=1' cannot be compared with",
        ),
    ] {
        let error = lake.delete_where(&table(), &filter, &DO).unwrap_err();
        assert_eq!((error.code().0, error.to_string().as_str()), ("LH0101", problem));
    }
    assert_eq!(total(&world), 30);
}

#[test]
fn deletions_and_loads_at_once_lose_nothing() {
    let world = world();
    let deleter = {
        let lake = world.lake();
        std::thread::spawn(move || {
            (0..10).for_each(|number| {
                assert_eq!(lake.delete_where(&table(), &id(CompareOp::Eq, number), &DO).unwrap().rows, 1);
            });
        })
    };
    let lake = world.lake();
    for number in 0..10 {
        let from = 100 + number * 10;
        Job::month("2024-03", from..from + 10).mode(WriteMode::Append).land(&lake);
    }
    deleter.join().unwrap();
    assert_eq!(total(&world), 120);
    world.check_no_orphans(&lake);
    assert!(lake.last_load_by(&table(), "2024-03", "tlc/trips", WriteMode::Append).unwrap().is_some());
}

#[test]
fn a_deletion_that_died_is_done_or_undone() {
    for point in [FILE_FINISHED, BEFORE_REQUEST, AFTER_SQL_COMMIT, BEFORE_CLEANUP] {
        let world = world();
        let doomed = world.doomed(point, 1);
        let ended = doomed.delete_where(&table(), &id(CompareOp::Eq, 3), &DO);
        assert_eq!(ended.is_ok(), point == AFTER_SQL_COMMIT, "{point} {ended:?}");
        let lake = world.lake();
        lake.resolve(None).unwrap();
        let landed = [AFTER_SQL_COMMIT, BEFORE_CLEANUP].contains(&point);
        assert_eq!(total(&world), if landed { 29 } else { 30 }, "{point}");
        world.check_no_orphans(&lake);
    }
}

#[test]
fn others_read_what_is_left() {
    let world = world();
    world
        .lake()
        .delete_where(&table(), &RowFilter::And(vec![id(CompareOp::GreaterEq, 5), id(CompareOp::Less, 25)]), &DO)
        .unwrap();
    let read = readers::read(&world, "raw.trips");
    let main = &read["refs"]["main"];
    let ids: Vec<&str> = main["duckdb"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(ids, ["0", "1", "2", "25", "26", "27", "28", "29", "3", "4"]);
    assert_eq!(main["operation"], "overwrite");
    // Two files added with their five rows each, three deleted.
    let statuses: Vec<(i64, i64)> = main["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry[0].as_i64().unwrap(), entry[3].as_i64().unwrap()))
        .collect();
    assert_eq!(statuses, [(1, 5), (1, 5), (2, 10), (2, 10), (2, 10)]);
}
