//! What dbt is given to reach the tables of a profile: a catalog that speaks Iceberg's REST protocol, and the keys of the bucket.

use lakehost_endpoint::{Access, Endpoint, Options, serve};
use lakehost_lake::{S3Keys, S3Options, Tls};
use lakehost_models::trino::{self, Auth};
use lakehost_pipeline::{Fault, Secret};

use crate::args::ModelEngine;
use crate::config::resolve::Where;
use crate::warehouse::Warehouse;

/// An engine that can reach the tables as long as this lives.
#[derive(Default)]
pub struct Attached {
    /// The output of the dbt profile.
    pub target: &'static str,
    pub variables: Vec<(String, String)>,
    pub secrets: Vec<(String, Secret)>,
    endpoint: Option<Endpoint>,
}

impl Attached {
    /// Nobody needs it any more.
    pub fn end(self) {
        if let Some(endpoint) = self.endpoint {
            endpoint.stop();
        }
    }
}

/// Lets an engine reach the tables. DuckDB gets the warehouse's own catalog over a port of loopback with a token of this run, whatever kind of
/// catalog it is; Trino has one of its own.
pub fn attach(engine: ModelEngine, place: &Where, warehouse: &Warehouse) -> Result<Attached, Fault> {
    if engine == ModelEngine::Trino {
        let (options, tls) = place.trino_options()?;
        return Ok(trino(&options, &tls));
    }
    let mut attached = Attached { target: "duckdb", ..Attached::default() };
    let mut options = Options::default();
    if place.is_remote() {
        let s3 = place.s3_options()?;
        bucket(&s3, warehouse.lake.bucket_keys()?.as_ref(), &mut attached);
        options.access = Access::bucket(&s3, false)?;
    }
    let endpoint = serve(&warehouse.lake, options)?;
    attached.variables.push(("LAKEHOST_CATALOG_URI".to_owned(), endpoint.uri()));
    attached.secrets.push(("LAKEHOST_CATALOG_TOKEN".to_owned(), endpoint.token().clone()));
    attached.endpoint = Some(endpoint);
    Ok(attached)
}

/// What runs the models of a profile when nobody says otherwise.
pub fn of(place: &Where) -> ModelEngine {
    if place.trino.is_some() { ModelEngine::Trino } else { ModelEngine::Duckdb }
}

/// Trino in the words of its dbt adapter, which has an output for each way to be let in.
fn trino(options: &trino::Options, tls: &Tls) -> Attached {
    let uri = &options.uri;
    let port = uri.port_or_known_default().unwrap_or(443).to_string();
    let mut attached = Attached { target: "trino", ..Attached::default() };
    for (name, value) in [
        ("LAKEHOST_TRINO_SCHEME", uri.scheme()),
        ("LAKEHOST_TRINO_HOST", uri.host_str().unwrap_or_default()),
        ("LAKEHOST_TRINO_PORT", &port),
        ("LAKEHOST_TRINO_USER", &options.user),
        ("LAKEHOST_TRINO_CATALOG", options.catalog.as_deref().unwrap_or_default()),
    ] {
        attached.variables.push((name.to_owned(), value.to_owned()));
    }
    if let Some(ca) = &tls.ca {
        // The adapter's HTTP library looks there.
        attached.variables.push(("REQUESTS_CA_BUNDLE".to_owned(), ca.display().to_string()));
    }
    let (target, secret) = match &options.auth {
        Auth::None => ("trino", None),
        Auth::Password(password) => ("trino_password", Some(("LAKEHOST_TRINO_PASSWORD", password))),
        Auth::Token(token) => ("trino_token", Some(("LAKEHOST_TRINO_TOKEN", token))),
    };
    attached.target = target;
    attached.secrets.extend(secret.map(|(name, secret)| (name.to_owned(), secret.clone())));
    attached
}

