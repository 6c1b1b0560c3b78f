//! `lakehost table …`: looking into a table.

use clap::{Args, Subcommand};

use super::{Place, ReportFormat};

#[derive(Debug, Subcommand)]
pub enum UpkeepCommand {
    /// The files of a table, or how their sizes spread
    Files(FilesArguments),
    /// What the files of each partition add up to
    Partitions(PartitionsArguments),
    /// Branches and tags of a table
    Refs(LogArguments),
    /// Which snapshot was current when, rollbacks included
    History(LogArguments),
    /// What changed between two states of a table, by window
    Diff(DiffArguments),
    /// Where the rows of a snapshot came from: objects, plugins, run
    Provenance(ProvenanceArguments),
}

impl UpkeepCommand {
    /// How the answer is printed.
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::Files(arguments) => arguments.format,
            Self::Partitions(arguments) => arguments.format,
            Self::Refs(arguments) | Self::History(arguments) => arguments.format,
            Self::Diff(arguments) => arguments.format,
            Self::Provenance(arguments) => arguments.format,
        }
    }
}

#[derive(Debug, Args)]
pub struct FilesArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Of an earlier state: a time, a snapshot id, a branch or tag
    #[arg(long, value_name = "WHEN")]
    pub as_of: Option<String>,
    /// How many files there are of which size, instead of each
    #[arg(long)]
    pub histogram: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct PartitionsArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Of an earlier state: a time, a snapshot id, a branch or tag
    #[arg(long, value_name = "WHEN")]
    pub as_of: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct LogArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct DiffArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Two states, each a time, a snapshot id, a branch or tag: v1..main, 2024-01-31..now
    #[arg(value_name = "A..B")]
    pub states: String,
    /// Show rows of changed windows that only one of the two has, at most so many of each
    #[arg(long, value_name = "ROWS", num_args = 0..=1, default_missing_value = "10")]
    pub rows: Option<usize>,
    /// Memory for comparing rows [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct ProvenanceArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// A snapshot id, a time, a branch or tag
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}
