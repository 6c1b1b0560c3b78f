//! What the binary knows at build time: its git revision, the error pages, and the components that travel inside it.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = manifest.join("../..");
    revision(&root);
    error_pages(&root.join("docs/errors"), &out)?;
    components(&out)
}

/// `LAKEHOST_GIT`: the short hash, with `-dirty` when files differ from it, or `unknown` outside a repository.
fn revision(root: &Path) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).map_or_else(
        || "unknown".to_owned(),
        |hash| match git(&["status", "--porcelain", "--untracked-files=no"]) {
            Some(changes) if !changes.is_empty() => format!("{hash}-dirty"),
            _ => hash,
        },
    );
    println!("cargo::rustc-env=LAKEHOST_GIT={revision}");
    for file in ["HEAD", "logs/HEAD", "index"] {
        let path = root.join(".git").join(file);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// `error_pages.rs`: every `docs/errors/LHnnnn.md` by its code.
fn error_pages(folder: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let code = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|extension| extension == "md") && code.starts_with("LH") {
            pages.push((code, fs::canonicalize(path)?));
        }
    }
    pages.sort();
    let mut text = String::from("&[\n");
    for (code, path) in pages {
        writeln!(text, "    ({code:?}, include_str!({path:?})),")?;
    }
    text.push_str("]\n");
    Ok(fs::write(out.join("error_pages.rs"), text)?)
}

/// `components.rs`: the components in the folder that `LAKEHOST_COMPONENTS_DIR` names, with their digests; none without it.
fn components(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=LAKEHOST_COMPONENTS_DIR");
    let mut text = String::from("&[\n");
    if let Some(folder) = env::var_os("LAKEHOST_COMPONENTS_DIR").filter(|folder| !folder.is_empty()) {
        let folder =
            fs::canonicalize(&folder).map_err(|error| format!("LAKEHOST_COMPONENTS_DIR {folder:?}: {error}"))?;
        for name in ["nyc_tlc.wasm", "trip_cleaner.wasm"] {
            let path = folder.join(name);
            println!("cargo::rerun-if-changed={}", path.display());
            if !path.is_file() {
                return Err(format!("LAKEHOST_COMPONENTS_DIR has no {name}").into());
            }
            let digest = Sha256::digest(fs::read(&path)?);
            let hex = hex::encode(digest);
            writeln!(text, "    ({name:?}, {hex:?}, include_bytes!({path:?})),")?;
        }
    }
    text.push_str("]\n");
    Ok(fs::write(out.join("components.rs"), text)?)
}
