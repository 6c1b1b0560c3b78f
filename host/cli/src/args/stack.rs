//! Flags of `stack`: the services of a full lakehouse on this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lakehost_stack::Service;

use super::ReportFormat;

/// What becomes of the services.
#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// Start the services, fetch what is missing, wait until they answer; running ones are left alone
    Up(StackUpArguments),
    /// End the services that `up` started, and those that need them
    Down(StackDownArguments),
    /// How each service is, where it answers, what it uses
    Status(StackStatusArguments),
    /// What a service wrote
    Logs(StackLogsArguments),
}

/// Which stack. Several can run beside each other.
#[derive(Debug, Args)]
pub struct StackPlace {
    /// The stack by its name
    #[arg(long, value_name = "NAME", default_value = "default", help_heading = "Where")]
    pub name: String,
    /// The folder of its state, data and logs [default: a folder of that name under $XDG_STATE_HOME/lakehost/stack]
    #[arg(long, value_name = "DIR", conflicts_with = "name", help_heading = "Where")]
    pub home: Option<PathBuf>,
}

/// A service, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServiceArgument {
    /// The S3 store
    Minio,
    /// The database behind the catalogs
    Postgres,
    /// Iceberg's REST catalog
    Rest,
    /// A catalog with branches
    Nessie,
    /// The query engine
    Trino,
}

impl From<ServiceArgument> for Service {
    fn from(argument: ServiceArgument) -> Self {
        match argument {
            ServiceArgument::Minio => Self::Minio,
            ServiceArgument::Postgres => Self::Postgres,
            ServiceArgument::Rest => Self::Rest,
            ServiceArgument::Nessie => Self::Nessie,
            ServiceArgument::Trino => Self::Trino,
        }
    }
}

#[derive(Debug, Args)]
pub struct StackUpArguments {
    /// These services alone, and what they need [default: minio, postgres, rest, trino]
    #[arg(long, value_name = "SERVICE,…", value_delimiter = ',')]
    pub only: Vec<ServiceArgument>,
    /// These services too
    #[arg(long, value_name = "SERVICE,…", value_delimiter = ',')]
    pub with: Vec<ServiceArgument>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: StackPlace,
}

#[derive(Debug, Args)]
pub struct StackDownArguments {
    /// These services, and what needs them [default: all]
    #[arg(long, value_name = "SERVICE,…", value_delimiter = ',')]
    pub only: Vec<ServiceArgument>,
    /// Remove the stack's tables, databases, passwords and logs too; there is no way back
    #[arg(long, conflicts_with = "only")]
    pub wipe: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: StackPlace,
}

#[derive(Debug, Args)]
pub struct StackStatusArguments {
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: StackPlace,
}

#[derive(Debug, Args)]
pub struct StackLogsArguments {
    #[arg(value_name = "SERVICE")]
    pub service: ServiceArgument,
    /// Go on as more is written, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// The newest so many lines, 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub lines: usize,
    #[command(flatten)]
    pub place: StackPlace,
}

impl StackCommand {
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::Up(arguments) => arguments.format,
            Self::Down(arguments) => arguments.format,
            Self::Status(arguments) => arguments.format,
            Self::Logs(_) => ReportFormat::Text,
        }
    }
}
