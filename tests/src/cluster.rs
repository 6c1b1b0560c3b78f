//! The cluster on real servers, started by `lakehost stack`, and what its tests stand on: a stack of a test's own, or one that all share.
//!
//! A stack of all services takes 1.4 GB of memory and half a minute. Every test in here needs its programs; `cargo xtask test` leaves them out by
//! name where those are not, and fetches them under `--full`. What needs Spark lies in modules named `with_spark`, which `--full` alone runs.

mod as_is;
mod end_to_end;
mod models;
mod served;
mod spark;
mod trino;

use std::ops::Deref;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::support::{Bench, Done, binary, done, read};
use spark::Spark;

/// Ends a stack when the pipe from this process closes, however that ends. Arguments: program, folder.
const KEEPER: &str = r#"
trap '' INT TERM HUP
read -r _ || true
"$1" stack down --wipe --home "$2/stack" >/dev/null 2>&1
rm -rf "$2"
"#;

/// Running services, ended and removed with this value or with the process.
pub struct Stack {
    folder: PathBuf,
    /// Its standard input keeps the services up.
    keeper: Child,
}

impl Stack {
    fn start(services: &str) -> Result<Self> {
        assert!(
            std::env::var_os("LAKEHOST_CLUSTER").is_some(),
            "LAKEHOST_CLUSTER is not set: `cargo xtask test` says so where the programs of `lakehost stack` are, and `--full` fetches them"
        );
        let folder = tempfile::tempdir()?.keep();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(binary()).arg(&folder).process_group(0);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let stack = Self { folder, keeper };
        stack.ok(&["up", "--only", services])?;
        Ok(stack)
    }

