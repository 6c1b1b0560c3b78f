//! What a profile's catalog and bucket mean: checked, with secrets looked up, in the lake's own types.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lakehost_lake::{
    CatalogOptions, LookUp, PostgresOptions, RestAuth, RestOptions, S3Keys, S3Options, Tls, is_branch_name,
};
use lakehost_pipeline::{Diagnostic as _, Secret};
use url::Url;

use super::profile::{CatalogSection, Header, S3Section};
use super::secret::SecretRef;

/// The name that a SQL catalog goes by when nobody says otherwise.
const CATALOG_NAME: &str = "lakehost";

impl Header {
    pub fn resolve(&self, folder: &Path) -> Result<Secret, String> {
        match self {
            Self::Text(text) => Ok(Secret::new(text)),
            Self::Secret(reference) => reference.resolve(folder),
        }
    }
}

/// What is wrong with a profile, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub message: String,
    pub hint: Option<String>,
}

impl Wrong {
    pub fn new(message: impl Into<String>, hint: &str) -> Self {
        Self { message: message.into(), hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()) }
    }
}

pub fn secret(reference: Option<&SecretRef>, key: &str, folder: &Path) -> Result<Option<Secret>, Wrong> {
    let found = reference.map(|reference| reference.resolve(folder)).transpose();
    found.map_err(|reason| Wrong::new(format!("`{key}`: {reason}"), ""))
}

/// The words of a URI that stand for its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
    Rest,
}

impl CatalogSection {
    /// The catalog with everything that it needs. Relative paths start in `folder`.
    pub fn options(&self, folder: &Path) -> Result<CatalogOptions, Wrong> {
        let kind = self.check()?;
        let keys = &self.keys;
        let tls = || Tls {
            ca: keys.ca.as_ref().map(|path| folder.join(path)),
            certificate: keys.client_certificate.as_ref().map(|path| folder.join(path)),
            key: keys.client_key.as_ref().map(|path| folder.join(path)),
        };
        let name = keys.name.as_deref().unwrap_or(CATALOG_NAME);
        let uri = match kind {
            Kind::Sqlite => sqlite_uri(&self.uri, folder),
            Kind::Postgres | Kind::Rest => self.uri.clone(),
        };
        let options = CatalogOptions::from_uri(&uri, name).map_err(|error| Wrong {
            message: format!("{error}: {}", error.cause().unwrap_or_default()),
            hint: error.hint(),
        })?;
        Ok(match options {
            CatalogOptions::Sqlite { .. } => options,
            CatalogOptions::Postgres(postgres) => CatalogOptions::Postgres(PostgresOptions {
                password: secret(keys.password.as_ref(), "password", folder)?,
                tls: tls(),
                ..postgres
            }),
            CatalogOptions::Rest(rest) => CatalogOptions::Rest(Box::new(RestOptions {
                warehouse: keys.warehouse.clone(),
                prefix: keys.prefix.clone(),
                auth: self.auth(folder)?,
                headers: self.headers(folder)?,
                delegation: keys.vended_credentials,
                atomic_transactions: keys.atomic_transactions,
                nessie: keys.nessie,
                branch: keys.branch.clone(),
                timeout: keys
                    .timeout_seconds
                    .map_or(rest.timeout, |seconds| Duration::from_secs(seconds.clamp(1, 3_600))),
                tls: tls(),
                ..*rest
            })),
        })
    }

    fn auth(&self, folder: &Path) -> Result<RestAuth, Wrong> {
        let keys = &self.keys;
        if let Some(token) = secret(keys.token.as_ref(), "token", folder)? {
            let (reference, folder) = (keys.token.clone(), folder.to_owned());
            let again = keys.token.as_ref().is_some_and(SecretRef::may_change).then(|| {
                LookUp::new(move || match secret(reference.as_ref(), "token", &folder) {
                    Ok(found) => found.ok_or_else(|| "the profile names no token".to_owned()),
                    Err(wrong) => Err(wrong.message),
                })
            });
            return Ok(RestAuth::Token { token, again });
        }
        let Some(client_secret) = secret(keys.client_secret.as_ref(), "client_secret", folder)? else {
            return Ok(RestAuth::None);
        };
        let server = keys.token_uri.as_deref().map(|uri| {
            let parsed = Url::parse(uri).ok().filter(|uri| matches!(uri.scheme(), "http" | "https"));
            parsed.ok_or_else(|| Wrong::new("`token_uri` is no URL", "write it as https://HOST/PATH"))
        });
        Ok(RestAuth::Credential {
            credential: match &keys.client_id {
                Some(id) => Secret::new(format!("{id}:{}", client_secret.expose())),
                None => client_secret,
            },
            server: server.transpose()?,
            scope: keys.scope.clone(),
        })
    }

    fn headers(&self, folder: &Path) -> Result<Vec<(String, Secret)>, Wrong> {
        let of = |(name, value): (&String, &Header)| match value.resolve(folder) {
            Ok(value) => Ok((name.clone(), value)),
            Err(reason) => Err(Wrong::new(format!("header `{}`: {reason}", name.escape_debug()), "")),
        };
        self.keys.headers.iter().map(of).collect()
    }

