//! `lakehost models`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Place, ReportFormat};

#[derive(Debug, Default, Args)]
pub struct ModelsArguments {
    /// Build these alone, in dbt's words: stg_yellow_trips+, path:models/marts, tag:nightly
    #[arg(long, value_name = "MODELS")]
    pub select: Vec<String>,
    /// Leave these out
    #[arg(long, value_name = "MODELS")]
    pub exclude: Vec<String>,
    /// Build the rows of these windows alone: 2024-01, 2024-01..2024-06, several with commas [default: all]
    #[arg(long, value_name = "WINDOW[..WINDOW],…", conflicts_with = "full_refresh")]
    pub windows: Option<String>,
    /// Drop incremental models and build them anew
    #[arg(long)]
    pub full_refresh: bool,
    /// The folder with dbt_project.yml [default: `models` of the pipelines in lakehost.toml, else ./dbt_project]
    #[arg(long, value_name = "DIR")]
    pub project_dir: Option<PathBuf>,
    /// Write the project's documentation to this folder afterwards; open its index.html
    #[arg(long, value_name = "DIR")]
    pub docs: Option<PathBuf>,
    /// What runs the statements [default: the profile's Trino when it names one, else duckdb]
    #[arg(long, value_enum)]
    pub engine: Option<ModelEngine>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

/// What runs the statements of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelEngine {
    /// DuckDB on this machine, over the profile's own catalog; nothing else has to run
    Duckdb,
    /// The server of [profile.NAME.trino]
    Trino,
}

impl ModelEngine {
    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb",
            Self::Trino => "trino",
        }
    }
}
