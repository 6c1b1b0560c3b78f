//! Builds the WASM components and lays them where the host's build and the tests look for them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, Output};
use crate::wasm_target::TARGET;
use crate::workspace::Workspace;

/// Builds every component of the workspace (each member with a `cdylib`) and gives the folder that holds them as `<crate>.wasm`.
///
/// A component whose bytes are as before is not written again: nothing that embeds it is rebuilt.
pub fn build(workspace: &Workspace, output: &Output) -> Result<PathBuf> {
    let names: Vec<&str> =
        workspace.members.iter().filter(|member| member.is_component).map(|member| member.name.as_str()).collect();
    if names.is_empty() {
        bail!("the workspace has no components");
    }
    let mut command = workspace.cargo(&["build", "--release", "--target", TARGET]);
    for name in &names {
        command.args(["--package", name]);
    }
    process::run(&mut command, output)?;
    let folder = workspace.components();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in &names {
        let file = format!("{}.wasm", name.replace('-', "_"));
        let built = workspace.target.join(TARGET).join("release").join(&file);
        copy_if_changed(&built, &folder.join(&file))?;
    }
    Ok(folder)
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if std::fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let new = to.with_extension("wasm.new");
    std::fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, to).with_context(|| format!("cannot write {}", to.display()))
}
