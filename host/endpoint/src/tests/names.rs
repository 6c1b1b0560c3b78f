//! Namespaces.

use serde_json::json;

use super::support::{World, table};

#[test]
fn namespaces_are_made_described_changed_and_dropped() {
    let world = World::new();
    let made = world.post("namespaces", &json!({ "namespace": ["gold"], "properties": { "owner": "me" } })).ok();
    let place = format!("file://{}/gold", world.lake.root());
    let described = |more: (&str, &str)| json!({ more.0: more.1, "location": place });
    assert_eq!(made, json!({ "namespace": ["gold"], "properties": described(("owner", "me")) }));
    world.post("namespaces", &json!({ "namespace": ["gold"] })).refused(409, "AlreadyExistsException");
    assert_eq!((world.head("namespaces/gold"), world.head("namespaces/none")), (204, 404));
    world.get("namespaces/none").refused(404, "NoSuchNamespaceException");
    let change = json!({ "removals": ["owner", "missing"], "updates": { "purpose": "reports" } });
    let changed = world.post("namespaces/gold/properties", &change).ok();
    assert_eq!(changed, json!({ "updated": ["purpose"], "removed": ["owner"], "missing": ["missing"] }));
    assert_eq!(world.get("namespaces/gold").ok()["properties"], described(("purpose", "reports")));
    let both = json!({ "removals": ["a"], "updates": { "a": "1" } });
    world.post("namespaces/gold/properties", &both).refused(422, "UnprocessableEntityException");
    world.post("namespaces/none/properties", &change).refused(404, "NoSuchNamespaceException");
    let elsewhere = json!({ "updates": { "location": "/elsewhere" } });
    world.post("namespaces/gold/properties", &elsewhere).refused(400, "BadRequestException");
    let own = format!("{}/own/place/", world.lake.root());
    world.post("namespaces/gold/properties", &json!({ "updates": { "location": own } })).ok();
    let placed = world.post("namespaces/gold/tables", &table("t")).ok();
    assert_eq!(placed["metadata"]["location"], format!("{own}t"));
    world.delete("namespaces/gold/tables/t").ok();
    assert_eq!(world.delete("namespaces/gold").status, 204);
    world.delete("namespaces/gold").refused(404, "NoSuchNamespaceException");

    world.with_table("t");
    world.delete("namespaces/raw").refused(409, "NamespaceNotEmptyException");
    world.delete("namespaces/raw/tables/t").ok();
    assert_eq!(world.delete("namespaces/raw").status, 204);
    // A property that goes takes no namespace with it.
    world.post("namespaces", &json!({ "namespace": ["bare"] })).ok();
    world.post("namespaces/bare/properties", &json!({ "removals": ["exists"] })).ok();
    assert_eq!(world.head("namespaces/bare"), 204);
    for wrong in [json!([]), json!([""]), json!(["a.b"]), json!([".."]), json!(["a/b"]), json!(["a b"])] {
        world.post("namespaces", &json!({ "namespace": wrong })).refused(400, "BadRequestException");
    }
}

#[test]
fn namespaces_have_levels() {
    let world = World::new();
    for levels in [json!(["a", "b", "c"]), json!(["d"]), json!(["ab"])] {
        world.post("namespaces", &json!({ "namespace": levels })).ok();
    }
    let listed = |query: &str| world.get(&format!("namespaces{query}")).ok()["namespaces"].clone();
    assert_eq!(listed(""), json!([["a"], ["ab"], ["d"]]));
    assert_eq!(listed("?parent=a"), json!([["a", "b"]]));
    assert_eq!(listed("?parent=a%1Fb"), json!([["a", "b", "c"]]));
    assert_eq!(listed("?parent=d"), json!([]));
    world.get("namespaces?parent=none").refused(404, "NoSuchNamespaceException");
    // One that is there by what it holds.
    assert_eq!((world.head("namespaces/a"), world.head("namespaces/a%1Fb")), (204, 204));
    world.delete("namespaces/a").refused(409, "NamespaceNotEmptyException");
    world.delete("namespaces/a%1Fb").refused(409, "NamespaceNotEmptyException");

    world.post("namespaces/a%1Fb/tables", &table("deep")).ok();
    let tables = world.get("namespaces/a%1Fb/tables").ok();
    assert_eq!(tables["identifiers"], json!([{ "namespace": ["a", "b"], "name": "deep" }]));
    let loaded = world.get("namespaces/a%1Fb/tables/deep").ok();
    assert!(loaded["metadata"]["location"].as_str().unwrap().ends_with("/a.b/deep"), "{loaded}");
    assert_eq!(world.get("namespaces/a/tables").ok()["identifiers"], json!([]));
}

#[test]
fn listings_come_in_pages_when_pages_are_asked_for() {
    let world = World::new();
    for name in ["t1", "t2", "t3"] {
        world.with_table(name);
        world.post("namespaces", &json!({ "namespace": [format!("n{name}")] })).ok();
    }
    let all = world.get("namespaces/raw/tables").ok();
    assert_eq!((all["identifiers"].as_array().unwrap().len(), &all["next-page-token"]), (3, &json!(null)));
    for (path, key) in [("namespaces/raw/tables", "identifiers"), ("namespaces", "namespaces")] {
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = world.get(&format!("{path}?pageSize=2&pageToken={token}")).ok();
            seen.extend(page[key].as_array().unwrap().clone());
            let Some(next) = page["next-page-token"].as_str() else { break };
            token = next.to_owned();
        }
        assert_eq!(json!(seen), world.get(path).ok()[key]);
        assert!(seen.len() >= 3);
    }
    world.get("namespaces/none/tables").refused(404, "NoSuchNamespaceException");
}
