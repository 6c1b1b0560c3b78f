//! The chores of this repository: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench` and their parts.
//!
//! Each verb is one file. The code is built without arrow, wasmtime or any other heavy crate, so that the first chore on a fresh machine
//! starts in seconds; what needs them is built by the chore itself. Nothing here is part of the product.
#![expect(clippy::print_stdout, reason = "a command line for people")]

mod args;
mod bench;
mod demo;
mod plugins;
mod process;
mod python;
mod serve;
mod services;
mod test;
mod tidy;
mod wasm_target;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <verb>

  demo                    build everything, then load a genuine month through sandboxed components and query it
  test                    the gate: house rules, formatter, lints, licences and every test
    --full                also 50 kills instead of 10, the sandbox cases that take minutes, a real S3 server, and the bench
    --only STEP           one step and what it needs; `--only list` names them
    -- ARGUMENTS          passed on to the tests
  bench                   the bars of docs/benchmarks.md against Polars, Daft, PyIceberg and DuckDB
    --only P1,P6          some of P1, P2, P4, P5, P6
    --rounds N            interleaved rounds (5)
    --rows N              rows of a generated month (2964624)
    --write               put the figures into docs/benchmarks.md
  bench tables            commits, merges, compaction and clean-up on grown tables, against PyIceberg and DuckDB
    --only commit,merge   some of commit, merge, compact, clean
    --rounds N, --write   as above (3)
  bench cluster           three months through an object store and a REST catalog, against PyIceberg and Trino
    --rounds N, --rows N, --write   as above (3)
  tidy                    house rules, each as a sentence
  components              build the WASM components and say where they lie
  wasm-target             make `cargo build --target wasm32-wasip2` work
  serve DIR               serve a folder over HTTP on a free local port until stopped
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut words: Vec<String>) -> Result<()> {
    if words.is_empty() {
        bail!("no verb given\n\n{USAGE}");
    }
    let verb = words.remove(0);
    if matches!(verb.as_str(), "help" | "--help" | "-h") {
        print!("{USAGE}");
        return Ok(());
    }
    let args = Args::new(words);
    if verb == "serve" {
        return serve::run(args);
    }
    let workspace = Workspace::open()?;
    match verb.as_str() {
        "demo" => demo::run(&workspace, args),
        "test" => test::run(&workspace, args),
        "bench" => bench::run(&workspace, args),
        "tidy" => {
            args.finish()?;
            tidy::run(&workspace)
        }
        "components" => {
            args.finish()?;
            wasm_target::ensure(&workspace, &process::Output::Inherit)?;
            let folder = plugins::build(&workspace, &process::Output::Inherit)?;
            println!("{}", folder.display());
            Ok(())
        }
        "wasm-target" => {
            args.finish()?;
            println!("{}", wasm_target::ensure(&workspace, &process::Output::Inherit)?);
            Ok(())
        }
        other => bail!("no such verb: `{other}`\n\n{USAGE}"),
    }
}