    /// Postgres, MinIO, the REST catalog and Trino, started once for all tests of this process. Each has namespaces of its own in there.
    fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Stack, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Self::start("trino").map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow!("the stack of all tests does not start: {error}"))
    }

    fn home(&self) -> PathBuf {
        self.folder.join("stack")
    }

    /// `lakehost stack …`, with this machine's own cache of programs.
    pub fn stack(&self, arguments: &[&str]) -> Result<Done> {
        let mut command = Command::new(binary());
        let (verb, rest) = arguments.split_first().context("a verb")?;
        command.args(["stack", verb, "--home"]).arg(self.home()).args(rest).current_dir(&self.folder);
        command.env("LAKEHOST_STACK_CACHE", lakehost_stack::install::cache_folder());
        done(command.stdin(Stdio::null()).output()?)
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Result<Value> {
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
        self.home().join("lakehost.toml").display().to_string()
    }

    /// Its key id and key for the bucket.
    fn keys(&self) -> Result<[String; 2]> {
        let secrets: Value = serde_json::from_str(&std::fs::read_to_string(self.home().join("secrets.json"))?)?;
        let word = |name: &str| secrets[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        Ok([word("s3_access_key_id")?, word("s3_secret_access_key")?])
    }

    /// The catalog in PyIceberg's words.
    pub fn for_pyiceberg(&self, catalog: &str) -> Result<Value> {
        let [id, key] = self.keys()?;
        Ok(json!({
            "type": "rest",
            "uri": self.address(catalog)?,
            "s3.endpoint": self.address("minio")?,
            "s3.region": "us-east-1",
            "s3.access-key-id": id,
            "s3.secret-access-key": key,
        }))
    }

    /// Answers of Spark to statements by name, in the catalog `lake` as the stack's own `spark.conf` has it.
    pub fn ask_spark(&self, spark: &Spark, job: &Value) -> Result<Value> {
        let conf = self.home().join("etc/spark.conf");
        spark.ask(&std::fs::read_to_string(conf)?, &self.keys()?, job)
    }

    /// Pids of all processes that this stack started.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("LAKEHOST_STACK_HOME={}", self.home().display());
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter(|entry| {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        });
        pids.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A bench beside a stack.
pub struct Cluster {
    stack: Held,
    pub bench: Bench,
}

/// A stack that is somebody's.
enum Held {
    Own(Stack),
    Shared(&'static Stack),
}

impl Deref for Cluster {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        match &self.stack {
            Held::Own(stack) => stack,
            Held::Shared(stack) => stack,
        }
    }
}

impl Cluster {
    /// With a stack of its own, of these services and what they need.
    pub fn start(files: &[&str], services: &str) -> Result<Self> {
        Ok(Self { stack: Held::Own(Stack::start(services)?), bench: Bench::serving(files)? })
    }

    /// With the stack of all.
    pub fn shared(files: &[&str]) -> Result<Self> {
        Ok(Self { stack: Held::Shared(Stack::shared()?), bench: Bench::serving(files)? })
    }

    /// A verb on the profile.
    pub fn run(&self, arguments: &[&str]) -> Result<Done> {
        self.bench.run(&[arguments, &["--profile", "stack", "--file", &self.file()]].concat())
    }

    /// `lakehost run` of the TLC plugin, onto the stack.
    pub fn load(&self, dataset: &str, month: &str, more: &[&str]) -> Result<Done> {
        let profile = ["--profile", "stack", "--file", &self.file()];
        self.bench.load(dataset, month, &[&profile, more].concat())
    }

    /// Writes a `lakehost.toml` of this profile and a pipeline on this bench's server.
    pub fn pipeline(&self, dataset: &str, more: &str) -> Result<()> {
        let url = self.bench.url();
        let text = format!(
            "{}\n[pipeline.{dataset}]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"{dataset}\", base_url = \"{url}\" }}\n\
             allow = [\"{url}\"]\n{more}",
            std::fs::read_to_string(self.file())?
        );
        Ok(std::fs::write(self.bench.dir.path().join("lakehost.toml"), text)?)
    }

    /// What every reader sees of a table, after checking that they see the same at each snapshot.
    pub fn read_table(&self, python: &Path, table: &str, files: &[&str], spark: Option<&Spark>) -> Result<Value> {
        let files: Vec<String> = files.iter().map(|file| self.bench.served(file).display().to_string()).collect();
        let (catalog, trino) = (self.for_pyiceberg("rest")?.to_string(), self.address("trino")?);
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
        let then = seen["then"].as_array().context("no snapshots")?;
        for then in then {
            ensure!(then["trino"] == then["pyiceberg"] && then["duckdb"] == then["pyiceberg"], "then: {then:#}");
        }
        if let Some(spark) = spark {
            let mut queries = serde_json::Map::new();
            for snapshot in then.iter().filter_map(|then| then["snapshot"].as_str()) {
                queries.insert(snapshot.to_owned(), by_window(&format!("{table} version as of {snapshot}")).into());
            }
            queries.insert("now".to_owned(), by_window(table).into());
            let by_spark = self.ask_spark(spark, &json!({ "queries": queries }))?;
            let rows = |name: &str| -> Result<Value> {
                let rows = by_spark["queries"][name].as_array().with_context(|| format!("no answer to {name}"))?;
                Ok(rows.iter().map(|row| (row[0].as_str().unwrap_or_default().to_owned(), number_pair(row))).collect())
            };
            ensure!(rows("now")? == now["pyiceberg"]["windows"], "Spark now: {by_spark:#} {now:#}");
            for then in then {
                let name = then["snapshot"].as_str().unwrap_or_default();
                ensure!(rows(name)? == then["pyiceberg"]["windows"], "Spark then: {by_spark:#} {then:#}");
            }
        }
        Ok(seen)
    }
}

/// Rows and cents by window.
fn by_window(table: &str) -> String {
    format!(
        "select _lakehost_window, count(*), sum(cast(round(total_amount * 100) as bigint)) from lake.{table} group by 1"
    )
}

/// `[rows, cents]` of a row of texts.
fn number_pair(row: &Value) -> Value {
    let number = |at: usize| row[at].as_str().and_then(|text| text.parse::<i64>().ok());
    json!([number(1), number(2)])
}
