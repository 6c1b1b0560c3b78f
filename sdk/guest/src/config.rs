//! Configuration: one description of the keys gives the JSON Schema, the defaults, the checks and the wording of what is wrong.
//!
//! The host checks a configuration against the published schema as well. This check is the plugin's own: it runs in the author's tests
//! and when another host is less careful. Rules that tie keys together belong in `configure` or `bind`.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::{PluginError, Result};

/// A plugin's configuration: a serde type, and what its keys mean.
///
/// Defaults live in the schema alone: they are filled in before serde sees the object.
///
/// # Example
/// ```
/// use lakehost_sdk::config::{self, Config, ConfigSchema, Key};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Months {
///     dataset: String,
/// }
///
/// impl Config for Months {
///     fn schema() -> ConfigSchema {
///         ConfigSchema::new().key(Key::choice("dataset", &["yellow", "green"]).default("yellow").about("which trips"))
///     }
/// }
///
/// let months: Months = config::parse("{}").expect("defaults are enough");
/// assert_eq!(months.dataset, "yellow");
/// let error = config::parse::<Months>(r#"{"datset": "green"}"#).expect_err("a typing error");
/// assert_eq!(error.message, "unknown key `datset`; did you mean `dataset`?");
/// ```
pub trait Config: DeserializeOwned {
    /// The keys, their types, defaults and descriptions.
    fn schema() -> ConfigSchema;
}

/// The configuration of a plugin that takes none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
pub struct NoConfig {}

impl Config for NoConfig {
    fn schema() -> ConfigSchema {
        ConfigSchema::new()
    }
}

/// Reads a configuration: checks it against the schema, fills in defaults, then lets serde build the type.
///
/// # Errors
/// `config`, naming the key that is unknown, missing, of the wrong type or out of bounds.
pub fn parse<C: Config>(text: &str) -> Result<C> {
    let value = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(text).map_err(|error| PluginError::config(format!("configuration is no JSON: {error}")))?
    };
    let Value::Object(mut object) = value else {
        return Err(PluginError::config(format!("configuration is {}, expected an object", kind_of(&value))));
    };
    C::schema().check(&mut object)?;
    C::deserialize(Value::Object(object)).map_err(|error| PluginError::config(format!("configuration: {error}")))
}

/// The keys of a configuration, in the order in which people should read them.
#[derive(Debug, Clone, Default)]
pub struct ConfigSchema {
    keys: Vec<Key>,
}

