//! A feed of changes for the `change_feed` example, and runs that read it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::{Bench, Done, component, read};

/// A folder with `feed.json` and its parts, behind the bench's server.
pub struct Feed {
    folder: PathBuf,
    name: String,
    parts: Vec<String>,
}

impl Feed {
    /// An empty feed in a folder of that name; so is its data set.
    pub fn new(bench: &Bench, name: &str) -> Result<Self> {
        let folder = bench.served(name);
        std::fs::create_dir_all(&folder)?;
        let feed = Self { folder, name: name.to_owned(), parts: Vec::new() };
        feed.publish()?;
        Ok(feed)
    }

    /// Adds a part: each change is id, name and `updated_at`.
    pub fn add(&mut self, changes: &[(Option<i64>, String, i64)]) -> Result<()> {
        let line = |(id, name, at): &(Option<i64>, String, i64)| {
            json!({ "id": id, "name": name, "amount": *at as f64 / 4.0, "updated_at": at }).to_string() + "\n"
        };
        let part = format!("part-{:06}.jsonl", self.parts.len() + 1);
        std::fs::write(self.folder.join(&part), changes.iter().map(line).collect::<String>())?;
        self.parts.push(part);
        self.publish()
    }

    /// A reader sees the old list or the new one.
    fn publish(&self) -> Result<()> {
        let new = self.folder.join("feed.json.new");
        std::fs::write(&new, json!({ "parts": self.parts }).to_string())?;
        Ok(std::fs::rename(&new, self.folder.join("feed.json"))?)
    }

    /// `lakehost run` of this feed into a table.
    pub fn args(&self, bench: &Bench, table: &str, mode: &str) -> Vec<String> {
        let url = format!("{}{}/", bench.url(), self.name);
        let plugin = component("change_feed").display().to_string();
        let (base, dataset) = (format!("base_url={url}"), format!("dataset={}", self.name));
        let args = ["run", "--plugin", &plugin, "--config", &base, "--config", &dataset, "--allow", &url];
        let more = ["--table", table, "--write-mode", mode, "--format", "json"];
        args.iter().chain(&more).map(|arg| (*arg).to_owned()).collect()
    }

    /// The same, run.
    pub fn load(&self, bench: &Bench, table: &str, mode: &str, more: &[&str]) -> Result<Done> {
        let args = self.args(bench, table, mode);
        bench.run(&args.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
    }
}

/// Rows of a table as both readers see them: id, name, `updated_at`.
pub fn rows(bench: &Bench, python: &std::path::Path, table: &str) -> Result<Vec<(i64, String, i64)>> {
    let seen = read(python, "read_rows.py", &[&bench.warehouse(), table, "id", "name", "updated_at"])?;
    seen.as_array()
        .context("no rows")?
        .iter()
        .map(|row| {
            let name = row[1].as_str().context("no name")?.to_owned();
            Ok((row[0].as_i64().context("no id")?, name, row[2].as_i64().context("no time")?))
        })
        .collect()
}

/// The table's properties.
pub fn properties(bench: &Bench, table: &str) -> Result<Value> {
    let shown = bench.run(&["table", "show", table, "--format", "json"])?;
    Ok(shown.json()?["properties"].take())
}
