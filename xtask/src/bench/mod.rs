//! `cargo xtask bench`: the bars of docs/benchmarks.md, lakehost and its peers in the same rounds on the same files.
//!
//! Every job is a whole process, started fresh and measured by the kernel's own accounting; a round runs each job once, in an order of its own.
//! All files come from one local HTTP server. A job whose row or reject counts differ from the others' fails the bench: speed of wrong rows is
//! no figure.

mod bars;
mod cluster;
mod jobs;
mod report;
mod servers;
mod tables;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::process::{self, Cost, Output};
use crate::serve::Serving;
use crate::workspace::Workspace;
use crate::{plugins, python, wasm_target};

use jobs::{Job, Jobs, Sample};

const REQUIREMENTS: &str = "bench/requirements.txt";
const GENUINE_ROWS: u64 = 2_964_624;
const SEED: u64 = 1;
/// Counts in the name of the folder: raise it when the generator writes other bytes.
const GENERATOR: u32 = 1;
pub const BARS: [&str; 5] = ["P1", "P2", "P4", "P5", "P6"];

/// What to run.
struct Wanted {
    bars: Vec<String>,
    rounds: usize,
    rows: u64,
    write: bool,
}

/// The verb.
pub fn run(workspace: &Workspace, mut args: Args) -> Result<()> {
    let only: Option<String> = args.value("--only")?;
    let rounds: Option<usize> = args.value("--rounds")?;
    let rows: Option<u64> = args.value("--rows")?;
    let write = args.flag("--write");
    let part = args.word();
    args.finish()?;
    if rounds == Some(0) {
        bail!("--rounds wants at least 1");
    }
    match part.as_deref() {
        None => {}
        Some("tables") if rows.is_none() => return tables::run(workspace, only.as_deref(), rounds.unwrap_or(3), write),
        Some("tables") => bail!("the tables of `bench tables` have a fixed number of rows"),
        Some("cluster") if only.is_none() => {
            return cluster::run(workspace, rounds.unwrap_or(3), rows.unwrap_or(GENUINE_ROWS), write);
        }
        Some("cluster") => bail!("the jobs of `bench cluster` are measured together"),
        Some(other) => bail!("bench has the parts `tables` and `cluster`, and none named `{other}`"),
    }
    let bars: Vec<String> = match only {
        Some(list) => list.split(',').map(|bar| bar.trim().to_uppercase()).collect(),
        None => BARS.map(str::to_owned).to_vec(),
    };
    if let Some(wrong) = bars.iter().find(|bar| !BARS.contains(&bar.as_str())) {
        bail!("no bar `{wrong}`: {}", BARS.join(", "));
    }
    let wanted = Wanted { bars, rounds: rounds.unwrap_or(5), rows: rows.unwrap_or(GENUINE_ROWS), write };
    wasm_target::ensure(workspace, &Output::Inherit)?;
    plugins::build(workspace, &Output::Inherit)?;
    measure(workspace, &wanted)
}

/// All bars, as `cargo xtask test --full` runs them: everything is built by then.
pub fn gate(workspace: &Workspace) -> Result<()> {
    println!();
    measure(workspace, &Wanted { bars: BARS.map(str::to_owned).to_vec(), rounds: 5, rows: GENUINE_ROWS, write: false })
}

fn measure(workspace: &Workspace, wanted: &Wanted) -> Result<()> {
    let build = |features: &str| {
        let bins = ["--bin", "lakehost", "--bin", "tlc-months"];
        let mut build = workspace.cargo(&["build", "--release", "--workspace", "--features", features]);
        process::run(build.args(bins), &Output::Inherit)
    };
    let native = workspace.scratch("bench")?.join("lakehost-native");
    if wanted.bars.iter().any(|bar| bar == "P4") {
        build("xtask/generator,lakehost/native-cleaner")?;
        std::fs::copy(workspace.lakehost(), &native).with_context(|| format!("cannot write {}", native.display()))?;
    }
    build("xtask/generator")?;
    let jobs = Jobs {
        lakehost: workspace.lakehost(),
        native,
        python: python::ensure(workspace, REQUIREMENTS, &Output::Inherit)?,
        scripts: workspace.root.join("bench"),
        scratch: workspace.scratch("bench/runs")?,
        serving: Serving::start(&months(workspace, wanted.rows, wanted.last_month())?)?,
    };
    let mut machine = report::Machine::look(&jobs.lakehost, &jobs.python)?;
    let chosen = jobs.chosen(&wanted.bars);
    let mut samples: Vec<(Job, Vec<Sample>)> = chosen.into_iter().map(|job| (job, Vec::new())).collect();

    println!("warming up: caches, compiled components, the files themselves");
    for (job, _) in &samples {
        jobs.run(job)?;
    }
    println!("checking that all tables hold the same rows");
    let sums = jobs.equal_tables(samples.iter().map(|(job, _)| job))?;
    for round in 0..wanted.rounds {
        // Another job first in every round, so that nobody always runs behind the same neighbour.
        let count = samples.len();
        for step in 0..count {
            let (job, runs) = &mut samples[(round + step) % count];
            for _ in 0..job.times() {
                let sample = jobs.run(job)?;
                let Cost { wall_s, user_s, .. } = sample.cost;
                println!("round {} {:<22} {wall_s:>7.2} s wall {user_s:>6.2} s user", round + 1, job.id);
                runs.push(sample);
            }
        }
    }
    machine.look_again();
    jobs::equal_counts(&samples)?;
    // Several gigabytes of tables; after a failure they stay for looking at.
    std::fs::remove_dir_all(&jobs.scratch).with_context(|| format!("cannot remove {}", jobs.scratch.display()))?;
    let results = bars::judge(&samples, &wanted.bars);
    let text = report::markdown(&machine, wanted.rounds, wanted.rows, &samples, &results, &sums);
    println!("\n{text}");
    if wanted.write {
        let page = workspace.root.join("docs/benchmarks.md");
        report::write(&page, report::LOADS, &text)?;
        println!("written to {}", page.display());
    }
    Ok(())
}

impl Wanted {
    /// How many months are needed.
    fn last_month(&self) -> u32 {
        if self.bars.iter().any(|bar| bar == "P5") { 12 } else { 1 }
    }
}

/// The folder with the first generated months of a year; each is made once for a seed and a number of rows.
fn months(workspace: &Workspace, rows: u64, last: u32) -> Result<PathBuf> {
    let folder = workspace.scratch(&format!("bench/months-v{GENERATOR}-seed{SEED}-{rows}"))?;
    let missing: Vec<String> = (1..=last)
        .map(|month| format!("2024-{month:02}"))
        .filter(|month| !folder.join(format!("yellow_tripdata_{month}.parquet")).exists())
        .collect();
    if !missing.is_empty() {
        println!("generating {} months of {rows} rows", missing.len());
        let mut command = std::process::Command::new(workspace.target.join("release/tlc-months"));
        command.arg(workspace.root.join("examples/nyc_taxi/data")).arg(&folder).arg(missing.join(","));
        command.args(["--rows", &rows.to_string(), "--seed", &SEED.to_string()]);
        process::run(&mut command, &Output::Inherit).context("no months to measure with")?;
    }
    Ok(folder)
}
