//! `[profile.NAME.trino]`: the Trino that queries and, when the profile says so, maintains the tables of a profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lakehost_lake::Tls;
use lakehost_models::trino::{Auth, Options};
use serde::Deserialize;
use url::Url;

use super::profile::Header;
use super::reach::{Wrong, secret};
use super::secret::SecretRef;

/// The name that is given where a Trino asks for none in particular.
const USER: &str = "lakehost";

/// How Trino is reached, and the catalog by which it knows the warehouse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrinoSection {
    pub uri: String,
    /// None: `lakehost`, or with a token the name that is in it.
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    /// A JWT or another bearer token; somebody else renews it.
    pub token: Option<SecretRef>,
    /// Trino's name of the catalog that the warehouse's tables are in.
    pub catalog: String,
    /// Authorities that are trusted too, in PEM.
    pub ca: Option<PathBuf>,
    /// What a catalog of Trino's for the branch of a run is made with, beyond what the profile says: property = value.
    #[serde(default)]
    pub branch_catalog: BTreeMap<String, Header>,
    /// For one request.
    pub timeout_seconds: Option<u64>,
}

/// Who compacts, expires and tidies up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaintainedBy {
    #[default]
    Lakehost,
    /// Trino, on all its machines.
    Trino,
}

impl TrinoSection {
    /// Trino with everything that is needed to ask it. Relative paths start in `folder`.
    pub fn options(&self, folder: &Path) -> Result<(Options, Tls), Wrong> {
        if self.password.is_some() && self.token.is_some() {
            return Err(Wrong::new("`password` and `token` of trino are two ways to be let in", "keep one of them"));
        }
        if self.catalog.is_empty() {
            return Err(Wrong::new(
                "`catalog` of trino is empty",
                "write the name that SHOW CATALOGS has for the warehouse",
            ));
        }
        let telling = |name: &str| ["secret", "password", "token", "credential"].iter().any(|word| name.contains(word));
        let is_plain = |value: &Header| matches!(value, Header::Text(text) if !text.starts_with("${ENV:"));
        if let Some((name, _)) = self.branch_catalog.iter().find(|(name, value)| telling(name) && is_plain(value)) {
            return Err(Wrong::new(
                format!("`{}` of branch_catalog looks like a secret and stands in the file", name.escape_debug()),
                "write its value as \"${ENV:NAME}\", a variable of Trino's own environment, or as { env = \"NAME\" } or { file = \"PATH\" }",
            ));
        }
        let uri = Url::parse(&self.uri)
            .map_err(|_| Wrong::new("`uri` of trino is no URL", "write it as https://HOST:PORT"))?;
        let auth = match (&self.password, &self.token) {
            (Some(_), _) => secret(self.password.as_ref(), "password", folder)?.map(Auth::Password),
            (_, Some(_)) => secret(self.token.as_ref(), "token", folder)?.map(Auth::Token),
            (None, None) => None,
        };
        let user = match (&self.user, &auth) {
            (Some(user), _) => user.clone(),
            (None, Some(_)) => String::new(),
            (None, None) => USER.to_owned(),
        };
        let mut options = Options::new(uri, user);
        options.catalog = Some(self.catalog.clone());
        options.auth = auth.unwrap_or_default();
        if let Some(seconds) = self.timeout_seconds {
            options.timeout = Duration::from_secs(seconds.clamp(1, 3_600));
        }
        Ok((options, Tls { ca: self.ca.as_ref().map(|path| folder.join(path)), ..Tls::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(Options, Tls), Wrong> {
        toml::from_str::<TrinoSection>(text).unwrap().options(Path::new("/etc/lakehost"))
    }

    #[test]
    fn a_section_becomes_a_client() {
        let (options, tls) = check("uri = \"https://t:8443\"\ncatalog = \"lake\"\nca = \"ca.pem\"").unwrap();
        assert_eq!((options.user.as_str(), options.catalog.as_deref()), ("lakehost", Some("lake")));
        assert_eq!(tls.ca.as_deref(), Some(Path::new("/etc/lakehost/ca.pem")));
        for (text, said) in [
            ("uri = \"t:8443:\"\ncatalog = \"\"", "`catalog` of trino is empty"),
            ("uri = \"no url\"\ncatalog = \"lake\"", "`uri` of trino is no URL"),
            (
                "uri = \"https://t\"\ncatalog = \"lake\"\npassword = { env = \"A\" }\ntoken = { env = \"B\" }",
                "`password` and `token` of trino are two ways to be let in",
            ),
            (
                "uri = \"https://t\"\ncatalog = \"lake\"\nbranch_catalog = { \"s3.aws-secret-key\" = \"hunter2\" }",
                "`s3.aws-secret-key` of branch_catalog looks like a secret and stands in the file",
            ),
            (
                "uri = \"https://t\"\ncatalog = \"lake\"\npassword = { env = \"LAKEHOST_NO_SUCH\" }",
                "`password`: the environment variable LAKEHOST_NO_SUCH is not set",
            ),
        ] {
            assert_eq!(check(text).unwrap_err().message, said);
        }
        let looked_up =
            "uri = \"https://t\"\ncatalog = \"lake\"\nbranch_catalog = { \"s3.aws-secret-key\" = \"${ENV:KEY}\" }";
        assert!(check(looked_up).is_ok(), "Trino looks it up");
        let literal = toml::from_str::<TrinoSection>("uri = \"u\"\ncatalog = \"c\"\npassword = \"hunter2\"");
        assert!(!literal.unwrap_err().to_string().replace("password = \"hunter2\"", "").contains("hunter2"));
    }
}
