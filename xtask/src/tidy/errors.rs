//! Every error code has its page, and every page its code.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

const CODES: &str = "host/pipeline/src/codes.rs";
const PAGES: &str = "docs/errors";

pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let source = std::fs::read_to_string(workspace.root.join(CODES)).with_context(|| format!("cannot read {CODES}"))?;
    let codes = codes(&source);
    let folder = workspace.root.join(PAGES);
    let mut pages = BTreeSet::new();
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {PAGES}"))? {
        let path = entry?.path();
        let Some(code) = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_code(stem)) else { continue };
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !text.lines().next().is_some_and(|heading| heading.starts_with("# ") && heading.contains(code)) {
            findings.push(format!("{PAGES}/{code}.md begins with a heading that does not name {code}"));
        }
        pages.insert(code.to_owned());
    }
    findings.extend(codes.difference(&pages).map(|code| format!("{code} has no page: write {PAGES}/{code}.md")));
    findings.extend(
        pages.difference(&codes).map(|code| format!("{PAGES}/{code}.md explains a code that {CODES} does not have")),
    );
    Ok(findings)
}

fn codes(source: &str) -> BTreeSet<String> {
    source.split('"').filter(|word| is_code(word)).map(str::to_owned).collect()
}

fn is_code(word: &str) -> bool {
    word.strip_prefix("LH").is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::codes;

    #[test]
    fn codes_are_the_quoted_ones() {
        let source = "USAGE = \"LH0101\", \"a flag is wrong\"; // LH9999\n BUG = \"LH0901\", \"a bug, not LH12\";";
        assert_eq!(codes(source).into_iter().collect::<Vec<_>>(), ["LH0101", "LH0901"]);
    }
}
