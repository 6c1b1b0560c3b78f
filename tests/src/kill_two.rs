//! Two pipelines that write one table, one by append and one by merge, killed at random moments: every row is there once, and what they left
//! behind is what `table orphans` lists.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::feed::{Feed, rows};
use crate::support::{Bench, Done, done, python, read};

const TABLE: &str = "raw.both";
/// Ids that the merged feed changes again and again; appended ones are above.
const MERGED_IDS: i64 = 400;
const APPENDED_FROM: i64 = 1_000_000;
/// Rounds in which both are killed, at most.
const BOTH_ROUNDS: usize = 40;
/// Rows of a part.
const PART_ROWS: i64 = 20;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The two feeds, and what a table of all their parts holds.
struct Both {
    appended: Feed,
    merged: Feed,
    clock: i64,
    model: BTreeMap<i64, (String, i64)>,
}

impl Both {
    /// A new part for each.
    fn grow(&mut self, random: &mut StdRng) -> Result<()> {
        let appended: Vec<_> = (0..PART_ROWS).map(|row| self.change(APPENDED_FROM + self.clock * 100 + row)).collect();
        self.clock += 1;
        // Some rows come just as they are there already.
        let merged: Vec<_> = (0..PART_ROWS).map(|_| random.random_range(0..MERGED_IDS)).collect();
        let mut changed = BTreeMap::new();
        for id in merged {
            let present = self.model.get(&id).filter(|_| random.random_bool(0.3));
            let change = present.map_or_else(|| self.change(id), |(name, at)| (Some(id), name.clone(), *at));
            changed.insert(id, change);
        }
        let merged: Vec<_> = changed.into_values().collect();
        for (id, name, at) in appended.iter().chain(&merged) {
            self.model.insert(id.context("every change has an id")?, (name.clone(), *at));
        }
        self.appended.add(&appended)?;
        self.merged.add(&merged)
    }

    fn change(&self, id: i64) -> (Option<i64>, String, i64) {
        (Some(id), format!("name {id} at {}", self.clock), self.clock)
    }

