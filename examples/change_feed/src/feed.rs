//! What upstream has, and how far it is read.

use lakehost_sdk::{PluginError, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `feed.json`: the parts in their order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Feed {
    /// File names in the feed's folder.
    pub parts: Vec<String>,
}

/// How far a feed is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Parts that are read.
    pub parts: usize,
    /// The last of them: a feed that was begun anew is told by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl Feed {
    /// Reads `feed.json`.
    ///
    /// # Errors
    /// `invalid-data`, when it is no list of plain file names.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let feed: Self = serde_json::from_slice(bytes)
            .map_err(|error| PluginError::data(format!("feed.json is no list of parts: {error}")))?;
        let is_name = |part: &&String| !part.is_empty() && !part.contains(['/', '\\', '?', '#']) && *part != "..";
        match feed.parts.iter().find(|part| !is_name(part)) {
            Some(part) => Err(PluginError::data(format!("feed.json lists `{part}`, which is no file name"))),
            None => Ok(feed),
        }
    }

    /// The parts that came after a state.
    ///
    /// # Errors
    /// `invalid-data`, when the feed is not the one that the state is about.
    pub fn after(&self, state: &State) -> Result<&[String]> {
        let last = state.parts.checked_sub(1).map(|last| self.parts.get(last));
        match (last, self.parts.get(state.parts..)) {
            (Some(found), Some(new)) if found == state.last.as_ref() => Ok(new),
            (None, Some(new)) => Ok(new),
            _ => {
                let last = state.last.as_deref().unwrap_or("?");
                Err(PluginError::data(format!(
                    "the feed has {} parts, and the table was read up to part {} ({last}): it is another feed, or was begun anew",
                    self.parts.len(),
                    state.parts
                )))
            }
        }
    }
}

impl State {
    /// Reads the state that a load left.
    ///
    /// # Errors
    /// `invalid-data`, when another plugin made it.
    pub fn parse(json: &Value) -> Result<Self> {
        Self::deserialize(json)
            .map_err(|error| PluginError::data(format!("the state is not one of this plugin: {error}")))
    }

    /// The state once these parts are read, too.
    #[must_use]
    pub fn and(&self, parts: &[String]) -> Self {
        Self { parts: self.parts + parts.len(), last: parts.last().or(self.last.as_ref()).cloned() }
    }

    /// As it is committed.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
