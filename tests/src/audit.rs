//! Write, audit, publish: a bad month never shows, its branch shows why, and publishing it is a choice.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{Bench, expect, python, read};

const JANUARY: &str = "green_tripdata_2024-01.parquet";

/// Writes a month that is January's with a change: `rest` stands behind `select * …`.
pub fn month(bench: &Bench, python: &std::path::Path, label: &str, select: &str) -> Result<()> {
    let (from, to) = (crate::support::data().join(JANUARY), bench.served(&format!("green_tripdata_{label}.parquet")));
    let copy = format!(
        "copy ({}) to '{}' (format parquet)",
        select.replace("{january}", &format!("'{}'", from.display())),
        to.display()
    );
    read(python, "duck.py", &[&copy]).map(|_| ())
}

/// A pipeline over this bench's server, with whatever else it says.
pub fn pipeline(bench: &Bench, more: &str) -> Result<()> {
    let url = bench.url();
    let text = format!(
        "[pipeline.green]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"green\", base_url = \"{url}\" }}\nallow = [\"{url}\"]\n\
         table = \"clean.green_trips\"\n{more}"
    );
    Ok(std::fs::write(bench.dir.path().join("lakehost.toml"), text)?)
}

/// The first value of a query's only row.
pub fn one(bench: &Bench, sql: &str, more: &[&str]) -> Result<Value> {
    let done = bench.run(&[&["query", sql, "--format", "json"], more].concat())?;
    let rows: Value = serde_json::from_str(&done.stdout).with_context(|| format!("{}{}", done.stdout, done.stderr))?;
    Ok(rows[0].as_object().and_then(|row| row.values().next().cloned()).unwrap_or_default())
}

const CHECKS: &str = "[[pipeline.green.check]]\nrange = { column = \"fare_amount\", min = -1000, max = 10000 }\n\
                      [[pipeline.green.check]]\nnot_null = [\"lpep_pickup_datetime\", \"VendorID\"]\n\
                      [[pipeline.green.check]]\nrow_count = { within = \"50%\" }\nseverity = \"warn\"\n\
                      [[pipeline.green.check]]\nname = \"no trips back in time\"\nseverity = \"warn\"\n\
                      sql = \"select * from {table} where lpep_dropoff_datetime < lpep_pickup_datetime\"\n";

#[test]
fn a_bad_month_never_shows_and_its_branch_shows_why() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[JANUARY])?;
    pipeline(&bench, CHECKS)?;
    month(
        &bench,
        &python,
        "2024-02",
        "select * replace (case when row_number() over () <= 100 then (-9999.0)::double else fare_amount end as fare_amount) from {january}",
    )?;
    month(&bench, &python, "2024-03", "select * from {january} limit 1000")?;
    let run = |month: &str| bench.run(&["run", "green", "--month", month, "--format", "json"]);
    let first = run("2024-01")?;
    expect(&first, 0, &["loaded"]);
    assert_eq!(first.json()?["windows"][0]["checks"].as_array().map(Vec::len), Some(4));

    // A reader that looks all the while.
    let (stop, looks) = (AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    let bad = std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::SeqCst) {
                let sql = "select count(*) filter (where fare_amount < -1000) * 1000000 + count(*) as n from clean.green_trips";
                assert_eq!(one(&bench, sql, &[])?, 56_551, "main shows rows of a window that was not published");
                looks.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        let bad = run("2024-02");
        stop.store(true, Ordering::SeqCst);
        reader.join().map_err(|_| anyhow::anyhow!("the reader failed"))??;
        bad
    })?;
    assert!(looks.into_inner() > 0);
    expect(&bad, 5, &["failed"]);
    assert_eq!(bad.error_code(), "LH0406");
    let window = bad.json()?["windows"][0].clone();
    let branch = window["branch"].as_str().context("no branch")?.to_owned();
    let failed = &window["checks"][0];
    assert_eq!((failed["name"].as_str(), &failed["failed"]), (Some("range(fare_amount)"), &Value::from(100)));
    assert_eq!(failed["sample"].as_array().map(Vec::len), Some(10));
    assert_eq!(failed["sample"][0]["fare_amount"], -9999.0);
    assert!(bad.stderr.contains(&branch), "{}", bad.stderr);

    // The branch has them, for this reader and for another.
    let bad_rows = "select count(*) as n from clean.green_trips where fare_amount = -9999";
    assert_eq!(one(&bench, bad_rows, &[])?, 0);
    assert_eq!(one(&bench, bad_rows, &["--as-of", &branch])?, 100);
    let seen = read(&python, "read_refs.py", &[&bench.warehouse(), "clean.green_trips"])?;
    let rows = |name: &str, reader: &str| seen["refs"][name][reader].as_array().map(Vec::len);
    assert_eq!((rows("main", "pyiceberg"), rows("main", "duckdb")), (Some(56_551), Some(56_551)));
    assert_eq!((rows(&branch, "pyiceberg"), rows(&branch, "duckdb")), (Some(113_102), Some(113_102)));

    // Another month lands meanwhile; it only warns.
    let third = run("2024-03")?;
    expect(&third, 0, &["loaded"]);
    assert!(third.json()?["windows"][0]["note"].as_str().unwrap_or_default().contains("row_count"), "{}", third.stdout);

    // The checks still fail, unless nobody asks them.
    let publish = |more: &[&str]| {
        bench.run(&[&["table", "publish", "clean.green_trips", &branch, "--format", "json"], more].concat())
    };
    let refused = publish(&[])?;
    assert_eq!((refused.code, refused.stdout.contains("LH0406")), (5, true), "{}{}", refused.stdout, refused.stderr);
    let published = publish(&["--unchecked"])?;
    assert_eq!(published.code, 0, "{}", published.stderr);
    assert_eq!(one(&bench, bad_rows, &[])?, 100);
    assert_eq!(one(&bench, "select count(*) as n from clean.green_trips", &[])?, 56_551 * 2 + 1_000);
    let gone = bench.run(&["query", "select 1 from clean.green_trips", "--as-of", &branch])?;
    assert_ne!(gone.code, 0, "the branch is still there");
    // It is loaded now.
    expect(&run("2024-02")?, 0, &["already-loaded"]);
    Ok(())
}

