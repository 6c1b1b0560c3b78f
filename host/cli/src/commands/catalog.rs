//! `lakehost catalog serve`: the tables of a warehouse for PyIceberg, DuckDB, Spark and Trino, until somebody says stop.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lakehost_endpoint::{Access, Endpoint, Options, new_token, serve as start};
use lakehost_pipeline::{Fault, Secret};
use serde_json::json;

use crate::args::{CatalogServeArguments, ReportFormat};
use crate::config::resolve::{Where, place};
use crate::config::secret::SecretRef;
use crate::error::Error;
use crate::warehouse::{self, Warehouse};
use crate::{exit_code, screen, signals};

/// Holds the token where no file is named.
const TOKEN_VARIABLE: &str = "LAKEHOST_CATALOG_TOKEN";
/// Shorter ones are guessed.
const LEAST_TOKEN: usize = 16;

/// Serves the catalog.
pub fn serve(arguments: &CatalogServeArguments) -> Result<u8, Fault> {
    let place = place(&arguments.place, None)?;
    if !warehouse::exists(&place) {
        // Engines may make the first tables.
        warehouse::expect_none_yet(&place, arguments.place.warehouse.is_some())?;
    }
    let access = access(&place, arguments.delegate_keys)?;
    let token = token(arguments.token_file.as_deref())?;
    // From here on Ctrl-C is a wish, and not an end.
    let stop = signals::stop_flag();
    let warehouse = Warehouse::open(&place)?;
    let mut names = vec!["lakehost".to_owned()];
    names.extend(Some(place.profile.clone()).filter(|name| !names.contains(name)));
    let options = Options {
        listen: SocketAddr::new(arguments.listen, arguments.port),
        token: token.secret.clone(),
        names,
        access,
    };
    let endpoint = start(&warehouse.lake, options)?;
    if !endpoint.address().ip().is_loopback() {
        screen::say(
            "warning: other machines can ask this catalog, and token and answers cross the network without encryption; \
             put a proxy with TLS before it\n",
        );
    }
    let told = match arguments.format {
        ReportFormat::Json => format!("{}\n", as_json(&endpoint, &place, &token)),
        ReportFormat::Text => as_text(&endpoint, &place, &token, arguments.delegate_keys),
    };
    super::print(&told)?;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
    }
    screen::say("stopping: no new requests, those under way end first\n");
    endpoint.stop();
    Ok(exit_code::SUCCESS)
}

/// What engines are told of the files.
fn access(place: &Where, delegate: bool) -> Result<Access, Fault> {
    match (place.is_remote(), delegate) {
        (true, _) => Ok(Access::bucket(&place.s3_options()?, delegate)?),
        (false, false) => Ok(Access::default()),
        (false, true) => Err(Error::Usage {
            message: "--delegate-keys has no keys to hand over: the warehouse is a folder".to_owned(),
            hint: Some("leave the flag out; engines of this machine read the folder themselves".to_owned()),
        }
        .into()),
    }
}

/// The token, and where people find it.
struct Token {
    /// None: a new one.
    secret: Option<Secret>,
    /// `the file /run/token`; none: it is printed.
    kept: Option<String>,
}

fn token(file: Option<&Path>) -> Result<Token, Error> {
    let (secret, kept) = match file {
        Some(path) => {
            let kept = format!("the file {}", path.display());
            make_token_file(path)?;
            (resolved(&SecretRef::File(path.to_owned()), &kept)?, kept)
        }
        None if std::env::var_os(TOKEN_VARIABLE).is_some_and(|value| !value.is_empty()) => {
            let kept = format!("the variable {TOKEN_VARIABLE}");
            (resolved(&SecretRef::Env(TOKEN_VARIABLE.to_owned()), &kept)?, kept)
        }
        None => return Ok(Token { secret: None, kept: None }),
    };
    Ok(Token { secret: Some(secret), kept: Some(kept) })
}

