//! `cargo xtask test`: the gate. Steps in a fixed order, a line each, and the log's tail of the first that fails.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::process::{self, Output};
use crate::services::{self, Services};
use crate::workspace::Workspace;
use crate::{bench, plugins, python, tidy, wasm_target};

/// The independent readers' requirements, under the root.
const READERS: &str = "xtask/readers.txt";
/// Built programs that the gate runs.
const TOOLS: &str = "xtask/tools.txt";
const CARGO_DENY: &str = "0.20.2";
/// Every build of the gate has the same packages and features, so that nothing is compiled twice.
const WHOLE: [&str; 4] = ["--release", "--workspace", "--features", "xtask/generator"];
/// The lints also look at what only the bench turns on.
const LINTS: [&str; 6] = ["--features", "lakehost/native-cleaner", "--all-targets", "--", "-D", "warnings"];

struct Step {
    name: &'static str,
    run: fn(&mut Gate<'_>) -> Result<()>,
    /// Steps whose result it uses: run first under `--only`.
    needs: &'static [&'static str],
    /// Run with `--full` alone.
    full: bool,
}

const STEPS: &[Step] = &[
    step("wasm-target", |gate| wasm_target::ensure(gate.workspace, &gate.log()).map(drop), &[]),
    step("python", |gate| gate.python(), &[]),
    step("services", |gate| gate.services(), &[]),
    step("tidy", |gate| tidy::run(gate.workspace), &[]),
    step("format", |gate| gate.cargo(&["fmt", "--all", "--check"]), &[]),
    step("components", |gate| plugins::build(gate.workspace, &gate.log()).map(drop), &["wasm-target"]),
    step("licences", |gate| gate.licences(), &[]),
    step("lints", |gate| gate.whole(&["clippy"], &LINTS), &["wasm-target", "components"]),
    step("build", |gate| gate.whole(&["build"], &[]), &["wasm-target", "components"]),
    step("tests", |gate| gate.tests(), &["wasm-target", "python", "services", "components", "build"]),
    step("doc-tests", |gate| gate.doc_tests(), &["wasm-target", "components"]),
    Step { full: true, ..step("other-s3", |gate| gate.other_s3(), &["wasm-target", "python", "components", "build"]) },
    Step { full: true, ..step("bench", |gate| bench::gate(gate.workspace), &["wasm-target", "components", "build"]) },
];

const fn step(name: &'static str, run: fn(&mut Gate<'_>) -> Result<()>, needs: &'static [&'static str]) -> Step {
    Step { name, run, needs, full: false }
}

/// Runs the steps. Its last line is `N passed, N failed`.
pub fn run(workspace: &Workspace, mut args: Args) -> Result<()> {
    let full = args.flag("--full");
    let only: Option<String> = args.value("--only")?;
    let names = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    if only.as_deref() == Some("list") {
        println!("{}", names());
        return Ok(());
    }
    let chosen = match &only {
        None => None,
        Some(name) => Some(
            STEPS.iter().find(|step| step.name == name).with_context(|| format!("no step `{name}`: {}", names()))?,
        ),
    };
    args.finish()?;
    let mut gate = Gate {
        workspace,
        full,
        filter: args.passed_on().to_vec(),
        log: PathBuf::new(),
        counts: Counts::default(),
        python: None,
        services: Services::default(),
    };
    let logs = workspace.scratch("logs")?;
    let started = Instant::now();
    let wanted = |step: &Step| match chosen {
        None => full || !step.full,
        Some(chosen) => chosen.name == step.name || chosen.needs.contains(&step.name),
    };
    let mut failed = None;
    for step in STEPS.iter().filter(|step| wanted(step)) {
        gate.log = logs.join(format!("{}.log", step.name));
        std::fs::write(&gate.log, "").with_context(|| format!("cannot write {}", gate.log.display()))?;
        print!("{:<12} ", step.name);
        std::io::stdout().flush()?;
        let begun = Instant::now();
        let before = gate.counts;
        let result = (step.run)(&mut gate);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        let said = if step.name == "services" { format!("   {}", gate.services.shown()) } else { String::new() };
        let counted = gate.counts.since(before).shown();
        println!("{verdict:<7} {:>7.1} s{said}{counted}", begun.elapsed().as_secs_f64());
        if let Err(error) = result {
            if gate.counts.failed == before.failed {
                gate.counts.failed += 1;
            }
            let tail = process::tail(&gate.log, 60);
            if !tail.is_empty() {
                eprintln!("\n--- the end of {}\n{tail}\n---", gate.log.display());
            }
            failed = Some(error.context(format!("step {} failed", step.name)));
            break;
        }
    }
    println!("{:<12} {:>15.1} s", "together", started.elapsed().as_secs_f64());
    if let Some(error) = &failed {
        eprintln!("error: {error:#}");
    }
    println!("{} passed, {} failed", gate.counts.passed, gate.counts.failed);
    if failed.is_some() {
        std::process::exit(1);
    }
    Ok(())
}

