//! All the ways in which bytes do not arrive. Messages name the URL without user information and query.

use std::io;
use std::path::Path;

use crate::allow::Refused;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes did not arrive. Cloneable, because every reader of one body gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not granted; [`Refused::grant_line`] is what would grant it.
    #[error(transparent)]
    Refused(Refused),
    /// The host name has no address, or the name service did not answer.
    #[error("cannot resolve {host}: {detail}")]
    Resolve { host: String, detail: String },
    /// No connection, or one that broke before the response headers.
    #[error("cannot reach {url}: {detail}")]
    Connect { url: String, detail: String },
    /// A connection, but no trusted TLS session over it.
    #[error("no trusted TLS session with {url}: {detail}")]
    Tls { url: String, detail: String },
    /// An answer other than success, after the retries that its status allows.
    #[error("{url} answered {status}{}", quoted(.body_excerpt))]
    Status {
        status: u16,
        url: String,
        /// Escaped, at most 200 characters.
        body_excerpt: String,
    },
    /// The body ended early, on every try.
    #[error("{url} ended after {received_bytes} bytes{}: {detail}", expected(*.expected_bytes))]
    Truncated {
        url: String,
        received_bytes: u64,
        /// `None`: the server announced no length.
        expected_bytes: Option<u64>,
        detail: String,
    },
    /// The server holds other bytes than when the download began, and some of those were already handed out.
    #[error("{url} changed while it was downloaded: {detail}")]
    Changed { url: String, detail: String },
    /// Longer than the request or the host allows.
    #[error("{url} is longer than the limit of {limit_bytes} bytes{}", found(*.found_bytes))]
    TooLarge {
        url: String,
        limit_bytes: u64,
        /// As announced by the server.
        found_bytes: Option<u64>,
    },
    /// Bodies that are still held take all of the spool's budget.
    #[error("{url} does not fit: bodies in {dir} are limited to {limit_bytes} bytes in all")]
    SpoolFull { url: String, dir: String, limit_bytes: u64 },
    /// The folder for bodies cannot be used, or its disk is full. A fault of this machine: it says nothing of upstream.
    #[error("downloads cannot be spooled to {dir}: {detail}")]
    Spool { dir: String, kind: io::ErrorKind, detail: String },
    /// More hops than the limit, or a loop.
    #[error("{url} redirects more than {limit} times")]
    TooManyRedirects { url: String, limit: u32 },
    /// Nothing came for too long.
    #[error("{url} timed out: {waiting_for} within {after_ms} ms")]
    Timeout { url: String, waiting_for: String, after_ms: u64 },
    /// The server asks to come back later than this request may wait.
    #[error("{url} answered {status} and asks to wait {after_ms} ms")]
    RateLimited { url: String, status: u16, after_ms: u64 },
    /// This machine's disk or file system, elsewhere than in the folder for bodies; a local file that was asked for, for one.
    #[error("cannot {doing}: {detail}")]
    Io { doing: String, kind: io::ErrorKind, detail: String },
    /// Text that is not a URL.
    #[error("\"{url}\" is not a usable URL: {detail}")]
    BadUrl { url: String, detail: String },
    /// A grant that says nothing clear.
    #[error("\"{grant}\" cannot be granted: {reason}")]
    BadGrant { grant: String, reason: String },
    /// A request header that a plugin may not set.
    #[error("request header {name} is refused: {reason}")]
    HeaderRefused { name: String, reason: String },
    /// A request method that a plugin may not use.
    #[error("request method {method} is refused: only GET, HEAD and POST are sent")]
    MethodRefused { method: String },
    /// An answer that breaks HTTP's rules, so that its bytes cannot be trusted.
    #[error("{url} answered in a way that cannot be trusted: {detail}")]
    BadResponse { url: String, detail: String },
    /// The reader or the run went away.
    #[error("the download was cancelled")]
    Cancelled,
}

fn quoted(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

fn expected(bytes: Option<u64>) -> String {
    bytes.map(|bytes| format!(" of {bytes}")).unwrap_or_default()
}

fn found(bytes: Option<u64>) -> String {
    bytes.map(|bytes| format!(": it has {bytes}")).unwrap_or_default()
}

impl Error {
    /// Whether the same request may succeed a little later. This crate has then used up its own tries already.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Truncated { .. }
            | Self::Changed { .. }
            | Self::Timeout { .. }
            | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => crate::retry::is_transient_status(*status),
            Self::Refused(_)
            | Self::Tls { .. }
            | Self::TooLarge { .. }
            | Self::SpoolFull { .. }
            | Self::Spool { .. }
            | Self::TooManyRedirects { .. }
            | Self::Io { .. }
            | Self::BadUrl { .. }
            | Self::BadGrant { .. }
            | Self::HeaderRefused { .. }
            | Self::MethodRefused { .. }
            | Self::BadResponse { .. }
            | Self::Cancelled => false,
        }
    }

    /// The error of this crate inside an [`io::Error`] that a [`crate::Spool`] returned.
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>())
    }

    pub(crate) fn spool(dir: &Path, error: &io::Error) -> Self {
        Self::Spool { dir: dir.display().to_string(), kind: error.kind(), detail: error.to_string() }
    }

    pub(crate) fn io(doing: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { doing: doing.into(), kind: error.kind(), detail: error.to_string() }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { kind, .. } => *kind,
            // A full disk stays one. `NotFound` would tell of the body, and it is the folder that is missing.
            Error::Spool { kind: kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded), .. } => *kind,
            Error::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            Error::Timeout { .. } => io::ErrorKind::TimedOut,
            Error::Refused(_) => io::ErrorKind::PermissionDenied,
            // `Interrupted` would invite readers to try again for ever.
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_thing() {
        let url = "https://h.example/a".to_owned();
        for (error, message) in [
            (
                Error::Status { status: 403, url: url.clone(), body_excerpt: "<Code>AccessDenied</Code>".into() },
                "https://h.example/a answered 403: <Code>AccessDenied</Code>",
            ),
            (
                Error::Status { status: 404, url: url.clone(), body_excerpt: String::new() },
                "https://h.example/a answered 404",
            ),
            (
                Error::Truncated {
                    url: url.clone(),
                    received_bytes: 5,
                    expected_bytes: Some(9),
                    detail: "connection closed".into(),
                },
                "https://h.example/a ended after 5 bytes of 9: connection closed",
            ),
            (
                Error::TooLarge { url: url.clone(), limit_bytes: 10, found_bytes: Some(12) },
                "https://h.example/a is longer than the limit of 10 bytes: it has 12",
            ),
            (
                Error::RateLimited { url, status: 429, after_ms: 1500 },
                "https://h.example/a answered 429 and asks to wait 1500 ms",
            ),
        ] {
            assert_eq!(error.to_string(), message);
            let wrapped = io::Error::from(error.clone());
            assert_eq!(Error::from_io(&wrapped), Some(&error));
        }
    }
}
