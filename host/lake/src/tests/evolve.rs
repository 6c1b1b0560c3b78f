//! Columns that come, widen and change their names.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakehost_columnar::{Transform, WrittenFile};
use lakehost_pipeline::WINDOW_COLUMN;
use lakehost_pipeline::contract::{Contract, OnDrift};
use lakehost_pipeline::ports::{CommitRequest, Committed, Load, WriteMode};
use parquet::arrow::ArrowWriter;

use super::readers;
use super::support::*;
use crate::evolve::{change, evolve};

fn columns(fields: &[(&str, DataType)], windowed: bool) -> SchemaRef {
    let mut fields: Vec<Field> = fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    if windowed {
        fields.push(Field::new(WINDOW_COLUMN, DataType::Date32, true));
    }
    Arc::new(Schema::new(fields))
}

fn old() -> SchemaRef {
    columns(&[("id", DataType::Int32), ("price", DataType::Float32), ("due", DataType::Decimal128(9, 2))], true)
}

/// A month of rows with these columns under a contract.
fn job(label: &str, schema: SchemaRef, contract: Contract) -> Job {
    let mut job = Job::month(label, 0..1);
    job.target.schema = schema;
    job.target.contract = contract;
    job
}

/// A file of rows as a split holds them, in the columns that the load has now.
fn write(job: &Job, load: &dyn Load, batch: &RecordBatch) -> WrittenFile {
    let columns: Vec<ArrayRef> = load
        .schema()
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match batch.column_by_name(field.name()) {
                Some(column) => arrow_cast::cast(column, field.data_type()).unwrap(),
                None if field.name() == WINDOW_COLUMN => Arc::new(Date32Array::from_value(
                    job.target.window.as_ref().unwrap().start_days(),
                    batch.num_rows(),
                )),
                None => new_null_array(field.data_type(), batch.num_rows()),
            }
        })
        .collect();
    let batch = RecordBatch::try_new(Arc::clone(load.schema()), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(load.schema()), None).unwrap();
    writer.write(&batch).unwrap();
    let footer = writer.finish().unwrap();
    drop(writer);
    let (location, mut sink) = load.sinks().create().unwrap();
    sink.write_all(&bytes).unwrap();
    sink.finish().unwrap();
    let rows = batch.num_rows() as u64;
    WrittenFile { location, size_bytes: bytes.len() as u64, footer: Arc::new(footer), partition: Vec::new(), rows }
}

fn request(job: &Job, files: Vec<WrittenFile>) -> CommitRequest {
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    CommitRequest {
        load_id: job.load_id.clone(),
        run_id: job.run_id.clone(),
        rows_read: rows,
        rows_written: rows,
        files,
        ..CommitRequest::default()
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn narrow(ids: &[i32]) -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int32Array::from(ids.to_vec()))),
        ("price", Arc::new(Float32Array::from_iter_values(ids.iter().map(|id| *id as f32 + 0.5)))),
    ])
}

fn wide(ids: &[i64]) -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("price", Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| *id as f64 + 0.25)))),
        ("fee", Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| *id as f64)))),
    ])
}

fn shown(world: &World) -> Vec<String> {
    let details = world.lake().describe(&table()).unwrap();
    details.columns.iter().map(|column| format!("{} {} {}", column.field_id, column.name, column.data_type)).collect()
}

