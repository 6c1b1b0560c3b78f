//! `cargo xtask bench cluster`: three months through a real object store and a real REST catalog, by lakehost, by PyIceberg, and by Trino in two ways.
//!
//! Every job leaves the same rows in a table of its own, and replaces those that are there, window by window. lakehost and PyIceberg download the
//! months from a server beside; Trino has no way to do that, so it reads them from a table that lakehost loaded as they are, which is measured too.
//! INSERT … VALUES, the reference system's way, is measured on some rows and scaled. What the servers use meanwhile is counted beside the client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::bars::{Bar, middle};
use super::jobs::difference;
use super::report::{self, Machine};
use super::servers::Servers;
use super::{REQUIREMENTS, months};
use crate::process::{self, Cost, Output};
use crate::serve::Serving;
use crate::workspace::Workspace;
use crate::{plugins, python, wasm_target};

const MONTHS: [&str; 3] = ["2024-01", "2024-02", "2024-03"];
const RANGE: &str = "2024-01..2024-03";
/// The months as they came, for Trino.
const AS_CAME: &str = "asis.yellow_trips";
/// Rows that are inserted by value, 1,000 in a statement.
const VALUES: u64 = 10_000;

/// One way to load the months.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Lakehost,
    PyIceberg,
    TrinoSelect,
    TrinoValues,
    /// What brings the months to where Trino can read them.
    AsIs,
}

/// One measured run.
struct Sample {
    cost: Cost,
    said: Value,
    trino_user_s: f64,
    trino_peak_mib: f64,
    /// The object store, the catalog and its database.
    others_user_s: f64,
}

type Sums = BTreeMap<String, f64>;

struct Bench {
    lakehost: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    scratch: PathBuf,
    months: PathBuf,
    serving: Serving,
    servers: Servers,
}

impl How {
    const ALL: [Self; 5] = [Self::Lakehost, Self::PyIceberg, Self::TrinoSelect, Self::TrinoValues, Self::AsIs];

    fn name(self) -> &'static str {
        match self {
            Self::Lakehost => "lakehost",
            Self::PyIceberg => "pyiceberg",
            Self::TrinoSelect => "trino/insert-select",
            Self::TrinoValues => "trino/insert-values",
            Self::AsIs => "lakehost/as-is",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::Lakehost => "bench.by_lakehost",
            Self::PyIceberg => "bench.by_pyiceberg",
            Self::TrinoSelect => "bench.by_trino",
            Self::TrinoValues => "bench.by_values",
            Self::AsIs => AS_CAME,
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Lakehost => "download, clean, replace each window in one commit",
            Self::PyIceberg => "download, clean with pyarrow, `overwrite` of each window in one commit",
            Self::TrinoSelect => {
                "DELETE of each window and INSERT … SELECT with the same rules, from the table loaded as it came; no download"
            }
            Self::TrinoValues => "10 statements of 1,000 rows; no download counted",
            Self::AsIs => "download, no cleaning: what brings the months to where Trino reads them",
        }
    }
}