    fn kind(&self) -> Result<Kind, Wrong> {
        let scheme = self.uri.split_once("://").map(|(scheme, _)| scheme.split('+').next().unwrap_or(scheme));
        match scheme {
            _ if self.uri.is_empty() => {
                Err(Wrong::new("`catalog` is empty", "take it out, or write the catalog's URI"))
            }
            None | Some("sqlite") => Ok(Kind::Sqlite),
            Some("postgresql" | "postgres") => Ok(Kind::Postgres),
            Some("http" | "https") => Ok(Kind::Rest),
            Some(other) => Err(Wrong::new(
                format!("`catalog` is of the kind {}://, which lakehost does not know", other.escape_debug()),
                "a catalog is sqlite:///PATH, postgresql://USER@HOST/DATABASE or https://HOST/PATH",
            )),
        }
    }

    /// The file that it is in; `None`: it is a server.
    pub fn file(&self, folder: &Path) -> Option<PathBuf> {
        (self.kind() == Ok(Kind::Sqlite)).then(|| PathBuf::from(sqlite_uri(&self.uri, folder)))
    }

    /// What can be seen without looking any secret up.
    fn check(&self) -> Result<Kind, Wrong> {
        let kind = self.kind()?;
        if kind != Kind::Sqlite && has_password(&self.uri) {
            return Err(Wrong::new(
                "the URI of `catalog` holds a password, which ends up in process lists and histories",
                match kind {
                    Kind::Postgres => {
                        "take it out and write password = { env = \"NAME\" } into [profile.NAME.catalog], or set PGPASSWORD"
                    }
                    _ => "take it out and write token = { env = \"NAME\" } into [profile.NAME.catalog]",
                },
            ));
        }
        let keys = &self.keys;
        let given = [
            ("name", keys.name.is_some(), kind != Kind::Rest),
            ("password", keys.password.is_some(), kind == Kind::Postgres),
            ("token", keys.token.is_some(), kind == Kind::Rest),
            ("client_id", keys.client_id.is_some(), kind == Kind::Rest),
            ("client_secret", keys.client_secret.is_some(), kind == Kind::Rest),
            ("token_uri", keys.token_uri.is_some(), kind == Kind::Rest),
            ("scope", keys.scope.is_some(), kind == Kind::Rest),
            ("warehouse", keys.warehouse.is_some(), kind == Kind::Rest),
            ("prefix", keys.prefix.is_some(), kind == Kind::Rest),
            ("headers", !keys.headers.is_empty(), kind == Kind::Rest),
            ("vended_credentials", keys.vended_credentials, kind == Kind::Rest),
            ("atomic_transactions", keys.atomic_transactions, kind == Kind::Rest),
            ("nessie", keys.nessie, kind == Kind::Rest),
            ("branch", keys.branch.is_some(), kind == Kind::Rest),
            ("timeout_seconds", keys.timeout_seconds.is_some(), kind == Kind::Rest),
            ("ca", keys.ca.is_some(), kind != Kind::Sqlite),
            ("client_certificate", keys.client_certificate.is_some(), kind != Kind::Sqlite),
            ("client_key", keys.client_key.is_some(), kind != Kind::Sqlite),
        ];
        if let Some((key, ..)) = given.iter().find(|(_, given, takes)| *given && !takes) {
            let kind = match kind {
                Kind::Sqlite => "SQLite",
                Kind::Postgres => "Postgres",
                Kind::Rest => "REST",
            };
            return Err(Wrong::new(
                format!("`{key}` is of no use to a {kind} catalog"),
                "take the key out, or correct `uri`",
            ));
        }
        let pairs = [
            (
                keys.branch.as_ref().is_some_and(|branch| !is_branch_name(branch)),
                "`branch` is no name of a branch",
                "write it as Nessie lists it: letters, digits, `_`, `-`, `.` and `/`",
            ),
            (
                keys.token.is_some() && keys.client_secret.is_some(),
                "`token` and `client_secret` are two ways to be let in",
                "keep one of them",
            ),
            (
                keys.client_secret.is_none()
                    && (keys.client_id.is_some() || keys.token_uri.is_some() || keys.scope.is_some()),
                "`client_id`, `token_uri` and `scope` go with a `client_secret`",
                "add client_secret = { env = \"NAME\" }",
            ),
            (
                keys.client_id.as_ref().is_some_and(|id| id.contains(':')),
                "`client_id` holds a colon",
                "take it as the identity provider shows it",
            ),
            (
                keys.client_key.is_some() && keys.client_certificate.is_none(),
                "`client_key` goes with a `client_certificate`",
                "add client_certificate = \"PATH\"",
            ),
        ];
        if let Some((_, message, hint)) = pairs.into_iter().find(|(wrong, ..)| *wrong) {
            return Err(Wrong::new(message, hint));
        }
        let telling = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["auth", "token", "key", "secret", "cookie", "password"].iter().any(|word| name.contains(word))
        };
        match keys.headers.iter().find(|(name, value)| matches!(value, Header::Text(_)) && telling(name)) {
            Some((name, _)) => Err(Wrong::new(
                format!("header `{}` looks like a secret and stands in the file", name.escape_debug()),
                "write its value as { env = \"NAME\" }, { file = \"PATH\" } or { command = [\"PROGRAM\"] }",
            )),
            None => Ok(kind),
        }
    }

    /// The catalog for people: its URI without what could be a secret.
    pub fn shown(&self) -> String {
        let scheme = || self.uri.split(':').next().unwrap_or_default().to_owned();
        match Url::parse(&self.uri) {
            Ok(mut uri) => {
                if uri.password().is_some() && uri.set_password(None).is_err() {
                    return scheme();
                }
                uri.set_query(None);
                uri.to_string()
            }
            Err(_) if has_password(&self.uri) => scheme(),
            Err(_) => self.uri.clone(),
        }
    }
}

