//! Rows that others deleted by position: a compaction takes them out of the data files, and the delete files out of the table.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat};
use lakehost_columnar::NoObserver;
use lakehost_pipeline::ports::TableName;
use parquet::arrow::ArrowWriter;

use super::support::*;
use crate::catalog::Base;
use crate::commit::{Action, Added, Delta, Manifests, NewSnapshot, On, Step};
use crate::inspect::{LiveFile, live_files};
use crate::location::local_path;
use crate::{CompactOptions, Compacted, IcebergLake};

/// What another engine commits: delete files.
struct Deletes(TableName, Vec<Added>);

#[async_trait]
impl Action for Deletes {
    fn table(&self) -> &TableName {
        &self.0
    }

    async fn prepare(&self, on: &On<'_>) -> crate::Result<Step> {
        let mut delta = Delta::on(Base::Existing(on.head.unwrap().clone()));
        delta.snapshot = Some(NewSnapshot { added: self.1.clone(), ..NewSnapshot::on_main(Vec::new()) });
        Ok(Step::Change(Box::new(delta)))
    }
}

fn live(world: &World, lake: &IcebergLake) -> Vec<LiveFile> {
    let state = lake.state(&table()).unwrap();
    world.runtime.block_on(live_files(&Manifests::new(lake.core.io.clone()), &state, state.main())).unwrap()
}

fn of_kind(world: &World, lake: &IcebergLake, kind: DataContentType) -> Vec<LiveFile> {
    live(world, lake).into_iter().filter(|live| live.file.content_type() == kind).collect()
}

/// A position delete file that names rows of some data files of one partition.
fn delete_file(name: &str, from: &[(&LiveFile, &[i64])]) -> DataFile {
    let field = |name: &str, kind: DataType, id: &str| {
        Field::new(name, kind, false).with_metadata([("PARQUET:field_id".to_owned(), id.to_owned())].into())
    };
    let schema = Arc::new(Schema::new(vec![
        field("file_path", DataType::Utf8, "2147483546"),
        field("pos", DataType::Int64, "2147483545"),
    ]));
    let rows: Vec<(&str, i64)> =
        from.iter().flat_map(|(live, rows)| rows.iter().map(|row| (live.file.file_path(), *row))).collect();
    let columns: [ArrayRef; 2] = [
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(path, _)| path))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, row)| *row))),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).unwrap();
    let first = from[0].0;
    let location = format!("{}/{name}.parquet", first.file.file_path().rsplit_once('/').unwrap().0);
    let mut writer = ArrowWriter::try_new(std::fs::File::create(local_path(&location)).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_size_in_bytes(std::fs::metadata(local_path(&location)).unwrap().len())
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition(first.file.partition().clone())
        .partition_spec_id(first.spec.spec_id())
        .record_count(batch.num_rows() as u64)
        .build()
        .unwrap()
}

fn delete(lake: &IcebergLake, files: &[DataFile]) {
    let added = files.iter().map(|file| Added { file: file.clone(), spec_id: None }).collect();
    lake.act(&Deletes(table(), added), "engine").unwrap();
}

/// What `snapshots` says of the head.
fn told(lake: &IcebergLake) -> Option<u64> {
    lake.snapshots(&table()).unwrap().last().unwrap().rows
}

fn compact(lake: &IcebergLake, options: CompactOptions) -> Compacted {
    lake.compact(&table(), &options, &NoObserver).unwrap()
}

