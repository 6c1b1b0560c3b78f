//! `cargo xtask bench tables`: commits, merges, compaction and clean-up on tables that have grown, beside what peers do to the same tables.
//!
//! A table is grown once by `host/lake/examples/table_jobs.rs` and put back to that state before every job, under the same path, because Iceberg
//! metadata names files by their full paths. After every job that changes rows PyIceberg reads the table, and all jobs of a kind must leave the
//! same rows. Each job is a whole process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::bars::{Bar, middle, ratio};
use super::report::Machine;
use super::{REQUIREMENTS, report};
use crate::process::{self, Cost, Output};
use crate::python;
use crate::workspace::Workspace;

/// The bar's table: snapshots, files of each, rows of each file.
const GROWN: [&str; 3] = ["1000", "10", "20"];
const SMALL_FILES: &str = "1000";
const SMALL_FILE_ROWS: &str = "5000";
const KEYED_FILES: u64 = 20;
const KEYED_ROWS: u64 = 500_000;
const MERGED_KEYS: u64 = 100_000;
/// Commits are short: they are measured this much more often than the rest.
const COMMITS_A_ROUND: usize = 5;

/// One kind of job on one grown table.
struct Table {
    name: &'static str,
    /// Arguments of `table_jobs` after the warehouse, its verb first.
    grown: Vec<String>,
}

struct Bench {
    lakehost: PathBuf,
    table_jobs: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    scratch: PathBuf,
}

/// What one process cost and said.
struct Run {
    cost: Cost,
    said: Value,
}

/// All runs of one job.
struct Line {
    job: String,
    note: String,
    runs: Vec<Run>,
}

/// The verb.
pub fn run(workspace: &Workspace, only: Option<&str>, rounds: usize, write: bool) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|only| only.split(',').any(|part| part == name));
    if let Some(wrong) = only.iter().flat_map(|only| only.split(',')).find(|part| !KINDS.contains(part)) {
        bail!("no job `{wrong}`: {}", KINDS.join(", "));
    }
    let mut build = workspace.cargo(&["build", "--release", "--workspace", "--features", "xtask/generator"]);
    process::run(build.args(["--bin", "lakehost", "--example", "table_jobs"]), &Output::Inherit)?;
    let bench = Bench {
        lakehost: workspace.lakehost(),
        table_jobs: workspace.target.join("release/examples/table_jobs"),
        python: python::ensure(workspace, REQUIREMENTS, &Output::Inherit)?,
        scripts: workspace.root.join("bench/tables"),
        scratch: workspace.scratch("bench/tables")?,
    };
    let mut machine = Machine::look(&bench.lakehost, &bench.python)?;
    let (mut lines, mut bars) = (Vec::new(), Vec::new());
    let measures: [(&str, Measure); 4] = [
        ("commit", Bench::commits),
        ("merge", Bench::merges),
        ("compact", Bench::compactions),
        ("clean", Bench::clean_up),
    ];
    for (name, measure) in measures {
        if wanted(name) {
            measure(&bench, rounds, &mut lines, &mut bars)?;
        }
    }
    machine.look_again();
    let text = markdown(&machine, rounds, &lines, &bars);
    println!("\n{text}");
    if write {
        let page = workspace.root.join("docs/benchmarks.md");
        report::write(&page, report::TABLES, &text)?;
        println!("written to {}", page.display());
    }
    std::fs::remove_dir_all(&bench.scratch).with_context(|| format!("cannot remove {}", bench.scratch.display()))
}

const KINDS: [&str; 4] = ["commit", "merge", "compact", "clean"];
type Measure = fn(&Bench, usize, &mut Vec<Line>, &mut Vec<Bar>) -> Result<()>;

