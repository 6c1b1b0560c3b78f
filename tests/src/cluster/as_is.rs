//! Files that were kept as they are, in every engine: the same answers as straight from the source files, and no more read than a filter needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Cluster;
use super::spark::Spark;
use crate::support::{data, expect, python, read};

const JANUARY: &str = "green_tripdata_2024-01.parquet";
const FEBRUARY: &str = "green_tripdata_2024-02.parquet";
const MARCH: &str = "green_tripdata_2024-03.parquet";
const FILES: [(&str, &str); 3] = [("2024-01-01", JANUARY), ("2024-02-01", FEBRUARY), ("2024-03-01", MARCH)];

/// What is asked, in words that every engine understands; `{t}` is the table.
const QUERIES: [(&str, &str); 17] = [
    (
        "all",
        "select count(*), sum(cast(round(total_amount * 100) as bigint)), sum(PULocationID), min(lpep_pickup_datetime) = \
         timestamp '2024-01-01 00:00:00' from {t}",
    ),
    (
        "by window",
        "select _lakehost_window, count(*), sum(cast(round(total_amount * 100) as bigint)) from {t} group by _lakehost_window",
    ),
    ("window", "select count(*), sum(DOLocationID) from {t} where _lakehost_window = date '2024-01-01'"),
    (
        "windows",
        "select count(*), sum(DOLocationID) from {t} where _lakehost_window between date '2024-01-15' and date '2024-03-01'",
    ),
    (
        "listed windows",
        "select count(*) from {t} where _lakehost_window in (date '2024-01-01', date '2024-03-01', date '2025-01-01')",
    ),
    ("another window", "select count(*) from {t} where _lakehost_window = date '2023-12-01'"),
    ("no window", "select count(*) from {t} where _lakehost_window is null"),
    ("any window", "select count(*) from {t} where _lakehost_window is not null"),
    ("window and amount", "select count(*) from {t} where _lakehost_window = date '2024-02-01' and total_amount > 100"),
    ("dear", "select _lakehost_window, cast(round(total_amount * 100) as bigint) from {t} where total_amount > 300"),
    ("dearer than any", "select count(*) from {t} where total_amount > 5000"),
    ("stray", "select count(*) from {t} where lpep_pickup_datetime < timestamp '2024-01-01 00:00:00'"),
    ("nothing in a column", "select count(*), count(ehail_fee) from {t} where ehail_fee is null"),
    ("something in it", "select count(*) from {t} where ehail_fee > 0"),
    ("window against a column", "select count(*) from {t} where cast(lpep_pickup_datetime as date) < _lakehost_window"),
    (
        "text and nulls",
        "select store_and_fwd_flag, cast(payment_type as bigint), count(*), count(passenger_count) from {t} \
         group by store_and_fwd_flag, payment_type",
    ),
    (
        "new columns",
        "select _lakehost_window, count(cbd_congestion_fee), sum(cast(cbd_congestion_fee * 100 as bigint)), count(night_fee), \
         sum(cast(night_fee * 100 as bigint)) from {t} group by _lakehost_window",
    ),
];

/// Filters: SQL, PyIceberg's words, windows that hold what is wanted.
const PRUNED: [(&str, &str, &str, &[&str]); 4] = [
    ("one", "_lakehost_window = date '2024-02-01'", "_lakehost_window == '2024-02-01'", &["2024-02-01"]),
    (
        "two",
        "_lakehost_window between date '2024-01-01' and date '2024-02-01'",
        "_lakehost_window >= '2024-01-01' and _lakehost_window <= '2024-02-01'",
        &["2024-01-01", "2024-02-01"],
    ),
    ("another", "_lakehost_window = date '2023-12-01'", "_lakehost_window == '2023-12-01'", &[]),
    ("amount", "total_amount > 5000", "total_amount > 5000", &[]),
];

/// A green table as it is, in a namespace of its own: half of the genuine January in many row groups with a page index, in the place of all of it;
/// a February with the congestion fee, which the plugin promises; a March with a column that nobody promised.
struct AsIs {
    cluster: Cluster,
    python: PathBuf,
    table: String,
}

impl AsIs {
    fn load(namespace: &str) -> Result<Self> {
        let python = python()?;
        let as_is = Self { cluster: Cluster::shared(&[JANUARY])?, python, table: format!("{namespace}.green_trips") };
        as_is.cluster.pipeline("green", &format!("table = \"{}\"\nschema = \"evolve\"\n", as_is.table))?;
        as_is.run("2024-01")?;
        assert_eq!(as_is.make(FEBRUARY, &["1", "2", "7000", "cbd_congestion_fee"])?["groups"], 5);
        as_is.run("2024-02")?;
        assert_eq!(as_is.make(MARCH, &["2", "3", "100000", "cbd_congestion_fee", "night_fee"])?["groups"], 1);
        as_is.run("2024-03")?;
        let half = as_is.make("half.parquet", &["0", "2", "7100"])?;
        assert_eq!((&half["rows"], &half["groups"]), (&json!(28_276), &json!(4)));
        let bench = &as_is.cluster.bench;
        std::fs::rename(bench.served("half.parquet"), bench.served(JANUARY))?;
        as_is.run("2024-01")?;
        Ok(as_is)
    }

    fn run(&self, month: &str) -> Result<()> {
        let arguments = ["run", "green", "--month", month, "--profile", "stack", "--format", "json"];
        let done = self.cluster.bench.run(&arguments)?;
        expect(&done, 0, &["loaded"]);
        assert_eq!(done.json()?["windows"][0]["path"], "as-is", "{}", done.stdout);
        Ok(())
    }

