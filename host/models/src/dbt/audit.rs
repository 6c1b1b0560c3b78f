//! Tests of a project on a snapshot that is about to be published.
//!
//! dbt is told of the snapshot by the variable `audited`, and the project's macro `at_audited_snapshot` has the source read there. Only tests that
//! come out right that way are run: they read the source itself, and nothing that is built from it, which would still hold old rows. Nothing is
//! taken on trust: what dbt compiled says whether each test read the snapshot and nothing else of the table.

use std::collections::BTreeMap;
use std::path::Path;

use lakehost_pipeline::Fault;
use lakehost_pipeline::models::NodeReport;
use lakehost_pipeline::ports::TableName;

use super::environment;
use super::error::Error;
use super::manifest::Manifest;
use super::run_results::{self, Ended};
use super::scratch::Scratch;
use super::session::Session;
use super::{Dbt, listed};

/// Which tests look at what.
pub struct AuditRequest {
    /// The table, which the project has as a source.
    pub table: TableName,
    /// Its snapshot, as engines find it.
    pub snapshot_id: i64,
    /// Tests in dbt's own words.
    pub select: Vec<String>,
    pub exclude: Vec<String>,
    /// Labels of the windows that are about to be published; empty: all.
    pub windows: Vec<String>,
    /// Tables that are there.
    pub present: Vec<TableName>,
}

/// What the tests found.
#[derive(Debug, Default)]
pub struct Audited {
    /// Tests that ran: `pass`, `warn` or `fail`.
    pub tests: Vec<NodeReport>,
    /// Chosen tests that cannot tell of the snapshot, and why.
    pub left_out: Vec<(String, String)>,
}

impl Dbt {
    /// Runs tests on a snapshot.
    ///
    /// # Errors
    /// `LH0702` no test could be run, one ended in an error, or one did not read the snapshot; `LH0703` there is no dbt.
    pub fn audit(&mut self, request: &AuditRequest) -> Result<Audited, Fault> {
        self.find_project()?;
        self.audited = BTreeMap::from([(request.table.to_string(), request.snapshot_id.to_string())]);
        let environment = environment::ensure(&self.options.cache, &self.options.stop, &mut *self.options.say)?;
        let mut scratch = Scratch::new(&self.options.cache)?;
        scratch.keep(true);
        let audited = self.tests(request, &scratch.target(), &mut self.session(&environment)?)?;
        scratch.keep(false);
        Ok(audited)
    }

    fn tests(&self, request: &AuditRequest, target: &Path, session: &mut Session) -> Result<Audited, Fault> {
        let AuditRequest { table, select, windows, .. } = request;
        let chosen = self.chosen(request, target, session)?;
        let manifest = Manifest::read(target)?;
        let Some(relation) = manifest.relation_of(table) else {
            return Err(Error::NoSource { project: self.project(), table: table.to_string() }.into());
        };
        let (wanted, left_out) = manifest.auditable(table, &chosen, &request.present);
        let words: Vec<String> = wanted.iter().filter_map(|id| manifest.word(id)).collect();
        if words.is_empty() {
            let choice = format!("`{}`", select.join(" "));
            let reasons: Vec<String> = left_out.iter().map(|(name, reason)| format!("{name} {reason}")).collect();
            let cause = if reasons.is_empty() { "it chooses no test".to_owned() } else { listed(&reasons) };
            return Err(
                Error::NothingAudits { project: self.project(), choice, table: table.to_string(), cause }.into()
            );
        }
        // Those and no others: a test is chosen by its own name.
        let mut command = self.words(&["test", "--indirect-selection", "empty"], target, windows);
        super::chosen(&mut command, &words, &[]);
        let (outcome, told) = self.dbt(session, &command, "dbt's tests were run", &mut |_, _| {})?;
        if outcome.stopped {
            return Err(Error::Stopped { what: "dbt's tests were run" }.into());
        }
        let results = run_results::read(target, &Manifest::read(target)?)?;
        let Some(mut results) = results.filter(|results| !results.is_empty()) else {
            return Err(self.refused("test", &outcome, &told).into());
        };
        let statements = run_results::statements(target)?;
        for (id, node) in &results {
            if !matches!(node.status.as_str(), "pass" | "warn" | "fail") {
                let said = node.message.clone().unwrap_or_else(|| node.status.clone());
                let cause = format!("test {} ({}): {said}", node.name, node.file);
                return Err(Error::Refused { project: self.project(), task: "test", cause }.into());
            }
            let statement = statements.get(id).map(String::as_str).unwrap_or_default();
            if !reads_only(statement, relation, &clause(&self.options.engine, request.snapshot_id)) {
                let (test, table) = (node.name.clone(), table.to_string());
                return Err(Error::OldRows { project: self.project(), test, table }.into());
            }
        }
        if let Some(missing) = wanted.iter().find(|id| !results.iter().any(|(ran, _)| ran == *id)) {
            let cause = format!("it did not run the test {missing}");
            return Err(Error::Refused { project: self.project(), task: "test", cause }.into());
        }
        self.samples(session, target, windows, &manifest, &mut results)?;
        Ok(Audited { tests: results.into_iter().map(|(_, node): Ended| node).collect(), left_out })
    }

