//! What others are told of a running stack: a `lakehost.toml` with the profile `stack`, and the same as variables for a shell.

use std::collections::BTreeMap;

use crate::Error;
use crate::home::{Home, write_private};
use crate::settings::Settings;
use crate::versions::JavaProgram;

/// The profile's name.
pub const PROFILE: &str = "stack";

/// What Trino calls the catalog that the profile is about.
const TRINO_CATALOG: &str = "lake";

/// Writes both files, the secret that the profile names, and Spark's `spark.conf`.
///
/// The profile names Trino only when it runs (`with_trino`): else every look at the profile would end there.
pub fn write(
    home: &Home,
    settings: &Settings,
    ports: &BTreeMap<String, u16>,
    spark: &JavaProgram,
    with_trino: bool,
) -> Result<(), Error> {
    let trino = with_trino.then(|| trino_uri(ports));
    let mut conf = settings.spark();
    conf.insert("spark.jars.packages".to_owned(), spark.packages().join(","));
    let conf: String = conf.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
    write_private(&home.config_folder().join("spark.conf"), conf.as_bytes())?;
    write_private(&home.secret_file(), format!("{}\n", settings.s3_secret_access_key).as_bytes())?;
    write_private(&home.profile_file(), profile(home, settings, trino.as_deref()).as_bytes())?;
    write_private(&home.env_file(), variables(home, settings, ports, trino.as_deref()).as_bytes())
}

/// The sections of a `lakehost.toml`; the key itself stands in a file beside it.
fn profile(home: &Home, settings: &Settings, trino: Option<&str>) -> String {
    let secret = quoted(&home.secret_file().display().to_string());
    let Settings { s3_endpoint, region, s3_access_key_id, rest, .. } = settings;
    let warehouse = settings.warehouse();
    let trino = trino.map_or_else(String::new, |uri| {
        format!("\n[profile.{PROFILE}.trino]\nuri = \"{uri}\"\ncatalog = \"{TRINO_CATALOG}\"\n")
    });
    format!(
        "[profile.{PROFILE}]\nwarehouse = \"{warehouse}\"\n\n[profile.{PROFILE}.catalog]\nuri = \"{rest}\"\n\n\
         [profile.{PROFILE}.s3]\nendpoint = \"{s3_endpoint}\"\nregion = \"{region}\"\n\
         access_key_id = \"{s3_access_key_id}\"\nsecret_access_key = {{ file = {secret} }}\n{trino}"
    )
}

/// `export` lines. The first ones are the profile, laid over whatever `lakehost.toml` there is; the others are for other programs.
fn variables(home: &Home, settings: &Settings, ports: &BTreeMap<String, u16>, trino: Option<&str>) -> String {
    let section = format!("LAKEHOST__PROFILE__{}", PROFILE.to_uppercase());
    let secret_file = format!("{{ file = {} }}", quoted(&home.secret_file().display().to_string()));
    let mut lines = vec![
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
        ("LAKEHOST_STACK_TRINO".to_owned(), trino_uri(ports)),
        (
            "LAKEHOST_STACK_POSTGRES".to_owned(),
            format!(
                "postgresql://{}:{}@{}/iceberg",
                settings.postgres_user, settings.postgres_password, settings.postgres
            ),
        ),
    ];
    if let Some(uri) = trino {
        lines.push((format!("{section}__TRINO__URI"), uri.to_owned()));
        lines.push((format!("{section}__TRINO__CATALOG"), TRINO_CATALOG.to_owned()));
    }
    lines.into_iter().map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''"))).collect()
}

fn trino_uri(ports: &BTreeMap<String, u16>) -> String {
    format!("http://127.0.0.1:{}", ports.get("trino").copied().unwrap_or_default())
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
