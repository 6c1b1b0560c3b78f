//! What is run, how it is started, and what it tells of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{self, Cost};
use crate::serve::Serving;

pub const PEERS: [&str; 4] = ["polars", "daft", "pyiceberg", "duckdb"];
const MONTH: &str = "2024-01";
const YEAR: &str = "2024-01..2024-12";
const TABLE: &str = "clean.yellow_trips";

/// Everything that a job needs.
pub struct Jobs {
    pub lakehost: PathBuf,
    /// The same with its cleaner compiled in (cargo feature `native-cleaner`).
    pub native: PathBuf,
    pub python: PathBuf,
    /// `bench/`
    pub scripts: PathBuf,
    pub scratch: PathBuf,
    pub serving: Serving,
}

/// One whole process to measure.
pub struct Job {
    /// `p1-window/lakehost`
    pub id: String,
    pub what: What,
}

/// How the table is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Window,
    Day,
}

pub enum What {
    /// Load a month through the cleaner; `native`: the same cleaner compiled into the host; `keeping`: rejected rows go to a table of their own,
    /// which no peer does.
    Clean { layout: Layout, native: bool, keeping: bool },
    /// Load the month as it is.
    AsIs { verify: &'static str },
    /// Twelve months in one run.
    Year,
    /// Start, instantiate the component, ask it one thing, print it.
    Inspect,
    /// The month by somebody else.
    Peer { script: &'static str, layout: Layout },
}

/// One run of a job.
pub struct Sample {
    pub cost: Cost,
    /// Without interpreter start and imports; a peer's own word.
    pub job: Option<(f64, f64)>,
    pub counts: Option<Counts>,
    pub data_files: u64,
    pub data_bytes: u64,
    pub versions: BTreeMap<String, String>,
}

/// What must be the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub written: u64,
    pub rejected: BTreeMap<String, u64>,
}

impl Job {
    /// How often it runs in a round: more often where the bar is about less than a tenth of a second.
    pub fn times(&self) -> usize {
        match self.id.split_once('/') {
            Some(("p4", _)) => 3,
            Some(("p6", _)) => 5,
            _ => 1,
        }
    }
}

impl Layout {
    fn word(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Day => "day",
        }
    }
}

impl Jobs {
    /// The jobs that some bars ask for.
    pub fn chosen(&self, bars: &[String]) -> Vec<Job> {
        let has = |bar: &str| bars.iter().any(|known| known == bar);
        let mut jobs = Vec::new();
        let mut add = |id: String, what: What| jobs.push(Job { id, what });
        if has("P1") || has("P5") {
            add("p1-window/lakehost".to_owned(), What::Clean { layout: Layout::Window, native: false, keeping: false });
        }
        if has("P1") {
            let keeping = What::Clean { layout: Layout::Window, native: false, keeping: true };
            add("p1-window/lakehost-keeping".to_owned(), keeping);
            add("p1-day/lakehost".to_owned(), What::Clean { layout: Layout::Day, native: false, keeping: false });
            for layout in [Layout::Window, Layout::Day] {
                for script in PEERS {
                    add(format!("p1-{}/{script}", layout.word()), What::Peer { script, layout });
                }
            }
        }
        if has("P2") {
            add("p2/pages".to_owned(), What::AsIs { verify: "pages" });
            add("p2/footer".to_owned(), What::AsIs { verify: "footer" });
        }
        if has("P4") {
            add("p4/component".to_owned(), What::Clean { layout: Layout::Window, native: false, keeping: false });
            add("p4/native".to_owned(), What::Clean { layout: Layout::Window, native: true, keeping: false });
        }
        if has("P5") {
            add("p5/year".to_owned(), What::Year);
        }
        if has("P6") {
            add("p6/inspect".to_owned(), What::Inspect);
        }
        jobs
    }

    fn folder(&self, job: &Job) -> PathBuf {
        self.scratch.join(job.id.replace('/', "-"))
    }

    fn command(&self, job: &Job, folder: &Path) -> Command {
        let url = self.serving.url();
        let base = format!("base_url={url}");
        // Both legs of P4 are the same program, so that nothing but the cleaner differs.
        let native = job.id.starts_with("p4/");
        let load = |months: &str, more: &[&str]| {
            let mut command = Command::new(if native { &self.native } else { &self.lakehost });
            command.args(["run", "--plugin", "nyc_tlc.wasm", "--config", &base, "--allow", url, "--month", months]);
            command.args(["--format", "json", "--warehouse"]).arg(folder.join("warehouse")).args(more);
            command
        };
        let cleaned = ["--cleaner", "trip_cleaner.wasm", "--table", TABLE];
        let mut command = match job.what {
            What::Clean { layout, native, keeping } => {
                let mut command = load(MONTH, &cleaned);
                if !keeping {
                    command.arg("--no-quarantine");
                }
                if layout == Layout::Day {
                    command.args(["--partition-by", "day(tpep_pickup_datetime)"]);
                }
                if native {
                    command.env("LAKEHOST_NATIVE_CLEANER", "1");
                }
                command
            }
            What::AsIs { verify } => load(MONTH, &["--verify", verify]),
            What::Year => {
                let mut command = load(YEAR, &cleaned);
                command.arg("--no-quarantine");
                command
            }
            What::Inspect => {
                let mut command = Command::new(&self.lakehost);
                command.args(["plugin", "inspect", "nyc_tlc.wasm"]);
                command
            }
            What::Peer { script, layout } => {
                let mut command = Command::new(&self.python);
                command.arg(self.scripts.join("peers").join(format!("with_{script}.py")));
                command.args(["--url", url, "--month", MONTH, "--layout", layout.word(), "--out"]).arg(folder);
                command
            }
        };
        command.current_dir(folder);
        command
    }

