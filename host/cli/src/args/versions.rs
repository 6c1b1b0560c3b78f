//! `table rollback|tag|branch|publish|discard`: which state of a table readers see, and what it is called.

use clap::{Args, Subcommand};

use super::{Place, ReportFormat};

#[derive(Debug, Subcommand)]
pub enum VersionCommand {
    /// Bring a table back to a snapshot that it was at before; windows that were loaded since load again
    Rollback(RollbackArguments),
    /// Name a snapshot for good
    Tag(TagArguments),
    /// Start a branch at a snapshot
    Branch(BranchArguments),
    /// Bring a branch that a failed check left behind to the table's readers
    Publish(PublishArguments),
    /// Drop a branch with the snapshots and files that only it has
    Discard(DiscardArguments),
}

#[derive(Debug, Args)]
pub struct RollbackArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// A snapshot id, a time, a branch or a tag
    #[arg(value_name = "WHEN")]
    pub to: String,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct TagArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A snapshot id, a time, a branch or a tag [default: the table as it is]
    #[arg(long, value_name = "WHEN", conflicts_with = "drop")]
    pub at: Option<String>,
    /// Expiry may take it when it is older: "30 days"
    #[arg(long, value_name = "SPAN", conflicts_with = "drop")]
    pub keep: Option<String>,
    /// Forget the name; its snapshot stays until it expires
    #[arg(long)]
    pub drop: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct BranchArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A snapshot id, a time, a branch or a tag [default: the table as it is]
    #[arg(long, value_name = "WHEN")]
    pub at: Option<String>,
    /// Expiry may take it when it is older: "30 days"
    #[arg(long, value_name = "SPAN")]
    pub keep: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct PublishArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[arg(value_name = "BRANCH")]
    pub branch: String,
    /// Publish it whatever the pipeline's checks say
    #[arg(long)]
    pub unchecked: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct DiscardArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[arg(value_name = "BRANCH")]
    pub branch: String,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

impl VersionCommand {
    /// How the verb answers.
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::Rollback(arguments) => arguments.format,
            Self::Tag(arguments) => arguments.format,
            Self::Branch(arguments) => arguments.format,
            Self::Publish(arguments) => arguments.format,
            Self::Discard(arguments) => arguments.format,
        }
    }
}
