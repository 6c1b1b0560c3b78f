//! Spark in a Python of its own, as `cargo xtask test --full` sets it up. Each call starts one, one at a time: it takes a gigabyte.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::{done, root};

/// A Python with pyspark, a Java for it, and Iceberg's jars.
pub struct Spark {
    python: PathBuf,
    java_home: PathBuf,
    jars: String,
    heap: String,
}

impl Spark {
    /// # Panics
    /// Where nobody said where it is.
    pub fn here() -> Self {
        let of = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask test --full` sets Spark up"))
        };
        Self {
            python: of("LAKEHOST_SPARK_PYTHON").into(),
            java_home: of("LAKEHOST_SPARK_JAVA_HOME").into(),
            jars: of("LAKEHOST_SPARK_JARS"),
            heap: of("LAKEHOST_SPARK_HEAP"),
        }
    }

    /// What a script of `tests/python` prints. `AWS_` variables are the bucket's keys.
    pub fn script(&self, script: &str, keys: &[String; 2], args: &[&str]) -> Result<Value> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(&self.python);
        command.arg(root().join("tests/python").join(script)).args(args).current_dir(folder.path());
        command.env("JAVA_HOME", &self.java_home).env("LAKEHOST_SPARK_JARS", &self.jars);
        command.env("LAKEHOST_SPARK_HEAP", &self.heap).env("SPARK_LOCAL_DIRS", folder.path());
        command.env("SPARK_LOCAL_IP", "127.0.0.1").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", &keys[0]).env("AWS_SECRET_ACCESS_KEY", &keys[1]);
        let done = done(command.stdin(std::process::Stdio::null()).output().context("pyspark does not start")?)?;
        anyhow::ensure!(done.code == 0, "{script} {args:?}\n{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    /// Answers to statements by name, under the settings of a `spark.conf`.
    pub fn ask(&self, conf: &str, keys: &[String; 2], job: &Value) -> Result<Value> {
        self.script("ask_spark.py", keys, &[conf, &job.to_string()])
    }
}
