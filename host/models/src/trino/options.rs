//! Where Trino is, who asks, and how patient they are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lakehost_pipeline::Secret;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::error::{Error, Result};

/// How requests are authorised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// The user's name alone.
    #[default]
    None,
    /// The user's name and password.
    Password(Secret),
    /// A bearer token, such as a JWT; somebody else renews it.
    Token(Secret),
}

/// How far a query is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub query_id: String,
    /// `QUEUED`, `RUNNING`, `FINISHED` …
    pub state: String,
    /// 0 to 100, once Trino knows.
    pub percent: Option<f64>,
    pub rows: u64,
    pub bytes: u64,
    pub elapsed_ms: u64,
}

/// Sees each step of a query.
pub type Watch = Arc<dyn Fn(&Progress) + Send + Sync>;

/// A Trino, and how it is asked.
#[derive(Clone)]
pub struct Options {
    pub uri: Url,
    /// Empty: Trino takes the name out of the token.
    pub user: String,
    pub catalog: Option<String>,
    pub schema: Option<String>,
    pub auth: Auth,
    /// For one request.
    pub timeout: Duration,
    /// So long an answer that may be asked for again is asked for.
    pub patience: Duration,
    /// A longer answer is refused rather than held.
    ///
    /// # Units
    /// Bytes of one page in JSON.
    pub page_bytes: usize,
    /// Set: the query under way is ended, on the server too.
    pub stop: Option<Arc<AtomicBool>>,
    pub watch: Option<Watch>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, catalog, schema, auth, .. } = self;
        let shown = (shown(&self.uri), user, catalog, schema, auth);
        f.debug_tuple("Options").field(&shown).finish()
    }
}

impl Options {
    /// A Trino that needs nothing but a name.
    #[must_use]
    pub fn new(uri: Url, user: impl Into<String>) -> Self {
        Self {
            uri,
            user: user.into(),
            catalog: None,
            schema: None,
            auth: Auth::None,
            timeout: Duration::from_secs(60),
            patience: Duration::from_secs(30),
            page_bytes: 128 << 20,
            stop: None,
            watch: None,
        }
    }

    /// The URL that paths of the protocol start from.
    ///
    /// # Errors
    /// `LH0108` for a URL that is none, that holds a user, or over which a secret would travel in the open.
    pub(super) fn base(&self) -> Result<Url> {
        let wrong = |detail: &str, hint: &str| {
            Err(Error::Setting { server: shown(&self.uri), detail: detail.to_owned(), hint: hint.to_owned() })
        };
        let mut base = self.uri.clone();
        let Some(host) = base.host() else {
            return wrong("its address has no host", "write uri = \"https://HOST:PORT\"");
        };
        if !matches!(base.scheme(), "http" | "https") {
            return wrong("its address is neither https:// nor http://", "write uri = \"https://HOST:PORT\"");
        }
        if !base.username().is_empty() || base.password().is_some() {
            return wrong(
                "its address holds a user, which ends up in process lists and logs",
                "write user = \"NAME\" and password = { env = \"NAME\" } instead",
            );
        }
        let near = match host {
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
            Host::Domain(name) => name == "localhost",
        };
        if self.auth != Auth::None && base.scheme() == "http" && !near {
            return wrong(
                "a password or token would cross the network in the open",
                "write uri = \"https://HOST:PORT\"; with a certificate authority of your own, name its file with `ca`",
            );
        }
        if matches!(self.auth, Auth::Password(_)) && self.user.is_empty() {
            return wrong("a password is of no use without a user", "add user = \"NAME\"");
        }
        base.set_query(None);
        base.set_fragment(None);
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(base)
    }

    /// Headers of every request but those of its authorisation.
    pub(super) fn headers(&self) -> Result<HeaderMap> {
        let mut map = HeaderMap::new();
        let given = [
            ("x-trino-user", Some(&self.user).filter(|user| !user.is_empty())),
            ("x-trino-catalog", self.catalog.as_ref()),
            ("x-trino-schema", self.schema.as_ref()),
        ];
        for (name, value) in given {
            let Some(value) = value else { continue };
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| Error::Setting {
                server: shown(&self.uri),
                detail: format!("`{}` cannot be written into a header", value.escape_debug()),
                hint: "use letters, digits and signs of ASCII".to_owned(),
            })?;
            map.insert(HeaderName::from_static(name), value);
        }
        map.insert("x-trino-time-zone", HeaderValue::from_static("UTC"));
        // Without this word Trino rounds times to milliseconds.
        map.insert("x-trino-client-capabilities", HeaderValue::from_static("PARAMETRIC_DATETIME"));
        Ok(map)
    }
}

/// The address for messages.
pub(super) fn shown(uri: &Url) -> String {
    match uri.host_str() {
        Some(host) => match uri.port() {
            Some(port) => format!("{}://{host}:{port}", uri.scheme()),
            None => format!("{}://{host}", uri.scheme()),
        },
        None => uri.scheme().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_only_where_nobody_reads_them() {
        let of = |uri: &str, auth: Auth| {
            let options = Options { auth, ..Options::new(Url::parse(uri).unwrap(), "ann") };
            options.base().map(String::from).map_err(|error| error.to_string())
        };
        let secret = || Auth::Password(Secret::new("hunter2"));
        assert_eq!(of("https://trino.example.com/a?b#c", secret()).as_deref(), Ok("https://trino.example.com/a/"));
        assert_eq!(of("http://127.0.0.1:8080", secret()).as_deref(), Ok("http://127.0.0.1:8080/"));
        assert_eq!(of("http://[::1]:8080", Auth::Token(Secret::new("x"))).as_deref(), Ok("http://[::1]:8080/"));
        assert_eq!(of("http://trino:8080", Auth::None).as_deref(), Ok("http://trino:8080/"));
        for (uri, auth, said) in [
            ("http://trino:8080", secret(), "in the open"),
            ("http://127.0.0.2.example.com", Auth::Token(Secret::new("x")), "in the open"),
            ("https://ann:hunter2@trino", Auth::None, "holds a user"),
            ("ftp://trino", Auth::None, "neither"),
        ] {
            let refused = of(uri, auth).unwrap_err();
            assert!(refused.contains(said) && !refused.contains("hunter2"), "{refused}");
        }
        let unnamed = Options { auth: secret(), ..Options::new(Url::parse("https://t").unwrap(), "") };
        assert!(unnamed.base().is_err());
    }
}
