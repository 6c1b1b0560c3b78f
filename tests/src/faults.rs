//! Upstream at its worst: the run fails by name or recovers, and the table is whole either way.

use anyhow::Result;
use lakehost_server::Fault;

use crate::support::{Bench, expect, python};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const PATH: &str = "/green_tripdata_2024-01.parquet";

/// Loads the green month under a fault of the next `times` requests; then, with the fault gone, the next run must load it whole.
fn check(fault: Fault, times: u32, code: i32, error: &str) -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let name = format!("{fault:?}");
    bench.server.fault_times(PATH, times, fault);
    let done = bench.load("green", "2024-01", &[])?;
    assert_eq!((done.code, done.error_code().as_str()), (code, error), "{name}\n{}\n{}", done.stdout, done.stderr);
    bench.server.clear_faults();
    let next = bench.load("green", "2024-01", &[])?;
    let status = if code == 0 { "already-loaded" } else { "loaded" };
    expect(&next, 0, &[status]);
    let seen = bench.read_table(&python()?, "raw.green_trips")?;
    assert_eq!((&seen["pyiceberg"]["rows"], &seen["snapshots"]), (&56_551.into(), &1.into()), "{name}");
    Ok(())
}

#[test]
fn a_cut_connection_is_resumed() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    // The first request asks for size and version; the body is cut three times.
    bench.server.fault_after(PATH, 1, 3, Fault::CutAfter(400_000));
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let ranges = bench.server.requests().iter().filter(|request| request.header("if-range").is_some()).count();
    assert!(ranges >= 1, "nothing was resumed by range");
    expect(&bench.load("green", "2024-01", &[])?, 0, &["already-loaded"]);
    Ok(())
}

#[test]
fn a_busy_server_is_asked_again() -> Result<()> {
    check(Fault::retry_after(503, "0"), 2, 0, "none")
}

#[test]
fn a_page_in_place_of_the_file_is_refused() -> Result<()> {
    check(Fault::HtmlBody, u32::MAX, 4, "LH0306")
}

#[test]
fn forbidden_is_not_published() -> Result<()> {
    check(Fault::status(403), u32::MAX, 4, "LH0301")
}

#[test]
fn a_redirect_to_another_host_is_refused_and_named() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    bench.server.fault(PATH, Fault::RedirectTo("http://169.254.169.254/latest".to_owned()));
    let done = bench.load("green", "2024-01", &[])?;
    expect(&done, 10, &["failed"]);
    assert_eq!(done.error_code(), "LH0801");
    assert!(done.stdout.contains("169.254.169.254"), "{}", done.stdout);
    Ok(())
}

#[test]
fn a_truncated_file_is_refused_by_name() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let whole = std::fs::read(bench.served(MONTH))?;
    for keep in [0, 3, 4, 11, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        std::fs::write(bench.served(MONTH), &whole[..keep])?;
        let done = bench.load("green", "2024-01", &[])?;
        expect(&done, 4, &["failed"]);
        assert_eq!(done.error_code(), "LH0306", "{keep} bytes");
        assert!(done.stdout.contains(MONTH), "{}", done.stdout);
    }
    std::fs::write(bench.served(MONTH), &whole)?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    Ok(())
}

/// SNAPPY pages carry no checksum, so damage can decode to other values; it must never lose or make a row, or end the process.
#[test]
fn damaged_pages_lose_no_row_and_end_no_process() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let whole = std::fs::read(bench.served(MONTH))?;
    let mut refused = 0;
    for at in [5_000, 200_000, 400_000, 900_000, 1_100_000, 1_400_000] {
        let mut bytes = whole.clone();
        for byte in &mut bytes[at..at + 64] {
            *byte ^= 0x5a;
        }
        std::fs::write(bench.served(MONTH), &bytes)?;
        for more in [&["--force"][..], &["--cleaner", "trip_cleaner.wasm", "--table", "clean.green_trips"]] {
            let done = bench.load("green", "2024-01", more)?;
            assert!(matches!(done.code, 0 | 4), "{at}: exit {}\n{}\n{}", done.code, done.stdout, done.stderr);
            let totals = done.json()?["totals"].clone();
            refused += usize::from(done.code == 4);
            assert!(done.code == 4 || totals["rows_read"] == 56_551, "{at}\n{}", done.stdout);
        }
    }
    assert!(refused > 0, "no damage was seen at all");
    std::fs::write(bench.served(MONTH), &whole)?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    Ok(())
}

#[test]
fn two_runs_at_once_load_the_window_once() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let args = bench.load_args("green", "2024-01", &[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut children = Vec::new();
    for _ in 0..4 {
        let pipe = std::process::Stdio::piped;
        children.push(bench.command(&args).stdout(pipe()).stderr(pipe()).spawn()?);
    }
    let mut loaded = 0;
    for child in children {
        let done = crate::support::done(child.wait_with_output()?)?;
        assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
        loaded += usize::from(done.statuses()? == ["loaded"]);
    }
    assert_eq!(loaded, 1);
    let seen = bench.read_table(&python()?, "raw.green_trips")?;
    assert_eq!((&seen["pyiceberg"]["rows"], &seen["snapshots"]), (&56_551.into(), &1.into()));
    Ok(())
}
