//! Python environments with exactly the packages of a requirements file: the independent readers of the tests, the peers of the bench.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::process::{self, Output};
use crate::workspace::Workspace;

/// The interpreter of an environment that holds what `requirements` (under the root) pins; made when it is not there yet.
///
/// The folder is keyed by the file's content and the interpreter's version, so a changed pin makes a new environment.
pub fn ensure(workspace: &Workspace, requirements: &str, output: &Output) -> Result<PathBuf> {
    let file = workspace.root.join(requirements);
    let pins = std::fs::read(&file).with_context(|| format!("cannot read {requirements}"))?;
    let version = process::stdout_of(Command::new("python3").arg("--version")).context("python3 is needed")?;
    let digest = Sha256::new().chain_update(&pins).chain_update(version.trim()).finalize();
    let key: String = hex::encode(&digest[..6]);
    let folder = workspace.scratch("python")?.join(key);
    let python = folder.join("bin/python");
    let done = folder.join("complete");
    if done.exists() {
        return Ok(python);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder), output)
        .context("no virtual environment; on Debian: apt-get install python3-venv")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&file);
    process::run(&mut install, output)?;
    std::fs::write(&done, version).with_context(|| format!("cannot write {}", done.display()))?;
    Ok(python)
}
