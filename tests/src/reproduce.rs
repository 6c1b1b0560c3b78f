//! A snapshot's load made again: equal while nothing changed, and different, by name, when a file, an object or a component did.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::audit::pipeline;
use crate::support::{Bench, Done, expect};

const JANUARY: &str = "green_tripdata_2024-01.parquet";
const CLEANER: &str =
    "[[pipeline.green.cleaner]]\nplugin = \"trip_cleaner.wasm\"\nconfig = { distance_below_miles = 50.0 }\n";

fn loaded() -> Result<Bench> {
    let bench = Bench::serving(&[JANUARY])?;
    pipeline(&bench, CLEANER)?;
    expect(&bench.run(&["run", "green", "--month", "2024-01", "--format", "json"])?, 0, &["loaded"]);
    Ok(bench)
}

fn reproduce(bench: &Bench, at: &str, more: &[&str]) -> Result<Done> {
    bench.run(&[&["table", "reproduce", "clean.green_trips", at, "--format", "json"], more].concat())
}

/// The only data file of the table.
fn data_file(bench: &Bench) -> Result<std::path::PathBuf> {
    let files = bench.run(&["table", "files", "clean.green_trips", "--format", "json"])?.json()?;
    let path = files["files"][0]["file_path"].as_str().or(files[0]["file_path"].as_str());
    Ok(path.with_context(|| format!("no file: {files}"))?.trim_start_matches("file://").into())
}

#[test]
fn a_load_made_again_has_the_same_rows() -> Result<()> {
    let bench = loaded()?;
    let done = reproduce(&bench, "main", &[])?;
    let answer = done.json()?;
    assert_eq!((done.code, &answer["equal"]), (0, &Value::from(true)), "{}{}", done.stdout, done.stderr);
    let content = &answer["content"][0];
    assert_eq!((content, content["window"].as_str()), (&answer["reproduced"][0], Some("2024-01")));
    assert!(content["rows"].as_u64().unwrap_or(0) > 50_000, "{content}");
    let told =
        bench.run(&["table", "provenance", "clean.green_trips", "main", "--content-hash", "--format", "json"])?;
    assert_eq!(told.json()?["content"], answer["content"]);
    // The same rows in other files, and a later load beside them: still the same snapshot.
    let first = answer["snapshot_id"].as_str().context("no id")?.to_owned();
    expect(&bench.run(&["run", "green", "--month", "2024-01", "--force", "--format", "json"])?, 0, &["loaded"]);
    assert_eq!(reproduce(&bench, &first, &[])?.json()?["content"], answer["content"]);
    // Without its pipeline the flags say what may be reached.
    std::fs::remove_file(bench.dir.path().join("lakehost.toml"))?;
    assert_eq!(reproduce(&bench, &first, &["--allow", &bench.url()])?.code, 0);
    // Nothing is left of it.
    let runs = bench.run(&["runs", "--format", "json"])?.json()?;
    assert_eq!(runs["runs"].as_array().or(runs.as_array()).map(Vec::len), Some(2), "{runs}");
    Ok(())
}

#[test]
fn a_damaged_file_is_different() -> Result<()> {
    let bench = loaded()?;
    let path = data_file(&bench)?;
    let whole = std::fs::read(&path)?;
    let (mut told, tries) = (0, 12);
    for step in 1..=tries {
        let mut bytes = whole.clone();
        let at = bytes.len() * step / (tries + 1);
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes)?;
        let done = reproduce(&bench, "main", &[])?;
        // A bit of a page header that no reader looks at changes no row.
        if done.code == 0 {
            continue;
        }
        told += 1;
        assert_eq!(done.code, 5, "{}{}", done.stdout, done.stderr);
        assert_eq!(
            (done.json()?["equal"].as_bool(), done.json()?["error"]["code"].as_str()),
            (Some(false), Some("LH0408"))
        );
    }
    assert!(told >= tries - 2, "{told} of {tries} flipped bits were told");
    std::fs::write(&path, &whole[..whole.len() / 2])?;
    assert_eq!(reproduce(&bench, "main", &[])?.code, 5);
    std::fs::write(&path, &whole)?;
    assert_eq!(reproduce(&bench, "main", &[])?.code, 0);
    Ok(())
}

#[test]
fn what_is_not_at_hand_is_told_by_name() -> Result<()> {
    let bench = loaded()?;
    // Upstream has another file now.
    let served = bench.served(JANUARY);
    let genuine = std::fs::read(&served)?;
    let other = crate::support::data().join("yellow_tripdata_2024-01.parquet");
    std::fs::write(&served, std::fs::read(other)?)?;
    let changed = reproduce(&bench, "main", &[])?;
    assert!([4, 5].contains(&changed.code), "{}{}", changed.stdout, changed.stderr);
    std::fs::remove_file(&served)?;
    let gone = reproduce(&bench, "main", &[])?;
    assert_eq!(gone.code, 4, "{}{}", gone.stdout, gone.stderr);
    // The same rows in another file are another object, too.
    let copy = format!(
        "copy (select * from '{}') to '{}' (format parquet)",
        crate::support::data().join(JANUARY).display(),
        served.display()
    );
    crate::support::read(&crate::support::python()?, "duck.py", &[&copy])?;
    let changed = reproduce(&bench, "main", &[])?;
    assert_eq!(changed.code, 4, "{}{}", changed.stdout, changed.stderr);
    assert!(changed.stderr.contains("LH0307") && changed.stderr.contains("had sha256"), "{}", changed.stderr);
    std::fs::write(&served, genuine)?;
    assert_eq!(reproduce(&bench, "main", &[])?.code, 0);

    // What nobody has.
    assert_ne!(reproduce(&bench, "12345", &[])?.code, 0);
    assert_eq!(reproduce(&bench, "main", &["--plugin", "none.wasm"])?.code, 2);
    Ok(())
}
