//! dbt over a project: an environment of its own, a child process, and what it leaves behind, read.
//!
//! Nothing is written into the project: statements, logs and results lie in a folder of the run, which is kept when something failed. Secrets reach
//! dbt by its environment alone and are masked in whatever it says.

mod audit;
mod environment;
mod error;
mod events;
mod manifest;
mod process;
mod run_results;
mod scratch;
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

pub use audit::{AuditRequest, Audited};
pub use error::Error;
use lakehost_pipeline::models::{ModelsReport, ModelsRequest, ModelsStatus, NodeReport, Scope, first_moment};
use lakehost_pipeline::ports::Models;
use lakehost_pipeline::{Fault, Secret};
use serde_json::json;

use self::environment::Environment;
use self::events::{Told, masked};
use self::manifest::Manifest;
use self::run_results::Ended;
use self::scratch::Scratch;
use self::session::{Outcome, Session};

/// Tests whose rows are shown.
const SHOWN_TESTS: usize = 10;
/// The project as dbt has read it.
const PARSED: &str = "partial_parse.msgpack";
/// Rows that are shown of each.
const SHOWN_ROWS: u32 = 5;

/// What a dbt run needs to know beside what it is to build.
pub struct DbtOptions {
    /// The folder with `dbt_project.yml`.
    pub project: PathBuf,
    /// Where environments and what runs leave behind are kept: the user's alone.
    pub cache: PathBuf,
    /// What runs the statements, as the report says it: `duckdb` or `trino`.
    pub engine: String,
    /// The output of the dbt profile.
    pub target: String,
    /// Variables of the child's environment.
    pub variables: Vec<(String, String)>,
    /// The same for what must not be seen.
    pub secrets: Vec<(String, Secret)>,
    /// Where the project's documentation goes, when it is wanted.
    pub docs: Option<PathBuf>,
    /// The command that does the same again, without `--select` and `--windows`.
    pub again: String,
    /// A load was committed before.
    pub committed: bool,
    pub stop: Arc<AtomicBool>,
    /// Hears of what takes time.
    pub say: Box<dyn FnMut(&str)>,
}

/// Models of a dbt project.
pub struct Dbt {
    options: DbtOptions,
    /// Sources that tests read at a snapshot, by table.
    audited: BTreeMap<String, String>,
}

/// What is built, in dbt's words.
#[derive(Default)]
struct Choice {
    select: Vec<String>,
    exclude: Vec<String>,
    windows: Vec<String>,
    note: Option<String>,
}

impl Dbt {
    /// For one project. Nothing is looked at yet.
    #[must_use]
    pub fn new(options: DbtOptions) -> Self {
        Self { options, audited: BTreeMap::new() }
    }

    fn project(&self) -> String {
        self.options.project.display().to_string()
    }