    /// A month from the genuine January.
    fn make(&self, file: &str, layout: &[&str]) -> Result<Value> {
        let from = data().join(JANUARY).display().to_string();
        let to = self.cluster.bench.served(file).display().to_string();
        read(&self.python, "make_month.py", &[&[from.as_str(), &to], layout].concat())
    }

    /// What all readers but Spark see.
    fn seen(&self) -> Result<Value> {
        let path = |file: &str| json!(self.cluster.bench.served(file).display().to_string());
        let object = |pairs: Vec<(&str, Value)>| -> Value {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        };
        let filters = |(name, sql, filter, _)| (name, json!({ "where": sql, "filter": filter }));
        let job = json!({
            "catalog": self.cluster.for_pyiceberg("rest")?,
            "trino": self.cluster.address("trino")?,
            "table": self.table,
            "files": object(FILES.map(|(window, file)| (window, path(file))).to_vec()),
            "queries": object(QUERIES.map(|(name, sql)| (name, json!(sql))).to_vec()),
            "pruned": object(PRUNED.map(filters).to_vec()),
        });
        read(&self.python, "as_is.py", &[&job.to_string()])
    }
}

/// Rows of each window by the source files.
fn rows_by_window(seen: &Value) -> Result<BTreeMap<String, u64>> {
    let rows = seen["queries"]["by window"]["files"].as_array().context("no windows")?;
    rows.iter()
        .map(|row| {
            let word = |at: usize| row[at].as_str().context("no text");
            Ok((word(0)?.to_owned(), word(1)?.parse()?))
        })
        .collect()
}

#[test]
fn files_as_they_are_answer_like_their_sources_and_filters_leave_files_out() -> Result<()> {
    let as_is = AsIs::load("as_is")?;
    let seen = as_is.seen()?;
    for (name, _) in QUERIES {
        let by = &seen["queries"][name];
        assert!(by["files"].as_array().is_some_and(|rows| !rows.is_empty()), "{name}: {by}");
        for reader in ["pyiceberg", "duckdb", "trino"] {
            assert_eq!(by[reader], by["files"], "{name} by {reader}");
        }
    }
    // The questions are about something.
    let first = |name: &str| seen["queries"][name]["files"][0][0].as_str().unwrap_or_default().to_owned();
    for name in ["no window", "another window", "dearer than any", "something in it"] {
        assert_eq!(first(name), "0", "{name}");
    }
    for name in ["dear", "stray", "window and amount", "window against a column"] {
        assert_ne!(first(name), "0", "{name}");
    }
    // January's file has neither of the new columns, February's one.
    let new = &seen["queries"]["new columns"]["files"];
    let filled = [0, 1, 2].map(|row| [1, 3].map(|column| new[row][column] != "0"));
    assert_eq!(filled, [[false, false], [true, false], [true, true]], "{new}");

    let rows = rows_by_window(&seen)?;
    for (name, sql, _, windows) in PRUNED {
        let by = &seen["pruned"][name];
        let wanted: u64 = windows.iter().map(|window| rows[*window]).sum();
        assert_eq!(by["files"], wanted, "{name}");
        for reader in ["pyiceberg", "duckdb"] {
            assert_eq!(by[reader], json!([windows.len(), wanted]), "{name} by {reader}: files read and rows");
        }
        assert_eq!(by["trino"], json!([wanted, wanted]), "{name} by trino: rows read and rows\n{}", by["explain"]);
        let explain = by["explain"].as_str().unwrap_or_default();
        let constrained = explain.contains("constraint on [_lakehost_window]");
        assert_eq!(constrained, sql.starts_with("_lakehost_window"), "{name}: {explain}");
    }

    // They are the sources' own pages under another footer: their row groups, their codec, their page index.
    let stored = seen["stored"].as_array().context("no files")?;
    let layout = |file: &Value| json!([file["groups"], file["page_index"], file["codecs"]]);
    let layouts: Vec<Value> = stored.iter().map(layout).collect();
    let zstd = |groups: u32| json!([groups, true, ["ZSTD"]]);
    assert_eq!(layouts, [zstd(4), zstd(5), zstd(1)], "{stored:#?}");
    Ok(())
}

mod with_spark {
    use super::*;

    #[test]
    fn files_as_they_are_answer_like_their_sources_and_filters_leave_files_out() -> Result<()> {
        let spark = Spark::here();
        let as_is = AsIs::load("as_is_in_spark")?;
        let seen = as_is.seen()?;
        let in_spark = format!("lake.{}", as_is.table);
        let queries = QUERIES.map(|(name, sql)| (name.to_owned(), json!(sql.replace("{t}", &in_spark))));
        let scans = PRUNED.map(|(name, sql, ..)| {
            (name.to_owned(), json!(format!("select count(*), sum(total_amount) from {in_spark} where {sql}")))
        });
        let job = json!({
            "queries": queries.into_iter().collect::<Value>(),
            "scans": scans.into_iter().collect::<Value>(),
        });
        let by_spark = as_is.cluster.ask_spark(&spark, &job)?;
        for (name, _) in QUERIES {
            let sorted = |rows: &Value| -> Option<Vec<String>> {
                let mut rows: Vec<String> = rows.as_array()?.iter().map(Value::to_string).collect();
                rows.sort_unstable();
                Some(rows)
            };
            let wanted = sorted(&seen["queries"][name]["files"]).context("no rows")?;
            assert_eq!(sorted(&by_spark["queries"][name]), Some(wanted), "{name}");
        }
        let rows = rows_by_window(&seen)?;
        for (name, _, _, windows) in PRUNED {
            let scan = &by_spark["scans"][name];
            let wanted: u64 = windows.iter().map(|window| rows[*window]).sum();
            assert_eq!(scan["rows"][0][0], wanted.to_string(), "{name}");
            assert_eq!(scan["files"], windows.len(), "{name}: {}", scan["plan"]);
        }
        Ok(())
    }
}
