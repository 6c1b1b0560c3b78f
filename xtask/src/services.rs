//! The programs of real servers that tests start for themselves: found, installed where that is possible, or skipped by name.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
pub use lakehost_stack::install::VERSITYGW_VARIABLE;
use lakehost_stack::install::{self, Installer};
use lakehost_stack::{Watch, postgres as stack_postgres, versions};

use crate::process::{self, Output};
use crate::python;
use crate::workspace::Workspace;

/// What the tests are told, and what they will skip.
#[derive(Default)]
pub struct Services {
    /// Environment variables for the tests.
    pub variables: Vec<(&'static str, OsString)>,
    /// `postgres 15`
    pub present: Vec<String>,
    /// `S3 server (no go to build MinIO with)`
    pub skipped: Vec<String>,
    /// Parts of the names of tests that need a server that is not there. They are left out, so that they never look like passed.
    pub without: Vec<&'static str>,
}

/// Tests by the module that they are in.
const NEEDS_POSTGRES: [&str; 2] = ["on_postgres", "tests::services::"];
pub const NEEDS_S3: [&str; 4] = ["on_s3::", "and_s3::", "store::s3::tests::", "tests::s3_faults::"];
const NEEDS_BOTH: [&str; 1] = ["stack_tests::"];
const NEEDS_CLUSTER: [&str; 2] = ["cluster::", "nessie::"];
const NEEDS_SPARK: [&str; 1] = ["with_spark::"];
const NEEDS_TIME: [&str; 1] = ["takes_minutes::"];

/// Spark's Python packages, under the root.
const SPARK: &str = "xtask/spark.txt";

impl Services {
    /// Looks for the servers. Postgres is installed where apt may; the others are fetched and built, which takes minutes once, when `full` says so.
    /// Spark is for `full` alone: it takes a minute and a gigabyte for what other readers show too.
    pub fn ensure(workspace: &Workspace, full: bool, output: &Output) -> Result<Self> {
        let mut services = Self::default();
        match postgres(output) {
            Ok(folder) => services.add(stack_postgres::VARIABLE, folder, "postgres"),
            Err(error) => services.lack(format!("postgres ({error:#})"), &NEEDS_POSTGRES),
        }
        match minio(full) {
            Ok(program) => services.add(install::MINIO_VARIABLE, program, "minio"),
            Err(error) => services.lack(format!("S3 server ({error:#})"), &NEEDS_S3),
        }
        if !services.skipped.is_empty() {
            services.without.extend(NEEDS_BOTH);
        }
        match cluster(full) {
            Ok(cache) => services.add("LAKEHOST_CLUSTER", cache, "REST catalog, Nessie, Trino"),
            Err(error) => services.lack(format!("cluster ({error:#})"), &NEEDS_CLUSTER),
        }
        match full.then(|| spark(workspace, output)) {
            Some(Ok(variables)) => {
                services.present.push("Spark".to_owned());
                services.variables.extend(variables);
            }
            Some(Err(error)) => services.lack(format!("Spark ({error:#})"), &NEEDS_SPARK),
            None => services.lack("Spark (`--full` alone runs it)".to_owned(), &NEEDS_SPARK),
        }
        if !full {
            services.lack("what takes minutes (`--full` alone runs it)".to_owned(), &NEEDS_TIME);
        }
        Ok(services)
    }

    fn add(&mut self, variable: &'static str, path: PathBuf, name: &str) {
        self.present.push(name.to_owned());
        self.variables.push((variable, path.into()));
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
    if let Some(folder) = stack_postgres::programs() {
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
    stack_postgres::programs().context("the package postgresql brought no initdb")
}

/// The program: one that is there, or the pinned one, built once into the cache of `lakehost stack`.
fn minio(build: bool) -> Result<PathBuf> {
    if let Some(found) = install::present_minio() {
        return Ok(found);
    }
    if !build {
        anyhow::bail!("MinIO is built by `cargo xtask test --full`");
    }
    let (cache, watch) = (install::cache_folder(), Watch::nobody());
    Ok(install::minio(&Installer { cache: &cache, watch: &watch }, &versions::versions()?)?)
}

/// Another S3 server, built once into the same cache.
pub fn versitygw() -> Result<PathBuf> {
    let (cache, watch) = (install::cache_folder(), Watch::nobody());
    Ok(install::versitygw(&Installer { cache: &cache, watch: &watch }, &versions::versions()?)?)
}

/// The folder with the programs of all services.
fn cluster(build: bool) -> Result<PathBuf> {
    let (cache, watch) = (install::cache_folder(), Watch::nobody());
    if !install::all_present(&cache) {
        if !build {
            anyhow::bail!(
                "its programs are fetched by `cargo xtask test --full`, or by `lakehost stack up --with nessie`"
            );
        }
        install::all(&Installer { cache: &cache, watch: &watch })?;
    }
    Ok(cache)
}

/// What a test is told about Spark: a Python that has it, a Java for it, its jars and its memory.
fn spark(workspace: &Workspace, output: &Output) -> Result<Vec<(&'static str, OsString)>> {
    let (cache, watch) = (install::cache_folder(), Watch::nobody());
    let found = install::spark(&Installer { cache: &cache, watch: &watch }, &versions::versions()?)?;
    let python = python::ensure(workspace, SPARK, output)?;
    let jars: Vec<OsString> = found.jars.into_iter().map(PathBuf::into_os_string).collect();
    Ok(vec![
        ("LAKEHOST_SPARK_PYTHON", python.into()),
        ("LAKEHOST_SPARK_JAVA_HOME", found.java.home.into()),
        ("LAKEHOST_SPARK_JARS", jars.join(OsStr::new(","))),
        ("LAKEHOST_SPARK_HEAP", found.heap.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spark_is_of_one_version() {
        let pins = include_str!("../spark.txt");
        let version = versions::versions().expect("the versions").spark.version;
        assert!(pins.lines().any(|line| line == format!("pyspark=={version}")), "{pins}");
    }
}
