//! Ranges of months: order, what stops a range, what does not.

use anyhow::Result;

use crate::support::{Bench, expect, python};

const MONTHS: [&str; 6] = [
    "yellow_tripdata_2024-01.parquet",
    "yellow_tripdata_2024-02.parquet",
    "yellow_tripdata_2024-03.parquet",
    "yellow_tripdata_2024-04.parquet",
    "yellow_tripdata_2024-05.parquet",
    "yellow_tripdata_2024-06.parquet",
];

#[test]
fn six_months_are_six_windows_and_six_snapshots() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&MONTHS)?;
    let cleaner = ["--cleaner", "trip_cleaner.wasm", "--table", "clean.yellow_trips", "--metadata-columns"];
    let done = bench.load("yellow", "2024-01..2024-06", &cleaner)?;
    expect(&done, 0, &["loaded"; 6]);
    let totals = done.json()?["totals"].clone();
    assert_eq!(totals["rows_read"], 10_000);
    let rejected: u64 = totals["rows_rejected"].as_object().unwrap().values().filter_map(|rows| rows.as_u64()).sum();
    assert_eq!(totals["rows_written"].as_u64().unwrap() + rejected, 10_000);
    let seen = bench.read_table(&python, "clean.yellow_trips")?;
    assert_eq!(seen["snapshots"], 6);
    assert_eq!(seen["pyiceberg"]["rows"], totals["rows_written"]);
    assert_eq!(seen["pyiceberg"]["columns"]["ingested_at"][0], totals["rows_written"]);
    // A repeated range loads nothing, a wider one loads what is missing, and --only-missing leaves the rest alone.
    expect(&bench.load("yellow", "2024-01..2024-06", &cleaner)?, 0, &["already-loaded"; 6]);
    Ok(())
}

#[test]
fn a_month_that_is_not_published_stops_the_range_unless_told_to_go_on() -> Result<()> {
    let bench = Bench::serving(&[MONTHS[0], MONTHS[2]])?;
    let done = bench.load("yellow", "2024-01..2024-03", &[])?;
    expect(&done, 4, &["loaded", "not-published", "skipped"]);
    assert_eq!(done.error_code(), "LH0301");
    let done = bench.load("yellow", "2024-01..2024-03", &["--keep-going"])?;
    expect(&done, 4, &["already-loaded", "not-published", "loaded"]);
    let done = bench.load("yellow", "2024-01..2024-03", &["--keep-going", "--only-missing"])?;
    expect(&done, 4, &["skipped", "not-published", "skipped"]);
    Ok(())
}

#[test]
fn a_dry_run_changes_nothing() -> Result<()> {
    let bench = Bench::serving(&[MONTHS[0]])?;
    expect(&bench.load("yellow", "2024-01", &["--dry-run"])?, 0, &["skipped"]);
    let tables = bench.run(&["table", "list"])?;
    assert!(!tables.stdout.contains("yellow"), "{}", tables.stdout);
    expect(&bench.load("yellow", "2024-01", &[])?, 0, &["loaded"]);
    Ok(())
}