#[test]
fn a_discarded_month_leaves_nothing_and_loads_again_once_it_is_good() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    pipeline(&bench, CHECKS)?;
    month(&bench, &python, "2024-02", "select * replace ((-9999.0)::double as fare_amount) from {january} limit 500")?;
    let run = || bench.run(&["run", "green", "--month", "2024-02", "--format", "json"]);
    // The table is born without any row to show.
    let bad = run()?;
    expect(&bad, 5, &["failed"]);
    let branch = bad.json()?["windows"][0]["branch"].as_str().context("no branch")?.to_owned();
    assert_eq!(one(&bench, "select count(*) as n from clean.green_trips", &[])?, 0);
    let files = || walkdir(&bench.dir.path().join("warehouse/clean/green_trips/data"));
    assert_eq!(files()?.len(), 1);
    let listed = bench.run(&["table", "list"])?.stdout;
    assert!(listed.contains(&format!("nothing published; rows are on branch {branch}")), "{listed}");
    let discarded = bench.run(&["table", "discard", "clean.green_trips", &branch, "--yes"])?;
    assert_eq!(discarded.code, 0, "{}", discarded.stderr);
    assert_eq!(files()?, Vec::<std::path::PathBuf>::new());

    month(&bench, &python, "2024-02", "select * from {january} limit 500")?;
    expect(&run()?, 0, &["loaded"]);
    assert_eq!(one(&bench, "select count(*) as n from clean.green_trips", &[])?, 500);
    Ok(())
}

#[test]
fn a_tag_keeps_its_rows_and_a_roll_back_loads_again() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    pipeline(&bench, "")?;
    month(&bench, &python, "2024-01", "select * from {january} limit 500")?;
    month(&bench, &python, "2024-02", "select * from {january} limit 300")?;
    let run = |month: &str| bench.run(&["run", "green", "--month", month, "--format", "json"]);
    let table = |verb: &[&str]| bench.run(&[&["table"], verb].concat());
    let count = "select count(*) as n from clean.green_trips";
    expect(&run("2024-01")?, 0, &["loaded"]);
    assert_eq!(table(&["tag", "clean.green_trips", "january"])?.code, 0);
    expect(&run("2024-02")?, 0, &["loaded"]);
    assert_eq!(one(&bench, count, &[])?, 800);
    assert_eq!(one(&bench, count, &["--as-of", "january"])?, 500);
    let asked = table(&["rollback", "clean.green_trips", "january"])?;
    assert_eq!(asked.code, 2, "without a yes: {}", asked.stderr);
    let back = table(&["rollback", "clean.green_trips", "january", "--yes"])?;
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert_eq!(one(&bench, count, &[])?, 500);
    // January is still loaded, February is not.
    expect(&run("2024-01..2024-02")?, 0, &["already-loaded", "loaded"]);
    assert_eq!(one(&bench, count, &[])?, 800);
    assert_eq!(table(&["tag", "clean.green_trips", "january", "--drop"])?.code, 0);
    assert_eq!(table(&["tag", "clean.green_trips", "17"])?.code, 2, "a name that reads as a snapshot");
    Ok(())
}

/// All files below a folder; none when it is not there.
fn walkdir(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(walkdir(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
