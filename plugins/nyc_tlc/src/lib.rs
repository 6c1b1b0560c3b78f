//! A lakehost source: the monthly trip records of the New York Taxi and Limousine Commission.
//!
//! A window is a month, a month is one Parquet file at a known address. This plugin knows addresses ([`month`]) and what the columns
//! were called and became over the years ([`schema`]). The host fetches and decodes; rows never enter the plugin.
//!
//! ```text
//! lakehost run --plugin nyc_tlc.wasm --month 2024-01
//! lakehost run --plugin nyc_tlc.wasm --config dataset=green --month 2024-01
//! ```

pub mod month;
pub mod schema;

use lakehost_sdk::config::{Config, ConfigSchema, Key};
use lakehost_sdk::{
    Ask, Category, Dataset, FetchRequest, Granularity, PlanRequest, PluginError, Result, Rows, Source, SourceSpec,
    Split, fetch, read_parquet, stat,
};

pub use month::Month;
pub use schema::{Names, TripKind};

/// Where the TLC publishes.
pub const TLC_BASE_URL: &str = "https://d37ci6vzurychx.cloudfront.net/trip-data/";

/// The plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct TripConfig {
    /// Which trips.
    pub dataset: TripKind,
    /// Where the files are; a mirror's address loads the same data.
    pub base_url: String,
    /// How columns are named in the table.
    pub names: Names,
}

impl Config for TripConfig {
    fn schema() -> ConfigSchema {
        ConfigSchema::new()
            .key(
                Key::choice("dataset", &["yellow", "green", "fhv", "fhvhv"])
                    .default("yellow")
                    .about("which trips to load"),
            )
            .key(
                Key::text("base_url")
                    .default(TLC_BASE_URL)
                    .about("folder of the monthly files: https, http, s3 or file; a mirror holds the same data")
                    .not_identity(),
            )
            .key(
                Key::choice("names", &["upstream", "snake_case"])
                    .default("upstream")
                    .about("column names: as the TLC writes them, or snake_case and alike for all trips"),
            )
    }
}

impl TripConfig {
    /// The folder as a URL prefix that ends in a slash.
    fn prefix(&self) -> Result<String> {
        let wrong = |what: &str| {
            PluginError::config(format!("key `base_url` {what}: `{}`", self.base_url)).with("key", "base_url")
        };
        let (scheme, rest) = self.base_url.split_once("://").ok_or_else(|| wrong("is no URL"))?;
        if !["https", "http", "s3", "file"].contains(&scheme) {
            return Err(wrong("must begin with https, http, s3 or file"));
        }
        if rest.is_empty() || rest.contains(['?', '#']) {
            return Err(wrong("must name a folder, without query or fragment"));
        }
        Ok(format!("{}/", self.base_url.trim_end_matches('/')))
    }
}

/// The trips of one kind, month by month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlcMonths {
    config: TripConfig,
    prefix: String,
}

impl TlcMonths {
    fn kind(&self) -> TripKind {
        self.config.dataset
    }

    /// Upstream answers 403 for a month that it has not published, and another server 404. So does a wrong folder: the URL tells.
    fn explain(url: &str, file: &str, error: PluginError) -> PluginError {
        let missing = matches!(error.status(), Some(403 | 404)) || error.category == Category::NotFound;
        if !missing || error.category == Category::NotGranted {
            return error.with("file", file);
        }
        let status = error.status().map(|status| status.to_string());
        let explained = PluginError::not_yet_available(format!("{file} is not published yet"))
            .with("file", file)
            .with("url", without_user(url));
        status.into_iter().fold(explained, |explained, status| explained.with("status", status))
    }
}

impl Source for TlcMonths {
    type Config = TripConfig;

    fn spec() -> SourceSpec {
        SourceSpec {
            name: "nyc_tlc",
            version: env!("CARGO_PKG_VERSION"),
            description: "monthly trip records of the New York Taxi and Limousine Commission",
            granularity: Granularity::Month,
        }
    }

    fn asks(config: &TripConfig) -> Result<Vec<Ask>> {
        Ok(vec![Ask::UrlPrefix(config.prefix()?)])
    }

    fn configure(config: TripConfig) -> Result<Self> {
        Ok(Self { prefix: config.prefix()?, config })
    }

    fn discover(&self) -> Result<Vec<Dataset>> {
        Ok(vec![Dataset {
            name: self.kind().name().to_owned(),
            default_table: format!("raw.{}_trips", self.kind().name()),
            schema: self.kind().table_schema(self.config.names),
            key: Vec::new(),
            cursor: None,
            time_zone: Some("America/New_York".to_owned()),
        }])
    }

    fn plan(&self, request: &PlanRequest) -> Result<Vec<Split>> {
        if request.dataset != self.kind().name() {
            let message = format!("no data set {}; this configuration has {}", request.dataset, self.kind().name());
            return Err(PluginError::not_found(message).with("dataset", &request.dataset));
        }
        let Some(window) = &request.window else {
            return Err(PluginError::config("trip records are read month by month: give a window"));
        };
        let month = Month::of_window(window)?;
        let file = month.file_name(self.kind());
        let url = format!("{}{file}", self.prefix);
        let entry = stat(&url).map_err(|error| Self::explain(&url, &file, error))?;
        let strong_etag = entry.etag.filter(|etag| !etag.starts_with("W/"));
        Ok(vec![Split {
            id: format!("{}-{month}", self.kind().name()),
            description: serde_json::json!({ "month": month.to_string() }),
            identity: strong_etag.map(|etag| format!("{etag}:{}", entry.size)),
            bytes: Some(entry.size),
        }])
    }

    fn read(&self, split: &Split) -> Result<Rows> {
        let month = split.description.get("month").and_then(|month| month.as_str()).and_then(Month::parse);
        let month = month.ok_or_else(|| {
            PluginError::internal(format!("split {} does not name its month: {}", split.id, split.description))
        })?;
        let file = month.file_name(self.kind());
        let url = format!("{}{file}", self.prefix);
        let blob = fetch(&FetchRequest::get(&url)).map_err(|error| Self::explain(&url, &file, error))?;
        let projection = self.kind().projection(self.config.names);
        let reader = read_parquet(&blob, Some(&projection)).map_err(|error| error.with("file", &file))?;
        Ok(Rows::FromHost(reader))
    }
}

/// A URL fit to be shown: a name and a password before the host are left out.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

lakehost_sdk::export_source!(TlcMonths);

#[cfg(test)]
mod tests;
