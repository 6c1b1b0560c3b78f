//! A table's partition fields, sort order and columns change; its rows stay.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lakehost_columnar::{NoObserver, PartitionField, Transform};
use lakehost_pipeline::Diagnostic;
use lakehost_pipeline::filter::{CompareOp, FilterValue, RowFilter};
use lakehost_pipeline::ports::WriteMode;

use super::readers;
use super::support::*;
use crate::commit::Manifests;
use crate::inspect::{LiveFile, live_files};
use crate::maintain::Reader;
use crate::masked::each_batch;
use crate::{CompactOptions, Compacted, DeleteOptions, IcebergLake, SortKey};

fn by(column: &str, transform: Transform) -> Vec<PartitionField> {
    vec![PartitionField { column: column.to_owned(), transform }]
}

fn key(column: &str, descending: bool) -> SortKey {
    SortKey { column: column.to_owned(), descending, nulls_first: false }
}

fn live(world: &World, lake: &IcebergLake) -> Vec<LiveFile> {
    let state = lake.state(&table()).unwrap();
    world.runtime.block_on(live_files(&Manifests::new(lake.core.io.clone()), &state, state.main())).unwrap()
}

/// Partition spec and rows of each file, sorted.
fn specs(world: &World, lake: &IcebergLake) -> Vec<(i32, u64)> {
    let mut found: Vec<_> =
        live(world, lake).iter().map(|live| (live.spec.spec_id(), live.file.record_count())).collect();
    found.sort_unstable();
    found
}

fn compact(lake: &IcebergLake, options: CompactOptions) -> Compacted {
    lake.compact(&table(), &options, &NoObserver).unwrap()
}

/// Rows of a month, one file for each id.
fn scattered(label: &str, ids: std::ops::Range<i64>) -> Job {
    Job { files: ids.map(|id| vec![id]).collect(), ..Job::month(label, 0..1) }
}

#[test]
fn a_load_that_brings_another_spec_says_so() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..4).land(&lake);
    assert!(Job::month("2024-02", 0..4).begin(&lake).unwrap().changes().is_empty());
    let other = Job::month("2024-02", 0..4).partition("name", Transform::Identity);
    let said = other.begin(&lake).unwrap().changes().join(" ");
    let now = "new files are partitioned by identity(_lakehost_window), identity(name), those before by identity(_lakehost_window) ";
    assert!(said.starts_with(now), "{said}");
    lake.set_partitioning(&table(), &by("name", Transform::Identity)).unwrap();
    assert!(other.begin(&lake).unwrap().changes().is_empty());
}

#[test]
fn later_loads_take_the_new_spec_and_replace_files_of_the_old_one() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..4).land(&lake);
    Job::month("2024-02", 10..15).land(&lake);
    let done = lake.set_partitioning(&table(), &by("id", Transform::Identity)).unwrap();
    assert_eq!((done.changed, done.before.join(" ")), (true, "identity(_lakehost_window)".to_owned()));
    assert_eq!(done.now, ["identity(_lakehost_window)", "identity(id)"]);
    assert!(!lake.set_partitioning(&table(), &by("id", Transform::Identity)).unwrap().changed);
    // Nothing has moved yet.
    assert_eq!(specs(&world, &lake), [(0, 4), (0, 5)]);
    scattered("2024-01", 0..3).land(&lake);
    assert_eq!(specs(&world, &lake), [(0, 5), (1, 1), (1, 1), (1, 1)]);
    assert_eq!(rows(&world, &lake), [("2024-01".to_owned(), 3), ("2024-02".to_owned(), 5)].into());

    // A compaction brings the rest under the new spec, and then there is nothing left to do.
    let done = compact(&lake, CompactOptions { min_files: 100, ..CompactOptions::default() });
    assert_eq!((done.files_before, done.files_after, done.rows, done.bins_lost), (1, 5, 5, 0));
    assert_eq!(specs(&world, &lake), [(1, 1); 8]);
    assert_eq!(compact(&lake, CompactOptions::default()), Compacted::default());
    assert_eq!(rows(&world, &lake), [("2024-01".to_owned(), 3), ("2024-02".to_owned(), 5)].into());

    // The first spec again, by its own id; a window whose files are of both is replaced whole.
    let done = lake.set_partitioning(&table(), &[]).unwrap();
    assert_eq!((done.changed, done.now.join(" ")), (true, "identity(_lakehost_window)".to_owned()));
    Job::month("2024-01", 70..72).mode(WriteMode::Append).land(&lake);
    assert_eq!(rows(&world, &lake)["2024-01"], 5);
    Job::month("2024-01", 80..87).land(&lake);
    assert_eq!(rows(&world, &lake), [("2024-01".to_owned(), 7), ("2024-02".to_owned(), 5)].into());
    let done = compact(&lake, CompactOptions { window: Some("2024-02".to_owned()), ..CompactOptions::default() });
    assert_eq!((done.files_before, done.files_after, done.rows), (5, 1, 5));
    assert_eq!(specs(&world, &lake), [(0, 5), (0, 7)]);
    world.check_no_orphans(&lake);

    let read = readers::read(&world, "raw.trips");
    let ids: BTreeSet<&str> =
        read["refs"]["main"]["duckdb"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(ids, ["10", "11", "12", "13", "14", "80", "81", "82", "83", "84", "85", "86"].into());
}

