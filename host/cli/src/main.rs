//! `lakehost`: flags, files, terminal and exit codes, and the wiring of everything else.
//!
//! Place in the flow: `args.rs` reads the command line, `config/resolve.rs` says what it means with `lakehost.toml`, `commands/` does it with the
//! crates of `host/`, `render.rs` and `exit_code.rs` say how it ended.
//!
//! Left to others: order and accounting of a load (`host/pipeline`), components (`host/wasm`), tables (`host/lake`), SQL (`host/query`). Nothing
//! here is imported elsewhere.

// The JSON Schema of lakehost.toml is one long `json!`.
#![recursion_limit = "256"]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod append;
mod approve;
mod args;
mod batches;
mod checker;
mod commands;
mod config;
mod embedded;
mod error;
mod exit_code;
mod failures;
mod html;
mod logs;
mod memory;
mod models;
#[cfg(feature = "native-cleaner")]
mod native_cleaner;
mod plugins;
mod progress;
mod progress_line;
mod publish;
mod recorded;
mod render;
mod report;
mod rows;
mod runs;
mod screen;
mod signals;
mod table;
mod time;
mod trino;
mod upkeep;
mod warehouse;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use lakehost_pipeline::Fault;

use crate::args::{Arguments, Command, Engine, ErrorFormat, RejectsCommand};
use crate::error::Error;
use crate::render::Colour;

fn main() -> ExitCode {
    memory::tune_allocator();
    let typed: Vec<OsString> = std::env::args_os().collect();
    let arguments = match Arguments::try_parse_from(&typed) {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(not_understood(&error, &typed)),
    };
    logs::start();
    if !outlives_its_reader(&arguments.command) {
        signals::default_broken_pipe();
    }
    let code = commands::dispatch(&arguments.command).unwrap_or_else(|fault| {
        show(&fault);
        // What stdout does not take has been said on stderr.
        let _ = commands::print_error(arguments.command.error_format(), &fault);
        exit_code::of_fault(&fault)
    });
    ExitCode::from(code)
}

/// Whether something is left to do when nobody reads stdout any more.
fn outlives_its_reader(command: &Command) -> bool {
    match command {
        // Neither dbt nor a load ends with who reads its report, nor a server with a client that hangs up.
        Command::Run(_) | Command::Models(_) | Command::Rejects(RejectsCommand::Replay(_)) | Command::Catalog(_) => {
            true
        }
        // The query is ended on the server.
        Command::Query(arguments) => arguments.engine == Engine::Trino,
        _ => false,
    }
}

/// A fault on stderr, for people.
pub fn show(fault: &Fault) {
    screen::say(&render::fault(fault, Colour::of_stderr()));
}

/// A command line that clap refuses. Help and version are answers, not errors.
fn not_understood(error: &clap::Error, typed: &[OsString]) -> u8 {
    if !error.use_stderr() {
        let _ = error.print();
        return exit_code::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return exit_code::USAGE;
    }
    let fault = Fault::new(from_clap(error));
    show(&fault);
    let format = ErrorFormat::of_raw_arguments(typed);
    let _ = match (typed.get(1).is_some_and(|verb| verb == "run"), format) {
        (true, ErrorFormat::Json) => commands::run::print_failed(None, &fault),
        _ => commands::print_error(format, &fault),
    };
    exit_code::of_fault(&fault)
}

/// clap's own text as ours: its first sentence, and its tips as hint.
fn from_clap(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default().trim_start_matches("error: ");
    let mut message = first.trim_end_matches(':').replace('\'', "`");
    let mut hints = Vec::new();
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.replace('\'', "`"));
        } else if hints.is_empty() && !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more") {
            // What is missing, or the possible values, stand on lines of their own.
            message.push_str(if message.ends_with(']') || line.starts_with('[') { ", " } else { " " });
            message.push_str(line.trim_matches(['[', ']']));
        }
    }
    if error.kind() == ErrorKind::MissingRequiredArgument && message.ends_with(" <PIPELINE>") {
        message = "nothing to run: name a pipeline or give --plugin FILE".to_owned();
    }
    if hints.is_empty() {
        hints.push("`lakehost --help` lists the verbs, `lakehost VERB --help` their flags".to_owned());
    }
    Error::Usage { message, hint: Some(hints.join("; ")) }
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;

    fn check(line: &str, expected: &str) {
        let error = Arguments::try_parse_from(line.split_whitespace()).expect_err(line);
        let ours = from_clap(&error);
        assert_eq!(format!("{ours}; {}", ours.hint().unwrap_or_default()), expected, "{line}");
    }

    #[test]
    fn wrong_command_lines_are_ours_to_tell() {
        let help = "`lakehost --help` lists the verbs, `lakehost VERB --help` their flags";
        check("lakehost rum", "unrecognized subcommand `rum`; some similar subcommands exist: `runs`, `run`");
        check(
            "lakehost run --month 2024-01",
            &format!("nothing to run: name a pipeline or give --plugin FILE; {help}"),
        );
        check(
            "lakehost run p --verify all",
            &format!("invalid value `all` for `--verify <HOW>`, possible values: pages, footer; {help}"),
        );
        check(
            "lakehost run p --mont 2024-01",
            "unexpected argument `--mont` found; a similar argument exists: `--month`",
        );
    }
}
