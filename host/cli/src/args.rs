//! The command line as it is typed: verbs, flags and their help. What they mean together is decided in `config/resolve.rs`.

mod catalog;
mod change;
mod history;
mod models;
mod plugins;
mod rejects;
mod rows;
mod runs;
mod stack;
mod upkeep;
mod versions;

use std::path::PathBuf;

pub use catalog::*;
pub use change::*;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use history::*;
pub use models::*;
pub use plugins::*;
pub use rejects::*;
pub use rows::*;
pub use runs::*;
pub use stack::*;
pub use upkeep::*;
pub use versions::*;

/// Loads any source into Iceberg tables, through sandboxed components.
#[derive(Debug, Parser)]
#[command(name = "lakehost", version = VERSION, propagate_version = true, max_term_width = 120)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// Version and git revision: `0.1.0 (3f2a9c1b7d04)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LAKEHOST_GIT"), ")");

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load windows of a source into a table, one commit each
    Run(Box<RunArguments>),
    /// Build and test the models of a dbt project above the tables
    Models(Box<ModelsArguments>),
    /// Ask the tables in SQL; read-only
    Query(QueryArguments),
    /// Write a first lakehost.toml
    Init(InitArguments),
    /// The runs that this warehouse has seen
    Runs(RunsArguments),
    /// Finish runs that ended without saying how: look at their commits, tidy up behind them
    Resolve(ResolveArguments),
    /// The tables of the warehouse
    #[command(subcommand)]
    Table(TableCommand),
    /// Rows that a rule, a cast or a contract took out
    #[command(subcommand)]
    Rejects(RejectsCommand),
    /// The catalog of the warehouse, for other engines
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// The snapshots of a table: rows, growth, run, plugins, source
    Snapshots(SnapshotsArguments),
    /// Plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// The services of a full lakehouse on this machine: S3 store, Postgres, catalogs, Trino
    #[command(subcommand)]
    Stack(StackCommand),
    /// What an error code means and what to try
    Explain(ExplainArguments),
    /// Check this machine, the warehouse and the components
    Doctor(DoctorArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
}

