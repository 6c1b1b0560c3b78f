//! What a load leaves in its snapshot so that it can be made again: plugins with their settings, and what the pipeline does to columns.
//!
//! Settings that a plugin's schema calls secret stay out, and so does what looks like one: the record names their keys, and whoever makes the
//! load again gives them.

use std::collections::BTreeMap;

use lakehost_pipeline::{Contract, OnDrift};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    pub source: Part,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleaners: Vec<Part>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metadata_columns: bool,
    /// The word of `schema`; none: nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

/// A plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `name@version`.
    pub plugin: String,
    pub config: Value,
    /// Keys of settings that are secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What names of settings that hold secrets have in them.
const SECRET_WORDS: &[&str] =
    &["password", "passwd", "secret", "token", "credential", "api_key", "apikey", "private_key"];

impl Part {
    /// A plugin as it is recorded; `schema`: that of its settings.
    pub fn new(plugin: String, config: &Value, schema: &Value) -> Self {
        let mut left_out = Vec::new();
        let mut config = config.clone();
        strip(&mut config, Some(schema), "", &mut left_out);
        Self { plugin, config, left_out }
    }
}

fn strip(config: &mut Value, schema: Option<&Value>, above: &str, left_out: &mut Vec<String>) {
    let Value::Object(values) = config else { return };
    let path = |key: &str| if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
    let property = |key: &str| schema.and_then(|schema| schema.get("properties")?.get(key));
    let secret: Vec<String> =
        values.iter().filter(|(key, value)| is_secret(key, value, property(key))).map(|(key, _)| key.clone()).collect();
    for key in secret {
        values.shift_remove(&key);
        left_out.push(path(&key));
    }
    for (key, value) in values.iter_mut() {
        strip(value, property(key), &path(key), left_out);
    }
}

fn is_secret(key: &str, value: &Value, property: Option<&Value>) -> bool {
    if value.is_null() {
        return false;
    }
    let says = |name: &str, word: &Value| property.and_then(|property| property.get(name)) == Some(word);
    let key = key.to_ascii_lowercase().replace('-', "_");
    let in_url = value
        .as_str()
        .filter(|text| text.contains("://"))
        .and_then(|text| Url::parse(text).ok())
        .is_some_and(|url| url.password().is_some() || !url.username().is_empty());
    says("writeOnly", &Value::Bool(true))
        || says("x-secret", &Value::Bool(true))
        || says("format", &Value::from("password"))
        || SECRET_WORDS.iter().any(|word| key.contains(word))
        || in_url
}

impl Recorded {
    /// The pipeline's part.
    #[must_use]
    pub fn with_contract(self, contract: &Contract, renames: &[(String, String)]) -> Self {
        Self {
            schema: (contract.default != OnDrift::default()).then(|| contract.default.word().to_owned()),
            columns: contract.columns.iter().map(|(name, word)| (name.clone(), word.word().to_owned())).collect(),
            rename: renames.iter().cloned().collect(),
            ..self
        }
    }

    /// What may change upstream.
    pub fn contract(&self) -> Contract {
        let meant = |word: &str| {
            [OnDrift::Evolve, OnDrift::Freeze, OnDrift::DiscardRow, OnDrift::DiscardValue]
                .into_iter()
                .find(|known| known.word() == word)
                .unwrap_or_default()
        };
        Contract {
            default: self.schema.as_deref().map(meant).unwrap_or_default(),
            columns: self.columns.iter().map(|(name, word)| (name.clone(), meant(word))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_stay_out_and_are_named() {
        let schema = json!({ "properties": { "pin": { "writeOnly": true }, "deep": { "properties": { "odd": { "x-secret": true } } } } });
        let config = json!({
            "dataset": "green", "pin": "1234", "API-Key": "k", "access_token": "t", "base_url": "https://u:p@host/", "mirror": "https://host/",
            "deep": { "odd": "x", "even": 2 }, "password": null,
        });
        let part = Part::new("a@1".to_owned(), &config, &schema);
        assert_eq!(
            part.config,
            json!({ "dataset": "green", "mirror": "https://host/", "deep": { "even": 2 }, "password": null })
        );
        let mut left_out = part.left_out;
        left_out.sort();
        assert_eq!(left_out, ["API-Key", "access_token", "base_url", "deep.odd", "pin"]);
    }

    #[test]
    fn a_record_reads_back() {
        let mut contract = Contract::all(OnDrift::Evolve);
        contract.columns.insert("fee".to_owned(), OnDrift::DiscardValue);
        let renames = [("new".to_owned(), "old".to_owned())];
        let recorded = Recorded { metadata_columns: true, ..Recorded::default() }.with_contract(&contract, &renames);
        let back: Recorded = serde_json::from_str(&serde_json::to_string(&recorded).unwrap()).unwrap();
        assert_eq!((back.contract(), &back), (contract, &recorded));
        assert_eq!(Recorded::default().contract(), Contract::default());
    }
}
