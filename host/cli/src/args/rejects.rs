//! `rejects list|show`: rows that a rule, a cast or a contract took out.

use clap::{Args, Subcommand};

use super::{Place, PluginArguments, ReportFormat, RunArguments};

#[derive(Debug, Subcommand)]
pub enum RejectsCommand {
    /// The tables that have rejected rows, with their rows by rule
    List(RejectsListArguments),
    /// Rejected rows of a table's present loads, as they came from the source
    Show(RejectsShowArguments),
    /// Run rejected rows through the present cleaners; those that pass move into the table
    Replay(Box<RejectsReplayArguments>),
}

#[derive(Debug, Args)]
pub struct RejectsListArguments {
    /// One table; all without it
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RejectsShowArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// One window: 2024-01
    #[arg(long, value_name = "WINDOW")]
    pub window: Option<String>,
    /// One rule: negative_amount, cast:fare_amount, contract:new_fee
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// At most so many rows, 0 for all
    #[arg(long, value_name = "ROWS", default_value_t = 20)]
    pub limit: usize,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RejectsReplayArguments {
    /// The table that the rows are to move into
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Windows: 2024-01, 2024-01..2024-06 [default: all that have rejected rows]
    #[arg(long, value_name = "WINDOW[..WINDOW]")]
    pub window: Option<String>,
    /// Only rows that this rule rejected: negative_amount, cast:fare_amount, contract:new_fee
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// Say what would pass, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go on with the next window after a failure
    #[arg(long)]
    pub keep_going: bool,

    /// The pipeline whose cleaners, contract and checks count [default: the one that loads the table]
    #[arg(long, value_name = "NAME", conflicts_with = "plugin", help_heading = "Plugins")]
    pub pipeline: Option<String>,
    /// The source component that loaded the table, when no pipeline does
    #[arg(long, value_name = "FILE", help_heading = "Plugins")]
    pub plugin: Option<String>,
    #[command(flatten)]
    pub plugins: PluginArguments,

    /// Memory for the whole replay [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

impl RejectsReplayArguments {
    /// The load that it is like, but for where its rows come from.
    pub fn as_run(&self, pipeline: Option<String>) -> RunArguments {
        RunArguments {
            pipeline,
            plugin: self.plugin.clone(),
            plugins: self.plugins.clone(),
            table: Some(self.table.clone()),
            keep_going: self.keep_going,
            dry_run: self.dry_run,
            memory: self.memory.clone(),
            format: self.format,
            place: self.place.clone(),
            ..RunArguments::default()
        }
    }
}

impl RejectsCommand {
    /// How the verb answers.
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::List(arguments) => arguments.format,
            Self::Show(arguments) => arguments.format,
            Self::Replay(arguments) => arguments.format,
        }
    }
}