    /// The ids of the tests that dbt chooses.
    fn chosen(&self, request: &AuditRequest, target: &Path, session: &mut Session) -> Result<Vec<String>, Error> {
        let task = ["list", "--resource-type", "test", "--output", "json", "--output-keys", "unique_id"];
        let mut words = self.words(&task, target, &request.windows);
        super::chosen(&mut words, &request.select, &request.exclude);
        let (outcome, told) = self.dbt(session, &words, "the project was read", &mut |_, _| {})?;
        if outcome.stopped {
            return Err(Error::Stopped { what: "the project was read" });
        }
        if !outcome.success {
            return Err(self.refused("read", &outcome, &told));
        }
        Ok(told.listed)
    }
}

/// How an engine reads a table at a snapshot.
fn clause(engine: &str, snapshot_id: i64) -> String {
    match engine {
        "trino" => format!("for version as of {snapshot_id}"),
        _ => format!("at (version => {snapshot_id})"),
    }
}

/// Whether a statement reads the table, and wherever it does, reads it with that clause.
fn reads_only(statement: &str, relation: &str, clause: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let (statement, relation, clause) = (plain(statement), plain(relation), plain(clause));
    let mut reads = statement.split(relation.as_str()).skip(1).peekable();
    reads.peek().is_some()
        && reads.all(|behind| {
            let behind = behind.trim_start().strip_prefix(clause.as_str());
            // Not another snapshot whose id begins alike.
            behind.is_some_and(|behind| !behind.starts_with(|c: char| c.is_ascii_digit()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_reads_anything_but_the_snapshot_is_found_out() {
        let relation = r#""lake"."raw"."trips""#;
        for (engine, statement, expected) in [
            ("duckdb", r#"select * from (select * from "lake"."raw"."trips" AT (VERSION => 17)) as t"#, true),
            ("duckdb", r#"select * from "lake"."raw"."trips""#, false),
            ("duckdb", "select 1", false),
            ("duckdb", r#"select * from "lake"."raw"."trips" at (version => 18)"#, false),
            ("duckdb", r#"select * from "lake"."raw"."trips" at (version => 17), "lake"."raw"."trips""#, false),
            ("duckdb", "select * from \"lake\".\"raw\".\"trips\"\n  at  (version  =>  17)", true),
            ("trino", r#"select * from (select * from "lake"."raw"."trips" for version as of 17)"#, true),
            ("trino", r#"select * from "lake"."raw"."trips" FOR VERSION AS OF 17 where a"#, true),
            ("trino", r#"select * from "lake"."raw"."trips" for version as of 171"#, false),
            ("trino", r#"select * from "lake"."raw"."trips" at (version => 17)"#, false),
        ] {
            assert_eq!(reads_only(statement, relation, &clause(engine, 17)), expected, "{statement}");
        }
    }
}
