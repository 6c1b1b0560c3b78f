//! The verbs of the catalog.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Place, ReportFormat};

#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Serve the tables to PyIceberg, DuckDB, Spark and Trino by Iceberg's REST protocol, until Ctrl-C
    Serve(CatalogServeArguments),
}

#[derive(Debug, Args)]
pub struct CatalogServeArguments {
    /// Port to listen on, 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8181)]
    pub port: u16,
    /// Address to listen on. Any but a loopback one lets other machines ask, without encryption
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// File that holds the token; made with a new one, for its owner alone, when it is not there
    /// [default: LAKEHOST_CATALOG_TOKEN, else a new token that is printed]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Hand the S3 keys of the profile to whoever shows the token and asks for them
    #[arg(long)]
    pub delegate_keys: bool,
    /// How it says where it is: for people, or one line of JSON
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub place: Place,
}
