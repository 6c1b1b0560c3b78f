//! Settings of plugins: `KEY=VALUE` from flags and tables from `lakehost.toml`, typed by the JSON Schema that the plugin publishes.

use serde_json::{Map, Number, Value};

use super::did_you_mean;
use crate::error::Error;

/// How many schemas one may stand for: a schema that refers to itself has no end.
const BRANCHES: usize = 256;

/// The settings of one plugin and the schema that types them.
pub struct Settings<'a> {
    plugin: &'a str,
    schema: &'a Value,
    values: Map<String, Value>,
}

impl<'a> Settings<'a> {
    /// Starts from the table of the file; empty for an ad hoc run.
    ///
    /// # Errors
    /// `LH0104` for a key that the schema does not have or a value of another type.
    pub fn new(plugin: &'a str, schema: &'a Value, table: &toml::Table) -> Result<Self, Error> {
        let values = table.iter().map(|(key, value)| (key.clone(), from_toml(value))).collect();
        let settings = Self { plugin, schema, values };
        for (key, value) in &settings.values {
            let wanted = settings.property(&[key])?;
            if !wanted.is_none_or(|wanted| accepts(schema, wanted, value)) {
                return Err(settings.wrong(format!("`{key}` is {}", described(schema, wanted))));
            }
        }
        Ok(settings)
    }

    /// Lays `KEY=VALUE` of a flag over it; dots in the key reach into objects.
    ///
    /// # Errors
    /// As [`Settings::new`].
    pub fn assign(&mut self, assignment: &str, flag: &str) -> Result<(), Error> {
        let (key, text) = split_assignment(assignment, flag)?;
        // A property that has a dot in its own name wins over a path.
        let path: Vec<&str> = if self.has_property(key) { vec![key] } else { key.split('.').collect() };
        let wanted = self.property(&path)?;
        let value = match wanted {
            None => Value::String(text.to_owned()),
            Some(wanted) => typed(self.schema, wanted, text).ok_or_else(|| {
                let options = choices(self.schema, wanted);
                Error::PluginConfig {
                    plugin: self.plugin.to_owned(),
                    message: format!(
                        "`{}` is not {} for `{key}`",
                        text.escape_debug(),
                        described(self.schema, Some(wanted))
                    ),
                    hint: did_you_mean(text, options.iter().map(String::as_str)),
                }
            })?,
        };
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut target = &mut self.values;
        for parent in parents {
            let inner = target.entry((*parent).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            target = match inner {
                Value::Object(inner) => inner,
                _ => {
                    let message = format!("`{parent}` in `{key}` holds a value, not settings");
                    return Err(Error::PluginConfig { plugin: self.plugin.to_owned(), message, hint: None });
                }
            };
        }
        target.insert((*last).to_owned(), value);
        Ok(())
    }

    /// The settings as they were given; the plugin's host checks them and fills in defaults.
    pub fn into_value(self) -> Value {
        Value::Object(self.values)
    }

    fn has_property(&self, key: &str) -> bool {
        properties(self.schema, self.schema).iter().any(|(name, _)| name == key)
    }

    /// The schema of a setting; `None` when the schema leaves it open.
    fn property(&self, path: &[&str]) -> Result<Option<&'a Value>, Error> {
        let mut schema = self.schema;
        for key in path {
            let known = properties(self.schema, schema);
            match known.iter().find(|(name, _)| name == key) {
                Some((_, property)) => schema = property,
                None if is_open(schema) => return Ok(None),
                None => {
                    return Err(Error::PluginConfig {
                        plugin: self.plugin.to_owned(),
                        message: format!("there is no setting `{}`", path.join(".").escape_debug()),
                        hint: did_you_mean(key, known.iter().map(|(name, _)| name.as_str()))
                            .or_else(|| Some("it takes no settings".to_owned())),
                    });
                }
            }
        }
        Ok(Some(schema))
    }

    fn wrong(&self, message: String) -> Error {
        Error::PluginConfig { plugin: self.plugin.to_owned(), message, hint: None }
    }
}

/// Cuts `KEY=VALUE`. `flag`: whose value it is, for the message.
pub fn split_assignment<'t>(assignment: &'t str, flag: &str) -> Result<(&'t str, &'t str), Error> {
    match assignment.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim(), value)),
        _ => Err(Error::Usage {
            message: format!("`{}` is not KEY=VALUE", assignment.escape_debug()),
            hint: Some(format!("write it as {flag} dataset=green")),
        }),
    }
}

