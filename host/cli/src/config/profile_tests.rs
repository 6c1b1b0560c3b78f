use lakehost_pipeline::Diagnostic;

use super::*;
use crate::config::file;
use crate::config::profile::Profile;

const FULL: &str = r#"
[profile.cluster]
warehouse = "s3://lake/prod"
[profile.cluster.catalog]
uri = "https://catalog.example.com/iceberg/v1"
warehouse = "lake"
prefix = "p"
client_id = "lakehost"
client_secret = { file = "secret" }
token_uri = "https://login.example.com/token"
scope = "PRINCIPAL_ROLE:ALL"
vended_credentials = true
atomic_transactions = true
timeout_seconds = 7
ca = "ca.pem"
client_certificate = "/etc/me.pem"
headers = { x-tenant = "a", x-token = { file = "secret" } }
[profile.cluster.s3]
endpoint = "https://s3.example.com"
region = "eu-1"
access_key_id = "AKIA"
secret_access_key = { file = "secret" }
session_token = { file = "secret" }
ca = "ca.pem"
"#;

fn profile(text: &str) -> Profile {
    let file = file::parse(text, "lakehost.toml").map_err(|error| format!("{error} {:?}", error.inputs())).unwrap();
    file.profile.into_values().next().unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    folder
}

#[test]
fn a_cluster_is_described_in_full_and_no_secret_is_shown() {
    let (folder, profile) = (folder(), profile(FULL));
    let catalog = profile.catalog.unwrap();
    assert_eq!(catalog.shown(), "https://catalog.example.com/iceberg/v1");
    let options = catalog.options(folder.path()).unwrap();
    assert!(!format!("{options:?}").contains("hunter2"));
    let CatalogOptions::Rest(rest) = options else { panic!("a REST catalog") };
    assert_eq!((rest.warehouse.as_deref(), rest.prefix.as_deref()), (Some("lake"), Some("p")));
    assert!(rest.delegation && rest.atomic_transactions && !rest.nessie);
    assert_eq!(rest.timeout, Duration::from_secs(7));
    assert_eq!(rest.headers[1].1.expose(), "hunter2");
    assert_eq!(rest.tls.ca, Some(folder.path().join("ca.pem")));
    assert_eq!(rest.tls.certificate, Some("/etc/me.pem".into()));
    let RestAuth::Credential { credential, server, scope } = rest.auth else { panic!("a credential") };
    assert_eq!((credential.expose(), scope.as_deref()), ("lakehost:hunter2", Some("PRINCIPAL_ROLE:ALL")));
    assert_eq!(server.map(|url| url.to_string()).as_deref(), Some("https://login.example.com/token"));
    let s3 = profile.s3.unwrap().options(folder.path()).unwrap();
    assert!(!format!("{s3:?}").contains("hunter2") && s3.path_style && !s3.allow_http);
    assert_eq!(s3.session_token.map(|token| token.expose().to_owned()).as_deref(), Some("hunter2"));
}

#[test]
fn a_catalog_may_be_one_line() {
    let folder = folder();
    for (uri, wanted) in [
        ("postgresql://lake@db/iceberg", "Postgres"),
        ("https://catalog.example.com", "Rest"),
        ("sqlite:////w/catalog.db", "Sqlite"),
        ("catalogs/one.db", "Sqlite"),
    ] {
        let catalog = profile(&format!("[profile.a]\ncatalog = \"{uri}\"\n")).catalog.unwrap();
        assert!(format!("{:?}", catalog.options(folder.path()).unwrap()).starts_with(wanted), "{uri}");
        assert_eq!(catalog.file(folder.path()).is_some(), wanted == "Sqlite");
    }
    let file = |uri: &str| CatalogSection { uri: uri.to_owned(), ..CatalogSection::default() }.file(Path::new("/p"));
    assert_eq!(file("sqlite:///a/b.db"), Some("/p/a/b.db".into()));
    assert_eq!(file("sqlite:////a/b.db"), Some("/a/b.db".into()));
    assert_eq!(file("b.db"), Some("/p/b.db".into()));
}

/// A wrong catalog: what is said of it, and the way out.
fn wrong(text: &str) -> (String, String) {
    let section = profile(&format!("[profile.a.catalog]\n{text}\n")).catalog.unwrap();
    let wrong = section.options(folder().path()).expect_err(text);
    (wrong.message, wrong.hint.unwrap_or_default())
}

