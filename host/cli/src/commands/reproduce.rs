//! `lakehost table reproduce`: the load of a snapshot made again, aside, and its rows compared with those that the table has.
//!
//! The snapshot's own record says which objects were read, by which components and with which settings. What is not at hand as it was then is
//! told by name. Nothing of it stays: the second load lies in a warehouse of its own that is gone with this command.

use std::collections::BTreeSet;

use lakehost_lake::{AsOf as LakeAsOf, Content, Provenance};
use lakehost_pipeline::ports::{PluginId, SourceObject, TableName};
use lakehost_pipeline::{Diagnostic as _, Fault, codes};
use lakehost_query::AsOf;
use serde_json::{Value, json};
use uuid::Uuid;

use super::provenance::json_content;
use super::run::{self, RowsFrom};
use crate::args::{Place, Publish, ReportFormat, ReproduceArguments, RunArguments};
use crate::config::resolve::{self, Allow, PluginRequest, Request};
use crate::embedded::{self, Component, Origin};
use crate::error::Error;
use crate::recorded::{Part, Recorded};
use crate::render::line;
use crate::table::grouped;
use crate::warehouse::{Warehouse, at_no_time, point};
use crate::{exit_code, progress};

/// Makes the load again and compares.
pub fn run(arguments: &ReproduceArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let wanted = AsOf::parse(&arguments.snapshot, progress::now_ms())?;
    let place = resolve::place(&arguments.place, arguments.memory.as_deref())?;
    let warehouse = Warehouse::open_existing(&place)?;
    let found = warehouse.lake.provenance(&name, &point(&wanted)).map_err(|error| match error {
        lakehost_lake::Error::NoSnapshot { .. } => at_no_time(error, &name, &wanted),
        error => warehouse.fault(error),
    })?;
    let original = Original::new(&name, &found)?;
    let scratch = tempfile::Builder::new()
        .prefix("lakehost-reproduce-")
        .tempdir()
        .map_err(|error| Error::file(&std::env::temp_dir(), "written", error))?;
    let aside = Place { warehouse: Some(scratch.path().display().to_string()), ..arguments.place.clone() };
    let again = original.again(arguments, &aside)?;
    let at = LakeAsOf::Snapshot(found.snapshot.snapshot_id);
    let outcome = match warehouse.lake.content(&name, &at) {
        Ok(content) => Outcome { before: Ok(content), again },
        Err(error) if error.code() == codes::STORE_MISSING => {
            let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
            Outcome { before: Err(format!("{error}{cause}")), again }
        }
        Err(error) => return Err(Fault::new(error)),
    };
    let differences = outcome.differences();
    let error = (!differences.is_empty()).then(|| {
        let (table, snapshot) = (name.to_string(), found.snapshot.snapshot_id);
        Fault::new(Error::Different { table, snapshot, differences })
    });
    match arguments.format {
        ReportFormat::Json => super::print_json(&outcome.json(&name, &found, error.as_ref()))?,
        ReportFormat::Text => super::print(&outcome.text(&name, &found))?,
    }
    let Some(error) = error else { return Ok(exit_code::SUCCESS) };
    crate::show(&error);
    Ok(exit_code::of_fault(&error))
}

/// What the snapshot records of its load.
struct Original<'a> {
    table: &'a TableName,
    found: &'a Provenance,
    recorded: Recorded,
    /// The source, then the cleaners.
    plugins: &'a [PluginId],
}

impl<'a> Original<'a> {
    fn new(table: &'a TableName, found: &'a Provenance) -> Result<Self, Error> {
        let load = &found.snapshot.load;
        let refuse = |reason: String, way_out: &str| Error::NotReproducible {
            table: table.to_string(),
            snapshot: found.snapshot.snapshot_id,
            reason,
            way_out: way_out.to_owned(),
        };
        let loads = format!("`lakehost snapshots {table}` shows which snapshots are loads");
        match load.get("action").map(String::as_str) {
            None => return Err(refuse("another program wrote it".to_owned(), &loads)),
            Some("load") => {}
            Some("replay") => {
                let way_out = "reproduce the snapshot of the load whose rejected rows it moved";
                return Err(refuse("it moved rejected rows, and read no object".to_owned(), way_out));
            }
            Some(action) => return Err(refuse(format!("it is a {}, and no load", line(action)), &loads)),
        }
        if load.get("mode").is_some_and(|mode| mode == "merge") {
            let way_out = "a merge depends on the rows that the table had; `lakehost table diff` compares states";
            return Err(refuse("it is a merge".to_owned(), way_out));
        }
        if load.contains_key("state-owner") {
            let way_out = "its source read on from a state that is gone; `lakehost table diff` compares states";
            return Err(refuse("it is part of a feed".to_owned(), way_out));
        }
        let recorded = load.get("config").and_then(|text| serde_json::from_str::<Recorded>(text).ok());
        let recorded = recorded.ok_or_else(|| {
            let way_out =
                "run its pipeline into another warehouse and compare `lakehost table provenance … --content-hash`";
            refuse("its configuration is not recorded".to_owned(), way_out)
        })?;
        if found.objects.is_empty() {
            let reason = "its objects are not recorded one by one, there were too many".to_owned();
            return Err(refuse(reason, "reproduce a smaller window"));
        }
        if found.plugins.len() != recorded.cleaners.len() + 1 {
            return Err(refuse("its plugins are not recorded as its configuration names them".to_owned(), &loads));
        }
        Ok(Self { table, found, recorded, plugins: &found.plugins })
    }

