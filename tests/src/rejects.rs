//! Rejected rows: as many as DuckDB counts, each as it stood in the file, replaced with their window.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::audit::{month, one, pipeline};
use crate::support::{Bench, data, expect, python, read};

const JANUARY: &str = "green_tripdata_2024-01.parquet";
const CLEANER: &str = "[[pipeline.green.cleaner]]\nplugin = \"trip_cleaner.wasm\"\n";

/// The files of the table of rejected rows, for DuckDB.
fn files(bench: &Bench) -> String {
    bench.dir.path().join("warehouse/clean/green_trips__rejected/data/**/*.parquet").display().to_string()
}

#[test]
fn rejected_rows_are_those_of_the_file() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[JANUARY])?;
    pipeline(&bench, CLEANER)?;
    let done = bench.run(&["run", "green", "--month", "2024-01", "--format", "json"])?;
    expect(&done, 0, &["loaded"]);
    let window = done.json()?["windows"][0].clone();
    let counted = window["rows_rejected"].as_object().cloned().context("no rejected rows")?;

    let file = data().join(JANUARY).display().to_string();
    let clean = ["--clean", "lpep_pickup_datetime", "lpep_dropoff_datetime", "2024-01-01", "2024-02-01"];
    let truth = read(&python, "read_table.py", &[&["--file", &file], &clean[..]].concat())?;
    assert_eq!(Value::from(counted.clone()), truth["rejected"], "the report against DuckDB's count");

    // What the table holds, by this binary and by DuckDB over its files.
    let rejected: u64 = counted.values().filter_map(Value::as_u64).sum();
    assert_eq!(one(&bench, "select count(*) as n from clean.green_trips__rejected", &[])?, rejected);
    let by_rule = format!("select rule, count(*) from '{}' group by 1 order by 1", files(&bench));
    let by_rule = read(&python, "duck.py", &[&by_rule])?;
    let wanted: Vec<Value> = counted.iter().map(|(rule, rows)| serde_json::json!([rule, rows.to_string()])).collect();
    let mut found = by_rule.as_array().cloned().unwrap_or_default();
    found.sort_by_key(Value::to_string);
    let mut wanted_sorted = wanted;
    wanted_sorted.sort_by_key(Value::to_string);
    assert_eq!(found, wanted_sorted);

    // Each row as JSON is the row of the file at that position, value by value.
    let differ = format!(
        "with source as (select row_number() over () - 1 as place, * from '{file}'), \
         kept as (select source_row as place, row::json as j, load_id, plugin, source_file from '{}') \
         select count(*), count(*) filter (where \
           cast(j->>'fare_amount' as double) is not distinct from fare_amount and \
           cast(j->>'VendorID' as integer) is not distinct from \"VendorID\" and \
           cast(j->>'payment_type' as double) is not distinct from payment_type and \
           cast(j->>'trip_distance' as double) is not distinct from trip_distance and \
           cast(j->>'lpep_pickup_datetime' as timestamp) is not distinct from lpep_pickup_datetime and \
           (j->>'store_and_fwd_flag') is not distinct from store_and_fwd_flag), \
         count(distinct load_id), min(plugin), min(source_file) from kept join source using (place)",
        files(&bench)
    );
    let answer = read(&python, "duck.py", &["set preserve_insertion_order = true", "set threads = 1", &differ])?;
    let rows = rejected.to_string();
    assert_eq!(answer[0][0], rows.as_str());
    assert_eq!(answer[0][1], rows.as_str(), "rows as JSON against the file");
    assert_eq!(answer[0][2], "1");
    assert!(answer[0][3].as_str().unwrap_or_default().starts_with("trip_cleaner@"), "{answer}");
    assert_eq!(answer[0][4], JANUARY);

    // A reader of its own.
    let seen = bench.read_table(&python, "clean.green_trips__rejected")?;
    assert_eq!(seen["pyiceberg"]["rows"], rejected);

    // The verbs.
    let list = bench.run(&["rejects", "list", "--format", "json"])?.json()?;
    assert_eq!(
        (&list["tables"][0]["table"], &list["tables"][0]["rows"]),
        (&"clean.green_trips".into(), &rejected.into())
    );
    let show = bench.run(&[
        "rejects",
        "show",
        "clean.green_trips",
        "--rule",
        "negative_amount",
        "--limit",
        "2",
        "--format",
        "json",
    ])?;
    let rows = show.json()?["rows"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 2, "{}{}", show.stdout, show.stderr);
    assert!(
        rows.iter().all(|row| row["rule"] == "negative_amount" && row["row"]["fare_amount"].is_number()),
        "{rows:?}"
    );
    let none = bench.run(&["rejects", "show", "clean.green_trips", "--window", "2024-02", "--format", "json"])?;
    assert_eq!(none.json()?["rows"].as_array().map(Vec::len), Some(0));
    Ok(())
}

#[test]
fn rejected_rows_go_with_their_window() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    pipeline(&bench, CLEANER)?;
    let in_month = |label: &str, fare: &str| {
        month(
            &bench,
            &python,
            label,
            &format!(
                "select * replace (timestamp '{label}-05' as lpep_pickup_datetime, timestamp '{label}-06' as lpep_dropoff_datetime, \
                 1.0::double as trip_distance, ({fare})::double as fare_amount, 5.0::double as total_amount) from {{january}} limit 100"
            ),
        )
    };
    in_month("2024-01", "case when row_number() over () <= 10 then -1.0 else 1.0 end")?;
    in_month("2024-02", "case when row_number() over () <= 20 then -1.0 else 1.0 end")?;
    let run = || bench.run(&["run", "green", "--month", "2024-01..2024-02", "--format", "json"]);
    let rejected = || one(&bench, "select count(*) as n from clean.green_trips__rejected", &[]);
    expect(&run()?, 0, &["loaded", "loaded"]);
    assert_eq!(rejected()?, 30);
    // A better February takes the place of the old one, rejected rows included.
    in_month("2024-02", "case when row_number() over () <= 3 then -1.0 else 1.0 end")?;
    expect(&run()?, 0, &["already-loaded", "loaded"]);
    assert_eq!(rejected()?, 13);
    // And a good January has none.
    in_month("2024-01", "1.0")?;
    expect(&run()?, 0, &["loaded", "already-loaded"]);
    assert_eq!(rejected()?, 3);
    Ok(())
}

#[test]
fn too_many_rejected_rows_leave_both_tables_as_they_were() -> Result<()> {
    let bench = Bench::serving(&[JANUARY])?;
    pipeline(&bench, &format!("max_rejected = \"0.1%\"\n{CLEANER}"))?;
    let done = bench.run(&["run", "green", "--month", "2024-01", "--format", "json"])?;
    expect(&done, 5, &["failed"]);
    assert_eq!(done.error_code(), "LH0404");
    let tables = bench.run(&["table", "list", "--format", "json"])?.json()?;
    assert_eq!(tables["tables"].as_array().map(Vec::len), Some(0), "{tables}");
    pipeline(&bench, &format!("quarantine = false\n{CLEANER}"))?;
    expect(&bench.run(&["run", "green", "--month", "2024-01", "--format", "json"])?, 0, &["loaded"]);
    let tables = bench.run(&["table", "list", "--format", "json"])?.json()?;
    assert_eq!(tables["tables"].as_array().map(Vec::len), Some(1), "{tables}");
    Ok(())
}
