//! The one way in which a plugin fails on purpose.

use std::fmt;

use crate::bindings::types;
pub use crate::bindings::types::{ErrorCategory as Category, ErrorScope as Scope, Retry};

/// What functions of this crate answer.
pub type Result<T, E = PluginError> = std::result::Result<T, E>;

/// What went wrong, for whom, and whether to try again.
///
/// A constructor for each [`Category`] sets the scope and the retry answer that usually fit it; [`scope`](Self::scope),
/// [`retry`](Self::retry) and [`with`](Self::with) change or add. The message is one line in lower case that names the thing; it holds
/// no secret, for people will read it.
///
/// # Example
/// ```
/// use lakehost_sdk::{Category, PluginError};
///
/// let error = PluginError::data("fare_amount is text, expected float64").with("file", "green_tripdata_2024-01.parquet");
/// assert_eq!(error.category, Category::InvalidData);
/// assert_eq!(error.to_string(), "fare_amount is text, expected float64 (file: green_tripdata_2024-01.parquet)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// What kind of trouble: decides exit code, retry and wording.
    pub category: Category,
    /// How far the damage reaches.
    pub scope: Scope,
    /// When to try again.
    pub retry: Retry,
    /// What happened to which named thing, in one line.
    pub message: String,
    /// Inputs by name, no secrets.
    pub details: Vec<(String, String)>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $category:ident, $scope:ident, $retry:ident;)*) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
            Self::new(Category::$category, Scope::$scope, Retry::$retry, message)
        })*
    };
}

impl PluginError {
    /// An error of any kind. The constructors named for a category are shorter.
    pub fn new(category: Category, scope: Scope, retry: Retry, message: impl Into<String>) -> Self {
        Self { category, scope, retry, message: message.into(), details: Vec::new() }
    }

    constructors! {
        /// The configuration is wrong: name the key.
        config => Config, Run, Never;
        /// Credentials are missing or refused upstream.
        unauthenticated => Unauthenticated, Run, Never;
        /// Upstream does not allow it.
        forbidden => Forbidden, Run, Never;
        /// The thing asked for does not exist upstream.
        not_found => NotFound, Split, Never;
        /// The window is not published yet.
        not_yet_available => NotYetAvailable, Run, Never;
        /// Upstream asks to slow down. Give [`Retry::AfterMs`] when it said how long.
        rate_limited => RateLimited, Split, Backoff;
        /// Upstream is down or the connection broke.
        unavailable => Unavailable, Split, Backoff;
        /// Bytes came that are not what they should be.
        data => InvalidData, Split, Never;
        /// Columns or types came that the data set did not promise.
        schema_mismatch => SchemaMismatch, Split, Never;
        /// A fault of the plugin itself.
        internal => Internal, Run, Never;
    }

    /// Adds an input by name: a file, a column, a value. Never a secret.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }

    /// Replaces the scope.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Replaces the retry answer.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The value of a detail, if it was given.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The HTTP status that stands behind the error: the host gives it in the detail `status`.
    pub fn status(&self) -> Option<u16> {
        self.detail("status")?.parse().ok()
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        let mut separator = " (";
        for (name, value) in &self.details {
            write!(formatter, "{separator}{name}: {value}")?;
            separator = ", ";
        }
        if self.details.is_empty() { Ok(()) } else { formatter.write_str(")") }
    }
}

impl std::error::Error for PluginError {}

impl From<types::PluginError> for PluginError {
    fn from(error: types::PluginError) -> Self {
        let types::PluginError { category, scope, retry, message, details } = error;
        Self { category, scope, retry, message, details }
    }
}

impl From<PluginError> for types::PluginError {
    fn from(error: PluginError) -> Self {
        let PluginError { category, scope, retry, message, details } = error;
        Self { category, scope, retry, message, details }
    }
}

impl From<lakehost_wire::WireError> for PluginError {
    fn from(error: lakehost_wire::WireError) -> Self {
        Self::data(error.to_string())
    }
}

impl From<arrow_schema::ArrowError> for PluginError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_message_then_the_details() {
        let error = PluginError::not_found("no such file");
        assert_eq!(error.to_string(), "no such file");
        let error = error.with("status", "404").with("url", "https://example.org/a");
        assert_eq!(error.to_string(), "no such file (status: 404, url: https://example.org/a)");
        assert_eq!(error.status(), Some(404));
    }

    #[test]
    fn crosses_the_contract_unchanged() {
        let error =
            PluginError::rate_limited("slow down").retry(Retry::AfterMs(1_500)).scope(Scope::Batch).with("a", "b");
        assert_eq!(PluginError::from(types::PluginError::from(error.clone())), error);
    }

    #[test]
    fn a_status_that_is_no_number_is_none() {
        assert_eq!(PluginError::unavailable("x").with("status", "teapot").status(), None);
    }
}