#[test]
fn what_cannot_work_is_said_before_anything_is_reached() {
    for (text, message, hint) in [
        ("uri = \"\"", "`catalog` is empty", "URI"),
        ("uri = \"hive://x\"", "`catalog` is of the kind hive://, which lakehost does not know", "sqlite:///PATH"),
        ("uri = \"postgresql://u:hunter2@h/d\"", "holds a password", "password = { env"),
        ("uri = \"postgresql://u@h/d?password=hunter2\"", "holds a password", "password = { env"),
        ("uri = \"https://u:hunter2@h/\"", "holds a password", "token = { env"),
        ("uri = \"x.db\"\npassword = { env = \"P\" }", "`password` is of no use to a SQLite catalog", "correct `uri`"),
        ("uri = \"postgresql://h/d\"\ntoken = { env = \"P\" }", "`token` is of no use to a Postgres catalog", ""),
        ("uri = \"https://h/d\"\nname = \"x\"", "`name` is of no use to a REST catalog", ""),
        (
            "uri = \"https://h/d\"\ntoken = { env = \"P\" }\nclient_secret = { env = \"P\" }",
            "two ways to be let in",
            "keep one",
        ),
        ("uri = \"x.db\"\nbranch = \"main\"", "`branch` is of no use to a SQLite catalog", "correct `uri`"),
        ("uri = \"https://h/d\"\nbranch = \"a b\"", "`branch` is no name of a branch", "letters"),
        ("uri = \"https://h/d\"\nclient_id = \"a\"", "go with a `client_secret`", "client_secret = { env"),
        ("uri = \"https://h/d\"\nclient_key = \"a\"", "goes with a `client_certificate`", "client_certificate"),
        ("uri = \"https://h/d\"\nheaders = { Authorization = \"Bearer hunter2\" }", "looks like a secret", "{ env = "),
        (
            "uri = \"https://h/d\"\ntoken = { env = \"LAKEHOST_NO_SUCH_SECRET\" }",
            "`token`: the environment variable LAKEHOST_NO_SUCH_SECRET is not set",
            "",
        ),
        (
            "uri = \"https://h/d\"\nclient_secret = { file = \"secret\" }\ntoken_uri = \"login\"",
            "`token_uri` is no URL",
            "https://HOST",
        ),
    ] {
        let (said, way_out) = wrong(text);
        assert!(said.contains(message) && way_out.contains(hint), "{text}: {said}; {way_out}");
        let section = profile(&format!("[profile.a.catalog]\n{text}\n")).catalog.unwrap();
        if !text.contains("headers") {
            assert!(!format!("{said}{way_out}{section:?}").contains("hunter2"), "{text}");
        }
        assert!(!format!("{said}{way_out}").contains("hunter2"), "{text}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_where_it_stands_and_not_repeated() {
    for text in [
        "[profile.a.catalog]\nuri = \"postgresql://h/d\"\npassword = \"hunter2\"\n",
        "[profile.a.s3]\naccess_key_id = \"a\"\nsecret_access_key = \"hunter2\"\n",
    ] {
        let error = file::parse(text, "lakehost.toml").expect_err(text);
        let shown = format!("{error} {:?} {:?} {:?}", error.inputs(), error.hint(), error.cause());
        assert!(shown.contains("lakehost.toml:3:") && shown.contains("{ env = "), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_bucket_is_reached_in_the_open_on_this_machine_alone() {
    let options = |text: &str| toml::from_str::<S3Section>(text).unwrap().options(folder().path());
    for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"] {
        assert!(options(&format!("endpoint = \"{endpoint}\"")).unwrap().allow_http, "{endpoint}");
    }
    let refused = options("endpoint = \"http://minio:9000\"").unwrap_err();
    assert!(refused.hint.unwrap().contains("allow_http = true"));
    assert!(options("endpoint = \"http://minio:9000\"\nallow_http = true").unwrap().allow_http);
    assert!(options("endpoint = \"minio:9000\"").is_err());
    assert!(options("access_key_id = \"a\"").unwrap_err().message.contains("go together"));
    assert!(options("session_token = { env = \"X\" }").unwrap_err().message.contains("goes with"));
    assert!(!options("endpoint = \"https://s3\"\npath_style = false").unwrap().path_style);
}