impl ConfigSchema {
    /// No keys yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// The JSON Schema (draft 2020-12) that the plugin publishes.
    pub fn to_json(&self) -> Value {
        let properties: Map<_, _> = self.keys.iter().map(|key| (key.name.to_owned(), key.to_json())).collect();
        let required: Vec<_> = self.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn check(&self, object: &mut Map<String, Value>) -> Result<()> {
        for name in object.keys() {
            if !self.keys.iter().any(|key| key.name == name) {
                return Err(self.unknown(name));
            }
        }
        for key in &self.keys {
            match (object.get(key.name), &key.default) {
                (Some(value), _) => key.check(value)?,
                (None, Some(default)) => {
                    object.insert(key.name.to_owned(), default.clone());
                }
                (None, None) if key.required => {
                    return Err(PluginError::config(format!("key `{}` is missing", key.name)).with("key", key.name));
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> PluginError {
        let names: Vec<_> = self.keys.iter().map(|key| key.name).collect();
        let hint = match (nearest(name, &names), names.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => "this plugin takes no configuration".to_owned(),
            (None, false) => format!("known keys: {}", names.join(", ")),
        };
        PluginError::config(format!("unknown key `{name}`; {hint}")).with("key", name)
    }
}

/// One key: its type, default, bounds and description.
#[derive(Debug, Clone)]
pub struct Key {
    name: &'static str,
    kind: Kind,
    description: &'static str,
    default: Option<Value>,
    required: bool,
    identity: bool,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

#[derive(Debug, Clone)]
enum Kind {
    Text,
    Flag,
    Integer,
    Number,
    Choice(Vec<&'static str>),
    Texts,
    Choices(Vec<&'static str>),
}

impl Key {
    fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            description: "",
            default: None,
            required: false,
            identity: true,
            at_least: None,
            at_most: None,
        }
    }

    /// Any text.
    pub fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// `true` or `false`.
    pub fn flag(name: &'static str) -> Self {
        Self::new(name, Kind::Flag)
    }

    /// A whole number of at most 64 bits.
    pub fn integer(name: &'static str) -> Self {
        Self::new(name, Kind::Integer)
    }

    /// Any number.
    pub fn number(name: &'static str) -> Self {
        Self::new(name, Kind::Number)
    }

    /// One of some words.
    pub fn choice(name: &'static str, choices: &[&'static str]) -> Self {
        Self::new(name, Kind::Choice(choices.to_vec()))
    }

    /// A list of texts.
    pub fn texts(name: &'static str) -> Self {
        Self::new(name, Kind::Texts)
    }

    /// A list of some words, each at most once.
    pub fn choices(name: &'static str, choices: &[&'static str]) -> Self {
        Self::new(name, Kind::Choices(choices.to_vec()))
    }

    /// What it means, for people: one line with units.
    #[must_use]
    pub fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// The value when nobody gives one.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Must be given. A key that is neither required nor has a default is an `Option` in the serde type.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The least number allowed.
    #[must_use]
    pub fn at_least(mut self, least: f64) -> Self {
        self.at_least = Some(least);
        self
    }

    /// The greatest number allowed.
    #[must_use]
    pub fn at_most(mut self, most: f64) -> Self {
        self.at_most = Some(most);
        self
    }

    /// Says that the key changes where data comes from and not what it is (a mirror's address): a load with another value is the same
    /// load. Published as `"x-identity": false`.
    #[must_use]
    pub fn not_identity(mut self) -> Self {
        self.identity = false;
        self
    }

    fn to_json(&self) -> Value {
        let mut schema = match &self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Integer => json!({ "type": "integer" }),
            Kind::Number => json!({ "type": "number" }),
            Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Kind::Choices(choices) => {
                json!({ "type": "array", "items": { "type": "string", "enum": choices }, "uniqueItems": true })
            }
        };
        if !self.description.is_empty() {
            schema["description"] = json!(self.description);
        }
        if let Some(default) = &self.default {
            schema["default"] = default.clone();
        }
        if let Some(least) = self.at_least {
            schema["minimum"] = json!(least);
        }
        if let Some(most) = self.at_most {
            schema["maximum"] = json!(most);
        }
        if !self.identity {
            schema["x-identity"] = json!(false);
        }
        schema
    }

    fn check(&self, value: &Value) -> Result<()> {
        match (&self.kind, value) {
            (Kind::Text, Value::String(_)) | (Kind::Flag, Value::Bool(_)) => Ok(()),
            (Kind::Integer, Value::Number(number)) if number.is_i64() => self.check_bounds(value),
            (Kind::Number, Value::Number(_)) => self.check_bounds(value),
            (Kind::Choice(choices), Value::String(word)) => self.check_choice(choices, word),
            (Kind::Texts, Value::Array(items)) => items.iter().try_for_each(|item| match item {
                Value::String(_) => Ok(()),
                other => Err(self.wrong(&format!("holds {}, expected text", kind_of(other)))),
            }),
            (Kind::Choices(choices), Value::Array(items)) => {
                for (position, item) in items.iter().enumerate() {
                    let Value::String(word) = item else {
                        return Err(self.wrong(&format!("holds {}, expected text", kind_of(item))));
                    };
                    self.check_choice(choices, word)?;
                    if items.iter().take(position).any(|before| before == item) {
                        return Err(self.wrong(&format!("names `{word}` twice")));
                    }
                }
                Ok(())
            }
            (kind, other) => Err(self.wrong(&format!("is {}, expected {}", kind_of(other), kind.wanted()))),
        }
    }

    fn check_bounds(&self, value: &Value) -> Result<()> {
        let number = value.as_f64().ok_or_else(|| self.wrong("is too large a number"))?;
        if let Some(least) = self.at_least.filter(|least| number < *least) {
            return Err(self.wrong(&format!("is {value}, expected at least {least}")));
        }
        if let Some(most) = self.at_most.filter(|most| number > *most) {
            return Err(self.wrong(&format!("is {value}, expected at most {most}")));
        }
        Ok(())
    }

    fn check_choice(&self, choices: &[&'static str], word: &str) -> Result<()> {
        if choices.contains(&word) {
            return Ok(());
        }
        let hint = nearest(word, choices).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Err(self.wrong(&format!("is `{word}`, expected one of {}{hint}", choices.join(", "))))
    }

    fn wrong(&self, what: &str) -> PluginError {
        PluginError::config(format!("key `{}` {what}", self.name)).with("key", self.name)
    }
}

impl Kind {
    fn wanted(&self) -> &'static str {
        match self {
            Kind::Text | Kind::Choice(_) => "text",
            Kind::Flag => "true or false",
            Kind::Integer => "a whole number",
            Kind::Number => "a number",
            Kind::Texts | Kind::Choices(_) => "a list of texts",
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The known name that a mistyped one most likely meant: at most a third of its letters differ.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let typed = name.to_lowercase();
    let (distance, near) = known.iter().map(|known| (strsim::osa_distance(&typed, known), *known)).min()?;
    (distance <= near.chars().count().div_ceil(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Sample {
        dataset: String,
        limit: Option<i64>,
        ratio: f64,
        off: Vec<String>,
        deep: bool,
    }

    impl Config for Sample {
        fn schema() -> ConfigSchema {
            ConfigSchema::new()
                .key(Key::choice("dataset", &["yellow", "green"]).required().about("which trips"))
                .key(Key::integer("limit").at_least(1.0).not_identity())
                .key(Key::number("ratio").default(0.5).at_most(1.0))
                .key(Key::choices("off", &["nulls", "times"]).default(Vec::<String>::new()))
                .key(Key::flag("deep").default(false))
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let sample: Sample = parse(r#"{"dataset": "green", "limit": 3}"#).expect("sound");
        let expected = Sample { dataset: "green".into(), limit: Some(3), ratio: 0.5, off: vec![], deep: false };
        assert_eq!(sample, expected);
    }

    #[test]
    fn what_is_wrong_names_the_key() {
        for (text, expected) in [
            ("[]", "configuration is a list, expected an object"),
            ("{}", "key `dataset` is missing"),
            (r#"{"Dataset": "green"}"#, "unknown key `Dataset`; did you mean `dataset`?"),
            (r#"{"x": 1}"#, "unknown key `x`; known keys: dataset, limit, ratio, off, deep"),
            (
                r#"{"dataset": "grean"}"#,
                "key `dataset` is `grean`, expected one of yellow, green; did you mean `green`?",
            ),
            (r#"{"dataset": 1}"#, "key `dataset` is a number, expected text"),
            (r#"{"dataset": "green", "limit": 0}"#, "key `limit` is 0, expected at least 1"),
            (
                r#"{"dataset": "green", "limit": 1.5}"#,
                "key `limit` is a number with a fraction, expected a whole number",
            ),
            (r#"{"dataset": "green", "limit": null}"#, "key `limit` is null, expected a whole number"),
            (r#"{"dataset": "green", "ratio": 1.5}"#, "key `ratio` is 1.5, expected at most 1"),
            (r#"{"dataset": "green", "off": ["nulls", "nulls"]}"#, "key `off` names `nulls` twice"),
            (r#"{"dataset": "green", "off": "nulls"}"#, "key `off` is text, expected a list of texts"),
            (r#"{"dataset": "green", "deep": "yes"}"#, "key `deep` is text, expected true or false"),
        ] {
            let error = parse::<Sample>(text).expect_err(text);
            assert_eq!(error.message, expected, "{text}");
            assert_eq!(error.category, crate::Category::Config);
        }
        assert_eq!(
            parse::<NoConfig>(r#"{"a": 1}"#).expect_err("no keys").message,
            "unknown key `a`; this plugin takes no configuration"
        );
    }

    #[test]
    fn the_published_schema_says_the_same() {
        let schema = Sample::schema().to_json();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["required"], json!(["dataset"]));
        assert_eq!(schema["properties"]["limit"], json!({ "type": "integer", "minimum": 1.0, "x-identity": false }));
        assert_eq!(schema["properties"]["ratio"]["default"], json!(0.5));
        assert_eq!(schema["properties"]["off"]["items"]["enum"], json!(["nulls", "times"]));
    }

    #[test]
    fn no_text_is_an_empty_object() {
        assert_eq!(parse::<NoConfig>(" ").expect("empty"), NoConfig {});
    }
}
