//! The plugin against a recorded world.

use lakehost_sdk::testing::{Answer, Host, read_all, source};
use lakehost_sdk::{Category, PlanRequest};

use super::*;

const CONFIG: &str = r#"{"base_url": "http://feed/"}"#;

fn request(state: Option<Value>) -> PlanRequest {
    PlanRequest { dataset: "changes".to_owned(), window: None, state }
}

fn host() -> Host {
    Host::new()
        .with("http://feed/feed.json", Answer::bytes(r#"{"parts": ["a.jsonl", "b.jsonl", "c.jsonl"]}"#))
        .with(
            "http://feed/a.jsonl",
            Answer::bytes("{\"id\":1,\"updated_at\":5}\n\n{\"id\":2,\"name\":\"x\"}").etag("\"a\""),
        )
        .with("http://feed/b.jsonl", Answer::bytes("{\"id\":1,\"amount\":0.5,\"updated_at\":9}\n"))
        .with("http://feed/c.jsonl", Answer::bytes("{\"id\":\"one\"}\n"))
}

fn ids(splits: &[Split]) -> Vec<&str> {
    splits.iter().map(|split| split.id.as_str()).collect()
}

#[test]
fn a_state_is_read_on_from() {
    host().run(|| {
        let feed: ChangeFeed = source(CONFIG).expect("sound");
        assert!(feed.checkpoint(&request(None)).is_err(), "nothing is planned yet");
        let all = feed.plan(&request(None)).expect("planned");
        assert_eq!(ids(&all), ["a.jsonl", "b.jsonl", "c.jsonl"]);
        assert_eq!(all[0].identity.as_deref(), Some("\"a\":44"));
        let state = feed.checkpoint(&request(None)).expect("planned").expect("a state");
        assert_eq!(state, serde_json::json!({ "parts": 3, "last": "c.jsonl" }));
        assert!(feed.plan(&request(Some(state.clone()))).expect("planned").is_empty());
        assert_eq!(feed.checkpoint(&request(Some(state.clone()))).expect("planned"), Some(state));
        let some: ChangeFeed = source(r#"{"base_url": "http://feed/", "max_parts": 1}"#).expect("sound");
        let state = serde_json::json!({ "parts": 1, "last": "a.jsonl" });
        assert_eq!(ids(&some.plan(&request(Some(state))).expect("planned")), ["b.jsonl"]);
        let state = some.checkpoint(&request(None)).expect("planned").expect("a state");
        assert_eq!(state, serde_json::json!({ "parts": 2, "last": "b.jsonl" }));
        for other in [serde_json::json!({ "parts": 1, "last": "z" }), serde_json::json!({ "parts": 9, "last": "z" })] {
            let error = feed.plan(&request(Some(other))).expect_err("another feed");
            assert_eq!(error.category, Category::InvalidData);
        }
        assert!(feed.plan(&request(Some(serde_json::json!({ "offset": 1, "parts": "x" })))).is_err());
    });
}

#[test]
fn lines_become_rows() {
    host().run(|| {
        let feed: ChangeFeed = source(CONFIG).expect("sound");
        let splits = feed.plan(&request(None)).expect("planned");
        let batches = read_all(feed.read(&splits[0]).expect("read")).expect("rows");
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
        assert_eq!(batches[0].schema(), schema());
        let error = read_all(feed.read(&splits[2]).expect("read")).expect_err("text is no id");
        assert_eq!(error.category, Category::InvalidData);
        assert!(error.to_string().starts_with("line 1 is no change: "), "{error}");
    });
}

#[test]
fn a_long_part_comes_in_several_batches() {
    let text: String = (0..20_000).map(|id| format!("{{\"id\":{id},\"name\":\"name of {id}\"}}\n")).collect();
    let host = Host::new()
        .with("http://feed/feed.json", Answer::bytes(r#"{"parts": ["a.jsonl"]}"#))
        .with("http://feed/a.jsonl", Answer::bytes(text));
    host.run(|| {
        let feed: ChangeFeed = source(CONFIG).expect("sound");
        let splits = feed.plan(&request(None)).expect("planned");
        let batches = read_all(feed.read(&splits[0]).expect("read")).expect("rows");
        let rows: Vec<usize> = batches.iter().map(|batch| batch.num_rows()).collect();
        assert_eq!(rows, [8192, 8192, 3616]);
    });
}