/// A password as a part of its own, or as a parameter.
fn has_password(uri: &str) -> bool {
    let Ok(parsed) = Url::parse(uri) else {
        // One that cannot be read is refused later; what stands before an @ may be one all the same.
        return uri
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('@'))
            .is_some_and(|(user, _)| user.contains(':'));
    };
    parsed.password().is_some() || parsed.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("password"))
}

/// A file's URI with its path made whole: three slashes are relative and four absolute.
fn sqlite_uri(uri: &str, folder: &Path) -> String {
    let path = uri.strip_prefix("sqlite:").map_or(uri, |rest| rest.strip_prefix("///").unwrap_or(rest));
    let path = folder.join(path);
    std::path::absolute(&path).unwrap_or(path).display().to_string()
}

impl S3Section {
    /// The keys, looked up now; `None`: the profile names none.
    fn keys(&self, folder: &Path) -> Result<Option<S3Keys>, Wrong> {
        let access_key = self.access_key_id.as_ref().map(|key| key.resolve(folder)).transpose();
        let access_key = access_key.map_err(|reason| Wrong::new(format!("`access_key_id`: {reason}"), ""))?;
        let secret_key = secret(self.secret_access_key.as_ref(), "secret_access_key", folder)?;
        let session_token = secret(self.session_token.as_ref(), "session_token", folder)?;
        Ok(access_key.zip(secret_key).map(|(access_key, secret_key)| S3Keys { access_key, secret_key, session_token }))
    }

    /// Whether another look may find other keys: a file is rewritten, and a command answers anew; a variable stays as it is.
    fn may_change(&self) -> bool {
        let id = self.access_key_id.as_ref();
        let id = id.is_some_and(|id| matches!(id, Header::Secret(reference) if reference.may_change()));
        id || [&self.secret_access_key, &self.session_token].into_iter().flatten().any(SecretRef::may_change)
    }

    /// How buckets are reached.
    pub fn options(&self, folder: &Path) -> Result<S3Options, Wrong> {
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(Wrong::new(
                "`access_key_id` and `secret_access_key` go together",
                "give both; with neither, the AWS_ variables or the machine's own role are used",
            ));
        }
        if self.session_token.is_some() && self.secret_access_key.is_none() {
            return Err(Wrong::new(
                "`session_token` goes with `access_key_id` and `secret_access_key`",
                "give all three",
            ));
        }
        let endpoint = self.endpoint.clone().or_else(|| {
            ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| std::env::var(name).ok())
        });
        let plain = match &endpoint {
            None => false,
            Some(endpoint) => plain(endpoint, self.allow_http)?,
        };
        let keys = self.keys(folder)?;
        let (section, place) = (self.clone(), folder.to_owned());
        let key_source = self.may_change().then(|| {
            LookUp::new(move || match section.keys(&place) {
                Ok(Some(keys)) => Ok(keys),
                Ok(None) => Err("the profile names no keys".to_owned()),
                Err(wrong) => Err(wrong.message),
            })
        });
        let (access_key, secret_key, session_token) = match keys {
            Some(S3Keys { access_key, secret_key, session_token }) => {
                (Some(access_key), Some(secret_key), session_token)
            }
            None => (None, None, None),
        };
        Ok(S3Options {
            path_style: self.path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            region: self.region.clone(),
            access_key,
            secret_key,
            session_token,
            key_source,
            allow_http: plain,
            tls: Tls { ca: self.ca.as_ref().map(|path| folder.join(path)), ..Tls::default() },
        })
    }
}

/// Whether an endpoint is without encryption, which is for this machine, or for one that the profile says so of.
fn plain(endpoint: &str, allowed: bool) -> Result<bool, Wrong> {
    let parsed = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = parsed.ok_or_else(|| Wrong::new("`endpoint` of s3 is no URL", "write it as https://HOST:PORT"))?;
    let near = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(false),
        _ if near || allowed => Ok(true),
        _ => Err(Wrong::new(
            format!("`endpoint` of s3 is {endpoint}, and rows would cross the network in the open"),
            "write https://, or allow_http = true",
        )),
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
