//! dbt's log, one JSON object a line: what ended, what went wrong, and rows that it shows.

use std::collections::BTreeMap;

use lakehost_pipeline::Secret;
use lakehost_pipeline::models::NodeReport;
use serde_json::{Map, Value};

/// Errors that are kept to be told.
const KEPT_ERRORS: usize = 10;

/// What a line of the log tells.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// A node ended: it, its number, and how many there are.
    Ended(Box<NodeReport>, (u64, u64)),
    /// Something is wrong with the project or the connection.
    Error(String),
    /// A word of `--select` or `--exclude` that means nothing.
    NothingChosen(String),
    /// Rows of the node of that id.
    Rows(String, Vec<Map<String, Value>>),
    /// What dbt was asked to list: a node's id.
    Listed(String),
    Other,
}

impl Event {
    /// What the line tells. One that is not of dbt's log tells nothing.
    pub fn parse(line: &str) -> Self {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return Self::Other };
        let (info, data) = (&line["info"], &line["data"]);
        match info["name"].as_str().unwrap_or_default() {
            "NoNodesForSelectionCriteria" => Self::NothingChosen(text(&data["spec_raw"])),
            "ShowNode" => {
                let rows = serde_json::from_str(data["preview"].as_str().unwrap_or("[]")).unwrap_or_default();
                Self::Rows(text(&data["unique_id"]), rows)
            }
            "PrintEvent" => {
                let said: Value = serde_json::from_str(data["msg"].as_str().unwrap_or_default()).unwrap_or_default();
                said["unique_id"].as_str().map_or(Self::Other, |id| Self::Listed(id.to_owned()))
            }
            "LogStartLine" => Self::Other,
            "MainEncounteredError" => Self::Error(plain(&text(&data["exc"]))),
            name if (name.starts_with("Log") || name == "SkippingDetails") && data["index"].is_u64() => ended(data),
            _ if info["level"] == "error" => Self::Error(plain(&text(&info["msg"]))),
            _ => Self::Other,
        }
    }
}

fn ended(data: &Value) -> Event {
    let node = &data["node_info"];
    let kind = text(&node["resource_type"]);
    if !super::run_results::is_told(&kind) {
        return Event::Other;
    }
    let relation = &node["node_relation"];
    let has_table = super::run_results::makes_table(&kind) && relation["schema"].is_string();
    let report = NodeReport {
        name: text(&node["node_name"]),
        status: text(&node["node_status"]),
        table: has_table.then(|| format!("{}.{}", text(&relation["schema"]), text(&relation["alias"]))),
        failures: data["num_failures"].as_u64(),
        seconds: data["execution_time"].as_f64().unwrap_or_default(),
        kind,
        ..NodeReport::default()
    };
    let number = |key: &str| data[key].as_u64().unwrap_or_default();
    // A test calls its total by another name.
    Event::Ended(Box::new(report), (number("index"), number("total").max(number("num_models"))))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Without the colours of a terminal.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        shown.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    shown.push_str(rest);
    shown
}

/// What a dbt command told, all of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub errors: Vec<String>,
    pub nothing: Vec<String>,
    pub rows: BTreeMap<String, Vec<Map<String, Value>>>,
    /// Ids of the nodes that were listed.
    pub listed: Vec<String>,
}

impl Told {
    /// Takes a line; a node that ended is handed on.
    pub fn take(&mut self, line: &str) -> Option<(Box<NodeReport>, (u64, u64))> {
        match Event::parse(line) {
            Event::Ended(node, place) => return Some((node, place)),
            Event::Error(error) if self.errors.len() < KEPT_ERRORS && !self.errors.contains(&error) => {
                self.errors.push(error);
            }
            Event::NothingChosen(word) => self.nothing.push(word),
            Event::Listed(id) => self.listed.push(id),
            Event::Rows(id, rows) => drop(self.rows.insert(id, rows)),
            Event::Error(_) | Event::Other => {}
        }
        None
    }
}

