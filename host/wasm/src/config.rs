//! A plugin's configuration against the JSON Schema that it publishes: defaults filled in, unknown keys and wrong values named.
//!
//! The schema is text of a plugin: only the words below are understood, everything else in it is left to the plugin's own check.

use serde_json::{Map, Value};

use crate::error::shown;

/// What is wrong, with the nearest known key when one was misspelt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub detail: String,
    pub nearest: Option<String>,
}

/// Deepest nesting of values that is checked.
const DEPTH_LIMIT: usize = 16;

/// The effective configuration: `given` with the defaults of `schema`, its keys sorted at every level.
pub(crate) fn effective(schema: &Value, given: &Value) -> Result<Value, Problem> {
    if !given.is_object() {
        return Err(problem("a configuration is a JSON object"));
    }
    let mut value = given.clone();
    fill(schema, &mut value, "", 0)?;
    Ok(sorted(&value))
}

/// The same value with the keys of all objects in order: two configurations that mean the same are the same text.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn problem(detail: impl Into<String>) -> Problem {
    Problem { detail: detail.into(), nearest: None }
}

fn named(path: &str) -> String {
    format!("`{}`", shown(path, 100))
}

fn fill(schema: &Value, value: &mut Value, path: &str, depth: usize) -> Result<(), Problem> {
    if depth > DEPTH_LIMIT {
        return Err(problem(format!("{} nests too deep", named(path))));
    }
    if let Some(types) = schema.get("type") {
        let allowed: Vec<&str> = match types {
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !allowed.is_empty() && !allowed.iter().any(|wanted| is_type(value, wanted)) {
            return Err(problem(format!(
                "{} is {}, and should be {}",
                named(path),
                type_of(value),
                allowed.join(" or ")
            )));
        }
    }
    if let Some(Value::Array(choices)) = schema.get("enum")
        && !choices.contains(value)
    {
        let list: Vec<String> = choices.iter().take(20).map(|choice| shown(&plain(choice), 60)).collect();
        return Err(Problem {
            detail: format!(
                "{} is {}, and should be one of {}",
                named(path),
                shown(&plain(value), 60),
                list.join(", ")
            ),
            nearest: value.as_str().and_then(|text| nearest(text, choices.iter().filter_map(Value::as_str))),
        });
    }
    bounds(schema, value, path)?;
    match value {
        Value::Object(entries) => object(schema, entries, path, depth),
        Value::Array(items) => match schema.get("items") {
            Some(schema) => items
                .iter_mut()
                .enumerate()
                .try_for_each(|(index, item)| fill(schema, item, &format!("{path}[{index}]"), depth + 1)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn bounds(schema: &Value, value: &Value, path: &str) -> Result<(), Problem> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let (measure, least, most) = match value {
        Value::Number(number) => (number.as_f64(), bound("minimum"), bound("maximum")),
        Value::String(text) => (Some(text.chars().count() as f64), bound("minLength"), bound("maxLength")),
        Value::Array(items) => (Some(items.len() as f64), bound("minItems"), bound("maxItems")),
        _ => (None, None, None),
    };
    let Some(measure) = measure else { return Ok(()) };
    let unit = if value.is_number() { "" } else { " long" };
    if let Some(least) = least.filter(|least| measure < *least) {
        return Err(problem(format!("{} is {measure}{unit}, and should be at least {least}", named(path))));
    }
    if let Some(most) = most.filter(|most| measure > *most) {
        return Err(problem(format!("{} is {measure}{unit}, and should be at most {most}", named(path))));
    }
    Ok(())
}

fn object(schema: &Value, entries: &mut Map<String, Value>, path: &str, depth: usize) -> Result<(), Problem> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    if schema.get("additionalProperties") == Some(&Value::Bool(false))
        && let Some(unknown) = entries.keys().find(|key| !properties.contains_key(*key))
    {
        let known: Vec<String> = properties.keys().map(|key| shown(key, 60)).collect();
        return Err(Problem {
            detail: format!("there is no key {}; the keys are {}", named(&below(unknown)), known.join(", ")),
            nearest: nearest(unknown, properties.keys().map(String::as_str)),
        });
    }
    for (key, property) in properties {
        if !entries.contains_key(key)
            && let Some(default) = property.get("default")
        {
            entries.insert(key.clone(), default.clone());
        }
        if let Some(value) = entries.get_mut(key) {
            fill(property, value, &below(key), depth + 1)?;
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    let missing = required.into_iter().flatten().filter_map(Value::as_str).find(|key| !entries.contains_key(*key));
    match missing {
        Some(key) => Err(problem(format!("{} is missing", named(&below(key))))),
        None => Ok(()),
    }
}

fn is_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| shown(candidate, 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["dataset"],
            "properties": {
                "dataset": {"type": "string", "enum": ["yellow", "green"]},
                "base_url": {"type": "string", "default": "https://h/", "minLength": 3},
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 10},
                "nested": {"type": "object", "properties": {"b": {"default": 1}, "a": {"default": 2}}},
                "list": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            },
        })
    }

    fn check(given: Value, expected: &str) {
        let got = match effective(&schema(), &given) {
            Ok(value) => value.to_string(),
            Err(problem) => match problem.nearest {
                Some(nearest) => format!("{} ({nearest})", problem.detail),
                None => problem.detail,
            },
        };
        assert_eq!(got, expected, "{given}");
    }

    #[test]
    fn defaults_are_filled_in_and_mistakes_named() {
        check(json!({"dataset": "green"}), r#"{"base_url":"https://h/","dataset":"green"}"#);
        check(
            json!({"nested": {}, "dataset": "green", "base_url": "file:///"}),
            r#"{"base_url":"file:///","dataset":"green","nested":{"a":2,"b":1}}"#,
        );
        check(json!({}), "`dataset` is missing");
        check(
            json!({"datset": "green"}),
            "there is no key `datset`; the keys are dataset, base_url, limit, nested, list (dataset)",
        );
        check(json!({"dataset": "grean"}), "`dataset` is grean, and should be one of yellow, green (green)");
        check(json!({"dataset": 5}), "`dataset` is a number, and should be string");
        check(json!({"dataset": "green", "limit": 11}), "`limit` is 11, and should be at most 10");
        check(json!({"dataset": "green", "limit": 1.5}), "`limit` is a number, and should be integer or null");
        check(json!({"dataset": "green", "base_url": "x"}), "`base_url` is 1 long, and should be at least 3");
        check(json!({"dataset": "green", "list": ["a", 1]}), "`list[1]` is a number, and should be string");
        check(json!([]), "a configuration is a JSON object");
    }
}
