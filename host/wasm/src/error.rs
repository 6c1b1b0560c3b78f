//! All the ways in which a plugin, or something it asked for, can fail.
//!
//! Three voices are kept apart: what the host itself found ([`Error`] variants of their own), what the plugin says of itself
//! ([`Error::Reported`]), and what upstream did ([`Error::Source`], [`Error::Columns`]). Text of a plugin is escaped and cut here.

use std::path::PathBuf;

use lakehost_fetch as fetch;
use lakehost_pipeline::{Code, Diagnostic, Retry, codes};
use lakehost_wire::WireError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Longest message of a plugin that is shown, in characters.
const MESSAGE_CHARS: usize = 500;
/// Longest detail of a plugin that is shown, and how many.
const DETAIL_CHARS: usize = 200;
const DETAILS: usize = 16;
/// The way out when upstream does not answer (LH0304).
const UPSTREAM_DOWN: &str = "run the same command again when upstream is back: windows that are loaded are skipped";

/// Text of a plugin on one line, escaped and cut.
pub(crate) fn shown(text: &str, limit_chars: usize) -> String {
    fetch::excerpt(text.as_bytes(), limit_chars)
}

/// Why the host stopped a guest in the middle of a call; travels through wasmtime as the cause of the trap.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("used {spent_ms} ms of CPU, the budget is {budget_ms} ms")]
    Deadline { spent_ms: u64, budget_ms: u64 },
    #[error("memory of {wanted_bytes} bytes, the budget is {limit_bytes}")]
    Memory { wanted_bytes: u64, limit_bytes: u64 },
    #[error("{what} took longer than {after_ms} ms")]
    HostCall { what: String, after_ms: u64 },
    #[error("{what}: {found}, the limit is {limit}")]
    Budget { what: &'static str, found: u64, limit: u64 },
    #[error("{0}")]
    Contract(String),
    #[error("cancelled")]
    Cancelled,
}

/// What kind of trouble a plugin reports, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Config,
    Unauthenticated,
    Forbidden,
    NotFound,
    NotYetAvailable,
    RateLimited,
    Unavailable,
    InvalidData,
    SchemaMismatch,
    NotGranted,
    Internal,
}

impl Category {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::NotYetAvailable => "not-yet-available",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::InvalidData => "invalid-data",
            Self::SchemaMismatch => "schema-mismatch",
            Self::NotGranted => "not-granted",
            Self::Internal => "internal",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Config => codes::PLUGIN_CONFIG,
            Self::Unauthenticated | Self::Forbidden => codes::SOURCE_REFUSED,
            Self::NotFound => codes::SOURCE_NOT_FOUND,
            Self::NotYetAvailable => codes::SOURCE_NOT_PUBLISHED,
            Self::RateLimited => codes::SOURCE_RATE_LIMITED,
            Self::Unavailable => codes::SOURCE_UNAVAILABLE,
            Self::InvalidData => codes::SOURCE_INVALID,
            Self::SchemaMismatch => codes::DATA_SCHEMA,
            // Only the host's own record makes a refusal: without one this is the plugin's fault.
            Self::NotGranted | Self::Internal => codes::PLUGIN_INTERNAL,
        }
    }
}

/// What a plugin, or a service of the host, says of a failure. All text is safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub category: Category,
    pub retry: Retry,
    pub message: String,
    pub details: Vec<(String, String)>,
}

impl Report {
    /// A report of the host, for the guest to pass on.
    pub(crate) fn of_host(category: Category, message: impl std::fmt::Display) -> Self {
        let retry = match category {
            Category::Unavailable | Category::RateLimited => Retry::Backoff,
            _ => Retry::Never,
        };
        Self { category, retry, message: message.to_string(), details: Vec::new() }
    }

    /// A report in a plugin's words, made safe.
    pub(crate) fn of_guest(category: Category, retry: Retry, message: &str, details: &[(String, String)]) -> Self {
        let details = details.iter().take(DETAILS);
        Self {
            category,
            retry,
            message: shown(message, MESSAGE_CHARS),
            details: details.map(|(name, value)| (shown(name, 40), shown(value, DETAIL_CHARS))).collect(),
        }
    }
}

/// A request that the host refused, in its own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// URL without query, or `clock`, `random`.
    pub what: String,
    pub reason: String,
    /// The flag that would grant it; none when nothing does.
    pub grant_line: Option<String>,
}

