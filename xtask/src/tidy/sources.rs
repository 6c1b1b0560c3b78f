//! What every source file keeps to: a length one can read, nothing left for later, a purpose at its top.

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

const LINES: usize = 500;
/// Written apart, so that this file does not break its own rule.
const LATER: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

pub fn check(workspace: &Workspace, files: &[String]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_source(file)) {
        let text = std::fs::read_to_string(workspace.root.join(file)).with_context(|| format!("cannot read {file}"))?;
        findings.extend(file_findings(file, &text));
    }
    // An example is what a stranger writes: it knows nothing of this workspace.
    for member in workspace.members.iter().filter(|member| !member.folder.starts_with("examples/")) {
        let manifest = format!("{}/Cargo.toml", member.folder);
        let text = std::fs::read_to_string(workspace.root.join(&manifest))
            .with_context(|| format!("cannot read {manifest}"))?;
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(format!("{manifest} lacks `[lints] workspace = true`"));
        }
    }
    Ok(findings)
}

fn is_source(file: &str) -> bool {
    [".rs", ".py", ".sh", ".wit", ".sql", ".toml"].iter().any(|ending| file.ends_with(ending))
}

fn file_findings(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES && !file.ends_with(".toml") {
        findings.push(format!("{file} has {lines} lines: a file of more than {LINES} is two ideas"));
    }
    for (at, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        if let Some(word) = LATER.iter().find(|word| words.contains(word)) {
            findings.push(format!("{file}:{} says {word}: finish it, or open an issue and take the word away", at + 1));
        }
    }
    let opens_crate = file.ends_with("src/lib.rs") || file.ends_with("src/main.rs");
    if opens_crate && !text.trim_start().starts_with("//!") {
        findings.push(format!("{file} does not open with `//!`: purpose, place in the flow, what it leaves to others"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_the_place() {
        let later = LATER[0];
        for (file, text, wanted) in [
            ("host/a.rs", format!("fn a() {{}} // {later}: more\n"), Some("host/a.rs:1 says")),
            ("host/a.rs", "let todo_list = 1;\n".to_owned(), None),
            ("host/a.rs", "line\n".repeat(501), Some("501 lines")),
            ("host/a.rs", "line\n".repeat(500), None),
            ("host/a/src/lib.rs", "pub mod x;\n".to_owned(), Some("does not open")),
            ("host/a/src/lib.rs", "//! Purpose.\n".to_owned(), None),
        ] {
            let findings = file_findings(file, &text);
            match wanted {
                None => assert!(findings.is_empty(), "{findings:?}"),
                Some(wanted) => assert!(findings.iter().any(|finding| finding.contains(wanted)), "{findings:?}"),
            }
        }
    }
}