    /// Runs a job once in an empty folder.
    pub fn run(&self, job: &Job) -> Result<Sample> {
        let folder = self.folder(job);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let stdout = folder.join("stdout.json");
        let cost = process::measured(&mut self.command(job, &folder), &stdout).with_context(|| job.id.clone())?;
        if matches!(job.what, What::Inspect) {
            return Ok(Sample {
                cost,
                job: None,
                counts: None,
                data_files: 0,
                data_bytes: 0,
                versions: BTreeMap::new(),
            });
        }
        let said = std::fs::read_to_string(&stdout).with_context(|| format!("cannot read {}", stdout.display()))?;
        let said: Value = serde_json::from_str(&said).with_context(|| format!("{} printed no JSON: {said}", job.id))?;
        let (data_files, data_bytes) = data_files(&folder)?;
        let peer = matches!(job.what, What::Peer { .. });
        let totals = if peer { &said } else { &said["totals"] };
        if !peer && totals["status"] != "loaded" {
            bail!("{} ended as {}: {}", job.id, totals["status"], totals["error"]);
        }
        Ok(Sample {
            cost,
            job: peer.then(|| (number(&said["job"]["wall_s"]), number(&said["job"]["user_s"]))),
            counts: Some(Counts::read(totals).with_context(|| format!("{} does not count its rows", job.id))?),
            data_files,
            data_bytes,
            versions: said["versions"]
                .as_object()
                .map(|versions| {
                    versions.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or("?").to_owned())).collect()
                })
                .unwrap_or_default(),
        })
    }

    /// Reads the cleaned tables of the last runs back with PyIceberg: rows and sums of every column must agree.
    pub fn equal_tables<'a>(&self, jobs: impl Iterator<Item = &'a Job>) -> Result<BTreeMap<String, f64>> {
        let mut first: Option<(String, BTreeMap<String, f64>)> = None;
        for job in jobs {
            let catalog = match job.what {
                What::Clean { .. } => self.folder(job).join("warehouse/catalog.db"),
                What::Peer { .. } => self.folder(job).join("catalog.db"),
                What::AsIs { .. } | What::Year | What::Inspect => continue,
            };
            let mut command = Command::new(&self.python);
            command.arg(self.scripts.join("sums.py")).arg(&catalog).arg(TABLE);
            let said: BTreeMap<String, f64> = serde_json::from_str(&process::stdout_of(&mut command)?)
                .with_context(|| format!("the table of {} cannot be summed up", job.id))?;
            match &first {
                None => first = Some((job.id.clone(), said)),
                Some((other, sums)) => {
                    if let Some(difference) = difference(sums, &said) {
                        bail!("the tables of {other} and {} differ: {difference}", job.id);
                    }
                }
            }
        }
        Ok(first.map(|(_, sums)| sums).unwrap_or_default())
    }
}

impl Counts {
    fn read(said: &Value) -> Option<Self> {
        let rejected = said["rows_rejected"].as_object()?;
        Some(Self {
            read: said["rows_read"].as_u64()?,
            written: said["rows_written"].as_u64()?,
            rejected: rejected
                .iter()
                .filter_map(|(rule, rows)| Some((rule.clone(), rows.as_u64()?)))
                .filter(|(_, rows)| *rows > 0)
                .collect(),
        })
    }
}

/// Fails unless every run that cleaned the month counted the same rows.
pub fn equal_counts(samples: &[(Job, Vec<Sample>)]) -> Result<()> {
    let mut first: Option<(&str, &Counts)> = None;
    for (job, runs) in samples.iter().filter(|(job, _)| matches!(job.what, What::Clean { .. } | What::Peer { .. })) {
        for counts in runs.iter().filter_map(|run| run.counts.as_ref()) {
            match first {
                None => first = Some((&job.id, counts)),
                Some((_, wanted)) if wanted == counts => {}
                Some((other, wanted)) => bail!("{other} and {} count differently: {wanted:?}, {counts:?}", job.id),
            }
        }
    }
    Ok(())
}

/// The first column whose sums are not the same up to the order of addition.
pub fn difference(a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> Option<String> {
    let columns = a.keys().chain(b.keys());
    columns
        .filter_map(|column| {
            let (x, y) = (a.get(column), b.get(column));
            let close = x.zip(y).is_some_and(|(x, y)| (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0));
            (!close).then(|| format!("{column}: {x:?} and {y:?}"))
        })
        .next()
}

/// Number and bytes of the Parquet files that a job left behind, whatever it downloaded set aside.
fn data_files(folder: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name == "downloads") {
                continue;
            }
            let (more_files, more_bytes) = data_files(&path)?;
            files += more_files;
            bytes += more_bytes;
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            files += 1;
            bytes += std::fs::metadata(&path)?.len();
        }
    }
    Ok((files, bytes))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_may_differ_by_rounding_only() {
        let sums = |value: f64| BTreeMap::from([("rows".to_owned(), 3.0), ("fare".to_owned(), value)]);
        assert_eq!(difference(&sums(1e9), &sums(1e9 + 0.1)), None);
        assert!(difference(&sums(1e9), &sums(1e9 + 10.0)).is_some_and(|text| text.starts_with("fare")));
        assert!(difference(&sums(1.0), &BTreeMap::from([("rows".to_owned(), 3.0)])).is_some());
    }
}