/// Takes secrets out of what dbt says: its engines may repeat a statement that holds one.
pub(super) fn masked(text: &str, secrets: &[(String, Secret)]) -> String {
    let mut shown = text.to_owned();
    for (_, secret) in secrets {
        let secret = secret.expose();
        if secret.len() >= 4 && shown.contains(secret) {
            shown = shown.replace(secret, "***");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"{"data": {"description": "sql incremental model silver.stg_yellow_trips", "execution_time": 0.29, "index": 2, "node_info": {"materialized": "incremental", "node_name": "stg_yellow_trips", "node_relation": {"alias": "stg_yellow_trips", "database": "lake", "schema": "silver"}, "node_status": "success", "resource_type": "model", "unique_id": "model.lakehost.stg_yellow_trips"}, "status": "OK", "total": 25}, "info": {"level": "info", "msg": "", "name": "LogModelResult"}}"#;
    const TEST: &str = r#"{"data": {"attached_node": "model.lakehost.stg_yellow_trips", "execution_time": 0.03, "index": 8, "node_info": {"node_name": "accepted_values_a", "node_relation": {"alias": "accepted_values_a", "database": "lake", "schema": "dbt_test__audit"}, "node_status": "fail", "resource_type": "test"}, "num_failures": 1, "num_models": 28, "status": "fail"}, "info": {"level": "error", "msg": "8 of 28 FAIL 1", "name": "LogTestResult"}}"#;
    const SKIP: &str = r#"{"data": {"index": 15, "node_info": {"node_name": "int_hourly_trips", "node_relation": {"alias": "int_hourly_trips", "schema": "silver"}, "node_status": "skipped", "resource_type": "model"}, "total": 28}, "info": {"level": "info", "name": "SkippingDetails"}}"#;

    #[test]
    fn what_ends_is_told() {
        let Event::Ended(node, place) = Event::parse(MODEL) else { panic!() };
        assert_eq!((node.name.as_str(), node.status.as_str(), place), ("stg_yellow_trips", "success", (2, 25)));
        assert_eq!(node.table.as_deref(), Some("silver.stg_yellow_trips"));
        let Event::Ended(node, place) = Event::parse(TEST) else { panic!() };
        assert!(node.failed() && node.table.is_none());
        assert_eq!((node.failures, place), (Some(1), (8, 28)));
        let Event::Ended(node, _) = Event::parse(SKIP) else { panic!() };
        assert_eq!((node.status.as_str(), node.failed()), ("skipped", false));
    }

    #[test]
    fn the_rest_is_errors_rows_and_nothing() {
        let mut told = Told::default();
        for line in [
            r#"{"data": {"exc": "Compilation Error in model bad"}, "info": {"level": "error", "name": "MainEncounteredError"}}"#,
            r#"{"data": {}, "info": {"level": "error", "name": "X", "msg": "\u001b[31mred\u001b[0m alert"}}"#,
            r#"{"data": {"spec_raw": "nope"}, "info": {"level": "warn", "name": "NoNodesForSelectionCriteria"}}"#,
            r#"{"data": {"unique_id": "test.a", "preview": "[{\"value_field\": 2, \"n\": 7380}]"}, "info": {"level": "info", "name": "ShowNode"}}"#,
            r#"{"data": {"msg": "{\"unique_id\": \"test.b\"}"}, "info": {"level": "info", "name": "PrintEvent"}}"#,
            r#"{"data": {"msg": "a macro says so"}, "info": {"level": "info", "name": "PrintEvent"}}"#,
            "Traceback (most recent call last):",
            "{}",
            "",
        ] {
            assert!(told.take(line).is_none());
        }
        assert_eq!(told.errors, ["Compilation Error in model bad", "red alert"]);
        assert_eq!(told.nothing, ["nope"]);
        assert_eq!(told.listed, ["test.b"]);
        assert_eq!(told.rows["test.a"][0]["value_field"], 2);
    }

    #[test]
    fn secrets_are_masked() {
        let secrets = [("A".to_owned(), Secret::new("hunter2-hunter2")), ("B".to_owned(), Secret::new(""))];
        assert_eq!(masked("token 'hunter2-hunter2'!", &secrets), "token '***'!");
    }
}
