//! What every whole-system test stands on: a warehouse of its own, a local file server, the built binary and the independent readers.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use lakehost_server::Server;
use lakehost_server::programs::{self, Minio};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with source files behind a server, and an empty warehouse.
pub struct Bench {
    pub dir: TempDir,
    pub server: Server,
}

/// How a command ended.
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// The JSON report on stdout.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON report\n{}\n{}", self.stdout, self.stderr))
    }
    /// `loaded`, `failed`… of each window.
    pub fn statuses(&self) -> Result<Vec<String>> {
        let report = self.json()?;
        let windows = report["windows"].as_array().context("no windows")?;
        Ok(windows.iter().map(|window| window["status"].as_str().unwrap_or("?").to_owned()).collect())
    }
    /// Code of the first error in the report.
    pub fn error_code(&self) -> String {
        let report: Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        let windows = report["windows"].as_array().cloned().unwrap_or_default();
        let code = windows.iter().find_map(|window| window["error"]["code"].as_str());
        code.or(report["totals"]["error"]["code"].as_str()).unwrap_or("none").to_owned()
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Folder of the genuine files.
pub fn data() -> PathBuf {
    root().join("examples/nyc_taxi/data")
}

fn beside_this_test(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    // target/release/deps/lakehost_tests-… → target/release/<name>
    this.parent().and_then(Path::parent).map(|folder| folder.join(name)).unwrap_or_default()
}

/// The built binary.
pub fn binary() -> PathBuf {
    std::env::var_os("LAKEHOST_BIN").map_or_else(|| beside_this_test("lakehost"), PathBuf::from)
}

/// A built component: one that is not embedded, such as a fixture.
pub fn component(name: &str) -> PathBuf {
    let folder = std::env::var_os("LAKEHOST_COMPONENTS_DIR")
        .map_or_else(|| beside_this_test("").join("../components"), PathBuf::from);
    folder.join(format!("{name}.wasm"))
}

/// Python with the pinned readers.
pub fn python() -> Result<PathBuf> {
    let python = std::env::var_os("LAKEHOST_PYTHON").map(PathBuf::from);
    python.context("LAKEHOST_PYTHON is not set; `cargo xtask test` makes that environment and says where it is")
}

/// A month drawn from the genuine ones by the project's generator, at a path. Gives its number of rows.
pub fn generate(path: &Path, dataset: &str, month: &str, rows: u64) -> Result<u64> {
    let program = beside_this_test("tlc-months");
    let folder = path.parent().context("a file in a folder")?;
    let mut command = Command::new(&program);
    command.arg(data()).arg(folder).args([month, "--dataset", dataset, "--rows", &rows.to_string()]);
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!("{} does not start; build it: cargo build --release -p xtask --features generator", program.display())
    })?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(path.exists(), "the generator named the month otherwise than {}", path.display());
    Ok(rows)
}

/// Runs a script of `tests/python` and reads the JSON that it prints.
pub fn read(python: &Path, script: &str, args: &[&str]) -> Result<Value> {
    let script = root().join("tests/python").join(script);
    let output = Command::new(python).arg(script).args(args).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the reader printed no JSON")
}

impl Bench {
    /// Serves copies of the named genuine files.
    pub fn serving(files: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let served = dir.path().join("served");
        std::fs::create_dir(&served)?;
        for file in files {
            std::fs::copy(data().join(file), served.join(file))?;
        }
        let server = Server::start(&served)?;
        Ok(Self { dir, server })
    }

    pub fn served(&self, file: &str) -> PathBuf {
        self.dir.path().join("served").join(file)
    }

    pub fn warehouse(&self) -> String {
        self.dir.path().join("warehouse").display().to_string()
    }

    /// `http://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        let url = self.server.url();
        if url.ends_with('/') { url } else { format!("{url}/") }
    }

    /// The command with a home and a cache of its own, so that nothing of this machine shows through.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("LAKEHOST_FAIL_POINT")
            .env("HOME", self.dir.path().join("home"))
            .env("XDG_CACHE_HOME", shared_cache())
            .stdin(Stdio::null());
        // Also where the tests run in the background of a shell, which has them ignore it.
        // SAFETY: `signal` is a system call without memory of ours, allowed between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::signal(libc::SIGINT, libc::SIG_DFL) {
                libc::SIG_ERR => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Result<Done> {
        done(self.command(args).output().with_context(|| format!("{} does not start", binary().display()))?)
    }

    /// `lakehost run` of the TLC plugin against this server, with a JSON report.
    pub fn load(&self, dataset: &str, month: &str, more: &[&str]) -> Result<Done> {
        let args = self.load_args(dataset, month, more);
        self.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn load_args(&self, dataset: &str, month: &str, more: &[&str]) -> Vec<String> {
        let url = self.url();
        let mut args: Vec<String> = ["run", "--plugin", "nyc_tlc.wasm", "--month", month, "--format", "json"]
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect();
        for config in [format!("dataset={dataset}"), format!("base_url={url}")] {
            args.extend(["--config".to_owned(), config]);
        }
        args.extend(["--allow".to_owned(), url]);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    }

    /// What PyIceberg and DuckDB see, after checking that they see the same.
    pub fn read_table(&self, python: &Path, table: &str) -> Result<Value> {
        let seen = read(python, "read_table.py", &[&self.warehouse(), table])?;
        ensure!(seen["pyiceberg"] == seen["duckdb"], "the readers differ: {seen:#}");
        Ok(seen)
    }
}

/// Compiled components are shared by all tests of this machine: each is compiled once.
pub fn shared_cache() -> PathBuf {
    beside_this_test("").join("../test-cache")
}

/// A profile `cluster` on this process's Postgres and S3 server, in a catalog and a folder of the bucket that begin with a name.
pub fn bucket_profile(name: &str) -> String {
    let (port, minio, name) = (programs::postgres(), programs::minio(), format!("{name}{}", std::process::id()));
    format!(
        "[profile.cluster]\nwarehouse = \"s3://{}/{name}\"\n\
         [profile.cluster.catalog]\nuri = \"postgresql://lakehost@127.0.0.1:{port}/postgres\"\nname = \"{name}\"\n\
         [profile.cluster.s3]\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"{}\"\n\
         secret_access_key = {{ command = [\"printf\", \"{}\"] }}\n",
        Minio::BUCKET,
        minio.url(),
        Minio::KEY,
        Minio::SECRET
    )
}

pub fn done(output: Output) -> Result<Done> {
    Ok(Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Fails with everything that the command said.
#[track_caller]
pub fn expect(done: &Done, code: i32, statuses: &[&str]) {
    let got = done.statuses().unwrap_or_default();
    assert!(done.code == code && got == statuses, "exit {} {got:?}\n{}\n{}", done.code, done.stdout, done.stderr);
}