#[test]
fn what_a_contract_makes_of_a_column() {
    let world = World::new();
    let lake = world.lake();
    let mut first = job("2024-01", old(), Contract::default());
    first.files = Vec::new();
    first.land(&lake);
    let state = lake.state(&table()).unwrap();
    let nested =
        DataType::Struct(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)].into());
    use OnDrift::{DiscardRow, DiscardValue, Evolve, Freeze};
    let cases: Vec<(&str, DataType, OnDrift, Result<&str, &str>)> = vec![
        ("id", DataType::Int32, Evolve, Ok("")),
        ("id", DataType::Int16, Evolve, Ok("")),
        ("id", DataType::Int64, Evolve, Ok("id int long")),
        ("price", DataType::Float64, Evolve, Ok("price float double")),
        ("due", DataType::Decimal128(12, 2), Evolve, Ok("due decimal(9, 2) decimal(12, 2)")),
        // Neither loses digits nor changes what is there: the cast decides value by value.
        ("due", DataType::Decimal128(12, 3), Evolve, Ok("")),
        ("id", DataType::Utf8, Evolve, Ok("")),
        ("fee", DataType::Float64, Evolve, Ok("+fee")),
        ("fee", DataType::Null, Evolve, Ok("")),
        ("spot", nested, Evolve, Ok("+spot")),
        ("Price", DataType::Float64, Evolve, Err("it differs from column price only in case")),
        ("span", DataType::Interval(arrow_schema::IntervalUnit::DayTime), Evolve, Err("Iceberg has no such type")),
        ("_lakehost_window", DataType::Utf8, Evolve, Ok("")),
        ("fee", DataType::Float64, Freeze, Ok("")),
        ("fee", DataType::Float64, DiscardRow, Ok("")),
        ("id", DataType::Int64, DiscardValue, Ok("")),
    ];
    for (name, kind, on_drift, wanted) in cases {
        let found = columns(&[(name, kind.clone())], false);
        let ended = evolve(&table(), &state.metadata, &found, &Contract::all(on_drift), "may.parquet");
        match (ended, wanted) {
            (Ok(done), Ok(wanted)) => {
                let added = done.added.iter().map(|name| format!("+{name}"));
                let widened = done.widened.iter().map(|(name, from, to)| format!("{name} {from} {to}"));
                assert_eq!(added.chain(widened).collect::<Vec<_>>().join(","), wanted, "{name} {kind} {on_drift}");
                assert_eq!(done.schema.is_some(), !wanted.is_empty());
            }
            (Err(error), Err(wanted)) => {
                use lakehost_pipeline::Diagnostic;
                let cause = error.cause().unwrap();
                assert!(cause.contains(wanted), "{cause}");
                assert_eq!(error.code().0, "LH0405");
                assert!(error.inputs().contains(&("file".to_owned(), "may.parquet".to_owned())));
            }
            (ended, _) => panic!("{name} {kind}: {ended:?}"),
        }
    }
}

