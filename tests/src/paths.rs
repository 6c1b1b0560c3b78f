//! The page path against the Arrow reference, through the whole binary: same rows, same rejects, on genuine months.

use anyhow::Result;

use crate::support::{Bench, expect, python};

#[test]
fn the_page_path_equals_the_reference_on_genuine_months() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&["green_tripdata_2024-01.parquet", "yellow_tripdata_2024-01.parquet"])?;
    for (dataset, pickup) in [("green", "lpep_pickup_datetime"), ("yellow", "tpep_pickup_datetime")] {
        let day = format!("day({pickup})");
        for (layout, partition) in [("window", None), ("day", Some(day.as_str()))] {
            let mut seen = Vec::new();
            for path in ["pages", "arrow"] {
                let table = format!("{path}.{dataset}_{layout}");
                let mut more = vec!["--cleaner", "trip_cleaner.wasm", "--table", &table];
                more.extend(partition.iter().flat_map(|expression| ["--partition-by", expression]));
                more.extend((path == "arrow").then_some("--reference-path"));
                let done = bench.load(dataset, "2024-01", &more)?;
                expect(&done, 0, &["loaded"]);
                let report = done.json()?;
                assert_eq!(report["windows"][0]["path"], path, "{dataset} {layout}");
                let table = bench.read_table(&python, &table)?;
                seen.push((table["pyiceberg"].clone(), report["totals"]["rows_rejected"].clone()));
            }
            assert_eq!(seen[0], seen[1], "{dataset} {layout}");
        }
    }
    Ok(())
}
