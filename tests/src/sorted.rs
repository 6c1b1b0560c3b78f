//! Loads whose files are sorted: the same rows as without, in order in each file.

use anyhow::{Context, Result};

use crate::support::{Bench, expect, python, read};

const MONTH: &str = "green_tripdata_2024-01.parquet";

#[test]
fn files_are_sorted_as_the_load_says() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &["--table", "raw.plain"])?, 0, &["loaded"]);
    let plain = bench.read_table(&python, "raw.plain")?;
    let order = ["PULocationID", "-fare_amount"];
    let cleaned = ["--cleaner", "trip_cleaner.wasm", "--partition-by", "bucket(3, PULocationID)"];
    for (table, more) in [("raw.sorted", &[][..]), ("raw.cleaned", &cleaned)] {
        let args = [&["--table", table, "--sort-by", "PULocationID,-fare_amount"], more].concat();
        expect(&bench.load("green", "2024-01", &args)?, 0, &["loaded"]);
        let seen = bench.read_table(&python, table)?;
        if table != "raw.cleaned" {
            assert_eq!(seen["pyiceberg"], plain["pyiceberg"], "{table}");
        }
        let found = read(&python, "file_order.py", &[&bench.warehouse(), table, order[0], order[1]])?;
        let files = found.as_array().context("no files")?;
        assert!(files.iter().all(|file| file["in_order"] == true), "{table}: {found}");
        // The table has no order of its own, so no file names one.
        assert!(files.iter().all(|file| file["sort_order_id"].as_i64().unwrap_or(0) == 0), "{table}: {found}");
        assert_eq!(files.len(), if table == "raw.sorted" { 1 } else { 3 }, "{table}: {found}");
    }
    let unsorted = read(&python, "file_order.py", &[&bench.warehouse(), "raw.plain", order[0], order[1]])?;
    assert_eq!(unsorted[0]["in_order"], false, "what is shown above would hold of any file");
    let wrong = bench.load("green", "2024-01", &["--table", "raw.wrong", "--sort-by", "fare"])?;
    assert_eq!((wrong.code, wrong.error_code().as_str()), (2, "LH0101"), "{}", wrong.stderr);
    Ok(())
}
