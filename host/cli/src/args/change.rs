//! `table delete|set-partitioning|set-sort|columns`: rows that go, and how a table is laid out from now on.

use clap::{Args, Subcommand};

use super::{Place, ReportFormat};

#[derive(Debug, Subcommand)]
pub enum ChangeCommand {
    /// Delete the rows for which a condition is true; older snapshots keep them until they expire
    Delete(DeleteArguments),
    /// How files of later loads are split; files that are there stay as they are until they are compacted
    SetPartitioning(PartitioningArguments),
    /// The order that `table compact` sorts rows in; files that are there stay as they are
    SetSort(SortArguments),
    /// Rename a column, let it be null, or drop it; no file is written anew
    Columns(ColumnsArguments),
}

impl ChangeCommand {
    /// How the answer is printed.
    pub fn format(&self) -> ReportFormat {
        match self {
            Self::Delete(arguments) => arguments.answer.format,
            Self::SetPartitioning(arguments) => arguments.answer.format,
            Self::SetSort(arguments) => arguments.answer.format,
            Self::Columns(arguments) => match &arguments.change {
                ColumnChange::Rename(arguments) => arguments.answer.format,
                ColumnChange::MakeOptional(arguments) => arguments.answer.format,
                ColumnChange::Drop(arguments) => arguments.answer.format,
            },
        }
    }
}

/// Where the table is, and how the answer is printed.
#[derive(Debug, Args)]
pub struct Answer {
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct DeleteArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// What stands behind WHERE in SQL: "fare_amount < 0 and payment_type is null"; for every row write true
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    pub condition: String,
    /// Delete on this branch and leave the others as they are [default: main]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Count the rows, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub answer: Answer,
}

#[derive(Debug, Args)]
pub struct PartitioningArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Partition fields beyond the window, which stays: day(pickup_datetime), bucket(16, customer_id); none for the window alone
    #[arg(long, value_name = "EXPR,…")]
    pub partition_by: String,
    #[command(flatten)]
    pub answer: Answer,
}

#[derive(Debug, Args)]
pub struct SortArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Columns in order, the greatest first with a minus or `desc`: "pickup_datetime, -fare"; none for no order
    #[arg(value_name = "COLUMN,…", allow_hyphen_values = true)]
    pub order: String,
    #[command(flatten)]
    pub answer: Answer,
}

#[derive(Debug, Args)]
pub struct ColumnsArguments {
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[command(subcommand)]
    pub change: ColumnChange,
}

#[derive(Debug, Subcommand)]
pub enum ColumnChange {
    /// Give a column another name; its values stay
    Rename(RenameArguments),
    /// Let a column be null that had to have values
    MakeOptional(ColumnArguments),
    /// Take a column out of the table; older snapshots keep its values until they expire
    Drop(DropColumnArguments),
}

#[derive(Debug, Args)]
pub struct RenameArguments {
    #[arg(value_name = "OLD")]
    pub old: String,
    #[arg(value_name = "NEW")]
    pub new: String,
    #[command(flatten)]
    pub answer: Answer,
}

#[derive(Debug, Args)]
pub struct ColumnArguments {
    #[arg(value_name = "COLUMN")]
    pub column: String,
    #[command(flatten)]
    pub answer: Answer,
}

#[derive(Debug, Args)]
pub struct DropColumnArguments {
    #[arg(value_name = "COLUMN")]
    pub column: String,
    /// Do not ask; needed where there is no terminal to ask at
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Arguments;

    #[test]
    fn the_contract_parses() {
        for line in [
            &["table", "delete", "raw.t", "--where", "-fare > 0", "--dry-run"][..],
            &["table", "delete", "raw.t", "--where", "true", "--branch", "audit/1", "--yes", "--format", "json"],
            &["table", "set-partitioning", "raw.t", "--partition-by", "day(at), bucket(4, id)"],
            &["table", "set-sort", "raw.t", "-fare,id", "--format", "json"],
            &["table", "columns", "raw.t", "rename", "a", "b", "--format", "json"],
            &["table", "columns", "raw.t", "make-optional", "a"],
            &["table", "columns", "raw.t", "drop", "a", "--yes"],
        ] {
            let parsed = Arguments::try_parse_from([&["lakehost"], line].concat());
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
        }
        for line in [
            &["table", "delete", "raw.t", "--yes"][..],
            &["table", "set-partitioning", "raw.t"],
            &["table", "set-sort", "raw.t"],
        ] {
            assert!(Arguments::try_parse_from([&["lakehost"], line].concat()).is_err(), "{line:?}");
        }
    }
}
