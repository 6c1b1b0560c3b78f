//! Upkeep through the command line, read back by independent readers: the rows stay, the files become fewer.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{Bench, expect, python, read};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const ROWS: u64 = 56_551;
const TABLE: &str = "raw.green_trips";

/// A verb's JSON; it must succeed.
fn answer(bench: &Bench, args: &[&str]) -> Result<Value> {
    let done = bench.run(args)?;
    assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.stdout, done.stderr);
    done.json().with_context(|| format!("{args:?}"))
}

fn table(bench: &Bench, verb: &str, more: &[&str]) -> Result<Value> {
    answer(bench, &[&["table", verb, TABLE, "--format", "json"], more].concat())
}

#[test]
fn compacted_and_expired_every_reader_sees_the_same_rows() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    for _ in 0..5 {
        expect(&bench.load("green", "2024-01", &["--write-mode", "append", "--force"])?, 0, &["loaded"]);
    }
    let before = bench.read_table(&python, TABLE)?;
    assert_eq!(before["pyiceberg"]["rows"], 5 * ROWS);
    assert_eq!(before["files"].as_array().map(Vec::len), Some(5));

    let dry = table(&bench, "compact", &["--dry-run"])?;
    assert_eq!((dry["files_before"].as_u64(), dry["snapshots"].as_array().map(Vec::len)), (Some(5), Some(0)));
    let done = table(&bench, "compact", &["--target-size", "64MiB"])?;
    assert_eq!((done["files_after"].as_u64(), done["rows"].as_u64()), (Some(1), Some(5 * ROWS)));
    let compacted = bench.read_table(&python, TABLE)?;
    assert_eq!(compacted["pyiceberg"], before["pyiceberg"]);
    assert_eq!(compacted["operation"], "replace");
    assert_eq!(compacted["summary"]["deleted-data-files"], "5");
    assert_eq!(compacted["files"].as_array().map(Vec::len), Some(1));

    let id = done["snapshots"][0].as_str().context("no snapshot id")?.to_owned();
    let history = table(&bench, "history", &[])?;
    let log = history["history"].as_array().context("no history")?;
    assert_eq!((log.len(), log[5]["snapshot_id"].as_str()), (6, Some(id.as_str())));
    let first = log[0]["snapshot_id"].as_str().context("no id")?.to_owned();
    let parent = log[4]["snapshot_id"].as_str().context("no id")?.to_owned();
    assert_eq!(table(&bench, "diff", &[&format!("{parent}..{id}")])?["same_rows"], true);
    let diff = table(&bench, "diff", &[&format!("{first}..main"), "--rows", "3"])?;
    assert_eq!(diff["windows"][0]["window"], "2024-01");
    assert_eq!(diff["rows_after"], 5 * ROWS);
    // Five times the same rows: none that the first load had not.
    assert_eq!(diff["sample"], serde_json::json!({ "only_before": [], "only_after": [] }));

    let expired = table(&bench, "expire", &["--older-than", "0 days", "--keep", "1"])?;
    assert_eq!(expired["snapshots"].as_array().map(Vec::len), Some(5));
    assert!(expired["files_deleted"].as_u64() >= Some(10), "{expired}");
    let after = bench.read_table(&python, TABLE)?;
    assert_eq!(after["pyiceberg"], before["pyiceberg"]);
    assert_eq!(after["snapshots"], 1);
    let orphans = table(&bench, "orphans", &["--older-than", "0 s", "--allow-younger-than-72h"])?;
    assert_eq!(orphans["orphans"], serde_json::json!([]));
    assert_eq!(bench.run(&["table", "orphans", "--older-than", "1h"])?.code, 2);
    Ok(())
}