/// The part of a source's effective settings that tells one load from another: without what its schema marks `"x-identity": false`.
pub fn identity(schema: &Value, effective: &Value) -> Value {
    let mut identity = effective.clone();
    if let Value::Object(values) = &mut identity {
        for (key, property) in properties(schema, schema) {
            if property.get("x-identity") == Some(&Value::Bool(false)) {
                values.shift_remove(&key);
            }
        }
    }
    identity
}

fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::Number((*number).into()),
        toml::Value::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        toml::Value::Boolean(flag) => Value::Bool(*flag),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(from_toml).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), from_toml(value))).collect())
        }
    }
}

/// Follows `{"$ref": "#/…"}`.
fn followed<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// The schemas that one stands for: itself, and the branches of `anyOf`, `oneOf` and `allOf`.
fn branches<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut all = vec![followed(root, schema)];
    let mut next = 0;
    while let Some(branch) = all.get(next).copied() {
        next += 1;
        for word in ["anyOf", "oneOf", "allOf"] {
            let inner = branch.get(word).and_then(Value::as_array).into_iter().flatten();
            let room = BRANCHES.saturating_sub(all.len());
            all.extend(inner.map(|branch| followed(root, branch)).take(room));
        }
    }
    all
}

fn properties<'a>(root: &'a Value, schema: &'a Value) -> Vec<(String, &'a Value)> {
    let maps = branches(root, schema).into_iter().filter_map(|branch| branch.get("properties")?.as_object());
    maps.flatten().map(|(key, property)| (key.clone(), property)).collect()
}

/// Whether settings beyond the listed ones are welcome: only when the schema says so, or lists none at all.
fn is_open(schema: &Value) -> bool {
    match schema.get("additionalProperties") {
        Some(Value::Bool(open)) => *open,
        Some(Value::Object(_)) => true,
        _ => schema.get("properties").is_none() && schema.get("type").and_then(Value::as_str) != Some("object"),
    }
}

/// JSON types that a schema allows; empty: any.
fn types<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    let mut all = Vec::new();
    for branch in branches(root, schema) {
        match branch.get("type") {
            Some(Value::String(word)) => all.push(word.as_str()),
            Some(Value::Array(words)) => all.extend(words.iter().filter_map(Value::as_str)),
            _ => {}
        }
    }
    all
}

/// The words of `enum` and `const`, when all branches that say something have one.
fn choices(root: &Value, schema: &Value) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    branches(root, schema)
        .into_iter()
        .flat_map(|branch| {
            let listed = branch.get("enum").and_then(Value::as_array).into_iter().flatten();
            listed.chain(branch.get("const")).map(shown).collect::<Vec<_>>()
        })
        .collect()
}

/// Text as the first type that takes it, text itself last.
fn typed(root: &Value, schema: &Value, text: &str) -> Option<Value> {
    let types = types(root, schema);
    let allows = |word: &str| types.contains(&word);
    let options = choices(root, schema);
    let value = if allows("null") && text == "null" {
        Value::Null
    } else if let (true, Ok(flag)) = (allows("boolean"), text.parse::<bool>()) {
        Value::Bool(flag)
    } else if let (true, Ok(number)) = (allows("integer") || allows("number"), text.parse::<i64>()) {
        Value::Number(number.into())
    } else if let (true, Some(number)) = (allows("number"), text.parse::<f64>().ok().and_then(Number::from_f64)) {
        Value::Number(number)
    } else if let (true, Ok(value)) = (allows("array") || allows("object"), serde_json::from_str::<Value>(text)) {
        value
    } else if types.is_empty() || allows("string") {
        Value::String(text.to_owned())
    } else if let (true, false) = (allows("array"), text.starts_with('[')) {
        // `--config columns=a,b` is what people type for a list of words.
        Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
    } else {
        return None;
    };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (accepts_type(&types, &value) && (options.is_empty() || options.contains(&shown))).then_some(value)
}

fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let options = choices(root, schema);
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    accepts_type(&types(root, schema), value) && (options.is_empty() || options.contains(&shown))
}

fn accepts_type(types: &[&str], value: &Value) -> bool {
    let word = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => return types.is_empty() || types.contains(&"integer") || types.contains(&"number"),
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    types.is_empty() || types.contains(&word)
}

