//! The served catalog with engines that are servers themselves, and over a profile whose catalog is a REST server.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Cluster;
use super::spark::Spark;
use crate::endpoint::{MONTH, ROWS, Served, TABLE, answer, no_orphans, orphans, two_libraries};
use crate::support::{Bench, expect, python};

#[test]
fn trino_makes_changes_and_reads_tables_of_a_folder() -> Result<()> {
    let python = python()?;
    let cluster = Cluster::shared(&[MONTH])?;
    let bench = &cluster.bench;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let served = Served::start(bench, &[])?;
    let seen = served.script(&python, "through_trino.py", "tour", &[&cluster.address("trino")?, TABLE])?;
    let check = |key: &str, wanted: serde_json::Value| assert_eq!(seen[key], wanted, "{key}");
    check("ctas", json!([[2], [4]]));
    check("rows", json!([[2, "bb"], [3, "c"]]));
    check("replaced", json!([[6], [9]]));
    check("tables", json!(["d", "t"]));
    check("rows_after", json!([[2]]));
    // What lakehost loaded, and what Trino adds to it.
    check("other", json!([[ROWS, ROWS + 1]]));
    assert_eq!(bench.read_table(&python, TABLE)?["pyiceberg"]["rows"], ROWS + 1);
    let rows = answer(bench, &["query", "select id, name from trino.t order by id"])?;
    assert_eq!(rows, json!([{ "id": 2, "name": "bb" }, { "id": 3, "name": "c" }]));
    no_orphans(bench)
}

#[test]
fn two_libraries_read_and_write_over_a_rest_catalog() -> Result<()> {
    let python = python()?;
    let cluster = Cluster::shared(&[MONTH])?;
    // The stack's profile, for verbs that are not told of a file.
    std::fs::copy(cluster.file(), cluster.bench.dir.path().join("lakehost.toml"))?;
    two_libraries(&python, &cluster.bench, "stack", "served")
}

mod with_spark {
    use super::*;

    #[test]
    fn spark_makes_changes_and_reads_tables_of_a_folder() -> Result<()> {
        let spark = Spark::here();
        let bench = Bench::serving(&[MONTH])?;
        expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
        let served = Served::start(&bench, &[])?;
        let no_keys = [String::new(), String::new()];
        let seen = spark.script("through_spark.py", &no_keys, &["tour", &served.uri, &served.token, TABLE])?;
        let check = |key: &str, wanted: serde_json::Value| assert_eq!(seen[key], wanted, "{key}");
        check("rows", json!([["2", "bb"], ["3", "c"]]));
        check("replaced", json!([["6"], ["9"]]));
        check("tables", json!(["c", "t"]));
        check("rows_after", json!([["2"]]));
        check("other", json!([ROWS.to_string()]));
        // On a folder of this machine Hadoop keeps a checksum beside each file, which no table knows of.
        let left = orphans(&bench)?;
        let left = left.as_array().context("no list")?;
        let is_checksum = |file: &serde_json::Value| file["file"].as_str().is_some_and(|file| file.ends_with(".crc"));
        assert!(left.iter().all(is_checksum), "{left:?}");
        Ok(())
    }
}
