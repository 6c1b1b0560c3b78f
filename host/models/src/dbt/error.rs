//! What goes wrong around dbt.

use std::path::{Path, PathBuf};

use lakehost_pipeline::{Code, Diagnostic, codes};

/// Findings of a dbt run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a Python that dbt runs on nor `uv`.
    #[error("there is no Python that dbt runs on")]
    NoPython { found: String },
    /// A step of the set-up.
    #[error("dbt cannot be set up in {folder}: {step}")]
    Setup { folder: String, step: &'static str, cause: String, hint: &'static str },
    /// A folder that somebody else may write to.
    #[error("the folder {folder} is not this user's alone, and programs in it would be run")]
    Shared { folder: String },
    /// A file or folder of our own.
    #[error("{path} cannot be {action}")]
    File { path: String, action: &'static str, source: std::io::Error },
    /// No dbt project where one was named.
    #[error("{folder} is no dbt project: it has no dbt_project.yml")]
    NoProject { folder: String },
    /// dbt ended before it ran anything.
    #[error("dbt cannot {task} the project {project}")]
    Refused { project: String, task: &'static str, cause: String },
    /// Nothing of that name.
    #[error("no model of {project} is chosen by {choice}")]
    Nothing { project: String, choice: String },
    /// The table of a check is nothing to the project.
    #[error("the project {project} has no source for {table}, so none of its tests can look at it")]
    NoSource { project: String, table: String },
    /// A check that would look at nothing.
    #[error("no test of {project} that is chosen by {choice} can look at {table} before it is published")]
    NothingAudits { project: String, choice: String, table: String, cause: String },
    /// A test that read published rows.
    #[error("test {test} of {project} does not read the rows of {table} that are to be published")]
    OldRows { project: String, test: String, table: String },
    /// dbt's own files are not what they should be.
    #[error("dbt left no readable {file}")]
    Artifact { file: &'static str, cause: String },
    /// The engine was not there, or not any more, before a model or test ran to its end.
    #[error("models of {project} could not be built")]
    Lost { project: String, lost: Box<Lost>, again: String, committed: bool },
    /// Ctrl-C.
    #[error("stopped while {what}")]
    Stopped { what: &'static str },
    /// Models or tests that failed. `again`: the command that runs them again; `lost`: what dbt says of an engine that does not answer.
    #[error("{failed} of {total} {} of {project} failed", if *.total == 1 { "model or test" } else { "models and tests" })]
    Failed {
        project: String,
        failed: usize,
        total: usize,
        names: Vec<String>,
        again: String,
        committed: bool,
        lost: Option<Box<Lost>>,
    },
}

/// An engine that dbt could not reach, or not any more.
#[derive(Debug)]
pub struct Lost {
    /// `trino`
    pub engine: String,
    /// dbt's word on the connection.
    pub said: String,
}

impl Lost {
    /// Told by the words that dbt's adapters have for a connection that cannot be had or breaks.
    pub(crate) fn of(engine: &str, message: &str) -> Option<Self> {
        const WORDS: [&str; 7] = [
            "Max retries exceeded",
            "Connection refused",
            "Connection aborted",
            "Connection reset",
            "RemoteDisconnected",
            "TrinoConnectionError",
            "ConnectionError",
        ];
        let line = message.lines().find(|line| WORDS.iter().any(|word| line.contains(word)))?;
        Some(Self { engine: engine.to_owned(), said: line.trim().chars().take(300).collect() })
    }
}

impl Error {
    pub(crate) fn file(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), action, source }
    }

    pub(crate) fn artifact(file: &'static str, cause: impl std::fmt::Display) -> Self {
        Self::Artifact { file, cause: cause.to_string() }
    }

    pub(crate) fn setup(folder: &Path, step: &'static str, cause: impl Into<String>, hint: &'static str) -> Self {
        Self::Setup { folder: folder.display().to_string(), step, cause: cause.into(), hint }
    }

    /// Where a project should be.
    pub(crate) fn no_project(folder: &Path) -> Self {
        let folder: PathBuf = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Self::NoProject { folder: folder.display().to_string() }
    }
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::NoPython { .. } | Self::Setup { .. } | Self::Shared { .. } => codes::MODELS_ENVIRONMENT,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => codes::MACHINE_DISK,
            Self::File { .. } => codes::MODELS_ENVIRONMENT,
            Self::NoProject { .. }
            | Self::Refused { .. }
            | Self::Nothing { .. }
            | Self::NoSource { .. }
            | Self::NothingAudits { .. }
            | Self::OldRows { .. }
            | Self::Artifact { .. } => codes::MODELS_PROJECT,
            Self::Stopped { .. } => codes::INTERRUPTED,
            Self::Failed { .. } | Self::Lost { .. } => codes::MODELS_FAILED,
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::NoPython { found } => Some(found.clone()),
            Self::Setup { cause, .. } | Self::Refused { cause, .. } | Self::Artifact { cause, .. } => {
                Some(cause.clone()).filter(|cause| !cause.is_empty())
            }
            Self::File { source, .. } => Some(source.to_string()),
            Self::NothingAudits { cause, .. } => Some(cause.clone()),
            Self::OldRows { .. } => Some("its statement names the table without the snapshot".to_owned()),
            Self::Lost { lost, committed, .. } => Some(format!("{lost}{}", told(*committed))),
            Self::Failed { names, committed, lost, .. } => {
                let shown = names.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
                let more = names.len().saturating_sub(10);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let committed = told(*committed);
                let lost = lost.as_ref().map(|lost| format!("; {lost}")).unwrap_or_default();
                Some(format!("{shown}{more}{committed}{lost}"))
            }
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPython { .. } => Some(
                "install Python 3.11, 3.12 or 3.13 (on Debian: apt-get install python3 python3-venv), or uv, and have it in PATH"
                    .to_owned(),
            ),
            Self::Setup { hint, .. } => Some((*hint).to_owned()),
            Self::Shared { folder } => {
                Some(format!("`chmod go-w {folder}`, or name another cache folder with XDG_CACHE_HOME"))
            }
            Self::NoProject { .. } => {
                Some("name its folder with --project-dir DIR, or with `models = \"DIR\"` in the pipeline".to_owned())
            }
            Self::Nothing { .. } => Some("`--select` and `--exclude` take dbt's own words: stg_yellow_trips+, path:models/marts".to_owned()),
            Self::Failed { again, lost: Some(lost), .. } | Self::Lost { again, lost, .. } => Some(format!(
                "see that {} is up (`lakehost doctor` with the same --profile asks it); then `{again}`, or the same run again, builds what is missing",
                titled(&lost.engine)
            )),
            Self::NoSource { table, .. } => {
                Some(format!("add {table} to the project's sources, with tests, or take the check out"))
            }
            Self::NothingAudits { table, .. } => Some(format!(
                "a check takes tests that read the source of {table} and nothing that is built from it: `dbt = \"source:…\"`"
            )),
            Self::OldRows { .. } => Some(
                "the project needs lakehost's macros/audited.sql (at_audited_snapshot, source, get_where_subquery), and the test must name \
                 the table by `source(…)` alone; or leave the test out with `exclude`"
                    .to_owned(),
            ),
            Self::Failed { again, .. } => {
                Some(format!("the report names file, statement and rows of each; when it is mended: `{again}`"))
            }
            Self::Refused { .. } | Self::Artifact { .. } | Self::File { .. } | Self::Stopped { .. } => None,
        }
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} went away or was not reached: {}", titled(&self.engine), self.said)
    }
}

/// What became of the load before.
fn told(committed: bool) -> &'static str {
    if committed { "; the loaded data is committed" } else { "" }
}

/// An engine's name as it is written in a sentence.
fn titled(engine: &str) -> String {
    match engine {
        "trino" => "Trino".to_owned(),
        "duckdb" => "the catalog that DuckDB reads from".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_went_away_is_told_from_a_statement_that_is_wrong() {
        let gone = "Database Error in model stg\n  failed to execute: HTTPConnectionPool(host='127.0.0.1', port=1): Max retries exceeded with url: /v1";
        assert!(Lost::of("trino", gone).unwrap().said.starts_with("failed to execute: HTTPConnectionPool"));
        assert!(Lost::of("trino", "TrinoUserError(type=USER_ERROR, name=COLUMN_NOT_FOUND)").is_none());
    }
}