    /// A dbt for this project, which waits for commands.
    fn session(&self, environment: &Environment) -> Result<Session, Error> {
        let mut command = environment::python_of(&environment.python);
        // What the user's shell says to dbt is for runs by hand; `DBT_ENV_…` is the project's own.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DBT_") && !text.starts_with("DBT_ENV_") {
                command.env_remove(&name);
            }
        }
        command
            .args(["-c", session::PROGRAM])
            // For whoever looks at the list of processes.
            .arg(&self.options.project)
            .current_dir(&self.options.project)
            .env("DO_NOT_TRACK", "1")
            .env("LAKEHOST_DBT_TARGET", &self.options.target)
            .env("LAKEHOST_DUCKDB_EXTENSIONS", &environment.extensions)
            .envs(self.options.variables.iter().map(|(name, value)| (name, value)))
            .envs(self.options.secrets.iter().map(|(name, value)| (name, value.expose())));
        Session::start(command).map_err(|source| Error::file(Path::new("dbt"), "started", source))
    }

    /// A command with everything that all of them are given.
    fn words(&self, task: &[&str], target: &Path, windows: &[String]) -> Vec<String> {
        let moments: Vec<String> = windows.iter().map(|label| first_moment(label)).collect();
        let (logs, project) = (target.with_file_name("logs").display().to_string(), self.project());
        let mut words =
            ["--log-format", "json", "--log-level", "info", "--no-use-colors", "--no-send-anonymous-usage-stats"]
                .to_vec();
        words.extend(["--no-version-check", "--log-path", &logs]);
        words.extend(task);
        let (target, variables) = (target.display().to_string(), self.variables(&moments));
        words.extend(["--project-dir", &project, "--target-path", &target, "--vars", &variables]);
        if self.options.project.join("profiles.yml").exists() {
            words.extend(["--profiles-dir", &project]);
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// The project's variables.
    fn variables(&self, moments: &[String]) -> String {
        let mut variables = json!({ "windows": moments });
        if let (false, Some(known)) = (self.audited.is_empty(), variables.as_object_mut()) {
            known.insert("audited".to_owned(), json!(self.audited));
        }
        variables.to_string()
    }

    /// The project is there, by a path that does not depend on where dbt runs.
    fn find_project(&mut self) -> Result<(), Error> {
        self.options.project = std::path::absolute(&self.options.project)
            .map_err(|error| Error::file(&self.options.project, "located", error))?;
        match self.options.project.join("dbt_project.yml").is_file() {
            true => Ok(()),
            false => Err(Error::no_project(&self.options.project)),
        }
    }

    /// Runs one command of dbt. A stop is for the caller to judge, as everything else is.
    fn dbt(
        &self,
        session: &mut Session,
        words: &[String],
        what: &'static str,
        ended: &mut dyn FnMut(&NodeReport, (u64, u64)),
    ) -> Result<(Outcome, Told), Error> {
        let mut told = Told::default();
        let outcome = session.ask(words, &self.options.stop, &mut |line| {
            if let Some((node, place)) = told.take(&masked(line, &self.options.secrets)) {
                ended(&node, place);
            }
        });
        let outcome = outcome.map_err(|source| Error::file(Path::new("dbt"), "asked", source))?;
        tracing::debug!(what, outcome.success, outcome.stopped, "dbt ended");
        Ok((outcome, told))
    }

    fn refused(&self, task: &'static str, outcome: &Outcome, told: &Told) -> Error {
        let cause = match told.errors.is_empty() {
            false => told.errors.join("\n"),
            true => masked(&outcome.complaint, &self.options.secrets),
        };
        Error::Refused { project: self.project(), task, cause }
    }

    /// What the request means in this project. `None`: there is nothing to build, and why.
    fn choice(
        &self,
        session: &mut Session,
        target: &Path,
        request: &ModelsRequest,
    ) -> Result<Result<Choice, String>, Error> {
        let (table, present) = match &request.scope {
            Scope::Chosen { select, exclude } => {
                let choice = Choice {
                    select: select.clone(),
                    exclude: exclude.clone(),
                    windows: request.windows.clone(),
                    note: None,
                };
                return Ok(Ok(choice));
            }
            Scope::Downstream { table, present } => (table, present),
        };
        let words = self.words(&["parse"], target, &request.windows);
        let (outcome, told) = self.dbt(session, &words, "the project was read", &mut |_, _| {})?;
        if outcome.stopped {
            return Err(Error::Stopped { what: "the project was read" });
        }
        if !outcome.success {
            return Err(self.refused("read", &outcome, &told));
        }
        let found = Manifest::read(target)?.downstream(table, present);
        if found.select.is_empty() {
            let reason = if found.known { "no model reads" } else { "the project has no source for" };
            return Ok(Err(format!("{reason} {table}")));
        }
        let mut choice = Choice { select: found.select, windows: request.windows.clone(), ..Choice::default() };
        if !found.missing.is_empty() && !choice.windows.is_empty() {
            choice.windows.clear();
            choice.note = Some(format!("all windows, since there is no {} yet", listed(&found.missing)));
        }
        Ok(Ok(choice))
    }

    fn run(
        &mut self,
        request: &ModelsRequest,
        scratch: &mut Scratch,
        session: &mut Session,
        ended: &mut dyn FnMut(&NodeReport, (u64, u64)),
    ) -> Result<ModelsReport, Fault> {
        let target = scratch.target();
        let mut report = ModelsReport::new(self.project(), ModelsStatus::Built, request.windows.clone());
        report.engine = Some(self.options.engine.clone());
        let choice = match self.choice(session, &target, request)? {
            Ok(choice) => choice,
            Err(reason) => {
                report.status = ModelsStatus::Unchanged;
                report.note = Some(reason);
                return Ok(report);
            }
        };
        (report.windows, report.note) = (choice.windows.clone(), choice.note.clone());
        report.select.clone_from(&choice.select);

        let mut words = self.words(&["build"], &target, &choice.windows);
        chosen(&mut words, &choice.select, &choice.exclude);
        if matches!(request.scope, Scope::Downstream { .. }) {
            // A test that also reads what is not built here may find nothing there.
            words.extend(["--indirect-selection", "buildable"].map(str::to_owned));
        }
        if request.full_refresh {
            words.push("--full-refresh".to_owned());
        }
        scratch.keep(true);
        let (outcome, told) = self.dbt(session, &words, "models were built", ended)?;
        let stopped = outcome.stopped;
        let results = match Manifest::read(&target) {
            Ok(manifest) => run_results::read(&target, &manifest)?.map(|results| (manifest, results)),
            Err(_) if stopped || !outcome.success => None,
            Err(error) => return Err(error.into()),
        };
        let Some((manifest, mut results)) = results else {
            return Err(match stopped {
                true => Error::Stopped { what: "models were built" }.into(),
                false => self.ended_early(&outcome, &told, &choice, request).into(),
            });
        };
        if !told.nothing.is_empty() || (results.is_empty() && !choice.select.is_empty()) {
            let words = if told.nothing.is_empty() { choice.select.join(" ") } else { told.nothing.join(" ") };
            scratch.keep(false);
            return Err(Error::Nothing { project: self.project(), choice: format!("`{words}`") }.into());
        }
        let failed = results.iter().filter(|(_, node)| node.failed()).count();
        if failed == 0 && !outcome.success && !stopped {
            return Err(self.ended_early(&outcome, &told, &choice, request).into());
        }
        if !stopped {
            self.samples(session, &target, &choice.windows, &manifest, &mut results)?;
        }
        report.nodes = results.into_iter().map(|(_, node)| node).collect();
        if stopped {
            report.fail(Error::Stopped { what: "models were built" }.into());
        } else if failed > 0 {
            report.fail(self.failure(&report, &choice, request).into());
        } else {
            self.docs(session, &choice.windows)?;
            scratch.keep(false);
        }
        Ok(report)
    }

    /// dbt ended before it ran what it was to run: the project is wrong, or the engine is not there.
    fn ended_early(&self, outcome: &Outcome, told: &Told, choice: &Choice, request: &ModelsRequest) -> Error {
        match self.refused("run", outcome, told) {
            Error::Refused { project, task, cause } => match error::Lost::of(&self.options.engine, &cause) {
                Some(lost) => Error::Lost {
                    project,
                    lost: Box::new(lost),
                    again: self.again(choice, request),
                    committed: self.options.committed,
                },
                None => Error::Refused { project, task, cause },
            },
            other => other,
        }
    }

    /// The command that builds the same again.
    fn again(&self, choice: &Choice, request: &ModelsRequest) -> String {
        let mut again = self.options.again.clone();
        for (flag, words) in [("--select", &choice.select), ("--exclude", &choice.exclude)] {
            for word in words {
                again.push_str(&format!(" {flag} {}", quoted(word)));
            }
        }
        if !choice.windows.is_empty() {
            again.push_str(&format!(" --windows {}", choice.windows.join(",")));
        }
        if request.full_refresh {
            again.push_str(" --full-refresh");
        }
        again
    }

    /// The error of models that failed, with the command that runs just them again.
    fn failure(&self, report: &ModelsReport, choice: &Choice, request: &ModelsRequest) -> Error {
        let failed: Vec<&NodeReport> = report.nodes.iter().filter(|node| node.failed()).collect();
        Error::Failed {
            project: self.project(),
            failed: failed.len(),
            total: report.nodes.len(),
            names: failed.iter().map(|node| node.name.clone()).collect(),
            again: self.again(choice, request),
            committed: self.options.committed,
            lost: failed
                .iter()
                .find_map(|node| error::Lost::of(&self.options.engine, node.message.as_deref().unwrap_or_default()))
                .map(Box::new),
        }
    }

    /// Puts some of the rows that failed tests found beside them. That they cannot be had is no failure of its own.
    fn samples(
        &self,
        session: &mut Session,
        target: &Path,
        windows: &[String],
        manifest: &Manifest,
        results: &mut [Ended],
    ) -> Result<(), Error> {
        let is_shown = |(_, node): &&Ended| node.kind == "test" && matches!(node.status.as_str(), "fail" | "warn");
        let words: Vec<String> =
            results.iter().filter(is_shown).take(SHOWN_TESTS).filter_map(|(id, _)| manifest.word(id)).collect();
        if words.is_empty() {
            return Ok(());
        }
        // Its results would take the place of those of the run.
        let beside = target.with_file_name("shown");
        // What dbt knows of the project saves it from reading it again; without it, it does.
        let (known, copied) = (target.join(PARSED), beside.join(PARSED));
        let _ = std::fs::create_dir_all(&beside).and_then(|()| std::fs::copy(known, copied));
        let task = ["show", "--output", "json", "--limit", &SHOWN_ROWS.to_string()];
        let mut shown = self.words(&task, &beside, windows);
        shown.push("--select".to_owned());
        // dbt runs all that is chosen and shows what its first word names, so that one has all names, and chooses nothing.
        let names: Vec<&str> = words.iter().filter_map(|word| word.rsplit('.').next()).collect();
        shown.push(format!("fqn:shown.{}", names.join(".")));
        shown.extend(words);
        let (outcome, mut told) = self.dbt(session, &shown, "rows of failed tests were read", &mut |_, _| {})?;
        if !outcome.success {
            tracing::warn!(errors = ?told.errors, "the rows that failed tests found cannot be shown");
        }
        for (id, node) in results.iter_mut() {
            node.sample = told.rows.remove(id).unwrap_or_default();
        }
        Ok(())
    }

    fn docs(&self, session: &mut Session, windows: &[String]) -> Result<(), Error> {
        let Some(folder) = &self.options.docs else { return Ok(()) };
        let folder = std::path::absolute(folder).map_err(|error| Error::file(folder, "located", error))?;
        std::fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, "made", error))?;
        let words = self.words(&["docs", "generate"], &folder, windows);
        let (outcome, told) = self.dbt(session, &words, "documentation was written", &mut |_, _| {})?;
        match (outcome.stopped, outcome.success) {
            (true, _) => Err(Error::Stopped { what: "documentation was written" }),
            (false, true) => Ok(()),
            (false, false) => Err(self.refused("document", &outcome, &told)),
        }
    }
}

