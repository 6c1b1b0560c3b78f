//! Components that misbehave on purpose: each ends with its own code, quickly, and the table is as it was.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::support::{Bench, component, expect};

/// A source with a fault: a first healthy load, then the faulty one into the same table, which must not change.
fn check_source(fault: &str, code: i32, error: &str, says: &str) -> Result<()> {
    let bench = Bench::serving(&[])?;
    let plugin = component("rogue_source").display().to_string();
    let run = |fault: &str| {
        let config = format!("fault={fault}");
        // Its one column is not that of the others.
        let table = if fault == "huge-rows" { "t.huge" } else { "t.rogue" };
        let month = ["--month", "2024-01", "--table", table, "--force", "--format", "json"];
        bench.run(&[&["run", "--plugin", &plugin, "--config", &config][..], &month].concat())
    };
    let good = run("good")?;
    assert_eq!(good.code, 0, "{}\n{}", good.stdout, good.stderr);
    let before = bench.run(&["query", "--format", "csv", "select count(*) as n from t.rogue"])?;
    let begun = Instant::now();
    let done = run(fault)?;
    let took = begun.elapsed();
    assert_eq!((done.code, done.error_code().as_str()), (code, error), "{fault}\n{}\n{}", done.stdout, done.stderr);
    assert!(done.stdout.contains(says) || done.stderr.contains(says), "{fault}: no `{says}`\n{}", done.stdout);
    assert!(!done.stdout.contains('\u{1b}') && !done.stderr.contains('\u{1b}'), "{fault}: a raw escape got out");
    assert!(took < Duration::from_secs(300), "{fault} took {took:?}");
    let after = bench.run(&["query", "--format", "csv", "select count(*) as n from t.rogue"])?;
    assert_eq!((before.code, &before.stdout), (0, &after.stdout), "{fault}: the table changed");
    Ok(())
}

fn check_cleaner(fault: &str, code: i32, error: &str) -> Result<()> {
    let bench = Bench::serving(&["yellow_tripdata_2024-01.parquet"])?;
    let cleaner = component("rogue_cleaner").display().to_string();
    let load = |fault: &str, more: &[&str]| {
        let config = format!("fault={fault}");
        let column = ["--cleaner-config", "column=payment_type"];
        let args = ["--cleaner", &cleaner, "--cleaner-config", &config, "--table", "t.rogue"];
        bench.load("yellow", "2024-01", &[&args[..], &column, more].concat())
    };
    expect(&load("good", &[])?, 0, &["loaded"]);
    let before = bench.run(&["snapshots", "t.rogue"])?;
    let done = load(fault, &["--force"])?;
    assert_eq!((done.code, done.error_code().as_str()), (code, error), "{fault}\n{}\n{}", done.stdout, done.stderr);
    let names = if code == 5 && fault == "drops-everything" { "t.rogue" } else { "rogue_cleaner" };
    assert!(done.stdout.contains(names), "{fault}: {names} is not named\n{}", done.stdout);
    assert_eq!(before.stdout, bench.run(&["snapshots", "t.rogue"])?.stdout, "{fault}: the table changed");
    Ok(())
}

