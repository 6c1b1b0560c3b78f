//! The verbs, one file each. A verb takes its parsed arguments and ends in an exit code or a fault.

pub mod catalog;
pub mod completions;
pub mod doctor;
pub mod explain;
pub mod init;
pub mod maintenance;
pub mod models;
pub mod plugin;
pub mod provenance;
pub mod query;
pub mod rejects;
pub mod rejects_replay;
pub mod reproduce;
pub mod resolve;
pub mod run;
mod run_branches;
pub mod runs;
pub mod snapshots;
pub mod stack;
pub mod table;
pub mod table_change;
pub mod table_diff;
pub mod table_files;
pub mod trino_tables;
pub mod trino_upkeep;
pub mod versions;

use std::io::{self, Write};

use lakehost_pipeline::{ErrorReport, Fault};
use serde_json::{Value, json};

use crate::args::{
    CatalogCommand, Command, ErrorFormat, PluginCommand, RejectsCommand, TableCommand, UpkeepCommand, VersionCommand,
};
use crate::error::Error;

/// Does what the command line says.
pub fn dispatch(command: &Command) -> Result<u8, Fault> {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Models(arguments) => models::run(arguments),
        Command::Query(arguments) => query::run(arguments),
        Command::Init(arguments) => init::run(arguments),
        Command::Runs(arguments) => runs::run(arguments),
        Command::Resolve(arguments) => resolve::run(arguments),
        Command::Table(TableCommand::Adopt(arguments)) => table::adopt(arguments),
        Command::Table(TableCommand::List(arguments)) => table::list(arguments),
        Command::Table(TableCommand::Show(arguments)) => table::show(arguments),
        Command::Table(TableCommand::Drop(arguments)) => table::drop(arguments),
        Command::Table(TableCommand::Upkeep(command)) => upkeep(command),
        Command::Table(TableCommand::Version(command)) => version(command),
        Command::Table(TableCommand::Change(command)) => table_change::run(command),
        Command::Rejects(RejectsCommand::List(arguments)) => rejects::list(arguments),
        Command::Rejects(RejectsCommand::Show(arguments)) => rejects::show(arguments),
        Command::Rejects(RejectsCommand::Replay(arguments)) => rejects_replay::run(arguments),
        Command::Catalog(CatalogCommand::Serve(arguments)) => catalog::serve(arguments),
        Command::Snapshots(arguments) => snapshots::run(arguments),
        Command::Plugin(PluginCommand::Inspect(arguments)) => plugin::inspect(arguments),
        Command::Stack(command) => stack::run(command),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
    }
}

fn upkeep(command: &UpkeepCommand) -> Result<u8, Fault> {
    match command {
        UpkeepCommand::Files(arguments) => table_files::files(arguments),
        UpkeepCommand::Partitions(arguments) => table_files::partitions(arguments),
        UpkeepCommand::Refs(arguments) => table_files::refs(arguments),
        UpkeepCommand::History(arguments) => table_files::history(arguments),
        UpkeepCommand::Diff(arguments) => table_diff::diff(arguments),
        UpkeepCommand::Provenance(arguments) => provenance::run(arguments),
        UpkeepCommand::Reproduce(arguments) => reproduce::run(arguments),
        UpkeepCommand::Compact(arguments) => maintenance::compact(arguments),
        UpkeepCommand::Expire(arguments) => maintenance::expire(arguments),
        UpkeepCommand::Orphans(arguments) => maintenance::orphans(arguments),
        UpkeepCommand::RewriteManifests(arguments) => maintenance::rewrite_manifests(arguments),
    }
}

fn version(command: &VersionCommand) -> Result<u8, Fault> {
    match command {
        VersionCommand::Rollback(arguments) => versions::rollback(arguments),
        VersionCommand::Tag(arguments) => versions::tag(arguments),
        VersionCommand::Branch(arguments) => versions::branch(arguments),
        VersionCommand::Publish(arguments) => versions::publish(arguments),
        VersionCommand::Discard(arguments) => versions::discard(arguments),
    }
}

/// Writes to stdout. A reader that went away is not an error of ours.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::File { path: "standard output".to_owned(), action: "written", source: error })
        }
        _ => Ok(()),
    }
}

/// Writes a JSON document to stdout.
pub fn print_json(value: &Value) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Bug {
        what: "the answer cannot be written as JSON".to_owned(),
        cause: error.to_string(),
    })?;
    print(&format!("{text}\n"))
}

/// A fault on stdout, for machines: `{"error": {…}}`, in the shape that a failed window carries.
pub fn print_error(format: ErrorFormat, fault: &Fault) -> Result<(), Error> {
    let answer = json!({ "error": ErrorReport::from(fault) });
    match format {
        ErrorFormat::None => Ok(()),
        ErrorFormat::Json => print_json(&answer),
        ErrorFormat::JsonLine => print(&format!("{answer}\n")),
    }
}
