//! Every fail point of the lake in the whole program: killed there, or told to stop there, and then the same command again.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context, Result};

use crate::audit::one;
use crate::support::{Bench, Done, done, expect};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const ROWS: u64 = 56_551;
const TABLE: &str = "raw.green_trips";

/// What leads past each point, and how many rows there are when it is done.
const POINTS: &[(&str, &[&str], u64)] = &[
    ("intent", LOAD, ROWS),
    ("first-file", LOAD, ROWS),
    ("file-finished", LOAD, ROWS),
    ("before-manifests", LOAD, ROWS),
    ("before-request", LOAD, ROWS),
    ("metadata-written", LOAD, ROWS),
    ("before-sql-commit", LOAD, ROWS),
    ("after-sql-commit", LOAD, ROWS),
    ("before-cleanup", LOAD, ROWS),
    ("before-publish", &["table", "publish", TABLE, "trial", "--unchecked"], ROWS - DELETED),
    ("after-publish", &["table", "publish", TABLE, "trial", "--unchecked"], ROWS - DELETED),
    ("before-discard-delete", &["table", "discard", TABLE, "trial", "--yes"], ROWS),
    ("before-expire-delete", &["table", "expire", TABLE, "--older-than", "0 days", "--keep", "1"], ROWS),
    (
        "before-orphan-delete",
        &["table", "orphans", TABLE, "--older-than", "0 days", "--allow-younger-than-72h", "--delete"],
        ROWS,
    ),
    ("compact-written", &["table", "compact", TABLE, "--sort-by", "fare_amount"], ROWS),
    ("delete-written", &["table", "delete", TABLE, "--where", FAR, "--yes"], ROWS - DELETED),
    ("before-drop-delete", &["table", "drop", TABLE, "--yes"], 0),
];
const LOAD: &[&str] = &["load"];
const FAR: &str = "trip_distance > 20";
/// Rows of the month that go so far.
const DELETED: u64 = 217;

fn prepared() -> Result<Bench> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    expect(&bench.load("green", "2024-01", &["--force"])?, 0, &["loaded"]);
    for args in [
        &["table", "branch", TABLE, "trial"][..],
        &["table", "delete", TABLE, "--where", FAR, "--branch", "trial", "--yes"],
    ] {
        assert_eq!(bench.run(args)?.code, 0, "{args:?}");
    }
    std::fs::write(bench.dir.path().join("warehouse/raw/green_trips/data/lost.parquet"), b"x")?;
    Ok(bench)
}

fn command(bench: &Bench, verb: &[&str], point: Option<&str>) -> Result<(Done, Option<i32>)> {
    let args = match verb {
        ["load"] => bench.load_args("green", "2024-01", &["--force"]),
        _ => verb.iter().map(|arg| (*arg).to_owned()).collect(),
    };
    let mut command = bench.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(point) = point {
        command.env("LAKEHOST_FAIL_POINT", point);
    }
    let output = command.output()?;
    let signal = output.status.signal();
    Ok((done(output)?, signal))
}

/// Rows by reader; none when there is no table.
fn rows(bench: &Bench) -> Result<u64> {
    let listed = bench.run(&["table", "list", "--format", "json"])?.json()?;
    if listed["tables"].as_array().is_none_or(Vec::is_empty) {
        return Ok(0);
    }
    one(bench, &format!("select count(*) from {TABLE}"), &[])?.as_u64().context("no count")
}

/// Everything that a reader may see while a verb is under way.
fn whole(found: u64, after: u64, what: &str) {
    assert!(found == ROWS || found == after, "{what}: {found} rows");
}

#[test]
fn killed_at_any_point_the_table_is_whole_and_the_next_run_finishes() -> Result<()> {
    for (point, verb, after) in POINTS {
        let bench = prepared()?;
        let (ended, signal) = command(&bench, verb, Some(point))?;
        assert_eq!(signal, Some(9), "{point} did not fire: exit {}\n{}", ended.code, ended.stderr);
        whole(rows(&bench)?, *after, point);
        finished(&bench, point, verb, *after)?;
    }
    Ok(())
}

#[test]
fn interrupted_at_any_point_the_table_is_whole_and_the_next_run_finishes() -> Result<()> {
    let mut codes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (point, verb, after) in POINTS {
        let bench = prepared()?;
        let (ended, signal) = command(&bench, verb, Some(&format!("{point}:1:int")))?;
        // A load ends at its next safe point with a report; a verb that has nothing to say ends at once.
        let stopped = if *verb == LOAD { matches!(ended.code, 0 | 130) } else { signal == Some(2) };
        assert!(stopped, "{point}: exit {} {signal:?}\n{}\n{}", ended.code, ended.stdout, ended.stderr);
        codes.entry(format!("exit {} {signal:?}", ended.code)).or_default().push(point);
        whole(rows(&bench)?, *after, point);
        finished(&bench, point, verb, *after)?;
    }
    eprintln!("{codes:#?}");
    Ok(())
}

/// The same again comes to its end, and nothing is left behind but orphans that are found.
fn finished(bench: &Bench, point: &str, verb: &[&str], after: u64) -> Result<()> {
    assert_eq!(bench.run(&["resolve"])?.code, 0, "{point}");
    let (again, _) = command(bench, verb, None)?;
    // What needs a branch or a table that has gone has been done.
    let gone = ["after-publish", "before-discard-delete", "before-drop-delete"].contains(&point);
    assert!(again.code == 0 || gone, "{point}: exit {}\n{}\n{}", again.code, again.stdout, again.stderr);
    assert_eq!(rows(bench)?, after, "{point}");
    expect(&bench.load("green", "2024-01", &["--force"])?, 0, &["loaded"]);
    assert_eq!(rows(bench)?, ROWS, "{point}");
    let orphans = ["table", "orphans", "--older-than", "0 days", "--allow-younger-than-72h", "--delete"];
    assert_eq!(bench.run(&orphans)?.code, 0, "{point}");
    assert_eq!(rows(bench)?, ROWS, "{point}");
    Ok(())
}
