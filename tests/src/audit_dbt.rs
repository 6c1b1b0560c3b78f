//! dbt's tests as checks: they read the rows that are about to be published, on the engine that the models have, and nobody else sees those rows.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::audit::one;
use crate::models::{copy, processes_of};
use crate::support::{Bench, Done, data, done, expect, python, read, root};

pub const JANUARY: &str = "yellow_tripdata_2024-01.parquet";
pub const FEBRUARY: &str = "yellow_tripdata_2024-02.parquet";
pub const MARCH: &str = "yellow_tripdata_2024-03.parquet";

/// Fares below this are wrong.
const LEAST: i64 = -5_000;

/// The project beside `lakehost.toml`, with tests of its source: a generic one, one of its own, one that reads what is built from the source, one
/// that only warns.
pub fn project(folder: &Path) -> Result<()> {
    let project = folder.join("dbt_project");
    copy(&root().join("dbt_project"), &project)?;
    let sources = project.join("models/nyc_taxi/sources.yml");
    let text = std::fs::read_to_string(&sources)?
        + "          - name: fare_amount\n            data_tests:\n              - at_least:\n                  arguments: {least: -5000}\n\
           \x20         - name: trip_distance\n            data_tests:\n              - at_least:\n                  arguments: {least: 0.01}\n\
           \x20                 config: {severity: warn, where: fare_amount > -5000}\n";
    std::fs::write(&sources, text)?;
    std::fs::write(
        project.join("tests/generic/at_least.sql"),
        "{% test at_least(model, column_name, least) %}\nselect {{ column_name }}, _lakehost_window from {{ model }}\n\
         where {{ column_name }} < {{ least }}\n{% endtest %}\n",
    )?;
    std::fs::write(
        project.join("tests/no_fare_is_absurd.sql"),
        "select trips.fare_amount, trips._lakehost_window from {{ source('raw', 'yellow_trips') }} as trips where trips.fare_amount < -5000\n",
    )?;
    std::fs::write(
        project.join("tests/staged_rows_are_loaded.sql"),
        "select 1 as n from {{ ref('stg_yellow_trips') }} where (select count(*) from {{ source('raw', 'yellow_trips') }}) = 0\n",
    )?;
    Ok(())
}

/// A pipeline over the bench's server whose check is dbt's.
pub fn pipeline(bench: &Bench, more: &str) -> Result<String> {
    let url = bench.url();
    Ok(format!(
        "[pipeline.yellow]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"yellow\", base_url = \"{url}\" }}\nallow = [\"{url}\"]\n\
         table = \"raw.yellow_trips\"\n{more}[[pipeline.yellow.check]]\nname = \"tests\"\n\
         dbt = {{ project = \"dbt_project\", select = \"source:raw.yellow_trips\" }}\n"
    ))
}

/// Serves February with some absurd fares.
pub fn spoil(bench: &Bench, python: &Path) -> Result<()> {
    let made = bench.dir.path().join("spoiled.parquet");
    let statement = format!(
        "select * replace (case when row_number() over () <= 7 then {}::double else fare_amount end as fare_amount) from '{}'",
        LEAST - 1,
        data().join(FEBRUARY).display()
    );
    read(python, "gold.py", &["--write", &made.display().to_string(), &statement])?;
    Ok(std::fs::rename(made, bench.served(FEBRUARY))?)
}

/// Runs a month while a reader looks at the table all the time, and sees this many rows and no absurd fare.
pub fn run_unseen(bench: &Bench, rows: i64, more: &[&str], run: impl FnOnce() -> Result<Done>) -> Result<Done> {
    let (stop, looks) = (AtomicBool::new(false), AtomicU32::new(0));
    let ended = std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::SeqCst) {
                let sql = format!(
                    "select count(*) filter (where fare_amount < {LEAST}) * 1000000 + count(*) as n from raw.yellow_trips"
                );
                assert_eq!(one(bench, &sql, more)?, rows, "a reader saw rows that were not published");
                looks.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        let ended = run();
        stop.store(true, Ordering::SeqCst);
        reader.join().map_err(|_| anyhow::anyhow!("the reader failed"))??;
        ended
    })?;
    assert!(looks.into_inner() > 2, "nobody looked");
    Ok(ended)
}

