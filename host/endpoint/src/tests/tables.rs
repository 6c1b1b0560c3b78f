//! Tables, from birth to end.

use std::path::Path;

use lakehost_pipeline::ports::TableName;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{World, appending, schema, table};

fn local(location: &str) -> &Path {
    Path::new(location.strip_prefix("file://").unwrap_or(location))
}

#[test]
fn a_table_is_made_loaded_and_dropped() {
    let world = World::new();
    world.post("namespaces/raw/tables", &table("t")).refused(404, "NoSuchNamespaceException");
    let made = world.with_table("t");
    let location = format!("file://{}/raw/t", world.lake.root());
    assert_eq!(made["metadata"]["location"], location);
    assert_eq!((&made["metadata"]["format-version"], &made["config"]), (&json!(2), &json!({})));
    assert_eq!(made["metadata"]["properties"], json!({ "owner": "me" }));
    let file = made["metadata-location"].as_str().unwrap();
    assert!(file.starts_with(&location) && local(file).is_file(), "{file}");
    world.post("namespaces/raw/tables", &table("t")).refused(409, "AlreadyExistsException");
    assert_eq!(world.get("namespaces/raw/tables/t").ok(), made);
    assert_eq!((world.head("namespaces/raw/tables/t"), world.head("namespaces/raw/tables/u")), (204, 404));
    world.get("namespaces/raw/tables/u").refused(404, "NoSuchTableException");
    // Lakehost's own tools see it.
    let name = TableName::parse("raw.t").unwrap();
    assert_eq!(world.lake.describe(&name).unwrap().metadata_location, file);

    assert_eq!(world.delete("namespaces/raw/tables/t").status, 204);
    world.delete("namespaces/raw/tables/t").refused(404, "NoSuchTableException");
    assert!(local(file).is_file(), "no purge was asked for");
    // A new table does not lie on the files of the old one.
    let again = world.with_table("t");
    let other = again["metadata"]["location"].as_str().unwrap();
    assert!(other.starts_with(&format!("{location}-")), "{other}");
    assert_eq!(world.delete("namespaces/raw/tables/t?purgeRequested=true").status, 204);
    assert!(!local(other).exists() && local(file).is_file());
}

#[test]
fn what_did_not_change_is_not_sent_again() {
    let world = World::new();
    let made = world.with_table("t");
    let path = "namespaces/raw/tables/t";
    let tag = world.get(path).tag.unwrap();
    let again = |tag: &str| world.send(Method::GET, path, &[("if-none-match", tag)], None);
    assert_eq!((again(&tag).status.as_u16(), again(&tag).body), (304, Value::Null));
    assert_eq!(again("\"other\"").status, 200);
    world.post(path, &appending(&made, 7)).ok();
    assert_eq!(again(&tag).status, 200);
}