    /// The same load, into the warehouse `aside`.
    fn again(&self, arguments: &ReproduceArguments, aside: &Place) -> Result<Content, Fault> {
        let mut allow = Allow { pipeline: None, flags: arguments.allow.clone() };
        let mut near: Vec<PluginRequest> = Vec::new();
        if let Some(pipeline) = self.found.snapshot.load.get("pipeline") {
            let named = RunArguments {
                pipeline: Some(pipeline.clone()),
                allow: arguments.allow.clone(),
                place: arguments.place.clone(),
                ..RunArguments::default()
            };
            // It may have been renamed since; then the flags say the rest.
            if let Ok(request) = resolve::run(&named) {
                near.push(request.source);
                near.extend(request.cleaners);
                allow = request.allow;
            }
        }
        let (source_id, cleaner_ids) = self.plugins.split_first().ok_or_else(|| Error::Bug {
            what: "a snapshot without plugins was taken for a load".to_owned(),
            cause: self.table.to_string(),
        })?;
        let source = self.plugin(source_id, &self.recorded.source, "--plugin", arguments.plugin.as_slice(), &near)?;
        self.complete(&self.recorded.source, "--config", &arguments.plugins.config, &source_id.name)?;
        let mut cleaners = Vec::new();
        for (id, part) in cleaner_ids.iter().zip(&self.recorded.cleaners) {
            cleaners.push(self.plugin(id, part, "--cleaner", &arguments.plugins.cleaner, &near)?);
            self.complete(part, "--cleaner-config", &arguments.plugins.cleaner_config, &id.name)?;
        }
        let request = Request {
            pipeline: None,
            source,
            cleaners,
            allow,
            table: Some(self.table.clone()),
            mode: None,
            key: Vec::new(),
            order_by: None,
            sort: Vec::new(),
            partition: Vec::new(),
            verify: Default::default(),
            metadata_columns: self.recorded.metadata_columns,
            raw_landing: false,
            max_rejected: None,
            contract: self.recorded.contract(),
            renames: self.recorded.rename.clone().into_iter().collect(),
            checks: Vec::new(),
            quarantine: false,
            publish: Publish::Window,
            maintenance: None,
            models: None,
            place: resolve::place(aside, arguments.memory.as_deref())?,
        };
        let mut run_arguments = RunArguments {
            plugins: arguments.plugins.clone(),
            allow_empty: true,
            place: aside.clone(),
            ..RunArguments::default()
        };
        if let Some(window) = self.found.snapshot.load.get("window").cloned() {
            match window.len() {
                4 => run_arguments.year = Some(window),
                7 => run_arguments.month = Some(window),
                10 => run_arguments.day = Some(window),
                _ => run_arguments.hour = Some(window),
            }
        }
        let run_id = Uuid::now_v7().to_string();
        let place = request.place.clone();
        let ended = run::load_request(&run_arguments, request, &RowsFrom::Source, &run_id)?;
        if let Some(fault) = ended.report.windows.into_iter().find_map(|window| window.fault) {
            return Err(fault.with("snapshot", self.found.snapshot.snapshot_id));
        }
        let warehouse = Warehouse::open_existing(&place)?;
        let main = LakeAsOf::Reference("main".to_owned());
        let made = warehouse.lake.provenance(self.table, &main)?;
        self.same_inputs(&made.objects)?;
        Ok(warehouse.lake.content(self.table, &main)?)
    }

    /// The component of the recorded digest: the one that a flag names, this binary's, or the one of the snapshot's pipeline.
    fn plugin(
        &self,
        id: &PluginId,
        part: &Part,
        flag: &str,
        given: &[String],
        near: &[PluginRequest],
    ) -> Result<PluginRequest, Error> {
        let table = match toml::Value::try_from(without_nulls(&part.config)) {
            Ok(toml::Value::Table(table)) => table,
            _ => toml::Table::new(),
        };
        let typed = |name: &String| PluginRequest { name: name.clone(), folder: ".".into(), table: toml::Table::new() };
        let given = given.iter().map(|name| (true, typed(name)));
        let mut others = BTreeSet::new();
        for (is_given, candidate) in given.chain(near.iter().map(|request| (false, request.clone()))) {
            let component = match embedded::find(&candidate) {
                Err(error) if is_given => return Err(error),
                Err(_) => continue,
                Ok(component) => component,
            };
            let digest = component.sha256()?;
            if digest == id.sha256 {
                return Ok(PluginRequest { table, ..located(&component, candidate) });
            }
            others.insert(format!("{} is {}", line(&candidate.name), short(&digest)));
        }
        if let Some(component) = embedded::of_digest(&id.sha256) {
            return Ok(PluginRequest { name: component.name, folder: "/nonexistent".into(), table });
        }
        let others = if others.is_empty() { String::new() } else { format!("; {}", Vec::from_iter(others).join(", ")) };
        Err(Error::NotReproducible {
            table: self.table.to_string(),
            snapshot: self.found.snapshot.snapshot_id,
            reason: format!("{id} with sha256 {} is not at hand{others}", short(&id.sha256)),
            way_out: format!("give that very component with {flag} FILE"),
        })
    }

