//! The genuine green month: what independent readers find in the table is what DuckDB computes straight from the file.

use anyhow::Result;
use serde_json::Value;

use crate::support::{Bench, data, expect, python, read};

const MONTH: &str = "green_tripdata_2024-01.parquet";

fn without_host_columns(seen: &Value) -> Value {
    let mut columns = seen["columns"].clone();
    if let Some(columns) = columns.as_object_mut() {
        columns.remove("_lakehost_window");
        columns.remove("cbd_congestion_fee");
    }
    columns
}

fn from_file(python: &std::path::Path, clean: bool) -> Result<Value> {
    let file = data().join(MONTH).display().to_string();
    let mut args = vec!["--file", &file];
    if clean {
        args.extend(["--clean", "lpep_pickup_datetime", "lpep_dropoff_datetime", "2024-01-01", "2024-02-01"]);
    }
    read(python, "read_table.py", &args)
}

#[test]
fn as_it_is_every_reader_sees_the_file() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    let done = bench.load("green", "2024-01", &[])?;
    expect(&done, 0, &["loaded"]);
    let report = done.json()?;
    assert_eq!(report["windows"][0]["path"], "as-is");
    assert_eq!(report["totals"]["rows_written"], 56_551);

    let truth = from_file(&python, false)?;
    let seen = bench.read_table(&python, "raw.green_trips")?;
    assert_eq!(seen["pyiceberg"]["rows"], truth["rows"]);
    assert_eq!(without_host_columns(&seen["pyiceberg"]), truth["columns"]);
    assert_eq!(seen["pyiceberg"]["windows"], serde_json::json!({"2024-01-01": 56_551}));

    // Twice the same command: one snapshot, nothing downloaded.
    let requests = bench.server.requests().iter().filter(|request| request.method == "GET").count();
    expect(&bench.load("green", "2024-01", &[])?, 0, &["already-loaded"]);
    let after = bench.server.requests().iter().filter(|request| request.method == "GET").count();
    assert_eq!(after, requests, "an unchanged file was downloaded again");
    assert_eq!(bench.read_table(&python, "raw.green_trips")?["snapshots"], 1);
    Ok(())
}

#[test]
fn cleaned_every_reader_sees_what_sql_computes() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    let more = ["--cleaner", "trip_cleaner.wasm", "--table", "clean.green_trips"];
    let done = bench.load("green", "2024-01", &more)?;
    expect(&done, 0, &["loaded"]);
    let truth = from_file(&python, true)?;
    let report = done.json()?;
    assert_eq!(report["totals"]["rows_rejected"], truth["rejected"], "rejected by rule");
    assert_eq!(report["totals"]["rows_read"], truth["read"]);
    assert_eq!(report["totals"]["rows_written"], truth["rows"]);
    let seen = bench.read_table(&python, "clean.green_trips")?;
    assert_eq!(without_host_columns(&seen["pyiceberg"]), truth["columns"]);
    expect(&bench.load("green", "2024-01", &more)?, 0, &["already-loaded"]);
    // By day: the same rows in one file a day.
    let by_day = [
        "--cleaner",
        "trip_cleaner.wasm",
        "--table",
        "daily.green_trips",
        "--partition-by",
        "day(lpep_pickup_datetime)",
    ];
    expect(&bench.load("green", "2024-01", &by_day)?, 0, &["loaded"]);
    let daily = bench.read_table(&python, "daily.green_trips")?;
    assert_eq!(daily["pyiceberg"]["columns"], seen["pyiceberg"]["columns"]);
    assert_eq!(daily["files"].as_array().map(Vec::len), Some(31));
    Ok(())
}

#[test]
fn a_changed_source_replaces_its_window_and_no_other() -> Result<()> {
    let python = python()?;
    let months = ["yellow_tripdata_2024-01.parquet", "yellow_tripdata_2024-02.parquet"];
    let bench = Bench::serving(&months)?;
    expect(&bench.load("yellow", "2024-01..2024-02", &[])?, 0, &["loaded", "loaded"]);
    let before = bench.read_table(&python, "raw.yellow_trips")?;
    // Upstream publishes January again, with other rows.
    std::fs::copy(data().join("yellow_tripdata_2024-03.parquet"), bench.served(months[0]))?;
    expect(&bench.load("yellow", "2024-01..2024-02", &[])?, 0, &["loaded", "already-loaded"]);
    let after = bench.read_table(&python, "raw.yellow_trips")?;
    let march = read(
        &python,
        "read_table.py",
        &["--file", &data().join("yellow_tripdata_2024-03.parquet").display().to_string()],
    )?;
    assert_eq!(after["pyiceberg"]["windows"]["2024-01-01"], march["rows"]);
    assert_eq!(after["pyiceberg"]["windows"]["2024-02-01"], before["pyiceberg"]["windows"]["2024-02-01"]);
    assert_eq!(after["snapshots"], 3);
    assert_eq!(after["operation"], "overwrite");
    assert_eq!(after["summary"]["deleted-data-files"], "1");
    // `--force` loads it once more; the rows stay.
    expect(&bench.load("yellow", "2024-01", &["--force"])?, 0, &["loaded"]);
    let forced = bench.read_table(&python, "raw.yellow_trips")?;
    assert_eq!(forced["pyiceberg"], after["pyiceberg"]);
    assert_eq!(forced["snapshots"], 4);
    Ok(())
}

#[test]
fn the_same_table_name_for_another_load_is_refused() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let done = bench.load("green", "2024-01", &["--cleaner", "trip_cleaner.wasm"])?;
    expect(&done, 2, &["failed"]);
    assert_eq!(done.error_code(), "LH0106");
    Ok(())
}
