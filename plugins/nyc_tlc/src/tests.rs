//! The plugin against a recorded world. What the host does with real files is tested where the host is.

use std::sync::Arc;

use lakehost_sdk::arrow_array::{ArrayRef, Float64Array, RecordBatch, new_null_array};
use lakehost_sdk::arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakehost_sdk::testing::{Answer, Host, asks, read_all, source};
use lakehost_sdk::{Ask, Category, Config, PlanRequest, Source, Window};

use super::*;

const MIRROR: &str = r#"{"base_url": "http://127.0.0.1:8000/trips"}"#;
const FILE: &str = "http://127.0.0.1:8000/trips/yellow_tripdata_2024-01.parquet";

fn request(dataset: &str) -> PlanRequest {
    PlanRequest { dataset: dataset.into(), window: Window::month(2024, 1), state: None }
}

/// A yellow file with some columns renamed, left out, retyped as `null` or added.
fn yellow_file(change: impl Fn(&Field) -> Option<Field>, added: Option<Field>) -> SchemaRef {
    let table = TripKind::Yellow.table_schema(Names::Upstream);
    let fields = table.fields().iter().filter_map(|field| change(field)).chain(added);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn rows_of(schema: &SchemaRef, rows: usize) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        if field.data_type() == &DataType::Float64 {
            Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64)))
        } else {
            new_null_array(field.data_type(), rows)
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).expect("columns fit the schema")
}

