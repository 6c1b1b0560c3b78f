//! `cargo xtask demo`: everything from an empty machine to a queried Iceberg table, with genuine files and nothing else running.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::process::{self, Output};
use crate::serve::Serving;
use crate::workspace::Workspace;
use crate::{plugins, wasm_target};

/// Builds, serves `examples/nyc_taxi/data`, loads it twice and queries it.
pub fn run(workspace: &Workspace, args: Args) -> Result<()> {
    args.finish()?;
    say("making the wasm32-wasip2 target work");
    println!("{}", wasm_target::ensure(workspace, &Output::Inherit)?);
    say("building the components");
    plugins::build(workspace, &Output::Inherit)?;
    say("building lakehost with the components inside (the first time takes a while: DataFusion is large)");
    build(workspace, &Output::Inherit)?;

    let folder = workspace.scratch("demo")?;
    let warehouse = folder.join("warehouse");
    if warehouse.exists() {
        std::fs::remove_dir_all(&warehouse).with_context(|| format!("cannot remove {}", warehouse.display()))?;
    }
    let serving = Serving::start(&workspace.root.join("examples/nyc_taxi/data"))?;
    let demo = Demo { lakehost: workspace.lakehost(), folder, warehouse, url: serving.url().to_owned() };

    say("the genuine green month 2024-01, as it is");
    let raw = demo.load("green", "2024-01", &[]);
    demo.run(raw, "loaded")?;
    say("the same month, cleaned by a second component");
    let cleaner = ["--cleaner", "trip_cleaner.wasm", "--table", "clean.green_trips"];
    demo.run(demo.load("green", "2024-01", &cleaner), "loaded")?;
    say("both commands again: nothing changes");
    demo.run(demo.load("green", "2024-01", &[]), "already loaded")?;
    demo.run(demo.load("green", "2024-01", &cleaner), "already loaded")?;
    say("a range: six small yellow months, one commit each");
    demo.run(demo.load("yellow", "2024-01..2024-06", &[]), "loaded")?;

    say("a query over the tables");
    let sql = "select 'as it is' as rows_of, count(*) as trips, round(sum(total_amount), 2) as dollars from raw.green_trips \
               union all select 'cleaned', count(*), round(sum(total_amount), 2) from clean.green_trips";
    demo.run(demo.lakehost(&["query", sql]), "56551")?;
    demo.run(demo.lakehost(&["snapshots", "raw.yellow_trips"]), "2024-06")?;

    println!("\nThe tables lie in {}", demo.warehouse.display());
    println!("any Iceberg reader opens them: catalog `lakehost`, sqlite:///{}/catalog.db", demo.warehouse.display());
    println!(
        "try: {} query --warehouse {} \"select * from clean.green_trips limit 5\"",
        demo.lakehost.display(),
        demo.warehouse.display()
    );
    Ok(())
}

/// Builds the program with the features of the whole workspace, so that the gate finds its dependencies built.
pub fn build(workspace: &Workspace, output: &Output) -> Result<()> {
    process::run(&mut workspace.cargo(&["build", "--release", "--workspace", "--bin", "lakehost"]), output)
}

fn say(what: &str) {
    println!("\n== {what}");
}

struct Demo {
    lakehost: PathBuf,
    folder: PathBuf,
    warehouse: PathBuf,
    url: String,
}

impl Demo {
    /// The main job over the demo's own server.
    fn load(&self, dataset: &str, months: &str, more: &[&str]) -> Command {
        let (dataset, base) = (format!("dataset={dataset}"), format!("base_url={}", self.url));
        let job = ["run", "--plugin", "nyc_tlc.wasm", "--month", months, "--config", &dataset];
        self.lakehost(&[&job, more, &["--config", &base, "--allow", &self.url]].concat())
    }

    fn lakehost(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.lakehost);
        command.args(arguments).arg("--warehouse").arg(&self.warehouse).current_dir(&self.folder);
        command
    }

    /// Shows the command and what it says, and fails unless it succeeds and says `wanted`.
    fn run(&self, mut command: Command, wanted: &str) -> Result<()> {
        println!("$ {}", process::shown(&command));
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.lakehost.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        print!("{said}");
        if !output.status.success() {
            bail!("`{}` failed: {}", process::shown(&command), output.status);
        }
        if !says(&said, wanted) {
            bail!("`{}` succeeded and does not say `{wanted}`", process::shown(&command));
        }
        Ok(())
    }
}

/// Whether a report says something, however its words and numbers are joined (`already-loaded`, `56,551`).
fn says(text: &str, wanted: &str) -> bool {
    let plain = |text: &str| -> String {
        let chars: Vec<char> = text.chars().collect();
        let within_number = |at: usize| {
            let digit = |index: Option<usize>| index.and_then(|i| chars.get(i)).is_some_and(char::is_ascii_digit);
            digit(at.checked_sub(1)) && digit(at.checked_add(1))
        };
        let kept = chars.iter().enumerate().filter(|(at, c)| !(matches!(c, ',' | '_') && within_number(*at)));
        kept.map(|(at, c)| if *c == '-' && !within_number(at) { ' ' } else { *c }).collect()
    };
    plain(text).contains(&plain(wanted))
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn a_report_is_searched_as_a_person_reads_it() {
        assert!(says("status  already-loaded", "already loaded"));
        assert!(says("| 56,551 |", "56551"));
        assert!(says("window 2024-06", "2024-06"));
        assert!(!says("status loaded", "already loaded"));
        assert!(!says("56552", "56551"));
    }
}
