//! `docker-compose.yml` says the same as the stack of plain processes, and lets nobody in from outside.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::ports::USUAL;
use crate::settings::{BUCKET, POSTGRES_USER, Properties, REGION, Settings};
use crate::versions::versions;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// The file, with its anchors filled in.
fn compose() -> Value {
    let mut file: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    file.apply_merge().unwrap();
    file
}

fn services(file: &Value) -> Vec<(&str, &Value)> {
    file["services"].as_mapping().unwrap().iter().map(|(name, service)| (name.as_str().unwrap(), service)).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_sequence().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// The settings as containers see each other. Secrets are the names of their variables.
fn containers() -> Settings {
    Settings {
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        s3_endpoint: "http://minio:9000".to_owned(),
        s3_access_key_id: "<S3_ACCESS_KEY_ID>".to_owned(),
        s3_secret_access_key: "<S3_SECRET_ACCESS_KEY>".to_owned(),
        postgres: "postgres:5432".to_owned(),
        postgres_user: POSTGRES_USER.to_owned(),
        postgres_password: "<POSTGRES_PASSWORD>".to_owned(),
        rest: "http://rest:8181".to_owned(),
        nessie: "http://nessie:19120".to_owned(),
    }
}

/// A text with its variables: the default of one that has one, the name in angle brackets of one that has none.
fn filled(text: &str) -> String {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (variable, rest) = part.split_once('}').unwrap();
        let value = match variable.split_once(":-") {
            Some((_, default)) => default.to_owned(),
            None => format!("<{}>", variable.split(":?").next().unwrap()),
        };
        whole.push_str(&value);
        whole.push_str(rest);
    }
    whole
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let pairs = service["environment"].as_mapping().unwrap().iter();
    pairs.map(|(name, value)| (name.as_str().unwrap().to_owned(), filled(value.as_str().unwrap()))).collect()
}

