//! Rejected rows that pass now: they move, once, and the table is as if it had been loaded by the present rules from the start.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::audit::{month, one, pipeline};
use crate::support::{Bench, Done, expect, python};

const JANUARY: &str = "green_tripdata_2024-01.parquet";
const STRICT: &str =
    "[[pipeline.green.cleaner]]\nplugin = \"trip_cleaner.wasm\"\nconfig = { distance_below_miles = 2.0, off = [] }\n";
const LAX: &str =
    "[[pipeline.green.cleaner]]\nplugin = \"trip_cleaner.wasm\"\nconfig = { off = [\"negative_amount\"] }\n";

fn run(bench: &Bench) -> Result<Done> {
    bench.run(&["run", "green", "--month", "2024-01", "--format", "json"])
}

fn replay(bench: &Bench, more: &[&str]) -> Result<Done> {
    bench.run(&[&["rejects", "replay", "clean.green_trips", "--format", "json"], more].concat())
}

/// Rows that are rejected now, of one rule or all.
fn rejected(bench: &Bench, rule: &str) -> Result<u64> {
    let sql = format!("select count(*) as n from clean.green_trips__rejected where rule like '{rule}'");
    one(bench, &sql, &[])?.as_u64().context("no count")
}

/// What two readers agree that the table and the table of rejected rows hold: rows, and per column count and sum.
fn contents(bench: &Bench, python: &std::path::Path) -> Result<[Value; 2]> {
    let mut main = bench.read_table(python, "clean.green_trips")?["pyiceberg"].take();
    let mut beside = bench.read_table(python, "clean.green_trips__rejected")?["pyiceberg"].take();
    // Who rejected them, and in which load, differs; how many there are and of what must not.
    for column in ["load_id", "run_id"] {
        beside["columns"].as_object_mut().context("columns")?.remove(column);
    }
    Ok([main.take(), beside.take()])
}

#[test]
fn replayed_rows_are_those_of_a_load_with_the_new_rules() -> Result<()> {
    let python = python()?;
    let truth = Bench::serving(&[JANUARY])?;
    pipeline(&truth, LAX)?;
    expect(&run(&truth)?, 0, &["loaded"]);
    let truth = contents(&truth, &python)?;

    let bench = Bench::serving(&[JANUARY])?;
    pipeline(&bench, STRICT)?;
    let first = run(&bench)?;
    expect(&first, 0, &["loaded"]);
    let load_id = first.json()?["windows"][0]["load_id"].clone();
    let before = rejected(&bench, "%")?;
    assert!(before > 20_000, "{before} rows are rejected by the strict rules");

    // Nothing passes by the rules that rejected them, and a rehearsal changes nothing.
    expect(&replay(&bench, &[])?, 0, &["no-data"]);
    pipeline(&bench, LAX)?;
    let dry = replay(&bench, &["--dry-run"])?;
    expect(&dry, 0, &["skipped"]);
    assert!(dry.stdout.contains("would move"), "{}", dry.stdout);
    assert_eq!(rejected(&bench, "%")?, before);

    // Those of one rule first; the others wait.
    let negative = rejected(&bench, "negative_amount")?;
    let one_rule = replay(&bench, &["--window", "2024-01", "--rule", "negative_amount"])?;
    expect(&one_rule, 0, &["loaded"]);
    let window = one_rule.json()?["windows"][0].clone();
    assert_eq!((&window["rows_read"], &window["rows_written"]), (&negative.into(), &negative.into()), "{window}");
    assert_eq!((rejected(&bench, "negative_amount")?, rejected(&bench, "%")?), (0, before - negative));

    let rest = replay(&bench, &[])?;
    expect(&rest, 0, &["loaded"]);
    let window = rest.json()?["windows"][0].clone();
    let still: u64 = window["rows_rejected"].as_object().context("none")?.values().filter_map(Value::as_u64).sum();
    let moved = window["rows_written"].as_u64().context("none")?;
    assert_eq!((Some(before - negative), moved + still), (window["rows_read"].as_u64(), before - negative));
    assert_eq!(contents(&bench, &python)?, truth);
    assert!(window["note"].as_str().unwrap_or_default().starts_with(&format!("{moved} of ")), "{window}");

    // Again: nothing that passes is left, and nothing comes twice.
    expect(&replay(&bench, &[])?, 0, &["no-data"]);
    assert_eq!(contents(&bench, &python)?, truth);
    // The snapshot says what it was, and the window is still the load that it was.
    let summary = bench.read_table(&python, "clean.green_trips")?["summary"].take();
    assert_eq!((&summary["lakehost.action"], &summary["lakehost.replayed-load-id"]), (&json!("replay"), &load_id));
    pipeline(&bench, STRICT)?;
    expect(&run(&bench)?, 0, &["already-loaded"]);
    assert_eq!(contents(&bench, &python)?, truth);
    // A load by the new rules replaces the replayed rows with the rest of the window.
    pipeline(&bench, LAX)?;
    expect(&run(&bench)?, 0, &["loaded"]);
    assert_eq!(contents(&bench, &python)?, truth);
    Ok(())
}