fn described(root: &Value, schema: Option<&Value>) -> String {
    let Some(schema) = schema else { return "a value".to_owned() };
    let options = choices(root, schema);
    if !options.is_empty() {
        return format!("one of {}", options.join(", "));
    }
    let mut words: Vec<&str> = types(root, schema);
    words.retain(|word| *word != "null");
    words.dedup();
    if words.is_empty() { "a value".to_owned() } else { format!("of type {}", words.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "$defs": { "bound": { "type": ["number", "null"] } },
            "properties": {
                "dataset": { "type": "string", "enum": ["yellow", "green", "fhv"], "default": "yellow" },
                "base_url": { "type": "string", "x-identity": false, "default": "https://x/" },
                "retries": { "type": "integer" },
                "max_distance": { "$ref": "#/$defs/bound", "default": 200.0 },
                "strict": { "type": "boolean" },
                "columns": { "type": "array" },
                "rules": { "type": "object", "properties": { "negative_amount": { "anyOf": [{"type": "boolean"}, {"type": "null"}] } } },
            }
        })
    }

    fn check(assignments: &[&str], expected: &str) {
        let schema = schema();
        let mut settings = Settings::new("nyc_tlc", &schema, &toml::Table::new()).unwrap();
        let result = assignments.iter().try_for_each(|assignment| settings.assign(assignment, "--config"));
        let got = match result {
            Ok(()) => Value::Object(settings.values).to_string(),
            Err(error) => format!("{}: {error}; {}", error.code(), error.hint().unwrap_or_default()),
        };
        assert_eq!(got, expected, "{assignments:?}");
    }

    #[test]
    fn values_take_the_type_of_the_schema() {
        check(&["dataset=green", "retries=3", "strict=true"], r#"{"dataset":"green","retries":3,"strict":true}"#);
        check(&["max_distance=12.5"], r#"{"max_distance":12.5}"#);
        check(&["max_distance=200"], r#"{"max_distance":200}"#);
        check(&["max_distance=null"], r#"{"max_distance":null}"#);
        check(&["base_url=http://127.0.0.1:80/?a=b"], r#"{"base_url":"http://127.0.0.1:80/?a=b"}"#);
        check(&["rules.negative_amount=false"], r#"{"rules":{"negative_amount":false}}"#);
        check(&["columns=[1,2]"], r#"{"columns":[1,2]}"#);
        check(&["columns=a, b"], r#"{"columns":["a","b"]}"#);
    }

    #[test]
    fn wrong_values_name_what_fits() {
        check(
            &["datset=green"],
            "LH0104: nyc_tlc has no sound configuration: there is no setting `datset`; did you mean `dataset`?",
        );
        check(
            &["dataset=gren"],
            "LH0104: nyc_tlc has no sound configuration: `gren` is not one of yellow, green, fhv for `dataset`; did you mean `green`?",
        );
        check(
            &["retries=many"],
            "LH0104: nyc_tlc has no sound configuration: `many` is not of type integer for `retries`; ",
        );
        check(
            &["retries=1.5"],
            "LH0104: nyc_tlc has no sound configuration: `1.5` is not of type integer for `retries`; ",
        );
        check(&["retries"], "LH0101: `retries` is not KEY=VALUE; write it as --config dataset=green");
        check(
            &["rules.other=true"],
            "LH0104: nyc_tlc has no sound configuration: there is no setting `rules.other`; there are: negative_amount",
        );
    }

    #[test]
    fn identity_leaves_out_what_does_not_matter() {
        let effective = json!({"base_url": "http://a/", "dataset": "yellow", "max_distance": 200.0});
        assert_eq!(identity(&schema(), &effective).to_string(), r#"{"dataset":"yellow","max_distance":200.0}"#);
        assert_eq!(identity(&json!({}), &effective), effective);
    }

    #[test]
    fn tables_of_the_file_are_checked() {
        let schema = schema();
        for (text, fits) in [
            ("dataset = \"green\"", true),
            ("dataset = 1", false),
            ("datset = \"green\"", false),
            ("retries = 2", true),
        ] {
            let table: toml::Table = toml::from_str(text).unwrap();
            assert_eq!(Settings::new("nyc_tlc", &schema, &table).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn an_open_schema_takes_text() {
        let schema = json!({});
        let mut settings = Settings::new("any", &schema, &toml::Table::new()).unwrap();
        settings.assign("anything=goes", "--config").unwrap();
        assert_eq!(settings.into_value(), json!({"anything": "goes"}));
        let closed = json!({"type": "object"});
        assert!(Settings::new("any", &closed, &toml::Table::new()).unwrap().assign("a=b", "--config").is_err());
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema =
            json!({"properties": {"a": {"$ref": "#/properties/a"}, "b": {"anyOf": [{"$ref": "#/properties/b"}]}}});
        let mut settings = Settings::new("any", &schema, &toml::Table::new()).unwrap();
        settings.assign("a=1", "--config").unwrap();
        settings.assign("b=1", "--config").unwrap();
    }
}
