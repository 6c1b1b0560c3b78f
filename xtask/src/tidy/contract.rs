//! A released contract folder is never edited: its hash is recorded in `wit/released.sha256` with the release.

use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::workspace::Workspace;

const RECORD: &str = "wit/released.sha256";

pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let read = |name: &str| std::fs::read_to_string(workspace.root.join(name)).unwrap_or_default();
    let changelog = read("CHANGELOG.md");
    let record = read(RECORD);
    let mut findings = Vec::new();
    let folder = workspace.root.join("wit");
    for entry in std::fs::read_dir(&folder).context("cannot read wit")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, version)) = name.split_once('@').filter(|_| path.is_dir()) else { continue };
        let hash = hash(&path)?;
        match recorded(&record, &name) {
            Some(before) if before == hash => {}
            Some(_) => {
                findings.push(format!("wit/{name} was released and has changed: undo it, and add a new version folder"))
            }
            None if is_released(&changelog, version) => {
                findings.push(format!("wit/{name} is released: add the line `{hash}  {name}` to {RECORD}"));
            }
            None => {}
        }
    }
    Ok(findings)
}

/// One hash over the names and bytes of a folder's files, in order of name.
fn hash(folder: &Path) -> Result<String> {
    let mut files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut whole = Sha256::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        whole.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        whole.update([0]);
        whole.update(Sha256::digest(&bytes));
    }
    Ok(hex::encode(whole.finalize()))
}

fn recorded<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record
        .lines()
        .filter_map(|line| line.split_once("  "))
        .find(|(_, folder)| folder.trim() == name)
        .map(|(hash, _)| hash)
}

/// Whether the change log has a dated heading for this version: `## 0.1.0 (2026-12-01)`, not `## 0.1.0 (unreleased)`.
fn is_released(changelog: &str, version: &str) -> bool {
    changelog.lines().filter_map(|line| line.strip_prefix("## ")).any(|heading| {
        let plain = heading.replace(['[', ']', '(', ')', ','], " ");
        let names_it = plain.split_whitespace().any(|word| word.trim_start_matches('v') == version);
        names_it && !heading.to_lowercase().contains("unreleased")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dated_heading_releases() {
        assert!(is_released("# Changes\n\n## 0.1.0 (2026-12-01)\n", "0.1.0"));
        assert!(is_released("## [v0.1.0] - 2026-12-01", "0.1.0"));
        assert!(!is_released("## 0.1.0 (unreleased)\n", "0.1.0"));
        assert!(!is_released("## Unreleased\n", "0.1.0"));
        assert!(!is_released("## 0.1.0 (2026-12-01)\n", "0.2.0"));
    }

    #[test]
    fn the_record_is_read_by_folder() {
        assert_eq!(recorded("abc  plugin@0.1.0\ndef  plugin@0.2.0\n", "plugin@0.2.0"), Some("def"));
        assert_eq!(recorded("", "plugin@0.1.0"), None);
    }
}