#[test]
fn a_table_shows_what_it_consists_of() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let by_day = ["--partition-by", "day(lpep_pickup_datetime)"];
    expect(&bench.load("green", "2024-01", &by_day)?, 0, &["loaded"]);
    expect(&bench.load("green", "2024-01", &["--force"])?, 0, &["loaded"]);
    let files = table(&bench, "files", &[])?;
    let files = files["files"].as_array().context("no files")?;
    let rows: u64 = files.iter().filter_map(|file| file["record_count"].as_u64()).sum();
    assert_eq!((files.len() >= 31, rows), (true, ROWS));
    assert!(files[0]["metrics"]["lpep_pickup_datetime"]["lower"].is_string(), "{}", files[0]);
    assert!(files[0]["snapshot_id"].is_string(), "ids are text");
    let histogram = table(&bench, "files", &["--histogram"])?;
    assert_eq!(histogram["histogram"][0]["files"].as_u64(), Some(files.len() as u64));
    let partitions = table(&bench, "partitions", &["--as-of", "main"])?;
    let partitions = partitions["partitions"].as_array().context("no partitions")?;
    let first = partitions.iter().find(|one| {
        one["partition"].as_str() == Some("_lakehost_window=2024-01-01/lpep_pickup_datetime_day=2024-01-01")
    });
    assert!(first.is_some_and(|one| one["window"] == "2024-01"), "{:?}", partitions.first());
    let refs = table(&bench, "refs", &[])?;
    assert_eq!((refs["refs"][0]["name"].as_str(), refs["refs"][0]["type"].as_str()), (Some("main"), Some("branch")));
    let origin = answer(&bench, &["table", "provenance", TABLE, "main", "--format", "json"])?;
    assert!(origin["objects"][0]["url"].as_str().is_some_and(|url| url.ends_with(MONTH)), "{origin}");
    assert!(origin["plugins"][0]["name"].is_string() && origin["run"]["totals"].is_object(), "{origin}");

    let sql = |sql: &str, more: &[&str]| answer(&bench, &[&["query", sql, "--format", "json"], more].concat());
    let counted = sql("select count(*) as n, sum(record_count) as rows from raw.green_trips$files", &[])?;
    assert_eq!(counted[0]["rows"].as_u64(), Some(ROWS));
    assert_eq!(counted[0]["n"].as_u64(), Some(files.len() as u64));
    let snapshots = sql("select snapshot_id from raw.\"green_trips$snapshots\" order by sequence_number", &[])?;
    let oldest = snapshots[0]["snapshot_id"].as_i64().context("no id")?.to_string();
    let early = sql("select count(*) as n from raw.green_trips", &["--as-of", &oldest])?;
    assert_eq!(early[0]["n"].as_u64(), Some(ROWS));
    assert_eq!(sql("select * from raw.green_trips", &["--limit", "7"])?.as_array().map(Vec::len), Some(7));
    let unknown = bench.run(&["query", "select 1 from raw.green_trips", "--as-of", "nope"])?;
    assert_ne!(unknown.code, 0);
    assert!(unknown.stderr.contains("nope"), "{}", unknown.stderr);
    Ok(())
}

#[test]
fn answers_become_files_that_others_read() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let file = bench.dir.path().join("answer.parquet");
    let path = file.display().to_string();
    let sql = "select * from raw.green_trips where trip_distance > 1";
    let done = bench.run(&["query", sql, "--format", "parquet", "--output", &path])?;
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{}", done.stderr);
    let counted = answer(&bench, &["query", &format!("select count(*) as n from ({sql})"), "--format", "json"])?;
    assert_eq!(read(&python, "read_table.py", &["--file", &path])?["rows"], counted[0]["n"]);
    // What is not answered leaves the file as it was.
    let wrong = bench.run(&["query", "select nope from raw.green_trips", "--format", "arrow", "--output", &path])?;
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert_eq!(read(&python, "read_table.py", &["--file", &path])?["rows"], counted[0]["n"]);
    let piped = bench.command(&["query", "select 1 as one", "--format", "arrow"]).output()?;
    assert_eq!(piped.stdout.get(..4), Some(&[0xFF; 4][..]), "an Arrow stream begins with its continuation mark");
    Ok(())
}
