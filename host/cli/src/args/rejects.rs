//! `rejects list|show`: rows that a rule, a cast or a contract took out.

use clap::{Args, Subcommand};

use super::{Place, ReportFormat};

#[derive(Debug, Subcommand)]
pub enum RejectsCommand {
    /// The tables that have rejected rows, with their rows by rule
    List(RejectsListArguments),
    /// Rejected rows of a table's present loads, as they came from the source
    Show(RejectsShowArguments),
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

impl RejectsCommand {
    /// How the verb answers.
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::List(arguments) => arguments.format,
            Self::Show(arguments) => arguments.format,
        }
    }
}