#[test]
fn columns_come_and_widen_in_the_commit_of_their_rows() {
    let world = World::new();
    let lake = world.lake();
    let first = job("2024-01", old(), Contract::default());
    let load = first.begin(&lake).unwrap();
    let file = write(&first, load.as_ref(), &narrow(&[1, 2]));
    load.commit(request(&first, vec![file])).unwrap();

    let second = job("2024-02", old(), Contract::all(OnDrift::Evolve));
    let mut load = second.begin(&lake).unwrap();
    let mut files = vec![write(&second, load.as_ref(), &narrow(&[3]))];
    load.evolve(wide(&[]).schema().as_ref(), "b.parquet").unwrap();
    files.push(write(&second, load.as_ref(), &wide(&[4, 1 << 40])));
    // Another month comes first: the columns are changed anew on top of it.
    let between = job("2024-03", old(), Contract::default());
    let other = between.begin(&lake).unwrap();
    let file = write(&between, other.as_ref(), &narrow(&[5]));
    other.commit(request(&between, vec![file])).unwrap();
    let before = lake.state(&table()).unwrap();
    assert!(matches!(load.commit(request(&second, files)).unwrap(), Committed::Landed { .. }));

    let wanted = ["1 id long", "2 price double", "3 due decimal(9, 2)", "4 _lakehost_window date", "5 fee double"];
    assert_eq!(shown(&world), wanted);
    let state = lake.state(&table()).unwrap();
    assert_eq!(state.metadata.snapshots().len(), before.metadata.snapshots().len() + 1, "one commit");
    assert_eq!(state.metadata.metadata_log().len(), before.metadata.metadata_log().len() + 1, "one commit");
    assert_eq!(state.main().unwrap().schema_id(), Some(state.metadata.current_schema_id()));
    world.check_no_orphans(&lake);

    // A source that still promises the narrow columns loads on; its window of old rows is replaced under the new columns.
    let again = job("2024-01", old(), Contract::default());
    let load = again.begin(&lake).unwrap();
    let file = write(&again, load.as_ref(), &narrow(&[7]));
    load.commit(request(&again, vec![file])).unwrap();
    assert_eq!(shown(&world), wanted);

    let read = readers::read(&world, "raw.trips");
    assert_eq!(read["fields"][0], serde_json::json!([1, "id", "long"]));
    let ids: Vec<&str> =
        read["refs"]["main"]["pyiceberg"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(ids, ["1099511627776", "3", "4", "5", "7"]);
}

#[test]
fn a_table_is_born_with_what_its_later_splits_bring() {
    let world = World::new();
    let lake = world.lake();
    let first = job("2024-01", old(), Contract::all(OnDrift::Evolve));
    let mut load = first.begin(&lake).unwrap();
    let mut files = vec![write(&first, load.as_ref(), &narrow(&[1]))];
    load.evolve(wide(&[]).schema().as_ref(), "b.parquet").unwrap();
    files.push(write(&first, load.as_ref(), &wide(&[2])));
    load.commit(request(&first, files)).unwrap();
    assert_eq!(
        shown(&world),
        ["1 id long", "2 price double", "3 due decimal(9, 2)", "4 _lakehost_window date", "5 fee double"]
    );
    assert_eq!(rows(&world, &lake)["2024-01"], 2);
    let state = lake.state(&table()).unwrap();
    assert_eq!(state.metadata.snapshots().len(), 1);
    let read = readers::read(&world, "raw.trips");
    assert_eq!(read["refs"]["main"]["pyiceberg"][1], serde_json::json!(["2", "2.25", "", "2024-01-01", "2.0"]));
}

#[test]
fn what_a_table_is_partitioned_by_keeps_its_type() {
    let world = World::new();
    let lake = world.lake();
    let mut first = job("2024-01", old(), Contract::all(OnDrift::Evolve)).partition("id", Transform::Bucket(4));
    first.files = Vec::new();
    first.land(&lake);
    let next = job("2024-02", old(), Contract::all(OnDrift::Evolve));
    let mut load = next.begin(&lake).unwrap();
    let refused = load.evolve(&columns(&[("id", DataType::Int64)], false), "b.parquet").unwrap_err();
    assert_eq!(refused.code().0, "LH0405");
    assert_eq!(refused.cause().unwrap(), "the file has long, the table has int: the table is partitioned by it");
    // A partition field's name is taken, too.
    let refused = load.evolve(&columns(&[("id_bucket_4", DataType::Int64)], false), "b.parquet").unwrap_err();
    assert!(refused.cause().unwrap().ends_with("a partition field has that name"));
    drop(load);
}

#[test]
fn a_renamed_column_keeps_its_id() {
    let world = World::new();
    let lake = world.lake();
    let first = job("2024-01", old(), Contract::default());
    let load = first.begin(&lake).unwrap();
    let file = write(&first, load.as_ref(), &narrow(&[1]));
    load.commit(request(&first, vec![file])).unwrap();
    let renamed = columns(&[("id", DataType::Int32), ("cost", DataType::Float32)], true);
    for (label, landed) in [("2024-02", true), ("2024-03", true)] {
        let mut next = job(label, Arc::clone(&renamed), Contract::default());
        next.target.renames = vec![("cost".into(), "price".into())];
        let load = next.begin(&lake).unwrap();
        let rows = batch(vec![("cost", Arc::new(Float32Array::from(vec![9.0])))]);
        let file = write(&next, load.as_ref(), &rows);
        assert_eq!(matches!(load.commit(request(&next, vec![file])).unwrap(), Committed::Landed { .. }), landed);
        assert_eq!(shown(&world)[1], "2 cost float");
    }
    let read = readers::read(&world, "raw.trips");
    let costs: Vec<&str> =
        read["refs"]["main"]["duckdb"].as_array().unwrap().iter().map(|row| row[1].as_str().unwrap()).collect();
    assert_eq!(costs, ["9.0", "9.0", "1.5"]);
    lake.change_columns(&table(), &[("price".into(), "cost".into())], &["id".into()]).unwrap();
    assert_eq!(shown(&world)[1], "2 price float");
    let state = lake.state(&table()).unwrap();
    for (renames, text) in [
        (vec![("id".to_owned(), "price".to_owned())], "has both columns, price and id"),
        (vec![("a".to_owned(), "b".to_owned())], "has no column b to be named a"),
    ] {
        let error = change(&table(), &state.metadata, &renames, &[]).unwrap_err();
        assert_eq!(error.to_string(), format!("table raw.trips {text}"));
    }
    // Without the contract's leave nothing changes.
    let mut strict = job("2024-04", columns(&[("fee", DataType::Float64)], true), Contract::default());
    strict.target.mode = WriteMode::ReplaceWindow;
    assert_eq!(strict.begin(&lake).err().unwrap().code().0, "LH0401");
}
