//! What a run says of the rows of its table.

use clap::Args;

/// How rows are told apart.
#[derive(Clone, Debug, Default, Args)]
pub struct RowArguments {
    /// Columns that tell rows apart, for merge [default: the source's key]
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', help_heading = "Table")]
    pub key: Vec<String>,
    /// Of several new rows with one key the one with the greatest value here counts, for merge [default: the source's cursor, else the last row]
    #[arg(long, value_name = "COLUMN", help_heading = "Table")]
    pub order_by: Option<String>,
    /// Sort the rows of each data file by these columns: pickup_datetime,-fare
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', allow_hyphen_values = true, help_heading = "Table")]
    pub sort_by: Vec<String>,
}
