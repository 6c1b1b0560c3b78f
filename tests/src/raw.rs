//! `--raw-landing`: the source file itself is in the warehouse before its rows are, once, whole, and nobody's upkeep takes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::support::{Bench, expect};

const MONTH: &str = "green_tripdata_2024-01.parquet";

fn folder(bench: &Bench) -> PathBuf {
    Path::new(&bench.warehouse()).join("raw_data/raw.green_trips/2024-01")
}

fn names(folder: &Path) -> Vec<String> {
    let found =
        fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    let mut names: Vec<String> = found.map(Iterator::collect).unwrap_or_default();
    names.sort();
    names
}

#[test]
fn the_source_file_is_kept_as_it_came() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &["--raw-landing"])?, 0, &["loaded"]);
    let folder = folder(&bench);
    let kept = folder.join(MONTH);
    assert_eq!(names(&folder), [MONTH.to_owned(), format!("{MONTH}.sha256")]);
    assert_eq!(fs::read(&kept)?, fs::read(bench.served(MONTH))?);
    let checked = Command::new("sha256sum").arg("-c").arg(format!("{MONTH}.sha256")).current_dir(&folder).output()?;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    let provenance = bench.run(&["table", "provenance", "raw.green_trips", "main", "--format", "json"])?.json()?;
    let recorded = provenance["objects"][0]["raw"].as_str().unwrap().to_owned();
    assert_eq!(fs::canonicalize(&recorded)?, fs::canonicalize(&kept)?);
    let said = bench.run(&["table", "provenance", "raw.green_trips", "main"])?;
    assert!(said.stdout.contains("kept as it came at"), "{}", said.stdout);

    // Again: the same bytes are there, and nothing is written.
    let before = fs::metadata(&kept)?.modified()?;
    expect(&bench.load("green", "2024-01", &["--raw-landing"])?, 0, &["already-loaded"]);
    expect(&bench.load("green", "2024-01", &["--raw-landing", "--force"])?, 0, &["loaded"]);
    assert_eq!((fs::metadata(&kept)?.modified()?, names(&folder).len()), (before, 2));

    // Upstream publishes the month anew: both are kept.
    let first = fs::read(&kept)?;
    republish(&bench)?;
    expect(&bench.load("green", "2024-01", &["--raw-landing"])?, 0, &["loaded"]);
    assert_eq!((names(&folder).len(), fs::read(&kept)?), (4, first));
    let other = names(&folder).into_iter().find(|name| name.ends_with(&format!("-{MONTH}"))).unwrap();
    assert_eq!(fs::read(folder.join(other))?, fs::read(bench.served(MONTH))?);

    // No upkeep takes them, nor does the end of the table.
    let orphans =
        ["table", "orphans", "--older-than", "0s", "--allow-younger-than-72h", "--delete", "--format", "json"];
    let found = bench.run(&orphans)?;
    assert!(found.code == 0 && !found.stdout.contains("raw_data"), "{}\n{}", found.stdout, found.stderr);
    assert_eq!(bench.run(&["table", "drop", "raw.green_trips", "--yes"])?.code, 0);
    assert_eq!(names(&folder).len(), 4);
    Ok(())
}

/// The same rows in a file of other bytes: one letter of its writer's name.
fn republish(bench: &Bench) -> Result<()> {
    let mut bytes = fs::read(bench.served(MONTH))?;
    let writer = b"parquet-cpp-arrow";
    let at = bytes.windows(writer.len()).rposition(|part| part == writer).unwrap();
    bytes[at] = b'P';
    Ok(fs::write(bench.served(MONTH), bytes)?)
}

#[test]
fn a_file_that_cannot_be_kept_stops_its_window() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    fs::create_dir_all(bench.warehouse())?;
    fs::write(Path::new(&bench.warehouse()).join("raw_data"), "in the way")?;
    let done = bench.load("green", "2024-01", &["--raw-landing"])?;
    expect(&done, 6, &["failed"]);
    assert_eq!(done.error_code(), "LH0501");
    assert!(done.stderr.contains("raw_data") || done.stdout.contains("raw_data"), "{}", done.stderr);
    let tables = bench.run(&["table", "list", "--format", "json"])?.stdout;
    assert!(!tables.contains("green_trips"), "nothing was committed: {tables}");
    fs::remove_file(Path::new(&bench.warehouse()).join("raw_data"))?;
    expect(&bench.load("green", "2024-01", &["--raw-landing"])?, 0, &["loaded"]);
    Ok(())
}
