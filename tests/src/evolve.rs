//! Months that differ in their columns, under every contract, read back by two independent readers.

use anyhow::Result;
use serde_json::Value;

use crate::audit::{month, one, pipeline};
use crate::support::{Bench, expect, python};

/// Two months: one as it was, and one whose ids are wide and that has two new columns.
fn drifted(python: &std::path::Path, contract: &str) -> Result<Bench> {
    let bench = Bench::serving(&[])?;
    pipeline(&bench, contract)?;
    month(&bench, python, "2024-01", "select * from {january} limit 1000")?;
    month(
        &bench,
        python,
        "2024-02",
        "select * replace (\"VendorID\"::bigint as \"VendorID\"), \
         case when row_number() over () <= 10 then 1.5::double end as new_fee, row_number() over () as sequence from {january} limit 1000",
    )?;
    Ok(bench)
}

fn run(bench: &Bench) -> Result<crate::support::Done> {
    bench.run(&["run", "green", "--month", "2024-01..2024-02", "--format", "json"])
}

#[test]
fn a_table_takes_new_columns_and_old_files_stay_readable() -> Result<()> {
    let python = python()?;
    let bench = drifted(&python, "schema = \"evolve\"\n")?;
    let done = run(&bench)?;
    expect(&done, 0, &["loaded", "loaded"]);
    let note = done.json()?["windows"][1]["note"].as_str().unwrap_or_default().to_owned();
    assert!(note.contains("new column new_fee (Float64)") && note.contains("sequence (Int64)"), "{note}");
    assert_eq!(one(&bench, "select count(new_fee) * 10000 + count(*) as n from clean.green_trips", &[])?, 102_000);
    assert_eq!(one(&bench, "select sum(sequence) as n from clean.green_trips", &[])?, 500_500);
    let seen = bench.read_table(&python, "clean.green_trips")?;
    assert_eq!(seen["pyiceberg"]["rows"], 2_000);
    // Again: nothing to do, in columns and rows.
    expect(&run(&bench)?, 0, &["already-loaded", "already-loaded"]);
    Ok(())
}

#[test]
fn a_frozen_table_refuses_with_both_types_and_the_file() -> Result<()> {
    let python = python()?;
    let bench = drifted(&python, "")?;
    let done = run(&bench)?;
    expect(&done, 5, &["loaded", "failed"]);
    let error = done.json()?["windows"][1]["error"].clone();
    assert_eq!(error["code"], "LH0405");
    assert_eq!(error["cause"], "the file has Float64, the table has no such column");
    assert_eq!(error["inputs"]["file"], "green_tripdata_2024-02.parquet");
    assert_eq!(error["inputs"]["column"], "new_fee");
    assert_eq!(one(&bench, "select count(*) as n from clean.green_trips", &[])?, 1_000);
    Ok(())
}

#[test]
fn rows_or_values_go_where_the_contract_says_so() -> Result<()> {
    let python = python()?;
    let bench = drifted(&python, "schema = \"discard_row\"\ncolumns.sequence.schema = \"discard_value\"\n")?;
    let done = run(&bench)?;
    expect(&done, 0, &["loaded", "loaded"]);
    let window = done.json()?["windows"][1].clone();
    assert_eq!(window["rows_rejected"], serde_json::json!({ "contract:new_fee": 10 }));
    assert_eq!(window["values_discarded"], serde_json::json!({ "sequence": 990 }));
    let sql =
        "select count(*) as n from clean.green_trips__rejected where rule = 'contract:new_fee' and plugin = 'lakehost'";
    assert_eq!(one(&bench, sql, &[])?, 10);
    let columns = bench.run(&["table", "show", "clean.green_trips", "--format", "json"])?.json()?;
    assert!(!columns.to_string().contains("new_fee"), "{columns}");

    // Other rows, so another load: the same month under another contract is loaded again.
    pipeline(&bench, "schema = \"discard_value\"\n")?;
    let done = run(&bench)?;
    assert_eq!(done.json()?["windows"][1]["values_discarded"], serde_json::json!({ "new_fee": 10, "sequence": 1000 }));
    assert_eq!(one(&bench, "select count(*) as n from clean.green_trips", &[])?, Value::from(2_000));
    Ok(())
}
