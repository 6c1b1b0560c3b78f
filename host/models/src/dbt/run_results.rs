//! `run_results.json`: how each node ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lakehost_pipeline::models::NodeReport;
use serde::Deserialize;

use super::error::Error;
use super::manifest::Manifest;

#[derive(Debug, Deserialize)]
struct RunResults {
    results: Vec<NodeResult>,
}

#[derive(Debug, Deserialize)]
struct NodeResult {
    unique_id: String,
    status: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    failures: Option<u64>,
    #[serde(default)]
    execution_time: f64,
    #[serde(default)]
    compiled: Option<bool>,
    #[serde(default)]
    compiled_code: Option<String>,
}

/// How a node ended, with its id.
pub(super) type Ended = (String, NodeReport);

/// Whether nodes of that kind are told of. An exposure only says who uses the tables.
pub(super) fn is_told(kind: &str) -> bool {
    makes_table(kind) || matches!(kind, "test" | "unit_test")
}

/// Whether nodes of that kind make tables.
pub(super) fn makes_table(kind: &str) -> bool {
    matches!(kind, "model" | "seed" | "snapshot")
}

/// The results that dbt left in its target folder; `None`: it ran nothing.
pub(super) fn read(target: &Path, manifest: &Manifest) -> Result<Option<Vec<Ended>>, Error> {
    let Some(results) = load(target)? else { return Ok(None) };
    Ok(Some(results.results.into_iter().filter_map(|result| ended(result, target, manifest)).collect()))
}

/// The statement of each node that ran, by its id.
pub(super) fn statements(target: &Path) -> Result<BTreeMap<String, String>, Error> {
    let results = load(target)?.map(|results| results.results).unwrap_or_default();
    Ok(results.into_iter().filter_map(|result| Some((result.unique_id, result.compiled_code?))).collect())
}

