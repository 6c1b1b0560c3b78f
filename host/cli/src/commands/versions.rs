//! `lakehost table rollback|tag|branch|publish|discard`.

use std::cell::RefCell;

use lakehost_lake::{AsOf, RefKind, SnapshotInfo, snapshot_as_of};
use lakehost_pipeline::checks::{Check, CheckOutcome};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, Granularity, Window, span_ms};
use lakehost_query::AsOf as Wanted;
use serde_json::{Value, json};

use crate::approve::{Operator, Terminal};
use crate::args::{
    BranchArguments, DiscardArguments, Place, PublishArguments, ReportFormat, RollbackArguments, TagArguments,
};
use crate::checker::LakeChecker;
use crate::config::{checks, file, resolve};
use crate::error::Error;
use crate::render::line;
use crate::warehouse::{Warehouse, point};
use crate::{exit_code, progress};

/// A verb's table in its warehouse.
pub(super) struct At {
    pub(super) name: TableName,
    pub(super) warehouse: Warehouse,
}

impl At {
    pub(super) fn open(table: &str, place: &Place) -> Result<Self, Fault> {
        let name = resolve::table_name(table)?;
        Ok(Self { name, warehouse: Warehouse::open_existing(&resolve::place(place, None)?)? })
    }

    pub(super) fn fault(&self, error: lakehost_lake::Error) -> Fault {
        self.warehouse.fault(error)
    }

    /// Asks, unless the answer was given with the command.
    pub(super) fn agree(&self, yes: bool, doing: &str, question: &str) -> Result<(), Error> {
        let mut person = Terminal;
        if yes {
            return Ok(());
        }
        if !person.present() {
            let message = format!("{doing} {} needs a yes", self.name);
            return Err(Error::Usage { message, hint: Some("add --yes".to_owned()) });
        }
        match person.agrees(question)? {
            true => Ok(()),
            false => Err(Error::Stopped { what: "the table stays as it is" }),
        }
    }

    pub(super) fn say(&self, format: ReportFormat, text: &str, mut json: Value) -> Result<u8, Fault> {
        match format {
            ReportFormat::Json => {
                if let Value::Object(entries) = &mut json {
                    entries.insert("table".to_owned(), self.name.to_string().into());
                }
                super::print_json(&json)?;
            }
            ReportFormat::Text => super::print(&format!("{text}\n"))?,
        }
        Ok(exit_code::SUCCESS)
    }
}

fn when(text: &str) -> Result<AsOf, Fault> {
    Ok(point(&Wanted::parse(text, progress::now_ms())?))
}

/// Brings `main` back to where it was.
pub fn rollback(arguments: &RollbackArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.table, &arguments.place)?;
    let to = when(&arguments.to)?;
    let question = format!("Bring {} back to {}?", at.name, line(&arguments.to));
    at.agree(arguments.yes, "rolling back", &question)?;
    let snapshot = at.warehouse.lake.rollback(&at.name, &to).map_err(|error| at.fault(error))?;
    let text = format!("{} is at snapshot {snapshot}; windows that were loaded since load again", at.name);
    at.say(arguments.format, &text, json!({ "status": "rolled-back", "snapshot_id": snapshot.to_string() }))
}

/// Names a snapshot, or forgets the name.
pub fn tag(arguments: &TagArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.table, &arguments.place)?;
    let name = arguments.name.as_str();
    if arguments.drop {
        at.warehouse.lake.drop_ref(&at.name, name).map_err(|error| at.fault(error))?;
        let text = format!("{} has no `{}` any more", at.name, line(name));
        return at.say(arguments.format, &text, json!({ "status": "dropped", "name": name }));
    }
    name_it(&at, name, RefKind::Tag, arguments.at.as_deref(), arguments.keep.as_deref(), arguments.format)
}

/// Starts a branch.
pub fn branch(arguments: &BranchArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.table, &arguments.place)?;
    let (from, keep) = (arguments.at.as_deref(), arguments.keep.as_deref());
    name_it(&at, &arguments.name, RefKind::Branch, from, keep, arguments.format)
}

fn name_it(
    at: &At,
    name: &str,
    kind: RefKind,
    from: Option<&str>,
    keep: Option<&str>,
    format: ReportFormat,
) -> Result<u8, Fault> {
    let from = from.map(when).transpose()?;
    let keep_ms = keep
        .map(|text| {
            span_ms(text).ok_or_else(|| {
                Error::usage(format!("--keep `{}` is not a span of time such as \"30 days\"", text.escape_debug()))
            })
        })
        .transpose()?;
    let made = at.warehouse.lake.set_ref(&at.name, name, kind, from.as_ref(), keep_ms);
    let snapshot = made.map_err(|error| at.fault(error))?;
    let word = if kind == RefKind::Tag { "tag" } else { "branch" };
    let text = format!("{word} `{}` of {} is at snapshot {snapshot}", line(name), at.name);
    at.say(format, &text, json!({ "status": word, "name": name, "snapshot_id": snapshot.to_string() }))
}

