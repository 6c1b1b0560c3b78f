//! Checks that are tests of a dbt project: run by the engine of the profile on a snapshot that is not published yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lakehost_lake::Prepared;
use lakehost_models::dbt::{AuditRequest, Audited, Dbt, DbtOptions};
use lakehost_pipeline::checks::{Check, CheckKind, CheckOutcome, SAMPLE_ROWS, Severity};
use lakehost_pipeline::models::NodeReport;
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, Window};
use serde_json::Value;

use super::engine::{self, Attached};
use crate::args::ModelEngine;
use crate::config::resolve::Where;
use crate::warehouse::Warehouse;
use crate::{screen, signals};

/// Names that a sentence lists.
const LISTED: usize = 5;
/// The column of a sample that says which test found the row.
const TEST: &str = "test";

/// Whether a check is one of dbt's.
pub fn is_made_here(check: &Check) -> bool {
    matches!(check.kind, CheckKind::Dbt { .. })
}

/// One outcome for each check. The engine sees the table as it would be by a snapshot id, for as long as this takes.
pub fn look(
    warehouse: &Warehouse,
    place: &Where,
    table: &TableName,
    prepared: &Prepared,
    window: Option<&Window>,
    checks: &[Check],
) -> Result<Vec<CheckOutcome>, Fault> {
    if checks.is_empty() {
        return Ok(Vec::new());
    }
    let chosen = engine::of(place);
    let mut outcomes = Vec::with_capacity(checks.len());
    let shown = warehouse.lake.show(table, prepared)?;
    let engine = engine::attach(chosen, place, warehouse)?;
    for check in checks {
        let CheckKind::Dbt { project, select, exclude } = &check.kind else { continue };
        let request = AuditRequest {
            table: table.clone(),
            snapshot_id: shown.snapshot_id(),
            select: select.clone(),
            exclude: exclude.clone(),
            windows: window.iter().map(|window| window.label().to_owned()).collect(),
            present: warehouse.lake.table_names(None)?,
        };
        let audited = dbt(PathBuf::from(project), chosen, &engine).audit(&request);
        let audited = audited.map_err(|fault| fault.with("check", &check.name))?;
        outcomes.push(outcome(check, chosen, audited));
    }
    engine.end();
    shown.hide()?;
    Ok(outcomes)
}

fn dbt(project: PathBuf, chosen: ModelEngine, engine: &Attached) -> Dbt {
    Dbt::new(DbtOptions {
        project,
        cache: super::cache(),
        engine: chosen.word().to_owned(),
        target: engine.target.to_owned(),
        variables: engine.variables.clone(),
        secrets: engine.secrets.clone(),
        docs: None,
        again: String::new(),
        committed: false,
        stop: signals::stop_flag(),
        say: Box::new(|text| screen::say(&format!("{text}\n"))),
    })
}

/// What tests found, as a check says it. A test that only warns never stops the window.
fn outcome(check: &Check, engine: ModelEngine, audited: Audited) -> CheckOutcome {
    let Audited { tests, left_out } = audited;
    let of = |status: &str| tests.iter().filter(|test| test.status == status).collect::<Vec<_>>();
    let (failed, warned) = (of("fail"), of("warn"));
    let found: Vec<&NodeReport> = failed.iter().chain(&warned).copied().collect();
    let mut parts = Vec::new();
    for (found, word) in [(&failed, "failed"), (&warned, "warned")] {
        if !found.is_empty() {
            let names = found.iter().map(|test| format!("{} ({})", test.name, rows(test)));
            parts.push(format!("{} {word}: {}", found.len(), listed(names.collect())));
        }
    }
    if parts.is_empty() {
        parts.push("all passed".to_owned());
    }
    if !left_out.is_empty() {
        let names = left_out.iter().map(|(name, reason)| format!("{name} {reason}"));
        parts.push(format!("left out: {}", listed(names.collect())));
    }
    let count = tests.len();
    let plural = if count == 1 { "test" } else { "tests" };
    let (sample, columns) = sample(&found);
    CheckOutcome {
        name: check.name.clone(),
        severity: if failed.is_empty() && !warned.is_empty() { Severity::Warn } else { check.severity },
        failed: found.iter().map(|test| test.failures.unwrap_or(1).max(1)).sum(),
        detail: format!("{count} {plural} of dbt on {}: {}", engine.word(), parts.join("; ")),
        sample,
        columns,
    }
}

fn rows(test: &NodeReport) -> String {
    match test.failures.unwrap_or(1) {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    }
}

fn listed(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown = names.into_iter().take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// Rows that tests found, each with the test's name; the tests take turns, so that each is seen.
fn sample(found: &[&NodeReport]) -> (Vec<BTreeMap<String, Value>>, Vec<String>) {
    let (mut sample, mut columns) = (Vec::new(), vec![TEST.to_owned()]);
    let longest = found.iter().map(|test| test.sample.len()).max().unwrap_or(0);
    for turn in 0..longest {
        for test in found {
            let Some(row) = test.sample.get(turn).filter(|_| sample.len() < SAMPLE_ROWS) else { continue };
            let mut cells: BTreeMap<String, Value> =
                row.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            cells.insert(TEST.to_owned(), test.name.clone().into());
            columns.extend(row.keys().filter(|name| !columns.contains(name)).cloned().collect::<Vec<_>>());
            sample.push(cells);
        }
    }
    (sample, columns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn test(name: &str, status: &str, failures: u64) -> NodeReport {
        let row = json!({ "fare": failures }).as_object().cloned().unwrap();
        let sample = if failures > 0 { vec![row.clone(), row] } else { Vec::new() };
        NodeReport {
            name: name.to_owned(),
            status: status.to_owned(),
            failures: Some(failures),
            sample,
            ..NodeReport::default()
        }
    }

    fn told(severity: Severity, tests: Vec<NodeReport>, left_out: &[(&str, &str)]) -> CheckOutcome {
        let kind = CheckKind::Dbt { project: "p".into(), select: vec!["source:a.b".into()], exclude: Vec::new() };
        let check = Check { name: kind.default_name(), kind, severity };
        let left_out = left_out.iter().map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned())).collect();
        outcome(&check, ModelEngine::Duckdb, Audited { tests, left_out })
    }

    #[test]
    fn tests_become_one_outcome() {
        let passed = told(Severity::Error, vec![test("a", "pass", 0)], &[("b", "reads c, which is not there yet")]);
        assert!(passed.passed());
        assert_eq!(
            passed.to_string(),
            "dbt(source:a.b): 1 test of dbt on duckdb: all passed; left out: b reads c, which is not there yet"
        );
        let failed = told(Severity::Error, vec![test("a", "fail", 3), test("b", "warn", 1), test("c", "pass", 0)], &[]);
        assert!(failed.stops());
        assert_eq!(failed.failed, 4);
        assert_eq!(failed.detail, "3 tests of dbt on duckdb: 1 failed: a (3 rows); 1 warned: b (1 row)");
        assert_eq!(failed.sample.len(), 4);
        assert_eq!((&failed.sample[0]["test"], &failed.sample[1]["test"]), (&json!("a"), &json!("b")));
        assert_eq!(failed.columns, ["test", "fare"]);
    }

    #[test]
    fn dbts_own_severity_counts_and_so_does_the_checks() {
        assert!(!told(Severity::Error, vec![test("a", "warn", 3)], &[]).stops());
        let only_warns = told(Severity::Warn, vec![test("a", "fail", 3)], &[]);
        assert!(!only_warns.stops() && !only_warns.passed());
    }
}