    fn start(&self, bench: &Bench, which: usize) -> Result<Child> {
        let args = match which {
            0 => self.appended.args(bench, TABLE, "append"),
            _ => self.merged.args(bench, TABLE, "merge"),
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Ok(bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    fn finish(&self, bench: &Bench, which: usize) -> Result<Done> {
        let done = done(self.start(bench, which)?.wait_with_output()?)?;
        assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
        Ok(done)
    }

    /// Every row is there once, as both readers see it.
    fn check(&self, bench: &Bench, python: &Path) -> Result<()> {
        let wanted: Vec<_> = self.model.iter().map(|(id, (name, at))| (*id, name.clone(), *at)).collect();
        let seen = rows(bench, python, TABLE)?;
        if let Some((seen, wanted)) = seen.iter().zip(&wanted).find(|(seen, wanted)| seen != wanted) {
            panic!("{seen:?} is there, and {wanted:?} should be");
        }
        assert_eq!(seen.len(), wanted.len());
        Ok(())
    }
}

#[test]
fn an_append_and_a_merge_into_one_table_killed_at_random_moments() -> Result<()> {
    let python = python()?;
    let kills = number("LAKEHOST_KILLS_OF_TWO", number("LAKEHOST_KILLS", 10));
    let seed = number("LAKEHOST_SEED", 20_240_102);
    eprintln!("{kills} kills, LAKEHOST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bench = Bench::serving(&[])?;
    let (appended, merged) = (Feed::new(&bench, "appended")?, Feed::new(&bench, "merged")?);
    let mut both = Both { appended, merged, clock: 1, model: BTreeMap::new() };
    // How long they take when nobody kills them, with everything compiled and cached, bounds the moments.
    let mut span = Duration::ZERO;
    for _ in 0..2 {
        both.grow(&mut random)?;
        for which in [0, 1] {
            let begun = Instant::now();
            both.finish(&bench, which)?;
            span = begun.elapsed();
        }
    }
    let (mut hit, mut lost, mut busiest) = (0, 0, Duration::ZERO);
    for kill in 0..kills {
        both.grow(&mut random)?;
        // Both are at it at once, and one of them is killed.
        let mut children = [both.start(&bench, 0)?, both.start(&bench, 1)?];
        let victim = random.random_range(0..2);
        let nanos = u64::try_from(2 * span.max(busiest).as_nanos()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_nanos(random.random_range(0..nanos.max(1))));
        hit += u64::from(children[victim].try_wait()?.is_none());
        children[victim].kill()?;
        children[victim].wait()?;
        let begun = Instant::now();
        let [first, second] = children;
        let survivor = done(if victim == 0 { second } else { first }.wait_with_output()?)?;
        busiest = begun.elapsed().min(4 * span);
        lost += u64::from(survivor.code != 0);
        assert_eq!(survivor.code, 0, "kill {kill}\n{}\n{}", survivor.stdout, survivor.stderr);
        if kill % 50 == 49 {
            // Readable in between, whatever happened: no key is there twice.
            let seen = rows(&bench, &python, TABLE)?;
            assert!(seen.windows(2).all(|pair| pair[0].0 != pair[1].0), "kill {kill}");
        }
    }
    eprintln!("{hit} of {kills} kills hit a live run, {lost} others failed");
    assert!(hit > 0, "no run was hit");
    // Both are killed, and nobody has tidied up behind them yet: what they left is what is listed.
    let mut left = 0;
    for _ in 0..BOTH_ROUNDS {
        both.grow(&mut random)?;
        let children = [both.start(&bench, 0)?, both.start(&bench, 1)?];
        let nanos = u64::try_from(busiest.max(span).as_nanos()).unwrap_or(u64::MAX).max(2);
        std::thread::sleep(Duration::from_nanos(random.random_range(nanos / 2..nanos)));
        for mut child in children {
            child.kill()?;
            child.wait()?;
        }
        left += listed(&bench, &python)?;
        if left > 0 {
            break;
        }
    }
    assert!(left > 0, "no run that was killed left a file behind");
    eprintln!("{left} files were left behind by two that were killed at once");

    for which in [0, 1] {
        both.finish(&bench, which)?;
        assert_eq!(both.finish(&bench, which)?.statuses()?, ["no-data"]);
    }
    both.check(&bench, &python)?;
    let left = listed(&bench, &python)?;
    eprintln!("{left} files are left in the end, {} rows are there", both.model.len());
    orphans(&bench, &["--delete"])?;
    assert_eq!(listed(&bench, &python)?, 0);
    let intents = std::fs::read_dir(bench.dir.path().join("warehouse/_lakehost/intents"))?.flatten();
    let open: Vec<_> = intents.map(|entry| entry.file_name()).filter(|name| !is_draft(name)).collect();
    assert!(open.is_empty(), "no run that was killed is left open: {open:?}");
    both.check(&bench, &python)
}

/// A record that was not named yet when its run was killed: it says nothing, and goes when it is ten minutes old.
fn is_draft(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().ends_with(".draft")
}

/// The files that no snapshot refers to are those that `table orphans` lists; how many.
fn listed(bench: &Bench, python: &Path) -> Result<usize> {
    let left = read(python, "unreferenced.py", &[&bench.warehouse(), TABLE])?;
    let left: Vec<String> = left.as_array().context("no list")?.iter().map(plain).collect();
    assert_eq!(orphans(bench, &[])?, left);
    Ok(left.len())
}

/// What `table orphans` lists, however young.
fn orphans(bench: &Bench, more: &[&str]) -> Result<Vec<String>> {
    let age = ["--older-than", "0 s", "--allow-younger-than-72h", "--format", "json"];
    let done = bench.run(&[&["table", "orphans", TABLE], &age[..], more].concat())?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let json = done.json()?;
    let found = json["orphans"].as_array().context("no orphans")?;
    let mut files: Vec<String> = found.iter().map(|orphan| plain(&orphan["file"])).collect();
    files.sort();
    Ok(files)
}

fn plain(location: &serde_json::Value) -> String {
    location.as_str().unwrap_or("?").trim_start_matches("file://").to_owned()
}
