//! `lakehost snapshots`, and who answers it and `lakehost query`.

use clap::{Args, ValueEnum};

use super::{ErrorFormat, Place};

#[derive(Debug, Args)]
pub struct SnapshotsArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// The newest so many, 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub limit: usize,
    /// Also the table as it is against an earlier state: a time, a snapshot id, a branch or tag
    #[arg(long, value_name = "WHEN")]
    pub against: Option<String>,
    /// Who answers: this process, or the Trino of the profile
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,
    #[arg(long, value_enum, default_value_t)]
    pub format: HistoryFormat,
    #[command(flatten)]
    pub place: Place,
}

/// How a history is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    #[default]
    Text,
    Json,
    /// One page with charts that needs no other file
    Html,
}

/// Who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// This process
    #[default]
    Embedded,
    /// The server of [profile.NAME.trino]
    Trino,
}

impl From<HistoryFormat> for ErrorFormat {
    fn from(format: HistoryFormat) -> Self {
        match format {
            HistoryFormat::Text | HistoryFormat::Html => Self::None,
            HistoryFormat::Json => Self::Json,
        }
    }
}
