//! The whole cluster on real servers: `lakehost stack` starts them, months are loaded to S3 through the REST catalog, and every reader sees the same
//! rows, now and then.
//!
//! A stack of all services takes 1.4 GB of memory and half a minute. `LAKEHOST_CLUSTER` says that its programs are there; `cargo xtask test` sets it,
//! and fetches them under `--full`. Other tests of the cluster start a [`Cluster`] too: models on Trino, the Trino client.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::models;
use crate::support::{Bench, Done, done, expect, python, read, root};

const GREEN: &str = "green_tripdata_2024-01.parquet";
const GREEN_GENERATED: &str = "green_tripdata_2024-02.parquet";
const YELLOW: [&str; 6] = [
    "yellow_tripdata_2024-01.parquet",
    "yellow_tripdata_2024-02.parquet",
    "yellow_tripdata_2024-03.parquet",
    "yellow_tripdata_2024-04.parquet",
    "yellow_tripdata_2024-05.parquet",
    "yellow_tripdata_2024-06.parquet",
];

/// A running stack of a test's own, ended and removed with it.
pub struct Cluster {
    home: PathBuf,
    _folder: TempDir,
    pub bench: Bench,
}

impl Cluster {
    /// None, with a word on stderr, where its programs are not.
    pub fn start(files: &[&str], services: &str) -> Result<Option<Self>> {
        if std::env::var_os("LAKEHOST_CLUSTER").is_none() {
            eprintln!(
                "skipped: the cluster (LAKEHOST_CLUSTER is not set; `cargo xtask test --full` fetches its programs)"
            );
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let home = folder.path().join("stack");
        let cluster = Self { home, _folder: folder, bench: Bench::serving(files)? };
        cluster.ok(&["up", "--only", services])?;
        Ok(Some(cluster))
    }

    /// `lakehost stack …`, with this machine's own cache of programs.
    pub fn stack(&self, arguments: &[&str]) -> Result<Done> {
        done(self.command(arguments).output()?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bench.command(&[]);
        let (verb, rest) = arguments.split_first().unwrap_or((&"status", &[]));
        command.args(["stack", verb, "--home"]).arg(&self.home).args(rest);
        // `go` and `mvn` keep what they fetched in the user's own home.
        command.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
        command.env("LAKEHOST_STACK_CACHE", lakehost_stack::install::cache_folder());
        command
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> Result<Value> {
        let done = self.stack(&[arguments, &["--format", "json"]].concat())?;
        assert_eq!(done.code, 0, "{arguments:?}\n{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    /// Where a service answers.
    pub fn address(&self, service: &str) -> Result<String> {
        let status = self.ok(&["status"])?;
        let services = status["services"].as_array().context("no services")?;
        let found = services.iter().find(|known| known["service"] == service).context("no such service")?;
        assert_eq!(found["state"], "ready", "{found}");
        Ok(found["address"].as_str().context("no address")?.to_owned())
    }

    /// The `lakehost.toml` with the profile `stack`.
    pub fn file(&self) -> String {
        self.home.join("lakehost.toml").display().to_string()
    }

    /// A verb on the profile.
    pub fn run(&self, arguments: &[&str]) -> Result<Done> {
        self.bench.run(&[arguments, &["--profile", "stack", "--file", &self.file()]].concat())
    }

    fn load(&self, dataset: &str, month: &str) -> Result<Done> {
        self.bench.load(dataset, month, &["--profile", "stack", "--file", &self.file()])
    }

    /// The catalog in PyIceberg's words.
    pub fn for_pyiceberg(&self) -> Result<Value> {
        let text = std::fs::read_to_string(self.home.join("secrets.json"))?;
        let secrets: Value = serde_json::from_str(&text)?;
        Ok(json!({
            "type": "rest",
            "uri": self.address("rest")?,
            "s3.endpoint": self.address("minio")?,
            "s3.region": "us-east-1",
            "s3.access-key-id": secrets["s3_access_key_id"],
            "s3.secret-access-key": secrets["s3_secret_access_key"],
        }))
    }

    /// What every reader sees of a table, after checking that they see the same at each snapshot.
    pub fn read_table(&self, python: &Path, table: &str, files: &[&str]) -> Result<Value> {
        let files: Vec<String> = files.iter().map(|file| self.bench.served(file).display().to_string()).collect();
        let (catalog, trino) = (self.for_pyiceberg()?.to_string(), self.address("trino")?);
        let arguments: Vec<&str> =
            [catalog.as_str(), &trino, table].into_iter().chain(files.iter().map(String::as_str)).collect();
        let seen = read(python, "read_cluster.py", &arguments)?;
        let now = &seen["now"];
        for reader in ["trino", "trino without a version", "duckdb"] {
            ensure!(now[reader] == now["pyiceberg"], "{reader} differs: {now:#}");
        }
        for sum in ["rows", "cents"] {
            ensure!(now["files"][sum] == now["pyiceberg"][sum], "the files differ in {sum}: {now:#}");
        }
        for then in seen["then"].as_array().context("no snapshots")? {
            ensure!(then["trino"] == then["pyiceberg"] && then["duckdb"] == then["pyiceberg"], "then: {then:#}");
        }
        Ok(seen)
    }

    /// Pids of all processes that this stack started.
    fn processes(&self) -> Vec<String> {
        let mark = format!("LAKEHOST_STACK_HOME={}", self.home.display());
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter(|entry| {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        });
        pids.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.stack(&["down", "--wipe"]);
    }
}

#[test]
fn months_are_the_same_for_every_reader() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let files = [&[GREEN][..], &YELLOW].concat();
    let Some(cluster) = Cluster::start(&files, "trino")? else { return Ok(()) };
    let doctor = cluster.run(&["doctor", "--format", "json"])?;
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);

    // A genuine month, and one that was made from it.
    let (genuine, generated) = (cluster.bench.served(GREEN), cluster.bench.served(GREEN_GENERATED));
    let paths = [genuine.display().to_string(), generated.display().to_string()];
    let made = read(&python, "next_month.py", &[&paths[0], &paths[1]])?;
    expect(&cluster.load("green", "2024-01..2024-02")?, 0, &["loaded"; 2]);
    let green = cluster.read_table(&python, "raw.green_trips", &[GREEN, GREEN_GENERATED])?;
    assert_eq!(green["now"]["trino"]["windows"]["2024-01-01"][0], 56_551);
    assert_eq!(green["now"]["trino"]["windows"]["2024-02-01"][0], made["rows"]);

    expect(&cluster.load("yellow", "2024-01..2024-06")?, 0, &["loaded"; 6]);
    let before = cluster.read_table(&python, "raw.yellow_trips", &YELLOW)?;
    assert_eq!(before["now"]["trino"]["rows"], 10_000);
    assert_eq!(before["then"].as_array().map(Vec::len), Some(6));

    // Again: nothing happens. Upstream corrects a month: that window is replaced, and the one before stays in the past.
    expect(&cluster.load("yellow", "2024-03")?, 0, &["already-loaded"]);
    std::fs::copy(cluster.bench.served(YELLOW[4]), cluster.bench.served(YELLOW[2]))?;
    expect(&cluster.load("yellow", "2024-03")?, 0, &["loaded"]);
    let after = cluster.read_table(&python, "raw.yellow_trips", &YELLOW)?;
    let window = |seen: &Value, month: &str| seen["windows"][month].clone();
    let (now, then) = (&after["now"]["trino"], after["then"].as_array().context("no snapshots")?);
    assert_eq!(window(now, "2024-03-01"), window(now, "2024-05-01"));
    assert_eq!(then.len(), 7);
    assert_eq!(then[..6], before["then"].as_array().context("no snapshots")?[..], "the past does not change");
    assert_eq!(then[5]["trino"], before["now"]["trino"]);
    assert_ne!(window(&then[5]["trino"], "2024-03-01"), window(now, "2024-03-01"));

    // The same file on another profile gives the same rows.
    let local = cluster.bench.load("yellow", "2024-01..2024-06", &[])?;
    expect(&local, 0, &["loaded"; 6]);
    let embedded = cluster.bench.read_table(&python, "raw.yellow_trips")?;
    assert_eq!(embedded["pyiceberg"]["rows"], now["rows"]);

    // A restart loses nothing; the end leaves nothing.
    cluster.ok(&["down"])?;
    assert_eq!(cluster.processes(), Vec::<String>::new());
    cluster.ok(&["up"])?;
    assert_eq!(cluster.read_table(&python, "raw.yellow_trips", &YELLOW)?, after);
    let ended = cluster.ok(&["down"])?;
    assert_eq!(
        ended["services"].as_array().map(|all| all.iter().filter(|one| !one["ended_pid"].is_null()).count()),
        Some(4)
    );
    assert_eq!(cluster.processes(), Vec::<String>::new());
    Ok(())
}

#[test]
fn models_on_trino_are_those_of_the_embedded_profile() -> Result<()> {
    // The readers' Python stands for one that can set dbt up.
    if python().is_none() {
        return Ok(());
    }
    let Some(cluster) = Cluster::start(&YELLOW, "trino")? else { return Ok(()) };
    let bench = &cluster.bench;
    models::copy(&root().join("dbt_project"), &bench.dir.path().join("dbt_project"))?;
    let url = bench.url();
    let text = format!(
        "{}\n[pipeline.yellow]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"yellow\", base_url = \"{url}\" }}\n\
         allow = [\"{url}\"]\ntable = \"raw.yellow_trips\"\nmodels = \"dbt_project\"\n",
        std::fs::read_to_string(cluster.file())?
    );
    std::fs::write(bench.dir.path().join("lakehost.toml"), text)?;

    // One file, two profiles: DuckDB's gold, which is held against the files elsewhere, and Trino's.
    let both = |windows: &[&str]| -> Result<()> {
        let mut gold = Vec::new();
        for (profile, engine) in [("local", "duckdb"), ("stack", "trino")] {
            let months = ["run", "yellow", "--month", "2024-01..2024-06"];
            let done = bench.run(&[&months[..], &["--profile", profile, "--format", "json"]].concat())?;
            assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
            let report = done.json()?;
            let models = &report["models"];
            assert_eq!((&models["status"], &models["engine"]), (&json!("built"), &json!(engine)), "{models:#}");
            assert_eq!(models["windows"], json!(windows), "{profile}");
            let mut tables = Vec::new();
            for table in ["fct_daily_trips", "fct_hourly_revenue", "fct_trip_distance_stats", "dim_zone"] {
                let select = format!("select * from gold.{table}");
                let shown = bench.run(&["query", &select, "--limit", "0", "--format", "csv", "--profile", profile])?;
                assert_eq!(shown.code, 0, "{}", shown.stderr);
                let mut rows: Vec<String> = shown.stdout.lines().map(str::to_owned).collect();
                rows.sort_unstable();
                assert!(rows.len() > 100, "{table}: {} rows", rows.len());
                tables.push((table, rows));
            }
            gold.push(tables);
        }
        for (embedded, cluster) in gold[0].iter().zip(&gold[1]) {
            let differing = embedded.1.iter().zip(&cluster.1).find(|(here, there)| here != there);
            ensure!(embedded.1.len() == cluster.1.len() && differing.is_none(), "{}: {differing:?}", embedded.0);
        }
        Ok(())
    };
    both(&[])?;
    std::fs::copy(bench.served(YELLOW[4]), bench.served(YELLOW[2]))?;
    both(&["2024-03"])?;

    // Trino's own answer of what it built.
    let sum = "select sum(trips) as trips from gold.fct_daily_trips";
    let asked = |more: &[&str]| bench.run(&[&["query", sum, "--format", "json", "--profile", "stack"], more].concat());
    assert_eq!(asked(&["--engine", "trino"])?.json()?, asked(&[])?.json()?);
    Ok(())
}
