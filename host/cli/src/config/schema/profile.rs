//! The part of the JSON Schema that says where tables lie.

use serde_json::{Value, json};

/// One section `[profile.NAME]`.
pub fn profile() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let yes = |about: &str| json!({ "type": "boolean", "description": about });
    let one = |key: &str, value: Value| json!({ "type": "object", "additionalProperties": false, "required": [key], "properties": { key: value } });
    let reference = || {
        vec![
            one("env", text("A variable of the environment")),
            one("file", text("A file, relative to this one")),
            one(
                "command",
                json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "A program that prints it" }),
            ),
        ]
    };
    let secret = |about: &str| json!({ "anyOf": reference(), "description": about });
    let text_or_secret = |about: &str| {
        let any: Vec<Value> = [vec![json!({ "type": "string" })], reference()].concat();
        json!({ "anyOf": any, "description": about })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "warehouse": text("Folder or file:// URL, relative to this file, or s3://bucket/prefix"),
            "memory": text("Memory budget of a run: 512MiB"),
            "catalog": {
                "description": "The catalog; catalog.db in the warehouse when missing",
                "anyOf": [
                    text("sqlite:///PATH, postgresql://USER@HOST/DATABASE or https://HOST/PATH"),
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["uri"],
                        "properties": {
                            "uri": text("sqlite:///PATH, postgresql://USER@HOST/DATABASE or https://HOST/PATH"),
                            "name": text("SQL: the catalog's name, lakehost when missing; PyIceberg must be given the same"),
                            "password": secret("Postgres: the user's password"),
                            "token": secret("REST: a token that somebody else renews"),
                            "client_id": text("REST: OAuth2 client"),
                            "client_secret": secret("REST: its secret; tokens are fetched and renewed before they run out"),
                            "token_uri": text("REST: the token endpoint; the catalog's own when missing"),
                            "scope": text("REST: OAuth2 scope; catalog when missing"),
                            "warehouse": text("REST: the name by which the catalog knows the warehouse"),
                            "prefix": text("REST: what stands between v1/ and a path, when the catalog does not say"),
                            "headers": {
                                "type": "object", "additionalProperties": text_or_secret("A header of every request"),
                                "description": "REST: headers of every request",
                            },
                            "vended_credentials": yes("REST: ask for keys of the object store with every table"),
                            "atomic_transactions": yes("REST: the catalog's commit of several tables is atomic"),
                            "nessie": yes("REST: branches, tags and history are the catalog's own"),
                            "branch": text("Nessie: the branch that tables are read from and runs publish to; the catalog's own default when missing"),
                            "timeout_seconds": {
                                "type": "integer", "minimum": 1, "maximum": 3600,
                                "description": "REST: for one request, 30 when missing",
                            },
                            "ca": text("Authorities that are trusted too, a file in PEM"),
                            "client_certificate": text("A certificate for servers that ask for one, a file in PEM"),
                            "client_key": text("Its key, a file in PEM; in the same file when missing"),
                        },
                    },
                ],
            },
            "maintained_by": {
                "type": "string", "enum": ["lakehost", "trino"],
                "description": "Who compacts, expires and tidies up; lakehost when missing",
            },
            "trino": {
                "type": "object",
                "additionalProperties": false,
                "required": ["uri", "catalog"],
                "description": "The Trino that knows the same tables",
                "properties": {
                    "uri": text("https://HOST:PORT"),
                    "user": text("lakehost when missing; with a token the name in it"),
                    "password": secret("The user's password"),
                    "token": secret("A JWT or another bearer token that somebody else renews"),
                    "catalog": text("Trino's name of the catalog that the tables are in"),
                    "ca": text("Authorities that are trusted too, a file in PEM"),
                    "branch_catalog": {
                        "type": "object", "additionalProperties": text_or_secret("A property; \"${ENV:NAME}\" is looked up by Trino"),
                        "description": "What a catalog for the branch of a run is made with in Trino, beyond what the profile says",
                    },
                    "timeout_seconds": {
                        "type": "integer", "minimum": 1, "maximum": 3600,
                        "description": "For one request, 60 when missing",
                    },
                },
            },
            "s3": {
                "type": "object",
                "additionalProperties": false,
                "description": "How buckets are reached; what is missing comes from AWS_ variables or the machine's role",
                "properties": {
                    "endpoint": text("https://HOST:PORT; Amazon's own when missing"),
                    "region": text("us-east-1"),
                    "path_style": yes("https://host/bucket/key; so when missing with an endpoint"),
                    "access_key_id": text_or_secret("The key's id"),
                    "secret_access_key": secret("The key"),
                    "session_token": secret("Of keys that run out"),
                    "allow_http": yes("An endpoint of another machine without encryption"),
                    "ca": text("Authorities that are trusted too, a file in PEM"),
                },
            },
        },
    })
}
