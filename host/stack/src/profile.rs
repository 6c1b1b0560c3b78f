//! What others are told of a running stack: a `lakehost.toml` with the profile `stack`, and the same as variables for a shell.

use std::collections::BTreeMap;

use crate::Error;
use crate::home::{Home, write_private};
use crate::settings::Settings;
use crate::versions::Spark;

/// The profile's name.
pub const PROFILE: &str = "stack";

/// Writes both files, the secret that the profile names, and Spark's `spark.conf`.
pub fn write(home: &Home, settings: &Settings, ports: &BTreeMap<String, u16>, spark: &Spark) -> Result<(), Error> {
    let mut conf = settings.spark();
    conf.insert("spark.jars.packages".to_owned(), spark.packages.join(","));
    let conf: String = conf.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
    write_private(&home.config_folder().join("spark.conf"), conf.as_bytes())?;
    write_private(&home.secret_file(), format!("{}\n", settings.s3_secret_access_key).as_bytes())?;
    write_private(&home.profile_file(), profile(home, settings).as_bytes())?;
    write_private(&home.env_file(), variables(home, settings, ports).as_bytes())
}

/// The sections of a `lakehost.toml`; the key itself stands in a file beside it.
fn profile(home: &Home, settings: &Settings) -> String {
    let secret = quoted(&home.secret_file().display().to_string());
    let Settings { s3_endpoint, region, s3_access_key_id, rest, .. } = settings;
    let warehouse = settings.warehouse();
    format!(
        "[profile.{PROFILE}]\nwarehouse = \"{warehouse}\"\n\n[profile.{PROFILE}.catalog]\nuri = \"{rest}\"\n\n\
         [profile.{PROFILE}.s3]\nendpoint = \"{s3_endpoint}\"\nregion = \"{region}\"\n\
         access_key_id = \"{s3_access_key_id}\"\nsecret_access_key = {{ file = {secret} }}\n"
    )
}

/// `export` lines. The first ones are the profile, laid over whatever `lakehost.toml` there is; the others are for other programs.
fn variables(home: &Home, settings: &Settings, ports: &BTreeMap<String, u16>) -> String {
    let port = |name: &str| ports.get(name).copied().unwrap_or_default();
    let section = format!("LAKEHOST__PROFILE__{}", PROFILE.to_uppercase());
    let secret_file = format!("{{ file = {} }}", quoted(&home.secret_file().display().to_string()));
    let lines = [
        (format!("{section}__WAREHOUSE"), settings.warehouse()),
        (format!("{section}__CATALOG__URI"), settings.rest.clone()),
        (format!("{section}__S3__ENDPOINT"), settings.s3_endpoint.clone()),
        (format!("{section}__S3__REGION"), settings.region.clone()),
        (format!("{section}__S3__ACCESS_KEY_ID"), settings.s3_access_key_id.clone()),
        (format!("{section}__S3__SECRET_ACCESS_KEY"), secret_file),
        ("AWS_ACCESS_KEY_ID".to_owned(), settings.s3_access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), settings.s3_secret_access_key.clone()),
        ("AWS_REGION".to_owned(), settings.region.clone()),
        ("AWS_ENDPOINT_URL_S3".to_owned(), settings.s3_endpoint.clone()),
        ("LAKEHOST_STACK_REST".to_owned(), settings.rest.clone()),
        ("LAKEHOST_STACK_NESSIE".to_owned(), format!("{}/iceberg", settings.nessie)),
        ("LAKEHOST_STACK_TRINO".to_owned(), format!("http://127.0.0.1:{}", port("trino"))),
        (
            "LAKEHOST_STACK_POSTGRES".to_owned(),
            format!(
                "postgresql://{}:{}@{}/iceberg",
                settings.postgres_user, settings.postgres_password, settings.postgres
            ),
        ),
    ];
    lines.into_iter().map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''"))).collect()
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
