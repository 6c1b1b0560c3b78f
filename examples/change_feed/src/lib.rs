//! A lakehost source with a state: an append-only feed of changed rows, read on from where the last committed load ended.
//!
//! Upstream is a folder: `feed.json` lists part files ([`feed`]), a part has one JSON object a line ([`lines`]). The state says how many parts
//! are read. The host keeps it with the rows, in one commit; this plugin only says what it will be.

pub mod feed;
pub mod lines;

use std::cell::RefCell;
use std::sync::Arc;

use lakehost_sdk::arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lakehost_sdk::config::{Config, ConfigSchema, Key};
use lakehost_sdk::{
    Ask, Dataset, FetchRequest, Granularity, PlanRequest, PluginError, Result, Rows, Source, SourceSpec, Split, fetch,
    stat,
};
use serde_json::Value;

pub use feed::{Feed, State};

/// The plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct FeedConfig {
    /// What the rows are called; each name has a state of its own.
    pub dataset: String,
    /// The folder of the feed.
    pub base_url: String,
    /// So many parts a run, at most.
    pub max_parts: u64,
}

impl Config for FeedConfig {
    fn schema() -> ConfigSchema {
        ConfigSchema::new()
            .key(
                Key::text("dataset")
                    .default("changes")
                    .about("what the rows are called; each name has a state of its own"),
            )
            .key(Key::text("base_url").required().about("folder that has feed.json and its parts").not_identity())
            .key(
                Key::integer("max_parts")
                    .default(0)
                    .about("so many parts a run, 0 for all that are new")
                    .not_identity(),
            )
    }
}

/// The feed of one folder.
#[derive(Debug)]
pub struct ChangeFeed {
    dataset: String,
    prefix: String,
    max_parts: usize,
    /// The state once everything that was planned is read.
    planned: RefCell<Option<State>>,
}

/// The columns of a change.
pub fn schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("updated_at", utc, true),
    ]))
}

fn prefix(config: &FeedConfig) -> Result<String> {
    if !config.base_url.contains("://") {
        return Err(PluginError::config("key `base_url` is no URL").with("key", "base_url"));
    }
    Ok(format!("{}/", config.base_url.trim_end_matches('/')))
}

impl Source for ChangeFeed {
    type Config = FeedConfig;

    fn spec() -> SourceSpec {
        SourceSpec {
            name: "change_feed",
            version: env!("CARGO_PKG_VERSION"),
            description: "an append-only feed of changed rows, read on from where the last load ended",
            granularity: Granularity::None,
        }
    }

    fn asks(config: &FeedConfig) -> Result<Vec<Ask>> {
        Ok(vec![Ask::UrlPrefix(prefix(config)?)])
    }

    fn configure(config: FeedConfig) -> Result<Self> {
        let max_parts = usize::try_from(config.max_parts).unwrap_or(usize::MAX);
        Ok(Self { prefix: prefix(&config)?, dataset: config.dataset, max_parts, planned: RefCell::new(None) })
    }

    fn discover(&self) -> Result<Vec<Dataset>> {
        Ok(vec![Dataset {
            name: self.dataset.clone(),
            default_table: format!("raw.{}", self.dataset),
            schema: schema(),
            key: vec!["id".to_owned()],
            cursor: Some("updated_at".to_owned()),
            time_zone: Some("UTC".to_owned()),
        }])
    }

    fn plan(&self, request: &PlanRequest) -> Result<Vec<Split>> {
        let url = format!("{}feed.json", self.prefix);
        let feed = Feed::parse(&fetch(&FetchRequest::get(&url))?.read_all()?)?;
        let state = request.state.as_ref().map(State::parse).transpose()?.unwrap_or_default();
        let new = feed.after(&state)?;
        let new = if self.max_parts == 0 { new } else { new.get(..self.max_parts.min(new.len())).unwrap_or(new) };
        let splits = new.iter().map(|part| {
            let entry = stat(&format!("{}{part}", self.prefix))?;
            let etag = entry.etag.filter(|etag| !etag.starts_with("W/"));
            Ok(Split {
                id: part.clone(),
                description: serde_json::json!({ "part": part }),
                identity: etag.map(|etag| format!("{etag}:{}", entry.size)),
                bytes: Some(entry.size),
            })
        });
        let splits = splits.collect::<Result<Vec<_>>>()?;
        *self.planned.borrow_mut() = Some(state.and(new));
        Ok(splits)
    }

    fn read(&self, split: &Split) -> Result<Rows> {
        let part = split.description.get("part").and_then(Value::as_str);
        let part = part.ok_or_else(|| PluginError::internal(format!("split {} does not name its part", split.id)))?;
        let blob = fetch(&FetchRequest::get(format!("{}{part}", self.prefix)))?;
        Ok(Rows::FromPlugin(Box::new(lines::Lines::new(part, blob, schema()))))
    }

    fn checkpoint(&self, _: &PlanRequest) -> Result<Option<Value>> {
        let planned = self.planned.borrow();
        let state = planned.as_ref().ok_or_else(|| PluginError::internal("a checkpoint comes after a plan"))?;
        Ok(Some(state.to_json()))
    }
}

lakehost_sdk::export_source!(ChangeFeed);

#[cfg(test)]
mod tests;