/// Where things are. Shared by all verbs that touch a warehouse.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// Folder (or file:// URL) that holds the tables, or s3://bucket/prefix [default: ./warehouse]
    #[arg(long, value_name = "DIR-or-URL", help_heading = "Where")]
    pub warehouse: Option<String>,
    /// Catalog that knows the tables: sqlite:///PATH, postgresql://USER@HOST/DATABASE or https://HOST/PATH; without a password in it
    /// [default: the profile's, else catalog.db in the warehouse]
    #[arg(long, value_name = "URI", help_heading = "Where")]
    pub catalog: Option<String>,
    /// Profile of lakehost.toml: warehouse, catalog and keys under one name [default: local]
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub profile: Option<String>,
    /// The configuration file [default: ./lakehost.toml, when there is one]
    #[arg(long, value_name = "FILE", env = "LAKEHOST_FILE", hide_env_values = true, help_heading = "Where")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub struct RunArguments {
    /// A pipeline of lakehost.toml
    #[arg(value_name = "PIPELINE", required_unless_present = "plugin", conflicts_with = "plugin")]
    pub pipeline: Option<String>,
    /// A source component: a file, or one that this binary carries (nyc_tlc.wasm)
    #[arg(long, value_name = "FILE")]
    pub plugin: Option<String>,

    /// Month or inclusive range: 2024-01, 2024-01..2024-06
    #[arg(long, value_name = "MONTH[..MONTH]", group = "window", help_heading = "Windows")]
    pub month: Option<String>,
    /// Day or inclusive range: 2024-01-31
    #[arg(long, value_name = "DAY[..DAY]", group = "window", help_heading = "Windows")]
    pub day: Option<String>,
    /// Hour or inclusive range: 2024-01-31T13
    #[arg(long, value_name = "HOUR[..HOUR]", group = "window", help_heading = "Windows")]
    pub hour: Option<String>,
    /// Year or inclusive range: 2024
    #[arg(long, value_name = "YEAR[..YEAR]", group = "window", help_heading = "Windows")]
    pub year: Option<String>,
    /// Leave windows alone that were loaded before
    #[arg(long, conflicts_with = "force", help_heading = "Windows")]
    pub only_missing: bool,
    /// Go on with the next window after a failure
    #[arg(long, help_heading = "Windows")]
    pub keep_going: bool,
    /// Load again what is loaded
    #[arg(long, help_heading = "Windows")]
    pub force: bool,
    /// Let a window end up without rows
    #[arg(long, help_heading = "Windows")]
    pub allow_empty: bool,

    #[command(flatten)]
    pub plugins: PluginArguments,
    /// Let the source reach URLs that begin with this, as far as it asks for them; also: clock, random
    #[arg(long, value_name = "URL-PREFIX", help_heading = "Plugins")]
    pub allow: Vec<String>,

    /// The table to load into [default: the source's own]
    #[arg(long, value_name = "NAMESPACE.NAME", help_heading = "Table")]
    pub table: Option<String>,
    /// Partition fields beyond the window: day(pickup_datetime), bucket(16, customer_id)
    #[arg(long, value_name = "EXPR,…", help_heading = "Table")]
    pub partition_by: Option<String>,
    /// What becomes of rows that are there [default: replace-window for sources with windows, else full-refresh]
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Table")]
    pub write_mode: Option<WriteModeArgument>,
    #[command(flatten)]
    pub rows: RowArguments,
    /// How files that are taken as they are get proven: read every page, or trust the footer [default: pages]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Table")]
    pub verify: Option<VerifyArgument>,
    /// Add the columns ingested_at and source_file
    #[arg(long, help_heading = "Table")]
    pub metadata_columns: bool,
    /// Store the source files themselves too, in raw_data/ of the warehouse, before their rows are committed
    #[arg(long, help_heading = "Table")]
    pub raw_landing: bool,
    /// Count rejected rows without keeping them in TABLE__rejected
    #[arg(long, help_heading = "Table")]
    pub no_quarantine: bool,

    /// When readers see what is loaded: each window as it ends, or all of the run at once, models and tests included (Nessie) [default: window]
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "This run")]
    pub publish: Option<Publish>,
    /// Say what would happen, change nothing
    #[arg(long, help_heading = "This run")]
    pub dry_run: bool,
    /// Leave the models of the pipeline for a later run
    #[arg(long, help_heading = "This run")]
    pub no_models: bool,
    /// Memory for the whole run [default: 512MiB]
    #[arg(long, value_name = "SIZE", help_heading = "This run")]
    pub memory: Option<String>,
    /// The report, for people or for machines
    #[arg(long, value_enum, default_value_t, help_heading = "This run")]
    pub format: ReportFormat,
    /// Take the plain Arrow path that every fast path must equal
    #[arg(long, hide = true, env = "LAKEHOST_REFERENCE_PATH", value_parser = clap::builder::FalseyValueParser::new())]
    pub reference_path: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WriteModeArgument {
    /// The window's files are replaced
    ReplaceWindow,
    /// Files are added
    Append,
    /// Each row takes the place of the one with its key; one that is there just so changes nothing
    Merge,
    /// All files are replaced
    FullRefresh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyArgument {
    /// Read every page once
    Pages,
    /// Trust the file's footer
    Footer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct QueryArguments {
    /// One SELECT, WITH or EXPLAIN over tables written as namespace.name
    #[arg(value_name = "SQL")]
    pub sql: String,
    /// Read the tables as they were: "1 hour ago", 2024-01-31, "2024-01-31 18:30" (UTC), RFC 3339, a snapshot id, or a branch or tag
    #[arg(long, value_name = "WHEN")]
    pub as_of: Option<String>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: RowFormat,
    /// Who answers: this process, or the Trino of the profile
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,
    /// Write the rows to a file instead
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// At most so many rows, 0 for all [default: as a table 100 on a terminal, else 10000; in other formats all]
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,
    /// Memory for sorts, joins and aggregates [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    #[default]
    Table,
    Csv,
    /// One array of objects
    Json,
    /// One object a line
    Jsonl,
    /// Needs --output or a pipe
    Parquet,
    /// Arrow IPC stream; needs --output or a pipe
    Arrow,
}

#[derive(Debug, Args)]
pub struct InitArguments {
    /// The folder to write it to
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Print the JSON Schema of lakehost.toml instead
    #[arg(long)]
    pub schema: bool,
}

#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// All tables with their rows
    List(TableListArguments),
    /// Columns, partitions, properties and loaded windows of a table
    Show(TableShowArguments),
    /// Remove a table and its files; there is no way back
    Drop(TableDropArguments),
    /// Make a table the property of another load, such as one with other cleaners
    Adopt(TableAdoptArguments),
    #[command(flatten)]
    Upkeep(UpkeepCommand),
    #[command(flatten)]
    Version(VersionCommand),
    #[command(flatten)]
    Change(ChangeCommand),
}

#[derive(Debug, Args)]
pub struct TableListArguments {
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct TableShowArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct TableDropArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct TableAdoptArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Source and data set: nyc_tlc/green [default: as it is]
    #[arg(long, value_name = "SOURCE/DATASET")]
    pub owner: Option<String>,
    /// Width of its windows [default: as it is]
    #[arg(long, value_name = "none|hour|day|month|year")]
    pub granularity: Option<String>,
    /// Names of the cleaners in order, - for none [default: as it is]
    #[arg(long, value_name = "NAME,…")]
    pub cleaners: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct ResolveArguments {
    /// One run; all without it
    #[arg(value_name = "RUN-ID")]
    pub run_id: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// What a component says of itself: kind, version, settings, what it asks for
    Inspect(PluginInspectArguments),
}

#[derive(Debug, Args)]
pub struct PluginInspectArguments {
    #[arg(value_name = "FILE")]
    pub plugin: String,
    /// A setting, to see what is asked for under it
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// A code such as LH0301; all codes without one
    #[arg(value_name = "LHnnnn")]
    pub code: Option<String>,
}

#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct CompletionsArguments {
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// How an error is answered on stdout. On stderr it is always text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// Nothing: stderr has it.
    None,
    /// One object.
    Json,
    /// One object on a line of its own.
    JsonLine,
}

impl From<ReportFormat> for ErrorFormat {
    fn from(format: ReportFormat) -> Self {
        match format {
            ReportFormat::Text => Self::None,
            ReportFormat::Json => Self::Json,
        }
    }
}

impl From<RowFormat> for ErrorFormat {
    fn from(format: RowFormat) -> Self {
        match format {
            RowFormat::Table | RowFormat::Csv | RowFormat::Parquet | RowFormat::Arrow => Self::None,
            RowFormat::Json => Self::Json,
            RowFormat::Jsonl => Self::JsonLine,
        }
    }
}

impl Command {
    /// How an error of this command is answered.
    pub fn error_format(&self) -> ErrorFormat {
        match self {
            Self::Run(arguments) => arguments.format.into(),
            Self::Models(arguments) => arguments.format.into(),
            Self::Query(arguments) => arguments.format.into(),
            Self::Runs(arguments) => arguments.answers().into(),
            Self::Resolve(arguments) => arguments.format.into(),
            Self::Table(TableCommand::List(arguments)) => arguments.format.into(),
            Self::Table(TableCommand::Show(arguments)) => arguments.format.into(),
            Self::Table(TableCommand::Drop(arguments)) => arguments.format.into(),
            Self::Table(TableCommand::Adopt(arguments)) => arguments.format.into(),
            Self::Table(TableCommand::Upkeep(command)) => command.format().into(),
            Self::Table(TableCommand::Version(command)) => command.format().into(),
            Self::Table(TableCommand::Change(command)) => command.format().into(),
            Self::Rejects(command) => command.format().into(),
            Self::Catalog(CatalogCommand::Serve(arguments)) => arguments.format.into(),
            Self::Snapshots(arguments) => arguments.format.into(),
            Self::Plugin(PluginCommand::Inspect(arguments)) => arguments.format.into(),
            Self::Doctor(arguments) => arguments.format.into(),
            Self::Stack(command) => command.format().into(),
            Self::Init(_) | Self::Explain(_) | Self::Completions(_) => ErrorFormat::None,
        }
    }
}

impl ErrorFormat {
    /// What the command line asks for, as far as that can be told before it is understood: even a wrong one answers in the asked format.
    pub fn of_raw_arguments(arguments: &[std::ffi::OsString]) -> Self {
        let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
        let asked = |format: &str| {
            words.windows(2).any(|pair| pair == ["--format", format])
                || words.contains(&format!("--format={format}").as_str())
        };
        if asked("json") {
            Self::Json
        } else if asked("jsonl") {
            Self::JsonLine
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests;