impl Models for Dbt {
    fn build(
        &mut self,
        request: &ModelsRequest,
        ended: &mut dyn FnMut(&NodeReport, (u64, u64)),
    ) -> Result<ModelsReport, Fault> {
        let since = Instant::now();
        self.find_project()?;
        let environment = environment::ensure(&self.options.cache, &self.options.stop, &mut *self.options.say)?;
        let mut scratch = Scratch::new(&self.options.cache)?;
        let mut session = self.session(&environment)?;
        let mut report = self.run(request, &mut scratch, &mut session, ended)?;
        report.seconds = since.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// Puts a choice of nodes behind a command.
fn chosen(words: &mut Vec<String>, select: &[String], exclude: &[String]) {
    for (flag, nodes) in [("--select", select), ("--exclude", exclude)] {
        if !nodes.is_empty() {
            words.push(flag.to_owned());
            words.extend_from_slice(nodes);
        }
    }
}

/// Some of many names.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_goes_through_a_shell_as_it_is() {
        for (word, expected) in
            [("source:raw.a+", "source:raw.a+"), ("*", "'*'"), ("it's", "'it'\\''s'"), ("", "''"), ("a b", "'a b'")]
        {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_folder_without_a_project_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut dbt = Dbt::new(DbtOptions {
            project: folder.path().to_owned(),
            cache: folder.path().join("cache"),
            engine: "duckdb".to_owned(),
            target: "duckdb".to_owned(),
            variables: Vec::new(),
            secrets: Vec::new(),
            docs: None,
            again: "lakehost models".to_owned(),
            committed: false,
            stop: Arc::default(),
            say: Box::new(|_| {}),
        });
        let fault = dbt.build(&ModelsRequest::default(), &mut |_, _| {}).unwrap_err();
        assert_eq!(fault.code().0, "LH0702");
        assert!(!folder.path().join("cache").exists(), "nothing is set up for nothing");
    }
}
