//! What the command line answers when a run is stopped, narrowed or mixed: to people, and to programs.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use lakehost_server::Fault;

use crate::support::{Bench, done, expect};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const PATH: &str = "/green_tripdata_2024-01.parquet";

#[test]
fn signals_that_come_together_still_get_the_report() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    bench.server.fault(PATH, Fault::SlowBody { bytes_per_second: 100_000 });
    let args = bench.load_args("green", "2024-01..2024-02", &[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let child = bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_secs(2));
    let pid = child.id().to_string();
    for _ in 0..2 {
        std::process::Command::new("kill").args(["-INT", &pid]).status()?;
    }
    let done = done(child.wait_with_output()?)?;
    expect(&done, 130, &["interrupted", "skipped"]);
    let report = done.json()?;
    assert_eq!((&report["totals"]["status"], &report["error"]["code"]), (&"interrupted".into(), &"LH1099".into()));
    Ok(())
}

#[test]
fn a_pipeline_narrows_what_a_shipped_plugin_may_reach() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let url = bench.url();
    let run = |allow: &str, more: &[&str]| -> Result<_> {
        let file = format!(
            "[pipeline.trips]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"green\", base_url = \"{url}\" }}\n{allow}\n"
        );
        std::fs::write(bench.dir.path().join("lakehost.toml"), file)?;
        bench.run(&[&["run", "trips", "--month", "2024-01", "--format", "json"], more].concat())
    };
    let nothing = run("allow = []", &[])?;
    assert_eq!((nothing.code, nothing.error_code().as_str()), (10, "LH0801"), "{}", nothing.stderr);
    assert!(
        nothing.stderr.contains(&format!("add \"{url}\" to `allow = […]` of [pipeline.trips]")),
        "{}",
        nothing.stderr
    );
    let elsewhere = run(&format!("allow = [\"{url}yellow/\"]"), &[])?;
    assert_eq!((elsewhere.code, elsewhere.error_code().as_str()), (10, "LH0801"), "{}", elsewhere.stderr);
    expect(&run("allow = []", &["--allow", &url])?, 0, &["loaded"]);
    expect(&run(&format!("allow = [\"{url}\"]"), &[])?, 0, &["already-loaded"]);
    expect(&run("", &[])?, 0, &["already-loaded"]);
    Ok(())
}

#[test]
fn rows_appended_to_those_of_another_load_are_told() -> Result<()> {
    let bench = Bench::serving(&[MONTH])?;
    let table = ["--table", "clean.green_trips"];
    let cleaned = bench.load("green", "2024-01", &[&table[..], &["--cleaner", "trip_cleaner.wasm"]].concat())?;
    expect(&cleaned, 0, &["loaded"]);
    let raw = bench.load("green", "2024-01", &[&table[..], &["--write-mode", "append", "--force"]].concat())?;
    expect(&raw, 0, &["loaded"]);
    let told = raw.json()?["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("appended to rows through cleaner trip_cleaner in clean.green_trips"), "{told}");
    assert!(raw.stderr.contains(&format!("warning: {told}")), "{}", raw.stderr);
    Ok(())
}
