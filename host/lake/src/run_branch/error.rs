//! What can go wrong with the branch of a run.

use lakehost_pipeline::{Code, Diagnostic, Retry, codes};

use crate::error::Error;

/// Everything that publishing a run can end with.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Lake(Box<Error>),
    /// `LH0608`
    #[error("run {run_id} cannot be published: others changed the same tables on {onto} since it began")]
    Conflict { run_id: String, branch: String, onto: String, said: String },
    /// `LH0651`
    #[error("it is not known whether run {run_id} was published")]
    Unknown { run_id: String, branch: String, detail: String },
    /// `LH0109`
    #[error("branch {branch} of run {run_id} is gone")]
    Gone { run_id: String, branch: String },
    /// `LH0101`
    #[error("no branch of a run {} is waiting", .run_id.escape_debug())]
    NoBranch { run_id: String, known: Vec<String> },
}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        Self::Lake(Box::new(error))
    }
}

/// An error with its cause, in one line.
pub fn whole(error: &Error) -> String {
    match error.cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl Diagnostic for RunError {
    fn code(&self) -> Code {
        match self {
            Self::Lake(error) => error.code(),
            Self::Conflict { .. } => codes::CATALOG_MERGE,
            Self::Unknown { .. } => codes::COMMIT_UNKNOWN,
            Self::Gone { .. } => codes::REFERENCE,
            Self::NoBranch { .. } => codes::USAGE,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lake(error) => error.retry(),
            Self::Conflict { .. } => Retry::Backoff,
            Self::Unknown { .. } => Retry::LookFirst,
            Self::Gone { .. } | Self::NoBranch { .. } => Retry::Never,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        match self {
            Self::Lake(error) => error.inputs(),
            Self::Conflict { run_id, branch, .. }
            | Self::Unknown { run_id, branch, .. }
            | Self::Gone { run_id, branch } => {
                vec![("run".to_owned(), run_id.clone()), ("branch".to_owned(), branch.clone())]
            }
            Self::NoBranch { run_id, .. } => vec![("run".to_owned(), run_id.clone())],
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Lake(error) => error.cause(),
            Self::Conflict { said, .. } => Some(said.clone()),
            Self::Unknown { detail, .. } => Some(detail.clone()),
            Self::Gone { .. } | Self::NoBranch { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Lake(error) => error.hint(),
            Self::Conflict { .. } => Some("nothing of it is visible; run the same command again".to_owned()),
            Self::Unknown { run_id, .. } => Some(format!(
                "the branch is kept; `lakehost runs publish {run_id}` looks first whether it is published, and publishes it if not"
            )),
            Self::Gone { .. } => Some("somebody dropped it; run the pipeline again".to_owned()),
            Self::NoBranch { known, .. } if known.is_empty() => {
                Some("no run waits to be published; `lakehost runs` lists what ran".to_owned())
            }
            Self::NoBranch { known, .. } => Some(format!("there are: {}", known.join(", "))),
        }
    }
}
