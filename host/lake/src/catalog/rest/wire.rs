//! Paths and bodies of the Iceberg REST protocol, and what an answer means for a commit.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{PartitionSpec, Schema, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use lakehost_pipeline::ports::TableName;
use serde::{Deserialize, Serialize};

use crate::catalog::{Base, TableChange};

/// One part of a path: a name that a server may take as anything else is escaped.
pub fn part(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What a catalog says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Config {
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    #[serde(default)]
    pub overrides: BTreeMap<String, String>,
    #[serde(default)]
    pub endpoints: Option<Vec<String>>,
    #[serde(default, rename = "idempotency-key-lifetime")]
    pub idempotency: Option<String>,
}

/// A page of namespaces.
#[derive(Debug, Deserialize)]
pub struct Namespaces {
    pub namespaces: Vec<Vec<String>>,
    #[serde(default, rename = "next-page-token")]
    pub next: Option<String>,
}

/// A page of tables.
#[derive(Debug, Deserialize)]
pub struct Tables {
    pub identifiers: Vec<Identifier>,
    #[serde(default, rename = "next-page-token")]
    pub next: Option<String>,
}

/// A table's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identifier {
    pub namespace: Vec<String>,
    pub name: String,
}

impl Identifier {
    pub fn of(table: &TableName) -> Self {
        Self { namespace: vec![table.namespace.clone()], name: table.name.clone() }
    }
}

/// A table as a catalog answers it.
#[derive(Debug, Deserialize)]
pub struct Loaded {
    #[serde(default, rename = "metadata-location")]
    pub metadata_location: Option<String>,
    pub metadata: TableMetadata,
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    #[serde(default, rename = "storage-credentials")]
    pub credentials: Vec<StorageCredential>,
}

impl Loaded {
    /// How the table's files are reached: its own configuration, with the keys of the most particular prefix that it lies under.
    pub fn access(&self) -> BTreeMap<String, String> {
        let location = self.metadata.location();
        let credential = self
            .credentials
            .iter()
            .filter(|credential| location.starts_with(&credential.prefix))
            .max_by_key(|credential| credential.prefix.len());
        let mut config = self.config.clone();
        config.extend(credential.into_iter().flat_map(|found| found.config.clone()));
        config
    }
}

/// Keys for what lies under a prefix.
#[derive(Deserialize)]
pub struct StorageCredential {
    pub prefix: String,
    pub config: BTreeMap<String, String>,
}

impl std::fmt::Debug for StorageCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageCredential").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Asks for a table that is not there yet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageCreate<'a> {
    pub name: &'a str,
    pub schema: &'a Schema,
    pub partition_spec: &'a PartitionSpec,
    pub stage_create: bool,
    pub properties: &'a HashMap<String, String>,
}

/// A commit of one table, alone or among several.
#[derive(Debug, Serialize)]
pub struct CommitTable<'a> {
    pub identifier: Identifier,
    pub requirements: &'a [TableRequirement],
    pub updates: Vec<Update>,
}

/// One change. The library leaves out what it takes for computable; Nessie wants it told.
#[derive(Debug, Serialize)]
pub struct Update {
    #[serde(flatten)]
    update: TableUpdate,
    /// With a schema: the highest id that a column ever had.
    #[serde(rename = "last-column-id", skip_serializing_if = "Option::is_none")]
    last_column_id: Option<i32>,
}

impl<'a> CommitTable<'a> {
    pub fn of(change: &'a TableChange) -> Self {
        let mut updates = change.updates.clone();
        if let Base::New(creation) = &change.base {
            // The builder of new metadata begins at its version and does not tell.
            updates.insert(0, TableUpdate::UpgradeFormatVersion { format_version: creation.format });
        }
        let last = |update: &TableUpdate| matches!(update, TableUpdate::AddSchema { .. });
        let updates = one_by_kind(updates)
            .into_iter()
            .map(|update| Update { last_column_id: last(&update).then(|| change.metadata.last_column_id()), update })
            .collect();
        Self { identifier: Identifier::of(&change.table), requirements: &change.requirements, updates }
    }
}

/// Properties that are set in several places are set at once: Nessie takes one change of a kind.
fn one_by_kind(updates: Vec<TableUpdate>) -> Vec<TableUpdate> {
    let mut merged: Vec<TableUpdate> = Vec::with_capacity(updates.len());
    for update in updates {
        let before = merged.iter_mut().rev().find_map(|before| match before {
            TableUpdate::SetProperties { updates } => Some(Some(updates)),
            // What is set after it may be what it took out.
            TableUpdate::RemoveProperties { .. } => Some(None),
            _ => None,
        });
        match (update, before) {
            (TableUpdate::SetProperties { updates }, Some(Some(before))) => before.extend(updates),
            (update, _) => merged.push(update),
        }
    }
    merged
}

/// A commit of several tables.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommitTables<'a> {
    pub table_changes: Vec<CommitTable<'a>>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Debug, Deserialize)]
struct RefusalBody {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// So much of a server's text goes into a message.
const TEXT_LIMIT: usize = 300;

/// What a refusal says: its kind and its words; `None` when the body is not one of this protocol.
pub fn refusal(body: &[u8]) -> Option<(String, String)> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some((plain(&refusal.error.kind), plain(&refusal.error.message)))
}

