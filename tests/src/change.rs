//! Rows that go and layouts that change through the command line, read back by independent readers.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::audit::{one, pipeline};
use crate::support::{Bench, expect, python};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const ROWS: u64 = 56_551;
const TABLE: &str = "raw.green_trips";

fn table(bench: &Bench, args: &[&str]) -> Result<Value> {
    let done = bench.run(&[&["table"], args, &["--format", "json"]].concat())?;
    assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.stdout, done.stderr);
    done.json()
}

/// Exit code and code of a verb that must fail.
fn refused(bench: &Bench, args: &[&str]) -> Result<(i32, String, String)> {
    let done = bench.run(&[args, &["--format", "json"]].concat())?;
    let error = done.json()?["error"].clone();
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Ok((done.code, text("code"), text("message")))
}

fn count(bench: &Bench, condition: &str) -> Result<u64> {
    let counted = one(bench, &format!("select count(*) from {TABLE} where {condition}"), &[])?;
    counted.as_u64().with_context(|| counted.to_string())
}

#[test]
fn rows_that_a_condition_means_are_deleted_and_no_others() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let condition = "fare_amount < 0 or (trip_distance = 0 and store_and_fwd_flag is null)";
    let meant = count(&bench, condition)?;
    assert!(meant > 100 && meant < ROWS, "{meant}");
    let before =
        one(&bench, &format!("select sum(total_amount) from {TABLE} where not coalesce({condition}, false)"), &[])?;

    let dry = table(&bench, &["delete", TABLE, "--where", condition, "--dry-run"])?;
    assert_eq!((dry["status"].as_str(), dry["rows_deleted"].as_u64()), (Some("would-delete"), Some(meant)));
    assert_eq!(refused(&bench, &["table", "delete", TABLE, "--where", condition])?.1, "LH0101", "nobody said yes");
    assert_eq!(count(&bench, "true")?, ROWS);

    let done = table(&bench, &["delete", TABLE, "--where", condition, "--yes"])?;
    assert_eq!((done["status"].as_str(), done["rows_deleted"].as_u64()), (Some("deleted"), Some(meant)));
    let id = done["snapshot_id"].as_str().context("no snapshot id")?.to_owned();
    assert_eq!((count(&bench, "true")?, count(&bench, condition)?), (ROWS - meant, 0));
    assert_eq!(one(&bench, &format!("select sum(total_amount) from {TABLE}"), &[])?, before);
    let seen = bench.read_table(&python()?, TABLE)?;
    assert_eq!(seen["pyiceberg"]["rows"], ROWS - meant);
    assert_eq!(seen["summary"]["lakehost.action"], "delete");
    assert_eq!(seen["summary"]["lakehost.where"], condition);
    assert_eq!(seen["summary"]["lakehost.rows-deleted"], meant.to_string());
    assert_eq!(seen["summary"]["total-records"], (ROWS - meant).to_string());
    let again = table(&bench, &["delete", TABLE, "--where", condition, "--yes"])?;
    assert_eq!((again["status"].as_str(), again["snapshot_id"].as_str()), (Some("nothing"), None));

    // The window stays loaded; --force brings its rows back, and so does a rollback.
    expect(&bench.load("green", "2024-01", &[])?, 0, &["already-loaded"]);
    table(&bench, &["rollback", TABLE, &parent(&bench, &id)?, "--yes"])?;
    assert_eq!(count(&bench, "true")?, ROWS);
    table(&bench, &["delete", TABLE, "--where", "true", "--yes"])?;
    assert_eq!(count(&bench, "true")?, 0);
    expect(&bench.load("green", "2024-01", &["--force"])?, 0, &["loaded"]);
    assert_eq!(count(&bench, "true")?, ROWS);
    Ok(())
}

fn parent(bench: &Bench, id: &str) -> Result<String> {
    let done = bench.run(&["snapshots", TABLE, "--format", "json"])?;
    let all = done.json()?["snapshots"].as_array().cloned().context("no snapshots")?;
    let found = all.iter().find(|snapshot| snapshot["snapshot_id"] == id).context("it is not listed")?;
    Ok(found["parent_id"].as_str().context("no parent")?.to_owned())
}

