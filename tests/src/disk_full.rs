//! A disk that fills up at every file of a load: the error names the file, the table is whole, and with some space the next run finishes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::audit::one;
use crate::support::{Bench, expect, python};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const OTHER: &str = "green_tripdata_2024-02.parquet";
const ROWS: u64 = 56_551;
const TABLE: &str = "raw.green_trips";

/// A file system in memory over a bench's warehouse; gone with it.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// `None`: this user may not mount, which the test's output says.
    fn mount(folder: &Path, kib: u64) -> Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(folder).output();
        if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: a full disk (no file system can be mounted here)");
            return Ok(None);
        }
        Ok(Some(Self { folder: folder.to_owned() }))
    }

    fn resize(&self, kib: u64) -> Result<()> {
        let output = Command::new("mount").args(["-o", &format!("remount,size={kib}k")]).arg(&self.folder).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn used_kib(&self) -> Result<u64> {
        let output = Command::new("df").args(["--output=used", "-k"]).arg(&self.folder).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().nth(1).and_then(|line| line.trim().parse().ok()).context(text)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

#[test]
fn a_disk_that_is_full_at_any_file_costs_the_load_alone() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    std::fs::copy(bench.served(MONTH), bench.served(OTHER))?;
    let Some(disk) = Disk::mount(Path::new(&bench.warehouse()), 64 << 10)? else { return Ok(()) };
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let start = disk.used_kib()?;
    expect(&bench.load("green", "2024-02", &[])?, 0, &["loaded"]);
    let needed = disk.used_kib()? - start;
    assert_eq!(bench.run(&["table", "rollback", TABLE, &first(&bench)?, "--yes"])?.code, 0);

    let mut failures = Vec::new();
    let mut landed = 0;
    let used = disk.used_kib()?;
    for free in (0..needed + 160).step_by(32) {
        // Only so much is free; what the catalog's journal takes is part of it.
        disk.resize((disk.used_kib()? + free).max(4))?;
        let done = bench.load("green", "2024-02", &["--force"])?;
        disk.resize(64 << 10)?;
        let rows = one(&bench, &format!("select count(*) from {TABLE}"), &[])?.as_u64().context("no count")?;
        if done.code == 0 {
            landed += 1;
            assert!(rows == 2 * ROWS, "{free} KiB: {rows} rows");
        } else {
            let report = done.json()?;
            let (code, text) = (done.error_code(), report["error"].to_string());
            assert_eq!((done.code, code.as_str()), (11, "LH1001"), "{free} KiB\n{}\n{}", done.stdout, done.stderr);
            // The data file, a manifest, the catalog: whatever it was, it is named.
            assert!(text.contains(&bench.warehouse()), "{free} KiB names no file: {text}");
            assert!(report["error"]["hint"].as_str().is_some_and(|hint| hint.contains("space")), "{text}");
            assert!(rows == ROWS || landed > 0 && rows == 2 * ROWS, "{free} KiB: {rows} rows");
            failures.push((free, report["error"]["message"].as_str().unwrap_or_default().to_owned()));
        }
    }
    let kinds: std::collections::BTreeSet<&str> = failures.iter().map(|(_, message)| message.as_str()).collect();
    eprintln!("{} of them failed, {landed} landed, from {used} KiB: {kinds:#?}", failures.len());
    assert!(failures.len() > 5 && landed > 0, "{failures:#?}");
    expect(&bench.load("green", "2024-02", &["--force"])?, 0, &["loaded"]);
    assert_eq!(bench.read_table(&python()?, TABLE)?["pyiceberg"]["rows"], 2 * ROWS);
    Ok(())
}

fn first(bench: &Bench) -> Result<String> {
    let history = bench.run(&["table", "history", TABLE, "--format", "json"])?.json()?;
    Ok(history["history"][0]["snapshot_id"].as_str().context("no history")?.to_owned())
}

#[test]
fn a_table_is_dropped_from_a_full_disk() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let Some(disk) = Disk::mount(Path::new(&bench.warehouse()), 64 << 10)? else { return Ok(()) };
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    disk.resize(disk.used_kib()?)?;
    let done = bench.run(&["table", "drop", TABLE, "--yes", "--format", "json"])?;
    let left = one_or_none(&bench)?;
    if done.code == 0 {
        assert_eq!(left, None, "{}", done.stdout);
    } else {
        // The catalog could not write that it is gone: it is all there, and the message says what to do.
        assert_eq!((done.code, left), (11, Some(ROWS)), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("LH1001") && done.stdout.contains("space"), "{}", done.stdout);
        disk.resize(64 << 10)?;
        assert_eq!(bench.run(&["table", "drop", TABLE, "--yes"])?.code, 0);
    }
    disk.resize(64 << 10)?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    Ok(())
}

fn one_or_none(bench: &Bench) -> Result<Option<u64>> {
    let listed = bench.run(&["table", "list", "--format", "json"])?.json()?;
    Ok(listed["tables"].as_array().and_then(|tables| tables.first()).and_then(|table| table["rows"].as_u64()))
}