/// The verb.
pub fn run(workspace: &Workspace, rounds: usize, rows: u64, write: bool) -> Result<()> {
    wasm_target::ensure(workspace, &Output::Inherit)?;
    plugins::build(workspace, &Output::Inherit)?;
    let mut build = workspace.cargo(&["build", "--release", "--workspace", "--features", "xtask/generator"]);
    process::run(build.args(["--bin", "lakehost", "--bin", "tlc-months"]), &Output::Inherit)?;
    let scratch = workspace.scratch("bench/cluster")?;
    let folder = months(workspace, rows, u32::try_from(MONTHS.len())?)?;
    let lakehost = workspace.lakehost();
    println!("starting MinIO, Postgres, the REST catalog and Trino");
    let servers = Servers::start(&lakehost, &scratch.join("stack"))?;
    let python = python::ensure(workspace, REQUIREMENTS, &Output::Inherit)?;
    let serving = Serving::start(&folder)?;
    let bench = Bench {
        lakehost,
        python,
        scripts: workspace.root.join("bench"),
        scratch: scratch.clone(),
        months: folder,
        serving,
        servers,
    };
    let mut machine = Machine::look(&bench.lakehost, &bench.python)?;

    println!("warming up: caches, the JVMs, the tables themselves");
    // The months have to be there before Trino reads them.
    for how in How::ALL.into_iter().rev() {
        bench.run(how)?;
    }
    println!("checking that all tables hold the same rows");
    let sums = bench.same_sums()?;
    let mut samples: Vec<(How, Vec<Sample>)> = How::ALL.into_iter().map(|how| (how, Vec::new())).collect();
    for round in 0..rounds {
        let count = samples.len();
        for step in 0..count {
            let (how, runs) = &mut samples[(round + step) % count];
            let sample = bench.run(*how)?;
            let Cost { wall_s, user_s, .. } = sample.cost;
            println!("round {} {:<22} {wall_s:>7.2} s wall {user_s:>6.2} s user", round + 1, how.name());
            runs.push(sample);
        }
    }
    bench.same_sums()?;
    machine.look_again();
    let text = markdown(&machine, rounds, rows, &samples, &sums);
    println!("\n{text}");
    if write {
        let page = workspace.root.join("docs/benchmarks.md");
        report::write(&page, report::CLUSTER, &text)?;
        println!("written to {}", page.display());
    }
    drop(bench);
    std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

impl Bench {
    fn command(&self, how: How) -> Result<Command> {
        let url = self.serving.url();
        let out = self.scratch.join("out");
        std::fs::create_dir_all(&out)?;
        let trino = |verb: &str, months: &str| -> Result<Command> {
            let mut command = Command::new(&self.python);
            command.arg(self.scripts.join("cluster/with_trino.py")).arg(verb);
            command.args(["--uri", self.servers.address("trino")?, "--months", months]);
            command.args(["--table", &format!("lake.{}", how.table())]);
            Ok(command)
        };
        Ok(match how {
            How::Lakehost | How::AsIs => {
                let mut command = Command::new(&self.lakehost);
                command.args(["run", "--plugin", "nyc_tlc.wasm", "--month", RANGE, "--config", "dataset=yellow"]);
                command.args(["--config", &format!("base_url={url}"), "--allow", url, "--table", how.table()]);
                // Again, as if it had not been loaded: the rows of the window give way.
                command.args(["--force", "--format", "json", "--profile", "stack", "--file"]).arg(self.servers.file());
                if how == How::Lakehost {
                    command.args(["--cleaner", "trip_cleaner.wasm", "--no-quarantine"]);
                }
                command
            }
            How::PyIceberg => {
                let mut command = Command::new(&self.python);
                command.arg(self.scripts.join("cluster/with_pyiceberg.py")).args(["--url", url]);
                command.args(["--months", &MONTHS.join(","), "--table", how.table()]).arg("--out").arg(&out);
                command.args(["--catalog", &self.servers.for_pyiceberg()?.to_string()]);
                command
            }
            How::TrinoSelect => {
                let mut command = trino("select", &MONTHS.join(","))?;
                command.args(["--from", &format!("lake.{AS_CAME}")]);
                command
            }
            How::TrinoValues => {
                let mut command = trino("values", MONTHS[0])?;
                let file = self.months.join(format!("yellow_tripdata_{}.parquet", MONTHS[0]));
                command.args(["--rows", &VALUES.to_string(), "--file"]).arg(file);
                command
            }
        })
    }

    fn run(&self, how: How) -> Result<Sample> {
        let mut command = self.command(how)?;
        command.current_dir(&self.scratch);
        let stdout = self.scratch.join("stdout.json");
        self.servers.forget_peak("trino")?;
        let before = self.servers.spent()?;
        let cost = process::measured(&mut command, &stdout)?;
        let after = self.servers.spent()?;
        let used =
            |service: &str| after.get(service).copied().unwrap_or(0.0) - before.get(service).copied().unwrap_or(0.0);
        let text = std::fs::read_to_string(&stdout)?;
        let said: Value =
            serde_json::from_str(&text).with_context(|| format!("{} printed no JSON: {text}", how.name()))?;
        if matches!(how, How::Lakehost | How::AsIs) && said["totals"]["status"] != "loaded" {
            bail!("{} ended as {}: {}", how.name(), said["totals"]["status"], said["totals"]["error"]);
        }
        Ok(Sample {
            cost,
            said,
            trino_user_s: used("trino"),
            trino_peak_mib: self.servers.peak_mib("trino")?,
            others_user_s: ["minio", "rest", "postgres"].iter().map(|service| used(service)).sum(),
        })
    }

    /// Rows and sums by PyIceberg: the same in the three cleaned tables, and in that of the values those of the rows that were sent.
    fn same_sums(&self) -> Result<Sums> {
        let of = |how: How| -> Result<Sums> {
            let mut command = Command::new(&self.python);
            command.arg(self.scripts.join("sums.py")).arg(self.servers.for_pyiceberg()?.to_string()).arg(how.table());
            Ok(serde_json::from_str(&process::stdout_of(&mut command)?)?)
        };
        let ours = of(How::Lakehost)?;
        for how in [How::PyIceberg, How::TrinoSelect] {
            if let Some(difference) = difference(&ours, &of(how)?) {
                bail!("the tables of lakehost and {} differ: {difference}", how.name());
            }
        }
        let sent: Sums = serde_json::from_value(self.run(How::TrinoValues)?.said["sums"].clone())?;
        if let Some(difference) = difference(&sent, &of(How::TrinoValues)?) {
            bail!("the rows that were sent by value and those of the table differ: {difference}");
        }
        Ok(ours)
    }
}

fn markdown(machine: &Machine, rounds: usize, rows: u64, samples: &[(How, Vec<Sample>)], sums: &Sums) -> String {
    let median = |runs: &[Sample], get: fn(&Sample) -> f64| middle(runs.iter().map(get).collect()).unwrap_or(f64::NAN);
    let largest = |runs: &[Sample], get: fn(&Sample) -> f64| runs.iter().map(get).fold(0.0, f64::max);
    let runs_of = |how: How| samples.iter().find(|(known, _)| *known == how).map_or(&[][..], |(_, runs)| runs);
    let ours = runs_of(How::Lakehost);
    let mut bars = Vec::new();
    for (how, asked) in [
        (
            How::PyIceberg,
            &[
                ("wall", wall as fn(&Sample) -> f64),
                ("user CPU of the client", user),
                ("user CPU of client and servers", all),
                ("peak RSS of the client", rss),
            ][..],
        ),
        (How::TrinoSelect, &[("wall", wall as fn(&Sample) -> f64), ("user CPU of client and servers", all)][..]),
    ] {
        for (what, get) in asked {
            let value = middle(ours.iter().zip(runs_of(how)).map(|(a, b)| get(a) / get(b)).collect());
            bars.push(Bar::without("-", format!("lakehost against {}: {what}", how.name()), value));
        }
    }
    let mut text = format!("### Machine\n\n{}\n### Ratios\n\n{}", machine.markdown(), report::verdicts(&bars));
    text.push_str(&format!(
        "\n### Runs\n\n{rounds} rounds of three months of {rows} rows; medians, memory at its largest. User CPU is that of the client's process; Trino's and \
         that of the object store, the catalog and its database stand beside it.\n\n\
         | job | wall s | user CPU s | peak RSS MiB | Trino: user CPU s | Trino: peak RSS MiB | store and catalog: user CPU s | what |\n\
         |---|---|---|---|---|---|---|---|\n"
    ));
    for (how, runs) in samples {
        text.push_str(&format!(
            "| {} | {:.2} | {:.2} | {:.0} | {:.2} | {:.0} | {:.2} | {} |\n",
            how.name(),
            median(runs, wall),
            median(runs, user),
            largest(runs, rss),
            median(runs, |run| run.trino_user_s),
            largest(runs, |run| run.trino_peak_mib),
            median(runs, |run| run.others_user_s),
            how.note()
        ));
    }
    let written = sums.get("rows").copied().unwrap_or(f64::NAN);
    let inserted = median(runs_of(How::TrinoValues), |run| run.said["insert_s"].as_f64().unwrap_or(f64::NAN));
    let scaled = inserted * written / VALUES as f64;
    text.push_str(&format!(
        "\nINSERT … VALUES was measured on {VALUES} rows: {inserted:.2} s for the statements alone. Scaled, not measured: the {written:.0} rows of the \
         three months would take {:.0} minutes, {:.0} times as long as lakehost.\n\nThe three cleaned tables, read back by PyIceberg, have the same {} \
         sums by column before the first round and after the last; that of the values has those of the rows that were sent.\n",
        scaled / 60.0,
        scaled / median(ours, wall),
        sums.len()
    ));
    text
}

fn wall(run: &Sample) -> f64 {
    run.cost.wall_s
}

fn user(run: &Sample) -> f64 {
    run.cost.user_s
}

fn all(run: &Sample) -> f64 {
    run.cost.user_s + run.trino_user_s + run.others_user_s
}

fn rss(run: &Sample) -> f64 {
    run.cost.peak_rss_bytes as f64 / 1_048_576.0
}
