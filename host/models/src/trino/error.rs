//! What goes wrong between a statement and its rows.

use lakehost_pipeline::{Code, Diagnostic, Retry, certificate_hint, codes};

/// Results of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Trino at {server} cannot be asked: {detail}")]
    Setting { server: String, detail: String, hint: String },
    #[error("Trino at {server} does not answer")]
    Unreachable { server: String, cause: String },
    #[error("Trino at {server} refuses access")]
    Access { server: String, cause: String },
    #[error("what answers at {server} does not speak Trino's protocol")]
    Protocol { server: String, cause: String, hint: String },
    #[error("Trino's answer is a page of more than {limit_bytes} bytes")]
    TooLarge { server: String, limit_bytes: usize },
    #[error("Trino ended the statement with {name}")]
    Statement { query_id: String, name: String, kind: String, message: String },
    #[error("column {column} of Trino's answer has a value that {kind} cannot hold")]
    Value { column: String, kind: String, value: String, hint: &'static str },
    /// A statement that changes something, and no proof either way.
    #[error("it is not known whether Trino carried out the statement")]
    Unknown { server: String, query_id: Option<String>, mark: String, cause: String },
    #[error("interrupted; {}", ended(*cancelled))]
    Interrupted { query_id: Option<String>, cancelled: bool },
}

fn ended(cancelled: bool) -> &'static str {
    if cancelled { "the query was ended on the server too" } else { "the server was not reached to end the query" }
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::Setting { .. } => codes::PROFILE,
            Self::Unreachable { .. } | Self::Protocol { .. } => codes::TRINO_UNAVAILABLE,
            Self::Access { .. } => codes::TRINO_ACCESS,
            Self::Statement { name, .. } if name == "PERMISSION_DENIED" => codes::TRINO_ACCESS,
            Self::Statement { .. } | Self::Value { .. } => codes::TRINO_STATEMENT,
            Self::TooLarge { .. } => codes::MACHINE_MEMORY,
            Self::Unknown { .. } => codes::TRINO_UNKNOWN,
            Self::Interrupted { .. } => codes::INTERRUPTED,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } => Retry::Backoff,
            Self::Statement { kind, .. } if kind != "USER_ERROR" => Retry::Backoff,
            Self::Unknown { .. } => Retry::LookFirst,
            _ => Retry::Never,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        let (server, query) = match self {
            Self::Statement { query_id, .. } => (None, Some(query_id)),
            Self::Interrupted { query_id, .. } => (None, query_id.as_ref()),
            Self::Unknown { server, query_id, .. } => (Some(server), query_id.as_ref()),
            Self::TooLarge { server, .. } => (Some(server), None),
            _ => (None, None),
        };
        [("server", server), ("query", query)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
            .collect()
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Unreachable { cause, .. }
            | Self::Access { cause, .. }
            | Self::Protocol { cause, .. }
            | Self::Unknown { cause, .. } => Some(cause.clone()),
            Self::Statement { message, .. } => Some(message.clone()),
            Self::Value { value, .. } => Some(format!("the value is {value}")),
            Self::Setting { .. } | Self::TooLarge { .. } | Self::Interrupted { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Setting { hint, .. } | Self::Protocol { hint, .. } => {
                Some(hint.clone()).filter(|hint| !hint.is_empty())
            }
            Self::Unreachable { cause, .. } => Some(
                certificate_hint(cause, "`uri` of [profile.NAME.trino]", "`ca` of [profile.NAME.trino]").unwrap_or_else(|| {
                    "see that Trino runs and that `uri` of [profile.NAME.trino] is its address; `lakehost doctor` asks it"
                        .to_owned()
                }),
            ),
            Self::Access { .. } => Some(
                "correct `user` and `password` or `token` of [profile.NAME.trino]; a token may have run out".to_owned(),
            ),
            Self::TooLarge { .. } => Some("give more with --memory, or select less".to_owned()),
            Self::Statement { kind, query_id, name, .. } => match (kind.as_str(), name.as_str()) {
                (_, "PERMISSION_DENIED") => {
                    Some("ask whoever runs Trino to grant it to the user of [profile.NAME.trino]".to_owned())
                }
                ("USER_ERROR", _) => None,
                ("INSUFFICIENT_RESOURCES", _) => Some("select less, or give Trino more memory".to_owned()),
                _ => Some(format!("Trino's own log says more of query {query_id}")),
            },
            Self::Value { hint, .. } => Some((*hint).to_owned()).filter(|hint| !hint.is_empty()),
            Self::Unknown { mark, .. } => Some(format!(
                "it was sent once and is not sent again; look first: `lakehost query --engine trino \"select query_id, state from \
                 system.runtime.queries where source = '{mark}'\"` says FINISHED once it is done, as long as Trino remembers, and `lakehost snapshots \
                 TABLE` shows whether it left a snapshot"
            )),
            Self::Interrupted { .. } => None,
        }
    }
}
