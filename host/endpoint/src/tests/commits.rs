//! Commits: what is required, what is changed, and who was faster.

use serde_json::{Value, json};

use super::support::{World, appending, schema, setting, table};

const PATH: &str = "namespaces/raw/tables/t";

fn snapshots(table: &Value) -> Vec<i64> {
    let found = table["metadata"]["snapshots"].as_array().cloned().unwrap_or_default();
    found.iter().map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap()).collect()
}

#[test]
fn a_requirement_that_does_not_hold_is_named_and_nothing_changes() {
    let world = World::new();
    let made = world.with_table("t");
    let first = appending(&made, 7);
    let landed = world.post(PATH, &first).ok();
    assert_eq!(snapshots(&landed), [7]);
    assert_ne!(landed["metadata-location"], made["metadata-location"]);
    // The same from the old state: somebody was faster.
    let message = world.post(PATH, &appending(&made, 8)).refused(409, "CommitFailedException").to_owned();
    assert!(message.contains("assert-ref-snapshot-id") && message.contains("raw.t"), "{message}");
    let uuid = json!([{ "type": "assert-table-uuid", "uuid": "11111111-1111-4111-8111-111111111111" }]);
    let message = world.post(PATH, &setting(uuid, "x")).refused(409, "CommitFailedException").to_owned();
    assert!(message.contains("assert-table-uuid"), "{message}");
    let create = json!([{ "type": "assert-create" }]);
    world.post(PATH, &setting(create, "x")).refused(409, "CommitFailedException");
    world.post("namespaces/raw/tables/none", &setting(json!([]), "x")).refused(404, "NoSuchTableException");
    assert_eq!(world.get(PATH).ok()["metadata"], landed["metadata"]);
    // A change that is none writes nothing.
    let nothing = world.post(PATH, &json!({ "requirements": [], "updates": [] })).ok();
    assert_eq!(nothing["metadata-location"], landed["metadata-location"]);
}

