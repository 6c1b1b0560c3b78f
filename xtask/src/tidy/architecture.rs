//! ARCHITECTURE.md is a map: every path on it exists, and every crate is on it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";
/// Paths with these first parts lie in a warehouse, not in the repository.
const ELSEWHERE: &[&str] = &["data", "metadata", "warehouse", "_lakehost"];

pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(workspace.root.join(MAP)).with_context(|| format!("cannot read {MAP}"))?;
    let map = Map::read(&text);
    let mut findings: Vec<String> = map
        .paths
        .iter()
        .filter(|path| !workspace.root.join(path).exists())
        .map(|path| format!("{MAP} names {path}, which does not exist"))
        .collect();
    for member in &workspace.members {
        if !map.shows(&member.folder) && !map.shows(&member.name) {
            findings.push(format!("{MAP} does not show {} ({}): give the crate a line", member.folder, member.name));
        }
    }
    Ok(findings)
}

/// What a Markdown text names.
#[derive(Default)]
struct Map {
    /// Paths under the root: code spans and words of code blocks with a slash, relative links, and trees drawn in code blocks.
    paths: BTreeSet<String>,
    /// Other code spans, and the other words of code blocks: a crate may go by its name.
    words: BTreeSet<String>,
}

impl Map {
    fn read(text: &str) -> Self {
        let mut map = Self::default();
        let mut in_block = false;
        let mut stack: Vec<String> = Vec::new();
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
                stack.clear();
            } else if !in_block {
                line.split('`').skip(1).step_by(2).for_each(|span| map.add(span));
                map.paths.extend(links(line));
            } else if let Some(path) = tree_entry(line, &mut stack) {
                map.paths.insert(path);
            } else {
                line.split([' ', ',', ';']).for_each(|word| map.add(word));
            }
        }
        map
    }

    fn add(&mut self, span: &str) {
        let named = if is_path(span.trim_end_matches('/')) { &mut self.paths } else { &mut self.words };
        named.insert(clean(span));
    }

    fn shows(&self, name: &str) -> bool {
        self.paths.contains(name) || self.words.contains(name)
    }
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
    span.contains('/')
        && !span.contains("x.y.z")
        && span.chars().all(plain)
        && !first.is_empty()
        && !ELSEWHERE.contains(&first)
}

fn links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':'));
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
Not paths: `a | b`, `data/<window>/x.parquet`, `_lakehost/intents`, `lakehost.toml`, `Result<T>`, `and/or something`,
`wit/plugin@x.y.z/`.
```text
host/query    SQL over the tables        plugins/nyc_tlc   months
tests, tests/server    whole-system tests
```
```text
lakehost/
├── wit/            the contract
├── sdk/
│   ├── wire/       framing
│   └── guest/
└── xtask/
```
";
        let map = Map::read(text);
        let wanted = [
            "docs/plugin-guide.md",
            "host/lake/src/commit.rs",
            "host/query",
            "plugins/nyc_tlc",
            "sdk",
            "sdk/guest",
            "sdk/wire",
            "tests/server",
            "wit",
            "xtask",
        ];
        assert_eq!(map.paths.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
        assert!(map.shows("tests") && map.shows("lakehost.toml") && !map.shows("months of"));
    }
}