struct Gate<'a> {
    workspace: &'a Workspace,
    full: bool,
    /// Arguments for the test programs.
    filter: Vec<String>,
    log: PathBuf,
    counts: Counts,
    python: Option<PathBuf>,
    services: Services,
}

impl Gate<'_> {
    fn log(&self) -> Output {
        Output::Log(self.log.clone())
    }

    fn cargo(&self, arguments: &[&str]) -> Result<()> {
        process::run(&mut self.workspace.cargo(arguments), &self.log())
    }

    fn whole(&self, verb: &[&str], rest: &[&str]) -> Result<()> {
        self.cargo(&[verb, &WHOLE, rest].concat())
    }

    fn python(&mut self) -> Result<()> {
        self.python = Some(python::ensure(self.workspace, READERS, &self.log())?);
        Ok(())
    }

    fn services(&mut self) -> Result<()> {
        self.services = Services::ensure(self.workspace, self.full, &self.log())?;
        Ok(())
    }

    /// Bans, licences and sources. The advisory database is a git repository that need not be reachable.
    fn licences(&mut self) -> Result<()> {
        let deny = cargo_deny(self.workspace, &self.log())?;
        let mut command = std::process::Command::new(deny);
        command.args(["check", "bans", "licenses", "sources"]).current_dir(&self.workspace.root);
        process::run(&mut command, &self.log())
    }

    fn tests(&mut self) -> Result<()> {
        let targets = ["test", "--no-fail-fast", "--lib", "--bins", "--tests", "--examples"];
        self.counted(&targets)
    }

    /// The tests of buckets once more, on another S3 server.
    fn other_s3(&mut self) -> Result<()> {
        let server = services::versitygw()?;
        let mut command = self.workspace.cargo(&[&["test", "--no-fail-fast", "--lib"], &WHOLE[..]].concat());
        command.arg("--").args(services::NEEDS_S3).env(services::VERSITYGW_VARIABLE, server);
        self.run_counted(&mut command, false)
    }

    fn doc_tests(&mut self) -> Result<()> {
        self.counted(&["test", "--no-fail-fast", "--doc"])
    }

    /// Runs tests and adds up cargo's own `test result:` lines.
    fn counted(&mut self, verb: &[&str]) -> Result<()> {
        let mut command = self.workspace.cargo(&[verb, &WHOLE].concat());
        let skips = self.services.without.iter().flat_map(|part| ["--skip", part]);
        let filters: Vec<&str> = self.filter.iter().map(String::as_str).chain(skips).collect();
        if !filters.is_empty() {
            command.arg("--").args(&filters);
        }
        if self.full {
            command.env("LAKEHOST_KILLS", "50").env("LAKEHOST_KILLS_OF_TWO", "500").env("LAKEHOST_FULL", "1");
        }
        // What is left out without a filter are the tests without their server.
        self.run_counted(&mut command, self.filter.is_empty())
    }

    fn run_counted(&mut self, command: &mut std::process::Command, tell_left_out: bool) -> Result<()> {
        command.env("LAKEHOST_BIN", self.workspace.lakehost());
        if let Some(python) = &self.python {
            command.env("LAKEHOST_PYTHON", python);
        }
        command.envs(self.services.variables.iter().map(|(name, path)| (name, path)));
        let result = process::run(command, &self.log());
        let log = std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
        let mut counts = Counts::read(&log);
        if tell_left_out {
            counts.ignored += counts.left_out;
        }
        self.counts.add(counts);
        result
    }
}