impl Bench {
    /// P7: one more window, on a table with one snapshot and on one with a thousand.
    fn commits(&self, rounds: usize, lines: &mut Vec<Line>, bars: &mut Vec<Bar>) -> Result<()> {
        let [snapshots, files, rows] = GROWN.map(str::to_owned);
        let new = Table::new("commit-new", "grow", ["1".to_owned(), files.clone(), rows.clone()]);
        let grown = Table::new("commit-grown", "grow", [snapshots, files.clone(), rows.clone()]);
        // The table, how many snapshots it has by now, runs as users have them, runs that do not wait for the disk.
        let mut sides = Vec::new();
        for (table, snapshots) in [(&new, 1), (&grown, 1000)] {
            sides.push((self.restored(table)?, snapshots, [Vec::new(), Vec::new()]));
        }
        for round in 0..2 * rounds * COMMITS_A_ROUND {
            for (warehouse, load, runs) in &mut sides {
                let mut commit = self.table_job("commit", warehouse);
                commit.args([&load.to_string(), &files, &rows]);
                if round % 2 == 1 {
                    commit.env("NOT_DURABLE", "1");
                }
                runs[round % 2].push(self.measure(&mut commit)?);
                *load += 1;
            }
        }
        let times = |runs: &[Run], parts: &[&str]| -> Vec<f64> {
            runs.iter().map(|run| parts.iter().map(|part| number(&run.said[*part])).sum()).collect()
        };
        let shown = |ms: Option<f64>| ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1} ms"));
        for (what, disk, parts, bar) in [
            ("the commit alone", 0, &["commit_ms"][..], true),
            ("the commit alone, without waiting for the disk", 1, &["commit_ms"][..], false),
            ("opening the table in a new process, and the commit", 0, &["begin_ms", "commit_ms"][..], false),
        ] {
            let [small, large] = [0, 1].map(|side: usize| middle(times(&sides[side].2[disk], parts)));
            let value = small.zip(large).map(|(small, large)| large / small);
            let (small, large) = (shown(small), shown(large));
            let what =
                format!("{what}: table of 1,000 snapshots and 10,000 files ({large}) against a new one ({small})");
            bars.push(if bar { ratio("P7", what, 2.0, value) } else { Bar::without("P7", what, value) });
        }
        for ((.., [runs, _]), job) in sides.into_iter().zip(["commit/new table", "commit/grown table"]) {
            lines.push(Line::new(job, "a process that opens the table, writes 10 files and commits", runs));
        }
        Ok(())
    }

    /// 100,000 keys into 10 million rows; half of the keys are there already.
    fn merges(&self, rounds: usize, lines: &mut Vec<Line>, bars: &mut Vec<Bar>) -> Result<()> {
        let table = Table::new("merge", "keyed", [KEYED_FILES.to_string(), KEYED_ROWS.to_string()]);
        let rows = self.scratch.join("changes.parquet");
        let of = (KEYED_FILES * KEYED_ROWS).to_string();
        let mut make = Command::new(&self.table_jobs);
        process::stdout_of(make.arg("rows").arg(&rows).args([&MERGED_KEYS.to_string(), &of]))?;
        let ours = |warehouse: &Path| {
            let mut command = self.table_job("merge", warehouse);
            command.arg(&rows);
            command
        };
        let theirs = |warehouse: &Path| {
            let mut command = self.script("with_pyiceberg.py", "merge", warehouse);
            command.arg(&rows);
            command
        };
        let jobs: [Named<'_>; 2] = [("merge/lakehost", &ours, rounds), ("merge/pyiceberg", &theirs, 1)];
        self.compare(&table, rounds, &jobs, "100,000 keys into 10,000,000 rows", true, lines, bars)
    }

    /// A thousand files of five thousand rows become one.
    fn compactions(&self, rounds: usize, lines: &mut Vec<Line>, bars: &mut Vec<Bar>) -> Result<()> {
        let table = Table::new("compact", "grow", ["1", SMALL_FILES, SMALL_FILE_ROWS].map(str::to_owned));
        let ours = |warehouse: &Path| self.lakehost(&["table", "compact", "raw.events"], warehouse);
        let pyiceberg = |warehouse: &Path| self.script("with_pyiceberg.py", "compact", warehouse);
        let duckdb = |warehouse: &Path| self.script("with_duckdb.py", "compact", warehouse);
        let jobs: [Named<'_>; 3] = [
            ("compact/lakehost", &ours, rounds),
            ("compact/pyiceberg", &pyiceberg, rounds),
            ("compact/duckdb", &duckdb, rounds),
        ];
        self.compare(&table, rounds, &jobs, "1,000 files of 5,000 rows", true, lines, bars)
    }

    /// Snapshots and files that nobody needs: 10,000 files of a thousand snapshots, and 10,000 live ones among which orphans are looked for.
    fn clean_up(&self, rounds: usize, lines: &mut Vec<Line>, bars: &mut Vec<Bar>) -> Result<()> {
        let again = Table::new("expire", "again", GROWN.map(str::to_owned));
        let ours = |warehouse: &Path| {
            self.lakehost(&["table", "expire", "raw.events", "--older-than", "0 seconds", "--keep", "1"], warehouse)
        };
        let theirs = |warehouse: &Path| self.script("with_pyiceberg.py", "expire", warehouse);
        let jobs: [Named<'_>; 2] =
            [("expire/lakehost", &ours, rounds), ("expire/pyiceberg (deletes no file)", &theirs, rounds)];
        self.compare(&again, rounds, &jobs, "999 of 1,000 snapshots, 9,990 of 10,000 files", false, lines, bars)?;
        let grown = Table::new("orphans", "grow", GROWN.map(str::to_owned));
        let find = |warehouse: &Path| self.lakehost(&["table", "orphans", "raw.events"], warehouse);
        let jobs: [Named<'_>; 1] = [("orphans/lakehost", &find, rounds)];
        self.compare(&grown, rounds, &jobs, "looked for among 10,000 live files; no peer has it", false, lines, bars)
    }

    /// Runs some jobs on one table, each on the table as it was grown.
    #[expect(clippy::too_many_arguments, reason = "what is compared, on what, how often, and where it goes")]
    fn compare(
        &self,
        table: &Table,
        rounds: usize,
        jobs: &[Named<'_>],
        note: &str,
        judged: bool,
        lines: &mut Vec<Line>,
        bars: &mut Vec<Bar>,
    ) -> Result<()> {
        let mut all: Vec<Line> = jobs.iter().map(|(name, ..)| Line::new(name, note, Vec::new())).collect();
        let mut left: Option<Value> = None;
        for round in 0..rounds {
            for step in 0..jobs.len() {
                let at = (round + step) % jobs.len();
                let (Some((name, command, times)), Some(line)) = (jobs.get(at), all.get_mut(at)) else { continue };
                if line.runs.len() >= *times {
                    continue;
                }
                let warehouse = self.restored(table)?;
                let run = self.measure(&mut command(&warehouse)).with_context(|| (*name).to_owned())?;
                println!(
                    "round {} {name:<36} {:>8.2} s wall {:>8.2} s user",
                    round + 1,
                    run.cost.wall_s,
                    run.cost.user_s
                );
                line.runs.push(run);
                let mut rows = self.sums(&warehouse)?;
                line.note =
                    format!("{note}; {} files, {} MB after", rows["files"], number(&rows["bytes"]) as u64 / 1_000_000);
                for own in ["files", "bytes", "snapshots", "job_s", "versions"] {
                    rows.as_object_mut().map(|object| object.remove(own));
                }
                match &left {
                    None => left = Some(rows),
                    Some(wanted) if *wanted == rows => {}
                    Some(wanted) => bail!("{name} left other rows than the first job: {rows}, not {wanted}"),
                }
            }
        }
        if judged && let Some((ours, peers)) = all.split_first() {
            for peer in peers {
                for (what, get) in [("wall", wall as fn(&Run) -> f64), ("user CPU", user), ("peak RSS", rss)] {
                    let value = middle(ours.runs.iter().zip(&peer.runs).map(|(a, b)| get(a) / get(b)).collect());
                    bars.push(Bar::without("-", format!("{} against {}: {what}", ours.job, peer.job), value));
                }
            }
        }
        lines.extend(all);
        std::fs::remove_dir_all(self.scratch.join(table.name)).context("cannot remove a table")?;
        Ok(())
    }

    /// The warehouse with the table as it was grown.
    fn restored(&self, table: &Table) -> Result<PathBuf> {
        let warehouse = self.scratch.join(table.name);
        let kept = self.scratch.join(format!("{}.grown", table.name));
        if !kept.exists() {
            println!("growing the table for {}", table.name);
            if warehouse.exists() {
                std::fs::remove_dir_all(&warehouse)?;
            }
            let (verb, sizes) = table.grown.split_first().context("a table is grown by a verb")?;
            let mut grow = self.table_job(verb, &warehouse);
            // Nobody's commits are measured here.
            process::stdout_of(grow.args(sizes).env("NOT_DURABLE", "1"))?;
            std::fs::rename(&warehouse, &kept)?;
        }
        if warehouse.exists() {
            std::fs::remove_dir_all(&warehouse)?;
        }
        process::run(Command::new("cp").arg("-a").arg(&kept).arg(&warehouse), &Output::Inherit)?;
        Ok(warehouse)
    }

    fn table_job(&self, verb: &str, warehouse: &Path) -> Command {
        let mut command = Command::new(&self.table_jobs);
        command.arg(verb).arg(warehouse);
        command
    }

    fn lakehost(&self, words: &[&str], warehouse: &Path) -> Command {
        let mut command = Command::new(&self.lakehost);
        command.args(words).args(["--format", "json", "--warehouse"]).arg(warehouse).current_dir(&self.scratch);
        command
    }

    fn script(&self, name: &str, verb: &str, warehouse: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name)).arg(verb).arg(warehouse).current_dir(&self.scratch);
        command
    }

    fn measure(&self, command: &mut Command) -> Result<Run> {
        let stdout = self.scratch.join("stdout.json");
        let cost = process::measured(command, &stdout)?;
        let text = std::fs::read_to_string(&stdout)?;
        let said = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        Ok(Run { cost, said })
    }

    /// Rows and sums, by PyIceberg.
    fn sums(&self, warehouse: &Path) -> Result<Value> {
        let text = process::stdout_of(&mut self.script("with_pyiceberg.py", "sums", warehouse))?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }
}

/// A job's name, its command on a warehouse, and in how many rounds it runs: minutes need no repetition.
type Named<'a> = (&'a str, &'a dyn Fn(&Path) -> Command, usize);

impl Table {
    fn new(name: &'static str, verb: &str, sizes: impl IntoIterator<Item = String>) -> Self {
        Self { name, grown: std::iter::once(verb.to_owned()).chain(sizes).collect() }
    }
}

impl Line {
    fn new(job: &str, note: &str, runs: Vec<Run>) -> Self {
        Self { job: job.to_owned(), note: note.to_owned(), runs }
    }
}

fn wall(run: &Run) -> f64 {
    run.cost.wall_s
}

fn user(run: &Run) -> f64 {
    run.cost.user_s
}

fn rss(run: &Run) -> f64 {
    run.cost.peak_rss_bytes as f64 / 1_048_576.0
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn markdown(machine: &Machine, rounds: usize, lines: &[Line], bars: &[Bar]) -> String {
    let mut text = format!("### Machine\n\n{}\n### Bars\n\n{}", machine.markdown(), report::verdicts(bars));
    text.push_str(&format!(
        "\n### Runs\n\n{rounds} rounds ({COMMITS_A_ROUND} times as many of commits); medians, RSS at its largest.\n\n\
         | job | wall s | user CPU s | system CPU s | peak RSS MiB | what |\n|---|---|---|---|---|---|\n"
    ));
    for line in lines {
        let median = |get: fn(&Run) -> f64| {
            middle(line.runs.iter().map(get).collect()).map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
        };
        let largest = line.runs.iter().map(rss).fold(0.0, f64::max);
        let system = median(|run| run.cost.system_s);
        text.push_str(&format!(
            "| {} | {} | {} | {system} | {largest:.0} | {} |\n",
            line.job,
            median(wall),
            median(user),
            line.note
        ));
    }
    text
}
