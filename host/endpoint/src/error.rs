//! What can go wrong before a request is answered.

use std::io;
use std::net::SocketAddr;

use lakehost_pipeline::{Code, Diagnostic, Retry, codes};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that this crate reports to its caller. What a client is told is a refusal of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `LH1003`
    #[error("the catalog cannot be served on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// `LH0102`
    #[error("{what} cannot be used as {purpose}")]
    Setting { what: String, purpose: &'static str, detail: String },
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::Listen { .. } => codes::MACHINE_ADDRESS,
            Self::Setting { .. } => codes::CONFIG_FILE,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }

    fn inputs(&self) -> Vec<(String, String)> {
        match self {
            Self::Listen { address, .. } => vec![("address".to_owned(), address.to_string())],
            Self::Setting { what, .. } => vec![("setting".to_owned(), what.clone())],
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } => Some(source.to_string()),
            Self::Setting { detail, .. } => Some(detail.clone()),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("`--port 0` takes any port that is free, and says which".to_owned())
            }
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("take a --port above 1023".to_owned())
            }
            Self::Listen { .. } => Some("take an address of this machine; 127.0.0.1 is the default".to_owned()),
            Self::Setting { .. } => None,
        }
    }
}