#[test]
fn others_read_a_table_of_two_specs() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..4).land(&lake);
    lake.set_partitioning(&table(), &by("id", Transform::Identity)).unwrap();
    scattered("2024-02", 10..12).land(&lake);
    lake.change_columns(&table(), &[("label".to_owned(), "name".to_owned())], &["id".to_owned()]).unwrap();
    // DuckDB reads a snapshot under the columns of its time, so there has to be one of this time.
    let last = RowFilter::Compare { column: "id".into(), op: CompareOp::Eq, value: FilterValue::Int(3) };
    lake.delete_where(&table(), &last, &DeleteOptions::default()).unwrap();
    assert_eq!(specs(&world, &lake), [(0, 3), (1, 1), (1, 1)]);
    let read = readers::read(&world, "raw.trips");
    let seen: Vec<(&str, &str)> = read["refs"]["main"]["duckdb"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap(), row[1].as_str().unwrap()))
        .collect();
    let wanted = ["0", "1", "10", "11", "2"].map(|id| (id, format!("name {id}")));
    assert_eq!(seen, wanted.each_ref().map(|(id, name)| (*id, name.as_str())));
    assert_eq!(read["fields"][1][1], "label");
}

#[test]
fn what_a_table_cannot_be_split_or_sorted_by_is_refused() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..4).land(&lake);
    for (fields, problem) in [
        (by("ids", Transform::Identity), "the partition field ids names no column"),
        (by("name", Transform::Day), "day() does not take column name of type Utf8"),
        (by("_lakehost_window", Transform::Month), "files are split by _lakehost_window anyway"),
    ] {
        let error = lake.set_partitioning(&table(), &fields).unwrap_err();
        assert_eq!((error.code().0, error.to_string().as_str()), ("LH0101", problem));
        assert!(error.hint().is_some());
    }
    for (keys, problem) in [
        (vec![key("fare", false)], "table raw.trips has no column fare to sort by"),
        (vec![key("id", false), key("id", true)], "column id is there twice"),
    ] {
        let error = lake.set_sort_order(&table(), &keys).unwrap_err();
        assert_eq!((error.code().0, error.to_string().as_str()), ("LH0101", problem));
    }
    assert_eq!(lake.describe(&table()).unwrap().sort, Vec::<String>::new());
}

/// The ids of each file in its own order.
fn ids_of_files(world: &World, lake: &IcebergLake) -> Vec<Vec<i64>> {
    let state = lake.state(&table()).unwrap();
    let reader = world.runtime.block_on(Reader::of(&lake.core, &state)).unwrap();
    live(world, lake)
        .iter()
        .map(|live| {
            let mut ids = Vec::new();
            each_batch(&lake.core, &state, &reader, live.file.file_path(), &["id"], |batch| {
                ids.extend(batch.column(0).as_primitive::<Int64Type>().values());
                Ok::<_, crate::Error>(())
            })
            .unwrap();
            ids
        })
        .collect()
}

