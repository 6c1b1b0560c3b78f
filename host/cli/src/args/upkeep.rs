//! `lakehost table …`: looking into a table, and its upkeep.

use clap::{Args, Subcommand};

use super::{Place, PluginArguments, ReportFormat};

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
    /// Make a snapshot's load again from its recorded inputs, aside, and compare the rows; exit 5 when they differ. --config
    /// and --cleaner-config give what the snapshot does not record, such as secrets
    Reproduce(Box<ReproduceArguments>),
    /// Put small files together; the rows stay the same
    Compact(CompactArguments),
    /// Forget old snapshots and delete what only they had; branches and tags stay
    Expire(ExpireArguments),
    /// Find files that no table refers to
    Orphans(OrphansArguments),
    /// List the same files in fewer manifests
    RewriteManifests(LogArguments),
}

impl UpkeepCommand {
    /// How the answer is printed.
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::Files(arguments) => arguments.format,
            Self::Partitions(arguments) => arguments.format,
            Self::Refs(arguments) | Self::History(arguments) | Self::RewriteManifests(arguments) => arguments.format,
            Self::Diff(arguments) => arguments.format,
            Self::Provenance(arguments) => arguments.format,
            Self::Reproduce(arguments) => arguments.format,
            Self::Compact(arguments) => arguments.format,
            Self::Expire(arguments) => arguments.format,
            Self::Orphans(arguments) => arguments.format,
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
    /// Read the rows that it added and say what they come to: the same number for the same rows
    #[arg(long)]
    pub content_hash: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct ReproduceArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// A snapshot id, a time, a branch or tag
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// The source component, when it is neither in this binary nor in the snapshot's pipeline
    #[arg(long, value_name = "FILE", help_heading = "Plugins")]
    pub plugin: Option<String>,
    #[command(flatten)]
    pub plugins: PluginArguments,
    /// Let the source reach URLs that begin with this, as far as it asks for them
    #[arg(long, value_name = "URL-PREFIX", help_heading = "Plugins")]
    pub allow: Vec<String>,
    /// Memory for the whole load [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct CompactArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Only this window, such as 2024-01
    #[arg(long, value_name = "WINDOW")]
    pub window: Option<String>,
    /// Wanted size of a file
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub target_size: String,
    /// Leave partitions with fewer small files alone
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub min_files: usize,
    /// Sort the rows of each file; all files are written anew then
    #[arg(long, value_name = "COLUMN[ desc],…", value_delimiter = ',')]
    pub sort_by: Vec<String>,
    /// Memory for rows [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct ExpireArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Younger snapshots stay
    #[arg(long, value_name = "AGE", default_value = "5 days")]
    pub older_than: String,
    /// So many of the newest of each branch stay
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub keep: usize,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct OrphansArguments {
    /// One table; all without it
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
    /// Younger files may belong to a load that is under way
    #[arg(long, value_name = "AGE", default_value = "72 hours")]
    pub older_than: String,
    /// An age below 72 hours is meant: nobody else is loading
    #[arg(long)]
    pub allow_younger_than_72h: bool,
    /// Delete them
    #[arg(long)]
    pub delete: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Arguments;

    #[test]
    fn the_contract_parses() {
        let lines = [
            "lakehost table list",
            "lakehost table show raw.t",
            "lakehost table drop raw.t --yes --format json",
            "lakehost table adopt raw.t --cleaners -",
            "lakehost query SELECT --as-of audit/1 --format parquet --output x.parquet",
            "lakehost table files raw.t --as-of main --histogram --format json",
            "lakehost table partitions raw.t",
            "lakehost table refs raw.t",
            "lakehost table history raw.t",
            "lakehost table diff raw.t 1..2 --rows",
            "lakehost table diff raw.t v1..main --rows 5 --format json",
            "lakehost table provenance raw.t main",
            "lakehost table compact raw.t --window 2024-01 --target-size 128MiB --sort-by a,b --dry-run",
            "lakehost table expire raw.t --older-than 10d --keep 3 --dry-run --format json",
            "lakehost table orphans",
            "lakehost table orphans raw.t --older-than 1h --allow-younger-than-72h --delete",
            "lakehost table rewrite-manifests raw.t",
        ];
        for line in lines {
            let parsed = Arguments::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for line in ["lakehost table diff raw.t", "lakehost table expire", "lakehost table compact raw.t --keep 3"] {
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
