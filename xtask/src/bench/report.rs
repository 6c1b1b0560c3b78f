//! The figures as tables, on the terminal and in docs/benchmarks.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::bars::{self, Bar};
use super::jobs::{Job, Sample};
use crate::process;

/// A part of docs/benchmarks.md that is written by a chore.
#[derive(Clone, Copy)]
pub struct Section(&'static str);

/// The bars of a load.
pub const LOADS: Section = Section("figures: written by `cargo xtask bench --write`");
/// Tables that have grown.
pub const TABLES: Section = Section("table figures: written by `cargo xtask bench tables --write`");

/// Loads through an object store and a REST catalog.
pub const CLUSTER: Section = Section("cluster figures: written by `cargo xtask bench cluster --write`");

impl Section {
    fn begin(self) -> String {
        format!("<!-- {} -->", self.0)
    }

    fn end(self) -> String {
        format!("<!-- end of {} -->", self.0.split(':').next().unwrap_or(self.0))
    }
}

/// Where the figures come from.
pub struct Machine {
    lines: Vec<String>,
}

impl Machine {
    /// Reads what the kernel and the programs say of themselves.
    pub fn look(lakehost: &Path, python: &Path) -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split(':').nth(1))
                .map(|value| value.trim().to_owned())
        };
        let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split(' ').next().and_then(|number| number.parse::<u64>().ok()))
            .map_or_else(|| "unknown memory".to_owned(), |kib| format!("{:.0} GiB", kib as f64 / 1_048_576.0));
        let first = |command: &mut Command| {
            process::stdout_of(command).map(|text| text.lines().next().unwrap_or_default().trim().to_owned())
        };
        Ok(Self {
            lines: vec![
                format!("{cores} cores, {processor}, {memory}, Linux {}", read("/proc/sys/kernel/osrelease").trim()),
                format!("load average before the first round: {}", load()),
                first(Command::new(lakehost).arg("--version"))?,
                first(Command::new("rustc").arg("--version"))?,
                first(Command::new(python).arg("--version"))?,
            ],
        })
    }

    /// As a list.
    pub fn markdown(&self) -> String {
        self.lines.iter().map(|line| format!("- {line}\n")).collect()
    }

    /// Adds how busy the machine was by the end.
    pub fn look_again(&mut self) {
        self.lines.push(format!("load average after the last round: {}", load()));
    }
}

/// Processes that wanted a core, over the last 1, 5 and 15 minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What was asked, and what came out.
pub fn verdicts(bars: &[Bar]) -> String {
    let mut text = "| bar | what | at most | measured | |\n|---|---|---|---|---|\n".to_owned();
    for bar in bars {
        let verdict = match bar.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "-",
        };
        let _ = writeln!(text, "| {} | {} | {} | {} | {verdict} |", bar.bar, bar.what, bar.limit, bar.measured);
    }
    text
}

/// Everything that was found out.
pub fn markdown(
    machine: &Machine,
    rounds: usize,
    rows: u64,
    samples: &[(Job, Vec<Sample>)],
    results: &[Bar],
    sums: &BTreeMap<String, f64>,
) -> String {
    let mut text = String::new();
    let mut line = |content: &str| {
        text.push_str(content);
        text.push('\n');
    };
    line(&format!("### Machine\n\n{}", machine.markdown()));
    line(&format!("### Bars\n\n{}", verdicts(results)));
    line(&format!("### Runs\n\n{rounds} rounds of a month of {rows} rows; medians, RSS and bytes at their largest.\n"));
    line(
        "| job | wall s | user CPU s | system CPU s | without start and imports: wall / user s | peak RSS MiB | files | MB | versions |",
    );
    line("|---|---|---|---|---|---|---|---|---|");
    for (job, runs) in samples {
        line(&run_line(job, runs));
    }
    if let Some(counts) =
        samples.iter().flat_map(|(_, runs)| runs).find_map(|run| run.counts.as_ref()).filter(|c| !c.rejected.is_empty())
    {
        let mut rejected = String::new();
        for (rule, rows) in &counts.rejected {
            let _ = write!(rejected, ", {rule} {rows}");
        }
        line(&format!(
            "\nAll that clean the month agree: {} rows read, {} written{rejected}.",
            counts.read, counts.written
        ));
    }
    if !sums.is_empty() {
        line(&format!("Their tables, read back by PyIceberg, have the same {} sums by column.", sums.len()));
    }
    text
}

fn run_line(job: &Job, runs: &[Sample]) -> String {
    let middle =
        |get: fn(&Sample) -> f64| bars::median(runs, get).map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let largest = |get: fn(&Sample) -> f64| runs.iter().map(get).reduce(f64::max).unwrap_or_default();
    let job_only = if runs.iter().any(|run| run.job.is_some()) {
        format!(
            "{} / {}",
            middle(|run| run.job.map_or(f64::NAN, |(wall, _)| wall)),
            middle(|run| run.job.map_or(f64::NAN, |(_, user)| user))
        )
    } else {
        "-".to_owned()
    };
    let versions =
        runs.first().map(|run| run.versions.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", "));
    let files = runs.iter().map(|run| run.data_files).max().unwrap_or_default();
    format!(
        "| {} | {} | {} | {} | {job_only} | {:.0} | {files} | {:.1} | {} |",
        job.id,
        middle(bars::wall),
        middle(bars::user),
        middle(|run| run.cost.system_s),
        largest(bars::rss),
        largest(bars::data),
        versions.unwrap_or_default()
    )
}

/// Puts the figures between their marks; the words around them stay.
pub fn write(page: &Path, section: Section, figures: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let new = replaced(&text, section, figures)
        .with_context(|| format!("{} has lost its marks for figures", page.display()))?;
    std::fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))
}

fn replaced(text: &str, section: Section, figures: &str) -> Option<String> {
    let (begin, end) = (section.begin(), section.end());
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_replace_figures_and_nothing_else() {
        let (begin, end) = (LOADS.begin(), LOADS.end());
        assert_eq!(
            (LOADS.end().as_str(), TABLES.end().as_str()),
            ("<!-- end of figures -->", "<!-- end of table figures -->")
        );
        let page = format!("# Title\n{begin}\nold\n{end}\nwords\n");
        let new = replaced(&page, LOADS, "new\n").expect("marks are there");
        assert_eq!(new, format!("# Title\n{begin}\n\nnew\n\n{end}\nwords\n"));
        assert_eq!((replaced("no marks", LOADS, "new"), replaced(&page, TABLES, "new")), (None, None));
    }
}