fn load(target: &Path) -> Result<Option<RunResults>, Error> {
    let text = match fs::read(target.join("run_results.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::artifact("run_results.json", error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::artifact("run_results.json", error))
}

fn ended(result: NodeResult, target: &Path, manifest: &Manifest) -> Option<Ended> {
    let kind = result.unique_id.split('.').next().unwrap_or_default().to_owned();
    if !is_told(&kind) {
        return None;
    }
    let node = manifest.node(&result.unique_id);
    let file = node.map(|node| node.original_file_path.clone()).unwrap_or_default();
    let name = node.map_or_else(|| result.unique_id.clone(), |node| node.name.clone());
    let bad = !matches!(result.status.as_str(), "success" | "pass" | "skipped" | "no-op");
    let compiled =
        (bad && result.compiled == Some(true)).then(|| compiled(target, &result.unique_id, &file, &name)).flatten();
    let report = NodeReport {
        table: node.and_then(|node| node.table()),
        of: node.filter(|_| kind == "test").and_then(|node| manifest.subjects(node)),
        message: result.message.filter(|_| bad).map(|message| shortened(&message)),
        failures: result.failures.filter(|_| kind == "test"),
        status: result.status,
        seconds: result.execution_time,
        name,
        file,
        kind,
        compiled,
        ..NodeReport::default()
    };
    Some((result.unique_id, report))
}

/// Where the statement is: a test of a YAML file has a folder of that file's name. dbt shortens long names, so the folder is looked through.
fn compiled(target: &Path, id: &str, file: &str, name: &str) -> Option<String> {
    let package = id.split('.').nth(1)?;
    let path = target.join("compiled").join(package).join(file);
    if path.is_file() {
        return Some(path.display().to_string());
    }
    let beginning: String = name.chars().take(30).collect();
    let found = fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).find(|path| {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        stem == name || (name.len() > 63 && stem.starts_with(&beginning) && stem.len() == beginning.len() + 33)
    })?;
    Some(found.display().to_string())
}

/// Without the first line that only says where it is.
fn shortened(message: &str) -> String {
    let message = message.trim();
    match message.split_once('\n') {
        Some((first, rest)) if first.contains(" Error in ") => rest
            .lines()
            .map(str::trim_end)
            .map(|line| line.strip_prefix("  ").unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"nodes": {
        "model.lakehost.bad": {"name": "bad", "resource_type": "model", "schema": "gold", "alias": "bad", "original_file_path": "models/bad.sql", "config": {"materialized": "table"}},
        "model.lakehost.stg": {"name": "stg", "resource_type": "model", "schema": "silver", "alias": "stg", "original_file_path": "models/stg.sql"},
        "test.lakehost.accepted.1": {"name": "accepted", "resource_type": "test", "original_file_path": "models/stg.yml", "attached_node": "model.lakehost.stg"}
    }}"#;
    const RESULTS: &str = r#"{"results": [
        {"unique_id": "model.lakehost.stg", "status": "success", "message": "OK", "failures": null, "execution_time": 0.25, "compiled": true},
        {"unique_id": "test.lakehost.accepted.1", "status": "fail", "message": "Got 1 result, configured to fail if != 0", "failures": 1, "execution_time": 0.03, "compiled": true},
        {"unique_id": "model.lakehost.bad", "status": "error", "message": "Runtime Error in model bad (models/bad.sql)\n  Binder Error: no column\n  LINE 3", "execution_time": 0.1, "compiled": true},
        {"unique_id": "exposure.lakehost.report", "status": "no-op", "execution_time": 0.0}
    ]}"#;

    #[test]
    fn results_find_their_model_file_and_statement() {
        let target = tempfile::tempdir().unwrap();
        let compiled = target.path().join("compiled/lakehost/models");
        fs::create_dir_all(compiled.join("stg.yml")).unwrap();
        fs::write(compiled.join("stg.yml/accepted.sql"), "select").unwrap();
        fs::write(compiled.join("bad.sql"), "select").unwrap();
        fs::write(target.path().join("run_results.json"), RESULTS).unwrap();
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let ended: Vec<NodeReport> =
            read(target.path(), &manifest).unwrap().unwrap().into_iter().map(|(_, report)| report).collect();
        assert_eq!(ended.len(), 3, "an exposure is no work");
        let [stg, accepted, bad] = &ended[..] else { panic!() };
        assert_eq!((stg.table.as_deref(), stg.failed(), &stg.message), (Some("silver.stg"), false, &None));
        assert_eq!((accepted.of.as_deref(), accepted.failures), (Some("stg"), Some(1)));
        assert_eq!((accepted.failed(), accepted.file.as_str()), (true, "models/stg.yml"));
        assert!(accepted.compiled.as_deref().unwrap().ends_with("stg.yml/accepted.sql"));
        assert_eq!(bad.message.as_deref(), Some("Binder Error: no column\nLINE 3"));
        assert!(bad.compiled.as_deref().unwrap().ends_with("models/bad.sql"));
    }

    #[test]
    fn a_long_name_is_found_by_its_beginning() {
        let target = tempfile::tempdir().unwrap();
        let folder = target.path().join("compiled/p/a.yml");
        fs::create_dir_all(&folder).unwrap();
        let file = "unique_together_fct_trip_dista_fbae18b529c18f96256d1f704372a2f2.sql";
        fs::write(folder.join(file), "select").unwrap();
        let name = "unique_together_fct_trip_distance_stats_pickup_location_id__dropoff_location_id";
        assert!(compiled(target.path(), "test.p.x", "a.yml", name).unwrap().ends_with(file));
        assert_eq!(compiled(target.path(), "test.p.x", "a.yml", "unique_together_fct_trip_dista"), None);
    }

    #[test]
    fn a_run_that_ran_nothing_left_nothing() {
        let target = tempfile::tempdir().unwrap();
        assert!(read(target.path(), &Manifest::default()).unwrap().is_none());
        fs::write(target.path().join("run_results.json"), "{").unwrap();
        assert!(read(target.path(), &Manifest::default()).is_err());
    }
}
