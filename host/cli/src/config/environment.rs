//! `LAKEHOST__SECTION__KEY` variables, laid over `lakehost.toml`.
//!
//! `LAKEHOST__PROFILE__LOCAL__WAREHOUSE=/data` is `profile.local.warehouse = "/data"`. Names match keys that the file already has whatever their
//! case; a value that reads as TOML (`true`, `5`, `["a"]`) is one, anything else is text.

use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::file::{File, from_toml};
use crate::error::Error;

/// What every such variable begins with.
pub const PREFIX: &str = "LAKEHOST__";

/// The variables that belong to us, in order of their names.
pub fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let mut ours: Vec<(String, String)> = all
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    ours
}

/// The file with the variables over it. `text` has parsed before, so what is wrong now comes from a variable.
pub fn overlay(text: &str, variables: &[(String, String)]) -> Result<File, Error> {
    let base: Table = toml::from_str(text).map_err(|error| from_toml(&error, place(PREFIX), None))?;
    File::deserialize(with(&base, variables.iter())?).map_err(|error| {
        // Keys may need each other, so the one to name is that without which the others are sound.
        let sound_without = |name: &str| {
            let others = with(&base, variables.iter().filter(|(other, _)| other != name));
            others.is_ok_and(|table| File::deserialize(table).is_ok())
        };
        let name = variables.iter().map(|(name, _)| name.as_str()).find(|name| sound_without(name)).unwrap_or(PREFIX);
        let key = name.rsplit("__").next().filter(|key| !key.is_empty()).map(str::to_lowercase);
        from_toml(&error, place(name), key.as_deref())
    })
}

fn with<'a>(base: &Table, variables: impl Iterator<Item = &'a (String, String)>) -> Result<Table, Error> {
    let mut table = base.clone();
    for (name, value) in variables {
        let path: Vec<&str> = name.strip_prefix(PREFIX).unwrap_or_default().split("__").collect();
        let laid = set(&mut table, &path, read(value));
        laid.map_err(|message| Error::Config { place: place(name), message, hint: None })?;
    }
    Ok(table)
}

fn place(name: &str) -> String {
    format!("environment variable {name}")
}

fn read(value: &str) -> Value {
    let line = format!("value = {value}");
    let parsed = toml::from_str::<Table>(&line).ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(value.to_owned()))
}

fn set(table: &mut Table, path: &[&str], value: Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_first().filter(|(first, _)| !first.is_empty()) else {
        return Err("write it as LAKEHOST__SECTION__KEY".to_owned());
    };
    let key = table.keys().find(|key| key.eq_ignore_ascii_case(first)).cloned().unwrap_or_else(|| first.to_lowercase());
    if rest.is_empty() {
        table.insert(key, value);
        return Ok(());
    }
    match table.entry(key).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, value),
        other => Err(format!("`{}` is a {}, not a section", first.to_lowercase(), other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;

    fn laid(text: &str, name: &str, value: &str) -> Result<File, String> {
        overlay(text, &[(name.to_owned(), value.to_owned())]).map_err(|error| {
            format!("{}: {error}", error.inputs().first().map(|(_, place)| place.clone()).unwrap_or_default())
        })
    }

    #[test]
    fn variables_win_over_the_file() {
        let text = "[profile.local]\nwarehouse = \"a\"\n[pipeline.Trips]\nplugin = \"x.wasm\"\n";
        let file = laid(text, "LAKEHOST__PROFILE__LOCAL__WAREHOUSE", "/data").unwrap();
        assert_eq!(file.profile["local"].warehouse.as_deref(), Some("/data"));
        let file = laid(text, "LAKEHOST__PIPELINE__TRIPS__MAX_REJECTED", "5%").unwrap();
        assert_eq!(file.pipeline["Trips"].max_rejected.map(|share| share.0), Some(0.05));
        let file = laid(text, "LAKEHOST__PIPELINE__TRIPS__METADATA_COLUMNS", "true").unwrap();
        assert!(file.pipeline["Trips"].metadata_columns);
        let file = laid("", "LAKEHOST__PROFILE__LOCAL__MEMORY", "1GiB").unwrap();
        assert_eq!(file.profile["local"].memory.as_deref(), Some("1GiB"));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = laid("", "LAKEHOST__PROFILE__LOCAL__WAREHOSE", "x").unwrap_err();
        assert_eq!(error, "environment variable LAKEHOST__PROFILE__LOCAL__WAREHOSE: unknown key `warehose`");
        let error =
            laid("[profile.local]\nwarehouse=\"a\"\n", "LAKEHOST__PROFILE__LOCAL__WAREHOUSE__X", "1").unwrap_err();
        assert!(error.ends_with("`warehouse` is a string, not a section"), "{error}");
        assert!(laid("", "LAKEHOST__", "1").is_err());
    }

    #[test]
    fn keys_that_need_each_other_come_in_any_order() {
        let uri = ("LAKEHOST__PROFILE__X__TRINO__URI".to_owned(), "http://127.0.0.1:8080".to_owned());
        let catalog = ("LAKEHOST__PROFILE__X__TRINO__CATALOG".to_owned(), "lake".to_owned());
        let file = overlay("", &[catalog.clone(), uri]).unwrap();
        assert_eq!(file.profile["x"].trino.as_ref().unwrap().catalog, "lake");
        let other = ("LAKEHOST__PROFILE__X__WAREHOUSE".to_owned(), "w".to_owned());
        let error = overlay("", &[catalog.clone(), other]).unwrap_err();
        assert_eq!(error.inputs()[0].1, format!("environment variable {}", catalog.0));
    }

    #[test]
    fn other_variables_are_left_alone() {
        let all = [("PATH", "/bin"), ("LAKEHOST_FILE", "x"), ("LAKEHOST__A__B", "1")];
        let ours = variables(all.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        assert_eq!(ours, [("LAKEHOST__A__B".to_owned(), "1".to_owned())]);
    }
}