#[test]
fn a_branch_loses_rows_that_main_keeps() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    table(&bench, &["branch", TABLE, "trial"])?;
    let done = table(&bench, &["delete", TABLE, "--where", "trip_distance > 1", "--branch", "trial", "--yes"])?;
    let gone = done["rows_deleted"].as_u64().context("no count")?;
    let on = |branch: &str| one(&bench, &format!("select count(*) from {TABLE}"), &["--as-of", branch]);
    assert_eq!((on("main")?.as_u64(), on("trial")?.as_u64()), (Some(ROWS), Some(ROWS - gone)));
    let (code, error, message) =
        refused(&bench, &["table", "delete", TABLE, "--where", "true", "--branch", "nope", "--yes"])?;
    assert_eq!((code, error.as_str()), (2, "LH0109"), "{message}");
    Ok(())
}

#[test]
fn a_wrong_condition_says_what_is_wrong_and_deletes_nothing() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    for (condition, message) in [
        ("", "the condition is empty"),
        ("fare_amnt < 0", "no column `fare_amnt`"),
        ("fare_amount", "`fare_amount` is Float64, and not true or false"),
        ("1 = 1", "`1 = 1` is true for every row"),
        ("true; drop table x", "the condition cannot be parsed"),
        ("fare_amount in (select 1)", "the condition has a query in it"),
    ] {
        let (code, error, said) = refused(&bench, &["table", "delete", TABLE, "--yes", "--where", condition])?;
        assert_eq!((code, error.as_str()), (2, "LH0107"), "{condition}: {said}");
        assert!(said.starts_with(message), "{condition}: {said}");
    }
    let (code, error, _) = refused(&bench, &["table", "delete", "raw.green_trip", "--yes", "--where", "true"])?;
    assert_eq!((code, error.as_str()), (7, "LH0604"));
    assert_eq!(count(&bench, "true")?, ROWS);
    Ok(())
}

#[test]
fn a_new_layout_holds_for_later_loads_and_compactions() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let done = table(&bench, &["set-partitioning", TABLE, "--partition-by", "day(lpep_pickup_datetime)"])?;
    assert_eq!(done["now"], serde_json::json!(["identity(_lakehost_window)", "day(lpep_pickup_datetime)"]));
    let done = table(&bench, &["set-sort", TABLE, "-fare_amount,trip_distance"])?;
    assert_eq!(done["now"], serde_json::json!(["fare_amount desc", "trip_distance"]));
    let python = python()?;
    let before = bench.read_table(&python, TABLE)?;
    let compacted = table(&bench, &["compact", TABLE])?;
    assert_eq!((compacted["files_before"].as_u64(), compacted["rows"].as_u64()), (Some(1), Some(ROWS)));
    assert!(compacted["files_after"].as_u64() >= Some(31), "{compacted}");
    let check = |what: &str| -> Result<()> {
        assert_eq!(bench.read_table(&python, TABLE)?["pyiceberg"], before["pyiceberg"], "{what}");
        Ok(())
    };
    check("compacted into days")?;
    expect(&bench.load("green", "2024-01", &["--force"])?, 0, &["loaded"]);
    check("loaded again")?;
    let partitions = table(&bench, &["partitions", TABLE])?;
    assert!(partitions["partitions"].as_array().is_some_and(|all| all.len() >= 31), "{partitions}");
    table(&bench, &["set-partitioning", TABLE, "--partition-by", "none"])?;
    let compacted = table(&bench, &["compact", TABLE])?;
    assert_eq!(compacted["files_after"].as_u64(), Some(1), "{compacted}");
    check("compacted into one")?;

    table(&bench, &["columns", TABLE, "rename", "fare_amount", "fare"])?;
    let done = bench.run(&["query", &format!("select fare from {TABLE} limit 1"), "--format", "json"])?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    table(&bench, &["columns", TABLE, "drop", "trip_type", "--yes"])?;
    let (code, error, message) = refused(&bench, &["table", "columns", TABLE, "drop", "fare", "--yes"])?;
    assert_eq!((code, error.as_str()), (7, "LH0603"), "{message}");
    let (code, error, message) = refused(&bench, &["table", "set-partitioning", TABLE, "--partition-by", "week(x)"])?;
    assert_eq!((code, error.as_str()), (2, "LH0101"), "{message}");
    let seen = bench.read_table(&python, TABLE)?;
    assert_eq!(seen["pyiceberg"]["columns"]["fare"], before["pyiceberg"]["columns"]["fare_amount"]);
    assert!(seen["pyiceberg"]["columns"].get("trip_type").is_none());
    Ok(())
}