#[test]
fn a_compaction_sorts_by_the_tables_order_and_says_so() {
    let world = World::new();
    let lake = world.lake();
    scattered("2024-01", 0..6).land(&lake);
    let done = lake.set_sort_order(&table(), &[key("name", true), key("at", false)]).unwrap();
    assert_eq!((done.changed, done.now.join(", ")), (true, "name desc, at".to_owned()));
    let done = lake.set_sort_order(&table(), &[key("id", true)]).unwrap();
    assert_eq!((done.before.join(", "), done.now.join(", ")), ("name desc, at".to_owned(), "id desc".to_owned()));
    assert!(!lake.set_sort_order(&table(), &[key("id", true)]).unwrap().changed);
    compact(&lake, CompactOptions::default());
    assert_eq!(ids_of_files(&world, &lake), [[5, 4, 3, 2, 1, 0]]);
    assert_eq!(live(&world, &lake)[0].file.sort_order_id(), Some(2));
    // Another order for once: it is the table's first one.
    let sort = Some(vec![key("name", true), key("at", false)]);
    compact(&lake, CompactOptions { sort, ..CompactOptions::default() });
    assert_eq!(live(&world, &lake)[0].file.sort_order_id(), Some(1));
    // One that the table has no name for.
    compact(&lake, CompactOptions { sort: Some(vec![key("id", false)]), ..CompactOptions::default() });
    assert_eq!(ids_of_files(&world, &lake), [[0, 1, 2, 3, 4, 5]]);
    assert_eq!(live(&world, &lake)[0].file.sort_order_id(), None);
    assert_eq!(lake.set_sort_order(&table(), &[]).unwrap().now, Vec::<String>::new());
    world.check_no_orphans(&lake);
    let read = readers::read(&world, "raw.trips");
    assert_eq!(read["refs"]["main"]["duckdb"].as_array().unwrap().len(), 6);
}

#[test]
fn a_file_that_is_far_too_large_is_taken_apart_once() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..20_000).land(&lake);
    // As this host writes files, and not as the test does.
    compact(&lake, CompactOptions { sort: Some(vec![key("id", true)]), ..CompactOptions::default() });
    let bytes = live(&world, &lake)[0].file.file_size_in_bytes();
    let options = |target_bytes| CompactOptions { target_bytes, min_files: 2, ..CompactOptions::default() };
    assert_eq!(compact(&lake, options(bytes * 10 / 17)), Compacted::default());
    let done = compact(&lake, options(bytes / 3));
    assert_eq!((done.files_before, done.rows), (1, 20_000));
    assert!((3..=5).contains(&done.files_after), "{done:?}");
    assert_eq!(ids_of_files(&world, &lake).into_iter().flatten().collect::<BTreeSet<_>>().len(), 20_000);
    assert!(live(&world, &lake).iter().all(|live| live.file.file_size_in_bytes() < bytes / 3 * 9 / 5));
    // One row cannot be taken apart, however small the files are to be.
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..1).land(&lake);
    assert_eq!(compact(&lake, options(100)), Compacted::default());
    world.check_no_orphans(&lake);
}

#[test]
fn columns_are_renamed_made_optional_and_dropped() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..4).land(&lake);
    let rename = |new: &str, old: &str| lake.change_columns(&table(), &[(new.to_owned(), old.to_owned())], &[]);
    let drop_one = |name: &str| lake.drop_columns(&table(), &[name.to_owned()]);
    assert!(rename("label", "name").unwrap());
    assert!(!rename("label", "name").unwrap());
    // What lakehost makes is optional from the start.
    assert!(!lake.change_columns(&table(), &[], &["id".to_owned()]).unwrap());
    for (done, problem) in [
        (rename("x", "nope"), "table raw.trips has no column nope to be named x"),
        (rename("at", "label"), "table raw.trips has both columns, label and at"),
        (rename("AT", "label"), "table raw.trips has a column at that differs from AT only in case"),
        (rename("w", "_lakehost_window"), "table raw.trips cannot have column _lakehost_window under the name `w`"),
        (rename("a\u{1b}", "label"), "table raw.trips cannot have column label under the name `a\\u{1b}`"),
        (drop_one("nope"), "table raw.trips has no column nope"),
        (drop_one("_lakehost_window"), "table raw.trips cannot lose column _lakehost_window: it is lakehost's own"),
    ] {
        let error = done.unwrap_err();
        assert_eq!((error.code().0, error.to_string().as_str()), ("LH0603", problem));
    }
    lake.set_partitioning(&table(), &by("id", Transform::Identity)).unwrap();
    lake.set_sort_order(&table(), &[key("at", false)]).unwrap();
    for (name, why) in [("id", "the table is or was partitioned by it"), ("at", "the table is sorted by it")] {
        let error = drop_one(name).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(drop_one("label").unwrap());
    let shown: Vec<String> = lake.describe(&table()).unwrap().columns.into_iter().map(|column| column.name).collect();
    assert_eq!(shown, ["id", "at", "_lakehost_window"]);
    // The file still has it, and a compaction under the new spec leaves it behind.
    let done = compact(&lake, CompactOptions::default());
    assert_eq!((done.files_before, done.files_after, done.rows), (1, 4, 4));
    let read = readers::read(&world, "raw.trips");
    let rows = read["refs"]["main"]["duckdb"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row.as_array().unwrap().len()).collect::<Vec<_>>(), [3; 4]);
}