/// The one check of a window.
#[track_caller]
pub fn check_of(done: &Done) -> Result<Value> {
    let check = done.json()?["windows"][0]["checks"][0].clone();
    assert_eq!(check["name"], "tests", "{}\n{}", done.stdout, done.stderr);
    Ok(check)
}

/// Branches of the table, beside `main`.
fn branches(bench: &Bench, more: &[&str]) -> Result<Vec<String>> {
    let sql = "select name from raw.\"yellow_trips$refs\" where name <> 'main' order by name";
    let done = bench.run(&[&["query", sql, "--format", "json"], more].concat())?;
    let rows: Vec<Value> =
        serde_json::from_str(&done.stdout).with_context(|| format!("{}{}", done.stdout, done.stderr))?;
    Ok(rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect())
}

/// The whole story on one profile: January is good, February is bad and found out, March lands meanwhile, then February is published all the same.
pub fn story(bench: &Bench, python: &Path, engine: &str, more: &[&str]) -> Result<()> {
    let run = |month: &str| bench.run(&[&["run", "yellow", "--month", month, "--format", "json"], more].concat());
    // The table is born; its tests look at rows that no reader can see yet.
    let first = run("2024-01")?;
    expect(&first, 0, &["loaded"]);
    let check = check_of(&first)?;
    let detail = check["detail"].as_str().unwrap_or_default();
    assert_eq!(check["severity"], "warn", "{check:#}");
    for said in [
        &format!("4 tests of dbt on {engine}: 1 warned: source_at_least_raw_yellow_trips_trip_distance__0_01 ("),
        "left out: staged_rows_are_loaded reads stg_yellow_trips, which is built from raw.yellow_trips",
    ] {
        assert!(detail.contains(said), "{said:?} is not in {detail:?}");
    }
    assert_eq!(branches(bench, more)?, Vec::<String>::new(), "what the tests looked at is gone");
    let rows = one(bench, "select count(*) as n from raw.yellow_trips", more)?.as_i64().context("no rows")?;

    spoil(bench, python)?;
    let bad = run_unseen(bench, rows, more, || run("2024-02"))?;
    expect(&bad, 5, &["failed"]);
    assert_eq!(bad.error_code(), "LH0406");
    let check = check_of(&bad)?;
    let detail = check["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("2 failed: "), "{detail}");
    for test in ["no_fare_is_absurd", "source_at_least_raw_yellow_trips_fare_amount___5000"] {
        assert!(detail.contains(&format!("{test} (7 rows)")), "{detail}");
        let sample = check["sample"].as_array().context("no sample")?;
        let of_it: Vec<&Value> = sample.iter().filter(|row| row["test"] == test).collect();
        assert!(!of_it.is_empty() && of_it.iter().all(|row| row["fare_amount"] == (LEAST - 1) as f64), "{check:#}");
    }
    let branch = bad.json()?["windows"][0]["branch"].as_str().context("no branch")?.to_owned();
    assert_eq!(branches(bench, more)?, std::slice::from_ref(&branch));

    // Another month lands; the branch is checked again on what is there then, and still fails.
    expect(&run("2024-03")?, 0, &["loaded"]);
    let march = one(bench, "select count(*) as n from raw.yellow_trips", more)?.as_i64().context("no rows")? - rows;
    let publish = |unchecked: &[&str]| {
        let words = [&["table", "publish", "raw.yellow_trips", &branch, "--format", "json"], unchecked, more].concat();
        bench.run(&words)
    };
    let refused = publish(&[])?;
    assert_eq!(refused.code, 5, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("2 failed: "), "{}", refused.stderr);
    assert_eq!(branches(bench, more)?, std::slice::from_ref(&branch));
    assert_eq!(one(bench, "select count(*) as n from raw.yellow_trips", more)?, rows + march);
    let published = publish(&["--unchecked"])?;
    assert_eq!(published.code, 0, "{}", published.stderr);
    assert_eq!(
        one(bench, &format!("select count(*) as n from raw.yellow_trips where fare_amount < {LEAST}"), more)?,
        7
    );
    assert_eq!(branches(bench, more)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_bad_month_is_refused_by_dbts_tests() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[JANUARY, FEBRUARY, MARCH])?;
    project(bench.dir.path())?;
    std::fs::write(bench.dir.path().join("lakehost.toml"), pipeline(&bench, "")?)?;
    story(&bench, &python, "duckdb", &[])?;

    // A month that was refused and is mended upstream passes, as it stands on its branch.
    std::fs::copy(data().join(FEBRUARY), bench.served(FEBRUARY))?;
    let again = bench.run(&["run", "yellow", "--month", "2024-02", "--format", "json"])?;
    expect(&again, 0, &["loaded"]);
    Ok(())
}

#[test]
fn a_test_that_would_read_old_rows_is_no_check() -> Result<()> {
    python()?;
    let bench = Bench::serving(&[JANUARY])?;
    project(bench.dir.path())?;
    let project = bench.dir.path().join("dbt_project");
    let file = bench.dir.path().join("lakehost.toml");
    let refused = |said: &[&str]| -> Result<()> {
        let done = bench.run(&["run", "yellow", "--month", "2024-01", "--format", "json"])?;
        assert_eq!((done.code, done.error_code().as_str()), (8, "LH0702"), "{}{}", done.stdout, done.stderr);
        for said in said {
            assert!(done.stderr.contains(said), "{said:?} is not in\n{}", done.stderr);
        }
        assert_eq!(one(&bench, "select count(*) as n from raw.yellow_trips", &[])?, 0);
        Ok(())
    };
    // The project lacks the macros: its tests would read the table without the rows to come.
    std::fs::write(&file, pipeline(&bench, "")?)?;
    let macros = project.join("macros/audited.sql");
    let text = std::fs::read_to_string(&macros)?;
    std::fs::remove_file(&macros)?;
    refused(&["does not read the rows of raw.yellow_trips that are to be published", "macros/audited.sql"])?;
    std::fs::write(&macros, text)?;

    // A choice without tests of the table is no check either, nor is a project that does not know it.
    let with = |select: &str| Ok::<_, anyhow::Error>(pipeline(&bench, "")?.replace("source:raw.yellow_trips", select));
    std::fs::write(&file, with("stg_yellow_trips")?)?;
    refused(&[
        "no test of",
        "can look at raw.yellow_trips before it is published",
        "does not read raw.yellow_trips itself",
    ])?;
    std::fs::write(&file, pipeline(&bench, "")?.replace("table = \"raw.yellow_trips\"", "table = \"raw.trips\""))?;
    let other = bench.run(&["run", "yellow", "--month", "2024-01", "--format", "json"])?;
    assert!(other.code == 8 && other.stderr.contains("has no source for raw.trips"), "{}", other.stderr);
    Ok(())
}

#[test]
fn ctrl_c_ends_the_tests_and_leaves_nothing() -> Result<()> {
    python()?;
    let bench = Bench::serving(&[JANUARY])?;
    project(bench.dir.path())?;
    std::fs::write(bench.dir.path().join("lakehost.toml"), pipeline(&bench, "")?)?;
    let folder = bench.dir.path().display().to_string();
    let child = bench
        .command(&["run", "yellow", "--month", "2024-01", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let since = Instant::now();
    while !processes_of(&folder).iter().any(|line| line.contains("dbt.cli.main")) {
        assert!(since.elapsed() < Duration::from_secs(400), "dbt did not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    // SAFETY: the child is ours and not waited for yet.
    unsafe { libc::kill(libc::pid_t::try_from(child.id())?, libc::SIGINT) };
    let stopped = done(child.wait_with_output()?)?;
    assert_eq!(stopped.code, 130, "{}{}", stopped.stdout, stopped.stderr);
    assert_eq!(stopped.json()?["totals"]["status"], "interrupted");
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    assert_eq!(one(&bench, "select count(*) as n from raw.yellow_trips", &[])?, 0, "the table is born, and empty");
    assert_eq!(branches(&bench, &[])?, Vec::<String>::new());
    let files = std::fs::read_dir(bench.dir.path().join("warehouse/raw/yellow_trips/data"));
    let files =
        files.map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>()).unwrap_or_default();
    let left: Vec<_> = files
        .iter()
        .filter(|path| path.is_file() || path.read_dir().is_ok_and(|mut in_it| in_it.next().is_some()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
