//! `kill -9` at random moments, then the same command: rows once, no unreadable table, nothing left behind.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{Bench, expect, python};

#[test]
fn killed_at_random_moments_rows_are_there_once() -> Result<()> {
    let python = python()?;
    let kills: usize = std::env::var("LAKEHOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let seed: u64 = std::env::var("LAKEHOST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_240_101);
    eprintln!("{kills} kills, LAKEHOST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let months: Vec<String> = (1..=6).map(|month| format!("yellow_tripdata_2024-0{month}.parquet")).collect();
    let mut files: Vec<&str> = months.iter().map(String::as_str).collect();
    files.push("green_tripdata_2024-01.parquet");
    let bench = Bench::serving(&files)?;
    let cleaner = ["--cleaner", "trip_cleaner.wasm", "--table", "clean.green_trips", "--force"];
    let range = ["--table", "raw.yellow_trips", "--force"];
    let commands =
        [bench.load_args("green", "2024-01", &cleaner), bench.load_args("yellow", "2024-01..2024-06", &range)];
    // How long they take when nobody kills them, with everything compiled and cached, bounds the moments.
    let mut span = [Duration::ZERO; 2];
    for (command, span) in commands.iter().zip(&mut span) {
        bench.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        let begun = Instant::now();
        let done = bench.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
        assert_eq!(done.code, 0, "{}", done.stderr);
        *span = begun.elapsed();
    }
    let truth = [bench.read_table(&python, "clean.green_trips")?, bench.read_table(&python, "raw.yellow_trips")?];
    let mut landed_before_the_kill = 0;
    for kill in 0..kills {
        let which = kill % 2;
        let args: Vec<&str> = commands[which].iter().map(String::as_str).collect();
        let mut child = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let nanos = u64::try_from(span[which].as_nanos()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_nanos(random.random_range(0..nanos.max(1))));
        landed_before_the_kill += usize::from(child.try_wait()?.is_some());
        child.kill()?;
        child.wait()?;
        // Readable at once, whatever happened, with the same rows: a reload replaces like by like.
        if kill % 5 == 0 {
            let table = ["clean.green_trips", "raw.yellow_trips"][which];
            let seen = bench.read_table(&python, table)?;
            assert_eq!(seen["pyiceberg"], truth[which]["pyiceberg"], "kill {kill}");
        }
    }
    eprintln!("{landed_before_the_kill} of {kills} runs had ended before their kill");
    assert!(landed_before_the_kill < kills, "no run was hit");
    for (which, (dataset, months)) in [("green", "2024-01"), ("yellow", "2024-01..2024-06")].into_iter().enumerate() {
        let more = if which == 0 { &cleaner[..4] } else { &range[..2] };
        let done = bench.load(dataset, months, more)?;
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.statuses()?.iter().all(|status| status == "already-loaded" || status == "loaded"));
    }
    for (which, table) in ["clean.green_trips", "raw.yellow_trips"].into_iter().enumerate() {
        let seen = bench.read_table(&python, table)?;
        assert_eq!(seen["pyiceberg"], truth[which]["pyiceberg"]);
    }
    Ok(())
}

#[test]
fn killed_before_the_first_commit_the_table_is_born_by_the_next_run() -> Result<()> {
    let python = python()?;
    let mut random = StdRng::seed_from_u64(7);
    let bench = Bench::serving(&["green_tripdata_2024-01.parquet"])?;
    let args = bench.load_args("green", "2024-01", &[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for _ in 0..5 {
        let mut child = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(random.random_range(1..60)));
        child.kill()?;
        child.wait()?;
    }
    let done = bench.run(&args)?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    expect(&bench.run(&args)?, 0, &["already-loaded"]);
    let seen = bench.read_table(&python, "raw.green_trips")?;
    assert_eq!(seen["pyiceberg"]["rows"], 56_551);
    assert_eq!(seen["snapshots"], 1);
    Ok(())
}
