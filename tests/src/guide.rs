//! The plugin guide's example, as a stranger's component: built, refused without approval of what it asks, run in the sandbox.

use anyhow::Result;

use crate::support::{Bench, component, expect};

#[test]
fn the_first_cleaner_of_the_guide_runs() -> Result<()> {
    let bench = Bench::serving(&["green_tripdata_2024-01.parquet"])?;
    let cleaner = component("first_cleaner").display().to_string();
    let done = bench.load("green", "2024-01", &["--cleaner", &cleaner, "--table", "guide.green_trips"])?;
    expect(&done, 0, &["loaded"]);
    let report = done.json()?;
    let rejected: u64 =
        report["totals"]["rows_rejected"].as_object().unwrap().values().filter_map(|rows| rows.as_u64()).sum();
    assert!(rejected > 0, "{}", done.stdout);
    assert_eq!(report["totals"]["rows_written"].as_u64().unwrap() + rejected, 56_551);
    let inspected = bench.run(&["plugin", "inspect", &cleaner])?;
    assert_eq!(inspected.code, 0, "{}", inspected.stderr);
    assert!(inspected.stdout.contains("first_cleaner"), "{}", inspected.stdout);
    Ok(())
}
