//! What `lakehost plugin inspect FILE` shows.

use lakehost_pipeline::ports::PluginId;
use serde_json::{Value, json};

use crate::component::Kind;
use crate::error::Result;
use crate::grants::Ask;
use crate::plugin::{About, Plugin};

/// A plugin, looked at without any grant.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The name under which it was loaded.
    pub file: String,
    pub kind: Kind,
    pub size_bytes: u64,
    /// `lakehost:plugin/source@0.1.0`.
    pub contract: String,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    pub about: About,
    /// What it needs when nothing is configured; the reason when it cannot say that without a configuration.
    pub asks: std::result::Result<Vec<Ask>, String>,
}

impl Inspection {
    /// The plugin as it is recorded.
    pub fn id(&self) -> &PluginId {
        &self.about.id
    }

    /// The same for `--format json`.
    pub fn to_json(&self) -> Value {
        let asks = match &self.asks {
            Ok(asks) => asks.iter().map(|ask| Value::from(ask.to_string())).collect(),
            Err(_) => Value::Null,
        };
        json!({
            "file": self.file,
            "kind": self.kind.word(),
            "name": self.about.id.name,
            "version": self.about.id.version,
            "sha256": self.about.id.sha256,
            "size_bytes": self.size_bytes,
            "contract": self.contract,
            "imports": self.imports,
            "description": self.about.description,
            "granularity": self.about.granularity.map(|granularity| granularity.word()),
            "asks": asks,
            "config_schema": self.about.config_schema,
        })
    }
}

impl Plugin {
    /// Asks the plugin about itself.
    ///
    /// # Errors
    /// As [`Plugin::about`].
    pub fn inspect(&self) -> Result<Inspection> {
        let about = self.about()?.clone();
        let asks = self.host().asks(self, &json!({})).map_err(|error| error.to_string());
        Ok(Inspection {
            file: self.name().to_owned(),
            kind: self.kind(),
            size_bytes: self.size_bytes(),
            contract: self.contract().to_owned(),
            imports: self.imports().to_vec(),
            about,
            asks,
        })
    }
}
