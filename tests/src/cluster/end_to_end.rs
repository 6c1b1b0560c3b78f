//! The whole way on real servers: months to S3 through the REST catalog, dbt on Trino, and every reader sees the same rows, now and then.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Cluster;
use super::spark::Spark;
use crate::models::{MONTHS, copy, gold_is_that_of};
use crate::support::{Bench, Done, expect, generate, python, root};

const GREEN: &str = "green_tripdata_2024-01.parquet";
const GREEN_GENERATED: &str = "green_tripdata_2024-02.parquet";
pub const YELLOW: [&str; 6] = [
    "yellow_tripdata_2024-01.parquet",
    "yellow_tripdata_2024-02.parquet",
    "yellow_tripdata_2024-03.parquet",
    "yellow_tripdata_2024-04.parquet",
    "yellow_tripdata_2024-05.parquet",
    "yellow_tripdata_2024-06.parquet",
];

/// The six yellow months with their models.
fn run(bench: &Bench, profile: &str) -> Result<Done> {
    bench.run(&["run", "yellow", "--month", "2024-01..2024-06", "--profile", profile, "--format", "json"])
}

/// Models were built on Trino, of these windows; of all where none is named.
#[track_caller]
fn expect_models(done: &Done, windows: &[&str]) -> Result<()> {
    let models = &done.json()?["models"];
    assert_eq!((&models["status"], &models["engine"]), (&json!("built"), &json!("trino")), "{models:#}");
    assert_eq!(models["windows"], json!(windows));
    Ok(())
}

fn end_to_end(spark: Option<&Spark>) -> Result<()> {
    let python = python()?;
    let files = [&[GREEN][..], &YELLOW].concat();
    let cluster = Cluster::start(&files, "trino")?;
    let bench = &cluster.bench;
    let doctor = cluster.run(&["doctor", "--format", "json"])?;
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    let gold = || gold_is_that_of(bench, &python, &cluster.for_pyiceberg("rest")?.to_string(), &MONTHS);

    // The genuine month, and one that the generator draws from it.
    let made = generate(&bench.served(GREEN_GENERATED), "green", "2024-02", 40_000)?;
    expect(&cluster.load("green", "2024-01..2024-02", &[])?, 0, &["loaded"; 2]);
    let green = cluster.read_table(&python, "raw.green_trips", &[GREEN, GREEN_GENERATED], spark)?;
    assert_eq!(green["now"]["trino"]["windows"]["2024-01-01"][0], 56_551);
    assert_eq!(green["now"]["trino"]["windows"]["2024-02-01"][0], made);

    // The sample months, and the models after them.
    copy(&root().join("dbt_project"), &bench.dir.path().join("dbt_project"))?;
    cluster.pipeline("yellow", "table = \"raw.yellow_trips\"\nmodels = \"dbt_project\"\n")?;
    let first = run(bench, "stack")?;
    expect(&first, 0, &["loaded"; 6]);
    expect_models(&first, &[])?;
    let before_gold = gold()?;
    let before = cluster.read_table(&python, "raw.yellow_trips", &YELLOW, spark)?;
    assert_eq!(before["now"]["trino"]["rows"], 10_000);
    assert_eq!(before["then"].as_array().map(Vec::len), Some(6));

    // Again: nothing happens. Upstream corrects a month: that window is replaced, and the one before stays in the past.
    let again = run(bench, "stack")?;
    expect(&again, 0, &["already-loaded"; 6]);
    assert_eq!(again.json()?["models"]["status"], "unchanged");
    std::fs::copy(bench.served(YELLOW[4]), bench.served(YELLOW[2]))?;
    let changed = run(bench, "stack")?;
    let already = "already-loaded";
    expect(&changed, 0, &[already, already, "loaded", already, already, already]);
    expect_models(&changed, &["2024-03"])?;
    assert_ne!(gold()?["days"], before_gold["days"]);
    let after = cluster.read_table(&python, "raw.yellow_trips", &YELLOW, spark)?;
    let window = |seen: &Value, month: &str| seen["windows"][month].clone();
    let (now, then) = (&after["now"]["trino"], after["then"].as_array().context("no snapshots")?);
    assert_eq!(window(now, "2024-03-01"), window(now, "2024-05-01"));
    assert_eq!(then.len(), 7);
    assert_eq!(then[..6], before["then"].as_array().context("no snapshots")?[..], "the past does not change");
    assert_eq!(then[5]["trino"], before["now"]["trino"]);
    assert_ne!(window(&then[5]["trino"], "2024-03-01"), window(now, "2024-03-01"));

    // The same file on another profile gives the same rows.
    let local = bench.load("yellow", "2024-01..2024-06", &["--profile", "local"])?;
    expect(&local, 0, &["loaded"; 6]);
    let embedded = bench.read_table(&python, "raw.yellow_trips")?;
    assert_eq!(embedded["pyiceberg"]["rows"], now["rows"]);

    // A restart loses nothing; the end leaves nothing.
    cluster.ok(&["down"])?;
    assert_eq!(cluster.processes(), Vec::<String>::new());
    cluster.ok(&["up"])?;
    assert_eq!(cluster.read_table(&python, "raw.yellow_trips", &YELLOW, spark)?, after);
    let ended = cluster.ok(&["down"])?;
    let services = ended["services"].as_array().context("no services")?;
    assert_eq!(services.iter().filter(|service| !service["ended_pid"].is_null()).count(), 4);
    assert_eq!(cluster.processes(), Vec::<String>::new());
    Ok(())
}

#[test]
fn months_and_models_are_the_same_for_every_reader() -> Result<()> {
    end_to_end(None)
}

mod with_spark {
    use super::*;

    #[test]
    fn months_and_models_are_the_same_for_every_reader() -> Result<()> {
        end_to_end(Some(&Spark::here()))
    }
}