#[test]
fn snapshots_that_nothing_refers_to_can_be_left_out() {
    let world = World::new();
    let first = world.with_table("t");
    let path = "namespaces/raw/tables/t";
    let second = world.post(path, &appending(&first, 7)).ok();
    world.post(path, &appending(&second, 8)).ok();
    let ids = |query: &str| {
        let loaded = world.get(&format!("{path}{query}")).ok();
        let snapshots = loaded["metadata"]["snapshots"].as_array().unwrap().clone();
        let mut ids: Vec<i64> = snapshots.iter().map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!((ids(""), ids("?snapshots=all"), ids("?snapshots=refs")), (vec![7, 8], vec![7, 8], vec![8]));
    world.get(&format!("{path}?snapshots=some")).refused(400, "BadRequestException");
    let (all, some) = (world.get(path).tag, world.get(&format!("{path}?snapshots=refs")).tag);
    assert_ne!(all, some);
}

#[test]
fn a_table_lies_in_the_warehouse_and_on_no_other() {
    let world = World::new();
    world.with_table("t");
    let root = world.lake.root();
    let create = |name: &str, location: &str| {
        let body = json!({ "name": name, "schema": schema(), "location": location });
        world.post("namespaces/raw/tables", &body)
    };
    for wrong in [
        "/elsewhere/a/b".to_owned(),
        format!("{root}/shallow"),
        format!("{root}/raw/../../up"),
        format!("{root}/_lakehost/intents"),
        format!("{root}/raw/t"),
        format!("{root}/raw/t/inner"),
        "s3://bucket/raw/x".to_owned(),
        String::new(),
    ] {
        create("x", &wrong).refused(400, "BadRequestException");
    }
    let placed = create("x", &format!("file://{root}/raw/own/")).ok();
    assert_eq!(placed["metadata"]["location"], format!("file://{root}/raw/own"));
    assert!(Path::new(&format!("{root}/raw/own/metadata")).is_dir());
    let mut moving = json!({ "requirements": [], "updates": [{ "action": "set-location", "location": "/elsewhere" }] });
    world.post("namespaces/raw/tables/x", &moving).refused(400, "BadRequestException");
    moving["updates"][0]["location"] = json!(format!("{root}/raw/moved"));
    let moved = world.post("namespaces/raw/tables/x", &moving).ok();
    assert!(moved["metadata-location"].as_str().unwrap().starts_with(&format!("{root}/raw/moved/")));
    for name in ["", "..", "a/b", "a.b", "a b"] {
        let reply = world.post("namespaces/raw/tables", &table(name));
        reply.refused(400, "BadRequestException");
    }
}

#[test]
fn tables_are_registered_and_renamed() {
    let world = World::new();
    let made = world.with_table("t");
    let file = made["metadata-location"].as_str().unwrap();
    world.delete("namespaces/raw/tables/t").ok();
    let register = |name: &str, file: &str| {
        world.post("namespaces/raw/register", &json!({ "name": name, "metadata-location": file }))
    };
    for wrong in ["/none.metadata.json", "/etc/hostname", "", "s3://bucket/none.metadata.json"] {
        let message = register("back", wrong).refused(400, "BadRequestException").to_owned();
        assert!(message.ends_with("is no metadata file of a table"), "{message}");
    }
    let outside = world.folder.path().join("outside.metadata.json");
    let text = std::fs::read_to_string(local(file)).unwrap();
    std::fs::write(&outside, text.replace(made["metadata"]["location"].as_str().unwrap(), "/elsewhere/raw/t")).unwrap();
    let message = register("back", outside.to_str().unwrap()).refused(400, "BadRequestException").to_owned();
    assert!(message.contains("is not inside"), "{message}");
    let back = register("back", file).ok();
    assert_eq!((&back["metadata-location"], &back["metadata"]), (&made["metadata-location"], &made["metadata"]));
    register("back", file).refused(409, "AlreadyExistsException");

    world.with_table("other");
    world.post("namespaces", &json!({ "namespace": ["gold"] })).ok();
    let name = |namespace: &str, name: &str| json!({ "namespace": [namespace], "name": name });
    let rename = |source: Value, destination: Value| {
        world.post("tables/rename", &json!({ "source": source, "destination": destination }))
    };
    rename(name("raw", "none"), name("raw", "x")).refused(404, "NoSuchTableException");
    rename(name("raw", "back"), name("none", "x")).refused(404, "NoSuchNamespaceException");
    rename(name("raw", "back"), name("raw", "other")).refused(409, "AlreadyExistsException");
    rename(name("raw", "back"), name("raw", "a/b")).refused(400, "BadRequestException");
    assert_eq!(rename(name("raw", "back"), name("gold", "front")).status, 204);
    assert_eq!((world.head("namespaces/raw/tables/back"), world.head("namespaces/gold/tables/front")), (404, 204));
    let front = world.get("namespaces/gold/tables/front").ok();
    assert_eq!(front["metadata"]["table-uuid"], made["metadata"]["table-uuid"]);
    world.post("namespaces/gold/tables/front", &appending(&front, 9)).ok();
}