fn parsed(text: &str) -> Properties {
    let pairs = text.lines().filter_map(|line| line.split_once(['=', ' ']));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_image_is_the_pinned_one() {
    let versions = versions().unwrap();
    let mut pinned = versions.images.clone();
    for (name, image) in [
        ("minio", &versions.minio.image),
        ("versitygw", &versions.versitygw.image),
        ("postgres", &versions.postgres.image),
        ("rest", &versions.rest.image),
        ("nessie", &versions.nessie.image),
        ("trino", &versions.trino.image),
        ("spark", &versions.spark.image),
    ] {
        pinned.insert(name.to_owned(), image.clone());
    }
    let file = compose();
    let images: BTreeMap<String, String> = services(&file)
        .into_iter()
        .map(|(name, service)| (name.to_owned(), service["image"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(images, pinned);
    for (name, image) in &images {
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        assert!(tag.contains(|c: char| c.is_ascii_digit()) && tag != "latest", "{name}: {image} is not pinned");
    }
    // Where the same version exists as an image and as a program, it is the same.
    for (image, version) in [
        (&versions.trino.image, &versions.trino.version),
        (&versions.nessie.image, &versions.nessie.version),
        (&versions.spark.image, &versions.spark.version),
    ] {
        assert!(image.ends_with(&format!(":{version}")), "{image} is not {version}");
    }
    assert!(versions.postgres.image.starts_with(&format!("postgres:{}.", versions.postgres.version)));
}

#[test]
fn ports_are_loopback_s_and_the_usual_ones() {
    let file = compose();
    let mut published = BTreeMap::new();
    for (name, service) in services(&file) {
        for port in texts(&service["ports"]) {
            let port = filled(port);
            let host = port.strip_prefix("127.0.0.1:").unwrap_or_else(|| panic!("{name}: {port} is open to all"));
            published.insert(name.to_owned(), host.split(':').next().unwrap().parse::<u16>().unwrap());
        }
        assert!(service["network_mode"].is_null(), "{name}");
    }
    for (name, _, usual) in USUAL.iter().filter(|(name, ..)| *name != "nessie_management") {
        assert_eq!(published.get(*name), Some(usual), "{name}");
    }
    let mut ports: Vec<u16> = published.values().copied().collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), published.len(), "no two publish the same port");
}

#[test]
fn what_runs_has_a_health_check_and_what_needs_it_waits() {
    let file = compose();
    for (name, service) in services(&file) {
        let ends_by_itself = ["bucket", "spark"].contains(&name);
        assert!(ends_by_itself || !texts(&service["healthcheck"]["test"]).is_empty(), "{name} has no health check");
        for (need, condition) in service["depends_on"].as_mapping().into_iter().flatten() {
            let need = need.as_str().unwrap();
            let wanted = if need == "bucket" { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(condition["condition"].as_str(), Some(wanted), "{name} needs {need}");
            assert!(!file["services"][need].is_null(), "{name} needs {need}");
        }
    }
}

#[test]
fn no_password_has_a_default() {
    let file = compose();
    let secret = |name: &str| ["SECRET", "PASSWORD", "KEY_ID"].iter().any(|word| name.contains(word));
    let mut seen = 0;
    for (name, service) in services(&file) {
        for (key, value) in service["environment"].as_mapping().into_iter().flatten() {
            let (key, value) = (key.as_str().unwrap(), value.as_str().unwrap());
            if secret(key) {
                seen += 1;
                // Required of whoever starts it. What only a profile needs may be empty, and that service refuses to start without it: the
                // whole file is filled in whatever profile is asked for.
                let required = value.contains(":?") || (!service["profiles"].is_null() && value.ends_with(":-}"));
                assert!(value.starts_with("${") && required, "{name}: {key} = {value}");
            }
        }
        for word in texts(&service["command"]) {
            assert!(!secret(word), "{name}: a command line is there for all to see: {word}");
        }
    }
    assert!(seen >= 8, "{seen}");
    for line in read(".env.example").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        assert!(value.is_empty() && secret(key), "{line}");
    }
}

#[test]
fn the_rest_catalog_has_the_same_properties() {
    let file = compose();
    // As the image spells them: `CATALOG_`, `.` is `_`, `-` is `__`.
    let spelled = |key: &str| format!("CATALOG_{}", key.to_uppercase().replace('-', "__").replace('.', "_"));
    let ours: BTreeMap<String, String> =
        containers().rest_catalog().iter().map(|(key, value)| (spelled(key), value.clone())).collect();
    let mut theirs = environment(&file["services"]["rest"]);
    theirs.retain(|name, _| name.starts_with("CATALOG_"));
    assert_eq!(theirs, ours);
}

#[test]
fn nessie_has_the_same_properties() {
    let file = compose();
    // As Quarkus spells them: whatever is no letter or digit is `_`.
    let spelled = |key: &str| {
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect::<String>()
    };
    let ours: BTreeMap<String, String> =
        containers().nessie().iter().map(|(key, value)| (spelled(key), value.clone())).collect();
    let mut theirs = environment(&file["services"]["nessie"]);
    for port in ["QUARKUS_HTTP_PORT", "QUARKUS_MANAGEMENT_PORT"] {
        assert!(theirs.remove(port).is_some(), "{port}");
    }
    assert_eq!(theirs, ours);
}

#[test]
fn trino_and_spark_have_the_same_catalogs() {
    let file = compose();
    let trino = environment(&file["services"]["trino"]);
    // Trino takes secrets from its environment.
    let mut theirs = parsed(&read("docker/trino/catalog/lake.properties"));
    for value in theirs.values_mut() {
        if let Some(name) = value.strip_prefix("${ENV:").and_then(|rest| rest.strip_suffix('}')) {
            *value = trino[name].clone();
        }
    }
    assert_eq!(Some(&theirs), containers().trino_catalogs(false).get("lake"));
    assert_eq!(parsed(&read("docker/spark/spark.conf")), containers().spark());
    let command = texts(&file["services"]["spark"]["command"]);
    let packages = command.iter().skip_while(|word| **word != "--packages").nth(1);
    assert_eq!(packages, Some(&versions().unwrap().spark.packages().join(",").as_str()));
}

#[test]
fn databases_and_bucket_are_made() {
    let file = compose();
    let postgres = environment(&file["services"]["postgres"]);
    let made = read("docker/postgres/01-nessie.sql");
    for database in crate::settings::DATABASES {
        assert!(postgres["POSTGRES_DB"] == database || made.contains(&format!("create database {database};")));
    }
    let bucket = filled(texts(&file["services"]["bucket"]["command"]).first().unwrap());
    assert!(bucket.contains(&format!("create-bucket --bucket {BUCKET}")), "{bucket}");
}
