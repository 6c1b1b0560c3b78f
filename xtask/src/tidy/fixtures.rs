//! A fixture that misbehaves without a test that names its fault shows nothing.

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

const FIXTURES: &str = "plugins/fixtures/";

pub fn check(workspace: &Workspace, files: &[String]) -> Result<Vec<String>> {
    let read = |file: &String| {
        std::fs::read_to_string(workspace.root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let mut tests = String::new();
    for file in files.iter().filter(|file| file.starts_with("tests/") && file.ends_with(".rs")) {
        tests.push_str(&read(file)?);
    }
    let mut findings = Vec::new();
    for member in workspace.members.iter().filter(|member| member.folder.starts_with(FIXTURES)) {
        let mut faults = Vec::new();
        for file in files.iter().filter(|file| file.starts_with(&member.folder) && file.ends_with(".rs")) {
            faults.extend(faults_of(&read(file)?));
        }
        if !tests.contains(&member.name) {
            findings.push(format!("no test under tests/ names {}: say there which error it must end in", member.name));
        }
        for fault in faults.iter().filter(|fault| !tests.contains(&format!("\"{fault}\""))) {
            findings.push(format!("no test under tests/ names the fault \"{fault}\" of {}", member.name));
        }
    }
    Ok(findings)
}

/// The words of a fixture's list of faults: `pub const FAULTS: [&str; 2] = ["good", "trap"];`
fn faults_of(source: &str) -> Vec<String> {
    let list = source.split_once("const FAULTS").and_then(|(_, rest)| rest.split_once("];"));
    list.map(|(list, _)| list.split('"').skip(1).step_by(2).map(str::to_owned).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::faults_of;

    #[test]
    fn faults_are_the_words_of_the_list() {
        let source = "/// Every fault.\npub const FAULTS: [&str; 2] = [\n    \"good\",\n    \"trap\",\n];\nconst A: &str = \"no\";";
        assert_eq!(faults_of(source), ["good", "trap"]);
        assert!(faults_of("fn main() {}").is_empty());
    }
}