/// Why a plugin could not be loaded or did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("plugin {plugin} crashed in `{call}`: {detail}")]
    Trap { plugin: String, call: &'static str, detail: String, stderr: String },
    #[error("plugin {plugin} used {spent_ms} ms of CPU in `{call}`, its budget is {budget_ms} ms")]
    Deadline { plugin: String, call: &'static str, spent_ms: u64, budget_ms: u64 },
    #[error(
        "plugin {plugin} asked for more memory in `{call}`: {wanted_bytes} bytes, the budget of all plugins is {limit_bytes}"
    )]
    Memory { plugin: String, call: &'static str, wanted_bytes: u64, limit_bytes: u64 },
    #[error("plugin {plugin} broke the contract in `{call}`: {detail}")]
    Contract { plugin: String, call: &'static str, detail: String },
    #[error("plugin {plugin} handed over an unsound batch in `{call}`: {source}")]
    Batch { plugin: String, call: &'static str, source: WireError },
    #[error("{name} cannot be loaded: {detail}")]
    Load { name: String, detail: String, hint: Option<String> },
    #[error("a host call of plugin {plugin} in `{call}` took longer than {after_ms} ms: {what}")]
    HostCall { plugin: String, call: &'static str, what: String, after_ms: u64 },
    #[error("plugin {plugin} went over a budget in `{call}`: {what} {found}, the limit is {limit}")]
    Budget { plugin: String, call: &'static str, what: &'static str, found: u64, limit: u64 },
    #[error("plugin {plugin}: {}", .report.message)]
    Reported { plugin: String, call: &'static str, report: Report },
    #[error("plugin {plugin} asks for {}, which is not granted", .refusal.what)]
    NotGranted { plugin: String, refusal: Refusal },
    #[error("the configuration of {plugin} is wrong: {detail}")]
    Config { plugin: String, detail: String, nearest: Option<String> },
    #[error("{error}")]
    Source { error: fetch::Error },
    #[error("{error}")]
    Columns { error: lakehost_columnar::Error },
    #[error("`{value}` cannot be granted: {detail}")]
    Grant { value: String, detail: String },
    #[error("the plugin asks for `{value}`, which nobody can grant: {detail}")]
    Ask { value: String, detail: String },
    #[error("interrupted")]
    Interrupted,
    #[error("cannot {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{doing} failed inside the host")]
    Host { doing: String, detail: String },
}

impl Error {
    /// Bytes of a plugin that are no sound batch; a sound one under another schema than agreed is a breach of the contract.
    pub(crate) fn unsound(plugin: String, call: &'static str, source: WireError) -> Self {
        match source {
            WireError::Mismatch { .. } => Self::Contract { plugin, call, detail: source.to_string() },
            source => Self::Batch { plugin, call, source },
        }
    }
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::Trap { .. } => codes::PLUGIN_TRAP,
            Self::Deadline { .. } => codes::PLUGIN_DEADLINE,
            Self::Memory { .. } => codes::PLUGIN_MEMORY,
            Self::Contract { .. } => codes::PLUGIN_CONTRACT,
            Self::Batch { .. } => codes::PLUGIN_BATCH,
            Self::Load { .. } => codes::PLUGIN_LOAD,
            Self::HostCall { .. } => codes::PLUGIN_HOST_CALL,
            Self::Budget { .. } => codes::PLUGIN_BUDGET,
            Self::Reported { report, .. } => report.category.code(),
            Self::NotGranted { .. } | Self::Ask { .. } => codes::TRUST_GRANT,
            Self::Config { .. } => codes::PLUGIN_CONFIG,
            Self::Source { error } => source_code(error),
            Self::Columns { error } => columns_category(error).map_or(codes::BUG, Category::code),
            Self::Grant { .. } => codes::USAGE,
            Self::Interrupted => codes::INTERRUPTED,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => codes::MACHINE_DISK,
            Self::Io { .. } => codes::PLUGIN_LOAD,
            Self::Host { .. } => codes::BUG,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Reported { report, .. } => report.retry,
            Self::Source { error: fetch::Error::RateLimited { after_ms, .. } } => Retry::AfterMs(*after_ms),
            Self::Source { error } if error.is_transient() => Retry::Backoff,
            Self::HostCall { .. } => Retry::Backoff,
            _ => Retry::Never,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        match self {
            Self::Reported { plugin, report, .. } => {
                let plugin = ("plugin".to_owned(), plugin.clone());
                std::iter::once(plugin).chain(report.details.iter().cloned()).collect()
            }
            Self::Trap { plugin, .. }
            | Self::Deadline { plugin, .. }
            | Self::Memory { plugin, .. }
            | Self::Contract { plugin, .. }
            | Self::Batch { plugin, .. }
            | Self::HostCall { plugin, .. }
            | Self::Budget { plugin, .. }
            | Self::NotGranted { plugin, .. }
            | Self::Config { plugin, .. } => vec![("plugin".to_owned(), plugin.clone())],
            _ => Vec::new(),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Trap { stderr, .. } if !stderr.is_empty() => Some(format!("its last words: {stderr}")),
            Self::NotGranted { refusal, .. } => Some(refusal.reason.clone()),
            Self::Reported { call, report, .. } => Some(match report.category {
                Category::NotGranted => {
                    format!("`{call}` answered `not-granted`, and the host refused nothing")
                }
                category => format!("`{call}` answered `{}`", category.word()),
            }),
            Self::Io { source, .. } => Some(source.to_string()),
            Self::Host { detail, .. } => Some(detail.clone()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Load { hint, .. } => hint.clone(),
            Self::NotGranted { refusal: Refusal { grant_line, .. }, .. }
            | Self::Source { error: fetch::Error::Refused(fetch::Refused { grant_line, .. }) } => {
                Some(match grant_line {
                    Some(line) => format!("if you trust it with that, add `{line}`"),
                    None => "nothing grants that".to_owned(),
                })
            }
            Self::Source { error: fetch::Error::Spool { kind, .. } } => Some(match kind {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "free some space, or set TMPDIR to a folder with more room".to_owned()
                }
                _ => "set TMPDIR to a folder that can be written".to_owned(),
            }),
            Self::Source { error } if source_code(error) == codes::SOURCE_UNAVAILABLE => Some(UPSTREAM_DOWN.to_owned()),
            Self::HostCall { .. } => Some("upstream may be slow: run the same command again later".to_owned()),
            Self::Config { nearest, .. } => {
                nearest.as_ref().map(|key| format!("did you mean `{key}`? `lakehost plugin inspect` lists the keys"))
            }
            Self::Trap { .. } | Self::Contract { .. } | Self::Batch { .. } => {
                Some("this is a fault of the plugin: report it to its author, or use another version".to_owned())
            }
            Self::Memory { .. } => Some("give the run more with `--memory`".to_owned()),
            Self::Reported { report, .. } => match report.category {
                Category::Config => Some("`lakehost plugin inspect` lists the keys of its configuration".to_owned()),
                Category::NotYetAvailable => Some("run the same command again when it is published".to_owned()),
                Category::Unavailable => Some(UPSTREAM_DOWN.to_owned()),
                _ => None,
            },
            Self::Interrupted => Some("run the same command again".to_owned()),
            Self::Host { .. } => Some("this is a bug: report it with the run's JSON report".to_owned()),
            _ => None,
        }
    }
}

/// What a guest is told of a failed fetch.
pub(crate) fn source_category(error: &fetch::Error) -> Category {
    use fetch::Error as E;
    match error {
        E::Refused(_) => Category::NotGranted,
        E::Status { status: 401 | 407, .. } => Category::Unauthenticated,
        E::Status { status: 404 | 410, .. } => Category::NotFound,
        E::Status { status: 429, .. } | E::RateLimited { .. } => Category::RateLimited,
        E::Status { status: 400..=499, .. } => Category::Forbidden,
        E::Io { kind: std::io::ErrorKind::NotFound, .. } => Category::NotFound,
        E::Io { kind: std::io::ErrorKind::PermissionDenied, .. } => Category::Forbidden,
        E::TooLarge { .. } | E::BadResponse { .. } | E::TooManyRedirects { .. } => Category::InvalidData,
        // Whatever its kind: a missing folder here is no missing file upstream.
        E::Spool { .. } => Category::Unavailable,
        E::BadUrl { .. } | E::BadGrant { .. } | E::HeaderRefused { .. } | E::MethodRefused { .. } => Category::Internal,
        _ => Category::Unavailable,
    }
}

fn source_code(error: &fetch::Error) -> Code {
    use fetch::Error as E;
    match error {
        E::Refused(_) => codes::TRUST_GRANT,
        E::Changed { .. } => codes::SOURCE_CHANGED,
        E::SpoolFull { .. } | E::Spool { .. } | E::Io { kind: std::io::ErrorKind::StorageFull, .. } => {
            codes::MACHINE_DISK
        }
        E::BadGrant { .. } => codes::USAGE,
        E::Cancelled => codes::INTERRUPTED,
        other => source_category(other).code(),
    }
}

/// What a guest is told of columns that cannot be read; `None`: not a fault of the file.
pub(crate) fn columns_category(error: &lakehost_columnar::Error) -> Option<Category> {
    use lakehost_columnar::Error as E;
    match error {
        E::NotParquet { .. } | E::Truncated { .. } | E::Corrupt { .. } | E::TooLarge { .. } | E::Unsupported { .. } => {
            Some(Category::InvalidData)
        }
        E::Schema { .. } | E::UnlistedColumn { .. } | E::MissingColumn { .. } => Some(Category::SchemaMismatch),
        E::Io(_) => Some(Category::Unavailable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(category: Category) -> Error {
        let report = Report::of_guest(category, Retry::Never, "2024-13 is\u{1b}[31m no month\r\n", &[]);
        Error::Reported { plugin: "p@1".to_owned(), call: "plan", report }
    }

    #[test]
    fn categories_have_the_documented_codes_and_exits() {
        for (category, code, exit) in [
            (Category::Config, "LH0104", 2),
            (Category::Unauthenticated, "LH0303", 4),
            (Category::Forbidden, "LH0303", 4),
            (Category::NotFound, "LH0302", 4),
            (Category::NotYetAvailable, "LH0301", 4),
            (Category::RateLimited, "LH0305", 4),
            (Category::Unavailable, "LH0304", 4),
            (Category::InvalidData, "LH0306", 4),
            (Category::SchemaMismatch, "LH0401", 5),
            (Category::NotGranted, "LH0208", 3),
            (Category::Internal, "LH0208", 3),
        ] {
            let error = reported(category);
            assert_eq!((error.code().0, error.code().exit()), (code, exit), "{}", category.word());
        }
    }

    #[test]
    fn a_plugins_text_cannot_write_to_the_terminal() {
        let text = reported(Category::Config).to_string();
        assert!(!text.contains(['\u{1b}', '\r', '\n']), "{text:?}");
        let long = Report::of_guest(Category::Internal, Retry::Never, &"x".repeat(100_000), &[]);
        assert!(long.message.chars().count() <= MESSAGE_CHARS + 1);
        let many = vec![("k\n".to_owned(), "v".repeat(5000)); 1000];
        let details = Report::of_guest(Category::Internal, Retry::Never, "", &many).details;
        assert!(
            details.len() == DETAILS && details.iter().all(|(name, value)| !name.contains('\n') && value.len() < 300)
        );
    }

    #[test]
    fn upstream_faults_keep_their_class() {
        let status =
            |status| fetch::Error::Status { status, url: "https://h/".to_owned(), body_excerpt: String::new() };
        let disk = fetch::Error::Io {
            doing: "spool".to_owned(),
            kind: std::io::ErrorKind::StorageFull,
            detail: String::new(),
        };
        let spool = |kind| fetch::Error::Spool { dir: "/nonexistent".to_owned(), kind, detail: String::new() };
        let changed = fetch::Error::Changed { url: String::new(), detail: String::new() };
        for (error, code) in [
            (status(404), "LH0302"),
            (status(403), "LH0303"),
            (status(429), "LH0305"),
            (status(503), "LH0304"),
            (disk, "LH1001"),
            (spool(std::io::ErrorKind::StorageFull), "LH1001"),
            (spool(std::io::ErrorKind::NotFound), "LH1001"),
            (changed, "LH0307"),
            (fetch::Error::Cancelled, "LH1099"),
        ] {
            assert_eq!(Error::Source { error }.code().0, code);
        }
        for kind in [std::io::ErrorKind::NotFound, std::io::ErrorKind::PermissionDenied] {
            assert_eq!(
                source_category(&spool(kind)),
                Category::Unavailable,
                "the file upstream is not what is missing"
            );
            let hint = Error::Source { error: spool(kind) }.hint();
            assert_eq!(hint.as_deref(), Some("set TMPDIR to a folder that can be written"));
        }
    }
}
