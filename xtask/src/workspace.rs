//! Where things are: the root, the target folder, the members and what they depend on, as cargo itself tells.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The repository as cargo sees it.
pub struct Workspace {
    pub root: PathBuf,
    /// `$CARGO_TARGET_DIR`, or `target/`.
    pub target: PathBuf,
    pub members: Vec<Member>,
}

/// One crate of ours.
pub struct Member {
    pub name: String,
    /// Folder under the root, with `/`.
    pub folder: String,
    pub dependencies: Vec<Dependency>,
    /// Built for `wasm32-wasip2` as a component.
    pub is_component: bool,
}

/// A direct dependency as the manifest says it.
pub struct Dependency {
    pub name: String,
    /// `normal`, `build` or `dev`.
    pub kind: String,
}

impl Workspace {
    /// Asks `cargo metadata`.
    pub fn open() -> Result<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&here).parent().context("xtask lies in no folder")?.to_owned();
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .current_dir(&root)
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?.into();
        let mut members = metadata["packages"]
            .as_array()
            .context("cargo metadata names no packages")?
            .iter()
            .map(|package| Member::read(package, &root))
            .collect::<Result<Vec<_>>>()?;
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(Self { root, target, members })
    }

    /// A folder under the target folder that belongs to the chores; made when missing.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Where the built components lie, for `host/cli/build.rs` and for the tests.
    pub fn components(&self) -> PathBuf {
        self.target.join("components")
    }

    /// The built program.
    pub fn lakehost(&self) -> PathBuf {
        self.target.join("release/lakehost")
    }

    /// `cargo` in the root, told where the components lie. All builds go through here, so that they share one fingerprint.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo();
        command.args(arguments).current_dir(&self.root).env("LAKEHOST_COMPONENTS_DIR", self.components());
        command
    }

    /// Files that git tracks or would track, relative to the root and sorted.
    pub fn files(&self) -> Result<Vec<String>> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .current_dir(&self.root)
            .output()
            .context("cannot start git")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|name| !name.is_empty() && self.root.join(name).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        Ok(files)
    }
}

impl Member {
    fn read(package: &Value, root: &Path) -> Result<Self> {
        let name = package["name"].as_str().context("a package without a name")?.to_owned();
        let manifest = package["manifest_path"].as_str().context("a package without a manifest")?;
        let folder = Path::new(manifest)
            .parent()
            .and_then(|folder| folder.strip_prefix(root).ok())
            .with_context(|| format!("{name} lies outside the repository"))?
            .to_string_lossy()
            .replace('\\', "/");
        let list = |key: &str| package[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let dependencies = list("dependencies")
            .iter()
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                kind: dependency["kind"].as_str().unwrap_or("normal").to_owned(),
            })
            .collect();
        let is_component = list("targets")
            .iter()
            .any(|target| target["crate_types"].as_array().is_some_and(|types| types.iter().any(|t| t == "cdylib")));
        Ok(Self { name, folder, dependencies, is_component })
    }
}

/// The cargo that runs us, or the one in the path, as if it had been called from a shell.
///
/// `cargo run` tells us about our own package by environment variables. Build scripts further down watch some of them (ring's do), and
/// would be run again, with everything above them, each time somebody calls cargo by hand.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}