#[test]
fn asks_for_its_folder_and_nothing_else() {
    for (config, prefix) in [
        ("{}", TLC_BASE_URL),
        (MIRROR, "http://127.0.0.1:8000/trips/"),
        (r#"{"base_url": "s3://mirror/tlc//"}"#, "s3://mirror/tlc/"),
        (r#"{"base_url": "file:///data/tlc"}"#, "file:///data/tlc/"),
    ] {
        assert_eq!(asks::<TlcMonths>(config).expect("sound"), [Ask::UrlPrefix(prefix.into())], "{config}");
    }
}

#[test]
fn a_wrong_configuration_names_its_key() {
    for (config, message) in [
        (r#"{"dataset": "red"}"#, "key `dataset` is `red`, expected one of yellow, green, fhv, fhvhv"),
        (r#"{"baseurl": "https://a/"}"#, "unknown key `baseurl`; did you mean `base_url`?"),
        (r#"{"base_url": "/data"}"#, "key `base_url` is no URL: `/data`"),
        (r#"{"base_url": "ftp://a/"}"#, "key `base_url` must begin with https, http, s3 or file: `ftp://a/`"),
        (
            r#"{"base_url": "https://a/?token=1"}"#,
            "key `base_url` must name a folder, without query or fragment: `https://a/?token=1`",
        ),
    ] {
        let error = source::<TlcMonths>(config).expect_err(config);
        assert_eq!((error.category, error.message.as_str()), (Category::Config, message));
    }
}

#[test]
fn the_address_is_not_identity_and_the_rest_is() {
    let schema = TripConfig::schema().to_json();
    assert_eq!(schema["properties"]["base_url"]["x-identity"], serde_json::json!(false));
    assert_eq!(schema["properties"]["names"].get("x-identity"), None);
}

#[test]
fn one_data_set_with_its_table() {
    let source: TlcMonths = source(r#"{"dataset": "fhvhv"}"#).expect("sound");
    let datasets = source.discover().expect("known");
    assert_eq!(datasets.len(), 1);
    assert_eq!((datasets[0].name.as_str(), datasets[0].default_table.as_str()), ("fhvhv", "raw.fhvhv_trips"));
    assert_eq!(datasets[0].time_zone.as_deref(), Some("America/New_York"));
}

#[test]
fn a_month_is_one_split_known_by_its_strong_entity_tag() {
    let source: TlcMonths = source(MIRROR).expect("sound");
    for (etag, identity) in [(Some("\"abc-6\""), Some("\"abc-6\":12")), (Some("W/\"abc\""), None), (None, None)] {
        let answer = Answer::bytes("twelve bytes");
        let host = Host::new().with(FILE, etag.iter().fold(answer, |answer, etag| answer.etag(*etag)));
        let splits = host.run(|| source.plan(&request("yellow"))).expect("published");
        assert_eq!(splits.len(), 1);
        assert_eq!((splits[0].id.as_str(), splits[0].bytes), ("yellow-2024-01", Some(12)));
        assert_eq!(splits[0].identity.as_deref(), identity);
        assert_eq!(host.requests(), [format!("HEAD {FILE}")], "no body is fetched to plan");
    }
}

#[test]
fn a_month_that_is_not_there_is_not_published_yet() {
    let source: TlcMonths = source(MIRROR).expect("sound");
    for (status, category) in [
        (403, Category::NotYetAvailable),
        (404, Category::NotYetAvailable),
        (401, Category::Unauthenticated),
        (429, Category::RateLimited),
        (503, Category::Unavailable),
    ] {
        let host = Host::new().with(FILE, Answer::status(status));
        let error = host.run(|| source.plan(&request("yellow"))).expect_err("refused");
        assert_eq!(error.category, category, "{status}");
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.detail("file"), Some("yellow_tripdata_2024-01.parquet"));
    }
    let host = Host::new().with(FILE, Answer::status(403));
    let error = host.run(|| source.plan(&request("yellow"))).expect_err("not published");
    assert_eq!(error.message, "yellow_tripdata_2024-01.parquet is not published yet");
    assert_eq!(error.detail("url"), Some(FILE));
    assert_eq!(without_user("https://u:p@h.example/a@b"), "https://h.example/a@b");
}

#[test]
fn a_refusal_of_the_host_is_passed_on() {
    let refused =
        PluginError::new(Category::NotGranted, lakehost_sdk::Scope::Run, lakehost_sdk::Retry::Never, "no grant")
            .with("status", "403");
    assert_eq!(TlcMonths::explain("https://h.example/a.parquet", "a.parquet", refused).category, Category::NotGranted);
}

#[test]
fn plans_only_what_it_has() {
    let source: TlcMonths = source(MIRROR).expect("sound");
    assert_eq!(source.plan(&request("green")).expect_err("yellow only").category, Category::NotFound);
    let whole = PlanRequest { window: None, ..request("yellow") };
    assert_eq!(source.plan(&whole).expect_err("no window").category, Category::Config);
}

#[test]
fn every_drift_of_the_files_becomes_the_same_table() {
    let keep = |field: &Field| Some(field.clone());
    let rename = |field: &Field| {
        let name = if field.name() == "Airport_fee" { "airport_fee" } else { field.name() };
        Some(field.clone().with_name(name))
    };
    let before_2025 = |field: &Field| (field.name() != "cbd_congestion_fee").then(|| field.clone());
    let all_null = |field: &Field| {
        let empty = ["Airport_fee", "congestion_surcharge"].contains(&field.name().as_str());
        Some(if empty { field.clone().with_data_type(DataType::Null) } else { field.clone() })
    };
    let table = TripKind::Yellow.table_schema(Names::Upstream);
    let source: TlcMonths = source(MIRROR).expect("sound");
    for (what, file) in [
        ("2025", yellow_file(keep, None)),
        ("airport_fee", yellow_file(rename, None)),
        ("2024", yellow_file(before_2025, None)),
        ("null columns", yellow_file(all_null, None)),
    ] {
        let host = Host::new().with(FILE, Answer::parquet(Arc::clone(&file), [rows_of(&file, 3)]));
        let batches = host
            .run(|| {
                let splits = source.plan(&request("yellow"))?;
                read_all(source.read(&splits[0])?)
            })
            .expect(what);
        assert_eq!(batches[0].schema(), table, "{what}");
        assert_eq!(batches[0].num_rows(), 3, "{what}");
    }
}

#[test]
fn a_column_that_nobody_knows_is_passed_on_and_a_missing_one_refused() {
    let source: TlcMonths = source(MIRROR).expect("sound");
    let reads = |file: SchemaRef| {
        let host = Host::new().with(FILE, Answer::parquet(Arc::clone(&file), [rows_of(&file, 1)]));
        let splits = host.run(|| source.plan(&request("yellow"))).expect("published");
        host.run(|| read_all(source.read(&splits[0])?))
    };
    let added = Some(Field::new("drone_fee", DataType::Float64, true));
    let batches = reads(yellow_file(|field| Some(field.clone()), added)).expect("the contract decides");
    assert!(batches[0].schema().field_with_name("drone_fee").is_ok(), "{:?}", batches[0].schema());
    let error = reads(yellow_file(|field| (field.name() != "fare_amount").then(|| field.clone()), None)).unwrap_err();
    assert_eq!((error.category, error.detail("column")), (Category::SchemaMismatch, Some("fare_amount")));
}

#[test]
fn names_can_be_alike_for_all_trips() {
    let config = r#"{"base_url": "http://127.0.0.1:8000/trips", "names": "snake_case"}"#;
    let source: TlcMonths = source(config).expect("sound");
    let file = TripKind::Yellow.table_schema(Names::Upstream);
    let host = Host::new().with(FILE, Answer::parquet(Arc::clone(&file), [rows_of(&file, 1)]));
    let batches = host
        .run(|| {
            let splits = source.plan(&request("yellow"))?;
            read_all(source.read(&splits[0])?)
        })
        .expect("renamed");
    assert_eq!(batches[0].schema().field(1).name(), "pickup_datetime");
    assert_eq!(batches[0].schema(), source.discover().expect("known")[0].schema);
}
