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

/// The faults that a fixture takes by name: the words of its match on `fault`, `"endless-loop" => …`, or of a `FAULTS` list.
fn faults_of(source: &str) -> Vec<String> {
    let is_name = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    };
    let mut names = Vec::new();
    let mut in_list = false;
    for line in source.lines().map(str::trim) {
        in_list |= line.contains("const FAULTS");
        let quoted = line.split('"').skip(1).step_by(2).filter(|word| is_name(word)).map(str::to_owned);
        if in_list {
            names.extend(quoted);
            in_list = !line.contains("];");
        } else if line.starts_with('"') && line.contains("=>") {
            let arm = line.split("=>").next().unwrap_or_default();
            names.extend(arm.split('"').skip(1).step_by(2).filter(|word| is_name(word)).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::faults_of;

    #[test]
    fn faults_of_a_match_and_of_a_list() {
        let source = r#"
            match fault.as_str() {
                "endless-loop" => loop {},
                "trap" | "recursion" => panic!("not-a-fault"),
                other => say("no"),
            }
            const FAULTS: &[&str] = &[
                "memory-bomb",
                "log-flood"];
            let x = "plain";
        "#;
        assert_eq!(faults_of(source), ["endless-loop", "trap", "recursion", "memory-bomb", "log-flood"]);
    }
}
