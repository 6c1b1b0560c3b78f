//! A served warehouse and a client of it.

use std::sync::Arc;

use lakehost_lake::{IcebergLake, LakeOptions};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Endpoint, Options, serve};

/// A warehouse of its own, served.
pub struct World {
    pub folder: TempDir,
    pub lake: IcebergLake,
    pub endpoint: Endpoint,
    pub client: Client,
    pub runtime: Runtime,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub tag: Option<String>,
    pub body: Value,
}

impl Reply {
    /// Status and kind of a refusal, in the protocol's form.
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str) -> &str {
        let error = &self.body["error"];
        assert_eq!((self.status.as_u16(), error["type"].as_str()), (status, Some(kind)), "{self:?}");
        assert_eq!(error["code"], status, "{self:?}");
        error["message"].as_str().unwrap()
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let lake = Self::open(&folder, &runtime);
        let endpoint = serve(&lake, Options::default()).unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { folder, lake, endpoint, client, runtime }
    }

    /// The same warehouse as another process has it.
    pub fn open(folder: &TempDir, runtime: &Runtime) -> IcebergLake {
        let clock = Arc::new(|| 1_700_000_000_000);
        let options = LakeOptions::new(folder.path().join("warehouse"), runtime.handle().clone(), clock);
        IcebergLake::open(LakeOptions { durable: false, ..options }).unwrap()
    }

    pub fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Reply {
        self.runtime.block_on(async {
            let mut request = self.client.request(method, format!("{}/v1/{path}", self.endpoint.uri()));
            if !headers.iter().any(|(name, _)| *name == "authorization") {
                request = request.bearer_auth(self.endpoint.token().expose());
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.body(body);
            }
            let response = request.send().await.unwrap();
            let status = response.status();
            let tag = response.headers().get("etag").map(|value| value.to_str().unwrap().to_owned());
            let body = response.bytes().await.unwrap();
            Reply { status, tag, body: serde_json::from_slice(&body).unwrap_or_default() }
        })
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None)
    }

    pub fn head(&self, path: &str) -> u16 {
        self.send(Method::HEAD, path, &[], None).status.as_u16()
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, &[], Some(body.to_string()))
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], None)
    }

    /// A namespace and a table with two columns; its answer.
    pub fn with_table(&self, name: &str) -> Value {
        self.post("namespaces", &json!({ "namespace": ["raw"] }));
        self.post("namespaces/raw/tables", &table(name)).ok()
    }
}

/// A request for a table.
pub fn table(name: &str) -> Value {
    json!({ "name": name, "schema": schema(), "properties": { "owner": "me", "format-version": "2" } })
}

pub fn schema() -> Value {
    json!({ "type": "struct", "schema-id": 0, "fields": [
        { "id": 1, "name": "id", "required": true, "type": "long" },
        { "id": 2, "name": "place", "required": false, "type": { "type": "struct", "fields": [
            { "id": 3, "name": "zone", "required": false, "type": "string" },
        ] } },
    ] })
}

/// A change that sets a property, with what it requires.
pub fn setting(requirements: Value, name: &str) -> Value {
    json!({ "requirements": requirements, "updates": [{ "action": "set-properties", "updates": { name: "1" } }] })
}

/// A change that adds a snapshot to main. Its manifest list is the engine's affair.
pub fn appending(table: &Value, id: i64) -> Value {
    let metadata = &table["metadata"];
    let parent = metadata["current-snapshot-id"].as_i64().filter(|id| *id >= 0);
    let location = metadata["location"].as_str().unwrap();
    json!({
        "requirements": [
            { "type": "assert-table-uuid", "uuid": metadata["table-uuid"] },
            { "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent },
        ],
        "updates": [
            { "action": "add-snapshot", "snapshot": {
                "snapshot-id": id, "parent-snapshot-id": parent, "schema-id": 0,
                "sequence-number": metadata["last-sequence-number"].as_i64().unwrap() + 1,
                "timestamp-ms": metadata["last-updated-ms"].as_i64().unwrap() + 1,
                "manifest-list": format!("{location}/metadata/snap-{id}.avro"),
                "summary": { "operation": "append" },
            } },
            { "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id },
        ],
    })
}