#[test]
fn a_pipeline_keeps_its_table_small_by_itself() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    pipeline(
        &bench,
        "write = \"append\"\nmaintenance = { files = 2, snapshots = 3, keep = 1, older_than = \"0 seconds\" }\n",
    )?;
    let run = || bench.run(&["run", "green", "--month", "2024-01", "--force", "--format", "json"]);
    for _ in 0..2 {
        let done = run()?;
        expect(&done, 0, &["loaded"]);
        assert_eq!(done.json()?["maintenance"], serde_json::json!([]));
    }
    let done = run()?;
    expect(&done, 0, &["loaded"]);
    assert_eq!(done.json()?["maintenance"][0], "compacted 3 files of window 2024-01 into 1", "{}", done.stdout);
    let done = run()?;
    let expired = done.json()?["maintenance"][0].as_str().unwrap_or_default().to_owned();
    assert!(expired.starts_with("expired ") && expired.ends_with(" files"), "{}", done.stdout);
    let rows = one(&bench, "select count(*) from clean.green_trips", &[])?;
    assert_eq!(rows.as_u64(), Some(4 * ROWS));
    Ok(())
}

#[test]
fn upkeep_that_fails_is_a_warning_and_waits_for_the_next_run() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    pipeline(&bench, "write = \"append\"\nmaintenance = { files = 1 }\n")?;
    let args = ["run", "green", "--month", "2024-01", "--force"];
    let run = || bench.run(&[&args[..], &["--format", "json"]].concat());
    expect(&run()?, 0, &["loaded"]);
    // A file stands where the folder of rewritten files has to be.
    let folder = bench.dir.path().join("warehouse/clean/green_trips/data/rewritten");
    std::fs::write(&folder, b"")?;
    let done = run()?;
    expect(&done, 0, &["loaded"]);
    let report = done.json()?;
    let warning = report["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("maintenance of clean.green_trips has to wait: cannot write"), "{}", done.stdout);
    assert!(done.stderr.contains("has to wait"), "{}", done.stderr);
    assert_eq!(report["maintenance"], serde_json::json!([]));
    std::fs::remove_file(&folder)?;
    // Killed in the middle of it the load has landed all the same.
    let killed = bench.command(&args).env("LAKEHOST_FAIL_POINT", "compact-written").output()?;
    assert_eq!(killed.status.code(), None, "{}", String::from_utf8_lossy(&killed.stderr));
    let rows = || one(&bench, "select count(*) from clean.green_trips", &[]);
    assert_eq!(rows()?.as_u64(), Some(3 * ROWS));
    let done = bench.run(&args)?;
    assert!(done.stdout.contains("  maintenance    compacted 4 files of window 2024-01 into 1\n"), "{}", done.stdout);
    assert_eq!(rows()?.as_u64(), Some(4 * ROWS));
    Ok(())
}

#[test]
fn a_query_writes_to_devices_and_pipes_and_leaves_them_what_they_are() -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;

    let bench = Bench::serving(&[])?;
    let pipe = bench.dir.path().join("pipe");
    let name = std::ffi::CString::new(pipe.display().to_string())?;
    // SAFETY: a path that ends with a zero, and a mode.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    bench.run(&["init"])?;
    std::fs::create_dir_all(bench.warehouse())?;
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::read_to_string(pipe))
    };
    expect(&bench.load("green", "2024-02", &[])?, 4, &["not-published"]);
    let done = bench.run(&["query", "select 7 as n", "--format", "csv", "--output", &pipe.display().to_string()])?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(reader.join().unwrap()?, "n\n7\n");
    assert!(std::fs::metadata(&pipe)?.file_type().is_fifo());

    // So is a stdout that others write to as well.
    let log = bench.dir.path().join("log");
    std::fs::write(&log, "before\n")?;
    let out = std::fs::File::options().append(true).open(&log)?;
    let args = ["query", "select 9 as n", "--format", "csv", "--output", "/dev/stdout"];
    assert!(bench.command(&args).stdout(out).status()?.success());
    assert_eq!(std::fs::read_to_string(&log)?, "before\nn\n9\n");

    // A link stays one, and the file behind it is written.
    let (file, link) = (bench.dir.path().join("rows.csv"), bench.dir.path().join("link.csv"));
    std::fs::write(&file, "old")?;
    std::os::unix::fs::symlink(&file, &link)?;
    let done = bench.run(&["query", "select 8 as n", "--format", "csv", "--output", &link.display().to_string()])?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(std::fs::symlink_metadata(&link)?.is_symlink());
    assert_eq!(std::fs::read_to_string(&file)?, "n\n8\n");
    Ok(())
}
