//! `lakehost completions SHELL`: a script that completes verbs and flags.

use clap::CommandFactory;
use lakehost_pipeline::Fault;

use crate::args::{Arguments, CompletionsArguments};
use crate::exit_code;

/// Prints the script.
pub fn run(arguments: &CompletionsArguments) -> Result<u8, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "lakehost", &mut script);
    super::print(&String::from_utf8_lossy(&script))?;
    Ok(exit_code::SUCCESS)
}
