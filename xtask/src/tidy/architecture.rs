//! ARCHITECTURE.md is a map: every path on it exists, and every crate is on it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";
/// Paths with these first parts lie in a warehouse, not in the repository.
const ELSEWHERE: &[&str] = &["data", "metadata", "warehouse", "_lakehost"];

pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(workspace.root.join(MAP)).with_context(|| format!("cannot read {MAP}"))?;
    let named = paths(&text);
    let mut findings: Vec<String> = named
        .iter()
        .filter(|path| !workspace.root.join(path).exists())
        .map(|path| format!("{MAP} names {path}, which does not exist"))
        .collect();
    for member in &workspace.members {
        if !named.iter().any(|path| Path::new(path) == Path::new(&member.folder)) {
            findings.push(format!("{MAP} does not show {}: give the crate a line on the map", member.folder));
        }
    }
    Ok(findings)
}

/// Paths under the root that a Markdown text names: code spans with a slash, relative links, and the trees of code blocks.
fn paths(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_block = false;
    let mut stack: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            stack.clear();
        } else if in_block {
            if let Some(path) = tree_entry(line, &mut stack) {
                found.insert(path);
            }
        } else {
            found.extend(line.split('`').skip(1).step_by(2).filter(|span| is_path(span)).map(clean));
            found.extend(links(line));
        }
    }
    found
}

/// The whole path of a line such as `│   ├── lake/   lakehost-lake: …`.
fn tree_entry(line: &str, stack: &mut Vec<String>) -> Option<String> {
    let branch = line.chars().position(|c| c == '├' || c == '└')?;
    let name = line.split("── ").nth(1)?.split_whitespace().next()?;
    stack.truncate(branch / 4);
    stack.push(clean(name));
    let whole = stack.join("/");
    (!whole.contains(['<', '*', '{', '…'])).then_some(whole)
}

fn is_path(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./@".contains(c);
    let first = span.split('/').next().unwrap_or_default();
    span.contains('/') && span.chars().all(plain) && !first.is_empty() && !ELSEWHERE.contains(&first)
}

fn links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty() && !target.contains(':'));
    local.map(clean).collect()
}

fn clean(path: &str) -> String {
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_spans_links_and_trees() {
        let text = "\
See `host/lake/src/commit.rs`, [the guide](docs/plugin-guide.md#first) and [Iceberg](https://iceberg.apache.org/spec/).
Not paths: `a | b`, `data/<window>/x.parquet`, `_lakehost/intents`, `lakehost.toml`, `Result<T>`, `and/or something`.
```text
lakehost/
├── wit/            the contract
├── sdk/
│   ├── wire/       framing
│   └── guest/
└── xtask/
```
";
        let wanted = ["docs/plugin-guide.md", "host/lake/src/commit.rs", "sdk", "sdk/guest", "sdk/wire", "wit", "xtask"];
        assert_eq!(paths(text), wanted.into_iter().map(str::to_owned).collect());
    }
}