macro_rules! rogue_sources {
    ($($test:ident: $fault:literal => $code:literal $error:literal $says:literal;)*) => {
        $( #[test] fn $test() -> Result<()> { check_source($fault, $code, $error, $says) } )*
    };
}

macro_rules! rogue_cleaners {
    ($($test:ident: $fault:literal => $code:literal $error:literal;)*) => {
        $( #[test] fn $test() -> Result<()> { check_cleaner($fault, $code, $error) } )*
    };
}

rogue_sources! {
    source_that_loops_in_asks: "loops-in-asks" => 3 "LH0202" "rogue_source";
    source_that_eats_memory: "memory-bomb" => 3 "LH0203" "rogue_source";
    source_that_traps: "trap" => 3 "LH0201" "rogue_source";
    source_that_recurses: "recursion" => 3 "LH0201" "rogue_source";
    source_that_asks_an_ungranted_host: "asks-ungranted-host" => 10 "LH0801" "169.254.169.254";
    source_that_forges_ipc: "forged-ipc" => 3 "LH0205" "rogue_source";
    source_that_compresses: "lz4-frames" => 3 "LH0205" "rogue_source";
    source_that_changes_its_schema: "wrong-schema" => 3 "LH0204" "rogue_source";
    source_of_too_many_rows: "huge-rows" => 5 "LH0401" "nothing";
    source_that_sleeps: "sleep" => 3 "LH0204" "rogue_source";
    source_that_hoards_handles: "too-many-batches" => 3 "LH0209" "rogue_source";
    source_that_forges_a_schema: "forged-schema" => 3 "LH0205" "rogue_source";
    source_that_asks_for_the_metadata_address: "asks-metadata-host" => 10 "LH0801" "169.254.169.254";
    source_without_rows: "no-rows" => 5 "LH0402" "2024-01";
    source_with_a_hostile_error: "hostile-error" => 4 "LH0304" "rogue_source";
}

rogue_cleaners! {
    cleaner_that_loops: "endless-loop" => 3 "LH0202";
    cleaner_that_traps: "trap" => 3 "LH0201";
    cleaner_with_a_short_mask: "bad-mask" => 3 "LH0204";
    cleaner_with_unknown_reasons: "bad-reasons" => 3 "LH0204";
    cleaner_that_forges_ipc: "forged-ipc" => 3 "LH0205";
    cleaner_that_writes_another_type: "wrong-type" => 3 "LH0204";
    cleaner_that_reads_undeclared: "reads-undeclared" => 5 "LH0401";
    cleaner_that_eats_memory: "memory-bomb" => 3 "LH0203";
    cleaner_with_a_long_mask: "long-mask" => 3 "LH0204";
    cleaner_with_too_few_reasons: "bad-reason-count" => 3 "LH0204";
    cleaner_that_promises_no_arrow: "forged-writes" => 3 "LH0205";
    cleaner_that_loses_a_row: "wrong-length" => 3 "LH0204";
    cleaner_that_writes_what_it_did_not_promise: "unpromised-column" => 3 "LH0204";
    cleaner_that_writes_nothing: "missing-columns" => 3 "LH0204";
    cleaner_that_writes_the_window: "reserved-column" => 3 "LH0204";
    cleaner_with_two_rules_of_one_name: "duplicate-rules" => 3 "LH0204";
    cleaner_that_wants_a_missing_column: "reads-missing" => 3 "LH0204";
    cleaner_that_fails: "error" => 3 "LH0208";
}

mod takes_minutes {
    use super::*;

    /// Planning and reading may take 60 s of CPU: too long for the gate.
    #[test]
    fn sources_that_never_return_from_plan_and_read() -> Result<()> {
        check_source("endless-loop", 3, "LH0202", "rogue_source")?;
        check_source("never-returns-from-read", 3, "LH0202", "rogue_source")
    }
}

/// Lengths, offsets and counts that lie, 2^40 rows among them: each is refused before arrow sees it, and nothing is committed.
#[test]
fn source_that_forges_ipc_in_every_way() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let plugin = component("rogue_source").display().to_string();
    let lies = [
        "metadata-length",
        "body-length",
        "buffer-length",
        "buffer-offset",
        "negative-length",
        "row-count",
        "null-count",
        "lz4",
        "truncated",
        "garbage",
    ];
    for lie in lies {
        let forgery = format!("forgery={lie}");
        let args = ["run", "--plugin", &plugin, "--config", "fault=forged-ipc", "--config", &forgery];
        let done = bench.run(&[&args[..], &["--month", "2024-01", "--format", "json"]].concat())?;
        assert_eq!((done.code, done.error_code().as_str()), (3, "LH0205"), "{lie}\n{}\n{}", done.stdout, done.stderr);
    }
    let tables = bench.run(&["table", "list", "--format", "json"])?;
    assert!(!tables.stdout.contains("rogue"), "{}", tables.stdout);
    Ok(())
}

/// A state is asked for by loads that add: one that cannot be kept fails them.
#[test]
fn sources_whose_state_cannot_be_kept() -> Result<()> {
    for (fault, says) in [("state-too-large", "the limit is 1048576"), ("state-no-json", "no JSON")] {
        let (bench, done) = rogue_source(fault, &["--write-mode", "append"])?;
        assert_eq!((done.code, done.error_code().as_str()), (3, "LH0204"), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stderr.contains("rogue_source") && done.stderr.contains(says), "{}", done.stderr);
        let tables = bench.run(&["table", "list", "--format", "json"])?;
        assert!(!tables.stdout.contains("rogue"), "{}", tables.stdout);
    }
    Ok(())
}

fn rogue_source(fault: &str, more: &[&str]) -> Result<(Bench, crate::support::Done)> {
    let bench = Bench::serving(&[])?;
    let plugin = component("rogue_source").display().to_string();
    let config = format!("fault={fault}");
    let args = ["run", "--plugin", &plugin, "--config", &config, "--month", "2024-01", "--format", "json"];
    let done = bench.run(&[&args[..], more].concat())?;
    Ok((bench, done))
}

#[test]
fn source_without_splits_is_no_data() -> Result<()> {
    let (bench, done) = rogue_source("no-splits", &[])?;
    expect(&done, 0, &["no-data"]);
    assert!(!bench.run(&["table", "list"])?.stdout.contains("rogue"));
    Ok(())
}

/// A refusal that the plugin hides is still in the host's own ledger.
#[test]
fn source_that_hides_a_refusal() -> Result<()> {
    let (bench, done) = rogue_source("hides-ungranted-host", &[])?;
    expect(&done, 0, &["loaded"]);
    let run = done.json()?["run_id"].as_str().unwrap_or_default().to_owned();
    let kept = std::fs::read_to_string(format!("{}/_lakehost/runs/{run}.json", bench.warehouse()))?;
    assert!(kept.contains("169.254.169.254"), "{kept}");
    Ok(())
}

/// Names like paths, SQL and terminal codes stay names: nothing is written outside the warehouse, nothing raw is shown.
#[test]
fn source_with_hostile_names() -> Result<()> {
    let (bench, done) = rogue_source("hostile-names", &[])?;
    assert_eq!((done.code, done.error_code().as_str()), (3, "LH0204"), "{}\n{}", done.stdout, done.stderr);
    assert!(!done.stdout.contains('\u{1b}') && !done.stderr.contains('\u{1b}'), "a raw escape got out");
    let mut outside: Vec<_> = std::fs::read_dir(bench.dir.path())?.map(|entry| entry.unwrap().file_name()).collect();
    outside.retain(|name| !["served", "warehouse", "home"].iter().any(|known| name == known));
    assert!(outside.is_empty(), "{outside:?}");
    Ok(())
}

#[test]
fn cleaner_that_drops_everything() -> Result<()> {
    check_cleaner("drops-everything", 5, "LH0402")
}

/// Bits behind the last row are nobody's rows.
#[test]
fn cleaner_with_a_dirty_mask() -> Result<()> {
    let bench = Bench::serving(&["yellow_tripdata_2024-01.parquet"])?;
    let cleaner = component("rogue_cleaner").display().to_string();
    let mut totals = Vec::new();
    for fault in ["good", "dirty-mask"] {
        let config = format!("fault={fault}");
        let column = ["--cleaner-config", "column=payment_type", "--force"];
        let args = ["--cleaner", &cleaner, "--cleaner-config", &config, "--table", "t.rogue"];
        let done = bench.load("yellow", "2024-01", &[&args[..], &column].concat())?;
        expect(&done, 0, &["loaded"]);
        let report = done.json()?;
        totals.push((report["totals"]["rows_written"].clone(), report["totals"]["rows_rejected"].clone()));
    }
    assert_eq!(totals[0], totals[1]);
    Ok(())
}

#[test]
fn component_that_loops_in_spec() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let plugin = component("rogue_spec").display().to_string();
    let done = bench.run(&["run", "--plugin", &plugin, "--month", "2024-01", "--format", "json"])?;
    assert_eq!((done.code, done.error_code().as_str()), (3, "LH0202"), "{}\n{}", done.stdout, done.stderr);
    Ok(())
}

