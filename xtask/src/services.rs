//! The programs of real servers that tests start for themselves: found, installed where that is possible, or skipped by name.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{self, Output};
use crate::workspace::Workspace;

/// The last community version, as its Go module names it.
const MINIO: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";
/// Where Debian keeps a folder of programs for each major version of Postgres.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// What the tests are told, and what they will skip.
#[derive(Default)]
pub struct Services {
    /// Environment variables for the tests.
    pub variables: Vec<(&'static str, PathBuf)>,
    /// `postgres 15`
    pub present: Vec<String>,
    /// `S3 server (no go to build MinIO with)`
    pub skipped: Vec<String>,
    /// Parts of the names of tests that need a server that is not there. They are left out, so that they never look like passed.
    pub without: Vec<&'static str>,
}

/// Tests by the module that they are in.
const NEEDS_POSTGRES: [&str; 2] = ["on_postgres", "tests::services::"];
const NEEDS_S3: [&str; 4] = ["on_s3::", "and_s3::", "store::s3::tests::", "tests::s3_faults::"];

impl Services {
    /// Looks for the servers. Postgres is installed where apt may; MinIO is built, which takes minutes once, when `build` says so.
    pub fn ensure(workspace: &Workspace, build: bool, output: &Output) -> Result<Self> {
        let mut services = Self::default();
        match postgres(output) {
            Ok(folder) => services.add("LAKEHOST_POSTGRES_BIN", folder, "postgres"),
            Err(error) => services.lack(format!("postgres ({error:#})"), &NEEDS_POSTGRES),
        }
        match minio(workspace, build, output) {
            Ok(program) => services.add("LAKEHOST_MINIO", program, "minio"),
            Err(error) => services.lack(format!("S3 server ({error:#})"), &NEEDS_S3),
        }
        Ok(services)
    }

    fn add(&mut self, variable: &'static str, path: PathBuf, name: &str) {
        self.present.push(name.to_owned());
        self.variables.push((variable, path));
    }

    fn lack(&mut self, what: String, tests: &[&'static str]) {
        self.skipped.push(what);
        self.without.extend(tests);
    }

    /// For the step's line.
    pub fn shown(&self) -> String {
        let mut parts = Vec::new();
        if !self.present.is_empty() {
            parts.push(self.present.join(", "));
        }
        parts.extend(self.skipped.iter().map(|skipped| format!("skipped: {skipped}")));
        parts.join("; ")
    }
}

/// The folder with `initdb` and `postgres`.
fn postgres(output: &Output) -> Result<PathBuf> {
    if let Some(folder) = debian_postgres() {
        return Ok(folder);
    }
    let root = process::stdout_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || !Path::new("/usr/bin/apt-get").exists() {
        anyhow::bail!("not installed, and apt-get cannot be used");
    }
    // Its package would start a server of its own.
    let settings = Path::new("/etc/postgresql-common");
    std::fs::create_dir_all(settings).with_context(|| format!("cannot make {}", settings.display()))?;
    let settings = settings.join("createcluster.conf");
    if !settings.exists() {
        std::fs::write(&settings, "create_main_cluster = false\n")
            .with_context(|| format!("cannot write {}", settings.display()))?;
    }
    process::run(Command::new("apt-get").args(["update", "-qq"]), output)?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends", "postgresql"]);
    process::run(install.env("DEBIAN_FRONTEND", "noninteractive"), output)?;
    debian_postgres().context("the package postgresql brought no initdb")
}

fn debian_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN_POSTGRES).ok()?;
    let mut folders: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.into_iter().rev().find(|folder| folder.join("initdb").is_file())
}

/// The program; built once for this target folder.
fn minio(workspace: &Workspace, build: bool, output: &Output) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|folder| folder.join("minio")).find(|file| file.is_file()) {
        return Ok(found);
    }
    let folder = workspace.scratch("tools")?.join("bin");
    let program = folder.join("minio");
    if program.is_file() {
        return Ok(program);
    }
    if !build {
        anyhow::bail!("MinIO is built by `cargo xtask test --full`");
    }
    process::stdout_of(Command::new("go").arg("version")).context("no go to build MinIO with")?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut install = Command::new("go");
    install.args(["install", "-p", "2", MINIO]).env("GOBIN", &folder).env("GOFLAGS", "-buildvcs=false");
    process::run(&mut install, output)?;
    Ok(program)
}
