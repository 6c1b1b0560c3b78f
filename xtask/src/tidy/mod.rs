//! House rules as tests: each finding is a sentence on what to change. `cargo xtask tidy` prints them all.

mod architecture;
mod contract;
mod dependencies;
mod errors;
mod fixtures;
mod sources;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Runs every rule. Fails with all findings.
pub fn run(workspace: &Workspace) -> Result<()> {
    let files = workspace.files()?;
    let findings: Vec<String> = [
        dependencies::check(workspace),
        architecture::check(workspace)?,
        errors::check(workspace)?,
        sources::check(workspace, &files)?,
        contract::check(workspace)?,
        fixtures::check(workspace, &files)?,
    ]
    .into_iter()
    .flatten()
    .collect();
    if !findings.is_empty() {
        bail!("{} house rules are broken:\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(())
}