#[test]
fn source_that_floods_the_log() -> Result<()> {
    let (_, done) = rogue_source("log-flood", &[])?;
    expect(&done, 0, &["loaded"]);
    assert!(!done.stderr.contains('\u{1b}'), "a raw escape got out");
    assert!(done.stderr.len() < 1 << 20, "{} bytes of log", done.stderr.len());
    Ok(())
}

#[test]
fn component_that_loops_before_it_says_anything() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let plugin = component("rogue_start").display().to_string();
    let begun = Instant::now();
    let done = bench.run(&["run", "--plugin", &plugin, "--month", "2024-01", "--format", "json"])?;
    assert_eq!((done.code, done.error_code().as_str()), (3, "LH0202"), "{}\n{}", done.stdout, done.stderr);
    assert!(begun.elapsed() < Duration::from_secs(60));
    Ok(())
}

#[test]
fn a_file_that_is_no_component_is_refused() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let fake = bench.dir.path().join("fake.wasm");
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", b"#!/bin/sh\necho hello\n"] {
        std::fs::write(&fake, bytes)?;
        let done = bench.run(&["run", "--plugin", "fake.wasm", "--format", "json"])?;
        assert_eq!(
            (done.code, done.error_code().as_str()),
            (3, "LH0206"),
            "{bytes:?}\n{}\n{}",
            done.stdout,
            done.stderr
        );
    }
    Ok(())
}

#[test]
fn an_unknown_plugin_that_asks_is_refused_without_a_terminal() -> Result<()> {
    let bench = Bench::serving(&["green_tripdata_2024-01.parquet"])?;
    // The shipped component with one byte more (a custom section) is another component: nobody approved that one.
    let mut bytes = std::fs::read(component("nyc_tlc"))?;
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(bench.dir.path().join("stranger.wasm"), bytes)?;
    let url = bench.url();
    let base = format!("base_url={url}");
    let args =
        ["run", "--plugin", "stranger.wasm", "--config", "dataset=green", "--config", &base, "--month", "2024-01"];
    let json = ["--format", "json"];
    let done = bench.run(&[&args[..], &json].concat())?;
    assert_eq!((done.code, done.error_code().as_str()), (10, "LH0802"), "{}\n{}", done.stdout, done.stderr);
    let allowed = bench.run(&[&args[..], &["--allow", &url], &json].concat())?;
    expect(&allowed, 0, &["loaded"]);
    Ok(())
}
