//! A table with one month in it, a straight way to it, and a way that a test breaks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::support::{Bench, Done, expect, python, root};

pub const TABLE: &str = "raw.yellow_trips";
pub const MONTHS: [&str; 6] = ["2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-06"];
/// A password that is wrong everywhere.
pub const WRONG: &str = "hunter2-hunter2";

/// What the failed command has to say.
pub struct Said<'a> {
    pub exit: i32,
    pub code: &'a str,
    /// In the error's first line, inputs, cause or hint.
    pub words: &'a [&'a str],
}

/// A bench whose file has the profile `sound`, and `broken` as the test writes it.
pub struct World {
    pub bench: Bench,
    sound: String,
    /// No output may hold any of these.
    secrets: Vec<String>,
    reader: Option<Reader>,
}

/// An independent reader that answers as often as it is asked.
struct Reader {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn start(python: &Path, properties: &Value) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(root().join("tests/python/read_state.py"))
            .args([&properties.to_string(), TABLE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, asks, answers })
    }

    fn state(&mut self) -> Result<Value> {
        writeln!(self.asks, "?")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("PyIceberg does not read the table")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn file(month: &str) -> String {
    format!("yellow_tripdata_{month}.parquet")
}

impl World {
    /// `section` makes the sections of a profile by its name. The first month is loaded.
    pub fn new(section: impl Fn(&str) -> String, for_pyiceberg: &Value, secrets: &[&str]) -> Result<Self> {
        let files: Vec<String> = MONTHS.iter().map(|month| file(month)).collect();
        let bench = Bench::serving(&files.iter().map(String::as_str).collect::<Vec<_>>())?;
        Self::on(bench, section, for_pyiceberg, secrets)
    }

    /// The same on a bench that serves the months.
    pub fn on(bench: Bench, section: impl Fn(&str) -> String, for_pyiceberg: &Value, secrets: &[&str]) -> Result<Self> {
        let sound = section("sound");
        let mut secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        secrets.push(WRONG.to_owned());
        let mut world = Self { bench, sound, secrets, reader: None };
        world.broken("")?;
        expect(&world.load("sound", MONTHS[0])?, 0, &["loaded"]);
        world.reader = Some(Reader::start(&python()?, for_pyiceberg)?);
        Ok(world)
    }

    /// From now on the file holds this beside the sound profile.
    pub fn broken(&self, sections: &str) -> Result<()> {
        let path = self.bench.dir.path().join("lakehost.toml");
        std::fs::write(path, format!("{}\n{sections}", self.sound))?;
        Ok(())
    }

    /// Runs a verb, and looks for secrets in what it says.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Result<Done> {
        let done = self.bench.run(arguments)?;
        self.keeps_secrets(&done);
        Ok(done)
    }

    #[track_caller]
    pub fn keeps_secrets(&self, done: &Done) {
        for secret in &self.secrets {
            for said in [&done.stdout, &done.stderr] {
                assert!(!said.contains(secret.as_str()), "a secret is in\n{}\n{}", done.stdout, done.stderr);
            }
        }
    }

    #[track_caller]
    pub fn load(&self, profile: &str, month: &str) -> Result<Done> {
        let done = self.bench.load("yellow", month, &["--profile", profile])?;
        self.keeps_secrets(&done);
        Ok(done)
    }

    /// What the table is to lakehost and, which must be the same, to PyIceberg.
    #[track_caller]
    pub fn state(&mut self) -> Result<Value> {
        let ask = |arguments: &[&str]| -> Result<Value> {
            let done = self.run(&[arguments, &["--profile", "sound", "--format", "json"]].concat())?;
            assert_eq!(done.code, 0, "{arguments:?}\n{}\n{}", done.stdout, done.stderr);
            done.json()
        };
        let snapshots = ask(&["snapshots", TABLE])?;
        let mut ids: Vec<Value> = snapshots["snapshots"]
            .as_array()
            .context("no snapshots")?
            .iter()
            .map(|snapshot| snapshot["snapshot_id"].clone())
            .collect();
        ids.reverse();
        let sums =
            "select count(*) as rows, cast(sum(round(total_amount * 100)) as bigint) as cents from raw.yellow_trips";
        let sums = ask(&["query", sums])?;
        let seen = json!({ "snapshots": ids, "rows": sums[0]["rows"], "cents": sums[0]["cents"] });
        if let Some(reader) = &mut self.reader {
            let also = reader.state()?;
            assert_eq!(also, seen, "PyIceberg sees another table than lakehost");
        }
        Ok(seen)
    }

    /// A load on the broken profile fails and says so; the table is as before.
    #[track_caller]
    pub fn fails(&mut self, fault: &str, month: &str, said: &Said<'_>) -> Result<()> {
        let before = self.state()?;
        let done = self.load("broken", month)?;
        check(fault, &done, said)?;
        assert_eq!(self.state()?, before, "{fault}: the table is not as it was");
        Ok(())
    }

    /// A load finishes, whichever way it goes, and the table has one snapshot more; the same again changes nothing.
    #[track_caller]
    pub fn finishes(&mut self, fault: &str, profile: &str, month: &str) -> Result<()> {
        let before = self.state()?;
        expect(&self.load(profile, month)?, 0, &["loaded"]);
        let after = self.state()?;
        let count = |state: &Value| state["snapshots"].as_array().map_or(0, Vec::len);
        assert_eq!(count(&after), count(&before) + 1, "{fault}");
        assert!(after["rows"].as_u64() > before["rows"].as_u64(), "{fault}");
        expect(&self.load("sound", month)?, 0, &["already-loaded"]);
        assert_eq!(self.state()?, after, "{fault}");
        Ok(())
    }

    /// `lakehost doctor` finds the same at this hop.
    #[track_caller]
    pub fn doctor_finds(&self, fault: &str, hop: &str, said: &Said<'_>) -> Result<()> {
        let done = self.run(&["doctor", "--profile", "broken", "--format", "json"])?;
        let report = done.json()?;
        let found = report["checks"].as_array().into_iter().flatten().find(|check| check["status"] == "broken");
        let found = found.with_context(|| format!("{fault}: doctor finds nothing: {report:#}"))?;
        assert_eq!((done.code, found["code"].as_str()), (said.exit, Some(said.code)), "{fault}: {report:#}");
        assert_eq!(found["check"], hop, "{fault}: {report:#}");
        holds(fault, &found.to_string(), said.words);
        Ok(())
    }
}

/// How a command that prints JSON failed.
#[track_caller]
pub fn check(fault: &str, done: &Done, said: &Said<'_>) -> Result<()> {
    let report = done.json()?;
    let windows = report["windows"].as_array().into_iter().flatten();
    let error = windows.map(|window| &window["error"]).find(|error| !error.is_null());
    let error = error
        .or_else(|| [&report["error"], &report["totals"]["error"]].into_iter().find(|error| !error.is_null()))
        .with_context(|| format!("{fault}: no error in {report:#}"))?;
    assert_eq!(
        (done.code, error["code"].as_str()),
        (said.exit, Some(said.code)),
        "{fault}: {error:#}\n{}",
        done.stderr
    );
    holds(fault, &error.to_string(), said.words);
    assert!(error["hint"].as_str().is_some_and(|hint| hint.len() > 20), "{fault}: no way out in {error:#}");
    Ok(())
}

#[track_caller]
fn holds(fault: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{fault}: {word:?} is not in {text}");
    }
}