/// Looks a token up that somebody chose.
fn resolved(reference: &SecretRef, kept: &str) -> Result<Secret, Error> {
    let wrong = |reason: String| Error::Usage {
        message: format!("{kept} holds no token: {reason}"),
        hint: Some(format!("a token is at least {LEAST_TOKEN} letters, digits, `-`, `_`, `.` or `~`, without spaces")),
    };
    let secret = reference.resolve(Path::new(".")).map_err(&wrong)?;
    let text = secret.expose();
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
    if text.len() < LEAST_TOKEN {
        return Err(wrong(format!("it has {} characters", text.len())));
    }
    if !text.bytes().all(sound) {
        return Err(wrong("it has characters that a header cannot bear".to_owned()));
    }
    Ok(secret)
}

/// Writes a new token for its owner alone, where there is no file yet.
fn make_token_file(path: &Path) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::file(path, "written", error)),
        Ok(mut file) => {
            let line = format!("{}\n", new_token().expose());
            file.write_all(line.as_bytes()).map_err(|error| Error::file(path, "written", error))
        }
    }
}

fn as_json(endpoint: &Endpoint, place: &Where, token: &Token) -> serde_json::Value {
    json!({
        "uri": endpoint.uri(),
        "address": endpoint.address().to_string(),
        "warehouse": place.warehouse.display().to_string(),
        "token": token.kept.is_none().then(|| endpoint.token().expose()),
        "token_in": token.kept,
    })
}

/// What to paste where.
fn as_text(endpoint: &Endpoint, place: &Where, token: &Token, delegates: bool) -> String {
    let uri = endpoint.uri();
    let (shown, note) = match &token.kept {
        None => (endpoint.token().expose(), String::new()),
        Some(kept) => ("TOKEN", format!("TOKEN stands for what is in {kept}.\n")),
    };
    // How keys of a bucket come to each engine.
    let (keys, duckdb, spark, trino) = match (place.is_remote(), delegates) {
        (false, _) => ("", "'none'", "", "fs.native-local.enabled=true\n  local.location=/"),
        (true, false) => (
            "Engines bring keys of the bucket; --delegate-keys hands them the profile's.\n",
            "'none'",
            "",
            "fs.native-s3.enabled=true\n  # and s3.endpoint, s3.region, s3.path-style-access, s3.aws-access-key, s3.aws-secret-key",
        ),
        (true, true) => (
            "",
            "'vended_credentials'",
            "\n  --conf spark.sql.catalog.lake.header.X-Iceberg-Access-Delegation=vended-credentials",
            "iceberg.rest-catalog.vended-credentials-enabled=true\n  fs.native-s3.enabled=true\n  # and s3.endpoint, s3.region, s3.path-style-access",
        ),
    };
    format!(
        "serving {warehouse} at {uri} until Ctrl-C\n{note}{keys}
PyIceberg
  load_catalog(\"lakehost\", type=\"rest\", uri=\"{uri}\", token=\"{shown}\")

DuckDB
  INSTALL iceberg; LOAD iceberg;
  CREATE SECRET lakehost (TYPE iceberg, TOKEN '{shown}');
  ATTACH 'lakehost' AS lake (TYPE iceberg, ENDPOINT '{uri}', SECRET lakehost, ACCESS_DELEGATION_MODE {duckdb});

Spark
  --conf spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog
  --conf spark.sql.catalog.lake.type=rest
  --conf spark.sql.catalog.lake.uri={uri}
  --conf spark.sql.catalog.lake.token={shown}
  --conf spark.sql.catalog.lake.rest.auth.type=oauth2{spark}

Trino (etc/catalog/lake.properties)
  connector.name=iceberg
  iceberg.catalog.type=rest
  iceberg.rest-catalog.uri={uri}
  iceberg.rest-catalog.security=OAUTH2
  iceberg.rest-catalog.oauth2.token={shown}
  {trino}
",
        warehouse = place.warehouse.display(),
    )
}
