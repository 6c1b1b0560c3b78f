//! One `lakehost.toml`, two profiles: dbt on Trino makes of the months what dbt on DuckDB makes of them.

use anyhow::{Result, ensure};
use serde_json::json;

use super::Cluster;
use super::end_to_end::YELLOW;
use crate::models::copy;
use crate::support::root;

#[test]
fn models_on_trino_are_those_of_the_embedded_profile() -> Result<()> {
    let cluster = Cluster::shared(&YELLOW)?;
    let bench = &cluster.bench;
    copy(&root().join("dbt_project"), &bench.dir.path().join("dbt_project"))?;
    cluster.pipeline("yellow", "table = \"raw.yellow_trips\"\nmodels = \"dbt_project\"\n")?;

    // One file, two profiles: DuckDB's gold, which is held against the files elsewhere, and Trino's.
    let both = |windows: &[&str]| -> Result<()> {
        let mut gold = Vec::new();
        for (profile, engine) in [("local", "duckdb"), ("stack", "trino")] {
            let months = ["run", "yellow", "--month", "2024-01..2024-06"];
            let done = bench.run(&[&months[..], &["--profile", profile, "--format", "json"]].concat())?;
            assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
            let report = done.json()?;
            let models = &report["models"];
            assert_eq!((&models["status"], &models["engine"]), (&json!("built"), &json!(engine)), "{models:#}");
            assert_eq!(models["windows"], json!(windows), "{profile}");
            let mut tables = Vec::new();
            for table in ["fct_daily_trips", "fct_hourly_revenue", "fct_trip_distance_stats", "dim_zone"] {
                let select = format!("select * from gold.{table}");
                let shown = bench.run(&["query", &select, "--limit", "0", "--format", "csv", "--profile", profile])?;
                assert_eq!(shown.code, 0, "{}", shown.stderr);
                let mut rows: Vec<String> = shown.stdout.lines().map(str::to_owned).collect();
                rows.sort_unstable();
                assert!(rows.len() > 100, "{table}: {} rows", rows.len());
                tables.push((table, rows));
            }
            gold.push(tables);
        }
        for (embedded, cluster) in gold[0].iter().zip(&gold[1]) {
            let differing = embedded.1.iter().zip(&cluster.1).find(|(here, there)| here != there);
            ensure!(embedded.1.len() == cluster.1.len() && differing.is_none(), "{}: {differing:?}", embedded.0);
        }
        Ok(())
    };
    both(&[])?;
    std::fs::copy(bench.served(YELLOW[4]), bench.served(YELLOW[2]))?;
    both(&["2024-03"])?;

    // Trino's own answer of what it built.
    let sum = "select sum(trips) as trips from gold.fct_daily_trips";
    let asked = |more: &[&str]| bench.run(&[&["query", sum, "--format", "json", "--profile", "stack"], more].concat());
    assert_eq!(asked(&["--engine", "trino"])?.json()?, asked(&[])?.json()?);
    Ok(())
}
