//! The JSON of the protocol, as far as it is used.

use serde::Deserialize;
use serde_json::Value;

/// One answer to `POST /v1/statement` or to `GET nextUri`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    pub id: String,
    pub next_uri: Option<String>,
    pub columns: Option<Vec<Column>>,
    /// Rows; a page may have none.
    pub data: Option<Vec<Vec<Value>>>,
    #[serde(default)]
    pub stats: Stats,
    pub error: Option<QueryError>,
    pub update_type: Option<String>,
    pub update_count: Option<u64>,
}

/// How far a query is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    pub state: String,
    pub queued: bool,
    pub progress_percentage: Option<f64>,
    pub processed_rows: u64,
    pub processed_bytes: u64,
    pub elapsed_time_millis: u64,
}

/// A column of the answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub shown: String,
    pub type_signature: Option<Signature>,
}

/// A type, taken apart.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    pub raw_type: String,
    #[serde(default)]
    pub arguments: Vec<Argument>,
}

/// A part of a type: another type, a named one, or a number.
#[derive(Debug, Deserialize)]
pub struct Argument {
    pub kind: String,
    pub value: Value,
}

/// A named part of a row type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedType {
    pub field_name: Option<FieldName>,
    pub type_signature: Signature,
}

#[derive(Debug, Deserialize)]
pub struct FieldName {
    pub name: String,
}

/// Why a query failed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryError {
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub error_name: String,
    /// `USER_ERROR`, `INTERNAL_ERROR`, `INSUFFICIENT_RESOURCES` or `EXTERNAL`.
    #[serde(default)]
    pub error_type: String,
}

/// Who answers, of `GET /v1/info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub node_version: NodeVersion,
    #[serde(default)]
    pub starting: bool,
}

#[derive(Debug, Deserialize)]
pub struct NodeVersion {
    pub version: String,
}