#[test]
fn a_compaction_takes_deleted_rows_and_their_delete_files() {
    let world = World::new();
    let lake = world.lake();
    Job { files: vec![(0..10).collect(), (10..20).collect()], ..Job::month("2024-01", 0..1) }.land(&lake);
    Job::month("2024-02", 100..110).land(&lake);
    let data = of_kind(&world, &lake, DataContentType::Data);
    let of = |month: usize| -> Vec<&LiveFile> {
        let january = |live: &&LiveFile| live.file.partition() == data[0].file.partition();
        let (first, other): (Vec<_>, Vec<_>) = data.iter().partition(january);
        let [january, february] = if first.len() == 2 { [first, other] } else { [other, first] };
        [january, february][month].clone()
    };
    // One delete file for two data files, one for a third.
    let (january, february) = (of(0), of(1));
    delete(
        &lake,
        &[
            delete_file("january", &[(january[0], &[0, 1, 2]), (january[1], &[9])]),
            delete_file("february", &[(february[0], &[4, 5])]),
        ],
    );
    let before = rows(&world, &lake);
    assert_eq!((before["2024-01"], before["2024-02"], told(&lake)), (16, 8, Some(24)));

    // January alone: February's delete file is still needed, and the rows are known all the same.
    let options = CompactOptions { window: Some("2024-01".to_owned()), ..CompactOptions::default() };
    let dry = compact(&lake, CompactOptions { dry_run: true, ..options.clone() });
    assert_eq!((dry.files_before, dry.deletes_dropped, dry.snapshots.len()), (2, 1, 0));
    let done = compact(&lake, options);
    assert_eq!((done.files_before, done.files_after, done.rows, done.deletes_dropped), (2, 1, 16, 1));
    assert_eq!(of_kind(&world, &lake, DataContentType::PositionDeletes).len(), 1);
    assert_eq!((rows(&world, &lake), told(&lake)), (before.clone(), Some(24)));

    // The rest: nothing is left that deletes, and every count is that of the rows.
    let done = compact(&lake, CompactOptions::default());
    assert_eq!((done.rows, done.deletes_dropped), (8, 1));
    assert!(of_kind(&world, &lake, DataContentType::PositionDeletes).is_empty());
    let state = lake.state(&table()).unwrap();
    for (name, expected) in [
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-records", 24),
        ("removed-delete-files", 1),
        ("removed-position-deletes", 2),
    ] {
        assert_eq!(counter(&state, name), Some(expected), "{name}");
    }
    assert_eq!((rows(&world, &lake), told(&lake)), (before, Some(24)));
    world.check_no_orphans(&lake);
    let read = super::readers::read(&world, "raw.trips");
    assert_eq!(read["refs"]["main"]["duckdb"].as_array().unwrap().len(), 24);
    assert_eq!(compact(&lake, CompactOptions::default()), Compacted::default(), "nothing is left to do");
}

#[test]
fn delete_files_that_were_left_behind_go_by_themselves() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let old = of_kind(&world, &lake, DataContentType::Data);
    let left = delete_file("left", &[(&old[0], &[0, 1])]);
    delete(&lake, &[left]);
    // The window is loaded again: the load replaces its data file and whatever delete file lies in the window.
    Job::month("2024-01", 0..10).land(&lake);
    let kept = of_kind(&world, &lake, DataContentType::PositionDeletes).len() as u64;
    let done = compact(&lake, CompactOptions::default());
    assert_eq!((done.files_before, done.deletes_dropped, done.snapshots.len() as u64), (0, kept, kept));
    assert!(of_kind(&world, &lake, DataContentType::PositionDeletes).is_empty());
    assert_eq!((rows(&world, &lake)["2024-01"], told(&lake)), (10, Some(10)));
    world.check_metadata(&lake);
}

#[test]
fn rows_that_are_deleted_while_files_are_written_stay_deleted() {
    let world = World::new();
    let lake = world.lake();
    Job { files: (0..6).map(|id| vec![id, id + 10]).collect(), ..Job::month("2024-01", 0..1) }.land(&lake);
    let data = of_kind(&world, &lake, DataContentType::Data);
    delete(&lake, &[delete_file("first", &[(&data[0], &[0])])]);
    let meanwhile = super::compact::Meanwhile::new(|| {
        delete(&world.lake(), &[delete_file("second", &[(&data[1], &[1])])]);
    });
    let done = lake.compact(&table(), &CompactOptions::default(), &meanwhile).unwrap();
    assert_eq!((done.bins_lost, done.deletes_dropped), (1, 0));
    assert_eq!((rows(&world, &lake)["2024-01"], told(&lake)), (10, Some(10)));
    let done = compact(&lake, CompactOptions::default());
    assert_eq!((done.rows, done.deletes_dropped), (10, 2));
    assert_eq!((rows(&world, &lake)["2024-01"], told(&lake)), (10, Some(10)));
    world.check_no_orphans(&lake);
}
