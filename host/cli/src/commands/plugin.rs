//! `lakehost plugin inspect FILE`: what a component says of itself, and what it asks for.

use std::path::PathBuf;

use lakehost_pipeline::{Fault, Granularity};
use lakehost_wasm::{Inspection, Kind};
use serde_json::Value;

use crate::args::{PluginInspectArguments, ReportFormat};
use crate::config::resolve::PluginRequest;
use crate::config::values::Settings;
use crate::plugins::Plugins;
use crate::render::line;
use crate::table::{Align, TextTable};
use crate::{embedded, exit_code, memory, signals, warehouse};

/// Loads the component without any grant and prints what it says.
pub fn inspect(arguments: &PluginInspectArguments) -> Result<u8, Fault> {
    let request =
        PluginRequest { name: arguments.plugin.clone(), folder: PathBuf::from("."), table: toml::Table::new() };
    let component = embedded::find(&request)?;
    let runtime = warehouse::runtime()?;
    let plugins = Plugins::start(&runtime, memory::DEFAULT_BYTES, signals::stop_flag())?;
    let plugin = plugins.load(&component)?;
    let mut found = plugin.inspect()?;
    if !arguments.config.is_empty() {
        // What is asked for depends on the settings.
        let mut settings = Settings::new(&found.about.id.name, &found.about.config_schema, &request.table)?;
        arguments.config.iter().try_for_each(|assignment| settings.assign(assignment, "--config"))?;
        found.asks = Ok(plugins.host.asks(&plugin, &settings.into_value())?);
    }
    let shipped = embedded::vouches_for(plugin.digest());
    match arguments.format {
        ReportFormat::Json => {
            let mut json = found.to_json();
            if let Value::Object(entries) = &mut json {
                entries.insert("shipped".to_owned(), Value::Bool(shipped));
            }
            super::print_json(&json)?;
        }
        ReportFormat::Text => super::print(&text(&found, shipped))?,
    }
    Ok(exit_code::SUCCESS)
}

fn text(found: &Inspection, shipped: bool) -> String {
    let about = &found.about;
    let known = if shipped { "ships with this lakehost" } else { "unknown to this lakehost" };
    let mut text = format!(
        "{} {}\n  {}\n\n  contract {}\n  sha256   {} ({known})\n  size     {}\n",
        found.kind.word(),
        line(&about.id.to_string()),
        line(&about.description),
        line(&found.contract),
        about.id.sha256,
        memory::shown(found.size_bytes)
    );
    match about.granularity {
        None => {}
        Some(Granularity::None) => text.push_str("  windows  none\n"),
        Some(width) => text.push_str(&format!("  windows  by the {width}: --{width} {}\n", width.example())),
    }
    if found.kind == Kind::Source {
        let asks = match &found.asks {
            Ok(asks) if asks.is_empty() => "nothing".to_owned(),
            Ok(asks) => asks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Err(reason) => format!("cannot say without settings: {}", line(reason)),
        };
        text.push_str(&format!("  asks     {asks}\n"));
    }
    text.push_str(&settings(&about.config_schema));
    text
}

/// The settings that a schema lists, a line each.
fn settings(schema: &Value) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|map| !map.is_empty()) else {
        return "\nno settings\n".to_owned();
    };
    let mut table = TextTable::new([
        ("setting", Align::Left),
        ("type", Align::Left),
        ("default", Align::Left),
        ("about", Align::Left),
    ]);
    for (key, property) in properties {
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let kind = match (property.get("enum").and_then(Value::as_array), property.get("type")) {
            (Some(options), _) => options.iter().map(shown).collect::<Vec<_>>().join(" | "),
            (None, Some(Value::Array(types))) => types.iter().map(shown).collect::<Vec<_>>().join(" | "),
            (None, kind) => kind.map(shown).unwrap_or_default(),
        };
        let default = property.get("default").map(shown).unwrap_or_default();
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        table.row([key.as_str(), &kind, &default, about]);
    }
    format!("\n{}", table.render())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_listed() {
        let schema = json!({"properties": {
            "dataset": {"enum": ["yellow", "green"], "default": "yellow", "description": "which trips"},
            "bound": {"type": ["number", "null"]},
        }});
        let text = settings(&schema);
        assert!(text.contains("dataset  yellow | green  yellow   which trips"), "{text}");
        assert!(text.contains("bound    number | null"), "{text}");
        assert_eq!(settings(&json!(true)), "\nno settings\n");
    }
}
