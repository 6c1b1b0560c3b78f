//! `[profile.NAME]` as it is written: where tables lie, which catalog knows them, and how both are reached. `reach` says what it means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de::Error as _};

use super::secret::SecretRef;
use super::trino::{MaintainedBy, TrinoSection};

/// A place for tables.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Folder or file:// URL, relative to the file, or s3://bucket/prefix.
    pub warehouse: Option<String>,
    /// Memory budget of a run: `512MiB`.
    pub memory: Option<String>,
    /// The catalog: a URI, or a section with what it needs.
    pub catalog: Option<CatalogSection>,
    /// How buckets are reached.
    pub s3: Option<S3Section>,
    /// The Trino that knows the same tables.
    pub trino: Option<TrinoSection>,
    /// Who compacts, expires and tidies up.
    #[serde(default)]
    pub maintained_by: MaintainedBy,
}

/// `[profile.NAME.catalog]`, or `catalog = "URI"`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CatalogSection {
    pub uri: String,
    pub keys: CatalogKeys,
}

impl fmt::Debug for CatalogSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogSection").field("uri", &self.shown()).field("keys", &self.keys).finish()
    }
}

/// What a catalog may need beside its URI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogKeys {
    uri: Option<String>,
    /// Of a SQL catalog: several may share a database. PyIceberg must be given the same.
    pub name: Option<String>,
    /// Of Postgres.
    pub password: Option<SecretRef>,
    /// Of a REST catalog; somebody else renews it, and one from a file or a command is looked up again when it is refused.
    pub token: Option<SecretRef>,
    /// OAuth2 client credentials.
    pub client_id: Option<String>,
    pub client_secret: Option<SecretRef>,
    /// The token endpoint; none: the catalog's own.
    pub token_uri: Option<String>,
    pub scope: Option<String>,
    /// The name by which a REST catalog knows the warehouse.
    pub warehouse: Option<String>,
    /// What stands between `v1/` and a path.
    pub prefix: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Header>,
    /// Ask for keys of the object store with every table.
    #[serde(default)]
    pub vended_credentials: bool,
    /// Its commit of several tables is atomic.
    #[serde(default)]
    pub atomic_transactions: bool,
    /// Branches, tags and history are the catalog's own.
    #[serde(default)]
    pub nessie: bool,
    /// Nessie's branch that tables are read from and runs publish to.
    pub branch: Option<String>,
    /// For one request of a REST catalog.
    pub timeout_seconds: Option<u64>,
    /// Authorities that are trusted too, a client certificate and its key: files in PEM.
    pub ca: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    Text(String),
    Secret(SecretRef),
}

/// `[profile.NAME.s3]`. What is not given comes from the `AWS_` variables, or the machine's own role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Section {
    /// None: Amazon's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `http://host/bucket/key`; when it is missing, so with an endpoint of one's own.
    pub path_style: Option<bool>,
    pub access_key_id: Option<Header>,
    pub secret_access_key: Option<SecretRef>,
    pub session_token: Option<SecretRef>,
    /// An endpoint of another machine without encryption.
    #[serde(default)]
    pub allow_http: bool,
    /// Authorities that are trusted too, in PEM.
    pub ca: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for CatalogSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrSection)
    }
}

struct TextOrSection;

impl<'de> Visitor<'de> for TextOrSection {
    type Value = CatalogSection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URI or a section")
    }

    fn visit_str<E: de::Error>(self, uri: &str) -> Result<Self::Value, E> {
        Ok(CatalogSection { uri: uri.to_owned(), ..CatalogSection::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut keys = CatalogKeys::deserialize(MapAccessDeserializer::new(map))?;
        let uri = keys.uri.take().ok_or_else(|| A::Error::missing_field("uri"))?;
        Ok(CatalogSection { uri, keys })
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrSecret)
    }
}

struct TextOrSecret;

impl<'de> Visitor<'de> for TextOrSecret {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or { env = \"NAME\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Header::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        SecretRef::deserialize(MapAccessDeserializer::new(map)).map(Header::Secret)
    }
}
