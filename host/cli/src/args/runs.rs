//! `lakehost runs`, and when readers see what a run changes.

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;

use super::{Place, ReportFormat};

/// When readers see what a run changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Each window as it ends
    #[default]
    Window,
    /// All of it at once, by merging a branch of the whole catalog: Nessie's
    Run,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArguments {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// One run, in full
    #[arg(value_name = "RUN-ID")]
    pub run_id: Option<String>,
    /// The newest so many, 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// The branches of runs that wait to be published or discarded
    Waiting(WaitingArguments),
    /// Make everything that a run changed visible at once, though a check or test failed
    Publish(RunPublishArguments),
    /// Drop the branch of a run with what only it has
    Discard(RunDiscardArguments),
}

#[derive(Debug, Args)]
pub struct WaitingArguments {
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RunPublishArguments {
    /// The run, or a beginning of its id that no other has
    #[arg(value_name = "RUN-ID")]
    pub run_id: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RunDiscardArguments {
    /// The run, or a beginning of its id that no other has
    #[arg(value_name = "RUN-ID")]
    pub run_id: String,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

impl RunsArguments {
    /// How the verb answers.
    pub fn answers(&self) -> ReportFormat {
        match &self.command {
            None => self.format,
            Some(RunsCommand::Waiting(arguments)) => arguments.format,
            Some(RunsCommand::Publish(arguments)) => arguments.format,
            Some(RunsCommand::Discard(arguments)) => arguments.format,
        }
    }
}