#[test]
fn changes_that_nobody_knows_or_that_leave_no_sound_table_are_refused_whole() {
    let world = World::new();
    let made = world.with_table("t");
    let sound = json!({ "action": "set-properties", "updates": { "half": "done" } });
    for (update, kind) in [
        (json!({ "action": "make-coffee" }), "BadRequestException"),
        (json!({ "action": "set-properties" }), "BadRequestException"),
        (json!({}), "BadRequestException"),
        (json!({ "action": "assign-uuid", "uuid": "11111111-1111-4111-8111-111111111111" }), "BadRequestException"),
        (json!({ "action": "set-current-schema", "schema-id": 99 }), "ValidationException"),
        (json!({ "action": "upgrade-format-version", "format-version": 1 }), "ValidationException"),
        (
            json!({ "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 5 }),
            "ValidationException",
        ),
        (json!({ "action": "set-properties", "updates": { "uuid": "x" } }), "ValidationException"),
    ] {
        let body = json!({ "requirements": [], "updates": [sound, update] });
        world.post(PATH, &body).refused(400, kind);
    }
    let body = json!({ "requirements": [{ "type": "assert-weather" }], "updates": [sound] });
    world.post(PATH, &body).refused(400, "BadRequestException");
    let other = json!({ "identifier": { "namespace": ["raw"], "name": "u" }, "requirements": [], "updates": [] });
    world.post(PATH, &other).refused(400, "BadRequestException");
    assert_eq!(world.get(PATH).ok(), made);
}

#[test]
fn a_staged_table_is_there_once_it_is_committed() {
    let world = World::new();
    world.with_table("other");
    let mut request = table("t");
    request["stage-create"] = json!(true);
    let staged = world.post("namespaces/raw/tables", &request).ok();
    assert!(staged.get("metadata-location").is_none(), "{staged}");
    assert_eq!(world.head(PATH), 404);
    let metadata = &staged["metadata"];
    let commit = |schema: &Value| {
        json!({
            "requirements": [{ "type": "assert-create" }],
            "updates": [
                { "action": "assign-uuid", "uuid": metadata["table-uuid"] },
                { "action": "upgrade-format-version", "format-version": 2 },
                { "action": "add-schema", "schema": schema, "last-column-id": 3 },
                { "action": "set-current-schema", "schema-id": -1 },
                { "action": "add-spec", "spec": metadata["partition-specs"][0] },
                { "action": "set-default-spec", "spec-id": -1 },
                { "action": "add-sort-order", "sort-order": metadata["sort-orders"][0] },
                { "action": "set-default-sort-order", "sort-order-id": -1 },
                { "action": "set-location", "location": metadata["location"] },
                { "action": "set-properties", "updates": { "owner": "me" } },
                { "action": "add-snapshot", "snapshot": {
                    "snapshot-id": 7, "sequence-number": 1, "timestamp-ms": metadata["last-updated-ms"],
                    "manifest-list": format!("{}/metadata/snap.avro", metadata["location"].as_str().unwrap()),
                    "summary": { "operation": "append" }, "schema-id": 0,
                } },
                { "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 7 },
            ],
        })
    };
    // Files under other ids than the table would have.
    let mut strange = schema();
    strange["fields"][1]["id"] = json!(9);
    let message = world.post(PATH, &commit(&strange)).refused(400, "BadRequestException").to_owned();
    assert!(message.contains("field ids"), "{message}");
    let none = json!({ "requirements": [{ "type": "assert-create" }], "updates": [] });
    world.post(PATH, &none).refused(400, "BadRequestException");
    assert_eq!(world.head(PATH), 404);

    let made = world.post(PATH, &commit(&metadata["schemas"][0])).ok();
    assert_eq!((snapshots(&made), &made["metadata"]["table-uuid"]), (vec![7], &metadata["table-uuid"]));
    assert_eq!(made["metadata"]["location"], metadata["location"]);
    assert_eq!(made["metadata"]["schemas"].as_array().unwrap().len(), 1);
    world.post(PATH, &commit(&metadata["schemas"][0])).refused(409, "CommitFailedException");
    let elsewhere = "namespaces/none/tables/t";
    world.post(elsewhere, &commit(&metadata["schemas"][0])).refused(404, "NoSuchNamespaceException");
}

#[test]
fn several_tables_move_at_once_or_not_at_all() {
    let world = World::new();
    let (one, two) = (world.with_table("one"), world.with_table("two"));
    let named = |name: &str, mut change: Value| {
        change["identifier"] = json!({ "namespace": ["raw"], "name": name });
        change
    };
    let commit = |changes: Value| world.post("transactions/commit", &json!({ "table-changes": changes }));
    let state = |name: &str| world.get(&format!("namespaces/raw/tables/{name}")).ok();
    let wrong = json!([{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 99 }]);
    let halves = json!([named("one", appending(&one, 7)), named("two", setting(wrong, "x"))]);
    let message = commit(halves).refused(409, "CommitFailedException").to_owned();
    assert!(message.contains("raw.two"), "{message}");
    commit(json!([named("one", appending(&one, 7)), named("none", appending(&two, 8))]))
        .refused(404, "NoSuchTableException");
    commit(json!([appending(&one, 7)])).refused(400, "BadRequestException");
    let twice = json!([named("one", appending(&one, 7)), named("one", appending(&one, 8))]);
    commit(twice).refused(400, "BadRequestException");
    assert_eq!((state("one"), state("two")), (one.clone(), two.clone()));
    let metadata_files = |name: &str| {
        let folder = format!("{}/raw/{name}/metadata", world.lake.root());
        std::fs::read_dir(folder).unwrap().count()
    };
    assert_eq!((metadata_files("one"), metadata_files("two")), (1, 1), "refused commits leave nothing behind");

    assert_eq!(commit(json!([named("two", appending(&two, 8)), named("one", appending(&one, 7))])).status, 204);
    assert_eq!((snapshots(&state("one")), snapshots(&state("two"))), (vec![7], vec![8]));
    assert_eq!(commit(json!([])).status, 204);
}

#[test]
fn commits_that_do_not_meet_all_land_whoever_is_faster() {
    let world = World::new();
    world.with_table("t");
    // Another process on the same catalog.
    let other = World::open(&world.folder, &world.runtime);
    let second = crate::serve(&other, crate::Options::default()).unwrap();
    let count = 20;
    world.runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..count {
            let endpoint = if number % 2 == 0 { &world.endpoint } else { &second };
            let request = world
                .client
                .post(format!("{}/v1/{PATH}", endpoint.uri()))
                .bearer_auth(endpoint.token().expose())
                .json(&setting(json!([]), &format!("p{number}")));
            tasks.spawn(async move { request.send().await.unwrap().status().as_u16() });
        }
        while let Some(status) = tasks.join_next().await {
            assert_eq!(status.unwrap(), 200);
        }
    });
    let properties = world.get(PATH).ok()["metadata"]["properties"].clone();
    for number in 0..count {
        assert_eq!(properties[format!("p{number}")], "1", "{properties}");
    }
    second.stop();
}