    /// Settings that were left out of the record are given.
    fn complete(&self, part: &Part, flag: &str, given: &[String], plugin: &str) -> Result<(), Error> {
        let has = |key: &String| {
            given.iter().any(|assignment| {
                let name = assignment.split('=').next().unwrap_or_default().trim();
                name == key || name == format!("{plugin}.{key}")
            })
        };
        let missing: Vec<String> = part.left_out.iter().filter(|key| !has(key)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::NotReproducible {
            table: self.table.to_string(),
            snapshot: self.found.snapshot.snapshot_id,
            reason: format!("secret settings of {plugin} are not recorded: {}", missing.join(", ")),
            way_out: missing.iter().map(|key| format!("{flag} {key}=…")).collect::<Vec<_>>().join(" "),
        })
    }

    /// Upstream gave what it gave then.
    fn same_inputs(&self, made: &[SourceObject]) -> Result<(), Error> {
        let mut differences = Vec::new();
        for object in &self.found.objects {
            match made.iter().find(|now| now.split == object.split && now.sha256 == object.sha256) {
                Some(_) => {}
                None => differences.push(match made.iter().find(|now| now.split == object.split) {
                    Some(now) => format!(
                        "{} had sha256 {}, {} has {}",
                        line(&object.url),
                        short(&object.sha256),
                        if now.url == object.url { "now it".to_owned() } else { line(&now.url).to_string() },
                        short(&now.sha256)
                    ),
                    None => format!("{} is not read any more", line(&object.url)),
                }),
            }
        }
        for now in made.iter().filter(|now| self.found.objects.iter().all(|object| object.split != now.split)) {
            differences.push(format!("{} was not read then", line(&now.url)));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::InputsChanged {
            table: self.table.to_string(),
            snapshot: self.found.snapshot.snapshot_id,
            differences,
        })
    }
}

/// Where a component was found, so that it is found there again.
fn located(component: &Component, candidate: PluginRequest) -> PluginRequest {
    match &component.origin {
        Origin::File(_) => candidate,
        Origin::Embedded(_) => PluginRequest { folder: "/nonexistent".into(), ..candidate },
    }
}

/// TOML has no null: what was null is what it is by default.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}

/// The beginning of a digest, for people.
fn short(sha256: &str) -> String {
    format!("{}…", sha256.get(..16).unwrap_or(sha256))
}

/// Both sides.
struct Outcome {
    /// What the table has, or why it cannot be read.
    before: Result<Content, String>,
    again: Content,
}

impl Outcome {
    fn windows(&self) -> BTreeSet<&String> {
        let before = self.before.iter().flat_map(|content| content.windows.keys());
        before.chain(self.again.windows.keys()).collect()
    }

    /// What differs, window by window.
    fn differences(&self) -> Vec<String> {
        let before = match &self.before {
            Ok(content) => content,
            Err(reason) => return vec![reason.clone()],
        };
        let differs = self.windows().into_iter().filter_map(|window| {
            let (old, new) = (before.windows.get(window), self.again.windows.get(window));
            let rows = |hash: Option<&lakehost_lake::ContentHash>| grouped(hash.map_or(0, |hash| hash.rows));
            (old != new).then(|| format!("window {window}: {} rows in the table, {} made again", rows(old), rows(new)))
        });
        differs.collect()
    }

    fn json(&self, table: &TableName, found: &Provenance, error: Option<&Fault>) -> Value {
        json!({
            "table": table.to_string(),
            "snapshot_id": found.snapshot.snapshot_id.to_string(),
            "equal": error.is_none(),
            "content": self.before.as_ref().map(json_content).unwrap_or(Value::Null),
            "reproduced": json_content(&self.again),
            "error": error.map(lakehost_pipeline::ErrorReport::from),
        })
    }

    fn text(&self, table: &TableName, found: &Provenance) -> String {
        let mut text = format!("{table} snapshot {}\n", found.snapshot.snapshot_id);
        let before = self.before.as_ref().ok();
        for window in self.windows() {
            let old = before.and_then(|content| content.windows.get(window));
            let new = self.again.windows.get(window);
            let word = if old.is_some() && old == new { "equal" } else { "different" };
            text.push_str(&format!("  {window}  {word}\n"));
            for (side, hash) in [("table", old), ("again", new)] {
                text.push_str(&match hash {
                    Some(hash) => format!("    {side}  {} rows, {}\n", grouped(hash.rows), hash.hex()),
                    None => format!("    {side}  nothing that could be read\n"),
                });
            }
        }
        text
    }
}
