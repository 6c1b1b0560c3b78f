//! What an object store said when it did not do as asked: sorted by what can be done about it, and put into words for people.

use std::fmt;
use std::io;

/// So much of an answer without a code is repeated.
const SAID_CHARACTERS: usize = 400;

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Other keys, or more rights for these.
    Access,
    /// New keys: these were good once.
    Expired,
    /// Another bucket, or making this one.
    NoBucket,
    /// Waiting: it was asked too much, or has trouble of its own.
    Busy,
    /// Nothing answers, or the connection breaks.
    Unreachable,
    /// It cannot be told.
    Other,
}

/// An error of an object store, inside the [`io::Error`] that travels.
#[derive(Debug)]
pub struct Refusal {
    pub reason: Reason,
    said: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Access => write!(f, "the object store refuses access: {}", self.said),
            Reason::Expired => write!(f, "the keys of the object store have run out: {}", self.said),
            Reason::NoBucket => write!(f, "the object store has no such bucket: {}", self.said),
            Reason::Busy => write!(f, "the object store asks to wait: {}", self.said),
            Reason::Unreachable => write!(f, "the object store does not answer: {}", self.said),
            Reason::Other => f.write_str(&self.said),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The refusal in an error, when an object store caused it.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether these words are in it.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        self.said.contains(words)
    }
}

/// The codes of keys that have run out, or are not known any more where they were before.
pub const EXPIRED: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"];

/// The codes of keys that the store does not know, or that do not fit together.
pub const UNKNOWN_KEYS: [&str; 3] = ["InvalidAccessKeyId", "SignatureDoesNotMatch", NO_USER];
/// What Versity's gateway says of a key that nobody has, with the status of an object that is not there.
pub const NO_USER: &str = "XAdminUserNotFound";

/// The text of the first XML element of a name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

/// The code of an answer in XML.
pub fn code_of(text: &str) -> Option<&str> {
    element(text, "Code")
}

/// An error and what is behind it, in the words of each.
fn chain(error: &object_store::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}

/// The part of a transport error that says why: what comes before it are names of layers, numbers of tries and the address.
fn transport(text: &str) -> Option<String> {
    let (_, why) = text.split_once("HTTP error: ").or_else(|| text.split_once("error sending request"))?;
    let why = why.trim_start_matches("error sending request").trim_start_matches(": ");
    let shown = if why.is_empty() { "the connection broke" } else { why };
    let tries = text.split_once("after ").and_then(|(_, rest)| rest.split_once(" retries")).map(|(tries, _)| tries);
    Some(match tries.filter(|tries| *tries != "0" && tries.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(tries) => format!("{shown} (tried {tries} times more)"),
        None => shown.to_owned(),
    })
}

/// An error of the store, by what its caller can do about it.
pub(super) fn io_error(error: object_store::Error) -> io::Error {
    use object_store::Error::{AlreadyExists, NotFound, PermissionDenied, Unauthenticated};
    let text = chain(&error);
    let code = code_of(&text);
    let said = match (code, element(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => text.chars().filter(|c| !c.is_control()).take(SAID_CHARACTERS).collect(),
    };
    let refused = |kind: io::ErrorKind, reason: Reason, said: String| io::Error::new(kind, Refusal { reason, said });
    if code.is_some_and(|code| EXPIRED.contains(&code)) {
        return refused(io::ErrorKind::PermissionDenied, Reason::Expired, said);
    }
    if code == Some("NoSuchBucket") {
        return refused(io::ErrorKind::NotFound, Reason::NoBucket, said);
    }
    let full =
        text.contains("507 ") || ["XMinioStorageFull", "InsufficientStorage"].iter().any(|full| text.contains(full));
    let busy = matches!(code, Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout"))
        || ["503 Service", "429 Too", "500 Internal", "502 Bad", "504 Gateway"]
            .iter()
            .any(|status| text.contains(status));
    match &error {
        NotFound { .. } if code == Some(NO_USER) => refused(io::ErrorKind::PermissionDenied, Reason::Access, said),
        NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, "the object store has no such object"),
        AlreadyExists { .. } => io::ErrorKind::AlreadyExists.into(),
        PermissionDenied { .. } | Unauthenticated { .. } => {
            refused(io::ErrorKind::PermissionDenied, Reason::Access, said)
        }
        _ if full => io::Error::new(io::ErrorKind::StorageFull, said),
        _ if busy => refused(io::ErrorKind::Other, Reason::Busy, said),
        _ => match transport(&text).filter(|_| code.is_none()) {
            Some(why) => refused(io::ErrorKind::Other, Reason::Unreachable, why),
            None => refused(io::ErrorKind::Other, Reason::Other, said),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        let generic = |text: &str| object_store::Error::Generic { store: "S3", source: text.to_owned().into() };
        let answer =
            |code: &str| generic(&format!("400 Bad Request: <Error><Code>{code}</Code><Message>so</Message></Error>"));
        let cases = [
            (answer("ExpiredToken"), Reason::Expired, "the keys of the object store have run out: ExpiredToken: so"),
            (answer("NoSuchBucket"), Reason::NoBucket, "the object store has no such bucket: NoSuchBucket: so"),
            (answer("SlowDown"), Reason::Busy, "the object store asks to wait: SlowDown: so"),
            (answer("Odd"), Reason::Other, "Odd: so"),
            (
                object_store::Error::NotFound {
                    path: "k".to_owned(),
                    source: answer("XAdminUserNotFound").to_string().into(),
                },
                Reason::Access,
                "the object store refuses access: XAdminUserNotFound: so",
            ),
            (
                generic(
                    "Error performing PUT http://h/k in 3s, after 5 retries, max_retries: 5, retry_timeout: 60s  - HTTP error: error sending \
                     request: client error (Connect): connection refused",
                ),
                Reason::Unreachable,
                "the object store does not answer: client error (Connect): connection refused (tried 5 times more)",
            ),
        ];
        for (error, reason, said) in cases {
            let error = io_error(error);
            assert_eq!(Refusal::of(&error).map(|refusal| refusal.reason), Some(reason), "{error}");
            assert_eq!(error.to_string(), said);
        }
    }
}