/// What a branch holds, by what its load recorded.
struct Load {
    pipeline: Option<String>,
    window: Option<Window>,
}

impl Load {
    fn of(at: &At, branch: &str) -> Result<Self, Fault> {
        let table = at.warehouse.lake.open_table(&at.name).map_err(|error| at.fault(error))?;
        let head = snapshot_as_of(&table, &AsOf::Reference(branch.to_owned()))?;
        let snapshots = at.warehouse.lake.snapshots(&at.name).map_err(|error| at.fault(error))?;
        let load =
            snapshots.into_iter().find(|snapshot| snapshot.snapshot_id == head).map(|found: SnapshotInfo| found.load);
        let load = load.unwrap_or_default();
        // The key's form says how wide the window is.
        let widths = [Granularity::Hour, Granularity::Day, Granularity::Month, Granularity::Year];
        let key = load.get("window").cloned().unwrap_or_default();
        let window = widths.into_iter().find_map(|width| Window::parse(width, &key).ok());
        Ok(Self { pipeline: load.get("pipeline").cloned(), window })
    }

    /// The checks of the pipeline that made it, as lakehost.toml has them now.
    fn checks(&self, place: &Place) -> Result<Vec<Check>, Error> {
        let Some(name) = &self.pipeline else { return Ok(Vec::new()) };
        let loaded = file::load(place.file.as_deref())?;
        let Some(pipeline) = loaded.file.pipeline.get(name) else {
            return Err(Error::Config {
                place: loaded.place(),
                message: format!("the branch comes from pipeline {name}, which is not there, and so are its checks"),
                hint: Some("run it where lakehost.toml is, or publish it with --unchecked".to_owned()),
            });
        };
        checks::resolve(&pipeline.check, pipeline.models.as_deref(), loaded.folder()).map_err(|message| Error::Config {
            place: loaded.place(),
            message,
            hint: None,
        })
    }
}

/// Brings a branch to the readers, once its checks pass.
pub fn publish(arguments: &PublishArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.table, &arguments.place)?;
    let branch = arguments.branch.as_str();
    let load = Load::of(&at, branch)?;
    let checks = if arguments.unchecked { Vec::new() } else { load.checks(&arguments.place)? };
    let place = resolve::place(&arguments.place, None)?;
    let checker = LakeChecker { warehouse: &at.warehouse, place: &place, memory_bytes: place.memory_bytes };
    let outcomes: RefCell<Vec<CheckOutcome>> = RefCell::default();
    let snapshot = at.warehouse.lake.publish(&at.name, branch, &|prepared| {
        let found = checker.look(&at.name, prepared, load.window.as_ref(), &checks)?;
        let stopping: Vec<String> = found.iter().filter(|found| found.stops()).map(ToString::to_string).collect();
        outcomes.replace(found);
        if stopping.is_empty() {
            return Ok(());
        }
        let (table, branch, checks) = (at.name.to_string(), branch.to_owned(), checks.len());
        Err(Error::StillFails { table, branch, failed: stopping.len(), checks, details: stopping.join("; ") }.into())
    })?;
    let outcomes = outcomes.into_inner();
    let said = match outcomes.len() {
        0 => "no check was made".to_owned(),
        _ => format!("checks: {}", lakehost_pipeline::checks::summary(&outcomes)),
    };
    let text = format!("{} is at snapshot {snapshot}, from {}; {said}", at.name, line(branch));
    let json = json!({
        "status": "published", "branch": branch, "snapshot_id": snapshot.to_string(),
        "checks": serde_json::to_value(&outcomes).unwrap_or_default(),
    });
    at.say(arguments.format, &text, json)
}

/// Drops a branch and what only it has.
pub fn discard(arguments: &DiscardArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.table, &arguments.place)?;
    let question = format!("Delete {} of {} with the rows that only it has?", line(&arguments.branch), at.name);
    at.agree(arguments.yes, "discarding a branch of", &question)?;
    let files = at.warehouse.lake.discard(&at.name, &arguments.branch).map_err(|error| at.fault(error))?;
    let text = format!("{} of {} is gone, and {files} files with it", line(&arguments.branch), at.name);
    at.say(
        arguments.format,
        &text,
        json!({ "status": "discarded", "branch": arguments.branch, "files_deleted": files }),
    )
}