/// A cargo-deny of the pinned version: the one in the path, else a built one from the Python index, else one built here.
///
/// It is no part of the product and checks one graph in a second, so it is built without optimisation: a third of the time.
fn cargo_deny(workspace: &Workspace, output: &Output) -> Result<PathBuf> {
    let pinned = |program: &Path| {
        process::stdout_of(std::process::Command::new(program).arg("--version"))
            .is_ok_and(|said| said.trim().ends_with(CARGO_DENY))
    };
    if pinned(Path::new("cargo-deny")) {
        return Ok("cargo-deny".into());
    }
    match python::ensure(workspace, TOOLS, output) {
        Ok(python) if pinned(&python.with_file_name("cargo-deny")) => return Ok(python.with_file_name("cargo-deny")),
        Ok(_) => output.say("the built cargo-deny does not run here")?,
        Err(error) => output.say(&format!("there is no built cargo-deny for this machine: {error:#}"))?,
    }
    let tools = workspace.scratch("tools")?;
    let program = tools.join("bin/cargo-deny");
    if pinned(&program) {
        return Ok(program);
    }
    let build = tools.join("build");
    let mut install =
        workspace.cargo(&["install", "--quiet", "--locked", "--no-default-features", "--version", CARGO_DENY]);
    install.arg("--root").arg(&tools).arg("--target-dir").arg(&build).arg("cargo-deny");
    for (key, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
        install.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    process::run(&mut install, output)?;
    std::fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    if !pinned(&program) {
        bail!("cargo-deny was installed and is not version {CARGO_DENY}");
    }
    Ok(program)
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// By a filter or `--skip`.
    left_out: u64,
}

impl Counts {
    /// Adds up lines such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s`.
    fn read(log: &str) -> Self {
        let mut counts = Self::default();
        for line in log.lines().filter_map(|line| line.trim_start().strip_prefix("test result: ")) {
            for part in line.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(word)) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next())
                else {
                    continue;
                };
                match word {
                    "passed" => counts.passed += number,
                    "failed" => counts.failed += number,
                    "ignored" => counts.ignored += number,
                    "filtered" => counts.left_out += number,
                    _ => {}
                }
            }
        }
        counts
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.left_out += other.left_out;
    }

    fn since(self, before: Self) -> Self {
        Self {
            passed: self.passed - before.passed,
            failed: self.failed - before.failed,
            ignored: self.ignored - before.ignored,
            left_out: self.left_out - before.left_out,
        }
    }

    /// For a step's line; empty for a step that is no test.
    fn shown(self) -> String {
        if self == Self::default() {
            return String::new();
        }
        let ignored = if self.ignored > 0 { format!(", {} skipped", self.ignored) } else { String::new() };
        format!("   {} passed, {} failed{ignored}", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_own_lines_are_added_up() {
        let log = "\
running 3 tests
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
noise: 7 passed
test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 12.31s
";
        let counts = Counts::read(log);
        assert_eq!(counts, Counts { passed: 12, failed: 2, ignored: 1, left_out: 5 });
        assert_eq!(counts.shown(), "   12 passed, 2 failed, 1 skipped");
        assert_eq!(Counts::default().shown(), "");
    }

    #[test]
    fn cargo_deny_is_of_one_version() {
        let pins = include_str!("../tools.txt");
        assert!(pins.contains(&format!("cargo-deny=={CARGO_DENY} --hash=sha256:")), "{pins}");
    }

    #[test]
    fn every_need_names_an_earlier_step() {
        for (at, step) in STEPS.iter().enumerate() {
            for need in step.needs {
                assert!(STEPS[..at].iter().any(|earlier| earlier.name == *need), "{} needs {need}", step.name);
            }
        }
    }
}