/// A stranger's text for a terminal: one line, no control characters, not too long.
pub fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or("").trim();
    let mut shown: String = line.chars().take(TEXT_LIMIT).filter(|c| !c.is_control()).collect();
    if line.chars().count() > TEXT_LIMIT {
        shown.push('…');
    }
    shown
}

/// What the answer to a commit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Landed,
    Conflict,
    /// Not applied, and it never will be.
    Refused(Why),
    /// It may have been applied.
    Open,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Access,
    /// The table or the request is not what the catalog takes.
    Shape,
    Unable,
    Busy,
}

/// Reads the answer to a commit. `whole`: a 200 must bring the table, else the body may be anybody's.
pub fn verdict(status: u16, body: &[u8], whole: bool) -> Verdict {
    match status {
        200 if whole => match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(value) if value.get("metadata").is_some_and(serde_json::Value::is_object) => Verdict::Landed,
            _ => Verdict::Open,
        },
        200 | 204 if !whole => Verdict::Landed,
        409 | 412 | 428 => Verdict::Conflict,
        // A page of a gateway, and not the catalog's word.
        400 | 404 | 406 | 422 if refusal(body).is_none() => Verdict::Refused(Why::Shape),
        404 => Verdict::Conflict,
        400 => {
            let (kind, message) = refusal(body).unwrap_or_default();
            // Iceberg's own adapter answers so when another commit took the sequence number.
            if kind.contains("CommitFailed") || message.contains("sequence number") {
                Verdict::Conflict
            } else {
                Verdict::Refused(Why::Shape)
            }
        }
        401 | 403 | 419 => Verdict::Refused(Why::Access),
        405 | 406 | 501 => Verdict::Refused(Why::Unable),
        413 | 415 | 422 => Verdict::Refused(Why::Shape),
        429 => Verdict::Refused(Why::Busy),
        _ => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        for (name, wanted) in [
            ("green_trips", "green_trips"),
            ("a b", "a%20b"),
            ("../x", "%2E%2E%2Fx"),
            ("a\u{1f}b", "a%1Fb"),
            ("a?b#c%d;e", "a%3Fb%23c%25d%3Be"),
            ("\u{1b}[31m", "%1B%5B31m"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(part(name), wanted);
        }
    }

    #[test]
    fn every_answer_to_a_commit_has_one_meaning() {
        use Verdict::*;
        let error = |kind: &str, message: &str| {
            serde_json::json!({ "error": { "message": message, "type": kind, "code": 0 } }).to_string()
        };
        let table = r#"{"metadata-location": "/x", "metadata": {"format-version": 2}}"#;
        let html = "<html>please wait</html>";
        for (status, body, wanted) in [
            (200, table.to_owned(), Landed),
            (200, table[..30].to_owned(), Open),
            (200, html.to_owned(), Open),
            (200, "{}".to_owned(), Open),
            (202, table.to_owned(), Open),
            (302, String::new(), Open),
            (307, String::new(), Open),
            (400, error("BadRequestException", "no"), Refused(Why::Shape)),
            (400, error("CommitFailedException", "no"), Conflict),
            (400, error("ValidationException", "Cannot add snapshot with sequence number 2"), Conflict),
            (400, html.to_owned(), Refused(Why::Shape)),
            (401, String::new(), Refused(Why::Access)),
            (403, html.to_owned(), Refused(Why::Access)),
            (404, error("NoSuchTableException", "no"), Conflict),
            (404, html.to_owned(), Refused(Why::Shape)),
            (406, error("UnsupportedOperationException", "no"), Refused(Why::Unable)),
            (409, error("CommitFailedException", "no"), Conflict),
            (409, String::new(), Conflict),
            (419, String::new(), Refused(Why::Access)),
            (422, error("UnprocessableEntity", "no"), Refused(Why::Shape)),
            (429, String::new(), Refused(Why::Busy)),
            (500, error("CommitStateUnknownException", "no"), Open),
            (500, error("InternalServerError", "no"), Open),
            (502, html.to_owned(), Open),
            (503, String::new(), Open),
            (504, html.to_owned(), Open),
        ] {
            assert_eq!(verdict(status, body.as_bytes(), true), wanted, "{status} {body}");
        }
        assert_eq!(verdict(204, b"", false), Landed);
        assert_eq!(verdict(204, b"", true), Open);
    }

    #[test]
    fn properties_are_set_at_once() {
        let set = |name: &str, value: &str| TableUpdate::SetProperties {
            updates: [(name.to_owned(), value.to_owned())].into(),
        };
        let remove = || TableUpdate::RemoveProperties { removals: vec!["a".to_owned()] };
        let uuid = || TableUpdate::AssignUuid { uuid: uuid::Uuid::nil() };
        let merged = one_by_kind(vec![set("a", "1"), uuid(), set("a", "2"), remove(), set("a", "3"), set("b", "4")]);
        let both = [("a".to_owned(), "3".to_owned()), ("b".to_owned(), "4".to_owned())].into();
        assert_eq!(merged, [set("a", "2"), uuid(), remove(), TableUpdate::SetProperties { updates: both }]);
    }

    #[test]
    fn a_servers_words_are_one_plain_line() {
        assert_eq!(plain("  a\u{1b}[31mb\nsecond line"), "a[31mb");
        assert_eq!(plain(&"x".repeat(400)).chars().count(), TEXT_LIMIT + 1);
        assert_eq!(refusal(b"<html>"), None);
        assert_eq!(refusal(br#"{"error":{"message":"m","type":"T","code":1}}"#), Some(("T".into(), "m".into())));
    }
}