#[test]
fn killed_anywhere_rows_are_in_one_of_the_two_tables() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    month(&bench, &python, "2024-01", "select * from {january} limit 3000")?;
    // Rows of both tables, and a sum that tells whether they are the same ones.
    let state = || -> Result<(u64, i64, u64)> {
        let cents = "select cast(round(sum(total_amount) * 100) as bigint) as n from clean.green_trips";
        let rows = one(&bench, "select count(*) as n from clean.green_trips", &[])?;
        let cents = one(&bench, cents, &[])?;
        Ok((rows.as_u64().context("rows")?, cents.as_i64().context("cents")?, rejected(&bench, "%")?))
    };
    let mut whole = None;
    for point in ["intent", "first-file", "before-manifests", "before-sql-commit", "after-sql-commit", "before-cleanup"]
    {
        std::fs::remove_dir_all(bench.dir.path().join("warehouse")).ok();
        pipeline(&bench, STRICT)?;
        expect(&run(&bench)?, 0, &["loaded"]);
        let before = state()?;
        pipeline(&bench, LAX)?;
        let args = ["rejects", "replay", "clean.green_trips", "--format", "json"];
        let killed = bench.command(&args).env("LAKEHOST_FAIL_POINT", point).output()?;
        assert_eq!(killed.status.code(), None, "{point}: {}", String::from_utf8_lossy(&killed.stderr));
        let landed = state()? != before;
        assert_eq!(landed, ["after-sql-commit", "before-cleanup"].contains(&point), "{point}");
        expect(&replay(&bench, &[])?, 0, &[if landed { "no-data" } else { "loaded" }]);
        let after = state()?;
        assert_eq!((after.0 + after.2, before.0 + before.2), (3_000, 3_000), "{point}");
        assert_eq!(*whole.get_or_insert(after), after, "{point}");
    }
    assert_eq!(bench.read_table(&python, "clean.green_trips")?["pyiceberg"]["rows"], whole.unwrap_or_default().0);
    Ok(())
}

/// A month whose ids are fractions in ten rows and that has a column nobody knows in twenty others.
fn drifted(bench: &Bench, python: &std::path::Path) -> Result<()> {
    month(bench, python, "2024-01", "select * from {january} limit 500")?;
    month(
        bench,
        python,
        "2024-02",
        "select * replace (case when n <= 10 then 1.5::double else \"VendorID\"::double end as \"VendorID\") from \
         (select *, n::double / 4 as more from (select *, row_number() over () as n from {january} limit 500) where n > 30 \
          union all by name select *, null::double as more from (select *, row_number() over () as n from {january} limit 500) where n <= 30) \
         order by n",
    )?;
    Ok(())
}

#[test]
fn a_relaxed_contract_lets_rows_in() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    drifted(&bench, &python)?;
    let load = || bench.run(&["run", "green", "--month", "2024-01..2024-02", "--format", "json"]);
    pipeline(&bench, "schema = \"discard_row\"\ncolumns.n.schema = \"discard_value\"\n")?;
    let done = load()?;
    expect(&done, 0, &["loaded", "loaded"]);
    assert_eq!(done.json()?["windows"][1]["rows_rejected"], json!({ "cast:VendorID": 10, "contract:more": 470 }));

    // The rows of the new column; those with a value that does not fit stay what they are.
    pipeline(&bench, "schema = \"evolve\"\ncolumns.n.schema = \"discard_value\"\n")?;
    let done = replay(&bench, &[])?;
    expect(&done, 0, &["loaded"]);
    let window = done.json()?["windows"][0].clone();
    assert_eq!((&window["window"], &window["rows_written"]), (&json!("2024-02"), &json!(470)));
    assert_eq!(window["rows_rejected"], json!({ "cast:VendorID": 10 }));
    assert!(window["note"].as_str().unwrap_or_default().contains("new column more (Float64)"), "{window}");
    let sums = "select round(sum(more) * 4) * 1000 + count(more) as n from clean.green_trips";
    assert_eq!(one(&bench, sums, &[])?, f64::from((31..=500).sum::<i32>() * 1000 + 470));
    assert_eq!(rejected(&bench, "cast:VendorID")?, 10);

    // Then without the value: nothing is ever rounded on the way.
    pipeline(&bench, "schema = \"discard_value\"\n")?;
    let done = replay(&bench, &["--rule", "cast:VendorID"])?;
    expect(&done, 0, &["loaded"]);
    assert_eq!(done.json()?["windows"][0]["values_discarded"]["VendorID"], 10);
    assert_eq!(rejected(&bench, "%")?, 0);
    let seen = bench.read_table(&python, "clean.green_trips")?;
    assert_eq!(seen["pyiceberg"]["windows"], json!({ "2024-01-01": 500, "2024-02-01": 500 }));
    Ok(())
}

#[test]
fn a_failed_check_leaves_both_tables_as_they_were() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    month(&bench, &python, "2024-01", "select * from {january} limit 3000")?;
    pipeline(&bench, STRICT)?;
    expect(&run(&bench)?, 0, &["loaded"]);
    let before = contents(&bench, &python)?;
    let check = "[[pipeline.green.check]]\nrange = { column = \"trip_distance\", max = 2 }\n";
    pipeline(&bench, &format!("{LAX}{check}"))?;
    let refused = replay(&bench, &[])?;
    expect(&refused, 5, &["failed"]);
    assert_eq!(refused.error_code(), "LH0406");
    assert_eq!(contents(&bench, &python)?, before);
    // Rows that are no rows any more, and tables that are none.
    let nobody = bench.run(&["rejects", "replay", "clean.nobody", "--pipeline", "green", "--format", "json"])?;
    assert_eq!((nobody.code, nobody.error_code().as_str()), (7, "LH0604"), "{}", nobody.stdout);
    let unnamed = bench.run(&["rejects", "replay", "clean.nobody", "--format", "json"])?;
    assert_eq!(unnamed.code, 2, "{}{}", unnamed.stdout, unnamed.stderr);
    assert!(unnamed.stderr.contains("--pipeline"), "{}", unnamed.stderr);
    Ok(())
}