/// A bucket in the words of DuckDB: host and port without a scheme, and the keys of this moment.
fn bucket(s3: &S3Options, keys: Option<&S3Keys>, attached: &mut Attached) {
    let region =
        s3.region.clone().or_else(|| std::env::var("AWS_REGION").ok()).unwrap_or_else(|| "us-east-1".to_owned());
    let amazon = s3.endpoint.is_none();
    let endpoint = s3.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint.as_str()));
    let tls = if scheme == "https" { "True" } else { "False" };
    let style = if s3.path_style && !amazon { "path" } else { "vhost" };
    let ca = s3.tls.ca.as_ref().map(|ca| ca.display().to_string());
    for (name, value) in [
        ("LAKEHOST_S3_ENDPOINT", host.trim_end_matches('/')),
        ("LAKEHOST_S3_REGION", region.as_str()),
        ("LAKEHOST_S3_TLS", tls),
        ("LAKEHOST_S3_URL_STYLE", style),
        ("LAKEHOST_S3_CA", ca.as_deref().unwrap_or_default()),
    ] {
        attached.variables.push((name.to_owned(), value.to_owned()));
    }
    let Some(keys) = keys else { return };
    for (name, key) in [
        ("LAKEHOST_S3_ACCESS_KEY_ID", Some(&keys.access_key)),
        ("LAKEHOST_S3_SECRET_ACCESS_KEY", Some(&keys.secret_key)),
        ("LAKEHOST_S3_SESSION_TOKEN", keys.session_token.as_ref()),
    ] {
        attached.secrets.extend(key.map(|key| (name.to_owned(), key.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trino_has_an_output_for_each_way_in() {
        let of = |auth: Auth| {
            let mut options = trino::Options::new("https://trino.example:8443".parse().unwrap(), "ann");
            options.catalog = Some("lake".to_owned());
            options.auth = auth;
            let attached = trino(&options, &Tls { ca: Some("/etc/ca.pem".into()), ..Tls::default() });
            assert_eq!(attached.variables.len(), 6);
            assert!(attached.variables.contains(&("LAKEHOST_TRINO_PORT".to_owned(), "8443".to_owned())));
            (attached.target, attached.secrets.first().map(|(name, _)| name.clone()))
        };
        assert_eq!(of(Auth::None), ("trino", None));
        assert_eq!(
            of(Auth::Password(Secret::new("x"))),
            ("trino_password", Some("LAKEHOST_TRINO_PASSWORD".to_owned()))
        );
        assert_eq!(of(Auth::Token(Secret::new("x"))), ("trino_token", Some("LAKEHOST_TRINO_TOKEN".to_owned())));
    }

    #[test]
    fn a_bucket_is_named_without_its_scheme() {
        let s3 = S3Options {
            endpoint: Some("http://127.0.0.1:9000/".to_owned()),
            region: Some("eu-west-1".to_owned()),
            path_style: true,
            tls: Tls { ca: Some("/etc/ca.pem".into()), ..Tls::default() },
            ..S3Options::default()
        };
        let keys = S3Keys {
            access_key: Secret::new("id"),
            secret_key: Secret::new("hunter2"),
            session_token: Some(Secret::new("for an hour")),
        };
        let told = |s3: &S3Options| {
            let mut attached = Attached::default();
            bucket(s3, Some(&keys), &mut attached);
            let secrets: Vec<String> = attached.secrets.iter().map(|(_, secret)| secret.expose().to_owned()).collect();
            assert_eq!(secrets, ["id", "hunter2", "for an hour"]);
            attached.variables.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(told(&s3), ["127.0.0.1:9000", "eu-west-1", "False", "path", "/etc/ca.pem"]);
        let amazon = S3Options { region: Some("eu-west-1".to_owned()), path_style: true, ..S3Options::default() };
        assert_eq!(told(&amazon), ["s3.eu-west-1.amazonaws.com", "eu-west-1", "True", "vhost", ""]);
    }
}
